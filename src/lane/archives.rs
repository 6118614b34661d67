//! Where a lane's archives go, as the driver of its database found it last.
//!
//! `BackupStore` is what the spec says, `artefact::Store` the objects that it leads to, `ArchiveStore` that with all that archives need
//! besides, and `Archives` whether there is one now.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use artefact::{Identities, Key, Program, Recipients, Store, error::StoreError};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A store that can be used, with what is needed to write and to read archives.
#[derive(Debug)]
pub struct ArchiveStore {
    /// Where they are.
    pub store: Store,
    /// What its first writer called it. The same URL can lead to another store: at another endpoint, of another account, not mounted.
    pub store_id: Uuid,
    /// Whom they are encrypted for, if they are.
    pub recipients: Option<Recipients>,
    /// What can read them, if it is at hand.
    pub identities: Option<Identities>,
    /// Whether objects may be deleted there.
    pub may_delete: bool,
    /// How many bytes of one archive are written in a second at most.
    pub bytes_per_second: Option<u64>,
    /// What dumps, if it is there.
    pub dump: Option<Program>,
    /// What lists and restores a dump, if it is there.
    pub restore: Option<Program>,
    /// How large the scratch database may become in which one is restored to prove it.
    pub scratch_bytes: u64,
}

impl ArchiveStore {
    /// What the catalogue calls it: its URL, and the beginning of its id.
    #[must_use]
    pub fn name(&self) -> String {
        let id = self.store_id.simple().to_string();
        format!("{}#{}", self.store.url(), &id[..8])
    }

    /// Fails unless this is the store that was looked at, and can be read.
    pub async fn is_still_there(&self, installation_id: Uuid) -> Result<(), StoreError> {
        let writer = Writer::read(&self.store, installation_id).await?;
        if writer.store_id == self.store_id {
            return Ok(());
        }
        Err(StoreError::Unreachable(format!("{} leads to another store than before", self.store.url())))
    }
}

/// Who writes the archives of an installation, as the first one that did wrote it beside them. A copy of a database has the id of the
/// original: what expires by its catalogue are the original's archives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    /// UID of its cluster's kube-system namespace.
    pub cluster: String,
    /// Its TenantDatabase.
    pub database: String,
    /// The store.
    pub store_id: Uuid,
}

impl Writer {
    /// The most bytes that it has in a store.
    const MOST: u64 = 4096;

    /// Who writes there.
    pub async fn read(store: &Store, installation_id: Uuid) -> Result<Self, StoreError> {
        let key = Key::owner(installation_id);
        let found = store.get_small(&key, Self::MOST).await?;
        let unreadable = |error| StoreError::Invalid(format!("object {key} in the store cannot be read: {error}"));
        serde_json::from_slice(&found).map_err(unreadable)
    }

    /// Who writes there; this one if none did before.
    pub async fn claim(self, store: &Store, installation_id: Uuid) -> Result<Self, StoreError> {
        let text = serde_json::to_vec_pretty(&self).map_err(|error| StoreError::Invalid(error.to_string()))?;
        match store.put_new(&Key::owner(installation_id), text.into()).await {
            Ok(()) => Ok(self),
            Err(StoreError::Exists(_)) => Self::read(store, installation_id).await,
            Err(error) => Err(error),
        }
    }
}

/// What is known of the store.
#[derive(Debug)]
pub struct Archives {
    /// Whether the database is to have one.
    is_wanted: bool,
    /// Nothing before it was looked at.
    found: Mutex<Option<Found>>,
    doubted: AtomicBool,
}

/// How it was found.
#[derive(Clone, Debug)]
struct Found {
    /// The store, also where only removals can be done in it.
    store: Option<Arc<ArchiveStore>>,
    /// Why no archive can be written.
    why_not: Option<Arc<str>>,
}

impl Archives {
    /// Nothing is known yet; `is_wanted` says whether the database is to have a store.
    #[must_use]
    pub fn new(is_wanted: bool) -> Self {
        Self { is_wanted, found: Mutex::default(), doubted: AtomicBool::new(false) }
    }

    /// The store to write into; or why there is none, for a person.
    pub fn get(&self) -> Result<Arc<ArchiveStore>, Arc<str>> {
        match self.found() {
            Some(Found { store: Some(store), why_not: None }) => Ok(store),
            found => Err(found.and_then(|found| found.why_not).unwrap_or_else(not_yet)),
        }
    }

    /// The store to remove something from. A store that is full takes nothing more, and gets room again by that alone.
    pub fn for_removal(&self) -> Result<Arc<ArchiveStore>, Arc<str>> {
        match self.found() {
            Some(Found { store: Some(store), .. }) => Ok(store),
            found => Err(found.and_then(|found| found.why_not).unwrap_or_else(not_yet)),
        }
    }

    /// Whether archives can be kept: nothing where the database is to have no store, and before it was looked at.
    #[must_use]
    pub fn up(&self) -> Option<bool> {
        self.found().filter(|_| self.is_wanted).map(|found| found.why_not.is_none())
    }

    /// It did not do what it should: it is to be looked at again.
    pub fn doubt(&self) {
        self.doubted.store(true, Ordering::Relaxed);
    }

    /// Whether it was doubted since this was asked last.
    pub fn take_doubt(&self) -> bool {
        self.doubted.swap(false, Ordering::Relaxed)
    }

    /// It was found so.
    pub fn set(&self, store: Option<Arc<ArchiveStore>>, why_not: Option<Arc<str>>) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(Found { store, why_not });
    }

    fn found(&self) -> Option<Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn not_yet() -> Arc<str> {
    "the backup store is just being looked at".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_was_not_asked_for_is_neither_up_nor_down() {
        let check = |is_wanted: bool, why_not: Option<&str>, expected: Option<bool>| {
            let archives = Archives::new(is_wanted);
            if let Some(why_not) = why_not {
                archives.set(None, Some(why_not.into()));
            }
            assert_eq!(archives.up(), expected, "{is_wanted}");
            assert_eq!(&*archives.get().unwrap_err(), why_not.unwrap_or("the backup store is just being looked at"));
            assert!(archives.for_removal().is_err());
        };
        check(true, None, None);
        check(true, Some("it does not answer"), Some(false));
        check(false, None, None);
        check(false, Some("there is none"), None);
    }
}
