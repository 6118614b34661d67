//! Writing a status: server-side apply on the status subresource, under this operator's name.
//!
//! The UID goes along, so that a status never lands on another object of the same name. Whether a write is needed is the
//! driver's question; here it is only written.

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
        "metadata": { "name": name, "uid": object.meta().uid },
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
        Err(error) => Err(error),
    }
}
