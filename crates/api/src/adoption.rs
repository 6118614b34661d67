//! Schemas that stand already and become tenants: what an object asks for, what a database offers, and how far it is.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// What becomes of a schema that stands already under the name of a tenant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::schema::undescribed)]
pub enum ExistingSchema {
    /// It is a conflict.
    #[default]
    Fail,
    /// It becomes the tenant's, with all that is in it.
    Adopt,
}

/// Schemas that the tenants of a namespace may adopt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Adoptable {
    /// A regular expression (RE2 without look-around) that the whole name of the schema must match.
    #[schemars(length(min = 1, max = 256))]
    pub pattern: String,

    /// The namespace of the `TenantSchema` that adopts it.
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::NAMESPACE_NAME))]
    pub namespace: String,
}

/// How far an adoption is, or how large it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdoptionStatus {
    /// How many objects of the schema belong to the tenant's owner role.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub moved: Option<i32>,

    /// How many objects it has: tables, views, sequences, types, routines and what else has an owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub total: Option<i32>,
}
