//! What leaves the operator's view is not deleted: the operator takes something away only by what the living object
//! says when it is asked now.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use k8s_openapi::ByteString;
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tenant_schema_operator::api::{ABANDON, CONFIRM_DROP, PAUSED, SchemaBackup, TENANT_SCHEMA_FINALIZER, TenantSchema};

use crate::{
    tools::operator::Process,
    world::{World, condition},
};

const ROWS: &str =
    "SELECT schema_name, status FROM edu_matrix_hub_schema.tenant_schemas ORDER BY schema_name, created_at";

/// What these tests do in their world.
trait Views {
    async fn delete_tenant_in_view_of_both(&self, name: &str);
    async fn try_show(&self, name: &str, shown: bool) -> kube::Result<TenantSchema>;
    async fn show(&self, name: &str, shown: bool);
    async fn show_database(&self, shown: bool);
    async fn told(&self, name: &str) -> Value;
    fn lose(&self, name: &str);
    async fn until_row(&self, schema: &str, status: &str);
}

impl Views for World {
    /// Labels a tenant for this operator or for another one.
    async fn try_show(&self, name: &str, shown: bool) -> kube::Result<TenantSchema> {
        let to = if shown { self.id.clone() } else { format!("{}-other", self.id) };
        let patch = json!({ "metadata": { "labels": { "e2e": to } } });
        self.api::<TenantSchema>().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await
    }

    async fn show(&self, name: &str, shown: bool) {
        self.try_show(name, shown).await.unwrap();
    }

