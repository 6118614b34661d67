//! Whether the operator's own login reaches a database, asked now: what the condition of the TenantDatabase would say.

use std::sync::Arc;

use kube::{Api, Client};
use thiserror::Error;

use crate::{
    api::{
        TenantDatabase,
        command::{Kind, List},
    },
    database::{
        open::{Closed, Reached, reach},
        resolve::{Resolved, Unresolved, resolve},
    },
    frame::chain,
    kubernetes,
    lane::addresses::{Addresses, names},
    telemetry::Metrics,
};

/// Why it does not, or why that is not known.
#[derive(Debug, Error)]
pub enum Error {
    /// The API server.
    #[error(transparent)]
    Kubernetes(#[from] kubernetes::Error),
    /// There is no such object.
    #[error("TenantDatabase {0:?} does not exist; see: {all}", all = List(Kind::TenantDatabase))]
    NoDatabase(String),
    /// The connection's Secrets.
    #[error(transparent)]
    Unresolved(#[from] Unresolved),
    /// The database.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// Connects as the operator does; nothing is changed. Says where to and what is there, never a password.
pub async fn check_connection(client: &Client, name: &str, own_namespace: &str) -> Result<String, Error> {
    let databases: Api<TenantDatabase> = Api::all(client.clone());
    let database = kubernetes::read(&databases, name).await?.ok_or_else(|| Error::NoDatabase(name.to_owned()))?;
    let Resolved { connection, unread_authority } = resolve(&database, client, own_namespace).await?;
    let attempt = connection.attempt();
    let Reached { facts, .. } = reach(&database, connection, Arc::new(Metrics::new())).await?;
    let functions = if facts.installed { "installed" } else { "not installed yet" };
    let (names, addresses) = (names(&database.spec), Addresses::default());
    addresses.look_up(&names).await;
    let held = unread_authority.map(|error| chain(&error)).or_else(|| addresses.missing(&names));
    let held = held.map_or_else(String::new, |why| format!("no Secret of a tenant is written: {why}\n"));
    Ok(format!("connected to {attempt}: PostgreSQL {}, functions are {functions}\n{held}", facts.server_version))
}
