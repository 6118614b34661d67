//! A disk of the server is full. Without space for tables the server answers with errors; without space for its log of changes
//! it goes down and does not come back. When there is space again, everything comes about.

use std::{os::unix::fs::symlink, process::Command};

use devcluster::StopMode;
use kube::Api;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tenant_schema_operator::api::{SchemaBackup, TenantSchema};
use tokio::time::sleep;

use super::{
    agreement::prefix,
    disk::Disk,
    errands,
    ground::Ground,
    outages::{WHILE, ready, recovered},
};
use crate::{
    tools::own_server,
    world::{World, condition},
};

const FULL: &str = "the disk of the database server is full";
/// Rows that need space when they are copied.
const ROWS: &str =
    "CREATE TABLE $schema.pupils AS SELECT n, repeat('x', 1000) AS name FROM generate_series(1, 2000) AS n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_without_space_for_tables() {
    let server = own_server();
    let Some(disk) = Disk::mount(server.info(), 64) else { return };
    let mut world = World::bare().await;
    world.postgres = server.info().clone();
    let mut ground = Ground::over(world).await;
    let world = &ground.world;
    world.sql_in("postgres", &format!("CREATE TABLESPACE small LOCATION '{}'", disk.dir.display()));
    world.sql_in("postgres", &format!("ALTER DATABASE {} SET TABLESPACE small", world.database));
    ground.apply_database(json!({})).await;
    ready(&mut ground).await;
    let (world, schema) = (&ground.world, format!("{}_bulky", prefix(&ground.world)));
    world.apply_tenant("bulky", json!({ "schemaName": schema })).await;
    world.ready_tenant("bulky").await;
    world.sql_as(&schema, "owner", &ROWS.replace("$schema", &schema));
    // What is asked for while there is space finds none when its turn comes.
    let lock = world.session(&format!("BEGIN; LOCK TABLE {schema}.pupils IN ACCESS EXCLUSIVE MODE"));
    world.apply_backup("early", json!({ "tenantSchemaRef": { "name": "bulky" } })).await;
    let queued = async || world.sql("SELECT count(*) FROM edu_matrix_hub_schema.schema_jobs") == "1";
    world.eventually("the snapshot is queued", queued).await;

    disk.fill();
    drop(lock);
    says_full(world, &world.api::<SchemaBackup>(), "early").await;

    // What the snapshot had taken is free again. Pages that are there have room for small things: those are done or not. What
    // needs new pages cannot be.
    disk.fill();
    errands::run(&ground).await;
    let config: String = (0..400).map(|_| uuid::Uuid::new_v4().simple().to_string()).collect();
    let late = json!({ "schemaName": format!("{schema}_late"), "config": { "text": config } });
    world.apply_tenant("bulky", json!({ "schemaName": schema, "config": { "text": config } })).await;
    world.apply_tenant("bulky-late", late).await;
    for name in ["bulky", "bulky-late"] {
        says_full(world, &world.api::<TenantSchema>(), name).await;
    }
    sleep(WHILE).await;
    errands::assert_honest(&ground).await;
    assert_eq!(world.tenant_readiness("idle").await, "True", "who has nothing to do stays what it is");
    // An operator that starts now is told the same, and waits as well.
    let former = world.database_ready().await.status.unwrap().holder;
    ground.kill().await;
    ground.start();
    let tries = async || {
        let database = ground.world.databases().get(&ground.world.database_ref()).await.unwrap();
        assert_eq!(condition(&database, "Stalled"), None, "{database:#?}");
        let said = condition(&database, "Reconciling").map(|(_, _, message)| message).unwrap_or_default();
        said.contains(FULL) || database.status.unwrap().holder != former
    };
    ground.world.eventually("the next one opens the database, or says why not", tries).await;
    says_full(&ground.world, &ground.world.api::<TenantSchema>(), "bulky-late").await;

    disk.free();
    let world = &ground.world;
    for name in ["bulky", "bulky-late"] {
        world.settled_tenant(name).await;
    }
    let early = world.until_ready(&world.api::<SchemaBackup>(), "early", "True", "Completed").await;
    assert_eq!(early.status.unwrap().row_count, Some(2000));
    // It was none of the attempts of which there may be five.
    assert_eq!(world.sql("SELECT count(*) FROM edu_matrix_hub_schema.schema_jobs WHERE attempt > 1"), "0");
    recovered(ground).await;
}

/// Waits until an object says that the disk is full, and that it goes on by itself.
async fn says_full<K>(world: &World, api: &Api<K>, name: &str)
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Serialize,
{
    world
        .eventually(&format!("{name} says what is wrong"), async || {
            let object = api.get(name).await.unwrap();
            assert_eq!(condition(&object, "Stalled"), None, "{object:#?}");
            let said = condition(&object, "Reconciling").map(|(_, _, message)| message).unwrap_or_default();
            said.contains(FULL)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_without_space_for_the_log_of_changes() {
    let mut server = own_server();
    let Some(disk) = Disk::mount(server.info(), 160) else { return };
    let (log, moved) = (server.info().data_dir.join("pg_wal"), disk.dir.join("pg_wal"));
    server.stop(StopMode::Fast).unwrap();
    assert!(Command::new("mv").args([&log, &moved]).status().unwrap().success());
    symlink(&moved, &log).unwrap();
    server.start_again().unwrap();
    let mut ground = Ground::new(server.info(), json!({})).await;
    ready(&mut ground).await;
    let world = &ground.world;

    disk.fill();
    // Segments that are there already are used up.
    let next = "SELECT txid_current(), pg_switch_wal()";
    world.eventually("the server goes down", async || server.info().psql("postgres", next).is_err()).await;
    errands::run(&ground).await;
    world.database_reconciling("ConnectionFailed", "").await;
    sleep(WHILE).await;
    errands::assert_not_pretended(&ground).await;
    assert!(server.info().psql("postgres", "SELECT 1").is_err(), "it does not come back by itself");

    disk.free();
    server.restart(StopMode::Immediate).unwrap();
    recovered(ground).await;
}
