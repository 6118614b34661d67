//! How the operator reaches a database: which Secret, how much of TLS, how many connections, how long it waits.
//!
//! Only what is written in YAML and its defaults; what the Secret holds is read where references are resolved.

use std::time::Duration;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// How the operator reaches a database.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// The Secret with the address and the login. Its keys: `uri`, or `host`, `port`, `database` (or `dbname`),
    /// `username` (or `user`) and `password`; `uri` wins. `ca.crt` is used if it is there.
    pub secret_ref: SecretRef,

    /// How the connection is encrypted and whom it trusts.
    ///
    /// Default: what `mode` defaults to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,

    /// How many connections the operator opens at most: one for the survey, some for snapshots, with a `backupStore` two for each
    /// archive that is being made, the rest for changes and removals. Archives need 5.
    ///
    /// Default: `4`, and with a `backupStore` `6`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 3, max = 64))]
    pub max_connections: Option<i32>,

    /// How long connecting may take, in seconds.
    ///
    /// Default: `5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 60))]
    pub connect_timeout_seconds: Option<i32>,

    /// How long one step may take, in seconds; jobs have limits of their own.
    ///
    /// Default: `30`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 600))]
    pub statement_timeout_seconds: Option<i32>,
}

/// Which Secret is meant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME))]
    pub name: String,

    /// The namespace of the Secret. In another namespace than its own the operator must be allowed to read this one
    /// Secret by name.
    ///
    /// Default: the operator's own namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::NAMESPACE_NAME))]
    pub namespace: Option<String>,
}

/// How the database server itself is reached, where `connection` leads to a pooler.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DirectConnection {
    /// The Secret with the address, in the keys that that of `connection` has. `connection.tls` counts for it too.
    pub secret_ref: SecretRef,
}

/// How a connection is encrypted and whom it trusts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// How much is asked of TLS. `Disable`: plain text. `Prefer`: encrypted if the server can, its certificate is not
    /// checked. `Require`: encrypted, its certificate is not checked. `VerifyCA`: its certificate must come from a
    /// trusted authority. `VerifyFull`: and must be for the name that was connected to.
    ///
    /// Default: `VerifyFull`; `Prefer` if the address is a loopback address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<TlsMode>,

    /// The Secret with the certificate of the authority to trust.
    ///
    /// Default: `ca.crt` of the connection's Secret, and without it the authorities of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<CaSecretRef>,
}

/// How much is asked of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::schema::undescribed)]
pub enum TlsMode {
    /// Plain text.
    Disable,
    /// Encrypted if the server can.
    Prefer,
    /// Encrypted, the server's certificate is not checked.
    Require,
    /// The certificate must come from a trusted authority.
    VerifyCA,
    /// And must be for the name that was connected to.
    VerifyFull,
}

/// Which key of which Secret is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaSecretRef {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME))]
    pub name: String,

    /// The namespace of the Secret.
    ///
    /// Default: the operator's own namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::NAMESPACE_NAME))]
    pub namespace: Option<String>,

    /// The key with the certificate, in PEM.
    ///
    /// Default: `ca.crt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub key: Option<String>,
}

impl Connection {
    /// How many connections the operator opens at most, if it says so, else this many.
    #[must_use]
    pub fn max_connections_or(&self, by_default: usize) -> usize {
        self.max_connections.and_then(|count| usize::try_from(count).ok()).unwrap_or(by_default).max(3)
    }

    /// How long connecting may take.
    #[must_use]
    pub fn connect_timeout(&self) -> Duration {
        seconds(self.connect_timeout_seconds, 5)
    }

    /// How long one step may take.
    #[must_use]
    pub fn statement_timeout(&self) -> Duration {
        seconds(self.statement_timeout_seconds, 30)
    }

    /// How much is asked of TLS; `loopback` says whether the address is one of this machine.
    #[must_use]
    pub fn tls_mode(&self, loopback: bool) -> TlsMode {
        let by_default = if loopback { TlsMode::Prefer } else { TlsMode::VerifyFull };
        self.tls.as_ref().and_then(|tls| tls.mode).unwrap_or(by_default)
    }
}

impl CaSecretRef {
    /// The key with the certificate.
    #[must_use]
    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap_or("ca.crt")
    }
}

/// A number of seconds, as given or by default; what is negative, which the schema refuses, counts as the default.
pub(super) fn seconds(given: Option<i32>, by_default: u64) -> Duration {
    Duration::from_secs(given.and_then(|given| u64::try_from(given).ok()).unwrap_or(by_default))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_its_default_and_what_the_schema_refuses_does_no_harm() {
        let check = |given: Option<i32>, connections: usize, connect: u64, statement: u64| {
            let connection = Connection {
                max_connections: given,
                connect_timeout_seconds: given,
                statement_timeout_seconds: given,
                ..Connection::default()
            };
            assert_eq!(connection.max_connections_or(4), connections, "{given:?}");
            assert_eq!(connection.connect_timeout(), Duration::from_secs(connect), "{given:?}");
            assert_eq!(connection.statement_timeout(), Duration::from_secs(statement), "{given:?}");
        };
        check(None, 4, 5, 30);
        check(Some(-1), 4, 5, 30);
        check(Some(2), 3, 2, 2);
        check(Some(3), 3, 3, 3);
        check(Some(60), 60, 60, 60);
    }

    #[test]
    fn a_server_elsewhere_must_prove_its_name_unless_the_spec_asks_for_less() {
        let check = |mode: Option<TlsMode>, loopback: bool, expected: TlsMode| {
            let tls = Some(Tls { mode, ca_secret_ref: None });
            assert_eq!(Connection { tls, ..Connection::default() }.tls_mode(loopback), expected);
        };
        check(None, false, TlsMode::VerifyFull);
        check(None, true, TlsMode::Prefer);
        check(Some(TlsMode::Require), false, TlsMode::Require);
        check(Some(TlsMode::VerifyFull), true, TlsMode::VerifyFull);
        assert_eq!(Connection::default().tls_mode(false), TlsMode::VerifyFull);
    }

    #[test]
    fn a_certificate_is_under_the_key_that_kubernetes_uses_unless_another_is_named() {
        let check = |key: Option<&str>, expected: &str| {
            assert_eq!(CaSecretRef { key: key.map(str::to_owned), ..CaSecretRef::default() }.key(), expected);
        };
        check(None, "ca.crt");
        check(Some("root.pem"), "root.pem");
    }
}
