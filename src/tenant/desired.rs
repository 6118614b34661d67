//! Stage 2: what is wanted, or why the spec cannot be followed. Pure, and the last reader of `spec`.
//!
//! Defaults and limits of the database are applied here and shown in `status.effective`; nothing is written to `spec`.
//! Limits bind new tenants: a tenant that runs is clamped, or marked `OutsideLimits` and left alone.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    adoption::{Adopts, adopts},
    credential::{self, Credential, Logins},
    grants::{Grants, grants},
    limits::{allow_count, allow_name, allow_namespace, credentials, policy, quota},
    resolve::{Reach, Resolved},
    schedules::{Scheduled, has_own, schedules},
};
use crate::{
    api::{
        self, TenantDatabase, TenantSchema,
        command::{Kind, List},
        condition::{ConditionType, Reason, find},
        credentials::CredentialsStatus,
        endpoint::{ClientEndpoint, ReadEndpoint},
        policy::{DeletionPolicy, Enforcement},
        tenant_database::{InstitutionsMode, Limits},
        tenant_schema::{Access, Effective, FinalBackup, Place},
        transfer::{ObjectName, Transfer},
    },
    contract::{Brake, InstitutionSource, Owner, Quota, RowSecurity},
    frame::{Invalid, Leave},
    ident::{InstitutionId, SchemaName},
};

/// What a living tenant is to be.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "the wishes are independent of one another")]
pub struct Desired {
    /// The object that it belongs to.
    pub owner: Owner,
    /// The registry row that its status remembers.
    pub known: Option<Uuid>,
    /// The schema.
    pub schema_name: SchemaName,
    /// The institution, if it belongs to one.
    pub institution: Option<InstitutionId>,
    /// An unknown institution is registered.
    pub register_institution: bool,
    /// The application's own table of institutions.
    pub institution_source: Option<InstitutionSource>,
    /// Free JSON for the registry; or what is wrong with that of a tenant that exists: everything else goes on.
    pub config: Result<Map<String, Value>, String>,
    /// The limit in force.
    pub quota: Option<Quota>,
    /// The percentage of the limit from which on there is a warning.
    pub warning_percent: i32,
    /// What happens when the limit is reached.
    pub enforcement: Enforcement,
    /// Whether it may be used.
    pub access: Access,
    /// Where applications connect to, if not where the operator does.
    pub client: Option<ClientEndpoint>,
    /// Where they may only read, if there is such a place.
    pub read: Option<ReadEndpoint>,
    /// One of these names has no address, so that no Secret leads there and the status goes on telling what they lead to.
    pub leads_nowhere: bool,
    /// What its applications and its migrations are to log in with, and what the status tells of it.
    pub logins: Vec<Logins>,
    /// Which rows its applications have, if the spec asks for policies.
    pub row_security: Option<RowSecurity>,
    /// The status tells that a Secret could not be written.
    pub was_refused: bool,
    /// What it gives to others.
    pub grants: Grants,
    /// How its schedules are to stand.
    pub schedules: Vec<Scheduled>,
    /// What is wrong with one of them: everything else goes on.
    pub bad_schedule: Option<String>,
    /// The time by the API server's clock.
    pub now: Timestamp,
    /// What to make again, empty: the annotation's value, which counts for one loss or one schema that is set aside.
    pub recreate: Option<String>,
    /// What an earlier object of this namespace and name left behind, or another one gives, is to be taken.
    pub reclaim: bool,
    /// A schema that stands already is to become the tenant's.
    pub adopts: Option<Adopts>,
    /// The object whose tenant the owners of the database give to this one.
    pub given_by: Option<ObjectName>,
    /// Nothing is to be done; what would be is shown.
    pub paused: bool,
    /// The database is being deleted and takes no new tenants.
    pub leaving: bool,
    /// What holds after defaults and limits.
    pub effective: Effective,
    /// What the limits of today would refuse.
    pub outside: Option<Invalid>,
}

impl Desired {
    /// Where applications find the tenant, if the operator finds it there.
    #[must_use]
    pub fn place(&self, own: &Place) -> Place {
        let mut place = self.client.as_ref().map_or_else(|| own.clone(), |client| client.place(own));
        place.read_endpoint = self.read.as_ref().map(|read| read.place(place.port));
        place
    }
}

