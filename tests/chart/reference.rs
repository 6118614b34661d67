//! The chart's README says what values.yaml says, and values.schema.json knows the same values. A stale README is written
//! again, and the test fails once so that the change is seen and committed.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};
use tenant_schema_operator::api::crds;

use super::helm::chart;

const BEGIN: &str = "<!-- made from values.yaml -->\n";
const END: &str = "<!-- end -->\n";

/// One value: where it is, what it is unless it is set, and what it is for.
struct Entry {
    path: String,
    default: String,
    explanation: String,
}

/// Reads values.yaml by its lines: the comment above a key explains it, and a key without a value begins a section.
fn entries() -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    let mut sections: Vec<&str> = Vec::new();
    let text = fs::read_to_string(chart().join("values.yaml")).unwrap();
    for line in text.lines() {
        let bare = line.trim_start();
        if let Some(words) = bare.strip_prefix("# ") {
            comment.push(words);
            continue;
        }
        let Some((key, default)) = bare.split_once(':') else {
            comment.clear();
            continue;
        };
        sections.truncate((line.len() - bare.len()) / 2);
        let path = sections.iter().copied().chain([key]).collect::<Vec<_>>().join(".");
        if default.is_empty() {
            sections.push(key);
        } else {
            entries.push(Entry { path, default: default.trim().to_owned(), explanation: comment.join(" ") });
        }
        comment.clear();
    }
    entries
}

/// The `spec` of a TenantDatabase, which the kind explains.
const SPEC: &str = "database.spec";

/// The paths of all values that the schema knows, without the parts of those that others explain.
fn paths(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    match schema.get("properties").and_then(Value::as_object).filter(|_| path != SPEC) {
        Some(properties) => {
            assert_eq!(schema["additionalProperties"], Value::Bool(false), "a typo in {path} is told");
            for (key, part) in properties {
                let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                paths(part, &inner, found);
            }
        }
        None => drop(found.insert(path.to_owned())),
    }
}

#[test]
fn readme_is_fresh() {
    let row = |Entry { path, default, explanation }| format!("| `{path}` | `{default}` | {explanation} |\n");
    let rows: String = entries().into_iter().map(row).collect();
    let table = format!("| Value | Default | What it is |\n|---|---|---|\n{rows}");
    let file = chart().join("README.md");
    let text = fs::read_to_string(&file).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("where the table begins");
    let (_, after) = rest.split_once(END).expect("where the table ends");
    let wanted = format!("{before}{BEGIN}{table}{END}{after}");
    if text != wanted {
        fs::write(&file, wanted).unwrap();
        panic!("{} was stale and has been written again; commit it", file.display());
    }
}

#[test]
fn every_value_is_explained_and_has_its_rule() {
    let entries = entries();
    let silent: Vec<_> =
        entries.iter().filter(|entry| !entry.explanation.ends_with('.')).map(|entry| &entry.path).collect();
    assert!(silent.is_empty(), "explain in whole sentences: {silent:?}");
    let schema = serde_json::from_str(&fs::read_to_string(chart().join("values.schema.json")).unwrap()).unwrap();
    let mut known = BTreeSet::new();
    paths(&schema, "", &mut known);
    // Helm itself hands this to every chart.
    known.remove("global");
    assert_eq!(entries.into_iter().map(|entry| entry.path).collect::<BTreeSet<_>>(), known);
}

/// Rules without explanations, and without what only an API server checks.
fn bare(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields
                .retain(|key, value| !(key.starts_with("x-kubernetes-") || key == "description" && value.is_string()));
            fields.values_mut().for_each(bare);
        }
        Value::Array(values) => values.iter_mut().for_each(bare),
        _ => {}
    }
}

#[test]
fn the_rule_of_the_database_is_fresh() {
    let kind = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/tenantdatabase_v1alpha1.json");
    let mut kind: Value = serde_json::from_str(&fs::read_to_string(kind).unwrap()).unwrap();
    let mut spec = kind["properties"]["spec"].take();
    bare(&mut spec);
    // The chart says itself which Secret it is.
    spec.as_object_mut().unwrap().remove("required");
    let connection = spec["properties"]["connection"].as_object_mut().unwrap();
    connection.remove("required");
    connection["properties"].as_object_mut().unwrap().remove("secretRef").expect("the Secret");
    let file = chart().join("values.schema.json");
    let text = fs::read_to_string(&file).unwrap();
    let is_spec = |line: &&str| line.starts_with("        \"spec\": ");
    let line = text.lines().find(is_spec).expect("the one line of database.spec");
    let wanted = format!("        \"spec\": {spec}");
    if line != wanted {
        fs::write(&file, text.replacen(line, &wanted, 1)).unwrap();
        panic!("{} was stale and has been written again; commit it", file.display());
    }
}

#[test]
fn the_chart_describes_this_operator() {
    let read = |text: &str| serde_saphyr::from_str::<Value>(text).unwrap();
    let chart = read(&fs::read_to_string(chart().join("Chart.yaml")).unwrap());
    assert_eq!([&chart["version"], &chart["appVersion"]], [env!("CARGO_PKG_VERSION"); 2]);
    // What Artifact Hub shows is YAML within YAML.
    let annotation = |name: &str| read(chart["annotations"][format!("artifacthub.io/{name}")].as_str().expect(name));
    let image = format!("ghcr.io/edumatrixhub/tenant-schema-operator:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(annotation("images")[0]["image"], image);
    let kinds = crds().into_iter().map(|crd| {
        json!({ "kind": crd.spec.names.kind, "version": crd.spec.versions[0].name,
            "name": format!("{}.{}", crd.spec.names.plural, crd.spec.group) })
    });
    let mut shown = annotation("crds");
    for kind in shown.as_array_mut().unwrap() {
        let kind = kind.as_object_mut().unwrap();
        assert!(kind.remove("displayName").is_some() && kind.remove("description").is_some(), "{kind:?}");
    }
    assert_eq!(shown, Value::Array(kinds.collect()));
    let examples = ["database", "school", "backup"];
    let examples = examples.map(|name| read(&fs::read_to_string(format!("examples/{name}.yaml")).unwrap()));
    assert_eq!(annotation("crdsExamples"), json!(examples));
}
