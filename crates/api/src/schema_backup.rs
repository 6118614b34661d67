//! `SchemaBackup`: one backup of one tenant, asked for by a user or by a schedule of the tenant.
//!
//! Backups themselves live in the database's catalogue; the object is the request for one and shows it, so it may go
//! while the backup stays.

#![allow(clippy::duplicated_attributes, reason = "every printer column has a type of its own")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::Summary;
use super::{SCHEMA_BACKUP_FINALIZER, schema};

/// Which tenant is backed up, how, and what becomes of the backup.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "edumatrixhub.io",
    version = "v1alpha1",
    kind = "SchemaBackup",
    namespaced,
    status = "SchemaBackupStatus",
    shortname = "sb",
    category = "edumatrixhub",
    derive = "PartialEq",
    doc = "One backup of one tenant.",
    selectable = ".spec.tenantSchemaRef.name",
    printcolumn(name = "Tenant", type_ = "string", json_path = ".spec.tenantSchemaRef.name"),
    printcolumn(name = "Method", type_ = "string", json_path = ".status.method"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.summary.reason"),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.size"),
    printcolumn(name = "Completed", type_ = "date", json_path = ".status.completionTime"),
    printcolumn(name = "Verified", type_ = "date", json_path = ".status.verifiedTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Schedule",
        type_ = "string",
        priority = 1,
        json_path = ".metadata.labels.edumatrixhub\\.io/schedule"
    ),
    printcolumn(name = "Location", type_ = "string", priority = 1, json_path = ".status.location"),
    printcolumn(name = "Expires", type_ = "string", priority = 1, json_path = ".status.expireTime"),
    printcolumn(name = "Message", type_ = "string", priority = 1, json_path = ".status.summary.message")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self == oldSelf")
        .message("spec is immutable: it describes one backup; make another SchemaBackup")
        .reason(Reason::FieldValueForbidden)
)]
pub struct SchemaBackupSpec {
    /// The tenant to back up, in the same namespace.
    pub tenant_schema_ref: TenantSchemaRef,

    /// How the backup is made, while the tenant works. `Snapshot`: a consistent copy of structure and data in a schema beside the
    /// tenant's. `Archive`: what `pg_dump` writes, in the `backupStore` of the `TenantDatabase`.
    ///
    /// Default: `Snapshot`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<BackupMethod>,

    /// How an archive is proved before the backup counts as complete. `Checksum`: it is read back, and its length and SHA-256 are
    /// compared; where the operator has the identity it is also decrypted, and its table of contents read. `Restore`: it is also restored
    /// into a scratch database, and rows and hashes of every table are compared; the condition `Verified` says how far that went. `None`: it
    /// is not. Of a snapshot it says nothing.
    ///
    /// Default: `Checksum`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,

    /// After how many days from its completion the backup is removed.
    ///
    /// Default: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 36500))]
    pub expire_after_days: Option<i32>,

    /// What happens to the backup when this object is deleted. `Delete`: it is removed. `Retain`: it
    /// stays in the catalogue. In a namespace that is being deleted it always stays.
    ///
    /// Default: `Retain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<BackupDeletionPolicy>,
}

/// Which `TenantSchema` is meant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantSchemaRef {
    /// The name of the `TenantSchema`.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME))]
    pub name: String,
}

/// How a backup is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::schema::undescribed)]
pub enum BackupMethod {
    /// A copy in a schema beside the tenant's.
    #[default]
    Snapshot,
    /// A dump in an object store.
    Archive,
}

/// How an archive is proved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::schema::undescribed)]
pub enum Verification {
    /// It is not.
    None,
    /// It is read back and compared.
    #[default]
    Checksum,
    /// It is read back, compared and restored.
    Restore,
}

/// What happens to a backup when its object is deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::schema::undescribed)]
pub enum BackupDeletionPolicy {
    /// It is removed.
    Delete,
    /// It stays.
    #[default]
    Retain,
}

/// What is known about a backup.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SchemaBackupStatus {
    /// The `metadata.generation` that this status is about; -1 before the operator has seen the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1, max = 9_007_199_254_740_992_i64))]
    pub observed_generation: Option<i64>,

    /// `Ready` always, True once the backup is finished; `Reconciling` while it is being made and `Stalled` while a
    /// person must act. `Verified` of an archive that was to be proved: True when all was proved that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,

    /// The condition that a user should read first: what the columns REASON and MESSAGE show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,

    /// The name of the `TenantDatabase` whose catalogue has the backup. It is kept here because the backup outlives its
    /// tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub database_ref: Option<String>,

    /// The id of the tenant in the registry, a UUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub schema_id: Option<String>,

    /// The id of the backup in the catalogue, a UUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub backup_id: Option<String>,

    /// How the backup was made.
    #[serde(default, deserialize_with = "schema::known_word", skip_serializing_if = "Option::is_none")]
    pub method: Option<BackupMethod>,

    /// Where the backup is: of a snapshot the name of its schema, of an archive its key in the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub location: Option<String>,

    /// When it was begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,

    /// When it was finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,

    /// The size of the backup, for people: 3 significant digits and a binary unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub size: Option<String>,

    /// Its size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_992_i64))]
    pub size_bytes: Option<i64>,

    /// How many tables it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub table_count: Option<i32>,

    /// How many rows it has, in all tables together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_992_i64))]
    pub row_count: Option<i64>,

    /// A hash of its content.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub checksum: Option<String>,

    /// The store that an archive is in: its URL, and after `#` the beginning of the id that is in the status of the `TenantDatabase`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub store: Option<String>,

    /// When an archive was read back last and found whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_time: Option<Time>,

    /// How it was verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub verified_how: Option<String>,

    /// When it will be removed; absent if never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire_time: Option<Time>,
}

