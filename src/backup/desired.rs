//! Stage 2: what is wanted. Pure, and the last reader of `spec`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use uuid::Uuid;

use super::resolve::Resolved;
use crate::{
    api::{
        ABANDON, SchemaBackup, TenantSchema,
        backup_policy::{SCHEDULE, TENANT_UID, asks_for, is_asked_for},
        bound,
        command::{Command, Object, Verb},
        condition::{Conditions, Reason},
        confirms,
        schema_backup::{BackupDeletionPolicy, BackupMethod, Verification},
        tenant_database::TenantDefaults,
    },
    contract::{Owner, RetentionRule, ScheduledBackup},
    frame::{Invalid, Leave},
    text::is_object_name,
};

/// What a backup is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// The object that asks.
    pub object: Owner,
    /// The catalogue row that its status remembers.
    pub known: Option<Uuid>,
    /// The tenant, by the name that the spec gives it.
    pub tenant_name: String,
    /// The tenant, if it is there.
    pub tenant: Option<Tenant>,
    /// How it is made.
    pub method: BackupMethod,
    /// How it is proved, if it is an archive.
    pub verification: Verification,
    /// After how many days it may be removed; if absent, never by itself.
    pub expire_after_days: Option<i32>,
    /// The schedule of the tenant that asks for it, and which backups of its schedules stay.
    pub scheduled: Option<ScheduledBackup>,
    /// A schedule of another tenant of this name asked for it.
    pub is_of_another: bool,
    /// The status says how it ended, and no other process has written it since.
    pub settled: bool,
}

/// The tenant that a backup is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// UID of its object.
    pub uid: String,
    /// Its row in the registry, once it has one.
    pub schema_id: Option<Uuid>,
}

/// What becomes of a backup whose object is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The object.
    pub object: Owner,
    /// The catalogue row that its status remembers.
    pub known: Option<Uuid>,
    /// The backup goes with the object.
    pub delete: bool,
    /// The backup is finished, so that nothing must be cancelled.
    pub complete: bool,
    /// When the object was deleted.
    pub deleted_at: Option<Timestamp>,
}

impl Removal {
    /// The command that lets the object go and leaves the backup in the database.
    pub fn abandon(&self) -> Command {
        let Owner { namespace, name, uid, .. } = &self.object;
        Object::backup(namespace, name).annotate(ABANDON, bound(name, uid))
    }
}

/// What the backup is to be, or that nothing is known of its tenant yet.
pub fn desired(backup: &SchemaBackup, resolved: &Resolved) -> Result<Desired, Invalid> {
    let tenant = resolved.tenant.as_ref().map(|tenant| Tenant {
        uid: tenant.uid().unwrap_or_default(),
        schema_id: tenant.status.as_ref().and_then(|status| status.schema_id.as_deref()?.parse().ok()),
    });
    let status = backup.status.as_ref();
    let settled = status.is_some_and(|status| status.backup_id.is_some() && status.is_at_rest(&backup.metadata));
    let desired = Desired {
        object: object(backup, resolved),
        known: known(backup),
        settled: settled && !resolved.touched,
        tenant_name: backup.spec.tenant_schema_ref.name.clone(),
        tenant,
        method: backup.spec.method(),
        verification: backup.spec.verification(),
        expire_after_days: backup.spec.expire_after_days,
        is_of_another: is_of_another(backup, resolved.tenant.as_deref()),
        scheduled: resolved.tenant.as_deref().and_then(|tenant| scheduled(backup, tenant, resolved.defaults.as_ref())),
    };
    if resolved.database.is_none() {
        return Err(Invalid { reason: Reason::TenantNotFound, message: no_tenant(&desired) });
    }
    Ok(desired)
}

/// One message for a missing tenant and for one without a schema yet, so that it stays true when the tenant appears.
#[must_use]
pub fn no_tenant(desired: &Desired) -> String {
    let Desired { object: Owner { namespace, .. }, tenant_name, .. } = desired;
    if !is_object_name(tenant_name) {
        return format!("no TenantSchema can be called {tenant_name:?}; make another SchemaBackup");
    }
    format!(
        "TenantSchema {tenant_name} of namespace {namespace} is not there or has no schema yet; the backup is made when it has: \
         {}",
        Object::tenant(namespace, tenant_name).to(Verb::Get)
    )
}

/// What the deleted backup waits for. In a namespace that is deleted it counts as kept: a user who deletes a namespace did
/// not say that the backups may go.
#[must_use]
pub fn leave(backup: &SchemaBackup, resolved: &Resolved) -> Leave<Removal> {
    let removal = Removal {
        object: object(backup, resolved),
        known: known(backup),
        delete: backup.spec.deletion_policy() == BackupDeletionPolicy::Delete && !resolved.namespace_ends,
        complete: backup.is_complete(),
        deleted_at: backup.metadata.deletion_timestamp.as_ref().map(|at| at.0),
    };
    if confirms(&backup.metadata, ABANDON, &bound(&backup.name_any(), backup.uid().unwrap_or_default())) {
        return Leave::Abandoned(removal);
    }
    // A backup without a database never came into a catalogue.
    if removal.complete && !removal.delete || resolved.database.is_none() {
        return Leave::AsItIs(removal);
    }
    Leave::Asked(removal)
}

/// Which schedule asks for a backup, if that is so: the status of the tenant says that it is due, or was the last one, and this is what is
/// asked for. The word of the object alone would let a user who may make backups push older ones out.
fn scheduled(
    backup: &SchemaBackup,
    tenant: &TenantSchema,
    defaults: Option<&TenantDefaults>,
) -> Option<ScheduledBackup> {
    let name = backup.labels().get(SCHEDULE)?;
    let told = tenant.status.as_ref()?.schedules.iter().find(|told| told.name == *name)?;
    let policy = tenant.spec.backup_policy(defaults);
    let schedule = policy.schedules.iter().flatten().find(|schedule| schedule.name == *name)?;
    let is_at = |at: &Time| {
        let wanted = asks_for(tenant, schedule, at.0);
        wanted.name_any() == backup.name_any() && is_asked_for(backup, &wanted, at.0)
    };
    [&told.next_schedule_time, &told.last_schedule_time].into_iter().flatten().any(is_at).then(|| ScheduledBackup {
        schedule: name.clone(),
        retention: RetentionRule::of(&policy.retention(), schedule.zone()),
    })
}

/// A schedule of another tenant asked for it, of the same name, which is gone: this one's data are not what it is of.
fn is_of_another(backup: &SchemaBackup, tenant: Option<&TenantSchema>) -> bool {
    let of = backup.labels().get(TENANT_UID);
    of.is_some() && tenant.is_some_and(|tenant| of != tenant.metadata.uid.as_ref())
}

fn object(backup: &SchemaBackup, resolved: &Resolved) -> Owner {
    Owner {
        cluster: resolved.cluster.clone(),
        namespace: backup.namespace().unwrap_or_default(),
        name: backup.name_any(),
        uid: backup.uid().unwrap_or_default(),
        namespace_uid: resolved.namespace_uid.clone(),
    }
}

fn known(backup: &SchemaBackup) -> Option<Uuid> {
    backup.status.as_ref()?.backup_id.as_deref()?.parse().ok()
}
