//! Backups that come by themselves: asked for when they are due, made up for once, and gone when there are newer ones.

use jiff::{SignedDuration, Timestamp};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tenant_schema_operator::api::{RECONCILE_REQUESTED_AT, SchemaBackup, TenantSchema, backup_policy::ScheduleStatus};

use crate::world::{World, condition};

/// Once a day, in half a day from now: a test brings its time about.
fn cron() -> String {
    (Timestamp::now() + SignedDuration::from_hours(12)).strftime("%M %H * * *").to_string()
}

/// A tenant with such a schedule.
fn spec(backup: &Value) -> Value {
    let mut policy = json!({ "spreadSeconds": 0, "schedules": [{ "name": "daily", "cron": cron() }] });
    policy.as_object_mut().unwrap().extend(backup.as_object().unwrap().clone());
    json!({ "schemaName": "school", "backup": policy })
}

async fn told(world: &World) -> ScheduleStatus {
    let tenant = world.api::<TenantSchema>().get("school").await.unwrap();
    tenant.status.unwrap().schedules.into_iter().next().unwrap_or_default()
}

fn ago(time: SignedDuration) -> Timestamp {
    Timestamp::from_second((Timestamp::now() - time).as_second()).unwrap()
}

/// As if the next backup had been due then.
async fn was_due(world: &World, due: Timestamp) {
    let mut told = told(world).await;
    told.next_schedule_time = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(due));
    let status = json!({ "status": { "schedules": [told] } });
    let api = world.api::<TenantSchema>();
    api.patch_status("school", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
}

async fn look_again(world: &World) {
    world.annotate::<TenantSchema>("school", RECONCILE_REQUESTED_AT, &Timestamp::now().to_string()).await;
}

fn name_of(due: Timestamp) -> String {
    format!("school.daily-{}", due.strftime("%Y%m%d%H%M%S"))
}

/// The backup that was due then, once it is complete and the status tells of it.
async fn backup_of(world: &World, due: Timestamp) -> SchemaBackup {
    let is_told = async || told(world).await.backups.first() == Some(&name_of(due));
    world.eventually("the schedule asked for a backup", is_told).await;
    world.until_ready(&world.api::<SchemaBackup>(), &name_of(due), "True", "Completed").await
}

/// Status and reason of the condition.
async fn backed_up(world: &World) -> (String, String) {
    let tenant = world.api::<TenantSchema>().get("school").await.unwrap();
    condition(&tenant, "BackedUp").map(|(status, reason, _)| (status, reason)).unwrap_or_default()
}

async fn objects(world: &World) -> Vec<String> {
    let all = world.api::<SchemaBackup>().list(&ListParams::default()).await.unwrap();
    all.into_iter()
        .filter(|backup| backup.metadata.deletion_timestamp.is_none())
        .map(|backup| backup.name_any())
        .collect()
}

