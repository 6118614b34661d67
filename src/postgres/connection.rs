//! What it takes to reach a database: the keys of a connection Secret, read once into a [`Connection`].
//!
//! This file opens no socket. `tls.rs` turns the TLS part into a rustls configuration and [`super::pool`]
//! connects. Nothing here prints a password: [`Connection`] has a `Debug` that leaves it out.

mod secret;

use std::{collections::BTreeMap, fmt, net::IpAddr, time::Duration};

pub use secret::ConnectionError;
use tokio_postgres::config::{ChannelBinding, Host, SslMode};

use crate::api::connection::{CaSecretRef, TlsMode};

/// How one database is reached, validated and complete.
#[derive(Clone)]
pub struct Connection {
    pub(super) pg: tokio_postgres::Config,
    /// The TLS mode in force, after defaults.
    pub tls: TlsMode,
    /// PEM certificates that sign the server's; the system's roots when absent.
    pub ca_pem: Option<Vec<u8>>,
    /// Who signs the certificate which applications meet, where that is another server's.
    pub client_authority: Option<ClientAuthority>,
    /// The Secret that all this was read from, as `namespace/name`, for messages.
    secret: String,
    /// How the server itself is reached, where this leads to a pooler.
    direct: Option<Box<Self>>,
}

/// Who signs the certificate that applications meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuthority {
    /// The Secret that has it, as the spec names it.
    pub secret: CaSecretRef,
    /// Its certificates in PEM; or why they are not known, with the way out.
    pub pem: Result<String, String>,
}

impl Connection {
    /// Reads the keys of a Secret: `uri` wins; else `host`, `port` (5432), `database` or `dbname`, `username` or
    /// `user`, `password`; `ca.crt` if there. `mode` is the spec's TLS mode; without one the URI's `sslmode` counts,
    /// and without that `VerifyFull`, or `Prefer` when every host is loopback.
    pub fn from_secret(
        data: &BTreeMap<String, Vec<u8>>,
        mode: Option<TlsMode>,
        connect_timeout: Duration,
    ) -> Result<Self, ConnectionError> {
        let (mut pg, uri_mode) = secret::parse(data)?;
        let loopback = pg.get_hosts().iter().all(is_loopback) && pg.get_hostaddrs().iter().all(IpAddr::is_loopback);
        let tls = mode.or(uri_mode).unwrap_or(if loopback { TlsMode::Prefer } else { TlsMode::VerifyFull });
        pg.ssl_mode(match tls {
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require | TlsMode::VerifyCA | TlsMode::VerifyFull => SslMode::Require,
        })
        .channel_binding(ChannelBinding::Prefer)
        .connect_timeout(connect_timeout)
        .keepalives_idle(Duration::from_secs(30))
        .tcp_user_timeout(Duration::from_secs(30))
        .application_name("tenant-schema-operator");
        let ca_pem = data.get("ca.crt").filter(|pem| !pem.is_empty()).cloned();
        Ok(Self { pg, tls, ca_pem, client_authority: None, secret: String::new(), direct: None })
    }

    /// The same with the Secret that it was read from.
    #[must_use]
    pub fn read_from(self, namespace: &str, name: &str) -> Self {
        Self { secret: format!("{namespace}/{name}"), ..self }
    }

    /// The same with the authority whose certificate applications meet, if it is another one.
    #[must_use]
    pub fn trusted_by_clients(self, client_authority: Option<ClientAuthority>) -> Self {
        Self { client_authority, ..self }
    }

    /// The same with the authority as it was read before, where the same Secret cannot be read now.
    #[must_use]
    pub fn trusted_as_before(self, before: &Self) -> Self {
        match (&self.client_authority, &before.client_authority) {
            (Some(ClientAuthority { secret, pem: Err(_) }), Some(known)) if known.secret == *secret => {
                let known = Some(known.clone());
                self.trusted_by_clients(known)
            }
            _ => self,
        }
    }

    /// The same with the way to the server itself, if that is another one.
    #[must_use]
    pub fn beside(self, direct: Option<Self>) -> Self {
        Self { direct: direct.map(Box::new), ..self }
    }

    /// How the server itself is reached, if that is another way.
    #[must_use]
    pub(super) fn direct(&self) -> Option<&Self> {
        self.direct.as_deref()
    }

    /// What was tried, for the messages of attempts that fail: where to, as which login, and by which Secret.
    #[must_use]
    pub fn attempt(&self) -> String {
        let secret = if self.secret.is_empty() { String::new() } else { format!(", by Secret {}", self.secret) };
        format!("{} as {}{secret}", self.target(), self.user())
    }

    /// Where this leads, for messages: `host:port/database`, never with a password.
    #[must_use]
    pub fn target(&self) -> String {
        format!("{}:{}/{}", self.host(), self.port(), self.database())
    }

    /// The first host that is tried, by name, address or path.
    #[must_use]
    pub fn host(&self) -> String {
        match self.pg.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            #[cfg(unix)]
            Some(Host::Unix(path)) => path.display().to_string(),
            None => self.pg.get_hostaddrs().first().map_or_else(String::new, ToString::to_string),
        }
    }

    /// The port of that host.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.pg.get_ports().first().copied().unwrap_or(5432)
    }

    /// The login that connects.
    #[must_use]
    pub fn user(&self) -> &str {
        self.pg.get_user().unwrap_or_default()
    }

    /// The database's name; PostgreSQL takes the user's where none is given.
    #[must_use]
    pub fn database(&self) -> &str {
        self.pg.get_dbname().unwrap_or_else(|| self.user())
    }

    /// What in the Secret makes the server refuse the login more often than a wrong password does.
    #[must_use]
    pub(super) fn doubt(&self) -> Option<&'static str> {
        let ends = |password: &[u8]| password.ends_with(b"\n") || password.ends_with(b"\r");
        self.pg
            .get_password()
            .is_some_and(ends)
            .then_some("the password in the Secret ends in a line break, which counts")
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("target", &self.target())
            .field("user", &self.user())
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// Two connections are equal when a lane made for one serves the other; which Secret they are from does not matter.
impl PartialEq for Connection {
    fn eq(&self, other: &Self) -> bool {
        self.pg == other.pg
            && self.tls == other.tls
            && self.ca_pem == other.ca_pem
            && self.client_authority == other.client_authority
            && self.direct == other.direct
    }
}

fn is_loopback(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}
