//! Why a lane does not open, in words for a person.

use thiserror::Error;

use crate::{
    api::command::Command,
    contract::{Contest, Missing, Party},
    ident::IdentError,
    postgres::{self},
};

/// Why the lane does not open.
#[derive(Debug, Error)]
pub enum Closed {
    /// The database, or the way to it.
    #[error(transparent)]
    Postgres(#[from] postgres::Error),
    /// The owner role has no valid name.
    #[error("spec.ownerRole: {0}")]
    OwnerRole(#[from] IdentError),
    /// The server is too old.
    #[error("{place}: PostgreSQL {version} is not supported; versions 15 to 18 are")]
    UnsupportedVersion {
        /// What was tried.
        place: String,
        /// Its version.
        version: String,
    },
    /// The server only reads.
    #[error("{0}: the server is a read-only standby; point the Secret to the primary, or wait for the failover to end")]
    ReadOnlyStandby(String),
    /// The server would write, and a setting forbids it.
    #[error("{place}: a setting lets this login read only (default_transaction_read_only); a DBA runs: {statement}")]
    ReadOnlySetting {
        /// What was tried.
        place: String,
        /// What ends it.
        statement: String,
    },
    /// The login may not do what is needed.
    #[error("the login {user} lacks: {}", missing_text(.missing))]
    InsufficientPrivilege {
        /// The login.
        user: String,
        /// What it lacks.
        missing: Vec<Missing>,
    },
    /// Functions that only a later release understands.
    #[error("the functions in the database are of release {installed} (contract {contract}), which this release {} does not understand; upgrade the operator", env!("CARGO_PKG_VERSION"))]
    FunctionsNewer {
        /// Their release.
        installed: String,
        /// Their contract.
        contract: i32,
    },
    /// `Verified`, and the functions are older or changed.
    #[error("{0}")]
    FunctionsUnverified(String),
    /// `Verified`, and nothing is installed.
    #[error("the functions are not installed and spec.functions is Verified; a DBA runs: {0}")]
    FunctionsMissing(String),
    /// The Secret leads to another database than before.
    #[error(
        "this is not the database that was installed: expected installation {expected}, found {found}; nothing was changed. \
         Correct the Secret; or, if this database is to take the other's place: {take_over}"
    )]
    DatabaseChanged {
        /// What status remembers.
        expected: String,
        /// What is there.
        found: String,
        /// What allows it.
        take_over: Box<Command>,
    },
    /// Another cluster manages it.
    #[error(
        "this database is managed by TenantDatabase {tenant_database} of another cluster ({cluster}); nothing was changed. If \
         that cluster is gone for good: {take_over}"
    )]
    ManagedElsewhere {
        /// The other's kube-system UID.
        cluster: String,
        /// The other's name.
        tenant_database: String,
        /// What gives this one its place.
        take_over: Box<Command>,
    },
    /// Another TenantDatabase of this cluster manages it.
    #[error(
        "TenantDatabase {other} manages this database already; one database has one TenantDatabase. If {other} is gone for \
         good: {take_over}"
    )]
    Duplicate {
        /// The one that has it.
        other: String,
        /// What gives this one its place.
        take_over: Box<Command>,
    },
    /// An operator that is at work keeps the lane.
    #[error("{}", contested(.0))]
    Contested(Box<Contest>),
}

/// Two operators that want one database, and what to do about it. Both say the same of it.
#[must_use]
pub fn contested(contest: &Contest) -> String {
    format!(
        "two operators want this database: {} works on it, and {} asks for it. Nothing is deleted and nothing expires until one \
         is alone: stop the one that is not meant, or give it a database of its own",
        party(&contest.holder),
        party(&contest.contender)
    )
}

fn party(party: &Party) -> String {
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    let Party { holder, cluster, tenant_database, lease, from } = party;
    format!(
        "{} (TenantDatabase {} of cluster {}, Lease {}, connected from {})",
        known(holder),
        known(tenant_database),
        known(cluster),
        known(lease),
        known(from)
    )
}

fn missing_text(missing: &[Missing]) -> String {
    let lines: Vec<_> = missing.iter().map(|one| format!("{} (a DBA runs: {})", one.what, one.statement)).collect();
    lines.join("; ")
}