/// What becomes of a tenant that is deleted. Depends on no valid spec: a bad one must not keep an object from going.
#[derive(Clone, Debug, PartialEq)]
pub struct Removal {
    /// The object that it belongs to; the database compares.
    pub owner: Owner,
    /// The TenantDatabase that it is in.
    pub database: String,
    /// The schema, as status or spec have it.
    pub schema_name: Option<String>,
    /// What happens to the schema.
    pub policy: DeletionPolicy,
    /// What may be dropped: the annotation's value, which counts for one tenant.
    pub confirm_drop: Option<String>,
    /// `abandon` names the schema and this very object.
    pub abandoned: bool,
    /// The object that the owners of the database give the tenant to.
    pub given_to: Option<ObjectName>,
    /// What is published if the schema stays, so that the Secrets stay as well, and what the status tells of those before.
    pub secrets: Vec<(Credential, CredentialsStatus)>,
    /// For how many days what is set aside is kept; nothing means for ever.
    pub expire_after_days: Option<i32>,
    /// When it was deleted, by the API server's clock.
    pub deleted_at: Option<Timestamp>,
    /// How many deletions may come before this one; nothing when it was confirmed.
    pub brake: Option<Brake>,
    /// What its status says of why it waits.
    pub told: Option<String>,
    /// When a tenant of this database was deleted last.
    pub newest_deletion: Option<Timestamp>,
    /// Nothing is to be done; what would be is shown.
    pub paused: bool,
    /// As far as is known without asking the database, there may be a schema.
    pub may_have_schema: bool,
}

impl Removal {
    /// True when the schema stays as it is.
    #[must_use]
    pub fn stays(&self) -> bool {
        self.policy == DeletionPolicy::Retain || self.abandoned || self.given_to.is_some()
    }
}

/// What the tenant is to be, given what its spec points to.
pub fn desired(tenant: &TenantSchema, resolved: &Resolved) -> Result<Desired, Invalid> {
    let database = resolved.database.as_deref().ok_or_else(|| Invalid {
        reason: Reason::DatabaseNotFound,
        message: format!(
            "there is no TenantDatabase {:?}; the platform team makes it, and knows which there are ({})",
            tenant.spec.database(),
            List(Kind::TenantDatabase)
        ),
    })?;
    let labels = resolved.namespace_labels.as_ref().ok_or_else(|| Invalid {
        reason: Reason::Progressing,
        message: format!("namespace {} is not known yet", tenant.namespace().unwrap_or_default()),
    })?;
    let spec = &tenant.spec;
    let schema_name = tenant.schema_name().map_err(invalid)?;
    let institution = spec.institution().map_err(invalid)?;
    let known = known_schema_id(tenant);
    let config = match spec.config() {
        Ok(Value::Object(config)) => Ok(config),
        Ok(_) => return Err(invalid("spec.config is not a JSON object")),
        Err(error) if known.is_none() => return Err(invalid(error)),
        Err(error) => Err(error.to_string()),
    };
    let (schedules, bad_schedule) = schedules(tenant, database.spec.defaults.as_ref(), resolved);
    if let (Some(error), None, true) = (&bad_schedule, known, has_own(tenant)) {
        return Err(invalid(error));
    }
    let mut outside = Vec::new();
    allow_namespace(database, labels, tenant, &mut outside);
    let adopts = adopts(tenant, database, &schema_name)?;
    if adopts.is_none() {
        allow_name(database, labels, &schema_name, tenant, &mut outside);
    }
    allow_count(database, resolved, tenant, &mut outside);
    let quota = quota(spec.quota.as_ref(), database, &mut outside)?;
    let policy = policy(tenant, Some(database), &mut outside);
    let credentials = credentials(tenant, Some(database), &mut outside);
    // A new tenant meets all limits or is not made; the first complaint is enough to say so.
    let outside = match (known, outside.into_iter().next()) {
        (None, Some(complaint)) => return Err(complaint),
        (_, complaint) => complaint,
    };
    Ok(Desired {
        owner: owner(tenant, resolved),
        known,
        given_by: transfers(database)
            .find(|entry| {
                entry.gives_to(schema_name.as_str(), &tenant.namespace().unwrap_or_default(), &tenant.name_any())
            })
            .map(|entry| entry.from.clone()),
        reclaim: api::confirms(&tenant.metadata, api::RECLAIM, schema_name.as_str()),
        adopts,
        paused: api::is_paused(&tenant.metadata),
        recreate: tenant.annotations().get(api::RECREATE).cloned(),
        leads_nowhere: resolved.held.as_ref().is_some_and(|(reason, _)| *reason == Reason::ClientHostNotFound),
        client: database.spec.client_endpoint.clone(),
        read: database.spec.read_endpoint.clone(),
        logins: credential::logins(tenant, resolved, &credentials, schema_name.as_str(), policy),
        row_security: spec.row_level_security.as_ref().map(RowSecurity::from),
        was_refused: was_refused(tenant),
        grants: grants(tenant, database, labels),
        schedules,
        bad_schedule,
        now: resolved.now,
        schema_name,
        institution,
        register_institution: database.spec.institutions_mode() == InstitutionsMode::Register,
        institution_source: InstitutionSource::of(database),
        config,
        warning_percent: quota.warning_percent,
        enforcement: quota.enforcement,
        access: spec.access(),
        leaving: database.metadata.deletion_timestamp.is_some(),
        effective: Effective {
            database_ref: Some(spec.database().to_owned()),
            deletion_policy: Some(policy),
            final_backup: Some(final_backup(policy)),
            final_expire_after_days: final_expiry(policy, tenant, Some(database)),
            quota_limit: quota.quota.as_ref().map(|quota| quota.shown.clone()),
            enforcement: quota.quota.is_some().then_some(quota.enforcement),
        },
        quota: quota.quota,
        outside,
    })
}

