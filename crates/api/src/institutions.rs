//! Which institutions the tenants of a database may belong to.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tenant_database::TenantDatabaseSpec;

/// Which institutions tenants may belong to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Institutions {
    /// What happens to an institution that is not known. `Register`: it is registered with the tenant. `Require`: the
    /// tenant waits for it as `InstitutionUnknown`.
    ///
    /// Default: `Require` with a `source`, `Register` without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<InstitutionsMode>,

    /// The table in which the database's institutions are found.
    ///
    /// Default: the registry's own table of institutions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<InstitutionSource>,
}

/// What happens to an institution that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::schema::undescribed)]
pub enum InstitutionsMode {
    /// It is registered with the tenant.
    Register,
    /// The tenant waits for it.
    Require,
}

/// A table of institutions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.suspendedValues) || has(self.statusColumn)")
        .message("suspendedValues are values of a statusColumn, which is missing")
        .reason(Reason::FieldValueInvalid)
        .field_path(".suspendedValues")
)]
pub struct InstitutionSource {
    /// The schema that the table is in.
    #[schemars(length(min = 1, max = 63))]
    pub schema: String,

    /// The table.
    #[schemars(length(min = 1, max = 63))]
    pub table: String,

    /// The column with the institution's id, of type uuid, text or varchar. It should have an index: each survey looks up the
    /// institutions of all tenants.
    #[schemars(length(min = 1, max = 63))]
    pub id_column: String,

    /// The column that says how the institution stands, of type text, varchar, boolean, smallint, integer or an enum. Each survey reads
    /// it, and closes the tenant of an institution with one of the `suspendedValues`, until it has another value.
    ///
    /// Default: none; no tenant is closed by the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub status_column: Option<String>,

    /// The values of `statusColumn` that close a tenant, as PostgreSQL shows them.
    ///
    /// Default: `[suspended, closed]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(max = 63)), extend("x-kubernetes-list-type" = "set"))]
    pub suspended_values: Option<Vec<String>>,
}

impl InstitutionSource {
    /// The values that close a tenant, if the spec names none.
    pub const DEFAULT_SUSPENDED_VALUES: [&str; 2] = ["suspended", "closed"];

    /// The values that close a tenant.
    #[must_use]
    pub fn suspended_values(&self) -> Vec<String> {
        let by_default = || Self::DEFAULT_SUSPENDED_VALUES.map(str::to_owned).to_vec();
        self.suspended_values.clone().unwrap_or_else(by_default)
    }
}

impl TenantDatabaseSpec {
    /// What happens to an institution that is not known.
    #[must_use]
    pub fn institutions_mode(&self) -> InstitutionsMode {
        let institutions = self.institutions.as_ref();
        let by_default = match institutions.and_then(|institutions| institutions.source.as_ref()) {
            Some(_) => InstitutionsMode::Require,
            None => InstitutionsMode::Register,
        };
        institutions.and_then(|institutions| institutions.mode).unwrap_or(by_default)
    }
}
