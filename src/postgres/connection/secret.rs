//! Reading the keys of a connection Secret.
//!
//! A value is never repeated in an error, nor a part of one: what a user took for a host may be half of a password. A URI in which
//! that is possible, because a character that separates its parts stands in it unescaped, is refused before it is read.

use std::{collections::BTreeMap, net::IpAddr};

use thiserror::Error;
use tokio_postgres::{Config, config::Host};

use crate::api::connection::TlsMode;

/// Why the keys of a connection Secret do not describe a database.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ConnectionError {
    /// A key is needed, and neither it nor `uri` is there with a value.
    #[error(
        "the Secret has no value for key {0}; give `uri`, or `host`, `database` (or `dbname`), `username` (or `user`) and `password`"
    )]
    MissingKey(&'static str),
    /// A value is not text.
    #[error("the value of key {0} is not UTF-8 text")]
    NotText(String),
    /// The port is not a number from 1 to 65535.
    #[error("the value of key port is not a number from 1 to 65535")]
    Port,
    /// The host has more than a host in it.
    #[error("the value of key host is no host name and no address; a port belongs in the key port")]
    Host,
    /// The URI does not parse. The value is not repeated: it may hold a password.
    #[error("the value of key uri is not a PostgreSQL connection URI (postgresql://user:password@host:port/database)")]
    Uri,
    /// The URI is that of a driver.
    #[error(
        "the value of key uri does not begin with postgresql:// or postgres://; forms of other drivers, such as jdbc:, are not read"
    )]
    Scheme,
    /// User or password have characters that separate the parts of a URI.
    #[error(
        "the value of key uri cannot be taken apart: in user and password the characters @ : / ? # % are written %40 %3A %2F %3F %23 \
         %25; or give the keys host, database, username and password in its place, where they are as they are"
    )]
    Unescaped,
    /// The URI has no user.
    #[error("the value of key uri names no user (postgresql://user:password@host:port/database)")]
    NoUser,
    /// A parameter of another driver.
    #[error("the value of key uri has a parameter{0} that is not one of PostgreSQL's own; remove it")]
    Parameter(String),
    /// The URI asks for a TLS mode that does not exist.
    #[error(
        "the value of key uri has an unknown sslmode; known are disable, prefer, require, verify-ca and verify-full"
    )]
    SslMode,
}

/// Reads the keys: `uri` wins over the others, unless it is empty. With the TLS mode that it asks for.
pub fn parse(data: &BTreeMap<String, Vec<u8>>) -> Result<(Config, Option<TlsMode>), ConnectionError> {
    let Some(uri) = given(data, "uri")?.map(str::trim) else {
        return Ok((parse_keys(data)?, None));
    };
    let (mut pg, mode) = parse_uri(uri)?;
    if pg.get_password().is_none() {
        // Some operators keep the password beside a URI without one.
        pg.password(needed(data, "password")?);
    }
    Ok((pg, mode))
}

fn text<'a>(data: &'a BTreeMap<String, Vec<u8>>, key: &str) -> Result<Option<&'a str>, ConnectionError> {
    data.get(key)
        .map(|value| std::str::from_utf8(value).map_err(|_| ConnectionError::NotText(key.to_owned())))
        .transpose()
}

/// A value that is empty is none.
fn given<'a>(data: &'a BTreeMap<String, Vec<u8>>, key: &str) -> Result<Option<&'a str>, ConnectionError> {
    Ok(text(data, key)?.filter(|value| !value.trim().is_empty()))
}

fn needed<'a>(data: &'a BTreeMap<String, Vec<u8>>, key: &'static str) -> Result<&'a str, ConnectionError> {
    given(data, key)?.ok_or(ConnectionError::MissingKey(key))
}

fn either<'a>(data: &'a BTreeMap<String, Vec<u8>>, key: &'static str, other: &str) -> Result<&'a str, ConnectionError> {
    match given(data, key)? {
        Some(value) => Ok(value),
        None => given(data, other)?.ok_or(ConnectionError::MissingKey(key)),
    }
}

fn parse_keys(data: &BTreeMap<String, Vec<u8>>) -> Result<Config, ConnectionError> {
    let host = needed(data, "host")?.trim();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let mut pg = Config::new();
    pg.host(host)
        .dbname(either(data, "database", "dbname")?.trim())
        .user(either(data, "username", "user")?.trim())
        .password(needed(data, "password")?);
    if !pg.get_hosts().iter().all(is_host) {
        return Err(ConnectionError::Host);
    }
    let port = match given(data, "port")? {
        Some(port) => port.trim().parse::<u16>().ok().filter(|port| *port > 0).ok_or(ConnectionError::Port)?,
        None => 5432,
    };
    pg.port(port);
    Ok(pg)
}

