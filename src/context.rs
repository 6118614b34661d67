//! What every reconcile shares, and what it hands back: no stage keeps state of its own.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::channel::mpsc::UnboundedSender;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Client, Resource, ResourceExt,
    core::PartialObjectMeta,
    runtime::reflector::{ObjectRef, Store},
};

use crate::{
    api::{RECONCILE_REQUESTED_AT, SchemaBackup, TenantDatabase, TenantSchema, event::EventReason},
    config::Config,
    kubernetes::lease::LeaseCandidate,
    lane::Lanes,
    telemetry::Metrics,
};

/// Shared by all reconciles of this process.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The operator's configuration.
    pub config: Config,
    /// UID of the kube-system namespace: which cluster this is.
    pub cluster: String,
    /// This replica's name.
    pub identity: String,
    /// The watch caches.
    pub stores: Stores,
    /// The databases at work.
    pub lanes: Lanes,
    /// Asks for reconciles.
    pub wake: Wake,
    /// The numbers.
    pub metrics: Arc<Metrics>,
    /// Where this replica takes part in elections, by TenantDatabase.
    pub candidates: tokio::sync::Mutex<HashMap<String, LeaseCandidate>>,
    /// Which of our own writes the caches must have seen.
    pub written: Written,
    /// Which requests to look again were heard.
    pub requests: Requests,
}

impl Context {
    /// The time. Pure stages are given it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// The watch caches, without managed fields.
#[derive(Clone)]
pub struct Stores {
    /// All databases.
    pub databases: Store<TenantDatabase>,
    /// The tenants of this operator's selection.
    pub tenants: Store<TenantSchema>,
    /// The backups of this operator's selection.
    pub backups: Store<SchemaBackup>,
    /// Labels and deletion of namespaces.
    pub namespaces: Store<PartialObjectMeta<Namespace>>,
    /// Which Secrets of the operator's own namespace changed.
    pub secrets: Store<PartialObjectMeta<Secret>>,
}

/// Asks controllers to look at objects.
#[derive(Clone)]
pub struct Wake {
    /// To the controller of databases.
    pub databases: UnboundedSender<ObjectRef<TenantDatabase>>,
    /// To the controller of tenants.
    pub tenants: UnboundedSender<ObjectRef<TenantSchema>>,
    /// To the controller of backups.
    pub backups: UnboundedSender<ObjectRef<SchemaBackup>>,
}

impl Wake {
    /// Looks at a database.
    pub fn database(&self, name: &str) {
        // A closed channel means that the controller has shut down; there is nobody left to wake.
        let _ = self.databases.unbounded_send(ObjectRef::new(name));
    }

    /// Looks at a tenant.
    pub fn tenant(&self, namespace: &str, name: &str) {
        let _ = self.tenants.unbounded_send(ObjectRef::new(name).within(namespace));
    }

    /// Looks at a backup.
    pub fn backup(&self, namespace: &str, name: &str) {
        let _ = self.backups.unbounded_send(ObjectRef::new(name).within(namespace));
    }
}

/// The resource versions of our latest writes, by UID, until the cache has them: a decision is never made on an object
/// that is older than what this process itself wrote.
#[derive(Default)]
pub struct Written(Mutex<HashMap<String, Write>>);

/// One write, and which version of the object carries it.
struct Write {
    version: u64,
    at: Instant,
}

/// No cache is behind the API server by more.
const LAG: Duration = Duration::from_mins(10);

impl Written {
    /// A write gave the object this resource version.
    pub fn record(&self, uid: &str, resource_version: Option<&str>) {
        if let Some(version) = resource_version.and_then(|version| version.parse().ok()) {
            self.lock().insert(uid.to_owned(), Write { version, at: Instant::now() });
        }
    }

    /// True when the object is older than our latest write of it. One that is not clears the record.
    #[must_use]
    pub fn is_stale<K: Resource>(&self, object: &K) -> bool {
        let Some(uid) = object.meta().uid.as_deref() else { return false };
        let version: Option<u64> = object.resource_version().and_then(|version| version.parse().ok());
        let mut written = self.lock();
        match (written.get(uid), version) {
            (Some(ours), Some(seen)) if seen < ours.version => true,
            (Some(_), _) => {
                written.remove(uid);
                false
            }
            (None, _) => false,
        }
    }

    /// Our finalizer is off. The object may be gone while the cache still has it, as it was when it was alive: whatever
    /// the cache has of it is old from now on.
    pub fn release(&self, uid: &str) {
        let mut written = self.lock();
        // No later version comes that would clear these records.
        written.retain(|_, write| write.version < u64::MAX || write.at.elapsed() < LAG);
        written.insert(uid.to_owned(), Write { version: u64::MAX, at: Instant::now() });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Write>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The values of `reconcile-requested-at` that were seen, by UID. A value that is there at the first sight asks for nothing:
/// a process that starts looks at everything anyway.
#[derive(Default)]
pub struct Requests(Mutex<HashMap<String, Option<String>>>);

impl Requests {
    /// True when somebody asked since the object was last seen.
    pub fn is_new<K: Resource>(&self, object: &K) -> bool {
        let Some(uid) = object.meta().uid.clone() else { return false };
        let value = object.annotations().get(RECONCILE_REQUESTED_AT).cloned();
        let before = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid, value.clone());
        value.is_some() && before.is_some_and(|before| before != value)
    }

    /// The object is gone.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// What the report and the retry need to know of a driver's error.
pub trait Failure: std::error::Error {
    /// The stage that failed, as its file is called.
    fn stage(&self) -> &'static str;

    /// The closed set that metrics are labelled with.
    fn category(&self) -> &'static str;

    /// When to try again, where that is not a matter of backing off.
    fn retry_after(&self) -> Option<Duration> {
        None
    }
}

/// How a reconcile ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// When to look again.
    pub after: After,
    /// For metrics: `changed`, `unchanged`, `waiting`, `stalled` or `standby`.
    pub outcome: &'static str,
    /// What a person would tell another.
    pub notices: Vec<Notice>,
}

/// When to look at an object again without being woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Nothing is left to do: at the next resync.
    Resync,
    /// It waits for something: with back-off.
    Retry,
    /// At a time that the stage knows.
    Delay(Duration),
    /// Never: the object is gone, or another replica's.
    Never,
}

/// One Event in the making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// From the closed set.
    pub reason: EventReason,
    /// For people.
    pub message: String,
}

impl Next {
    /// An end without notices.
    #[must_use]
    pub fn new(after: After, outcome: &'static str) -> Self {
        Self { after, outcome, notices: Vec::new() }
    }
}
