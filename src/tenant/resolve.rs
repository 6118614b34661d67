//! Stage 1: what the spec points to, as the watch caches have it. Decides nothing.
//!
//! A tenant points to a TenantDatabase and lives in a namespace. Whether that namespace may use that database is the next
//! stage's question.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use kube::{ResourceExt, runtime::reflector::ObjectRef};

use crate::{
    api::{
        SchemaBackup, TenantDatabase, TenantSchema,
        backup_policy::TENANT_UID,
        condition::{ConditionType, Reason, find},
    },
    frame::{Context, Host, Stand},
    lane::addresses::names,
};

/// What a tenant points to.
pub struct Resolved {
    /// UID of the cluster's kube-system namespace.
    pub cluster: String,
    /// The TenantDatabase, if it is there.
    pub database: Option<Arc<TenantDatabase>>,
    /// Whether the tenant may have a schema: its status tells of one, or this process began to make one and does not know what became
    /// of it.
    pub may_have_schema: bool,
    /// Whether a replica can be asked about the tenant.
    pub reach: Reach,
    /// The labels of the tenant's namespace; nothing while the cache does not have it yet.
    pub namespace_labels: Option<BTreeMap<String, String>>,
    /// The UID of the tenant's namespace, as the cache has it.
    pub namespace_uid: Option<String>,
    /// The time by the API server's clock, which stamps deletions.
    pub now: Timestamp,
    /// When a tenant of this database was deleted last, as far as this process has seen: the time that confirms all deletions.
    pub newest_deletion: Option<Timestamp>,
    /// Why no Secret is written: it is not known whom its applications may trust, or where they may connect to.
    pub held: Option<(Reason, String)>,
    /// The `SchemaBackup`s of its schedules that the status tells of, as the cache has them.
    pub backups: BTreeMap<String, Arc<SchemaBackup>>,
    /// The older tenants of this namespace in the database; counted only when a limit asks for it.
    pub older: Older,
}

/// Whether a replica can be asked about a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// This one, or another that works on its database.
    Reached,
    /// Not now, and this one does not know whether another will.
    Unsettled,
    /// None, as this one knows by itself: there is no such database, or this replica has its Lease and cannot work with it.
    OutOfReach,
}

/// The tenants of one namespace and database that come before one.
#[derive(Default)]
pub struct Older {
    /// How many they are.
    pub count: usize,
    /// The name of one of them that is refused itself. It keeps its turn, since it may be allowed at any moment.
    pub refused: Option<String>,
}

/// Looks up what the tenant points to.
pub async fn resolve(tenant: &TenantSchema, ctx: &Context) -> (Resolved, Stand) {
    let name = tenant.spec.database();
    let namespace = tenant.namespace().unwrap_or_default();
    let database = ctx.stores.databases.get(&ObjectRef::new(name));
    let found = ctx.stores.namespaces.get(&ObjectRef::new(&namespace));
    let namespace_labels = found.as_ref().map(|found| found.labels().clone());
    let namespace_uid = found.and_then(|found| found.uid());
    let limited = database
        .as_ref()
        .and_then(|database| database.spec.limits.as_ref())
        .is_some_and(|limits| limits.max_tenants_per_namespace.is_some());
    let older = if limited { older(tenant, name, &ctx.stores.in_namespace(&namespace)) } else { Older::default() };
    let deleted = tenant.metadata.deletion_timestamp.as_ref().map(|at| at.0);
    let newest_deletion = deleted.map(|at| ctx.deletions.note(name, at));
    let host = Host::of(name, database.is_some(), ctx).await;
    let held = match (&host, &database) {
        (Host::Open(lane), Some(database)) => {
            let unread = lane.endpoint.for_clients(database.spec.client_endpoint.as_ref(), None).err();
            let missing =
                || lane.addresses.missing(&names(&database.spec)).map(|why| (Reason::ClientHostNotFound, why));
            unread.map(|why| (Reason::ClientAuthorityMissing, why)).or_else(missing)
        }
        _ => None,
    };
    let reach = match host {
        Host::Open(_) | Host::Elsewhere => Reach::Reached,
        Host::Unavailable { .. } if ctx.lanes.lease(name).is_none() => Reach::Unsettled,
        Host::Unavailable { .. } | Host::Missing => Reach::OutOfReach,
    };
    let uid = tenant.metadata.uid.as_deref().unwrap_or_default();
    if is_made(tenant) {
        ctx.begun.remove(uid);
    }
    let may_have_schema = is_made(tenant) || ctx.begun.has(uid);
    let facts = Resolved {
        cluster: ctx.cluster.clone(),
        database,
        may_have_schema,
        reach,
        namespace_labels,
        namespace_uid,
        now: ctx.clock.now(),
        newest_deletion,
        held,
        backups: backups(tenant, &namespace, ctx),
        older,
    };
    (facts, Stand { database: Some(name.to_owned()), host })
}

/// Tenants of one namespace and database are ordered by creation and name, so that the same ones are within a limit in
/// any order of looking. The API keeps whole seconds, so a tenant with a schema comes before all without one: it never
/// loses its place by its name.
#[must_use]
pub fn older(tenant: &TenantSchema, database: &str, all: &[Arc<TenantSchema>]) -> Older {
    let rank =
        |tenant: &TenantSchema| (!is_made(tenant), tenant.metadata.creation_timestamp.clone(), tenant.name_any());
    let own = rank(tenant);
    let comes_before = |other: &&Arc<TenantSchema>| {
        other.metadata.namespace == tenant.metadata.namespace
            && other.spec.database() == database
            && other.metadata.deletion_timestamp.is_none()
            && rank(other) < own
    };
    let is_refused = |other: &&Arc<TenantSchema>| {
        let conditions = other.status.as_ref().map(|status| status.conditions.as_slice());
        !is_made(other) && find(conditions.unwrap_or_default(), ConditionType::Stalled).is_some()
    };
    let before: Vec<_> = all.iter().filter(comes_before).collect();
    let refused = before.iter().find(|other| is_refused(other)).map(|other| other.name_any());
    Older { count: before.len(), refused }
}

/// The `SchemaBackup`s of a tenant's schedules that are there.
fn backups(tenant: &TenantSchema, namespace: &str, ctx: &Context) -> BTreeMap<String, Arc<SchemaBackup>> {
    let told = tenant.status.iter().flat_map(|status| &status.schedules).flat_map(|schedule| &schedule.backups);
    told.filter_map(|name| {
        let found = ctx.stores.backups.get(&ObjectRef::new(name).within(namespace))?;
        let label = found.labels().get(TENANT_UID);
        (label.is_some() && label == tenant.metadata.uid.as_ref()).then(|| (name.clone(), found))
    })
    .collect()
}

/// Whether the tenant's status tells of a schema.
fn is_made(tenant: &TenantSchema) -> bool {
    tenant.status.as_ref().is_some_and(|status| status.schema_id.is_some())
}
