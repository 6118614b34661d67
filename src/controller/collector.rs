//! Numbers that are read at a scrape: from the watch caches databases that wait for a person, tenants by state and each
//! tenant's usage, from the holdings which databases are this replica's and how busy their lanes are.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, atomic::AtomicU64},
};

use jiff::Timestamp;
use kube::{ResourceExt, runtime::reflector::Store};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{family::Family, gauge::ConstGauge, gauge::Gauge},
    registry::Unit,
};

use crate::{
    api::{
        TenantDatabase, TenantSchema, TenantSchemaSpec,
        condition::{ConditionType, find},
    },
    database::Holdings,
    frame::Unread,
    quantity::Bytes,
};

/// Reads the tenants' cache at every scrape.
pub struct TenantCollector {
    tenants: Store<TenantSchema>,
    unread: Unread,
    each: bool,
}

impl fmt::Debug for TenantCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantCollector").field("each", &self.each).finish_non_exhaustive()
    }
}

type Labels = Vec<(&'static str, String)>;

impl TenantCollector {
    /// Reads `tenants`, and those that cannot be read; `each` says whether every tenant has series of its own.
    #[must_use]
    pub fn new(tenants: Store<TenantSchema>, unread: Unread, each: bool) -> Self {
        Self { tenants, unread, each }
    }
}

impl Collector for TenantCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let tenants = self.tenants.state();
        let mut states: BTreeMap<(String, &'static str), i64> = BTreeMap::new();
        let mut held: BTreeMap<String, i64> = BTreeMap::new();
        let mut closed: BTreeMap<(String, &'static str), i64> = BTreeMap::new();
        let mut blocked = 0_i64;
        let now = Timestamp::now();
        for tenant in &tenants {
            *states.entry((tenant.spec.database().to_owned(), state(tenant))).or_default() += 1;
            if let Some(cause) = tenant.status.as_ref().and_then(|status| status.blocked.as_ref()?.cause) {
                *closed.entry((tenant.spec.database().to_owned(), cause.as_str())).or_default() += 1;
            }
            let held = held.entry(tenant.spec.database().to_owned()).or_default();
            if let Some(deleted) = &tenant.metadata.deletion_timestamp {
                blocked = blocked.max(now.as_second() - deleted.0.as_second());
                *held += i64::from(tenant.is_held_by_brake());
            }
        }
        for tenant in self.unread.all::<TenantSchema>() {
            let database = tenant.database.clone();
            let database = database.unwrap_or_else(|| TenantSchemaSpec::DEFAULT_DATABASE.to_owned());
            *states.entry((database, "stalled")).or_default() += 1;
            if let Some(deleted) = &tenant.metadata.deletion_timestamp {
                blocked = blocked.max(now.as_second() - deleted.0.as_second());
            }
        }
        let by_state = Family::<Labels, Gauge>::default();
        for ((database, state), count) in states {
            by_state.get_or_create(&vec![("database", database), ("state", state.to_owned())]).set(count);
        }
        let descriptor =
            encoder.encode_descriptor("tenants", "Tenants by database and state", None, by_state.metric_type())?;
        by_state.encode(descriptor)?;
        let by_cause = Family::<Labels, Gauge>::default();
        for ((database, cause), count) in closed {
            by_cause.get_or_create(&vec![("database", database), ("cause", cause.to_owned())]).set(count);
        }
        let text = "Tenants that are closed, wholly or to writes, by database and cause";
        let descriptor = encoder.encode_descriptor("tenants_blocked", text, None, by_cause.metric_type())?;
        by_cause.encode(descriptor)?;
        let by_database = Family::<Labels, Gauge>::default();
        for (database, count) in held {
            by_database.get_or_create(&vec![("database", database)]).set(count);
        }
        let text = "Deletions of tenants that the brake holds";
        let descriptor = encoder.encode_descriptor("deletions_held", text, None, by_database.metric_type())?;
        by_database.encode(descriptor)?;
        let blocked = ConstGauge::new(blocked);
        let text = "How long the oldest deletion of a tenant has been waiting";
        let descriptor =
            encoder.encode_descriptor("deletion_blocked", text, Some(&Unit::Seconds), blocked.metric_type())?;
        blocked.encode(descriptor)?;
        if self.each { encode_each(&tenants, now, &mut encoder) } else { Ok(()) }
    }
}

/// Reads the databases' cache at every scrape.
pub struct DatabaseCollector {
    databases: Store<TenantDatabase>,
    unread: Unread,
}

impl fmt::Debug for DatabaseCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseCollector").finish_non_exhaustive()
    }
}

impl DatabaseCollector {
    /// Reads `databases`, and those that cannot be read.
    #[must_use]
    pub fn new(databases: Store<TenantDatabase>, unread: Unread) -> Self {
        Self { databases, unread }
    }
}

impl Collector for DatabaseCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let stalled = Family::<Labels, Gauge>::default();
        for database in self.databases.state() {
            let conditions = database.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
            let is_stalled = find(conditions, ConditionType::Stalled).is_some();
            stalled.get_or_create(&vec![("database", database.name_any())]).set(i64::from(is_stalled));
        }
        for unread in self.unread.all::<TenantDatabase>() {
            let name = unread.metadata.name.clone().unwrap_or_default();
            stalled.get_or_create(&vec![("database", name)]).set(1);
        }
        let help = "Whether a person must act on the TenantDatabase";
        let descriptor = encoder.encode_descriptor("database_stalled", help, None, stalled.metric_type())?;
        stalled.encode(descriptor)
    }
}

/// Looks at what this replica has of the databases at every scrape.
pub struct LaneCollector {
    holdings: Arc<Holdings>,
    each: bool,
}

