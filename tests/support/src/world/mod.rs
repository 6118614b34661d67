//! What a test stands on: namespaces, a database with a login that may make roles, a TenantDatabase, an operator.

mod objects;
mod postgres;

use crate::program;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use devcluster::{ControlPlane, ControlPlaneInfo, PostgresInfo};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::ObjectMeta,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tenant_schema_operator::{
    api::{SchemaBackup, TenantDatabase, TenantSchema, crds_yaml},
    config::Config,
    controller::{self, Standing, Watching},
};
use tokio::{runtime::Runtime, sync::oneshot, task::JoinHandle};

use crate::tools::{finalizer_policy, secret_policy};
pub use objects::condition;
use objects::shows;
pub use postgres::Session;

/// How long a test waits for anything. Conditions come true in milliseconds; this is for machines that are busy.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// One test's world.
pub struct World {
    /// What is this test's own in every name.
    pub id: String,
    /// As administrator of the cluster.
    pub client: Client,
    /// The namespace of the tenants.
    pub namespace: String,
    /// The operator's namespace.
    pub operator_namespace: String,
    /// The TenantDatabase, and the database in PostgreSQL.
    pub database: String,
    plane: ControlPlaneInfo,
    /// The way by which operators reach the API server, which a test may lead over a proxy of its own.
    pub kubeconfig: PathBuf,
    /// The server that the database is on.
    pub postgres: PostgresInfo,
    /// Whether the operator shows series for each tenant.
    pub tenant_metrics: bool,
    /// The folder below which its operators keep archives in files.
    pub files: Arc<tempfile::TempDir>,
    /// The wiring of further kinds that operators have.
    pub further_kind: fn(&Watching<'_>) -> Vec<Box<dyn Standing>>,
    is_guarded: bool,
    operator: Option<Operator>,
}

/// A running operator.
struct Operator {
    http: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), controller::Error>>,
    // Its own, so that a kill ends every task that it has started.
    runtime: Runtime,
}

impl World {
    /// Namespaces, database, login, Secret, TenantDatabase with this spec beside its connection, a running operator.
    pub async fn new(spec: Value) -> Self {
        let mut world = Self::without_operator(spec).await;
        world.start_operator().await;
        world
    }

    /// The same without an operator.
    pub async fn without_operator(spec: Value) -> Self {
        let world = Self::bare().await;
        world.make_database(&world.database, &world.login());
        world.write_secret(json!({})).await;
        world.apply_database(spec).await;
        world
    }

    /// Namespaces alone.
    pub async fn bare() -> Self {
        static DONE: OnceLock<()> = OnceLock::new();
        let shared = devcluster::shared().expect("a control plane and a PostgreSQL");
        DONE.get_or_init(|| install_crds(shared.control_plane()));
        Self::on_plane(shared.control_plane(), shared.postgres()).await
    }

    /// Namespaces alone, in a cluster that has the kinds.
    pub async fn on_plane(plane: &ControlPlaneInfo, postgres: &PostgresInfo) -> Self {
        // It begins with a letter: YAML takes eight digits for a number.
        let id = format!("w{}", &uuid::Uuid::new_v4().simple().to_string()[..7]);
        let client = client(&plane.kubeconfig).await;
        let world = Self {
            namespace: format!("team-{id}"),
            operator_namespace: format!("operator-{id}"),
            database: format!("e2e_{id}"),
            postgres: postgres.clone(),
            client,
            kubeconfig: plane.kubeconfig.clone(),
            plane: plane.clone(),
            tenant_metrics: true,
            files: Arc::new(tempfile::tempdir().unwrap()),
            further_kind: |_| Vec::new(),
            is_guarded: false,
            operator: None,
            id,
        };
        world.make_namespace(&world.namespace, json!({})).await;
        world.make_namespace(&world.operator_namespace, json!({})).await;
        world
    }

    /// The same names and the same database on another control plane, where nothing is known of tenants yet.
    pub async fn again_on(&self, control_plane: &ControlPlane) -> Self {
        install_crds(control_plane.info());
        let world = self.as_seen_from(control_plane).await;
        world.make_namespace(&world.namespace, json!({})).await;
        world.make_namespace(&world.operator_namespace, json!({})).await;
        world.write_secret(json!({})).await;
        world.apply_database(json!({})).await;
        world
    }

    /// The same names and the same database on another control plane, which is left as it is.
    pub async fn as_seen_from(&self, control_plane: &ControlPlane) -> Self {
        let plane = control_plane.info().clone();
        Self {
            id: self.id.clone(),
            client: client(&plane.kubeconfig).await,
            namespace: self.namespace.clone(),
            operator_namespace: self.operator_namespace.clone(),
            database: self.database.clone(),
            kubeconfig: plane.kubeconfig.clone(),
            plane,
            postgres: self.postgres.clone(),
            tenant_metrics: true,
            files: self.files.clone(),
            further_kind: |_| Vec::new(),
            is_guarded: false,
            operator: None,
        }
    }

