//! What would be done for the manifests in a file, against a live cluster and its databases. Nothing is written: the
//! API server is asked by a dry run, which also shows its defaults and refusals, and the database is only observed.

mod documents;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt::Debug,
    path::PathBuf,
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams, ValidationDirective},
    core::PartialObjectMeta,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use self::documents::Document;
use crate::controller::cluster_id;
use crate::{
    api::{
        SchemaBackup, TenantDatabase, TenantSchema,
        command::{self, List},
    },
    database::{
        desired::complaint,
        open::{Closed, Reached, reach},
        resolve::{Unresolved, resolve},
    },
    frame::{Doors, Kind, StageError, Wish, chain, look},
    kubernetes::{self, reading::Read},
    plan::Plan,
    postgres::Functions,
    telemetry::Metrics,
    tenant::{
        desired::Desired,
        plan::awaited,
        resolve::{Reach, Resolved, older},
    },
};

/// The field manager of dry runs.
const MANAGER: &str = "tenant-schema-operator-plan";

/// Why a document could not be planned.
#[derive(Debug, Error)]
pub enum Error {
    /// The API server.
    #[error(transparent)]
    Kubernetes(#[from] kubernetes::Error),
    /// There is no such database.
    #[error("TenantDatabase {0:?} does not exist; see: {all}", all = List(command::Kind::TenantDatabase))]
    NoDatabase(String),
    /// The connection's Secrets.
    #[error("cannot connect to TenantDatabase {0}")]
    Unresolved(String, #[source] Unresolved),
    /// What stands in the way of using the database.
    #[error("cannot use TenantDatabase {0}")]
    Closed(String, #[source] Closed),
    /// The database.
    #[error("cannot look at the tenant in TenantDatabase {0}")]
    Look(String, #[source] StageError),
    /// The database is not installed.
    #[error(
        "TenantDatabase {0} has no management functions yet; the operator installs them when it opens the database"
    )]
    NotInstalled(String),
}

/// What would follow from applying files, from the best to the worst: the worst document decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Nothing would be done.
    Nothing,
    /// Something would be done.
    Changes,
    /// Something would be refused, by the API server or by the operator.
    Refused,
    /// The API server or a database could not be asked, or not by this user.
    Unasked,
}

/// What would be done, as text for people, and what follows from it.
#[derive(Debug)]
pub struct Preview {
    /// One paragraph for each document.
    pub text: String,
    /// The worst of them.
    pub outcome: Outcome,
}

impl Preview {
    fn new(outcome: Outcome, text: String) -> Self {
        Self { text, outcome }
    }

    fn of(plan: &Plan) -> Self {
        let outcome = match plan.is_empty() {
            _ if plan.refuses() => Outcome::Refused,
            true => Outcome::Nothing,
            false => Outcome::Changes,
        };
        Self::new(outcome, plan.to_string())
    }
}

/// The client that asks, and the namespace of Secrets that name none.
struct Asker<'a> {
    client: &'a Client,
    own_namespace: &'a str,
    cluster: String,
    /// The `TenantDatabase`s that the files have, as they would be; nothing where the API server refuses one.
    databases: HashMap<String, Option<TenantDatabase>>,
    /// The Namespaces that the files have.
    namespaces: HashSet<String>,
}

/// What would be done for all documents of files and folders.
pub async fn preview(client: &Client, files: &[PathBuf], own_namespace: &str) -> Preview {
    let documents = match documents::read(files) {
        Ok(documents) => documents,
        Err(error) => return Preview::new(Outcome::Refused, format!("{}\n", chain(&error))),
    };
    let cluster = match cluster_id(client).await {
        Ok(cluster) => cluster,
        Err(error) => return Preview::new(Outcome::Unasked, format!("{}\n", chain(&error))),
    };
    let of_kind = |kind: &'static str| documents.iter().filter(move |document| document.kind() == kind);
    let namespaces = of_kind("Namespace").map(|document| document.name().to_owned()).collect();
    let mut databases = HashMap::new();
    for document in of_kind("TenantDatabase") {
        databases.insert(document.name().to_owned(), database_after(client, document).await.ok());
    }
    let asker = Asker { client, own_namespace, cluster, databases, namespaces };
    let mut whole = Preview::new(Outcome::Nothing, String::new());
    for document in &documents {
        let preview = asker.preview(document).await;
        whole.text.push_str(&preview.text);
        whole.outcome = whole.outcome.max(preview.outcome);
    }
    whole
}

