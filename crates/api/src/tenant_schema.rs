//! `TenantSchema`: one tenant, which becomes one PostgreSQL schema.
//!
//! The types are what is written in YAML, defaults not yet applied; the accessors apply those defaults that need nothing
//! but this object. Limits and defaults of the database are applied where the desired state is made.

#![allow(clippy::duplicated_attributes, reason = "every printer column has a type of its own")]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::adoption::ExistingSchema;
use super::backup_policy::BackupPolicy;
use super::condition::{ConditionType, Reason, find};
use super::credentials::{ConnectionSecret, Credentials};
use super::free_json::{levels, zero};
use super::grants::Grant;
use super::policy::{DeletionPolicy, Quota};
use super::row_security::RowLevelSecurity;
use super::schema;
use super::tenant_database::TenantDefaults;
pub use super::tenant_status::{
    Blocked, BlockedCause, Effective, FinalBackup, LastBackup, LastOperation, Place, QuotaEstimate, ReadPlace, Roles,
    State, TenantSchemaStatus,
};
use crate::ident::{InstitutionId, InstitutionIdError, SchemaName, SchemaNameError};

/// The largest `config`, in bytes of JSON.
pub const CONFIG_MAX_BYTES: usize = 16 * 1024;

/// The deepest `config`: itself is the first level.
pub const CONFIG_MAX_LEVELS: usize = 32;

/// What a tenant is: an institution, a schema, how much it may use and what becomes of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "edumatrixhub.io",
    version = "v1alpha1",
    kind = "TenantSchema",
    namespaced,
    status = "TenantSchemaStatus",
    shortname = "ts",
    category = "edumatrixhub",
    derive = "PartialEq",
    doc = "A tenant: one PostgreSQL schema with its own roles, limits and backups.",
    selectable = ".spec.institutionId",
    selectable = ".status.effective.databaseRef",
    selectable = ".status.effective.deletionPolicy",
    selectable = ".status.state",
    selectable = ".status.summary.reason",
    printcolumn(name = "Schema", type_ = "string", json_path = ".status.schemaName"),
    printcolumn(name = "Database", type_ = "string", json_path = ".status.effective.databaseRef"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.summary.reason"),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.storageUsed"),
    printcolumn(name = "Tables", type_ = "integer", json_path = ".status.tableCount"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "State", type_ = "string", priority = 1, json_path = ".status.state"),
    printcolumn(name = "Quota%", type_ = "integer", priority = 1, json_path = ".status.quotaUsedPercent"),
    printcolumn(
        name = "Deletion-Policy",
        type_ = "string",
        priority = 1,
        json_path = ".status.effective.deletionPolicy"
    ),
    printcolumn(name = "Last-Backup", type_ = "date", priority = 1, json_path = ".status.lastBackup.completionTime"),
    printcolumn(name = "Message", type_ = "string", priority = 1, json_path = ".status.summary.message")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "(has(self.databaseRef) ? self.databaseRef.name : 'default') == \
         (has(oldSelf.databaseRef) ? oldSelf.databaseRef.name : 'default')"
    )
    .message("databaseRef is immutable: a tenant stays in its database")
    .reason(Reason::FieldValueForbidden)
    .field_path(".databaseRef"),
    validation = Rule::new(
        "has(self.institutionId) == has(oldSelf.institutionId) && \
         (!has(self.institutionId) || self.institutionId == oldSelf.institutionId)"
    )
    .message("institutionId is immutable: it can be neither added, changed nor removed")
    .reason(Reason::FieldValueForbidden)
    .field_path(".institutionId"),
    validation = Rule::new(
        "has(self.schemaName) == has(oldSelf.schemaName) && \
         (!has(self.schemaName) || self.schemaName == oldSelf.schemaName)"
    )
    .message("schemaName is immutable: it can be neither added, changed nor removed")
    .reason(Reason::FieldValueForbidden)
    .field_path(".schemaName"),
    validation = Rule::new(
        "!has(self.schemaName) || (has(self.existingSchema) && self.existingSchema == 'Adopt') || \
         self.schemaName.matches('^[a-z_][a-z0-9_]*$') || \
         self.schemaName.matches('^inst_[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$')"
    )
    .message(
        "schemaName may only have lower-case letters, digits and underscores and must not begin with a digit, \
         unless it is inst_ followed by a UUID, or existingSchema is Adopt"
    )
    .reason(Reason::FieldValueInvalid)
    .field_path(".schemaName"),
    validation = Rule::new(
        "!has(oldSelf.existingSchema) || oldSelf.existingSchema != 'Adopt' || \
         (has(self.existingSchema) && self.existingSchema == 'Adopt')"
    )
    .message(
        "existingSchema stays Adopt, which is why the schema stays when the object goes; to have it otherwise set \
         deletionPolicy, or make the object again"
    )
    .reason(Reason::FieldValueForbidden)
    .field_path(".existingSchema"),
    validation = Rule::new(
        "!has(self.connectionSecret) || !has(self.migrationSecret) || \
         self.connectionSecret.name != self.migrationSecret.name"
    )
    .message("migrationSecret must have another name than connectionSecret")
    .reason(Reason::FieldValueInvalid)
    .field_path(".migrationSecret")
)]
pub struct TenantSchemaSpec {
    /// The `TenantDatabase` that hosts the tenant. Immutable.
    ///
    /// Default: `{name: default}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_ref: Option<DatabaseRef>,

