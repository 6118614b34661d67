//! What is left of a tenant that was dropped.

use serde::Deserialize;
use uuid::Uuid;

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
    pub backup_state: Option<String>,
    /// Its schema is gone, whatever becomes of its roles.
    #[serde(default)]
    pub schema_gone: bool,
    /// What is in the way of its removal, if that was tried.
    #[serde(default)]
    pub held_up: Option<HeldUp>,
}

/// Why a removal that was tried is not done; it is tried again by itself.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct HeldUp {
    /// The function's words.
    pub error: String,
    /// What kind of thing a person has to do; none when it may pass by itself.
    pub reason: Option<String>,
}
