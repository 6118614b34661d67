//! What tests that break things stand on, beside their world: servers of their own, operators that are real processes, and
//! listeners that are no PostgreSQL.

pub mod finalizer_policy;
pub mod next_release;
pub mod operator;
pub mod peers;
pub mod pooler;
pub mod secret_policy;
pub mod secrets;

use std::{fmt::Debug, time::Duration};

use devcluster::{PostgresOptions, PostgresServer, wait_until};
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tenant_schema_operator::api::{SchemaBackup, TenantDatabase, TenantSchema};
use tokio::time::{Instant, sleep};

use crate::world::{DEADLINE, World, condition};

/// A server of the test's own, to stop and to change. It waits for the disk: what it says is committed survives a crash.
pub fn own_server() -> PostgresServer {
    let options = PostgresOptions { max_connections: 60, durable: true, ..PostgresOptions::default() };
    PostgresServer::start(options).unwrap()
}

/// Waits until connections that are made from now on see the files that a reload reads.
pub fn until_reloaded(server: &mut PostgresServer, change: impl FnOnce(&mut PostgresServer)) {
    let info = server.info().clone();
    let loaded = || info.psql("postgres", "SELECT pg_conf_load_time()").unwrap();
    let before = loaded();
    change(server);
    wait_until(DEADLINE, "the server read its files again", || loaded() != before).unwrap();
}

/// A server with a rule that refuses some logins from everywhere, at first none.
pub struct Refusing {
    /// The server.
    pub server: PostgresServer,
    folder: tempfile::TempDir,
}

impl Refusing {
    /// Starts it.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), readable).unwrap();
        let list = folder.path().join("refused");
        std::fs::write(&list, "nobody\n").unwrap();
        let hba = vec![format!("host all @{} all reject", list.display())];
        let server = PostgresServer::start(PostgresOptions { hba, ..PostgresOptions::default() }).unwrap();
        Self { server, folder }
    }

    /// From now on it refuses whom this names, as a rule has it, and no other.
    pub fn refuse(&mut self, whom: &str) {
        std::fs::write(self.folder.path().join("refused"), format!("{whom}\n")).unwrap();
        until_reloaded(&mut self.server, |server| server.reload());
    }
}

/// Another database of a test.
pub struct Further {
    /// The TenantDatabase.
    pub reference: String,
    /// The database in PostgreSQL.
    pub database: String,
    owner: String,
}

impl World {
    /// Namespaces, a database on this server and a Secret that leads to it; no TenantDatabase and no operator.
    pub async fn on_server(server: &PostgresServer) -> Self {
        let mut world = Self::bare().await;
        world.postgres = server.info().clone();
        world.make_database(&world.database, &world.login());
        world.write_secret(json!({})).await;
        world
    }

    /// The connection of a TenantDatabase, changed.
    pub fn connection(change: &Value) -> Value {
        let mut connection = json!({ "secretRef": { "name": "postgres" }, "tls": { "mode": "VerifyFull" } });
        connection.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({ "connection": connection })
    }

    /// The connection Secret with these keys and no others.
    pub async fn replace_secret(&self, data: Value) {
        self.delete_secret().await;
        let secret: Secret =
            serde_json::from_value(json!({ "metadata": { "name": "postgres" }, "stringData": data })).unwrap();
        self.secrets().create(&PostParams::default(), &secret).await.unwrap();
    }

    /// Removes the connection Secret.
    pub async fn delete_secret(&self) {
        let _ = self.secrets().delete("postgres", &DeleteParams::default()).await;
    }

