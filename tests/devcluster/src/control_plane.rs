//! A Kubernetes control plane on loopback: etcd, kube-apiserver and kube-controller-manager, the
//! last with the controllers that make deletion of namespaces and of dependents real.

mod etcd;
mod snapshot;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::etcd::Etcd;
pub use self::snapshot::EtcdSnapshot;
use crate::binaries::link_programs;
use crate::error::{Error, FileContext};
use crate::paths::{make_dir, write_private};
use crate::pki::{CertificateAuthority, ServerCertificate, kubeconfig, signing_key};
use crate::private::Private;
use crate::process::{run, spawn_logged, still_running, tail};
use crate::state::StateDir;
use crate::wait::{free_port, try_wait_until};

/// The controllers that tests can see the work of; the others need nodes.
const CONTROLLERS: &str = "namespace-controller,garbage-collector-controller,\
                           serviceaccount-controller,clusterrole-aggregation-controller,\
                           validatingadmissionpolicy-status-controller";
const AUTHORITY: &str = "devcluster control plane";
/// Far above the few seconds it takes, for machines that are busy with other things.
const START_DEADLINE: Duration = Duration::from_mins(2);
const PORT_TRIES: usize = 5;

/// How a control plane is started.
#[derive(Debug, Clone, Default)]
pub struct ControlPlaneOptions {
    /// Whether etcd waits for the disk, as it does in production.
    pub durable: bool,
    /// Further flags for kube-apiserver.
    pub apiserver_flags: Vec<String>,
}

/// How to reach a control plane.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ControlPlaneInfo {
    /// The address of kube-apiserver.
    pub url: String,
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// etcd's client port on 127.0.0.1.
    pub etcd_port: u16,
    /// The kubeconfig of an administrator.
    pub kubeconfig: PathBuf,
    /// The directory with kubectl, etcd, kube-apiserver and kube-controller-manager.
    pub bin_dir: PathBuf,
    /// The directory with the authority's `ca.crt` and `ca.key`.
    pub pki_dir: PathBuf,
}

impl ControlPlaneInfo {
    /// The kubectl of the same version.
    #[must_use]
    pub fn kubectl_path(&self) -> PathBuf {
        self.bin_dir.join("kubectl")
    }

    /// Runs kubectl as the administrator and returns what it prints.
    pub fn kubectl(&self, args: &[&str]) -> Result<String, Error> {
        let mut command = Command::new(self.kubectl_path());
        command.env("KUBECONFIG", &self.kubeconfig).args(args);
        run(&mut command)
    }

    /// The text of a kubeconfig with a client certificate for this user in at most two groups.
    pub fn kubeconfig_for(&self, user: &str, groups: &[&str]) -> Result<String, Error> {
        let authority = CertificateAuthority::load(&self.pki_dir, AUTHORITY)?;
        let client = authority.client(user, groups)?;
        Ok(kubeconfig(&self.url, authority.certificate(), &client))
    }

    /// Whether kube-apiserver says that it is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        listening(self.port)
            && self
                .kubectl(&["get", "--raw", "/readyz", "--request-timeout=5s"])
                .is_ok_and(|answer| answer.trim() == "ok")
    }

    /// Whether the controller manager has done something: the account is its work.
    pub(crate) fn is_managed(&self) -> bool {
        let path = "/api/v1/namespaces/default/serviceaccounts/default";
        self.kubectl(&["get", "--raw", path, "--request-timeout=5s"]).is_ok()
    }
}

/// A control plane of one's own, ended when it is dropped or when this process ends in any way.
#[derive(Debug)]
pub struct ControlPlane {
    info: ControlPlaneInfo,
    options: ControlPlaneOptions,
    etcd: Etcd,
    apiserver: Child,
    controller_manager: Child,
    // Dropped last of the fields that matter: it ends the processes and removes their files.
    private: Private,
}

impl ControlPlane {
    /// Starts one and waits until it is ready.
    pub fn start(options: &ControlPlaneOptions) -> Result<Self, Error> {
        let private = Private::new()?;
        let started = launch(&private.state, options)?;
        Ok(Self::of(started, options, private))
    }

