//! Reading objects one by one, so that one that cannot be read keeps no other from being read.
//!
//! A list and a watch are read as texts first, and then each text into its type. A text that does not fit, because it
//! is nested too deep or has a word of a newer release, is still known by its metadata. Managed fields are left out
//! where they are in the way: they are as deep as what they manage, and no part of the operator reads them.

use std::{borrow::Cow, collections::BTreeMap, fmt::Debug};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{Resource, api::ObjectMeta};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::value::RawValue;

/// The most of a field's path, and of what is wrong with it, that a message has room for.
const WORDS: usize = 300;

/// An object of a list or a watch.
#[derive(Clone, Debug)]
pub enum Read<K> {
    /// An object that could be read.
    Whole(K),
    /// An object that could not.
    Unreadable(Box<Unreadable>),
}

/// What is known of an object that cannot be read.
#[derive(Clone, Debug, Default)]
pub struct Unreadable {
    /// What could be read of its metadata.
    pub metadata: ObjectMeta,
    /// Which field, and what is wrong with it.
    pub why: String,
    /// The TenantDatabase that it names, if that could be read.
    pub database: Option<String>,
    /// The schema that it names, if that could be read.
    pub schema_name: Option<String>,
    /// Its status field by field, as it is.
    pub status: BTreeMap<String, Box<RawValue>>,
}

impl Unreadable {
    /// The conditions that it has; none if they cannot be read either.
    #[must_use]
    pub fn conditions(&self) -> Vec<Condition> {
        let conditions = self.status.get("conditions");
        conditions.and_then(|text| serde_json::from_str(text.get()).ok()).unwrap_or_default()
    }
}

impl<K: DeserializeOwned> Read<K> {
    /// Reads the text of one object.
    #[must_use]
    pub fn of(text: &str) -> Self {
        if let Ok(object) = serde_json::from_str(text) {
            return Self::Whole(object);
        }
        let parts = fields(text);
        let lean = without_managed_fields(&parts);
        match serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(&lean)) {
            Ok(object) => Self::Whole(object),
            Err(error) => Self::Unreadable(Box::new(Unreadable {
                metadata: metadata(&parts),
                why: complaint(&error),
                database: word(&parts, &["spec", "databaseRef", "name"])
                    .or_else(|| word(&parts, &["status", "databaseRef"])),
                schema_name: word(&parts, &["status", "schemaName"]).or_else(|| word(&parts, &["spec", "schemaName"])),
                status: parts
                    .get("status")
                    .map(|status| fields(status.get()))
                    .unwrap_or_default()
                    .into_iter()
                    .map(|(name, value)| (name, value.to_owned()))
                    .collect(),
            })),
        }
    }
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Read<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::of(<&RawValue>::deserialize(deserializer)?.get()))
    }
}

impl<K: Resource<DynamicType = ()>> Resource for Read<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn metadata_api() -> bool {
        K::metadata_api()
    }

    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Whole(object) => object.meta(),
            Self::Unreadable(unreadable) => &unreadable.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Whole(object) => object.meta_mut(),
            Self::Unreadable(unreadable) => &mut unreadable.metadata,
        }
    }
}

/// The metadata of an object, read from a text in which other fields may be unreadable.
#[derive(Clone, Debug, Default)]
pub struct Outline(pub ObjectMeta);

impl<'de> Deserialize<'de> for Outline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(metadata_of(<&RawValue>::deserialize(deserializer)?.get())))
    }
}

/// Reads only the metadata in the text of an object.
#[must_use]
pub fn metadata_of(text: &str) -> ObjectMeta {
    metadata(&fields(text))
}

type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// The fields of a JSON object as texts; none if it is no object.
fn fields(text: &str) -> Fields<'_> {
    serde_json::from_str(text).unwrap_or_default()
}

fn metadata(parts: &Fields) -> ObjectMeta {
    let found = parts.get("metadata").map(|metadata| fields(metadata.get())).unwrap_or_default();
    ObjectMeta {
        name: field(&found, "name"),
        namespace: field(&found, "namespace"),
        uid: field(&found, "uid"),
        resource_version: field(&found, "resourceVersion"),
        generation: field(&found, "generation"),
        // An object that is being deleted counts as that, even if the time could not be read.
        deletion_timestamp: found
            .contains_key("deletionTimestamp")
            .then(|| field(&found, "deletionTimestamp").unwrap_or(Time(jiff::Timestamp::UNIX_EPOCH))),
        creation_timestamp: field(&found, "creationTimestamp"),
        finalizers: field(&found, "finalizers"),
        labels: field(&found, "labels"),
        annotations: field(&found, "annotations"),
        owner_references: field(&found, "ownerReferences"),
        ..ObjectMeta::default()
    }
}

