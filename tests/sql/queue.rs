//! A queue for any job: of any kind of the list, about any subject, with or without a backup and a tenant, and the
//! objects that wait for it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tenant_schema_operator::{
    contract::{ClaimedJob, JobClass, JobKind, JobSubject, SubjectKind},
    postgres::script::Form,
};
use uuid::Uuid;

use crate::backup_world::{Worker, World, id, with_world};
use crate::support::{Tenant, call, expect};

/// What a future release adds: a kind of each class. The function that does them is not there, as for programs it never is.
const FUTURE: &str = "CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._job_kinds() RETURNS jsonb LANGUAGE sql IMMUTABLE AS
    $$ SELECT '{\"snapshot\": \"long\", \"purge\": \"short\", \"probe\": \"short\", \"restore\": \"long\", \"mirror\": \"program\", \"archive\": \"program\", \"remove_archive\": \"program\"}'::pg_catalog.jsonb $$";
const STATES: &str =
    "SELECT string_agg(kind || ' ' || state, ', ' ORDER BY requested_at, kind) FROM edu_matrix_hub_schema.schema_jobs";

/// What an operator of today asks for.
fn known() -> Value {
    json!({ "holder": "a test", "kinds": JobKind::ALL, "max_running": 1 })
}

/// Queues a job, as a function of a future release would; the values are those of the columns.
async fn queue(world: &World, columns: &str, values: &str) -> Result<Uuid, tokio_postgres::Error> {
    let sql = format!(
        "INSERT INTO edu_matrix_hub_schema.schema_jobs (requested_by, {columns}) VALUES ('a test', {values}) RETURNING id"
    );
    world.database.admin.query_one(&sql, &[]).await.map(|row| row.get(0))
}

/// A job about the whole database, for the TenantDatabase.
async fn probe(world: &World) -> Uuid {
    let columns = "kind, subject_kind, subject_id, object_kind, object_name, object_uid";
    let installation = "(SELECT installation_id FROM edu_matrix_hub_schema.installation)";
    queue(world, columns, &format!("'probe', 'database', {installation}, 'TenantDatabase', 'default', 'uid-d'"))
        .await
        .unwrap()
}

/// What the job that is claimed next is of, as the operator reads it.
fn claimed(answer: &Value) -> ClaimedJob {
    expect(answer, "success");
    serde_json::from_value(answer["detail"].clone()).unwrap()
}

/// Which objects a claimed job wakes.
fn wakes(answer: &Value) -> Vec<String> {
    expect(answer, "success");
    let text = |object: &Value, key: &str| object[key].as_str().unwrap_or("-").to_owned();
    let objects = answer["detail"]["wake"].as_array().unwrap();
    let mut woken: Vec<_> =
        objects.iter().map(|o| ["kind", "namespace", "name", "uid"].map(|key| text(o, key)).join(" ")).collect();
    woken.sort();
    woken
}

