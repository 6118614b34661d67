//! Which namespaces may have tenants where, and what a namespace leaves behind when it is deleted with tenants inside.

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tenant_schema_operator::api::{RECLAIM, RECONCILE_REQUESTED_AT, SchemaBackup, TenantSchema};

use crate::world::World;

/// What these tests do in their world.
trait Namespaces {
    async fn label(&self, namespace: &str, labels: Value);
}

impl Namespaces for World {
    async fn label(&self, namespace: &str, labels: Value) {
        let patch = json!({ "metadata": { "labels": labels } });
        let namespaces = Api::<Namespace>::all(self.client.clone());
        namespaces.patch(namespace, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_says_which_namespaces_may_use_it_and_which_names_they_may_take() {
    let world = World::new(json!({
        "allowedNamespaces": { "matchLabels": { "tenants": "allowed" } },
        "naming": [
            { "namespaceSelector": { "matchLabels": { "kind": "schools" } }, "pattern": "^school_[a-z]+$" },
            { "pattern": "^shared_" },
        ],
    }))
    .await;
    let schools = format!("{}-schools", world.namespace);
    world.make_namespace(&schools, json!({ "tenants": "allowed", "kind": "schools" })).await;
    let in_schools = Api::<TenantSchema>::namespaced(world.client.clone(), &schools);

    world.apply_tenant("early", json!({ "schemaName": "shared_early" })).await;
    let message = world.stalled_tenant("early", "NamespaceNotAllowed").await;
    assert!(message.contains(&format!("namespace {} may not use TenantDatabase", world.namespace)), "{message}");
    world.label(&world.namespace, json!({ "tenants": "allowed" })).await;
    world.ready_tenant("early").await;

    world.apply_tenant("school", json!({ "schemaName": "school_oak" })).await;
    let message = world.stalled_tenant("school", "NameNotAllowed").await;
    for part in
        [world.database_ref().as_str(), "does not allow the schema name school_oak", "allowed patterns: ^shared_;"]
    {
        assert!(message.contains(part), "{message}");
    }
    for (name, schema) in [("oak", "school_oak"), ("library", "shared_library")] {
        world.try_tenant_in(&schools, name, json!({ "schemaName": schema })).await.unwrap();
        world.until_ready(&in_schools, name, "True", "Succeeded").await;
    }
    world.try_tenant_in(&schools, "odd", json!({ "schemaName": "school_7" })).await.unwrap();
    world.until_ready(&in_schools, "odd", "False", "NameNotAllowed").await;
    assert!(world.schemas("school_7").is_empty());
    world.delete_tenant("school").await;

    // What runs goes on when its namespace loses the label, and says so.
    world.label(&world.namespace, json!({ "tenants": null })).await;
    world.annotate::<TenantSchema>("early", RECONCILE_REQUESTED_AT, "now").await;
    world.until_ready(&world.api::<TenantSchema>(), "early", "True", "OutsideLimits").await;
    assert_eq!(world.schemas("shared_early"), ["shared_early"]);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_that_is_deleted_leaves_its_backups_in_the_catalogue() {
    let world = World::new(json!({})).await;
    let doomed = format!("{}-doomed", world.namespace);
    world.make_namespace(&doomed, json!({})).await;
    let tenants = Api::<TenantSchema>::namespaced(world.client.clone(), &doomed);
    let backups = Api::<SchemaBackup>::namespaced(world.client.clone(), &doomed);
    for (name, policy) in [("school", "BackupThenDrop"), ("academy", "BackupThenDrop"), ("college", "Retain")] {
        let spec = json!({ "schemaName": name, "deletionPolicy": policy });
        world.try_tenant_in(&doomed, name, spec).await.unwrap();
        world.until_ready(&tenants, name, "True", "Succeeded").await;
        world.sql_as(name, "owner", &format!("CREATE TABLE {name}.pupils AS SELECT generate_series(1, 10) AS id"));
    }
    for (name, policy) in [("gone-with-it", "Delete"), ("kept", "Retain")] {
        let object = json!({
            "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "SchemaBackup",
            "metadata": { "name": name, "labels": { "e2e": world.id } },
            "spec": { "tenantSchemaRef": { "name": "school" }, "deletionPolicy": policy },
        });
        backups.patch(name, &PatchParams::apply("e2e"), &Patch::Apply(&object)).await.unwrap();
        world.until_ready(&backups, name, "True", "Completed").await;
    }

    let namespaces = Api::<Namespace>::all(world.client.clone());
    namespaces.delete(&doomed, &DeleteParams::default()).await.unwrap();
    world.until_gone(&namespaces, &doomed).await;

    let catalogue =
        "SELECT schema_name, method, state, table_count FROM edu_matrix_hub_schema.schema_backups ORDER BY 1, 2";
    assert_eq!(
        world.sql(catalogue),
        "academy|SetAside|complete|1\nschool|SetAside|complete|1\n\
         school|Snapshot|complete|1\nschool|Snapshot|complete|1",
        "who deletes a namespace did not say that its backups may go"
    );
    let locations = world.sql("SELECT location FROM edu_matrix_hub_schema.schema_backups");
    for location in locations.lines() {
        assert_eq!(world.sql(&format!("SELECT count(*) FROM {location}.pupils")), "10");
    }
    assert_eq!(world.sql("SELECT count(*) FROM college.pupils"), "10", "Retain leaves it where it is");
    let rows = "SELECT schema_name, status FROM edu_matrix_hub_schema.tenant_schemas ORDER BY 1";
    let released = async || world.sql(rows) == "academy|dropped\ncollege|released\nschool|dropped";
    world.eventually("what was left is released", released).await;

    // Another namespace of that name is a stranger, even if its objects say otherwise.
    world.make_namespace(&doomed, json!({})).await;
    for name in ["college", "school"] {
        world.try_tenant_in(&doomed, name, json!({ "schemaName": name })).await.unwrap();
        world.until_ready(&tenants, name, "False", "Conflict").await;
        world.kubectl(&["-n", &doomed, "annotate", "tenantschema", name, &format!("{RECLAIM}={name}")]);
        let told = async || {
            let object = tenants.get(name).await.unwrap();
            let message = serde_json::to_string(&object.status).unwrap();
            message.contains("this namespace was made since")
        };
        world.eventually("it is told why", told).await;
    }
    world.next_survey().await;
    for name in ["college", "school"] {
        world.until_ready(&tenants, name, "False", "Conflict").await;
    }
    assert!(released().await);
    world.finish().await;
}
