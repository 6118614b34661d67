//! etcd is restored from a snapshot while the operator lives on: it sees the world as it is now, at once.

use devcluster::{ControlPlane, ControlPlaneOptions};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, api::DeleteParams};
use serde_json::json;
use tenant_schema_operator::api::{RECLAIM, SchemaBackup, TenantSchema};

use crate::world::{World, install_crds};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restore_of_etcd_everything_is_looked_at_by_what_is_there_now() {
    let shared = devcluster::shared().unwrap();
    let mut control_plane = ControlPlane::start(&ControlPlaneOptions::default()).unwrap();
    install_crds(control_plane.info());
    let mut world = World::on_plane(control_plane.info(), shared.postgres()).await;
    world.make_database(&world.database, &world.login());
    world.write_secret(json!({})).await;
    world.apply_database(json!({})).await;
    world.start_operator().await;
    let suspended = |name: &str| json!({ "schemaName": name, "access": "Suspended" });
    let open = |name: &str| json!({ "schemaName": name });
    for name in ["stays", "leaves", "deleted", "closed_since"] {
        world.apply_tenant(&name.replace('_', "-"), open(name)).await;
    }
    world.apply_tenant("opened-since", suspended("opened_since")).await;
    for name in ["stays", "leaves", "deleted", "closed-since"] {
        world.ready_tenant(name).await;
    }
    let tenants = world.api::<TenantSchema>();
    world.until_ready(&tenants, "opened-since", "True", "Suspended").await;
    world.sql_as("deleted", "owner", "CREATE TABLE deleted.pupils (id int)");
    let snapshot = control_plane.snapshot().unwrap();

    world.delete_tenant("deleted").await;
    world.apply_tenant("closed-since", suspended("closed_since")).await;
    world.until_ready(&tenants, "closed-since", "True", "Suspended").await;
    world.apply_tenant("opened-since", open("opened_since")).await;
    world.ready_tenant("opened-since").await;
    world.apply_tenant("made-since", open("made_since")).await;
    world.ready_tenant("made-since").await;
    // So much happens that the restored cluster's versions stay below for as long as the test runs.
    for number in 0..200 {
        world.annotate::<TenantSchema>("stays", "example.org/number", &number.to_string()).await;
    }
    // A snapshot is older than the latest renewal of the Lease, which takes place every five seconds.
    let leases = Api::<Lease>::namespaced(world.client.clone(), &world.operator_namespace);
    let lease = format!("tenant-database-{}", world.database_ref());
    let renewed = async || leases.get(&lease).await.unwrap().metadata.resource_version;
    let version = renewed().await;
    world.eventually("the Lease is renewed", async || renewed().await != version).await;
    let epoch = || world.sql("SELECT epoch FROM edu_matrix_hub_schema.installation");
    let before = epoch();
    control_plane.restore(&snapshot).unwrap();

    let row = |schema: &str| {
        world.sql(&format!(
            "SELECT status || ' ' || access FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name = '{schema}'"
        ))
    };
    world.eventually("what was closed since is open", async || row("closed_since") == "active ReadWrite").await;
    world.eventually("what was opened since is closed", async || row("opened_since").ends_with("Suspended")).await;
    assert_ne!(epoch(), before, "the lane was opened again");
    world.ready_tenant("closed-since").await;
    world.until_ready(&tenants, "opened-since", "True", "Suspended").await;
    let message = world.stalled_tenant("deleted", "SchemaMissing").await;
    assert!(message.contains("deleted_bak_"), "{message}");
    world.eventually("what was made since is released", async || row("made_since").starts_with("released")).await;
    assert_eq!(world.schemas("made_since"), ["made_since"]);
    world.apply_tenant("new", open("new")).await;
    world.ready_tenant("new").await;
    tenants.delete("leaves", &DeleteParams::default()).await.unwrap();
    world.until_gone(&tenants, "leaves").await;
    let told = world.kubectl(&["get", "events", "-n", "default", "-o", "jsonpath={.items[*].reason}"]);
    assert!(told.contains("ClusterRestored"), "{told}");
    tenants.delete("deleted", &DeleteParams::default()).await.unwrap();
    world.until_gone(&tenants, "deleted").await;
    assert_eq!(world.schemas("deleted_bak").len(), 1, "what was set aside stays");
    world.finish().await;
}

