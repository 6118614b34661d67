//! What is in the way of a drop is said with the statement that ends it, and costs one row and few attempts.

use kube::api::DeleteParams;
use serde_json::json;
use tenant_schema_operator::api::{SchemaBackup, TenantSchema};

use crate::world::{World, condition};

/// What these tests do in their world.
pub trait HeldUp {
    async fn dropped_tenant(&self, name: &str);
    fn failures(&self) -> i32;
}

impl HeldUp for World {
    /// A tenant that is to be dropped, deleted and confirmed as its condition tells.
    async fn dropped_tenant(&self, name: &str) {
        let tenants = self.api::<TenantSchema>();
        tenants.delete(name, &DeleteParams::default()).await.unwrap();
        let message = self.stalled_tenant(name, "DropNotConfirmed").await;
        let command = message.split("kubectl ").nth(1).unwrap().split("; to keep it").next().unwrap();
        let command: Vec<_> = command.trim_end_matches(';').split_whitespace().collect();
        self.kubectl(&[command.as_slice(), &["--overwrite"]].concat());
    }

    /// Attempts in a row of the one open job that came to nothing.
    fn failures(&self) -> i32 {
        self.sql("SELECT coalesce(max(failures), 0) FROM edu_matrix_hub_schema.schema_jobs WHERE state <> 'done'")
            .parse()
            .unwrap()
    }
}

const ROWS: &str =
    "SELECT string_agg(type || ' ' || status, ', ' ORDER BY id) FROM edu_matrix_hub_schema.schema_operations
                    WHERE type IN ('purge', 'request_purge') AND status <> 'partial'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drop_that_cannot_go_on_holds_no_object_and_goes_on_quietly_by_itself() {
    let world = World::new(json!({})).await;
    let tenants = world.api::<TenantSchema>();
    world.apply_tenant("school", json!({ "schemaName": "school", "deletionPolicy": "Drop" })).await;
    world.ready_tenant("school").await;
    world.sql_as("school", "owner", "CREATE TABLE school.pupils AS SELECT 7 AS id; SELECT lo_create(4711)");
    let owner = world.tenant_role("school", "owner");
    world.sql(&format!("CREATE TABLE public.left_behind (); ALTER TABLE public.left_behind OWNER TO {owner}"));
    world.dropped_tenant("school").await;
    // The schema is gone, and only the roles are left.
    world.until_gone(&tenants, "school").await;
    assert!(world.schemas("school").is_empty(), "of the schema nothing is left");
    assert_ne!(world.count_roles("school"), "0");

    // Many attempts are one row, and say what a DBA can do.
    world.eventually("it was tried three times", async || world.failures() >= 3).await;
    assert_eq!(world.sql(ROWS), "purge error");
    let pause = "SELECT not_before - started_at > interval '15 s' FROM edu_matrix_hub_schema.schema_jobs WHERE state = 'requested'";
    assert_eq!(world.sql(pause), "t", "the pause grows");
    let message = world.sql("SELECT error FROM edu_matrix_hub_schema.schema_jobs WHERE state = 'requested'");
    assert!(message.contains("table public.left_behind"), "{message}");
    assert_eq!(world.sql("SELECT count(*) FROM pg_largeobject_metadata"), "0", "large objects go with their tenant");
    let statement = message.split("a DBA can run: ").nth(1).unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(statement, "DROP TABLE public.left_behind");

    world.sql(&statement);
    world.eventually("the roles are gone", async || world.count_roles("school") == "0").await;
    world.eventually("the drop has ended", async || world.sql(ROWS) == "purge error, purge success").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_in_the_way_of_a_drop_is_named_in_the_condition() {
    let world = World::new(json!({})).await;
    let tenants = world.api::<TenantSchema>();
    world.apply_tenant("school", json!({ "schemaName": "school", "deletionPolicy": "Drop" })).await;
    world.ready_tenant("school").await;
    world.sql_as("school", "owner", "CREATE TABLE school.pupils AS SELECT 7 AS id");
    let idle = world.session("BEGIN; SELECT id AS nothing FROM school.pupils LIMIT 0");
    world.dropped_tenant("school").await;
    let mut message = String::new();
    world
        .eventually("the condition names the session", async || {
            let tenant = tenants.get("school").await.unwrap();
            let (_, reason, text) = condition(&tenant, "Ready").unwrap();
            message = text;
            reason == "AwaitingJob" && message.contains("session ") && message.contains(" of login \"")
        })
        .await;
    assert!(
        message.contains("pupils, in a transaction open since 20") || message.contains("pupils, first met at 20"),
        "{message}"
    );
    let statement = format!(
        "SELECT pg_terminate_backend({})",
        message.split("pg_terminate_backend(").nth(1).unwrap().split(')').next().unwrap()
    );
    assert_eq!(world.sql(&statement), "t");
    world.until_gone(&tenants, "school").await;
    drop(idle);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_cannot_be_removed_says_so_and_goes_on_by_itself() {
    let mut world = World::new(json!({})).await;
    // What the database has as its default is not what the operator's transactions are.
    world.sql(&format!("ALTER DATABASE {} SET default_transaction_isolation = 'serializable'", world.database));
    world.kill_operator().await;
    world.start_operator().await;
    let backups = world.api::<SchemaBackup>();
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    world.sql_as("school", "owner", "CREATE TABLE school.pupils AS SELECT 7 AS id");
    world.apply_backup("b1", json!({ "tenantSchemaRef": { "name": "school" }, "deletionPolicy": "Delete" })).await;
    let location = world.until_ready(&backups, "b1", "True", "Completed").await.status.unwrap().location.unwrap();
    world.sql(&format!("CREATE VIEW public.late AS SELECT * FROM {location}.pupils"));
    backups.delete("b1", &DeleteParams::default()).await.unwrap();
    let backup = world.until_ready(&backups, "b1", "False", "DependentsExist").await;
    let (_, _, message) = condition(&backup, "Stalled").unwrap();
    assert!(message.contains("public.late"), "{message}");
    world.eventually("it was tried twice", async || world.failures() >= 2).await;
    assert_eq!(world.sql(ROWS), "request_purge success, purge error");
    world.sql("DROP VIEW public.late");
    world.until_gone(&backups, "b1").await;
    assert!(world.schemas("school_bak_").is_empty());
    world.finish().await;
}
