//! The cluster that all test processes share, so that a test run pays for starting one only once.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use crate::cluster::{Cluster, ClusterInfo, ClusterOptions, Lifetime};
use crate::control_plane::ControlPlaneInfo;
use crate::error::Error;
use crate::paths::target_dir;
use crate::postgres::PostgresInfo;

/// Long enough for a test runner to get from one test program to the next.
const LINGER: Duration = Duration::from_secs(10);

/// A cluster shared with other processes. It belongs to no test: tests make their own namespaces and
/// databases in it.
#[derive(Debug)]
pub struct Shared {
    info: ClusterInfo,
}

/// The shared cluster: the one that `DEVCLUSTER_DIR` names, or else one in `target/devcluster-tests`
/// that is brought up if need be, and ends some seconds after the last process that called this.
pub fn shared() -> Result<&'static Shared, Error> {
    static SHARED: OnceLock<Result<Shared, String>> = OnceLock::new();
    SHARED
        .get_or_init(|| attach_or_start().map_err(|error| error.to_string()))
        .as_ref()
        .map_err(|error| Error::Shared(error.clone()))
}

fn attach_or_start() -> Result<Shared, Error> {
    let info = if let Some(dir) = std::env::var_os("DEVCLUSTER_DIR") {
        Cluster::at(Path::new(&dir)).attach()?
    } else {
        let cluster = Cluster::at(&target_dir().join("devcluster-tests"));
        cluster.up(&ClusterOptions::default(), Lifetime::WhileUsed(LINGER))?.0
    };
    Ok(Shared { info })
}

impl Shared {
    /// The whole description.
    #[must_use]
    pub fn info(&self) -> &ClusterInfo {
        &self.info
    }

    /// The control plane.
    #[must_use]
    pub fn control_plane(&self) -> &ControlPlaneInfo {
        &self.info.control_plane
    }

    /// The `PostgreSQL` server.
    #[must_use]
    pub fn postgres(&self) -> &PostgresInfo {
        &self.info.postgres
    }

    /// The kubeconfig of an administrator.
    #[must_use]
    pub fn kubeconfig_path(&self) -> &Path {
        &self.info.control_plane.kubeconfig
    }

    /// The kubectl of the same version.
    #[must_use]
    pub fn kubectl(&self) -> PathBuf {
        self.info.control_plane.kubectl_path()
    }
}
