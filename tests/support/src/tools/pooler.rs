//! `PgBouncer` in transaction mode, between the operator and PostgreSQL.

use crate::repository;
use std::{
    env,
    fs::{self, Permissions},
    net::TcpStream,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use devcluster::{PostgresInfo, free_port, wait_until};
use tempfile::TempDir;

use crate::world::DEADLINE;

/// A running pooler; it ends with its value, or with the test's process.
pub struct Pooler {
    /// Where it listens.
    pub port: u16,
    child: Child,
}

impl Pooler {
    /// Whether there is one to run.
    pub fn is_to_be_had() -> bool {
        Command::new(program()).arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    /// Starts one before this server, for all its databases and logins.
    pub fn start(server: &PostgresInfo) -> Self {
        let configuration = format!(
            "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = *\nlisten_port = 6432\n\
             pool_mode = transaction\nauth_type = scram-sha-256\nauth_file = /etc/pgbouncer/users.txt\nauth_user = {}\n\
             auth_query = SELECT usename, passwd FROM pg_catalog.pg_shadow WHERE usename = $1\n\
             client_tls_sslmode = allow\nclient_tls_cert_file = /etc/pgbouncer/tls.crt\n\
             client_tls_key_file = /etc/pgbouncer/tls.key\nserver_tls_sslmode = prefer\nmax_client_conn = 1000\nserver_idle_timeout = 1\n",
            server.host, server.port, server.user,
        );
        Self::with(server, &configuration, &format!("\"{}\" \"{}\"\n", server.user, server.password))
    }

    /// Starts one with this configuration and list of users. What it listens on and its folder are those of here; the
    /// certificates are the server's.
    pub fn with(server: &PostgresInfo, configuration: &str, users: &str) -> Self {
        // It goes with the pooler, also when this process is killed.
        let (dir, port) = (TempDir::new().unwrap().keep(), free_port().unwrap());
        let path = |file: &str| dir.join(file).display().to_string();
        // It refuses to run as root, and what it drops to must read its files.
        let root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        let user = if root { "user = nobody" } else { "" };
        let listens = format!("listen_addr = 127.0.0.1\n{user}\nunix_socket_dir =\nlisten_port = {port}");
        let configuration = configuration
            .replace("listen_addr = *\nlisten_port = 6432", &listens)
            .replace("/etc/pgbouncer", &dir.display().to_string());
        fs::write(path("pgbouncer.ini"), configuration).unwrap();
        fs::write(path("users.txt"), users).unwrap();
        for (from, to) in [("server.crt", "tls.crt"), ("server.key", "tls.key")] {
            fs::copy(server.data_dir.join(from), path(to)).unwrap();
        }
        fs::copy(&server.ca_path, path("server-ca.crt")).unwrap();
        fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        for file in ["tls.crt", "tls.key", "server-ca.crt", "users.txt", "pgbouncer.ini"] {
            fs::set_permissions(path(file), Permissions::from_mode(0o644)).unwrap();
        }
        let mut command = Command::new(program());
        command.arg(&dir).stdin(Stdio::piped()).stdout(Stdio::null());
        let pooler = Self { port, child: command.spawn().unwrap() };
        wait_until(DEADLINE, "the pooler listens", || TcpStream::connect(("127.0.0.1", port)).is_ok()).unwrap();
        pooler
    }

    /// The port by which a world's operator reaches this server: with `E2E_POOLER=pgbouncer` that of a pooler before the
    /// server that all tests share.
    pub fn port_to(server: &PostgresInfo) -> u16 {
        static SHARED: OnceLock<Option<Pooler>> = OnceLock::new();
        let shared = devcluster::shared().expect("a PostgreSQL").postgres();
        let pooler = SHARED.get_or_init(|| {
            let wanted = env::var("E2E_POOLER").ok().filter(|wanted| !wanted.is_empty())?;
            assert_eq!(wanted, "pgbouncer", "the only pooler that E2E_POOLER can name");
            Some(Self::start(shared))
        });
        pooler.as_ref().filter(|_| server.port == shared.port).map_or(server.port, |pooler| pooler.port)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn program() -> PathBuf {
    repository().join(".ci/pgbouncer")
}
