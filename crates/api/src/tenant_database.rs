//! `TenantDatabase`: a PostgreSQL database that hosts tenants, and what its owners allow there.
//!
//! It belongs to the platform team, so it is cluster-scoped. The types are what is written in YAML; the accessors apply
//! the defaults. Whether the database can be reached is not known here.

#![allow(clippy::duplicated_attributes, reason = "every printer column has a type of its own")]

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::adoption::Adoptable;
use super::backup_policy::BackupPolicy;
use super::backup_store::BackupStore;
use super::connection::{Connection, DirectConnection, seconds};
use super::credentials::{Credentials, SecretNaming};
pub use super::database_status::TenantDatabaseStatus;
use super::endpoint::{ClientEndpoint, ReadEndpoint};
use super::grants::{GrantableRole, GrantsAllowed};
pub use super::institutions::{InstitutionSource, Institutions, InstitutionsMode};
use super::policy::{DeletionPolicy, Enforcement, Quota};
use super::schema;
use super::transfer::Transfer;
use crate::ident::{Ident, IdentError};
use crate::quantity::{Bytes, QuantityError};

/// How to reach a database, and what is allowed there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "edumatrixhub.io",
    version = "v1alpha1",
    kind = "TenantDatabase",
    status = "TenantDatabaseStatus",
    shortname = "tdb",
    category = "edumatrixhub",
    derive = "PartialEq",
    doc = "A PostgreSQL database that hosts tenants, and what its owners allow there.",
    printcolumn(name = "Version", type_ = "string", json_path = ".status.serverVersion"),
    printcolumn(name = "Tenants", type_ = "integer", json_path = ".status.tenantCount"),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.storageUsed"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.summary.reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Holder", type_ = "string", priority = 1, json_path = ".status.holder"),
    printcolumn(name = "Functions", type_ = "string", priority = 1, json_path = ".status.functionsVersion"),
    printcolumn(name = "Message", type_ = "string", priority = 1, json_path = ".status.summary.message")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "(has(self.ownerRole) ? self.ownerRole : 'edu_matrix_owner') == \
         (has(oldSelf.ownerRole) ? oldSelf.ownerRole : 'edu_matrix_owner')"
    )
    .message("ownerRole is immutable: it owns the registry and the functions")
    .reason(Reason::FieldValueForbidden)
    .field_path(".ownerRole"),
    validation = Rule::new(
        "!has(self.limits) || !has(self.limits.deletionPolicies) || !has(self.defaults) || \
         !has(self.defaults.deletionPolicy) || self.defaults.deletionPolicy in self.limits.deletionPolicies"
    )
    .message("defaults.deletionPolicy must be one of limits.deletionPolicies")
    .field_path(".defaults.deletionPolicy")
)]
pub struct TenantDatabaseSpec {
    /// How the operator reaches the database.
    pub connection: Connection,

    /// How the database server itself is reached, if `connection` leads to a pooler. The operator logs in there as a tenant for what
    /// needs a session of its own. These connections count among `connection.maxConnections`.
    ///
    /// Default: as `connection` has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direct_connection: Option<DirectConnection>,

    /// Where the Secrets of tenants lead to, if not to the address of the operator's own connection. When it changes, each Secret is
    /// written again within an hour, with another password.
    ///
    /// Default: the address of the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_endpoint: Option<ClientEndpoint>,

    /// Where applications may read from, which the Secrets of tenants have as `read-uri`.
    ///
    /// Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_endpoint: Option<ReadEndpoint>,

    /// Who installs the management functions in the database. `Managed`: the operator installs and upgrades them.
    /// `Verified`: a database administrator does, with `tenant-schema-operator sql`, and the operator checks them.
    ///
    /// Default: `Managed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub functions: Option<Functions>,

