//! A suspended tenant: only the owner reaches the schema, and what was taken is given back exactly.

use serde_json::json;
use tenant_schema_operator::api::TenantSchema;

use crate::world::{World, condition};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suspension_closes_a_schema_to_all_but_its_owner_and_resuming_gives_back_what_was_taken() {
    let world = World::new(json!({})).await;
    let tenants = world.api::<TenantSchema>();
    let open = json!({ "schemaName": "school" });
    let suspended = json!({ "schemaName": "school", "access": "Suspended" });
    world.apply_tenant("school", open.clone()).await;
    world.ready_tenant("school").await;
    world.sql_as("school", "owner", "CREATE TABLE school.pupils AS SELECT 1 AS id");
    let reader = world.tenant_role("school", "reader");
    let guest = format!("e2e_{}_guest", world.id);
    world.sql(&format!("CREATE ROLE {guest} LOGIN PASSWORD 'pw'; GRANT {reader} TO {guest}"));
    let acl = || world.sql("SELECT nspacl, nspowner::regrole FROM pg_namespace WHERE nspname = 'school'");
    let members =
        || world.sql(&format!("SELECT member::regrole FROM pg_auth_members WHERE roleid = '{reader}'::regrole"));
    let reads = || world.may_use(&guest, "school");
    let (acl_before, members_before) = (acl(), members());
    assert!(reads() && members_before.contains(&guest));

    // A user let the reader log in and is connected. The survey takes the login back and leaves the session.
    world.sql(&format!("ALTER ROLE {reader} LOGIN PASSWORD 'pw'"));
    let mut session = world.session_as(reader.trim_matches('"'), "pw", "SELECT * FROM school.pupils");
    world.event("school", "DriftRepaired", "has LOGIN").await;
    assert!(!session.is_ended());

    world.apply_tenant("school", suspended.clone()).await;
    let tenant = world.until_ready(&tenants, "school", "True", "Suspended").await;
    let state = serde_json::to_value(tenant.status.as_ref().unwrap()).unwrap()["state"].clone();
    assert_eq!(state, "Suspended");
    assert!(condition(&tenant, "Ready").unwrap().2.contains("spec.access: ReadWrite"));
    assert!(!reads(), "a member of the reader is shut out");
    assert_eq!(members(), members_before, "memberships of others are not ours");
    for role in ["reader", "writer"] {
        assert!(!world.may_use(&world.tenant_role("school", role), "school"));
    }
    assert_eq!(world.sql_as("school", "owner", "SELECT count(*) FROM school.pupils"), "1");
    world.eventually("the session is ended", async || session.is_ended()).await;
    world.event("school", "Suspended", "1 sessions ended").await;
    assert_eq!(world.sql("SELECT status, access FROM edu_matrix_hub_schema.tenant_schemas"), "suspended|Suspended");

    // A user who opens a suspended schema by hand is no exception.
    world.sql(&format!("GRANT USAGE ON SCHEMA school TO {guest}"));
    world.event("school", "DriftRepaired", &format!("others have rights on schema \"school\": {guest}")).await;
    assert!(!reads());
    world.until_ready(&tenants, "school", "True", "Suspended").await;

    world.apply_tenant("school", open.clone()).await;
    world.ready_tenant("school").await;
    assert_eq!(acl(), acl_before);
    assert!(reads());
    world.event("school", "Resumed", "is open").await;
    assert_eq!(world.sql("SELECT status, access FROM edu_matrix_hub_schema.tenant_schemas"), "active|ReadWrite");

    // Born suspended, and opened later.
    world.apply_tenant("later", json!({ "schemaName": "later", "access": "Suspended" })).await;
    world.until_ready(&tenants, "later", "True", "Suspended").await;
    let later_reader = world.tenant_role("later", "reader");
    let later_reads = || world.may_use(&later_reader, "later");
    assert!(!later_reads());
    world.apply_tenant("later", json!({ "schemaName": "later" })).await;
    world.ready_tenant("later").await;
    assert!(later_reads());

    // Deleted while it is suspended, and brought back, it is as it was.
    world.apply_tenant("school", suspended).await;
    world.until_ready(&tenants, "school", "True", "Suspended").await;
    world.delete_tenant("school").await;
    let backup = world.sql("SELECT id FROM edu_matrix_hub_schema.schema_backups");
    let answer = world.sql(&format!("SELECT status FROM edu_matrix_hub_schema.restore_set_aside('{backup}')"));
    assert_eq!(answer, "success");
    assert_eq!(
        world.sql("SELECT access FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name = 'school'"),
        "Suspended"
    );
    assert!(!reads());
    world.sql(&format!("REVOKE {reader} FROM {guest}; DROP ROLE {guest}"));
    world.finish().await;
}

