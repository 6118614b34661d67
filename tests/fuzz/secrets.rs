//! Secret → connection.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use proptest::{collection::vec, prelude::*, sample::select};
use tenant_schema_operator::postgres::{Connection, ConnectionError};

const KEYS: [&str; 10] =
    ["uri", "host", "port", "database", "dbname", "username", "user", "password", "ca.crt", "jdbc-uri"];

type Secret = BTreeMap<String, Vec<u8>>;

fn read(secret: &Secret) -> Result<Connection, ConnectionError> {
    Connection::from_secret(secret, None, Duration::from_secs(5))
}

fn secret(pairs: &[(&str, &str)]) -> Secret {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect()
}

/// All that people may come to see of what was read.
fn shown(found: &Result<Connection, ConnectionError>) -> String {
    match found {
        Ok(connection) => format!("{connection:?} {} {}", connection.target(), connection.attempt()),
        Err(error) => format!("{error:?} {error}"),
    }
}

/// Every byte that is not a letter or a digit, written so that it separates nothing.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").unwrap();
        }
        escaped
    })
}

/// Text that does not begin or end with white space, which is cut off where no password is meant.
fn word() -> impl Strategy<Value = String> {
    any::<String>()
        .prop_map(|text| text.replace('\0', "").trim().to_owned())
        .prop_filter("not empty", |text| !text.is_empty())
}

/// A password of pieces that occur nowhere else, with anything between them that may separate the parts of a URI.
fn password() -> impl Strategy<Value = (String, Vec<String>)> {
    let between =
        select(vec!["", "@", ":", "/", "?", "#", "%", "&", "=", ",", " ", "\\", "[", "]", "://", "%2", "&x=", "é"]);
    (vec((between.clone(), "[g-z]{3}Q[g-z]{3}"), 1..4), between).prop_map(|(parts, last)| {
        let password = parts.iter().flat_map(|(between, piece)| [*between, piece]).chain([last]).collect();
        (password, parts.into_iter().map(|(_, piece)| piece).collect())
    })
}

/// Where people put a password, and how. `{}` is its place.
fn forms() -> impl Strategy<Value = &'static str> {
    select(vec![
        "postgresql://app:{}@db.example/edu",
        "postgres://app:{}@db.example:6432/edu?sslmode=require",
        "postgres://app:{}@a,b:1,2/edu",
        "postgres://app:{}@[::1]/edu",
        "postgres://app:{}@/edu",
        "postgres://app:{}@db.example",
        "postgres://:{}@db.example/edu",
        "postgres://app:{}@db.example/edu?pgbouncer=true",
        "postgres://db.example/edu?user=app&password={}",
        "postgres://app@db.example/edu?password={}&sslmode=require",
        "postgres://app@db.example/edu?password={}&pgbouncer=true",
        "jdbc:postgresql://db.example/edu?user=app&password={}",
        "host=db.example user=app password={}",
        "postgresql+asyncpg://app:{}@db.example/edu",
        "{}",
    ])
}

proptest! {
    #[test]
    fn any_secret_is_answered(pairs in vec((select(KEYS.to_vec()), vec(any::<u8>(), 0..60)), 0..8)) {
        let secret = pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let _ = shown(&read(&secret));
    }

    #[test]
    fn any_uri_is_answered(
        start in select(vec!["postgres://", "postgresql://", "", "postgres:/", "postgres://u:p@", "postgres://u:p@h/d?"]),
        rest in r"([a-z0-9@:/?#%&=,\[\]. \\é]|%[0-9a-fA-F]{2}|sslmode=|port=|host=|hostaddr=){0,40}",
    ) {
        let _ = shown(&read(&secret(&[("uri", &format!("{start}{rest}")), ("password", "x")])));
    }

    #[test]
    fn no_piece_of_a_password_in_a_uri_is_shown(form in forms(), (password, pieces) in password(), escape in any::<bool>()) {
        let written = if escape { escaped(&password) } else { password };
        let shown = shown(&read(&secret(&[("uri", &form.replace("{}", &written))])));
        for piece in pieces {
            prop_assert!(!shown.contains(&piece), "{} of {} in {}", piece, written, shown);
        }
    }

    #[test]
    fn no_piece_of_a_password_in_a_key_is_shown(
        key in select(vec!["password", "port", "host"]), form in forms(), (password, pieces) in password(),
    ) {
        // In a host only what no host has: a URI, or a host with something around it.
        let value = match key {
            "host" => format!("app:{password}@db.example"),
            _ => form.replace("{}", &password),
        };
        let mut secret = secret(&[("host", "h"), ("database", "d"), ("user", "u"), ("password", "p")]);
        secret.insert(key.to_owned(), value.into_bytes());
        let shown = shown(&read(&secret));
        for piece in pieces {
            prop_assert!(!shown.contains(&piece), "{} in {}", piece, shown);
        }
    }

    #[test]
    fn a_uri_and_single_keys_say_the_same(
        user in word(), password in word(), database in word(), host in "[a-z][a-z0-9-]{0,20}([.][a-z]{1,9})?", port in 1_u16..,
    ) {
        let uri = format!("postgres://{}:{}@{host}:{port}/{}", escaped(&user), escaped(&password), escaped(&database));
        let from_uri = read(&secret(&[("uri", &uri)])).unwrap();
        let port = port.to_string();
        let keys =
            [("host", &host), ("port", &port), ("database", &database), ("username", &user), ("password", &password)];
        let from_keys = read(&secret(&keys.map(|(key, value)| (key, value.as_str())))).unwrap();
        prop_assert!(from_uri == from_keys, "{:?} {:?}", from_uri, from_keys);
        prop_assert_eq!(from_uri.target(), format!("{host}:{port}/{database}"));
        prop_assert_eq!(from_uri.user(), user);
    }
}