fn code(result: Result<Uuid, tokio_postgres::Error>) -> String {
    result.unwrap_err().code().unwrap().code().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kinds_are_one_list() {
    with_world(|world: World| async move {
        let listed: BTreeMap<String, String> =
            serde_json::from_value(world.database.one("SELECT edu_matrix_hub_schema._job_kinds()").await).unwrap();
        let known: BTreeMap<_, _> =
            JobKind::all().map(|kind| (kind.to_string(), kind.class().unwrap().as_str().to_owned())).collect();
        assert_eq!(listed, known, "the operator knows the same kinds, of the same classes");
        assert!(listed.values().all(|class| JobClass::ALL.iter().any(|known| known.as_str() == class)));
        // The table takes these and no other.
        for kind in listed.keys() {
            queue(&world, "kind, subject_kind, subject_id", &format!("'{kind}', 'tenant', gen_random_uuid()"))
                .await
                .unwrap();
        }
        let other = queue(&world, "kind, subject_kind, subject_id", "'other', 'tenant', gen_random_uuid()").await;
        assert_eq!(code(other), "23514");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_about_something_and_alone_with_it() {
    with_world(|world: World| async move {
        world.run(FUTURE).await;
        let first = probe(&world).await;
        let columns = "kind, subject_kind, subject_id";
        let same = "'database', (SELECT installation_id FROM edu_matrix_hub_schema.installation)";
        assert_eq!(code(queue(&world, columns, &format!("'probe', {same}")).await), "23505");
        queue(&world, columns, &format!("'mirror', {same}")).await.unwrap();
        queue(&world, columns, "'probe', 'tenant', gen_random_uuid()").await.unwrap();
        world.run(&format!("UPDATE edu_matrix_hub_schema.schema_jobs SET state = 'done' WHERE id = '{first}'")).await;
        probe(&world).await;
        for (columns, values) in [
            ("kind", "'probe'"),
            ("kind, schema_id", "'probe', gen_random_uuid()"),
            ("kind, subject_kind", "'probe', 'tenant'"),
            ("kind, subject_id", "'probe', gen_random_uuid()"),
        ] {
            assert_eq!(code(queue(&world, columns, values).await), "23514", "{columns}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_a_newer_release_waits_for_an_operator_that_knows_it() {
    with_world(|world: World| async move {
        world.run(FUTURE).await;
        let worker = Worker::claim(world.session().await).await;
        let job = probe(&world).await;
        expect(&worker.claim_job(&known()).await, "unchanged");
        let answer = worker.claim_job(&json!({ "holder": "newer", "kinds": ["probe"], "max_running": 1 })).await;
        assert_eq!(wakes(&answer), ["TenantDatabase - default uid-d"]);
        let installation: Uuid =
            world.database.one("SELECT installation_id FROM edu_matrix_hub_schema.installation").await;
        let claimed = claimed(&answer);
        assert_eq!(
            (claimed.job_id, claimed.schema_id, claimed.schema_name, claimed.backup_id, claimed.storage_bytes),
            (job, None, None, None, None)
        );
        let subject = JobSubject { kind: SubjectKind::from("database"), id: installation };
        assert_eq!(claimed.subject, Some(subject));

        // While it runs, and it runs on no tenant, tenants have their turns.
        let tenant = world.database.tenant("school").await;
        worker.request(&tenant, "b1").await;
        let snapshot = id(&worker.claim_job(&known()).await["detail"]["job_id"]);
        expect(&worker.run(snapshot).await, "partial");
        expect(&worker.run(snapshot).await, "success");

        // What it does is not in the database; how it ends is.
        expect(&worker.heartbeat(job).await, "success");
        assert_eq!(expect(&worker.run(job).await, "error"), "internal");
        let lost = json!({ "status": "error", "message": "the program was killed", "retry": true });
        assert_eq!(worker.finish(job, &lost).await["detail"]["retry"], true);
        assert_eq!(world.text(STATES).await, "probe requested, snapshot done");
        world.run("UPDATE edu_matrix_hub_schema.schema_jobs SET not_before = now()").await;
        claimed_again(&worker, job).await;
        let refused = json!({ "status": "error", "message": "permission denied", "sqlstate": "42501" });
        assert_eq!(worker.finish(job, &refused).await["detail"]["retry"], false);
        assert_eq!(world.text(STATES).await, "probe failed, snapshot done");
        let log = "SELECT string_agg(status || ' ' || (schema_id IS NULL) || ' ' || metadata::text, ', ' ORDER BY id)
                   FROM edu_matrix_hub_schema.schema_operations WHERE type = 'probe'";
        assert_eq!(world.text(log).await, r#"error true {"retry": true}, error true {"retry": false}"#);
    })
    .await;
}

async fn claimed_again(worker: &Worker, job: Uuid) {
    let answer = worker.claim_job(&json!({ "kinds": ["probe"] })).await;
    assert_eq!((claimed(&answer).job_id, &answer["detail"]["attempt"]), (job, &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_class_has_places_of_its_own() {
    with_world(|world: World| async move {
        world.run(FUTURE).await;
        let worker = Worker::claim(world.session().await).await;
        let names = ["a", "b", "c", "d"];
        let mut tenants = Vec::new();
        for name in names {
            tenants.push(world.database.tenant(name).await);
        }
        let one = json!({ "holder": "newer", "max_running": 1 });
        worker.request(&tenants[0], "a1").await;
        assert_eq!(claimed(&worker.claim_job(&one).await).kind, JobKind::Snapshot);
        for (kind, tenant) in ["restore", "mirror", "probe"].into_iter().zip(&tenants[1..]) {
            about(&world, kind, tenant).await;
        }
        // A restore is as long as a snapshot, and waits for its place; the two of other classes do not.
        let mut kinds = Vec::new();
        for _ in 0..2 {
            kinds.push(claimed(&worker.claim_job(&one).await).kind.to_string());
        }
        kinds.sort();
        assert_eq!(kinds, ["mirror", "probe"]);
        expect(&worker.claim_job(&one).await, "unchanged");
        let restore = claimed(&worker.claim_job(&json!({ "max_running": 2 })).await);
        assert_eq!((restore.kind.as_str(), restore.schema_name.as_deref()), ("restore", Some("b")));
        assert_eq!(restore.subject.unwrap().kind, SubjectKind::Tenant);
    })
    .await;
}

/// Queues a job about a tenant.
async fn about(world: &World, kind: &str, tenant: &Tenant) -> Uuid {
    let values = format!("'{kind}', 'tenant', '{0}', '{0}'", tenant.id);
    queue(world, "kind, subject_kind, subject_id, schema_id", &values).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_about_a_tenant_ends_with_it_and_what_reads_a_backup_does_it_no_harm() {
    with_world(|world: World| async move {
        world.run(FUTURE).await;
        let worker = Worker::claim(world.session().await).await;
        let tenant = world.database.tenant("school").await;
        let made = worker.request(&tenant, "b1").await;
        let backup = id(&made["detail"]["backup_id"]);
        let snapshot = worker.next_job().await;
        expect(&worker.run(snapshot).await, "partial");
        expect(&worker.run(snapshot).await, "success");

        // It needs the backup and is about the tenant; another is about the backup alone.
        let columns = "kind, subject_kind, subject_id, schema_id, backup_id";
        queue(&world, columns, &format!("'restore', 'tenant', '{0}', '{0}', '{backup}'", tenant.id)).await.unwrap();
        let reading = queue(&world, "kind, backup_id, schema_id", &format!("'mirror', '{backup}', '{}'", tenant.id))
            .await
            .unwrap();
        let jobs = call(&worker.client, "cancel_tenant_jobs", &tenant.options(&json!({}))).await;
        assert_eq!(jobs["detail"]["cancelled"], 1);
        expect(&call(&worker.client, "cancel_tenant_jobs", &tenant.options(&json!({}))).await, "unchanged");
        assert_eq!(world.text(STATES).await, "snapshot done, restore cancelled, mirror requested");

        assert_eq!(worker.next_job().await, reading);
        worker
            .finish(reading, &json!({ "status": "error", "message": "the store is full", "sqlstate": "42501" }))
            .await;
        let state = "SELECT state || ' ' || coalesce(error, '-') FROM edu_matrix_hub_schema.schema_backups";
        assert_eq!(world.text(state).await, "complete -");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claimed_job_names_the_objects_that_its_end_concerns() {
    with_world(|world: World| async move {
        let (tenant, by_hand) = (world.database.tenant("school").await, world.tenant("hand").await);
        let worker = Worker::claim(world.session().await).await;
        let made = worker.request(&tenant, "b1").await;
        let answer = worker.claim_job(&known()).await;
        let both = ["SchemaBackup team-a b1 b1", "TenantSchema team-a school uid-school"];
        assert_eq!(wakes(&answer), both);
        let job = claimed(&answer);
        let subject = JobSubject { kind: SubjectKind::Backup, id: id(&made["detail"]["backup_id"]) };
        assert_eq!((job.kind, job.subject), (JobKind::Snapshot, Some(subject)));
        expect(&worker.run(job.job_id).await, "partial");
        expect(&worker.run(job.job_id).await, "success");

        expect(&worker.step("request_purge", &json!({ "backup_id": made["detail"]["backup_id"] })).await, "success");
        let purge = worker.claim_job(&known()).await;
        assert_eq!(wakes(&purge), both);
        expect(&worker.run(claimed(&purge).job_id).await, "success");

        // A tenant that was made by hand has no object.
        worker.request(&by_hand, "b2").await;
        assert_eq!(wakes(&worker.claim_job(&known()).await), ["SchemaBackup team-a b2 b2"]);
        let nobody = by_hand.options(&json!({ "method": "Snapshot" }));
        expect(&worker.step("request_backup", &nobody).await, "success");
        world.run("UPDATE edu_matrix_hub_schema.schema_jobs SET state = 'done' WHERE state = 'running'").await;
        assert!(wakes(&worker.claim_job(&known()).await).is_empty());

        // Dropped, the tenant waits for its own end.
        let drop = tenant.options(&json!({ "owner_uid": "uid-school", "purge": true }));
        expect(&worker.step("set_aside_tenant_schema", &drop).await, "success");
        assert_eq!(wakes(&worker.claim_job(&known()).await), ["TenantSchema team-a school uid-school"]);
    })
    .await;
}

/// The queue of a release in which every job was about a backup of a tenant.
const FORMER: &str = "
    DROP VIEW edu_matrix_hub_schema.tenant_rows;
    ALTER TABLE edu_matrix_hub_schema.schema_jobs DROP COLUMN subject_kind, DROP COLUMN subject_id, DROP COLUMN object_kind,
        DROP COLUMN object_namespace, DROP COLUMN object_name, DROP COLUMN object_uid, DROP CONSTRAINT schema_jobs_kind_check,
        ALTER COLUMN backup_id SET NOT NULL, ALTER COLUMN schema_id SET NOT NULL,
        ADD CONSTRAINT schema_jobs_kind_check CHECK (kind IN ('snapshot', 'purge'));
    CREATE UNIQUE INDEX schema_jobs_open_key ON edu_matrix_hub_schema.schema_jobs (backup_id, kind) WHERE state IN ('requested', 'running');
    DROP FUNCTION edu_matrix_hub_schema._job_kinds(), edu_matrix_hub_schema._cancel_jobs(uuid, uuid, boolean);
    CREATE FUNCTION edu_matrix_hub_schema._cancel_snapshots(uuid, uuid, boolean) RETURNS integer LANGUAGE sql AS 'SELECT 0'";

#[tokio::test(flavor = "multi_thread")]
async fn a_former_queue_is_upgraded_with_its_jobs() {
    with_world(|world: World| async move {
        let (done, waiting) = (world.database.tenant("done").await, world.database.tenant("waiting").await);
        let worker = Worker::claim(world.session().await).await;
        let made = worker.request(&done, "b1").await;
        let job = worker.next_job().await;
        expect(&worker.run(job).await, "partial");
        expect(&worker.run(job).await, "success");
        worker.request(&waiting, "b2").await;
        let rows = "SELECT jsonb_agg(to_jsonb(j) ORDER BY j.id) FROM edu_matrix_hub_schema.schema_jobs AS j";
        world.run(FORMER).await;
        let before: Value = world.database.one(rows).await;
        for _ in 0..2 {
            world.database.install("postgres", Form::Managed).await.unwrap();
        }
        for file in ["tables", "functions"] {
            let path = format!("{}/sql/verify/{file}.sql", env!("CARGO_MANIFEST_DIR"));
            world.run(&std::fs::read_to_string(path).unwrap()).await;
        }
        let after: Value = world.database.one(rows).await;
        for (before, after) in before.as_array().unwrap().iter().zip(after.as_array().unwrap()) {
            assert!(before.as_object().unwrap().iter().all(|(key, value)| after[key] == *value), "{before} {after}");
        }
        let left = "SELECT count(*) FROM pg_proc WHERE proname = '_cancel_snapshots'";
        assert_eq!(world.text(left).await, "0");

        // The sessions of the operator from before go on, and ask as they always did.
        assert_eq!(code(queue(&world, "kind", "'snapshot'").await), "23514");
        let asked = json!({ "holder": "former", "kinds": ["snapshot", "purge"], "max_running": 1 });
        let answer = worker.claim_job(&asked).await;
        assert_eq!(wakes(&answer), ["SchemaBackup team-a b2 b2", "TenantSchema team-a waiting uid-waiting"]);
        let job = id(&answer["detail"]["job_id"]);
        expect(&worker.run(job).await, "partial");
        expect(&worker.run(job).await, "success");
        expect(&worker.step("request_purge", &json!({ "backup_id": made["detail"]["backup_id"] })).await, "success");
        let purge = worker.claim_job(&asked).await;
        assert_eq!(purge["detail"]["kind"], "purge");
        expect(&worker.run(id(&purge["detail"]["job_id"])).await, "success");
        world.assert_clean().await;
    })
    .await;
}
