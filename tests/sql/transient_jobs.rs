//! A job that fails is tried again after a pause, says what is in its way, and writes one row about it.

use serde_json::json;

use crate::backup_world::{Worker, World, drop_by_hand, with_world};
use crate::support::expect;

const JOB: &str = "SELECT state || ' ' || failures || ' ' || coalesce(reason, '-') || ' ' || round(extract(epoch FROM not_before - now())) FROM edu_matrix_hub_schema.schema_jobs";
const ROWS: &str = "SELECT string_agg(type || ' ' || status || ' ' || coalesce(metadata ->> 'attempts', '1'), ', ' ORDER BY id) FROM edu_matrix_hub_schema.schema_operations WHERE type IN ('purge', 'request_purge')";

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_with_something_in_its_way_waits_longer_and_longer_and_goes_on() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        let session = world.session().await;
        let (backup, _) = drop_by_hand(&world, &session, &tenant).await;
        world
            .run(&format!(
                "CREATE TABLE public.left_behind (); ALTER TABLE public.left_behind OWNER TO \"{}\"",
                tenant.owner
            ))
            .await;
        let worker = Worker::claim(session).await;
        let purge = json!({ "backup_id": backup });
        expect(&worker.step("request_purge", &purge).await, "success");
        for (failures, pause) in [(1, 5), (2, 10), (3, 20), (4, 40), (5, 80), (6, 160), (7, 320), (8, 600), (9, 600)] {
            world.run("UPDATE edu_matrix_hub_schema.schema_jobs SET not_before = now()").await;
            let job = worker.next_job().await;
            let answer = worker.run(job).await;
            assert_eq!(expect(&answer, "error"), "dependents");
            assert_eq!(answer["detail"]["retry"], true);
            assert_eq!(world.text(JOB).await, format!("requested {failures} dependents {pause}"));
            expect(&worker.claim_job(&json!({})).await, "unchanged");
            expect(&worker.step("request_purge", &purge).await, "unchanged");
        }
        assert_eq!(world.text(ROWS).await, "request_purge success 1, purge error 9");
        let error = world.text("SELECT error FROM edu_matrix_hub_schema.schema_jobs").await;
        assert!(error.contains("DROP TABLE public.left_behind"), "{error}");

        world
            .run("DROP TABLE public.left_behind; UPDATE edu_matrix_hub_schema.schema_jobs SET not_before = now()")
            .await;
        let job = worker.next_job().await;
        expect(&worker.run(job).await, "success");
        assert_eq!(world.text(ROWS).await, "request_purge success 1, purge error 9, purge success 1");
        assert_eq!(
            world.text("SELECT coalesce(error, 'none') FROM edu_matrix_hub_schema.schema_backups").await,
            "none"
        );
        world.assert_clean().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_blocks_a_removal_is_in_its_row_and_pauses_are_short() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        world.as_owner(&tenant, "CREATE TABLE school.t (id int); GRANT SELECT ON school.t TO PUBLIC; GRANT USAGE ON SCHEMA school TO PUBLIC").await;
        let reader = world.database.role("reading", "LOGIN").await;
        let idle = world.database.connect(&reader).await;
        idle.batch_execute("BEGIN; SELECT * FROM school.t").await.unwrap();
        let session = world.session().await;
        let (backup, _) = drop_by_hand(&world, &session, &tenant).await;
        let worker = Worker::claim(session).await;
        expect(&worker.step("request_purge", &json!({ "backup_id": backup })).await, "success");
        for (failures, pause) in [(1, 5), (2, 10)] {
            world.run("UPDATE edu_matrix_hub_schema.schema_jobs SET not_before = now()").await;
            let job = worker.next_job().await;
            let answer = worker.run(job).await;
            expect(&answer, "busy");
            assert_eq!(answer["detail"]["blocker"]["role"], json!(reader), "{answer}");
            assert_eq!(world.text(JOB).await, format!("requested {failures} - {pause}"));
        }
        let error = world.text("SELECT error FROM edu_matrix_hub_schema.schema_jobs").await;
        assert!(error.contains(&format!("login \"{reader}\" holds a lock on ")) && error.contains("pg_terminate_backend("), "{error}");
        assert_eq!(world.text(ROWS).await, "request_purge success 1, purge busy 2", "{error}");
        idle.batch_execute("COMMIT").await.unwrap();
        world.run("UPDATE edu_matrix_hub_schema.schema_jobs SET not_before = now()").await;
        let job = worker.next_job().await;
        expect(&worker.run(job).await, "success");
    })
    .await;
}

/// Rows are for what changed, and not for each time that the same was tried.
#[tokio::test(flavor = "multi_thread")]
async fn what_fails_in_the_same_words_is_one_row() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        world.run("CREATE SCHEMA reporting").await;
        world.as_owner(&tenant, "CREATE TABLE school.t (id int)").await;
        world.run("CREATE VIEW reporting.v AS SELECT * FROM school.t").await;
        let session = world.session().await;
        let aside = tenant.options(&json!({}));
        for _ in 0..3 {
            assert_eq!(expect(&crate::support::call(&session, "set_aside_tenant_schema", &aside).await, "error"), "dependents");
        }
        world.run("CREATE VIEW reporting.w AS SELECT * FROM school.t").await;
        for _ in 0..2 {
            expect(&crate::support::call(&session, "set_aside_tenant_schema", &aside).await, "error");
        }
        let taken = json!({ "schema_name": "pg_no", "requested_by": "a test" });
        for _ in 0..3 {
            assert_eq!(expect(&crate::support::call(&session, "create_tenant_schema", &taken).await, "error"), "invalid_name");
        }
        let rows = "SELECT string_agg(type || ' ' || coalesce(metadata ->> 'attempts', '1') || ' ' || (completed_at > started_at), ', ' ORDER BY id)
                    FROM edu_matrix_hub_schema.schema_operations WHERE status = 'error'";
        assert_eq!(world.text(rows).await, "set_aside 3 true, set_aside 2 true, create_tenant_schema 3 true");
    })
    .await;
}
