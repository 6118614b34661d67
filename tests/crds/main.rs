//! The manifests in `crds/` are what the types say, and they refuse and accept what they should. A stale manifest is
//! written again, and the test fails once so that the change is seen and committed.
//!
//! Rules are run on the definitions as they are shipped, by the CEL of the kube crate. What only an API server can tell
//! (structural validation, cost budgets) is for the tests that have one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test fail the test")]

mod cases;
mod examples;
mod released;
mod schemas;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::cel::Validator;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tenant_schema_operator::api::{
    self, GROUP, SchemaBackup, TenantDatabase, TenantSchema, VERSION, crd_yaml, crds, crds_yaml,
};
use tenant_schema_operator::ident::SchemaName;
use tenant_schema_operator::quantity::Bytes;

use cases::{Case, cases};
use examples::{INSTITUTION, backup, database, tenant};

#[test]
fn manifests_are_fresh() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    fs::create_dir_all(&folder).unwrap();
    let mut rewritten = Vec::new();
    let mut known = BTreeSet::new();
    for crd in crds() {
        let file = format!("{}.yaml", crd.spec.names.plural);
        let text = crd_yaml(&crd).unwrap();
        if fs::read_to_string(folder.join(&file)).ok().as_ref() != Some(&text) {
            fs::write(folder.join(&file), text).unwrap();
            rewritten.push(file.clone());
        }
        known.insert(file);
    }
    let found = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let strangers: Vec<String> = found.filter(|file| !known.contains(file)).collect();
    assert!(strangers.is_empty(), "no kind generates crds/{strangers:?}; remove them");
    assert!(rewritten.is_empty(), "crds/{rewritten:?} were stale and have been written again; commit them");
}

#[test]
fn manifests_read_back_as_what_was_written() {
    for crd in crds() {
        let again: CustomResourceDefinition = serde_saphyr::from_str(&crd_yaml(&crd).unwrap()).unwrap();
        assert_eq!(again, crd);
    }
    assert_eq!(crds_yaml().unwrap().matches("\nkind: CustomResourceDefinition\n").count(), crds().len());
}

#[test]
fn kinds_have_the_names_that_people_type() {
    let names = crds().into_iter().map(|crd| {
        let names = &crd.spec.names;
        let (short, categories) = (names.short_names.as_ref().unwrap(), names.categories.as_ref().unwrap());
        assert_eq!(crd.spec.group, GROUP);
        assert_eq!(crd.spec.versions[0].name, VERSION);
        // kubectl expands a category before it looks for a resource, so `kubectl delete tenantschemas --all` would
        // otherwise delete the backups and databases too.
        assert!(!categories.contains(&names.plural) && !categories.contains(names.singular.as_ref().unwrap()));
        format!("{} {} {} {}", names.plural, short.join(","), categories.join(","), crd.spec.scope)
    });
    assert_eq!(
        names.collect::<Vec<_>>(),
        [
            "tenantdatabases tdb edumatrixhub Cluster",
            "tenantschemas ts edumatrixhub Namespaced",
            "schemabackups sb edumatrixhub Namespaced",
        ]
    );
}