    /// The login that the operator connects with.
    pub fn login(&self) -> String {
        format!("login_{}", self.id)
    }

    /// The role that owns the registry of this test's database.
    pub fn owner_role(&self) -> String {
        format!("e2e_{}_owner", self.id)
    }

    /// The TenantDatabase's name.
    pub fn database_ref(&self) -> String {
        format!("db-{}", self.id)
    }

    /// A namespace with labels; it goes with the world.
    pub async fn make_namespace(&self, name: &str, mut labels: Value) {
        merge(&mut labels, json!({ "e2e": self.id }));
        let namespace: Namespace =
            serde_json::from_value(json!({ "metadata": { "name": name, "labels": labels } })).unwrap();
        Api::<Namespace>::all(self.client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    }

    /// The TenantDatabase with this spec beside its connection.
    pub async fn apply_database(&self, mut spec: Value) {
        let connection = json!({ "secretRef": { "name": "postgres" }, "tls": { "mode": "VerifyFull" } });
        merge(&mut spec, json!({ "ownerRole": self.owner_role(), "surveyPeriodSeconds": 5 }));
        if spec.get("connection").is_none() {
            spec["connection"] = connection;
        }
        if self.has_pooler() && spec.get("directConnection").is_none() {
            spec["directConnection"] = json!({ "secretRef": { "name": "postgres-direct" } });
        }
        let object = json!({
            "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantDatabase",
            "metadata": { "name": self.database_ref(), "labels": { "e2e": self.id } }, "spec": spec,
        });
        let api = Api::<TenantDatabase>::all(self.client.clone());
        api.patch(&self.database_ref(), &PatchParams::apply("e2e").force(), &Patch::Apply(&object)).await.unwrap();
    }

    /// The user that this test's operators are for the API server.
    pub fn operator_user(&self) -> String {
        format!("operator-{}", self.id)
    }

    /// Installs the policy by which the operator may write the Secrets of tenants.
    pub fn guard_secrets(&mut self) {
        self.is_guarded = true;
        secret_policy::install(&self.plane, &self.operator_user());
    }

    /// Starts an operator that works for this test's objects alone, and waits until its caches are filled.
    pub async fn start_operator(&mut self) {
        assert!(self.operator.is_none(), "one operator is running");
        let http = SocketAddr::from(([127, 0, 0, 1], devcluster::free_port().unwrap()));
        let config = Config {
            namespace: self.operator_namespace.clone(),
            watch_namespaces: Vec::new(),
            watch_selector: Some(format!("e2e={}", self.id)),
            concurrency: 8,
            http_addr: http,
            tenant_metrics: self.tenant_metrics,
            file_store_root: Some(self.files.path().to_owned()),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let identity = format!("operator-{}", self.id);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (kubeconfig, user, further_kind) = (self.kubeconfig.clone(), self.operator_user(), self.further_kind);
        let task = runtime.spawn(async move {
            let client = client_as(&kubeconfig, Some(user)).await;
            let told = async {
                let _ = stopped.await;
            };
            controller::run_with(client, config, identity, told, further_kind).await
        });
        self.operator = Some(Operator { http, stop, task, runtime });
        self.eventually("the operator is ready", async || self.http("/readyz").is_some_and(|text| text == "ok")).await;
    }

    /// Stops the operator as SIGTERM does.
    pub async fn stop_operator(&mut self) {
        let Operator { stop, task, runtime, .. } = self.operator.take().expect("a running operator");
        let _ = stop.send(());
        tokio::time::timeout(DEADLINE, task).await.expect("the operator stops in time").unwrap().unwrap();
        runtime.shutdown_background();
    }

    /// Stops the operator as a power cut does: in the middle of its work, without giving anything back.
    pub async fn kill_operator(&mut self) {
        let Operator { runtime, .. } = self.operator.take().expect("a running operator");
        runtime.shutdown_background();
        self.expire_lease().await;
    }

    /// A dead holder's Lease runs out after 15 s, and the database has not heard of it for as long; a test need not wait.
    pub async fn expire_lease(&self) {
        self.delete_lease().await;
        let heard = "UPDATE edu_matrix_hub_schema.installation SET heartbeat_at = heartbeat_at - interval '15 s'";
        // Of a server that is down nothing is heard either.
        let _ = self.postgres.psql(&self.database, heard);
    }

    /// Takes the Lease away from its holder, who goes on all the same.
    pub async fn delete_lease(&self) {
        let lease = format!("tenant-database-{}", self.database_ref());
        let api =
            Api::<k8s_openapi::api::coordination::v1::Lease>::namespaced(self.client.clone(), &self.operator_namespace);
        let _ = api.delete(&lease, &DeleteParams::default()).await;
    }

    /// One number of `/metrics`: the sum of all series whose line begins so.
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.http("/metrics").unwrap_or_default();
        let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        text.lines().filter(|line| line.starts_with(series)).filter_map(value).sum()
    }

    /// The same of a counter.
    pub fn count(&self, series: &str) -> usize {
        let text = self.http("/metrics").unwrap_or_default();
        let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<usize>().ok());
        text.lines().filter(|line| line.starts_with(series)).filter_map(value).sum()
    }

