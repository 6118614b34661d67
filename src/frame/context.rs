//! What every reconcile shares: no stage keeps state of its own.

use std::{fmt::Debug, sync::Arc};

use futures::channel::mpsc::UnboundedSender;
use jiff::Timestamp;
use kube::{Api, Client, Resource, ResourceExt, core::object::HasStatus};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::{Deletions, Kinds, Losers, Making, Requests, Stores, Uids, Unread, Wake, Written};
use crate::{
    api::TenantSchema,
    config::Config,
    kubernetes::{self, backups::Backups, clock::ApiClock, finalizers, secrets::Secrets, world::World},
    lane::{Lane, Lanes},
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
    /// The metrics.
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
    /// The objects for which this process began to make something, until their status tells of it or the database, asked later, has
    /// nothing of theirs. An answer that is lost leaves one here.
    pub begun: Uids,
    /// Writes the Secrets of tenants.
    pub secrets: Secrets,
    /// Makes the `SchemaBackup`s that schedules ask for.
    pub backups: Backups,
    /// The tenants that lost against others, and wait until those are gone.
    pub losers: Losers,
    /// When tenants were deleted last.
    pub deletions: Deletions,
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

    /// Writes a status and remembers that the caches must come to have it. What another client wrote meanwhile stays,
    /// and the object is to be looked at again; a change of something else than its status does not matter. Nothing is
    /// written while that would lose a part of the spec.
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

    /// Whether this replica still has the lane, asked after something went wrong on it: a replica that has lost it
    /// writes no status.
    pub async fn still_holds(&self, lane: &Lane) -> bool {
        if lane.is_lost() {
            return false;
        }
        let Some(lease) = self.lanes.lease(&lane.database) else { return false };
        // A replica that cannot ask the API server cannot write to it either.
        lease.is_held_by(&self.identity).await.unwrap_or(false)
    }

    /// The object with our finalizer. It is set before anything is made, so that a deletion that comes in between
    /// waits for us. Everything else of it stays as it was looked at: the pass follows that spec, also when a
    /// user has changed it since.
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
        self.begun.remove(&uid);
        self.secrets.forget(&uid);
        Ok(())
    }
}
