//! Schemas that the derives cannot know, and the last pass over a generated CRD.
//!
//! The derives write what the Rust types say. Kubernetes wants more: bounds on what is borrowed from Kubernetes itself,
//! no `nullable`, lists in a fixed order, a first status. All of that is added here, so that the types stay readable.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Number, Value, json};

/// What a size looks like: an expression of CEL, which both rules about sizes begin with.
macro_rules! size_form {
    () => {
        "self.matches('^[+]?([0-9]+[.]?[0-9]*|[.][0-9]+)\
         (Ki|Mi|Gi|Ti|Pi|Ei|k|M|G|T|P|E|[eE][+]?0?([0-9]|1[0-8]))?$')"
    };
}

/// What an object can be called; [`crate::text::is_object_name`] asks the same.
pub(super) const OBJECT_NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// What a role can be called to which a tenant gives something: printable ASCII that neither begins nor ends with a blank.
pub(super) const ROLE_NAME: &str = r"^[!-~]([ -~]*[!-~])?$";
/// What a namespace can be called.
pub(super) const NAMESPACE_NAME: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

/// A setting that is no server's own: it has a part before a dot.
pub(super) const CUSTOM_SETTING: &str = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$";
/// What may follow the name of an object in the name of another.
pub(super) const NAME_SUFFIX: &str = "^[-.a-z0-9]*[a-z0-9]$";
/// A name or address of a server.
pub(super) const HOST: &str = "^[-._:A-Za-z0-9]+$";

/// A size as [`crate::quantity::Bytes`] reads it.
pub(super) const SIZE_RULE: &str = size_form!();

/// A size that is something and can be counted exactly; what is no size at all is for the other rule to say.
pub(super) const SIZE_BOUNDS_RULE: &str = concat!(
    "!",
    size_form!(),
    " || (quantity(self).isGreaterThan(quantity('0')) && !quantity(self).isGreaterThan(quantity('8Pi')))"
);

/// `metav1.Condition` as a list of which every type has one entry, so that server-side apply owns entries one by one.
pub(super) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 8,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "lastTransitionTime": {
                    "type": "string",
                    "format": "date-time",
                    "description": "Since when the status is what it is.",
                },
                "message": {
                    "type": "string",
                    "maxLength": super::condition::MESSAGE_MAX_CHARS,
                    "description": "What is the case, and what to do about it, for people.",
                },
                "observedGeneration": {
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                    "description": "The `metadata.generation` that this condition is about.",
                },
                "reason": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 64,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                    "description": "Why, as one word of a closed list; see conditions.md.",
                },
                "status": {
                    "type": "string",
                    "enum": ["True", "False", "Unknown"],
                    "description": "Whether the condition holds.",
                },
                "type": {
                    "type": "string",
                    "maxLength": 64,
                    "pattern": "^[A-Za-z]([A-Za-z0-9]*)$",
                    "description": "`Ready` always; `Reconciling` and `Stalled` only while they hold.",
                },
            },
        },
    })
}

/// `metav1.LabelSelector` with bounds.
pub(super) fn label_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchLabels": {
                "type": "object",
                "maxProperties": 32,
                "additionalProperties": {"type": "string", "maxLength": 63},
                "description": "Labels that must all be there with these values.",
            },
            "matchExpressions": {
                "type": "array",
                "maxItems": 32,
                "x-kubernetes-list-type": "atomic",
                "description": "Requirements on labels that must all be met.",
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {
                            "type": "string",
                            "minLength": 1,
                            "maxLength": 317,
                            "description": "The label that the requirement is about.",
                        },
                        "operator": {
                            "type": "string",
                            "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                            "description": "How the label is compared with the values.",
                        },
                        "values": {
                            "type": "array",
                            "maxItems": 64,
                            "x-kubernetes-list-type": "atomic",
                            "items": {"type": "string", "maxLength": 63},
                            "description": "Values for `In` and `NotIn`; none for `Exists` and `DoesNotExist`.",
                        },
                    },
                },
            },
        },
    })
}

/// A JSON object of which the API server knows no more than that it is one.
pub(super) fn free_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "maxProperties": 256})
}

/// Takes an enum's description away: the derive would put it in the place of the description of the field.
pub(super) fn undescribed(schema: &mut Schema) {
    schema.remove("description");
}

/// Reads a word of `status` that this version may not know yet.
///
/// A newer operator that was rolled back leaves such words behind. They must not make the object unreadable, and the
/// next status replaces them anyway.
pub(super) fn known_word<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).ok())
}

/// The last pass over a generated CRD: no `nullable`, sorted lists, whole paragraphs, bounded times, and a status to begin with.
pub(super) fn finish(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let Some(root) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) else {
            continue;
        };
        tidy(root);
        if let Some(status) = root.properties.as_mut().and_then(|properties| properties.get_mut("status")) {
            // Without it kstatus takes an object that no controller has seen yet for a finished one.
            status.default = Some(JSON(json!({"observedGeneration": -1})));
        }
    }
    crd
}

/// The same value with the keys of maps sorted and whole numbers written as such.
///
/// Bounds are floats in the types of Kubernetes, but `maximum: 100.0` is not what a person would write; and the order of
/// `serde_json` depends on a feature that any crate of the build may switch on.
pub(super) fn plain(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<String, Value> = map.into_iter().collect();
            Value::Object(sorted.into_iter().map(|(key, value)| (key, plain(value))).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(plain).collect()),
        Value::Number(number) => {
            let whole = number.as_f64().filter(|_| number.is_f64()).map(|number| format!("{number:.0}"));
            let same = whole.and_then(|whole| whole.parse::<i64>().ok()).map(Number::from);
            // A float that is not whole would lose its fraction; there is none in a definition, and it stays a float.
            Value::Number(same.filter(|same| same.as_f64() == number.as_f64()).unwrap_or(number))
        }
        other => other,
    }
}

