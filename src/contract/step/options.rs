//! What calls are given, where a field has a type of its own. Pure.

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::Step;
use crate::{contract::words::words, quantity::Bytes};

/// For which object steps are applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The namespace of the object; empty for what the operator does by itself.
    pub namespace: String,
    /// The UID of the tenant's object.
    pub tenant: Option<String>,
    /// Who asked, as the log of operations shows it.
    pub requested_by: String,
}

/// A quota as it is in force, and as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How much.
    pub limit: Bytes,
    /// As the spec or a default has it.
    pub shown: String,
}

impl Serialize for Quota {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.limit.as_i64())
    }
}

/// What stops a wave of deletions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Brake {
    /// An hour before this deletion.
    pub since: Timestamp,
    /// How many tenants may be dropped since then.
    pub limit: i32,
}

words! {
    /// What a login of a tenant is for.
    Purpose {
        /// Its applications, which read and write.
        Connection = "connection",
        /// Its migrations, which act as its owner role.
        Migration = "migration",
    }
}

impl Purpose {
    /// Who logs in for it, for people.
    #[must_use]
    pub const fn users(&self) -> &'static str {
        match self {
            Self::Migration => "migrations",
            Self::Connection | Self::Other(_) => "applications",
        }
    }

    /// The field of the spec that asks for a Secret.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Migration => "migrationSecret",
            Self::Connection | Self::Other(_) => "connectionSecret",
        }
    }
}

/// Why logins are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawal {
    /// The spec does not ask for a Secret any more.
    NotWanted,
    /// A user said that a password has leaked.
    Revoked,
    /// They are of an earlier life of the tenant; it was begun before.
    Begun,
}

/// What [`Step::SetTenantConfig`] changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigChange {
    /// Only the free JSON.
    Config,
    /// Only the quota.
    Quota,
    /// Both.
    Both,
}

/// Steps as `apply_steps` takes them; `requested_by` is who asked, as the log of operations shows it.
pub fn document(steps: &[Step], requested_by: &str) -> Result<Value, serde_json::Error> {
    let mut document = serde_json::to_value(steps)?;
    for step in document.as_array_mut().into_iter().flatten() {
        step["options"]["requested_by"] = json!(requested_by);
    }
    Ok(document)
}
