//! What the API server says when it does not take a Secret. Pure.

use super::Error;
use crate::api::condition::Reason;

/// How the message of the chart's policy begins. By these words the operator knows that the policy is in force.
pub const GUARD_WORDS: &str = "the operator may write only Secrets that belong to a TenantSchema";

/// What the same policy says of a Secret that was compared.
pub const DIFFERS_WORDS: &str = "the Secret has another credential";

/// Why a Secret was not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing keeps the operator from writing other Secrets, so it writes none.
    Unguarded,
    /// A Secret of the name is not the tenant's.
    Foreign,
    /// It was only compared, and has another content.
    Differs,
    /// The API server refuses it, in its words.
    Forbidden(String),
    /// The API server did not answer, or something else that passes.
    MayPass(String),
}

impl Refusal {
    /// What an error means for a Secret that is written.
    #[must_use]
    pub fn of(error: Error) -> Self {
        match error {
            // A Secret that is not ours is the only one that the policy keeps us from, since what we write is right.
            Error::Refused { message, .. } if message.contains(GUARD_WORDS) => Self::Foreign,
            Error::Refused { message, .. } if message.contains(DIFFERS_WORDS) => Self::Differs,
            // Too many requests, a time-out and a conflict pass.
            Error::Refused { code: 408 | 409 | 429, message, .. } => Self::MayPass(message),
            Error::Refused { code: 400..=499, message, .. } => Self::Forbidden(message),
            other => Self::MayPass(other.to_string()),
        }
    }

    /// The reason that a condition gives; nothing for what passes.
    #[must_use]
    pub const fn reason(&self) -> Option<Reason> {
        match self {
            Self::Unguarded => Some(Reason::SecretsUnguarded),
            Self::Foreign => Some(Reason::SecretConflict),
            Self::Forbidden(_) => Some(Reason::CredentialsForbidden),
            Self::Differs | Self::MayPass(_) => None,
        }
    }
}