/// The platform's own application suspends a school in its registry, and no manifest changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_institution_that_is_suspended_closes_its_tenant_until_it_is_active_again() {
    let mut world = World::new(json!({})).await;
    let tenants = world.api::<TenantSchema>();
    let institution = "3f0c1d52-0000-4000-8000-00000000000a";
    let set = |world: &World, status: &str| {
        world.sql(&format!(
            "UPDATE edu_matrix_hub_schema.institutions SET status = '{status}' WHERE id = '{institution}'"
        ));
    };
    world.apply_tenant("school", json!({ "schemaName": "school", "institutionId": institution })).await;
    world.apply_tenant("neighbour", json!({ "schemaName": "neighbour" })).await;
    world.ready_tenant("school").await;
    world.ready_tenant("neighbour").await;
    let writer = world.tenant_role("school", "writer");

    for status in ["suspended", "closed"] {
        set(&world, status);
        let tenant = world.until_ready(&tenants, "school", "True", "Suspended").await;
        let told = serde_json::to_value(tenant.status.as_ref().unwrap()).unwrap();
        assert_eq!((&told["state"], &told["blocked"]["cause"]), (&json!("Suspended"), &json!("Institution")));
        let message = condition(&tenant, "Ready").unwrap().2;
        assert!(message.contains(&format!("institution {institution} is {status}")), "{message}");
        assert!(!world.may_use(&writer, "school"));

        // A restart finds it as it is.
        world.stop_operator().await;
        world.start_operator().await;
        world.next_survey().await;
        world.until_ready(&tenants, "school", "True", "Suspended").await;
        assert!(!world.may_use(&writer, "school"));

        let statement = message.split_once("in this database: ").unwrap().1.to_owned();
        world.sql(&statement);
        world.ready_tenant("school").await;
        assert!(world.may_use(&writer, "school"));
    }
    world.event("school", "Suspended", "is suspended").await;
    world.event("school", "Resumed", "is open").await;
    assert!(world.may_use(&world.tenant_role("neighbour", "writer"), "neighbour"));
    world.finish().await;
}

/// A tenant can hold a repair up for ever, also without a connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_suspension_waits_for_a_repair() {
    let mut world = World::new(json!({})).await;
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    world.stop_operator().await;
    world.sql_as("school", "owner", "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC");
    let held = format!("held_{}", world.id);
    let change = "ALTER DEFAULT PRIVILEGES REVOKE INSERT ON TABLES FROM PUBLIC";
    world.sql_as("school", "owner", &format!("BEGIN; {change}; PREPARE TRANSACTION '{held}'"));
    world.apply_tenant("school", json!({ "schemaName": "school", "access": "Suspended" })).await;
    world.start_operator().await;
    let access = "SELECT access FROM edu_matrix_hub_schema.tenant_schemas";
    world.eventually("it is suspended all the same", async || world.sql(access) == "Suspended").await;
    assert!(!world.may_use(&world.tenant_role("school", "writer"), "school"));
    world.sql(&format!("ROLLBACK PREPARED '{held}'"));
    world.event("school", "DriftRepaired", "default").await;
    world.until_ready(&world.api::<TenantSchema>(), "school", "True", "Suspended").await;
    world.finish().await;
}
