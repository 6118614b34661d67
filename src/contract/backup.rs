//! What is asked and answered about one backup. Pure.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{BackupState, Claim, JobRow, Owner};
use crate::api::{backup_policy::Retention, schema_backup::BackupMethod};

/// Which schedule of a tenant asks for a backup, and which of those that its schedules asked for stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScheduledBackup {
    /// The schedule.
    pub schedule: String,
    /// What stays.
    pub retention: RetentionRule,
}

/// Which backups stay: each that one of these keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RetentionRule {
    /// So many of the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_last: Option<i32>,
    /// The newest of each of so many days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_daily: Option<i32>,
    /// The newest of each of so many weeks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_weekly: Option<i32>,
    /// The newest of each of so many months.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_monthly: Option<i32>,
    /// The newest of each of so many years.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_yearly: Option<i32>,
    /// None that is older, in days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_days: Option<i32>,
    /// Whose days, weeks, months and years.
    pub time_zone: String,
}

impl RetentionRule {
    /// What a spec says, by the clock of this time zone.
    #[must_use]
    pub fn of(retention: &Retention, time_zone: &str) -> Self {
        Self {
            keep_last: retention.keep_last,
            keep_daily: retention.keep_daily,
            keep_weekly: retention.keep_weekly,
            keep_monthly: retention.keep_monthly,
            keep_yearly: retention.keep_yearly,
            max_age_days: retention.max_age_days,
            time_zone: time_zone.to_owned(),
        }
    }
}

impl fmt::Display for ScheduledBackup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = &self.retention;
        write!(f, "for schedule {}, of which stay:", self.schedule)?;
        for (number, what) in [
            (kept.keep_last, "newest"),
            (kept.keep_daily, "daily"),
            (kept.keep_weekly, "weekly"),
            (kept.keep_monthly, "monthly"),
            (kept.keep_yearly, "yearly"),
        ] {
            if let Some(number) = number {
                write!(f, " {number} {what}")?;
            }
        }
        kept.max_age_days.map_or(Ok(()), |days| write!(f, " at most {days} days old"))
    }
}

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
    /// `Snapshot`, `SetAside` or `Archive`.
    pub method: String,
    /// The schema that holds it; of an archive the key of its file in the store.
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
    /// The URL of the store that an archive was written into; former functions do not tell.
    #[serde(default)]
    pub store: Option<String>,
    /// Of an archive's file, in hexadecimal digits.
    #[serde(default)]
    pub artefact_sha256: Option<String>,
    /// Of an archive's manifest in the store, in hexadecimal digits.
    #[serde(default)]
    pub manifest_sha256: Option<String>,
    /// Which verification was asked for: `None`, `Checksum` or `Restore`.
    #[serde(default)]
    pub verification: Option<String>,
    /// When its file was read again and compared.
    #[serde(default)]
    pub verified_at: Option<Timestamp>,
    /// How.
    #[serde(default)]
    pub verified_how: Option<String>,
    /// What proved it: `Checksum` or `Restore`; releases that did not tell knew `Checksum` alone.
    #[serde(default)]
    pub verified_by: Option<String>,
    /// What was asked for and not proved, and why.
    #[serde(default)]
    pub unproved: Option<String>,
    /// The catalogue has given it up, and its store lets nothing be deleted.
    #[serde(default)]
    pub kept_by_store: bool,
}

impl BackupRow {
    /// It is in a store, and not in the database.
    #[must_use]
    pub fn is_archive(&self) -> bool {
        self.method == BackupMethod::Archive.as_str()
    }
}
