//! What a next kind costs: one short file, driven by the frame beside the operator's own kinds.

use jiff::{Timestamp, ToSpan};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams},
};
use serde_json::json;

use crate::{
    timed_snapshot::{self, TimedSnapshot},
    world::World,
};

#[test]
fn a_kind_takes_fewer_than_a_hundred_and_fifty_lines() {
    assert!(include_str!("timed_snapshot.rs").lines().count() < 150);
}

fn resource() -> ApiResource {
    ApiResource::erase::<TimedSnapshot>(&())
}

async fn install(world: &World) {
    let names = json!({ "kind": "TimedSnapshot", "plural": "timedsnapshots", "singular": "timedsnapshot" });
    let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    let version = json!({ "name": "v1", "served": true, "storage": true, "subresources": { "status": {} },
                          "schema": { "openAPIV3Schema": schema } });
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "timedsnapshots.test.edumatrixhub.io" },
        "spec": { "group": "test.edumatrixhub.io", "scope": "Namespaced", "names": names, "versions": [version] },
    });
    let api = Api::<CustomResourceDefinition>::all(world.client.clone());
    let name = "timedsnapshots.test.edumatrixhub.io";
    api.patch(name, &PatchParams::apply("e2e").force(), &Patch::Apply(&definition)).await.unwrap();
    let api = Api::<TimedSnapshot>::all(world.client.clone());
    world
        .eventually("the definition is served", async || api.list(&kube::api::ListParams::default()).await.is_ok())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_made_from_the_frame_is_driven_from_its_birth_to_its_end() {
    let mut world = World::without_operator(json!({})).await;
    install(&world).await;
    world.further_kind = timed_snapshot::wired;
    world.start_operator().await;
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    let api = Api::<TimedSnapshot>::namespaced(world.client.clone(), &world.namespace);
    let id = world.id.clone();
    let apply = async |name: &str, not_before: &str| {
        let object = json!({
            "apiVersion": "test.edumatrixhub.io/v1", "kind": "TimedSnapshot",
            "metadata": { "name": name, "labels": { "e2e": id } },
            "spec": { "tenant": "school", "notBefore": not_before },
        });
        api.patch(name, &PatchParams::apply("e2e").force(), &Patch::Apply(&object)).await
    };
    let at = Timestamp::now() + 3.seconds();
    apply("noon", &at.to_string()).await.unwrap();
    let ready = async |reason: &str| {
        let conditions = api.get("noon").await.unwrap().status.map(|status| status.conditions).unwrap_or_default();
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.reason == reason)
    };
    let backups = || world.sql("SELECT count(*) FROM edu_matrix_hub_schema.schema_backups WHERE state = 'complete'");

    // It waits for its time and makes a snapshot then.
    world.eventually("it waits for its time", async || ready("Progressing").await).await;
    assert_eq!(backups(), "0");
    world.eventually("the snapshot is made", async || ready("Completed").await).await;
    assert!(Timestamp::now() >= at);
    assert_eq!(backups(), "1");
    let waited = world.sql("SELECT object_kind || ' ' || object_name FROM edu_matrix_hub_schema.schema_jobs");
    assert_eq!(waited, "TimedSnapshot noon", "the job names the object that waits for it");
    let before = api.get("noon").await.unwrap();
    assert_eq!(before.finalizers(), ["test.edumatrixhub.io/timed-snapshot"]);
    // A second run looks at it when the lane opens, and neither does nor writes anything.
    world.prove_fixpoint().await;
    world.start_operator().await;
    let looks = "tenant_schema_operator_reconciles_total{kind=\"TimedSnapshot\",outcome=\"unchanged\"";
    world.eventually("the second run looked at it", async || world.count(looks) > 0).await;
    assert_eq!(world.count("tenant_schema_operator_sql_calls_total{function=\"apply_steps\""), 0);
    assert_eq!(api.get("noon").await.unwrap().resource_version(), before.resource_version());
    // One that cannot be read is told, and is in no other's way.
    let _ = apply("unreadable", "when the bell rings").await;
    let told = async || {
        let raw: Api<DynamicObject> = Api::namespaced_with(world.client.clone(), &world.namespace, &resource());
        raw.get("unreadable").await.unwrap().data["status"].to_string()
    };
    let command = format!("kubectl -n {} edit timedsnapshot unreadable", world.namespace);
    world.eventually("it is told what cannot be read", async || told().await.contains(&command)).await;
    // What it made goes with it.
    api.delete("noon", &DeleteParams::default()).await.unwrap();
    world.eventually("it is gone", async || api.get_opt("noon").await.unwrap().is_none()).await;
    let left = || world.sql("SELECT count(*) FROM edu_matrix_hub_schema.schema_backups WHERE state = 'complete'");
    world.eventually("its snapshot is gone", async || left() == "0").await;
    world.prove_fixpoint().await;
}
