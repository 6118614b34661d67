//! Whether a tenant's roles reach beyond its schema is told, and what is ours to close is closed.

use serde_json::{Value, json};
use tenant_schema_operator::api::TenantSchema;

use crate::world::{World, condition};

/// Waits until the condition is so, and returns its message.
async fn isolated(world: &World, name: &str, status: &str, reason: &str) -> String {
    let mut told = String::new();
    world
        .eventually(&format!("{name} is Isolated={status} {reason}"), async || {
            let tenant = world.api::<TenantSchema>().get(name).await.unwrap();
            let found = condition(&tenant, "Isolated");
            let is_so = found.as_ref().is_some_and(|found| (&*found.0, &*found.1) == (status, reason));
            told = found.map(|found| found.2).unwrap_or_default();
            is_so
        })
        .await;
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_that_is_made_by_hand_is_told_with_the_statement_that_closes_it() {
    let mut world = World::new(json!({})).await;
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    isolated(&world, "school", "True", "NoHoleFound").await;

    world.sql("CREATE FUNCTION public.root() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'");
    let told = isolated(&world, "school", "False", "FunctionTooPowerful").await;
    let statement = "REVOKE EXECUTE ON ROUTINE public.root() FROM PUBLIC CASCADE";
    assert!(told.ends_with(&format!("; a DBA can run: {statement}")), "{told}");
    world.event("school", "NotIsolated", statement).await;
    world.ready_tenant("school").await;
    let metric = format!("tenant_schema_operator_not_isolated_tenants{{database=\"{}\"", world.database_ref());
    assert_eq!(world.count(&metric), 1);

    // The same is told once, however often it is found.
    let version = async || world.api::<TenantSchema>().get("school").await.unwrap().metadata.resource_version;
    let before = version().await;
    world.next_survey().await;
    world.next_survey().await;
    assert_eq!(version().await, before);

    world.sql(statement);
    isolated(&world, "school", "True", "NoHoleFound").await;
    world.next_survey().await;
    assert_eq!(world.count(&metric), 0);
    world.prove_fixpoint().await;
    world.clean_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_the_operators_to_take_back_it_takes_back() {
    let mut world = World::new(json!({})).await;
    for name in ["school", "college"] {
        world.apply_tenant(name, json!({ "schemaName": name })).await;
        world.ready_tenant(name).await;
    }
    isolated(&world, "school", "True", "NoHoleFound").await;
    world.sql("GRANT USAGE ON SCHEMA edu_matrix_hub_schema TO PUBLIC");
    world.event("school", "DriftRepaired", "PUBLIC has USAGE on schema \"edu_matrix_hub_schema\", the registry").await;
    let reader = world.tenant_role("college", "reader");
    world.sql(&format!("GRANT {reader} TO {}", world.tenant_role("school", "writer")));
    world.event("school", "DriftRepaired", &format!("is a member of {reader}")).await;
    isolated(&world, "school", "True", "NoHoleFound").await;
    isolated(&world, "college", "True", "NoHoleFound").await;
    world.prove_fixpoint().await;
    world.clean_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_closed_tenant_nothing_is_known_and_a_reopened_one_is_looked_at() {
    let mut world = World::new(json!({})).await;
    let spec = |access: &str| json!({ "schemaName": "school", "access": access });
    world.apply_tenant("school", spec("ReadWrite")).await;
    world.ready_tenant("school").await;
    isolated(&world, "school", "True", "NoHoleFound").await;
    world.apply_tenant("school", spec("Suspended")).await;
    isolated(&world, "school", "Unknown", "AccessClosed").await;
    world.next_survey().await;
    world.apply_tenant("school", spec("ReadWrite")).await;
    isolated(&world, "school", "Unknown", "NotLookedAt").await;
    isolated(&world, "school", "True", "NoHoleFound").await;
    let conditions = serde_json::to_value(&world.ready_tenant("school").await).unwrap();
    let types: Vec<_> =
        conditions["status"]["conditions"].as_array().unwrap().iter().map(|c| c["type"].clone()).collect();
    assert_eq!(types, ["Ready", "Isolated"].map(Value::from));
    world.prove_fixpoint().await;
    world.clean_up().await;
}
