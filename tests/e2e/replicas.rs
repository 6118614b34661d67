//! Replicas share databases: the one with fewer asks, the one with more hands over at a quiet moment, and no user
//! notices.

use crate::jobs::Jobs as _;

use futures::StreamExt;
use k8s_openapi::api::{coordination::v1::Lease, events::v1::Event};
use kube::{
    Api, ResourceExt,
    api::{ListParams, WatchEvent, WatchParams},
};
use serde_json::json;
use tenant_schema_operator::api::{SchemaBackup, WANTED_BY};

use crate::{
    tools::{Further, operator::Process},
    world::World,
};

/// What these tests do in their world.
trait Replicas {
    fn leases(&self) -> Api<Lease>;
    async fn own_lease(&self) -> Lease;
    async fn own_holder(&self) -> Option<String>;
    async fn wished_by(&self) -> Option<String>;
    fn epochs(&self, databases: &[&str]) -> i64;
    async fn tenant_there(&self, name: &str, further: &Further);
    async fn until_held(&self, what: &str, expected: &[usize], processes: &[&Process]);
}

impl Replicas for World {
    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.operator_namespace)
    }

    /// The Lease of the test's own database, which is the first by name and so the one that is asked for.
    async fn own_lease(&self) -> Lease {
        self.leases().get(&format!("tenant-database-{}", self.database_ref())).await.unwrap()
    }

    async fn own_holder(&self) -> Option<String> {
        self.own_lease().await.spec.unwrap().holder_identity
    }

    async fn wished_by(&self) -> Option<String> {
        self.own_lease().await.annotations().get(WANTED_BY).cloned()
    }

    /// How often the lanes of these databases were opened.
    fn epochs(&self, databases: &[&str]) -> i64 {
        let epoch = "SELECT epoch FROM edu_matrix_hub_schema.installation";
        databases.iter().map(|database| self.sql_in(database, epoch).parse::<i64>().unwrap()).sum()
    }

    /// A tenant of the further database.
    async fn tenant_there(&self, name: &str, further: &Further) {
        self.apply_tenant(name, json!({ "schemaName": name, "databaseRef": { "name": further.reference } })).await;
    }

    async fn until_held(&self, what: &str, expected: &[usize], processes: &[&Process]) {
        let held = || processes.iter().map(|process| held(process)).collect::<Vec<_>>();
        self.eventually(&format!("{what}: {expected:?}"), async || held() == expected).await;
    }
}

fn held(process: &Process) -> usize {
    process.count("tenant_schema_operator_lane_held{")
}

fn asked(process: &Process) -> usize {
    process.log().matches("asked for a Lease").count()
}

fn handed_over(process: &Process) -> usize {
    process.log().matches("handed a Lease").count()
}

/// What a busy machine is enough for: an API server or a PostgreSQL that answers late.
const LATE: [&str; 5] = ["kubernetes_unreachable", "kubernetes_refused", "unreachable", "deadline", "pool"];

