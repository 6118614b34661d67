//! The operator as a process of its own: the real binary, which can be killed, and whose log can be read.

use crate::program;
use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use devcluster::wait_until;
use tempfile::NamedTempFile;

use crate::world::{DEADLINE, World};

/// A running operator process; it is killed with its value.
pub struct Process {
    child: Child,
    http: SocketAddr,
    log: NamedTempFile,
}

impl Process {
    /// Starts one for the objects of this world, and waits until its caches are filled.
    pub fn start(world: &World, log_level: &str) -> Self {
        Self::spawn(world, log_level).ready()
    }

    /// The same of another build of the operator.
    pub fn start_build(program: &Path, world: &World) -> Self {
        Self::spawn_build(program, world, "info").ready()
    }

    fn ready(self) -> Self {
        wait_until(DEADLINE, "the operator process is ready", || self.http("/readyz").as_deref() == Some("ok"))
            .unwrap_or_else(|error| panic!("{error}:\n{}", self.log()));
        self
    }

    /// Starts one that may never become ready.
    pub fn spawn(world: &World, log_level: &str) -> Self {
        Self::spawn_build(&program(), world, log_level)
    }

    /// Starts one in another namespace than the world's.
    pub fn spawn_in(world: &World, namespace: &str) -> Self {
        Self::spawn_with(&program(), world, "info", &[("TSO_NAMESPACE", namespace)])
    }

    fn spawn_build(program: &Path, world: &World, log_level: &str) -> Self {
        Self::spawn_with(program, world, log_level, &[])
    }

    /// Starts one in the same namespace that works for the objects which another selector selects.
    pub fn start_selecting(world: &World, selector: &str) -> Self {
        Self::spawn_with(&program(), world, "info", &[("TSO_WATCH_SELECTOR", selector)]).ready()
    }

    fn spawn_with(program: &Path, world: &World, log_level: &str, environment: &[(&str, &str)]) -> Self {
        let http = SocketAddr::from(([127, 0, 0, 1], devcluster::free_port().unwrap()));
        let log = NamedTempFile::new().unwrap();
        let child = Command::new(program)
            .arg("run")
            .env("KUBECONFIG", &world.kubeconfig)
            .env("TSO_NAMESPACE", &world.operator_namespace)
            .env("TSO_WATCH_SELECTOR", format!("e2e={}", world.id))
            .env("TSO_HTTP_ADDR", http.to_string())
            .env("TSO_LOG_LEVEL", log_level)
            .env("TSO_FILE_STORE_ROOT", world.files.path())
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(log.path()).unwrap())
            .spawn()
            .unwrap();
        Self { child, http, log }
    }

    /// One whose environment differs from what such a world gives it.
    pub fn spawn_as(world: &World, environment: &[(&str, &str)]) -> Self {
        Self::spawn_with(&program(), world, "info", environment)
    }

    /// Whether it still runs: nothing but a signal of the test ends it.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Kills it as the kernel does when memory runs out.
    pub fn kill(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.log()
    }

    /// Sends it a signal, such as STOP.
    pub fn signal(&self, name: &str) {
        let arguments = [format!("-{name}"), self.child.id().to_string()];
        assert!(Command::new("kill").args(arguments).status().unwrap().success());
    }

    /// Asks it to end, as Kubernetes does, and waits; returns how it ended and what it logged.
    pub fn terminate(mut self) -> (ExitStatus, String) {
        self.signal("TERM");
        let mut ended = None;
        wait_until(DEADLINE, "the operator process ends", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        })
        .unwrap();
        (ended.unwrap(), self.log())
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log.path()).unwrap()
    }

    /// The body of an HTTP answer.
    pub fn http(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect_timeout(&self.http, Duration::from_secs(1)).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
    }

    /// One whole number of `/metrics`: the sum of all series whose line begins so.
    pub fn count(&self, series: &str) -> usize {
        let text = self.http("/metrics").unwrap_or_default();
        let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<usize>().ok());
        text.lines().filter(|line| line.starts_with(series)).filter_map(value).sum()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
