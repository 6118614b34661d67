//! Holding a Lease: at most one replica at a time believes that it works for a database.
//!
//! A Lease is only for availability. A holder that was stopped and continued, or that cannot reach the API server, goes on
//! believing; the database's epoch is what refuses it.

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, api::DeleteParams};
use kube_lease_manager::{LeaseManagerBuilder, LeaseParams};
use thiserror::Error;
use tokio::{sync::watch, task::JoinHandle, time::timeout};

/// For how many seconds a Lease is good without being renewed.
const DURATION_SECONDS: u64 = 15;
/// How many seconds before it runs out it is renewed: every five.
const GRACE_SECONDS: u64 = 10;

/// Why a Lease could not be taken part in.
#[derive(Debug, Error)]
#[error("cannot take part in Lease {namespace}/{name}: {message}")]
pub struct LeaseError {
    namespace: String,
    name: String,
    message: String,
}

/// A Lease, to be asked about.
pub struct HeldLease {
    api: Api<Lease>,
    name: String,
}

impl HeldLease {
    /// Whether the API server, asked now, says that this replica holds the Lease. A process that was stopped and continued,
    /// or whose API server is away, goes on believing what it knew.
    pub async fn is_held_by(&self, identity: &str) -> Result<bool, super::Error> {
        let lease = super::read(&self.api, &self.name).await?;
        Ok(lease.and_then(|lease| lease.spec?.holder_identity).as_deref() == Some(identity))
    }
}

/// True when nobody holds the Lease, because its holder gave it back.
#[must_use]
pub fn is_free(lease: &Lease) -> bool {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default().is_empty()
}

/// Removes a Lease that nobody needs any more.
pub async fn delete(client: &Client, namespace: &str, name: &str) -> Result<(), super::Error> {
    let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
    match super::within(|| format!("delete Lease {name}"), api.delete(name, &DeleteParams::default())).await {
        Err(error) if error.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Taking part in the election of one Lease's holder.
pub struct LeaseCandidate {
    api: Api<Lease>,
    name: String,
    held: watch::Receiver<bool>,
    observer: JoinHandle<()>,
    task: JoinHandle<kube_lease_manager::Result<kube_lease_manager::LeaseManager>>,
}

impl LeaseCandidate {
    /// Starts to take part as `identity`; the Lease is made if it is not there. `changed` is called whenever
    /// [`LeaseCandidate::is_held`] changes.
    pub async fn start(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
        changed: impl Fn() + Send + 'static,
    ) -> Result<Self, LeaseError> {
        let api = Api::namespaced(client.clone(), namespace);
        let failed = |message: String| LeaseError { namespace: namespace.to_owned(), name: name.to_owned(), message };
        let built = LeaseManagerBuilder::new(client, name)
            .with_namespace(namespace)
            .with_parameters(LeaseParams::new(identity, DURATION_SECONDS, GRACE_SECONDS))
            .build();
        let manager = timeout(super::DEADLINE, built)
            .await
            .map_err(|_| failed("the API server did not answer in time".to_owned()))?
            .map_err(|error| failed(error.to_string()))?;
        let (held, task) = manager.watch().await;
        let mut turns = held.clone();
        let observer = tokio::spawn(async move {
            while turns.changed().await.is_ok() {
                changed();
            }
            changed();
        });
        Ok(Self { api, name: name.to_owned(), held, observer, task })
    }

    /// Whether this replica holds the Lease now.
    #[must_use]
    pub fn is_held(&self) -> bool {
        *self.held.borrow() && !self.task.is_finished()
    }

    /// The Lease itself, to ask the API server about it.
    #[must_use]
    pub fn lease(&self) -> HeldLease {
        HeldLease { api: self.api.clone(), name: self.name.clone() }
    }

    /// True when the election ended by an error of its own and must be joined anew.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Gives the Lease back, so that another replica need not wait for it to run out.
    pub async fn release(self) {
        let Self { held, observer, task, .. } = self;
        // The manager gives the Lease back when nobody listens any more, so the observer must really be gone.
        observer.abort();
        let _ = observer.await;
        drop(held);
        if let Ok(Err(error)) = task.await {
            tracing::debug!(%error, "cannot release a Lease; it runs out by itself");
        }
    }
}
