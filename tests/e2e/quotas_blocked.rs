//! A tenant that is blocked for its quota: what the operator itself does goes on, its migrations wait, and large objects count.

use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use tenant_schema_operator::api::{SchemaBackup, TenantSchema};

use crate::{
    credentials::{Applications, Keys, ask, keys_of, spec, with_tenant},
    world::{World, condition},
};

/// About 2 MiB.
const FILL: &str =
    "CREATE TABLE school.filler AS SELECT n, repeat(md5(n::text), 31) AS body FROM generate_series(1, 2000) AS n";

fn with(quota: Value) -> Value {
    let mut spec = spec();
    spec["migrationSecret"] = json!({ "name": "school-owner" });
    spec["credentials"] = json!({ "rotationGraceSeconds": 1 });
    spec["quota"] = quota;
    spec
}

/// Migrations connect directly, past a pooler.
async fn migration_keys(world: &World) -> Keys {
    let mut keys = keys_of(world.api::<Secret>().get("school-owner").await.unwrap());
    keys.insert("port".to_owned(), world.postgres.port.to_string());
    keys
}

async fn is(world: &World, reason: &str) -> TenantSchema {
    world.until_ready(&world.api::<TenantSchema>(), "school", "True", reason).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_at_its_quota_is_backed_up_and_its_migrations_wait_for_room() {
    let mut world = with_tenant().await;
    world.apply_tenant("school", with(json!({ "limit": "1Gi", "enforcement": "Block" }))).await;
    let has_secret = async || world.api::<Secret>().get_opt("school-owner").await.unwrap().is_some();
    world.eventually("migrations have a Secret", has_secret).await;
    let first = migration_keys(&world).await;
    let owner = world.sql("SELECT owner_role FROM edu_matrix_hub_schema.tenant_schemas");
    assert_eq!(ask(&first, "SELECT current_user").await.unwrap(), owner);
    world.sql_as("school", "owner", FILL);
    world.apply_tenant("school", with(json!({ "limit": "1Mi", "enforcement": "Block" }))).await;
    is(&world, "WritesBlocked").await;

    // The operator's own work goes on.
    world.apply_backup("blocked", json!({ "tenantSchemaRef": { "name": "school" } })).await;
    let backup = world.until_ready(&world.api::<SchemaBackup>(), "blocked", "True", "Completed").await;
    let copy = backup.status.unwrap().location.unwrap();
    assert_eq!(world.sql(&format!("SELECT count(*) FROM {copy}.filler")), "2000");

    // A migration is not the owner now, and cannot become it; nor is one that gets a password meanwhile.
    let refused = async |keys: &Keys| {
        assert_eq!(ask(keys, "SELECT current_user").await.unwrap(), keys["username"]);
        assert_eq!(ask(keys, "SELECT count(*) FROM filler").await.unwrap(), "2000");
        for statement in [
            "CREATE TABLE school.marks (id int)",
            "ALTER TABLE school.filler ADD COLUMN x int",
            "INSERT INTO filler VALUES (1, 'x')",
            &format!("SET ROLE \"{owner}\""),
            &format!("GRANT \"{owner}\" TO \"{}\"", keys["username"]),
        ] {
            let error = ask(keys, statement).await.expect_err(statement);
            assert_eq!(error.code().unwrap().code(), "42501", "{statement}: {error:?}");
        }
        assert_eq!(
            ask(keys, "WITH d AS (DELETE FROM filler WHERE n < 0 RETURNING 1) SELECT count(*) FROM d").await.unwrap(),
            "0"
        );
    };
    refused(&first).await;
    world.rotate().await;
    let is_next = async || migration_keys(&world).await["username"] != first["username"];
    world.eventually("migrations have another password", is_next).await;
    let second = migration_keys(&world).await;
    refused(&second).await;
    is(&world, "WritesBlocked").await;

    // With room they go on, by the Secret that they have.
    world.apply_tenant("school", with(json!({ "limit": "1Gi", "enforcement": "Block" }))).await;
    world.ready_tenant("school").await;
    assert_eq!(ask(&second, "SELECT current_user").await.unwrap(), owner);
    let graces = "SELECT count(*) FROM edu_matrix_hub_schema.tenant_credentials \
                  WHERE previous_login IS NOT NULL AND previous_closed_at IS NULL";
    world.eventually("the former passwords open nothing", async || world.sql(graces) == "0").await;
    ask(&second, "CREATE TABLE marks (id int)").await.unwrap();
    assert_eq!(world.sql("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'school.marks'::regclass"), owner);
    ask(&world.keys().await, "INSERT INTO marks VALUES (1)").await.unwrap();
    let counted = async || {
        let school = world.api::<TenantSchema>().get("school").await.unwrap();
        school.status.is_some_and(|status| status.table_count == Some(3))
    };
    world.eventually("the table is counted", counted).await;
    world.prove_fixpoint().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_objects_count_in_a_quota_and_an_estimate_blocks_nobody_for_a_neighbours() {
    let world = with_tenant().await;
    let quota = json!({ "limit": "1Mi", "enforcement": "Block" });
    let mut blocked = spec();
    blocked["quota"] = quota;
    world.apply_tenant("school", blocked).await;
    world.ready_tenant("school").await;
    let keys = world.keys().await;
    let fill =
        "SELECT lo_from_bytea(4711, string_agg(sha256(n::text::bytea), ''::bytea)) FROM generate_series(1, 65536) AS n";
    assert_eq!(ask(&keys, fill).await.unwrap(), "4711");
    // No other role has any, so they are this tenant's for certain.
    let school = is(&world, "WritesBlocked").await;
    let told = school.status.unwrap().quota_estimate.unwrap().message.unwrap();
    let statement = format!(
        "GRANT SELECT ON pg_catalog.pg_largeobject TO {}",
        world.sql("SELECT owner_role FROM edu_matrix_hub_schema.installation")
    );
    assert!(told.contains("1 large object") && told.ends_with(&statement), "{told}");
    assert!(ask(&keys, "INSERT INTO pupils VALUES (2) RETURNING 1").await.is_err());

    // A neighbour comes, and they are no more than a guess: it is told, and takes no writes.
    world.sql("SELECT lo_from_bytea(4712, 'small')");
    let school = is(&world, "QuotaExceeded").await;
    let (.., message) = condition(&school, "Ready").unwrap();
    assert!(message.contains("is not certain") && message.contains(&statement), "{message}");
    ask(&keys, "INSERT INTO pupils VALUES (2) RETURNING 1").await.unwrap();

    world.sql(&statement);
    let school = is(&world, "WritesBlocked").await;
    assert!(school.status.unwrap().quota_estimate.is_none(), "it is exact");
    assert_eq!(ask(&keys, "SELECT lo_unlink(4711)").await.unwrap(), "1");
    world.ready_tenant("school").await;
    ask(&keys, "INSERT INTO pupils VALUES (2) RETURNING 1").await.unwrap();
    world.finish().await;
}