impl SchemaBackup {
    /// It came to an end, one way or the other.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.completion_time.is_some())
    }

    /// Whether the object needs this TenantDatabase now: its backup is being made, or is to go with the object. A
    /// backup that is finished and not deleted needs none until it is deleted.
    #[must_use]
    pub fn needs_database(&self, name: &str) -> bool {
        self.status.as_ref().and_then(|status| status.database_ref.as_deref()) == Some(name)
            && self.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == SCHEMA_BACKUP_FINALIZER)
            && (!self.is_complete()
                || self.metadata.deletion_timestamp.is_some()
                    && self.spec.deletion_policy() == BackupDeletionPolicy::Delete)
    }
}

impl SchemaBackupSpec {
    /// How the backup is made.
    #[must_use]
    pub fn method(&self) -> BackupMethod {
        self.method.unwrap_or_default()
    }

    /// How an archive is proved.
    #[must_use]
    pub fn verification(&self) -> Verification {
        self.verification.unwrap_or_default()
    }

    /// What happens to the backup when its object is deleted.
    #[must_use]
    pub fn deletion_policy(&self) -> BackupDeletionPolicy {
        self.deletion_policy.unwrap_or_default()
    }
}

impl Verification {
    /// The word as manifests have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Checksum => "Checksum",
            Self::Restore => "Restore",
        }
    }
}

impl BackupMethod {
    /// Every method.
    pub const ALL: [Self; 2] = [Self::Snapshot, Self::Archive];

    /// The word as manifests have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "Snapshot",
            Self::Archive => "Archive",
        }
    }

    /// The method of this word; none of another release's, or of one that no manifest asks for.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETAIN: Option<BackupDeletionPolicy> = Some(BackupDeletionPolicy::Retain);
    const DELETE: Option<BackupDeletionPolicy> = Some(BackupDeletionPolicy::Delete);

    /// A backup in the catalogue of `main`.
    fn backup(complete: bool, deleted: bool, deletion_policy: Option<BackupDeletionPolicy>) -> SchemaBackup {
        let time = Time("2026-01-31T12:00:00Z".parse().unwrap());
        let mut backup = SchemaBackup::new("b", SchemaBackupSpec { deletion_policy, ..SchemaBackupSpec::default() });
        backup.metadata.finalizers = Some(vec!["other/one".to_owned(), SCHEMA_BACKUP_FINALIZER.to_owned()]);
        backup.metadata.deletion_timestamp = deleted.then(|| time.clone());
        backup.status = Some(SchemaBackupStatus {
            database_ref: Some("main".to_owned()),
            completion_time: complete.then_some(time),
            ..SchemaBackupStatus::default()
        });
        backup
    }

    #[test]
    fn a_database_is_needed_while_a_backup_is_made_or_goes_with_its_object() {
        let check = |backup: &SchemaBackup, expected: bool| {
            assert_eq!(backup.needs_database("main"), expected, "{backup:?}");
            assert!(!backup.needs_database("other"), "{backup:?}");
        };
        check(&backup(false, false, RETAIN), true);
        check(&backup(false, true, RETAIN), true);
        check(&backup(true, false, RETAIN), false);
        check(&backup(true, false, DELETE), false);
        check(&backup(true, true, RETAIN), false);
        check(&backup(true, true, None), false);
        check(&backup(true, true, DELETE), true);
    }

    #[test]
    fn an_object_that_nothing_was_made_for_keeps_no_database() {
        let mut backup = backup(false, true, DELETE);
        backup.metadata.finalizers = Some(vec!["other/one".to_owned()]);
        assert!(!backup.needs_database("main"));
        backup.metadata.finalizers = Some(vec![SCHEMA_BACKUP_FINALIZER.to_owned()]);
        assert!(backup.needs_database("main"));
        backup.status = None;
        assert!(!backup.needs_database("main"));
    }

    #[test]
    fn a_backup_is_complete_once_it_has_a_time_of_completion() {
        assert!(backup(true, false, RETAIN).is_complete());
        assert!(!backup(false, false, RETAIN).is_complete());
        assert!(!SchemaBackup::new("b", SchemaBackupSpec::default()).is_complete());
    }

    #[test]
    fn a_backup_is_a_snapshot_that_stays_unless_the_spec_says_otherwise() {
        let check = |spec: &str, method: &str, deletion_policy: BackupDeletionPolicy| {
            let spec = format!(r#"{{"tenantSchemaRef": {{"name": "a"}}{spec}}}"#);
            let spec: SchemaBackupSpec = serde_json::from_str(&spec).unwrap();
            assert_eq!((spec.method().as_str(), spec.deletion_policy()), (method, deletion_policy));
        };
        check("", "Snapshot", BackupDeletionPolicy::Retain);
        check(r#", "deletionPolicy": "Retain""#, "Snapshot", BackupDeletionPolicy::Retain);
        check(r#", "method": "Snapshot", "deletionPolicy": "Delete""#, "Snapshot", BackupDeletionPolicy::Delete);
    }
}
