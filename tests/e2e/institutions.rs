//! A tenant whose institution must exist waits for it, and its message says why it is not found.

use serde_json::json;
use tenant_schema_operator::api::TenantSchema;

use crate::world::{World, condition};

const KNOWN: &str = "3f0c1d52-0000-4000-8000-00000000aa01";
const LATER: &str = "3f0c1d52-0000-4000-8000-00000000aa02";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_waits_for_its_institution_and_is_told_why_it_is_not_found() {
    let world = World::new(json!({
        "institutions": { "source": { "schema": "app", "table": "schools", "idColumn": "id" } },
    }))
    .await;
    world.sql(&format!(
        "CREATE SCHEMA app; CREATE TABLE app.schools (id uuid PRIMARY KEY); INSERT INTO app.schools VALUES ('{KNOWN}')"
    ));

    // The table is there and may not be read: the message has the statement.
    world.apply_tenant("school", json!({ "schemaName": "school", "institutionId": KNOWN })).await;
    let message = world.stalled_tenant("school", "InstitutionUnknown").await;
    let (_, statements) = message.split_once("may not read it: ").unwrap();
    let statements = statements.split("; name another").next().unwrap();
    assert!(statements.starts_with("GRANT USAGE ON SCHEMA app TO "), "{message}");
    world.sql(statements);
    world.ready_tenant("school").await;

    // It can be read, and the institution is not in it: the tenant comes when it is.
    world.apply_tenant("later", json!({ "schemaName": "later", "institutionId": LATER })).await;
    let message = world.stalled_tenant("later", "InstitutionUnknown").await;
    assert!(message.contains(LATER) && message.contains("#institutions-that-must-exist"), "{message}");
    assert!(world.schemas("later").is_empty());
    world.sql(&format!("INSERT INTO app.schools VALUES ('{LATER}')"));
    world.ready_tenant("later").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_applications_table_says_closes_a_tenant_and_opens_it_and_a_row_that_goes_drops_nothing() {
    let mut world = World::new(json!({ "institutions": { "source": {
        "schema": "app", "table": "schools", "idColumn": "id", "statusColumn": "status", "suspendedValues": ["0"],
    } } }))
    .await;
    world.sql(&format!(
        "CREATE SCHEMA app; CREATE TABLE app.schools (id uuid PRIMARY KEY, status int); INSERT INTO app.schools VALUES ('{KNOWN}', 1)"
    ));
    let message =
        world.database_stalled("InstitutionsUnreadable", "may not read it: GRANT USAGE ON SCHEMA app TO ").await;
    world.sql(message.split_once("may not read it: ").unwrap().1.split("; name another").next().unwrap());
    world.database_ready().await;
    world.apply_tenant("school", json!({ "schemaName": "school", "institutionId": KNOWN })).await;
    world.ready_tenant("school").await;
    world.sql_as("school", "owner", "CREATE TABLE school.pupils AS SELECT 1 AS id");
    let tenants = world.api::<TenantSchema>();
    world.sql("UPDATE app.schools SET status = 0");
    let school = world.until_ready(&tenants, "school", "True", "Suspended").await;
    let message = condition(&school, "Ready").unwrap().2;
    assert!(message.contains("or, if table app.schools says so: change its status there"), "{message}");
    world.sql("UPDATE app.schools SET status = 1");
    world.ready_tenant("school").await;

    world.sql("DELETE FROM app.schools");
    let school = world.until_ready(&tenants, "school", "True", "InstitutionGone").await;
    let message = condition(&school, "Stalled").unwrap().2;
    let delete = format!("kubectl -n {} delete tenantschema school", world.namespace);
    assert!(message.contains(&delete) || message.contains("delete tenantschema"), "{message}");
    assert_eq!(world.sql("SELECT count(*) FROM school.pupils"), "1");
    world.sql(&format!(
        "ALTER TABLE app.schools RENAME status TO standing; INSERT INTO app.schools VALUES ('{KNOWN}', 1)"
    ));
    world.database_stalled("InstitutionsUnreadable", "it has no plain column \"status\"").await;
    world.sql("ALTER TABLE app.schools RENAME standing TO status");
    world.database_ready().await;
    world.ready_tenant("school").await;
    world.prove_fixpoint().await;
    world.finish().await;
}
