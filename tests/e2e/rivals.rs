//! What has gone wrong in other operators: many grants at once, grants that only grow, thousands of tables, a status that is
//! believed.

use crate::privileges::Privileges as _;
use std::fmt::Write as _;

use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tenant_schema_operator::api::{CONFIRM_DROP, TenantSchema, bound, deletion};

use crate::world::{World, condition};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_tenants_at_once_come_up_and_go_without_an_error() {
    // The brake is another test's.
    let owned = World::new(json!({ "limits": { "maxDeletionsPerHour": 100 } })).await;
    owned.database_ready().await;
    let names: Vec<_> = (0..50).map(|number| format!("school{number:02}")).collect();
    let world = &owned;
    let apply = async |access: &str| {
        let one = |name: &String| {
            let (name, spec) = (name.clone(), json!({ "schemaName": name, "access": access }));
            async move { world.apply_tenant(&name, spec).await }
        };
        futures::future::join_all(names.iter().map(one)).await;
    };
    apply("ReadWrite").await;
    for name in &names {
        world.ready_tenant(name).await;
    }
    // Grants of all of them change at once, and so do their roles.
    apply("Suspended").await;
    for name in &names {
        world.until_ready(&world.api::<TenantSchema>(), name, "True", "Suspended").await;
    }
    assert_eq!(world.errors(), 0, "an error surfaced");
    let failed = "SELECT count(*) FROM edu_matrix_hub_schema.schema_operations WHERE status = 'error'";
    assert_eq!(world.sql(failed), "0");
    let tenants = world.api::<TenantSchema>();
    futures::future::join_all(
        names.iter().skip(1).map(async |name| tenants.delete(name, &DeleteParams::default()).await.unwrap()),
    )
    .await;
    for name in names.iter().skip(1) {
        world.until_gone(&tenants, name).await;
    }
    assert_eq!(world.errors(), 0, "an error surfaced");
    owned.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_that_was_not_declared_is_taken_back() {
    let world = World::new(json!({})).await;
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    let acl = "SELECT nspacl FROM pg_namespace WHERE nspname = 'school'";
    let before = world.sql(acl);
    world.sql("GRANT ALL ON SCHEMA school TO PUBLIC");
    world.eventually("the grant is gone", async || world.sql(acl) == before).await;
    world.until_told("DriftRepaired", "PUBLIC").await;
    world.settled_tenant("school").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_tables_go_with_the_default_number_of_locks() {
    let world = World::new(json!({})).await;
    world.apply_tenant("school", json!({ "schemaName": "school", "deletionPolicy": "Drop" })).await;
    world.ready_tenant("school").await;
    assert_eq!(world.sql("SHOW max_locks_per_transaction"), "64");
    let mut tables = format!("SET ROLE {};\n", world.tenant_role("school", "owner"));
    for number in 0..5000 {
        writeln!(tables, "CREATE TABLE school.t{number} (id int);").unwrap();
    }
    world.run_script(&tables);
    let tenants = world.api::<TenantSchema>();
    tenants.delete("school", &DeleteParams::default()).await.unwrap();
    let message = world.tenant_says("school", "Stalled", "DropNotConfirmed", &format!("{CONFIRM_DROP}=school")).await;
    world.annotate::<TenantSchema>("school", CONFIRM_DROP, &World::value_told(&message, CONFIRM_DROP)).await;
    world.until_gone(&tenants, "school").await;
    assert_eq!(world.schemas("school"), Vec::<String>::new());
    assert_eq!(world.sql("SELECT count(*) FROM pg_class WHERE relname ~ '^t[0-9]+$'"), "0");
    assert_eq!(world.errors(), 0, "an error surfaced");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_is_never_believed_against_the_database() {
    let mut world = World::new(json!({})).await;
    world.apply_tenant("victim", json!({ "schemaName": "victim", "config": { "grade": 7 } })).await;
    world.apply_tenant("rogue", json!({ "schemaName": "rogue", "deletionPolicy": "Drop" })).await;
    world.ready_tenant("rogue").await;
    let victim = world.ready_tenant("victim").await.status.unwrap();
    let row = "SELECT id, schema_name, status, config, owner_name FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name = 'victim'";
    let before = world.sql(row);
    world.sql_as("victim", "owner", "CREATE TABLE victim.pupils (id int)");
    let forged = json!({
        "schemaId": victim.schema_id, "schemaName": "victim", "state": "Active", "observedGeneration": 1,
        "conditions": [{ "type": "Ready", "status": "True", "reason": "Succeeded", "message": "forged",
                         "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z" }],
    });

    // Given on creation it does not get through at all.
    world.stop_operator().await;
    let tenants = world.api::<TenantSchema>();
    let object = |name: &str| -> TenantSchema {
        serde_json::from_value(json!({
            "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantSchema",
            "metadata": { "name": name, "labels": { "e2e": world.id } },
            "spec": { "schemaName": name, "databaseRef": { "name": world.database_ref() } }, "status": forged,
        }))
        .unwrap()
    };
    let made = tenants.create(&PostParams::default(), &object("fresh")).await.unwrap();
    assert_eq!(made.status.and_then(|status| status.schema_id), None);
    // Written to the status by a user who may, while no operator looks: of a tenant without a row, and of one with a row.
    tenants.create(&PostParams::default(), &object("forger")).await.unwrap();
    let status = Patch::Merge(json!({ "status": forged }));
    for name in ["forger", "rogue"] {
        tenants.patch_status(name, &PatchParams::default(), &status).await.unwrap();
    }
    world.start_operator().await;
    let fresh = world.ready_tenant("fresh").await.status.unwrap();
    assert_ne!(fresh.schema_id, victim.schema_id);
    world.tenant_says("forger", "Stalled", "SchemaMissing", &victim.schema_id.clone().unwrap()).await;
    world
        .eventually("the tenant with a row is told its own again", async || {
            let status = tenants.get("rogue").await.unwrap().status.unwrap();
            status.schema_name.as_deref() == Some("rogue") && status.schema_id != victim.schema_id
        })
        .await;

    // With the forged status, and the forged name confirmed, both are deleted.
    world.stop_operator().await;
    for name in ["forger", "rogue"] {
        tenants.patch_status(name, &PatchParams::default(), &status).await.unwrap();
        tenants.delete(name, &DeleteParams::default()).await.unwrap();
        // The one that never had a schema is gone at once.
        let Some(deleting) = tenants.get_opt(name).await.unwrap() else { continue };
        let deleted_at = deleting.metadata.deletion_timestamp.unwrap().0;
        let uid = deleting.metadata.uid.unwrap();
        let confirmed = bound("victim", deletion(victim.schema_id.as_deref().unwrap(), uid, deleted_at));
        world.annotate::<TenantSchema>(name, CONFIRM_DROP, &confirmed).await;
    }
    world.start_operator().await;
    world.until_gone(&tenants, "forger").await;
    world
        .eventually("the rogue's own schema is dropped or waits for its own name", async || {
            match tenants.get_opt("rogue").await.unwrap() {
                None => true,
                Some(tenant) => {
                    condition(&tenant, "Stalled").is_some_and(|(_, reason, _)| reason == "DropNotConfirmed")
                }
            }
        })
        .await;
    assert_eq!(world.sql(row), before, "the victim's row is as it was");
    assert_eq!(world.sql("SELECT count(*) FROM victim.pupils"), "0");
    world.settled_tenant("victim").await;
    if tenants.get_opt("rogue").await.unwrap().is_some() {
        let message = world.tenant_says("rogue", "Stalled", "DropNotConfirmed", CONFIRM_DROP).await;
        world.annotate::<TenantSchema>("rogue", CONFIRM_DROP, &World::value_told(&message, CONFIRM_DROP)).await;
        world.until_gone(&tenants, "rogue").await;
    }
    world.finish().await;
}

/// An operator that remembers instead of looking says Ready over a schema that is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_is_gone_is_noticed_by_looking_and_never_made_again_in_silence() {
    let world = World::new(json!({})).await;
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    world.sql("DROP SCHEMA school CASCADE");
    world.tenant_says("school", "Stalled", "SchemaMissing", "edumatrixhub.io/recreate=school").await;
    let tenant = world.api::<TenantSchema>().get("school").await.unwrap();
    assert_eq!(condition(&tenant, "Ready").unwrap().0, "False");
    assert_eq!(world.schemas("school"), Vec::<String>::new());
    let status: Value = serde_json::to_value(tenant.status).unwrap();
    assert!(status["schemaId"].is_string(), "what it was is not forgotten");
    world.delete_tenant("school").await;
    world.finish().await;
}