impl Asker<'_> {
    async fn preview(&self, document: &Document) -> Preview {
        let (what, answer) = match document.kind() {
            "TenantSchema" => {
                let namespace = document.namespace().unwrap_or_else(|| self.client.default_namespace()).to_owned();
                let what = format!("tenant {namespace}/{}", document.name());
                (what, self.tenant(document, &namespace).await)
            }
            "TenantDatabase" => (format!("database {}", document.name()), self.database(document).await),
            "SchemaBackup" => {
                let namespace = document.namespace().unwrap_or_else(|| self.client.default_namespace()).to_owned();
                let what = format!("backup {namespace}/{}", document.name());
                (what, self.backup(document, &namespace).await)
            }
            kind => {
                let text = format!("{kind}: not planned, only this operator's kinds are\n");
                return Preview::new(Outcome::Nothing, text);
            }
        };
        answer.unwrap_or_else(|error| match error {
            // The manifest is wrong, not the connection. The API server answers an unknown field with a 500.
            Error::Kubernetes(kubernetes::Error::Refused { code, message, .. })
                if [400, 422].contains(&code) || message.contains("field not declared in schema") =>
            {
                Preview::new(Outcome::Refused, format!("{what}:\n  refused by the API server: {message}\n"))
            }
            Error::Kubernetes(kubernetes::Error::Refused { code: 404, .. })
                if document.namespace().is_some_and(|namespace| self.namespaces.contains(namespace)) =>
            {
                Preview::new(Outcome::Changes, format!("{what}:\n  waits for the Namespace of these files\n"))
            }
            Error::NoDatabase(name) if self.databases.contains_key(&name) => {
                let text = format!("{what}:\n  waits for TenantDatabase {name} of these files\n");
                Preview::new(Outcome::Changes, text)
            }
            error => Preview::new(Outcome::Unasked, format!("{what}: could not be asked: {}\n", chain(&error))),
        })
    }

    /// The database as it would be, beside what it is.
    async fn database(&self, document: &Document) -> Result<Preview, Error> {
        let api: Api<TenantDatabase> = Api::all(self.client.clone());
        let name = document.name();
        let before = kubernetes::read(&api, name).await?;
        let after = database_after(self.client, document).await?;
        if let Some(complaint) = complaint(&after) {
            let text = format!("database {name}:\n  refuse (InvalidSpec): {complaint}\n");
            return Ok(Preview::new(Outcome::Refused, text));
        }
        let spec = |database: &TenantDatabase| serde_json::to_value(&database.spec).unwrap_or_default();
        let (outcome, text) = match before {
            None => (Outcome::Changes, "create".to_owned()),
            Some(before) => match changed_fields(&spec(&before), &spec(&after)) {
                fields if fields.is_empty() => (Outcome::Nothing, "nothing to do".to_owned()),
                fields => (Outcome::Changes, format!("change {}", fields.join(", "))),
            },
        };
        Ok(Preview::new(outcome, format!("database {name}:\n  {text}\n")))
    }

    /// A backup is made once, so the API server's answer is all that there is to know.
    async fn backup(&self, document: &Document, namespace: &str) -> Result<Preview, Error> {
        let api: Api<SchemaBackup> = Api::namespaced(self.client.clone(), namespace);
        let name = document.name();
        let before = kubernetes::read_metadata(&api, name).await?;
        dry_run(&api, name, document.json(), || format!("apply {namespace}/{name} as a dry run")).await?;
        let (outcome, text) = match before {
            None => (Outcome::Changes, "create"),
            Some(_) => (Outcome::Nothing, "nothing to do"),
        };
        Ok(Preview::new(outcome, format!("backup {namespace}/{name}:\n  {text}\n")))
    }

    async fn tenant(&self, document: &Document, namespace: &str) -> Result<Preview, Error> {
        let api: Api<TenantSchema> = Api::namespaced(self.client.clone(), namespace);
        let name = document.name();
        let tenant = dry_run(&api, name, document.json(), || format!("apply {namespace}/{name} as a dry run")).await?;
        let database_name = tenant.spec.database().to_owned();
        let databases: Api<TenantDatabase> = Api::all(self.client.clone());
        let database = kubernetes::read(&databases, &database_name).await?;
        let database = database.ok_or_else(|| Error::NoDatabase(database_name.clone()))?;
        // What the same files change of it holds for their tenants, such as an entry of spec.transfers.
        let database = self.databases.get(&database_name).cloned().flatten().unwrap_or(database);
        let resolved = self.resolved(&tenant, namespace, database).await?;
        let functions = open(self.client, resolved.database.as_deref(), self.own_namespace).await?;
        let failed = |source| Error::Look(database_name.clone(), source);
        let doors = Doors::Functions(&functions);
        if tenant.metadata.deletion_timestamp.is_some() {
            let leave = tenant.removal(&resolved);
            let (_, plan) = look(Wish::<TenantSchema>::End(&leave), doors).await.map_err(failed)?;
            return Ok(Preview::of(&plan));
        }
        let desired = match tenant.desired(&resolved) {
            // What is due now comes by itself, and not from the file.
            Ok(desired) => Desired { schedules: Vec::new(), ..desired },
            Err(invalid) => {
                let text = format!("tenant {namespace}/{name}:\n  refuse ({}): {}\n", invalid.reason, invalid.message);
                return Ok(Preview::new(Outcome::Refused, text));
            }
        };
        let wish = Wish::<TenantSchema>::Keep(&desired);
        let (mut observed, mut plan) = look(wish, doors).await.map_err(failed)?;
        let waits = awaited(&desired, &observed.answer).is_some();
        if let Some(holder) = observed.answer.name_holder.as_mut().filter(|_| waits) {
            // Both halves of a move are there: its old object, which only a deletion ends, is no reason to stop a pipeline.
            holder.gone = true;
            plan = TenantSchema::plan(wish, &observed);
        }
        let mut preview = Preview::of(&plan);
        if waits {
            preview.text.push_str("  once the object that has the schema now is deleted\n");
        }
        Ok(preview)
    }

    /// What a tenant refers to, as the operator would find it.
    async fn resolved(
        &self,
        tenant: &TenantSchema,
        namespace: &str,
        database: TenantDatabase,
    ) -> Result<Resolved, Error> {
        let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(self.client.clone());
        let found = kubernetes::read(&namespaces, namespace).await?;
        let others: Api<Read<TenantSchema>> = Api::namespaced(self.client.clone(), namespace);
        let attempt = || format!("list TenantSchemas of {namespace}");
        let tenants = kubernetes::within(attempt, others.list(&ListParams::default())).await?;
        let whole = tenants.items.into_iter().filter_map(|tenant| match tenant {
            Read::Whole(tenant) => Some(Arc::new(tenant)),
            Read::Unreadable(_) => None,
        });
        let others: Vec<_> = whole.collect();
        Ok(Resolved {
            cluster: self.cluster.clone(),
            may_have_schema: true,
            reach: Reach::Reached,
            namespace_labels: found.as_ref().map(|found| found.labels().clone()),
            namespace_uid: found.and_then(|found| found.uid()),
            now: Timestamp::now(),
            newest_deletion: None,
            held: None,
            backups: BTreeMap::new(),
            older: older(tenant, tenant.spec.database(), &others),
            database: Some(Arc::new(database)),
        })
    }
}

