//! A real Kubernetes control plane and a real `PostgreSQL` on loopback, for tests, benches and the
//! quickstart. Nothing needs a container engine, and nothing is left behind, even if one of the processes dies.
//!
//! # For a test that needs a cluster
//!
//! [`shared()`] gives the cluster of the test run: the one that `DEVCLUSTER_DIR` names (as within
//! `devcluster exec -- cargo test`), or else one that the first test brings up and that ends by
//! itself after the last. [`Shared::kubeconfig_path`], [`Shared::kubectl`] and [`Shared::postgres`]
//! say how to reach it; [`ControlPlaneInfo::kubectl`] and [`PostgresInfo::psql`] run one command
//! against it; [`ControlPlaneInfo::kubeconfig_for`] makes a kubeconfig for a user with few rights.
//!
//! # For a test that breaks things
//!
//! [`PostgresServer::start`] and [`ControlPlane::start`] give one of one's own, ended on drop or with
//! the process. A server can be stopped and killed ([`PostgresServer::stop`]), restarted
//! ([`PostgresServer::restart`]), reconfigured ([`PostgresServer::set`]), given another certificate
//! ([`PostgresServer::use_certificate`], made by [`PostgresServer::authority`]) and copied into a
//! read-only standby ([`PostgresServer::standby`]); a control plane can lose and regain its server
//! ([`ControlPlane::stop_apiserver`], [`ControlPlane::start_apiserver`]).
//!
//! Both can go back to what they were: a server to a copy ([`PostgresServer::copy`]) that is restored
//! ([`PostgresServer::restore`]) or that takes over as a standby does ([`PostgresServer::fail_over`]); a
//! control plane to a snapshot of etcd ([`ControlPlane::snapshot`], [`ControlPlane::restore`]), from which
//! a second one can be started as well ([`ControlPlane::start_clone`]).
//!
//! # For waiting
//!
//! [`wait_until`] polls a condition until a deadline, and [`free_port`] finds a port.
//!
//! # For a program that brings up a whole cluster
//!
//! [`Cluster`] is what the `devcluster` command is made of.

#![forbid(unsafe_code)]

mod binaries;
mod cluster;
mod control_plane;
mod error;
mod paths;
mod pki;
mod postgres;
mod private;
mod process;
mod shared;
mod state;
mod wait;

pub use binaries::{KUBERNETES_VERSION, go_tool, helm};
pub use cluster::{Cluster, ClusterInfo, ClusterOptions, Lifetime, MemberStatus};
pub use control_plane::{ControlPlane, ControlPlaneInfo, ControlPlaneOptions, EtcdSnapshot};
pub use error::Error;
pub use paths::target_dir;
pub use pki::{CertificateAuthority, IssuedCertificate, ServerCertificate};
pub use postgres::{PostgresCopy, PostgresInfo, PostgresOptions, PostgresServer, PostgresVersion, StopMode};
pub use process::ProcessId;
pub use shared::{Shared, shared};
pub use state::Member;
pub use wait::{free_port, wait_until};

/// How `kubectl wait` waits for definitions of kinds: `--for=condition=Established` fails on one that has no conditions yet.
pub const ESTABLISHED: &str = "--for=jsonpath={.status.conditions[?(@.type==\"Established\")].status}=True";