    /// The body of an HTTP answer of the operator.
    pub fn http(&self, path: &str) -> Option<String> {
        let address = self.operator.as_ref()?.http;
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
    }

    /// Runs kubectl.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.plane.kubectl(arguments).unwrap_or_else(|error| panic!("kubectl {arguments:?}: {error}"))
    }

    /// Runs the operator's binary as a person does, as administrator of the cluster.
    pub fn command(&self, arguments: &[&str]) -> (std::process::ExitStatus, String, String) {
        let output = std::process::Command::new(program())
            .args(arguments)
            .env("KUBECONFIG", &self.plane.kubeconfig)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status, text(output.stdout), text(output.stderr))
    }

    /// Proves that a second run of the operator plans nothing and writes nothing: every object keeps its resource
    /// version, and no step is applied.
    pub async fn prove_fixpoint(&mut self) {
        if self.operator.is_some() {
            self.settle().await;
            self.stop_operator().await;
        }
        let before = self.written().await;
        let epoch = self.epoch().await;
        self.start_operator().await;
        self.eventually("the new run has the lane", async || self.epoch().await > epoch).await;
        for (kind, objects) in [("TenantSchema", "tenant "), ("SchemaBackup", "backup ")] {
            let objects = before.iter().filter(|(name, _)| name.starts_with(objects)).count();
            let reconciles = format!("tenant_schema_operator_reconciles_total{{kind=\"{kind}\"");
            // Before the lane is open a look decides nothing.
            let idle = format!("{reconciles},outcome=\"standby\"");
            let looked = async || self.count(&reconciles) >= self.count(&idle) + objects;
            self.eventually(&format!("the new run looked at every {kind}"), looked).await;
        }
        let applied = self.count("tenant_schema_operator_sql_calls_total{function=\"apply_steps\"");
        assert!(applied == 0, "a second run applied steps:\n{}", self.log());
        let after = self.written().await;
        let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let rewritten: Vec<_> = names
            .into_iter()
            .filter(|name| before.get(*name) != after.get(*name))
            .map(|name| format!("{name} was {:?} and is {:?}", before.get(name), after.get(name)))
            .collect();
        assert!(rewritten.is_empty(), "a second run wrote to objects:\n{}", rewritten.join("\n"));
        self.stop_operator().await;
    }

    /// Waits until the tenants show what surveys find: what the operator had no time to see is no failure.
    async fn settle(&self) {
        for (namespace, name, tables) in self.table_counts().unwrap_or_default() {
            let api = Api::<TenantSchema>::namespaced(self.client.clone(), &namespace);
            let shown = async || api.get_opt(&name).await.unwrap().is_none_or(|tenant| shows(&tenant, tables));
            self.eventually(&format!("{name} shows {tables} tables and its isolation"), shown).await;
        }
        self.eventually("rows whose objects are gone are released", async || self.ownerless().await == 0).await;
    }

    /// How many living rows have no object, unless they are so many that they stay.
    async fn ownerless(&self) -> usize {
        let rows = "SELECT owner_uid FROM edu_matrix_hub_schema.tenant_schemas \
                    WHERE status IN ('active', 'suspended') AND owner_uid IS NOT NULL AND NOT taken_over";
        let Ok(rows) = self.postgres.psql(&self.database, rows) else { return 0 };
        let tenants = Api::<TenantSchema>::all(self.client.clone()).list(&self.own()).await.unwrap();
        let uids: Vec<_> = tenants.iter().filter_map(ResourceExt::uid).collect();
        let missing = rows.lines().filter(|row| !row.is_empty() && !uids.iter().any(|uid| uid == row)).count();
        if missing > 3 { 0 } else { missing }
    }

    /// Ends the world: proves the fixpoint, removes everything that the test made.
    pub async fn finish(mut self) {
        self.prove_fixpoint().await;
        self.clean_up().await;
    }

    /// Removes everything that the test made, in any state.
    pub async fn clean_up(mut self) {
        if self.operator.is_some() {
            self.stop_operator().await;
        }
        self.remove_objects().await;
        if self.is_guarded {
            secret_policy::remove(&self.plane, &self.operator_user());
        }
        self.drop_database(&self.database.clone());
    }

    /// Removes the test's objects from the cluster, in any state, and leaves the database as it is.
    pub async fn remove_objects(&self) {
        let own = self.own();
        for tenant in Api::<TenantSchema>::all(self.client.clone()).list(&own).await.unwrap() {
            let namespace = tenant.namespace().unwrap();
            self.strip(&Api::<TenantSchema>::namespaced(self.client.clone(), &namespace), &tenant.name_any()).await;
        }
        for backup in Api::<SchemaBackup>::all(self.client.clone()).list(&own).await.unwrap() {
            let namespace = backup.namespace().unwrap();
            self.strip(&Api::<SchemaBackup>::namespaced(self.client.clone(), &namespace), &backup.name_any()).await;
        }
        self.strip(&self.databases(), &self.database_ref()).await;
        let namespaces = Api::<Namespace>::all(self.client.clone());
        for namespace in namespaces.list(&own).await.unwrap() {
            let _ = namespaces.delete(&namespace.name_any(), &DeleteParams::default()).await;
        }
    }

    async fn strip<K>(&self, api: &Api<K>, name: &str)
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let none = json!({ "metadata": { "finalizers": null } });
        let _ = api.patch(name, &PatchParams::default(), &Patch::Merge(&none)).await;
        let _ = api.delete(name, &DeleteParams::default()).await;
    }

    /// Resource version and status of all tenants and backups.
    pub async fn written(&self) -> BTreeMap<String, (Option<String>, String)> {
        let tenants = Api::<TenantSchema>::all(self.client.clone()).list(&self.own()).await.unwrap();
        let backups = Api::<SchemaBackup>::all(self.client.clone()).list(&self.own()).await.unwrap();
        let tenants = tenants.iter().map(|tenant| {
            let status = serde_json::to_string(&tenant.status).unwrap();
            let name = format!("tenant {}/{}", tenant.namespace().unwrap(), tenant.name_any());
            (name, (tenant.resource_version(), status))
        });
        let backups = backups.iter().map(|backup| {
            let status = serde_json::to_string(&backup.status).unwrap();
            let name = format!("backup {}/{}", backup.namespace().unwrap(), backup.name_any());
            (name, (backup.resource_version(), status))
        });
        tenants.chain(backups).collect()
    }

    /// Selects what is this test's own.
    fn own(&self) -> ListParams {
        ListParams::default().labels(&format!("e2e={}", self.id))
    }

    /// The epoch of the lane.
    pub async fn epoch(&self) -> i64 {
        let database = self.databases().get_opt(&self.database_ref()).await.unwrap();
        database.and_then(|database| database.status?.epoch).unwrap_or_default()
    }

    fn log(&self) -> String {
        self.sql(
            "SELECT type, status, description, error FROM edu_matrix_hub_schema.schema_operations \
             ORDER BY id DESC LIMIT 10",
        )
    }
}

