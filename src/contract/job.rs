//! Long work in the catalogue: what is asked for, what it waits for, what was claimed. Pure.

use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use super::Refusal;

/// A job in the catalogue.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct JobRow {
    /// Its id.
    pub job_id: Uuid,
    /// `snapshot` or `purge`.
    pub kind: String,
    /// `requested`, `running`, `done`, `failed`, `cancelled`.
    pub state: String,
    /// The backup that it makes or removes.
    pub backup_id: Option<Uuid>,
    /// Which try this is.
    #[serde(default)]
    pub attempt: i32,
    /// Why the latest try failed.
    #[serde(default)]
    pub error: Option<String>,
    /// What kind of thing a person has to do about that; none when it may pass by itself.
    #[serde(default)]
    pub reason: Option<Refusal>,
    /// What it waits for, if it is requested and something else has its place.
    #[serde(default)]
    pub waits: Option<JobWaits>,
}

/// What a requested snapshot waits for. Other tenants are not named to who asks.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct JobWaits {
    /// The kind of the tenant's own job that is running, of which there is one at a time; none when only those of others are.
    pub own: Option<String>,
    /// When the one that has been running longest began.
    pub since: Timestamp,
}

/// A job that was claimed.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct ClaimedJob {
    /// Its id.
    pub job_id: Uuid,
    /// `snapshot` or `purge`.
    pub kind: String,
    /// The tenant it is about.
    pub schema_id: Option<Uuid>,
    /// The tenant's schema.
    pub schema_name: Option<String>,
    /// The backup that it makes or removes.
    pub backup_id: Option<Uuid>,
    /// Which try this is, from 1.
    pub attempt: i32,
    /// Tables, indexes and TOAST of the tenant, as the latest survey measured them.
    #[serde(default)]
    pub storage_bytes: Option<i64>,
}

impl ClaimedJob {
    /// Whether it removes something; otherwise it copies.
    #[must_use]
    pub fn is_purge(&self) -> bool {
        self.kind == "purge"
    }
}
