//! Tenants that get another `TenantSchema`, with all their data: under another name, or in another namespace.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// One tenant that goes from one `TenantSchema` to another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Transfer {
    /// The PostgreSQL schema of the tenant.
    #[schemars(length(min = 1, max = 63))]
    pub schema_name: String,

    /// The `TenantSchema` that has the tenant, or had it. It may be the same as `to`: then an object of a namespace that was
    /// deleted and made again may have the tenant of the former namespace.
    pub from: ObjectName,

    /// The `TenantSchema` that gets it, once its annotation `edumatrixhub.io/reclaim` has the schema's name and the old
    /// object is gone.
    pub to: ObjectName,
}

/// An object of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectName {
    /// Its namespace.
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::NAMESPACE_NAME))]
    pub namespace: String,

    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME))]
    pub name: String,
}

impl Transfer {
    /// True when the tenant leaves this object for another one.
    #[must_use]
    pub fn takes_from(&self, schema_name: &str, namespace: &str, name: &str) -> bool {
        self.schema_name == schema_name && self.from.is(namespace, name) && self.from != self.to
    }

    /// True when this object is to have the tenant.
    #[must_use]
    pub fn gives_to(&self, schema_name: &str, namespace: &str, name: &str) -> bool {
        self.schema_name == schema_name && self.to.is(namespace, name)
    }
}

impl ObjectName {
    fn is(&self, namespace: &str, name: &str) -> bool {
        self.namespace == namespace && self.name == name
    }
}

impl std::fmt::Display for ObjectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(namespace: &str, name: &str) -> ObjectName {
        ObjectName { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The schema `a` goes from `old/school` to this object.
    fn transfer_to(namespace: &str, name: &str) -> Transfer {
        Transfer { schema_name: "a".to_owned(), from: object("old", "school"), to: object(namespace, name) }
    }

    #[test]
    fn a_tenant_is_taken_from_the_object_that_the_transfer_names_and_from_no_other() {
        let check = |schema_name: &str, namespace: &str, name: &str, expected: bool| {
            let found = transfer_to("new", "school").takes_from(schema_name, namespace, name);
            assert_eq!(found, expected, "{schema_name} of {namespace}/{name}");
        };
        check("a", "old", "school", true);
        check("b", "old", "school", false);
        check("a", "other", "school", false);
        check("a", "old", "other", false);
        check("a", "new", "school", false);
    }

    #[test]
    fn a_tenant_is_given_to_the_object_that_the_transfer_names_and_to_no_other() {
        let check = |schema_name: &str, namespace: &str, name: &str, expected: bool| {
            let found = transfer_to("new", "school").gives_to(schema_name, namespace, name);
            assert_eq!(found, expected, "{schema_name} for {namespace}/{name}");
        };
        check("a", "new", "school", true);
        check("b", "new", "school", false);
        check("a", "other", "school", false);
        check("a", "new", "other", false);
        check("a", "old", "school", false);
    }

    #[test]
    fn the_object_of_a_namespace_that_was_made_again_gets_its_tenant_and_loses_none() {
        let check = |namespace: &str, name: &str, taken: bool, given: bool| {
            let transfer = transfer_to(namespace, name);
            let found = (transfer.takes_from("a", "old", "school"), transfer.gives_to("a", "old", "school"));
            assert_eq!(found, (taken, given), "to {namespace}/{name}");
        };
        check("old", "school", false, true);
        check("old", "college", true, false);
        check("new", "school", true, false);
    }

    #[test]
    fn an_object_is_told_with_its_namespace() {
        assert_eq!(object("team-a", "school").to_string(), "team-a/school");
    }
}
