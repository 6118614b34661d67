//! Which institutions the tenants of a database may belong to.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
pub struct InstitutionSource {
    /// The schema that the table is in.
    #[schemars(length(min = 1, max = 63))]
    pub schema: String,

    /// The table.
    #[schemars(length(min = 1, max = 63))]
    pub table: String,

    /// The column with the institution's id, of type uuid, text or varchar.
    #[schemars(length(min = 1, max = 63))]
    pub id_column: String,
}