    /// The role that owns the registry and the functions. Roles belong to a server: two databases of one server may
    /// want two. At most 57 characters, since the admin role is named after it. Immutable.
    ///
    /// Default: `edu_matrix_owner`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(
        validation = Rule::new("self.matches('^[a-z_][a-z0-9_]*$')").message(
            "ownerRole may only have lower-case letters, digits and underscores and must not begin with a digit"
        ),
        validation = Rule::new("!self.startsWith('pg_') && !(self in ['public', 'none'])")
            .message("ownerRole must be neither public nor none nor begin with pg_, which PostgreSQL keeps for itself"),
        // As sql/bootstrap.sql has it: `_admin` must fit into the 63 bytes of a name.
        validation = Rule::new("self.size() <= 57")
            .message("ownerRole may have at most 57 characters: the admin role is named after it, with six more")
    )]
    pub owner_role: Option<String>,

    /// The namespaces whose tenants may live here, by their labels. An empty selector selects all.
    ///
    /// Default: all namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub allowed_namespaces: Option<LabelSelector>,

    /// Who may use which schema names. A name is allowed if any entry that selects the tenant's namespace has a
    /// pattern that matches it.
    ///
    /// Default: any valid name, for all namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub naming: Option<Vec<Naming>>,

    /// Which institutions tenants may belong to.
    ///
    /// Default: `{mode: Register}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub institutions: Option<Institutions>,

    /// The object store in which archives of tenants are kept (`method: Archive`).
    ///
    /// Default: none, so that nothing is archived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_store: Option<BackupStore>,

    /// What tenants may ask for. Limits bind new and changed tenants. A running one is held within them and marked `OutsideLimits`;
    /// the quota that is in force stands in its `status.effective`.
    ///
    /// Default: no limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,

    /// What holds for tenants that leave it out.
    ///
    /// Default: the defaults that each field of a `TenantSchema` names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defaults: Option<TenantDefaults>,

    /// Tenants that get another `TenantSchema` with all their data, because its name or its namespace changes; one
    /// entry a schema. It is half of what is needed: the other is the annotation `edumatrixhub.io/reclaim` on the new
    /// object. While an entry stands, deleting the old object releases the tenant instead of setting it aside or
    /// dropping it, under any deletion policy. An entry that is done does nothing and may stay.
    ///
    /// Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["schemaName".to_owned()]))]
    pub transfers: Option<Vec<Transfer>>,

    /// Schemas that stand in the database already, or were made by hand as tenants, and which namespace may adopt them
    /// (`existingSchema: Adopt` of a `TenantSchema`). An entry that is done does nothing and may stay.
    ///
    /// Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub adoptable: Option<Vec<Adoptable>>,

    /// Roles of the server that are no tenants', to which tenants may give grants (`spec.grants[].to.role`), for all tables of theirs or
    /// some. Neither roles of the operator's, nor of the server's provider, nor those that are superusers or have `CREATEROLE` or
    /// `BYPASSRLS`, nor members of such get any.
    ///
    /// Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub grantable_roles: Option<Vec<GrantableRole>>,

    /// How often usage and drift of all tenants are surveyed, in seconds.
    ///
    /// Default: `60`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 5, max = 3600))]
    pub survey_period_seconds: Option<i32>,
}

/// Who installs the management functions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::schema::undescribed)]
pub enum Functions {
    /// The operator.
    #[default]
    Managed,
    /// A database administrator; the operator checks.
    Verified,
}

/// Which schema names the tenants of some namespaces may use.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Naming {
    /// The namespaces that the entry is about, by their labels.
    ///
    /// Default: all namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub namespace_selector: Option<LabelSelector>,

    /// A regular expression (RE2 without look-around) that the name must match; it matches anywhere in the name unless
    /// it is anchored with `^` and `$`.
    #[schemars(length(min = 1, max = 256))]
    pub pattern: String,
}

