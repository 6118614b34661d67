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

use futures::{
    StreamExt, TryStreamExt,
    channel::mpsc::{self, UnboundedReceiver, UnboundedSender},
    future::ready,
    stream::BoxStream,
};
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

use super::cached::Cached;
use crate::{
    api::{TENANT_DATABASE_FINALIZER, TENANT_SCHEMA_FINALIZER, TenantDatabase, TenantSchema},
    config::Config,
    frame::{Index, Kind, Kinds, Unread, Written},
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

/// How every watch is begun.
pub struct Watching<'a> {
    /// The API server.
    pub client: &'a Client,
    /// What is selected.
    pub config: &'a Config,
    /// What they tell beside their objects.
    pub hearing: &'a Hearing,
}

/// A kind that is watched: its cache, the objects that changed, and those that are to be looked at.
pub struct Watched<K: Resource<DynamicType = ()> + 'static> {
    /// See [`Cached`].
    pub cache: Arc<Cached<K>>,
    /// Those that changed in more than our own writes.
    pub objects: Objects<K>,
    /// Those that other parts of the operator ask to look at.
    pub woken: UnboundedReceiver<ObjectRef<K>>,
}

impl Watching<'_> {
    /// The databases.
    #[must_use]
    pub fn databases(&self) -> Watched<TenantDatabase> {
        let within = |client: &Client, _: &str| Api::all(client.clone());
        self.begin(vec![Api::all(self.client.clone())], within, TENANT_DATABASE_FINALIZER, ignored, |_, _| {})
    }

    /// A kind that stands on a lane.
    #[must_use]
    pub fn kind<K: Kind>(&self) -> Watched<K> {
        self.namespaced(ignored, |_, _| {})
    }

    /// The tenants, and which of them are in which namespace. Those that went although they had our finalizer are handed to
    /// `passed_over`.
    #[must_use]
    pub fn tenants(
        &self,
        passed_over: UnboundedSender<Arc<TenantSchema>>,
    ) -> (Watched<TenantSchema>, Arc<RwLock<Index<TenantSchema>>>) {
        let index: Arc<RwLock<Index<TenantSchema>>> = Arc::default();
        let told = move |event: &watcher::Event<Read<TenantSchema>>| {
            if let watcher::Event::Delete(Read::Whole(tenant)) = event
                && finalizers::was_passed_over(tenant, TENANT_SCHEMA_FINALIZER)
            {
                // A closed channel means that the operator stops.
                let _ = passed_over.unbounded_send(Arc::new(tenant.clone()));
            }
        };
        let followed = index.clone();
        let kept = move |event: &watcher::Event<TenantSchema>, store: &Store<TenantSchema>| {
            follow(&mut followed.write().unwrap_or_else(PoisonError::into_inner), event, store);
        };
        (self.namespaced(told, kept), index)
    }

    /// The Secrets of the operator's own namespace that changed.
    #[must_use]
    pub fn secrets(&self) -> BoxStream<'static, PartialObjectMeta<Secret>> {
        let secrets: Api<Read<PartialObjectMeta<Secret>>> =
            Api::namespaced(self.client.clone(), &self.config.namespace);
        let (_, secrets) = cached(&[secrets], &watcher::Config::default(), self.hearing, lean::machine, ignored);
        secrets.applied_objects().filter_map(|secret| ready(secret.ok())).boxed()
    }

    /// The Leases of the operator's own namespace, and those that changed.
    #[must_use]
    pub fn leases(&self) -> (Store<Lease>, BoxStream<'static, Lease>) {
        let leases: Api<Read<Lease>> = Api::namespaced(self.client.clone(), &self.config.namespace);
        let (store, leases) = cached(&[leases], &watcher::Config::default(), self.hearing, lean::machine, ignored);
        (store, leases.applied_objects().filter_map(|lease| ready(lease.ok())).boxed())
    }

    /// The namespaces, and what keeps their cache filled.
    #[must_use]
    pub fn namespaces(&self) -> (Store<PartialObjectMeta<Namespace>>, BoxStream<'static, ()>) {
        let namespaces: Api<Read<PartialObjectMeta<Namespace>>> = Api::all(self.client.clone());
        let (store, namespaces) =
            cached(&[namespaces], &watcher::Config::default(), self.hearing, lean::namespace, ignored);
        (store, namespaces.map(|_| ()).boxed())
    }

    /// A kind in the namespaces that are watched; see [`Self::begin`].
    fn namespaced<K: Kind>(
        &self,
        told: impl Fn(&watcher::Event<Read<K>>) + Clone + Send + 'static,
        kept: impl Fn(&watcher::Event<K>, &Store<K>) + Send + 'static,
    ) -> Watched<K> {
        let within = |client: &Client, namespace: &str| Api::namespaced(client.clone(), namespace);
        self.begin(apis(self.client, &self.config.watch_namespaces), within, K::FINALIZER, told, kept)
    }

    /// Begins to watch a kind of this operator's. `told` hears every event of the watches themselves, `kept` what the cache has just
    /// taken in.
    fn begin<K>(
        &self,
        apis: Vec<Api<Read<K>>>,
        within: fn(&Client, &str) -> Api<K>,
        finalizer: &'static str,
        told: impl Fn(&watcher::Event<Read<K>>) + Clone + Send + 'static,
        kept: impl Fn(&watcher::Event<K>, &Store<K>) + Send + 'static,
    ) -> Watched<K>
    where
        K: Resource<DynamicType = ()> + HasStatus + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
        K::Status: Serialize,
    {
        let selected = match &self.config.watch_selector {
            Some(selector) => watcher::Config::default().labels(selector),
            None => watcher::Config::default(),
        };
        let (store, events) = cached(&apis, &selected, self.hearing, lean::ours, told);
        let mut interest = Interest::new(self.hearing.written.clone());
        let known = store.clone();
        let changed = events.inspect_ok(move |event| kept(event, &known)).filter_map(move |event| {
            ready(match event {
                Ok(event) => interest.take(event).map(Ok),
                Err(error) => Some(Err(error)),
            })
        });
        let (wake, woken) = mpsc::unbounded();
        let cache = Arc::new(Cached { store, wake, apis, within, finalizer });
        Watched { cache, objects: changed.boxed(), woken }
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
        let for_clients = database.spec.client_endpoint.as_ref().and_then(|endpoint| endpoint.ca_secret_ref.as_ref());
        let direct = database.spec.direct_connection.as_ref().map(|direct| &direct.secret_ref);
        let store = database.spec.backup_store.as_ref();
        let of_store = store.into_iter().flat_map(|store| {
            let identity = store.encryption.as_ref().and_then(|encryption| encryption.identity_secret_ref.as_ref());
            let ca = store.ca_secret_ref.as_ref().map(|ca| &ca.name);
            store.credentials_secret_ref.iter().chain(identity).map(|secret| &secret.name).chain(ca)
        });
        connection.secret_ref.name == name
            || of_store.into_iter().any(|of_store| *of_store == name)
            || direct.is_some_and(|direct| direct.name == name)
            || authority.into_iter().chain(for_clients).any(|ca| ca.name == name)
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
    apis: &[Api<Read<K>>],
    config: &watcher::Config,
    hearing: &Hearing,
    lean: fn(&mut ObjectMeta),
    told: impl Fn(&watcher::Event<Read<K>>) + Clone + Send + 'static,
) -> (Store<K>, Events<K>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let streams: Vec<_> = apis
        .iter()
        .cloned()
        .map(|api| {
            let (config, told) = (config.clone(), told.clone());
            again::watched(K::kind(&()), hearing, move || {
                watcher(api.clone(), config.clone())
                    .default_backoff()
                    .modify(move |object| lean(object.meta_mut()))
                    .inspect_ok(told.clone())
                    .boxed()
            })
        })
        .collect();
    let events = merged::merge(streams, store.clone(), hearing.unread.clone());
    (store, reflector::reflector(writer, events).boxed())
}