const COMPLETE: &str =
    "SELECT count(*) FROM edu_matrix_hub_schema.schema_backups WHERE state = 'complete' AND schedule = 'daily'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_missed_while_the_operator_was_away_is_made_up_for_once() {
    let mut world = World::new(json!({})).await;
    let spec = spec(&json!({}));
    let cron = spec["backup"]["schedules"][0]["cron"].as_str().unwrap().to_owned();
    world.apply_tenant("school", spec).await;
    world.ready_tenant("school").await;
    world.sql_as("school", "owner", "CREATE TABLE school.pupils AS SELECT 1 AS id");
    let first = told(&world).await;
    assert_eq!(first.cron.as_deref(), Some(format!("{cron} UTC").as_str()));
    let next = first.next_schedule_time.unwrap().0;
    assert!(next > Timestamp::now() && objects(&world).await.is_empty());

    // For five days.
    world.stop_operator().await;
    let missed = ago(SignedDuration::from_hours(24 * 5));
    was_due(&world, missed).await;
    world.start_operator().await;
    let backup = backup_of(&world, missed).await;
    assert_eq!(backup.labels()["edumatrixhub.io/schedule"], "daily");
    assert_eq!(objects(&world).await, [backup.name_any()]);
    let after = told(&world).await;
    assert_eq!((after.last_schedule_time.unwrap().0, after.next_schedule_time.unwrap().0), (missed, next));
    assert_eq!(world.sql(COMPLETE), "1");
    world.prove_fixpoint().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_stay_as_the_spec_says_in_the_catalogue_and_as_objects() {
    let mut world = World::new(json!({})).await;
    world.apply_tenant("school", spec(&json!({ "historyLimit": 2, "retention": { "keepLast": 3 } }))).await;
    world.ready_tenant("school").await;
    world.apply_backup("by-hand", json!({ "tenantSchemaRef": { "name": "school" } })).await;
    world.until_ready(&world.api::<SchemaBackup>(), "by-hand", "True", "Completed").await;
    let mut made = Vec::new();
    for number in 0..5 {
        let due = ago(SignedDuration::from_secs(5 - number));
        was_due(&world, due).await;
        look_again(&world).await;
        made.push(backup_of(&world, due).await);
    }
    let newest: Vec<_> = made.iter().rev().take(2).map(ResourceExt::name_any).collect();
    assert_eq!(told(&world).await.backups, newest);
    let mut expected = [vec!["by-hand".to_owned()], newest].concat();
    expected.sort();
    world.eventually("older objects go", async || objects(&world).await == expected).await;
    assert_eq!(world.sql(COMPLETE), "5");
    // A day later.
    world.sql("UPDATE edu_matrix_hub_schema.schema_backups SET expires_at = now() - interval '1 minute' WHERE expires_at IS NOT NULL");
    world.eventually("older backups go", async || world.sql(COMPLETE) == "3").await;
    let first = made[0].status.as_ref().unwrap().location.clone().unwrap();
    world.eventually("its schema too", async || !world.stands(&first)).await;
    assert!(world.stands(&made[2].status.as_ref().unwrap().location.clone().unwrap()));
    let by_hand = "SELECT state FROM edu_matrix_hub_schema.schema_backups WHERE object_name = 'by-hand'";
    assert_eq!(world.sql(by_hand), "complete");

    // A label that a user writes pushes nothing out.
    let labels = &made[4].metadata.labels;
    let forged = json!({ "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "SchemaBackup",
        "metadata": { "name": "school.daily-20990101000000", "labels": labels }, "spec": { "tenantSchemaRef": { "name": "school" } } });
    let forged: SchemaBackup = serde_json::from_value(forged).unwrap();
    world.api::<SchemaBackup>().create(&PostParams::default(), &forged).await.unwrap();
    world.until_ready(&world.api::<SchemaBackup>(), &forged.name_any(), "True", "Completed").await;
    assert_eq!(world.sql(COMPLETE), "3");
    world.prove_fixpoint().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_keeps_a_backup_from_being_asked_for_is_told_and_the_tenant_goes_on() {
    let world = World::new(json!({})).await;
    world.apply_tenant("school", spec(&json!({}))).await;
    world.ready_tenant("school").await;
    assert_eq!(backed_up(&world).await.0, "Unknown");
    let due = ago(SignedDuration::from_hours(2));
    let name = name_of(due);
    let other = json!({ "tenantSchemaRef": { "name": "another" } });
    world.apply_backup(&name, other).await;
    was_due(&world, due).await;
    look_again(&world).await;
    let message = world.tenant_says("school", "Stalled", "BackupNotMade", "already exists").await;
    assert!(message.contains(&name), "{message}");
    assert_eq!(world.tenant_readiness("school").await, "True");
    world.eventually("the backup is late", async || backed_up(&world).await.1 == "BackupLate").await;
    world.event("school", "BackupLate", "its SchemaBackup is not made yet").await;
    world.api::<SchemaBackup>().delete(&name, &DeleteParams::default()).await.unwrap();
    backup_of(&world, due).await;
    world
        .eventually("it is in time", async || backed_up(&world).await == ("True".to_owned(), "BackupInTime".to_owned()))
        .await;

    // A schedule that cannot be followed stops no change of anything else.
    let bad = json!({ "schedules": [{ "name": "daily", "cron": "* * * * *" }] });
    let mut changed = spec(&bad);
    changed["config"] = json!({ "grade": 7 });
    world.apply_tenant("school", changed).await;
    world.tenant_says("school", "Stalled", "BackupNotMade", "more often than every 10 minutes").await;
    let config = "SELECT config ->> 'grade' FROM edu_matrix_hub_schema.tenant_schemas";
    world.eventually("the config is stored", async || world.sql(config) == "7").await;
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    let tenant = world.settled_tenant("school").await;
    assert!(condition(&tenant, "Stalled").is_none());
    world.eventually("its objects are gone", async || !objects(&world).await.contains(&name)).await;
    look_again(&world).await;
    let is_untold = async || told(&world).await == ScheduleStatus::default() && backed_up(&world).await.0.is_empty();
    world.eventually("no schedule is told of", is_untold).await;
    world.finish().await;
}
