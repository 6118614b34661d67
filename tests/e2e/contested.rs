//! More than one operator wants a database: the one at work keeps it, both say so, and nothing is taken away meanwhile.

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::json;
use tenant_schema_operator::api::TenantSchema;

use crate::{tools::operator::Process, world::World};

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
