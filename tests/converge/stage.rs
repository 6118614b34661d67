//! A database with an open lane, and tenants whose passes can be stopped after any effect.
//!
//! Everything goes through the crate's own stages; what is missing is Kubernetes. A tenant's object is kept here, and its
//! status is what the last pass that came to its end has written, as in a cluster where the operator was killed.

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use devcluster::PostgresInfo;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};
use tenant_schema_operator::{
    api::{CONFIRM_DROP, SchemaBackup, TenantDatabase, TenantSchema, bound, connection::TlsMode, deletion},
    backup,
    contract::{CallStatus, ClaimedJob},
    database::open::{Claimant, open},
    frame::{Doors, Kind, Pass, Wish, look},
    kubernetes::{backups::Backups, secrets::Secrets},
    lane::Lane,
    plan::{Effect, End, Plan, apply},
    postgres::Connection,
    telemetry::Metrics,
    tenant::{
        self,
        observe::Observed,
        resolve::{Older, Reach, Resolved},
    },
};
use tokio_postgres::SimpleQueryMessage;
use uuid::Uuid;

/// No tenant needs more passes than this to come to rest.
const PASSES: usize = 12;

/// A database of the test's own.
pub struct Stage {
    id: String,
    postgres: PostgresInfo,
    database: Arc<TenantDatabase>,
    connection: Connection,
    lane: Arc<Lane>,
    // There is no API server: a Secret would be refused.
    secrets: Secrets,
    backups: Backups,
    // One session for everything that is looked at: a process for each question would take most of the time.
    admin: tokio_postgres::Client,
}

/// A tenant, with its object as the API server would have it.
pub struct Subject {
    /// The object.
    pub object: TenantSchema,
    /// It is deleted and has been let go.
    pub gone: bool,
}

