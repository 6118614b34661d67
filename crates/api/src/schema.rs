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
/// What a namespace can be called.
pub(super) const NAMESPACE_NAME: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

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
