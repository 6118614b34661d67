//! Adding and removing one finalizer, so that those of others stay.
//!
//! Both are JSON patches that test what they change: when the list moved meanwhile the API server refuses and the next
//! reconcile sees the new list. `kube`'s own helper reconciles only on the event that follows its patch; ours returns
//! what the object's metadata is then, so that bringing a tenant up takes one pass. No more of the answer is read: a
//! user may have changed the rest to something that cannot be read.

use kube::{
    Api, Resource, ResourceExt,
    api::{ObjectMeta, Patch},
    core::Request,
};
use serde_json::json;

use super::{Error, answer, as_manager, within};

/// Adds `finalizer` unless it is there; returns the metadata as the API server has it then, or nothing if it had it.
pub async fn ensure<K: Resource + Clone>(
    api: &Api<K>,
    object: &K,
    finalizer: &str,
) -> Result<Option<ObjectMeta>, Error> {
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
    patch(api, object.meta(), &format!("add finalizer {finalizer} to"), add).await.map(Some)
}

/// True for an object that was deleted although it had `finalizer`, when this is how it was when it went. The API
/// server looks for finalizers before it deletes and not while it does, so that it ignores a finalizer which is added
/// in between. An object whose deletion waited for its finalizers has a deletion timestamp.
#[must_use]
pub fn was_passed_over(gone: &impl ResourceExt, finalizer: &str) -> bool {
    gone.meta().deletion_timestamp.is_none() && gone.finalizers().iter().any(|present| present == finalizer)
}

/// Removes `finalizer` from an object that is being deleted, which has this metadata; one that is gone, or lost it already, counts
/// as done. The API server refuses when the object is not the one that was looked at, or is not deleted there.
pub async fn remove<K: Resource + Clone>(api: &Api<K>, object: &ObjectMeta, finalizer: &str) -> Result<(), Error> {
    let Some(index) = object.finalizers.iter().flatten().position(|present| present == finalizer) else {
        return Ok(());
    };
    let path = format!("/metadata/finalizers/{index}");
    let remove = json!([
        { "op": "test", "path": "/metadata/deletionTimestamp", "value": object.deletion_timestamp },
        { "op": "test", "path": path, "value": finalizer },
        { "op": "remove", "path": path },
    ]);
    match patch(api, object, &format!("remove finalizer {finalizer} from"), remove).await {
        Err(error) if error.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}

async fn patch<K: Resource + Clone>(
    api: &Api<K>,
    object: &ObjectMeta,
    verb: &str,
    operations: serde_json::Value,
) -> Result<ObjectMeta, Error> {
    let name = object.name.as_deref().unwrap_or_default();
    let mut tested = json!([{ "op": "test", "path": "/metadata/uid", "value": object.uid }]);
    if let (Some(list), serde_json::Value::Array(more)) = (tested.as_array_mut(), operations) {
        list.extend(more);
    }
    let operations = serde_json::from_value(tested)
        .map_err(|error| Error::Unreachable { attempt: format!("{verb} {name}"), message: error.to_string() })?;
    let request = Request::new(api.resource_url()).patch(name, &as_manager(), &Patch::<()>::Json(operations));
    within(|| format!("{verb} {name}"), answer(api, request)).await
}
