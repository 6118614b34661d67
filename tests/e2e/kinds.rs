//! Definitions of the kinds that lack a field of this release: nothing is done by what is left of a spec.

use std::io::Write;

use devcluster::{ControlPlane, ControlPlaneOptions};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams},
};
use serde_json::{Value, json};
use tenant_schema_operator::api::{TenantSchema, crds};

use crate::world::{World, install_crds};

/// The kinds of a release that had neither suspension nor policies.
fn install_older_kinds(control_plane: &ControlPlane) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for crd in crds() {
        let mut crd = serde_json::to_value(crd).unwrap();
        if crd["spec"]["names"]["kind"] == "TenantSchema" {
            let version = &mut crd["spec"]["versions"][0];
            let spec = version.pointer_mut("/schema/openAPIV3Schema/properties/spec/properties").unwrap();
            for field in ["access", "deletionPolicy"] {
                spec.as_object_mut().unwrap().remove(field).unwrap();
            }
            // They may not name fields that are not there.
            for list in ["additionalPrinterColumns", "selectableFields"] {
                let named: &mut Vec<Value> = version[list].as_array_mut().unwrap();
                named.retain(|named| !named["jsonPath"].as_str().unwrap().starts_with(".spec"));
            }
        }
        writeln!(file, "---\n{crd}").unwrap();
    }
    let path = file.path().display().to_string();
    control_plane.info().kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &path]).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_older_kinds_cut_off_neither_opens_nor_drops_anything() {
    let shared = devcluster::shared().unwrap();
    let control_plane = ControlPlane::start(&ControlPlaneOptions::default()).unwrap();
    install_crds(control_plane.info());
    let mut world = World::on_plane(control_plane.info(), shared.postgres()).await;
    world.make_database(&world.database, &world.login());
    world.write_secret(json!({})).await;
    world.apply_database(json!({})).await;
    world.start_operator().await;
    world.apply_tenant("closed", json!({ "schemaName": "closed", "access": "Suspended" })).await;
    world.apply_tenant("kept", json!({ "schemaName": "kept", "deletionPolicy": "Retain" })).await;
    world.apply_tenant("plain", json!({ "schemaName": "plain" })).await;
    world.until_ready(&world.api::<TenantSchema>(), "closed", "True", "Suspended").await;
    world.ready_tenant("kept").await;
    world.ready_tenant("plain").await;
    world.apply_tenant("gone", json!({ "schemaName": "gone" })).await;
    world.ready_tenant("gone").await;
    let access = |world: &World| {
        world.sql("SELECT string_agg(schema_name || ' ' || access || ' ' || status, ',' ORDER BY schema_name) FROM edu_matrix_hub_schema.tenant_schemas")
    };
    let before = access(&world);
    assert!(before.starts_with("closed Suspended"), "{before}");

    let stored = async |world: &World| {
        let found = world.api::<TenantSchema>().list(&ListParams::default()).await.unwrap().items;
        let about = |tenant: &TenantSchema| (tenant.name_any(), tenant.resource_version(), tenant.status.clone());
        found.iter().map(about).filter(|(name, ..)| ["closed", "kept"].contains(&&**name)).collect::<Vec<_>>()
    };
    world
        .eventually("both were measured", async || {
            stored(&world)
                .await
                .iter()
                .all(|(.., status)| status.as_ref().is_some_and(|status| status.table_count.is_some()))
        })
        .await;
    let written = stored(&world).await;

    // While it lives.
    install_older_kinds(&control_plane);
    let message =
        world.database_stalled("KindsOlder", "TenantSchema spec.access, TenantSchema spec.deletionPolicy").await;
    assert!(message.contains("crds | kubectl apply"), "{message}");
    assert_eq!(access(&world), before);

    // And from its beginning.
    world.stop_operator().await;
    world.start_operator().await;
    world.database_stalled("KindsOlder", "spec.access").await;
    world.apply_tenant("new", json!({ "schemaName": "new" })).await;
    world.api::<TenantSchema>().delete("gone", &DeleteParams::default()).await.unwrap();
    world.database_stalled("KindsOlder", "spec.access").await;
    // Three looks at the definitions, and the wish was not followed.
    let looked = |times: f64| world.metric(r#"tenant_schema_operator_reconciles_total{kind="TenantSchema""#) >= times;
    world.eventually("both were looked at", async || looked(5.0)).await;
    assert_eq!(access(&world), before);
    assert_eq!(
        stored(&world).await,
        written,
        "no tenant was written: the API server would store it without what is cut off"
    );

    // It goes on by itself, and by the whole specs.
    install_crds(control_plane.info());
    world.ready_tenant("new").await;
    world.until_gone(&world.api::<TenantSchema>(), "gone").await;
    world.delete_tenant("kept").await;
    assert_eq!(world.schemas("kept"), ["kept"], "its policy is Retain");
    world.until_ready(&world.api::<TenantSchema>(), "closed", "True", "Suspended").await;
    let closed = "SELECT access FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name = 'closed'";
    assert_eq!(world.sql(closed), "Suspended");
    world.finish().await;
}
