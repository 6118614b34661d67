//! Long work: it waits its turn, survives the operator, and ends when it is not wanted any more.

use crate::held_up::HeldUp as _;
use kube::api::DeleteParams;
use serde_json::json;
use tenant_schema_operator::api::{SchemaBackup, TenantSchema};

use crate::world::{Session, World, condition};

/// What these tests do in their world.
pub trait Jobs {
    async fn locked_tenant(&self, name: &str) -> Session;
    async fn backup_of(&self, name: &str, tenant: &str);
    fn job(&self, name: &str) -> String;
    async fn until_blocked(&self, name: &str);
    async fn until_clean(&self);
}

impl Jobs for World {
    /// A tenant with a table that a session has locked, so that a snapshot of it does not get on.
    async fn locked_tenant(&self, name: &str) -> Session {
        self.apply_tenant(name, json!({ "schemaName": name })).await;
        self.ready_tenant(name).await;
        self.sql_as(name, "owner", &format!("CREATE TABLE {name}.pupils AS SELECT generate_series(1, 10) AS id"));
        self.session(&format!("BEGIN; LOCK TABLE {name}.pupils IN ACCESS EXCLUSIVE MODE"))
    }

    async fn backup_of(&self, name: &str, tenant: &str) {
        self.apply_backup(name, json!({ "tenantSchemaRef": { "name": tenant } })).await;
    }

    /// The state of a backup in the catalogue, of its job, and how often it was begun.
    fn job(&self, name: &str) -> String {
        self.sql(&format!(
            "SELECT b.state, j.state, j.attempt FROM edu_matrix_hub_schema.schema_backups AS b \
             JOIN edu_matrix_hub_schema.schema_jobs AS j ON j.backup_id = b.id WHERE b.object_name = '{name}'"
        ))
    }

    /// Waits until a job runs and stands before the lock.
    async fn until_blocked(&self, name: &str) {
        let waits = "SELECT count(*) > 0 FROM pg_stat_activity \
                     WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%run_job%'";
        self.eventually(&format!("{name} stands before the lock"), async || {
            self.job(name).starts_with("running|running|") && self.sql(waits) == "t"
        })
        .await;
    }

