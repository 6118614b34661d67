//! Where applying a plan ended, for every kind the same.

use crate::{
    api::condition::{Readiness, Reason, Verdict},
    contract::{CallResult, CallStatus},
};

/// Where applying a plan ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything is as it should be.
    Done,
    /// The object may go.
    Released,
    /// Something must come first, and comes by itself.
    Waits {
        /// From the closed set.
        reason: Reason,
        /// What is waited for.
        message: String,
    },
    /// A person must act.
    Refused {
        /// From the closed set.
        reason: Reason,
        /// What is wrong, where, and the way out.
        message: String,
    },
}

impl End {
    /// Why a function's answer ends the plan, if it does.
    #[must_use]
    pub fn of(result: &CallResult) -> Option<Self> {
        let waits = |reason| Some(Self::Waits { reason, message: result.message.clone() });
        match result.status {
            CallStatus::Success | CallStatus::Unchanged => None,
            CallStatus::Partial | CallStatus::Busy => waits(Reason::ProgressingWithRetry),
            CallStatus::Error if result.lane_lost() || result.needs_new_claim() => waits(Reason::DatabaseNotReady),
            CallStatus::Error if result.may_pass() => waits(Reason::ProgressingWithRetry),
            CallStatus::Error => {
                let reason = Self::reason_of(result.reason());
                Some(Self::Refused { reason, message: result.message.clone() })
            }
        }
    }

    /// How a refusal of the database's is called in a condition.
    #[must_use]
    pub fn reason_of(word: &str) -> Reason {
        match word {
            "name_taken" | "institution_taken" | "set_aside" | "not_owner" => Reason::Conflict,
            "invalid_name" => Reason::InvalidSpec,
            "institution_unknown" => Reason::InstitutionUnknown,
            "schema_missing" => Reason::SchemaMissing,
            "tables_missing" => Reason::TablesMissing,
            "dependents" => Reason::DependentsExist,
            "deletion_brake" => Reason::DeletionBrake,
            "lane_contested" => Reason::LaneContested,
            "not_repairable" => Reason::DriftNotRepairable,
            "insufficient_privilege" => Reason::InsufficientPrivilege,
            _ => Reason::OperationFailed,
        }
    }

    /// What the end says of an object that is not as it should be; nothing when it is, or may go.
    #[must_use]
    pub fn verdict(&self, waiting: Readiness) -> Option<Verdict> {
        match self {
            Self::Done | Self::Released => None,
            Self::Waits { reason, message } => Some(Verdict::reconciling(*reason, message.clone(), waiting)),
            Self::Refused { reason, message } => Some(Verdict::stalled(*reason, message.clone(), false)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_may_pass_is_waited_for_and_the_rest_is_for_a_person() {
        for (detail, waits) in [
            (json!({ "reason": "internal", "sqlstate": "53100" }), true),
            (json!({ "reason": "cancelled", "sqlstate": "57014" }), true),
            (json!({ "reason": "stale_epoch" }), true),
            (json!({ "reason": "went_back" }), true),
            (json!({ "reason": "server_restarted" }), true),
            (json!({ "reason": "lane_contested" }), false),
            (json!({ "reason": "internal", "sqlstate": "42P01" }), false),
            (json!({ "reason": "dependents" }), false),
        ] {
            let answer = json!({ "status": "error", "message": "no", "schema_id": null, "detail": detail });
            let end = End::of(&serde_json::from_value(answer).unwrap());
            assert_eq!(matches!(end, Some(End::Waits { .. })), waits, "{end:?}");
        }
    }
}
