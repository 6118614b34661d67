//! The edge to the Kubernetes API: status, finalizers, Secrets, Events and Leases, each call with a deadline.
//!
//! Nothing here decides; the drivers do. Errors of `kube` print their own causes, so they are folded into one line here
//! and nowhere walked again.

pub mod events;
pub mod finalizers;
pub mod lease;
pub mod secrets;
pub mod status;

use std::{future::Future, time::Duration};

use kube::{
    api::ListParams,
    core::{PartialObjectMeta, Status},
};
use thiserror::Error;
use tokio::time::timeout;

/// Who writes: the field manager of server-side apply, and the reporter of Events.
pub const MANAGER: &str = "tenant-schema-operator";

/// No call to the API may take longer. The client tries 429 and 503 again within this time.
const DEADLINE: Duration = Duration::from_secs(15);

/// What failed at the edge to Kubernetes.
#[derive(Debug, Error)]
pub enum Error {
    /// The API server answered with an error.
    #[error("cannot {attempt}: {message}")]
    Refused {
        /// As `write the status of team-a/school`.
        attempt: String,
        /// HTTP status.
        code: u16,
        /// The API server's words.
        message: String,
    },
    /// The API server did not answer, or not in time.
    #[error("cannot {attempt}: {message}")]
    Unreachable {
        /// As `write the status of team-a/school`.
        attempt: String,
        /// What went wrong on the way.
        message: String,
    },
}

impl Error {
    /// The object is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { code: 404, .. })
    }

    /// The closed set that error metrics are labelled with.
    #[must_use]
    pub fn category(&self) -> &'static str {
        match self {
            Self::Refused { code: 409 | 422, .. } => "kubernetes_conflict",
            Self::Refused { code: 403, .. } => "kubernetes_forbidden",
            Self::Refused { .. } => "kubernetes_refused",
            Self::Unreachable { .. } => "kubernetes_unreachable",
        }
    }
}

/// Runs one call under the deadline and sorts its error. `attempt` completes the sentence "cannot …".
async fn within<T>(
    attempt: impl FnOnce() -> String,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Error> {
    match timeout(DEADLINE, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Api(status))) => {
            let Status { code, message, .. } = *status;
            Err(Error::Refused { attempt: attempt(), code, message })
        }
        Ok(Err(error)) => Err(Error::Unreachable { attempt: attempt(), message: error.to_string() }),
        Err(_) => Err(Error::Unreachable {
            attempt: attempt(),
            message: format!("the API server did not answer within {DEADLINE:?}"),
        }),
    }
}

/// One object, straight from the API server; nothing when it is not there.
pub async fn read<K>(api: &kube::Api<K>, name: &str) -> Result<Option<K>, Error>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    within(|| format!("read {name}"), api.get_opt(name)).await
}

/// The metadata of objects, straight from the API server; none when it does not know their kind.
pub async fn list_metadata<K>(api: &kube::Api<K>, selected: &ListParams) -> Result<Vec<PartialObjectMeta<K>>, Error>
where
    K: kube::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    match within(|| format!("list objects of kind {}", K::kind(&())), api.list_metadata(selected)).await {
        Ok(list) => Ok(list.items),
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
