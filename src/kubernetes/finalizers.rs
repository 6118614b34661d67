//! Adding and removing one finalizer, so that those of others stay.
//!
//! Both are JSON patches that test what they change: when the list moved meanwhile the API server refuses and the next
//! reconcile sees the new list. `kube`'s own helper reconciles only on the event that follows its patch; ours returns the
//! object, so that bringing a tenant up takes one pass.

use std::fmt::Debug;

use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{Error, within};

/// Adds `finalizer` unless it is there; returns the object as the API server has it then, or nothing if it had it.
pub async fn ensure<K>(api: &Api<K>, object: &K, finalizer: &str) -> Result<Option<K>, Error>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    if object.finalizers().iter().any(|present| present == finalizer) {
        return Ok(None);
    }
    let add = if object.finalizers().is_empty() {
        json!([
            { "op": "test", "path": "/metadata/finalizers", "value": null },
            { "op": "add", "path": "/metadata/finalizers", "value": [finalizer] },
        ])
    } else {
        json!([{ "op": "add", "path": "/metadata/finalizers/-", "value": finalizer }])
    };
    patch(api, object, &format!("add finalizer {finalizer} to"), add).await.map(Some)
}

/// True for an object that was deleted although it had `finalizer`, when this is how it was when it went. The API server looks
/// for finalizers before it deletes and not while it does, so that one which is added in between is passed over; whoever
/// has to let go of an object that a deletion waits for finds a deletion timestamp on it.
#[must_use]
pub fn was_passed_over(gone: &impl ResourceExt, finalizer: &str) -> bool {
    gone.meta().deletion_timestamp.is_none() && gone.finalizers().iter().any(|present| present == finalizer)
}

/// Removes `finalizer` from an object that is being deleted; one that is gone, or lost it already, counts as done. The API server
/// refuses when the object is not the one that was looked at, or is not deleted there.
pub async fn remove<K>(api: &Api<K>, object: &K, finalizer: &str) -> Result<(), Error>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let Some(index) = object.finalizers().iter().position(|present| present == finalizer) else {
        return Ok(());
    };
    let path = format!("/metadata/finalizers/{index}");
    let remove = json!([
        { "op": "test", "path": "/metadata/deletionTimestamp", "value": object.meta().deletion_timestamp },
        { "op": "test", "path": path, "value": finalizer },
        { "op": "remove", "path": path },
    ]);
    match patch(api, object, &format!("remove finalizer {finalizer} from"), remove).await {
        Err(error) if error.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}

async fn patch<K>(api: &Api<K>, object: &K, verb: &str, operations: serde_json::Value) -> Result<K, Error>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let name = object.name_any();
    let mut tested = json!([{ "op": "test", "path": "/metadata/uid", "value": object.meta().uid }]);
    if let (Some(list), serde_json::Value::Array(more)) = (tested.as_array_mut(), operations) {
        list.extend(more);
    }
    let operations = serde_json::from_value(tested)
        .map_err(|error| Error::Unreachable { attempt: format!("{verb} {name}"), message: error.to_string() })?;
    within(|| format!("{verb} {name}"), api.patch(&name, &PatchParams::default(), &Patch::<()>::Json(operations))).await
}
