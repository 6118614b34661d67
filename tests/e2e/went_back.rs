//! PostgreSQL is an older state of itself under a living operator: the operator notices, and believes nothing that is
//! not true any more.

use std::{path::Path, process::Command};

use devcluster::StopMode;
use serde_json::json;
use tenant_schema_operator::api::{RECLAIM, RECREATE, TenantDatabase, TenantSchema};

use crate::{
    tools::own_server,
    world::{World, condition},
};

/// Copies a directory with owners and rights.
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").args(["-a", "-T"]).args([from, to]).status().unwrap().success());
}

/// What these tests do in their world.
trait WentBack {
    async fn epoch_of_status(&self) -> i64;
    async fn database_message(&self) -> String;
}

impl WentBack for World {
    async fn epoch_of_status(&self) -> i64 {
        let api = kube::Api::<TenantDatabase>::all(self.client.clone());
        api.get(&self.database_ref()).await.unwrap().status.unwrap().epoch.unwrap()
    }

    async fn database_message(&self) -> String {
        let api = kube::Api::<TenantDatabase>::all(self.client.clone());
        let database = api.get(&self.database_ref()).await.unwrap();
        condition(&database, "Ready").unwrap().2
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_put_back_between_two_surveys_is_noticed() {
    let mut server = own_server();
    let mut world = World::on_server(&server).await;
    // No survey comes by itself while this lasts.
    world.apply_database(json!({ "surveyPeriodSeconds": 3600 })).await;
    world.start_operator().await;
    world.apply_tenant("kept", json!({ "schemaName": "kept" })).await;
    world.ready_tenant("kept").await;
    world.sql_as("kept", "owner", "CREATE TABLE kept.pupils AS SELECT 7 AS id");
    server.stop(StopMode::Fast).unwrap();
    let (data, older) = (server.info().data_dir.clone(), server.info().data_dir.with_extension("older"));
    copy(&data, &older);
    server.start_again().unwrap();
    world.database_ready().await;
    world.apply_tenant("lost", json!({ "schemaName": "lost" })).await;
    world.ready_tenant("lost").await;
    let (epoch, kept) = (world.epoch_of_status().await, world.version("kept").await);

    server.stop(StopMode::Immediate).unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&older, &data).unwrap();
    server.start_again().unwrap();
    world.stalled_tenant("lost", "SchemaMissing").await;
    world.until_told("WentBack", "an older state").await;
    world.database_ready().await;
    assert!(world.epoch_of_status().await > epoch, "above all that was seen");
    let message = world.database_message().await;
    assert!(message.contains("nothing expires and nothing is purged until 2"), "{message}");
    assert_eq!(world.sql_as("kept", "reader", "SELECT id FROM kept.pupils"), "7");
    assert_eq!(world.version("kept").await, kept, "who is as it was is not written to");
    // A plain restart of the same server alarms no tenant.
    world.sql("UPDATE edu_matrix_hub_schema.installation SET quiet_until = NULL");
    server.restart(StopMode::Fast).unwrap();
    let opened = world.epoch_of_status().await;
    world.apply_tenant("kept", json!({ "schemaName": "kept", "config": { "grade": 7 } })).await;
    world.settled_tenant("kept").await;
    world.eventually("the lane is opened again", async || world.epoch_of_status().await > opened).await;
    let quiet = "SELECT quiet_until IS NULL FROM edu_matrix_hub_schema.installation";
    assert_eq!(world.sql(quiet), "t");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_is_promoted_without_the_last_commits_is_noticed() {
    let mut server = own_server();
    let mut world = World::on_server(&server).await;
    world.apply_database(json!({})).await;
    world.start_operator().await;
    world.apply_tenant("kept", json!({ "schemaName": "kept" })).await;
    world.ready_tenant("kept").await;
    let standby = server.standby().unwrap();
    let on_standby = |sql: &str| standby.info().psql("postgres", sql).unwrap().trim().to_owned();
    let written = world.sql("SELECT pg_current_wal_lsn()");
    let caught_up = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
    world.eventually("the standby has everything", async || on_standby(&caught_up) == "t").await;
    on_standby("ALTER SYSTEM SET primary_conninfo = ''");
    on_standby("SELECT pg_reload_conf()");
    world
        .eventually("it follows no server", async || on_standby("SELECT count(*) FROM pg_stat_wal_receiver") == "0")
        .await;
    world.apply_tenant("lost", json!({ "schemaName": "lost" })).await;
    world.ready_tenant("lost").await;

    server.stop(StopMode::Immediate).unwrap();
    on_standby("SELECT pg_promote()");
    world.postgres = standby.info().clone();
    world.write_secret(json!({})).await;
    world.stalled_tenant("lost", "SchemaMissing").await;
    world.until_told("WentBack", "an older state").await;
    world.database_ready().await;
    world.settled_tenant("kept").await;
    // No other tenant has the name meanwhile, and a user who wants it again says so.
    let tenant = world.api::<TenantSchema>().get("lost").await.unwrap();
    assert_eq!(condition(&tenant, "Ready").unwrap().0, "False");
    world.finish().await;
}

/// What a person said before the tenant was made stays in Git, and is not said again when the tenant is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_once_began_empty_does_not_begin_empty_again_when_its_tenant_is_lost() {
    let mut server = own_server();
    let mut world = World::on_server(&server).await;
    world.apply_database(json!({})).await;
    world.start_operator().await;
    let spec = || json!({ "schemaName": "school" });
    world.apply_tenant("school", spec()).await;
    world.ready_tenant("school").await;
    world.sql_as("school", "owner", "CREATE TABLE school.pupils AS SELECT 7 AS id");
    world.delete_tenant("school").await;
    let older = server.copy().unwrap();
    world.apply_tenant("school", spec()).await;
    let message = world.stalled_tenant("school", "Conflict").await;
    let annotations = json!({ RECREATE: World::value_told(&message, RECREATE) });
    world.apply_annotated("school", spec(), annotations).await;
    world.ready_tenant("school").await;
    world.sql_as("school", "owner", "CREATE TABLE school.pupils AS SELECT 8 AS id");

    server.restore(&older).unwrap();
    let message = world.stalled_tenant("school", "SchemaMissing").await;
    assert!(message.contains("it is not there") && message.contains("is set aside as school_bak_"), "{message}");
    assert_eq!(world.schemas("school").len(), 1, "nothing was made beside what is set aside");
    // A user who knows of the loss can say so, or take back what is left.
    world.apply_annotated("school", spec(), json!({ RECLAIM: "school" })).await;
    world.ready_tenant("school").await;
    assert_eq!(world.sql_as("school", "reader", "SELECT id FROM school.pupils"), "7");
    world.finish().await;
}
