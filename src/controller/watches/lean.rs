//! What of an object's metadata is kept. Managed fields are two thirds of an object, and what `kubectl apply` keeps in an annotation is
//! the whole of it once more. Pure.

use std::collections::BTreeMap;

use kube::api::ObjectMeta;

use crate::api::GROUP;

/// For what the operator works on: of the annotations and labels its own.
pub fn ours(metadata: &mut ObjectMeta) {
    metadata.labels = of_our_group(metadata.labels.take());
    namespace(metadata);
}

/// For namespaces, whose labels say which databases they may use.
pub fn namespace(metadata: &mut ObjectMeta) {
    metadata.annotations = of_our_group(metadata.annotations.take());
    machine(metadata);
}

/// An empty map takes memory as well.
fn of_our_group(all: Option<BTreeMap<String, String>>) -> Option<BTreeMap<String, String>> {
    let ours = all.unwrap_or_default().into_iter().filter(|(key, _)| key.split('/').next() == Some(GROUP));
    Some(ours.collect()).filter(|ours: &BTreeMap<_, _>| !ours.is_empty())
}

/// For everything.
pub fn machine(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_schedule_of_a_backup_is_kept() {
        let labels = json!({ "edumatrixhub.io/schedule": "daily", "team": "a" });
        let mut metadata: ObjectMeta = serde_json::from_value(json!({ "labels": labels })).unwrap();
        ours(&mut metadata);
        assert_eq!(json!(metadata.labels), json!({ "edumatrixhub.io/schedule": "daily" }));
    }

    fn check(lean: fn(&mut ObjectMeta), expected: &Value) {
        let mut metadata: ObjectMeta = serde_json::from_value(json!({
            "name": "school", "uid": "u", "finalizers": ["f"], "labels": { "team": "a" },
            "annotations": {
                "edumatrixhub.io/paused": "", "edumatrixhub.io.example/paused": "",
                "kubectl.kubernetes.io/last-applied-configuration": "{}",
            },
            "managedFields": [{ "manager": "kubectl" }],
        }))
        .unwrap();
        lean(&mut metadata);
        assert_eq!(serde_json::to_value(&metadata).unwrap(), *expected);
        metadata.annotations = Some([("argocd.argoproj.io/tracking-id".to_owned(), String::new())].into());
        lean(&mut metadata);
        let kept = metadata.annotations.is_some();
        assert_eq!(kept, expected["annotations"].as_object().unwrap().len() > 1, "an empty map takes memory as well");
    }

    #[test]
    fn nothing_is_kept_that_is_not_read() {
        let own = json!({ "edumatrixhub.io/paused": "" });
        check(ours, &json!({ "name": "school", "uid": "u", "finalizers": ["f"], "annotations": own }));
        let labels = json!({ "team": "a" });
        check(
            namespace,
            &json!({ "name": "school", "uid": "u", "finalizers": ["f"], "labels": labels, "annotations": own }),
        );
        let all = json!({
            "edumatrixhub.io/paused": "", "edumatrixhub.io.example/paused": "",
            "kubectl.kubernetes.io/last-applied-configuration": "{}",
        });
        check(
            machine,
            &json!({ "name": "school", "uid": "u", "finalizers": ["f"], "labels": labels, "annotations": all }),
        );
    }
}
