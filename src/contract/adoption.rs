//! What the database says of a schema that a tenant wants to adopt. Pure.

use std::fmt;

use serde::Deserialize;
use uuid::Uuid;

use super::AccessWord;
use crate::text::count;

/// What stands under the name.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Adoption {
    /// No schema. One that was dropped while it became this object's leaves roles behind, until a survey takes them.
    Nothing {
        /// How many of its objects were the tenant's by then.
        moved: Option<i32>,
        /// How many there were.
        total: Option<i32>,
    },
    /// A schema that no tenant may have.
    Refused {
        /// Why.
        why: String,
    },
    /// A tenant without an object, made by hand.
    HandMade {
        /// The institution that it is for.
        institution_id: Option<Uuid>,
        /// Who may come in.
        access: AccessWord,
        /// What confirms that it becomes this object's.
        digest: String,
    },
    /// A schema that may become the tenant's.
    Pending(Box<AdoptionPlan>),
    /// One that is just becoming the tenant's.
    Begun {
        /// How many of its objects are the tenant's.
        moved: i32,
        /// How many there are.
        total: i32,
    },
}

/// What would change if a schema was adopted.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct AdoptionPlan {
    /// How many objects it has.
    pub total: i64,
    /// Whose they are; at most five roles.
    pub owners: Vec<FormerOwner>,
    /// How many more roles own some.
    pub more_owners: i64,
    /// A DBA has to do something first.
    pub is_left: bool,
    /// What; at most five statements.
    pub statements: Vec<String>,
    /// How many more statements there are.
    pub more_statements: i64,
    /// How many roles keep rights that they have on the schema itself.
    pub kept: i64,
    /// Who loses such rights.
    pub taken: Vec<String>,
    /// Views that read other schemas.
    pub outside: Option<Outside>,
    /// How many of its routines run with their owner's rights.
    pub definers: i64,
    /// What confirms just this.
    pub digest: String,
}

/// A role that owns objects of the schema, or the schema itself.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct FormerOwner {
    /// The role.
    pub owner: String,
    /// What it owns.
    pub kinds: Vec<KindCount>,
}

/// Objects of a kind.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct KindCount {
    /// The kind.
    pub kind: String,
    /// How many.
    pub count: i64,
}

/// Views of a schema that read others.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Outside {
    /// How many.
    pub count: i64,
    /// The first of them by name.
    pub name: String,
}

/// How many kinds a message counts one by one: it has to be short enough to be told whole.
const MOST_KINDS: usize = 6;

impl fmt::Display for FormerOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = |KindCount { kind, count: n }: &KindCount| match (kind.as_str(), *n) {
            ("schema", _) => "the schema".to_owned(),
            // Words that are their own plural, or form another one than by an s.
            ("statistics" | "text search dictionary" | "operator family" | "operator class", n) if n != 1 => {
                format!("{n} of kind {kind}")
            }
            ("statistics", _) => "1 of kind statistics".to_owned(),
            (kind, n) => count(n, kind),
        };
        let mut kinds: Vec<_> = self.kinds.iter().take(MOST_KINDS).map(counted).collect();
        let others: i64 = self.kinds.iter().skip(MOST_KINDS).map(|kind| kind.count).sum();
        if others > 0 {
            kinds.push(format!("{others} of other kinds"));
        }
        write!(f, "role {} owns {}", self.owner, kinds.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_role_owns_is_counted_by_kind() {
        let of = |kind: &str, count| KindCount { kind: kind.to_owned(), count };
        let kinds = vec![of("table", 2), of("view", 1), of("statistics", 1), of("operator family", 3), of("schema", 1)];
        let owner = FormerOwner { owner: "app".to_owned(), kinds };
        let expected = "role app owns 2 tables, 1 view, 1 of kind statistics, 3 of kind operator family, the schema";
        assert_eq!(owner.to_string(), expected);
        let kinds = (1..=9).map(|n| of("type", n)).collect();
        let owner = FormerOwner { kinds, ..owner };
        assert!(owner.to_string().ends_with(", 6 types, 24 of other kinds"), "{owner}");
    }
}
