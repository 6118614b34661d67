//! What the last release accepted is accepted still: objects that stand in clusters and in Git were written for it.
//!
//! `tests/released/<version>/` has the definitions of the last release, or of the first one while there is none. `make released`
//! writes them again when a version is released.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};
use tenant_schema_operator::api::crds;

/// What narrows all the same, with the reason why no object that is in use suffers from it. It is empty again after a release.
const ALLOWED: &[(&str, &str)] = &[
    (
        "TenantSchema v1alpha1.spec has a new rule: !has(self.connectionSecret) || !has(self.migrationSecret) || \
         self.connectionSecret.name != self.migrationSecret.name",
        "migrationSecret is as new as the rule, so no object breaks it",
    ),
    (
        "TenantSchema v1alpha1.spec has a new rule: !has(self.schemaName) || (has(self.existingSchema) && self.existingSchema == \
         'Adopt') || self.schemaName.matches('^[a-z_][a-z0-9_]*$') || \
         self.schemaName.matches('^inst_[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$')",
        "it was a rule of schemaName itself, which held always",
    ),
    (
        "TenantSchema v1alpha1.spec has a new rule: !has(oldSelf.existingSchema) || oldSelf.existingSchema != 'Adopt' || \
         (has(self.existingSchema) && self.existingSchema == 'Adopt')",
        "existingSchema is as new as the rule, so no object breaks it",
    ),
    (
        "TenantDatabase v1alpha1.spec.institutions.source has a new rule: !has(self.suspendedValues) || has(self.statusColumn)",
        "suspendedValues is as new as the rule, so no object breaks it",
    ),
];

/// What says nothing about which values are accepted.
const SILENT: [&str; 3] = ["description", "title", "default"];
/// A value that was accepted is accepted still where such a word is the same, or is there no more.
const SAME_OR_GONE: [&str; 8] = ["pattern", "multipleOf", "uniqueItems", "allOf", "anyOf", "oneOf", "not", "format"];
/// What people or the API server go by, beside which values are accepted.
const SAME: [&str; 4] =
    ["x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type", "x-kubernetes-int-or-string"];
const LEAST: [&str; 4] = ["minimum", "minLength", "minItems", "minProperties"];
const MOST: [&str; 4] = ["maximum", "maxLength", "maxItems", "maxProperties"];
/// The words that have an arm of their own below.
const OWN: [&str; 8] = [
    "type",
    "enum",
    "required",
    "properties",
    "items",
    "additionalProperties",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];

struct Walk {
    complaints: Vec<String>,
}

impl Walk {
    fn complain(&mut self, path: &str, what: impl std::fmt::Display) {
        self.complaints.push(format!("{path} {what}"));
    }

    fn definition(&mut self, old: &Value, new: &Value) {
        let kind = text(&old["names"]["kind"]);
        for (name, before, now) in [
            ("group", &old["group"], &new["group"]),
            ("scope", &old["scope"], &new["scope"]),
            ("plural", &old["names"]["plural"], &new["names"]["plural"]),
            ("singular", &old["names"]["singular"], &new["names"]["singular"]),
        ] {
            if before != now {
                self.complain(&kind, format!("has {name} {now}, and had {before}"));
            }
        }
        for name in ["shortNames", "categories"] {
            self.contains(&kind, &old["names"][name], &new["names"][name], name);
        }
        for version in list(&old["versions"]).filter(|version| version["served"] == json!(true)) {
            let path = format!("{kind} {}", text(&version["name"]));
            let Some(now) = list(&new["versions"]).find(|now| now["name"] == version["name"]) else {
                self.complain(&path, "is gone");
                continue;
            };
            if now["served"] != json!(true) {
                self.complain(&path, "is not served");
            }
            self.contains(&path, &version["selectableFields"], &now["selectableFields"], "selectableFields");
            for (part, _) in fields(&version["subresources"]) {
                if now["subresources"].get(part).is_none() {
                    self.complain(&path, format!("has no subresource {part}"));
                }
            }
            self.schema(&version["schema"]["openAPIV3Schema"], &now["schema"]["openAPIV3Schema"], &path);
        }
    }

    fn contains(&mut self, path: &str, old: &Value, new: &Value, name: &str) {
        for lost in list(old).filter(|value| !list(new).any(|now| now == *value)) {
            self.complain(path, format!("has not {lost} in {name}"));
        }
    }

