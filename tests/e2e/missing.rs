//! A schema that was dropped by hand is missed at once and never made again by itself.

use serde_json::json;
use tenant_schema_operator::api::{REBIND, RECONCILE_REQUESTED_AT, RECREATE, TenantSchema};

use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_was_dropped_by_hand_is_made_again_only_when_a_user_asks() {
    let world = World::new(json!({})).await;
    for name in ["school", "academy", "college"] {
        world.apply_tenant(name, json!({ "schemaName": name })).await;
        world.ready_tenant(name).await;
        world.sql_as(name, "owner", &format!("CREATE TABLE {name}.pupils AS SELECT 7 AS id"));
    }
    let id = world.sql("SELECT id FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name = 'school'");
    world.sql("DROP SCHEMA school CASCADE; DROP SCHEMA academy CASCADE; DROP SCHEMA college CASCADE");
    // A survey finds it: the next look at a tenant that is at rest comes long after the wait has ended.
    let first = world.stalled_tenant("school", "SchemaMissing").await;
    assert!(first.contains("was dropped by hand"), "{first}");
    world.stalled_tenant("academy", "SchemaMissing").await;
    world.stalled_tenant("college", "SchemaMissing").await;

    // Neither time nor a change of the spec nor a typo makes it again, and nor does a restart.
    world.annotate::<TenantSchema>("school", RECREATE, "school").await;
    world.apply_tenant("school", json!({ "schemaName": "school", "config": { "a": 1 } })).await;
    world.next_survey().await;
    world.stalled_tenant("school", "SchemaMissing").await;
    assert!(world.schemas("school").is_empty());

    // The message has the command.
    let command = |message: &str| {
        let command = message.split_once("kubectl ").unwrap().1.split(';').next().unwrap();
        world.kubectl(&command.split_whitespace().collect::<Vec<_>>());
    };
    command(&first);
    world.ready_tenant("school").await;
    assert_eq!(world.sql("SELECT count(*) FROM pg_class WHERE relnamespace = 'school'::regnamespace"), "0");
    assert_eq!(world.sql("SELECT id FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name = 'school'"), id);
    world.event("school", "Recreated", "made again, empty").await;
    world.sql_as("school", "owner", "CREATE TABLE school.pupils AS SELECT 8 AS id");
    assert_eq!(world.sql_as("school", "reader", "SELECT id FROM school.pupils"), "8");

    // What was asked once was done once: another loss is not hidden by the annotation of the first.
    world.next_survey().await;
    world.sql("DROP SCHEMA school CASCADE");
    let message = world.stalled_tenant("school", "SchemaMissing").await;
    assert_ne!(World::value_told(&message, RECREATE), World::value_told(&first, RECREATE));
    world.next_survey().await;
    assert!(world.schemas("school").is_empty());
    command(&first);
    world.next_survey().await;
    assert!(world.schemas("school").is_empty());
    command(&message);
    world.ready_tenant("school").await;

    // A schema of its name that is another user's is neither given away nor touched.
    world.sql("CREATE SCHEMA academy; CREATE TABLE academy.diary (a int)");
    let words = "another one, of role";
    let named = async || world.stalled_tenant("academy", "SchemaMissing").await.contains(words);
    world.eventually("what stands there is named", named).await;
    world.sql("DROP SCHEMA academy CASCADE");

    // A DBA brings the schema back, as pg_restore does: it is the tenant's when a person says so.
    let academy = world.sql("SELECT id FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name = 'academy'");
    world.sql(&format!(
        "CREATE SCHEMA academy AUTHORIZATION {}; COMMENT ON SCHEMA academy IS 'tenant {academy}'",
        world.tenant_role("academy", "owner")
    ));
    let told = async || world.stalled_tenant("academy", "SchemaMissing").await.contains(REBIND);
    world.eventually("the tenant says what to type", told).await;
    world.until_ready(&world.databases(), &world.database_ref(), "True", "IdentifiersChanged").await;
    command(&world.stalled_tenant("academy", "SchemaMissing").await);
    world.ready_tenant("academy").await;
    assert!(world.may_use(&world.tenant_role("academy", "reader"), "academy"));

    // A tenant whose schema is missing can go, and its roles go with it.
    let roles = world.count_roles("college");
    world.delete_tenant("college").await;
    let ended = world.sql("SELECT status FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name = 'college'");
    assert_eq!(ended, "dropped");
    assert_eq!((roles.as_str(), world.count_roles("college").as_str()), ("3", "0"));
    let taken = |(reason, ..): &(String, String, i32)| ["SetAside", "Dropped"].contains(&reason.as_str());
    assert!(!world.events_about("college").await.iter().any(taken), "nothing was there to be taken away");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_was_removed_by_hand_is_noticed_by_the_next_survey() {
    // No survey comes by itself, and the one that is asked for tells a tenth of all.
    let world = World::new(json!({ "surveyPeriodSeconds": 3600 })).await;
    for name in ["school", "kept"] {
        world.apply_tenant(name, json!({ "schemaName": name })).await;
        world.ready_tenant(name).await;
    }
    let survey = async |number: &str| {
        let now = world.sql("SELECT clock_timestamp()");
        world.annotate_database(RECONCILE_REQUESTED_AT, number).await;
        let later = format!("SELECT surveyed_at > '{now}' FROM edu_matrix_hub_schema.installation");
        world.eventually("a survey begins and ends", async || world.sql(&later) == "t").await;
    };
    survey("1").await;
    world.sql("DELETE FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name = 'school'");
    survey("2").await;
    world.stalled_tenant("school", "SchemaMissing").await;
    world.ready_tenant("kept").await;
    world.finish().await;
}
