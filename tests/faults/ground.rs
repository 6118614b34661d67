//! What a test of faults stands on: a world whose operator, a real process, reaches PostgreSQL and the API server over
//! wires alone. It counts what that operator writes.

use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::http::Method;
use devcluster::PostgresInfo;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::time::{Instant, sleep};

use super::{
    api::Api,
    wire::{Cut, Wire},
};
use crate::{tools::operator::Process, world::World};

/// Within this everything is as it should be when nothing is broken any more: a watch and an object may each wait for a whole
/// back-off of their own, and a job for another one.
const SETTLED: Duration = Duration::from_mins(3);

/// The world, the wires and the operator.
pub struct Ground {
    /// Objects and database, which the test reaches by itself.
    pub world: World,
    /// Between the operator and PostgreSQL.
    pub database: Wire,
    /// Between the operator and the stand-in for the API server.
    pub network: Wire,
    /// The stand-in for the API server.
    pub api: Api,
    /// What the operator writes, and when it dies of it.
    pub pen: Arc<Pen>,
    operator: Operator,
    _kubeconfig: NamedTempFile,
}

/// The operator while it runs. What it logged is shown when the test fails.
struct Operator(Option<Process>);

impl Drop for Operator {
    fn drop(&mut self) {
        if let (true, Some(process)) = (std::thread::panicking(), &self.0) {
            eprintln!("{}", process.log());
        }
    }
}

/// Counts what an operator writes: what makes, changes or removes an object, every Secret, and every call of a function that changes
/// the database. Leases and Events are left out: the first are written by the clock, and nothing ever reads the second.
#[derive(Default)]
pub struct Pen(Mutex<Ink>);

#[derive(Default)]
struct Ink {
    written: Vec<String>,
    /// Which write is the last, and where it is cut.
    last: Option<(usize, Cut)>,
    dry: bool,
    /// Which call's next commit is cut, once.
    cue: Option<(&'static str, Cut)>,
}

impl Pen {
    /// Counts from zero. After the write of this number nothing more is written.
    pub fn fill(&self, last: Option<(usize, Cut)>) {
        *self.0.lock().unwrap() = Ink { last, ..Ink::default() };
    }

    /// The next commit of this call is cut so; the operator goes on.
    pub fn cut_next(&self, call: &'static str, cut: Cut) {
        self.0.lock().unwrap().cue = Some((call, cut));
    }

    /// Whether that commit is still to come.
    pub fn is_waiting(&self) -> bool {
        self.0.lock().unwrap().cue.is_some()
    }

    /// Whether the last write came.
    pub fn is_dry(&self) -> bool {
        self.0.lock().unwrap().dry
    }

    /// What was written.
    pub fn written(&self) -> Vec<String> {
        self.0.lock().unwrap().written.clone()
    }

    fn write(&self, what: impl FnOnce() -> String, counts: bool) -> Cut {
        let mut ink = self.0.lock().unwrap();
        if ink.dry {
            return Cut::Before;
        }
        if !counts {
            return Cut::Not;
        }
        ink.written.push(what());
        match ink.last {
            Some((number, cut)) if number == ink.written.len() => {
                ink.dry = true;
                cut
            }
            _ => Cut::Not,
        }
    }

    fn at_commit(&self, call: &str) -> Cut {
        if let Some((_, cut)) = self.0.lock().unwrap().cue.take_if(|(cue, _)| *cue == call) {
            return cut;
        }
        let reads = ["", "installation", "observe_tenant", "observe_backup"];
        self.write(|| call.to_owned(), !reads.contains(&call))
    }

    fn at_write(&self, method: &Method, path: &str) -> Cut {
        // What is created without a name is the proof that the policy on Secrets is in force.
        let counts = path.starts_with("/apis/edumatrixhub.io/") || path.contains("/secrets/");
        self.write(|| format!("{method} {path}"), counts)
    }
}

impl Ground {
    /// A world on this server, with a TenantDatabase that has this beside its connection; no operator runs.
    pub async fn new(postgres: &PostgresInfo, spec: Value) -> Self {
        let mut world = World::bare().await;
        world.postgres = postgres.clone();
        let ground = Self::over(world).await;
        ground.apply_database(spec).await;
        ground
    }

