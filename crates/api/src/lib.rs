//! The kinds of tenant-schema-operator: `TenantDatabase`, `TenantSchema`, `SchemaBackup`, and the words that their conditions and
//! Events are made of.
//!
//! Everything here is data and its description: the manifests in `crds/` and the pages in `docs/reference/` are
//! generated from it. Nothing here talks to Kubernetes or PostgreSQL, so that a plugin, a console or a test that only
//! reads and writes objects needs no more than this crate.

#![allow(clippy::doc_markdown, reason = "PostgreSQL is a name, not code")]

pub mod adoption;
pub mod annotations;
pub mod backup_policy;
pub mod backup_store;
pub mod command;
pub mod condition;
pub mod connection;
pub mod credentials;
pub mod database_status;
pub mod endpoint;
pub mod event;
pub mod grants;
pub mod ident;
pub mod institutions;
pub mod kinds;
pub mod policy;
pub mod quantity;
pub mod reason;
pub mod reference;
pub mod row_security;
pub mod schedule;
pub mod schema_backup;
pub mod tenant_database;
pub mod tenant_schema;
pub mod tenant_status;
pub mod text;
pub mod transfer;

mod free_json;
mod schema;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use thiserror::Error;

pub use annotations::*;
pub use schema_backup::{SchemaBackup, SchemaBackupSpec, SchemaBackupStatus};
pub use tenant_database::{TenantDatabase, TenantDatabaseSpec, TenantDatabaseStatus};
pub use tenant_schema::{TenantSchema, TenantSchemaSpec, TenantSchemaStatus};

/// The API group of every kind.
pub const GROUP: &str = "edumatrixhub.io";

/// The only version so far.
pub const VERSION: &str = "v1alpha1";

/// The finalizer of a `TenantSchema`: what it made in the database is dealt with before it goes.
pub const TENANT_SCHEMA_FINALIZER: &str = "edumatrixhub.io/tenant-schema";

/// The finalizer of a `SchemaBackup`.
pub const SCHEMA_BACKUP_FINALIZER: &str = "edumatrixhub.io/schema-backup";

/// The finalizer of a `TenantDatabase`: it stays while tenants refer to it.
pub const TENANT_DATABASE_FINALIZER: &str = "edumatrixhub.io/tenant-database";

/// Why the definitions could not be written.
#[derive(Debug, Error)]
#[error("failed to write the definition of {kind} as YAML")]
pub struct YamlError {
    kind: String,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// The definitions of all kinds, in the order in which they are explained. This is what is installed: the derived
/// `CustomResourceExt::crd` lacks the last pass.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    [TenantDatabase::crd(), TenantSchema::crd(), SchemaBackup::crd()].map(schema::finish).into()
}

/// One definition as YAML.
pub fn crd_yaml(crd: &CustomResourceDefinition) -> Result<String, YamlError> {
    let error = |source| YamlError { kind: crd.spec.names.kind.clone(), source };
    let value = serde_json::to_value(crd).map_err(|source| error(source.into()))?;
    serde_saphyr::to_string(&schema::plain(value)).map_err(|source| error(source.into()))
}

/// The definitions of all kinds as one stream of YAML documents, for `kubectl apply -f -`.
pub fn crds_yaml() -> Result<String, YamlError> {
    let documents = crds().iter().map(crd_yaml).collect::<Result<Vec<_>, _>>()?;
    Ok(format!("---\n{}", documents.join("---\n")))
}
