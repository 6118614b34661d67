//! What the applications of tenants connect to, and the keys of a Secret that lead there. Pure.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::{
    api::{
        connection::{CaSecretRef, TlsMode},
        endpoint::{ClientEndpoint, ReadEndpoint},
        tenant_schema::{Place, ReadPlace},
    },
    kubernetes::secrets::Values,
    postgres::ClientAuthority,
    text::hex,
};

/// The field of a TenantDatabase by which applications trust another authority.
pub const CLIENT_AUTHORITY: &str = "spec.clientEndpoint.caSecretRef";

/// Where applications find their database, and whom they may trust there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The name or address of the server.
    pub host: String,
    /// Its port.
    pub port: i32,
    /// The database.
    pub database: String,
    /// How much is asked of TLS.
    pub tls: TlsMode,
    /// PEM certificates that sign the server's.
    pub ca_pem: Option<String>,
    /// Who signs the certificate of another server, which applications connect to.
    pub client_authority: Option<ClientAuthority>,
    /// Where they may only read, if there is such a place: its name or address, and its port.
    pub read: Option<(String, i32)>,
}

impl Endpoint {
    /// The same address as the operator's own.
    #[must_use]
    pub fn of(place: &Place, tls: TlsMode, ca_pem: Option<&[u8]>, client_authority: Option<ClientAuthority>) -> Self {
        Self {
            host: place.host.clone(),
            port: place.port,
            database: place.database.clone(),
            tls,
            ca_pem: ca_pem.map(|pem| String::from_utf8_lossy(pem).into_owned()),
            client_authority,
            read: None,
        }
    }

    /// The same as the owners of the database have it for applications; or why it is not known, with the way out.
    pub fn for_clients(&self, client: Option<&ClientEndpoint>, read: Option<&ReadEndpoint>) -> Result<Self, String> {
        let mut own = self.clone();
        if let Some(client) = client {
            let place = client.place(&self.place());
            (own.host, own.port) = (place.host, place.port);
            own.tls = client.ssl_mode.unwrap_or(own.tls);
            if let Some(secret) = &client.ca_secret_ref {
                own.ca_pem = Some(self.authority(secret)?);
            }
        }
        own.read = read.map(|read| read.place(own.port)).map(|ReadPlace { host, port }| (host, port));
        Ok(own)
    }

    /// The certificates of the authority that the spec names now. The lane may be older than the spec.
    fn authority(&self, secret: &CaSecretRef) -> Result<String, String> {
        let unread = || format!("Secret {}, which {CLIENT_AUTHORITY} names, was not read yet", secret.name);
        let known = self.client_authority.as_ref().filter(|known| known.secret == *secret);
        known.map_or_else(|| Err(unread()), |known| known.pem.clone())
    }

    fn place(&self) -> Place {
        Place { host: self.host.clone(), port: self.port, database: self.database.clone(), ..Place::default() }
    }

    /// What tells it from another one, so that a Secret which leads elsewhere is noticed.
    #[must_use]
    pub fn digest(&self) -> String {
        let Self { host, port, database, tls, ca_pem, read, client_authority: _ } = self;
        let hash = Sha256::digest(format!("{host}\n{port}\n{database}\n{}\n{ca_pem:?}\n{read:?}", sslmode(*tls)));
        hex(&hash[..8])
    }

    /// What a Secret has for an application that logs in so: the keys of Service Binding, and those that drivers take whole.
    #[must_use]
    pub fn values(&self, login: &str, password: &str, schema: &str) -> Values {
        let Self { port, database, .. } = self;
        let host = in_uri(&self.host);
        let name = escaped(database, |_| false);
        let mode = sslmode(self.tls);
        let uri_mode = if mode.starts_with("verify") { "require" } else { mode };
        let colons = |text: &str| text.replace('\\', "\\\\").replace(':', "\\:");
        let texts = [
            ("type", "postgresql".to_owned()),
            ("provider", "tenant-schema-operator".to_owned()),
            ("host", self.host.clone()),
            ("port", port.to_string()),
            ("database", database.clone()),
            ("username", login.to_owned()),
            ("password", password.to_owned()),
            ("schema", schema.to_owned()),
            ("sslmode", mode.to_owned()),
            ("uri", format!("postgresql://{login}:{password}@{host}:{port}/{name}?sslmode={uri_mode}")),
            (
                "jdbc-uri",
                format!("jdbc:postgresql://{host}:{port}/{name}?user={login}&password={password}&sslmode={uri_mode}"),
            ),
            ("pgpass", format!("{}:{port}:{}:{login}:{password}\n", colons(&self.host), colons(database))),
        ];
        let ca = self.ca_pem.clone().map(|pem| ("ca.crt", pem));
        let read = self.read.as_ref().map(|(host, port)| {
            let host = in_uri(host);
            ("read-uri", format!("postgresql://{login}:{password}@{host}:{port}/{name}?sslmode={uri_mode}"))
        });
        texts.into_iter().chain(ca).chain(read).collect()
    }
}

/// A mode in the words of libpq.
const fn sslmode(mode: TlsMode) -> &'static str {
    match mode {
        TlsMode::Disable => "disable",
        TlsMode::Prefer => "prefer",
        TlsMode::Require => "require",
        TlsMode::VerifyCA => "verify-ca",
        TlsMode::VerifyFull => "verify-full",
    }
}

/// A host as a URI has it: an address of IPv6 stands in brackets, and a socket's folder is written with escapes.
fn in_uri(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { escaped(host, |byte| byte == b'.') }
}

