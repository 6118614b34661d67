//! Writing a status: server-side apply on the status subresource, under this operator's name.
//!
//! UID and version of the object that was looked at go along, so that a status never lands on another object of the
//! same name, nor over what another client has written since. Whether a write is needed is the driver's question; here
//! it is only written. Of the answer no more than the metadata is read: a user may have changed the rest to something
//! that cannot be read.

use std::collections::BTreeMap;

use kube::{
    Api, Resource,
    api::{GetParams, ObjectMeta, Patch, PatchParams},
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
    match write(api, object.meta(), status).await {
        Err(refused @ Error::Refused { code: 422, .. }) => match with_all_conditions(api, object.meta(), status).await?
        {
            Some(whole) => match write(api, object.meta(), &whole).await? {
                Written::As(resource_version) => {
                    write(api, &ObjectMeta { resource_version, ..object.meta().clone() }, status).await
                }
                other => Ok(other),
            },
            None => Err(refused),
        },
        other => other,
    }
}

/// The status with every condition that the object has and the status does not have any more. Another client that wrote a part of such
/// a condition owns that part: applying a status without the condition takes away the rest alone, and half a condition is
/// refused. Applied whole, with words that no client wrote, it is ours, and goes with the next write. Nothing when there is none.
async fn with_all_conditions<K>(
    api: &Api<K>,
    object: &ObjectMeta,
    status: &impl Serialize,
) -> Result<Option<Value>, Error>
where
    K: Resource<DynamicType = ()> + Clone,
{
    let name = object.name.as_deref().unwrap_or_default();
    let found = async {
        let request = Request::new(api.resource_url()).get(name, &GetParams::default());
        api.clone().into_client().request_text(request.map_err(kube::Error::BuildRequest)?).await
    };
    let found = within(|| format!("read {} {name}", K::kind(&())), found).await?;
    let found: Value = serde_json::from_str(&found).unwrap_or_default();
    let mut whole = serde_json::to_value(status).unwrap_or_default();
    let Some(Value::Array(ours)) = whole.get_mut("conditions") else { return Ok(None) };
    let former: Vec<_> = found["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|condition| &condition["type"])
        .filter(|type_| ours.iter().all(|condition| condition["type"] != **type_))
        .map(|type_| {
            json!({ "type": type_, "status": "Unknown", "reason": "Removed", "message": "",
                "lastTransitionTime": "1970-01-01T00:00:00Z" })
        })
        .collect();
    let is_needed = !former.is_empty();
    ours.extend(former);
    Ok(is_needed.then_some(whole))
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
