//! How a program of PostgreSQL reaches a database: libpq's environment, and files in memory for what is secret.

mod hidden;

use std::time::Duration;

pub(crate) use self::hidden::Hidden;
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
    /// The database, by its name alone, which may have any characters.
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

/// What a program is given to reach a database.
#[derive(Debug)]
pub(crate) struct Given {
    /// What is added to its environment; nothing in it is secret.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// What the environment leads to, needed until the program has ended.
    pub(crate) files: Vec<Hidden>,
}

impl Reach {
    /// What a program is given that the server knows by this name.
    pub(crate) fn give(&self, application: &str) -> Result<Given, DumpError> {
        let texts = [&self.host, &self.database, &self.user, &self.options, &self.ssl_mode];
        refuse_nul(texts.into_iter().chain(&self.target_session))?;
        if self.database.is_empty() {
            // libpq would take the name of the login for it.
            return Err(DumpError::Invalid("the database to reach has no name"));
        }
        let ports: Vec<_> = self.ports.iter().map(u16::to_string).collect();
        let mut environment = vec![
            ("PGHOST", self.host.clone()),
            ("PGPORT", ports.join(",")),
            ("PGDATABASE", self.database.clone()),
            ("PGUSER", self.user.clone()),
            ("PGSSLMODE", self.ssl_mode.clone()),
            ("PGGSSENCMODE", "disable".to_owned()),
            ("PGAPPNAME", application.to_owned()),
            ("PGCONNECT_TIMEOUT", self.connect_timeout.as_secs().max(2).to_string()),
        ];
        if !self.options.is_empty() {
            environment.push(("PGOPTIONS", self.options.clone()));
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
            Some(password) => hidden::password_line(password.expose())?,
            None => Vec::new(),
        };
        environment.push(("PGPASSFILE", hide("passfile", &line)?));
        // Where libpq finds an authority it verifies in every mode, and prefers plain text to a certificate that is not of it.
        let verifies = self.ssl_mode.starts_with("verify-");
        let authorities = match &self.ca_pem {
            Some(pem) if verifies => hide("ca", pem)?,
            None if self.ssl_mode == "verify-full" => "system".to_owned(),
            None if verifies => SYSTEM_AUTHORITIES.to_owned(),
            Some(_) | None => NO_FILE.to_owned(),
        };
        environment.push(("PGSSLROOTCERT", authorities));
        if let Some(wanted) = &self.target_session {
            environment.push(("PGTARGETSESSIONATTRS", wanted.clone()));
        }
        Ok(Given { environment, files })
    }
}

/// Refuses texts that the arguments and the environment of a program cannot have.
pub(crate) fn refuse_nul<'a>(texts: impl IntoIterator<Item = &'a String>) -> Result<(), DumpError> {
    if texts.into_iter().any(|text| text.contains('\0')) {
        return Err(DumpError::Invalid("a name or an option has a NUL, which no program can be given"));
    }
    Ok(())
}