impl Stage {
    /// A new database with the functions in it.
    pub async fn new() -> Self {
        let shared = devcluster::shared().expect("a PostgreSQL");
        let id = Uuid::new_v4().simple().to_string()[..8].to_owned();
        let postgres = shared.postgres().clone();
        let name = format!("converge_{id}");
        postgres.psql("postgres", &format!("CREATE ROLE {name} LOGIN CREATEROLE PASSWORD 'pw'")).unwrap();
        postgres.psql("postgres", &format!("CREATE DATABASE {name} OWNER {name}")).unwrap();
        let secret = [
            ("host", postgres.host.clone()),
            ("port", postgres.port.to_string()),
            ("database", name.clone()),
            ("username", name.clone()),
            ("password", "pw".to_owned()),
            ("ca.crt", fs::read_to_string(&postgres.ca_path).unwrap()),
        ];
        let secret: BTreeMap<_, _> =
            secret.into_iter().map(|(key, value)| (key.to_owned(), value.into_bytes())).collect();
        let connection = Connection::from_secret(&secret, Some(TlsMode::Disable), Duration::from_secs(5)).unwrap();
        let database: TenantDatabase = serde_json::from_value(json!({
            "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantDatabase", "metadata": { "name": "default" },
            "spec": { "connection": { "secretRef": { "name": "postgres" } }, "ownerRole": format!("{name}_owner"),
                      "limits": { "maxDeletionsPerHour": 1_000_000 } },
        }))
        .unwrap();
        let lane = open_lane(&database, &connection).await;
        let (admin, session) = tokio_postgres::Config::new()
            .host(&postgres.host)
            .port(postgres.port)
            .user(&postgres.user)
            .password(&postgres.password)
            .dbname(&name)
            .ssl_mode(tokio_postgres::config::SslMode::Disable)
            .connect(tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(session);
        let nowhere = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
        let client = kube::Client::try_from(nowhere).unwrap();
        let (secrets, backups) = (Secrets::new(client.clone()), Backups::new(client, None));
        Self { id, postgres, database: Arc::new(database), connection, lane, secrets, backups, admin }
    }

    /// The operator is killed and another one takes the lane.
    pub async fn restart(&mut self) {
        self.lane = open_lane(&self.database, &self.connection).await;
    }

    /// Runs SQL as superuser in this database; returns the rows as `psql -At` prints them.
    pub async fn sql(&self, sql: &str) -> String {
        let answers = self.admin.simple_query(&format!("{sql}; RESET ROLE")).await;
        let rows =
            answers.unwrap_or_else(|error| panic!("{sql}: {error:?}")).into_iter().filter_map(|answer| match answer {
                SimpleQueryMessage::Row(row) => {
                    let columns: Vec<_> = (0..row.len()).map(|column| row.get(column).unwrap_or_default()).collect();
                    Some(columns.join("|"))
                }
                _ => None,
            });
        rows.collect::<Vec<_>>().join("\n")
    }

    /// Removes the database and every role that was made for it.
    pub async fn clean_up(self) {
        let name = format!("converge_{}", self.id);
        let made = self.sql(&format!(
            "SELECT string_agg(quote_ident(rolname), ',') FROM pg_roles WHERE rolname LIKE '{name}%' OR EXISTS (SELECT FROM \
             edu_matrix_hub_schema.tenant_schemas AS t WHERE rolname IN (t.owner_role, t.reader_role, t.writer_role))"
        )).await;
        self.postgres.psql("postgres", &format!("DROP DATABASE {name} WITH (FORCE)")).unwrap();
        self.postgres.psql("postgres", &format!("DROP ROLE {made}")).unwrap();
    }

    /// The plan of a tenant, one effect for each call.
    pub async fn plan(&self, subject: &Subject) -> Vec<Effect> {
        let (_, plan, _) = self.look(subject).await;
        plan.effects.into_iter().flat_map(one_by_one).collect()
    }

    /// One pass, killed after this many effects; what was done is done, and the status is not written.
    pub async fn pass_until(&self, subject: &Subject, effects: usize) {
        let (_, plan, _) = self.look(subject).await;
        let some = plan.effects.into_iter().flat_map(one_by_one).take(effects).collect();
        let cut = Plan { effects: some, ..plan };
        apply(&self.lane, &self.secrets, &self.backups, &cut).await.unwrap();
    }

    /// One whole pass, with its status; says where it ended.
    pub async fn pass(&self, subject: &mut Subject) -> End {
        let (desired, plan, observed) = self.look(subject).await;
        let applied = apply(&self.lane, &self.secrets, &self.backups, &plan).await.unwrap();
        if let Some(desired) = desired {
            let wish = Wish::Keep(&desired);
            let pass = Pass::Applied {
                wish,
                observed: &observed,
                applied: &applied,
                database: &self.lane.database,
                place: &self.lane.place,
            };
            let status = subject.object.status_of(&pass, Timestamp::UNIX_EPOCH).status;
            subject.object.status = Some(status);
        }
        subject.gone = subject.object.metadata.deletion_timestamp.is_some() && applied.end == End::Released;
        applied.end
    }

    /// Passes and jobs until nothing is left to do; the tenant is as it should be then, or gone.
    pub async fn settle(&self, subject: &mut Subject) {
        for _ in 0..PASSES {
            let rests = self.plan(subject).await;
            let deleted = subject.object.metadata.deletion_timestamp.is_some();
            if !deleted && rests.is_empty() {
                return;
            }
            self.pass(subject).await;
            self.run_jobs().await;
            if subject.gone {
                return;
            }
        }
        panic!("{} does not come to rest: {:#?}", name(&subject.object), self.plan(subject).await);
    }

    /// Claims the next job, as a runner does that is killed before it begins.
    pub async fn claim_job(&self) -> Option<ClaimedJob> {
        let options = json!({ "holder": "test", "max_running": 4 });
        let result = self.lane.functions().claim_job(self.lane.hold, &options).await.unwrap();
        (result.status == CallStatus::Success).then(|| serde_json::from_value(result.detail).unwrap())
    }

    /// Runs every job to its end.
    pub async fn run_jobs(&self) {
        while let Some(job) = self.claim_job().await {
            loop {
                let never = std::future::pending();
                let functions = self.lane.functions();
                let result =
                    functions.run_job(self.lane.hold, job.job_id, Duration::from_mins(1), never).await.unwrap();
                match result.status {
                    CallStatus::Partial => {}
                    CallStatus::Success | CallStatus::Unchanged => break,
                    other => panic!("job {}: {other:?} {}", job.kind, result.message),
                }
            }
        }
    }

    /// A backup's pass: requests, follows or removes. Returns its plan's text and where it ended.
    pub async fn backup_pass(&self, subject: &Subject, object: &SchemaBackup, stop_before_end: bool) -> (String, End) {
        let resolved = backup::resolve::Resolved {
            cluster: "cluster".to_owned(),
            namespace_uid: None,
            namespace_ends: false,
            database: Some(String::new()),
            tenant: Some(Arc::new(subject.object.clone())),
            defaults: None,
            touched: false,
        };
        let doors = Doors::Functions(self.lane.functions());
        let (_, mut plan) = if object.metadata.deletion_timestamp.is_some() {
            look(Wish::<SchemaBackup>::End(&object.removal(&resolved)), doors).await.unwrap()
        } else {
            look(Wish::<SchemaBackup>::Keep(&object.desired(&resolved).unwrap()), doors).await.unwrap()
        };
        let text = plan.to_string();
        if stop_before_end {
            plan.effects.truncate(1);
        }
        let applied = apply(&self.lane, &self.secrets, &self.backups, &plan).await.unwrap();
        (text, applied.end)
    }

    /// Everything in the database that is the tenant's, without what differs between any two: names, ids, times.
    pub async fn state(&self, subject: &Subject) -> String {
        let (uid, name) = (uid(&subject.object), name(&subject.object));
        let sql = include_str!("state.sql").replace("$uid", &uid).replace("$name", &name);
        let mut text = self.sql(&sql).await;
        let id = self.sql(&format!(
            "SELECT id FROM edu_matrix_hub_schema.tenant_schemas WHERE owner_uid = '{uid}' ORDER BY created_at DESC LIMIT 1"
        )).await;
        if let Some(short) = id.get(24..) {
            text = text.replace(short, "ID");
        }
        text.replace(&name, "NAME").replace(&format!("converge_{}", self.id), "LOGIN")
    }

    async fn look(&self, subject: &Subject) -> (Option<tenant::desired::Desired>, Plan, Observed) {
        let resolved = Resolved {
            cluster: "cluster".to_owned(),
            database: Some(self.database.clone()),
            may_have_schema: true,
            reach: Reach::Reached,
            namespace_labels: Some(BTreeMap::new()),
            namespace_uid: Some("team".to_owned()),
            now: Timestamp::now(),
            newest_deletion: None,
            held: None,
            backups: BTreeMap::new(),
            older: Older::default(),
        };
        let doors = Doors::Functions(self.lane.functions());
        if subject.object.metadata.deletion_timestamp.is_some() {
            let leave = subject.object.removal(&resolved);
            let (observed, plan) = look(Wish::<TenantSchema>::End(&leave), doors).await.unwrap();
            return (None, plan, observed);
        }
        let desired = subject.object.desired(&resolved).unwrap();
        let (observed, plan) = look(Wish::<TenantSchema>::Keep(&desired), doors).await.unwrap();
        (Some(desired), plan, observed)
    }
}

impl Subject {
    /// A tenant that was not looked at yet.
    pub fn new(spec: &Value) -> Self {
        let uid = Uuid::new_v4();
        let mut subject = Self {
            object: serde_json::from_value(json!({
                "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantSchema",
                "metadata": { "namespace": "team", "name": format!("s{}", &uid.simple().to_string()[..12]), "uid": uid },
                "spec": {},
            }))
            .unwrap(),
            gone: false,
        };
        subject.set(spec);
        subject
    }