    /// Notes where `new` refuses what `old` accepts.
    fn schema(&mut self, old: &Value, new: &Value, path: &str) {
        let has = |schema: &Value, word: &str| schema.get(word).is_some();
        for (word, now) in fields(new) {
            let before = &old[word];
            match word.as_str() {
                word if SILENT.contains(&word) || OWN.contains(&word) || SAME.contains(&word) => {}
                "format" if (before, now) == (&json!("int32"), &json!("int64")) => {}
                "nullable" => {}
                word if SAME_OR_GONE.contains(&word) && now == before => {}
                word if SAME_OR_GONE.contains(&word) && has(old, word) => {
                    self.complain(path, format!("has {word} {now}, and had {before}"));
                }
                word if SAME_OR_GONE.contains(&word) => self.complain(path, format!("has {word} {now}")),
                "exclusiveMinimum" | "exclusiveMaximum" if now == before || now == &json!(false) => {}
                "exclusiveMinimum" | "exclusiveMaximum" => self.complain(path, format!("has {word}")),
                word if LEAST.contains(&word) && now.as_f64() <= Some(before.as_f64().unwrap_or(lowest(word))) => {}
                word if MOST.contains(&word) && now.as_f64() >= Some(before.as_f64().unwrap_or(f64::INFINITY)) => {}
                word if LEAST.contains(&word) || MOST.contains(&word) => {
                    self.complain(path, format!("has {word} {now}, and had {before}"));
                }
                _ => self.complain(path, format!("has {word}, which this test does not know")),
            }
        }
        for word in SAME {
            if old.get(word) != new.get(word) {
                self.complain(path, format!("has {word} {}, and had {}", new[word], old[word]));
            }
        }
        if has(old, "default") && old["default"] != new["default"] {
            self.complain(path, format!("has default {}, and had {}", new["default"], old["default"]));
        }
        if old["nullable"] == json!(true) && new["nullable"] != json!(true) {
            self.complain(path, "does not take null");
        }
        let wider = (&old["type"], &new["type"]) == (&json!("integer"), &json!("number"));
        if has(new, "type") && old["type"] != new["type"] && !wider {
            self.complain(path, format!("is {}, and was {}", new["type"], old["type"]));
        }
        self.choices(old, new, path);
        self.rules(old, new, path);
        self.children(old, new, path);
    }

    fn choices(&mut self, old: &Value, new: &Value, path: &str) {
        if new.get("enum").is_some() && old.get("enum").is_none() {
            self.complain(path, "has a list of values");
        } else if new.get("enum").is_some() {
            self.contains(path, &old["enum"], &new["enum"], "enum");
        }
        for name in list(&new["required"]).filter(|name| !list(&old["required"]).any(|before| before == *name)) {
            self.complain(path, format!("requires {name}"));
        }
    }

    fn rules(&mut self, old: &Value, new: &Value, path: &str) {
        const WORD: &str = "x-kubernetes-validations";
        let known: BTreeSet<_> = list(&old[WORD]).map(|rule| text(&rule["rule"])).collect();
        for rule in list(&new[WORD]).map(|rule| text(&rule["rule"])).filter(|rule| !known.contains(rule)) {
            self.complain(path, format!("has a new rule: {rule}"));
        }
    }

    fn children(&mut self, old: &Value, new: &Value, path: &str) {
        const OPEN: &str = "x-kubernetes-preserve-unknown-fields";
        let (was_open, is_open) = (old[OPEN] == json!(true), new[OPEN] == json!(true));
        if was_open && !is_open {
            self.complain(path, "does not keep unknown fields");
        }
        for (name, before) in fields(&old["properties"]) {
            match new["properties"].get(name) {
                Some(now) => self.schema(before, now, &format!("{path}.{name}")),
                None => self.complain(&format!("{path}.{name}"), "is gone"),
            }
        }
        for (name, _) in fields(&new["properties"]).filter(|(name, _)| old["properties"].get(*name).is_none()) {
            if was_open || old.get("additionalProperties").is_some() {
                self.complain(&format!("{path}.{name}"), "was free before");
            }
        }
        for (word, name) in [("items", "[]"), ("additionalProperties", ".*")] {
            match (old.get(word), new.get(word)) {
                (Some(before), Some(now)) if before.is_object() && now.is_object() => {
                    self.schema(before, now, &format!("{path}{name}"));
                }
                (_, Some(Value::Bool(true))) => {}
                (before, now) if before == now => {}
                // Without items or additional properties a structural schema drops what is in there, or never had it.
                (None | Some(Value::Bool(false)), Some(_)) => {}
                _ => self.complain(&format!("{path}{name}"), "is gone"),
            }
        }
    }
}

