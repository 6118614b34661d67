//! Processes that are measured: the operator, and everything else that uses the machine's CPU.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use devcluster::{ControlPlaneInfo, PostgresInfo};

/// The operator's release binary.
pub struct Operator {
    process: Child,
    http: SocketAddr,
}

impl Operator {
    /// Starts it for the tenants of one namespace.
    pub fn start(kubeconfig: &Path, namespace: &str) -> Self {
        let http = SocketAddr::from(([127, 0, 0, 1], devcluster::free_port().unwrap()));
        let process = Command::new(env!("CARGO_BIN_EXE_tenant-schema-operator"))
            .args(["run", "--log-level", "warn", "--http-addr", &http.to_string(), "--watch-namespaces", namespace])
            .env("KUBECONFIG", kubeconfig)
            // As in the image.
            .envs([
                ("MALLOC_ARENA_MAX", "1"),
                ("MALLOC_MMAP_THRESHOLD_", "131072"),
                ("MALLOC_TRIM_THRESHOLD_", "131072"),
            ])
            .stdout(Stdio::null())
            .spawn()
            .expect("the operator starts");
        Self { process, http }
    }

    /// Ends it as a pod is ended, so that the next one need not wait for its Lease.
    pub fn stop(&mut self) {
        let told = Command::new("kill").arg(self.process.id().to_string()).status();
        assert!(told.is_ok_and(|status| status.success()), "the operator is told to stop");
        self.process.wait().unwrap();
    }

    /// Seconds of CPU so far.
    pub fn cpu(&self) -> f64 {
        cpu_of(self.process.id())
    }

    /// Resident memory in MiB.
    pub fn resident(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1024.0
    }

    /// Calls of management functions so far, each a round trip to PostgreSQL.
    pub fn calls(&self) -> f64 {
        self.metric("sql_calls_total{")
    }

    /// The sum of all series of the operator whose line begins so; a sum of nothing is -0.0, which 0.0 mends.
    pub fn metric(&self, series: &str) -> f64 {
        let (text, series) = (self.scrape().unwrap_or_default(), format!("tenant_schema_operator_{series}"));
        let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        text.lines().filter(|line| line.starts_with(&series)).filter_map(value).sum::<f64>() + 0.0
    }

    fn scrape(&self) -> Option<String> {
        let mut stream = TcpStream::connect_timeout(&self.http, Duration::from_secs(1)).ok()?;
        write!(stream, "GET /metrics HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // It ended already unless the bench panicked.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Seconds of CPU so far of each process that takes part, to see which one is the bottleneck.
pub struct Shares(Vec<(&'static str, f64)>);

impl Shares {
    /// As they are now.
    pub fn now(plane: &ControlPlaneInfo, postgres: &PostgresInfo, operator: Option<&Operator>) -> Self {
        let serving = |program: &str, port: u16| -> f64 {
            let port = port.to_string();
            let is_it = |command: &str| {
                let name = command.split('\0').next().unwrap_or_default();
                name.ends_with(program) && command.contains(&port)
            };
            processes().filter(|(_, command)| is_it(command)).map(|(pid, _)| cpu_of(pid)).sum()
        };
        let postmaster = fs::read_to_string(postgres.data_dir.join("postmaster.pid")).unwrap_or_default();
        let postmaster: u32 = postmaster.lines().next().and_then(|pid| pid.parse().ok()).unwrap_or_default();
        let backends = processes().filter(|(pid, _)| parent_of(*pid) == Some(postmaster)).map(|(pid, _)| cpu_of(pid));
        Self(vec![
            ("kube-apiserver", serving("kube-apiserver", plane.port)),
            ("etcd", serving("etcd", plane.etcd_port)),
            ("PostgreSQL", backends.sum()),
            ("operator", operator.map_or(0.0, Operator::cpu)),
            ("who posts and watches", cpu_of(std::process::id())),
        ])
    }

    /// What each has used since `before`, in milliseconds for each of `count`.
    pub fn since(&self, before: &Self, count: usize) -> Vec<(&'static str, f64)> {
        let each = |seconds: f64| seconds * 1000.0 / count as f64;
        self.0.iter().zip(&before.0).map(|((name, now), (_, then))| (*name, each(now - then))).collect()
    }
}

fn processes() -> impl Iterator<Item = (u32, String)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, fs::read_to_string(entry.path().join("cmdline")).ok()?))
    })
}

fn parent_of(pid: u32) -> Option<u32> {
    field(pid, 1).and_then(|parent| parent.try_into().ok())
}

fn cpu_of(pid: u32) -> f64 {
    // Linux counts in hundredths of a second.
    (field(pid, 11).unwrap_or(0) + field(pid, 12).unwrap_or(0)) as f64 / 100.0
}

/// A number of `/proc/PID/stat`, counted from behind the program's name, which may have spaces in it.
fn field(pid: u32, index: usize) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(index)?.parse().ok()
}
