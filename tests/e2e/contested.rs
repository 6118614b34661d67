//! More than one operator wants a database: the one at work keeps it, both say so, and nothing is taken away meanwhile.

use std::{fs, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::{coordination::v1::Lease, core::v1::Secret},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
    config::Kubeconfig,
};
use serde_json::json;
use tempfile::NamedTempFile;
use tenant_schema_operator::api::TenantSchema;

use crate::{
    tools::operator::Process,
    world::{World, condition},
};

/// What these tests do in their world.
trait Contested {
    async fn further_operator_namespace(&self) -> String;
    fn restricted_kubeconfig(&self) -> NamedTempFile;
}

impl Contested for World {
    /// A second namespace for an operator, with the same Secrets.
    async fn further_operator_namespace(&self) -> String {
        let namespace = format!("further-{}", self.id);
        self.make_namespace(&namespace, json!({})).await;
        let from = Api::<Secret>::namespaced(self.client.clone(), &self.operator_namespace);
        let to = Api::<Secret>::namespaced(self.client.clone(), &namespace);
        for mut secret in from.list(&ListParams::default()).await.unwrap() {
            secret.metadata = crate::world::named(&secret.name_any());
            to.create(&PostParams::default(), &secret).await.unwrap();
        }
        namespace
    }

    /// The way to the API server of a user who may do what the operator does, except to list the tenants of all namespaces.
    fn restricted_kubeconfig(&self) -> NamedTempFile {
        let (user, mine, own) = (format!("restricted-{}", self.id), &self.namespace, &self.operator_namespace);
        for (role, to, rules) in [
            (
                "clusterrole",
                "",
                ["--verb=get,list,watch,patch,update", "--resource=tenantdatabases,tenantdatabases/status"],
            ),
            ("clusterrole", "-reads", ["--verb=get,list,watch", "--resource=customresourcedefinitions,namespaces"]),
        ] {
            self.kubectl(&["create", role, &format!("{user}{to}"), rules[0], rules[1]]);
            let of = format!("--clusterrole={user}{to}");
            self.kubectl(&["create", "clusterrolebinding", &format!("{user}{to}"), &of, &format!("--user={user}")]);
        }
        for namespace in [mine, own, "default"] {
            let to = format!("--user={user}");
            self.kubectl(&["-n", namespace, "create", "rolebinding", &user, "--clusterrole=cluster-admin", &to]);
        }
        let mut kubeconfig = Kubeconfig::read_from(&self.kubeconfig).unwrap();
        for known in &mut kubeconfig.auth_infos {
            known.auth_info.as_mut().unwrap().impersonate = Some(user.clone());
        }
        let file = NamedTempFile::new().unwrap();
        fs::write(file.path(), serde_json::to_vec(&kubeconfig).unwrap()).unwrap();
        file
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
    let (status, log) = further.terminate();
    assert!(status.success() && !log.contains("panicked"), "{log}");
    world.until_gone(&tenants, "leaving").await;
    world.database_ready().await;
    assert_eq!(epoch(&world), first);

    // An operator that leaves in order is not waited for: the installation is moved to another namespace.
    world.stop_operator().await;
    let moved = Process::spawn_in(&world, &namespace);
    world.eventually("the other one has it", async || epoch(&world) != first).await;
    world.database_ready().await;
    let (status, log) = moved.terminate();
    assert!(status.success() && !log.contains("panicked"), "{log}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_operators_with_namespaces_of_their_own_one_has_the_database() {
    let world = World::without_operator(json!({})).await;
    let there = format!("{}-there", world.namespace);
    world.make_namespace(&there, json!({})).await;
    let of_there = Api::<TenantSchema>::namespaced(world.client.clone(), &there);
    let first = Process::spawn_as(&world, &[("TSO_WATCH_NAMESPACES", &world.namespace)]);
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.settled_tenant("school").await;
    let epoch = || world.sql("SELECT epoch FROM edu_matrix_hub_schema.installation");
    let before = epoch();
    let namespace = world.further_operator_namespace().await;
    let second = Process::spawn_as(&world, &[("TSO_WATCH_NAMESPACES", &there), ("TSO_NAMESPACE", &namespace)]);
    world.database_stalled("LaneContested", &format!("{namespace}/tenant-database-")).await;
    world.try_tenant_in(&there, "other", json!({ "schemaName": "other" })).await.unwrap();
    world.next_survey().await;
    assert_eq!((epoch(), world.schemas("other").len()), (before, 0), "the lane did not change hands");
    world.apply_tenant("late", json!({ "schemaName": "late" })).await;
    world.settled_tenant("late").await;

    // One for both namespaces, as the message tells.
    for process in [first, second] {
        let (status, log) = process.terminate();
        assert!(status.success() && !log.contains("panicked"), "{log}");
    }
    let both = format!("{},{there}", world.namespace);
    let one = Process::spawn_as(&world, &[("TSO_WATCH_NAMESPACES", &both)]);
    world.until_ready(&of_there, "other", "True", "Succeeded").await;
    world.database_ready().await;
    let (status, ..) = one.terminate();
    assert!(status.success());
    world.finish().await;
}

/// An operator whose rights end at its namespaces cannot ask the API server which other objects refer to a
/// TenantDatabase.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_with_tenants_that_the_operator_may_not_see_does_not_go() {
    let world = World::without_operator(json!({})).await;
    let there = format!("{}-there", world.namespace);
    world.make_namespace(&there, json!({})).await;
    let of_there = Api::<TenantSchema>::namespaced(world.client.clone(), &there);
    let whole = Process::start(&world, "info");
    world.try_tenant_in(&there, "other", json!({ "schemaName": "other" })).await.unwrap();
    world.until_ready(&of_there, "other", "True", "Succeeded").await;
    assert!(whole.terminate().0.success());

    let kubeconfig = world.restricted_kubeconfig();
    let restricted = Process::spawn_as(
        &world,
        &[("KUBECONFIG", kubeconfig.path().to_str().unwrap()), ("TSO_WATCH_NAMESPACES", &world.namespace)],
    );
    world.database_ready().await;
    world.databases().delete(&world.database_ref(), &DeleteParams::default()).await.unwrap();
    let message = world.database_stalled("InUse", "that this operator may not see").await;
    assert!(message.contains(&format!("{there}/other")), "{message}");
    let (status, log) = restricted.terminate();
    assert!(status.success() && !log.contains("panicked"), "{log}");

    let whole = Process::start(&world, "info");
    of_there.delete("other", &DeleteParams::default()).await.unwrap();
    world.until_gone(&of_there, "other").await;
    world.until_gone(&world.databases(), &world.database_ref()).await;
    assert!(whole.terminate().0.success());
    for kind in ["clusterrole", "clusterrolebinding"] {
        for to in ["", "-reads"] {
            world.kubectl(&["delete", kind, &format!("restricted-{}{to}", world.id)]);
        }
    }
    world.clean_up().await;
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
