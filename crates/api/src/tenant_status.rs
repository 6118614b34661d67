//! The status of a tenant, and its parts.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    adoption::AdoptionStatus,
    backup_policy::ScheduleStatus,
    condition::Summary,
    credentials::CredentialsStatus,
    grants::GrantStatus,
    policy::{DeletionPolicy, Enforcement},
    row_security::RowSecurityStatus,
    schema,
    schema_backup::BackupMethod,
};

/// What is known about a tenant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantSchemaStatus {
    /// The `metadata.generation` that this status is about; -1 before the operator has seen the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1, max = 9_007_199_254_740_992_i64))]
    pub observed_generation: Option<i64>,

    /// `Ready` always; `Reconciling` while the operator is at work and `Stalled` while a person must act. `Isolated` says whether its
    /// roles can do anything beyond its schema, `RowSecurity` whether the policies of `spec.rowLevelSecurity` are in force, `BackedUp`
    /// whether the backups of its schedules are made in time, and `Paused` that nothing is done until the annotation is removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,

    /// The condition that a user should read first: what the columns REASON and MESSAGE show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,

    /// The name of the PostgreSQL schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub schema_name: Option<String>,

    /// The id of the tenant in the registry, a UUID. What has one is never created again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub schema_id: Option<String>,

    /// The name of the PostgreSQL database that the schema is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub database_name: Option<String>,

    /// Where applications find the schema: `spec.clientEndpoint` of the `TenantDatabase`, or else where the operator reaches it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<Place>,

    /// The roles of the schema, which logins become members of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<Roles>,

    /// What the schema is now, in the database: `Active`; `ReadOnly`, or `WriteBlocked` where rows can be deleted too;
    /// `Suspended`; or `Dropping` while it is being removed.
    #[serde(default, deserialize_with = "schema::known_word", skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,

    /// Who keeps the schema closed, wholly or to writes; absent while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<Blocked>,

    /// The storage in use, for people: 3 significant digits and a binary unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub storage_used: Option<String>,

    /// The storage in use in bytes: tables, materialized views, indexes, sequences and TOAST together, and
    /// the large objects of its roles.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_992_i64))]
    pub storage_used_bytes: Option<i64>,

    /// How many tables the schema has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub table_count: Option<i32>,

    /// How much of the quota is used, in percent, rounded down; absent without a quota.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub quota_used_percent: Option<i32>,

    /// What counts in the quota, where that is an estimate; absent where `storageUsedBytes` counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota_estimate: Option<QuotaEstimate>,

    /// The last backup that was finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_backup: Option<LastBackup>,

    /// How the schedules of `spec.backup` stand, and those whose `SchemaBackup`s are still to go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 24))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub schedules: Vec<ScheduleStatus>,

    /// The last operation on the tenant, from the operation log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_operation: Option<LastOperation>,

    /// What applications connect with; absent while nothing is published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CredentialsStatus>,

    /// What became of the grants to others, in the order of `spec.grants`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub grants: Vec<GrantStatus>,
    /// What migrations connect with; absent while nothing is published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migration_credentials: Option<CredentialsStatus>,

    /// How far the policies of `spec.rowLevelSecurity` are in force; absent while none are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row_security: Option<RowSecurityStatus>,
    /// How far the adoption of a schema that stood already is, or how large it was; absent for other tenants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adoption: Option<AdoptionStatus>,

    /// What really holds for the tenant, after defaults and limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective: Option<Effective>,
}

impl TenantSchemaStatus {
    /// What counts in the quota, in bytes.
    #[must_use]
    pub fn counted_bytes(&self) -> Option<i64> {
        self.quota_estimate.as_ref().and_then(|estimate| estimate.counted_bytes).or(self.storage_used_bytes)
    }
}

/// What a schema is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::schema::undescribed)]
pub enum State {
    /// It may be read and written.
    Active,
    /// It may be read.
    ReadOnly,
    /// It may be read, and rows be deleted.
    WriteBlocked,
    /// It may not be used.
    Suspended,
    /// It is being removed.
    Dropping,
}

