//! A cluster is lost: another one takes its database over, and the same manifests find their schemas.

use devcluster::{ControlPlane, ControlPlaneOptions};
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use tenant_schema_operator::api::{PAUSED, TAKE_OVER, TenantSchema};

use crate::{tools::operator::Process, world::World};

const TENANTS: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_lost_cluster_one_take_over_and_the_same_manifests_bring_every_tenant_back() {
    let mut lost = World::new(json!({})).await;
    let manifest =
        |number: usize| (format!("school{number:03}"), json!({ "schemaName": format!("school{number:03}") }));
    for (name, spec) in (0..TENANTS).map(manifest) {
        lost.apply_tenant(&name, spec).await;
    }
    for (name, _) in (0..TENANTS).map(manifest) {
        lost.ready_tenant(&name).await;
    }
    for number in [0, 100, 199] {
        let schema = format!("school{number:03}");
        lost.sql_as(&schema, "owner", &format!("CREATE TABLE {schema}.pupils AS SELECT {number} AS n"));
    }
    // One more that was set aside before the cluster was lost.
    lost.apply_tenant("former", json!({ "schemaName": "former" })).await;
    lost.ready_tenant("former").await;
    lost.delete_tenant("former").await;
    lost.kill_operator().await;
    let ids = || {
        lost.sql("SELECT string_agg(schema_name || ' ' || id, ',' ORDER BY schema_name) FROM edu_matrix_hub_schema.tenant_schemas WHERE status = 'active'")
    };
    let before = ids();

    let control_plane = ControlPlane::start(&ControlPlaneOptions::default()).unwrap();
    let mut world = lost.again_on(&control_plane).await;
    world.start_operator().await;
    let message = world.database_stalled("ManagedElsewhere", "of another cluster").await;
    assert_eq!(ids(), before);
    let old = message.split(&format!("{TAKE_OVER}=")).nth(1).unwrap().split_whitespace().next().unwrap();
    world.annotate_database(TAKE_OVER, old).await;
    world.database_ready().await;
    for (name, spec) in (0..TENANTS).map(manifest) {
        world.apply_tenant(&name, spec).await;
    }
    for (name, _) in (0..TENANTS).map(manifest) {
        world.ready_tenant(&name).await;
    }
    assert_eq!(ids(), before, "every tenant is what it was");
    assert_eq!(world.sql("SELECT n FROM school100.pupils"), "100");
    world.apply_tenant("former", json!({ "schemaName": "former" })).await;
    let message = world.stalled_tenant("former", "Conflict").await;
    assert!(message.contains("edumatrixhub.io/reclaim=former"), "{message}");
    world.api::<TenantSchema>().delete("former", &DeleteParams::default()).await.unwrap();
    world.until_gone(&world.api::<TenantSchema>(), "former").await;
    assert_eq!(world.api::<TenantSchema>().list(&ListParams::default()).await.unwrap().items.len(), TENANTS);
    lost.remove_objects().await;
    world.finish().await;
}

