//! Two tenants that want the same: the first keeps it, the other says so, loses nothing and takes nothing.

use kube::{Api, api::DeleteParams};
use serde_json::{Value, json};
use tenant_schema_operator::api::TenantSchema;

use crate::world::{World, condition};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_or_institution_that_is_taken_stays_with_the_first() {
    let world = World::new(json!({})).await;
    let other = format!("{}-other", world.namespace);
    world.make_namespace(&other, json!({})).await;
    let elsewhere = Api::<TenantSchema>::namespaced(world.client.clone(), &other);
    let institution = uuid::Uuid::new_v4();
    world.apply_tenant("first", json!({ "schemaName": "school", "institutionId": institution })).await;
    world.ready_tenant("first").await;
    world.sql_as("school", "owner", "CREATE TABLE school.pupils AS SELECT 7 AS id");

    let same_name = json!({ "schemaName": "school" });
    let same_institution = json!({ "schemaName": "another", "institutionId": institution });
    world.apply_tenant("name", same_name.clone()).await;
    world.apply_tenant("institution", same_institution.clone()).await;
    world.try_tenant_in(&other, "name", same_name).await.unwrap();
    world.try_tenant_in(&other, "institution", same_institution).await.unwrap();

    for (name, what) in [("name", "schema school"), ("institution", &format!("institution {institution}"))] {
        let message = world.stalled_tenant(name, "Conflict").await;
        assert!(message.starts_with(&format!("{what} belongs to TenantSchema first of this namespace")), "{message}");
        let tenant = world.until_ready(&elsewhere, name, "False", "Conflict").await;
        let message = condition(&tenant, "Stalled").unwrap().2;
        assert!(message.starts_with(&format!("{what} belongs to a tenant of another namespace")), "{message}");
        assert!(!message.contains("first;") && !message.contains(&world.namespace), "{message} names a stranger");
    }

    // The losers go, and nothing goes with them.
    for name in ["name", "institution"] {
        world.delete_tenant(name).await;
        elsewhere.delete(name, &DeleteParams::default()).await.unwrap();
        world.until_gone(&elsewhere, name).await;
    }
    assert_eq!(world.sql("SELECT id FROM school.pupils"), "7");
    assert_eq!(world.schemas("school"), ["school"]);
    assert_eq!(world.sql("SELECT count(*) FROM edu_matrix_hub_schema.tenant_schemas"), "1");
    assert_eq!(world.sql("SELECT count(*) FROM edu_matrix_hub_schema.schema_backups"), "0");
    world.ready_tenant("first").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loser_is_made_within_seconds_after_the_winner_went() {
    let world = World::new(json!({})).await;
    let other = format!("{}-other", world.namespace);
    world.make_namespace(&other, json!({})).await;
    let elsewhere = Api::<TenantSchema>::namespaced(world.client.clone(), &other);
    let institution = uuid::Uuid::new_v4();
    let spec = |schema: &str, id: Value| json!({ "schemaName": schema, "institutionId": id, "deletionPolicy": "Drop" });
    // What was set aside would keep its name and institution.
    world.apply_tenant("by-name", json!({ "schemaName": "school", "deletionPolicy": "Drop" })).await;
    world.apply_tenant("by-institution", spec("academy", json!(institution))).await;
    world.ready_tenant("by-name").await;
    world.ready_tenant("by-institution").await;
    world.sql_as("school", "owner", "CREATE TABLE school.pupils AS SELECT 7 AS id");
    world.apply_tenant("waits-for-name", json!({ "schemaName": "school" })).await;
    world.try_tenant_in(&other, "waits-for-institution", spec("college", json!(institution))).await.unwrap();
    world.stalled_tenant("waits-for-name", "Conflict").await;
    world.until_ready(&elsewhere, "waits-for-institution", "False", "Conflict").await;
    // Long enough for the pauses between tries to be longer than what is waited below.
    world.next_survey().await;
    world.next_survey().await;

    world.drop_tenant("by-name").await;
    world.drop_tenant("by-institution").await;
    let started = tokio::time::Instant::now();
    world.ready_tenant("waits-for-name").await;
    world.until_ready(&elsewhere, "waits-for-institution", "True", "Succeeded").await;
    assert!(started.elapsed() < std::time::Duration::from_secs(10), "woken, not polled: {:?}", started.elapsed());
    world.event("waits-for-name", "Ready", "ready again").await;

    // What the winner had is gone, as was confirmed, and the next tenant has nothing of it.
    assert_eq!(world.schemas("school"), ["school"]);
    assert_eq!(world.sql("SELECT count(*) FROM pg_class WHERE relnamespace = 'school'::regnamespace"), "0");

    // A schema that was kept belongs to no object: the same name again gets no answer but how it stands.
    world.apply_tenant("waits-for-name", json!({ "schemaName": "school", "deletionPolicy": "Retain" })).await;
    world.ready_tenant("waits-for-name").await;
    world.delete_tenant("waits-for-name").await;
    world.apply_tenant("waits-for-name", json!({ "schemaName": "school" })).await;
    let message = world.stalled_tenant("waits-for-name", "Conflict").await;
    assert!(message.contains("an earlier TenantSchema waits-for-name of this namespace"), "{message}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_made_in_the_database_is_never_taken() {
    let world = World::new(json!({})).await;
    let role = format!("e2e_{}_app", world.id);
    world.sql(&format!("CREATE ROLE {role}; CREATE SCHEMA theirs; CREATE TABLE theirs.data AS SELECT 7 AS id"));
    world.apply_tenant("schema", json!({ "schemaName": "theirs" })).await;
    world.apply_tenant("role", json!({ "schemaName": role })).await;
    let message = world.stalled_tenant("schema", "Conflict").await;
    assert!(message.contains("schema theirs exists in the database and was not made by this operator"), "{message}");
    let message = world.stalled_tenant("role", "Conflict").await;
    assert!(message.contains(&format!("a role is called {role}")), "{message}");
    assert_eq!(world.sql("SELECT count(*) FROM edu_matrix_hub_schema.tenant_schemas"), "0");

    // Deleting what was never made touches nothing, and what stood in the way may go by itself.
    world.delete_tenant("schema").await;
    assert_eq!(world.sql("SELECT id FROM theirs.data"), "7");
    world.sql(&format!("DROP ROLE {role}"));
    world.ready_tenant("role").await;
    world.finish().await;
}
