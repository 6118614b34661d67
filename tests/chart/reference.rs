//! The chart's README says what values.yaml says, and values.schema.json knows the same values. A stale README is written
//! again, and the test fails once so that the change is seen and committed.

use std::{collections::BTreeSet, fs};

use serde_json::Value;

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

/// The paths of all values that the schema knows and whose parts it does not look into.
fn paths(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    match schema.get("properties").and_then(Value::as_object) {
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

#[test]
fn the_chart_has_the_version_of_the_operator() {
    let chart: Value = serde_saphyr::from_str(&fs::read_to_string(chart().join("Chart.yaml")).unwrap()).unwrap();
    assert_eq!([&chart["version"], &chart["appVersion"]], [env!("CARGO_PKG_VERSION"); 2]);
}
