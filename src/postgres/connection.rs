//! What it takes to reach a database: the keys of a connection Secret, read once into a [`Connection`].
//!
//! This file opens no socket. [`super::tls`] turns the TLS part into a rustls configuration and [`super::pool`]
//! connects. Nothing here prints a password: [`Connection`] has a `Debug` that leaves it out.

use std::{collections::BTreeMap, fmt, net::IpAddr, time::Duration};

use thiserror::Error;
use tokio_postgres::config::{ChannelBinding, Host, SslMode};

use crate::api::connection::TlsMode;

/// Why the keys of a connection Secret do not describe a database.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ConnectionError {
    /// A key is needed and neither it nor `uri` is there.
    #[error(
        "the Secret has no key {0}; give `uri`, or `host`, `database` (or `dbname`), `username` (or `user`) and `password`"
    )]
    MissingKey(&'static str),
    /// A value is not text.
    #[error("the value of key {0} is not UTF-8 text")]
    NotText(String),
    /// The port is not a number from 1 to 65535.
    #[error("the value of key port is not a number from 1 to 65535")]
    Port,
    /// The URI does not parse. The value is not repeated: it may hold a password.
    #[error("the value of key uri is not a PostgreSQL connection URI (postgresql://user:password@host:port/database)")]
    Uri,
    /// The URI asks for a TLS mode that does not exist.
    #[error(
        "the value of key uri has an unknown sslmode; known are disable, prefer, require, verify-ca and verify-full"
    )]
    SslMode,
}

/// How one database is reached, validated and complete.
#[derive(Clone)]
pub struct Connection {
    pub(super) pg: tokio_postgres::Config,
    /// The TLS mode in force, after defaults.
    pub tls: TlsMode,
    /// PEM certificates that sign the server's; the system's roots when absent.
    pub ca_pem: Option<Vec<u8>>,
    /// The Secret that all this was read from, as `namespace/name`, for messages.
    secret: String,
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
        let (mut pg, uri_mode) =
            if let Some(uri) = text(data, "uri")? { parse_uri(uri.trim())? } else { (parse_keys(data)?, None) };
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
        Ok(Self { pg, tls, ca_pem: data.get("ca.crt").cloned(), secret: String::new() })
    }

    /// The same with the Secret that it was read from.
    #[must_use]
    pub fn read_from(self, namespace: &str, name: &str) -> Self {
        Self { secret: format!("{namespace}/{name}"), ..self }
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

/// Two connections are equal when a pool made for one serves the other, whatever Secret it is from.
impl PartialEq for Connection {
    fn eq(&self, other: &Self) -> bool {
        self.pg == other.pg && self.tls == other.tls && self.ca_pem == other.ca_pem
    }
}

fn text<'a>(data: &'a BTreeMap<String, Vec<u8>>, key: &str) -> Result<Option<&'a str>, ConnectionError> {
    data.get(key)
        .map(|value| std::str::from_utf8(value).map_err(|_| ConnectionError::NotText(key.to_owned())))
        .transpose()
}

fn either<'a>(data: &'a BTreeMap<String, Vec<u8>>, key: &'static str, other: &str) -> Result<&'a str, ConnectionError> {
    match text(data, key)? {
        Some(value) => Ok(value),
        None => text(data, other)?.ok_or(ConnectionError::MissingKey(key)),
    }
}

fn parse_keys(data: &BTreeMap<String, Vec<u8>>) -> Result<tokio_postgres::Config, ConnectionError> {
    let mut pg = tokio_postgres::Config::new();
    pg.host(text(data, "host")?.ok_or(ConnectionError::MissingKey("host"))?.trim())
        .dbname(either(data, "database", "dbname")?.trim())
        .user(either(data, "username", "user")?.trim())
        .password(text(data, "password")?.ok_or(ConnectionError::MissingKey("password"))?);
    let port = match text(data, "port")? {
        Some(port) => port.trim().parse::<u16>().ok().filter(|port| *port > 0).ok_or(ConnectionError::Port)?,
        None => 5432,
    };
    pg.port(port);
    Ok(pg)
}

