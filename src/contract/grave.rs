//! What is left of a tenant that was dropped or set aside. Pure.

use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use super::{BackupState, Claim, Refusal};

/// A dropped tenant.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Tombstone {
    /// The tenant.
    pub schema_id: Uuid,
    /// The backup that holds what it was.
    pub backup_id: Option<Uuid>,
    /// The schema that holds it.
    pub location: Option<String>,
    /// `complete`, `purging`, `purged` …
    pub backup_state: Option<BackupState>,
    /// Its schema is gone; its roles may still be there.
    #[serde(default)]
    pub schema_gone: bool,
    /// What is in the way of its removal, if that was tried.
    #[serde(default)]
    pub held_up: Option<HeldUp>,
}

/// Why a removal that was tried is not done; the operator tries again.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct HeldUp {
    /// The function's words.
    pub error: String,
    /// What kind of thing a person has to do; none when it may pass by itself.
    pub reason: Option<Refusal>,
}

/// A schema that was set aside when its tenant was deleted.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct SetAside {
    /// The backup that it is.
    pub backup_id: Uuid,
    /// The tenant that it was.
    pub holder: Claim,
    /// `complete`, or `purging` once its removal has begun.
    pub state: BackupState,
    /// The schema that holds it.
    pub location: String,
    /// In bytes.
    pub size_bytes: Option<i64>,
    /// Its tables.
    pub table_count: Option<i32>,
    /// When the tenant was dropped.
    pub dropped_at: Timestamp,
}
