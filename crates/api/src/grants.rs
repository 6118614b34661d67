//! What the owner of a tenant gives to others, and what became of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{schema, transfer::ObjectName};

/// How many grants a tenant may give.
pub const GRANTS_MAX: usize = 64;

/// One grant: to whom, what, and on which tables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// Who gets it.
    pub to: Grantee,

    /// `Read`: to read. `Write`: to insert, change, delete and read. Sequences follow their tables.
    #[schemars(length(min = 1, max = 2))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub privileges: Vec<Privilege>,

    /// The tables, views and materialized views that it is about, by their names. One that does not exist yet is given when it
    /// appears.
    ///
    /// Default: all, also those that are made later.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub tables: Option<Vec<String>>,
}

/// Who gets a grant: a tenant or a role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.tenantSchema) != has(self.role)")
        .message("to must name either a tenantSchema or a role")
)]
pub struct Grantee {
    /// A tenant of the same database, which may not exist yet: its roles `owner`, `reader` and `writer` get the grant, of which
    /// the reader only reads.
    ///
    /// Default: none; then `role` names who gets it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_schema: Option<TenantName>,

    /// A role of the server that is no tenant's, which `spec.grantableRoles` of the `TenantDatabase` offers to the namespace. It may
    /// not exist yet. One that is dropped and made again is another one, and gets nothing until this entry changes or the
    /// annotation `edumatrixhub.io/reconcile-requested-at` does.
    ///
    /// Default: none; then `tenantSchema` names who gets it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::ROLE_NAME))]
    pub role: Option<String>,
}

/// A role of the server to which tenants may give grants.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantableRole {
    /// Its name.
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::ROLE_NAME))]
    #[x_kube(
        validation = Rule::new("!self.startsWith('pg_') && !(self in ['public', 'none'])")
            .message("name must be neither public nor none nor begin with pg_: these are no roles of their own, or PostgreSQL's")
    )]
    pub name: String,

    /// The namespaces whose tenants may give to it, by their labels.
    ///
    /// Default: all namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub namespace_selector: Option<LabelSelector>,
}

/// A `TenantSchema`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantName {
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME))]
    pub name: String,

    /// Its namespace.
    ///
    /// Default: the namespace of the tenant that gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::NAMESPACE_NAME))]
    pub namespace: Option<String>,
}

impl TenantName {
    /// The object, for a tenant of this namespace.
    #[must_use]
    pub fn within(&self, namespace: &str) -> ObjectName {
        ObjectName {
            namespace: self.namespace.clone().unwrap_or_else(|| namespace.to_owned()),
            name: self.name.clone(),
        }
    }
}

/// What is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::schema::undescribed)]
pub enum Privilege {
    /// To read.
    Read,
    /// To insert, change, delete and read.
    Write,
}

/// To whom the tenants of a database may give grants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::schema::undescribed)]
pub enum GrantsAllowed {
    /// To none.
    None,
    /// To tenants of their own namespace.
    #[default]
    SameNamespace,
    /// To tenants of every namespace.
    AllNamespaces,
}

/// Who gets a grant, in full.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Granted {
    /// A tenant of the same database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_schema: Option<ObjectName>,

    /// A role of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub role: Option<String>,
}

/// What became of a grant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantStatus {
    /// Who gets it.
    pub to: Granted,

    /// `Active`: it is given. `Waiting`: it is given when the message says. `Refused`: it is not given.
    #[serde(default, deserialize_with = "schema::known_word", skip_serializing_if = "Option::is_none")]
    pub state: Option<GrantState>,

    /// What it waits for, or why it is refused; of an active one, which named tables there are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// What became of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::schema::undescribed)]
pub enum GrantState {
    /// It is given.
    Active,
    /// It is given when something is there.
    Waiting,
    /// It is not given.
    Refused,
}