    /// The institution that the tenant is, as a UUID in lower case with hyphens; unique within the database.
    /// Immutable, and can be neither added nor removed later.
    ///
    /// Default: none; the tenant belongs to no institution.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = Rule::new(
        "self.matches('^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$')"
    )
    .message("institutionId must be a UUID in lower case with hyphens, such as 3f0c1d52-8a3e-4a43-9d3b-0d1f6a2b7c11"))]
    pub institution_id: Option<String>,

    /// The name of the PostgreSQL schema: lower-case letters, digits and underscores, or `inst_` and a UUID; at most 63
    /// bytes. With `existingSchema: Adopt` any other name as well. Neither a name that PostgreSQL or the operator keeps, nor the form of a backup's name. Immutable, and
    /// can be neither added nor removed later.
    ///
    /// Default: `inst_` and the institution's id with `_` for `-`; without an institution `ts_` and 20 hexadecimal
    /// digits of SHA-256 of `<namespace>/<name>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(
        validation = Rule::new("!self.startsWith('pg_')")
            .message("schemaName must not begin with pg_, which PostgreSQL keeps for itself"),
        validation = Rule::new("!self.startsWith('edu_matrix_work_')")
            .message("schemaName must not begin with edu_matrix_work_, which the operator keeps for itself"),
        validation = Rule::new("!(self in ['edu_matrix_hub_schema', 'information_schema', 'public'])")
            .message("schemaName must not be edu_matrix_hub_schema, information_schema or public, which are reserved"),
        validation = Rule::new("!self.matches('_bak_[0-9]{14}(_[0-9]+)?$')")
            .message("schemaName must not have the form of a backup's name (_bak_ and 14 digits at its end)")
    )]
    pub schema_name: Option<String>,

    /// What becomes of a schema that stands already under that name. `Fail`: it is a conflict. `Adopt`: if
    /// `spec.adoptable` of the `TenantDatabase` offers it to this namespace, it becomes the tenant's with all that is
    /// in it, once the annotation `edumatrixhub.io/confirm-adopt` has the value that the condition tells; if there is
    /// none, nothing is made. `Adopt` stays.
    ///
    /// Default: `Fail`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub existing_schema: Option<ExistingSchema>,

    /// Free JSON that is stored beside the tenant in the registry, where applications read it; at most 16 KiB and 32
    /// levels of objects and lists. The operator gives it no meaning.
    ///
    /// Default: `{}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::free_object")]
    pub config: Option<BTreeMap<String, Value>>,

    /// Whether the tenant may be used. `ReadWrite`: yes. `ReadOnly`: its sessions end, and it may be read and not written.
    /// `Suspended`: only the owner reaches the schema, the
    /// sessions of its roles are ended, nothing is lost; `ReadWrite` gives back exactly what was taken.
    ///
    /// Default: `ReadWrite`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,

    /// How much storage the tenant may use.
    ///
    /// Default: the database's `defaults.quota`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,

    /// What happens to the schema when this object is deleted. `BackupThenDrop`: it is closed and set aside whole,
    /// from where it can be brought back. `Drop`: it is dropped without a backup, once the annotation
    /// `edumatrixhub.io/confirm-drop` has the value that the condition tells. `Retain`: it stays as it is.
    ///
    /// Default: with `existingSchema: Adopt` `Retain`; else the database's `defaults.deletionPolicy`, and without it
    /// `BackupThenDrop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,

    /// What is kept of the tenant, and for how long.
    ///
    /// Default: the database's `defaults.backup`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupPolicy>,

    /// The Secret that applications connect with: address, login and password, which the operator writes and renews.
    ///
    /// Default: none; logins are made by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_secret: Option<ConnectionSecret>,

    /// The Secret that migrations connect with. Its sessions act as the owner role, so that they make and change tables, which belong
    /// to the owner whichever password they were made with. The operator writes and renews it as the other one. It has another name
    /// than that.
    ///
    /// Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migration_secret: Option<ConnectionSecret>,

    /// How long a password in these Secrets lives, and what its login may.
    ///
    /// Default: what each field defaults to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,

    /// What others may do with the tenant's tables. On tables, sequences and their columns a role that has a grant has what the grants
    /// say and nothing else: what is given to it there by hand is taken back. Functions are the owner's to open.
    ///
    /// Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub grants: Option<Vec<Grant>>,

    /// Which rows of its tables the tenant's logins have, by what they set for their session. The owner role has all.
    ///
    /// Default: none; logins have all rows, unless the tenant has policies of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row_level_security: Option<RowLevelSecurity>,
}

