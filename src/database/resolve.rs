//! Stage 1: the Secrets that the spec points to, read into a [`Connection`].

use std::collections::BTreeMap;

use kube::Client;
use thiserror::Error;

use crate::{
    api::{
        TenantDatabase,
        connection::{CaSecretRef, SecretRef},
    },
    kubernetes::{self, secrets},
    postgres::{Connection, ConnectionError},
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

/// Reads what the spec points to.
pub async fn resolve(
    database: &TenantDatabase,
    client: &Client,
    own_namespace: &str,
) -> Result<Connection, Unresolved> {
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
    let client_ca_pem = match for_clients {
        Some(ca) => Some(authority(client, ca, own_namespace, "spec.clientEndpoint.caSecretRef").await?),
        None => None,
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
    Ok(parsed(&data, namespace, name)?.trusted_by_clients(client_ca_pem).beside(direct))
}

/// The certificates of an authority.
async fn authority(
    client: &Client,
    ca: &CaSecretRef,
    own_namespace: &str,
    field: &'static str,
) -> Result<Vec<u8>, Unresolved> {
    let namespace = ca.namespace.as_deref().unwrap_or(own_namespace);
    let mut secret = read(client, namespace, &ca.name).await?;
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
