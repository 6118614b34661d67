//! How a management function ended. Pure.

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Call, Purpose, Refusal};

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

    /// True when this function did something to the logins of this purpose.
    #[must_use]
    pub fn succeeded_for(&self, call: &Call, purpose: &Purpose) -> bool {
        self.call == *call && self.status == CallStatus::Success && self.text("purpose") == Some(purpose.as_str())
    }

    /// How many sessions were ended.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.detail.get("ended").and_then(Value::as_u64).unwrap_or_default()
    }

    /// This answer of a second call stands for the first as well, which had ended sessions too. A session that was ended goes on
    /// being listed for a moment, and counts once.
    pub fn add_ended(&mut self, first: &Self) {
        let pids = |result: &Self| result.detail.get("pids").and_then(Value::as_array).cloned().unwrap_or_default();
        let (mut both, second) = (pids(first), pids(self));
        both.extend(second.into_iter().filter(|pid| !pids(first).contains(pid)));
        if let Value::Object(detail) = &mut self.detail {
            detail.insert("ended".to_owned(), both.len().into());
            detail.insert("pids".to_owned(), both.into());
        }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn result(status: &str, detail: &Value) -> CallResult {
        let answer = json!({ "status": status, "message": "", "schema_id": null, "detail": detail });
        serde_json::from_value(answer).unwrap()
    }

    #[test]
    fn an_error_may_pass_by_what_the_server_calls_it() {
        let check = |status: &str, code: &str, expected: bool| {
            assert_eq!(result(status, &json!({ "sqlstate": code })).may_pass(), expected, "{status} {code}");
        };
        for code in ["08006", "40001", "53200", "55P03", "57014", "58030"] {
            check("error", code, true);
            check("busy", code, false);
        }
        for code in ["42501", "0A000", "22023", "TS001", "55000", ""] {
            check("error", code, false);
        }
        assert!(!result("error", &json!({})).may_pass());
    }

    #[test]
    fn a_session_that_two_calls_ended_counts_once() {
        let first = result("partial", &json!({ "ended": 2, "pids": [7, 8] }));
        let mut second = result("success", &json!({ "ended": 2, "pids": [8, 9] }));
        second.add_ended(&first);
        assert_eq!((second.ended(), &second.detail["pids"]), (3, &json!([7, 8, 9])));
        let mut none = result("success", &json!({}));
        none.add_ended(&result("partial", &json!({})));
        assert_eq!(none.ended(), 0);
    }

    #[test]
    fn a_refusal_says_whether_the_lane_is_lost_or_is_to_be_claimed_again() {
        let check = |reason: &str, lost: bool, again: bool| {
            let result = result("error", &json!({ "reason": reason }));
            assert_eq!((result.lane_lost(), result.needs_new_claim()), (lost, again), "{reason}");
        };
        check("stale_epoch", true, false);
        check("wrong_installation", true, false);
        check("went_back", false, true);
        check("server_restarted", false, true);
        check("name_taken", false, false);
        check("word_of_tomorrow", false, false);
    }
}
