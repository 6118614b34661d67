//! What a survey found that a tenant's roles may do beyond its schema. Pure.

use serde::Deserialize;

use super::words::words;

words! {
    /// What lets a tenant out.
    HoleKind {
        /// A role of it has one such as `BYPASSRLS`.
        Attribute = "attribute",
        /// A role of it is a member of one that is not its own.
        Membership = "membership",
        /// It may make schemas in the database.
        Database = "database",
        /// It may use or fill a schema that is not its own.
        Schema = "schema",
        /// It may read the registry, or write a table that all tenants see.
        Table = "table",
        /// It may call a function that runs with more rights.
        Function = "function",
    }
}

/// One right that a tenant's roles should not have.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Hole {
    /// What it is.
    pub kind: HoleKind,
    /// For people.
    pub what: String,
    /// The functions can take it back.
    pub repairable: bool,
    /// What takes it back; nothing where it stands for several.
    pub statement: Option<String>,
}