/// The database as it would be.
async fn database_after(client: &Client, document: &Document) -> Result<TenantDatabase, Error> {
    let api: Api<TenantDatabase> = Api::all(client.clone());
    let name = document.name();
    dry_run(&api, name, document.json(), || format!("apply TenantDatabase {name} as a dry run")).await
}

/// Applies a manifest as it is written, unknown fields included, and changes nothing.
async fn dry_run<K>(api: &Api<K>, name: &str, manifest: &Value, attempt: impl Fn() -> String) -> Result<K, Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let parameters = PatchParams {
        dry_run: true,
        force: true,
        field_manager: Some(MANAGER.to_owned()),
        field_validation: Some(ValidationDirective::Strict),
    };
    Ok(kubernetes::within(attempt, api.patch(name, &parameters, &Patch::Apply(manifest))).await?)
}

/// The fields of a spec that differ, as a person writes them.
fn changed_fields(before: &Value, after: &Value) -> Vec<String> {
    let fields = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let (before, after) = (fields(before), fields(after));
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let differs = |name: &&&String| before.get(**name) != after.get(**name);
    names.iter().filter(differs).map(|name| format!("spec.{name}")).collect()
}

/// The functions of a database that has them.
async fn open(client: &Client, database: Option<&TenantDatabase>, own_namespace: &str) -> Result<Functions, Error> {
    let Some(database) = database else { return Err(Error::NotInstalled(String::new())) };
    let name = database.name_any();
    let resolved =
        resolve(database, client, own_namespace).await.map_err(|source| Error::Unresolved(name.clone(), source))?;
    match reach(database, resolved.connection, Arc::new(Metrics::new())).await {
        Ok(Reached { functions, facts }) if facts.installed => Ok(functions),
        Ok(_) => Err(Error::NotInstalled(name)),
        Err(closed) => Err(Error::Closed(name, closed)),
    }
}
