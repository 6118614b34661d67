//! Tenants that have the finalizer, as a policy of the API server gives it, and for which nothing was made: the operator lets each of
//! them go when a user deletes it.

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tenant_schema_operator::api::{PAUSED, TENANT_SCHEMA_FINALIZER, TenantSchema};

use crate::world::World;

/// A tenant with the finalizer, and perhaps a pause.
async fn apply_finalized(world: &World, name: &str, database: &str, annotations: Value) {
    let finalizers = [TENANT_SCHEMA_FINALIZER];
    let object = json!({
        "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantSchema",
        "metadata": {
            "name": name, "labels": { "e2e": world.id }, "annotations": annotations, "finalizers": finalizers,
        },
        "spec": { "schemaName": name, "databaseRef": { "name": database } },
    });
    let tenants = world.api::<TenantSchema>();
    tenants.patch(name, &PatchParams::apply("e2e"), &Patch::Apply(&object)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_for_which_nothing_was_made_goes_although_it_is_paused_or_its_database_is_down_or_not_there() {
    let world = World::new(json!({})).await;
    let tenants = world.api::<TenantSchema>();
    let delete = async |name: &str| tenants.delete(name, &DeleteParams::default()).await.unwrap();
    let database = world.database_ref();
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;

    // Its database can be asked.
    apply_finalized(&world, "paused", &database, json!({ PAUSED: "true" })).await;
    world.tenant_says("paused", "Paused", "Paused", "").await;
    delete("paused").await;
    world.until_gone(&tenants, "paused").await;

    // There is no such database, or it is down.
    apply_finalized(&world, "stranded", "no-such-database", json!({})).await;
    world.tenant_says("stranded", "Reconciling", "DatabaseNotFound", "").await;
    world.write_secret(json!({ "port": devcluster::free_port().unwrap().to_string() })).await;
    world.database_reconciling("ConnectionFailed", "").await;
    apply_finalized(&world, "early", &database, json!({})).await;
    apply_finalized(&world, "waiting", &database, json!({ PAUSED: "true" })).await;
    for name in ["early", "waiting"] {
        world.tenant_says(name, "Reconciling", "DatabaseUnavailable", "").await;
    }
    for name in ["stranded", "early", "waiting", "school"] {
        delete(name).await;
    }
    for name in ["stranded", "early", "waiting"] {
        world.until_gone(&tenants, name).await;
    }

    // One that has a schema waits for its database.
    world.tenant_says("school", "Reconciling", "DatabaseUnavailable", "deletion waits since").await;
    world.write_secret(json!({})).await;
    world.until_gone(&tenants, "school").await;
    assert!(world.schemas("school")[0].starts_with("school_bak_"));
    assert_eq!(world.sql("SELECT count(*) FROM edu_matrix_hub_schema.tenant_schemas"), "1");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_of_which_it_is_not_known_whether_it_was_made_waits_for_its_database() {
    let world = World::new(json!({})).await;
    let tenants = world.api::<TenantSchema>();
    world.database_ready().await;
    // The registry is locked, so the creation is under way when the database is lost, and its answer never comes.
    let lock = world.session("BEGIN; LOCK TABLE edu_matrix_hub_schema.tenant_schemas IN SHARE MODE");
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    let waiting = "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    let waits = async || world.sql(&format!("SELECT count(*) {waiting}")) != "0";
    world.eventually("the creation waits", waits).await;
    world.write_secret(json!({ "port": devcluster::free_port().unwrap().to_string() })).await;
    world.database_reconciling("ConnectionFailed", "").await;
    world.sql(&format!("SELECT count(pg_terminate_backend(pid)) {waiting}"));
    tenants.delete("school", &DeleteParams::default()).await.unwrap();
    world.tenant_says("school", "Reconciling", "DatabaseUnavailable", "deletion waits since").await;

    drop(lock);
    world.write_secret(json!({})).await;
    world.until_gone(&tenants, "school").await;
    assert_eq!(world.sql("SELECT count(*) FROM edu_matrix_hub_schema.tenant_schemas"), "0");
    world.finish().await;
}
