//! What every reconcile shares, and what it hands back: no stage keeps state of its own.

mod end;
mod kinds;
mod living;
mod memory;
mod missing;
mod outcome;
mod patience;
mod stage;
mod unread;

use std::{fmt::Debug, sync::Arc};

use futures::channel::mpsc::{self, UnboundedReceiver, UnboundedSender};
use jiff::Timestamp;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Namespace};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::{PartialObjectMeta, object::HasStatus},
    runtime::reflector::{ObjectRef, Store},
};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{
    api::{SchemaBackup, TenantDatabase, TenantSchema},
    config::Config,
    kubernetes::{self, clock::ApiClock, finalizers, world::World},
    lane::{Lane, Lanes},
    telemetry::Metrics,
};

pub use end::End;
pub use kinds::{Fit, Kinds};
pub use living::Living;
pub use memory::{Making, Requests, Uids, Written, fingerprint};
pub use missing::MissingDatabase;
pub use outcome::{After, Failure, Next, Notice, chain, failed_for_good};
pub use stage::StageError;
pub use unread::Unread;

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
    /// The number of this process's claims of databases: another life of the same replica has another.
    pub claim: Uuid,
    /// The API server's clock.
    pub clock: Arc<ApiClock>,
    /// The watch caches.
    pub stores: Stores,
    /// The objects that cannot be read.
    pub unread: Unread,
    /// Whether the kinds have what this release knows.
    pub kinds: Arc<Kinds>,
    /// Whether the API server's world went back.
    pub world: Arc<World>,
    /// The databases at work.
    pub lanes: Arc<dyn Lanes>,
    /// Asks for reconciles.
    pub wake: Wake,
    /// Takes tenants that went although they had our finalizer.
    pub passed_over: UnboundedSender<Arc<TenantSchema>>,
    /// The numbers.
    pub metrics: Arc<Metrics>,
    /// Which of our own writes the caches must have seen.
    pub written: Arc<Written>,
    /// Which requests to look again were heard.
    pub requests: Requests,
    /// The deletions of which it was told that they wait.
    pub waiting: Uids,
    /// The deleted tenants that this process let go with their schemas left as they are, until a survey releases their rows.
    pub let_go: Uids,
    /// The tenants that this process is making.
    pub making: Making,
}

impl Context {
    /// The time. Pure stages are given it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// The object as new as our own latest write of it; nothing when it is gone.
    pub async fn fresh<K>(&self, api: &Api<K>, object: Arc<K>) -> Result<Option<Arc<K>>, kubernetes::Error>
    where
        K: Resource + Clone + DeserializeOwned + Debug,
    {
        if !self.written.is_stale(&*object) {
            return Ok(Some(object));
        }
        let read = kubernetes::read(api, &object.name_any()).await?;
        Ok(read.filter(|read| read.meta().uid == object.meta().uid).map(Arc::new))
    }

    /// Writes a status and remembers that the caches must come to have it. What another wrote meanwhile stays, and the object
    /// is to be looked at again; a change of something else than its status does not matter. Nothing is written while that
    /// would lose a part of the spec.
    pub async fn write_status<K>(
        &self,
        api: &Api<K>,
        object: &K,
        status: &K::Status,
    ) -> Result<kubernetes::status::Written, kubernetes::Error>
    where
        K: Resource<DynamicType = ()> + HasStatus + Clone + DeserializeOwned + Debug,
        K::Status: Serialize + PartialEq,
    {
        use kubernetes::status::Written;
        if self.kinds.would_lose(&K::kind(&())).await? {
            return Ok(Written::As(None));
        }
        let uid = object.uid().unwrap_or_default();
        self.written.intend(&uid, status);
        let mut written = kubernetes::status::apply(api, object, status).await?;
        if written == Written::Outdated
            && let Some(now) = kubernetes::read(api, &object.name_any()).await?.filter(|now| now.uid() == object.uid())
        {
            if now.status() == object.status() {
                written = kubernetes::status::apply(api, &now, status).await?;
            } else {
                self.written.record(&uid, now.resource_version().as_deref());
            }
        }
        if let Written::As(version) = &written {
            self.written.record(&uid, version.as_deref());
        }
        Ok(written)
    }

    /// Whether this replica still has the lane, asked after something went wrong on it: who has lost it writes no status.
    pub async fn still_holds(&self, lane: &Lane) -> bool {
        if lane.is_lost() {
            return false;
        }
        let Some(lease) = self.lanes.lease(&lane.database) else { return false };
        // Who cannot ask the API server cannot write to it either.
        lease.is_held_by(&self.identity).await.unwrap_or(false)
    }

    /// The object with our finalizer. It is set before anything is made, so that nothing can be left behind by a deletion
    /// that comes in between. Everything else of it stays as it was looked at: what is done and told is by that spec, also
    /// when a user has changed it since.
    pub async fn with_finalizer<K>(
        &self,
        api: &Api<K>,
        object: Arc<K>,
        finalizer: &str,
    ) -> Result<Arc<K>, kubernetes::Error>
    where
        K: Resource + Clone + DeserializeOwned + Debug,
    {
        let Some(answer) = finalizers::ensure(api, &*object, finalizer).await? else { return Ok(object) };
        self.written.record(&answer.uid.unwrap_or_default(), answer.resource_version.as_deref());
        let mut updated = (*object).clone();
        updated.meta_mut().resource_version = answer.resource_version;
        updated.meta_mut().finalizers = answer.finalizers;
        Ok(Arc::new(updated))
    }

    /// Removes our finalizer: the object may be gone with it.
    pub async fn let_go<K>(&self, api: &Api<K>, object: &K, finalizer: &str) -> Result<(), kubernetes::Error>
    where
        K: Resource + Clone + DeserializeOwned + Debug,
    {
        finalizers::remove(api, object.meta(), finalizer).await?;
        let uid = object.meta().uid.clone().unwrap_or_default();
        self.written.release(&uid);
        self.requests.forget(&uid);
        self.waiting.remove(&uid);
        Ok(())
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
    /// The Leases of the operator's own namespace.
    pub leases: Store<Lease>,
}

impl Stores {
    /// When a tenant of this database was deleted last: the time that confirms all deletions until now.
    #[must_use]
    pub fn newest_deletion(&self, database: &str) -> Option<Timestamp> {
        let tenants = self.tenants.state();
        let deleted = tenants.iter().filter(|tenant| tenant.spec.database() == database);
        deleted.filter_map(|tenant| tenant.metadata.deletion_timestamp.as_ref().map(|at| at.0)).max()
    }
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

/// What the controllers of databases, tenants and backups are asked to look at.
pub type Woken = (
    UnboundedReceiver<ObjectRef<TenantDatabase>>,
    UnboundedReceiver<ObjectRef<TenantSchema>>,
    UnboundedReceiver<ObjectRef<SchemaBackup>>,
);

impl Wake {
    /// A way to ask, and what is asked.
    #[must_use]
    pub fn channels() -> (Self, Woken) {
        let (databases, databases_woken) = mpsc::unbounded();
        let (tenants, tenants_woken) = mpsc::unbounded();
        let (backups, backups_woken) = mpsc::unbounded();
        (Self { databases, tenants, backups }, (databases_woken, tenants_woken, backups_woken))
    }

    /// Looks at a database.
    pub fn database(&self, name: &str) {
        // A closed channel means that the controller has shut down; there is no driver left to wake.
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