/// Which `TenantDatabase` is meant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseRef {
    /// The name of the `TenantDatabase`.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME))]
    pub name: String,
}

/// Whether a tenant may be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::schema::undescribed)]
pub enum Access {
    /// It may be read and written.
    #[default]
    ReadWrite,
    /// It may be read.
    ReadOnly,
    /// It may not be used, nothing is lost.
    Suspended,
}

impl Access {
    /// The word as manifests and the registry have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadWrite => "ReadWrite",
            Self::ReadOnly => "ReadOnly",
            Self::Suspended => "Suspended",
        }
    }
}

/// What in a spec is invalid although the API server took it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidTenant {
    /// The institution's id is no UUID.
    #[error("spec.institutionId: {0}")]
    InstitutionId(#[from] InstitutionIdError),
    /// The schema's name is not one that a tenant may have.
    #[error("spec.schemaName: {0}")]
    SchemaName(#[from] SchemaNameError),
    /// The configuration is too large.
    #[error("spec.config has {bytes} bytes of JSON, at most {CONFIG_MAX_BYTES} are stored; keep large data elsewhere")]
    Config {
        /// Its size.
        bytes: usize,
    },
    /// The configuration is nested too deep.
    #[error(
        "spec.config has {levels} levels of objects and lists, at most {CONFIG_MAX_LEVELS} are stored; make it flatter"
    )]
    ConfigDepth {
        /// How deep it is.
        levels: usize,
    },
    /// The configuration has a character that no PostgreSQL stores.
    #[error("spec.config has the character \\u0000 at {path}, which PostgreSQL cannot store; leave it out")]
    ConfigZero {
        /// Where, as keys and positions with dots between.
        path: String,
    },
}

impl TenantSchemaSpec {
    /// The database of a tenant that names none.
    pub const DEFAULT_DATABASE: &str = "default";

    /// The name of the `TenantDatabase`.
    #[must_use]
    pub fn database(&self) -> &str {
        self.database_ref.as_ref().map_or(Self::DEFAULT_DATABASE, |reference| &reference.name)
    }

