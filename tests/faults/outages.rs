//! What the operator stands on goes away, hangs, refuses or changes places while people go on making, changing and deleting
//! tenants; and everything comes about when it is back.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use devcluster::{ControlPlane, ControlPlaneOptions, StopMode, shared, wait_until};
use serde_json::json;
use tenant_schema_operator::api::{SchemaBackup, TenantSchema};
use tokio::time::sleep;

use super::{
    agreement::prefix,
    errands,
    ground::Ground,
    wire::{Cut, Mood},
};
use crate::{
    tools::own_server,
    world::{DEADLINE, World, install_crds},
};

/// Longer than any object's back-off.
const LONG: Duration = Duration::from_secs(70);
/// Longer than every deadline of a call, a Lease and a probe.
pub(super) const WHILE: Duration = Duration::from_secs(20);

pub(super) async fn ready(ground: &mut Ground) {
    ground.start();
    ground.world.database_ready().await;
    errands::before(ground).await;
}

pub(super) async fn recovered(mut ground: Ground) {
    let since = Instant::now();
    ground.agree().await;
    println!("settled {:?} after the end", since.elapsed());
    errands::assert_done(&ground).await;
    ground.assert_unharmed();
    ground.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_are_cut_are_found_out_by_looking() {
    let mut ground = Ground::new(shared().unwrap().postgres(), json!({})).await;
    ground.pen.cut_next("install", Cut::After);
    ground.start();
    ground.world.database_ready().await;
    let world = &ground.world;
    for (call, cut) in [
        ("apply_steps", Cut::Before),
        ("apply_steps", Cut::After),
        ("claim_job", Cut::Before),
        ("claim_job", Cut::After),
        ("run_job", Cut::Before),
        ("run_job", Cut::After),
        ("survey_tenants", Cut::Before),
        ("survey_tenants", Cut::After),
    ] {
        let name = format!("{}-{cut:?}", call.replace('_', "-")).to_lowercase();
        let schema = format!("{}_{}", prefix(world), name.replace('-', "_"));
        if call == "apply_steps" {
            ground.pen.cut_next(call, cut);
        }
        world.apply_tenant(&name, json!({ "schemaName": schema })).await;
        world.settled_tenant(&name).await;
        ground.pen.cut_next(call, cut);
        world.apply_tenant(&name, json!({ "schemaName": schema, "config": { "grade": 7 } })).await;
        world.apply_backup(&name, json!({ "tenantSchemaRef": { "name": name } })).await;
        world.eventually(&format!("{name} is cut"), async || !ground.pen.is_waiting()).await;
        world.until_ready(&world.api::<SchemaBackup>(), &name, "True", "Completed").await;
        world.settled_tenant(&name).await;
        if call == "apply_steps" {
            ground.pen.cut_next(call, cut);
        }
        world.delete_tenant(&name).await;
        let done = format!(
            "SELECT type, count(*) FROM edu_matrix_hub_schema.schema_operations WHERE status = 'success' AND type IN \
             ('create_tenant_schema', 'set_tenant_config', 'set_aside') AND schema_id = (SELECT id FROM \
             edu_matrix_hub_schema.tenant_schemas WHERE schema_name = '{schema}') GROUP BY type ORDER BY type"
        );
        let done = world.sql(&done).replace('\n', " ");
        assert_eq!(done, "create_tenant_schema|1 set_aside|1 set_tenant_config|1", "{name}");
    }
    ground.assert_unharmed();
    ground.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_for_longer_than_any_back_off() {
    let mut ground = Ground::new(shared().unwrap().postgres(), json!({})).await;
    ready(&mut ground).await;
    ground.database.set(Mood::Refuse);
    ground.database.cut();
    errands::run(&ground).await;
    sleep(LONG).await;
    errands::assert_not_pretended(&ground).await;
    ground.database.set(Mood::Pass);
    recovered(ground).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_is_away_for_longer_than_any_back_off() {
    let mut ground = Ground::new(shared().unwrap().postgres(), json!({})).await;
    ready(&mut ground).await;
    ground.network.set(Mood::Refuse);
    ground.network.cut();
    errands::run(&ground).await;
    sleep(LONG).await;
    errands::assert_not_pretended(&ground).await;
    ground.network.set(Mood::Pass);
    recovered(ground).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_takes_everything_and_answers_nothing() {
    let mut ground = Ground::new(shared().unwrap().postgres(), json!({})).await;
    ready(&mut ground).await;
    ground.database.set(Mood::Swallow);
    errands::run(&ground).await;
    sleep(WHILE).await;
    errands::assert_not_pretended(&ground).await;
    ground.database.set(Mood::Delay(Duration::from_millis(100)));
    recovered(ground).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_takes_everything_and_answers_nothing() {
    let mut ground = Ground::new(shared().unwrap().postgres(), json!({})).await;
    ready(&mut ground).await;
    ground.network.set(Mood::Swallow);
    errands::run(&ground).await;
    sleep(WHILE).await;
    errands::assert_not_pretended(&ground).await;
    ground.network.set(Mood::Delay(Duration::from_millis(100)));
    // What stood in between forgets what it has swallowed. A watch that is never told so is found out only by its own
    // deadline, after some minutes.
    ground.network.cut();
    recovered(ground).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_stood_still_for_longer_than_it_may_hold() {
    let mut ground = Ground::new(shared().unwrap().postgres(), json!({})).await;
    ready(&mut ground).await;
    ground.signal("STOP");
    errands::run(&ground).await;
    sleep(Duration::from_secs(12)).await;
    errands::assert_not_pretended(&ground).await;
    ground.signal("CONT");
    recovered(ground).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_refuses_for_a_minute() {
    let mut ground = Ground::new(shared().unwrap().postgres(), json!({})).await;
    ready(&mut ground).await;
    ground.api.refuse(Some(StatusCode::TOO_MANY_REQUESTS));
    errands::run(&ground).await;
    sleep(LONG / 2).await;
    errands::assert_not_pretended(&ground).await;
    ground.api.refuse(Some(StatusCode::INTERNAL_SERVER_ERROR));
    sleep(LONG / 2).await;
    errands::assert_not_pretended(&ground).await;
    let refused = ground.api.refused();
    // Three watches, one election and a handful of objects: a storm would be thousands.
    assert!((10..1_000).contains(&refused), "{refused} requests were refused");
    ground.api.refuse(None);
    recovered(ground).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_that_forgot_what_the_watches_saw_last() {
    let mut plane = ControlPlane::start(&ControlPlaneOptions::default()).unwrap();
    install_crds(plane.info());
    let world = World::on_plane(plane.info(), shared().unwrap().postgres()).await;
    let mut ground = Ground::over(world).await;
    ground.apply_database(json!({})).await;
    ready(&mut ground).await;
    // What happens while the operator is cut off is in no cache of a server that starts after it.
    ground.network.set(Mood::Refuse);
    ground.network.cut();
    errands::run(&ground).await;
    plane.stop_apiserver();
    plane.start_apiserver().unwrap();
    ground.network.set(Mood::Pass);
    recovered(ground).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_fails_over() {
    let mut primary = own_server();
    let mut ground = Ground::new(primary.info(), json!({})).await;
    let standby = primary.standby().unwrap();
    ready(&mut ground).await;
    let position = primary.info().psql("postgres", "SELECT pg_current_wal_flush_lsn()").unwrap();
    let caught_up = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'");
    wait_until(DEADLINE, "the standby has everything", || {
        standby.info().psql("postgres", &caught_up).is_ok_and(|answer| answer == "t")
    })
    .unwrap();
    primary.stop(StopMode::Immediate).unwrap();
    errands::run(&ground).await;
    // The Secret leads to a server that only reads, before that is told to take over.
    ground.lead_to(standby.info()).await;
    ground.world.database_reconciling("ReadOnlyStandby", "primary").await;
    errands::assert_not_pretended(&ground).await;
    standby.info().psql("postgres", "SELECT pg_promote()").unwrap();
    recovered(ground).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_connections_to_spare() {
    let mut ground = Ground::new(shared().unwrap().postgres(), json!({})).await;
    ready(&mut ground).await;
    let login = ground.world.login();
    ground.world.sql(&format!("ALTER ROLE {login} CONNECTION LIMIT 0"));
    ground.world.sql(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{login}'"));
    errands::run(&ground).await;
    sleep(WHILE).await;
    errands::assert_not_pretended(&ground).await;
    ground.world.sql(&format!("ALTER ROLE {login} CONNECTION LIMIT -1"));
    recovered(ground).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catalogue_that_a_session_has_locked() {
    let server = own_server();
    let mut ground = Ground::new(server.info(), json!({})).await;
    ready(&mut ground).await;
    let lock = ground.world.session("BEGIN; LOCK TABLE pg_catalog.pg_authid IN ACCESS EXCLUSIVE MODE");
    errands::run(&ground).await;
    sleep(WHILE).await;
    let late = ground.world.api::<TenantSchema>().get("late").await.unwrap();
    assert!(late.status.is_none_or(|status| status.schema_id.is_none()), "no role can be made");
    drop(lock);
    recovered(ground).await;
}
