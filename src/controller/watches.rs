//! The watches and their caches.
//!
//! What no code reads of an object's metadata is dropped on the way in. The streams that
//! trigger reconciles leave out what this operator writes itself, a status or a finalizer, so that a write is not answered
//! by another look.

mod again;
mod interest;
mod lean;
mod merged;

use std::{
    fmt::Debug,
    sync::{Arc, PoisonError, RwLock},
};

use futures::{StreamExt, TryStreamExt, channel::mpsc::UnboundedSender, future::ready, stream::BoxStream};
use interest::Interest;
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Namespace, Secret},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::ObjectMeta,
    core::{NamespaceResourceScope, PartialObjectMeta, object::HasStatus},
    runtime::{
        WatchStreamExt,
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    api::{SchemaBackup, TENANT_SCHEMA_FINALIZER, TenantDatabase, TenantSchema},
    config::Config,
    frame::{Index, Kinds, Stores, Unread, Written},
    kubernetes::{finalizers, reading::Read, world::World},
    telemetry::http::Readiness,
};

type Events<K> = BoxStream<'static, Result<watcher::Event<K>, watcher::Error>>;
type Objects<K> = BoxStream<'static, Result<K, watcher::Error>>;

/// What all watches tell beside their objects.
pub struct Hearing {
    /// What cannot be read.
    pub unread: Unread,
    /// Whether everything is to be listed again.
    pub world: Arc<World>,
    /// Whether they fail.
    pub readiness: Readiness,
    /// What this process wrote.
    pub written: Arc<Written>,
    /// Whether the kinds have what this release knows.
    pub kinds: Arc<Kinds>,
}

impl Hearing {
    /// Nothing is heard yet.
    #[must_use]
    pub fn new(readiness: Readiness, kinds: Arc<Kinds>) -> Self {
        Self { unread: Unread::default(), world: Arc::default(), readiness, written: Arc::default(), kinds }
    }
}

/// All watches of the operator.
pub struct Watches {
    stores: Stores,
    /// Databases that changed.
    pub databases: Objects<TenantDatabase>,
    /// Tenants that changed.
    pub tenants: Objects<TenantSchema>,
    /// Backups that changed.
    pub backups: Objects<SchemaBackup>,
    /// Secrets of the operator's own namespace that changed.
    pub secrets: BoxStream<'static, PartialObjectMeta<Secret>>,
    /// Leases of the operator's own namespace that changed.
    pub leases: BoxStream<'static, Lease>,
    /// Keeps the namespaces' cache filled.
    pub namespaces: BoxStream<'static, ()>,
}

impl Watches {
    /// Starts to watch what the configuration selects. Tenants that went although they had our finalizer are handed to
    /// `passed_over`.
    #[must_use]
    pub fn start(
        client: &Client,
        config: &Config,
        hearing: &Hearing,
        passed_over: UnboundedSender<Arc<TenantSchema>>,
    ) -> Self {
        let selected = match &config.watch_selector {
            Some(selector) => watcher::Config::default().labels(selector),
            None => watcher::Config::default(),
        };
        let databases = vec![Api::all(client.clone())];
        let (databases_store, databases) =
            triggering(databases, &selected, "TenantDatabase", hearing, ignored, |_, _| {});
        let tenants_index: Arc<RwLock<Index<TenantSchema>>> = Arc::default();
        let (tenants_store, tenants) = triggering(
            apis(client, &config.watch_namespaces),
            &selected,
            "TenantSchema",
            hearing,
            move |event: &watcher::Event<Read<TenantSchema>>| {
                if let watcher::Event::Delete(Read::Whole(tenant)) = event
                    && finalizers::was_passed_over(tenant, TENANT_SCHEMA_FINALIZER)
                {
                    // A closed channel means that the operator stops.
                    let _ = passed_over.unbounded_send(Arc::new(tenant.clone()));
                }
            },
            {
                let index = tenants_index.clone();
                move |event, store| follow(&mut index.write().unwrap_or_else(PoisonError::into_inner), event, store)
            },
        );
        let backups = apis(client, &config.watch_namespaces);
        let (backups_store, backups) = triggering(backups, &selected, "SchemaBackup", hearing, ignored, |_, _| {});
        let secrets: Api<Read<PartialObjectMeta<Secret>>> = Api::namespaced(client.clone(), &config.namespace);
        let (_, secrets) =
            cached(vec![secrets], &watcher::Config::default(), "Secret", hearing, lean::machine, ignored);
        let leases: Api<Read<Lease>> = Api::namespaced(client.clone(), &config.namespace);
        let (leases_store, leases) =
            cached(vec![leases], &watcher::Config::default(), "Lease", hearing, lean::machine, ignored);
        let namespaces: Api<Read<PartialObjectMeta<Namespace>>> = Api::all(client.clone());
        let (namespaces_store, namespaces) =
            cached(vec![namespaces], &watcher::Config::default(), "Namespace", hearing, lean::namespace, ignored);
        Self {
            stores: Stores {
                databases: databases_store,
                tenants: tenants_store,
                tenants_index,
                backups: backups_store,
                namespaces: namespaces_store,
                leases: leases_store,
            },
            databases,
            tenants,
            backups,
            secrets: secrets.applied_objects().filter_map(|secret| ready(secret.ok())).boxed(),
            leases: leases.applied_objects().filter_map(|lease| ready(lease.ok())).boxed(),
            namespaces: namespaces.map(|_| ()).boxed(),
        }
    }