    /// The same of the TenantDatabase.
    async fn show_database(&self, shown: bool) {
        let to = if shown { self.id.clone() } else { format!("{}-other", self.id) };
        let patch = json!({ "metadata": { "labels": { "e2e": to } } });
        self.databases().patch(&self.database_ref(), &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// Status and conditions of a tenant.
    async fn told(&self, name: &str) -> Value {
        serde_json::to_value(self.api::<TenantSchema>().get(name).await.unwrap().status).unwrap()
    }

    /// Takes a tenant out of etcd, as a loss does and as a deletion does that ignored a finalizer: the API server tells
    /// that it is gone as it was, without a deletion timestamp.
    fn lose(&self, name: &str) {
        let key = format!("/registry/edumatrixhub.io/tenantschemas/{}/{name}", self.namespace);
        let body = json!({ "key": ByteString(key.into_bytes()) }).to_string();
        let port = devcluster::shared().unwrap().control_plane().etcd_port;
        let mut etcd = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let length = body.len();
        write!(etcd, "POST /v3/kv/deleterange HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        etcd.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("\"deleted\":\"1\""), "{answer}");
    }

    async fn until_row(&self, schema: &str, status: &str) {
        let row = format!("SELECT status FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name = '{schema}'");
        self.eventually(&format!("{schema} is {status}"), async || self.sql(&row) == status).await;
    }

    /// Deletes a tenant that the operator of the database does not see yet. The one that sees it may let it go at once, since what is
    /// retained asks nothing of a database.
    async fn delete_tenant_in_view_of_both(&self, name: &str) {
        let retain = json!({ "spec": { "deletionPolicy": "Retain" } });
        self.api::<TenantSchema>().patch(name, &PatchParams::default(), &Patch::Merge(&retain)).await.unwrap();
        self.api::<TenantSchema>().delete(name, &DeleteParams::default()).await.unwrap();
        match self.try_show(name, false).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => panic!("{error}"),
        }
        self.until_gone(&self.api::<TenantSchema>(), name).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_leaves_the_view_is_left_alone_and_comes_back_as_it_was() {
    let world = World::new(json!({ "limits": { "maxDeletionsPerHour": 2 } })).await;
    let names = ["academy", "college", "dropped", "lyceum", "paused", "school"];
    for name in names {
        let policy = if name == "dropped" { "Drop" } else { "BackupThenDrop" };
        world.apply_tenant(name, json!({ "schemaName": name, "deletionPolicy": policy })).await;
        world.ready_tenant(name).await;
        world.sql_as(name, "owner", &format!("CREATE TABLE {name}.pupils AS SELECT 7 AS id"));
    }
    // As they stand in a repository.
    world.confirm("dropped", CONFIRM_DROP).await;
    world.annotate::<TenantSchema>("paused", PAUSED, "").await;
    world.tenant_says("paused", "Paused", "Paused", "").await;
    world.next_survey().await;
    let rows = world.sql(ROWS);
    let all_stand = || {
        assert_eq!(world.sql(ROWS), rows);
        for name in names {
            assert_eq!(world.sql_as(name, "reader", &format!("SELECT id FROM {name}.pupils")), "7");
        }
    };

    for name in names {
        world.show(name, false).await;
    }
    world.next_survey().await;
    world.next_survey().await;
    all_stand();
    // What is done to it meanwhile is not done: no operator sees it.
    let tenants = world.api::<TenantSchema>();
    let config = json!({ "spec": { "config": { "grade": 8 } } });
    tenants.patch("school", &PatchParams::default(), &Patch::Merge(&config)).await.unwrap();
    tenants.delete("lyceum", &DeleteParams::default()).await.unwrap();
    world.next_survey().await;
    all_stand();
    assert_eq!(tenants.get("lyceum").await.unwrap().finalizers(), [TENANT_SCHEMA_FINALIZER]);
    assert_eq!(world.errors(), 0, "an error surfaced");

    // It comes back into view, and all of it is done.
    for name in names {
        world.show(name, true).await;
    }
    let grade = "SELECT config ->> 'grade' FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name = 'school'";
    world.eventually("the change arrives", async || world.sql(grade) == "8").await;
    world.until_gone(&tenants, "lyceum").await;
    assert!(world.schemas("lyceum")[0].starts_with("lyceum_bak_"));

    // In and out of view as fast as can be, it is looked at as ever.
    for _ in 0..5 {
        world.show("college", false).await;
        world.show("college", true).await;
    }
    world.sql("DROP SCHEMA college CASCADE");
    world.stalled_tenant("college", "SchemaMissing").await;
    world.delete_tenant("college").await;
    world.remove_annotation("paused", PAUSED).await;
    world.settled_tenant("paused").await;
    let patch = json!({ "spec": { "config": { "grade": 9 } } });
    tenants.patch("academy", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    world.settled_tenant("academy").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finalizer_that_was_passed_over_is_made_up_for_with_every_guard_and_a_lost_object_is_lost() {
    let mut world = World::new(json!({ "limits": { "maxDeletionsPerHour": 1 } })).await;
    world.database_ready().await;
    // The first is deleted while it is made, as far as can be told; the wish to drop it was for another day.
    world.apply_tenant("confirmed", json!({ "schemaName": "confirmed", "deletionPolicy": "Drop" })).await;
    world.ready_tenant("confirmed").await;
    world.confirm("confirmed", CONFIRM_DROP).await;
    world.lose("confirmed");
    world.until_row("confirmed", "dropped").await;
    assert!(world.schemas("confirmed")[0].starts_with("confirmed_bak_"), "set aside, and never dropped");

    // Pause, abandon, policy and brake hold as they do for a deletion: the row is released and the schema stays.
    let kept = [("paused", PAUSED, "BackupThenDrop"), ("abandoned", ABANDON, "Drop"), ("retained", "", "Retain")];
    for (name, annotation, policy) in kept.into_iter().chain([("braked", "", "BackupThenDrop")]) {
        world.apply_tenant(name, json!({ "schemaName": name, "deletionPolicy": policy })).await;
        world.ready_tenant(name).await;
        if !annotation.is_empty() {
            world.confirm(name, annotation).await;
            world.confirm(name, CONFIRM_DROP).await;
        }
        world.lose(name);
        world.until_row(name, "released").await;
        assert_eq!(world.schemas(name), [name]);
    }

    // One that was made by an earlier process, or earlier, was lost and not deleted.
    world.apply_database(json!({})).await;
    world.apply_tenant("lost", json!({ "schemaName": "lost" })).await;
    world.ready_tenant("lost").await;
    world.stop_operator().await;
    world.start_operator().await;
    world.database_ready().await;
    world.lose("lost");
    world.until_row("lost", "released").await;
    assert_eq!(world.schemas("lost"), ["lost"]);
    assert_eq!(world.errors(), 0, "an error surfaced");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_and_their_database_are_handed_to_another_operator_by_a_label() {
    let mut world = World::new(json!({ "defaults": { "deletionPolicy": "Retain" } })).await;
    let tenants = world.api::<TenantSchema>();
    for (name, spec) in [
        ("dropped", json!({ "schemaName": "dropped", "deletionPolicy": "Drop" })),
        ("leaving", json!({ "schemaName": "leaving", "deletionPolicy": "BackupThenDrop" })),
        ("retained", json!({ "schemaName": "retained" })),
        ("school", json!({ "schemaName": "school" })),
    ] {
        world.apply_tenant(name, spec).await;
        world.ready_tenant(name).await;
    }
    world.confirm("dropped", CONFIRM_DROP).await;
    let other = Process::start_selecting(&world, &format!("e2e={}-other", world.id));
    let held = "tenant_schema_operator_lane_held{";
    let told = [world.told("dropped").await, world.told("school").await];

    // First the tenants. The operator that sees them does not see their database, and says so where there is something
    // to do.
    for name in ["dropped", "leaving", "school"] {
        world.show(name, false).await;
    }
    tenants.delete("leaving", &DeleteParams::default()).await.unwrap();
    let message =
        world.tenant_says("leaving", "Reconciling", "DatabaseUnavailable", "is there and out of this operator").await;
    assert!(message.contains("deletion waits since"), "{message}");
    world.next_survey().await;
    assert_eq!(world.schemas("leaving"), ["leaving"]);
    assert_eq!([world.told("dropped").await, world.told("school").await], told, "no status flips");

    // Then the database. The operator that does not see it any more gives it back, and what was the policy by its
    // defaults stays so.
    let epoch = world.epoch().await;
    world.show_database(false).await;
    world.eventually("the other has the database", async || other.count(held) == 1 && world.count(held) == 0).await;
    world.until_gone(&tenants, "leaving").await;
    assert!(world.schemas("leaving")[0].starts_with("leaving_bak_"));
    world.delete_tenant("retained").await;
    assert_eq!(world.schemas("retained"), ["retained"]);
    let patch = json!({ "spec": { "config": { "grade": 7 } } });
    tenants.patch("school", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    world.settled_tenant("school").await;
    assert_eq!(world.told("dropped").await, told[0]);
    world.next_survey().await;
    assert_eq!(world.epoch().await, epoch + 1, "the lane changed hands once");

    // It cannot go while an operator of other labels has tenants in it.
    world.show("school", true).await;
    world.show("dropped", true).await;
    world.databases().delete(&world.database_ref(), &DeleteParams::default()).await.unwrap();
    world.database_stalled("InUse", "that this operator does not watch").await;
    world.delete_tenant_in_view_of_both("school").await;
    world.delete_tenant_in_view_of_both("dropped").await;
    world.until_gone(&world.databases(), &world.database_ref()).await;
    let (status, log) = other.terminate();
    assert!(status.success() && !log.contains("panicked"), "{log}");
    world.stop_operator().await;
    world.clean_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_or_a_finalizer_that_was_changed_by_hand_comes_back_at_once() {
    let world = World::new(json!({})).await;
    let (tenants, backups) = (world.api::<TenantSchema>(), world.api::<SchemaBackup>());
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    world.apply_backup("before-exams", json!({ "tenantSchemaRef": { "name": "school" } })).await;
    world.until_ready(&backups, "before-exams", "True", "Completed").await;
    world.next_survey().await;
    let right = async || {
        let status = |object: Value| {
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions
                .into_iter()
                .map(|it| (it["type"].to_string(), it["status"].to_string(), it["reason"].to_string()))
        };
        let tenant = serde_json::to_value(tenants.get("school").await.unwrap()).unwrap();
        let backup = serde_json::to_value(backups.get("before-exams").await.unwrap()).unwrap();
        let database = serde_json::to_value(world.database_ready().await).unwrap();
        let facts = (tenant["status"]["schemaName"].clone(), tenant["metadata"]["finalizers"].clone());
        (
            status(tenant).collect::<Vec<_>>(),
            status(backup).collect::<Vec<_>>(),
            status(database).collect::<Vec<_>>(),
            facts,
        )
    };
    let before = right().await;
    let wrong = json!({ "status": { "schemaName": "other", "conditions": [{
        "type": "Ready", "status": "False", "reason": "Conflict", "message": "by hand", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }] } });
    let by_hand = PatchParams::default();
    tenants.patch_status("school", &by_hand, &Patch::Merge(&wrong)).await.unwrap();
    let mut wrong = wrong;
    wrong["status"].as_object_mut().unwrap().remove("schemaName");
    backups.patch_status("before-exams", &by_hand, &Patch::Merge(&wrong)).await.unwrap();
    let databases = world.databases();
    databases.patch_status(&world.database_ref(), &by_hand, &Patch::Merge(&wrong)).await.unwrap();
    world.eventually("all are told as they are", async || right().await == before).await;
    let none = json!({ "metadata": { "finalizers": null } });
    tenants.patch("school", &by_hand, &Patch::Merge(&none)).await.unwrap();
    world.eventually("the finalizer is back", async || right().await == before).await;

    // It was one look each: nothing is written any more.
    let written = world.written().await;
    world.next_survey().await;
    assert_eq!(world.written().await, written);
    world.finish().await;
}

/// A tool that restores objects writes their status too, and then owns the parts of it that were others before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_of_which_another_client_owns_a_part_goes_when_its_time_is_over() {
    let mut world = World::new(json!({})).await;
    let tenants = world.api::<TenantSchema>();
    world.write_secret(json!({ "port": devcluster::free_port().unwrap().to_string() })).await;
    world.database_reconciling("ConnectionFailed", "").await;
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.tenant_says("school", "Reconciling", "DatabaseUnavailable", "").await;
    world.stop_operator().await;
    let mut forged = tenants.get("school").await.unwrap();
    let conditions = &mut forged.status.as_mut().unwrap().conditions;
    conditions.iter_mut().find(|it| it.type_ == "Reconciling").unwrap().reason = "Restored".to_owned();
    tenants.replace_status("school", &PostParams::default(), &forged).await.unwrap();
    world.write_secret(json!({})).await;
    world.start_operator().await;
    let school = world.ready_tenant("school").await;
    assert!(condition(&school, "Reconciling").is_none());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_lost_a_lane_says_nothing_of_its_tenants_and_backups() {
    let connection = World::connection(&json!({ "statementTimeoutSeconds": 5 }));
    let world = World::without_operator(connection).await;
    let first = Process::start(&world, "info");
    let names: Vec<_> = (0..12).map(|number| format!("school{number:02}")).collect();
    for name in &names {
        world.apply_tenant(name, json!({ "schemaName": name })).await;
        world.settled_tenant(name).await;
    }
    // A survey may wait for longer than a call does, and ends when the lock is gone.
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
                 AND query NOT LIKE '%survey_tenants%'";
    let lock = world.session(
        "BEGIN; LOCK TABLE edu_matrix_hub_schema.tenant_schemas, edu_matrix_hub_schema.schema_backups IN SHARE MODE",
    );
    // A backup is as much of the lane as a tenant.
    world.apply_backup("before-exams", json!({ "tenantSchemaRef": { "name": "school00" } })).await;
    for name in &names {
        world.apply_tenant(name, json!({ "schemaName": name, "config": { "grade": 7 } })).await;
    }
    world.eventually("calls are under way", async || world.sql(waits).parse::<i64>().unwrap() > 1).await;
    first.signal("STOP");
    world.eventually("the server has ended them", async || world.sql(waits) == "0").await;
    drop(lock);
    world.expire_lease().await;
    let second = Process::start(&world, "info");
    for name in &names {
        world.settled_tenant(name).await;
    }
    world.until_ready(&world.api::<SchemaBackup>(), "before-exams", "True", "Completed").await;
    world.next_survey().await;
    let written = world.written().await;
    let failed = |process: &Process| process.log().matches("reconcile failed").count();
    let before = failed(&first);
    first.signal("CONT");
    world.eventually("the first learns how its calls ended", async || failed(&first) > before).await;
    world.eventually("and stands by", async || first.count("tenant_schema_operator_lane_held{") == 0).await;
    world.next_survey().await;
    assert_eq!(world.written().await, written, "{}", first.log());
    for process in [first, second] {
        let (status, log) = process.terminate();
        assert!(status.success() && !log.contains("panicked"), "{log}");
    }
    world.finish().await;
}