    fn of(started: Started, options: &ControlPlaneOptions, private: Private) -> Self {
        let Started { info, etcd, apiserver, controller_manager } = started;
        Self { info, options: options.clone(), etcd, apiserver, controller_manager, private }
    }

    /// How to reach it.
    #[must_use]
    pub fn info(&self) -> &ControlPlaneInfo {
        &self.info
    }

    /// Takes kube-apiserver away at once, as an outage would.
    pub fn stop_apiserver(&mut self) {
        end(&mut self.apiserver);
    }

    /// Starts kube-apiserver again on the same port and waits until it is ready.
    pub fn start_apiserver(&mut self) -> Result<(), Error> {
        self.stop_apiserver();
        self.apiserver = spawn_apiserver(&self.private.state, &self.info, &self.options.apiserver_flags)?;
        wait_ready(&self.private.state, &self.info, &mut self.apiserver)
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Kills a process and waits for its end.
fn end(child: &mut Child) {
    // Both fail only if it has ended already, which is what is wanted.
    let _ = child.kill();
    let _ = child.wait();
}

/// A started control plane before a value owns it.
pub(crate) struct Started {
    pub(crate) info: ControlPlaneInfo,
    etcd: Etcd,
    apiserver: Child,
    controller_manager: Child,
}

/// Makes the authority, starts the three processes, records them in the state directory, and waits until they are ready.
pub(crate) fn launch(state: &StateDir, options: &ControlPlaneOptions) -> Result<Started, Error> {
    let pki_dir = pki_dir(state);
    make_dir(&pki_dir, 0o700)?;
    let authority = CertificateAuthority::new(AUTHORITY)?;
    authority.save(&pki_dir)?;
    write_server_files(&authority, &pki_dir)?;
    start_all(state, options)
}

fn pki_dir(state: &StateDir) -> PathBuf {
    state.data().join("pki")
}

/// Starts the three processes with the certificates that are there.
fn start_all(state: &StateDir, options: &ControlPlaneOptions) -> Result<Started, Error> {
    let data = state.data();
    let bin_dir = data.join("bin");
    link_programs(&bin_dir)?;
    let etcd = Etcd::start(state, &bin_dir, options.durable)?;
    let mut info = ControlPlaneInfo {
        url: String::new(),
        port: 0,
        etcd_port: etcd.port,
        kubeconfig: data.join("admin.kubeconfig"),
        bin_dir,
        pki_dir: pki_dir(state),
    };
    let mut tries = PORT_TRIES;
    let apiserver = loop {
        tries -= 1;
        info.port = free_port()?;
        info.url = format!("https://127.0.0.1:{}", info.port);
        let admin = info.kubeconfig_for("devcluster-admin", &["system:masters"])?;
        write_private(&info.kubeconfig, &admin, None)?;
        let mut child = spawn_apiserver(state, &info, &options.apiserver_flags)?;
        match wait_ready(state, &info, &mut child) {
            Ok(()) => break child,
            Err(error) if tries == 0 || !is_port_clash(&error) => return Err(error),
            Err(_) => {}
        }
    };
    let controller_manager = start_controller_manager(state, &info)?;
    Ok(Started { info, etcd, apiserver, controller_manager })
}

fn write_server_files(authority: &CertificateAuthority, pki: &Path) -> Result<(), Error> {
    let names = ["localhost", "127.0.0.1", "10.0.0.1", "kubernetes", "kubernetes.default.svc"];
    let server = authority.server(&ServerCertificate { names: names.map(str::to_owned).to_vec(), expired: false })?;
    let certificate = pki.join("server.crt");
    fs::write(&certificate, server.certificate).file("write", &certificate)?;
    write_private(&pki.join("server.key"), &server.key, None)?;
    let (private, public) = signing_key()?;
    write_private(&pki.join("service-account.key"), &private, None)?;
    write_private(&pki.join("service-account.pub"), &public, None)
}

fn spawn_apiserver(state: &StateDir, info: &ControlPlaneInfo, flags: &[String]) -> Result<Child, Error> {
    let pki = |file: &str| info.pki_dir.join(file).display().to_string();
    let mut command = Command::new(info.bin_dir.join("kube-apiserver"));
    command
        .arg(format!("--etcd-servers=http://127.0.0.1:{}", info.etcd_port))
        .arg("--bind-address=127.0.0.1")
        .arg("--advertise-address=127.0.0.1")
        // The endpoints of the `kubernetes` service may not be loopback, and no test uses them.
        .arg("--endpoint-reconciler-type=none")
        .arg(format!("--secure-port={}", info.port))
        .arg(format!("--cert-dir={}", info.pki_dir.display()))
        .arg(format!("--tls-cert-file={}", pki("server.crt")))
        .arg(format!("--tls-private-key-file={}", pki("server.key")))
        .arg(format!("--client-ca-file={}", pki("ca.crt")))
        .arg("--service-cluster-ip-range=10.0.0.0/24")
        .arg("--allow-privileged=true")
        .arg("--authorization-mode=RBAC")
        .arg(format!("--service-account-issuer=https://127.0.0.1:{}/", info.port))
        .arg(format!("--service-account-key-file={}", pki("service-account.pub")))
        .arg(format!("--service-account-signing-key-file={}", pki("service-account.key")))
        .args(flags);
    let child = spawn_logged(&mut command, &state.log("kube-apiserver"))?;
    state.record("kube-apiserver", &child, "KILL")?;
    Ok(child)
}

fn wait_ready(state: &StateDir, info: &ControlPlaneInfo, child: &mut Child) -> Result<(), Error> {
    let log = state.log("kube-apiserver");
    try_wait_until(START_DEADLINE, "kube-apiserver to be ready", || {
        still_running(child, "kube-apiserver", &log)?;
        Ok(info.is_ready())
    })
}

fn start_controller_manager(state: &StateDir, info: &ControlPlaneInfo) -> Result<Child, Error> {
    const NAME: &str = "kube-controller-manager";
    let kubeconfig = state.data().join("controller-manager.kubeconfig");
    let text = info.kubeconfig_for("system:kube-controller-manager", &["system:masters"])?;
    write_private(&kubeconfig, &text, None)?;
    let mut command = Command::new(info.bin_dir.join(NAME));
    command
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .arg(format!("--controllers={CONTROLLERS}"))
        .arg("--leader-elect=false")
        .arg("--use-service-account-credentials=false")
        // It has nothing to serve that a test would ask for, and so cannot clash with another.
        .arg("--secure-port=0");
    let log = state.log(NAME);
    let mut child = spawn_logged(&mut command, &log)?;
    state.record(NAME, &child, "KILL")?;
    try_wait_until(START_DEADLINE, "kube-controller-manager to work", || {
        still_running(&mut child, NAME, &log)?;
        Ok(info.is_managed())
    })?;
    Ok(child)
}

/// Whether a process ended because another program had taken its port in the meantime.
pub(crate) fn is_port_clash(error: &Error) -> bool {
    matches!(error, Error::MemberEnded { log, .. }
        if tail(log).to_lowercase().contains("address already in use"))
}

pub(crate) fn listening(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_taken_port_is_worth_another_try() {
        let dir = tempfile::tempdir().unwrap();
        let ended_with = |text: &str| {
            let log = dir.path().join("log");
            fs::write(&log, text).unwrap();
            Error::MemberEnded { member: "etcd".to_owned(), status: "exit status: 1".to_owned(), tail: tail(&log), log }
        };
        let taken = "listen tcp 127.0.0.1:1: bind: address already in use\n";
        assert!(is_port_clash(&ended_with(taken)));
        let postgres = "could not bind IPv4 address \"127.0.0.1\": Address already in use\n";
        assert!(is_port_clash(&ended_with(postgres)));
        assert!(!is_port_clash(&ended_with("no space left on device\n")));
    }
}
