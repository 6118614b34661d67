//! What the definitions of the kinds in a cluster lack of those that this release knows. Pure.
//!
//! The API server cuts off what a definition does not have, so that a field which is missing there looks as if it was not set.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

use super::VERSION;

/// The fields of `spec` and `status` that `served` lacks, as `TenantSchema spec.access`.
#[must_use]
pub fn missing_fields(known: &CustomResourceDefinition, served: &CustomResourceDefinition) -> Vec<String> {
    let kind = &known.spec.names.kind;
    let Some(theirs) = schema(served) else { return vec![format!("{kind} {VERSION}")] };
    let ours = schema(known).unwrap_or_default();
    let mut missing = Vec::new();
    for part in ["spec", "status"] {
        let place = format!("/properties/{part}");
        match (ours.pointer(&place), theirs.pointer(&place)) {
            (Some(ours), Some(theirs)) => compare(ours, theirs, &format!("{kind} {part}"), &mut missing),
            (Some(_), None) => missing.push(format!("{kind} {part}")),
            (None, _) => {}
        }
    }
    missing
}

/// What the version that this release speaks looks like; nothing if it is not served.
fn schema(definition: &CustomResourceDefinition) -> Option<Value> {
    let version = definition.spec.versions.iter().find(|version| version.name == VERSION && version.served)?;
    serde_json::to_value(version.schema.as_ref()?.open_api_v3_schema.as_ref()?).ok()
}

fn compare(ours: &Value, theirs: &Value, path: &str, missing: &mut Vec<String>) {
    if theirs.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) {
        return;
    }
    for (name, field) in ours.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = format!("{path}.{name}");
        match theirs.get("properties").and_then(|properties| properties.get(name)) {
            Some(theirs) => compare(field, theirs, &path, missing),
            None => missing.push(path),
        }
    }
    for (part, sign) in [("items", "[]"), ("additionalProperties", ".*")] {
        if let (Some(ours), Some(theirs)) = (ours.get(part), theirs.get(part)) {
            compare(ours, theirs, &format!("{path}{sign}"), missing);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::crds;

    fn tenant() -> CustomResourceDefinition {
        crds().into_iter().find(|definition| definition.spec.names.kind == "TenantSchema").unwrap()
    }

    /// `check(what is changed in the served definition, expected)`.
    fn check(change: impl Fn(&mut Value), expected: &[&str]) {
        let mut served = serde_json::to_value(tenant()).unwrap();
        change(&mut served["spec"]["versions"][0]);
        let served = serde_json::from_value(served).unwrap();
        assert_eq!(missing_fields(&tenant(), &served), expected);
    }

    fn field<'a>(version: &'a mut Value, path: &str) -> &'a mut Value {
        version.pointer_mut(&format!("/schema/openAPIV3Schema/properties/{path}")).unwrap()
    }

    fn remove(version: &mut Value, parent: &str, name: &str) {
        field(version, parent).as_object_mut().unwrap().remove(name).unwrap();
    }

    #[test]
    fn every_field_that_is_missing_is_named() {
        check(|_| {}, &[]);
        check(|version| remove(version, "spec/properties", "access"), &["TenantSchema spec.access"]);
        check(
            |version| remove(version, "spec/properties/quota/properties", "limit"),
            &["TenantSchema spec.quota.limit"],
        );
        check(
            |version| remove(version, "status/properties/conditions/items/properties", "reason"),
            &["TenantSchema status.conditions[].reason"],
        );
        check(
            |version| {
                version["schema"]["openAPIV3Schema"]["properties"].as_object_mut().unwrap().remove("status");
            },
            &["TenantSchema status"],
        );
        check(|version| version["name"] = json!("v1"), &["TenantSchema v1alpha1"]);
        check(|version| version["served"] = json!(false), &["TenantSchema v1alpha1"]);
    }

    #[test]
    fn more_fields_and_a_looser_definition_lack_nothing() {
        check(|version| field(version, "spec/properties")["newer"] = json!({ "type": "string" }), &[]);
        let anything = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
        check(|version| *field(version, "spec") = anything.clone(), &[]);
    }

    #[test]
    fn the_definitions_of_this_release_lack_nothing() {
        for definition in crds() {
            assert_eq!(missing_fields(&definition, &definition), [""; 0]);
        }
    }
}
