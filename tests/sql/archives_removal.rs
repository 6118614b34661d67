//! How archives go: by request, when they expire, by a retention, and what attempts left that came to nothing.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    archives::{STORE, standing},
    backup_world::{Worker, World, front, id, with_world},
    support::{Tenant, expect},
};

impl Worker {
    async fn begin_removal(&self, job: Uuid) -> Value {
        let sql = "SELECT edu_matrix_hub_schema.begin_removal($1, $2, $3)";
        self.client.query_one(sql, &[&self.epoch, &self.installation, &job]).await.unwrap().get(0)
    }

    async fn record_removal(&self, job: Uuid, kept: bool) -> Value {
        self.of_job("record_removal", job, &json!({ "kept_by_store": kept })).await
    }

    /// Makes an archive of the tenant for an object of this name; returns the backup and its attempt.
    async fn archived(&self, tenant: &Tenant, name: &str, more: &Value) -> (Uuid, Uuid) {
        let answer = self.request_archive(tenant, name, more).await;
        expect(&answer, "success");
        (id(&answer["detail"]["backup_id"]), self.archive().await)
    }
}

const SOON: &str = "UPDATE edu_matrix_hub_schema.schema_jobs SET not_before = now() WHERE state = 'requested'";

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_removed_by_a_job_of_its_own_and_no_schema_with_it() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let tenant = world.tenant("school").await;
        let (backup, attempt) = worker.archived(&tenant, "one", &json!({})).await;
        let upload = worker.upload(attempt);
        // A schema that is called like the key.
        let name = "as/short/as/a/schema";
        world.run(&format!("UPDATE edu_matrix_hub_schema.schema_backups SET location = '{name}'; \
                            UPDATE edu_matrix_hub_schema.archive_uploads SET location = '{name}'")).await;
        world.run(&format!("CREATE SCHEMA \"{name}\"; CREATE TABLE \"{name}\".t (); \
                            ALTER SCHEMA \"{name}\" OWNER TO {}", world.database.owner_role)).await;
        let stands = format!("SELECT count(*) FROM pg_class WHERE relnamespace = '\"{name}\"'::regnamespace");

        let (status, message) = front(&world.database.admin, "purge_schema_backup", backup).await;
        assert_eq!(status, "error", "{message}");
        assert!(message.contains("request_purge"), "{message}");
        let (status, _) = front(&world.database.admin, "restore_set_aside", backup).await;
        assert_eq!(status, "error");
        expect(&worker.step("request_purge", &json!({ "backup_id": backup })).await, "success");
        expect(&worker.step("request_purge", &json!({ "backup_id": backup })).await, "unchanged");
        expect(&worker.claim_kind("purge").await, "unchanged");
        // Nothing is removed while the database is kept quiet.
        world.run("UPDATE edu_matrix_hub_schema.installation SET quiet_since = now(), quiet_until = now() + interval '1 hour'").await;
        expect(&worker.claim_kind("remove_archive").await, "unchanged");
        world.run("UPDATE edu_matrix_hub_schema.installation SET quiet_since = NULL, quiet_until = NULL").await;
        // Nor where it was restored beside the database that has the archives.
        world.run("UPDATE edu_matrix_hub_schema.installation SET registry_oid = 1").await;
        expect(&worker.claim_kind("remove_archive").await, "unchanged");
        world.run("UPDATE edu_matrix_hub_schema.installation SET registry_oid = 'edu_matrix_hub_schema'::regnamespace").await;

        let job = worker.next_of("remove_archive").await;
        assert_eq!(expect(&worker.record_removal(job, false).await, "error"), "internal", "it was not begun");
        assert_eq!(standing(&world).await, "one complete; remove_archive requested", "and is tried again");
        world.run(SOON).await;
        let job_again = worker.next_of("remove_archive").await;
        assert_eq!(job_again, job);
        let begun = worker.begin_removal(job).await;
        expect(&begun, "success");
        let told = json!({ "attempt": attempt, "store": STORE, "location": name, "manifest_location": upload["manifest_location"] });
        assert_eq!(begun["detail"], json!({ "backup_id": backup, "store": STORE, "location": name,
                                            "manifest_location": upload["manifest_location"], "uploads": [told] }));
        let again = worker.begin_removal(job).await;
        expect(&again, "unchanged");
        assert_eq!(again["detail"], begun["detail"]);
        assert_eq!(standing(&world).await, "one purging; remove_archive running");
        // What fails is tried again, however often and long.
        world.run("UPDATE edu_matrix_hub_schema.schema_jobs SET attempt = 4, requested_at = now() - interval '9 days'").await;
        let failed = worker.finish(job, &json!({ "status": "error", "message": "the store is not reachable", "retry": false })).await;
        assert_eq!(failed["detail"]["retry"], true);
        assert_eq!(world.text("SELECT concat_ws(' ', state, attempt, reason) FROM edu_matrix_hub_schema.schema_jobs WHERE kind = 'remove_archive'").await, "requested 3 internal");
        assert_eq!(world.text("SELECT error FROM edu_matrix_hub_schema.schema_backups").await, "the store is not reachable");
        world.run(SOON).await;
        let job = worker.next_of("remove_archive").await;
        expect(&worker.begin_removal(job).await, "unchanged");
        expect(&worker.record_removal(job, false).await, "success");
        expect(&worker.record_removal(job, false).await, "unchanged");
        assert_eq!(standing(&world).await, "one purged; ");
        assert_eq!(world.text("SELECT manifest::text || coalesce(error, '-') FROM edu_matrix_hub_schema.schema_backups").await, "{}-");
        assert_eq!(world.text(&stands).await, "1", "the schema is another's");
        world.run(&format!("DROP SCHEMA \"{name}\" CASCADE")).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_store_keeps_is_given_up_and_said() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let tenant = world.tenant("school").await;
        let (backup, _) = worker.archived(&tenant, "one", &json!({})).await;
        expect(&worker.step("request_purge", &json!({ "backup_id": backup })).await, "success");
        let job = worker.next_of("remove_archive").await;
        expect(&worker.begin_removal(job).await, "success");
        expect(&worker.record_removal(job, true).await, "success");
        let row = "SELECT concat_ws(' ', state, kept_by_store, verified_how, coalesce(error, 'well')) FROM edu_matrix_hub_schema.schema_backups";
        assert_eq!(world.text(row).await, "purged t Checksum well");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_attempts_left_is_removed_and_their_row_stays() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let tenant = world.tenant("school").await;
        expect(&worker.request_archive(&tenant, "one", &json!({})).await, "success");
        let job = worker.next_of("archive").await;
        let left = [Uuid::new_v4(), Uuid::new_v4()];
        for attempt in left {
            expect(&worker.begin(job, attempt).await, "success");
        }
        let outcome = json!({ "status": "error", "message": "pg_dump failed", "retry": false });
        assert_eq!(worker.finish(job, &outcome).await["detail"]["retry"], false);
        assert_eq!(standing(&world).await, "one failed; remove_archive requested");
        // A removal that was given up is found by a survey, an hour later.
        world.run("UPDATE edu_matrix_hub_schema.schema_jobs SET state = 'failed', finished_at = now() WHERE kind = 'remove_archive'").await;
        worker.survey().await;
        assert_eq!(standing(&world).await, "one failed; ");
        world.run("UPDATE edu_matrix_hub_schema.schema_jobs SET finished_at = now() - interval '2 hours' WHERE kind = 'remove_archive'").await;
        worker.survey().await;
        assert_eq!(standing(&world).await, "one failed; remove_archive requested");
        worker.survey().await;
        world.run(SOON).await;
        let job = worker.next_of("remove_archive").await;
        let begun = worker.begin_removal(job).await;
        assert_eq!((&begun["detail"]["location"], &begun["detail"]["store"]), (&Value::Null, &Value::Null));
        let told: Vec<_> = begun["detail"]["uploads"].as_array().unwrap().iter().map(|upload| id(&upload["attempt"])).collect();
        assert_eq!(told, left);
        expect(&worker.record_removal(job, false).await, "success");
        let row = "SELECT concat_ws(' ', state, error) FROM edu_matrix_hub_schema.schema_backups";
        assert_eq!(world.text(row).await, "failed pg_dump failed");
        world.run("UPDATE edu_matrix_hub_schema.schema_jobs SET finished_at = now() - interval '2 hours'").await;
        worker.survey().await;
        assert_eq!(standing(&world).await, "one failed; ", "there is nothing left");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_uploads_that_cannot_be_deleted_end_the_backup() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let tenant = world.tenant("school").await;
        expect(&worker.request_archive(&tenant, "one", &json!({})).await, "success");
        let job = worker.next_of("archive").await;
        for n in 0..20 {
            expect(&worker.begin(job, Uuid::from_u128(n)).await, "success");
        }
        let answer = worker.begin(job, Uuid::from_u128(99)).await;
        assert_eq!(expect(&answer, "error"), "internal");
        assert!(answer["message"].as_str().unwrap().contains("archive_uploads"), "{answer}");
        assert_eq!(standing(&world).await, "one failed; remove_archive requested");
        world.run(SOON).await;
        let begun = worker.begin_removal(worker.next_of("remove_archive").await).await;
        assert_eq!(begun["detail"]["uploads"].as_array().unwrap().len(), 20);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_expire_and_count_with_snapshots_among_those_of_schedules() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let tenant = world.tenant("school").await;
        let scheduled = json!({ "schedule": "daily", "retention": { "keep_last": 2 } });
        let there = "SELECT string_agg(object_name || CASE WHEN expires_at IS NULL THEN '' ELSE '-' END, ' ' ORDER BY requested_at) \
                     FROM edu_matrix_hub_schema.schema_backups WHERE state = 'complete'";
        worker.archived(&tenant, "a", &scheduled).await;
        let mut snapshot = tenant.options(&scheduled);
        snapshot["method"] = json!("Snapshot");
        snapshot["object"] = json!({ "cluster": "cluster-1", "namespace": "team-a", "name": "b", "uid": "b" });
        expect(&worker.step("request_backup", &snapshot).await, "success");
        let job = worker.next_of("snapshot").await;
        while worker.run(job).await["status"] == "partial" {}
        worker.archived(&tenant, "c", &scheduled).await;
        assert_eq!(world.text(there).await, "a- b c");
        worker.archived(&tenant, "d", &scheduled).await;
        assert_eq!(world.text(there).await, "a- b- c d");

        let over = "UPDATE edu_matrix_hub_schema.schema_backups SET expires_at = now() - interval '1 minute' WHERE expires_at IS NOT NULL";
        world.run(over).await;
        worker.survey().await;
        worker.survey().await;
        let open = "SELECT string_agg(j.kind || ' ' || b.object_name, ', ' ORDER BY b.object_name) FROM edu_matrix_hub_schema.schema_jobs AS j \
                    JOIN edu_matrix_hub_schema.schema_backups AS b ON b.id = j.backup_id WHERE j.state = 'requested'";
        assert_eq!(world.text(open).await, "remove_archive a, purge b");
        // A retention that keeps more takes the removal back that only waits.
        worker.archived(&tenant, "e", &json!({ "schedule": "daily", "retention": { "keep_last": 9 } })).await;
        assert_eq!((world.text(there).await, world.text(open).await), ("a b c d e".to_owned(), String::new()));

        // Its sizes are not the database's, and after a restore of the server it is bound to no schema.
        let survey = worker.survey().await;
        assert_eq!((&survey["set_aside_count"], &survey["set_aside_bytes"]), (&json!(0), &json!(0)), "{survey}");
        let rebound = json!({ "installation_id": worker.installation });
        expect(&worker.step("rebind_tenants", &rebound).await, "unchanged");
        let bound = "SELECT count(*) FROM edu_matrix_hub_schema.schema_backups WHERE method = 'Archive' AND location_oid IS NOT NULL";
        assert_eq!(world.text(bound).await, "0");
    })
    .await;
}
