//! What server, database and login are before anything is installed. Pure.

use serde::Deserialize;

/// What the server, the database and the login are, before anything is installed.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "the facts are independent of one another")]
pub struct DatabaseFacts {
    /// As `150018`.
    pub server_version_num: i32,
    /// As `15.18`.
    pub server_version: String,
    /// True on a standby.
    pub in_recovery: bool,
    /// The statement that ends it, when a setting lets the login read only.
    pub read_only: Option<String>,
    /// PostgreSQL's name of the database.
    pub database_name: String,
    /// True when the registry schema is there.
    pub registry_exists: bool,
    /// True when the functions are there and may be called.
    pub installed: bool,
    /// True when the owner role and the two that are named after it stand.
    pub roles_exist: bool,
    /// True when the login may call the functions: it has the operator role.
    pub is_operator: bool,
    /// True when the owner role may make schemas in this database and let logins connect to it; another database of the
    /// server may have made the role.
    pub owner_has_its_rights: bool,
    /// True when the login may act as the owner role.
    pub can_set_owner_role: bool,
    /// What the login lacks to install and upgrade the functions.
    pub missing: Vec<Missing>,
    /// What the login lacks to call them.
    pub missing_for_verified: Vec<Missing>,
}

/// A privilege that is not there, and how to give it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Missing {
    /// For people.
    pub what: String,
    /// The SQL that a DBA runs.
    pub statement: String,
}
