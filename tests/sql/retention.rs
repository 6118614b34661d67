//! Which of the backups that schedules asked for stay.

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::{
    backup_world::{Worker, World, id, with_world},
    support::{Database, Tenant, expect, with_database},
};

/// Why each of these moments is kept at `at`, in their order.
async fn kept(client: &Client, moments: &[String], retention: &Value, at: &str) -> Vec<Vec<String>> {
    let sql = "SELECT k.kept_by FROM edu_matrix_hub_schema._kept_by_retention($1::text[]::timestamptz[], $2, $3::text::timestamptz) AS k \
               ORDER BY k.place";
    let rows = client.query(sql, &[&moments, retention, &at]).await.unwrap();
    rows.into_iter().map(|row| row.get(0)).collect()
}

/// `check(retention, moments of January 2026 in UTC as "day hour", what is kept of them and why)`, on 1 February.
async fn check(database: &Database, retention: Value, moments: &[&str], expected: &str) {
    let times: Vec<_> = moments
        .iter()
        .map(|moment| {
            let (day, hour) = moment.split_once(' ').unwrap();
            format!("2026-01-{day}T{hour}:00:00Z")
        })
        .collect();
    let found = kept(&database.admin, &times, &retention, "2026-02-01T00:00:00Z").await;
    let found = moments.iter().zip(found).filter(|(_, reasons)| !reasons.is_empty());
    let found: Vec<_> = found.map(|(moment, reasons)| format!("{moment}: {}", reasons.join(" "))).collect();
    assert_eq!(found.join(", "), expected, "{retention}");
}

#[tokio::test]
async fn each_field_keeps_what_it_says() {
    with_database(async |database| {
        let twice_a_day = ["29 02", "29 14", "30 02", "30 14", "31 02", "31 14"];
        check(&database, json!({ "keep_last": 2 }), &twice_a_day, "31 02: keep_last, 31 14: keep_last newest").await;
        check(&database, json!({ "keep_daily": 2 }), &twice_a_day, "30 14: keep_daily, 31 14: keep_daily newest").await;
        // Days are those of a clock on the other side of midnight.
        let tokyo = json!({ "keep_daily": 2, "time_zone": "Asia/Tokyo" });
        check(&database, tokyo, &["29 14", "29 16", "30 16"], "29 16: keep_daily, 30 16: keep_daily newest").await;
        // The 5th and the 12th are Mondays. Weeks without a backup do not count.
        let weeks = ["04 02", "05 02", "11 02", "12 02", "26 02"];
        let weekly = "11 02: keep_weekly, 12 02: keep_weekly, 26 02: keep_weekly newest";
        check(&database, json!({ "keep_weekly": 3 }), &weeks, weekly).await;
        let both = "26 02: keep_last keep_monthly keep_yearly newest";
        check(&database, json!({ "keep_last": 1, "keep_monthly": 12, "keep_yearly": 1 }), &weeks, both).await;
        // None that is older, but for the newest.
        check(&database, json!({ "keep_last": 5, "max_age_days": 7 }), &weeks, "26 02: keep_last newest").await;
        check(&database, json!({ "keep_last": 5, "max_age_days": 1 }), &weeks, "26 02: newest").await;
        let young = "11 02: max_age_days, 12 02: max_age_days, 26 02: max_age_days newest";
        check(&database, json!({ "max_age_days": 21 }), &weeks, young).await;
        check(&database, json!({ "keep_last": 3 }), &[], "").await;
        // In any order, and of two of one moment the later row counts as newer.
        check(&database, json!({ "keep_last": 1 }), &["31 02", "30 02", "31 02"], "31 02: keep_last newest").await;
    })
    .await;
}

fn fields() -> impl Strategy<Value = Value> {
    let field = |most: i32| prop::option::of(1..most);
    (field(9), field(9), field(9), field(9), field(4), prop::option::of(1..900)).prop_filter_map(
        "something is kept",
        |(last, daily, weekly, monthly, yearly, age)| {
            let mut retention = json!({ "time_zone": "Europe/Berlin" });
            for (name, value) in [
                ("keep_last", last),
                ("keep_daily", daily),
                ("keep_weekly", weekly),
                ("keep_monthly", monthly),
                ("keep_yearly", yearly),
                ("max_age_days", age),
            ] {
                if let Some(value) = value {
                    retention[name] = json!(value);
                }
            }
            (retention.as_object()?.len() > 1).then_some(retention)
        },
    )
}

