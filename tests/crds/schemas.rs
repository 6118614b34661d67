//! JSON schemas of the kinds, for editors and for tools that check files before they are applied.

use std::{fs, path::Path};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};
use tenant_schema_operator::api::crds;

/// The schema of a kind: that of its definition, and unknown fields are wrong, as the API server says under strict validation.
fn schema(crd: &CustomResourceDefinition) -> Value {
    let version = &crd.spec.versions[0];
    let whole = version.schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
    let mut schema = serde_json::to_value(whole).unwrap();
    close(&mut schema);
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!(crd.spec.names.kind);
    let properties = schema["properties"].as_object_mut().unwrap();
    properties.insert("apiVersion".to_owned(), json!({ "const": format!("{}/{}", crd.spec.group, version.name) }));
    properties.insert("kind".to_owned(), json!({ "const": crd.spec.names.kind }));
    properties.insert("metadata".to_owned(), json!({ "type": "object" }));
    schema
}

/// Objects whose fields are listed have no others.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("properties").is_some_and(Value::is_object)
                && !fields.contains_key("x-kubernetes-preserve-unknown-fields")
            {
                fields.entry("additionalProperties").or_insert(json!(false));
            }
            fields.values_mut().for_each(close);
        }
        Value::Array(values) => values.iter_mut().for_each(close),
        _ => {}
    }
}

#[test]
fn json_schemas_are_fresh() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    fs::create_dir_all(&folder).unwrap();
    let mut rewritten = Vec::new();
    for crd in crds() {
        let file =
            folder.join(format!("{}_{}.json", crd.spec.names.singular.as_ref().unwrap(), crd.spec.versions[0].name));
        let text = serde_json::to_string_pretty(&schema(&crd)).unwrap() + "\n";
        if fs::read_to_string(&file).ok().as_ref() != Some(&text) {
            fs::write(&file, text).unwrap();
            rewritten.push(file);
        }
    }
    assert!(rewritten.is_empty(), "{rewritten:?} were stale and have been written again; commit them");
}

#[test]
fn a_schema_knows_no_field_that_the_kind_does_not_have() {
    let of = |kind: &str| schema(&crds().into_iter().find(|crd| crd.spec.names.kind == kind).unwrap());
    let tenant = of("TenantSchema");
    assert_eq!(tenant["properties"]["spec"]["additionalProperties"], json!(false));
    assert_eq!(tenant["properties"]["kind"]["const"], json!("TenantSchema"));
    let config = &tenant["properties"]["spec"]["properties"]["config"];
    assert_ne!(config["additionalProperties"], json!(false), "what is in config is the user's: {config}");
}
