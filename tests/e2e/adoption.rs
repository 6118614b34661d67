//! Schemas that stood before the operator came, and tenants that were made by hand, become tenants of objects.

use serde_json::{Value, json};
use tenant_schema_operator::api::{CONFIRM_ADOPT, RECONCILE_REQUESTED_AT, TenantSchema};

use crate::world::{World, condition};

/// A world that offers schemas to its namespace.
async fn with_offer(pattern: &str) -> World {
    let world = World::new(json!({})).await;
    world.apply_database(json!({ "adoptable": [{ "pattern": pattern, "namespace": world.namespace }] })).await;
    world
}

fn adopting(schema: &str) -> Value {
    json!({ "schemaName": schema, "existingSchema": "Adopt" })
}

/// The role of the application that made the schema.
fn app(world: &World) -> String {
    format!("{}_app", world.database)
}

/// Makes the role, and a schema of its own with this in it.
fn make(world: &World, schema: &str, statements: &str) {
    let app = app(world);
    world.sql(&format!(
        "CREATE ROLE {app} LOGIN; CREATE SCHEMA {schema} AUTHORIZATION {app}; SET ROLE {app}; SET search_path = {schema}; {statements}"
    ));
}

/// What the application does, as itself.
fn as_app(world: &World, statement: &str) -> Result<String, String> {
    world
        .postgres
        .psql(&world.database, &format!("SET SESSION AUTHORIZATION {}; {statement}", app(world)))
        .map_err(|e| e.to_string())
}

/// Runs what the message asks a DBA for, if it asks for anything.
pub fn help(world: &World, message: &str) {
    let Some((_, asked)) = message.split_once("a DBA has to run, in this database: ") else { return };
    let statements = asked.split("; to adopt it then").next().unwrap();
    for statement in statements.split("; ") {
        match statement.strip_suffix(" \\gexec") {
            Some(query) => world.sql(query).lines().for_each(|statement| drop(world.sql(statement))),
            None => drop(world.sql(statement)),
        }
    }
}

