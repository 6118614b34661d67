//! What the API server says when it does not take a Secret. Pure.

use super::Error;
use crate::api::condition::Reason;

/// How the message of the chart's policy begins. By these words the operator knows that the policy is in force.
pub const GUARD_WORDS: &str = "the operator may write only Secrets that belong to a TenantSchema";

/// What the same policy says of a Secret that was compared.
pub const DIFFERS_WORDS: &str = "the Secret has another credential";

/// How the API server says that a Secret of the name has another type. It finds that before it asks a policy.
const OTHER_TYPE: &str = "type: Invalid value: \"servicebinding.io/postgresql\": field is immutable";

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
            Error::Refused { message, .. } if message.contains(GUARD_WORDS) || message.contains(OTHER_TYPE) => {
                Self::Foreign
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_api_server_says_is_told_apart() {
        let check = |code: u16, message: &str, expected: Option<Reason>| {
            let error = Error::Refused { attempt: String::new(), code, message: message.to_owned() };
            let refusal = Refusal::of(error);
            assert_eq!(refusal.reason(), expected, "{refusal:?}");
        };
        let policy = "ValidatingAdmissionPolicy 'x' with binding 'x' denied request: ";
        check(422, &format!("{policy}{GUARD_WORDS}, and the one that is there does not"), Some(Reason::SecretConflict));
        check(
            422,
            "Secret \"n\" is invalid: type: Invalid value: \"servicebinding.io/postgresql\": field is immutable",
            Some(Reason::SecretConflict),
        );
        check(422, &format!("{policy}{DIFFERS_WORDS}, or leads elsewhere"), None);
        check(403, "secrets is forbidden: exceeded quota: none", Some(Reason::CredentialsForbidden));
        check(422, "data: Forbidden: field is immutable when `immutable` is set", Some(Reason::CredentialsForbidden));
        for code in [408, 409, 429, 500, 503] {
            check(code, "later", None);
        }
        let away = Error::Unreachable { attempt: String::new(), message: "no route".to_owned() };
        assert_eq!(Refusal::of(away).reason(), None);
    }
}