/// A text as a URI has it; letters, digits, `-`, `_` and what `also` says stand as they are.
fn escaped(text: &str, also: fn(u8) -> bool) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-_".contains(&byte) || also(byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: &str, database: &str, tls: TlsMode) -> Endpoint {
        let place = Place { host: host.to_owned(), port: 5432, database: database.to_owned(), ..Place::default() };
        Endpoint::of(&place, tls, Some(b"PEM"), None)
    }

    /// `check(host, database, mode, key, expected)`.
    fn check(host: &str, database: &str, tls: TlsMode, key: &str, expected: &str) {
        let values = endpoint(host, database, tls).values("school_app_a", "5ecre7", "school");
        assert_eq!(values[key], expected, "{key}");
    }

    #[test]
    fn a_driver_finds_what_it_takes() {
        let verified = TlsMode::VerifyFull;
        check(
            "db.example",
            "tenants",
            verified,
            "uri",
            "postgresql://school_app_a:5ecre7@db.example:5432/tenants?sslmode=require",
        );
        check(
            "db.example",
            "tenants",
            TlsMode::Disable,
            "jdbc-uri",
            "jdbc:postgresql://db.example:5432/tenants?user=school_app_a&password=5ecre7&sslmode=disable",
        );
        check("db.example", "tenants", verified, "sslmode", "verify-full");
        check("db.example", "tenants", verified, "pgpass", "db.example:5432:tenants:school_app_a:5ecre7\n");
        check("db.example", "tenants", verified, "ca.crt", "PEM");
        check("db.example", "tenants", verified, "schema", "school");
    }

    #[test]
    fn what_separates_parts_is_escaped() {
        let prefer = TlsMode::Prefer;
        check("::1", "a/b?c", prefer, "uri", "postgresql://school_app_a:5ecre7@[::1]:5432/a%2Fb%3Fc?sslmode=prefer");
        check("/run/pg", "t", prefer, "uri", "postgresql://school_app_a:5ecre7@%2Frun%2Fpg:5432/t?sslmode=prefer");
        check("::1", "a:b", prefer, "pgpass", "\\:\\:1:5432:a\\:b:school_app_a:5ecre7\n");
        check("::1", "a/b?c", prefer, "database", "a/b?c");
    }

    #[test]
    fn another_address_or_authority_has_another_digest() {
        let one = endpoint("db.example", "tenants", TlsMode::VerifyFull);
        assert_eq!(one.digest().len(), 16);
        assert_eq!(one.digest(), one.clone().digest());
        for other in [
            Endpoint { host: "other".to_owned(), ..one.clone() },
            Endpoint { port: 1, ..one.clone() },
            Endpoint { tls: TlsMode::Require, ..one.clone() },
            Endpoint { ca_pem: None, ..one.clone() },
            Endpoint { read: Some(("replica".to_owned(), 5432)), ..one.clone() },
        ] {
            assert_ne!(one.digest(), other.digest(), "{other:?}");
        }
    }

    #[test]
    fn applications_are_led_where_the_owners_of_the_database_say() {
        let own = endpoint("db.example", "tenants", TlsMode::VerifyFull);
        assert_eq!(own.for_clients(None, None).as_ref(), Ok(&own));
        let (host, ssl_mode) = ("pooler".to_owned(), Some(TlsMode::Disable));
        let pooler = ClientEndpoint { host, port: Some(6432), ssl_mode, ..ClientEndpoint::default() };
        let replica = ReadEndpoint { host: "replica".to_owned(), ..ReadEndpoint::default() };
        let values = own.for_clients(Some(&pooler), Some(&replica)).unwrap().values("a", "b", "school");
        assert_eq!(values["uri"], "postgresql://a:b@pooler:6432/tenants?sslmode=disable");
        assert_eq!(values["read-uri"], "postgresql://a:b@replica:6432/tenants?sslmode=disable");
        assert_eq!((values["host"].as_str(), values["sslmode"].as_str()), ("pooler", "disable"));
        assert_eq!(values["ca.crt"], "PEM", "of one authority, unless the owners say otherwise");
    }

    #[test]
    fn an_authority_of_applications_counts_if_it_is_of_the_secret_that_the_spec_names() {
        let secret = |name: &str| CaSecretRef { name: name.to_owned(), ..CaSecretRef::default() };
        let pooler = |named: Option<&str>| ClientEndpoint {
            host: "pooler".to_owned(),
            ca_secret_ref: named.map(secret),
            ..ClientEndpoint::default()
        };
        let own = endpoint("db.example", "tenants", TlsMode::VerifyFull);
        let known = |pem: Result<&str, &str>| Endpoint {
            client_authority: Some(ClientAuthority {
                secret: secret("theirs"),
                pem: pem.map(str::to_owned).map_err(str::to_owned),
            }),
            ..own.clone()
        };
        let check = |endpoint: &Endpoint, named: Option<&str>, expected: Result<&str, &str>| {
            let found = endpoint.for_clients(Some(&pooler(named)), None).map(|endpoint| endpoint.ca_pem.unwrap());
            assert_eq!(found.as_deref().map_err(String::as_str), expected);
        };
        check(&own, None, Ok("PEM"));
        check(&known(Ok("THEIRS")), None, Ok("PEM"));
        check(&known(Ok("THEIRS")), Some("theirs"), Ok("THEIRS"));
        check(&known(Err("gone")), Some("theirs"), Err("gone"));
        let unread = "Secret other, which spec.clientEndpoint.caSecretRef names, was not read yet";
        check(&known(Ok("THEIRS")), Some("other"), Err(unread));
        check(&own, Some("other"), Err(unread));
        let without = known(Err("gone")).for_clients(None, None).unwrap();
        assert_eq!(without.digest(), own.digest(), "where the operator connects its own counts");
    }
}
