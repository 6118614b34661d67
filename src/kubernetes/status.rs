//! Writing a status: server-side apply on the status subresource, under this operator's name.
//!
//! UID and version of the object that was looked at go along, so that a status never lands on another object of the same name,
//! nor over what another has written since. Whether a write is needed is the driver's question; here it is only written.

use std::fmt::Debug;

use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use super::{Error, MANAGER, within};

/// What became of a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is written; the resource version that carries it.
    As(Option<String>),
    /// The object is gone.
    Gone,
    /// The object is not the one any more that was looked at; nothing is written.
    Outdated,
}

/// Applies `status`.
pub async fn apply<K>(api: &Api<K>, object: &K, status: &impl Serialize) -> Result<Written, Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let name = object.name_any();
    let body = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": { "name": name, "uid": object.meta().uid, "resourceVersion": object.resource_version() },
        "status": status,
    });
    let written = within(
        || format!("write the status of {} {name}", K::kind(&())),
        api.patch_status(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&body)),
    )
    .await;
    match written {
        Ok(written) => Ok(Written::As(written.resource_version())),
        Err(error) if error.is_not_found() => Ok(Written::Gone),
        Err(Error::Refused { code: 409, .. }) => Ok(Written::Outdated),
        Err(error) => Err(error),
    }
}
