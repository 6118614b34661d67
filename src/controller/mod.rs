//! Wiring: the watches, the three controllers, shutdown. Decides nothing about tenants.

pub mod backoff;
pub mod collector;
pub mod report;
mod watches;

use std::{
    collections::hash_map::RandomState,
    future::Future,
    hash::{BuildHasher, Hasher},
    sync::Arc,
    time::Duration,
};

use futures::{
    FutureExt, Stream, StreamExt,
    channel::mpsc::{self, UnboundedReceiver},
    future::BoxFuture,
};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{
        Controller,
        controller::{Action, Config as ControllerConfig},
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::time::Instant;

use crate::{
    backup,
    config::Config,
    context::{After, Context, Failure, Next, Requests, Stores, Wake, Written},
    database, jobs,
    kubernetes::{self, events::Events},
    lane::Lanes,
    telemetry::{Metrics, http},
    tenant,
};
use backoff::Backoff;
use collector::TenantCollector;
use watches::Watches;

/// Objects with nothing to do are looked at again after this long, in memory: what somebody did to our finalizer is
/// mended then.
const RESYNC: Duration = Duration::from_mins(10);

/// Why the operator cannot run.
#[derive(Debug, Error)]
pub enum Error {
    /// There is no way to reach a cluster.
    #[error("no Kubernetes cluster is configured; set KUBECONFIG or run in a pod")]
    NoCluster(#[source] kube::Error),
    /// The kube-system namespace cannot be read; its UID says which cluster this is.
    #[error("cannot find out which cluster this is (get namespace kube-system)")]
    Cluster(#[source] kubernetes::Error),
    /// The HTTP address is taken.
    #[error("cannot serve /metrics on {address}")]
    Http {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// A client by the standard rules: KUBECONFIG, else the pod's.
pub async fn client() -> Result<Client, Error> {
    let config = kube::Config::infer().await.map_err(|error| Error::NoCluster(kube::Error::InferConfig(error)))?;
    Client::try_from(config).map_err(Error::NoCluster)
}

/// Runs until `shutdown` completes, then gives back every Lease.
pub async fn run(
    client: Client,
    config: Config,
    identity: String,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let shutdown: futures::future::Shared<BoxFuture<'static, ()>> = shutdown.boxed().shared();
    let metrics = Arc::new(Metrics::new());
    let readiness = http::Readiness::default();
    let address = config.http_addr;
    http::serve(address, metrics.clone(), readiness.clone(), shutdown.clone())
        .await
        .map_err(|source| Error::Http { address, source })?;
    let cluster = cluster_id(&client).await?;
    let (databases_wake, databases_woken) = mpsc::unbounded();
    let (tenants_wake, tenants_woken) = mpsc::unbounded();
    let (backups_wake, backups_woken) = mpsc::unbounded();
    let (finished, finished_jobs) = mpsc::unbounded();
    let watches = Watches::start(&client, &config);
    let stores = watches.stores();
    metrics.add_collector(Box::new(TenantCollector::new(stores.tenants.clone(), config.tenant_metrics)));
    let ctx = Arc::new(Context {
        client: client.clone(),
        cluster,
        stores: stores.clone(),
        lanes: Lanes::default(),
        wake: Wake { databases: databases_wake, tenants: tenants_wake, backups: backups_wake },
        metrics,
        candidates: tokio::sync::Mutex::default(),
        written: Written::default(),
        requests: Requests::default(),
        config,
        identity: identity.clone(),
    });
    let runner = Runner {
        ctx: ctx.clone(),
        events: Events::new(client, &identity),
        backoff: Arc::new(Backoff::default()),
        shutdown: shutdown.clone(),
        filled: caches_filled(stores.clone(), shutdown.clone()).boxed().shared(),
    };
    let Watches { databases, tenants, backups, secrets, namespaces, .. } = watches;
    let opens = Arc::new(database::Opens::default());
    let database_controller = {
        let (opens, finished, secret_stores) = (opens.clone(), finished.clone(), stores.clone());
        let changed_secrets = secrets.flat_map(move |secret| {
            futures::stream::iter(watches::databases_of_secret(&secret_stores.databases, &secret))
        });
        let woken = futures::stream::select(databases_woken, changed_secrets);
        runner.drive(databases, stores.databases.clone(), woken, 8, move |object, ctx| {
            let (opens, finished) = (opens.clone(), finished.clone());
            async move { database::reconcile(object, ctx, &opens, &finished).await }
        })
    };
    let concurrency = ctx.config.concurrency;
    let tenant_controller =
        runner.drive(tenants, stores.tenants.clone(), tenants_woken, concurrency, tenant::reconcile);
    let backup_controller =
        runner.drive(backups, stores.backups.clone(), backups_woken, concurrency, backup::reconcile);
    let filled = runner.filled.clone();
    let ready = async {
        if filled.await {
            readiness.set();
        }
        std::future::pending::<()>().await;
    };
    let background = async {
        tokio::select! {
            () = jobs_reported(finished_jobs, &ctx) => {}
            () = namespaces.for_each(|()| async {}) => {}
            () = ready => {}
        }
    };
    tracing::info!(identity, namespace = ctx.config.namespace, version = env!("CARGO_PKG_VERSION"), "operator started");
    tokio::select! {
        _ = futures::future::join3(database_controller, tenant_controller, backup_controller) => {}
        () = background => {}
    }
    database::release_all(&ctx).await;
    tracing::info!("operator stopped");
    Ok(())
}

/// Which cluster this is: the UID of its kube-system namespace lives as long as the cluster.
async fn cluster_id(client: &Client) -> Result<String, Error> {
    let api: Api<Namespace> = Api::all(client.clone());
    let namespace = kubernetes::read(&api, "kube-system").await.map_err(Error::Cluster)?;
    Ok(namespace.and_then(|namespace| namespace.uid()).unwrap_or_default())
}

/// True once every cache is filled, false when the operator stops before.
async fn caches_filled(stores: Stores, shutdown: impl Future<Output = ()>) -> bool {
    let filled = async {
        futures::join!(
            stores.databases.wait_until_ready(),
            stores.tenants.wait_until_ready(),
            stores.backups.wait_until_ready(),
            stores.namespaces.wait_until_ready(),
        )
    };
    tokio::select! {
        filled = filled => matches!(filled, (Ok(()), Ok(()), Ok(()), Ok(()))),
        () = shutdown => false,
    }
}

/// Whoever waits for a job is woken when it ends.
async fn jobs_reported(mut finished: UnboundedReceiver<jobs::Finished>, ctx: &Context) {
    while let Some(finished) = finished.next().await {
        report::job_finished(&ctx.metrics, &finished);
        let id = |wanted: Option<uuid::Uuid>| wanted.map(|id| id.to_string());
        let (backup_id, schema_id) = (id(finished.job.backup_id), id(finished.job.schema_id));
        for backup in ctx.stores.backups.state() {
            let known = backup.status.as_ref().and_then(|status| status.backup_id.clone());
            if known.is_none() || known == backup_id {
                ctx.wake.backup(&backup.namespace().unwrap_or_default(), &backup.name_any());
            }
        }
        for tenant in ctx.stores.tenants.state() {
            let known = tenant.status.as_ref().and_then(|status| status.schema_id.clone());
            if known.is_some() && known == schema_id {
                if let Some(lane) = ctx.lanes.open(&finished.database) {
                    lane.distrust(&tenant.uid().unwrap_or_default());
                }
                ctx.wake.tenant(&tenant.namespace().unwrap_or_default(), &tenant.name_any());
            }
        }
    }
}

/// Drives one controller.
struct Runner {
    ctx: Arc<Context>,
    events: Events,
    backoff: Arc<Backoff>,
    shutdown: futures::future::Shared<BoxFuture<'static, ()>>,
    // An object that is looked at before the others are known would seem to point to nothing.
    filled: futures::future::Shared<BoxFuture<'static, bool>>,
}

impl Runner {
    fn drive<K, E, F>(
        &self,
        objects: impl Stream<Item = Result<K, watcher::Error>> + Send + 'static,
        store: Store<K>,
        woken: impl Stream<Item = ObjectRef<K>> + Send + 'static,
        concurrency: u16,
        reconcile: impl Fn(Arc<K>, Arc<Context>) -> F + Send + Sync + 'static,
    ) -> BoxFuture<'static, ()>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
        E: Failure + Send + Sync + 'static,
        F: Future<Output = Result<Next, E>> + Send + 'static,
    {
        let reconcile = Arc::new(reconcile);
        let (events, backoff) = (self.events.clone(), self.backoff.clone());
        let error_backoff = self.backoff.clone();
        let filled = self.filled.clone();
        Controller::for_stream(objects, store)
            .with_config(ControllerConfig::default().concurrency(concurrency))
            .reconcile_on(woken)
            .graceful_shutdown_on(self.shutdown.clone())
            .run(
                move |object: Arc<K>, ctx: Arc<Context>| {
                    let (reconcile, events, backoff) = (reconcile.clone(), events.clone(), backoff.clone());
                    let filled = filled.clone();
                    async move {
                        if !filled.await {
                            return Ok(Action::await_change());
                        }
                        let started = Instant::now();
                        let result = reconcile(object.clone(), ctx.clone()).await;
                        report::reconciled(&ctx.metrics, &events, &*object, &result, started.elapsed()).await;
                        let uid = object.uid().unwrap_or_default();
                        result.map(|next| action(next.after, &uid, &backoff))
                    }
                },
                move |object: Arc<K>, error: &E, _ctx: Arc<Context>| {
                    let uid = object.uid().unwrap_or_default();
                    Action::requeue(error.retry_after().unwrap_or_else(|| error_backoff.next(&uid, jitter())))
                },
                self.ctx.clone(),
            )
            .for_each(|result| async {
                // Outcomes were reported where they came about; what is left are objects that went meanwhile and watches
                // that are joined again.
                if let Err(error) = result
                    && !matches!(error, kube::runtime::controller::Error::ReconcilerFailed(..))
                {
                    tracing::debug!(error = report::chain(&error), "controller");
                }
            })
            .boxed()
    }
}

fn action(after: After, uid: &str, backoff: &Backoff) -> Action {
    match after {
        After::Retry => Action::requeue(backoff.next(uid, jitter())),
        After::Delay(delay) => {
            backoff.reset(uid);
            Action::requeue(delay.max(Duration::from_millis(10)))
        }
        After::Resync => {
            backoff.reset(uid);
            Action::requeue(RESYNC.mul_f64(0.8 + 0.4 * jitter()))
        }
        After::Never => {
            backoff.reset(uid);
            Action::await_change()
        }
    }
}

/// A number from 0 to 1. The hasher's random keys are randomness enough to spread retries.
fn jitter() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
    let fraction = bits as f64 / (1_u64 << 53) as f64;
    fraction
}
