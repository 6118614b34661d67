//! The queue: which worker gets which job, what a worker that went away leaves, and that a long job keeps no other
//! waiting.

use serde_json::json;

use crate::backup_world::{Worker, World, drop_by_hand, front, id, set_access, text, wait_for_a_waiter, with_world};
use crate::support::{Tenant, call, expect};

const JOBS: &str = "SELECT string_agg(kind || ' ' || state || ' ' || attempt, ', ' ORDER BY requested_at) FROM edu_matrix_hub_schema.schema_jobs";
const BACKUPS: &str = "SELECT string_agg(state, ', ' ORDER BY requested_at) FROM edu_matrix_hub_schema.schema_backups";

/// A tenant with a table, and a session that keeps every other from reading it.
async fn blocked(world: &World) -> (Tenant, tokio_postgres::Client) {
    let tenant = world.tenant("school").await;
    world.as_owner(&tenant, "CREATE TABLE school.t AS SELECT 1 AS a").await;
    let holder = world.superuser().await;
    holder.batch_execute("BEGIN; LOCK TABLE school.t").await.unwrap();
    (tenant, holder)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_requested_claimed_run_and_seen() {
    with_world(|world: World| async move {
        let tenant = world.database.tenant("school").await;
        world.as_owner(&tenant, "CREATE TABLE school.t AS SELECT 1 AS a").await;
        let worker = Worker::claim(world.session().await).await;
        let requested = worker.request(&tenant, "b1").await;
        expect(&requested, "success");
        let again = worker.request(&tenant, "b1").await;
        expect(&again, "unchanged");
        assert_eq!(again["detail"]["backup_id"], requested["detail"]["backup_id"]);

        let claimed = worker.claim_job(&json!({ "holder": "me" })).await;
        expect(&claimed, "success");
        assert_eq!(claimed["detail"]["schema_name"], "school");
        assert_eq!((&claimed["detail"]["kind"], &claimed["detail"]["attempt"]), (&json!("snapshot"), &json!(1)));
        expect(&worker.claim_job(&json!({ "holder": "me" })).await, "unchanged");
        let job = id(&claimed["detail"]["job_id"]);
        expect(&worker.heartbeat(job).await, "success");
        expect(&worker.run(job).await, "partial");
        expect(&worker.run(job).await, "success");
        expect(&worker.run(job).await, "unchanged");
        expect(&worker.finish(job, &json!({ "status": "error" })).await, "unchanged");
        world.assert_clean().await;

        let request = json!({
            "cluster": "cluster-1", "namespace": "team-a", "name": "b1", "uid": "b1", "tenant": { "namespace": "team-a", "name": "school" },
        });
        let seen = call(&worker.client, "observe_backup", &request).await;
        assert_eq!(seen["backup"]["state"], "complete");
        assert_eq!(seen["backup"]["object"]["uid"], "b1");
        assert_eq!(seen["backup"]["row_count"], 1);
        assert_eq!(seen["job"]["state"], "done");
        assert_eq!(seen["tenant"]["schema_id"], json!(tenant.id));
        let unknown = call(&worker.client, "observe_backup", &json!({ "cluster": "c", "namespace": "n", "name": "x", "uid": "x" })).await;
        assert_eq!(unknown, json!({ "backup": null, "job": null, "tenant": null }));

        let purge = json!({ "backup_id": requested["detail"]["backup_id"] });
        expect(&worker.step("request_purge", &purge).await, "success");
        expect(&worker.step("request_purge", &purge).await, "unchanged");
        let job = worker.next_job().await;
        expect(&worker.run(job).await, "success");
        assert_eq!(world.text(JOBS).await, "snapshot done 1, purge done 1");
        expect(&worker.step("request_purge", &purge).await, "unchanged");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_job_a_tenant_and_no_more_than_wanted() {
    with_world(|world: World| async move {
        let (a, b) = (world.tenant("a").await, world.tenant("b").await);
        let worker = Worker::claim(world.session().await).await;
        for (tenant, uid) in [(&a, "a1"), (&a, "a2"), (&b, "b1")] {
            expect(&worker.request(tenant, uid).await, "success");
        }
        expect(&worker.claim_job(&json!({ "kinds": ["purge"] })).await, "unchanged");
        let first = worker.claim_job(&json!({})).await;
        assert_eq!(first["detail"]["schema_name"], "a");
        expect(&worker.claim_job(&json!({ "max_running": 1 })).await, "unchanged");
        let second = worker.claim_job(&json!({ "max_running": 2, "kinds": ["snapshot"] })).await;
        assert_eq!(second["detail"]["schema_name"], "b", "the tenant of the second in line has a job already");
        expect(&worker.claim_job(&json!({})).await, "unchanged");
        for claimed in [first, second] {
            let job = id(&claimed["detail"]["job_id"]);
            expect(&worker.run(job).await, "partial");
            expect(&worker.run(job).await, "success");
        }
        assert_eq!(worker.claim_job(&json!({})).await["detail"]["schema_name"], "a");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_snapshot_has_no_place_of_a_removal_and_is_what_others_wait_for() {
    with_world(|world: World| async move {
        let [long, other, gone] = [world.tenant("long").await, world.tenant("other").await, world.tenant("gone").await];
        world
            .run(&format!(
                "UPDATE edu_matrix_hub_schema.tenant_schemas SET storage_used = 123 WHERE id = '{}'",
                long.id
            ))
            .await;
        let worker = Worker::claim(world.session().await).await;
        let made = worker.request(&gone, "g1").await;
        let job = worker.next_job().await;
        expect(&worker.run(job).await, "partial");
        expect(&worker.run(job).await, "success");
        let both = json!({ "kinds": ["snapshot", "purge"], "max_running": 1 });
        for (tenant, uid) in [(&long, "l1"), (&long, "l2"), (&other, "o1")] {
            expect(&worker.request(tenant, uid).await, "success");
        }
        assert_eq!(waits(&worker, "l2").await, json!(null), "nothing is running");
        let claimed = worker.claim_job(&both).await;
        assert_eq!(
            (&claimed["detail"]["schema_name"], &claimed["detail"]["storage_bytes"]),
            (&json!("long"), &json!(123))
        );
        expect(&worker.claim_job(&both).await, "unchanged");
        assert_eq!(waits(&worker, "l1").await, json!(null), "it is running itself");
        assert_eq!(waits(&worker, "l2").await["own"], "snapshot");
        assert_eq!(waits(&worker, "o1").await["own"], json!(null));
        assert!(waits(&worker, "o1").await["since"].is_string());

        expect(&worker.step("request_purge", &json!({ "backup_id": made["detail"]["backup_id"] })).await, "success");
        let purge = worker.claim_job(&both).await;
        assert_eq!((&purge["detail"]["kind"], &purge["detail"]["schema_name"]), (&json!("purge"), &json!("gone")));
        expect(&worker.claim_job(&both).await, "unchanged");
        expect(&worker.request(&gone, "g2").await, "success");
        assert_eq!(waits(&worker, "g2").await["own"], "purge");
        expect(&worker.run(id(&purge["detail"]["job_id"])).await, "success");
        assert_eq!(waits(&worker, "g2").await["own"], json!(null), "only the snapshot of another is running");
    })
    .await;
}

/// What the job of the backup with this UID is said to wait for.
async fn waits(worker: &Worker, uid: &str) -> serde_json::Value {
    let request = json!({ "cluster": "cluster-1", "namespace": "team-a", "name": uid, "uid": uid });
    call(&worker.client, "observe_backup", &request).await["job"]["waits"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_snapshot_keeps_no_call_waiting() {
    with_world(|world: World| async move {
        let (tenant, holder) = blocked(&world).await;
        let worker = Worker::claim(world.session().await).await;
        worker.request(&tenant, "b1").await;
        let job = worker.next_job().await;
        expect(&worker.run(job).await, "partial");
        let other = worker.over(world.session().await);
        let running = tokio::spawn(async move { worker.run(job).await });
        wait_for_a_waiter(&world).await;

        other.client.batch_execute("SET statement_timeout = '3s'").await.unwrap();
        expect(&other.heartbeat(job).await, "success");
        expect(&set_access(&other.client, &tenant, "Suspended").await, "success");
        expect(&set_access(&other.client, &tenant, "ReadWrite").await, "success");
        let (status, message) = front(&other.client, "drop_institution_schema", tenant.id).await;
        assert_eq!(status, "busy", "{message}");
        assert_eq!(
            front(&other.client, "backup_institution_schema", tenant.id).await.0,
            "error",
            "by hand it waits for the table"
        );
        // A new process claims the lane at once; the old one's work is rolled back.
        let next = Worker::claim(world.session().await).await;
        holder.batch_execute("ROLLBACK").await.unwrap();
        let stale = running.await.unwrap();
        assert_eq!(expect(&stale, "error"), "stale_epoch");
        assert_eq!(world.text("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'school_bak%'").await, "0");
        assert_eq!(next.next_job().await, job, "a job of an older epoch is taken up again");
        expect(&next.run(job).await, "partial");
        expect(&next.run(job).await, "success");
        assert_eq!(world.text(JOBS).await, "snapshot done 2");
        // What the former process had prepared is removed by the next survey.
        world.run("SELECT edu_matrix_hub_schema._queue_expired()").await;
        world.assert_clean().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_cancelled_or_taken_over_comes_to_nothing() {
    with_world(|world: World| async move {
        let (tenant, holder) = blocked(&world).await;
        let worker = Worker::claim(world.session().await).await;
        let backup = worker.request(&tenant, "b1").await["detail"]["backup_id"].clone();
        let job = worker.next_job().await;
        expect(&worker.run(job).await, "partial");
        let other = worker.over(world.session().await);
        let running = tokio::spawn(async move {
            let answer = worker.run(job).await;
            (worker, answer)
        });
        wait_for_a_waiter(&world).await;
        expect(&other.step("cancel_backup", &json!({ "backup_id": backup })).await, "success");
        expect(&other.step("cancel_backup", &json!({ "backup_id": backup })).await, "unchanged");
        assert_eq!(expect(&other.heartbeat(job).await, "error"), "cancelled");
        holder.batch_execute("COMMIT").await.unwrap();
        let (worker, answer) = running.await.unwrap();
        assert_eq!(expect(&answer, "error"), "cancelled");
        assert_eq!(
            (world.text(JOBS).await, world.text(BACKUPS).await),
            ("snapshot cancelled 1".to_owned(), "cancelled".to_owned())
        );

        // Not heard of for a minute: the next claim takes it, and the first worker's end does not count.
        worker.request(&tenant, "b2").await;
        let job = worker.next_job().await;
        expect(&worker.run(job).await, "partial");
        holder.batch_execute("BEGIN; LOCK TABLE school.t").await.unwrap();
        let running = tokio::spawn(async move { worker.run(job).await });
        wait_for_a_waiter(&world).await;
        world.run("UPDATE edu_matrix_hub_schema.schema_jobs SET heartbeat_at = now() - interval '61 s'").await;
        assert_eq!(other.next_job().await, job);
        holder.batch_execute("COMMIT").await.unwrap();
        assert_eq!(expect(&running.await.unwrap(), "error"), "cancelled");
        expect(&other.run(job).await, "partial");
        expect(&other.run(job).await, "success");
        assert_eq!(world.text("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'school_bak%'").await, "1");

        // Dropping a tenant cancels what waits; what is asked to stop has to stop first.
        other.request(&tenant, "b3").await;
        expect(&other.step("cancel_tenant_jobs", &json!({ "schema_id": tenant.id })).await, "success");
        expect(&other.step("cancel_tenant_jobs", &json!({ "schema_id": tenant.id })).await, "unchanged");
        other.request(&tenant, "b4").await;
        drop_by_hand(&world, &other.client, &tenant).await;
        assert_eq!(world.text(BACKUPS).await, "cancelled, complete, cancelled, cancelled, complete");
        assert_eq!(expect(&other.request(&tenant, "b5").await, "error"), "schema_missing");
        world.run("SELECT edu_matrix_hub_schema._queue_expired()").await;
        world.assert_clean().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_that_may_pass_are_tried_again_and_others_are_not() {
    with_world(|world: World| async move {
        let (tenant, holder) = blocked(&world).await;
        let worker = Worker::claim(world.session().await).await;
        worker.request(&tenant, "b1").await;
        let job = worker.next_job().await;
        expect(&worker.run(job).await, "partial");
        worker.client.batch_execute("SET statement_timeout = '200ms'").await.unwrap();
        let cancelled = worker.run(job).await;
        assert_eq!(expect(&cancelled, "error"), "cancelled");
        assert_eq!(cancelled["detail"]["retry"], true);
        worker.client.batch_execute("SET statement_timeout = 0").await.unwrap();
        assert_eq!(
            (world.text(JOBS).await, world.text(BACKUPS).await),
            ("snapshot requested 0".to_owned(), "requested".to_owned()),
            "an end that the server told is no attempt that took its session down"
        );
        expect(&worker.claim_job(&json!({})).await, "unchanged");
        world.assert_clean().await;

        // The client saw it end; five attempts are enough.
        for attempt in 1..=5 {
            world.run("UPDATE edu_matrix_hub_schema.schema_jobs SET not_before = now()").await;
            assert_eq!(worker.next_job().await, job);
            let outcome =
                json!({ "status": "error", "message": "the connection broke", "sqlstate": "08006", "retry": true });
            assert_eq!(worker.finish(job, &outcome).await["detail"]["retry"], attempt < 5);
        }
        assert_eq!(
            (world.text(JOBS).await, world.text(BACKUPS).await),
            ("snapshot failed 5".to_owned(), "failed".to_owned())
        );
        assert_eq!(
            text(&world.database.admin, "SELECT error FROM edu_matrix_hub_schema.schema_backups").await,
            "the connection broke"
        );

        holder.batch_execute("COMMIT").await.unwrap();
        world.as_owner(&tenant, "ALTER TABLE school.t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY").await;
        worker.request(&tenant, "b2").await;
        let job = worker.next_job().await;
        expect(&worker.run(job).await, "partial");
        let refused = worker.run(job).await;
        assert_eq!(expect(&refused, "error"), "unreadable_tables");
        assert_eq!(refused["detail"]["retry"], false);
        assert_eq!(world.text(JOBS).await, "snapshot failed 5, snapshot failed 1");
        world.assert_clean().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_finds_no_space_is_tried_for_a_day() {
    with_world(|world: World| async move {
        let tenant = world.database.tenant("school").await;
        let worker = Worker::claim(world.session().await).await;
        worker.request(&tenant, "b1").await;
        let full = json!({ "status": "error", "message": "no space left", "sqlstate": "53100", "retry": true });
        for (age, pause) in [("0", 1), ("1 hour", 6), ("23 hours", 138)] {
            let age = format!("UPDATE edu_matrix_hub_schema.schema_jobs SET not_before = now(), requested_at = now() - interval '{age}'");
            world.run(&age).await;
            let job = worker.next_job().await;
            assert_eq!(worker.finish(job, &full).await["detail"]["retry"], true);
            assert_eq!(world.text(JOBS).await, "snapshot requested 0", "that is no attempt");
            let paused = "SELECT round(extract(epoch FROM not_before - now()) / 60)::text FROM edu_matrix_hub_schema.schema_jobs";
            assert_eq!(world.text(paused).await, pause.to_string());
        }
        world.run("UPDATE edu_matrix_hub_schema.schema_jobs SET not_before = now(), requested_at = now() - interval '25 hours'").await;
        let job = worker.next_job().await;
        assert_eq!(worker.finish(job, &full).await["detail"]["retry"], false);
        assert_eq!((world.text(JOBS).await, world.text(BACKUPS).await), ("snapshot failed 1".to_owned(), "failed".to_owned()));
        world.assert_clean().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_is_queued_once() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        let worker = Worker::claim(world.session().await).await;
        let options = tenant.options(&json!({ "method": "Snapshot", "expire_after_days": 3 }));
        expect(&worker.step("request_backup", &options).await, "success");
        let job = worker.next_job().await;
        expect(&worker.run(job).await, "partial");
        expect(&worker.run(job).await, "success");
        let days = "SELECT round(extract(epoch FROM expires_at - completed_at) / 86400) FROM edu_matrix_hub_schema.schema_backups";
        assert_eq!(world.text(days).await, "3");
        let queue = "SELECT edu_matrix_hub_schema._queue_expired()";
        assert_eq!(world.text(queue).await, "0");
        world.run("UPDATE edu_matrix_hub_schema.schema_backups SET expires_at = now() - interval '1 s'").await;
        assert_eq!(world.text(queue).await, "1");
        assert_eq!(world.text(queue).await, "0");
        let job = worker.next_job().await;
        expect(&worker.run(job).await, "success");
        assert_eq!(world.text(queue).await, "0");
        assert_eq!(world.text(BACKUPS).await, "purged");

        // A removal that something was in the way of stays in the queue.
        let another = world.tenant("another").await;
        world.as_owner(&another, "CREATE TABLE another.t (a int)").await;
        expect(&call(&worker.client, "set_aside_tenant_schema", &another.options(&json!({ "purge": true }))).await, "success");
        let location = world.newest_backup().await["location"].as_str().unwrap().to_owned();
        world.run(&format!("CREATE VIEW public.late AS SELECT * FROM {location}.t")).await;
        let job = worker.next_job().await;
        assert_eq!(expect(&worker.run(job).await, "error"), "dependents");
        world.run("DROP VIEW public.late").await;
        assert_eq!(world.text(queue).await, "0");
        world.run("UPDATE edu_matrix_hub_schema.schema_jobs SET not_before = now()").await;
        assert_eq!(worker.next_job().await, job);
        expect(&worker.run(job).await, "success");

        // Of what is set aside only what was given a date goes by itself.
        drop_by_hand(&world, &worker.client, &tenant).await;
        assert_eq!(world.newest_backup().await["expires_at"], json!(null));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_process_is_refused_in_every_call() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        let stale = Worker::claim(world.session().await).await;
        stale.request(&tenant, "b1").await;
        let job = stale.next_job().await;
        let _current = Worker::claim(world.session().await).await;
        for answer in [
            stale.claim_job(&json!({})).await,
            stale.run(job).await,
            stale.heartbeat(job).await,
            stale.finish(job, &json!({})).await,
        ] {
            assert_eq!(expect(&answer, "error"), "stale_epoch");
        }
        let elsewhere = Worker { installation: uuid::Uuid::new_v4(), ..stale };
        assert_eq!(expect(&elsewhere.run(job).await, "error"), "wrong_installation");
    })
    .await;
}
