//! A whole cluster in a state directory: one control plane and one `PostgreSQL` server, brought up
//! by one process, found and used by others, and ended by any of them or by its guards.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::binaries::provide_programs;
use crate::control_plane::{self, ControlPlaneInfo, ControlPlaneOptions, listening};
use crate::error::{Error, FileContext};
use crate::paths::{absolute, write_private};
use crate::postgres::discover::provide;
use crate::postgres::launch::{accepts_connections, launch};
use crate::postgres::{PostgresInfo, PostgresOptions, PostgresVersion};
use crate::process::{ProcessId, unprivileged_account};
use crate::state::{Keep, Member, StateDir};

/// How a cluster is brought up.
#[derive(Debug, Clone, Default)]
pub struct ClusterOptions {
    /// How its control plane is started.
    pub control_plane: ControlPlaneOptions,
    /// How its `PostgreSQL` server is started.
    pub postgres: PostgresOptions,
}

/// How to reach a cluster that is up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClusterInfo {
    /// Its state directory.
    pub dir: PathBuf,
    /// Its control plane.
    pub control_plane: ControlPlaneInfo,
    /// Its `PostgreSQL` server.
    pub postgres: PostgresInfo,
    /// Whether both wait for the disk.
    pub durable: bool,
    /// How long it took to come up, in milliseconds.
    pub start_millis: u64,
}

/// For how long a cluster runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Until it is taken down.
    UntilDown,
    /// Until this process, and every other that has asked for it so, has been gone for this long.
    WhileUsed(Duration),
}

/// One process of a cluster, as it is now.
#[derive(Debug, Clone)]
pub struct MemberStatus {
    /// Which process.
    pub member: Member,
    /// Its port on 127.0.0.1, if it has one.
    pub port: Option<u16>,
    /// Whether it does what it is there for.
    pub ready: bool,
}

/// A cluster's state directory, whether or not anything runs in it.
#[derive(Debug, Clone)]
pub struct Cluster {
    state: StateDir,
}

impl Cluster {
    /// The cluster of this directory, which need not exist.
    #[must_use]
    pub fn at(dir: &Path) -> Self {
        Self { state: StateDir::at(&absolute(dir), Keep::Logs) }
    }

