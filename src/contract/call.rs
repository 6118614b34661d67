//! How a management function ended. Pure.

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Call, Refusal};

/// How a management function ended.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum CallStatus {
    /// Done.
    Success,
    /// It was so already.
    Unchanged,
    /// A bounded part is done and committed; call again.
    Partial,
    /// Another session holds the lock; call again later.
    Busy,
    /// Nothing was done; the log has the reason.
    Error,
}

/// What one management function answered.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct CallResult {
    /// The function, when it was called as one of several steps.
    #[serde(default = "no_step")]
    pub call: Call,
    /// How it ended.
    pub status: CallStatus,
    /// For people: attempt, thing and way out.
    pub message: String,
    /// The tenant it was about.
    pub schema_id: Option<Uuid>,
    /// What depends on the function; see [`CallResult::reason`].
    #[serde(default)]
    pub detail: Value,
}

impl CallResult {
    /// The machine-readable reason of an error, from a closed set.
    #[must_use]
    pub fn reason(&self) -> Refusal {
        Refusal::from(self.text("reason").unwrap_or_default())
    }

    /// A text of the detail.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.detail.get(key).and_then(Value::as_str)
    }

    /// True when the database met something that may pass by itself, such as a disk that is full.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        self.status == CallStatus::Error && self.text("sqlstate").is_some_and(may_pass)
    }

    /// True when this operator's epoch is older than the lane's, or the database is another installation.
    #[must_use]
    pub fn lane_lost(&self) -> bool {
        matches!(self.reason(), Refusal::StaleEpoch | Refusal::WrongInstallation)
    }

    /// True when the server was started again or the database went back to an older state: the lane is to be claimed again.
    #[must_use]
    pub fn needs_new_claim(&self) -> bool {
        matches!(self.reason(), Refusal::WentBack | Refusal::ServerRestarted)
    }
}

fn no_step() -> Call {
    Call::Other(Box::default())
}

/// Whether an error with this SQLSTATE may pass by itself: the same list as `sql/schema_management/_may_pass.sql`,
/// which has the reasons and knows some messages besides.
#[must_use]
pub fn may_pass(code: &str) -> bool {
    const STATES: [&str; 13] = [
        "25006", "25P03", "25P04", "55006", "55P03", "57000", "57014", "57P01", "57P02", "57P03", "57P05", "58000",
        "58030",
    ];
    ["08", "40", "53"].iter().any(|class| code.starts_with(class)) || STATES.contains(&code)
}
