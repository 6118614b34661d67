//! Writing a status: server-side apply on the status subresource, under this operator's name.
//!
//! UID and version of the object that was looked at go along, so that a status never lands on another object of the
//! same name, nor over what another client has written since. Whether a write is needed is the driver's question; here
//! it is only written. Of the answer no more than the metadata is read: a user may have changed the rest to something
//! that cannot be read.

use std::collections::BTreeMap;

use kube::{
    Api, Resource,
    api::{ObjectMeta, Patch, PatchParams},
    core::Request,
};
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};

use super::{Error, MANAGER, answer, within};

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
    K: Resource<DynamicType = ()> + Clone,
{
    write(api, object.meta(), status).await
}

/// Applies the status of an object that cannot be read, field by field as it is.
pub async fn apply_unread<K>(
    api: &Api<K>,
    object: &ObjectMeta,
    status: &BTreeMap<String, Box<RawValue>>,
) -> Result<Written, Error>
where
    K: Resource<DynamicType = ()> + Clone,
{
    write(api, object, status).await
}

/// What is applied. Texts in it go as they are.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a, S> {
    api_version: &'a str,
    kind: &'a str,
    metadata: Value,
    status: &'a S,
}

async fn write<K>(api: &Api<K>, object: &ObjectMeta, status: &impl Serialize) -> Result<Written, Error>
where
    K: Resource<DynamicType = ()> + Clone,
{
    let name = object.name.as_deref().unwrap_or_default();
    let metadata = json!({ "name": name, "uid": object.uid, "resourceVersion": object.resource_version });
    let body = Body { api_version: &K::api_version(&()), kind: &K::kind(&()), metadata, status };
    let parameters = PatchParams::apply(MANAGER).force();
    let request = Request::new(api.resource_url()).patch_subresource("status", name, &parameters, &Patch::Apply(&body));
    match within(|| format!("write the status of {} {name}", body.kind), answer(api, request)).await {
        Ok(written) => Ok(Written::As(written.resource_version)),
        Err(error) if error.is_not_found() => Ok(Written::Gone),
        Err(Error::Refused { code: 409, .. }) => Ok(Written::Outdated),
        Err(error) => Err(error),
    }
}
