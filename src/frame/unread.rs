//! The objects that this process cannot read, as the watches tell of them. They are in no cache, and are not taken for gone.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kube::{Resource, api::ObjectMeta};
use tokio::sync::Notify;

use crate::kubernetes::reading::Unreadable;

/// Kind, namespace (empty for what belongs to none) and name.
type Key = (Cow<'static, str>, String, String);

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
    pub fn insert<K: Resource<DynamicType = ()>>(&self, object: Unreadable) {
        let ObjectMeta { namespace, name, .. } = &object.metadata;
        let key = key::<K>(namespace.as_deref().unwrap_or_default(), name.as_deref().unwrap_or_default());
        let mut known = self.lock();
        known.objects.insert(key, Arc::new(object));
        drop(known);
        self.0.news.notify_one();
    }

    /// The object of this name can be read now, or is gone.
    pub fn remove<K: Resource<DynamicType = ()>>(&self, namespace: &str, name: &str) {
        let key = key::<K>(namespace, name);
        let mut known = self.lock();
        if known.objects.remove(&key).is_some() {
            drop(known);
            self.0.news.notify_one();
        }
    }

    /// The object of this name, if it cannot be read.
    #[must_use]
    pub fn get<K: Resource<DynamicType = ()>>(&self, namespace: &str, name: &str) -> Option<Arc<Unreadable>> {
        let known = self.lock();
        if known.objects.is_empty() {
            return None;
        }
        known.objects.get(&key::<K>(namespace, name)).cloned()
    }

    /// All of one kind.
    #[must_use]
    pub fn all<K: Resource<DynamicType = ()>>(&self) -> Vec<Arc<Unreadable>> {
        let kind = K::kind(&());
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

fn key<K: Resource<DynamicType = ()>>(namespace: &str, name: &str) -> Key {
    (K::kind(&()), namespace.to_owned(), name.to_owned())
}
