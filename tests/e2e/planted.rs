//! The operator never looks at what the owner of its database planted in `public`, also where the path of its sessions
//! leads there.

use serde_json::json;
use tenant_schema_operator::api::{SchemaBackup, TenantSchema};

use crate::world::World;

/// The same as in the tests of the functions.
const PLANTED: &str = include_str!("../sql/planted.sql");

/// What these tests do in their world.
trait Planted {
    fn planted_ran(&self) -> bool;
}

impl Planted for World {
    /// Whether something that was planted has run.
    fn planted_ran(&self) -> bool {
        self.sql("SELECT is_called FROM public.ran") == "t"
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_in_public_do_not_run_as_the_operator() {
    let mut world = World::without_operator(json!({})).await;
    world.sql(PLANTED);
    let (login, database) = (world.login(), world.database.clone());
    let lead = |whom: &str| world.sql(&format!("ALTER {whom} SET search_path = public, pg_catalog"));
    lead(&format!("DATABASE {database}"));
    lead(&format!("ROLE {login} IN DATABASE {database}"));
    drop(world.session_as(&login, "pw", "SELECT 'a'::name = 'b'::text"));
    assert!(world.planted_ran(), "a session that pins nothing runs it");
    world.sql("ALTER DATABASE {} RESET search_path".replace("{}", &database).as_str());
    world.sql("ALTER SEQUENCE public.ran RESTART");

    // Installing, claiming the lane, creating.
    world.start_operator().await;
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    world.sql_as("school", "owner", "CREATE TABLE school.t AS SELECT 1 AS id");
    // Jobs with their claims and heartbeats, and expiry.
    world.apply_backup("backup", json!({ "tenantSchemaRef": { "name": "school" }, "deletionPolicy": "Delete" })).await;
    world.until_ready(&world.api::<SchemaBackup>(), "backup", "True", "Completed").await;
    world.next_survey().await;
    let suspended = json!({ "schemaName": "school", "access": "Suspended" });
    world.apply_tenant("school", suspended).await;
    let access = async || world.sql("SELECT access FROM edu_matrix_hub_schema.tenant_schemas") == "Suspended";
    world.eventually("the tenant is suspended", access).await;

    world.kill_operator().await;
    world.start_operator().await;
    world.until_ready(&world.api::<TenantSchema>(), "school", "True", "Suspended").await;
    let gone = world.api::<SchemaBackup>();
    gone.delete("backup", &kube::api::DeleteParams::default()).await.unwrap();
    world.until_gone(&gone, "backup").await;
    world.delete_tenant("school").await;
    world.until_gone(&world.api::<TenantSchema>(), "school").await;
    world.next_survey().await;
    assert!(!world.planted_ran(), "something that was planted ran as {login}");
    world.finish().await;
}