/// What tenants may ask for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// The largest quota that a tenant may have; a tenant without a quota gets this one.
    ///
    /// Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(
        validation = Rule::new(schema::SIZE_RULE)
            .message("maxQuota must be a size such as 5Gi, with one of the suffixes Ki Mi Gi Ti Pi Ei k M G T P E"),
        validation = Rule::new(schema::SIZE_BOUNDS_RULE).message("maxQuota must be more than 0 and at most 8Pi")
    )]
    pub max_quota: Option<String>,

    /// What happens at least when a tenant has used up its quota: `Report`, `Block` or `Suspend`, each more than the one
    /// before.
    ///
    /// Default: `Report`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforcement_at_least: Option<Enforcement>,

    /// The deletion policies that tenants may have.
    ///
    /// Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 3))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub deletion_policies: Option<Vec<DeletionPolicy>>,

    /// How many tenants a namespace may have in this database.
    ///
    /// Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_tenants_per_namespace: Option<i32>,

    /// How many tenants may be set aside or dropped within an hour, four fifths of them of one namespace. What was
    /// deleted beyond that stays open and untouched until the annotation `edumatrixhub.io/confirm-deletions` on the
    /// database lets it go, so that a pipeline that prunes by mistake removes only few.
    ///
    /// Default: `50`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub max_deletions_per_hour: Option<i32>,

    /// How many sessions the login of a tenant's applications may have at most; one without `credentials.connectionLimit` has at most as
    /// many.
    ///
    /// Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_connection_limit: Option<i32>,

    /// After how many days the password of a tenant's applications is replaced at the latest.
    ///
    /// Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3650))]
    pub max_rotation_period_days: Option<i32>,

    /// To whom tenants may give grants: `None`, tenants of the `SameNamespace`, or of `AllNamespaces`; and but for `None` to the
    /// roles of `grantableRoles`. What is given beyond that is taken back.
    ///
    /// Default: `SameNamespace`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grants: Option<GrantsAllowed>,
}

/// What holds for tenants that leave it out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantDefaults {
    /// The quota of tenants without one; field by field.
    ///
    /// Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,

    /// The deletion policy of tenants without one: `BackupThenDrop`, `Drop` or `Retain`.
    ///
    /// Default: `BackupThenDrop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,

    /// What is kept of tenants that leave it out; field by field.
    ///
    /// Default: everything, for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupPolicy>,

    /// The Secret of tenants that name none.
    ///
    /// Default: they have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_secret: Option<SecretNaming>,

    /// How long passwords live and what logins may, of tenants that leave it out; field by field.
    ///
    /// Default: what each field of a `TenantSchema` defaults to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
}

impl TenantDatabaseSpec {
    /// How many connections the operator opens at most.
    #[must_use]
    pub fn max_connections(&self) -> usize {
        self.connection.max_connections_or(if self.backup_store.is_some() { 6 } else { 4 })
    }

    /// The owner role of a database that names none.
    pub const DEFAULT_OWNER_ROLE: &str = "edu_matrix_owner";

    /// The role that owns the registry and the functions.
    pub fn owner_role(&self) -> Result<Ident, IdentError> {
        Ident::new(self.owner_role.as_deref().unwrap_or(Self::DEFAULT_OWNER_ROLE))
    }

    /// How many tenants of the database may be set aside or dropped within an hour.
    #[must_use]
    pub fn max_deletions_per_hour(&self) -> i32 {
        let limit = self.limits.as_ref().and_then(|limits| limits.max_deletions_per_hour);
        limit.unwrap_or(Limits::DEFAULT_MAX_DELETIONS_PER_HOUR)
    }

    /// Who installs the management functions.
    #[must_use]
    pub fn functions(&self) -> Functions {
        self.functions.unwrap_or_default()
    }

    /// How often usage and drift are surveyed.
    #[must_use]
    pub fn survey_period(&self) -> Duration {
        seconds(self.survey_period_seconds, 60)
    }
}

impl Limits {
    /// How many tenants may be set aside or dropped within an hour, if the spec does not say.
    pub const DEFAULT_MAX_DELETIONS_PER_HOUR: i32 = 50;

