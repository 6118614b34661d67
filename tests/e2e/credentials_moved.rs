//! What becomes of passwords when a tenant goes to another object: of another namespace they end with it, of the same one they live for
//! the grace.

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tenant_schema_operator::api::{RECLAIM, TenantSchema};

use crate::{
    credentials::{Applications, Keys, ask, keys_of, with_tenant},
    world::World,
};

/// The platform team gives the tenant to another object, and the old one is deleted.
async fn given(world: &World, namespace: &str, name: &str) {
    let entry = json!({
        "schemaName": "school", "from": { "namespace": world.namespace, "name": "school" },
        "to": { "namespace": namespace, "name": name },
    });
    let patch = Patch::Merge(json!({ "spec": { "transfers": [entry] } }));
    world.databases().patch(&world.database_ref(), &PatchParams::default(), &patch).await.unwrap();
    let own = world.api::<TenantSchema>();
    own.delete("school", &DeleteParams::default()).await.unwrap();
    world.until_gone(&own, "school").await;
}

/// Both Secrets of a spec, under names that begin with this.
fn both(stem: &str) -> Value {
    json!({
        "schemaName": "school", "connectionSecret": { "name": format!("{stem}-db") },
        "migrationSecret": { "name": format!("{stem}-migrations") },
    })
}

async fn keys(world: &World, namespace: &str, name: &str) -> Keys {
    keys_of(Api::<Secret>::namespaced(world.client.clone(), namespace).get(name).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_goes_to_another_namespace_shuts_out_who_had_its_secrets() {
    let world = with_tenant().await;
    let there = format!("{}-there", world.namespace);
    world.make_namespace(&there, json!({})).await;
    world.apply_tenant("school", both("school")).await;
    world
        .eventually("the migrations' Secret", async || {
            world.api::<Secret>().get_opt("school-migrations").await.unwrap().is_some()
        })
        .await;
    world.ready_tenant("school").await;
    let mut former = Vec::new();
    for name in ["school-db", "school-migrations"] {
        former.push(keys(&world, &world.namespace, name).await);
    }
    let mut sessions: Vec<_> =
        former.iter().map(|keys| world.session_as(&keys["username"], &keys["password"], "SELECT 1")).collect();
    given(&world, &there, "moved").await;
    assert_eq!(ask(&former[0], "SELECT id FROM school.pupils").await.unwrap(), "1", "open in between");

    world.try_annotated_in(&there, "moved", both("moved"), json!({ RECLAIM: "school" })).await.unwrap();
    let moved = Api::<TenantSchema>::namespaced(world.client.clone(), &there);
    world.until_ready(&moved, "moved", "True", "Succeeded").await;
    for (keys, session) in former.iter().zip(&mut sessions) {
        world.eventually("its sessions end", async || session.is_ended()).await;
        assert!(ask(keys, "SELECT 1").await.is_err(), "{} is closed", keys["username"]);
    }
    let now = keys(&world, &there, "moved-db").await;
    assert_eq!(ask(&now, "SELECT id FROM school.pupils").await.unwrap(), "1");
    let now = keys(&world, &there, "moved-migrations").await;
    assert_eq!(ask(&now, "CREATE TABLE later (id int); SELECT 1").await.unwrap(), "1");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_gets_another_name_keeps_its_applications_for_the_grace() {
    let world = with_tenant().await;
    let former = world.keys().await;
    let mut session = world.session_as(&former["username"], &former["password"], "SELECT 1");
    given(&world, &world.namespace, "renamed").await;
    // The Secret has the name that it had: the former one goes with its object before this one is written.
    let spec = json!({ "schemaName": "school", "connectionSecret": { "name": "school-db" } });
    world.apply_annotated("renamed", spec, json!({ RECLAIM: "school" })).await;
    world.ready_tenant("renamed").await;
    let is_new = async || {
        let secret = world.secret().await.map(keys_of);
        secret.is_some_and(|now| now["username"] != former["username"])
    };
    world.eventually("another password in the Secret", is_new).await;
    let now = world.keys().await;
    for keys in [&now, &former] {
        assert_eq!(ask(keys, "SELECT id FROM school.pupils").await.unwrap(), "1", "{}", keys["username"]);
    }
    assert!(!session.is_ended());
    drop(session);
    world.finish().await;
}
