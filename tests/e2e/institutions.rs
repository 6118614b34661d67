//! A tenant whose institution must exist waits for it, and its message says why it is not found.

use serde_json::json;

use crate::world::World;

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
