//! A tenant comes, changes, is suspended and resumed, and goes.

use serde_json::json;
use tenant_schema_operator::api::TenantSchema;

use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_comes_changes_and_goes() {
    let world = World::new(json!({})).await;
    world.apply_tenant("school", json!({ "schemaName": "school", "quota": { "limit": "1Gi" } })).await;
    let tenant = world.ready_tenant("school").await;
    let status = tenant.status.unwrap();
    assert_eq!(status.table_count, Some(0));
    assert_eq!(status.storage_used.as_deref(), Some("0"));

    world.sql_as("school", "owner", "CREATE TABLE school.pupils (id int PRIMARY KEY, name text)");
    world
        .eventually("the survey sees the table", async || {
            let tenant = world.api::<TenantSchema>().get("school").await.unwrap();
            tenant.status.unwrap().table_count == Some(1)
        })
        .await;

    world.apply_tenant("school", json!({ "schemaName": "school", "access": "Suspended" })).await;
    world.until_ready(&world.api::<TenantSchema>(), "school", "True", "Suspended").await;
    world.apply_tenant("school", json!({ "schemaName": "school", "config": { "grade": 7 } })).await;
    world.ready_tenant("school").await;
    assert_eq!(world.sql("SELECT config FROM edu_matrix_hub_schema.tenant_schemas"), "{\"grade\": 7}");

    world.delete_tenant("school").await;
    let left = world.schemas("school");
    assert!(left.len() == 1 && left[0].starts_with("school_bak_"), "{left:?}");
    assert_eq!(world.sql(&format!("SELECT count(*) FROM {}.pupils", left[0])), "0");
    world.finish().await;
}
