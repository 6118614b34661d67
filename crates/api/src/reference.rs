//! The reference pages in `docs/reference/`, written from the definitions and from the lists of reasons.
//!
//! A field's last paragraph that begins with `Default:` is its default, everything before is its description. So the
//! doc comment of a field is the one place where it is explained: for Rust, for `kubectl explain` and for the page.

use std::fmt::Write;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

use super::event::EventReason;
use super::reason::Reason;

/// The first line of every page, so that a copy is not edited.
const GENERATED: &str = "<!-- Generated from crates/api; run `cargo test --test api_docs` to write it again. -->\n\n";

/// One page: its file name below `docs/reference/`, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The file name.
    pub file: String,
    /// The whole text, in Markdown.
    pub text: String,
}

/// A field of a kind, as its row of the table shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Where it is, such as `spec.quota.limit`; `[]` is an entry of a list.
    pub path: String,
    /// Its type, with its bounds.
    pub kind: String,
    /// Whether it must be given where its parent is.
    pub required: bool,
    /// What holds if it is not given.
    pub default: Option<String>,
    /// What it means.
    pub description: String,
}

/// Every page, in the order in which they are read.
#[must_use]
pub fn pages() -> Vec<Page> {
    let mut pages: Vec<Page> = super::crds()
        .iter()
        .map(|crd| Page { file: format!("{}.md", crd.spec.names.kind.to_lowercase()), text: kind_page(crd) })
        .collect();
    pages.push(Page { file: "conditions.md".to_owned(), text: conditions_page() });
    pages
}

/// Every field below `spec` and `status` of a kind, in the order of their names.
#[must_use]
pub fn fields(crd: &CustomResourceDefinition) -> Vec<Field> {
    let mut found = Vec::new();
    if let Some(root) = root(crd) {
        for part in ["spec", "status"] {
            if let Some(schema) = property(root, part) {
                collect(schema, part, &mut found);
            }
        }
    }
    found
}

/// The page of one kind.
fn kind_page(crd: &CustomResourceDefinition) -> String {
    let names = &crd.spec.names;
    let mut page = format!("{GENERATED}# {}\n\n", names.kind);
    if let Some(description) = root(crd).and_then(|root| root.description.as_ref()) {
        let _ = writeln!(page, "{description}\n");
    }
    let version = crd.spec.versions.first().map_or("", |version| &version.name);
    let _ = writeln!(page, "* API version: `{}/{version}`", crd.spec.group);
    let _ = writeln!(page, "* Scope: {}", crd.spec.scope);
    let _ = writeln!(page, "* Short name: {}", code_list(names.short_names.as_deref().unwrap_or_default()));
    let _ = writeln!(page, "* Category: {}", code_list(names.categories.as_deref().unwrap_or_default()));
    let selectable = crd.spec.versions.iter().flat_map(|version| version.selectable_fields.iter().flatten());
    let selectable: Vec<String> = selectable.map(|field| field.json_path.trim_start_matches('.').to_owned()).collect();
    if !selectable.is_empty() {
        let _ = writeln!(page, "* Field selectors: {}", code_list(&selectable));
    }
    let fields = fields(crd);
    for (part, title) in [("spec", "Spec"), ("status", "Status")] {
        let _ = writeln!(page, "\n## {title}\n");
        let of_part: Vec<&Field> = fields.iter().filter(|field| field.path.starts_with(part)).collect();
        page.push_str(&if part == "spec" { spec_table(&of_part) } else { status_table(&of_part) });
    }
    let mut messages = Vec::new();
    if let Some(spec) = root(crd).and_then(|root| property(root, "spec")) {
        collect_messages(spec, &mut messages);
    }
    if !messages.is_empty() {
        page.push_str("\n## Rules\n\nThe API server refuses what breaks one of these rules, with these words:\n\n");
        for message in messages {
            let _ = writeln!(page, "* {message}");
        }
    }
    page
}

/// The page about conditions and Events.
fn conditions_page() -> String {
    let mut page = format!(
        "{GENERATED}# Conditions and Events\n\n\
         Every object has the condition `Ready`. `Reconciling` is there only while the operator is at work or waits for\n\
         something that comes by itself; `Stalled` only while a person must act. All three follow kstatus, so that\n\
         Flux and `kubectl wait` read them without configuration, and Argo CD with [a script](../gitops/README.md).\n\
         An outage is never `Stalled`.\n\n\
         `Paused` is there only while a tenant has the annotation `edumatrixhub.io/paused`. Its message is the plan of what\n\
         the operator would do without it.\n\n\
         `Isolated` of a tenant says whether its roles can do anything beyond its schema. It changes none of the others: a\n\
         tenant that reaches too far works. Surveys look at ten tenants each, in turn.\n\n\
         `status.summary` is the most urgent of them, in one place: `Stalled` before `Reconciling`, then `Paused`, then\n\
         `Ready`, with reason, message and since when. The columns `REASON` and `MESSAGE` of `kubectl get` show it, and\n\
         `--field-selector status.summary.reason=…` finds tenants by it. Wait for `Ready`, look at the summary.\n\n\
         ## Reasons of conditions\n\n\
         | Reason | Condition | Meaning | What to do |\n|---|---|---|---|\n"
    );
    for reason in Reason::ALL {
        let (summary, action) = (cell(reason.summary()), cell(reason.action()));
        let _ = writeln!(page, "| `{reason}` | `{}` | {summary} | {action} |", reason.condition());
    }
    page.push_str("\n## Reasons of Events\n\n| Reason | Type | Meaning |\n|---|---|---|\n");
    for reason in EventReason::ALL {
        let _ = writeln!(page, "| `{reason}` | {} | {} |", reason.kind().as_str(), cell(reason.summary()));
    }
    page
}

