//! Every number that people watch is there, and means what it says.

use std::time::{SystemTime, UNIX_EPOCH};

use kube::api::DeleteParams;
use serde_json::json;
use tenant_schema_operator::api::{SchemaBackup, TenantSchema};

use crate::{
    watched::{everything_asked_for_is_shown, the_table_of_metrics_is_right},
    world::World,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_number_that_people_watch_is_there() {
    let mut world = World::new(json!({})).await;
    let url = format!("file://{}", world.files.path().display());
    world.apply_database(json!({ "backupStore": { "url": url } })).await;
    let tenants = world.api::<TenantSchema>();
    let database = world.database_ref();
    world.apply_tenant("school", json!({ "schemaName": "school", "quota": { "limit": "1Gi" } })).await;
    world.apply_tenant("going", json!({ "schemaName": "going", "deletionPolicy": "Drop" })).await;
    world.ready_tenant("school").await;
    world.ready_tenant("going").await;
    world.sql_as("school", "owner", "CREATE TABLE school.pupils AS SELECT generate_series(1, 1000) AS id");
    let closed = json!({ "schemaName": "school", "quota": { "limit": "1Gi" }, "access": "ReadOnly" });
    world.apply_tenant("school", closed).await;
    world.until_ready(&tenants, "school", "True", "ReadOnly").await;
    world.apply_backup("now", json!({ "tenantSchemaRef": { "name": "school" } })).await;
    world.until_ready(&world.api::<SchemaBackup>(), "now", "True", "Completed").await;
    world.apply_tenant("loser", json!({ "schemaName": "school" })).await;
    world.stalled_tenant("loser", "Conflict").await;
    tenants.delete("going", &DeleteParams::default()).await.unwrap();
    world.stalled_tenant("going", "DropNotConfirmed").await;
    world.next_survey().await;
    world
        .eventually("usage and backup show", async || {
            let status = tenants.get("school").await.unwrap().status.unwrap();
            status.last_backup.is_some() && status.storage_used_bytes > Some(0)
        })
        .await;

    let status = tenants.get("school").await.unwrap().status.unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let number = |series: &str| world.metric(&format!("tenant_schema_operator_{series}"));
    let of_database = format!("{{database=\"{database}\"}}");
    let of_tenant = format!("{{namespace=\"{}\",tenant=\"school\"}}", world.namespace);
    let between = |series: &str, least: f64, most: f64| {
        let value = number(series);
        assert!((least..=most).contains(&value), "{series} is {value}, not from {least} to {most}");
    };
    let some = |series: &str| between(series, 1.0, 1e6);
    let exactly = |series: &str, value: f64| between(series, value, value);

    some("reconciles_total{kind=\"TenantSchema\",outcome=\"changed\"}");
    some("reconciles_total{kind=\"TenantSchema\",outcome=\"stalled\"}");
    some("reconciles_total{kind=\"SchemaBackup\",outcome=\"changed\"}");
    some("reconciles_total{kind=\"TenantDatabase\"");
    some("reconcile_duration_seconds_count{kind=\"TenantSchema\"}");
    between("reconcile_duration_seconds_sum{kind=\"TenantSchema\"}", 0.001, 60.0);
    exactly(&format!("tenants{{database=\"{database}\",state=\"ready\"}}"), 1.0);
    exactly(&format!("tenants{{database=\"{database}\",state=\"stalled\"}}"), 1.0);
    exactly(&format!("tenants{{database=\"{database}\",state=\"deleting\"}}"), 1.0);
    exactly(&format!("tenants_blocked{{database=\"{database}\",cause=\"Spec\"}}"), 1.0);
    between(&format!("tenant_blocked_seconds{of_tenant}"), 0.0, 600.0);
    exactly(&format!("jobs_total{{database=\"{database}\",kind=\"snapshot\",outcome=\"success\"}}"), 1.0);
    #[allow(clippy::cast_precision_loss, reason = "a few kilobytes")]
    exactly(&format!("tenant_storage_bytes{of_tenant}"), status.storage_used_bytes.unwrap() as f64);
    exactly(&format!("tenant_quota_bytes{of_tenant}"), f64::from(1 << 30));
    #[allow(clippy::cast_precision_loss, reason = "a few kilobytes")]
    exactly(
        &format!("tenant_quota_used_ratio{of_tenant}"),
        status.storage_used_bytes.unwrap() as f64 / f64::from(1 << 30),
    );
    between(&format!("tenant_last_backup_time_seconds{of_tenant}"), now - 120.0, now);
    exactly(&format!("survey_period_seconds{of_database}"), 5.0);
    exactly(&format!("set_aside_storage_bytes{of_database}"), 0.0);
    some(&format!("build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")));
    between(&format!("survey_duration_seconds{of_database}"), 0.0001, 5.0);
    between(&format!("survey_completion_time_seconds{of_database}"), now - 30.0, now + 1.0);
    exactly(&format!("survey_stale_tenants{of_database}"), 0.0);
    some("sql_calls_total{function=\"observe_tenant\",outcome=\"ok\"}");
    some("sql_calls_total{function=\"apply_steps\",outcome=\"ok\"}");
    some("sql_calls_total{function=\"survey_tenants\",outcome=\"ok\"}");
    some("sql_call_duration_seconds_count{function=\"survey_tenants\"}");
    between(&format!("pool_connections{{database=\"{database}\",state=\"open\"}}"), 1.0, 4.0);
    between(&format!("pool_connections{{database=\"{database}\",state=\"idle\"}}"), 0.0, 4.0);
    exactly(&format!("database_up{of_database}"), 1.0);
    exactly(&format!("lane_held{of_database}"), 1.0);
    some("deletion_blocked_seconds");
    growth_is_told(&world, &of_tenant).await;
    assert_eq!(world.http("/livez").as_deref(), Some("ok"));
    assert_eq!(world.http("/readyz").as_deref(), Some("ok"));

    // A password that is wrong is an error of its own category, and the database counts as down until it is put right.
    world.write_secret(json!({ "password": "wrong" })).await;
    let up = format!("tenant_schema_operator_database_up{of_database}");
    world.eventually("the database is down", async || world.count(&up) == 0).await;
    let errors = "tenant_schema_operator_errors_total{kind=\"TenantDatabase\",category=\"";
    world.eventually("the error is counted", async || world.count(errors) > 0).await;
    exactly(&format!("lane_held{of_database}"), 1.0);
    world.write_secret(json!({})).await;
    world.eventually("the database is up", async || world.count(&up) == 1).await;
    let stalled = format!("tenant_schema_operator_tenants{{database=\"{database}\",state=\"stalled\"}}");
    world.eventually("its tenants are what they were", async || world.count(&stalled) == 1).await;
    let up = format!("tenant_schema_operator_backup_store_up{of_database}");
    world.eventually("its store was looked at again", async || world.count(&up) == 1).await;
    let metrics = world.http("/metrics").unwrap();
    everything_asked_for_is_shown(&metrics);
    the_table_of_metrics_is_right(&metrics);

    what_waits_is_seen(&world, &database).await;

    // Fleets that are too large for a series each turn those off, and keep the others.
    world.stop_operator().await;
    world.tenant_metrics = false;
    world.start_operator().await;
    let ready = format!("tenants{{database=\"{database}\",state=\"ready\"}}");
    let count = |series: &str| world.count(&format!("tenant_schema_operator_{series}"));
    world.eventually("the tenants are counted", async || count(&ready) == 9).await;
    assert!(!world.http("/metrics").unwrap().contains("tenant=\"school\""));
    world.finish().await;
}

