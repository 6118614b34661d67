//! What a process remembers of objects between two looks. Nothing of it is needed after a restart.

use std::{
    collections::{HashMap, HashSet, hash_map::DefaultHasher},
    hash::Hasher,
    io, mem,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kube::{Resource, ResourceExt};
use serde::Serialize;

use crate::{api::RECONCILE_REQUESTED_AT, kubernetes::id::Id};

/// The resource versions of our latest writes, by UID, until the cache has them: a decision is never made on an object
/// that is older than what this process itself wrote.
#[derive(Default)]
pub struct Written {
    versions: Mutex<HashMap<Id, Write>>,
    /// What the status of an object must be, by UID, until a watch has told it.
    statuses: Mutex<HashMap<Id, u64>>,
    /// The objects whose status another client has written, until they are looked at.
    touched: Mutex<HashSet<Id>>,
}

/// One write, and which version of the object carries it.
struct Write {
    version: u64,
    at: Instant,
}

/// No cache is later than the API server by more.
const LAG: Duration = Duration::from_mins(10);

impl Written {
    /// A write gave the object this resource version.
    pub fn record(&self, uid: &str, resource_version: Option<&str>) {
        if let Some(version) = resource_version.and_then(|version| version.parse().ok()) {
            self.lock().insert(Id::of_uid(uid), Write { version, at: Instant::now() });
        }
    }

    /// True when the object is older than our latest write of it. One that is not clears the record.
    #[must_use]
    pub fn is_stale<K: Resource>(&self, object: &K) -> bool {
        let Some(uid) = object.meta().uid.as_deref() else { return false };
        let version: Option<u64> = object.resource_version().and_then(|version| version.parse().ok());
        let mut written = self.lock();
        let uid = Id::of_uid(uid);
        match (written.get(&uid), version) {
            (Some(ours), Some(seen)) if seen < ours.version => true,
            (Some(_), _) => {
                written.remove(&uid);
                false
            }
            (None, _) => false,
        }
    }

    /// Our finalizer is off. The object may be gone while the cache still has it, as it was when it was alive: all that
    /// the cache has of it is old from now on.
    pub fn release(&self, uid: &str) {
        let mut written = self.lock();
        // No later version comes that would clear the record of an object that is gone.
        written.retain(|_, write| write.at.elapsed() < LAG);
        written.insert(Id::of_uid(uid), Write { version: u64::MAX, at: Instant::now() });
    }

    /// This status is about to be written. It is remembered before, because a watch may tell of it before the write returns.
    pub fn intend(&self, uid: &str, status: &impl Serialize) {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner).insert(Id::of_uid(uid), fingerprint(status));
    }

    /// The API server's world went back: what was written in it never was.
    pub fn clear(&self) {
        self.lock().clear();
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether the status with this fingerprint, which a watch told, is the one that we wrote last; asking clears it if so.
    #[must_use]
    pub fn is_intended(&self, uid: &str, status: u64) -> bool {
        let mut statuses = self.statuses.lock().unwrap_or_else(PoisonError::into_inner);
        let uid = Id::of_uid(uid);
        let intended = statuses.get(&uid) == Some(&status);
        if intended {
            statuses.remove(&uid);
        }
        intended
    }

    /// Another client has written the object's status.
    pub fn touch(&self, uid: &str) {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).insert(Id::of_uid(uid));
    }

    /// Whether another client has written the object's status; asking clears it.
    pub fn take_touch(&self, uid: &str) -> bool {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).remove(&Id::of_uid(uid))
    }

    /// The object is gone, or out of view.
    pub fn forget(&self, uid: &str) {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner).remove(&Id::of_uid(uid));
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).remove(&Id::of_uid(uid));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Id, Write>> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What tells one status from another, without a copy of its text.
#[must_use]
pub fn fingerprint(status: &impl Serialize) -> u64 {
    struct Hashed(DefaultHasher);
    impl io::Write for Hashed {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut hashed = Hashed(DefaultHasher::new());
    // A status that cannot be written as JSON never came from the API server, and nothing fails on the way to a hasher.
    let _ = serde_json::to_writer(&mut hashed, status);
    hashed.0.finish()
}

/// The values of `reconcile-requested-at` that were seen, by UID. A value that is there at the first sight asks for nothing:
/// a process that starts looks at everything anyway.
#[derive(Default)]
pub struct Requests(Mutex<HashMap<Id, Option<Box<str>>>>);

impl Requests {
    /// True when a user asked since the object was last seen.
    pub fn is_new<K: Resource>(&self, object: &K) -> bool {
        let Some(uid) = object.meta().uid.as_deref() else { return false };
        let value: Option<Box<str>> =
            object.annotations().get(RECONCILE_REQUESTED_AT).map(|value| value.as_str().into());
        let before = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(Id::of_uid(uid), value.clone());
        value.is_some() && before.is_some_and(|before| before != value)
    }

    /// The object is gone.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&Id::of_uid(uid));
    }
}

