//! The edge to the Kubernetes API: status, finalizers, Secrets, Events and Leases, each call with a deadline.
//!
//! Nothing here decides; the drivers do. Errors of `kube` print their own causes, so they are folded into one line here
//! and nowhere walked again.

pub mod backups;
pub mod clock;
pub mod events;
pub mod finalizers;
pub mod id;
pub mod lease;
pub mod reading;
pub mod secrets;
pub mod status;
pub mod world;

use std::{future::Future, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::{
    api::{DeleteParams, GetParams, ListParams, ObjectMeta, PatchParams},
    core::{PartialObjectMeta, Status},
};
use thiserror::Error;
use tokio::time::timeout;

use crate::text::is_object_name;

/// The operator's name as field manager of server-side apply and as reporter of Events.
pub const MANAGER: &str = "tenant-schema-operator";

/// A patch that is no apply, with its writer's name.
fn as_manager() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

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
    /// No object can be called so, and the API server is not asked.
    #[error("no object can be called {0:?}")]
    NoName(String),
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

    /// This user may not do it.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Refused { code: 403, .. })
    }

    /// The closed set that error metrics are labelled with.
    #[must_use]
    pub fn category(&self) -> &'static str {
        match self {
            Self::Refused { code: 409 | 422, .. } => "kubernetes_conflict",
            Self::Refused { code: 403, .. } => "kubernetes_forbidden",
            Self::Refused { .. } | Self::NoName(_) => "kubernetes_refused",
            Self::Unreachable { .. } => "kubernetes_unreachable",
        }
    }
}

/// Runs one call under the deadline and sorts its error. `attempt` completes the sentence "cannot …".
pub async fn within<T>(
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

/// Sends a request, of whose answer nothing but the object's metadata is read.
async fn answer<K: kube::Resource + Clone>(
    api: &kube::Api<K>,
    request: Result<axum::http::Request<Vec<u8>>, kube::core::request::Error>,
) -> Result<ObjectMeta, kube::Error> {
    let text = api.clone().into_client().request_text(request.map_err(kube::Error::BuildRequest)?).await?;
    Ok(reading::metadata_of(&text))
}

/// Names go into the address of a request, where a character that no name has would mean something else.
fn nameable(address: &str, name: &str) -> Result<(), Error> {
    let strange = |byte: u8| !byte.is_ascii_alphanumeric() && !b"-./".contains(&byte);
    if address.bytes().any(strange) || !is_object_name(name) {
        return Err(Error::NoName(name.to_owned()));
    }
    Ok(())
}

/// One object, straight from the API server; nothing when it is not there.
pub async fn read<K>(api: &kube::Api<K>, name: &str) -> Result<Option<K>, Error>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    nameable(api.resource_url(), name)?;
    within(|| format!("read {name}"), async { if_there(name, api.get(name).await) }).await
}

/// Deletes one object; one that is gone is no error.
pub async fn delete<K>(api: &kube::Api<K>, name: &str) -> Result<(), Error>
where
    K: kube::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    match within(|| format!("delete {} {name}", K::kind(&())), api.delete(name, &DeleteParams::default())).await {
        Err(error) if error.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}

/// The metadata of one object, straight from the API server; nothing when it is not there.
pub async fn read_metadata<K>(api: &kube::Api<K>, name: &str) -> Result<Option<PartialObjectMeta<K>>, Error>
where
    K: kube::Resource<DynamicType = ()> + Clone,
{
    nameable(api.resource_url(), name)?;
    let request = kube::core::Request::new(api.resource_url()).get_metadata(name, &GetParams::default());
    let found = within(|| format!("read {name}"), async { if_there(name, answer(api, request).await) }).await?;
    Ok(found.map(|metadata| PartialObjectMeta { types: None, metadata, _phantom: std::marker::PhantomData }))
}

/// Nothing when the API server says that this very object is not there. A path that leads nowhere, as while a kind is not
/// served or by a proxy, has the same code and says nothing about the object.
fn if_there<T>(name: &str, answer: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    let says_absent = |status: &Status| {
        status.reason == "NotFound" && status.details.as_ref().is_some_and(|details| details.name == name)
    };
    match answer {
        Err(kube::Error::Api(status)) if says_absent(&status) => Ok(None),
        other => other.map(Some),
    }
}

/// One page of a list, of whose items nothing but the metadata is read.
#[derive(serde::Deserialize)]
struct Page {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(default)]
    items: Vec<reading::Outline>,
}

/// Tells the metadata of all objects, page by page, whatever else is in them; no more than one page is held.
pub async fn list_versions<K>(
    api: &kube::Api<K>,
    selected: &ListParams,
    mut told: impl FnMut(&ObjectMeta),
) -> Result<(), Error>
where
    K: kube::Resource<DynamicType = ()> + Clone,
{
    let mut selected = selected.clone().limit(500);
    loop {
        let page = async {
            let request = kube::core::Request::new(api.resource_url()).list_metadata(&selected);
            let request = request.map_err(kube::Error::BuildRequest)?;
            api.clone().into_client().request::<Page>(request).await
        };
        let page = within(|| format!("list the versions of kind {}", K::kind(&())), page).await?;
        page.items.iter().for_each(|outline| told(&outline.0));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => selected.continue_token = Some(token),
            None => return Ok(()),
        }
    }
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

/// Namespace and name of an object, as `kubectl` writes them.
#[must_use]
pub fn full_name(object: &ObjectMeta) -> String {
    let name = object.name.as_deref().unwrap_or_default();
    object.namespace.as_ref().map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_object_is_called_is_asked_of_no_api_server() {
        let path = "/apis/edumatrixhub.io/v1alpha1/namespaces/team-a/tenantschemas";
        assert!(nameable(path, "school.a-1").is_ok());
        for (path, name) in
            [(path, "?watch=true&n=1"), (path, ".."), (path, "a/b"), ("/apis/g/v1/namespaces/a?b=c/k", "a")]
        {
            assert!(matches!(nameable(path, name), Err(Error::NoName(_))), "{path} {name}");
        }
    }

    #[test]
    fn a_path_that_leads_nowhere_is_no_object_that_is_gone() {
        let check = |status: serde_json::Value, absent: bool| {
            let status: Status = serde_json::from_value(status).unwrap();
            let answer = if_there::<()>("school", Err(kube::Error::Api(Box::new(status))));
            assert_eq!(matches!(answer, Ok(None)), absent, "{answer:?}");
        };
        let of = |reason: &str, code: u16, name: &str| serde_json::json!({ "status": "Failure", "reason": reason, "code": code, "details": { "name": name } });
        check(of("NotFound", 404, "school"), true);
        check(of("NotFound", 404, "another"), false);
        check(of("Forbidden", 403, "school"), false);
        check(serde_json::json!({ "status": "Failure", "reason": "NotFound", "code": 404 }), false);
        check(
            serde_json::json!({ "reason": "Failed to parse error data", "message": "404 page not found", "code": 404 }),
            false,
        );
    }
}
