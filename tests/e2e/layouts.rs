//! The layouts of the examples that share data: services that read from one another, and domains with foreign keys across their
//! schemas. Each is applied as it is, and used.

use std::{fs, path::Path};

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tenant_schema_operator::api::TenantSchema;

use crate::world::World;

/// Waits until each grant of a tenant is given: the word of a grantee, and a grantee itself, may come later.
pub async fn until_given(world: &World, document: &Value) {
    let name = document["metadata"]["name"].as_str().unwrap();
    let is_given = async || {
        let tenant = serde_json::to_value(world.api::<TenantSchema>().get(name).await.unwrap()).unwrap();
        let grants = tenant["status"]["grants"].as_array().cloned().unwrap_or_default();
        // What is missing in a grant on named tables is told, and is no reason to wait.
        let is_given = |grant: &Value| {
            grant["state"] == "Active" && !grant["message"].as_str().is_some_and(|text| text.contains("References"))
        };
        grants.len() == document["spec"]["grants"].as_array().map_or(0, Vec::len) && grants.iter().all(is_given)
    };
    world.eventually(&format!("all grants of {name} are given"), is_given).await;
}

/// Applies an example, the last document first, and waits until all of it is ready and each grant is given.
async fn apply(world: &World, file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(file);
    let text = fs::read_to_string(path).unwrap();
    let documents: Vec<Value> = text.split("\n---\n").map(|text| serde_saphyr::from_str(text).unwrap()).collect();
    for document in documents.iter().rev() {
        let mut tenant = document.clone();
        tenant["metadata"]["labels"]["e2e"] = json!(world.id);
        tenant["spec"]["databaseRef"] = json!({ "name": world.database_ref() });
        let name = tenant["metadata"]["name"].as_str().unwrap();
        world.api::<TenantSchema>().patch(name, &PatchParams::apply("e2e"), &Patch::Apply(&tenant)).await.unwrap();
    }
    for document in &documents {
        let name = document["metadata"]["name"].as_str().unwrap();
        world.ready_tenant(name).await;
        until_given(world, document).await;
    }
    documents
}

/// Whether a role of a tenant may do something, by trying it.
fn may(world: &World, schema: &str, role: &str, statement: &str) -> bool {
    let role = world.tenant_role(schema, role);
    world.postgres.psql(&world.database, &format!("BEGIN; SET LOCAL ROLE {role}; {statement}; ROLLBACK")).is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_services_of_the_example_read_what_they_are_given() {
    let mut world = World::new(json!({})).await;
    let services = apply(&world, "services-with-grants.yaml").await;
    for document in &services {
        let schema = document["spec"]["schemaName"].as_str().unwrap();
        for table in ["accounts", "sessions"] {
            world.sql_as(schema, "owner", &format!("CREATE TABLE {schema}.{table} AS SELECT 7 AS id"));
        }
    }
    // What is named is given when it appears, and all other tables by default privileges.
    let reads = |of: &str, by: &str, table: &str| may(&world, by, "reader", &format!("SELECT id FROM {of}.{table}"));
    world.eventually("accounts are given", async || reads("auth_schema", "user_schema", "accounts")).await;
    assert!(!reads("auth_schema", "user_schema", "sessions"));
    for service in ["auth", "user", "course", "grade", "billing", "file"] {
        let schema = format!("{service}_schema");
        assert!(reads(&schema, "notification_schema", "sessions"), "{service}");
        assert!(!may(&world, "notification_schema", "owner", &format!("DELETE FROM {schema}.sessions")), "{service}");
        assert!(!reads("notification_schema", &schema, "sessions"), "{service}");
        assert_eq!(reads("course_schema", &schema, "accounts"), service == "course", "{service}");
    }
    world.prove_fixpoint().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_domains_of_the_example_refer_to_one_another_as_both_sides_say() {
    let mut world = World::new(json!({})).await;
    let domains = apply(&world, "domains-with-references.yaml").await;
    assert_eq!(domains.len(), 11);
    let named = |document: &Value| document["metadata"]["name"].as_str().unwrap().to_owned();
    let mut keys = 0;
    for document in &domains {
        let domain = named(document);
        world.sql_as(&domain, "owner", &format!("CREATE TABLE {domain}.items (id int PRIMARY KEY)"));
    }
    for document in &domains {
        let domain = named(document);
        let wanted = document["spec"]["references"].as_array().cloned().unwrap_or_default();
        for other in domains.iter().map(named).filter(|other| *other != domain) {
            let refer =
                format!("ALTER TABLE {domain}.items ADD CONSTRAINT {other} FOREIGN KEY (id) REFERENCES {other}.items");
            let is_wanted = wanted.iter().any(|to| to["name"] == *other);
            assert_eq!(may(&world, &domain, "owner", &refer), is_wanted, "{domain} to {other}");
            assert!(!may(&world, &domain, "owner", &format!("SELECT id FROM {other}.items")), "{domain} {other}");
            if is_wanted {
                world.sql_as(&domain, "owner", &refer);
                keys += 1;
            }
        }
    }
    assert_eq!(keys, 14);
    world.sql_as("people", "owner", "INSERT INTO people.items VALUES (1)");
    assert!(may(&world, "loans", "writer", "INSERT INTO loans.items VALUES (1)"));
    assert!(!may(&world, "loans", "writer", "INSERT INTO loans.items VALUES (2)"));

    // One side takes its word back: that key goes, and no other.
    let patch = json!({ "spec": { "references": null } });
    world.api::<TenantSchema>().patch("loans", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    let count = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND connamespace::regnamespace::text IN ('loans', 'fees', 'messages')";
    world.eventually("the key of loans is gone", async || world.sql(count) == "3").await;
    assert!(may(&world, "loans", "writer", "INSERT INTO loans.items VALUES (2)"));
    let is_told = async || {
        let people = serde_json::to_value(world.api::<TenantSchema>().get("people").await.unwrap()).unwrap();
        people["status"]["grants"].as_array().unwrap().iter().any(|grant| {
            let message = grant["message"].as_str().unwrap_or_default();
            grant["state"] == "Waiting" && message.starts_with("References is given when ")
        })
    };
    world.eventually("the missing word is told", is_told).await;

    // What others refer to does not go, and the message names them.
    world.api::<TenantSchema>().delete("terms", &DeleteParams::default()).await.unwrap();
    let message = world.stalled_tenant("terms", "DependentsExist").await;
    assert!(message.contains("classes.items.terms, fees.items.terms"), "{message}");
    world.sql_as("classes", "owner", "ALTER TABLE classes.items DROP CONSTRAINT terms");
    world.sql_as("fees", "owner", "ALTER TABLE fees.items DROP CONSTRAINT terms");
    world.until_gone(&world.api::<TenantSchema>(), "terms").await;
    world.prove_fixpoint().await;
    world.finish().await;
}
