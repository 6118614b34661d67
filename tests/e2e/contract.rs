//! Two releases and one database: an operator runs on with functions that are one release newer, and upgrades older ones.
//! The next release is really built.

use crate::privileges::Privileges as _;
use kube::api::DeleteParams;
use serde_json::json;
use tenant_schema_operator::api::{SchemaBackup, TenantSchema};

use crate::{
    tools::{
        next_release::{NextRelease, next_release},
        operator::Process,
    },
    world::World,
};

const HELD: &str = "tenant_schema_operator_lane_held";
const RECONCILES: &str = "tenant_schema_operator_reconciles_total{kind=\"TenantSchema\"";
const IDLE: &str = "tenant_schema_operator_reconciles_total{kind=\"TenantSchema\",outcome=\"standby\"";

/// What is recorded of the functions, and what they are.
const FUNCTIONS: &str = "SELECT functions_version, functions_checksum, functions_fingerprint, contract, \
                         functions_fingerprint = edu_matrix_hub_schema._functions_fingerprint() \
                         FROM edu_matrix_hub_schema.installation";
/// Everything that the registry has of tenants and of the operator that works for them.
const REGISTRY: &str = "SELECT (SELECT epoch FROM edu_matrix_hub_schema.installation), \
                        (SELECT max(id) FROM edu_matrix_hub_schema.schema_operations), \
                        (SELECT md5(string_agg(t::text, ' ' ORDER BY t.id)) FROM edu_matrix_hub_schema.tenant_schemas AS t)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_of_the_release_before_runs_on_with_newer_functions() {
    let next = next_release();
    let mut world = World::without_operator(json!({})).await;
    let process = Process::start_build(&next.program, &world);
    tenants(&world, &["stays", "changes", "goes"]).await;
    end(process);
    let functions = world.sql(FUNCTIONS);
    assert!(
        functions.starts_with(&format!("{}|", next.version)) && functions.ends_with(&format!("|{}|t", next.contract)),
        "{functions}"
    );
    let before = world.written().await;

    world.start_operator().await;
    let status = world.database_ready().await.status.unwrap();
    assert_eq!(status.functions_version.as_deref(), Some(next.version.as_str()));
    looked(&world, async || world.count(RECONCILES) >= world.count(IDLE) + 3).await;
    assert_eq!(world.written().await, before, "a rollback is no news to tenants");
    everything_works(&world).await;
    assert_eq!(world.calls("install", None), 0);
    assert_eq!(world.sql(FUNCTIONS), functions, "newer functions are left as they are");
    assert_eq!(world.errors(), 0);
    world.prove_fixpoint().await;

    // Nor is it news when the rollback is taken back.
    next_run(&world, next).await;
    assert_eq!(world.sql(FUNCTIONS), functions);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_of_the_next_release_upgrades_the_functions() {
    let next = next_release();
    let mut world = World::new(json!({})).await;
    tenants(&world, &["stays", "changes", "goes"]).await;
    world.apply_backup("before", json!({ "tenantSchemaRef": { "name": "stays" } })).await;
    world.until_ready(&world.api::<SchemaBackup>(), "before", "True", "Completed").await;
    world.next_survey().await;
    let functions = world.sql(FUNCTIONS);
    let before = world.written().await;

    // As a Deployment does it: the next one stands by before the former one goes.
    let process = Process::start_build(&next.program, &world);
    assert_eq!(process.count(HELD), 0);
    assert_eq!(world.sql(FUNCTIONS), functions, "who stands by changes nothing");
    world.stop_operator().await;
    world.eventually("the next release has the lane", async || process.count(HELD) == 1).await;
    looked(&world, async || process.count(RECONCILES) >= process.count(IDLE) + 3).await;
    assert_eq!(world.written().await, before, "an upgrade is no news to tenants");
    assert_eq!((calls(&process, "install"), calls(&process, "apply_steps")), (1, 0));
    let upgraded = world.sql(FUNCTIONS);
    assert!(
        upgraded.starts_with(&format!("{}|", next.version)) && upgraded.ends_with(&format!("|{}|t", next.contract)),
        "{upgraded}"
    );
    world.run_script(&next.verify);
    assert_eq!(world.sql("SELECT edu_matrix_hub_schema.next_release('stays')"), "new");
    let told = format!("installed management functions {} over {}", next.version, env!("CARGO_PKG_VERSION"));
    world.until_told("FunctionsUpgraded", &told).await;
    let status = world.database_ready().await.status.unwrap();
    assert_eq!(status.functions_version.as_deref(), Some(next.version.as_str()));
    everything_works(&world).await;
    assert_eq!(process.count("tenant_schema_operator_errors_total"), 0);
    end(process);

    next_run(&world, next).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_two_contracts_ahead_are_left_alone() {
    let next = next_release();
    let mut world = World::without_operator(json!({})).await;
    let process = Process::start_build(&next.program, &world);
    tenants(&world, &["stays", "changes", "goes"]).await;
    end(process);
    // Nothing but the number tells the release after the next one.
    world.sql("UPDATE edu_matrix_hub_schema.installation SET contract = contract + 1");
    let (functions, registry, before) = (world.sql(FUNCTIONS), world.sql(REGISTRY), world.written().await);

    world.start_operator().await;
    let message = world.database_stalled("FunctionsNewer", "upgrade the operator").await;
    let contract = next.contract + 1;
    assert!(message.contains(&format!("of release {} (contract {contract})", next.version)), "{message}");
    assert_eq!(world.written().await, before, "who runs goes on, and is not written to");
    world.apply_tenant("late", json!({ "schemaName": "late" })).await;
    world.apply_tenant("changes", json!({ "schemaName": "changes", "config": { "grade": 7 } })).await;
    world.api::<TenantSchema>().delete("goes", &DeleteParams::default()).await.unwrap();
    for name in ["late", "changes", "goes"] {
        world.tenant_says(name, "Reconciling", "DatabaseUnavailable", "upgrade the operator").await;
    }
    assert_eq!(world.tenant_readiness("stays").await, "True");
    assert_eq!((world.sql(FUNCTIONS), world.sql(REGISTRY)), (functions, registry), "nothing is changed");
    for call in ["install", "claim_lane", "apply_steps", "survey_tenants"] {
        assert_eq!(world.calls(call, None), 0, "{call}");
    }
    world.stop_operator().await;

    // The release that understands them goes on where this one could not.
    let process = Process::start_build(&next.program, &world);
    world.until_gone(&world.api::<TenantSchema>(), "goes").await;
    for name in ["stays", "changes", "late"] {
        world.settled_tenant(name).await;
    }
    assert_eq!(calls(&process, "install"), 0);
    end(process);
    next_run(&world, next).await;
    world.sql("UPDATE edu_matrix_hub_schema.installation SET contract = contract - 1");
    world.finish().await;
}

async fn tenants(world: &World, names: &[&str]) {
    for name in names {
        world.apply_tenant(name, json!({ "schemaName": name })).await;
    }
    for name in names {
        world.ready_tenant(name).await;
        world.sql_as(name, "owner", &format!("CREATE TABLE {name}.pupils (id int)"));
    }
    for name in names {
        let shown = async || world.tenant_looked_at(name).await.status.unwrap().table_count == Some(1);
        world.eventually(&format!("{name} shows its table"), shown).await;
    }
}

async fn looked(world: &World, all: impl AsyncFnMut() -> bool) {
    world.eventually("every tenant was looked at", all).await;
}

/// Creates, changes, saves and deletes.
async fn everything_works(world: &World) {
    world.apply_tenant("late", json!({ "schemaName": "late", "quota": { "limit": "1Gi" } })).await;
    world
        .apply_tenant("changes", json!({ "schemaName": "changes", "access": "Suspended", "config": { "grade": 7 } }))
        .await;
    world.apply_backup("copy", json!({ "tenantSchemaRef": { "name": "stays" } })).await;
    world.delete_tenant("goes").await;
    for name in ["stays", "changes", "late"] {
        world.settled_tenant(name).await;
    }
    world.until_ready(&world.api::<SchemaBackup>(), "copy", "True", "Completed").await;
    let rows = world.sql("SELECT schema_name, status, config FROM edu_matrix_hub_schema.tenant_schemas ORDER BY 1");
    let expected = ["changes|suspended|{\"grade\": 7}", "goes|dropped|{}", "late|active|{}", "stays|active|{}"];
    assert_eq!(rows.lines().collect::<Vec<_>>(), expected);
    let left = world.schemas("goes");
    assert!(matches!(left.as_slice(), [aside] if aside.starts_with("goes_bak_")), "{left:?}");
}

/// Another run of the next release, which plans nothing.
async fn next_run(world: &World, next: &NextRelease) {
    let before = world.written().await;
    let process = Process::start_build(&next.program, world);
    let tenants = before.iter().filter(|(name, _)| name.starts_with("tenant ")).count();
    looked(world, async || process.count(RECONCILES) >= process.count(IDLE) + tenants).await;
    assert_eq!((calls(&process, "install"), calls(&process, "apply_steps")), (0, 0));
    assert_eq!(world.written().await, before, "a second run wrote to objects");
    end(process);
}

fn calls(process: &Process, function: &str) -> usize {
    process.count(&format!("tenant_schema_operator_sql_calls_total{{function=\"{function}\""))
}

fn end(process: Process) {
    let (status, log) = process.terminate();
    assert!(status.success() && !log.contains("panicked"), "{log}");
}