/// A drill: moved there and back, with the annotations of both ways left in Git.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn annotations_that_are_left_on_both_sides_take_nothing_over_again() {
    let mut here = World::new(json!({})).await;
    here.apply_tenant("school", json!({ "schemaName": "school" })).await;
    here.ready_tenant("school").await;
    here.apply_tenant("paused", json!({ "schemaName": "paused", "deletionPolicy": "Retain" })).await;
    here.ready_tenant("paused").await;
    here.annotate::<TenantSchema>("paused", PAUSED, "paused").await;
    here.stop_operator().await;
    let value = |message: &str| {
        let told = message.split(&format!("{TAKE_OVER}=")).nth(1).unwrap();
        told.split_whitespace().next().unwrap().to_owned()
    };
    let control_plane = ControlPlane::start(&ControlPlaneOptions::default()).unwrap();
    let mut there = here.again_on(&control_plane).await;
    there.start_operator().await;
    let moved = value(&there.database_stalled("ManagedElsewhere", "of another cluster").await);
    // What former releases took is answered by the whole value.
    there.annotate_database(TAKE_OVER, moved.split('/').next().unwrap()).await;
    there.database_stalled("ManagedElsewhere", &moved).await;
    there.annotate_database(TAKE_OVER, &moved).await;
    there.database_ready().await;

    // Back, while the other side is at work: it keeps the database.
    here.start_operator().await;
    let back = value(&here.database_stalled("ManagedElsewhere", "of another cluster").await);
    let epoch = here.sql("SELECT epoch FROM edu_matrix_hub_schema.installation");
    here.annotate_database(TAKE_OVER, &back).await;
    here.database_stalled("LaneContested", "two operators want this database").await;
    assert_eq!(here.sql("SELECT epoch FROM edu_matrix_hub_schema.installation"), epoch, "nothing changed hands");
    there.stop_operator().await;
    here.database_ready().await;
    let epoch = here.sql("SELECT epoch FROM edu_matrix_hub_schema.installation");

    // Both run, both annotations stand.
    there.start_operator().await;
    there.database_stalled("ManagedElsewhere", "of another cluster").await;
    here.next_survey().await;
    here.next_survey().await;
    assert_eq!(here.sql("SELECT epoch FROM edu_matrix_hub_schema.installation"), epoch, "no operator took it again");
    there.stop_operator().await;
    there.remove_objects().await;
    here.settled_tenant("school").await;
    // One that was not looked at since has its object all the same, and is released when that is deleted.
    here.api::<TenantSchema>().delete("paused", &DeleteParams::default()).await.unwrap();
    here.remove_annotation("paused", PAUSED).await;
    let row = "SELECT status, taken_over FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name = 'paused'";
    here.eventually("the tenant is released", async || here.sql(row) == "released|f").await;
    here.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_leads_to_another_database_installs_and_makes_nothing_there() {
    let world = World::new(json!({})).await;
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    let other = format!("{}_other", world.database);
    world.sql_in("postgres", &format!("CREATE DATABASE {other} OWNER {}", world.login()));
    world.write_secret(json!({ "database": other })).await;
    let message = world.database_stalled("DatabaseChanged", "nothing was changed").await;
    world.apply_tenant("newcomer", json!({ "schemaName": "newcomer" })).await;
    world.tenant_says("newcomer", "Reconciling", "DatabaseUnavailable", "DatabaseChanged").await;
    assert_eq!(
        world.sql_in(&other, "SELECT count(*) FROM pg_namespace WHERE nspname ~ '^(edu_|school|newcomer)'"),
        "0"
    );

    // It was a mistake: everything goes on as it was.
    world.write_secret(json!({})).await;
    world.settled_tenant("newcomer").await;
    assert!(message.contains("edumatrixhub.io/take-over="), "{message}");
    world.sql_in("postgres", &format!("DROP DATABASE {other} WITH (FORCE)"));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_stopped_through_a_take_over_gives_the_lane_up_when_it_goes_on() {
    let world = World::without_operator(json!({})).await;
    let first = Process::start(&world, "info");
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.settled_tenant("school").await;
    let second = Process::start(&world, "info");
    let held = "tenant_schema_operator_lane_held";
    first.signal("STOP");
    world.eventually("the second takes over", async || second.count(held) == 1).await;
    let epoch = || world.sql("SELECT epoch FROM edu_matrix_hub_schema.installation");
    let taken = epoch();
    world.apply_tenant("school", json!({ "schemaName": "school", "config": { "grade": 7 } })).await;
    world.settled_tenant("school").await;
    first.signal("CONT");
    world.eventually("the first stands by", async || first.count(held) == 0 && first.http("/readyz").is_some()).await;
    world.apply_tenant("late", json!({ "schemaName": "late" })).await;
    world.settled_tenant("late").await;
    assert_eq!(epoch(), taken, "the second keeps what it took");
    for process in [first, second] {
        let (status, log) = process.terminate();
        assert!(status.success() && !log.contains("panicked"), "{log}");
    }
    world.finish().await;
}
