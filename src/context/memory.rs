//! What a process remembers of objects between two looks. Nothing of it is needed after a restart.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use kube::{Resource, ResourceExt};

use crate::api::RECONCILE_REQUESTED_AT;

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
        // No later version comes that would clear the record of an object that is gone.
        written.retain(|_, write| write.at.elapsed() < LAG);
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
