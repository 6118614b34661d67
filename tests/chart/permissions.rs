//! What the chart allows the operator, told in the chart's README.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use serde_json::{Value, json};

use super::helm::{Helm, chart};

/// A right: where, on what, to do what. Where is a namespace, or `cluster` for all.
pub type Right = (String, String, String);

/// The rights of the operator: of those roles that are bound.
pub fn rights(objects: &[Value]) -> BTreeSet<Right> {
    let bound: BTreeSet<_> = objects
        .iter()
        .filter(|object| object.get("roleRef").is_some())
        .map(|binding| (binding["metadata"]["namespace"].as_str(), binding["roleRef"]["name"].as_str()))
        .collect();
    let is_bound = |role: &&Value| {
        role.get("rules").is_some()
            && bound.contains(&(role["metadata"]["namespace"].as_str(), role["metadata"]["name"].as_str()))
    };
    let mut rights = BTreeSet::new();
    for role in objects.iter().filter(is_bound) {
        let place = role["metadata"]["namespace"].as_str().unwrap_or("cluster");
        for rule in role["rules"].as_array().unwrap() {
            let words = |key: &str| rule[key].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned());
            assert!(
                words("apiGroups").chain(words("resources")).chain(words("verbs")).all(|word| word != "*"),
                "{rule}"
            );
            for resource in words("resources") {
                rights.extend(words("verbs").map(|verb| (place.to_owned(), resource.clone(), verb)));
            }
        }
    }
    rights
}

/// Limited to one namespace, with Secrets of another.
fn limited(helm: &Helm) -> BTreeSet<Right> {
    rights(&helm.objects(
        "own",
        &json!({ "watchNamespaces": ["watched"], "connectionSecrets": { "elsewhere": ["a"] },
            "credentials": { "namespaces": ["issued"] }, "finalizerPolicy": { "enabled": true } }),
    ))
}

/// A place in the words of the README.
fn place(name: &str) -> &str {
    match name {
        "own" => "release's namespace",
        "watched" => "watched namespaces",
        "elsewhere" => "`connectionSecrets`, by name",
        "issued" => "`credentials.namespaces`, or else watched namespaces",
        "default" => "`default`",
        other => other,
    }
}

#[test]
fn the_table_in_the_readme_has_every_right_and_no_other() {
    let Some(helm) = Helm::offline() else { return };
    let mut granted: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for (name, resource, verb) in limited(&helm) {
        granted.entry((place(&name).to_owned(), resource)).or_default().insert(verb);
    }
    let readme = fs::read_to_string(chart().join("README.md")).unwrap();
    let (_, section) = readme.split_once("## Permissions").expect("a section on permissions");
    let (section, _) = section.split_once("\nFor people").expect("what it says of people comes after it");
    let mut told = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert!(cells[3].ends_with('.'), "says why: {row}");
        let verbs: BTreeSet<_> = cells[1].split(", ").map(str::to_owned).collect();
        for resource in cells[0].split(", ") {
            told.insert((cells[2].to_owned(), resource.trim_matches('`').to_owned()), verbs.clone());
        }
    }
    assert_eq!(told, granted);
}

#[test]
fn what_is_limited_to_namespaces_is_the_same_in_all_of_them() {
    let Some(helm) = Helm::offline() else { return };
    let widened = limited(&helm).into_iter().filter(|(place, ..)| place != "elsewhere");
    let widened = widened.map(|(place, resource, verb)| match place.as_str() {
        "own" => (place, resource, verb),
        _ => ("cluster".to_owned(), resource, verb),
    });
    assert_eq!(rights(&helm.objects("own", &json!({ "finalizerPolicy": { "enabled": true } }))), widened.collect());
}

#[test]
fn secrets_outside_of_the_release_are_readable_by_name_alone() {
    let Some(helm) = Helm::offline() else { return };
    let objects = helm.objects("own", &json!({ "connectionSecrets": { "elsewhere": ["a", "b"] } }));
    let secrets = objects.iter().filter(|object| object["kind"] == "Role" || object["kind"] == "ClusterRole");
    let mut found = 0;
    for role in secrets {
        for rule in role["rules"].as_array().unwrap() {
            let resources = rule["resources"].as_array().unwrap();
            if !resources.contains(&json!("secrets")) || role["metadata"]["namespace"] == "own" {
                continue;
            }
            if role["kind"] == "ClusterRole" {
                assert_eq!(rule["verbs"], json!(["create", "update"]), "{rule}");
            } else {
                assert_eq!(role["metadata"]["namespace"], "elsewhere");
                assert_eq!((&rule["verbs"], &rule["resourceNames"]), (&json!(["get"]), &json!(["a", "b"])));
                found += 1;
            }
        }
    }
    assert_eq!(found, 1);
}

#[test]
fn secrets_to_connect_with_are_written_where_the_values_say_and_nowhere_read_or_patched() {
    let Some(helm) = Helm::offline() else { return };
    let places = |mut values: Value| {
        values["connectionSecrets"] = json!({ "elsewhere": ["a"] });
        let mut places = BTreeMap::new();
        for (place, resource, verb) in rights(&helm.objects("own", &values)) {
            if resource == "secrets" {
                places.entry(place).or_insert_with(BTreeSet::new).insert(verb);
            }
        }
        // What it reads for itself.
        assert_eq!(places.remove("own"), Some(["get", "list", "watch"].map(str::to_owned).into()));
        assert_eq!(places.remove("elsewhere"), Some([String::from("get")].into()));
        let writes = ["create", "update"].map(str::to_owned).into();
        assert!(places.values().all(|verbs| *verbs == writes), "{places:?}");
        places.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(places(json!({})), ["cluster"]);
    assert_eq!(places(json!({ "watchNamespaces": ["b", "c"] })), ["b", "c"]);
    assert_eq!(places(json!({ "credentials": { "namespaces": ["d", "e"] } })), ["d", "e"]);
    assert_eq!(places(json!({ "watchNamespaces": ["b"], "credentials": { "namespaces": ["d"] } })), ["d"]);
    let off = json!({ "enabled": false, "namespaces": ["d"] });
    assert!(places(json!({ "watchNamespaces": ["b"], "credentials": off })).is_empty());
}
