//! Copies beside their original: of a cluster, and of a database. The original loses nothing to them.

use devcluster::{ControlPlane, ControlPlaneOptions};
use kube::api::DeleteParams;
use serde_json::json;
use tenant_schema_operator::api::{RECLAIM, TAKE_OVER, TenantSchema};

use crate::{
    tools::operator::Process,
    world::{World, install_crds},
};

/// What a drill does: etcd's snapshot is started as another cluster, with all identities and the same Secret.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_was_cloned_takes_nothing_of_the_original() {
    let shared = devcluster::shared().unwrap();
    let plane = ControlPlane::start(&ControlPlaneOptions::default()).unwrap();
    install_crds(plane.info());
    let mut world = World::on_plane(plane.info(), shared.postgres()).await;
    world.make_database(&world.database, &world.login());
    world.write_secret(json!({})).await;
    world.apply_database(json!({})).await;
    world.start_operator().await;
    for name in ["school", "leaving"] {
        world.apply_tenant(name, json!({ "schemaName": name })).await;
        world.ready_tenant(name).await;
    }
    let snapshot = plane.snapshot().unwrap();
    let mut other = ControlPlane::start(&ControlPlaneOptions::default()).unwrap();
    other.restore(&snapshot).unwrap();
    let clone = world.as_seen_from(&other).await;
    clone.delete_lease().await;
    let epoch = || world.sql("SELECT epoch FROM edu_matrix_hub_schema.installation");
    let before = epoch();

    let process = Process::spawn_as(&clone, &[]);
    let message = clone.database_stalled("LaneContested", "two operators want this database").await;
    assert!(message.contains(&format!("operator-{} (TenantDatabase", world.id)), "the original works: {message}");
    world.database_stalled("LaneContested", "two operators want this database").await;
    clone.api::<TenantSchema>().delete("leaving", &DeleteParams::default()).await.unwrap();
    clone.apply_tenant("school", json!({ "schemaName": "school", "access": "Suspended" })).await;
    clone.apply_tenant("new", json!({ "schemaName": "new" })).await;
    world.next_survey().await;
    assert_eq!(world.sql("SELECT DISTINCT access FROM edu_matrix_hub_schema.tenant_schemas"), "ReadWrite");
    assert_eq!((world.schemas("leaving"), world.schemas("new").len()), (vec!["leaving".to_owned()], 0));
    assert_eq!(epoch(), before, "the lane did not change hands");

    let (status, log) = process.terminate();
    assert!(status.success() && !log.contains("panicked"), "{log}");
    world.database_ready().await;
    world.settled_tenant("leaving").await;
    world.finish().await;
}

/// What would make a staging environment: `CREATE DATABASE … TEMPLATE`, and a cluster that takes the copy over. Roles are the
/// server's, so what is done to them in one database would be felt in the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_database_on_the_same_server_is_not_taken_over_beside_its_original() {
    let mut world = World::new(json!({})).await;
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    world.sql_as("school", "owner", "CREATE TABLE school.pupils AS SELECT 7 AS id");
    let application = format!("app_{}", world.id);
    let writer = world.tenant_role("school", "writer");
    world.sql(&format!("CREATE ROLE {application} LOGIN PASSWORD 'pw'; GRANT {writer} TO {application}"));
    world.stop_operator().await;
    let copy = format!("{}_staging", world.database);
    world.sql_in("postgres", &format!("CREATE DATABASE {copy} TEMPLATE {} OWNER {}", world.database, world.login()));
    let owner = world.owner_role();
    world.sql_in("postgres", &format!("GRANT CREATE ON DATABASE {copy} TO {owner}"));
    world.sql_in("postgres", &format!("GRANT CONNECT ON DATABASE {copy} TO {owner} WITH GRANT OPTION"));
    world.start_operator().await;

    let plane = ControlPlane::start(&ControlPlaneOptions::default()).unwrap();
    let mut staging = world.again_on(&plane).await;
    staging.database.clone_from(&copy);
    staging.write_secret(json!({})).await;
    staging.apply_database(json!({})).await;
    staging.start_operator().await;
    let message = staging.database_stalled("ManagedElsewhere", "of another cluster").await;
    staging.annotate_database(TAKE_OVER, &World::value_told(&message, TAKE_OVER)).await;
    staging.database_stalled("OperationFailed", "move the copy to a server of its own").await;
    let suspended = json!({ "schemaName": "school", "access": "Suspended" });
    staging.apply_annotated("school", suspended, json!({ RECLAIM: "school" })).await;
    staging.tenant_says("school", "Reconciling", "DatabaseUnavailable", "move the copy to a server of its own").await;

    drop(world.session_as(&application, "pw", "INSERT INTO school.pupils VALUES (8)"));
    world.next_survey().await;
    world.settled_tenant("school").await;
    assert_eq!(world.sql_as("school", "reader", "SELECT count(*) FROM school.pupils"), "2");
    staging.stop_operator().await;
    world.sql_in("postgres", &format!("DROP DATABASE {copy} WITH (FORCE)"));
    world.sql(&format!("DROP OWNED BY {application}; DROP ROLE {application}"));
    world.finish().await;
}