/// The snapshot is from before the operator was started: no Lease, and no object has a status or a finalizer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_from_before_the_operator_has_no_lease_and_takes_nothing_away() {
    let shared = devcluster::shared().unwrap();
    let mut control_plane = ControlPlane::start(&ControlPlaneOptions::default()).unwrap();
    install_crds(control_plane.info());
    let mut world = World::on_plane(control_plane.info(), shared.postgres()).await;
    world.make_database(&world.database, &world.login());
    world.write_secret(json!({})).await;
    world.apply_database(json!({})).await;
    let open = |name: &str| json!({ "schemaName": name });
    for name in ["kept", "deleted", "closed"] {
        world.apply_tenant(name, open(name)).await;
    }
    world.apply_backup("copy", json!({ "tenantSchemaRef": { "name": "kept" } })).await;
    let leases = Api::<Lease>::namespaced(world.client.clone(), &world.operator_namespace);
    let lease = format!("tenant-database-{}", world.database_ref());
    assert!(leases.get_opt(&lease).await.unwrap().is_none());
    let snapshot = control_plane.snapshot().unwrap();

    world.start_operator().await;
    for name in ["kept", "deleted", "closed"] {
        world.ready_tenant(name).await;
        world.sql_as(name, "owner", &format!("CREATE TABLE {name}.pupils AS SELECT 7 AS id"));
    }
    let (tenants, backups) = (world.api::<TenantSchema>(), world.api::<SchemaBackup>());
    world.until_ready(&backups, "copy", "True", "Completed").await;
    world.delete_tenant("deleted").await;
    let suspended = json!({ "schemaName": "closed", "access": "Suspended" });
    world.apply_tenant("closed", suspended).await;
    world.until_ready(&tenants, "closed", "True", "Suspended").await;
    world.apply_tenant("made-since", open("made_since")).await;
    world.ready_tenant("made-since").await;
    world.sql_as("made_since", "owner", "CREATE TABLE made_since.pupils AS SELECT 7 AS id");
    for number in 0..200 {
        world.annotate::<TenantSchema>("kept", "example.org/number", &number.to_string()).await;
    }
    let installation = || world.sql("SELECT epoch, holder FROM edu_matrix_hub_schema.installation");
    let number_of_backups = || world.sql("SELECT count(*) FROM edu_matrix_hub_schema.schema_backups");
    let (before, saved) = (installation(), number_of_backups());
    control_plane.restore(&snapshot).unwrap();

    world.eventually("the lane is taken again", async || installation() != before).await;
    let holder = leases.get(&lease).await.unwrap().spec.unwrap().holder_identity;
    assert!(holder.is_some(), "there is a Lease again");
    for name in ["kept", "closed"] {
        world.ready_tenant(name).await;
        assert_eq!(world.sql_as(name, "reader", &format!("SELECT id FROM {name}.pupils")), "7");
    }
    // The same object, by its UID, once had the schema; its data is set aside, and no empty one takes its place.
    let message = world.stalled_tenant("deleted", "SchemaMissing").await;
    assert!(message.contains("edumatrixhub.io/reclaim=deleted"), "{message}");
    let row = "SELECT status FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name = 'made_since'";
    world.eventually("what was made since is released", async || world.sql(row) == "released").await;
    assert_eq!(world.sql("SELECT id FROM made_since.pupils"), "7");
    world.until_ready(&backups, "copy", "True", "Completed").await;
    assert_eq!(number_of_backups(), saved, "the backup is the one that was made");
    let told = world.kubectl(&["get", "events", "-n", "default", "-o", "jsonpath={.items[*].reason}"]);
    assert!(told.contains("ClusterRestored"), "{told}");

    for (name, schema) in [("deleted", "deleted"), ("made-since", "made_since")] {
        world.apply_annotated(name, open(schema), json!({ RECLAIM: schema })).await;
        world.ready_tenant(name).await;
        assert_eq!(world.sql_as(schema, "reader", &format!("SELECT id FROM {schema}.pupils")), "7");
    }
    tenants.delete("closed", &DeleteParams::default()).await.unwrap();
    world.until_gone(&tenants, "closed").await;
    assert_eq!(world.schemas("closed_bak").len(), 1, "the finalizer is there again");
    world.finish().await;
}
