//! Wiring: the watches, the three controllers, shutdown. Decides nothing about tenants.

pub mod backoff;
mod cached;
pub mod collector;
mod compare;
mod finished;
mod outside;
pub mod report;
mod runner;
mod unreadable;
pub(crate) mod watches;

use std::{future::Future, iter, sync::Arc, time::Duration};

use futures::{
    FutureExt, StreamExt,
    channel::mpsc::{self, UnboundedSender},
    future::{BoxFuture, join_all},
    stream::BoxStream,
};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Namespace, Secret},
};
use kube::{Api, Client, ResourceExt, core::PartialObjectMeta};
use thiserror::Error;
use uuid::Uuid;

use crate::{
    api::{SchemaBackup, TenantDatabase, TenantSchema},
    backup,
    config::Config,
    database::{self, Holdings},
    frame::{Context, Deletions, Fit, Kinds, Losers, Making, Requests, Stores, Uids, Wake},
    kubernetes::{self, events::Events},
    telemetry::{Metrics, http},
    tenant,
};
use backoff::Backoff;
use cached::{Cache, Caches};
use collector::{DatabaseCollector, LaneCollector, TenantCollector};
use runner::Runner;
pub use runner::Standing;
pub use watches::Watching;
use watches::{Hearing, Watched};

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
    run_with(client, config, identity, shutdown, |_| Vec::new()).await
}

