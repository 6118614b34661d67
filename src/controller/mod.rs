//! Wiring: the watches, the three controllers, shutdown. Decides nothing about tenants.

pub mod backoff;
pub mod collector;
mod compare;
mod finished;
mod outside;
pub mod report;
mod runner;
mod unreadable;
pub(crate) mod watches;

use std::{future::Future, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, channel::mpsc, future::BoxFuture};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt};
use thiserror::Error;
use uuid::Uuid;

use crate::{
    backup,
    config::Config,
    database::{self, Holdings},
    frame::{Context, Deletions, Fit, Kinds, Losers, Making, Requests, Stores, Uids, Wake},
    kubernetes::{self, events::Events},
    telemetry::{Metrics, http},
    tenant,
};
use backoff::Backoff;
use collector::{DatabaseCollector, LaneCollector, TenantCollector};
pub use runner::Runner;
use watches::{Hearing, Watches};

/// How long passes that have begun may take to end after the process was told to stop; a pod has 30 seconds in all.
const END_OF_PASSES: Duration = Duration::from_secs(15);
/// How often the definitions of the kinds are looked at.
const KINDS: Duration = Duration::from_secs(5);
/// How often the operator looks for databases that are gone or out of view; it costs nothing while there are none.
const TIDY: Duration = Duration::from_secs(5);

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
    run_with(client, config, identity, shutdown, |_| std::future::ready(()).boxed()).await
}

/// The same with the controller of a further kind, which shares everything with the others.
pub async fn run_with(
    client: Client,
    config: Config,
    identity: String,
    shutdown: impl Future<Output = ()> + Send + 'static,
    further: impl FnOnce(&Runner) -> BoxFuture<'static, ()>,
) -> Result<(), Error> {
    let shutdown: futures::future::Shared<BoxFuture<'static, ()>> = shutdown.boxed().shared();
    let metrics = Arc::new(Metrics::new());
    let readiness = http::Readiness::default();
    let address = config.http_addr;
    http::serve(address, metrics.clone(), readiness.clone(), shutdown.clone())
        .await
        .map_err(|source| Error::Http { address, source })?;
    let cluster = cluster_id(&client).await.map_err(Error::Cluster)?;
    let (wake, (databases_woken, tenants_woken, backups_woken)) = Wake::channels();
    let ((finished, finished_jobs), (passed_over, tenants_passed_over)) = (mpsc::unbounded(), mpsc::unbounded());
    let kinds = Arc::new(Kinds::new(client.clone()));
    let hearing = Hearing::new(readiness.clone(), kinds.clone());
    let watches = Watches::start(&client, &config, &hearing, passed_over.clone());
    let stores = watches.stores();
    let holdings = Arc::new(Holdings::default());
    add_collectors(&metrics, &stores, &hearing, &holdings, &config);
    let ctx = Arc::new(Context {
        client: client.clone(),
        cluster,
        stores: stores.clone(),
        lanes: holdings.clone(),
        wake,
        unread: hearing.unread,
        kinds: kinds.clone(),
        world: hearing.world,
        passed_over,
        metrics,
        written: hearing.written,
        requests: Requests::default(),
        making: Making::default(),
        waiting: Uids::default(),
        let_go: Uids::default(),
        begun: Uids::default(),
        losers: Losers::default(),
        deletions: Deletions::default(),
        config,
        identity: identity.clone(),
        claim: Uuid::new_v4(),
        clock: Arc::default(),
    });
    let runner = Runner {
        ctx: ctx.clone(),
        events: Events::new(client, &identity),
        backoff: Arc::new(Backoff::default()),
        shutdown: shutdown.clone(),
        filled: caches_filled(stores.clone(), kinds, shutdown.clone()).boxed().shared(),
    };
    let Watches { databases, tenants, backups, secrets, leases, namespaces, .. } = watches;
    let database_controller = {
        let (holdings, finished, secret_stores) = (holdings.clone(), finished.clone(), stores.clone());
        let changed_secrets = secrets.flat_map(move |secret| {
            futures::stream::iter(watches::databases_of_secret(&secret_stores.databases, &secret))
        });
        let woken = futures::stream::select(databases_woken, changed_secrets);
        runner.drive(databases, stores.databases.clone(), woken, 8, move |object, ctx| {
            let (holdings, finished) = (holdings.clone(), finished.clone());
            async move { database::reconcile(object, ctx, &holdings, &finished).await }
        })
    };
    let tenant_controller = runner.drive_kind(tenants, stores.tenants.clone(), tenants_woken, tenant::stands_on);
    let backup_controller = runner.drive_kind(backups, stores.backups.clone(), backups_woken, backup::stands_on);
    let filled = runner.filled.clone();
    let ready = async {
        if filled.await {
            readiness.set();
            outside::look(&ctx.client, &ctx.config, &ctx.stores).await;
        }
        std::future::pending::<()>().await;
    };
    let background = async {
        tokio::select! {
            () = finished::reported(finished_jobs, &ctx) => {}
            () = namespaces.for_each(|()| async {}) => {}
            () = leases.for_each(async |lease| database::election::heard(&lease, &holdings)) => {}
            () = runner.finish(tenants_passed_over, tenant::finish_passed_over) => {}
            () = ready => {}
            () = tidied(&ctx, &holdings) => {}
            () = Box::pin(world_minded(&ctx)) => {}
            () = Box::pin(unreadable::said(&ctx, &holdings, &runner.events)) => {}
        }
    };
    tracing::info!(identity, namespace = ctx.config.namespace, version = env!("CARGO_PKG_VERSION"), "operator started");
    let passes = futures::future::join4(database_controller, tenant_controller, backup_controller, further(&runner));
    let overdue = async {
        shutdown.await;
        // Calls that wait for their turn need not be waited for.
        holdings.lose_all();
        tokio::time::sleep(END_OF_PASSES).await;
    };
    tokio::select! {
        _ = passes => {}
        () = overdue => tracing::warn!("what was begun did not end in time"),
        () = background => {}
    }
    database::leave(&holdings).await;
    tracing::info!("operator stopped");
    Ok(())
}