/// Applies to `schema` and everything below it what Kubernetes wants of every node.
fn tidy(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if let Some(description) = &mut schema.description {
        // Where a doc comment breaks its lines is a matter of Rust; paragraphs are the reader's.
        let paragraphs = description.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
        *description = paragraphs.collect::<Vec<_>>().join("\n\n");
    }
    if let Some(required) = &mut schema.required {
        required.sort();
    }
    if schema.format.as_deref() == Some("date-time") && schema.max_length.is_none() {
        schema.max_length = Some(64);
    }
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        tidy(property);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => tidy(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(tidy),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        tidy(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TenantSchemaStatus, crds, tenant_status::State};

    /// A field of a kind as the API server knows it.
    fn field(kind: &str, path: &str) -> Value {
        let crd = crds().into_iter().find(|crd| crd.spec.names.kind == kind).unwrap();
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        path.split('.').fold(schema["openAPIV3Schema"].clone(), |schema, name| schema["properties"][name].clone())
    }

    #[test]
    fn the_api_server_keeps_what_it_does_not_know_of_a_config_which_is_an_object() {
        let config = field("TenantSchema", "spec.config");
        assert_eq!(config["type"], "object");
        assert_eq!(config["x-kubernetes-preserve-unknown-fields"], true);
    }

    /// Without a part of it a selector would select more namespaces than the platform team wrote.
    #[test]
    fn the_api_server_keeps_every_part_of_a_selector_of_namespaces() {
        let check = |path: &str, type_: &str| {
            assert_eq!(field("TenantDatabase", &format!("spec.allowedNamespaces{path}"))["type"], type_, "{path}");
        };
        check("", "object");
        check(".matchLabels", "object");
        check(".matchExpressions", "array");
        let requirement = &field("TenantDatabase", "spec.allowedNamespaces.matchExpressions")["items"]["properties"];
        for (name, type_) in [("key", "string"), ("operator", "string"), ("values", "array")] {
            assert_eq!(requirement[name]["type"], type_, "{name}");
        }
    }

    #[test]
    fn a_field_of_a_few_words_explains_each_of_them() {
        let check = |kind: &str, path: &str, words: &[&str]| {
            let description = field(kind, path)["description"].as_str().unwrap_or_default().to_owned();
            assert!(words.iter().all(|word| description.contains(word)), "{path}: {description}");
        };
        check("TenantSchema", "spec.access", &["`ReadWrite`: ", "`Suspended`: ", "Default: "]);
        check("TenantSchema", "spec.deletionPolicy", &["`BackupThenDrop`: ", "`Drop`: ", "`Retain`: ", "Default: "]);
    }

    #[test]
    fn a_status_with_a_word_of_a_newer_release_can_be_read_without_it() {
        let check = |state: Value, expected: Option<State>| {
            let status = json!({ "state": state, "schemaName": "a" });
            let status: TenantSchemaStatus = serde_json::from_value(status).unwrap();
            assert_eq!((status.state, status.schema_name.as_deref()), (expected, Some("a")), "{state}");
        };
        check(json!("Active"), Some(State::Active));
        check(json!("Dropping"), Some(State::Dropping));
        check(json!("Hibernating"), None);
        check(json!({ "phase": "Active" }), None);
        check(Value::Null, None);
    }

    #[test]
    fn a_definition_reads_as_a_person_would_write_it() {
        let check = |value: Value, expected: &str| assert_eq!(plain(value).to_string(), expected);
        check(json!({ "minimum": 1.0, "maximum": 100.0 }), r#"{"maximum":100,"minimum":1}"#);
        check(json!([-1.0, 0.0, 9_007_199_254_740_992.0]), "[-1,0,9007199254740992]");
        check(json!([0.5, 1.5, -0.5]), "[0.5,1.5,-0.5]");
        check(json!([7, "1.0", true, null]), r#"[7,"1.0",true,null]"#);
    }

    #[test]
    fn every_node_of_a_definition_is_as_kubernetes_wants_it() {
        let tidied = |written: &Value| {
            let mut schema = serde_json::from_value(written.clone()).unwrap();
            tidy(&mut schema);
            serde_json::to_value(schema).unwrap()
        };
        let check = |written: Value, expected: Value| {
            assert_eq!(tidied(&written), expected);
            let below = |node: &Value| json!({ "properties": { "a": { "items": { "additionalProperties": node } } } });
            assert_eq!(tidied(&below(&written)), below(&expected));
        };
        check(json!({ "type": "string", "nullable": true }), json!({ "type": "string" }));
        check(json!({ "required": ["b", "a"] }), json!({ "required": ["a", "b"] }));
        check(
            json!({ "description": "One\nline.\n\nTwo\nlines." }),
            json!({ "description": "One line.\n\nTwo lines." }),
        );
        check(json!({ "format": "date-time" }), json!({ "format": "date-time", "maxLength": 64 }));
        check(json!({ "format": "date-time", "maxLength": 20 }), json!({ "format": "date-time", "maxLength": 20 }));
        check(json!({ "format": "int64" }), json!({ "format": "int64" }));
        check(json!({ "type": "string" }), json!({ "type": "string" }));
    }
}