    /// The caches, which fill as the streams are polled.
    #[must_use]
    pub fn stores(&self) -> Stores {
        self.stores.clone()
    }
}

/// The databases whose Secret this is.
pub fn databases_of_secret(
    databases: &Store<TenantDatabase>,
    secret: &PartialObjectMeta<Secret>,
) -> Vec<ObjectRef<TenantDatabase>> {
    let name = secret.name_any();
    let uses = |database: &TenantDatabase| {
        let connection = &database.spec.connection;
        let authority = connection.tls.as_ref().and_then(|tls| tls.ca_secret_ref.as_ref());
        connection.secret_ref.name == name || authority.is_some_and(|ca| ca.name == name)
    };
    databases
        .state()
        .iter()
        .filter(|database| uses(database))
        .map(|database| ObjectRef::new(&database.name_any()))
        .collect()
}

/// One API for all namespaces, or one for each that is watched.
pub fn apis<K>(client: &Client, namespaces: &[String]) -> Vec<Api<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    if namespaces.is_empty() {
        return vec![Api::all(client.clone())];
    }
    namespaces.iter().map(|namespace| Api::namespaced(client.clone(), namespace)).collect()
}

/// A cache, and a stream of the objects that changed in more than our own writes; `kept` hears what the cache has just taken in.
fn triggering<K>(
    apis: Vec<Api<Read<K>>>,
    config: &watcher::Config,
    kind: &'static str,
    hearing: &Hearing,
    told: impl Fn(&watcher::Event<Read<K>>) + Clone + Send + 'static,
    kept: impl Fn(&watcher::Event<K>, &Store<K>) + Send + 'static,
) -> (Store<K>, Objects<K>)
where
    K: Resource<DynamicType = ()> + HasStatus + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::Status: Serialize,
{
    let (store, events) = cached(apis, config, kind, hearing, lean::ours, told);
    let mut interest = Interest::new(hearing.written.clone());
    let cache = store.clone();
    let changed = events.inspect_ok(move |event| kept(event, &cache)).filter_map(move |event| {
        ready(match event {
            Ok(event) => interest.take(event).map(Ok),
            Err(error) => Some(Err(error)),
        })
    });
    (store, changed.boxed())
}

/// An index comes to have what the cache has.
fn follow(index: &mut Index<TenantSchema>, event: &watcher::Event<TenantSchema>, store: &Store<TenantSchema>) {
    match event {
        watcher::Event::Apply(tenant) => {
            if let Some(kept) = store.get(&ObjectRef::from_obj(tenant)) {
                index.insert(kept);
            }
        }
        watcher::Event::Delete(tenant) => index.remove(&tenant.metadata),
        watcher::Event::InitDone => index.replace(store.state()),
        // The cache takes a list in at its end.
        watcher::Event::Init | watcher::Event::InitApply(_) => {}
    }
}

/// For watches whose events are of interest only as what they make of the cache.
fn ignored<K>(_: &watcher::Event<K>) {}

/// A cache and the events that filled it; `told` hears every event of the watches themselves.
fn cached<K>(
    apis: Vec<Api<Read<K>>>,
    config: &watcher::Config,
    kind: &'static str,
    hearing: &Hearing,
    lean: fn(&mut ObjectMeta),
    told: impl Fn(&watcher::Event<Read<K>>) + Clone + Send + 'static,
) -> (Store<K>, Events<K>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let streams: Vec<_> = apis
        .into_iter()
        .map(|api| {
            let (config, told) = (config.clone(), told.clone());
            again::watched(kind, hearing, move || {
                watcher(api.clone(), config.clone())
                    .default_backoff()
                    .modify(move |object| lean(object.meta_mut()))
                    .inspect_ok(told.clone())
                    .boxed()
            })
        })
        .collect();
    let events = merged::merge(streams, store.clone(), kind, hearing.unread.clone());
    (store, reflector::reflector(writer, events).boxed())
}
