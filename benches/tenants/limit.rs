//! Half of the physical limit: a controller that makes the operator's API writes and no SQL, in a process of its own as the
//! operator is. The other half is `benches/shared/direct.rs`.

use std::{
    process::{Child, Command, Stdio},
    sync::Arc,
};

use futures::StreamExt;
use kube::{
    Api, Client,
    runtime::{
        Controller, WatchStreamExt,
        controller::{Action, Config as ControllerConfig},
        predicates,
        reflector::{self, reflector},
        watcher,
    },
};
use kube_runtime::PredicateConfig;
use serde_json::Value;
use tenant_schema_operator::{
    api::{TENANT_SCHEMA_FINALIZER, TenantSchema, TenantSchemaStatus},
    kubernetes::{self, finalizers},
};

/// As many objects at once as the operator works on by default.
const CONCURRENCY: u16 = 16;
/// Tells this program that it is the controller, and which namespace and status are its own.
const NAMESPACE: &str = "BENCH_CONTROLLER_NAMESPACE";
const STATUS: &str = "BENCH_CONTROLLER_STATUS";

/// The controller without SQL, in a process of its own as the operator is.
pub struct Controlling(Child);

impl Controlling {
    /// Starts it; `status` is one that the operator wrote.
    pub fn start(kubeconfig: &std::path::Path, namespace: &str, status: &TenantSchemaStatus) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut command = Command::new(program);
        command.env("KUBECONFIG", kubeconfig).env(NAMESPACE, namespace);
        command.env(STATUS, serde_json::to_string(status).unwrap()).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Controlling {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the controller until it is killed, if this process was started as one.
pub async fn run_controller() {
    let (Ok(namespace), Ok(status)) = (std::env::var(NAMESPACE), std::env::var(STATUS)) else { return };
    let status: Arc<Value> = Arc::new(serde_json::from_str(&status).unwrap());
    let client = Client::try_default().await.unwrap();
    let api: Api<TenantSchema> = Api::namespaced(client, &namespace);
    let (store, writer) = reflector::store();
    let changed = reflector(writer, watcher(api.clone(), watcher::Config::default()))
        .applied_objects()
        .predicate_filter(predicates::generation, PredicateConfig::default());
    let reconcile = |tenant: Arc<TenantSchema>, (api, status): (Api<TenantSchema>, Arc<Value>)| async move {
        let mut tenant = (*tenant).clone();
        if let Some(metadata) = finalizers::ensure(&api, &tenant, TENANT_SCHEMA_FINALIZER).await? {
            tenant.metadata = metadata;
        }
        kubernetes::status::apply(&api, &tenant, &*status).await?;
        Ok::<_, kubernetes::Error>(Action::await_change())
    };
    Controller::for_stream(changed, store)
        .with_config(ControllerConfig::default().concurrency(CONCURRENCY))
        .run(
            move |tenant, context: Arc<(Api<TenantSchema>, Arc<Value>)>| reconcile(tenant, (*context).clone()),
            |_, error, _| panic!("{error}"),
            Arc::new((api, status)),
        )
        .for_each(|_| async {})
        .await;
}