    /// What a job that did not end well must not leave behind.
    async fn until_clean(&self) {
        let left = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'edu\\_matrix\\_work\\_%'";
        self.eventually("no sandbox is left", async || self.sql(left) == "0").await;
        let members = "SELECT count(*) FROM pg_auth_members AS m JOIN pg_roles AS r ON r.oid = m.roleid
             JOIN edu_matrix_hub_schema.tenant_schemas AS t ON r.rolname = t.owner_role
             WHERE NOT m.admin_option
               AND m.member = (SELECT nspowner FROM pg_namespace WHERE nspname = 'edu_matrix_hub_schema')";
        assert_eq!(self.sql(members), "0", "no membership outlives its job");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_has_one_job_at_a_time_and_a_deleted_backup_ends_its_own() {
    let world = World::new(json!({ "connection": {
        "secretRef": { "name": "postgres" }, "tls": { "mode": "VerifyFull" }, "maxConnections": 12,
    } }))
    .await;
    let backups = world.api::<SchemaBackup>();
    let lock = world.locked_tenant("school").await;
    world.backup_of("first", "school").await;
    world.until_blocked("first").await;
    let running = world.until_ready(&backups, "first", "False", "Running").await;
    assert!(running.status.unwrap().completion_time.is_none());
    world.backup_of("second", "school").await;
    // Another tenant's turn comes although there is a queue before it.
    world.apply_tenant("academy", json!({ "schemaName": "academy" })).await;
    world.ready_tenant("academy").await;
    world.backup_of("other", "academy").await;
    world.until_ready(&backups, "other", "True", "Completed").await;
    world.until_ready(&backups, "second", "False", "Running").await;
    assert_eq!(world.job("second"), "requested|requested|0");

    // Deleted while it runs, it ends at once, and the next one's turn has come.
    backups.delete("first", &DeleteParams::default()).await.unwrap();
    world.until_gone(&backups, "first").await;
    let ended = world.job("first");
    assert!(ended.starts_with("cancelled|cancelled|"), "{ended}");
    world.until_blocked("second").await;
    drop(lock);
    world.until_ready(&backups, "second", "True", "Completed").await;
    world.until_clean().await;
    assert_eq!(world.schemas("school_bak_").len(), 1);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_an_operator_died_over_is_made_again() {
    let mut world = World::new(json!({})).await;
    let lock = world.locked_tenant("school").await;
    world.backup_of("now", "school").await;
    world.until_blocked("now").await;
    world.kill_operator().await;
    world.start_operator().await;
    world.eventually("it is begun again", async || world.job("now") == "running|running|2").await;
    drop(lock);
    let backup = world.until_ready(&world.api::<SchemaBackup>(), "now", "True", "Completed").await;
    let status = backup.status.unwrap();
    assert_eq!((status.table_count, status.row_count), (Some(1), Some(10)));
    assert_eq!(world.schemas("school_bak_"), [status.location.unwrap()], "of the first attempt nothing is left");
    world.until_clean().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_is_deleted_does_not_wait_for_its_jobs() {
    let world = World::new(json!({})).await;
    let backups = world.api::<SchemaBackup>();
    let lock = world.locked_tenant("school").await;
    world.backup_of("now", "school").await;
    world.backup_of("next", "school").await;
    world.until_blocked("now").await;
    // Setting aside touches no table, so not even the lock is in its way.
    world.api::<TenantSchema>().delete("school", &DeleteParams::default()).await.unwrap();
    world.until_gone(&world.api::<TenantSchema>(), "school").await;
    drop(lock);
    for name in ["now", "next"] {
        world.until_ready(&backups, name, "False", "Cancelled").await;
        assert!(world.job(name).starts_with("cancelled|cancelled|"));
        world.event(name, "BackupFailed", "was cancelled, by hand or because the tenant was deleted").await;
    }
    let [aside] = <[String; 1]>::try_from(world.schemas("school")).unwrap();
    assert_eq!(world.sql(&format!("SELECT count(*) FROM {aside}.pupils")), "10");
    world.until_clean().await;
    world.finish().await;
}

/// One connection is for snapshots by default. What a tenant's code does with it is no reason for a removal to wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_snapshot_keeps_no_removal_waiting_and_is_told_to_who_waits() {
    let world = World::new(json!({})).await;
    let (tenants, backups) = (world.api::<TenantSchema>(), world.api::<SchemaBackup>());
    world.apply_tenant("sly", json!({ "schemaName": "sly" })).await;
    world.apply_tenant("gone", json!({ "schemaName": "gone", "deletionPolicy": "Drop" })).await;
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    for name in ["sly", "gone", "school"] {
        world.ready_tenant(name).await;
    }
    let slow = |body: &str| {
        format!(
            "CREATE OR REPLACE FUNCTION sly.slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN {body} RETURN 1; END'"
        )
    };
    let index = "CREATE TABLE sly.t AS SELECT 1 AS a; CREATE INDEX ON sly.t ((sly.slow(1)))";
    world.sql_as("sly", "owner", &format!("{}; {index}; {}", slow(""), slow("PERFORM pg_sleep(100000);")));
    world.backup_of("endless", "sly").await;
    world.eventually("the snapshot is running", async || world.job("endless") == "running|running|1").await;

    world.backup_of("other", "school").await;
    let queued = "the snapshot is queued: those of other tenants are being made, the oldest since 20";
    world
        .eventually("it says for what it waits", async || {
            condition(&backups.get("other").await.unwrap(), "Ready")
                .is_some_and(|(_, _, text)| text.starts_with(queued))
        })
        .await;
    world.dropped_tenant("gone").await;
    world.until_gone(&tenants, "gone").await;
    assert_eq!(
        (world.job("endless"), world.job("other")),
        ("running|running|1".into(), "requested|requested|0".into())
    );

    backups.delete("endless", &DeleteParams::default()).await.unwrap();
    world.until_gone(&backups, "endless").await;
    world.until_ready(&backups, "other", "True", "Completed").await;
    world.until_clean().await;
    world.finish().await;
}

/// There is no survey within the hour, and no object is at work: only the end of a job tells them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_job_wakes_the_objects_that_it_concerns() {
    let world = World::new(json!({ "surveyPeriodSeconds": 3600 })).await;
    let (tenants, backups) = (world.api::<TenantSchema>(), world.api::<SchemaBackup>());
    world.apply_tenant("school", json!({ "schemaName": "school", "deletionPolicy": "Drop" })).await;
    world.ready_tenant("school").await;
    world.backup_of("first", "school").await;
    world.until_ready(&backups, "first", "True", "Completed").await;
    let last_backup = async || {
        let status = tenants.get("school").await.unwrap().status.unwrap();
        status.last_backup.and_then(|last| last.name)
    };
    world.eventually("its tenant tells it", async || last_backup().await.as_deref() == Some("first")).await;

    // A backup that is finished looks at nothing by itself. The next one rings for both jobs.
    world.sql("SELECT edu_matrix_hub_schema.request_purge(jsonb_build_object('backup_id', b.id)) FROM edu_matrix_hub_schema.schema_backups AS b");
    world.backup_of("second", "school").await;
    world.until_ready(&backups, "first", "True", "Expired").await;
    world.until_ready(&backups, "second", "True", "Completed").await;
    world.eventually("its tenant tells that", async || last_backup().await.as_deref() == Some("second")).await;

    world.dropped_tenant("school").await;
    world.until_gone(&tenants, "school").await;
    world.finish().await;
}

/// A snapshot runs code of the tenant's, which can leave settings behind in its session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_in_which_a_tenants_code_ran_is_closed() {
    let world = World::new(json!({})).await;
    world.apply_tenant("sly", json!({ "schemaName": "sly" })).await;
    world.ready_tenant("sly").await;
    let function = "CREATE FUNCTION sly.seen(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
                    BEGIN PERFORM setval('sly.pid', pg_backend_pid()), set_config('sly.left', 'behind', false); RETURN 1; END $$";
    let table =
        "CREATE TABLE sly.t AS SELECT 1 AS a; CREATE INDEX ON sly.t ((sly.seen(1))); SELECT setval('sly.pid', 1)";
    world.sql_as("sly", "owner", &format!("CREATE SEQUENCE sly.pid; {function}; {table}"));
    world.backup_of("now", "sly").await;
    world.until_ready(&world.api::<SchemaBackup>(), "now", "True", "Completed").await;
    assert_ne!(world.sql("SELECT last_value FROM sly.pid"), "1", "the code ran");
    let open = "SELECT count(*) FROM pg_stat_activity WHERE pid = (SELECT last_value FROM sly.pid)";
    world.eventually("the session is closed", async || world.sql(open) == "0").await;
    world.finish().await;
}
