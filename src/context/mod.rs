//! What every reconcile shares, and what it hands back: no stage keeps state of its own.

mod end;
mod memory;
mod outcome;
mod stage;

use std::{collections::HashMap, fmt::Debug, sync::Arc};

use futures::channel::mpsc::UnboundedSender;
use jiff::Timestamp;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Namespace};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::PartialObjectMeta,
    runtime::reflector::{ObjectRef, Store},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    api::{SchemaBackup, TenantDatabase, TenantSchema},
    config::Config,
    kubernetes::{self, finalizers, lease::LeaseCandidate},
    lane::Lanes,
    telemetry::Metrics,
};

pub use end::End;
pub use memory::{Requests, Written};
pub use outcome::{After, Failure, Next, Notice, chain};
pub use stage::StageError;

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
    pub lanes: Arc<Lanes>,
    /// Asks for reconciles.
    pub wake: Wake,
    /// Takes tenants that went although they had our finalizer.
    pub passed_over: UnboundedSender<Arc<TenantSchema>>,
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

    /// Writes a status and remembers that the caches must come to have it. False when the object is gone.
    pub async fn write_status<K>(
        &self,
        api: &Api<K>,
        object: &K,
        status: &impl Serialize,
    ) -> Result<bool, kubernetes::Error>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        match kubernetes::status::apply(api, object, status).await? {
            kubernetes::status::Written::As(version) => {
                self.written.record(&object.uid().unwrap_or_default(), version.as_deref());
                Ok(true)
            }
            kubernetes::status::Written::Gone => Ok(false),
        }
    }

    /// The object with our finalizer. It is set before anything is made, so that nothing can be left behind by a deletion
    /// that comes in between. It keeps the generation that was looked at: what is done and told is by that spec, also when
    /// somebody has changed it since.
    pub async fn with_finalizer<K>(
        &self,
        api: &Api<K>,
        object: Arc<K>,
        finalizer: &str,
    ) -> Result<Arc<K>, kubernetes::Error>
    where
        K: Resource + Clone + DeserializeOwned + Debug,
    {
        let Some(mut updated) = finalizers::ensure(api, &*object, finalizer).await? else { return Ok(object) };
        self.written.record(&updated.uid().unwrap_or_default(), updated.resource_version().as_deref());
        updated.meta_mut().generation = object.meta().generation;
        Ok(Arc::new(updated))
    }

    /// Removes our finalizer: the object may be gone with it.
    pub async fn let_go<K>(&self, api: &Api<K>, object: &K, finalizer: &str) -> Result<(), kubernetes::Error>
    where
        K: Resource + Clone + DeserializeOwned + Debug,
    {
        finalizers::remove(api, object, finalizer).await?;
        let uid = object.meta().uid.clone().unwrap_or_default();
        self.written.release(&uid);
        self.requests.forget(&uid);
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