    /// The institution, if the tenant belongs to one.
    pub fn institution(&self) -> Result<Option<InstitutionId>, InvalidTenant> {
        Ok(self.institution_id.as_deref().map(str::parse).transpose()?)
    }

    /// Whether a schema that stands already is to become the tenant's.
    #[must_use]
    pub fn adopts(&self) -> bool {
        self.existing_schema == Some(ExistingSchema::Adopt)
    }

    /// Which backups the tenant has, with these defaults of its database.
    #[must_use]
    pub fn backup_policy(&self, defaults: Option<&TenantDefaults>) -> BackupPolicy {
        let by_default = defaults.and_then(|defaults| defaults.backup.clone()).unwrap_or_default();
        match &self.backup {
            Some(own) => own.or(&by_default),
            None => by_default,
        }
    }

    /// Whether the tenant may be used.
    #[must_use]
    pub fn access(&self) -> Access {
        self.access.unwrap_or_default()
    }

    /// The configuration as one JSON object, within its bound.
    pub fn config(&self) -> Result<Value, InvalidTenant> {
        let config = Value::Object(self.config.clone().unwrap_or_default().into_iter().collect());
        let levels = levels(&config);
        if levels > CONFIG_MAX_LEVELS {
            return Err(InvalidTenant::ConfigDepth { levels });
        }
        if let Some(path) = zero(&config) {
            return Err(InvalidTenant::ConfigZero { path });
        }
        let bytes = config.to_string().len();
        if bytes > CONFIG_MAX_BYTES { Err(InvalidTenant::Config { bytes }) } else { Ok(config) }
    }
}

impl TenantSchema {
    /// Whether its deletion is held, because it is one of too many within an hour.
    #[must_use]
    pub fn is_held_by_brake(&self) -> bool {
        let conditions = self.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        self.metadata.deletion_timestamp.is_some()
            && find(conditions, ConditionType::Stalled)
                .is_some_and(|stalled| stalled.reason == Reason::DeletionBrake.as_str())
    }

