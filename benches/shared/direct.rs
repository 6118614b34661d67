//! The management functions without Kubernetes: the operator's own documents, over as many connections as it uses by default.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use devcluster::{PostgresInfo, PostgresOptions, PostgresServer};
use futures::future::join_all;
use postgres_protocol::password::scram_sha_256;
use serde_json::{Value, json};
use tenant_schema_operator::{
    api::{TenantDatabase, TenantSchema, connection::TlsMode, credentials::ConnectionSecret},
    contract::{NewCredential, Step, Verifier, document},
    database::open::{Claimant, open},
    lane::Lane,
    postgres::Connection,
    telemetry::Metrics,
    tenant::{
        self,
        observe::question,
        resolve::{Reach, Resolved},
    },
};
use tokio_postgres::{NoTls, Statement};
use uuid::Uuid;

use super::report::setting;

/// As many connections as the operator uses for tenants by default.
const CONNECTIONS: usize = 4;

/// A database with the functions and an open lane.
pub struct Direct {
    /// What the operator works with.
    pub lane: Arc<Lane>,
    sessions: Vec<Session>,
    database: Arc<TenantDatabase>,
    /// That of all passwords: to make one takes longer than to store it.
    verifier: String,
}

struct Session {
    client: tokio_postgres::Client,
    observe: Statement,
    apply: Statement,
}

impl Direct {
    /// Installs the functions into the database of this Secret and connects.
    pub async fn open(secret: BTreeMap<String, String>) -> Self {
        let bytes = secret.clone().into_iter().map(|(key, value)| (key, value.into_bytes())).collect();
        let connection = Connection::from_secret(&bytes, Some(TlsMode::Disable), Duration::from_secs(5)).unwrap();
        let database: TenantDatabase = serde_json::from_value(json!({
            "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantDatabase", "metadata": { "name": "direct" },
            "spec": {
                "connection": { "secretRef": { "name": "direct" } }, "ownerRole": format!("{}_owner", secret["username"]),
            },
        }))
        .unwrap();
        let claimant = Claimant {
            cluster: "bench",
            identity: "bench",
            claim: Uuid::new_v4(),
            lease: "bench".to_owned(),
            seen: Arc::default(),
            ring: Box::new(|| {}),
        };
        let lane = open(&database, connection, claimant, Arc::new(Metrics::new())).await.unwrap().lane;
        let sessions = join_all((0..CONNECTIONS).map(|_| Session::connect(&secret))).await;
        Self { lane, sessions, database: Arc::new(database), verifier: scram_sha_256(b"bench") }
    }

    /// Makes the tenants with these numbers; returns the seconds.
    pub async fn create(&self, numbers: std::ops::Range<usize>) -> f64 {
        let documents: Vec<_> = numbers.map(|number| self.documents(number)).collect();
        let (next, started) = (AtomicUsize::new(0), Instant::now());
        join_all(self.sessions.iter().map(|session| async {
            while let Some((question, steps)) = documents.get(next.fetch_add(1, Ordering::Relaxed)) {
                session.client.query_one(&session.observe, &[question]).await.unwrap();
                let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
                    [&self.lane.hold.epoch, &self.lane.hold.installation_id, steps];
                let answer: Value = session.client.query_one(&session.apply, &parameters).await.unwrap().get(0);
                let results = answer.as_array().unwrap();
                assert!(results.iter().all(|result| result["status"] == "success"), "{answer}");
            }
        }))
        .await;
        started.elapsed().as_secs_f64()
    }

    /// What the operator would ask about this tenant, and what it would have done.
    fn documents(&self, number: usize) -> (Value, Value) {
        let mut tenant = tenant("direct", number);
        if setting("SECRETS", 0) > 0 {
            tenant.spec.connection_secret = Some(ConnectionSecret { name: format!("direct-{number}") });
        }
        tenant.metadata.namespace = Some("direct".to_owned());
        tenant.metadata.uid = Some(Uuid::new_v4().to_string());
        tenant.metadata.generation = Some(1);
        let resolved = Resolved {
            cluster: "bench".to_owned(),
            database: Some(self.database.clone()),
            may_have_schema: true,
            reach: Reach::Reached,
            namespace_labels: Some(BTreeMap::new()),
            namespace_uid: None,
            now: jiff::Timestamp::now(),
            newest_deletion: None,
            held: None,
            backups: BTreeMap::new(),
            older: tenant::resolve::Older::default(),
        };
        let desired = tenant::desired::desired(&tenant, &resolved).unwrap();
        let plan = tenant::plan::plan(&desired, &tenant::observe::Observed::default());
        let mut steps: Vec<_> = plan.steps().cloned().collect();
        for step in &mut steps {
            if let Step::IssueCredential { new, .. } = step {
                let verifier = Verifier::new(self.verifier.clone());
                *new = Some(NewCredential { credential_id: Uuid::new_v4(), verifier });
            }
        }
        assert!(!steps.is_empty(), "a tenant that is not there has steps");
        (serde_json::to_value(question(&desired)).unwrap(), document(&steps, &plan.caller.requested_by).unwrap())
    }
}

impl Session {
    async fn connect(secret: &BTreeMap<String, String>) -> Self {
        let mut config = tokio_postgres::Config::new();
        config.host(&secret["host"]).port(secret["port"].parse().unwrap()).dbname(&secret["database"]);
        config.user(&secret["username"]).password(&secret["password"]);
        let (client, connection) = config.connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        let observe = client.prepare(include_str!("../../sql/call/observe_tenant.sql")).await.unwrap();
        let apply = client.prepare(include_str!("../../sql/call/apply_steps.sql")).await.unwrap();
        Self { client, observe, apply }
    }
}

/// A login of this name that may make roles, with a database of its own; returns the Secret for it.
pub fn new_database(server: &PostgresInfo, name: &str) -> BTreeMap<String, String> {
    server.psql("postgres", &format!("CREATE ROLE {name} LOGIN CREATEROLE PASSWORD '{name}'")).unwrap();
    server.psql("postgres", &format!("CREATE DATABASE {name} OWNER {name}")).unwrap();
    let (port, authority) = (server.port.to_string(), fs::read_to_string(&server.ca_path).unwrap());
    let values = [
        ("host", &*server.host),
        ("port", &port),
        ("database", name),
        ("username", name),
        ("password", name),
        ("ca.crt", &authority),
    ];
    values.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// A server of the major version in `POSTGRES_MAJOR`, or of the newest that is there, with room for the lanes of so many databases.
pub fn server(databases: usize) -> PostgresServer {
    let mut options = PostgresOptions::default();
    options.max_connections += u16::try_from(10 * databases).unwrap();
    if let Ok(major) = std::env::var("POSTGRES_MAJOR") {
        options.version = major.parse().unwrap();
    }
    PostgresServer::start(options).expect("a PostgreSQL")
}

/// A superuser's session in a database.
pub async fn superuser(server: &PostgresInfo, database: &str) -> tokio_postgres::Client {
    let mut config = tokio_postgres::Config::new();
    config.host(&server.host).port(server.port).dbname(database).user(&server.user).password(&server.password);
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A tenant as people write them.
pub fn tenant(names: &str, number: usize) -> TenantSchema {
    serde_json::from_value(json!({
        "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantSchema",
        "metadata": { "name": format!("{names}-{number}") },
        "spec": { "schemaName": format!("{names}_{number}"), "quota": { "limit": "5Gi" } },
    }))
    .unwrap()
}
