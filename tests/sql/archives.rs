//! Archives in the catalogue: how one is asked for, begun, recorded, given up, and counted among the others.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    backup_world::{Worker, World, id, set_access, with_world},
    support::{Tenant, expect},
};

/// The store of these tests.
pub const STORE: &str = "s3://backups/eu";

impl Worker {
    /// Requests an archive for the SchemaBackup with this uid; returns the answer.
    pub async fn request_archive(&self, tenant: &Tenant, uid: &str, more: &Value) -> Value {
        let object = json!({ "cluster": "cluster-1", "namespace": "team-a", "name": uid, "uid": uid });
        let mut options = tenant.options(&json!({ "method": "Archive", "object": object }));
        options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.step("request_backup", &options).await
    }

    /// Claims the next job of this kind.
    pub async fn claim_kind(&self, kind: &str) -> Value {
        self.claim_job(&json!({ "holder": "a test", "kinds": [kind] })).await
    }

    /// The same, which is there.
    pub async fn next_of(&self, kind: &str) -> Uuid {
        let answer = self.claim_kind(kind).await;
        expect(&answer, "success");
        id(&answer["detail"]["job_id"])
    }

    /// Calls a function about a job that takes one document.
    pub async fn of_job(&self, function: &str, job: Uuid, options: &Value) -> Value {
        let sql = format!("SELECT edu_matrix_hub_schema.{function}($1, $2, $3, $4)");
        self.client.query_one(&sql, &[&self.epoch, &self.installation, &job, options]).await.unwrap().get(0)
    }

    /// What an attempt writes.
    pub fn upload(&self, attempt: Uuid) -> Value {
        let key = format!("{}/school/{attempt}", self.installation);
        json!({ "attempt": attempt, "store": STORE, "location": format!("{key}.dump.zst"),
                "manifest_location": format!("{key}.manifest.json") })
    }

    /// Begins an attempt, and returns the answer.
    pub async fn begin(&self, job: Uuid, attempt: Uuid) -> Value {
        self.of_job("begin_archive", job, &self.upload(attempt)).await
    }

    /// Records that it is complete.
    pub async fn record(&self, job: Uuid, attempt: Uuid) -> Value {
        let made = json!({ "size_bytes": 4096, "table_count": 2, "row_count": 7, "checksum": "c", "artefact_sha256": "a",
                           "manifest_sha256": "m", "manifest": { "format": 1 }, "verified_how": "Checksum" });
        let mut options = self.upload(attempt);
        options.as_object_mut().unwrap().extend(made.as_object().unwrap().clone());
        self.of_job("record_archive", job, &options).await
    }

    /// Notes that an attempt's objects are deleted.
    pub async fn drop_upload(&self, attempt: Uuid) -> Value {
        let sql = "SELECT edu_matrix_hub_schema.drop_upload($1, $2, $3)";
        self.client.query_one(sql, &[&self.epoch, &self.installation, &attempt]).await.unwrap().get(0)
    }

    /// Makes an archive that was requested.
    pub async fn archive(&self) -> Uuid {
        let (job, attempt) = (self.next_of("archive").await, Uuid::new_v4());
        expect(&self.begin(job, attempt).await, "success");
        expect(&self.record(job, attempt).await, "success");
        attempt
    }
}

/// States of the backups, and the jobs that are open.
pub async fn standing(world: &World) -> String {
    let backups = "SELECT string_agg(coalesce(object_name, '-') || ' ' || state, ', ' ORDER BY requested_at) \
                   FROM edu_matrix_hub_schema.schema_backups";
    let jobs = "SELECT string_agg(kind || ' ' || state, ', ' ORDER BY requested_at) FROM edu_matrix_hub_schema.schema_jobs \
                WHERE state IN ('requested', 'running')";
    format!("{}; {}", world.text(backups).await, world.text(jobs).await)
}

