//! Tenants that have the finalizer, as a policy of the API server gives it, and for which nothing was made: it keeps none of them
//! when they are deleted.

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
