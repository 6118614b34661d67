//! Stage 1: the Secrets that the spec points to, read into a [`Connection`].

use std::collections::BTreeMap;

use kube::Client;
use thiserror::Error;

use crate::{
    api::{
        TenantDatabase,
        connection::{CaSecretRef, SecretRef},
    },
    frame::chain,
    kubernetes::{self, secrets},
    lane::CLIENT_AUTHORITY,
    postgres::{ClientAuthority, Connection, ConnectionError},
};

/// Why there is nothing to connect with.
#[derive(Debug, Error)]
pub enum Unresolved {
    /// The Secret is not there.
    #[error(
        "Secret {namespace}/{name} does not exist; make it with the keys uri, or host, database, username and password"
    )]
    NotFound {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The Secret of the certificate authority is not there.
    #[error(
        "Secret {namespace}/{name}, which {field} names, does not exist; make it of the authority's certificate: \
         kubectl -n {namespace} create secret generic {name} --from-file={key}=ca.pem"
    )]
    NoCaSecret {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key.
        key: String,
        /// Where in the spec it is asked for.
        field: &'static str,
    },
    /// The Secret of the certificate authority has no such key.
    #[error("Secret {namespace}/{name} has no key {key} with certificates in PEM, which {field} asks for")]
    NoCaKey {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key.
        key: String,
        /// Where in the spec it is asked for.
        field: &'static str,
    },
    /// The Secret cannot be read now; nothing is concluded from that.
    #[error(transparent)]
    Unreadable(#[from] kubernetes::Error),
    /// The Secret does not describe a database.
    #[error("Secret {namespace}/{name} describes no database")]
    Invalid {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// What is wrong with it.
        source: ConnectionError,
    },
}

/// What the spec points to.
pub struct Resolved {
    /// How the operator connects.
    pub connection: Connection,
    /// Why it is not known whom applications may trust. The operator needs it for their Secrets alone.
    pub unread_authority: Option<Unresolved>,
}

/// Reads what the spec points to.
pub async fn resolve(database: &TenantDatabase, client: &Client, own_namespace: &str) -> Result<Resolved, Unresolved> {
    let spec = &database.spec.connection;
    let SecretRef { name, namespace } = &spec.secret_ref;
    let namespace = namespace.as_deref().unwrap_or(own_namespace);
    let mut data = read(client, namespace, name).await?;
    if let Some(ca) = spec.tls.as_ref().and_then(|tls| tls.ca_secret_ref.as_ref()) {
        data.insert(
            "ca.crt".to_owned(),
            authority(client, ca, own_namespace, "spec.connection.tls.caSecretRef").await?,
        );
    }
    let for_clients = database.spec.client_endpoint.as_ref().and_then(|endpoint| endpoint.ca_secret_ref.as_ref());
    let (client_authority, unread_authority) = match for_clients {
        Some(ca) => match authority(client, ca, own_namespace, CLIENT_AUTHORITY).await {
            Ok(pem) => (Some(trusted(ca, Ok(String::from_utf8_lossy(&pem).into_owned()))), None),
            // Without the API server nothing goes on anyway, and it is asked again soon.
            Err(error) if error.may_pass() => return Err(error),
            Err(error) => (Some(trusted(ca, Err(chain(&error)))), Some(error)),
        },
        None => (None, None),
    };
    let mode = spec.tls.as_ref().and_then(|tls| tls.mode);
    let parsed = |data: &BTreeMap<String, Vec<u8>>, namespace: &str, name: &str| {
        let connection = Connection::from_secret(data, mode, spec.connect_timeout());
        connection.map(|connection| connection.read_from(namespace, name)).map_err(|source| Unresolved::Invalid {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            source,
        })
    };
    let direct = match database.spec.direct_connection.as_ref().map(|direct| &direct.secret_ref) {
        Some(SecretRef { name, namespace }) => {
            let namespace = namespace.as_deref().unwrap_or(own_namespace);
            let mut direct = read(client, namespace, name).await?;
            if spec.tls.as_ref().is_some_and(|tls| tls.ca_secret_ref.is_some()) {
                direct.extend(data.get_key_value("ca.crt").map(|(key, pem)| (key.clone(), pem.clone())));
            }
            Some(parsed(&direct, namespace, name)?)
        }
        None => None,
    };
    let connection = parsed(&data, namespace, name)?.trusted_by_clients(client_authority).beside(direct);
    Ok(Resolved { connection, unread_authority })
}

impl Unresolved {
    /// Whether it may pass without a person.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Unreadable(error) if !matches!(error, kubernetes::Error::Refused { code: 403, .. }))
    }
}

fn trusted(secret: &CaSecretRef, pem: Result<String, String>) -> ClientAuthority {
    ClientAuthority { secret: secret.clone(), pem }
}

/// The certificates of an authority.
pub(super) async fn authority(
    client: &Client,
    ca: &CaSecretRef,
    own_namespace: &str,
    field: &'static str,
) -> Result<Vec<u8>, Unresolved> {
    let namespace = ca.namespace.as_deref().unwrap_or(own_namespace);
    let absent = || Unresolved::NoCaSecret {
        namespace: namespace.to_owned(),
        name: ca.name.clone(),
        key: ca.key().to_owned(),
        field,
    };
    let mut secret = secrets::read(client, namespace, &ca.name).await?.ok_or_else(absent)?;
    let is_pem = |pem: &Vec<u8>| String::from_utf8_lossy(pem).contains("-----BEGIN CERTIFICATE-----");
    secret.remove(ca.key()).filter(is_pem).ok_or_else(|| Unresolved::NoCaKey {
        namespace: namespace.to_owned(),
        name: ca.name.clone(),
        key: ca.key().to_owned(),
        field,
    })
}

async fn read(client: &Client, namespace: &str, name: &str) -> Result<BTreeMap<String, Vec<u8>>, Unresolved> {
    secrets::read(client, namespace, name)
        .await?
        .ok_or_else(|| Unresolved::NotFound { namespace: namespace.to_owned(), name: name.to_owned() })
}