/// Whether a host is a name, an address or a path, and not a host with something around it.
fn is_host(host: &Host) -> bool {
    match host {
        Host::Tcp(host) => {
            host.parse::<IpAddr>().is_ok() || !host.is_empty() && !host.contains([':', '/', '@', ' ', '[', ']'])
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

/// `tokio_postgres` knows three of libpq's six TLS modes and refuses the rest, so `sslmode` and `sslrootcert` are
/// taken out of the query first.
fn parse_uri(uri: &str) -> Result<(Config, Option<TlsMode>), ConnectionError> {
    let Some(rest) = ["postgresql://", "postgres://"].iter().find_map(|scheme| uri.strip_prefix(scheme)) else {
        return Err(ConnectionError::Scheme);
    };
    // One @ ends user and password, and comes before the first character that would end the host.
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if rest.matches('@').count() != authority.matches('@').count() || authority.matches('@').count() > 1 {
        return Err(ConnectionError::Unescaped);
    }
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
    let Ok(pg) = uri.parse::<Config>() else {
        let is_unknown = |pair: &&&str| format!("postgresql://h?{pair}").parse::<Config>().is_err();
        // What looks like the name of a parameter is the rest of a password where one was begun and not ended before.
        let may_be_told = authority.contains('@') && !query.contains("password");
        let parameter = |pair: &&str| if may_be_told { parameter(pair) } else { String::new() };
        return Err(kept
            .iter()
            .find(is_unknown)
            .map_or(ConnectionError::Uri, |pair| ConnectionError::Parameter(parameter(pair))));
    };
    if pg.get_hosts().is_empty() || !pg.get_hosts().iter().all(is_host) {
        return Err(ConnectionError::Uri);
    }
    if pg.get_user().is_none_or(str::is_empty) {
        return Err(ConnectionError::NoUser);
    }
    Ok((pg, mode))
}

/// The name of a parameter is told if it looks like one, and its value never.
fn parameter(pair: &str) -> String {
    let name = pair.split('=').next().unwrap_or_default();
    let is_word =
        !name.is_empty() && name.len() <= 30 && name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if is_word { format!(" {name}") } else { String::new() }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::Connection, *};

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
    fn a_uri_wins_over_single_keys_unless_it_is_empty() {
        let uri = ("uri", "postgresql://app:p%40ss@db.example:6432/edu?sslmode=verify-ca");
        check(&[uri, ("host", "other")], None, Ok(("db.example:6432/edu", "app", TlsMode::VerifyCA)));
        let keys = [("uri", " "), ("host", "db.example"), ("dbname", "edu"), ("user", "app"), ("password", "x")];
        check(&keys, None, Ok(("db.example:5432/edu", "app", TlsMode::VerifyFull)));
    }

    #[test]
    fn single_keys_take_either_spelling_and_default_to_verified_tls() {
        let keys = |host| [("host", host), ("dbname", "edu"), ("user", "app"), ("password", "x"), ("ca.crt", "")];
        check(&keys("db.example"), None, Ok(("db.example:5432/edu", "app", TlsMode::VerifyFull)));
        check(&keys("[::1]"), None, Ok(("::1:5432/edu", "app", TlsMode::Prefer)));
        let empty = Connection::from_secret(&secret(&keys("db.example")), None, Duration::ZERO).unwrap();
        assert_eq!(empty.ca_pem, None, "an empty certificate is none");
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
        let with = |key: &'static str, value: &'static str| {
            let mut keys = vec![("host", "h"), ("port", "1"), ("database", "d"), ("user", "u"), ("password", "p")];
            keys.retain(|(name, _)| *name != key);
            keys.push((key, value));
            keys
        };
        check(&with("port", "0"), None, Err(ConnectionError::Port));
        check(&with("host", " "), None, Err(ConnectionError::MissingKey("host")));
        check(&with("host", "h:5432"), None, Err(ConnectionError::Host));
        check(&with("password", ""), None, Err(ConnectionError::MissingKey("password")));
        let found = Connection::from_secret(&secret(&[("uri", "postgres://u:hunter2@h/d")]), None, Duration::ZERO);
        assert!(!format!("{found:?}").contains("hunter2"));
    }

    #[test]
    fn a_uri_that_may_be_taken_apart_wrongly_is_refused() {
        let check = |uri, expected| check(&[("uri", uri)], None, Err(expected));
        for password in ["hunter@2", "hun@ter/2", "hunter/2", "hunter?2", "hunter#2", "h@u/n?t#er", "@", "@@"] {
            let uri = format!("postgres://u:{password}@h/d");
            let found = Connection::from_secret(&secret(&[("uri", &uri)]), None, Duration::ZERO);
            assert_eq!(found.unwrap_err(), ConnectionError::Unescaped, "{password}");
        }
        check("postgres://u:p@h/d?application_name=a@b", ConnectionError::Unescaped);
        check("mysql://u:hunter2@h/d", ConnectionError::Scheme);
        check("jdbc:postgresql://h/d?user=u&password=hunter2", ConnectionError::Scheme);
        check("postgres://u:p@h:1:2/d", ConnectionError::Uri);
        check("postgres://u:p@/d", ConnectionError::Uri);
        check("postgres://h/d", ConnectionError::NoUser);
        check("postgres://u@h/d", ConnectionError::MissingKey("password"));
        check("postgres://u:p@h/d?sslmode=maybe", ConnectionError::SslMode);
        check("postgres://u:p@h/d?pgbouncer=true", ConnectionError::Parameter(" pgbouncer".to_owned()));
        for uri in [
            "postgres://u:p@h/d?7=8",
            "postgres://h/d?user=u&password=a&hunter",
            "postgres://u:a?hunter",
            "postgres://h/d?hunter=2",
        ] {
            check(uri, ConnectionError::Parameter(String::new()));
        }
    }

    #[test]
    fn a_password_may_stand_beside_a_uri() {
        let pairs = [("uri", "postgres://app@localhost/edu"), ("password", "x")];
        check(&pairs, None, Ok(("localhost:5432/edu", "app", TlsMode::Prefer)));
    }
}
