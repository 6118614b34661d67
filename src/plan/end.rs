//! Where applying a plan ended, for every kind the same. Pure.

use std::fmt;

use jiff::Timestamp;

use crate::{
    api::condition::{Readiness, Reason, Verdict},
    contract::{CallResult, CallStatus, Refusal},
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
        /// When it is so, if that is a time.
        until: Option<Timestamp>,
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
        let waits = |reason| Some(Self::Waits { reason, message: result.message.clone(), until: None });
        match result.status {
            CallStatus::Success | CallStatus::Unchanged => None,
            CallStatus::Partial | CallStatus::Busy => waits(Reason::ProgressingWithRetry),
            CallStatus::Error if result.lane_lost() || result.needs_new_claim() => waits(Reason::DatabaseNotReady),
            CallStatus::Error if result.may_pass() => waits(Reason::ProgressingWithRetry),
            CallStatus::Error => {
                Some(Self::Refused { reason: reason_of(&result.reason()), message: result.message.clone() })
            }
        }
    }

    /// A text of the plan fits into no database of this encoding. No other text of a plan has letters beyond ASCII than `config`.
    #[must_use]
    pub fn unstorable(error: &impl fmt::Display) -> Self {
        let message = format!("spec.config has a text that this database cannot store: {error}");
        Self::Refused { reason: Reason::InvalidSpec, message }
    }

    /// What the end says of an object that is not as it should be; nothing when it is, or may go.
    #[must_use]
    pub fn verdict(&self, waiting: Readiness) -> Option<Verdict> {
        match self {
            Self::Done | Self::Released => None,
            Self::Waits { reason, message, .. } => Some(Verdict::of(*reason, message.clone(), waiting)),
            Self::Refused { reason, message } => Some(Verdict::of(*reason, message.clone(), false)),
        }
    }
}

/// The reason that a condition gives for a refusal of the database. A refusal without one is explained in the message.
#[must_use]
pub fn reason_of(word: &Refusal) -> Reason {
    match word {
        Refusal::NameTaken | Refusal::InstitutionTaken | Refusal::SetAside | Refusal::NotOwner => Reason::Conflict,
        Refusal::InvalidName => Reason::InvalidSpec,
        Refusal::InstitutionUnknown => Reason::InstitutionUnknown,
        Refusal::SchemaMissing => Reason::SchemaMissing,
        Refusal::TablesMissing => Reason::TablesMissing,
        Refusal::Dependents => Reason::DependentsExist,
        Refusal::DeletionBrake => Reason::DeletionBrake,
        Refusal::LaneContested => Reason::LaneContested,
        Refusal::NotRepairable => Reason::DriftNotRepairable,
        Refusal::InsufficientPrivilege => Reason::InsufficientPrivilege,
        Refusal::StaleEpoch
        | Refusal::WrongInstallation
        | Refusal::WentBack
        | Refusal::ServerRestarted
        | Refusal::Cancelled
        | Refusal::Busy
        | Refusal::NotFound
        | Refusal::OwnedByTenantSchema
        | Refusal::ManagedElsewhere
        | Refusal::UnreadableTables
        | Refusal::TooManyTables
        | Refusal::Isolation
        | Refusal::Copy
        | Refusal::Contested
        | Refusal::Internal
        | Refusal::Other(_) => Reason::OperationFailed,
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
            let answer = json!({ "status": "error", "message": "no", "call": "create_tenant_schema", "schema_id": null, "detail": detail });
            let end = End::of(&serde_json::from_value(answer).unwrap());
            assert_eq!(matches!(end, Some(End::Waits { .. })), waits, "{end:?}");
        }
    }
}