fn field<T: DeserializeOwned>(parts: &Fields, name: &str) -> Option<T> {
    serde_json::from_str(parts.get(name)?.get()).ok()
}

/// The text at the end of a path.
fn word(parts: &Fields, path: &[&str]) -> Option<String> {
    match path {
        [] => None,
        [last] => field(parts, last),
        [first, rest @ ..] => word(&fields(parts.get(*first)?.get()), rest),
    }
}

fn without_managed_fields(parts: &Fields) -> String {
    let mut metadata = parts.get("metadata").map(|metadata| fields(metadata.get())).unwrap_or_default();
    metadata.remove("managedFields");
    let lean = serde_json::value::to_raw_value(&metadata);
    let mut parts = parts.clone();
    if let Ok(lean) = &lean {
        parts.insert("metadata".to_owned(), lean);
    }
    // Texts that were read can be written; an empty one is told as what it is.
    serde_json::to_string(&parts).unwrap_or_default()
}

/// The field and what is wrong with it, without the place in a text that no person has.
fn complaint(error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    let what = error.inner().to_string();
    let what = what.rfind(" at line ").and_then(|end| what.get(..end)).unwrap_or(&what);
    if what == "recursion limit exceeded" {
        let path = error.path().to_string();
        let first: Vec<_> = path.split('.').take(2).collect();
        return format!("{} is nested too deep to be read", first.join("."));
    }
    format!("{}: {}", cut(&error.path().to_string()), cut(what))
}

fn cut(text: &str) -> String {
    let mut characters = text.chars();
    let start: String = characters.by_ref().take(WORDS).collect();
    if characters.next().is_some() { format!("{start}…") } else { start }
}

#[cfg(test)]
mod tests {
    use kube::core::ObjectList;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::{SchemaBackup, TenantDatabase, TenantSchema};