#[test]
fn columns_answer_who_where_ready_why_how_much_since_when() {
    let columns = |kind: &str| {
        let crd = crd(kind);
        let columns = crd.spec.versions[0].additional_printer_columns.clone().unwrap();
        let (wide, always): (Vec<_>, Vec<_>) = columns.into_iter().partition(|column| column.priority == Some(1));
        [always, wide].map(|some| some.into_iter().map(|column| column.name).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(columns("TenantDatabase"), ["Version Tenants Size Ready Reason Age", "Holder Functions Message"]);
    assert_eq!(
        columns("TenantSchema"),
        ["Schema Database Ready Reason Size Tables Age", "State Quota% Deletion-Policy Last-Backup Message"]
    );
    assert_eq!(
        columns("SchemaBackup"),
        ["Tenant Method Ready Reason Size Completed Verified Age", "Schedule Location Expires Message"]
    );
}

#[test]
fn everything_is_bounded_and_nothing_in_a_spec_is_defaulted() {
    for crd in crds() {
        let mut complaints = Vec::new();
        let root = schema(&crd);
        assert_eq!(root["properties"]["status"]["default"], json!({"observedGeneration": -1}));
        for part in ["spec", "status"] {
            complain(&root["properties"][part], part, &mut complaints);
        }
        assert!(complaints.is_empty(), "{}: {complaints:#?}", crd.spec.names.kind);
    }
}

#[test]
fn every_rule_refuses_and_accepts() {
    let mut refused = BTreeSet::new();
    for Case { kind, old, new, refusals } in cases() {
        let found = judge(kind, &new, (!old.is_null()).then_some(&old));
        let expected: BTreeSet<String> = refusals.iter().map(|&refusal| refusal.to_owned()).collect();
        assert_eq!(found, expected, "{kind} {old} -> {new}");
        refused.extend(found.into_iter().map(|refusal| format!("{kind} {refusal}")));
    }
    let mut rules = BTreeSet::new();
    for crd in crds() {
        let mut messages = Vec::new();
        rule_messages(&schema(&crd), "", &mut messages);
        rules.extend(messages.into_iter().map(|message| format!("{} {message}", crd.spec.names.kind)));
    }
    assert_eq!(refused, rules, "every rule has a case that it refuses");
}

#[test]
fn immutability_is_forbidden_rather_than_invalid_and_names_the_field() {
    let [old, new] = [json!({"schemaName": "a"}), json!({"schemaName": "b"})];
    let errors = validate("TenantSchema", &new, Some(&old)).unwrap_err().into_vec();
    assert_eq!(errors[0].reason.as_deref(), Some("FieldValueForbidden"));
    assert_eq!(errors[0].field_path, "spec.schemaName");
}

#[test]
fn objects_survive_a_round_trip_with_every_field() {
    round_trip::<TenantDatabase>("TenantDatabase", &database());
    round_trip::<TenantSchema>("TenantSchema", &tenant());
    round_trip::<SchemaBackup>("SchemaBackup", &backup());
}

#[test]
fn words_of_a_newer_status_do_not_make_an_object_unreadable() {
    let mut object = tenant();
    object["status"]["state"] = json!("Frozen");
    object["status"]["effective"]["enforcement"] = json!("Throttle");
    let read: TenantSchema = serde_json::from_value(object).unwrap();
    let status = read.status.unwrap();
    assert_eq!(status.state, None);
    assert_eq!(status.effective.unwrap().enforcement, None);
}

#[test]
fn a_schema_is_named_after_the_first_of_name_institution_and_object() {
    let name = |spec: Value| {
        let object = json!({"apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantSchema",
            "metadata": {"namespace": "team-a", "name": "school"}, "spec": spec});
        let tenant: TenantSchema = serde_json::from_value(object).unwrap();
        tenant.schema_name().map_or_else(|error| error.to_string(), |name| name.to_string())
    };
    assert_eq!(name(json!({"schemaName": "education", "institutionId": INSTITUTION})), "education");
    assert_eq!(name(json!({"institutionId": INSTITUTION})), "inst_3f0c1d52_8a3e_4a43_9d3b_0d1f6a2b7c11");
    assert_eq!(name(json!({})), SchemaName::for_object("team-a", "school").to_string());
    assert_eq!(
        name(json!({"schemaName": "public"})),
        "spec.schemaName: schema name \"public\" is reserved; choose a name of your own, such as inst_public"
    );
}

#[test]
fn a_confirmation_must_name_the_schema() {
    let tenant: TenantSchema = serde_json::from_value(tenant()).unwrap();
    assert!(api::confirms(&tenant.metadata, api::CONFIRM_DROP, "education"));
    assert!(!api::confirms(&tenant.metadata, api::CONFIRM_DROP, "educatoin"));
    assert!(!api::confirms(&tenant.metadata, api::RECREATE, "education"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_api_server_and_the_operator_agree_on_schema_names(
        name in "(pg_|inst_|public|edu_matrix_work_?|_)?[a-z0-9_A-]{1,8}(_bak_[0-9]{13,15}(_[0-9]{0,2})?)?"
    ) {
        let admitted = judge("TenantSchema", &json!({"schemaName": name}), None).is_empty();
        prop_assert_eq!(admitted, SchemaName::new(name).is_ok());
    }

    #[test]
    fn the_api_server_and_the_operator_agree_on_sizes(size in "[+]?[0-9]{0,4}[.]?[0-9]{0,3}([KkMGTPE]i?|m|e[+]?[0-9]{1,2})?") {
        let admitted = judge("TenantSchema", &json!({"quota": {"limit": size}}), None).is_empty();
        prop_assert_eq!(admitted, Bytes::parse_quota(&size).is_ok(), "{}", size);
    }
}

/// Made once: the properties below ask for them thousands of times.
static CRDS: LazyLock<Vec<CustomResourceDefinition>> = LazyLock::new(crds);
static SCHEMAS: LazyLock<BTreeMap<String, Value>> =
    LazyLock::new(|| CRDS.iter().map(|crd| (crd.spec.names.kind.clone(), schema(crd))).collect());

fn crd(kind: &str) -> &'static CustomResourceDefinition {
    CRDS.iter().find(|crd| crd.spec.names.kind == kind).unwrap()
}

fn schema(crd: &CustomResourceDefinition) -> Value {
    let schema = crd.spec.versions[0].schema.as_ref().unwrap();
    serde_json::to_value(schema.open_api_v3_schema.as_ref().unwrap()).unwrap()
}

fn validate(kind: &str, spec: &Value, old: Option<&Value>) -> Result<(), kube::core::cel::ValidationErrors> {
    let object = |spec: &Value| json!({"apiVersion": "edumatrixhub.io/v1alpha1", "kind": kind, "metadata": {"name": "a"}, "spec": spec});
    Validator::new().validate(&SCHEMAS[kind], &object(spec), old.map(object).as_ref())
}

/// What the API server would say about a spec.
fn judge(kind: &str, spec: &Value, old: Option<&Value>) -> BTreeSet<String> {
    match validate(kind, spec, old) {
        Ok(()) => BTreeSet::new(),
        Err(errors) => errors.into_vec().into_iter().map(|error| error.message).collect(),
    }
}

fn rule_messages(schema: &Value, path: &str, found: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map {
                if key == "x-kubernetes-validations" {
                    let messages = value.as_array().unwrap().iter().map(|rule| rule["message"].as_str());
                    found.extend(messages.map(|message| message.unwrap_or_else(|| panic!("{path}")).to_owned()));
                } else {
                    rule_messages(value, &format!("{path}.{key}"), found);
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| rule_messages(value, path, found)),
        _ => {}
    }
}

/// Notes what is unbounded, nullable, or defaulted at and below `schema`.
fn complain(schema: &Value, path: &str, complaints: &mut Vec<String>) {
    let mut must = |keys: &[&str]| {
        for key in keys {
            if schema.get(*key).is_none() {
                complaints.push(format!("{path} has no {key}"));
            }
        }
    };
    match schema["type"].as_str().unwrap() {
        "string" if schema.get("enum").is_some() => {}
        "string" => must(&["maxLength"]),
        "integer" if path.ends_with("conditions[].observedGeneration") => must(&["minimum"]),
        "integer" => must(&["minimum", "maximum"]),
        "array" => must(&["maxItems", "items", "x-kubernetes-list-type"]),
        "object" if schema.get("properties").is_none() => must(&["maxProperties"]),
        "object" => {}
        // As a CronJob has it. Elsewhere a word can come to have a third meaning.
        "boolean" if path.ends_with(".schedules[].suspend") => {}
        other => complaints.push(format!("{path} is a {other}")),
    }
    if schema.get("nullable").is_some() || (schema.get("default").is_some() && path != "status") {
        complaints.push(format!("{path} is nullable or has a default"));
    }
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        complain(child, &format!("{path}.{name}"), complaints);
    }
    for (key, name) in [("items", "[]"), ("additionalProperties", ".*")] {
        if let Some(child) = schema.get(key) {
            complain(child, &format!("{path}{name}"), complaints);
        }
    }
}

/// Reads and writes the object, which must have every field of the schema.
fn round_trip<K: DeserializeOwned + Serialize>(kind: &str, object: &Value) {
    let read: K = serde_json::from_value(object.clone()).unwrap();
    assert_eq!(&serde_json::to_value(read).unwrap(), object);
    let mut missing = Vec::new();
    for part in ["spec", "status"] {
        compare(&SCHEMAS[kind]["properties"][part], &object[part], part, &mut missing);
    }
    assert!(missing.is_empty(), "the example of {kind} lacks {missing:?}");
    assert_eq!(judge(kind, &object["spec"], None), BTreeSet::new());
}

fn compare(schema: &Value, value: &Value, path: &str, missing: &mut Vec<String>) {
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        match value.get(name) {
            Some(value) => compare(child, value, &path, missing),
            None => missing.push(path),
        }
    }
    if let Some(items) = schema.get("items") {
        // What one item may not have another one has.
        let lacks = |item: &Value| {
            let mut lacks = Vec::new();
            compare(items, item, &format!("{path}[]"), &mut lacks);
            lacks
        };
        let others: Vec<_> = value.as_array().into_iter().flatten().skip(1).map(lacks).collect();
        missing.extend(lacks(&value[0]).into_iter().filter(|path| others.iter().all(|other| other.contains(path))));
    }
}
