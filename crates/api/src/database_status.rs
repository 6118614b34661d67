//! What the operator says of a database.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{condition::Summary, schema};

/// What is known about a database.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantDatabaseStatus {
    /// The `metadata.generation` that this status is about; -1 before the operator has seen the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1, max = 9_007_199_254_740_992_i64))]
    pub observed_generation: Option<i64>,

    /// `Ready` always; `Reconciling` while the operator is at work or the database does not answer, and `Stalled` while
    /// a person must act.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,

    /// The condition that a user should read first: what the columns REASON and MESSAGE show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,

    /// The id of the installation in the database, a UUID. Another database behind the same Secret is refused by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub installation_id: Option<String>,

    /// The version of the PostgreSQL server.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub server_version: Option<String>,

    /// The version of the management functions in the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub functions_version: Option<String>,

    /// How many tenants live in the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub tenant_count: Option<i32>,

    /// The storage that the tenants use together, for people: 3 significant digits and a binary unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub storage_used: Option<String>,

    /// The storage that the tenants use together, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_992_i64))]
    pub storage_used_bytes: Option<i64>,

    /// How many schemas of former tenants are set aside.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub set_aside_count: Option<i32>,

    /// The storage that what is set aside uses, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_992_i64))]
    pub set_aside_bytes: Option<i64>,

    /// The operator process that works on the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub holder: Option<String>,

    /// How often the database has changed hands; an older epoch is refused by the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_992_i64))]
    pub epoch: Option<i64>,

    /// The backup store that was used last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_store: Option<BackupStoreStatus>,

    /// A number that the operator process drew which claimed the database last. A copy of the cluster does not know the next one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub claim_id: Option<String>,
}

/// A backup store that was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupStoreStatus {
    /// The URL in the spec.
    #[schemars(length(max = 1024))]
    pub url: String,

    /// The id of the store behind it, a UUID: the same URL can come to lead to another store.
    #[schemars(length(max = 36))]
    pub id: String,
}