/// Adds what `by_default` has and `into` has not.
fn merge(into: &mut Value, by_default: Value) {
    let (Some(into), Value::Object(by_default)) = (into.as_object_mut(), by_default) else { return };
    for (key, value) in by_default {
        into.entry(key).or_insert(value);
    }
}

async fn client(kubeconfig: &Path) -> Client {
    client_as(kubeconfig, None).await
}

/// A client of an administrator, under the name of this user if there is one.
async fn client_as(kubeconfig: &Path, user: Option<String>) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.auth_info.impersonate_groups = user.as_ref().map(|_| vec!["system:masters".to_owned()]);
    config.auth_info.impersonate = user;
    Client::try_from(config).unwrap()
}

/// Makes the kinds known to a cluster.
pub fn install_crds(plane: &ControlPlaneInfo) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(crds_yaml().unwrap().as_bytes()).unwrap();
    let path = file.path().display().to_string();
    let kubectl = |arguments: &[&str]| plane.kubectl(arguments).unwrap();
    kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &path]);
    kubectl(&["wait", devcluster::ESTABLISHED, "crd", "-l", "", "--all", "--timeout=60s"]);
    if finalizer_policy::is_everywhere() {
        finalizer_policy::install(plane, None);
    }
}

/// Metadata with a name, for objects that a test makes itself.
#[allow(dead_code, reason = "used by some of the promises")]
pub fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}