/// Moments of some years before 2026, in seconds, in any order.
fn history() -> impl Strategy<Value = Vec<String>> {
    let moment = (0..6_u32, 0..100_000_000_i64).prop_map(|(dense, ago)| 1_767_225_600 - ago / 10_i64.pow(dense));
    prop::collection::vec(moment.prop_map(|second| jiff::Timestamp::from_second(second).unwrap().to_string()), 0..60)
}

#[tokio::test]
async fn whatever_the_history_the_newest_stays_and_what_stayed_goes_on_to_stay() {
    with_database(async |database| {
        let mut runner = TestRunner::deterministic();
        let at = "2026-01-01T00:00:00Z";
        for _ in 0..300 {
            let (moments, retention) = (history(), fields()).new_tree(&mut runner).unwrap().current();
            let stays = async |moments: &[String], retention: &Value| -> Vec<String> {
                let found = kept(&database.admin, moments, retention, at).await;
                moments.iter().zip(found).filter(|(_, why)| !why.is_empty()).map(|(moment, _)| moment.clone()).collect()
            };
            let first = stays(&moments, &retention).await;
            assert_eq!(first.iter().max(), moments.iter().max(), "{retention} {moments:?}");
            let fields = retention.as_object().unwrap();
            let number =
                |name: &str| usize::try_from(fields.get(name).and_then(Value::as_u64).unwrap_or_default()).unwrap();
            let most: usize = fields.keys().filter(|name| name.starts_with("keep_")).map(|name| number(name)).sum();
            assert!(most == 0 || first.len() <= most, "{retention} {moments:?}");
            assert!(first.len() >= number("keep_last").min(moments.len()) || fields.contains_key("max_age_days"));
            // Nothing more goes until another one comes.
            assert_eq!(stays(&first, &retention).await, first, "{retention} {moments:?}");
            // Who keeps more loses nothing by it.
            let mut more = retention.clone();
            let name = fields.keys().find(|name| *name != "time_zone").unwrap();
            more[name] = json!(number(name) + 1);
            let second = stays(&moments, &more).await;
            assert!(first.iter().all(|moment| second.contains(moment)), "{retention} {more} {moments:?}");
        }
    })
    .await;
}

/// Asks for a snapshot as a schedule does, with this retention.
async fn ask(tenant: &Tenant, worker: &Worker, name: &str, retention: Value) {
    let object = json!({ "cluster": "cluster-1", "namespace": "team-a", "name": name, "uid": name });
    let options = json!({ "method": "Snapshot", "object": object, "schedule": "daily", "retention": retention });
    expect(&worker.step("request_backup", &tenant.options(&options)).await, "success");
}

/// A snapshot that a schedule asked for, with this retention.
async fn scheduled(tenant: &Tenant, worker: &Worker, name: &str, retention: Value) {
    ask(tenant, worker, name, retention).await;
    run(worker).await;
}

async fn run(worker: &Worker) {
    run_job(worker, worker.next_job().await).await;
}

async fn run_job(worker: &Worker, job: Uuid) {
    while worker.run(job).await["status"] == "partial" {}
}

