//! An object that cannot be read stops no other, and nothing is done with it.

use std::io::Write;

use devcluster::{ControlPlane, ControlPlaneOptions};
use serde_json::{Value, json};
use tenant_schema_operator::api::{ABANDON, TenantSchema, crds};

use crate::world::World;

fn nested(levels: usize) -> String {
    format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels))
}

/// What kubectl, which reads everything, says of an object.
fn said(world: &World, resource: &str, name: &str, path: &str) -> String {
    let path = format!("jsonpath={{{path}}}");
    world.kubectl(&["-n", &world.namespace, "get", resource, name, "-o", &path])
}

fn stalled(world: &World, resource: &str, name: &str) -> String {
    let field =
        |field: &str| said(world, resource, name, &format!(r#".status.conditions[?(@.type=="Stalled")].{field}"#));
    format!("{}: {}", field("reason"), field("message"))
}

async fn until_stalled(world: &World, resource: &str, name: &str, words: &str) {
    let mut found = String::new();
    world
        .eventually(&format!("{resource} {name} says {words}"), async || {
            found = stalled(world, resource, name);
            found.starts_with("InvalidSpec: ") && found.contains(words)
        })
        .await;
    assert_eq!(said(world, resource, name, r#".status.conditions[?(@.type=="Ready")].status"#), "False");
}

fn patch(world: &World, resource: &str, name: &str, patch: &str) {
    world.kubectl(&["-n", &world.namespace, "patch", resource, name, "--type", "merge", "-p", patch]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_config_however_deep_stops_no_other_tenant() {
    let mut world = World::new(json!({})).await;
    for name in ["school", "deep", "left"] {
        world.apply_tenant(name, json!({ "schemaName": name })).await;
        world.ready_tenant(name).await;
    }
    let id = said(&world, "tenantschema", "deep", ".status.schemaId");
    let series = "tenant_schema_operator_unreadable_objects{kind=\"TenantSchema\"}";
    // Deep, and still read; beyond what a reader takes; and as deep as kubectl takes it.
    patch(&world, "tenantschema", "deep", &format!(r#"{{"spec":{{"config":{}}}}}"#, nested(40)));
    until_stalled(&world, "tenantschema", "deep", "40 levels of objects and lists, at most 32").await;
    for levels in [150, 1_000] {
        patch(&world, "tenantschema", "deep", &format!(r#"{{"spec":{{"config":{}}}}}"#, nested(levels)));
        until_stalled(&world, "tenantschema", "deep", "spec.config is nested too deep to be read").await;
        world.eventually("it is counted", async || world.metric(series) >= 1.0).await;
    }
    world.event("deep", "Stalled", "spec.config is nested too deep").await;
    assert_eq!(said(&world, "tenantschema", "deep", ".status.schemaId"), id, "the rest of the status is as it was");

    // After a restart the objects of all users come in one list.
    world.stop_operator().await;
    world.start_operator().await;
    world.apply_tenant("third", json!({ "schemaName": "third" })).await;
    world.ready_tenant("third").await;
    world.eventually("it is counted", async || world.metric(series) >= 1.0).await;
    world.next_survey().await;
    let state = |name: &str| {
        world.sql(&format!("SELECT status FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name = '{name}'"))
    };
    assert_eq!(state("deep"), "active", "it is not taken for gone");

    // What lets all tenants go changes one that cannot be read like the others.
    let selector = format!("e2e={}", world.id);
    let (status, out, err) = world.command(&["release", "--all", "--watch-selector", &selector]);
    assert!(status.success() && out.starts_with("4 of 4 TenantSchemas"), "{out}{err}");
    assert_eq!(said(&world, "tenantschema", "deep", ".spec.deletionPolicy"), "Retain");
    patch(&world, "tenantschema", "deep", r#"{"spec":{"deletionPolicy":null}}"#);

    // It waits when it is deleted, and goes on by itself when it can be read.
    world.kubectl(&["-n", &world.namespace, "delete", "tenantschema", "deep", "--wait=false"]);
    until_stalled(&world, "tenantschema", "deep", "deletion waits").await;
    assert_eq!(world.schemas("deep"), ["deep"]);
    patch(&world, "tenantschema", "deep", r#"{"spec":{"config":null}}"#);
    world.until_gone(&world.api::<TenantSchema>(), "deep").await;
    assert_eq!(world.schemas("deep_bak").len(), 1, "set aside as any other");

    // Or its annotation lets it go.
    patch(&world, "tenantschema", "left", &format!(r#"{{"spec":{{"config":{}}}}}"#, nested(200)));
    until_stalled(&world, "tenantschema", "left", "nested too deep").await;
    world.kubectl(&["-n", &world.namespace, "delete", "tenantschema", "left", "--wait=false"]);
    let uid = world.kubectl(&["-n", &world.namespace, "get", "tenantschema", "left", "-o", "jsonpath={.metadata.uid}"]);
    let told = format!("{ABANDON}=left@{uid}");
    until_stalled(&world, "tenantschema", "left", &told).await;
    world.kubectl(&["-n", &world.namespace, "annotate", "tenantschema", "left", &format!("{ABANDON}=left")]);
    world.next_survey().await;
    until_stalled(&world, "tenantschema", "left", &told).await;
    world.kubectl(&["-n", &world.namespace, "annotate", "--overwrite", "tenantschema", "left", &told]);
    let left = ["-n", &world.namespace, "get", "tenantschema", "left", "--ignore-not-found", "-o", "name"];
    world.eventually("left is gone", async || world.kubectl(&left).is_empty()).await;
    assert_eq!(world.schemas("left"), ["left"], "and leaves everything where it is");
    world.eventually("none is counted", async || world.metric(series) < 1.0).await;
    world.finish().await;
}

/// The kinds of a newer release, or of one that looks less closely: the API server takes everything.
fn install_loose_kinds(control_plane: &ControlPlane) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for crd in crds() {
        let mut crd = serde_json::to_value(crd).unwrap();
        for version in crd["spec"]["versions"].as_array_mut().unwrap() {
            let anything = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
            let root = &mut version["schema"]["openAPIV3Schema"];
            root["properties"]["spec"] = anything.clone();
            root["properties"]["status"] = anything;
            root.as_object_mut().unwrap().remove("x-kubernetes-validations");
            version.as_object_mut().unwrap().remove("selectableFields");
        }
        writeln!(file, "---\n{crd}").unwrap();
    }
    let path = file.path().display().to_string();
    control_plane.info().kubectl(&["apply", "--server-side", "-f", &path]).unwrap();
    control_plane.info().kubectl(&["wait", devcluster::ESTABLISHED, "crd", "--all", "--timeout=60s"]).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_of_a_newer_release_are_told_on_their_object_and_on_no_other() {
    let shared = devcluster::shared().unwrap();
    let control_plane = ControlPlane::start(&ControlPlaneOptions::default()).unwrap();
    install_loose_kinds(&control_plane);
    let mut world = World::on_plane(control_plane.info(), shared.postgres()).await;
    world.make_database(&world.database, &world.login());
    world.write_secret(json!({})).await;
    world.apply_database(json!({})).await;
    world.start_operator().await;
    for name in ["school", "newer", "wrong", "odd"] {
        world.apply_tenant(name, json!({ "schemaName": name })).await;
        world.ready_tenant(name).await;
    }
    patch(&world, "tenantschema", "newer", r#"{"spec":{"access":"Frozen","hibernate":{"after":"1h"}}}"#);
    until_stalled(&world, "tenantschema", "newer", "spec.access: unknown variant `Frozen`").await;
    patch(&world, "tenantschema", "wrong", r#"{"spec":{"quota":"5Gi"}}"#);
    until_stalled(&world, "tenantschema", "wrong", "spec.quota: ").await;
    let odd = r#"{"status":{"lastBackup":{"completionTime":"yesterday"}}}"#;
    world.kubectl(&[
        "-n",
        &world.namespace,
        "patch",
        "tenantschema",
        "odd",
        "--subresource=status",
        "--type=merge",
        "-p",
        odd,
    ]);
    until_stalled(&world, "tenantschema", "odd", "--subresource=status").await;
    world.apply_backup("before", json!({ "tenantSchemaRef": { "name": "school" } })).await;
    let settled = |name: &'static str, world: &World| said(world, "schemabackup", name, ".status.backupId");
    world.eventually("the backup is made", async || !settled("before", &world).is_empty()).await;
    patch(&world, "schemabackup", "before", r#"{"spec":{"method":"Tape"}}"#);
    until_stalled(&world, "schemabackup", "before", "spec.method: unknown variant `Tape`").await;

    // A restart reads them all at once.
    world.stop_operator().await;
    world.start_operator().await;
    world.apply_tenant("third", json!({ "schemaName": "third", "unknown": { "field": 1 } })).await;
    world.ready_tenant("third").await;

    // The database's own object: its tenants stay as they are, and a new one is told.
    let database = world.database_ref();
    patch(&world, "tenantdatabase", &database, r#"{"spec":{"functions":"Rewrite"}}"#);
    until_stalled(&world, "tenantdatabase", &database, "spec.functions: unknown variant `Rewrite`").await;
    world.apply_tenant("fourth", json!({ "schemaName": "fourth" })).await;
    world.tenant_says("fourth", "Reconciling", "DatabaseUnavailable", "its object cannot be read").await;
    world.ready_tenant("third").await;
    patch(&world, "tenantdatabase", &database, r#"{"spec":{"functions":null}}"#);
    world.ready_tenant("fourth").await;

    // Everything goes on by itself when it can be read.
    patch(&world, "tenantschema", "newer", r#"{"spec":{"access":null,"hibernate":null}}"#);
    patch(&world, "tenantschema", "wrong", r#"{"spec":{"quota":null}}"#);
    patch(&world, "schemabackup", "before", r#"{"spec":{"method":null}}"#);
    let even = r#"{"status":{"lastBackup":null}}"#;
    world.kubectl(&[
        "-n",
        &world.namespace,
        "patch",
        "tenantschema",
        "odd",
        "--subresource=status",
        "--type=merge",
        "-p",
        even,
    ]);
    for name in ["newer", "wrong", "odd"] {
        world.ready_tenant(name).await;
    }
    let ready =
        |world: &World| said(world, "schemabackup", "before", r#".status.conditions[?(@.type=="Ready")].status"#);
    world.eventually("the backup is fine again", async || ready(&world) == "True").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_config_that_cannot_be_stored_is_named_and_holds_up_no_suspension() {
    let world = World::new(json!({})).await;
    let zero: Value = json!({ "note": { "text": ["a", "x\u{0}y"] } });
    world.apply_tenant("new", json!({ "schemaName": "new", "config": zero })).await;
    let message = world.stalled_tenant("new", "InvalidSpec").await;
    assert!(message.contains("spec.config has the character \\u0000 at note.text.1"), "{message}");
    world.apply_tenant("new", json!({ "schemaName": "new" })).await;
    world.ready_tenant("new").await;
    world.apply_tenant("new", json!({ "schemaName": "new", "access": "Suspended", "config": zero })).await;
    let message = world.stalled_tenant("new", "InvalidSpec").await;
    assert!(message.contains("spec.config"), "{message}");
    let access = "SELECT access FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name = 'new'";
    assert_eq!(world.sql(access), "Suspended");
    assert_eq!(said(&world, "tenantschema", "new", ".status.state"), "Suspended");
    world.apply_tenant("new", json!({ "schemaName": "new", "config": { "note": "fine" } })).await;
    world.ready_tenant("new").await;
    world.finish().await;
}

/// A database whose encoding lacks characters is refused by the server and not by us.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_config_beyond_the_databases_encoding_is_told_and_holds_up_no_suspension() {
    let mut world = World::bare().await;
    let login = world.login();
    world.sql_in("postgres", &format!("CREATE ROLE {login} LOGIN CREATEROLE PASSWORD 'pw'"));
    let latin = "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0";
    world.sql_in("postgres", &format!("CREATE DATABASE {} OWNER {login} {latin}", world.database));
    world.write_secret(json!({})).await;
    world.apply_database(json!({})).await;
    world.start_operator().await;
    world.apply_tenant("school", json!({ "schemaName": "school", "config": { "name": "Schüle" } })).await;
    world.ready_tenant("school").await;
    let greek = json!({ "schemaName": "school", "access": "Suspended", "config": { "name": "Σχολείο" } });
    world.apply_tenant("school", greek).await;
    let message = world.stalled_tenant("school", "InvalidSpec").await;
    assert!(message.contains("spec.config") && message.contains("LATIN1"), "{message}");
    assert_eq!(world.sql("SELECT access FROM edu_matrix_hub_schema.tenant_schemas"), "Suspended");
    world.apply_tenant("school", json!({ "schemaName": "school", "config": { "name": "Schüle" } })).await;
    world.ready_tenant("school").await;
    world.finish().await;
}
