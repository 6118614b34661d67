//! A tenant that is blocked for its quota gets its writes back by deleting rows, wherever these were.

use serde_json::json;
use tenant_schema_operator::api::{TenantDatabase, TenantSchema};

use crate::{
    credentials::{Applications, ask, spec, with_tenant},
    tools::Refusing,
    world::{World, condition},
};

const FILL: &str = "CREATE TABLE school.filler (id int, body text) WITH (autovacuum_enabled = off); \
                    INSERT INTO school.filler SELECT n, repeat('x', 1000) FROM generate_series(1, 2000) AS n";
const WRITE: &str = "INSERT INTO pupils VALUES (2) RETURNING 1";
/// Of every page some rows, so that no file becomes smaller.
const DELETE: &str = "WITH gone AS (DELETE FROM filler WHERE id % 3 <> 0 RETURNING 1) SELECT count(*) > 1000 FROM gone";

/// A tenant of that much data with a quota.
pub async fn fill(world: &World, spec: serde_json::Value) {
    let mut spec = spec;
    spec["quota"] = json!({ "limit": "2Mi", "enforcement": "Block" });
    world.sql_as("school", "owner", FILL);
    world.apply_tenant("school", spec).await;
    world.until_ready(&world.api::<TenantSchema>(), "school", "True", "WritesBlocked").await;
}

/// The rows of the table are counted, as the survey after a block has it done.
async fn counted(world: &World) {
    let counted = "SELECT count(*) FROM edu_matrix_hub_schema.quota_files WHERE rows IS NOT NULL";
    world.eventually("rows are counted", async || world.sql(counted) != "0").await;
}

fn closed(world: &World) {
    let open = "SELECT count(*) FROM pg_roles WHERE rolname LIKE '%\\_run' AND rolcanlogin AND oid = ANY (\
                SELECT unnest(login_oids) FROM edu_matrix_hub_schema.tenant_schemas)";
    assert_eq!(world.sql(open), "0", "no run login is open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_deletes_here_and_there_gets_its_writes_back() {
    let mut world = with_tenant().await;
    fill(&world, spec()).await;
    let keys = world.keys().await;
    assert!(ask(&keys, WRITE).await.is_err());
    counted(&world).await;
    let size = "SELECT pg_relation_size('school.filler')";
    let before = world.sql(size);
    assert_eq!(ask(&keys, DELETE).await.unwrap(), "t");
    let school = world.ready_tenant("school").await;
    assert_eq!(world.sql(size), before, "the file is as large as it was");
    let status = school.status.as_ref().unwrap();
    let estimate = status.quota_estimate.as_ref().unwrap();
    assert!(estimate.message.as_ref().unwrap().contains("are free since rows were deleted"), "{estimate:?}");
    assert!(estimate.counted_bytes.unwrap() < status.storage_used_bytes.unwrap() * 2 / 3);
    assert!(status.quota_used_percent.unwrap() < 95, "{status:?}");
    world.event("school", "WritesGivenBack", "is open").await;
    assert_eq!(ask(&keys, WRITE).await.unwrap(), "1");
    // What comes back counts again.
    let fill = "INSERT INTO filler SELECT n, repeat('x', 1000) FROM generate_series(1, 1600) AS n RETURNING 1";
    assert_eq!(ask(&keys, fill).await.unwrap(), "1");
    world.until_ready(&world.api::<TenantSchema>(), "school", "True", "WritesBlocked").await;
    counted(&world).await;
    assert_eq!(ask(&keys, DELETE).await.unwrap(), "t");
    world.ready_tenant("school").await;
    closed(&world);
    world.prove_fixpoint().await;
    assert_eq!(ask(&keys, WRITE).await.unwrap(), "1");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_is_killed_while_it_works_as_a_tenant_leaves_nothing_open() {
    let mut world = with_tenant().await;
    fill(&world, spec()).await;
    let keys = world.keys().await;
    counted(&world).await;
    let opened = "SELECT count(*) FROM edu_matrix_hub_schema.tenant_sessions AS s WHERE s.closed_at IS NULL";
    let sessions = "SELECT max(opened_at)::text FROM edu_matrix_hub_schema.tenant_sessions";
    let before = world.sql(sessions);
    assert_eq!(ask(&keys, DELETE).await.unwrap(), "t");
    world.eventually("a session begins", async || world.sql(opened) != "0" || world.sql(sessions) != before).await;
    world.kill_operator().await;
    world.expire_lease().await;
    world.start_operator().await;
    world.ready_tenant("school").await;
    assert_eq!(ask(&keys, WRITE).await.unwrap(), "1");
    world.eventually("it is closed", async || world.sql(opened) == "0").await;
    closed(&world);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lets_the_operator_in_as_no_tenant_is_told_with_the_line_that_is_missing() {
    let mut refusing = Refusing::start();
    let mut world = World::on_server(&refusing.server).await;
    world.apply_database(json!({})).await;
    world.start_operator().await;
    world.database_ready().await;
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    let group = world.sql("SELECT edu_matrix_hub_schema._connect_role_name()");
    world.sql("SET ROLE NONE; SELECT edu_matrix_hub_schema._connect_role()");
    refusing.refuse(&format!("+{group}"));

    fill(&world, json!({ "schemaName": "school" })).await;
    let (databases, name) = (world.databases(), world.database_ref());
    let told: TenantDatabase = world.until_ready(&databases, &name, "True", "TenantSessionRefused").await;
    let message = condition(&told, "Stalled").unwrap().2;
    let line = format!("host \"{}\" +{group} OPERATOR_ADDRESS scram-sha-256", world.database);
    assert!(message.contains(&line), "{message}");
    refusing.refuse("nobody");
    counted(&world).await;
    world.database_ready().await;
    world.sql_as("school", "owner", "DELETE FROM school.filler WHERE id % 3 <> 0");
    world.ready_tenant("school").await;
    world.finish().await;
}

/// The operator's own connection may lead to a pooler, which gives no session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_to_the_server_itself_is_another_secret() {
    let world = with_tenant().await;
    world.apply_database(json!({ "directConnection": { "secretRef": { "name": "direct" } } })).await;
    world.database_stalled("SecretNotFound", "direct does not exist").await;
    let leading_to = async |database: &str| {
        let data = json!({
            "host": world.postgres.host, "port": world.postgres.port.to_string(), "database": database, "username": "nobody",
            "password": "none", "ca.crt": std::fs::read_to_string(&world.postgres.ca_path).unwrap(),
        });
        world.write_secret_of("direct", &data).await;
    };
    leading_to("postgres").await;
    world.database_ready().await;
    fill(&world, spec()).await;
    world.database_stalled("TenantSessionRefused", "spec.directConnection").await;
    leading_to(&world.database).await;
    world.database_ready().await;
    counted(&world).await;
    closed(&world);
    world.finish().await;
}