/// Which backups are there and do not expire, and which are on their way.
async fn there(world: &World) -> String {
    let sql = "SELECT coalesce(string_agg(b.object_name || CASE WHEN b.expires_at IS NOT NULL THEN '-' ELSE '' END, ' ' \
               ORDER BY b.requested_at), '') FROM edu_matrix_hub_schema.schema_backups AS b WHERE b.state = 'complete'";
    world.text(sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_of_schedules_go_when_a_newer_one_is_complete_and_others_stay() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let tenant = world.tenant("school").await;
        let two = json!({ "keep_last": 2, "time_zone": "Europe/Berlin" });
        expect(&worker.request(&tenant, "by-hand").await, "success");
        run(&worker).await;
        for name in ["a", "b"] {
            scheduled(&tenant, &worker, name, two.clone()).await;
        }
        assert_eq!(there(&world).await, "by-hand a b");
        // One that is asked for and not made yet takes nothing away.
        ask(&tenant, &worker, "c", two.clone()).await;
        assert_eq!(there(&world).await, "by-hand a b");
        run(&worker).await;
        assert_eq!(there(&world).await, "by-hand a- b c");
        let logged = "SELECT string_agg(o.metadata #>> '{expired,0,location}', ' ') FROM edu_matrix_hub_schema.schema_operations AS o \
                      WHERE o.type = 'retention'";
        let first = "SELECT location FROM edu_matrix_hub_schema.schema_backups WHERE object_name = 'a'";
        assert_eq!(world.text(logged).await, world.text(first).await);

        // A retention that was mended before it went takes that back.
        scheduled(&tenant, &worker, "d", json!({ "keep_last": 4 })).await;
        assert_eq!(there(&world).await, "by-hand a b c d");
        scheduled(&tenant, &worker, "e", two.clone()).await;
        assert_eq!(there(&world).await, "by-hand a- b- c- d e");
        worker.survey().await;
        assert_eq!(there(&world).await, "by-hand a- b- c- d e");

        // Also when its removal waits already: the tenant has one job at a time.
        let late = "UPDATE edu_matrix_hub_schema.schema_backups SET expires_at = now() - interval '1 minute' WHERE object_name = 'a'";
        world.run(late).await;
        worker.survey().await;
        ask(&tenant, &worker, "e2", json!({ "keep_last": 9 })).await;
        let order = "UPDATE edu_matrix_hub_schema.schema_jobs SET requested_at = now() - interval '1 hour' WHERE kind = 'snapshot' AND state = 'requested'";
        world.run(order).await;
        let job = id(&worker.claim_job(&json!({ "holder": "a test", "kinds": ["snapshot"] })).await["detail"]["job_id"]);
        run_job(&worker, job).await;
        assert_eq!(there(&world).await, "by-hand a b c d e e2");
        let waiting = "SELECT count(*) FROM edu_matrix_hub_schema.schema_jobs WHERE state = 'requested'";
        assert_eq!(world.text(waiting).await, "0");
        scheduled(&tenant, &worker, "e3", two.clone()).await;
        assert_eq!(there(&world).await, "by-hand a- b- c- d- e- e2 e3");

        // Past its time a survey removes it; a time zone that this server does not know keeps days of UTC.
        let over = "UPDATE edu_matrix_hub_schema.schema_backups SET expires_at = now() - interval '1 minute' WHERE expires_at IS NOT NULL";
        world.run(over).await;
        // What was called off within an hour is not asked for again in it.
        world.run("UPDATE edu_matrix_hub_schema.schema_jobs SET finished_at = now() - interval '2 hours'").await;
        worker.survey().await;
        for _ in 0..5 {
            run(&worker).await;
        }
        assert_eq!(there(&world).await, "by-hand e2 e3");
        scheduled(&tenant, &worker, "f", json!({ "keep_last": 1, "keep_daily": 1, "time_zone": "Mars/Olympus" })).await;
        assert_eq!(there(&world).await, "by-hand e2- e3- f");

        // The one that was just made stays, whatever the clock said when the others were.
        world.run("UPDATE edu_matrix_hub_schema.schema_backups SET completed_at = now() + interval '4 years' WHERE object_name = 'f'").await;
        scheduled(&tenant, &worker, "g", json!({ "keep_last": 1 })).await;
        assert_eq!(there(&world).await, "by-hand e2- e3- f g");

        // By hand, with no schedule, nothing goes.
        let by_hand = "SELECT edu_matrix_hub_schema.backup_institution_schema(id) FROM edu_matrix_hub_schema.tenant_schemas";
        world.run(by_hand).await;
        assert!(there(&world).await.ends_with('g'), "{}", there(&world).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_and_rows_of_backups_that_are_gone_for_long_do_not_pile_up() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let tenant = world.tenant("school").await;
        for name in ["a", "b", "c"] {
            scheduled(&tenant, &worker, name, json!({ "keep_last": 1 })).await;
        }
        let counts = async || {
            let sql = "SELECT (SELECT count(*) FROM edu_matrix_hub_schema.schema_jobs) || ' ' || \
                       (SELECT string_agg(object_name, '' ORDER BY requested_at) FROM edu_matrix_hub_schema.schema_backups)";
            world.text(sql).await
        };
        let survey = async || {
            world.run("UPDATE edu_matrix_hub_schema.installation SET pruned_at = NULL").await;
            worker.survey().await;
        };
        world.run("UPDATE edu_matrix_hub_schema.schema_backups SET expires_at = NULL, \
                   state = CASE object_name WHEN 'a' THEN 'purged' ELSE state END, updated_at = now() - interval '91 days'").await;
        survey().await;
        assert_eq!(counts().await, "3 abc");
        // Of jobs that were done a week ago the last stays, and a row that a job is about.
        world.run("UPDATE edu_matrix_hub_schema.schema_jobs SET finished_at = now() - interval '8 days'").await;
        survey().await;
        assert_eq!(counts().await, "1 bc");
    })
    .await;
}
