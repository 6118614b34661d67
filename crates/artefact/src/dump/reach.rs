//! How a program of PostgreSQL reaches a database: by its environment, and what is secret by files in memory.

use std::time::Duration;

use tokio::process::Command;

use super::hidden::{Hidden, password_line};
use crate::{error::DumpError, secret::Secret};

/// Where Debian and many others have the authorities of the system.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// A path where no file is.
const NO_FILE: &str = "/proc/self/no-file";

/// How a database is reached. `Debug` does not show the password.
#[derive(Debug, Clone)]
pub struct Reach {
    /// The host.
    pub host: String,
    /// The ports, one for each of the hosts in `host`, or one for all.
    pub ports: Vec<u16>,
    /// The database.
    pub database: String,
    /// The login.
    pub user: String,
    /// Its password, if it has one.
    pub password: Option<Secret>,
    /// Settings of the session, as in `PGOPTIONS`; empty for none.
    pub options: String,
    /// How much TLS, in libpq's words, such as `verify-full`.
    pub ssl_mode: String,
    /// The certificates that the server's must be signed by, in PEM; without them `verify-full` trusts the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// Which of several hosts is meant, in libpq's words, such as `read-write`; any without it.
    pub target_session: Option<String>,
}

impl Reach {
    /// Tells a program all of it but the database, which each is told in another way. The files must be there until it has ended.
    pub(crate) fn tell(&self, command: &mut Command, purpose: &str) -> Result<Vec<Hidden>, DumpError> {
        let texts = [&self.host, &self.database, &self.user, &self.options, &self.ssl_mode];
        if texts.iter().any(|text| text.contains('\0')) {
            return Err(DumpError::Invalid("a name or an option has a NUL, which no program can be given"));
        }
        let ports: Vec<_> = self.ports.iter().map(u16::to_string).collect();
        command
            .env("PGHOST", &self.host)
            .env("PGPORT", ports.join(","))
            .env("PGUSER", &self.user)
            .env("PGSSLMODE", &self.ssl_mode)
            .env("PGGSSENCMODE", "disable")
            .env("PGAPPNAME", format!("tenant-schema-operator {purpose}"))
            .env("PGCONNECT_TIMEOUT", self.connect_timeout.as_secs().max(2).to_string());
        if !self.options.is_empty() {
            command.env("PGOPTIONS", &self.options);
        }
        let mut files = Vec::new();
        let mut hide = |name, content: &[u8]| {
            let file =
                Hidden::new(name, content).map_err(|source| DumpError::Io { doing: "handing over a file", source })?;
            let path = file.path();
            files.push(file);
            Ok::<_, DumpError>(path)
        };
        // Without a password none is looked for in anyone's home either.
        let line = match &self.password {
            Some(password) => password_line(password.expose())?,
            None => Vec::new(),
        };
        command.env("PGPASSFILE", hide("passfile", &line)?);
        // Where libpq finds an authority it verifies in every mode, and prefers plain text to a certificate that is not of it.
        let verifies = self.ssl_mode.starts_with("verify-");
        match &self.ca_pem {
            Some(pem) if verifies => {
                command.env("PGSSLROOTCERT", hide("ca", pem)?);
            }
            None if self.ssl_mode == "verify-full" => {
                command.env("PGSSLROOTCERT", "system");
            }
            None if verifies => {
                command.env("PGSSLROOTCERT", SYSTEM_AUTHORITIES);
            }
            Some(_) | None => {
                command.env("PGSSLROOTCERT", NO_FILE);
            }
        }
        if let Some(wanted) = &self.target_session {
            command.env("PGTARGETSESSIONATTRS", wanted);
        }
        Ok(files)
    }
}
