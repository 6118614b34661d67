//! What the bench stands on: a control plane, a PostgreSQL with one database or several, and two namespaces.

use std::{io::Write, time::Duration};

use devcluster::{ControlPlane, ControlPlaneOptions, PostgresServer};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use support::tools::{finalizer_policy, secret_policy};
use tenant_schema_operator::api::{RECONCILE_REQUESTED_AT, TenantDatabase, crds_yaml};
use tokio::time::Instant;

use super::{
    direct::{new_database, server, superuser},
    process::{Operator, Shares},
    report::setting,
};

/// The namespace of the operator's tenants.
pub const OPERATED: &str = "bench";
/// The namespace of the tenants whose API writes the limit makes.
pub const LIMIT: &str = "limit";
/// The user that the operator is for the API server.
const OPERATOR: &str = "operator-bench";
const OPERATOR_NAMESPACE: &str = "tenant-schema-system";
/// How the API server counts requests.
const REQUESTS: &str = "apiserver_request_total{";

/// See the module.
pub struct Ground {
    /// The control plane.
    pub plane: ControlPlane,
    /// The server.
    pub postgres: PostgresServer,
    /// An administrator's client.
    pub client: Client,
    /// How many databases there are.
    pub databases: usize,
    /// By which the operator reaches the API server.
    kubeconfig: tempfile::NamedTempFile,
}

/// How many Secrets each tenant has: `SECRETS=1` is that of its applications, 2 are that and the one of its migrations.
pub fn secrets() -> usize {
    setting("SECRETS", 0)
}

/// The n-th TenantDatabase, and the database and login in PostgreSQL behind it. No schema may have the name of a login.
pub fn database(number: usize) -> (String, String) {
    if number == 0 {
        ("default".to_owned(), "bench".to_owned())
    } else {
        (format!("further-{number}"), format!("further_{number}"))
    }
}

impl Ground {
    /// Brings it up.
    pub async fn new(databases: usize) -> Self {
        let plane = ControlPlane::start(&ControlPlaneOptions::default()).expect("a control plane");
        let postgres = server(databases);
        let mut kubeconfig = Kubeconfig::read_from(&plane.info().kubeconfig).unwrap();
        let config =
            kube::Config::from_custom_kubeconfig(kubeconfig.clone(), &KubeConfigOptions::default()).await.unwrap();
        for user in kubeconfig.auth_infos.iter_mut().filter_map(|user| user.auth_info.as_mut()) {
            user.impersonate = Some(OPERATOR.to_owned());
            user.impersonate_groups = Some(vec!["system:masters".to_owned()]);
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(serde_json::to_string(&kubeconfig).unwrap().as_bytes()).unwrap();
        let ground = Self { plane, postgres, client: Client::try_from(config).unwrap(), databases, kubeconfig: file };
        ground.set_up().await;
        ground
    }

    async fn set_up(&self) {
        let mut manifest = tempfile::NamedTempFile::new().unwrap();
        manifest.write_all(crds_yaml().unwrap().as_bytes()).unwrap();
        let kubectl = |arguments: &[&str]| self.plane.info().kubectl(arguments).unwrap();
        kubectl(&["apply", "--server-side", "-f", &manifest.path().display().to_string()]);
        kubectl(&["wait", devcluster::ESTABLISHED, "crd", "--all", "--timeout=60s"]);
        let new = PostParams::default();
        for name in [OPERATED, LIMIT, OPERATOR_NAMESPACE] {
            let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
            Api::all(self.client.clone()).create(&new, &namespace).await.unwrap();
        }
        if secrets() > 0 {
            secret_policy::install(self.plane.info(), OPERATOR);
        }
        if finalizer_policy::is_everywhere() {
            finalizer_policy::install(self.plane.info(), Some(OPERATED));
        }
        for (name, behind) in (0..self.databases).map(database) {
            let secret =
                json!({ "metadata": { "name": name }, "stringData": new_database(self.postgres.info(), &behind) });
            let secret: Secret = serde_json::from_value(secret).unwrap();
            Api::namespaced(self.client.clone(), OPERATOR_NAMESPACE).create(&new, &secret).await.unwrap();
            let database: TenantDatabase = serde_json::from_value(json!({
                "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantDatabase", "metadata": { "name": name },
                "spec": {
                    "connection": { "secretRef": { "name": name } }, "limits": { "maxDeletionsPerHour": 1_000_000 },
                },
            }))
            .unwrap();
            self.databases().create(&new, &database).await.unwrap();
        }
    }

    /// Starts the operator and waits until it has the lanes.
    pub async fn operator(&self) -> Operator {
        let operator = Operator::start(self.kubeconfig.path(), OPERATED);
        until(Duration::from_mins(2), || async { operator.metric("lane_held{") >= self.databases as f64 }).await;
        operator
    }

    /// Sessions in the registries of all databases.
    pub async fn registries(&self) -> Vec<tokio_postgres::Client> {
        join_all((0..self.databases).map(async |number| superuser(self.postgres.info(), &database(number).1).await))
            .await
    }

    /// Asks for a survey of each database and waits until all have ended. The registries tell when; a request to the operator
    /// would be measured as its work.
    pub async fn survey(&self, registries: &[tokio_postgres::Client]) {
        join_all(registries.iter().enumerate().map(|(number, registry)| self.survey_of(number, registry))).await;
    }

    async fn survey_of(&self, number: usize, registry: &tokio_postgres::Client) {
        let now = registry.query_one("SELECT clock_timestamp()::text", &[]).await.unwrap();
        let now: &str = now.get(0);
        let patch = json!({ "metadata": { "annotations": { RECONCILE_REQUESTED_AT: now } } });
        self.databases().patch(&database(number).0, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
        let surveyed = "SELECT surveyed_at > $1::text::timestamptz FROM edu_matrix_hub_schema.installation";
        until(Duration::from_mins(5), || async { registry.query_one(surveyed, &[&now]).await.unwrap().get(0) }).await;
    }

    /// Does something and counts the writes to our kinds that the API server took meanwhile, its own answer for it.
    pub async fn writes_during<T>(&self, work: impl Future<Output = T>) -> (T, f64) {
        let before = self.writes();
        let result = work.await;
        (result, self.writes() - before)
    }

    /// CPU so far of all that takes part.
    pub fn shares(&self, operator: Option<&Operator>) -> Shares {
        Shares::now(self.plane.info(), self.postgres.info(), operator)
    }

    fn writes(&self) -> f64 {
        let text = self.plane.info().kubectl(&["get", "--raw", "/metrics"]).unwrap();
        let is_ours = |line: &&str| line.starts_with(REQUESTS) && line.contains("group=\"edumatrixhub.io\"");
        let is_write = |line: &&str| {
            ["POST", "PUT", "PATCH", "APPLY", "DELETE"].iter().any(|verb| line.contains(&format!("verb=\"{verb}\"")))
        };
        let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        text.lines().filter(is_ours).filter(is_write).filter_map(value).sum()
    }

    fn databases(&self) -> Api<TenantDatabase> {
        Api::all(self.client.clone())
    }
}

/// Waits until a condition holds.
pub async fn until<F: Future<Output = bool>>(limit: Duration, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + limit;
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
