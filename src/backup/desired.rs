//! Stage 2: what is wanted. Pure, and the last reader of `spec`.

use kube::ResourceExt;
use uuid::Uuid;

use super::resolve::Resolved;
use crate::{
    api::{
        ABANDON, SchemaBackup, bound, confirms,
        schema_backup::{BackupDeletionPolicy, BackupMethod},
    },
    contract::Owner,
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
    /// When it may be removed; never by itself without.
    pub expire_after_days: Option<i32>,
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
    /// The object may go without the database: a user said so.
    pub abandoned: bool,
}

/// What the backup is to be.
#[must_use]
pub fn desired(backup: &SchemaBackup, resolved: &Resolved) -> Desired {
    let tenant = resolved.tenant.as_ref().map(|tenant| Tenant {
        uid: tenant.uid().unwrap_or_default(),
        schema_id: tenant.status.as_ref().and_then(|status| status.schema_id.as_deref()?.parse().ok()),
    });
    Desired {
        object: object(backup, resolved),
        known: known(backup),
        tenant_name: backup.spec.tenant_schema_ref.name.clone(),
        tenant,
        method: backup.spec.method(),
        expire_after_days: backup.spec.expire_after_days,
    }
}

/// What becomes of the deleted backup. In a namespace that is deleted it counts as kept: who deletes a namespace did
/// not say that the backups may go.
#[must_use]
pub fn removal(backup: &SchemaBackup, resolved: &Resolved, namespace_ends: bool) -> Removal {
    Removal {
        object: object(backup, resolved),
        known: known(backup),
        delete: backup.spec.deletion_policy() == BackupDeletionPolicy::Delete && !namespace_ends,
        complete: backup.is_complete(),
        abandoned: confirms(&backup.metadata, ABANDON, &bound(&backup.name_any(), backup.uid().unwrap_or_default())),
    }
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
