//! The objects that this process cannot read, as the watches tell of them. They are in no cache, and are not taken for gone.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kube::api::ObjectMeta;
use tokio::sync::Notify;

use crate::kubernetes::reading::Unreadable;

/// Kind, namespace (empty for what belongs to none) and name.
type Key = (&'static str, String, String);

/// The objects that cannot be read.
#[derive(Clone, Default)]
pub struct Unread(Arc<Shared>);

#[derive(Default)]
struct Shared {
    known: Mutex<Known>,
    news: Notify,
}

#[derive(Default)]
struct Known {
    objects: BTreeMap<Key, Arc<Unreadable>>,
}

impl Unread {
    /// A watch told of an object that cannot be read.
    pub fn insert(&self, kind: &'static str, object: Unreadable) {
        let key = key(kind, &object.metadata);
        let mut known = self.lock();
        known.objects.insert(key, Arc::new(object));
        drop(known);
        self.0.news.notify_one();
    }

    /// The object of this name can be read now, or is gone.
    pub fn remove(&self, kind: &'static str, namespace: &str, name: &str) {
        let key = (kind, namespace.to_owned(), name.to_owned());
        let mut known = self.lock();
        if known.objects.remove(&key).is_some() {
            drop(known);
            self.0.news.notify_one();
        }
    }

    /// The object of this name, if it cannot be read.
    #[must_use]
    pub fn get(&self, kind: &'static str, namespace: &str, name: &str) -> Option<Arc<Unreadable>> {
        let known = self.lock();
        if known.objects.is_empty() {
            return None;
        }
        known.objects.get(&(kind, namespace.to_owned(), name.to_owned())).cloned()
    }

    /// All of one kind.
    #[must_use]
    pub fn all(&self, kind: &'static str) -> Vec<Arc<Unreadable>> {
        self.lock().objects.iter().filter(|(key, _)| key.0 == kind).map(|(_, object)| object.clone()).collect()
    }

    /// Waits until an object cannot be read, or can be again.
    pub async fn news(&self) {
        self.0.news.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(kind: &'static str, metadata: &ObjectMeta) -> Key {
    (kind, metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}