    fn nested(levels: usize) -> String {
        format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels))
    }

    fn metadata() -> Value {
        json!({
            "name": "deep", "namespace": "team-b", "uid": "u", "resourceVersion": "7", "generation": 3,
            "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-02T00:00:00Z",
            "finalizers": ["edumatrixhub.io/tenant-schema"], "annotations": { "edumatrixhub.io/abandon": "deep" },
        })
    }

    fn object(kind: &str, spec: &str, status: &str) -> String {
        let metadata = metadata();
        format!(
            r#"{{"apiVersion":"edumatrixhub.io/v1alpha1","kind":"{kind}","metadata":{metadata},"spec":{spec},"status":{status}}}"#
        )
    }

    fn unreadable<K: DeserializeOwned + Debug>(text: &str) -> Unreadable {
        match Read::<K>::of(text) {
            Read::Whole(object) => panic!("was read: {object:?}"),
            Read::Unreadable(unreadable) => *unreadable,
        }
    }

    #[test]
    fn whatever_is_wrong_is_told_by_its_field_and_the_metadata_is_there() {
        let check = |found: Unreadable, expected: &str| {
            assert!(found.why.starts_with(expected), "{:?} does not begin with {expected:?}", found.why);
            let wanted: ObjectMeta = serde_json::from_value(metadata()).unwrap();
            assert_eq!(found.metadata, wanted);
        };
        let tenant = |spec: &str, status: &str| unreadable::<TenantSchema>(&object("TenantSchema", spec, status));
        check(tenant(r#"{"access":"ReadMostly"}"#, "{}"), "spec.access: unknown variant `ReadMostly`");
        check(tenant(r#"{"config":"text"}"#, "{}"), "spec.config: invalid type: string \"text\"");
        check(tenant(r#"{"quota":{"warningPercent":"most"}}"#, "{}"), "spec.quota.warningPercent: invalid type");
        check(tenant("7", "{}"), "spec: invalid type");
        check(tenant("{}", r#"{"conditions":7}"#), "status.conditions: invalid type");
        check(
            tenant("{}", r#"{"lastBackup":{"completionTime":"2026-13-01T25:00:00Z"}}"#),
            "status.lastBackup.completionTime: ",
        );
        let database = r#"{"connection":{"secretRef":{"name":"s"}},"functions":"Rewrite"}"#;
        check(
            unreadable::<TenantDatabase>(&object("TenantDatabase", database, "{}")),
            "spec.functions: unknown variant",
        );
        let backup = r#"{"tenantSchemaRef":{"name":"a"},"method":"Tape"}"#;
        check(unreadable::<SchemaBackup>(&object("SchemaBackup", backup, "{}")), "spec.method: unknown variant `Tape`");
        check(unreadable::<SchemaBackup>(&object("SchemaBackup", "{}", "{}")), "spec: missing field `tenantSchemaRef`");
    }

    #[test]
    fn what_it_names_is_found_beside_what_cannot_be_read() {
        let status = r#"{"schemaName":"school","conditions":[],"newer":{"x":1}}"#;
        let found = unreadable::<TenantSchema>(&object(
            "TenantSchema",
            r#"{"access":"No","databaseRef":{"name":"main"}}"#,
            status,
        ));
        assert_eq!((found.database.as_deref(), found.schema_name.as_deref()), (Some("main"), Some("school")));
        assert_eq!(found.status["newer"].get(), r#"{"x":1}"#);
    }

    #[test]
    fn however_deep_an_object_is_the_others_of_its_list_are_read() {
        let plain = object("TenantSchema", "{}", "{}");
        for levels in [10, 100, 118, 119, 130, 1_000, 10_000] {
            let config = nested(levels);
            let deep = object("TenantSchema", &format!(r#"{{"config":{config}}}"#), "{}");
            // What a field manager would have written of it is as deep.
            let managed = format!(
                r#""metadata":{{"managedFields":[{{"manager":"kubectl","fieldsV1":{{"f:spec":{{"f:config":{config}}}}}}}],"#
            );
            let deep = deep.replacen(r#""metadata":{"#, &managed, 1);
            let list = format!(
                r#"{{"kind":"TenantSchemaList","apiVersion":"edumatrixhub.io/v1alpha1","metadata":{{"resourceVersion":"9"}},"items":[{plain},{deep},{plain}]}}"#
            );
            let list: ObjectList<Read<TenantSchema>> = serde_json::from_str(&list).unwrap();
            let whole: Vec<_> = list.items.iter().map(|item| matches!(item, Read::Whole(_))).collect();
            assert_eq!(whole, [true, levels < 125, true], "{levels} levels");
            if let Read::Unreadable(unreadable) = &list.items[1] {
                assert_eq!(unreadable.why, "spec.config is nested too deep to be read");
                assert_eq!(unreadable.metadata.name.as_deref(), Some("deep"));
            }
            let event = format!(r#"{{"type":"MODIFIED","object":{deep}}}"#);
            let event: kube::api::WatchEvent<Read<TenantSchema>> = serde_json::from_str(&event).unwrap();
            let kube::api::WatchEvent::Modified(object) = event else { panic!("{event:?}") };
            assert_eq!(object.meta().uid.as_deref(), Some("u"), "{levels} levels");
            assert_eq!(metadata_of(&deep).uid.as_deref(), Some("u"));
        }
    }

    #[test]
    fn no_status_unknown_fields_and_a_megabyte_are_no_hindrance() {
        let metadata = metadata();
        let large = "x".repeat(1 << 20);
        for text in [
            format!(r#"{{"metadata":{metadata},"spec":{{}}}}"#),
            format!(r#"{{"metadata":{metadata},"spec":{{"newer":{{"a":[1]}}}},"status":{{"newest":7}},"more":true}}"#),
            format!(r#"{{"metadata":{metadata},"spec":{{"config":{{"large":"{large}"}}}}}}"#),
            format!(r#"{{"metadata":{metadata},"spec":{{}},"status":{{"state":"Hibernating"}}}}"#),
        ] {
            assert!(matches!(Read::<TenantSchema>::of(&text), Read::Whole(_)), "{}", cut(&text));
        }
    }

    #[test]
    fn a_text_that_is_no_object_is_read_as_one_without_a_name() {
        for text in ["7", "[]", "{}", r#"{"metadata":7}"#, r#"{"metadata":{"name":7,"deletionTimestamp":"soon"}}"#] {
            let found = unreadable::<TenantSchema>(text);
            assert_eq!((found.metadata.name, found.metadata.uid), (None, None), "{text}");
            assert_eq!(found.metadata.deletion_timestamp.is_some(), text.contains("soon"), "{text}");
        }
    }
}
