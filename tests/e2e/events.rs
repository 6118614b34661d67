//! Events tell what happened, once; conditions tell what is.

use k8s_openapi::api::events::v1::Event;
use kube::{Api, api::ListParams};
use serde_json::json;
use tenant_schema_operator::api::{RECONCILE_REQUESTED_AT, TenantSchema};

use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_tell_transitions_once_and_count_what_comes_again() {
    let mut world = World::new(json!({})).await;
    let tenants = world.api::<TenantSchema>();
    let open = json!({ "schemaName": "school" });
    let suspended = json!({ "schemaName": "school", "access": "Suspended" });
    world.apply_tenant("school", open.clone()).await;
    world.ready_tenant("school").await;
    world.apply_tenant("loser", open.clone()).await;
    world.stalled_tenant("loser", "Conflict").await;

    // The same again is counted; the loser tries again meanwhile and has nothing new to say.
    for _ in 0..2 {
        world.apply_tenant("school", suspended.clone()).await;
        world.until_ready(&tenants, "school", "True", "Suspended").await;
        world.apply_tenant("school", open.clone()).await;
        world.ready_tenant("school").await;
    }
    let stalled = "tenant_schema_operator_reconciles_total{kind=\"TenantSchema\",outcome=\"stalled\"";
    world.eventually("the loser tries again", async || world.count(stalled) >= 3).await;
    let mut told = Vec::new();
    world
        .eventually("what came twice is counted", async || {
            told = world.events_about("school").await;
            told.iter().map(|(_, _, times)| times).sum::<i32>() == 4
        })
        .await;
    told.sort();
    let [(first, closed, 2), (second, opened, 2)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((first.as_str(), second.as_str()), ("Resumed", "Suspended"));
    assert_eq!(closed, "schema \"school\" is open");
    assert!(opened.starts_with("schema \"school\" is suspended"), "{opened}");
    let told = world.events_about("loser").await;
    assert!(
        matches!(told.as_slice(), [(reason, message, 1)] if reason == "Stalled" && message.starts_with("Conflict: ")),
        "{told:?}"
    );

    // A restart is no news, neither for tenants nor for the database.
    world.stop_operator().await;
    world.start_operator().await;
    world.stalled_tenant("loser", "Conflict").await;
    world.next_survey().await;
    assert_eq!(world.events_about("loser").await.len(), 1);
    let events = Api::<Event>::namespaced(world.client.clone(), "default").list(&ListParams::default()).await.unwrap();
    let name = world.database_ref();
    let about =
        events.items.iter().filter(|event| event.regarding.as_ref().and_then(|on| on.name.as_ref()) == Some(&name));
    let reasons: Vec<_> = about.map(|event| event.reason.clone().unwrap_or_default()).collect();
    assert_eq!(reasons, ["FunctionsInstalled"]);

    // The loser becomes ready when nothing is left that keeps the name: that is news.
    world.delete_tenant("school").await;
    world.event("school", "SetAside", "is set aside as").await;
    let purge =
        "SELECT (edu_matrix_hub_schema.purge_schema_backup(id)).status FROM edu_matrix_hub_schema.schema_backups";
    assert_eq!(world.sql(purge), "success");
    world.annotate::<TenantSchema>("loser", RECONCILE_REQUESTED_AT, "purged").await;
    world.ready_tenant("loser").await;
    world.event("loser", "Ready", "ready again").await;
    world.finish().await;
}
