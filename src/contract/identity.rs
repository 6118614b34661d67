//! Whose a tenant is, and whether what bears its name is the tenant's. Pure.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::RowStatus;

/// Which object a tenant belongs to.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Owner {
    /// UID of the cluster's kube-system namespace.
    pub cluster: String,
    /// The object's namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The object's UID.
    pub uid: String,
    /// The UID of the object's namespace; absent while it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_uid: Option<String>,
}

/// The tenant that has what another object wants.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Claim {
    /// The tenant.
    pub schema_id: Uuid,
    /// Its schema.
    pub schema_name: String,
    /// UID of the cluster; absent when made by hand.
    pub cluster: Option<String>,
    /// Namespace of its object.
    pub namespace: Option<String>,
    /// Name of its object.
    pub name: Option<String>,
    /// UID of its object.
    pub uid: Option<String>,
    /// UID of its object's namespace; absent where it was not told yet.
    #[serde(default)]
    pub namespace_uid: Option<String>,
    /// The row's status, as [`TenantRow::status`].
    pub status: RowStatus,
    /// It was made for a cluster whose place this one took, and waits for its object to be applied again.
    pub taken_over: bool,
    /// Its object is not there any more, as the API server says; asked only where it matters.
    #[serde(skip)]
    pub gone: bool,
}

/// Why a tenant's schema does not stand under its name.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Absence {
    /// What became of it.
    pub kind: Fate,
    /// For people, as the functions say it.
    pub text: String,
    /// What it is called now.
    #[serde(default)]
    pub now: Option<String>,
    /// What names it back.
    #[serde(default)]
    pub statement: Option<String>,
    /// The role that owns the schema which has its name.
    #[serde(default)]
    pub owner: Option<String>,
    /// Which installation this is.
    pub installation_id: Uuid,
}

/// What became of a schema.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is gone.
    Dropped,
    /// It has another name.
    Renamed,
    /// It is gone, and another schema has its name.
    Replaced,
    /// The registry never knew which schema it was, and what has its name does not belong to the tenant's owner role.
    Unknown,
    /// Every schema has a new identifier since a restore or an upgrade of the server, and no user has bound them again.
    Unbound,
}

/// The tenant whose schema was renamed by hand to a name that another one wants.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Bearer {
    /// The tenant that it is.
    #[serde(flatten)]
    pub claim: Claim,
    /// What names it back.
    pub statement: String,
}

impl Owner {
    /// True when both are known and differ: the namespace was deleted, and another one of its name was made since.
    #[must_use]
    pub fn is_stranger(&self, namespace_uid: Option<&str>) -> bool {
        matches!((self.namespace_uid.as_deref(), namespace_uid), (Some(ours), Some(theirs)) if ours != theirs)
    }
}

impl Claim {
    /// True when the holder was in a namespace of the same name that is not the one of `asking`.
    #[must_use]
    pub fn is_stranger_to(&self, asking: &Owner) -> bool {
        asking.is_stranger(self.namespace_uid.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_namespace_is_another_one_only_when_both_are_known_and_differ() {
        let check = |ours: Option<&str>, theirs: Option<&str>, expected: bool| {
            let object = json!({ "cluster": "c", "namespace": "n", "name": "o", "uid": "u", "namespace_uid": ours });
            let owner: Owner = serde_json::from_value(object).unwrap();
            assert_eq!(owner.is_stranger(theirs), expected, "{ours:?} {theirs:?}");
            let claim: Claim = serde_json::from_value(json!({
                "schema_id": Uuid::nil(), "schema_name": "s", "status": "active", "cluster": "c", "namespace": "n", "name": "o",
                "uid": "u", "namespace_uid": theirs, "taken_over": false,
            }))
            .unwrap();
            assert_eq!(claim.is_stranger_to(&owner), expected, "{ours:?} {theirs:?}");
        };
        check(Some("a"), Some("b"), true);
        check(Some("a"), Some("a"), false);
        check(Some("a"), None, false);
        check(None, Some("b"), false);
        check(None, None, false);
    }
}
