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
    /// Whom they are encrypted for, if they are.
    pub recipients: Option<Recipients>,
    /// What can read them, if it is at hand.
    pub identities: Option<Identities>,
    /// Whether objects may be deleted there.
    pub may_delete: bool,
    /// How many bytes of one archive are written or read in a second at most.
    pub bytes_per_second: Option<u64>,
    /// What dumps.
    pub dump: Program,
    /// What lists a dump, if it is there.
    pub restore: Option<Program>,
}

/// What is known of the store.
#[derive(Debug)]
pub struct Archives {
    found: Mutex<Result<Arc<ArchiveStore>, Arc<str>>>,
    doubted: AtomicBool,
}

impl Default for Archives {
    fn default() -> Self {
        let found = Mutex::new(Err("the backup store is just being looked at".into()));
        Self { found, doubted: AtomicBool::new(false) }
    }
}

impl Archives {
    /// The store; or why there is none, for a person.
    pub fn get(&self) -> Result<Arc<ArchiveStore>, Arc<str>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
    pub fn set(&self, found: Result<Arc<ArchiveStore>, Arc<str>>) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }
}