/// What the catalogue answers of a SchemaBackup.
async fn observed(worker: &Worker, uid: &str) -> Value {
    let request = json!({ "cluster": "cluster-1", "namespace": "team-a", "name": uid, "uid": uid });
    let sql = "SELECT edu_matrix_hub_schema.observe_backup($1)";
    worker.client.query_one(sql, &[&request]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_requested_begun_and_recorded_once() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let tenant = world.tenant("school").await;
        let asked = json!({ "expire_after_days": 7, "verification": "None" });
        let answer = worker.request_archive(&tenant, "one", &asked).await;
        expect(&answer, "success");
        expect(&worker.request_archive(&tenant, "one", &asked).await, "unchanged");
        for (method, verification) in [("Tape", "None"), ("Archive", "Perhaps")] {
            let options = json!({ "method": method, "verification": verification });
            assert_eq!(expect(&worker.request_archive(&tenant, "two", &options).await, "error"), "internal");
        }
        let before = observed(&worker, "one").await;
        assert_eq!((&before["backup"]["verification"], &before["job"]["kind"]), (&json!("None"), &json!("archive")));

        // An operator that does not know the kind leaves it.
        expect(&worker.claim_kind("snapshot").await, "unchanged");
        let job = worker.next_of("archive").await;
        assert_eq!(standing(&world).await, "one running; archive running");
        let refused = worker.run(job).await;
        assert!(refused["message"].as_str().unwrap().contains("not done by this function"), "{refused}");
        let attempt = Uuid::new_v4();
        assert_eq!(expect(&worker.record(job, attempt).await, "error"), "cancelled", "what was not begun");
        let begun = worker.begin(job, attempt).await;
        expect(&begun, "success");
        let detail = &begun["detail"];
        assert_eq!(detail["backup_id"], answer["detail"]["backup_id"]);
        assert_eq!((detail["schema_name"].as_str(), detail["owner_role"].as_str()), (Some("school"), Some(&*tenant.owner)));
        assert_eq!((&detail["verification"], &detail["leftovers"]), (&json!("None"), &json!([])));
        assert!(detail["schema_oid"].as_i64().unwrap() > 0 && detail["server_version_num"].as_i64().unwrap() > 140_000);
        let again = worker.begin(job, attempt).await;
        expect(&again, "unchanged");
        assert_eq!(again["detail"], begun["detail"]);

        expect(&worker.record(job, attempt).await, "success");
        expect(&worker.record(job, attempt).await, "unchanged");
        assert_eq!(standing(&world).await, "one complete; ");
        let backup = observed(&worker, "one").await["backup"].clone();
        let upload = worker.upload(attempt);
        for (key, value) in [
            ("method", json!("Archive")),
            ("location", upload["location"].clone()),
            ("store", json!(STORE)),
            ("size_bytes", json!(4096)),
            ("row_count", json!(7)),
            ("artefact_sha256", json!("a")),
            ("manifest_sha256", json!("m")),
            ("verified_how", json!("Checksum")),
            ("kept_by_store", json!(false)),
        ] {
            assert_eq!(backup[key], value, "{key}: {backup}");
        }
        assert!(backup["verified_at"].is_string() && backup["expires_at"].is_string());
        let known: tenant_schema_operator::contract::BackupRow = serde_json::from_value(backup).unwrap();
        assert_eq!(known.store.as_deref(), Some(STORE));
        let last = "SELECT last_backup > now() - interval '1 min' FROM edu_matrix_hub_schema.tenant_schemas";
        assert_eq!(world.text(last).await, "true");
        assert_eq!(expect(&worker.drop_upload(attempt).await, "unchanged"), "", "it is the archive");
        assert_eq!(expect(&worker.drop_upload(Uuid::new_v4()).await, "error"), "not_found");
        let logged = "SELECT string_agg(type || ' ' || status, ', ' ORDER BY id) FROM edu_matrix_hub_schema.schema_operations \
                      WHERE type LIKE '%backup'";
        assert!(world.text(logged).await.ends_with("request_backup success, request_backup error, request_backup error, backup success"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_attempt_left_is_the_next_ones_to_delete_and_a_stale_one_records_nothing() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let tenant = world.tenant("school").await;
        expect(&worker.request_archive(&tenant, "one", &json!({})).await, "success");
        let [first, second, third] = [(); 3].map(|()| Uuid::new_v4());
        let job = worker.next_of("archive").await;
        expect(&worker.begin(job, first).await, "success");
        // It is not heard of any more, and the same process takes the job up again.
        let late = "UPDATE edu_matrix_hub_schema.schema_jobs SET heartbeat_at = now() - interval '2 min' WHERE state = 'running'";
        world.run(late).await;
        assert_eq!(worker.next_of("archive").await, job);
        assert_eq!(expect(&worker.record(job, first).await, "error"), "cancelled");
        assert_eq!(standing(&world).await, "one running; archive running", "which is the other attempt's");
        let begun = worker.begin(job, second).await;
        assert_eq!(begun["detail"]["leftovers"], json!([worker.upload(first)]));
        expect(&worker.drop_upload(first).await, "success");
        expect(&worker.drop_upload(first).await, "unchanged");
        assert_eq!(worker.begin(job, second).await["detail"]["leftovers"], json!([]));

        // An attempt is begun once, with keys of this installation, and an error ends it.
        for (attempt, key, value) in [
            (second, "store", json!("s3://other")),
            (first, "store", json!(STORE)),
            (third, "location", json!("school/one.dump")),
            (third, "location", json!(format!("{}/{}", worker.installation, "k".repeat(1024)))),
            (third, "manifest_location", Value::Null),
        ] {
            let mut options = worker.upload(attempt);
            options[key] = value;
            world.run("UPDATE edu_matrix_hub_schema.schema_jobs SET state = 'running', attempt = 2, finished_at = NULL").await;
            world.run("UPDATE edu_matrix_hub_schema.schema_backups SET state = 'running'").await;
            world.run("DELETE FROM edu_matrix_hub_schema.schema_jobs WHERE kind = 'remove_archive'").await;
            let answer = worker.of_job("begin_archive", job, &options).await;
            assert_eq!((expect(&answer, "error"), &answer["detail"]["retry"]), ("internal".to_owned(), &json!(false)), "{key}");
            assert_eq!(standing(&world).await, "one failed; remove_archive requested", "{key}: {answer}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_and_a_cancelled_job_record_nothing() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let tenant = world.tenant("school").await;
        expect(&worker.request_archive(&tenant, "one", &json!({})).await, "success");
        let (job, attempt) = (worker.next_of("archive").await, Uuid::new_v4());
        expect(&worker.begin(job, attempt).await, "success");
        let newer = Worker::claim(world.session().await).await;
        assert_eq!(expect(&worker.record(job, attempt).await, "error"), "stale_epoch");
        assert_eq!(expect(&newer.record(job, attempt).await, "error"), "not_found", "it has not claimed it");
        assert_eq!(newer.next_of("archive").await, job);
        let second = Uuid::new_v4();
        expect(&newer.begin(job, second).await, "success");

        // Given up mid-way: the removal of what both began waits until no process can be at it any more.
        let backup = newer.begin(job, second).await["detail"]["backup_id"].clone();
        expect(&newer.step("cancel_backup", &json!({ "backup_id": backup })).await, "success");
        expect(&newer.step("cancel_backup", &json!({ "backup_id": backup })).await, "unchanged");
        assert_eq!(expect(&newer.record(job, second).await, "error"), "cancelled");
        assert_eq!(expect(&newer.heartbeat(job).await, "error"), "cancelled");
        assert_eq!(standing(&world).await, "one cancelled; remove_archive requested");
        let waits = newer.claim_kind("remove_archive").await;
        expect(&waits, "unchanged");
        assert!(waits["detail"]["due_in_ms"].as_i64().unwrap() > 60_000, "{waits}");
        assert_eq!(observed(&newer, "one").await["job"]["kind"], "archive", "the removal is no news of the backup");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_requests_of_both_methods_are_open_at_most() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let tenant = world.tenant("school").await;
        for n in 0..5 {
            expect(&worker.request(&tenant, &format!("snapshot-{n}")).await, "success");
            expect(&worker.request_archive(&tenant, &format!("archive-{n}"), &json!({})).await, "success");
        }
        for answer in [worker.request(&tenant, "more").await, worker.request_archive(&tenant, "more", &json!({})).await]
        {
            assert_eq!(expect(&answer, "busy"), "busy");
        }
        // One job of a tenant at a time, of whichever kind.
        worker.next_of("archive").await;
        expect(&worker.claim_kind("snapshot").await, "unchanged");
        expect(&worker.step("cancel_tenant_jobs", &tenant.options(&json!({}))).await, "success");
        assert!(standing(&world).await.ends_with("; "), "none began an upload, so nothing is to be removed");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_tables_than_half_of_the_servers_locks_are_refused() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let tenant = world.tenant("school").await;
        let budget: i64 = world.text("SELECT edu_matrix_hub_schema._lock_budget()").await.parse().unwrap();
        let tables = budget / 2 + 1;
        // In transactions that the lock table has room for.
        for first in (1..=tables).step_by(1000) {
            let last = (first + 999).min(tables);
            let some = format!(
                "DO $$ BEGIN FOR n IN {first}..{last} LOOP EXECUTE format('CREATE TABLE school.t%s ()', n); END LOOP; END $$"
            );
            world.as_owner(&tenant, &some).await;
        }
        expect(&worker.request_archive(&tenant, "one", &json!({})).await, "success");
        let job = worker.next_of("archive").await;
        let answer = worker.begin(job, Uuid::new_v4()).await;
        assert_eq!(expect(&answer, "error"), "too_many_tables");
        assert_eq!((&answer["detail"]["tables"], &answer["detail"]["budget"]), (&json!(tables), &json!(budget)));
        assert_eq!(standing(&world).await, "one failed; ");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_owner_cannot_read_whole_is_refused_before_a_byte_is_written() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let tenant = world.tenant("school").await;
        world.as_owner(&tenant, "CREATE TABLE school.mine (id int)").await;
        world.run("CREATE TABLE school.theirs (id int)").await;
        expect(&worker.request_archive(&tenant, "one", &json!({})).await, "success");
        let job = worker.next_of("archive").await;
        let answer = worker.begin(job, Uuid::new_v4()).await;
        assert_eq!(expect(&answer, "error"), "unreadable_tables");
        assert_eq!(
            answer["detail"]["statements"],
            json!([format!("ALTER TABLE school.theirs OWNER TO {}", tenant.owner)])
        );
        assert_eq!(standing(&world).await, "one failed; ", "nothing was begun");

        // A lock of another call is no failure.
        world.run("DROP TABLE school.theirs").await;
        expect(&worker.request_archive(&tenant, "two", &json!({})).await, "success");
        let job = worker.next_of("archive").await;
        let other = world.superuser().await;
        let lock = format!("BEGIN; SELECT edu_matrix_hub_schema._tenant_lock('{}', 'structure', true)", tenant.id);
        other.batch_execute(&lock).await.unwrap();
        let answer = worker.begin(job, Uuid::new_v4()).await;
        expect(&answer, "busy");
        assert_eq!(standing(&world).await, "one failed, two requested; archive requested");
        other.batch_execute("ROLLBACK").await.unwrap();
        world.run("UPDATE edu_matrix_hub_schema.schema_jobs SET not_before = now() WHERE state = 'requested'").await;
        expect(&set_access(&worker.client, &tenant, "Suspended").await, "success");
        worker.archive().await;
        assert_eq!(standing(&world).await, "one failed, two complete; ", "also of one that is suspended");

        // A schema that is gone, or is called otherwise.
        expect(&worker.request_archive(&tenant, "three", &json!({})).await, "success");
        world.run("ALTER SCHEMA school RENAME TO elsewhere").await;
        let answer = worker.begin(worker.next_of("archive").await, Uuid::new_v4()).await;
        assert_eq!(expect(&answer, "error"), "schema_missing");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_has_a_day_to_come_back() {
    with_world(|world: World| async move {
        let worker = Worker::claim(world.session().await).await;
        let tenant = world.tenant("school").await;
        expect(&worker.request_archive(&tenant, "one", &json!({})).await, "success");
        let away = json!({ "status": "error", "message": "the store is not reachable", "retry": true });
        for _ in 0..7 {
            let job = worker.next_of("archive").await;
            assert_eq!(worker.finish(job, &away).await["detail"]["retry"], true);
            assert_eq!(standing(&world).await, "one requested; archive requested");
            world.run("UPDATE edu_matrix_hub_schema.schema_jobs SET not_before = now()").await;
        }
        let job = worker.next_of("archive").await;
        // One that waited for its store for long is tried a few times all the same.
        world.run("UPDATE edu_matrix_hub_schema.schema_jobs SET requested_at = now() - interval '2 days'").await;
        assert_eq!(worker.finish(job, &away).await["detail"]["retry"], true);
        world.run("UPDATE edu_matrix_hub_schema.schema_jobs SET not_before = now(), failures = 20").await;
        assert_eq!(worker.finish(worker.next_of("archive").await, &away).await["detail"]["retry"], false);
        // What a person has to do something about is said at once.
        expect(&worker.request_archive(&tenant, "two", &json!({})).await, "success");
        let job = worker.next_of("archive").await;
        let refused = json!({ "status": "error", "message": "the store refused", "retry": false, "reason": "insufficient_privilege" });
        expect(&worker.finish(job, &refused).await, "success");
        assert_eq!(standing(&world).await, "one failed, two failed; ");
        let reason = "SELECT reason FROM edu_matrix_hub_schema.schema_jobs ORDER BY requested_at DESC LIMIT 1";
        assert_eq!(world.text(reason).await, "insufficient_privilege");
    })
    .await;
}
