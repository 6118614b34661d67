//! What is said about views and functions of a tenant that ended with one that gave it a grant. Pure.

use std::fmt;

use serde::Deserialize;

use crate::{api::transfer::ObjectName, contract::words::words};

words! {
    /// How what was removed with another tenant stands.
    TakenWord {
        /// The other tenant, or its grant, is not there.
        Away = "away",
        /// It can be made again.
        Due = "due",
        /// It could not be made again.
        Left = "left",
        /// The other tenant was removed for good.
        Gone = "gone",
    }
}

/// Views and functions that were removed with one other tenant, and stand alike.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct TakenRow {
    /// The other tenant's schema.
    pub schema: String,
    /// The object that it belongs to, or did.
    #[serde(default)]
    pub owner: Option<ObjectName>,
    /// How they stand.
    pub state: TakenWord,
    /// How many there are.
    pub count: i64,
    /// The first of them.
    pub names: Vec<String>,
    /// Why one could not be made again.
    #[serde(default)]
    pub note: Option<String>,
    /// The request to look again that was heard when they were looked at.
    #[serde(default)]
    pub request: Option<String>,
}

impl fmt::Display for TakenRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { schema, owner, count: number, names, .. } = self;
        let owner = owner.as_ref().map_or_else(String::new, |owner| format!(" of TenantSchema {owner}"));
        let more = number - i64::try_from(names.len()).unwrap_or_default();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let what = if *number == 1 { "1 view or function".to_owned() } else { format!("{number} views and functions") };
        write!(f, "{what} over schema {schema}{owner} ({}{more})", names.join(", "))
    }
}