/// `tokio_postgres` knows three of libpq's six TLS modes and refuses the rest, so `sslmode` and `sslrootcert` are
/// taken out of the query first.
fn parse_uri(uri: &str) -> Result<(tokio_postgres::Config, Option<TlsMode>), ConnectionError> {
    let (base, query) = uri.split_once('?').unwrap_or((uri, ""));
    let mut mode = None;
    let mut kept = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", value)) => mode = Some(parse_ssl_mode(value)?),
            Some(("sslrootcert", _)) => {}
            _ => kept.push(pair),
        }
    }
    let uri = if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) };
    let pg = uri.parse::<tokio_postgres::Config>().map_err(|_| ConnectionError::Uri)?;
    if pg.get_hosts().is_empty() {
        return Err(ConnectionError::Uri);
    }
    Ok((pg, mode))
}

fn parse_ssl_mode(value: &str) -> Result<TlsMode, ConnectionError> {
    match value {
        "disable" => Ok(TlsMode::Disable),
        "allow" | "prefer" => Ok(TlsMode::Prefer),
        "require" => Ok(TlsMode::Require),
        "verify-ca" => Ok(TlsMode::VerifyCA),
        "verify-full" => Ok(TlsMode::VerifyFull),
        _ => Err(ConnectionError::SslMode),
    }
}

fn is_loopback(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(pairs: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect()
    }

    fn check(pairs: &[(&str, &str)], mode: Option<TlsMode>, expected: Result<(&str, &str, TlsMode), ConnectionError>) {
        let found = Connection::from_secret(&secret(pairs), mode, Duration::from_secs(5));
        match (found, expected) {
            (Ok(found), Ok((target, user, tls))) => {
                assert_eq!((found.target().as_str(), found.user(), found.tls), (target, user, tls));
            }
            (Err(found), Err(expected)) => assert_eq!(found, expected),
            (found, expected) => panic!("found {found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_uri_wins_over_single_keys() {
        check(
            &[("uri", "postgresql://app:p%40ss@db.example:6432/edu?sslmode=verify-ca"), ("host", "other")],
            None,
            Ok(("db.example:6432/edu", "app", TlsMode::VerifyCA)),
        );
    }

    #[test]
    fn single_keys_take_either_spelling_and_default_to_verified_tls() {
        check(
            &[("host", "db.example"), ("dbname", "edu"), ("user", "app"), ("password", "x")],
            None,
            Ok(("db.example:5432/edu", "app", TlsMode::VerifyFull)),
        );
    }

    #[test]
    fn loopback_prefers_tls_and_the_spec_decides_over_the_uri() {
        let uri = [("uri", "postgres://app:x@127.0.0.1/edu?sslmode=disable")];
        check(&uri, None, Ok(("127.0.0.1:5432/edu", "app", TlsMode::Disable)));
        check(&uri, Some(TlsMode::Require), Ok(("127.0.0.1:5432/edu", "app", TlsMode::Require)));
        check(&[("uri", "postgres://app:x@localhost/edu")], None, Ok(("localhost:5432/edu", "app", TlsMode::Prefer)));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named_and_never_repeated() {
        check(&[("host", "h")], None, Err(ConnectionError::MissingKey("database")));
        check(&[("database", "d"), ("user", "u"), ("password", "p")], None, Err(ConnectionError::MissingKey("host")));
        check(&[("uri", "mysql://u:hunter2@h/d")], None, Err(ConnectionError::Uri));
        check(&[("uri", "postgres://u:p@h/d?sslmode=maybe")], None, Err(ConnectionError::SslMode));
        check(
            &[("host", "h"), ("port", "0"), ("database", "d"), ("user", "u"), ("password", "p")],
            None,
            Err(ConnectionError::Port),
        );
        let found = Connection::from_secret(&secret(&[("uri", "postgres://u:hunter2@h/d")]), None, Duration::ZERO);
        assert!(!format!("{found:?}").contains("hunter2"));
    }
}