/// What counts in a quota, where that is an estimate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuotaEstimate {
    /// What counts, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_992_i64))]
    pub counted_bytes: Option<i64>,

    /// What is estimated, and what to do for an exact figure.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub message: Option<String>,
}

/// Who keeps a tenant closed, wholly or to writes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Blocked {
    /// `Spec`: `spec.access` says so. `Quota`: its quota is used up, and enforced. `Institution`: its institution is suspended or closed, in the registry or in the application's table.
    #[serde(default, deserialize_with = "schema::known_word", skip_serializing_if = "Option::is_none")]
    pub cause: Option<BlockedCause>,

    /// Since when that is so, as the operator saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}

/// What keeps a tenant closed, wholly or to writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::schema::undescribed)]
pub enum BlockedCause {
    /// Its own spec.
    Spec,
    /// Its quota.
    Quota,
    /// The institution that it belongs to.
    Institution,
}

impl BlockedCause {
    /// The word as a status has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spec => "Spec",
            Self::Quota => "Quota",
            Self::Institution => "Institution",
        }
    }
}

/// Where a schema is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The name or address of the server.
    #[schemars(length(max = 1024))]
    pub host: String,

    /// Its port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,

    /// The database.
    #[schemars(length(max = 63))]
    pub database: String,

    /// Where applications may only read, if the `TenantDatabase` has such a place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_endpoint: Option<ReadPlace>,
}

/// Where applications may only read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadPlace {
    /// The name or address of the server.
    #[schemars(length(max = 1024))]
    pub host: String,

    /// Its port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
}

/// The roles of a schema. None of them may log in; a login is given one of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Roles {
    /// Owns the schema and makes tables in it: for migrations.
    #[schemars(length(max = 63))]
    pub owner: String,

    /// Reads and writes what the owner made: for applications.
    #[schemars(length(max = 63))]
    pub writer: String,

    /// Reads what the owner made.
    #[schemars(length(max = 63))]
    pub reader: String,
}

/// The last backup of a tenant that was finished.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastBackup {
    /// The name of the SchemaBackup that asked for it, or of its schema in the database where none did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub name: Option<String>,

    /// How it was made.
    #[serde(default, deserialize_with = "schema::known_word", skip_serializing_if = "Option::is_none")]
    pub method: Option<BackupMethod>,

    /// When it was finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,

    /// Its size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_992_i64))]
    pub size_bytes: Option<i64>,
}

/// The last operation on a tenant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastOperation {
    /// What was done, in the words of the operation log.
    #[serde(rename = "type")]
    #[schemars(length(max = 64))]
    pub type_: String,

    /// How it ended, in the words of the operation log.
    #[schemars(length(max = 64))]
    pub status: String,

    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,

    /// How long it took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_992_i64))]
    pub duration_milliseconds: Option<i64>,

    /// Why it failed; absent if it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub error: Option<String>,
}

/// What really holds for a tenant, after defaults and limits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Effective {
    /// The name of the `TenantDatabase`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub database_ref: Option<String>,

    /// What would happen to the schema if this object were deleted now.
    #[serde(default, deserialize_with = "schema::known_word", skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,

    /// What the final backup would be: `SetAside` if the schema is kept whole beside the living ones, `None` if there
    /// is none.
    #[serde(default, deserialize_with = "schema::known_word", skip_serializing_if = "Option::is_none")]
    pub final_backup: Option<FinalBackup>,

    /// For how many days the final backup would be kept; absent if for ever, or if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 36_500))]
    pub final_expire_after_days: Option<i32>,

    /// The quota, as it was written; absent if there is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub quota_limit: Option<String>,

    /// What happens beyond the quota.
    #[serde(default, deserialize_with = "schema::known_word", skip_serializing_if = "Option::is_none")]
    pub enforcement: Option<Enforcement>,
}

/// What a tenant leaves behind when it is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::schema::undescribed)]
pub enum FinalBackup {
    /// The whole schema, set aside in the database.
    SetAside,
    /// Nothing.
    None,
}