    /// Its state directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.state.path()
    }

    /// Brings it up unless it is up, after clearing away what a crash may have left, and says whether
    /// it was up before.
    pub fn up(&self, options: &ClusterOptions, lifetime: Lifetime) -> Result<(ClusterInfo, bool), Error> {
        let _lock = self.state.lock()?;
        if let Some(info) = self.attach_if_intact(lifetime)? {
            self.check_same(&info, options)?;
            return Ok((info, true));
        }
        self.state.end()?;
        // What has to be built or fetched first is, while there is nothing to guard or to time.
        provide_programs()?;
        provide(options.postgres.version, unprivileged_account()?)?;
        self.state.create()?;
        match self.start(options, lifetime) {
            Ok(info) => Ok((info, false)),
            Err(error) => {
                // The failure to start is what matters; the next `up` or `down` clears up again.
                let _ = self.state.end();
                Err(error)
            }
        }
    }

    /// Registers this process as a user of a cluster that is up.
    pub fn attach(&self) -> Result<ClusterInfo, Error> {
        self.attach_if_intact(Lifetime::WhileUsed(Duration::ZERO))?.ok_or_else(|| self.not_up())
    }

    /// How to reach it, without registering as a user.
    pub fn info(&self) -> Result<ClusterInfo, Error> {
        if !self.state.is_intact() {
            return Err(self.not_up());
        }
        self.read()
    }

    /// Whether it goes on running when its users have gone.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.state.is_held()
    }

    /// Ends everything that runs in it, and says whether anything did.
    pub fn down(&self) -> Result<bool, Error> {
        if !self.dir().exists() {
            return Ok(false);
        }
        let _lock = self.state.lock()?;
        let existed = self.state.exists();
        self.state.end()?;
        Ok(existed)
    }

    /// Why the cluster that was up here last has ended without being taken down, if it has.
    #[must_use]
    pub fn last_words(&self) -> Option<String> {
        self.state.last_words()
    }

    /// Every process of it, as it is now; none if it is not up.
    #[must_use]
    pub fn status(&self) -> Vec<MemberStatus> {
        let info = self.read().ok();
        self.state
            .members()
            .into_iter()
            .map(|member| {
                let (port, ready) = match &info {
                    Some(info) => look_at(&member, info),
                    None => (None, false),
                };
                MemberStatus { ready: ready && member.process.is_alive(), member, port }
            })
            .collect()
    }

    fn read(&self) -> Result<ClusterInfo, Error> {
        let file = self.state.description();
        let text = fs::read_to_string(&file).file("read", &file)?;
        serde_json::from_str(&text).map_err(|error| Error::State {
            dir: self.dir().to_owned(),
            problem: format!("its description is not understood ({error})"),
            remedy: "run `devcluster down` and `devcluster up`".to_owned(),
        })
    }

    fn not_up(&self) -> Error {
        Error::State {
            dir: self.dir().to_owned(),
            problem: "it is not up".to_owned(),
            remedy: "run `devcluster up` for this directory, or unset DEVCLUSTER_DIR".to_owned(),
        }
    }

    fn attach_if_intact(&self, lifetime: Lifetime) -> Result<Option<ClusterInfo>, Error> {
        if !self.state.is_intact() {
            return Ok(None);
        }
        // Registering fails if the directory goes at this very moment, which is as good as not up.
        if !self.state.add_user(&ProcessId::current()).unwrap_or(false) {
            return Ok(None);
        }
        if lifetime == Lifetime::UntilDown {
            self.state.hold()?;
        }
        self.read().map(Some)
    }

    fn check_same(&self, info: &ClusterInfo, options: &ClusterOptions) -> Result<(), Error> {
        let problem = match options.postgres.version {
            PostgresVersion::Major(major) if major != info.postgres.major() => {
                format!("it is up with PostgreSQL {}, not {major}", info.postgres.major())
            }
            _ if options.postgres.durable && !info.durable => "it is up, but not durable".to_owned(),
            _ => return Ok(()),
        };
        Err(Error::State {
            dir: self.dir().to_owned(),
            problem,
            remedy: "run `devcluster down` first, or name another directory with --dir".to_owned(),
        })
    }

    fn start(&self, options: &ClusterOptions, lifetime: Lifetime) -> Result<ClusterInfo, Error> {
        let begin = Instant::now();
        let linger = match lifetime {
            Lifetime::UntilDown => Duration::ZERO,
            Lifetime::WhileUsed(linger) => linger,
        };
        self.state.add_user(&ProcessId::current())?;
        self.state.start_guards(2, linger)?;
        let (control_plane, postgres) = std::thread::scope(|scope| {
            let postgres = scope.spawn(|| launch(&self.state, &options.postgres));
            let control_plane = control_plane::launch(&self.state, &options.control_plane);
            let postgres = postgres.join().unwrap_or_else(|_| {
                Err(Error::State {
                    dir: self.dir().to_owned(),
                    problem: "starting PostgreSQL went wrong in a way that was not foreseen".to_owned(),
                    remedy: "look at what was printed before this".to_owned(),
                })
            });
            (control_plane, postgres)
        });
        let (control_plane, postgres) = (control_plane?.info, postgres?.0);
        let info = ClusterInfo {
            dir: self.dir().to_owned(),
            control_plane,
            postgres,
            durable: options.postgres.durable,
            start_millis: u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let text = serde_json::to_string_pretty(&info).map_err(|error| Error::State {
            dir: self.dir().to_owned(),
            problem: format!("its description could not be written down ({error})"),
            remedy: "choose a directory whose path is valid UTF-8".to_owned(),
        })?;
        write_private(&self.state.description(), &text, None)?;
        self.state.mark_ready()?;
        if lifetime == Lifetime::UntilDown {
            self.state.hold()?;
        }
        Ok(info)
    }
}

impl ClusterInfo {
    /// The environment in which kubectl, psql and this crate's library find the cluster.
    #[must_use]
    pub fn env(&self) -> Vec<(&'static str, String)> {
        let mut path = self.control_plane.bin_dir.display().to_string();
        if let Some(rest) = std::env::var_os("PATH") {
            path.push(':');
            path.push_str(&rest.to_string_lossy());
        }
        let mut env = vec![
            ("KUBECONFIG", self.control_plane.kubeconfig.display().to_string()),
            ("DEVCLUSTER_DIR", self.dir.display().to_string()),
            ("PATH", path),
        ];
        env.extend(self.postgres.env());
        env
    }
}

fn look_at(member: &Member, info: &ClusterInfo) -> (Option<u16>, bool) {
    let control_plane = &info.control_plane;
    match member.name.as_str() {
        "etcd" => (Some(control_plane.etcd_port), listening(control_plane.etcd_port)),
        "kube-apiserver" => (Some(control_plane.port), control_plane.is_ready()),
        "kube-controller-manager" => (None, control_plane.is_managed()),
        "postgres" => {
            let ready = accepts_connections(&info.postgres, member.process.pid);
            (Some(info.postgres.port), ready)
        }
        _ => (None, true),
    }
}
