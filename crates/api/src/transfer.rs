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