/// UIDs of objects, remembered for one purpose.
#[derive(Default)]
pub struct Uids(Mutex<HashSet<Id>>);

impl Uids {
    /// Remembers one; true if it is new.
    pub fn add(&self, uid: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(Id::of_uid(uid))
    }

    /// Whether it is remembered.
    #[must_use]
    pub fn has(&self, uid: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&Id::of_uid(uid))
    }

    /// Forgets one.
    pub fn remove(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&Id::of_uid(uid));
    }
}

/// The tenants that were told that another tenant has what they want: namespace and name by UID. Every one is looked at
/// when a process begins, and each look says whether it is one of them.
#[derive(Default)]
pub struct Losers(Mutex<HashMap<String, (String, String)>>);

impl Losers {
    /// Whether the latest look found that the object lost.
    pub fn set<K: Resource>(&self, object: &K, lost: bool) {
        let uid = object.meta().uid.as_deref().unwrap_or_default();
        let mut losers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lost {
            losers.insert(uid.to_owned(), (object.namespace().unwrap_or_default(), object.name_any()));
        } else {
            losers.remove(uid);
        }
    }

    /// The object is gone.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<(String, (String, String))> {
        let losers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        losers.iter().map(|(uid, object)| (uid.clone(), object.clone())).collect()
    }
}

/// When a tenant was deleted last, by TenantDatabase, as far as this process has seen.
#[derive(Default)]
pub struct Deletions(Mutex<HashMap<String, Timestamp>>);

impl Deletions {
    /// A tenant of this database was deleted at that time; returns the latest.
    pub fn note(&self, database: &str, at: Timestamp) -> Timestamp {
        let mut deletions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = deletions.entry(database.to_owned()).or_insert(at);
        *latest = (*latest).max(at);
        *latest
    }
}

/// The UIDs of tenants that this process made something for a short time ago. The API server ignores a finalizer that
/// is added while it deletes, and a deletion does not take it longer than this.
#[derive(Default)]
pub struct Making(Mutex<Recent>);

#[derive(Default)]
struct Recent {
    since: Option<Instant>,
    now: HashSet<Id>,
    before: HashSet<Id>,
}

/// After this long, and at the latest after twice as long, a tenant counts as made. The API server gives up a request after
/// one minute.
const MAKING: Duration = Duration::from_mins(1);

impl Making {
    /// Something is made for this object.
    pub fn begin(&self, uid: &str) {
        self.lock().now.insert(Id::of_uid(uid));
    }

    /// Whether something was made for it just now.
    pub fn is_new(&self, uid: &str) -> bool {
        let recent = self.lock();
        [&recent.now, &recent.before].into_iter().any(|made| made.contains(&Id::of_uid(uid)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Recent> {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let age = recent.since.get_or_insert_with(Instant::now).elapsed();
        if age >= MAKING {
            let before = mem::take(&mut recent.now);
            *recent = Recent {
                since: Some(Instant::now()),
                now: HashSet::new(),
                before: if age < 2 * MAKING { before } else { HashSet::new() },
            };
        }
        recent
    }
}
