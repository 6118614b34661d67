//! What an earlier object of the same namespace and name left behind is taken back when asked, and never by a guess.

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use tenant_schema_operator::api::{CONFIRM_DELETIONS, CONFIRM_DROP, RECLAIM, RECREATE, TenantSchema};

use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_was_set_aside_comes_back_when_asked_and_not_before() {
    let world = World::new(json!({})).await;
    let spec = json!({ "schemaName": "school", "config": { "grade": 7 } });
    world.apply_tenant("school", spec.clone()).await;
    let id = world.ready_tenant("school").await.status.unwrap().schema_id;
    world.sql_as("school", "owner", "CREATE TABLE school.pupils AS SELECT n FROM generate_series(1, 7) AS n");
    world.delete_tenant("school").await;
    let [aside] = <[String; 1]>::try_from(world.schemas("school")).unwrap();

    world.apply_tenant("school", spec.clone()).await;
    let message = world.stalled_tenant("school", "Conflict").await;
    for part in [aside.as_str(), "1 table,", "edumatrixhub.io/reclaim=school;", "edumatrixhub.io/recreate=school@"] {
        assert!(message.contains(part), "{message}");
    }
    // A typo does nothing, and is told.
    world.annotate::<TenantSchema>("school", RECLAIM, "scholl").await;
    world.tenant_says("school", "Stalled", "Conflict", "reclaim does nothing: it has another value").await;
    world.annotate::<TenantSchema>("school", RECLAIM, "school").await;
    let back = world.ready_tenant("school").await;
    assert_eq!(back.status.unwrap().schema_id, id, "the same tenant, for life");
    assert_eq!(world.schemas("school"), ["school"]);
    assert_eq!(world.sql("SELECT count(*) FROM school.pupils"), "7");
    world.event("school", "Reclaimed", "school").await;

    // Or it stays where it is, and an empty one is begun.
    world.delete_tenant("school").await;
    world.apply_tenant("school", spec).await;
    let message = world.stalled_tenant("school", "Conflict").await;
    world.annotate::<TenantSchema>("school", RECREATE, "school").await;
    world.next_survey().await;
    world.stalled_tenant("school", "Conflict").await;
    let value = World::value_told(&message, RECREATE);
    world.annotate::<TenantSchema>("school", RECREATE, &value).await;
    let empty = world.ready_tenant("school").await.status.unwrap();
    assert_ne!(empty.schema_id, id);
    assert_eq!(world.schemas("school").len(), 2, "the old one is still set aside");

    // An annotation that stays in Git is about what it named, and says nothing about the object's next life.
    world.sql_as("school", "owner", "CREATE TABLE school.teachers AS SELECT 1 AS n");
    world.delete_tenant("school").await;
    world.apply_annotated("school", json!({ "schemaName": "school" }), json!({ RECREATE: value })).await;
    let again = world.stalled_tenant("school", "Conflict").await;
    assert_ne!(World::value_told(&again, RECREATE), value);
    world.next_survey().await;
    world.stalled_tenant("school", "Conflict").await;
    assert_eq!(world.schemas("school").len(), 2, "nothing was made");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_kept_for_whose_data_is_set_aside_also_in_a_queue_of_strangers() {
    let world = World::new(json!({})).await;
    world.apply_annotated("school", json!({ "schemaName": "school" }), json!({ RECLAIM: "school" })).await;
    let id = world.ready_tenant("school").await.status.unwrap().schema_id;
    world.sql_as("school", "owner", "CREATE TABLE school.pupils AS SELECT 7 AS id");
    let strangers: Vec<_> = (0..300).map(|number| format!("stranger{number:03}")).collect();
    for name in &strangers {
        world.apply_annotated(name, json!({ "schemaName": "school" }), json!({ RECLAIM: "school" })).await;
    }
    for name in &strangers {
        world.stalled_tenant(name, "Conflict").await;
    }
    // Deleted, and a moment later applied again from Git.
    world.delete_tenant("school").await;
    world.tenant_says(&strangers[299], "Stalled", "Conflict", "its name and institution are kept for it").await;
    world.apply_annotated("school", json!({ "schemaName": "school" }), json!({ RECLAIM: "school" })).await;
    assert_eq!(world.ready_tenant("school").await.status.unwrap().schema_id, id);
    assert_eq!(world.sql_as("school", "reader", "SELECT id FROM school.pupils"), "7");
    for name in &strangers {
        world.stalled_tenant(name, "Conflict").await;
    }
    assert_eq!(world.sql("SELECT count(*) FROM edu_matrix_hub_schema.tenant_schemas"), "1");

    // What is purged frees the name: one of them has it then.
    world.delete_tenant("school").await;
    let backup = world.sql("SELECT id FROM edu_matrix_hub_schema.schema_backups WHERE state = 'complete'");
    world.sql(&format!("SELECT edu_matrix_hub_schema.request_purge('{{\"backup_id\": \"{backup}\"}}')"));
    let made = || world.sql("SELECT count(*) FROM edu_matrix_hub_schema.tenant_schemas WHERE status = 'active'");
    world.eventually("one of those who waited has the name", async || made() == "1").await;
    // Tenants that still wait look again at most a minute apart, each by itself.
    let (tenants, all) = (world.api::<TenantSchema>(), kube::api::ListParams::default());
    tenants.delete_collection(&DeleteParams::default(), &all).await.unwrap();
    world.eventually("all are gone", async || tenants.list(&all).await.unwrap().items.is_empty()).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_was_kept_is_released_and_comes_back_when_asked() {
    let world = World::new(json!({})).await;
    let spec = json!({ "schemaName": "school", "deletionPolicy": "Retain" });
    world.apply_tenant("school", spec.clone()).await;
    let id = world.ready_tenant("school").await.status.unwrap().schema_id;
    world.sql_as("school", "owner", "CREATE TABLE school.pupils AS SELECT 1 AS n");
    let status = || world.sql("SELECT status FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name = 'school'");

    // At once, before the operator noticed that the object is gone ...
    world.delete_tenant("school").await;
    world.apply_tenant("school", spec.clone()).await;
    let message = world.stalled_tenant("school", "Conflict").await;
    assert!(message.contains("edumatrixhub.io/reclaim=school"), "{message}");
    world.annotate::<TenantSchema>("school", RECLAIM, "school").await;
    assert_eq!(world.ready_tenant("school").await.status.unwrap().schema_id, id);
    assert_eq!(status(), "active");

    // ... and after the survey did.
    world.delete_tenant("school").await;
    world.eventually("the row is released", async || status() == "released").await;
    assert_eq!(world.schemas("school"), ["school"], "its schema stays");
    world.apply_tenant("school", spec).await;
    world.stalled_tenant("school", "Conflict").await;
    world.annotate::<TenantSchema>("school", RECLAIM, "school").await;
    assert_eq!(world.ready_tenant("school").await.status.unwrap().schema_id, id);
    assert_eq!((status().as_str(), world.sql("SELECT count(*) FROM school.pupils").as_str()), ("active", "1"));
    world.finish().await;
}

/// The tenant's id in the registry survives all of this, and the time of the deletion does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_confirmation_that_stays_in_git_drops_no_later_life() {
    let world = World::new(json!({})).await;
    world.apply_tenant("school", json!({ "schemaName": "school", "deletionPolicy": "Drop" })).await;
    let first = world.ready_tenant("school").await;
    let id = first.status.unwrap().schema_id.unwrap();
    world.sql_as("school", "owner", "CREATE TABLE school.pupils AS SELECT 1 AS n");
    // What its question told to type, and was not typed.
    world.api::<TenantSchema>().delete("school", &DeleteParams::default()).await.unwrap();
    let confirmed = World::value_told(&world.stalled_tenant("school", "DropNotConfirmed").await, CONFIRM_DROP);
    let keep = json!({ "spec": { "deletionPolicy": "BackupThenDrop" } });
    world.api::<TenantSchema>().patch("school", &PatchParams::default(), &Patch::Merge(&keep)).await.unwrap();
    world.until_gone(&world.api::<TenantSchema>(), "school").await;
    let annotations = json!({ RECLAIM: "school", CONFIRM_DROP: confirmed });
    world.apply_annotated("school", json!({ "schemaName": "school", "deletionPolicy": "Drop" }), annotations).await;
    assert_eq!(world.ready_tenant("school").await.status.unwrap().schema_id.as_deref(), Some(id.as_str()));
    world.api::<TenantSchema>().delete("school", &DeleteParams::default()).await.unwrap();
    world.tenant_says("school", "Stalled", "DropNotConfirmed", "confirm-drop does nothing: it has another value").await;
    assert_eq!(world.sql("SELECT n FROM school.pupils"), "1");
    world.confirm("school", CONFIRM_DROP).await;
    world.until_gone(&world.api::<TenantSchema>(), "school").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_objects_that_are_gone_at_once_release_nothing_until_that_is_confirmed() {
    let mut world = World::new(json!({})).await;
    for number in 0..6 {
        world.apply_tenant(&format!("school{number}"), json!({ "schemaName": format!("school{number}") })).await;
    }
    for number in 0..6 {
        world.ready_tenant(&format!("school{number}")).await;
    }
    // A user takes our finalizers and the objects away while no operator looks.
    world.stop_operator().await;
    for number in 0..5 {
        world.delete_tenant_without_operator(&format!("school{number}")).await;
    }
    world.start_operator().await;
    let message = world.database_stalled("ManyOwnersMissing", "5 of 6 tenants").await;
    world.next_survey().await;
    let of_status = |status: &str| {
        world.sql(&format!("SELECT count(*) FROM edu_matrix_hub_schema.tenant_schemas WHERE status = '{status}'"))
    };
    assert_eq!((of_status("active").as_str(), of_status("released").as_str()), ("6", "0"));
    let time = message.rsplit('=').next().unwrap();
    world.annotate_database(CONFIRM_DELETIONS, time).await;
    world.eventually("they are released", async || of_status("released") == "5").await;
    world.database_ready().await;
    assert_eq!(world.schemas("school").len(), 6, "every schema stays");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_are_deleted_at_once_and_keep_their_schemas_are_released_without_a_question() {
    let world = World::new(json!({})).await;
    let names: Vec<_> = (0..8).map(|number| format!("school{number}")).collect();
    for name in &names {
        world.apply_tenant(name, json!({ "schemaName": name, "deletionPolicy": "Retain" })).await;
    }
    for name in &names {
        world.ready_tenant(name).await;
    }
    let all = kube::api::ListParams::default();
    world.api::<TenantSchema>().delete_collection(&DeleteParams::default(), &all).await.unwrap();
    let released = "SELECT count(*) FROM edu_matrix_hub_schema.tenant_schemas WHERE status = 'released'";
    world.eventually("all are released", async || world.sql(released) == "8").await;
    let events = world.events_about(&world.database_ref()).await;
    assert!(events.iter().all(|(reason, ..)| reason != "Stalled"), "{events:?}");
    world.database_ready().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wave_of_deletions_leaves_all_beyond_the_limit_open_until_it_is_confirmed() {
    // One namespace may use four fifths of it, which is 20.
    let world = World::new(json!({ "limits": { "maxDeletionsPerHour": 25 } })).await;
    let names: Vec<_> = (0..100).map(|number| format!("school{number:03}")).collect();
    for name in &names {
        world.apply_tenant(name, json!({ "schemaName": name })).await;
    }
    for name in &names {
        world.ready_tenant(name).await;
    }
    let all = kube::api::ListParams::default();
    world.api::<TenantSchema>().delete_collection(&DeleteParams::default(), &all).await.unwrap();
    let living = || world.sql("SELECT count(*) FROM edu_matrix_hub_schema.tenant_schemas WHERE status = 'active'");
    let stalled = async || {
        let tenants = world.api::<TenantSchema>().list(&all).await.unwrap();
        let braked = |tenant: &&TenantSchema| {
            crate::world::condition(*tenant, "Stalled").is_some_and(|(_, reason, _)| reason == "DeletionBrake")
        };
        (tenants.items.len(), tenants.items.iter().filter(braked).count())
    };
    // The number is asked for, since 100 objects that are read again and again slow down what they wait for.
    let metric = format!("tenant_schema_operator_deletions_held{{database=\"{}\"}}", world.database_ref());
    world.eventually("all beyond the limit are held", async || world.metric(&metric) >= 80.0).await;
    assert_eq!(stalled().await, (80, 80));
    assert_eq!(living(), "80");
    let held = world.api::<TenantSchema>().list(&all).await.unwrap().items.remove(0);
    let (_, _, message) = crate::world::condition(&held, "Stalled").unwrap();
    assert!(message.contains("kubectl annotate tenantdatabase") && message.contains("20"), "{message}");
    world.database_stalled("DeletionBrake", "80 deletions of tenants are held").await;
    world.until_told("Stalled", "DeletionBrake").await;
    assert_eq!(world.count(&metric), 80);
    let usable = format!(
        "SELECT has_schema_privilege('{}', '{}', 'USAGE')",
        world.tenant_role(&held.status.clone().unwrap().schema_name.unwrap(), "reader").trim_matches('"'),
        held.status.unwrap().schema_name.unwrap()
    );
    assert_eq!(world.sql(&usable), "t", "what is held is open and untouched");

    // Each tells the time of the latest deletion that it knows of; the latest of all lets the whole wave go.
    let told = world.api::<TenantSchema>().list(&all).await.unwrap().items;
    let time = told.iter().map(|tenant| {
        let (_, _, message) = crate::world::condition(tenant, "Stalled").unwrap();
        message.split(&format!("{CONFIRM_DELETIONS}=")).nth(1).unwrap().split(';').next().unwrap().to_owned()
    });
    let time = time.max().unwrap();
    world.annotate_database(CONFIRM_DELETIONS, &time).await;
    world.eventually("the wave is let go", async || living() == "0").await;
    world.eventually("all are gone", async || stalled().await.0 == 0).await;
    world.database_ready().await;
    world.finish().await;
}
