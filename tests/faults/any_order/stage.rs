//! What the test stands on: a control plane and a PostgreSQL server that can go back to what they were, two namespaces of
//! tenants, one TenantDatabase, and two operators that reach both sides over wires.

use std::{fmt::Write, fs};

use devcluster::{ControlPlane, ControlPlaneOptions, PostgresServer, StopMode};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api as Kube, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tenant_schema_operator::api::TenantSchema;

use super::property;
use crate::{
    api::Api,
    tools::{operator::Process, own_server},
    wire::{Cut, Wire},
    world::{World, install_crds},
};

/// How the two operators are installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// They select objects by labels that exclude each other.
    Selectors,
    /// They are replicas of one installation.
    Replicas,
    /// They are two installations, in namespaces of their own, for the same objects.
    Rivals,
}

/// The labels by which objects belong to an operator, or to none.
pub const LABELS: [&str; 3] = ["one", "two", "none"];

/// The ground of the test.
pub struct Stage {
    pub world: World,
    pub plane: ControlPlane,
    pub server: PostgresServer,
    /// The namespaces of the tenants.
    pub namespaces: [String; 2],
    /// From the installation of this number to PostgreSQL.
    pub databases: [Wire; 2],
    /// From the operator of this number to the API server.
    pub networks: [Wire; 2],
    pub api: Api,
    pub manner: Manner,
    operators: [Option<Process>; 2],
    kubeconfigs: [NamedTempFile; 2],
    operator_namespaces: [String; 2],
}

impl Stage {
    pub async fn new(manner: Manner) -> Self {
        let server = own_server();
        let plane = ControlPlane::start(&ControlPlaneOptions::default()).unwrap();
        install_crds(plane.info());
        let world = World::on_plane(plane.info(), server.info()).await;
        world.make_database(&world.database, &world.login());
        world.sql(property::ROWS_IN);
        let second = format!("{}-two", world.namespace);
        world.make_namespace(&second, json!({})).await;
        let rival = format!("{}-two", world.operator_namespace);
        world.make_namespace(&rival, json!({})).await;
        let databases = [(); 2].map(|()| Wire::to(server.info().port));
        let api = Api::start(world.client.clone(), &world.operator_user(), Box::new(|_, _| Cut::Not)).await;
        let networks = [(); 2].map(|()| Wire::to(api.port));
        let kubeconfigs = networks.each_ref().map(kubeconfig);
        let stage = Self {
            namespaces: [world.namespace.clone(), second],
            operator_namespaces: [world.operator_namespace.clone(), rival],
            world,
            plane,
            server,
            databases,
            networks,
            api,
            manner,
            operators: [None, None],
            kubeconfigs,
        };
        stage.write_secrets().await;
        stage.apply_database(json!({})).await;
        stage
    }

