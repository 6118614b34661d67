//! Where a lane's archives go, as the driver of its database found it last.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use artefact::{Identities, Program, Recipients, Store};

/// A store that can be used, with what is needed to write and to read archives.
#[derive(Debug)]
pub struct ArchiveStore {
    /// Where they are.
    pub store: Store,
    /// The address of the server, if it is not the cloud's.
    pub endpoint: Option<String>,
    /// Whom they are encrypted for, if they are.
    pub recipients: Option<Recipients>,
    /// What can read them, if it is at hand.
    pub identities: Option<Identities>,
    /// Whether objects may be deleted there.
    pub may_delete: bool,
    /// How many bytes of one archive are written in a second at most.
    pub bytes_per_second: Option<u64>,
    /// What dumps.
    pub dump: Program,
    /// What lists a dump, if it is there.
    pub restore: Option<Program>,
}

impl ArchiveStore {
    /// What the catalogue calls it: the same URL at another endpoint is another store.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => format!("{} at {endpoint}", self.store.url()),
            None => self.store.url().to_string(),
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

type Found = Result<Arc<ArchiveStore>, Arc<str>>;

impl Archives {
    /// Nothing is known yet; `is_wanted` says whether the database is to have a store.
    #[must_use]
    pub fn new(is_wanted: bool) -> Self {
        Self { is_wanted, found: Mutex::default(), doubted: AtomicBool::new(false) }
    }

    /// The store; or why there is none, for a person.
    pub fn get(&self) -> Result<Arc<ArchiveStore>, Arc<str>> {
        self.found().unwrap_or_else(|| Err("the backup store is just being looked at".into()))
    }

    /// Whether archives can be kept: nothing where the database is to have no store, and before it was looked at.
    #[must_use]
    pub fn up(&self) -> Option<bool> {
        self.found().filter(|_| self.is_wanted).map(|found| found.is_ok())
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
    pub fn set(&self, found: Found) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
    }

    fn found(&self) -> Option<Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_nobody_asked_for_is_neither_up_nor_down() {
        let check = |is_wanted: bool, found: Option<Found>, expected: Option<bool>| {
            let archives = Archives::new(is_wanted);
            if let Some(found) = found {
                archives.set(found);
            }
            assert_eq!(archives.up(), expected, "{is_wanted}");
            assert!(archives.get().is_err());
        };
        check(true, None, None);
        check(true, Some(Err("it does not answer".into())), Some(false));
        check(false, None, None);
        check(false, Some(Err("there is none".into())), None);
    }
}