    /// The name of the schema: as given, else after the institution, else after this object.
    pub fn schema_name(&self) -> Result<SchemaName, InvalidTenant> {
        if let Some(name) = &self.spec.schema_name {
            let of = if self.spec.adopts() { SchemaName::standing } else { SchemaName::new };
            return Ok(of(name)?);
        }
        if let Some(institution) = self.spec.institution()? {
            return Ok(SchemaName::for_institution(institution));
        }
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        let name = self.metadata.name.as_deref().unwrap_or_default();
        Ok(SchemaName::for_object(namespace, name))
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::super::condition::Verdict;
    use super::*;

    const ID: &str = "3f0c1d52-8a3e-4a43-9d3b-0d1f6a2b7c11";

    fn spec(fields: Value) -> TenantSchemaSpec {
        serde_json::from_value(fields).unwrap()
    }

    /// `check_config(what a user wrote, "" or what is said about it)`.
    fn check_config(config: &Value, expected: &str) {
        let found = spec(json!({ "config": config })).config();
        assert_eq!(found.as_ref().map_or_else(ToString::to_string, |_| String::new()), expected);
        assert!(found.is_err() || found.as_ref() == Ok(config), "{config} is stored as it was written");
    }

    #[test]
    fn a_tenant_may_be_used_in_the_database_default_unless_the_spec_says_otherwise() {
        let check = |fields: Value, database: &str, access: Access| {
            let spec = spec(fields);
            assert_eq!((spec.database(), spec.access()), (database, access));
        };
        check(json!({}), "default", Access::ReadWrite);
        check(json!({ "databaseRef": { "name": "main" } }), "main", Access::ReadWrite);
        check(json!({ "access": "ReadWrite" }), "default", Access::ReadWrite);
        check(json!({ "access": "Suspended" }), "default", Access::Suspended);
    }

    #[test]
    fn the_registry_has_the_word_that_the_manifest_has() {
        for access in [Access::ReadWrite, Access::ReadOnly, Access::Suspended] {
            assert_eq!(serde_json::to_value(access).unwrap(), access.as_str());
        }
    }

    #[test]
    fn a_tenant_belongs_to_no_institution_unless_its_spec_names_one() {
        let institution = |fields: Value| spec(fields).institution().map_err(|error| error.to_string());
        assert_eq!(institution(json!({})), Ok(None));
        assert_eq!(institution(json!({ "institutionId": ID })), Ok(Some(ID.parse().unwrap())));
        let refused = institution(json!({ "institutionId": "school" })).unwrap_err();
        assert!(refused.starts_with("spec.institutionId: institution id \"school\" is not a UUID"), "{refused}");
    }

    #[test]
    fn a_config_has_at_most_16_kib_of_bytes_rather_than_characters() {
        let too_large = "spec.config has 16385 bytes of JSON, at most 16384 are stored; keep large data elsewhere";
        let of = |text: String| json!({ "a": text });
        assert_eq!(spec(json!({})).config(), Ok(json!({})));
        check_config(&json!({}), "");
        check_config(&of("x".repeat(16_384 - r#"{"a":""}"#.len())), "");
        check_config(&of("x".repeat(16_385 - r#"{"a":""}"#.len())), too_large);
        check_config(&of("é".repeat((16_384 - r#"{"a":""}"#.len()) / 2)), "");
        check_config(&of("é".repeat((16_384 - r#"{"a":""}"#.len()) / 2) + "x"), too_large);
    }

    #[test]
    fn a_config_has_at_most_32_levels_of_objects_and_lists_where_it_is_deepest() {
        let too_deep = "spec.config has 33 levels of objects and lists, at most 32 are stored; make it flatter";
        let object = |levels: usize| (1..levels).fold(json!({}), |inner, _| json!({ "a": inner, "b": [], "c": 1 }));
        let list = |levels: usize| (1..levels).fold(json!([]), |inner, _| json!([{}, inner, "flat"]));
        check_config(&object(32), "");
        check_config(&object(33), too_deep);
        check_config(&json!({ "a": list(31) }), "");
        check_config(&json!({ "a": list(32) }), too_deep);
    }

    #[test]
    fn a_character_that_postgresql_cannot_store_is_told_with_its_place() {
        let check = |config: Value, path: &str| {
            let said = format!("spec.config has the character \\u0000 at {path}, which PostgreSQL cannot store; ");
            check_config(&config, &(said + "leave it out"));
        };
        check(json!({ "a": 1, "b": "x\0y" }), "b");
        check(json!({ "a": { "b": ["", 1, { "c": "\0" }] } }), "a.b.2.c");
        check(json!({ "a": { "b\0c": 1 } }), "a.b\\u0000c");
        check(json!({ "a": { "": "\0" } }), "a.\"\"");
        check_config(&json!({ "a": "\\u0000", "b": null, "c": ["", "\u{1}"] }), "");
    }

    #[test]
    fn a_tenant_is_held_by_the_brake_only_while_it_is_deleted_and_the_brake_stalls_it() {
        let check = |deleted: bool, reason: Option<Reason>, expected: bool| {
            let time = "2026-01-31T12:00:00Z".parse().unwrap();
            let mut tenant = TenantSchema::new("school", TenantSchemaSpec::default());
            tenant.metadata.deletion_timestamp = deleted.then_some(Time(time));
            let conditions = |reason| Verdict::of(reason, "", true).conditions(&[], 1, time);
            tenant.status =
                reason.map(|reason| TenantSchemaStatus { conditions: conditions(reason), ..Default::default() });
            assert_eq!(tenant.is_held_by_brake(), expected, "{reason:?}, deleted: {deleted}");
        };
        check(true, Some(Reason::DeletionBrake), true);
        check(true, Some(Reason::DropNotConfirmed), false);
        check(true, Some(Reason::Deleting), false);
        check(true, None, false);
        check(false, Some(Reason::DeletionBrake), false);
        check(false, Some(Reason::Conflict), false);
    }
}
