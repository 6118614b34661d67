//! What is said about what a tenant logs in with. Pure.
//!
//! A credential is a password; only its verifier goes to the database, and its id is what logs, Events and statuses have.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Purpose;

/// What a login may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginLimits {
    /// How many sessions it may have at once.
    pub connection_limit: i32,
    /// How many seconds a statement may take, by default of its sessions; 0 for any number.
    pub statement_timeout_seconds: i32,
    /// How many seconds a session may be idle in a transaction, by default of its sessions; 0 for any number.
    pub idle_in_transaction_timeout_seconds: i32,
}

impl fmt::Display for LoginLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connection_limit, statement_timeout_seconds, idle_in_transaction_timeout_seconds } = self;
        write!(f, "{connection_limit} sessions")?;
        for (what, seconds) in
            [("statement", statement_timeout_seconds), ("idle in transaction", idle_in_transaction_timeout_seconds)]
        {
            if *seconds > 0 {
                write!(f, ", {what} at most {seconds} s")?;
            }
        }
        Ok(())
    }
}

/// The credential of a tenant, as the registry has it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct CredentialRow {
    /// What its logins are for.
    pub purpose: Purpose,
    /// The login in use.
    pub login: String,
    /// Which password it has.
    pub credential_id: Uuid,
    /// Since when.
    pub issued_at: Timestamp,
    /// The login that was in use before, while it is open.
    pub previous_login: Option<String>,
    /// Until when that stays open.
    pub previous_until: Option<Timestamp>,
    /// When that was closed; another call ends what came in meanwhile.
    pub previous_closed_at: Option<Timestamp>,
    /// When all was closed; another call ends what came in meanwhile.
    pub withdrawn_at: Option<Timestamp>,
    /// What the login in use may.
    #[serde(flatten)]
    pub limits: LoginLimits,
}

/// What is made when a plan is applied: a plan is a value, and the same each time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewCredential {
    /// Which password it is.
    pub credential_id: Uuid,
    /// What the database keeps of it.
    pub verifier: Verifier,
}

/// What a server checks a password by. It goes over the wire and is printed nowhere.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Verifier(String);

impl Verifier {
    /// Takes the text as PostgreSQL keeps it.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_goes_over_the_wire_and_is_not_printed() {
        let verifier = Verifier::new("SCRAM-SHA-256$secret".to_owned());
        let new = NewCredential { credential_id: Uuid::nil(), verifier };
        assert!(!format!("{new:?}").contains("secret"));
        assert_eq!(serde_json::to_value(&new).unwrap()["verifier"], "SCRAM-SHA-256$secret");
    }
}