/// What waits for one of the operator's connections is seen while it waits.
async fn what_waits_is_seen(world: &World, database: &str) {
    let waiting = format!("tenant_schema_operator_pool_connections{{database=\"{database}\",state=\"waiting\"}}");
    let locked = world.session("BEGIN; LOCK TABLE edu_matrix_hub_schema.lane_lock");
    let names: Vec<_> = (0..8).map(|number| format!("waits{number}")).collect();
    futures::future::join_all(names.iter().map(|name| world.apply_tenant(name, json!({ "schemaName": name })))).await;
    world.eventually("calls wait for a connection", async || world.count(&waiting) > 0).await;
    drop(locked);
    for name in &names {
        world.ready_tenant(name).await;
    }
    world.eventually("nothing waits", async || world.count(&waiting) == 0).await;
}

/// It used nothing two days ago.
async fn growth_is_told(world: &World, of_tenant: &str) {
    world.sql(
        "UPDATE edu_matrix_hub_schema.tenant_schemas \
         SET growth_at = now() - interval '2 days', growth = '{\"bytes\": 0}' WHERE schema_name = 'school'",
    );
    let days = format!("tenant_schema_operator_tenant_days_until_full{of_tenant}");
    let told = async || world.http("/metrics").is_some_and(|text| text.contains(&days));
    world.eventually("it is told when the quota is used up", told).await;
    let found = world.metric(&days);
    assert!((1000.0..1e6).contains(&found), "{found}");
}
