//! How fast tenants come, stay and go: `make bench`, or `make bench TENANTS=10000`.
//!
//! A control plane, a PostgreSQL and the operator's release binary run on this machine's loopback. Measured are the time from
//! the first POST to all Ready, what an idle survey tick costs, a restart over all of them, and the deletion of all. The
//! table is printed and written as JSON to `target/bench/tenants.json`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a bench ends where its ground gives way")]
#![allow(clippy::cast_precision_loss, clippy::float_cmp, reason = "figures for people")]

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use devcluster::{ControlPlane, ControlPlaneOptions, PostgresOptions, PostgresServer};
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use tenant_schema_operator::api::{TenantDatabase, TenantSchema, crds_yaml};

/// How many requests are under way at once, as from a busy GitOps controller.
const CLIENTS: usize = 32;
/// Tenants as the operator's own cache has them: asking the API server for all of them again and again would be measured too.
const READY: &str = "tenant_schema_operator_tenants{database=\"default\",state=\"ready\"";
const ANY: &str = "tenant_schema_operator_tenants{";
const NAMESPACE: &str = "bench";
const OPERATOR_NAMESPACE: &str = "tenant-schema-system";

#[tokio::main]
async fn main() {
    let count: usize = std::env::var("TENANTS").ok().and_then(|text| text.parse().ok()).unwrap_or(1000);
    let plane = ControlPlane::start(&ControlPlaneOptions::default()).expect("a control plane");
    let postgres = PostgresServer::start(PostgresOptions::default()).expect("a PostgreSQL");
    let client = client(&plane).await;
    set_up(&plane, &postgres, &client).await;
    let mut figures = BTreeMap::new();
    let tenants: Api<TenantSchema> = Api::namespaced(client.clone(), NAMESPACE);

    let mut operator = Operator::start(&plane);
    database_ready(&client).await;
    let before = operator.cpu();
    let started = Instant::now();
    stream::iter(0..count).for_each_concurrent(CLIENTS, |index| create(tenants.clone(), index)).await;
    figures.insert("posted, s", started.elapsed().as_secs_f64());
    until(Duration::from_mins(30), || async { operator.metric(READY) >= count as f64 }).await;
    figures.insert("first POST to all Ready, s", started.elapsed().as_secs_f64());
    figures.insert("operator CPU a tenant, ms", (operator.cpu() - before) * 1000.0 / count as f64);
    figures.insert("operator resident, MiB", operator.resident());
    figures.insert("SQL round trips a tenant", operator.calls() / count as f64);

    // The first survey after the last tenant may still find news; after that nothing happens but the tick.
    let surveys = operator.metric("tenant_schema_operator_sql_calls_total{function=\"survey_tenants\"");
    until(Duration::from_mins(2), || async {
        operator.metric("tenant_schema_operator_sql_calls_total{function=\"survey_tenants\"") >= surveys + 2.0
    })
    .await;
    let (versions, calls, cpu) = (newest(&tenants).await, operator.calls(), operator.cpu());
    let ticks = 6.0;
    until(Duration::from_mins(2), || async { operator.calls() >= calls + ticks }).await;
    figures.insert("API writes to tenants in 6 idle ticks", if newest(&tenants).await == versions { 0.0 } else { 1.0 });
    figures.insert("operator CPU an idle tick, ms", (operator.cpu() - cpu) * 1000.0 / ticks);
    figures.insert("survey, ms", operator.metric("tenant_schema_operator_survey_duration_seconds{") * 1000.0);

    operator.stop();
    let started = Instant::now();
    operator = Operator::start(&plane);
    until(Duration::from_mins(5), || async {
        operator.metric("tenant_schema_operator_reconciles_total{kind=\"TenantSchema\",outcome=\"unchanged\"")
            >= count as f64
    })
    .await;
    figures.insert("restart to all looked at, s", started.elapsed().as_secs_f64());
    figures.insert("API writes to tenants by the restart", if newest(&tenants).await == versions { 0.0 } else { 1.0 });
    figures.insert(
        "single look-ups by the restart",
        operator.metric("tenant_schema_operator_sql_calls_total{function=\"observe_tenant\""),
    );
    figures.insert("operator resident after the restart, MiB", operator.resident());

    let started = Instant::now();
    stream::iter(0..count)
        .for_each_concurrent(CLIENTS, |index| {
            let tenants = tenants.clone();
            async move {
                tenants.delete(&name(index), &DeleteParams::default()).await.unwrap();
            }
        })
        .await;
    until(Duration::from_hours(1), || async { operator.metric(ANY) == 0.0 }).await;
    figures.insert("first DELETE to all set aside, s", started.elapsed().as_secs_f64());
    figures.insert("errors", operator.metric("tenant_schema_operator_errors_total"));
    operator.stop();
    publish(count, postgres.info().version_num, &figures);
}

fn publish(count: usize, version: u32, figures: &BTreeMap<&str, f64>) {
    println!("\n{count} tenants, PostgreSQL {}", version / 10_000);
    for (name, figure) in figures {
        println!("  {name:<42} {figure:>10.2}");
    }
    let folder = devcluster::target_dir().join("bench");
    fs::create_dir_all(&folder).unwrap();
    let document = json!({ "tenants": count, "postgres": version, "figures": figures });
    fs::write(folder.join("tenants.json"), serde_json::to_string_pretty(&document).unwrap()).unwrap();
}

