//! What etcd holds at one moment: to put it back in its place, and to start a second cluster from it.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{ControlPlane, end, pki_dir, spawn_apiserver, start_all, start_controller_manager, wait_ready};
use crate::error::{Error, FileContext};
use crate::paths::copy_dir;
use crate::private::Private;
use crate::process::Frozen;

/// Tells apart the snapshots of one process.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A copy of etcd's data. It goes with the control plane that it was made of.
#[derive(Debug)]
pub struct EtcdSnapshot {
    dir: PathBuf,
}

impl ControlPlane {
    /// Copies what etcd holds now, as a crash at this moment would leave it, while everything goes on running.
    pub fn snapshot(&self) -> Result<EtcdSnapshot, Error> {
        let data = self.private.state.data();
        let dir = data.join(format!("snapshot-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let frozen = Frozen::freeze(&self.etcd.child)?;
        copy_dir(&data.join("etcd"), &dir)?;
        drop(frozen);
        Ok(EtcdSnapshot { dir })
    }

    /// Puts a snapshot in the place of what etcd holds: the processes stop, and start again on the same ports with the
    /// same certificates. Everything that was written since then never was.
    pub fn restore(&mut self, snapshot: &EtcdSnapshot) -> Result<(), Error> {
        self.stop();
        let state = &self.private.state;
        let data = state.data().join("etcd");
        fs::remove_dir_all(&data).file("remove", &data)?;
        copy_dir(&snapshot.dir, &data)?;
        self.etcd.start_again(state, &self.info.bin_dir)?;
        self.apiserver = spawn_apiserver(state, &self.info, &self.options.apiserver_flags)?;
        wait_ready(state, &self.info, &mut self.apiserver)?;
        self.controller_manager = start_controller_manager(state, &self.info)?;
        Ok(())
    }

    /// Starts a second control plane from a snapshot of this one: on ports of its own, with the same authority and the same
    /// objects, so that its `kube-system` namespace has the same UID too.
    pub fn start_clone(&self, snapshot: &EtcdSnapshot) -> Result<Self, Error> {
        let private = Private::new()?;
        copy_dir(&self.info.pki_dir, &pki_dir(&private.state))?;
        copy_dir(&snapshot.dir, &private.state.data().join("etcd"))?;
        let started = start_all(&private.state, &self.options)?;
        Ok(Self::of(started, &self.options, private))
    }

    /// Ends all three processes at once.
    pub(super) fn stop(&mut self) {
        self.stop_apiserver();
        end(&mut self.controller_manager);
        end(&mut self.etcd.child);
    }
}
