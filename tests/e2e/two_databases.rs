//! One database has one TenantDatabase, one server may have several databases.

use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::world::World;

fn spec(world: &World, secret: &str, owner: &str) -> Value {
    json!({
        "connection": { "secretRef": { "name": secret }, "tls": { "mode": "VerifyFull" } },
        "ownerRole": owner, "surveyPeriodSeconds": 5, "allowedNamespaces": { "matchLabels": { "e2e": world.id } },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_of_two_tenant_databases_keeps_the_database() {
    let world = World::new(json!({})).await;
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    let first = world.database_ready().await.status.unwrap();

    let rival = format!("rival-{}", world.id);
    world.apply_other_database(&rival, spec(&world, "postgres", &world.owner_role())).await;
    let refused = world.until_ready(&world.databases(), &rival, "False", "DuplicateDatabase").await;
    let (_, _, message) = crate::world::condition(&refused, "Stalled").unwrap();
    assert!(message.contains(&world.database_ref()), "{message}");
    world.apply_tenant("late", json!({ "schemaName": "late", "databaseRef": { "name": rival } })).await;
    world.tenant_says("late", "Reconciling", "DatabaseUnavailable", "DuplicateDatabase").await;
    assert_eq!(world.schemas("late"), Vec::<String>::new());

    // The first goes on, in the same epoch: the rival's attempts cost it nothing.
    let now = world.database_ready().await.status.unwrap();
    assert_eq!((now.epoch, now.installation_id), (first.epoch, first.installation_id));
    world.apply_tenant("school", json!({ "schemaName": "school", "config": { "grade": 7 } })).await;
    world.settled_tenant("school").await;

    world.delete_tenant("late").await;
    world.databases().delete(&rival, &DeleteParams::default()).await.unwrap();
    world.until_gone(&world.databases(), &rival).await;
    world.settled_tenant("school").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_another_cluster_is_left_alone() {
    let mut world = World::new(json!({})).await;
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    world.stop_operator().await;
    let (epoch, cluster) = ("SELECT epoch FROM edu_matrix_hub_schema.installation", "another-cluster");
    let own = world.sql("SELECT cluster FROM edu_matrix_hub_schema.installation");
    world.sql(&format!("UPDATE edu_matrix_hub_schema.installation SET cluster = '{cluster}'"));
    let before = world.sql(epoch);
    world.start_operator().await;
    world.database_stalled("ManagedElsewhere", cluster).await;
    assert_eq!(world.sql(epoch), before, "the other cluster's hold is not touched");
    assert_eq!(world.tenant_readiness("school").await, "True");
    world.sql(&format!("UPDATE edu_matrix_hub_schema.installation SET cluster = '{own}'"));
    world.database_ready().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_databases_of_one_server_do_not_meet() {
    let world = World::new(json!({})).await;
    let second = world.make_further_database("second").await;

    // The same name in both: a schema belongs to a database, and a tenant's roles are told apart by its id.
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    let too = json!({ "schemaName": "school", "databaseRef": { "name": second.reference } });
    world.apply_tenant("school-too", too).await;
    let ids = [
        world.ready_tenant("school").await.status.unwrap().schema_id.unwrap(),
        world.ready_tenant("school-too").await.status.unwrap().schema_id.unwrap(),
    ];
    assert_ne!(ids[0], ids[1]);
    let there = "SELECT count(*) FROM pg_namespace WHERE nspname = 'school'";
    assert_eq!((world.sql(there).as_str(), world.sql_in(&second.database, there).as_str()), ("1", "1"));

    world.delete_tenant("school-too").await;
    assert_eq!((world.sql(there).as_str(), world.sql_in(&second.database, there).as_str()), ("1", "0"));
    world.remove_further_database(second).await;
    world.settled_tenant("school").await;
    world.finish().await;
}