    /// Gives a world a database and the wires.
    pub async fn over(mut world: World) -> Self {
        world.make_database(&world.database, &world.login());
        let pen = Arc::<Pen>::default();
        let (at_commit, at_write) = (pen.clone(), pen.clone());
        let database = Wire::listening(world.postgres.port, Box::new(move |call| at_commit.at_commit(call)));
        world.write_secret(json!({ "port": database.address.port().to_string() })).await;
        world.guard_secrets();
        let write = Box::new(move |method: &Method, path: &str| at_write.at_write(method, path));
        let api = Api::start(world.client.clone(), &world.operator_user(), write).await;
        let network = Wire::to(api.port);
        let kubeconfig = NamedTempFile::new().unwrap();
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "wire",
            "contexts": [{ "name": "wire", "context": { "cluster": "wire", "user": "tests" } }],
            "clusters": [{ "name": "wire", "cluster": { "server": format!("http://{}", network.address) } }],
            "users": [{ "name": "tests", "user": {} }],
        });
        fs::write(kubeconfig.path(), text.to_string()).unwrap();
        kubeconfig.path().clone_into(&mut world.kubeconfig);
        Self { world, database, network, api, pen, operator: Operator(None), _kubeconfig: kubeconfig }
    }

    /// The TenantDatabase, with this spec beside its connection. That is in the clear, so that the wire can hear the
    /// commits, and gives up soon.
    pub async fn apply_database(&self, mut spec: Value) {
        spec["connection"] = json!({
            "secretRef": { "name": "postgres" }, "tls": { "mode": "Disable" },
            "connectTimeoutSeconds": 2, "statementTimeoutSeconds": 5,
        });
        self.world.apply_database(spec).await;
    }

    /// Another server from now on, which the Secret leads to over a wire of its own.
    pub async fn lead_to(&mut self, postgres: &PostgresInfo) {
        let pen = self.pen.clone();
        self.database = Wire::listening(postgres.port, Box::new(move |call| pen.at_commit(call)));
        self.world.postgres = postgres.clone();
        self.world.write_secret(json!({ "port": self.database.address.port().to_string() })).await;
    }

    /// Starts the operator, which may never become ready.
    pub fn start(&mut self) {
        assert!(self.operator.0.is_none(), "one operator is running");
        self.operator.0 = Some(Process::spawn(&self.world, "info"));
    }

    /// Kills the operator as the kernel does.
    pub async fn kill(&mut self) {
        let log = self.operator.0.take().expect("a running operator").kill();
        assert!(!log.contains("panicked"), "{log}");
        self.world.expire_lease().await;
    }

    /// Sends the operator a signal.
    pub fn signal(&self, name: &str) {
        self.operator.0.as_ref().expect("a running operator").signal(name);
    }

    /// The operator runs since it was started, and did not panic.
    pub fn assert_unharmed(&mut self) {
        let operator = self.operator.0.as_mut().expect("a running operator");
        let log = operator.log();
        assert!(operator.runs() && !log.contains("panicked"), "{log}");
    }

    /// Ends the world: the operator ends as it is told, the three agree, and a second run plans nothing.
    pub async fn finish(mut self) {
        self.agree().await;
        if let Some(operator) = self.operator.0.take() {
            let (status, log) = operator.terminate();
            assert!(status.success() && !log.contains("panicked"), "{log}");
        }
        self.world.finish().await;
    }

    /// Waits until the API, the registry and the catalogue say the same of everything.
    pub async fn agree(&self) {
        let deadline = Instant::now() + SETTLED;
        loop {
            let differences = super::agreement::differences(&self.world).await;
            if differences.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "no agreement:\n{}", differences.join("\n"));
            sleep(Duration::from_millis(200)).await;
        }
    }
}