/// The passes of these processes that failed, without those that [`LATE`] explains.
fn failed(processes: &[&Process]) -> Vec<String> {
    let late = |line: &str| LATE.iter().any(|category| line.contains(&format!("category=\"{category}\"")));
    let failed = |line: &&str| line.contains("reconcile failed") && !late(line);
    processes
        .iter()
        .flat_map(|process| process.log().lines().filter(failed).map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// What a process complained about: its whole log would hide that.
fn warnings(log: &str) -> Vec<&str> {
    log.lines().filter(|line| !line.contains(" INFO ")).collect()
}

/// Holder and asking replica, as the command in docs/operations.md shows them.
fn told_by_kubectl(world: &World, lease: &str) -> (Option<String>, Option<String>) {
    let guide = std::fs::read_to_string("docs/operations.md").unwrap();
    let (_, columns) = guide.split_once("custom-columns=\\\n'").unwrap();
    let columns = format!("custom-columns={}", columns.split_once('\'').unwrap().0);
    let table = world.kubectl(&["-n", &world.operator_namespace, "get", "leases", "-o", &columns]);
    let row = table.lines().find(|line| line.starts_with(&format!("{lease} "))).unwrap();
    let cells: Vec<_> = row.split_whitespace().collect();
    (cells.get(1).map(ToString::to_string), cells.get(3).map(ToString::to_string))
}

/// Every Lease as it is written within this time.
async fn writes(leases: &Api<Lease>, seconds: u32) -> Vec<Lease> {
    let version = leases.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let events = leases.watch(&WatchParams::default().timeout(seconds), &version).await.unwrap();
    let modified = events.filter_map(async |event| match event.unwrap() {
        WatchEvent::Added(lease) | WatchEvent::Modified(lease) | WatchEvent::Deleted(lease) => Some(lease),
        WatchEvent::Bookmark(_) | WatchEvent::Error(_) => None,
    });
    modified.collect().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_share_databases_and_tenants_do_not_notice() {
    let mut world = World::without_operator(json!({})).await;
    let second = world.make_further_database("second").await;
    let databases = [world.database.clone(), second.database.clone()];
    let databases = [databases[0].as_str(), databases[1].as_str()];
    let first = Process::start(&world, "info");
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.tenant_there("academy", &second).await;
    world.settled_tenant("school").await;
    world.settled_tenant("academy").await;
    world.until_held("alone it has both", &[2], &[&first]).await;
    let (versions, epochs) = (world.written().await, world.epochs(&databases));
    let events = async || world.api::<Event>().list(&ListParams::default()).await.unwrap().items.len();
    let told = events().await;

    let other = Process::start(&world, "info");
    world.until_held("each has one", &[1, 1], &[&first, &other]).await;
    assert_eq!((asked(&other), handed_over(&first)), (1, 1));
    assert_eq!(world.epochs(&databases), epochs + 1, "one lane changed hands, once");

    // Nothing is written any more but renewals: not by the holder, and not by the replica that waits.
    let before: Vec<_> = world.leases().list(&ListParams::default()).await.unwrap().items;
    let bare = |lease: &Lease| {
        let mut spec = lease.spec.clone().unwrap();
        spec.renew_time = None;
        (lease.name_any(), lease.annotations().clone(), spec)
    };
    let written = writes(&world.leases(), 16).await;
    for lease in &before {
        let renewals = written.iter().filter(|other| other.name_any() == lease.name_any()).count();
        assert!((2..=4).contains(&renewals), "{renewals} writes of {} in 16 s", lease.name_any());
        assert!(written.iter().all(|other| other.name_any() != lease.name_any() || bare(other) == bare(lease)));
    }
    assert_eq!((asked(&first), asked(&other), world.epochs(&databases)), (0, 1, epochs + 1));
    assert_eq!(world.written().await, versions, "no tenant was written to");
    assert_eq!(events().await, told, "no Event");
    assert_eq!(failed(&[&first, &other]), [""; 0]);

    // The first replica to come takes a third one, and that is even enough.
    let third = world.make_further_database("third").await;
    world.tenant_there("college", &third).await;
    world.settled_tenant("college").await;
    world.eventually("all three are held", async || held(&first) + held(&other) == 3).await;
    assert!(held(&first) >= 1 && held(&other) >= 1);
    // The replica that is left has all of them, and shares with the next that comes.
    assert!(!other.kill().contains("panicked"));
    world.until_held("alone it has all", &[3], &[&first]).await;
    let next = Process::start(&world, "info");
    world.until_held("shared again", &[2, 1], &[&first, &next]).await;
    for tenant in ["school", "academy", "college"] {
        world.settled_tenant(tenant).await;
    }
    for process in [first, next] {
        let (status, log) = process.terminate();
        assert!(status.success() && !log.contains("panicked"), "{log}");
    }
    world.prove_fixpoint().await;
    world.start_operator().await;
    for (tenant, further) in [("academy", second), ("college", third)] {
        world.delete_tenant(tenant).await;
        world.remove_further_database(further).await;
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_handed_over_after_its_job_and_a_replica_that_left_is_not_waited_for() {
    let mut world = World::without_operator(json!({})).await;
    let second = world.make_further_database("second").await;
    let first = Process::start(&world, "info");
    let lock = world.locked_tenant("school").await;
    world.tenant_there("academy", &second).await;
    world.settled_tenant("academy").await;
    world.until_held("alone it has both", &[2], &[&first]).await;
    world.backup_of("long", "school").await;
    world.until_blocked("long").await;

    // A replica that asks and leaves takes its question with it.
    let hasty = Process::start(&world, "info");
    world.eventually("the first of the databases is asked for", async || world.wished_by().await.is_some()).await;
    assert!(hasty.terminate().0.success());
    assert_eq!(world.wished_by().await, None);

    // The question stands while the job runs; the holder renews as before, and no more often.
    let patient = Process::start(&world, "info");
    world.eventually("it is asked for again", async || world.wished_by().await.is_some()).await;
    let name = world.own_lease().await.name_any();
    assert_eq!(told_by_kubectl(&world, &name), (world.own_holder().await, world.wished_by().await));
    let written = writes(&world.leases(), 12).await.iter().filter(|lease| lease.name_any() == name).count();
    assert!((1..=4).contains(&written), "{written} writes in 12 s");
    assert_eq!((held(&first), held(&patient), asked(&patient)), (2, 0, 1));
    assert_eq!(world.job("long"), "running|running|1");

    // It is stopped when its turn comes: the database is without a holder until the Lease has run out, and no longer.
    patient.signal("STOP");
    drop(lock);
    world.until_ready(&world.api::<SchemaBackup>(), "long", "True", "Completed").await;
    assert_eq!(world.sql("SELECT attempt FROM edu_matrix_hub_schema.schema_jobs WHERE kind = 'snapshot'"), "1");
    world.until_held("the job has ended, the database is given away", &[1], &[&first]).await;
    world.until_held("it comes back", &[2], &[&first]).await;
    patient.signal("CONT");
    world.until_held("now it is there", &[1, 1], &[&first, &patient]).await;
    world.settled_tenant("school").await;
    assert_eq!((handed_over(&first), asked(&patient)), (2, 2));

    for process in [first, patient] {
        let (status, log) = process.terminate();
        assert!(status.success() && !log.contains("panicked"), "{log}");
    }
    world.start_operator().await;
    world.delete_tenant("academy").await;
    world.remove_further_database(second).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_under_way_is_done_once_when_a_database_changes_hands() {
    let mut world = World::without_operator(json!({})).await;
    let second = world.make_further_database("second").await;
    let first = Process::start(&world, "info");
    world.until_held("alone it has both", &[2], &[&first]).await;
    let other = Process::spawn(&world, "info");
    // More is asked of the database that will be moved than it does at once, until it has moved.
    let names: Vec<_> = (0..24).map(|number| format!("school{number:02}")).collect();
    let mut round = 0;
    while held(&other) == 0 {
        round += 1;
        assert!(round < 1000, "never shared");
        let change = |name| world.apply_tenant(name, json!({ "schemaName": name, "config": { "round": round } }));
        futures::future::join_all(names.iter().map(|name| change(name))).await;
    }
    for name in &names {
        world.settled_tenant(name).await;
    }
    world.until_held("each has one", &[1, 1], &[&first, &other]).await;
    let last =
        format!("SELECT count(*) FROM edu_matrix_hub_schema.tenant_schemas WHERE config ->> 'round' = '{round}'");
    assert_eq!(world.sql(&last), "24");
    let twice = format!("SELECT count(*) FROM edu_matrix_hub_schema.tenant_schemas WHERE version > {round}");
    let failures = "SELECT count(*) FROM edu_matrix_hub_schema.schema_operations WHERE status = 'error'";
    assert_eq!((world.sql(&twice).as_str(), world.sql(failures).as_str()), ("0", "0"));
    // A call whose turn did not come because the lane was closed made no error, and no status was written for it.
    assert_eq!(failed(&[&first, &other]), [""; 0]);
    for process in [first, other] {
        let (status, log) = process.terminate();
        assert!(status.success() && !log.contains("panicked"), "{status}: {:?}", warnings(&log));
    }
    world.prove_fixpoint().await;
    world.start_operator().await;
    world.remove_further_database(second).await;
    world.finish().await;
}
