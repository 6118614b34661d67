//! Stage 1: the Secrets that the spec points to, read into a [`Connection`].

use std::collections::BTreeMap;

use kube::Client;
use thiserror::Error;

use crate::{
    api::{TenantDatabase, connection::SecretRef},
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
    #[error("Secret {namespace}/{name} has no key {key}, which spec.connection.tls.caSecretRef asks for")]
    NoCaKey {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key.
        key: String,
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
        let ca_namespace = ca.namespace.as_deref().unwrap_or(own_namespace);
        let mut authority = read(client, ca_namespace, &ca.name).await?;
        let pem = authority.remove(ca.key()).ok_or_else(|| Unresolved::NoCaKey {
            namespace: ca_namespace.to_owned(),
            name: ca.name.clone(),
            key: ca.key().to_owned(),
        })?;
        data.insert("ca.crt".to_owned(), pem);
    }
    let mode = spec.tls.as_ref().and_then(|tls| tls.mode);
    let connection = Connection::from_secret(&data, mode, spec.connect_timeout());
    connection.map(|connection| connection.read_from(namespace, name)).map_err(|source| Unresolved::Invalid {
        namespace: namespace.to_owned(),
        name: name.clone(),
        source,
    })
}

async fn read(client: &Client, namespace: &str, name: &str) -> Result<BTreeMap<String, Vec<u8>>, Unresolved> {
    secrets::read(client, namespace, name)
        .await?
        .ok_or_else(|| Unresolved::NotFound { namespace: namespace.to_owned(), name: name.to_owned() })
}