/// What a lower bound that is not there stands for.
fn lowest(word: &str) -> f64 {
    if word == "minimum" { f64::NEG_INFINITY } else { 0.0 }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn released() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/released");
    let versions: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [version] = &versions[..] else { panic!("tests/released has one release, not {versions:?}") };
    version.clone()
}

#[test]
fn what_the_last_release_accepted_is_accepted() {
    let now: Vec<_> = crds().iter().map(|crd| serde_json::to_value(&crd.spec).unwrap()).collect();
    let mut walk = Walk { complaints: Vec::new() };
    let mut walked = 0;
    for file in fs::read_dir(released()).unwrap() {
        let definition = fs::read_to_string(file.unwrap().path()).unwrap();
        let old: CustomResourceDefinition = serde_saphyr::from_str(&definition).unwrap();
        let kind = old.spec.names.kind.clone();
        let Some(new) = now.iter().find(|new| new["names"]["kind"] == json!(kind)) else {
            walk.complain(&kind, "is gone");
            continue;
        };
        walk.definition(&serde_json::to_value(&old.spec).unwrap(), new);
        walked += 1;
    }
    assert!(walked > 0, "no definition in {}", released().display());
    let found: BTreeSet<_> = walk.complaints.iter().map(String::as_str).collect();
    let allowed: BTreeSet<_> = ALLOWED.iter().map(|(complaint, _)| *complaint).collect();
    assert!(
        found == allowed,
        "{} accepted more. Not allowed: {:#?}\nallowed and not so: {:#?}",
        released().display(),
        found.difference(&allowed).collect::<Vec<_>>(),
        allowed.difference(&found).collect::<Vec<_>>(),
    );
    assert!(ALLOWED.iter().all(|(_, reason)| reason.len() > 20), "say in a sentence why it may be");
}

fn complaints(compare: impl Fn(&mut Walk)) -> String {
    let mut walk = Walk { complaints: Vec::new() };
    compare(&mut walk);
    walk.complaints.join("; ")
}