/// The same with further kinds that stand on a lane.
pub async fn run_with(
    client: Client,
    config: Config,
    identity: String,
    shutdown: impl Future<Output = ()> + Send + 'static,
    further: impl FnOnce(&Watching<'_>) -> Vec<Box<dyn Standing>>,
) -> Result<(), Error> {
    let shutdown: futures::future::Shared<BoxFuture<'static, ()>> = shutdown.boxed().shared();
    let metrics = Arc::new(Metrics::new());
    let readiness = http::Readiness::default();
    let address = config.http_addr;
    http::serve(address, metrics.clone(), readiness.clone(), shutdown.clone())
        .await
        .map_err(|source| Error::Http { address, source })?;
    let cluster = cluster_id(&client).await.map_err(Error::Cluster)?;
    let ((finished, finished_jobs), (passed_over, tenants_passed_over)) = (mpsc::unbounded(), mpsc::unbounded());
    let kinds = Arc::new(Kinds::new(client.clone()));
    let hearing = Hearing::new(readiness.clone(), kinds.clone());
    let watching = Watching { client: &client, config: &config, hearing: &hearing };
    let Wired { databases, standing, caches, stores, wake, secrets, leases, namespaces } =
        wire(&watching, passed_over.clone(), further);
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
        secrets: kubernetes::secrets::Secrets::new(client.clone()),
        backups: kubernetes::backups::Backups::new(client.clone(), config.watch_selector.as_deref()),
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
        filled: caches_filled(caches.clone(), stores.clone(), kinds, shutdown.clone()).boxed().shared(),
    };
    let database_controller = {
        let (holdings, finished, secret_stores) = (holdings.clone(), finished.clone(), stores.clone());
        let changed_secrets = secrets.flat_map(move |secret| {
            futures::stream::iter(watches::databases_of_secret(&secret_stores.databases, &secret))
        });
        let woken = futures::stream::select(databases.woken, changed_secrets);
        runner.drive(databases.objects, stores.databases.clone(), woken, 8, move |object, ctx| {
            let (holdings, finished) = (holdings.clone(), finished.clone());
            async move { database::reconcile(object, ctx, &holdings, &finished).await }
        })
    };
    let controllers = join_all(standing.into_iter().map(|kind| kind.drive(&runner)));
    let filled = runner.filled.clone();
    let ready = async {
        if filled.await {
            readiness.set();
            outside::look(&caches, &ctx.config).await;
        }
        std::future::pending::<()>().await;
    };
    let background = async {
        tokio::select! {
            () = finished::reported(finished_jobs, &caches, &ctx) => {}
            () = namespaces.for_each(|()| async {}) => {}
            () = leases.for_each(async |lease| database::election::heard(&lease, &holdings)) => {}
            () = runner.finish(tenants_passed_over, tenant::finish_passed_over) => {}
            () = ready => {}
            () = tidied(&ctx, &holdings) => {}
            () = Box::pin(world_minded(&caches, &ctx)) => {}
            () = Box::pin(unreadable::said(&caches, &ctx, &holdings, &runner.events)) => {}
        }
    };
    tracing::info!(identity, namespace = ctx.config.namespace, version = env!("CARGO_PKG_VERSION"), "operator started");
    let passes = futures::future::join(database_controller, controllers);
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

/// Every watched kind, and what else is watched.
struct Wired {
    databases: Watched<TenantDatabase>,
    standing: Vec<Box<dyn Standing>>,
    caches: Caches,
    stores: Stores,
    wake: Wake,
    secrets: BoxStream<'static, PartialObjectMeta<Secret>>,
    leases: BoxStream<'static, Lease>,
    namespaces: BoxStream<'static, ()>,
}

/// Begins to watch. The caches fill as the streams are polled.
fn wire(
    watching: &Watching<'_>,
    passed_over: UnboundedSender<Arc<TenantSchema>>,
    further: impl FnOnce(&Watching<'_>) -> Vec<Box<dyn Standing>>,
) -> Wired {
    let (databases, backups) = (watching.databases(), watching.kind::<SchemaBackup>());
    let (tenants, tenants_index) = watching.tenants(passed_over);
    let ((namespaces_store, namespaces), (leases_store, leases)) = (watching.namespaces(), watching.leases());
    let stores = Stores {
        databases: databases.cache.store.clone(),
        tenants: tenants.cache.store.clone(),
        tenants_index,
        backups: backups.cache.store.clone(),
        namespaces: namespaces_store,
        leases: leases_store,
    };
    let wake = Wake::new(databases.cache.wake.clone(), tenants.cache.wake.clone(), backups.cache.wake.clone());
    // A next kind that stands on a lane is one more of these.
    let mut standing = vec![tenants.standing(tenant::stands_on), backups.standing(backup::stands_on)];
    standing.extend(further(watching));
    let of_databases: Arc<dyn Cache> = databases.cache.clone();
    let caches = iter::once(of_databases).chain(standing.iter().map(|kind| kind.cache())).collect();
    Wired { databases, standing, caches, stores, wake, secrets: watching.secrets(), leases, namespaces }
}

/// The numbers that are computed when they are asked for.
fn add_collectors(metrics: &Metrics, stores: &Stores, hearing: &Hearing, holdings: &Arc<Holdings>, config: &Config) {
    let tenants = TenantCollector::new(stores.tenants.clone(), hearing.unread.clone(), config.tenant_metrics);
    metrics.add_collector(Box::new(tenants));
    let databases = DatabaseCollector::new(stores.databases.clone(), hearing.unread.clone());
    metrics.add_collector(Box::new(databases));
    metrics.add_collector(Box::new(LaneCollector::new(holdings.clone(), config.tenant_metrics)));
}

/// Which cluster this is: the UID of its kube-system namespace lives as long as the cluster.
pub async fn cluster_id(client: &Client) -> Result<String, kubernetes::Error> {
    let api: Api<Namespace> = Api::all(client.clone());
    let namespace = kubernetes::read(&api, "kube-system").await?;
    Ok(namespace.and_then(|namespace| namespace.uid()).unwrap_or_default())
}

/// True once every cache is filled and the kinds were looked at, false when the operator stops before.
async fn caches_filled(caches: Caches, stores: Stores, kinds: Arc<Kinds>, shutdown: impl Future<Output = ()>) -> bool {
    let mut looked = kinds.changes();
    let filled = async {
        let looked = looked.wait_for(Option::is_some).await.is_ok();
        let filled = join_all(caches.iter().map(|cache| cache.filled())).await;
        looked && filled.into_iter().all(|filled| filled) && stores.namespaces.wait_until_ready().await.is_ok()
    };
    tokio::select! {
        filled = filled => filled,
        () = shutdown => false,
    }
}

/// Notices when what was read is not what is there.
async fn world_minded(caches: &Caches, ctx: &Context) {
    futures::join!(kinds_checked(ctx), returned(ctx), compare::compared(caches, ctx));
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