    /// A user applies another spec.
    pub fn set(&mut self, spec: &Value) {
        let mut spec = spec.clone();
        spec["schemaName"] = json!(name(&self.object));
        self.object.spec = serde_json::from_value(spec).unwrap();
        *self.object.metadata.generation.get_or_insert(0) += 1;
    }

    /// A user deletes it, and has confirmed that it may be dropped.
    pub fn delete(&mut self) {
        let id = self.object.status.as_ref().and_then(|status| status.schema_id.clone()).unwrap_or_default();
        let deleted_at: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let uid = self.object.metadata.uid.clone().unwrap_or_default();
        let confirmed = bound(&name(&self.object), deletion(id, uid, deleted_at));
        self.object.metadata.annotations = Some(BTreeMap::from([(CONFIRM_DROP.to_owned(), confirmed)]));
        self.object.metadata.deletion_timestamp = Some(Time(deleted_at));
    }

    /// A SchemaBackup of it.
    pub fn backup(&self) -> SchemaBackup {
        serde_json::from_value(json!({
            "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "SchemaBackup",
            "metadata": { "namespace": "team", "name": format!("{}-backup", name(&self.object)), "uid": Uuid::new_v4() },
            "spec": { "tenantSchemaRef": { "name": name(&self.object) }, "deletionPolicy": "Delete" },
        }))
        .unwrap()
    }

    /// Its schema.
    pub fn schema(&self) -> String {
        name(&self.object)
    }
}

fn name(object: &TenantSchema) -> String {
    object.metadata.name.clone().unwrap()
}

fn uid(object: &TenantSchema) -> String {
    object.metadata.uid.clone().unwrap()
}

async fn open_lane(database: &TenantDatabase, connection: &Connection) -> Arc<Lane> {
    let claimant = Claimant {
        cluster: "cluster",
        identity: "test",
        // The same each time: another process would have to wait until this one was silent for a while.
        claim: Uuid::nil(),
        lease: "test".to_owned(),
        seen: Arc::default(),
        ring: Box::new(|| {}),
    };
    open(database, connection.clone(), claimant, Arc::new(Metrics::new())).await.unwrap().lane
}

/// Steps travel together, and any number of them may be done when the connection is lost.
fn one_by_one(effect: Effect) -> Vec<Effect> {
    match effect {
        Effect::Steps(steps) => steps.into_iter().map(|step| Effect::Steps(vec![step])).collect(),
        Effect::Try(steps) => steps.into_iter().map(|step| Effect::Try(vec![step])).collect(),
        other => vec![other],
    }
}
