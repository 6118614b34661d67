//! More than one operator wants a database: the one at work keeps it, both say so, and nothing is taken away meanwhile.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::{coordination::v1::Lease, core::v1::Secret},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::json;
use tenant_schema_operator::api::TenantSchema;

use crate::{
    tools::operator::Process,
    world::{World, condition},
};

impl World {
    /// A second namespace for an operator, with the same Secret.
    async fn further_operator_namespace(&self) -> String {
        let namespace = format!("further-{}", self.id);
        self.make_namespace(&namespace, json!({})).await;
        let from = Api::<Secret>::namespaced(self.client.clone(), &self.operator_namespace);
        let mut secret = from.get("postgres").await.unwrap();
        secret.metadata = crate::world::named("postgres");
        let to = Api::<Secret>::namespaced(self.client.clone(), &namespace);
        to.create(&PostParams::default(), &secret).await.unwrap();
        namespace
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_installations_over_one_database_one_works_and_both_say_so() {
    let mut world = World::new(json!({})).await;
    for name in ["school", "leaving"] {
        world.apply_tenant(name, json!({ "schemaName": name })).await;
        world.ready_tenant(name).await;
    }
    let epoch = |world: &World| world.sql("SELECT epoch FROM edu_matrix_hub_schema.installation");
    let first = epoch(&world);
    let namespace = world.further_operator_namespace().await;
    let further = Process::spawn_in(&world, &namespace);
    let message = world.database_stalled("LaneContested", &format!("{namespace}/tenant-database-")).await;
    assert!(message.contains(&format!("{}/tenant-database-", world.operator_namespace)), "{message}");

    // The one goes on, except that nothing is taken away.
    world.apply_tenant("school", json!({ "schemaName": "school", "config": { "grade": 7 } })).await;
    world.settled_tenant("school").await;
    let tenants = world.api::<TenantSchema>();
    tenants.delete("leaving", &DeleteParams::default()).await.unwrap();
    world.tenant_says("leaving", "Stalled", "LaneContested", "nothing is taken away").await;
    assert_eq!(world.schemas("leaving"), ["leaving"]);
    assert_eq!(epoch(&world), first, "the lane did not change hands");

    // Alone again, it goes on by itself.
    let (status, _, log) = further.terminate();
    assert!(status.success() && !log.contains("panicked"), "{log}");
    world.until_gone(&tenants, "leaving").await;
    world.database_ready().await;
    assert_eq!(epoch(&world), first);

    // Who leaves in order is not waited for: the installation is moved to another namespace.
    world.stop_operator().await;
    let moved = Process::spawn_in(&world, &namespace);
    world.eventually("the other one has it", async || epoch(&world) != first).await;
    world.database_ready().await;
    let (status, _, log) = moved.terminate();
    assert!(status.success() && !log.contains("panicked"), "{log}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_holds_the_lease_and_does_nothing_is_told_of() {
    let mut world = World::new(json!({})).await;
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    world.stop_operator().await;
    let (lease, leases) = (
        format!("tenant-database-{}", world.database_ref()),
        Api::<Lease>::namespaced(world.client.clone(), &world.operator_namespace),
    );
    let mut idle = leases.get(&lease).await.unwrap();
    let renewed = tokio::spawn({
        let (leases, lease) = (leases.clone(), lease.clone());
        async move {
            loop {
                let spec = idle.spec.get_or_insert_default();
                spec.holder_identity = Some("an-old-pod".to_owned());
                spec.renew_time = Some(MicroTime(Timestamp::now()));
                idle = leases.replace(&lease, &PostParams::default(), &idle).await.unwrap();
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        }
    });
    world
        .eventually("it has the Lease", async || {
            let found = leases.get(&lease).await.unwrap().spec.unwrap();
            found.holder_identity.as_deref() == Some("an-old-pod")
        })
        .await;
    world.start_operator().await;
    world.apply_tenant("waits", json!({ "schemaName": "waits" })).await;

    // Only after a minute: it may just have begun. What is looked for comes within the two minutes after that.
    let said = async || {
        let database = world.databases().get(&world.database_ref()).await.unwrap();
        condition(&database, "Stalled").filter(|(status, reason, _)| status == "True" && reason == "LaneContested")
    };
    let deadline = tokio::time::Instant::now() + Duration::from_mins(3);
    let (.., message) = loop {
        if let Some(said) = said().await {
            break said;
        }
        assert!(tokio::time::Instant::now() < deadline, "nothing is said of a holder that does nothing");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert!(message.starts_with("an-old-pod holds the Lease"), "{message}");
    let command = message.rsplit("then: ").next().unwrap().strip_prefix("kubectl ").unwrap();

    // What it tells to type helps.
    renewed.abort();
    world.kubectl(&command.split(' ').collect::<Vec<_>>());
    world.database_ready().await;
    world.ready_tenant("waits").await;
    world.finish().await;
}
