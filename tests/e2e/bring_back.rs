//! Deletions that were a mistake are taken back at once, by one annotation on the TenantDatabase that counts once.

use serde_json::json;
use tenant_schema_operator::api::BRING_BACK;

use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_deletions_set_aside_comes_back_at_once_and_no_later_deletion_does() {
    let mut world = World::new(json!({})).await;
    let names = ["alpha", "beta", "gamma"];
    for name in names {
        world.apply_tenant(name, json!({ "schemaName": name })).await;
    }
    for name in names {
        world.ready_tenant(name).await;
        world.sql_as(name, "owner", &format!("CREATE TABLE {name}.pupils AS SELECT n FROM generate_series(1, 7) AS n"));
    }
    let since = jiff::Timestamp::now().to_string();
    for name in names {
        world.delete_tenant(name).await;
    }
    // A user gave one of the names to a schema of his own meanwhile.
    world.sql("CREATE SCHEMA gamma");
    world.annotate_database(BRING_BACK, "yesterday").await;
    world.database_stalled("InvalidSpec", "edumatrixhub.io/bring-back=yesterday is no time").await;

    let never = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(2)).to_string();
    world.annotate_database(BRING_BACK, &never).await;
    world.database_stalled("InvalidSpec", "is in the future, and does nothing").await;
    world.annotate_database(BRING_BACK, &jiff::Timestamp::now().to_string()).await;
    let message = world.database_stalled("InvalidSpec", "brings back nothing").await;
    assert!(message.contains("the latest was at 20") && message.contains("annotate tenantdatabase"), "{message}");

    world.annotate_database(BRING_BACK, &since).await;
    let message = world.database_stalled("NotBroughtBack", "2 of 3 schemas").await;
    for part in ["a schema of this name stands that is no tenant of ours", "edumatrixhub.io/bring-back-"] {
        assert!(message.contains(part), "{message}");
    }
    world.sql("DROP SCHEMA gamma");
    world.database_ready().await;
    world.until_told("BroughtBack", "3 schemas that were set aside since").await;
    for name in names {
        assert_eq!(world.schemas(name), [name], "under its name, and nothing beside it");
    }

    // The same manifests have them again, and say nothing more.
    for name in names {
        world.apply_tenant(name, json!({ "schemaName": name })).await;
        world.ready_tenant(name).await;
        assert_eq!(world.sql(&format!("SELECT count(*) FROM {name}.pupils")), "7");
    }

    // The annotation is still there, and what is deleted now stays deleted; also for an operator that was started again.
    world.delete_tenant("beta").await;
    world.next_survey().await;
    world.stop_operator().await;
    world.start_operator().await;
    world.database_ready().await;
    world.next_survey().await;
    assert!(world.schemas("beta").iter().all(|schema| schema.starts_with("beta_bak_")), "it is set aside");
    world.apply_tenant("beta", json!({ "schemaName": "beta" })).await;
    world.stalled_tenant("beta", "Conflict").await;
    let events = world.events_about(&world.database_ref()).await;
    assert!(events.iter().filter(|(reason, ..)| reason == "BroughtBack").count() <= 2, "{events:?}");
    world.ready_tenant("alpha").await;
    world.finish().await;
}