/// The table of fields that people write.
fn spec_table(fields: &[&Field]) -> String {
    let mut table = "| Field | Type | Required | Default | Description |\n|---|---|---|---|---|\n".to_owned();
    for field in fields {
        let Field { path, kind, required, default, description } = field;
        let required = if *required { "yes" } else { "no" };
        let default = cell(default.as_deref().unwrap_or_default());
        let _ = writeln!(table, "| `{path}` | {} | {required} | {default} | {} |", cell(kind), cell(description));
    }
    table
}

/// The table of fields that the operator writes, which need neither be given nor have defaults.
fn status_table(fields: &[&Field]) -> String {
    let mut table = "| Field | Type | Description |\n|---|---|---|\n".to_owned();
    for Field { path, kind, description, .. } in fields {
        let _ = writeln!(table, "| `{path}` | {} | {} |", cell(kind), cell(description));
    }
    table
}

/// The schema of a whole object.
fn root(crd: &CustomResourceDefinition) -> Option<&JSONSchemaProps> {
    crd.spec.versions.first()?.schema.as_ref()?.open_api_v3_schema.as_ref()
}

/// The schema of one property.
fn property<'a>(schema: &'a JSONSchemaProps, name: &str) -> Option<&'a JSONSchemaProps> {
    schema.properties.as_ref()?.get(name)
}

/// The fields below `schema`, parents before children.
fn collect(schema: &JSONSchemaProps, path: &str, found: &mut Vec<Field>) {
    for (name, child) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        let (description, default) = split_default(child.description.as_deref().unwrap_or_default());
        // The defaults of a database have the type of a tenant's fields, whose default is what the database says.
        let without_it =
            |text: String| text.rsplit_once(", and without it ").map_or(text.clone(), |(_, rest)| rest.to_owned());
        let default = if path.starts_with("spec.defaults.") { default.map(without_it) } else { default };
        found.push(Field {
            path: path.clone(),
            kind: kind(child),
            required: schema.required.iter().flatten().any(|required| required == name),
            default,
            description,
        });
        collect(child, &path, found);
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &child.items {
            collect(items, &format!("{path}[]"), found);
        }
    }
}

/// The messages of all rules at and below `schema`.
fn collect_messages(schema: &JSONSchemaProps, found: &mut Vec<String>) {
    found.extend(schema.x_kubernetes_validations.iter().flatten().filter_map(|rule| rule.message.clone()));
    for child in schema.properties.iter().flat_map(|properties| properties.values()) {
        collect_messages(child, found);
    }
}

/// What a field means, and what its default is.
fn split_default(text: &str) -> (String, Option<String>) {
    match text.rsplit_once("\n\nDefault: ") {
        Some((description, default)) => (description.to_owned(), Some(default.to_owned())),
        None => (text.to_owned(), None),
    }
}

/// The type of a field and its bounds, in words.
fn kind(schema: &JSONSchemaProps) -> String {
    if let Some(words) = &schema.enum_ {
        let words: Vec<String> = words.iter().map(|word| word.0.as_str().unwrap_or_default().to_owned()).collect();
        return format!("one of {}", code_list(&words));
    }
    match (schema.type_.as_deref().unwrap_or("any"), &schema.items, &schema.additional_properties) {
        ("array", Some(JSONSchemaPropsOrArray::Schema(items)), _) => {
            format!("list of {}{}", kind(items), bounds(schema.min_items, schema.max_items, "entries"))
        }
        ("object", _, Some(JSONSchemaPropsOrBool::Schema(values))) => {
            format!("map to {}{}", kind(values), bounds(None, schema.max_properties, "entries"))
        }
        ("string", ..) if schema.format.as_deref() == Some("date-time") => "time".to_owned(),
        ("string", ..) => format!("string{}", bounds(schema.min_length, schema.max_length, "characters")),
        ("integer", ..) => {
            let whole = |number: Option<f64>| number.map(|number| format!("{number:.0}"));
            match (whole(schema.minimum), whole(schema.maximum)) {
                (Some(least), Some(most)) => format!("integer, {least} to {most}"),
                (Some(least), None) => format!("integer, at least {least}"),
                _ => "integer".to_owned(),
            }
        }
        (other, ..) => other.to_owned(),
    }
}

/// Bounds of a length, in words.
fn bounds(least: Option<i64>, most: Option<i64>, unit: &str) -> String {
    match (least, most) {
        (Some(least), Some(most)) if least == most => format!(", {most} {unit}"),
        (Some(least), Some(most)) if least > 0 => format!(", {least} to {most} {unit}"),
        (_, Some(most)) => format!(", at most {most} {unit}"),
        _ => String::new(),
    }
}

/// Text that fits in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace("\n\n", "<br>").replace('\n', " ")
}

/// Words as code, with commas.
fn code_list(words: &[String]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