/// The operator's release binary.
struct Operator {
    process: Child,
    http: SocketAddr,
}

impl Operator {
    fn start(plane: &ControlPlane) -> Self {
        let http = SocketAddr::from(([127, 0, 0, 1], devcluster::free_port().unwrap()));
        let process = Command::new(env!("CARGO_BIN_EXE_tenant-schema-operator"))
            .args(["run", "--log-level", "warn", "--http-addr", &http.to_string()])
            .env("KUBECONFIG", &plane.info().kubeconfig)
            .stdout(Stdio::null())
            .spawn()
            .expect("the operator starts");
        Self { process, http }
    }

    /// Ends it as a pod is ended, so that the next one need not wait for its Lease.
    fn stop(&mut self) {
        let told = Command::new("kill").arg(self.process.id().to_string()).status();
        assert!(told.is_ok_and(|status| status.success()), "the operator is told to stop");
        self.process.wait().unwrap();
    }

    /// Seconds of CPU.
    fn cpu(&self) -> f64 {
        let stat = fs::read_to_string(self.proc("stat")).unwrap_or_default();
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks = |index: usize| after_name.split_whitespace().nth(index).and_then(|text| text.parse::<f64>().ok());
        (ticks(11).unwrap_or_default() + ticks(12).unwrap_or_default()) / 100.0
    }

    fn resident(&self) -> f64 {
        let status = fs::read_to_string(self.proc("status")).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1024.0
    }

    fn proc(&self, file: &str) -> std::path::PathBuf {
        Path::new("/proc").join(self.process.id().to_string()).join(file)
    }

    /// Round trips to PostgreSQL so far.
    fn calls(&self) -> f64 {
        self.metric("tenant_schema_operator_sql_calls_total{")
    }

    /// The sum of all series whose line begins so; a sum of nothing is -0.0, which 0.0 mends.
    fn metric(&self, series: &str) -> f64 {
        let text = self.scrape().unwrap_or_default();
        let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        text.lines().filter(|line| line.starts_with(series)).filter_map(value).sum::<f64>() + 0.0
    }

    fn scrape(&self) -> Option<String> {
        let mut stream = TcpStream::connect_timeout(&self.http, Duration::from_secs(1)).ok()?;
        write!(stream, "GET /metrics HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // It ended already unless the bench panicked.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn client(plane: &ControlPlane) -> Client {
    let kubeconfig = Kubeconfig::read_from(&plane.info().kubeconfig).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

async fn set_up(plane: &ControlPlane, postgres: &PostgresServer, client: &Client) {
    let mut manifest = tempfile::NamedTempFile::new().unwrap();
    manifest.write_all(crds_yaml().unwrap().as_bytes()).unwrap();
    let path = manifest.path().display().to_string();
    plane.info().kubectl(&["apply", "--server-side", "-f", &path]).unwrap();
    plane.info().kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).unwrap();
    let server = postgres.info();
    server.psql("postgres", "CREATE ROLE bench LOGIN CREATEROLE PASSWORD 'bench'").unwrap();
    server.psql("postgres", "CREATE DATABASE bench OWNER bench").unwrap();
    for name in [NAMESPACE, OPERATOR_NAMESPACE] {
        let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    }
    let secret: Secret = serde_json::from_value(json!({
        "metadata": { "name": "postgres" },
        "stringData": {
            "host": server.host, "port": server.port.to_string(), "database": "bench", "username": "bench",
            "password": "bench", "ca.crt": fs::read_to_string(&server.ca_path).unwrap(),
        },
    }))
    .unwrap();
    Api::namespaced(client.clone(), OPERATOR_NAMESPACE).create(&PostParams::default(), &secret).await.unwrap();
    let database: TenantDatabase = serde_json::from_value(json!({
        "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantDatabase", "metadata": { "name": "default" },
        "spec": {
            "connection": { "secretRef": { "name": "postgres" } }, "surveyPeriodSeconds": 5,
            "limits": { "maxDeletionsPerHour": 1_000_000 },
        },
    }))
    .unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &database).await.unwrap();
}

async fn database_ready(client: &Client) {
    let databases: Api<TenantDatabase> = Api::all(client.clone());
    until(Duration::from_mins(2), || async {
        let database = databases.get("default").await.unwrap();
        database.status.is_some_and(|status| status.epoch.is_some())
    })
    .await;
}

async fn create(tenants: Api<TenantSchema>, index: usize) {
    let tenant: TenantSchema = serde_json::from_value(json!({
        "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantSchema", "metadata": { "name": name(index) },
        "spec": { "schemaName": format!("bench_{index}"), "quota": { "limit": "5Gi" } },
    }))
    .unwrap();
    tenants.create(&PostParams::default(), &tenant).await.unwrap();
}

fn name(index: usize) -> String {
    format!("tenant-{index}")
}

/// The newest resource version of any tenant: it moves with every write.
async fn newest(tenants: &Api<TenantSchema>) -> u64 {
    let all = tenants.list(&ListParams::default().match_any()).await.unwrap();
    all.iter().filter_map(|tenant| tenant.resource_version()?.parse().ok()).max().unwrap_or_default()
}

async fn until<F: Future<Output = bool>>(limit: Duration, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + limit;
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
