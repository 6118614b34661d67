//! What expires, and what waits for a person or for a better moment.

use serde_json::{Value, json};

use crate::backup_world::{Worker, World, with_world};
use crate::support::expect;

const JOBS: &str = "SELECT count(*) FROM edu_matrix_hub_schema.schema_jobs WHERE state = 'requested'";

/// Tenants `school0` and so on that were set aside and expired that long ago.
async fn expired(world: &World, worker: &Worker, count: usize, ago: &str) {
    for number in 0..count {
        let tenant = world.database.tenant(&format!("school{number}")).await;
        let options = tenant.options(&json!({ "owner_uid": format!("uid-school{number}"), "expire_after_days": 30 }));
        expect(&worker.step("set_aside_tenant_schema", &options).await, "success");
    }
    expire(world, ago).await;
}

async fn expire(world: &World, ago: &str) {
    world.run(&format!("UPDATE edu_matrix_hub_schema.schema_backups SET expires_at = now() - interval '{ago}'")).await;
}

async fn survey(worker: &Worker, options: Value) -> Value {
    let sql = "SELECT edu_matrix_hub_schema.survey_tenants($1, $2, $3)";
    let answer: Value =
        worker.client.query_one(sql, &[&worker.epoch, &worker.installation, &options]).await.unwrap().get(0);
    assert!(answer["tenant_count"].is_number(), "{answer}");
    answer
}

/// The options of a survey of an operator whose clock is that far from the server's.
async fn at(world: &World, offset: &str, limit: i32) -> Value {
    let now = world.text(&format!("SELECT now() + interval '{offset}'")).await;
    json!({ "now": now, "expiry_limit": limit })
}

async fn confirm(world: &World, mut options: Value, until: &Value) -> Value {
    let until = if until.is_null() { json!(world.text("SELECT now()").await) } else { until.clone() };
    options["confirmed_until"] = until;
    options
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wave_of_last_backups_stops_and_does_not_trickle_away() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        expired(&world, &worker, 5, "1 minute").await;
        let found = survey(&worker, at(&world, "0", 3).await).await;
        assert_eq!((world.text(JOBS).await.as_str(), &found["expiry"]["count"]), ("3", &json!(2)), "{found}");
        assert_eq!(found["expiry"]["stopped"], true);
        // An hour later, when the first ones count no more, it is the same; and what expires on time waits too.
        world.run("UPDATE edu_matrix_hub_schema.schema_jobs SET requested_at = requested_at - interval '2 hours', state = 'done', finished_at = now() - interval '2 hours'").await;
        world.run("UPDATE edu_matrix_hub_schema.schema_backups AS b SET state = 'purged' FROM edu_matrix_hub_schema.schema_jobs AS j WHERE j.backup_id = b.id").await;
        let found = survey(&worker, at(&world, "0", 3).await).await;
        assert_eq!((world.text(JOBS).await.as_str(), &found["expiry"]["count"]), ("0", &json!(2)));
        // A backup of a living tenant is not all that is left of it.
        let living = world.database.tenant("living").await;
        world
            .run(&format!(
                "INSERT INTO edu_matrix_hub_schema.schema_backups (schema_id, schema_name, method, state, location, requested_by, expires_at)
                 SELECT '{}', 'living', 'Snapshot', 'complete', 'living_bak_' || n, 'a test', now() - interval '1 s' FROM generate_series(1, 9) AS n",
                living.id
            ))
            .await;
        survey(&worker, at(&world, "0", 3).await).await;
        assert_eq!(world.text(JOBS).await, "9");
        // An old confirmation is none; that which the message tells is.
        let old = json!("2001-01-01T00:00:00Z");
        survey(&worker, confirm(&world, at(&world, "0", 3).await, &old).await).await;
        assert_eq!(world.text(JOBS).await, "9");
        let found = survey(&worker, confirm(&world, at(&world, "0", 3).await, &found["expiry"]["confirm"]).await).await;
        assert_eq!((world.text(JOBS).await.as_str(), &found["expiry"]), ("11", &json!(null)));
        assert_eq!(world.text("SELECT expiry_stopped_at FROM edu_matrix_hub_schema.installation").await, "");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_past_its_time_for_days_waits_for_a_person() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        expired(&world, &worker, 1, "4 days").await;
        let found = survey(&worker, at(&world, "0", 50).await).await;
        assert_eq!((world.text(JOBS).await.as_str(), &found["expiry"]["count"]), ("0", &json!(1)));
        assert_eq!(found["expiry"]["stopped"], false);
        survey(&worker, confirm(&world, at(&world, "0", 50).await, &found["expiry"]["confirm"]).await).await;
        assert_eq!(world.text(JOBS).await, "1");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_expires_before_it_is_time_by_both_clocks() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        expired(&world, &worker, 1, "1 hour").await;
        // The server's clock jumped two hours ahead of the operator's; and the other way round.
        assert_eq!(survey(&worker, at(&world, "-2 hours", 50).await).await["expiry"], json!(null));
        assert_eq!(world.text(JOBS).await, "0");
        expire(&world, "-1 hour").await;
        survey(&worker, at(&world, "2 hours", 50).await).await;
        assert_eq!(world.text(JOBS).await, "0");
        expire(&world, "1 s").await;
        survey(&worker, at(&world, "0", 50).await).await;
        assert_eq!(world.text(JOBS).await, "1");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_world_that_went_back_nothing_expires_and_nothing_is_purged_for_hours() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        // One removal is queued, one backup has expired since.
        let asked = world.database.tenant("asked").await;
        let drop = asked.options(&json!({ "owner_uid": "uid-asked", "purge": true }));
        expect(&worker.step("set_aside_tenant_schema", &drop).await, "success");
        expired(&world, &worker, 1, "1 minute").await;
        world.run("SELECT edu_matrix_hub_schema._keep_quiet('a test')").await;
        let found = survey(&worker, at(&world, "0", 50).await).await;
        assert_eq!((world.text(JOBS).await.as_str(), &found["expiry"]), ("1", &json!(null)), "only what was queued before");
        assert_eq!(found["quiet"]["reason"], "a test");
        let kind = json!({ "holder": "a test" });
        expect(&worker.claim_job(&kind).await, "unchanged");
        // What was confirmed before it began is not confirmed.
        let stale = json!(world.text("SELECT quiet_since - interval '1 s' FROM edu_matrix_hub_schema.installation").await);
        survey(&worker, confirm(&world, at(&world, "0", 50).await, &stale).await).await;
        expect(&worker.claim_job(&kind).await, "unchanged");
        assert_eq!(world.text(JOBS).await, "1");
        survey(&worker, confirm(&world, at(&world, "0", 50).await, &json!(null)).await).await;
        assert_eq!(world.text(JOBS).await, "2");
        worker.next_job().await;

        // It ends by itself, and a clock that jumped does not make it longer.
        world.run("UPDATE edu_matrix_hub_schema.installation SET quiet_until = now() + interval '90 days', confirmed_until = NULL").await;
        survey(&worker, json!({})).await;
        let left = "SELECT quiet_until <= clock_timestamp() + interval '4 hours' FROM edu_matrix_hub_schema.installation";
        assert_eq!(world.text(left).await, "true");
        world.run("UPDATE edu_matrix_hub_schema.installation SET quiet_until = now()").await;
        worker.next_job().await;
        world.run("UPDATE edu_matrix_hub_schema.installation SET surveyed_at = now() - interval '90 days'").await;
        let found = survey(&worker, json!({})).await;
        assert!(found["quiet"]["reason"].as_str().unwrap().contains("for more than a day"), "{found}");
    })
    .await;
}
