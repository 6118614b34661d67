//! A database where `PUBLIC` has nothing, whose settings lead nowhere, and whose operator may not read what policies hide: tenants
//! get their passwords, work, are backed up, go and come back.

use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use tenant_schema_operator::api::{RECLAIM, SchemaBackup, TenantSchema};
use tokio_postgres::error::SqlState;

use crate::{
    credentials::{Applications, Keys, ask, keys_of},
    world::{World, condition},
};

fn spec(policy: &str) -> Value {
    json!({
        "schemaName": "school", "connectionSecret": { "name": "school-db" }, "migrationSecret": { "name": "school-owner" },
        "credentials": { "rotationGraceSeconds": 4 }, "deletionPolicy": policy,
    })
}

async fn migrations(world: &World) -> Keys {
    keys_of(world.api::<Secret>().get("school-owner").await.unwrap())
}

async fn refused(keys: &Keys, sql: &str) {
    let error = ask(keys, sql).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{sql}: {error}");
}

/// What an application and a migration may do, and what not, with these passwords.
async fn works(world: &World, application: &Keys, migration: &Keys, rows: &str) {
    let owner = world.tenant_role("school", "owner").replace('"', "");
    for (sql, expected) in [
        ("SELECT current_user", application["username"].as_str()),
        ("SHOW search_path", "school"),
        ("SHOW row_security", "on"),
        ("SELECT count(*) FROM marks", rows),
        ("SELECT count(*) FROM hidden", "0"),
    ] {
        assert_eq!(ask(application, sql).await.unwrap(), expected, "{sql}");
    }
    for (sql, expected) in
        [("SELECT current_user", owner.as_str()), ("SHOW search_path", "school"), ("SELECT count(*) FROM hidden", "10")]
    {
        assert_eq!(ask(migration, sql).await.unwrap(), expected, "{sql}");
    }
    for keys in [application, migration] {
        refused(keys, "CREATE TEMPORARY TABLE t (id int)").await;
        refused(keys, "SELECT 1 FROM public.shared").await;
        refused(keys, "CREATE TABLE public.t (id int)").await;
        refused(keys, "CREATE SCHEMA mine").await;
    }
    refused(application, "CREATE TABLE school.t (id int)").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_lives_in_a_hardened_database() {
    let mut world = World::without_operator(json!({})).await;
    world.guard_secrets();
    let (login, database) = (world.login(), world.database.clone());
    world.sql(&format!(
        "CREATE TABLE public.shared (id int); REVOKE ALL ON DATABASE {database} FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC;
         ALTER ROLE {login} SET row_security = off; ALTER ROLE {login} SET search_path = '$user'; ALTER DATABASE {database} SET search_path = ''"
    ));
    world.start_operator().await;
    world.apply_tenant("school", spec("BackupThenDrop")).await;
    world.ready_tenant("school").await;

    // Migrations make what applications use.
    ask(
        &migrations(&world).await,
        "CREATE TABLE marks AS SELECT n AS id FROM generate_series(1, 10) AS n;
         CREATE TABLE hidden AS SELECT n AS id FROM generate_series(1, 10) AS n;
         ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
         CREATE POLICY nobody ON hidden USING (false)",
    )
    .await
    .unwrap();
    let (application, migration) = (world.keys().await, migrations(&world).await);
    works(&world, &application, &migration, "10").await;
    ask(&application, "INSERT INTO marks VALUES (11)").await.unwrap();
    refused(&application, "INSERT INTO hidden VALUES (11)").await;
    let connects = format!("SELECT has_database_privilege('{}', '{database}', 'CONNECT')", application["username"]);
    assert_eq!(world.sql(&connects), "t");

    // Rotated: both come in until the grace is over, then one.
    world.rotate().await;
    let is_next = async || migrations(&world).await["username"] != migration["username"];
    world.eventually("migrations have another password", is_next).await;
    let (next, next_migration) = (world.keys().await, migrations(&world).await);
    assert_ne!(next["username"], application["username"]);
    works(&world, &next, &next_migration, "11").await;
    let is_closed = async || ask(&application, "SELECT 1").await.is_err() && ask(&migration, "SELECT 1").await.is_err();
    world.eventually("the former passwords open nothing", is_closed).await;
    works(&world, &next, &next_migration, "11").await;
    let is_looked_at = async || {
        let tenant = world.api::<TenantSchema>().get("school").await.unwrap();
        condition(&tenant, "Isolated").is_some_and(|(status, ..)| status == "True")
    };
    world.eventually("the tenant is found isolated", is_looked_at).await;

    // Every row is in a backup, also what the policy hides from all but the owner.
    world.apply_backup("nightly", json!({ "tenantSchemaRef": { "name": "school" } })).await;
    let backup = world.until_ready(&world.api::<SchemaBackup>(), "nightly", "True", "Completed").await;
    let status = backup.status.unwrap();
    assert_eq!((status.table_count, status.row_count), (Some(2), Some(21)));
    let location = status.location.unwrap();
    let copied =
        format!("SELECT (SELECT count(*) FROM {location}.marks) || ' ' || (SELECT count(*) FROM {location}.hidden)");
    assert_eq!(world.sql(&copied), "11 10");
    world.prove_fixpoint().await;
    world.start_operator().await;

    // Deleted and brought back: the passwords of before open nothing, and all rows are there.
    world.delete_tenant("school").await;
    assert!(!world.stands("school"));
    for keys in [&next, &next_migration] {
        assert!(ask(keys, "SELECT 1").await.is_err(), "{}", keys["username"]);
    }
    let secrets = world.api::<Secret>();
    let are_gone = async || {
        secrets.get_opt("school-db").await.unwrap().is_none()
            && secrets.get_opt("school-owner").await.unwrap().is_none()
    };
    world.eventually("the Secrets go with their object", are_gone).await;
    world.apply_annotated("school", spec("Drop"), json!({ RECLAIM: "school" })).await;
    world.ready_tenant("school").await;
    works(&world, &world.keys().await, &migrations(&world).await, "11").await;

    // Dropped: nothing is left of it but its backup.
    let (last, last_migration) = (world.keys().await, migrations(&world).await);
    world.drop_tenant("school").await;
    for keys in [&last, &last_migration] {
        assert!(ask(keys, "SELECT 1").await.is_err(), "{}", keys["username"]);
    }
    let roles = format!(
        "SELECT count(*) FROM pg_roles WHERE rolname IN ('{}', '{}', '{}', '{}')",
        application["username"], next["username"], migration["username"], next_migration["username"]
    );
    world.eventually("its logins are gone", async || world.sql(&roles) == "0").await;
    assert!(!world.stands("school"));
    assert_eq!(world.sql(&copied), "11 10");
    world.finish().await;
}