/// What becomes of the deleted tenant.
#[must_use]
pub fn removal(tenant: &TenantSchema, resolved: &Resolved) -> Removal {
    let remembered = tenant.status.as_ref().and_then(|status| status.schema_name.clone());
    let schema_name = remembered.or_else(|| tenant.schema_name().ok().map(|name| name.as_str().to_owned()));
    let owner = owner(tenant, resolved);
    let abandons = |name: &str| api::confirms(&tenant.metadata, api::ABANDON, &api::bound(name, &owner.uid));
    let wanted = policy(tenant, resolved.database.as_deref(), &mut Vec::new());
    let removal = Removal {
        database: tenant.spec.database().to_owned(),
        given_to: None,
        secrets: schema_name.as_deref().map_or_else(Vec::new, |name| credential::left_behind(tenant, resolved, name)),
        policy: remembered_policy(tenant).map_or(wanted, |remembered| wanted.safer(remembered)),
        confirm_drop: tenant.annotations().get(api::CONFIRM_DROP).cloned(),
        abandoned: schema_name.as_deref().is_some_and(abandons),
        expire_after_days: final_expiry(DeletionPolicy::BackupThenDrop, tenant, resolved.database.as_deref()),
        deleted_at: tenant.metadata.deletion_timestamp.as_ref().map(|at| at.0),
        brake: brake(tenant, resolved),
        told: tenant
            .status
            .as_ref()
            .and_then(|status| find(&status.conditions, ConditionType::Stalled))
            .map(|stalled| stalled.message.clone()),
        newest_deletion: resolved.newest_deletion,
        paused: api::is_paused(&tenant.metadata),
        may_have_schema: resolved.may_have_schema,
        schema_name,
        owner,
    };
    let given_to = resolved.database.as_deref().and_then(|database| given_to(&removal, database));
    Removal { given_to, ..removal }
}

/// What the deleted tenant waits for. A tenant that goes to another object also stays as it is, and the database is
/// told if it can be reached.
#[must_use]
pub fn leave(tenant: &TenantSchema, resolved: &Resolved) -> Leave<Removal> {
    let removal = removal(tenant, resolved);
    let is_told = removal.given_to.is_some() && resolved.reach == Reach::Reached;
    if removal.abandoned {
        Leave::Abandoned(removal)
    } else if resolved.reach == Reach::OutOfReach && !resolved.may_have_schema {
        Leave::Nothing(removal)
    } else if removal.stays() && !is_told {
        Leave::AsItIs(removal)
    } else {
        Leave::Asked(removal)
    }
}