    /// The Secret of each installation, which leads over its own wire.
    pub async fn write_secrets(&self) {
        for (namespace, wire) in self.operator_namespaces.iter().zip(&self.databases) {
            let secret: Secret = serde_json::from_value(json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "postgres" },
                "stringData": {
                    "host": "127.0.0.1", "port": wire.address.port().to_string(), "database": self.world.database,
                    "username": self.world.login(), "password": "pw",
                },
            }))
            .unwrap();
            let api = Kube::<Secret>::namespaced(self.world.client.clone(), namespace);
            api.patch("postgres", &PatchParams::apply("e2e").force(), &Patch::Apply(&secret)).await.unwrap();
        }
    }

    /// The TenantDatabase, with this beside its connection.
    pub async fn apply_database(&self, mut spec: Value) {
        spec["connection"] = json!({
            "secretRef": { "name": "postgres" }, "tls": { "mode": "Disable" },
            "connectTimeoutSeconds": 2, "statementTimeoutSeconds": 5,
        });
        self.world.apply_database(spec).await;
    }

    /// Gives the TenantDatabase to the operator of this label.
    pub async fn label_database(&self, label: &str) {
        let patch = json!({ "metadata": { "labels": { "op": label } } });
        let name = self.world.database_ref();
        let _ = self.world.databases().patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await;
    }

    /// Takes the TenantDatabase away by force. It leaves nothing in the database.
    pub async fn force_database_away(&self) {
        let (api, name) = (self.world.databases(), self.world.database_ref());
        let none = json!({ "metadata": { "finalizers": null } });
        let _ = api.delete(&name, &DeleteParams::default()).await;
        let _ = api.patch(&name, &PatchParams::default(), &Patch::Merge(&none)).await;
    }

    /// The UID of a namespace of tenants that may have objects.
    pub async fn namespace_uid(&self, name: &str) -> Option<String> {
        let namespace = self.kube_namespaces().get_opt(name).await.ok()??;
        namespace.metadata.deletion_timestamp.is_none().then(|| namespace.uid().unwrap())
    }

    /// Makes the namespaces of tenants that are gone.
    pub async fn make_namespaces(&self) {
        for name in &self.namespaces {
            let namespace: Namespace =
                serde_json::from_value(json!({ "metadata": { "name": name, "labels": { "e2e": self.world.id } } }))
                    .unwrap();
            let _ = self.kube_namespaces().create(&PostParams::default(), &namespace).await;
        }
    }

    pub fn kube_namespaces(&self) -> Kube<Namespace> {
        Kube::all(self.world.client.clone())
    }

    pub fn tenants(&self, namespace: &str) -> Kube<TenantSchema> {
        Kube::namespaced(self.world.client.clone(), namespace)
    }

    /// The objects of tenants that a running operator sees together with the database.
    pub async fn seen(&self) -> Result<Vec<TenantSchema>, kube::Error> {
        let mut selector = format!("e2e={}", self.world.id);
        if self.manner == Manner::Selectors {
            let database = self.world.databases().get(&self.world.database_ref()).await?;
            match database.labels().get("op") {
                Some(label) if label != LABELS[2] => write!(selector, ",op={label}").unwrap(),
                _ => return Ok(Vec::new()),
            }
        }
        let all = Kube::<TenantSchema>::all(self.world.client.clone());
        Ok(all.list(&ListParams::default().labels(&selector)).await?.items)
    }

    /// Waits until the API server answers the test.
    pub async fn answers(&self) {
        self.world.eventually("the API server answers", async || self.seen().await.is_ok()).await;
    }

    /// Starts the operators that do not run.
    pub fn start(&mut self) {
        for number in 0..2 {
            self.start_one(number);
        }
    }

    pub fn start_one(&mut self, number: usize) {
        if self.operators[number].is_some() {
            return;
        }
        let own = usize::from(self.manner == Manner::Rivals && number == 1);
        let id = &self.world.id;
        let selector = match self.manner {
            Manner::Selectors => format!("e2e={id},op={}", LABELS[number]),
            _ => format!("e2e={id}"),
        };
        let kubeconfig = self.kubeconfigs[number].path().display().to_string();
        let environment = [
            ("KUBECONFIG", kubeconfig.as_str()),
            ("TSO_NAMESPACE", &self.operator_namespaces[own]),
            ("TSO_WATCH_SELECTOR", &selector),
        ];
        self.operators[number] = Some(Process::spawn_as(&self.world, &environment));
    }

    /// Kills an operator as the kernel does. Its Lease may be left to run out.
    pub async fn kill(&mut self, number: usize) {
        if let Some(process) = self.operators[number].take() {
            let log = process.kill();
            assert!(!log.contains("panicked"), "{log}");
        }
        self.world.expire_lease().await;
    }

    /// Sends an operator a signal, if it runs.
    pub fn signal(&self, number: usize, name: &str) {
        if let Some(process) = &self.operators[number] {
            process.signal(name);
        }
    }

    /// No operator panicked. One that ended with a message is started again, as Kubernetes does.
    pub fn assert_unharmed(&mut self) {
        for number in 0..2 {
            let Some(process) = &mut self.operators[number] else { continue };
            let (log, runs) = (process.log(), process.runs());
            assert!(!log.contains("panicked"), "{log}");
            if !runs {
                self.operators[number] = None;
                self.start_one(number);
            }
        }
    }

    /// The last lines of each operator's log.
    pub fn logs(&self) -> String {
        let last = |process: &Process| {
            let log = process.log();
            let lines: Vec<_> = log.lines().collect();
            lines[lines.len().saturating_sub(60)..].join("\n")
        };
        self.operators.iter().flatten().map(last).collect::<Vec<_>>().join("\n--- the other operator\n")
    }

    /// The server ends and starts again.
    pub fn restart_server(&mut self) {
        self.server.restart(StopMode::Immediate).unwrap();
    }
}

/// A kubeconfig that leads over a wire.
fn kubeconfig(wire: &Wire) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "wire",
        "contexts": [{ "name": "wire", "context": { "cluster": "wire", "user": "nobody" } }],
        "clusters": [{ "name": "wire", "cluster": { "server": format!("http://{}", wire.address) } }],
        "users": [{ "name": "nobody", "user": {} }],
    });
    fs::write(file.path(), text.to_string()).unwrap();
    file
}
