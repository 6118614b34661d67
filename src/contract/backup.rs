//! What is asked and answered about one backup. Pure.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{BackupState, Claim, JobRow, Owner};

/// One question about one backup.
#[derive(Clone, Debug, Serialize)]
pub struct BackupQuestion<'a> {
    /// The SchemaBackup that asks.
    #[serde(flatten)]
    pub object: &'a Owner,
    /// The row it had, if its status knows.
    pub backup_id: Option<Uuid>,
    /// How it is to be made; with it, what an earlier object of the same names finished is found as well.
    pub method: Option<&'a str>,
    /// The UID of the TenantSchema it is of, if that is there.
    pub tenant_uid: Option<&'a str>,
}

/// Everything the database knows that concerns one backup.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub struct BackupAnswer {
    /// The catalogue's row.
    pub backup: Option<BackupRow>,
    /// The newest job about it.
    pub job: Option<JobRow>,
    /// The tenant it is of.
    pub tenant: Option<Claim>,
}

/// A backup in the catalogue.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct BackupRow {
    /// Its id.
    pub backup_id: Uuid,
    /// The tenant it is of.
    pub schema_id: Uuid,
    /// The tenant's schema when it was made.
    pub schema_name: String,
    /// `Snapshot` or `SetAside`.
    pub method: String,
    /// The schema that holds it.
    pub location: Option<String>,
    /// `requested`, `running`, `complete`, `failed`, `cancelled`, `purging`, `purged`.
    pub state: BackupState,
    /// When work on it began.
    pub started_at: Option<Timestamp>,
    /// When it was finished.
    pub completed_at: Option<Timestamp>,
    /// In bytes.
    pub size_bytes: Option<i64>,
    /// Its tables.
    pub table_count: Option<i32>,
    /// Its rows, all tables together.
    pub row_count: Option<i64>,
    /// Over the content of all tables.
    pub checksum: Option<String>,
    /// When it will be removed.
    pub expires_at: Option<Timestamp>,
    /// Why it failed.
    pub error: Option<String>,
    /// The SchemaBackup that it is of.
    pub object: Option<Owner>,
}