/// The object that the owners of the database give a deleted tenant to.
#[must_use]
pub fn given_to(removal: &Removal, database: &TenantDatabase) -> Option<ObjectName> {
    let schema_name = removal.schema_name.as_deref()?;
    let Owner { namespace, name, .. } = &removal.owner;
    let entry = transfers(database).find(|entry| entry.takes_from(schema_name, namespace, name))?;
    Some(entry.to.clone())
}

fn transfers(database: &TenantDatabase) -> impl Iterator<Item = &Transfer> {
    database.spec.transfers.iter().flatten()
}

/// What becomes of a tenant that went without waiting for us. It counts as deleted now, and no object is left to confirm that
/// its data may go.
#[must_use]
pub fn removal_of_passed_over(tenant: &TenantSchema, resolved: &Resolved, now: Timestamp) -> Removal {
    let mut tenant = tenant.clone();
    tenant.metadata.deletion_timestamp = Some(Time(now));
    let removal = removal(&tenant, resolved);
    Removal { policy: removal.policy.safer(DeletionPolicy::BackupThenDrop), ..removal }
}

/// The policy that the tenant was told to have. It counts too, because defaults and limits of the database may be changed by
/// accident, or not be there to be asked.
fn remembered_policy(tenant: &TenantSchema) -> Option<DeletionPolicy> {
    tenant.status.as_ref()?.effective.as_ref()?.deletion_policy
}

/// The brake on this deletion. It looks at the hour before the deletion and not at the last one: what a stopped wave
/// left stays until a person confirms it, and does not go bit by bit.
fn brake(tenant: &TenantSchema, resolved: &Resolved) -> Option<Brake> {
    let deleted = tenant.metadata.deletion_timestamp.as_ref()?.0;
    let database = resolved.database.as_deref();
    let confirmed = database.and_then(|database| api::confirmed_deletions(&database.metadata, resolved.now));
    if confirmed.is_some_and(|until| deleted <= until) {
        return None;
    }
    let by_default = Limits::DEFAULT_MAX_DELETIONS_PER_HOUR;
    Some(Brake {
        since: deleted - SignedDuration::from_hours(1),
        limit: database.map_or(by_default, |database| database.spec.max_deletions_per_hour()),
    })
}

/// For how many days what is set aside is kept, if it is to expire.
fn final_expiry(policy: DeletionPolicy, tenant: &TenantSchema, database: Option<&TenantDatabase>) -> Option<i32> {
    if policy != DeletionPolicy::BackupThenDrop {
        return None;
    }
    let defaults = database.and_then(|database| database.spec.defaults.as_ref());
    tenant.spec.backup_policy(defaults).final_expire_after_days
}

fn was_refused(tenant: &TenantSchema) -> bool {
    let stalled = tenant.status.as_ref().and_then(|status| find(&status.conditions, ConditionType::Stalled));
    stalled.is_some_and(|stalled| Reason::of_secrets().iter().any(|reason| stalled.reason == reason.as_str()))
}

#[allow(clippy::needless_pass_by_value, reason = "so that it can be handed to map_err")]
pub(super) fn invalid(error: impl ToString) -> Invalid {
    Invalid { reason: Reason::InvalidSpec, message: error.to_string() }
}

fn owner(tenant: &TenantSchema, resolved: &Resolved) -> Owner {
    Owner {
        cluster: resolved.cluster.clone(),
        namespace: tenant.namespace().unwrap_or_default(),
        name: tenant.name_any(),
        uid: tenant.uid().unwrap_or_default(),
        namespace_uid: resolved.namespace_uid.clone(),
    }
}

fn known_schema_id(tenant: &TenantSchema) -> Option<Uuid> {
    tenant.status.as_ref()?.schema_id.as_deref()?.parse().ok()
}

const fn final_backup(policy: DeletionPolicy) -> FinalBackup {
    match policy {
        DeletionPolicy::BackupThenDrop => FinalBackup::SetAside,
        DeletionPolicy::Drop | DeletionPolicy::Retain => FinalBackup::None,
    }
}
