//! What would be done for the manifests in a file, against a live cluster and its databases. Nothing is written: the API
//! server is asked by a dry run, which tells its defaults and its refusals too, and the database is only observed.

use std::{path::Path, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    core::PartialObjectMeta,
};
use serde_json::Value;
use thiserror::Error;

use super::cluster_id;
use crate::{
    api::{TenantDatabase, TenantSchema},
    database::resolve::{Unresolved, resolve},
    kubernetes::{self, reading::Read},
    lane::LaneState,
    postgres::{self, Functions, Pool},
    telemetry::Metrics,
    tenant::{
        desired::{desired, removal},
        observe::{question, removal_question},
        plan::{plan, plan_removal},
        resolve::{Resolved, count_older},
    },
};

/// Who asks the API server for a dry run.
const MANAGER: &str = "tenant-schema-operator-plan";

/// Why there is no plan.
#[derive(Debug, Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {0}")]
    File(String, #[source] std::io::Error),
    /// The file is no YAML.
    #[error("{0} is not valid YAML")]
    Yaml(String, #[source] serde_saphyr::Error),
    /// A document is no TenantSchema, although it says so.
    #[error("document {0} of the file is not a valid TenantSchema")]
    Document(usize, #[source] serde_json::Error),
    /// The API server.
    #[error(transparent)]
    Kubernetes(#[from] kubernetes::Error),
    /// There is no such database.
    #[error("{tenant} refers to TenantDatabase {database:?}, which does not exist; see: kubectl get tenantdatabases")]
    NoDatabase {
        /// Namespace and name.
        tenant: String,
        /// The database.
        database: String,
    },
    /// The connection's Secrets.
    #[error("cannot connect to TenantDatabase {0}")]
    Unresolved(String, #[source] Unresolved),
    /// The database.
    #[error("cannot observe the tenant in TenantDatabase {0}")]
    Database(String, #[source] postgres::Error),
    /// The database is not installed.
    #[error(
        "TenantDatabase {0} has no management functions yet; the operator installs them when it opens the database"
    )]
    NotInstalled(String),
}

/// The plans of all tenants in a file, as text; what is no TenantSchema is named and left out.
pub async fn plans(client: &Client, file: &Path, own_namespace: &str) -> Result<String, Error> {
    let name = file.display().to_string();
    let read = if name == "-" { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(file) };
    let text = read.map_err(|source| Error::File(name.clone(), source))?;
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).map_err(|source| Error::Yaml(name, source))?;
    let cluster = cluster_id(client).await?;
    let mut plans = String::new();
    for (index, document) in documents.into_iter().enumerate().filter(|(_, document)| !document.is_null()) {
        let kind = document.get("kind").and_then(Value::as_str).unwrap_or("an object without a kind").to_owned();
        if kind == "TenantSchema" {
            let tenant = serde_json::from_value(document).map_err(|source| Error::Document(index + 1, source))?;
            plans.push_str(&plan_of(client, tenant, &cluster, own_namespace).await?);
        } else {
            plans.extend([kind.as_str(), ": not planned, only TenantSchemas are\n"]);
        }
    }
    Ok(plans)
}

async fn plan_of(
    client: &Client,
    mut tenant: TenantSchema,
    cluster: &str,
    own_namespace: &str,
) -> Result<String, Error> {
    let namespace = tenant.namespace().unwrap_or_else(|| client.default_namespace().to_owned());
    let api: Api<TenantSchema> = Api::namespaced(client.clone(), &namespace);
    tenant.metadata.namespace = Some(namespace.clone());
    tenant.metadata.managed_fields = None;
    let name = tenant.name_any();
    let dry_run =
        PatchParams { dry_run: true, force: true, field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let attempt = || format!("apply {namespace}/{name} as a dry run");
    let tenant = kubernetes::within(attempt, api.patch(&name, &dry_run, &Patch::Apply(&tenant))).await?;

    let database_name = tenant.spec.database().to_owned();
    let databases: Api<TenantDatabase> = Api::all(client.clone());
    let database = kubernetes::read(&databases, &database_name)
        .await?
        .ok_or_else(|| Error::NoDatabase { tenant: format!("{namespace}/{name}"), database: database_name.clone() })?;
    let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
    let found = kubernetes::read(&namespaces, &namespace).await?;
    let others: Api<Read<TenantSchema>> = Api::namespaced(client.clone(), &namespace);
    let tenants =
        kubernetes::within(|| format!("list TenantSchemas of {namespace}"), others.list(&ListParams::default()))
            .await?;
    let whole = tenants.items.into_iter().filter_map(|tenant| match tenant {
        Read::Whole(tenant) => Some(Arc::new(tenant)),
        Read::Unreadable(_) => None,
    });
    let others: Vec<_> = whole.collect();
    let resolved = Resolved {
        cluster: cluster.to_owned(),
        lane: LaneState::Elsewhere,
        namespace_labels: found.as_ref().map(|found| found.labels().clone()),
        namespace_uid: found.and_then(|found| found.uid()),
        now: Timestamp::now(),
        older_tenants: count_older(&tenant, &database_name, &others),
        database: Some(Arc::new(database)),
    };
    let functions = open(client, resolved.database.as_deref(), own_namespace).await?;
    let failed = |source| Error::Database(database_name.clone(), source);
    if tenant.metadata.deletion_timestamp.is_some() {
        let removal = removal(&tenant, &resolved);
        let observed = functions.observe_tenant(&removal_question(&removal)).await.map_err(failed)?;
        return Ok(plan_removal(&removal, &observed).to_string());
    }
    let desired = match desired(&tenant, &resolved) {
        Ok(desired) => desired,
        Err(invalid) => {
            return Ok(format!("tenant {namespace}/{name}:\n  refuse ({}): {}\n", invalid.reason, invalid.message));
        }
    };
    let observed = functions.observe_tenant(&question(&desired)).await.map_err(failed)?;
    Ok(plan(&desired, &observed).to_string())
}

/// The functions of a database, over one connection.
async fn open(client: &Client, database: Option<&TenantDatabase>, own_namespace: &str) -> Result<Functions, Error> {
    let Some(database) = database else { return Err(Error::NotInstalled(String::new())) };
    let name = database.name_any();
    let failed = |source| Error::Database(name.clone(), source);
    let connection =
        resolve(database, client, own_namespace).await.map_err(|source| Error::Unresolved(name.clone(), source))?;
    let pool = Pool::new(connection, 1).map_err(failed)?;
    let functions = Functions::new(pool, Arc::new(Metrics::new()), database.spec.connection.statement_timeout());
    let owner_role = database.spec.owner_role().map_err(|_| Error::NotInstalled(name.clone()))?;
    if functions.database(&owner_role).await.map_err(failed)?.installed {
        Ok(functions)
    } else {
        Err(Error::NotInstalled(name))
    }
}