pub async fn confirm(world: &World, name: &str, message: &str) {
    world.annotate::<TenantSchema>(name, CONFIRM_ADOPT, &World::value_told(message, CONFIRM_ADOPT)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_stands_is_adopted_after_a_dry_run_and_its_application_goes_on() {
    let mut world = with_offer("educ.*").await;
    make(
        &world,
        "education",
        "CREATE TABLE pupils (id serial PRIMARY KEY, name text); CREATE VIEW names AS SELECT name FROM pupils; \
         CREATE TYPE mood AS ENUM ('good'); CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'; \
         INSERT INTO pupils (name) VALUES ('Ada')",
    );
    let (app, owner) = (app(&world), world.owner_role());
    world.sql("CREATE TABLE education.supers (id int)");
    let before = world.sql(
        "SELECT oid, relowner::regrole, relacl FROM pg_class WHERE relnamespace = 'education'::regnamespace ORDER BY 1",
    );
    world.apply_tenant("school", adopting("education")).await;
    let message = world.stalled_tenant("school", "AdoptionPending").await;
    assert!(message.contains(&format!("role {app} owns ")) && message.contains("the schema"), "{message}");
    let script = "SELECT edu_matrix_hub_schema.adoption_statements('education') \\gexec; to adopt it then: ";
    assert!(message.contains(script), "{message}");
    let grant = format!("GRANT {app} TO {owner} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE");
    assert_eq!(message.contains(&grant), world.postgres.major() >= 16, "{message}");
    let now = world.sql(
        "SELECT oid, relowner::regrole, relacl FROM pg_class WHERE relnamespace = 'education'::regnamespace ORDER BY 1",
    );
    assert_eq!(now, before, "nothing was changed");
    assert_eq!(world.sql("SELECT count(*) FROM edu_matrix_hub_schema.tenant_adoptions"), "0");

    // Another word than that of the message confirms nothing.
    world.annotate::<TenantSchema>("school", CONFIRM_ADOPT, "education").await;
    let says =
        async || world.stalled_tenant("school", "AdoptionPending").await.contains("does nothing: it has another value");
    world.eventually("it is said that the annotation does nothing", says).await;
    // Confirmed before the DBA has helped, it waits for that alone, and goes on by itself.
    confirm(&world, "school", &message).await;
    let waits = async || world.stalled_tenant("school", "AdoptionPending").await.contains("as was confirmed");
    world.eventually("it waits for the DBA", waits).await;
    help(&world, &message);
    world.annotate::<TenantSchema>("school", RECONCILE_REQUESTED_AT, "now").await;

    let tenant = world.ready_tenant("school").await;
    let status = tenant.status.unwrap();
    let adoption = status.adoption.unwrap();
    assert_eq!((adoption.moved, adoption.total), (Some(6), Some(6)));
    assert_eq!(status.effective.unwrap().deletion_policy.unwrap().as_str(), "Retain");
    world.event("school", "Adopted", "schema \"education\" is adopted").await;
    let owners = "SELECT DISTINCT relowner = owner_role_oid FROM edu_matrix_hub_schema.tenant_schemas \
                  JOIN pg_class ON relnamespace = schema_oid";
    assert_eq!(world.sql(owners), "t");
    as_app(
        &world,
        "INSERT INTO education.pupils (name) VALUES ('Bob'); ALTER TABLE education.pupils ADD COLUMN class text",
    )
    .unwrap();
    assert_eq!(world.sql("SELECT count(*) FROM education.pupils"), "2");
    world.tenant_looked_at("school").await;
    world.prove_fixpoint().await;

    // Its object goes, and it stays, for an object that takes it back.
    world.start_operator().await;
    world.delete_tenant("school").await;
    as_app(&world, "INSERT INTO education.pupils (name) VALUES ('Cy')").unwrap();
    world.apply_tenant("other", adopting("education")).await;
    let message = world.stalled_tenant("other", "Conflict").await;
    assert!(message.contains("schema education belongs to"), "a released tenant is not adopted: {message}");
    world.delete_tenant("other").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_or_not_offered_is_refused_and_nothing_is_made() {
    let world = with_offer("education|old.*|public").await;
    make(&world, "education", "CREATE TABLE pupils (id int)");
    world.sql("CREATE SCHEMA secret; CREATE SCHEMA old_bak_20260101120000");
    world.apply_tenant("nothing", adopting("old_times")).await;
    let message = world.stalled_tenant("nothing", "NothingToAdopt").await;
    assert!(message.starts_with("there is no schema old_times"), "{message}");
    let mut messages = Vec::new();
    for (name, schema) in [("there", "secret"), ("not-there", "missing")] {
        world.apply_tenant(name, adopting(schema)).await;
        messages.push(world.stalled_tenant(name, "Conflict").await.replace(schema, "X"));
    }
    assert_eq!(messages[0], messages[1], "what is not offered reads the same whether it is there or not");
    let refused = world.try_tenant("reserved", adopting("public")).await.unwrap_err().to_string();
    assert!(refused.contains("reserved"), "{refused}");

    // Without a word it is a conflict, as ever; with it, it may change its mind, and not back.
    world.apply_tenant("plain", json!({ "schemaName": "education" })).await;
    let message = world.stalled_tenant("plain", "Conflict").await;
    assert!(message.contains("was not made by this operator") && message.contains("adoption.md"), "{message}");
    world.apply_tenant("plain", adopting("education")).await;
    let message = world.stalled_tenant("plain", "AdoptionPending").await;
    let back = world.try_tenant("plain", json!({ "schemaName": "education" })).await.unwrap_err().to_string();
    assert!(back.contains("existingSchema stays Adopt"), "{back}");
    // A plan that changed asks again.
    help(&world, &message);
    world.sql(&format!("SET ROLE {}; CREATE TABLE education.marks (id int)", app(&world)));
    confirm(&world, "plain", &message).await;
    let asks = async || {
        let again = world.stalled_tenant("plain", "AdoptionPending").await;
        World::value_told(&again, CONFIRM_ADOPT) != World::value_told(&message, CONFIRM_ADOPT)
    };
    world.eventually("it asks again", asks).await;
    assert_eq!(world.sql("SELECT count(*) FROM edu_matrix_hub_schema.tenant_schemas"), "0");
    assert_eq!(world.sql("SELECT count(*) FROM edu_matrix_hub_schema.tenant_adoptions"), "0");
    assert!(!world.stands("old_times") && !world.stands("missing"));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_is_killed_while_it_adopts_goes_on() {
    let mut world = with_offer("education").await;
    make(
        &world,
        "education",
        "DO $$ BEGIN FOR i IN 1..2500 LOOP EXECUTE 'CREATE TABLE t' || i || ' (id int)'; END LOOP; END $$",
    );
    world.apply_tenant("school", adopting("education")).await;
    let message = world.stalled_tenant("school", "AdoptionPending").await;
    assert!(message.contains("2500 tables"), "{message}");
    help(&world, &message);
    confirm(&world, "school", &message).await;
    let moved = |world: &World| {
        world.sql("SELECT coalesce(max(moved), -1) FROM edu_matrix_hub_schema.tenant_adoptions").parse::<i64>().unwrap()
    };
    world.eventually("some are moved", async || moved(&world) > 100).await;
    world.kill_operator().await;
    let so_far = moved(&world);
    assert!((100..2500).contains(&so_far), "{so_far}");
    as_app(&world, "INSERT INTO education.t1 VALUES (1); INSERT INTO education.t2500 VALUES (1)").unwrap();
    world.expire_lease().await;
    world.start_operator().await;
    let tenant = world.ready_tenant("school").await;
    let adoption = tenant.status.clone().unwrap().adoption.unwrap();
    assert_eq!((adoption.moved, adoption.total), (Some(2500), Some(2500)));
    assert!(condition(&tenant, "Stalled").is_none());
    assert_eq!(world.sql("SELECT count(*) FROM edu_matrix_hub_schema.tenant_adoptions"), "0");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_was_made_by_hand_becomes_an_objects_and_gets_what_its_spec_says() {
    let world = with_offer("school").await;
    world.apply_tenant("first", json!({ "schemaName": "first" })).await;
    world.ready_tenant("first").await;
    let institution = "3f0c1d52-0000-4000-8000-00000000000a";
    world.sql(&format!("INSERT INTO edu_matrix_hub_schema.institutions (id) VALUES ('{institution}')"));
    let made = world.sql(&format!(
        "SELECT schema_id FROM edu_matrix_hub_schema.create_institution_schema('{institution}', 'school')"
    ));
    world.sql_as("school", "owner", "CREATE TABLE school.pupils AS SELECT 7 AS id");
    world.apply_tenant("without", adopting("school")).await;
    let message = world.stalled_tenant("without", "Conflict").await;
    assert!(message.contains(&format!("with spec.institutionId {institution}")), "{message}");
    world.delete_tenant("without").await;

    let mut spec = adopting("school");
    spec["institutionId"] = json!(institution);
    world.apply_tenant("school", spec).await;
    let message = world.stalled_tenant("school", "AdoptionPending").await;
    confirm(&world, "school", &message).await;
    let tenant = world.ready_tenant("school").await;
    assert_eq!(tenant.status.unwrap().schema_id.unwrap(), made);
    world.event("school", "Adopted", "is adopted").await;
    assert_eq!(world.sql("SELECT id FROM school.pupils"), "7");
    world.finish().await;
}

/// A user drops the schema while a session keeps its adoption from its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_is_dropped_while_it_is_adopted_leaves_nothing_behind() {
    let mut world = with_offer("education").await;
    let statements = "DO $$ BEGIN FOR i IN 1..60 LOOP EXECUTE 'CREATE TABLE t' || i || ' (id int)'; END LOOP; END $$";
    make(&world, "education", statements);
    world.apply_tenant("school", adopting("education")).await;
    let message = world.stalled_tenant("school", "AdoptionPending").await;
    help(&world, &message);
    let holder = world.session("BEGIN; SELECT FROM education.t60");
    confirm(&world, "school", &message).await;
    let adoptions = "SELECT count(*) FROM edu_matrix_hub_schema.tenant_adoptions";
    let held = "SELECT count(*) FROM edu_matrix_hub_schema.tenant_adoptions WHERE moved > 50 AND held <> '{}'";
    world.eventually("all but one have moved", async || world.sql(held) == "1").await;
    let roles = world.sql(
        "SELECT owner_role || ',' || reader_role || ',' || writer_role FROM edu_matrix_hub_schema.tenant_adoptions",
    );
    let (postgres, database) = (world.postgres.clone(), world.database.clone());
    let dropping =
        tokio::task::spawn_blocking(move || postgres.psql(&database, "DROP SCHEMA education CASCADE").is_ok());
    let waits =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DROP SCHEMA education%' AND wait_event_type = 'Lock'";
    world.eventually("the drop waits for the session", async || world.sql(waits) == "1").await;
    drop(holder);
    assert!(dropping.await.unwrap());
    world.stalled_tenant("school", "NothingToAdopt").await;
    world.eventually("the adoption has ended", async || world.sql(adoptions) == "0").await;
    assert_eq!(world.sql(&format!("SELECT count(*) FROM pg_roles WHERE rolname = ANY ('{{{roles}}}')")), "0");
    let logged = "SELECT count(*) FROM edu_matrix_hub_schema.schema_operations WHERE status = 'success' AND description LIKE 'remove the roles%'";
    assert_eq!(world.sql(logged), "1");
    // Made again, it is another one, of which another digest has to be confirmed.
    world.sql(&format!("CREATE SCHEMA education AUTHORIZATION {}", app(&world)));
    world.annotate::<TenantSchema>("school", RECONCILE_REQUESTED_AT, "1").await;
    let message = world.stalled_tenant("school", "AdoptionPending").await;
    help(&world, &message);
    confirm(&world, "school", &message).await;
    world.ready_tenant("school").await;
    world.prove_fixpoint().await;
    world.finish().await;
}
