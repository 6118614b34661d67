//! What is said about policies on a tenant's tables. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    api::row_security::{RowLevelSecurity, RowPolicy, RowSecurityMode},
    text::hex,
};

/// What a tenant asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RowSecurity {
    /// What becomes of that which reads or writes past the policies; nothing where no policies are asked for.
    pub mode: Option<RowSecurityMode>,
    /// The policies.
    pub policies: Vec<RowPolicy>,
    /// Stands for both.
    pub digest: String,
}

impl RowSecurity {
    /// Nothing is asked for.
    #[must_use]
    pub const fn none() -> Self {
        Self { mode: None, policies: Vec::new(), digest: String::new() }
    }
}

impl From<&RowLevelSecurity> for RowSecurity {
    fn from(spec: &RowLevelSecurity) -> Self {
        let mode = spec.mode.unwrap_or_default();
        let mut hash = Sha256::new();
        hash.update(format!("{mode:?}"));
        for policy in &spec.policies {
            // Debug text quotes every string, so no two policies are written alike.
            hash.update(format!("{policy:?}"));
        }
        Self { mode: Some(mode), policies: spec.policies.clone(), digest: hex(&hash.finalize()) }
    }
}

impl fmt::Display for RowSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(mode) = self.mode else { return f.write_str("take back the operator's policies and what they took") };
        let names: Vec<_> = self.policies.iter().map(|policy| policy.name.as_str()).collect();
        write!(f, "{mode:?}: tables get the policies {}", names.join(", "))
    }
}

/// How a tenant's policies stand, as the registry has it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct RowSecurityRow {
    /// Stands for what was asked for last.
    pub digest: String,
    /// How it stands.
    #[serde(flatten)]
    pub state: RowSecurityState,
}

/// How a tenant's policies stand.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct RowSecurityState {
    /// Tables that have policies of ours.
    pub tables: i32,
    /// What reads or writes past them, the first five.
    pub uncovered: Vec<Uncovered>,
    /// How many that are.
    pub uncovered_count: i64,
    /// For tables whose owner is bound by their policies as well, the statements that end that, the first five.
    pub forced: Vec<String>,
    /// Tables, views and functions at which there is more to do; only an answer of the function tells it.
    #[serde(default)]
    pub left: i64,
    /// A table that a session holds.
    #[serde(default)]
    pub held: Option<String>,
}

impl RowSecurityState {
    /// What the answer of the function tells.
    #[must_use]
    pub fn of(detail: &Value) -> Option<Self> {
        serde_json::from_value(detail.clone()).ok()
    }
}

/// What reads or writes past policies.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Uncovered {
    /// What it is, for people.
    pub what: String,
    /// What ends it.
    pub statement: Option<String>,
}
