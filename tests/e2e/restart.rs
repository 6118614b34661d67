//! The operator ends at any instant, in any way, and the next run comes to the same state.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, api::DeleteParams};
use serde_json::json;
use tenant_schema_operator::api::{SchemaBackup, TenantSchema};

use crate::{tools::operator::Process, world::World};

/// A moment at which the operator is killed, as a question to Kubernetes or to the registry.
const MOMENTS: [&str; 8] =
    ["at once", "finalizer", "row", "row and status", "half of them", "all of them", "suspended", "going"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_moment_ends_in_the_same_state() {
    let mut world = World::without_operator(json!({})).await;
    let tenants = world.api::<TenantSchema>();
    let names = |round: usize| (0..4).map(move |number| format!("r{round}t{number}"));
    for (round, moment) in MOMENTS.into_iter().enumerate() {
        // Each round creates, changes what the round before made, and deletes what the one before that made.
        for name in names(round) {
            world.apply_tenant(&name, json!({ "schemaName": name })).await;
        }
        if let Some(before) = round.checked_sub(1) {
            for (number, name) in names(before).enumerate() {
                let access = if number % 2 == 0 { "Suspended" } else { "ReadWrite" };
                world
                    .apply_tenant(&name, json!({ "schemaName": name, "access": access, "config": { "round": round } }))
                    .await;
            }
        }
        if let Some(before) = round.checked_sub(2) {
            for name in names(before).take(2) {
                tenants.delete(&name, &DeleteParams::default()).await.unwrap();
            }
        }
        world.start_operator().await;
        let (first, of_round) = (format!("r{round}t0"), format!("schema_name LIKE 'r{round}t%'"));
        world
            .eventually(&format!("the moment: {moment}"), async || match moment {
                "at once" => true,
                "finalizer" => tenants.get(&first).await.unwrap().metadata.finalizers.is_some(),
                "row" => rows(&world, &of_round) > 0,
                "row and status" => {
                    tenants.get(&first).await.unwrap().status.is_some_and(|status| status.schema_id.is_some())
                }
                "half of them" => rows(&world, &of_round) >= 2,
                "all of them" => rows(&world, &of_round) == 4,
                "suspended" => {
                    rows(&world, &format!("status = 'suspended' AND schema_name LIKE 'r{}t%'", round - 1)) > 0
                }
                _ => rows(&world, &format!("status = 'dropped' AND schema_name LIKE 'r{}t%'", round - 2)) > 0,
            })
            .await;
        world.kill_operator().await;
    }
    world.start_operator().await;
    let last = MOMENTS.len() - 1;
    for round in 0..MOMENTS.len() {
        for (number, name) in names(round).enumerate() {
            if number < 2 && round + 2 <= last {
                world.until_gone(&tenants, &name).await;
                continue;
            }
            world.settled_tenant(&name).await;
            let expected = match (round, number % 2) {
                (round, _) if round == last => "active|{}".to_owned(),
                (_, 0) => format!("suspended|{{\"round\": {}}}", round + 1),
                _ => format!("active|{{\"round\": {}}}", round + 1),
            };
            let row =
                format!("SELECT status, config FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name = '{name}'");
            assert_eq!(world.sql(&row), expected, "{name}");
        }
    }
    // Every row has its schema, living or set aside, and there are no others.
    let kept = MOMENTS.len() * 4 - (last - 1) * 2;
    assert_eq!(rows(&world, "status <> 'dropped'"), kept);
    let living = "schema_name IN (SELECT nspname FROM pg_namespace)";
    assert_eq!(rows(&world, &format!("status <> 'dropped' AND {living}")), kept);
    let aside = "id IN (SELECT schema_id FROM edu_matrix_hub_schema.schema_backups AS b JOIN pg_namespace AS n ON n.nspname = b.location)";
    assert_eq!(rows(&world, &format!("status = 'dropped' AND {aside}")), rows(&world, "status = 'dropped'"));
    assert_eq!(world.schemas("r").len(), rows(&world, "true"), "{:?}", world.schemas("r"));
    world.finish().await;
}

fn rows(world: &World, condition: &str) -> usize {
    if world.sql("SELECT to_regclass('edu_matrix_hub_schema.tenant_rows') IS NOT NULL") == "f" {
        return 0;
    }
    world.sql(&format!("SELECT count(*) FROM edu_matrix_hub_schema.tenant_schemas WHERE {condition}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_over_two_hundred_tenants_writes_nothing_and_asks_once() {
    let mut world = World::new(json!({})).await;
    let names: Vec<_> = (0..200).map(|number| format!("school{number:03}")).collect();
    futures::future::join_all(names.iter().map(|name| world.apply_tenant(name, json!({ "schemaName": name })))).await;
    for name in &names {
        world.ready_tenant(name).await;
    }
    world.stop_operator().await;
    let before = world.written().await;
    world.start_operator().await;
    let started = Instant::now();
    let looked = |outcome: &str| {
        world.count(&format!("tenant_schema_operator_reconciles_total{{kind=\"TenantSchema\",outcome=\"{outcome}\""))
    };
    world.eventually("every tenant was looked at", async || looked("unchanged") >= 200).await;
    assert!(started.elapsed() < Duration::from_secs(20), "settled only after {:?}", started.elapsed());
    assert_eq!(looked("changed"), 0);
    assert_eq!(world.calls("observe_tenant", None), 0, "one survey answers for all");
    assert_eq!(world.calls("apply_steps", None), 0);
    assert_eq!(world.calls("install", None), 0);
    assert_eq!(world.errors(), 0);
    assert_eq!(world.written().await, before);
    let open = world.count("tenant_schema_operator_pool_connections{database=\"");
    assert!(open <= 12, "no more connections than the pool has: {open}");
    world.finish().await;
}

/// The replica that holds the Lease of the test's database.
async fn holder(world: &World) -> Option<String> {
    let api = Api::<Lease>::namespaced(world.client.clone(), &world.operator_namespace);
    let lease = api.get_opt(&format!("tenant-database-{}", world.database_ref())).await.unwrap();
    lease.and_then(|lease| lease.spec?.holder_identity).filter(|holder| !holder.is_empty())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_one_works_and_the_other_takes_over() {
    let world = World::without_operator(json!({})).await;
    let first = Process::start(&world, "info");
    world.database_ready().await;
    let second = Process::start(&world, "info");
    for number in 0..20 {
        let name = format!("school{number:02}");
        world.apply_tenant(&name, json!({ "schemaName": name })).await;
    }
    for number in 0..20 {
        world.settled_tenant(&format!("school{number:02}")).await;
    }
    let held = "tenant_schema_operator_lane_held";
    assert_eq!((first.count(held), second.count(held)), (1, 0));
    assert_eq!(second.count("tenant_schema_operator_sql_calls_total"), 0, "who stands by asks nothing");
    let epoch = world.database_ready().await.status.unwrap().epoch.unwrap();

    // Told to end, the first gives the Lease back, and the second need not wait for it to run out.
    let before = holder(&world).await.unwrap();
    let (status, elapsed, log) = first.terminate();
    assert!(status.success(), "{log}");
    assert!(elapsed < Duration::from_secs(5), "SIGTERM took {elapsed:?}");
    let released = Instant::now();
    let mut after = None;
    world
        .eventually("the second takes over", async || {
            after = holder(&world).await;
            after.is_some() && after.as_ref() != Some(&before) && second.count(held) == 1
        })
        .await;
    // What is not heard of runs out at least ten seconds after its last renewal.
    assert!(released.elapsed() < Duration::from_secs(9), "taken over only after {:?}: {log}", released.elapsed());
    world.apply_tenant("school00", json!({ "schemaName": "school00", "config": { "grade": 7 } })).await;
    world.settled_tenant("school00").await;
    // The second one tells its own when its first pass over the TenantDatabase ends.
    let mut now = Some(epoch);
    let is_told = async || {
        now = world.database_ready().await.status.unwrap().epoch;
        now != Some(epoch)
    };
    world.eventually("the second tells its epoch", is_told).await;
    assert_eq!(now, Some(epoch + 1), "one hand-over, one epoch");

    // Killed while it makes tenants and a backup, it leaves a Lease behind that runs out by itself.
    for number in 20..40 {
        let name = format!("school{number:02}");
        world.apply_tenant(&name, json!({ "schemaName": name })).await;
    }
    world.apply_backup("before-exams", json!({ "tenantSchemaRef": { "name": "school00" } })).await;
    world.eventually("some are made", async || rows(&world, "true") > 22).await;
    assert!(!second.kill().contains("panicked"));
    let third = Process::start(&world, "info");
    world.eventually("the third takes over", async || third.count(held) == 1).await;
    for number in 0..40 {
        world.settled_tenant(&format!("school{number:02}")).await;
    }
    world.until_ready(&world.api::<SchemaBackup>(), "before-exams", "True", "Completed").await;
    let (status, elapsed, log) = third.terminate();
    assert!(status.success() && elapsed < Duration::from_secs(5), "{elapsed:?}");
    assert!(!log.contains("panicked"), "{log}");
    world.eventually("the Lease is given back", async || holder(&world).await.is_none()).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_another_took_is_given_up_and_comes_back_through_the_election() {
    let world = World::new(json!({})).await;
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    let held = world.database_ready().await.status.unwrap();
    let epoch = || world.sql("SELECT epoch FROM edu_matrix_hub_schema.installation").parse::<i64>().unwrap();
    assert_eq!(held.epoch, Some(epoch()));

    let claim = "SELECT edu_matrix_hub_schema.claim_lane(jsonb_build_object('cluster', cluster, 'tenant_database', tenant_database, \
                 'holder', 'another')) ->> 'status' FROM edu_matrix_hub_schema.installation";
    assert_eq!(world.sql(claim), "success");
    let taken = epoch();
    // Everything that changes something is refused in the old epoch; nothing of it is done twice or lost.
    world.apply_tenant("school", json!({ "schemaName": "school", "config": { "grade": 7 } })).await;
    world.apply_tenant("late", json!({ "schemaName": "late" })).await;
    let lost = "tenant_schema_operator_errors_total{kind=\"TenantDatabase\",category=\"lane_lost\"}";
    world.eventually("the operator notices", async || world.count(lost) >= 1).await;
    world.settled_tenant("school").await;
    world.settled_tenant("late").await;
    assert_eq!(
        world.sql("SELECT config ->> 'grade' FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name = 'school'"),
        "7"
    );
    assert!(epoch() > taken);

    // It came back once: the epoch stays where it is from then on.
    world
        .eventually("status tells the epoch", async || {
            world.database_ready().await.status.unwrap().epoch == Some(epoch())
        })
        .await;
    let settled = epoch();
    let surveys = world.calls("survey_tenants", Some("ok"));
    world.eventually("two more surveys", async || world.calls("survey_tenants", Some("ok")) >= surveys + 2).await;
    assert_eq!((epoch(), world.count(lost)), (settled, 1), "no ping-pong");
    world.finish().await;
}