    /// The largest quota in bytes; `None` if there is no limit.
    pub fn max_quota(&self) -> Result<Option<Bytes>, QuantityError> {
        self.max_quota.as_deref().map(Bytes::parse_quota).transpose()
    }

    /// Whether tenants may have this deletion policy.
    #[must_use]
    pub fn allows(&self, policy: DeletionPolicy) -> bool {
        self.deletion_policies.as_ref().is_none_or(|allowed| allowed.contains(&policy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifty_tenants_may_go_within_an_hour_unless_the_spec_says_otherwise() {
        let check = |max_deletions_per_hour: Option<i32>, expected: i32| {
            let limits = Some(Limits { max_deletions_per_hour, ..Limits::default() });
            let spec = TenantDatabaseSpec { limits, ..TenantDatabaseSpec::default() };
            assert_eq!(spec.max_deletions_per_hour(), expected);
        };
        check(None, 50);
        check(Some(0), 0);
        check(Some(7), 7);
        assert_eq!(TenantDatabaseSpec::default().max_deletions_per_hour(), 50);
    }

    #[test]
    fn every_deletion_policy_is_allowed_unless_the_limits_list_some() {
        let check = |allowed: Option<Vec<DeletionPolicy>>, policy: DeletionPolicy, expected: bool| {
            let limits = Limits { deletion_policies: allowed, ..Limits::default() };
            assert_eq!(limits.allows(policy), expected, "{limits:?}");
        };
        check(None, DeletionPolicy::Drop, true);
        check(Some(vec![DeletionPolicy::Retain, DeletionPolicy::Drop]), DeletionPolicy::Drop, true);
        check(Some(vec![DeletionPolicy::Retain]), DeletionPolicy::Drop, false);
    }

    #[test]
    fn a_largest_quota_that_is_left_out_is_none_and_one_of_nothing_is_refused() {
        let check = |max_quota: Option<&str>, expected: Result<Option<u64>, ()>| {
            let limits = Limits { max_quota: max_quota.map(str::to_owned), ..Limits::default() };
            assert_eq!(limits.max_quota().map(|quota| quota.map(Bytes::get)).map_err(drop), expected, "{limits:?}");
        };
        check(None, Ok(None));
        check(Some("5Gi"), Ok(Some(5 << 30)));
        check(Some("0"), Err(()));
    }

    #[test]
    fn an_institution_is_registered_unless_the_database_has_a_table_of_them() {
        let check = |mode: Option<InstitutionsMode>, source: bool, expected: InstitutionsMode| {
            let institutions = Some(Institutions { mode, source: source.then(InstitutionSource::default) });
            let spec = TenantDatabaseSpec { institutions, ..TenantDatabaseSpec::default() };
            assert_eq!(spec.institutions_mode(), expected, "{mode:?} {source}");
        };
        check(None, false, InstitutionsMode::Register);
        check(None, true, InstitutionsMode::Require);
        check(Some(InstitutionsMode::Register), true, InstitutionsMode::Register);
        check(Some(InstitutionsMode::Require), false, InstitutionsMode::Require);
        assert_eq!(TenantDatabaseSpec::default().institutions_mode(), InstitutionsMode::Register);
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let check = |spec: &str, functions: Functions, survey_seconds: u64, owner_role: &str| {
            let spec = format!(r#"{{"connection": {{"secretRef": {{"name": "main"}}}}{spec}}}"#);
            let spec: TenantDatabaseSpec = serde_json::from_str(&spec).unwrap();
            assert_eq!((spec.functions(), spec.survey_period().as_secs()), (functions, survey_seconds));
            assert_eq!(spec.owner_role().unwrap().as_str(), owner_role);
        };
        check("", Functions::Managed, 60, "edu_matrix_owner");
        check(r#", "functions": "Managed", "surveyPeriodSeconds": 5"#, Functions::Managed, 5, "edu_matrix_owner");
        check(r#", "functions": "Verified", "ownerRole": "hosts""#, Functions::Verified, 60, "hosts");
    }
}