/// The numbers that are computed when they are asked for.
fn add_collectors(metrics: &Metrics, stores: &Stores, hearing: &Hearing, holdings: &Arc<Holdings>, config: &Config) {
    let tenants = TenantCollector::new(stores.tenants.clone(), hearing.unread.clone(), config.tenant_metrics);
    metrics.add_collector(Box::new(tenants));
    let databases = DatabaseCollector::new(stores.databases.clone(), hearing.unread.clone());
    metrics.add_collector(Box::new(databases));
    metrics.add_collector(Box::new(LaneCollector::new(holdings.clone())));
}

/// Which cluster this is: the UID of its kube-system namespace lives as long as the cluster.
pub async fn cluster_id(client: &Client) -> Result<String, kubernetes::Error> {
    let api: Api<Namespace> = Api::all(client.clone());
    let namespace = kubernetes::read(&api, "kube-system").await?;
    Ok(namespace.and_then(|namespace| namespace.uid()).unwrap_or_default())
}

/// True once every cache is filled and the kinds were looked at, false when the operator stops before.
async fn caches_filled(stores: Stores, kinds: Arc<Kinds>, shutdown: impl Future<Output = ()>) -> bool {
    let mut looked = kinds.changes();
    let filled = async {
        let looked = looked.wait_for(Option::is_some).await.is_ok();
        let filled = futures::join!(
            stores.databases.wait_until_ready(),
            stores.tenants.wait_until_ready(),
            stores.backups.wait_until_ready(),
            stores.namespaces.wait_until_ready(),
        );
        looked && matches!(filled, (Ok(()), Ok(()), Ok(()), Ok(())))
    };
    tokio::select! {
        filled = filled => filled,
        () = shutdown => false,
    }
}

/// Notices when what was read is not what is there.
async fn world_minded(ctx: &Context) {
    futures::join!(kinds_checked(ctx), returned(ctx), compare::compared(ctx));
}

/// Looks at the definitions of the kinds every few seconds. When they lack something all databases are told; when they
/// do not any more everything is read again, since what was read was cut off.
async fn kinds_checked(ctx: &Context) {
    let mut known = None;
    loop {
        match ctx.kinds.check().await {
            Err(error) => report::kinds_unknown(&error),
            Ok(fit) if known.as_ref() != Some(&fit) => {
                report::kinds(&fit);
                let was_older = matches!(known, Some(Fit::Older { .. }));
                known = Some(fit);
                if was_older && ctx.kinds.complaint().is_none() {
                    ctx.world.begin_again();
                }
                for database in ctx.stores.databases.state() {
                    ctx.wake.database(&database.name_any());
                }
            }
            Ok(_) => {}
        }
        tokio::time::sleep(if known.is_some() { KINDS } else { Duration::from_secs(1) }).await;
    }
}

/// When the API server's world went back every database is looked at.
async fn returned(ctx: &Context) {
    let mut turns = ctx.world.turns();
    let mut known = ctx.world.number();
    while turns.changed().await.is_ok() {
        let number = turns.borrow_and_update().worlds;
        if number == known {
            continue;
        }
        known = number;
        let why = ctx.world.why();
        if !why.is_empty() {
            report::went_back(&why);
        }
        ctx.written.clear();
        for database in ctx.stores.databases.state() {
            ctx.wake.database(&database.name_any());
        }
    }
}

/// Leaves databases that are gone or out of view, of which no controller is told.
async fn tidied(ctx: &Context, holdings: &Holdings) {
    let mut tick = tokio::time::interval(TIDY);
    loop {
        tick.tick().await;
        database::leave_unseen(ctx, holdings).await;
    }
}
