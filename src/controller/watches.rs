//! The watches and their caches.
//!
//! Managed fields are dropped on the way in: nobody reads them and they are two thirds of an object. The streams that
//! trigger reconciles leave out what this operator writes itself, a status or a finalizer, so that a write is not answered
//! by another look.

mod merged;

use std::{
    collections::hash_map::DefaultHasher,
    fmt::Debug,
    hash::{Hash, Hasher},
    sync::Arc,
};

use futures::{StreamExt, TryStreamExt, channel::mpsc::UnboundedSender, future::ready, stream::BoxStream};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Namespace, Secret},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::{NamespaceResourceScope, PartialObjectMeta},
    runtime::{
        WatchStreamExt,
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use kube_runtime::PredicateConfig;
use serde::de::DeserializeOwned;

use crate::{
    api::{GROUP, SchemaBackup, TENANT_SCHEMA_FINALIZER, TenantDatabase, TenantSchema},
    config::Config,
    context::Stores,
    kubernetes::finalizers,
};

type Objects<K> = BoxStream<'static, Result<K, watcher::Error>>;

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
    pub fn start(client: &Client, config: &Config, passed_over: UnboundedSender<Arc<TenantSchema>>) -> Self {
        let selected = match &config.watch_selector {
            Some(selector) => watcher::Config::default().labels(selector),
            None => watcher::Config::default(),
        };
        let (databases_store, databases) = triggering(vec![Api::all(client.clone())], &selected, ignored);
        let (tenants_store, tenants) = triggering(
            apis(client, &config.watch_namespaces),
            &selected,
            move |event: &watcher::Event<TenantSchema>| {
                if let watcher::Event::Delete(tenant) = event
                    && finalizers::was_passed_over(tenant, TENANT_SCHEMA_FINALIZER)
                {
                    // A closed channel means that the operator stops.
                    let _ = passed_over.unbounded_send(Arc::new(tenant.clone()));
                }
            },
        );
        let (backups_store, backups) = triggering(apis(client, &config.watch_namespaces), &selected, ignored);
        let secrets: Api<PartialObjectMeta<Secret>> = Api::namespaced(client.clone(), &config.namespace);
        let (_, secrets) = cached(vec![secrets], &watcher::Config::default(), ignored);
        let leases: Api<Lease> = Api::namespaced(client.clone(), &config.namespace);
        let (leases_store, leases) = cached(vec![leases], &watcher::Config::default(), ignored);
        let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
        let (namespaces_store, namespaces) = cached(vec![namespaces], &watcher::Config::default(), ignored);
        Self {
            stores: Stores {
                databases: databases_store,
                tenants: tenants_store,
                backups: backups_store,
                namespaces: namespaces_store,
                leases: leases_store,
            },
            databases,
            tenants,
            backups,
            secrets: secrets.filter_map(|secret| ready(secret.ok())).boxed(),
            leases: leases.filter_map(|lease| ready(lease.ok())).boxed(),
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

/// A cache, and a stream of the objects that changed in more than our own writes.
fn triggering<K>(
    apis: Vec<Api<K>>,
    config: &watcher::Config,
    told: impl Fn(&watcher::Event<K>) + Clone + Send + 'static,
) -> (Store<K>, Objects<K>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let (store, objects) = cached(apis, config, told);
    let changed = objects.predicate_filter(of_interest, PredicateConfig::default());
    (store, changed.boxed())
}

/// For watches whose events are of interest only as what they make of the cache.
fn ignored<K>(_: &watcher::Event<K>) {}

/// A cache and its objects; `told` hears every event of the watches themselves.
fn cached<K>(
    apis: Vec<Api<K>>,
    config: &watcher::Config,
    told: impl Fn(&watcher::Event<K>) + Clone + Send + 'static,
) -> (Store<K>, Objects<K>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let streams: Vec<_> = apis
        .into_iter()
        .map(|api| {
            watcher(api, config.clone())
                .default_backoff()
                .modify(|object| object.managed_fields_mut().clear())
                .inspect_ok(told.clone())
                .boxed()
        })
        .collect();
    let events = merged::merge(streams, store.clone());
    (store, reflector::reflector(writer, events).applied_objects().boxed())
}

/// What triggers a reconcile: another object, another spec, deletion, and our own annotations. Not: status, finalizers.
#[allow(clippy::unnecessary_wraps, reason = "the shape of a predicate")]
fn of_interest<K: Resource>(object: &K) -> Option<u64> {
    let meta = object.meta();
    let mut hasher = DefaultHasher::new();
    meta.uid.hash(&mut hasher);
    meta.generation.hash(&mut hasher);
    meta.deletion_timestamp.is_some().hash(&mut hasher);
    for (key, value) in object.annotations() {
        if key.split('/').next() == Some(GROUP) {
            (key, value).hash(&mut hasher);
        }
    }
    Some(hasher.finish())
}
