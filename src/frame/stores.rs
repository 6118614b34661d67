//! The watch caches, and the way to ask controllers to look at objects.

use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use futures::channel::mpsc::{self, UnboundedReceiver, UnboundedSender};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Namespace};
use kube::{
    core::PartialObjectMeta,
    runtime::reflector::{ObjectRef, Store},
};

use super::Index;
use crate::api::{SchemaBackup, TenantDatabase, TenantSchema};

/// The watch caches, without managed fields.
#[derive(Clone)]
pub struct Stores {
    /// All databases.
    pub databases: Store<TenantDatabase>,
    /// The tenants of this operator's selection.
    pub tenants: Store<TenantSchema>,
    /// The same by namespace.
    pub tenants_index: Arc<RwLock<Index<TenantSchema>>>,
    /// The backups of this operator's selection.
    pub backups: Store<SchemaBackup>,
    /// Labels and deletion of namespaces.
    pub namespaces: Store<PartialObjectMeta<Namespace>>,
    /// The Leases of the operator's own namespace.
    pub leases: Store<Lease>,
}

impl Stores {
    /// The tenants of this database that are being deleted.
    #[must_use]
    pub fn leaving(&self, database: &str) -> Vec<Arc<TenantSchema>> {
        let mut leaving = self.index().leaving();
        leaving.retain(|tenant| tenant.spec.database() == database);
        leaving
    }

    /// The tenants of a namespace.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<TenantSchema>> {
        self.index().in_namespace(namespace)
    }

    fn index(&self) -> RwLockReadGuard<'_, Index<TenantSchema>> {
        // It is changed one object after the other, so a panic elsewhere leaves it usable.
        self.tenants_index.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks controllers to look at objects.
#[derive(Clone)]
pub struct Wake {
    /// To the controller of databases.
    databases: UnboundedSender<ObjectRef<TenantDatabase>>,
    /// To the controller of tenants.
    tenants: UnboundedSender<ObjectRef<TenantSchema>>,
    /// To the controller of backups.
    backups: UnboundedSender<ObjectRef<SchemaBackup>>,
    /// To the controllers of all kinds that stand on a lane: names of databases.
    users: Arc<Mutex<Vec<UnboundedSender<String>>>>,
}

impl Wake {
    /// Asks by these ways.
    #[must_use]
    pub fn new(
        databases: UnboundedSender<ObjectRef<TenantDatabase>>,
        tenants: UnboundedSender<ObjectRef<TenantSchema>>,
        backups: UnboundedSender<ObjectRef<SchemaBackup>>,
    ) -> Self {
        Self { databases, tenants, backups, users: Arc::default() }
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
    /// Looks at every object of every kind that stands on the lane of this database.
    pub fn users(&self, database: &str) {
        for users in &*self.users.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = users.unbounded_send(database.to_owned());
        }
    }

    /// The databases whose users are to be looked at, from now on; for the controller of one kind.
    #[must_use]
    pub fn users_woken(&self) -> UnboundedReceiver<String> {
        let (users, woken) = mpsc::unbounded();
        self.users.lock().unwrap_or_else(PoisonError::into_inner).push(users);
        woken
    }
}