#[test]
fn a_schema_that_narrows_is_found() {
    let check = |old: Value, new: Value, complaint: &str| {
        assert_eq!(complaints(|walk| walk.schema(&old, &new, "spec")), complaint, "{old} -> {new}");
        assert_eq!(complaints(|walk| walk.schema(&old, &old, "spec")), "", "{old}");
    };
    let with = |word: &str, value: Value| json!({ "type": "string", word: value });
    let plain = || json!({"type": "string"});
    let of = |word: &str, inner: Value| json!({"type": "object", word: inner});

    check(plain(), json!({"type": "integer"}), r#"spec is "integer", and was "string""#);
    check(json!({"type": "integer"}), json!({"type": "number"}), "");
    check(of("properties", json!({"a": plain()})), of("properties", json!({})), "spec.a is gone");
    check(of("properties", json!({})), of("properties", json!({"a": plain()})), "");
    check(
        of("properties", json!({"a": plain()})),
        of("properties", json!({"a": with("maxLength", json!(3))})),
        "spec.a has maxLength 3, and had null",
    );
    check(of("required", json!(["a"])), of("required", json!(["a", "b"])), r#"spec requires "b""#);
    check(of("required", json!(["a"])), of("required", json!([])), "");
    check(with("enum", json!(["a", "b"])), with("enum", json!(["a", "c"])), r#"spec has not "b" in enum"#);
    check(with("enum", json!(["a"])), with("enum", json!(["a", "b"])), "");
    check(with("enum", json!(["a"])), plain(), "");
    check(plain(), with("enum", json!(["a"])), "spec has a list of values");
    for word in ["minimum", "minLength", "minItems", "minProperties"] {
        check(with(word, json!(2)), with(word, json!(3)), &format!("spec has {word} 3, and had 2"));
        check(with(word, json!(2)), with(word, json!(1)), "");
        check(with(word, json!(2)), plain(), "");
        check(plain(), with(word, json!(1)), &format!("spec has {word} 1, and had null"));
    }
    check(plain(), with("minLength", json!(0)), "");
    check(plain(), with("minimum", json!(0)), "spec has minimum 0, and had null");
    for word in ["maximum", "maxLength", "maxItems", "maxProperties"] {
        check(with(word, json!(2)), with(word, json!(1)), &format!("spec has {word} 1, and had 2"));
        check(with(word, json!(2)), with(word, json!(3)), "");
        check(with(word, json!(2)), plain(), "");
    }
    check(plain(), with("exclusiveMaximum", json!(true)), "spec has exclusiveMaximum");
    check(plain(), with("pattern", json!("^a$")), r#"spec has pattern "^a$""#);
    check(with("pattern", json!("a")), with("pattern", json!("b")), r#"spec has pattern "b", and had "a""#);
    check(with("pattern", json!("a")), plain(), "");
    check(with("format", json!("int32")), with("format", json!("int64")), "");
    check(
        with("format", json!("int64")),
        with("format", json!("int32")),
        r#"spec has format "int32", and had "int64""#,
    );
    check(plain(), with("not", json!({"enum": ["a"]})), r#"spec has not {"enum":["a"]}"#);
    check(with("nullable", json!(true)), plain(), "spec does not take null");
    check(with("default", json!("a")), plain(), r#"spec has default null, and had "a""#);
    check(plain(), with("x-new", json!(1)), "spec has x-new, which this test does not know");
    let atomic = |kind: &str| json!({"type": "array", "x-kubernetes-list-type": kind});
    check(atomic("atomic"), atomic("set"), r#"spec has x-kubernetes-list-type "set", and had "atomic""#);
    check(of("items", plain()), of("items", with("pattern", json!("a"))), r#"spec[] has pattern "a""#);
    check(of("items", plain()), json!({"type": "object"}), "spec[] is gone");
    check(
        of("additionalProperties", plain()),
        of("additionalProperties", json!({"type": "boolean"})),
        r#"spec.* is "boolean", and was "string""#,
    );
    check(
        of("additionalProperties", plain()),
        of("properties", json!({"a": plain()})),
        "spec.a was free before; spec.* is gone",
    );
    check(of("additionalProperties", json!(false)), of("additionalProperties", json!(true)), "");
    let open = of("x-kubernetes-preserve-unknown-fields", json!(true));
    check(open.clone(), json!({"type": "object"}), "spec does not keep unknown fields");
    let rule = |rule: &str| of("x-kubernetes-validations", json!([{"rule": rule, "message": "no"}]));
    check(json!({"type": "object"}), rule("self.a > 1"), "spec has a new rule: self.a > 1");
    check(rule("self.a > 1"), rule("self.a > 2"), "spec has a new rule: self.a > 2");
    check(rule("self.a > 1"), json!({"type": "object"}), "");
}

#[test]
fn a_definition_that_takes_something_away_is_found() {
    let old = || {
        json!({
            "group": "g", "scope": "Namespaced",
            "names": {"kind": "K", "plural": "ks", "singular": "k", "shortNames": ["s"], "categories": ["c"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "selectableFields": [{"jsonPath": ".spec.a"}], "schema": {"openAPIV3Schema": {"type": "object"}},
            }],
        })
    };
    let check = |change: &dyn Fn(&mut Value), complaint: &str| {
        let mut new = old();
        change(&mut new);
        assert_eq!(complaints(|walk| walk.definition(&old(), &new)), complaint);
    };
    check(&|_| {}, "");
    check(&|new| new["group"] = json!("h"), r#"K has group "h", and had "g""#);
    check(&|new| new["scope"] = json!("Cluster"), r#"K has scope "Cluster", and had "Namespaced""#);
    check(&|new| new["names"]["plural"] = json!("kk"), r#"K has plural "kk", and had "ks""#);
    check(&|new| new["names"]["shortNames"] = json!(["t"]), r#"K has not "s" in shortNames"#);
    check(&|new| new["versions"][0]["name"] = json!("v2"), "K v1 is gone");
    check(&|new| new["versions"][0]["served"] = json!(false), "K v1 is not served");
    check(&|new| new["versions"][0]["subresources"] = json!({}), "K v1 has no subresource status");
    let selectable = r#"K v1 has not {"jsonPath":".spec.a"} in selectableFields"#;
    check(&|new| new["versions"][0]["selectableFields"] = json!([]), selectable);
    let path = "K v1 is \"string\", and was \"object\"";
    check(&|new| new["versions"][0]["schema"]["openAPIV3Schema"]["type"] = json!("string"), path);
}
