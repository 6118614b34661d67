//! PostgreSQL does not answer: nothing is lost or concluded, only one probe asks, and everything goes on when it is
//! back.

use std::time::{Duration, Instant};

use devcluster::StopMode;
use kube::api::DeleteParams;
use serde_json::json;
use tenant_schema_operator::api::{ABANDON, TenantSchema};
use tokio::{runtime::Handle, task::block_in_place};

use crate::{
    tools::{operator::Process, own_server, peers::Wire},
    world::World,
};

/// The probe comes every three seconds; back-off, which would be the other way, waits for a minute.
const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_loses_nothing_and_is_over_within_seconds() {
    let mut server = own_server();
    let mut world = World::on_server(&server).await;
    world.apply_database(json!({})).await;
    world.start_operator().await;
    for name in ["idle", "busy", "leaving", "retained", "abandoned"] {
        let policy = if name == "retained" { "Retain" } else { "BackupThenDrop" };
        world.apply_tenant(name, json!({ "schemaName": name, "deletionPolicy": policy })).await;
    }
    for name in ["idle", "busy", "leaving", "retained", "abandoned"] {
        world.ready_tenant(name).await;
    }
    // The first pass over a database may end after its tenants are ready, and only of one that was ready an Event tells.
    world.database_ready().await;
    let idle = world.version("idle").await;

    server.stop(StopMode::Fast).unwrap();
    world.database_reconciling("ConnectionFailed", "cannot reach the database").await;
    world.until_told("Unavailable", "cannot reach the database").await;

    // A tenant with work to do says that it waits, and stays what it was.
    world.apply_tenant("busy", json!({ "schemaName": "busy", "config": { "grade": 7 } })).await;
    world.tenant_says("busy", "Reconciling", "DatabaseUnavailable", &world.database_ref()).await;
    assert_eq!(world.tenant_readiness("busy").await, "True");
    world.apply_tenant("new", json!({ "schemaName": "new" })).await;
    world.tenant_says("new", "Reconciling", "DatabaseUnavailable", "ConnectionFailed").await;
    assert_eq!(world.tenant_readiness("new").await, "Unknown");

    // A deletion waits, says since when and how to let go; one that leaves the schema does not need the database.
    let tenants = world.api::<TenantSchema>();
    for name in ["leaving", "abandoned", "retained"] {
        tenants.delete(name, &DeleteParams::default()).await.unwrap();
    }
    world.until_gone(&tenants, "retained").await;
    for name in ["leaving", "abandoned"] {
        let message = world.tenant_says(name, "Reconciling", "DatabaseUnavailable", "deletion waits since 20").await;
        let uid = tenants.get(name).await.unwrap().metadata.uid.unwrap();
        let command =
            format!("kubectl -n {} annotate tenantschema {name} --overwrite {ABANDON}={name}@{uid}", world.namespace);
        assert!(message.contains(&command), "{message}");
    }
    world.annotate::<TenantSchema>("abandoned", ABANDON, "abandoned").await;
    let message = world.tenant_says("abandoned", "Reconciling", "DatabaseUnavailable", "deletion waits").await;
    world.event("abandoned", "DeletionWaits", "deletion waits since 20").await;
    world.annotate::<TenantSchema>("abandoned", ABANDON, &World::value_told(&message, ABANDON)).await;
    world.until_gone(&tenants, "abandoned").await;

    // One probe for all, and nothing else asks.
    let probes = || world.calls("database", Some("unreachable"));
    let others = || world.count("tenant_schema_operator_sql_calls_total") - world.calls("database", None);
    let (begun, asked, first) = (Instant::now(), others(), probes());
    world.eventually("three more probes", async || probes() >= first + 3).await;
    assert!(begun.elapsed() >= Duration::from_secs(5), "three probes in {:?}", begun.elapsed());
    assert_eq!(others(), asked, "only the probe asks");
    assert!(world.count("tenant_schema_operator_errors_total{kind=\"TenantDatabase\",category=\"unreachable\"}") >= 3);
    assert_eq!(world.count("tenant_schema_operator_database_up"), 0);
    assert!(world.count("tenant_schema_operator_deletion_blocked_seconds") >= 1);
    assert_eq!(world.version("idle").await, idle, "who has nothing to do is not written to");
    assert_eq!(world.tenant_readiness("idle").await, "True");

    server.start_again().unwrap();
    let started = Instant::now();
    world.until_gone(&tenants, "leaving").await;
    world.settled_tenant("busy").await;
    world.settled_tenant("new").await;
    world.database_ready().await;
    assert!(started.elapsed() < SOON, "went on only after {:?}", started.elapsed());
    world.until_told("Recovered", "ready again").await;
    assert_eq!(
        world.sql("SELECT config ->> 'grade' FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name = 'busy'"),
        "7"
    );
    assert_eq!(world.schemas("retained"), ["retained"]);
    assert_eq!(world.schemas("abandoned"), ["abandoned"]);
    assert!(world.schemas("leaving")[0].starts_with("leaving_bak_"));
    assert_eq!(world.version("idle").await, idle);
    assert_eq!(world.count("tenant_schema_operator_database_up"), 1);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_crashes_again_and_again_loses_no_tenant() {
    let mut server = own_server();
    let world = World::on_server(&server).await;
    world.apply_database(json!({})).await;
    let operator = Process::start(&world, "info");
    world.database_ready().await;
    let names: Vec<_> = (0..30).map(|number| format!("school{number:02}")).collect();
    for (round, part) in names.chunks(10).enumerate() {
        let apply = async |names: &[String]| {
            for name in names {
                world.apply_tenant(name, json!({ "schemaName": name })).await;
            }
        };
        let (first, others) = part.split_at(5);
        apply(first).await;
        let made = async || {
            world.sql("SELECT count(*) FROM edu_matrix_hub_schema.tenant_schemas").parse::<usize>().unwrap()
                > round * 10
        };
        world.eventually("some are made", made).await;
        // While the others come, and once more while the database comes back.
        block_in_place(|| {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    server.restart(StopMode::Immediate).unwrap();
                    server.restart(StopMode::Immediate).unwrap();
                });
                Handle::current().block_on(apply(others));
            });
        });
    }
    for name in &names {
        world.settled_tenant(name).await;
    }
    let rows = "SELECT count(*), count(DISTINCT schema_name) FROM edu_matrix_hub_schema.tenant_schemas WHERE status = 'active'";
    assert_eq!(world.sql(rows), "30|30");
    assert_eq!(world.schemas("school").len(), 30);
    assert!(operator.count("tenant_schema_operator_errors_total") > 0, "what fails is counted");
    let (status, log) = operator.terminate();
    assert!(status.success() && !log.contains("panicked"), "{log}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_lost_after_the_commit_is_found_out_by_looking() {
    let server = own_server();
    let world = World::on_server(&server).await;
    let wire = Wire::to(server.info().port);
    world.write_secret(json!({ "port": wire.address.port().to_string() })).await;
    // In the clear, so that the wire can hear the commit.
    world.apply_database(World::connection(&json!({ "tls": { "mode": "Disable" } }))).await;
    let mut world = world;
    world.start_operator().await;
    world.database_ready().await;

    wire.lose_the_next_answer();
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.settled_tenant("school").await;
    assert_eq!(wire.lost(), 1);
    wire.lose_the_next_answer();
    world.apply_tenant("school", json!({ "schemaName": "school", "config": { "grade": 7 } })).await;
    world.settled_tenant("school").await;
    assert_eq!(wire.lost(), 2);
    wire.lose_the_next_answer();
    world.delete_tenant("school").await;
    assert_eq!(wire.lost(), 3);

    let done = "SELECT type, count(*) FROM edu_matrix_hub_schema.schema_operations WHERE status = 'success' AND type IN \
                ('create_tenant_schema', 'set_tenant_config', 'set_aside') GROUP BY type ORDER BY type";
    assert_eq!(world.sql(done).replace('\n', " "), "create_tenant_schema|1 set_aside|1 set_tenant_config|1");
    assert_eq!(world.schemas("school").len(), 1);
    assert!(world.errors() >= 3);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_away_for_a_moment_ends_nothing() {
    let mut world = World::new(json!({})).await;
    for name in ["first", "second"] {
        world.apply_tenant(name, json!({ "schemaName": name })).await;
        world.ready_tenant(name).await;
    }
    let before = world.written().await;
    let rows = "SELECT string_agg(t::text, ' ' ORDER BY id) FROM (SELECT id, schema_name, status, owner_role, logins \
                FROM edu_matrix_hub_schema.tenant_schemas) AS t";
    let registry = world.sql(rows);
    world.delete_secret().await;
    world.database_stalled("SecretNotFound", "postgres").await;
    assert_eq!(world.written().await, before, "who runs goes on, and is not written to");
    assert_eq!(world.sql(rows), registry, "nothing is dropped and nothing made again");

    // Nor when the operator starts without it: a tenant that goes waits, and one that stays is left alone.
    world.stop_operator().await;
    world.api::<TenantSchema>().delete("second", &DeleteParams::default()).await.unwrap();
    world.start_operator().await;
    world.tenant_says("second", "Reconciling", "DatabaseUnavailable", "deletion waits since").await;
    assert_eq!(world.sql(rows), registry, "nothing is dropped and nothing made again");
    world.write_secret(json!({})).await;
    world.database_ready().await;
    world.until_gone(&world.api::<TenantSchema>(), "second").await;
    let first = world.api::<TenantSchema>().get("first").await.unwrap();
    assert_eq!(before[&format!("tenant {}/first", world.namespace)].0, first.metadata.resource_version);
    world.finish().await;
}
