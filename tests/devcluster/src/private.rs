//! The state directory of something that belongs to this process alone: a guard ends it when this
//! process goes, and the next process that makes one removes what a crash of both has left.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::error::{Error, FileContext};
use crate::paths::{lock, make_dir, target_dir};
use crate::process::ProcessId;
use crate::state::{Keep, StateDir};

/// Tells apart the directories of one process.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A state directory that is ended when it is dropped.
#[derive(Debug)]
pub(crate) struct Private {
    pub(crate) state: StateDir,
    guards: Vec<Child>,
}

impl Private {
    /// Creates an empty one with this process as its only user.
    pub(crate) fn new() -> Result<Self, Error> {
        let base = target_dir().join("devcluster-private");
        make_dir(&base, 0o711)?;
        let me = ProcessId::current();
        // Only one process may look for leftovers at a time, and none while another has a directory
        // that is not yet marked as used.
        let _lock = lock(&base.join("lock"))?;
        sweep(&base);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let state = StateDir::at(&base.join(format!("{}-{number}", me.pid)), Keep::Nothing);
        state.create()?;
        state.add_user(&me)?;
        let mut private = Self { state, guards: Vec::new() };
        private.guards = private.state.start_guards(1, Duration::ZERO)?;
        Ok(private)
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        if let Err(error) = self.state.end() {
            eprintln!("devcluster: {error}");
        }
        for guard in &mut self.guards {
            // It was killed above; a failure to wait for it leaves nothing that could be done here.
            let _ = guard.wait();
        }
    }
}

/// Ends what unguarded crashes have left behind.
fn sweep(base: &Path) {
    let leftovers: Vec<PathBuf> = fs::read_dir(base)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    for path in leftovers {
        let state = StateDir::at(&path, Keep::Nothing);
        let swept = if state.is_used() {
            Ok(())
        } else if state.exists() {
            state.end()
        } else {
            fs::remove_dir_all(&path).file("remove", &path)
        };
        if let Err(error) = swept {
            eprintln!("devcluster: {error}");
        }
    }
}