    /// The Secrets of the operator's namespace.
    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.operator_namespace)
    }

    /// Another database of the same server and login, and a TenantDatabase of this name with an owner role of its own.
    pub async fn make_further_database(&self, name: &str) -> Further {
        let (reference, database) = (format!("{name}-{}", self.id), format!("e2e_{}_{name}", self.id));
        let owner = format!("{database}_owner");
        self.sql_in("postgres", &format!("CREATE DATABASE {database} OWNER {}", self.login()));
        let data = json!({
            "host": self.postgres.host, "port": self.postgres.port.to_string(), "database": database,
            "username": self.login(), "password": "pw",
            "ca.crt": std::fs::read_to_string(&self.postgres.ca_path).unwrap(),
        });
        let secret = serde_json::from_value(json!({ "metadata": { "name": name }, "stringData": data })).unwrap();
        self.secrets().create(&PostParams::default(), &secret).await.unwrap();
        let spec = json!({
            "connection": { "secretRef": { "name": name }, "tls": { "mode": "VerifyFull" } },
            "ownerRole": owner, "surveyPeriodSeconds": 5,
        });
        self.apply_other_database(&reference, spec).await;
        Further { reference, database, owner }
    }

    /// Lets a further database go, whose tenants are gone; an operator runs.
    pub async fn remove_further_database(&self, further: Further) {
        self.databases().delete(&further.reference, &DeleteParams::default()).await.unwrap();
        self.until_gone(&self.databases(), &further.reference).await;
        self.drop_database_of(&further.database, &further.owner);
    }

    /// Another TenantDatabase of this test, with a whole spec.
    pub async fn apply_other_database(&self, name: &str, spec: Value) {
        let object = json!({
            "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantDatabase",
            "metadata": { "name": name, "labels": { "e2e": self.id } }, "spec": spec,
        });
        self.databases().patch(name, &PatchParams::apply("e2e").force(), &Patch::Apply(&object)).await.unwrap();
    }

    /// Waits until the test's TenantDatabase is ready.
    pub async fn database_ready(&self) -> TenantDatabase {
        self.until_ready(&self.databases(), &self.database_ref(), "True", "Succeeded").await
    }

    /// Waits until the test's TenantDatabase says that a person must act, and why, in a message that has these words.
    pub async fn database_stalled(&self, reason: &str, words: &str) -> String {
        let name = self.database_ref();
        self.until_said(&self.databases(), &name, "Stalled", reason, words).await
    }

    /// Waits until the test's TenantDatabase says that it goes on by itself, and why, in a message that has these words.
    pub async fn database_reconciling(&self, reason: &str, words: &str) -> String {
        let name = self.database_ref();
        self.until_said(&self.databases(), &name, "Reconciling", reason, words).await
    }

    /// Waits until a tenant has this condition with this reason and a message that has these words; returns the message.
    pub async fn tenant_says(&self, name: &str, type_: &str, reason: &str, words: &str) -> String {
        self.until_said(&self.api::<TenantSchema>(), name, type_, reason, words).await
    }

    async fn until_said<K>(&self, api: &Api<K>, name: &str, type_: &str, reason: &str, words: &str) -> String
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Serialize,
    {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let object = api.get_opt(name).await.unwrap();
            let found = object.as_ref().and_then(|object| condition(object, type_));
            if let Some((status, found, message)) = &found
                && status == "True"
                && found == reason
                && message.contains(words)
            {
                let other = if type_ == "Stalled" { "Reconciling" } else { "Stalled" };
                let both = object.as_ref().and_then(|object| condition(object, other));
                assert_eq!(both, None, "{name}: one of the two at a time");
                return message.clone();
            }
            assert!(
                Instant::now() < deadline,
                "{name} is not {type_}/{reason} with {words:?} but {found:?}: {object:?}"
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a tenant is Ready and nothing is left to do or to wait for.
    pub async fn settled_tenant(&self, name: &str) -> TenantSchema {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let tenant = self.api::<TenantSchema>().get(name).await.unwrap();
            let ready = condition(&tenant, "Ready").is_some_and(|(status, ..)| status == "True");
            let seen = tenant.status.as_ref().and_then(|status| status.observed_generation);
            let open = ["Reconciling", "Stalled"].iter().any(|type_| condition(&tenant, type_).is_some());
            if ready && !open && seen == tenant.metadata.generation {
                return tenant;
            }
            assert!(Instant::now() < deadline, "{name} is not settled: {:#?}", tenant.status);
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Takes a tenant away that made nothing, while no operator runs.
    pub async fn delete_tenant_without_operator(&self, name: &str) {
        let api = self.api::<TenantSchema>();
        let none = json!({ "metadata": { "finalizers": null } });
        api.patch(name, &PatchParams::default(), &Patch::Merge(&none)).await.unwrap();
        let _ = api.delete(name, &DeleteParams::default()).await;
        self.until_gone(&api, name).await;
    }

    /// The status of a tenant's Ready condition.
    pub async fn tenant_readiness(&self, name: &str) -> String {
        let tenant = self.api::<TenantSchema>().get(name).await.unwrap();
        condition(&tenant, "Ready").map(|(status, ..)| status).unwrap_or_default()
    }

    /// Everything that people can read of this test's objects, as text: the objects, their Events, Leases apart.
    pub async fn everything_readable(&self) -> String {
        let own = ListParams::default().labels(&format!("e2e={}", self.id));
        let mut texts = Vec::new();
        for database in self.databases().list(&own).await.unwrap() {
            texts.push(serde_json::to_string(&database).unwrap());
        }
        for tenant in Api::<TenantSchema>::all(self.client.clone()).list(&own).await.unwrap() {
            texts.push(serde_json::to_string(&tenant).unwrap());
        }
        for backup in Api::<SchemaBackup>::all(self.client.clone()).list(&own).await.unwrap() {
            texts.push(serde_json::to_string(&backup).unwrap());
        }
        texts.extend(self.all_events().await.iter().map(|event| serde_json::to_string(event).unwrap()));
        texts.join("\n")
    }

    /// The Events about this test's objects.
    pub async fn all_events(&self) -> Vec<Event> {
        let all = Api::<Event>::all(self.client.clone()).list(&ListParams::default()).await.unwrap();
        let own = |event: &Event| {
            event.involved_object.namespace.as_deref() == Some(&self.namespace)
                || event.involved_object.name.as_ref().is_some_and(|name| name.contains(&self.id))
        };
        all.items.into_iter().filter(own).collect()
    }

    /// Waits until an Event with this reason and these words tells about an object of this test.
    pub async fn until_told(&self, reason: &str, words: &str) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let events = self.all_events().await;
            let told = events.iter().any(|event| {
                let message = event.message.as_deref().unwrap_or_default();
                event.reason.as_deref() == Some(reason) && message.contains(words)
            });
            if told {
                return;
            }
            assert!(Instant::now() < deadline, "no Event {reason} with {words:?} among {events:#?}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// The resource version of a tenant.
    pub async fn version(&self, name: &str) -> Option<String> {
        self.api::<TenantSchema>().get(name).await.unwrap().resource_version()
    }

    /// How often the operator called a management function, or how often with this outcome.
    pub fn calls(&self, function: &str, outcome: Option<&str>) -> usize {
        let outcome = outcome.map_or_else(String::new, |outcome| format!(",outcome=\"{outcome}\""));
        self.count(&format!("tenant_schema_operator_sql_calls_total{{function=\"{function}\"{outcome}"))
    }

    /// How many errors the operator counted, of all kinds together.
    pub fn errors(&self) -> usize {
        self.count("tenant_schema_operator_errors_total")
    }
}