impl fmt::Debug for LaneCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneCollector").finish_non_exhaustive()
    }
}

impl LaneCollector {
    /// Looks at `holdings`; `each` says whether every tenant has series of its own.
    #[must_use]
    pub fn new(holdings: Arc<Holdings>, each: bool) -> Self {
        Self { holdings, each }
    }
}

impl Collector for LaneCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (holders, up) = (Family::<Labels, Gauge>::default(), Family::<Labels, Gauge>::default());
        let (connections, stores) = (Family::<Labels, Gauge>::default(), Family::<Labels, Gauge>::default());
        let until_full = Family::<Labels, Gauge<f64, AtomicU64>>::default();
        for shown in self.holdings.shown() {
            let of_database = vec![("database", shown.database.clone())];
            holders.get_or_create(&of_database).set(i64::from(shown.held));
            if let Some(is_up) = shown.up {
                up.get_or_create(&of_database).set(i64::from(is_up));
            }
            let Some(lane) = shown.lane else { continue };
            for row in self.each.then(|| lane.living()).into_iter().flatten() {
                if let (Some(owner), Some(days)) = (&row.owner, row.days_until_full()) {
                    let labels = vec![("namespace", owner.namespace.clone()), ("tenant", owner.name.clone())];
                    until_full.get_or_create(&labels).set(days);
                }
            }
            if let Some(is_up) = lane.archives.up() {
                stores.get_or_create(&of_database).set(i64::from(is_up));
            }
            let usage = lane.usage();
            for (state, count) in [("open", usage.open), ("idle", usage.idle), ("waiting", usage.waiting)] {
                let labels = vec![("database", shown.database.clone()), ("state", state.to_owned())];
                connections.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
        for (name, help, family) in [
            ("database_up", "1 while the database answers and is fit to work with", up),
            ("lane_held", "1 while this replica holds the lane of the database", holders),
            ("backup_store_up", "1 while archives can be kept in the store of the database", stores),
        ] {
            let descriptor = encoder.encode_descriptor(name, help, None, family.metric_type())?;
            family.encode(descriptor)?;
        }
        if self.each {
            let help =
                "In how many days the quota of a tenant is used up if it grows on as of late; only of one that grows";
            let descriptor =
                encoder.encode_descriptor("tenant_days_until_full", help, None, until_full.metric_type())?;
            until_full.encode(descriptor)?;
        }
        let help = "Connections by state; waiting are calls that wait for one";
        let descriptor = encoder.encode_descriptor("pool_connections", help, None, connections.metric_type())?;
        connections.encode(descriptor)
    }
}

fn encode_each(
    tenants: &[Arc<TenantSchema>],
    now: Timestamp,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let storage = Family::<Labels, Gauge>::default();
    let quota = Family::<Labels, Gauge>::default();
    let ratio = Family::<Labels, Gauge<f64, AtomicU64>>::default();
    let backup = Family::<Labels, Gauge>::default();
    let blocked = Family::<Labels, Gauge>::default();
    for tenant in tenants {
        let Some(status) = &tenant.status else { continue };
        let labels = vec![("namespace", tenant.namespace().unwrap_or_default()), ("tenant", tenant.name_any())];
        if let Some(bytes) = status.storage_used_bytes {
            storage.get_or_create(&labels).set(bytes);
        }
        let limit = status.effective.as_ref().and_then(|effective| effective.quota_limit.as_deref());
        if let Some(limit) = limit.and_then(|limit| limit.parse::<Bytes>().ok()) {
            quota.get_or_create(&labels).set(limit.as_i64());
            if let Some(counted) = status.counted_bytes() {
                ratio.get_or_create(&labels).set(share(counted, limit.as_i64()));
            }
        }
        if let Some(since) = status.blocked.as_ref().and_then(|blocked| blocked.since.as_ref()) {
            blocked.get_or_create(&labels).set(now.as_second() - since.0.as_second());
        }
        if let Some(at) = status.last_backup.as_ref().and_then(|last| last.completion_time.as_ref()) {
            backup.get_or_create(&labels).set(at.0.as_second());
        }
    }
    for (name, help, unit, family) in [
        ("tenant_storage", "Tables, indexes, TOAST and large objects of a tenant", Unit::Bytes, storage),
        ("tenant_quota", "The quota in force of a tenant", Unit::Bytes, quota),
        ("tenant_blocked", "How long a tenant has been closed, wholly or to writes", Unit::Seconds, blocked),
        ("tenant_last_backup_time", "Unix time of a tenant's last backup", Unit::Seconds, backup),
    ] {
        let descriptor = encoder.encode_descriptor(name, help, Some(&unit), family.metric_type())?;
        family.encode(descriptor)?;
    }
    let help = "The share of its quota that a tenant uses, without what deleted rows left free";
    let descriptor = encoder.encode_descriptor("tenant_quota_used_ratio", help, None, ratio.metric_type())?;
    ratio.encode(descriptor)
}

#[allow(clippy::cast_precision_loss, reason = "a share")]
fn share(used: i64, limit: i64) -> f64 {
    if limit > 0 { used as f64 / limit as f64 } else { f64::INFINITY }
}

fn state(tenant: &TenantSchema) -> &'static str {
    if tenant.metadata.deletion_timestamp.is_some() {
        return "deleting";
    }
    let conditions = tenant.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    if find(conditions, ConditionType::Stalled).is_some() {
        "stalled"
    } else if find(conditions, ConditionType::Reconciling).is_some() {
        "reconciling"
    } else if find(conditions, ConditionType::Ready).is_some_and(|ready| ready.status == "True") {
        "ready"
    } else {
        "new"
    }
}
