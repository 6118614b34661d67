//! What is said about grants to others. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{api::transfer::ObjectName, contract::words::words};

/// Who gets a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum GrantTo {
    /// A role of the server.
    Role {
        /// Its name.
        role: String,
    },
    /// A TenantSchema.
    Tenant(ObjectName),
}

impl fmt::Display for GrantTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role { role } => write!(f, "role {role}"),
            Self::Tenant(name) => name.fmt(f),
        }
    }
}

/// A grant that the registry is to have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantWish {
    /// Who gets it.
    #[serde(flatten)]
    pub to: GrantTo,
    /// What it may, in the order of the words.
    pub privileges: Vec<String>,
    /// On which tables; on all without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<Vec<String>>,
}

impl fmt::Display for GrantWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { to, privileges, tables } = self;
        write!(f, "{} to {to}", privileges.join(", "))?;
        match tables {
            Some(tables) => {
                let more = if tables.len() > 5 { format!(" and {} more", tables.len() - 5) } else { String::new() };
                write!(f, " on {}{more}", tables.iter().take(5).cloned().collect::<Vec<_>>().join(", "))
            }
            None => Ok(()),
        }
    }
}

words! {
    /// What a grant has come to.
    GrantWord {
        /// It is given.
        Given = "given",
        /// There is no such tenant, or no role of that name that may have it.
        Waiting = "waiting",
        /// There is one, and it does not have all of it.
        Due = "due",
        /// There is none any more, and not all was taken from its roles.
        Ending = "ending",
    }
}

/// A grant as the registry has it, and what it has come to.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct GrantRow {
    /// What is registered.
    #[serde(flatten)]
    pub wish: GrantWish,
    /// The request to look again that was heard when it was registered.
    #[serde(default)]
    pub request: Option<String>,
    /// What it has come to.
    pub state: GrantWord,
    /// The first of the named tables that there are not.
    #[serde(default)]
    pub missing: Vec<String>,
    /// How many there are not.
    #[serde(default)]
    pub missing_count: i64,
    /// The object that has the tenant now that had the grant before.
    #[serde(default)]
    pub moved_to: Option<ObjectName>,
    /// The grantee's namespace is another one of its name.
    #[serde(default)]
    pub other_namespace: bool,
    /// Another role has the name by now than had it when the grant was given.
    #[serde(default)]
    pub other_role: bool,
}
