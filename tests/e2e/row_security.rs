//! Policies on a tenant's tables: an application has the rows of its setting, from the first moment to after a restore.

use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use tenant_schema_operator::api::{RECONCILE_REQUESTED_AT, TenantSchema};

use crate::{
    credentials::{Applications, ask},
    world::{World, condition},
};

const PROFILES: &str = "CREATE TABLE school.profiles (user_id int, name text);
    INSERT INTO school.profiles VALUES (7, 'ann'), (8, 'bob')";
const NAMES: &str = "SELECT string_agg(name, ',' ORDER BY name) FROM school.profiles";

fn spec() -> Value {
    json!({
        "schemaName": "school", "connectionSecret": { "name": "school-db" },
        "rowLevelSecurity": { "policies": [{ "name": "own-rows", "column": "user_id", "setting": "app.user_id" }] },
    })
}

async fn with_policies() -> World {
    let mut world = World::without_operator(json!({})).await;
    world.guard_secrets();
    world.start_operator().await;
    world.apply_tenant("school", spec()).await;
    world.ready_tenant("school").await;
    world
}

/// What the application reads as this user.
async fn names(world: &World, user: &str) -> String {
    let keys = world.keys().await;
    match ask(&keys, &format!("SET app.user_id = '{user}'; {NAMES}")).await {
        Ok(names) => names,
        Err(error) => error.code().unwrap().code().to_owned(),
    }
}

/// Waits until the condition has this reason; its status and message.
async fn told(world: &World, reason: &str) -> (String, String) {
    let mut found = None;
    let is_told = async || {
        found = condition(&world.api::<TenantSchema>().get("school").await.unwrap(), "RowSecurity");
        found.as_ref().is_some_and(|(_, told, _)| told == reason)
    };
    world.eventually(&format!("RowSecurity says {reason}"), is_told).await;
    found.map(|(status, _, message)| (status, message)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_has_its_rows_and_new_tables_are_closed_until_they_have_policies() {
    let mut world = with_policies().await;
    world.sql_as("school", "owner", PROFILES);
    // Closed until it was looked at, which a pipeline asks for.
    world.annotate::<TenantSchema>("school", RECONCILE_REQUESTED_AT, "now").await;
    world.eventually("the table is open", async || names(&world, "7").await != "42501").await;
    assert_eq!(names(&world, "7").await, "ann");
    assert_eq!(names(&world, "nonsense").await, "");
    assert_eq!(world.sql_as("school", "owner", NAMES), "ann,bob");
    assert_eq!(told(&world, "PoliciesInForce").await.0, "True");

    world.sql_as("school", "owner", "CREATE VIEW school.everybody AS SELECT * FROM school.profiles");
    let (status, message) = told(&world, "PastPolicies").await;
    assert_eq!(status, "False");
    assert!(message.contains("ALTER VIEW school.everybody SET (security_invoker = true)"), "{message}");
    let tenant = world.ready_tenant("school").await;
    assert_eq!(tenant.status.unwrap().row_security.unwrap().tables, Some(1));
    world.sql_as("school", "owner", "ALTER VIEW school.everybody SET (security_invoker = true)");
    told(&world, "PoliciesInForce").await;
    assert_eq!(
        ask(&world.keys().await, "SET app.user_id = '8'; SELECT name FROM school.everybody").await.unwrap(),
        "bob"
    );
    world.prove_fixpoint().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_that_are_dropped_come_back_and_those_of_a_spec_that_changed_go() {
    let mut world = with_policies().await;
    world.sql_as("school", "owner", PROFILES);
    world.eventually("the table has policies", async || names(&world, "7").await == "ann").await;
    world.sql_as("school", "owner", "ALTER TABLE school.profiles DISABLE ROW LEVEL SECURITY");
    world.eventually("they are in force again", async || names(&world, "7").await == "ann").await;
    world.event("school", "DriftRepaired", "row-level security of table school.profiles is off").await;

    let mut without = spec();
    without.as_object_mut().unwrap().remove("rowLevelSecurity");
    world.apply_tenant("school", without).await;
    world.eventually("all rows are there", async || names(&world, "").await == "ann,bob").await;
    let is_told =
        async || condition(&world.api::<TenantSchema>().get("school").await.unwrap(), "RowSecurity").is_none();
    world.eventually("nothing is told of policies", is_told).await;
    assert_eq!(world.sql("SELECT count(*) FROM pg_policies WHERE schemaname = 'school'"), "0");
    world.prove_fixpoint().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_come_back_with_what_was_set_aside() {
    let mut world = with_policies().await;
    world.sql_as("school", "owner", PROFILES);
    world.eventually("the table has policies", async || names(&world, "7").await == "ann").await;
    world.delete_tenant("school").await;
    world.until_gone(&world.api::<TenantSchema>(), "school").await;
    world.until_gone(&world.api::<Secret>(), "school-db").await;
    world.apply_annotated("school", spec(), json!({ "edumatrixhub.io/reclaim": "school" })).await;
    world.ready_tenant("school").await;
    world.eventually("an application comes in", async || world.secret().await.is_some()).await;
    world.eventually("it has its rows", async || names(&world, "8").await == "bob").await;
    assert_eq!(names(&world, "").await, "");
    assert_eq!(told(&world, "PoliciesInForce").await.0, "True");
    world.prove_fixpoint().await;
    world.finish().await;
}
