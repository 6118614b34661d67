//! The commands that messages tell a person to type. Pure.
//!
//! Each is a value: a message shows its text, and a console or a plugin of kubectl can offer the same as a button.
//!
//! ```
//! # use tenant_schema_api::{RECLAIM, command::Object};
//! let command = Object::tenant("team", "a").annotate(RECLAIM, "school").to_string();
//! assert_eq!(command, "kubectl -n team annotate tenantschema a --overwrite edumatrixhub.io/reclaim=school");
//! ```

use std::{borrow::Cow, fmt};

use kube::core::ObjectMeta;

use super::{policy::DeletionPolicy, text::is_object_name};

/// A kind of object that commands are about, called as manifests call it.
#[allow(missing_docs, reason = "each kind has its own document")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    TenantDatabase,
    TenantSchema,
    SchemaBackup,
    Lease,
    /// Another one, by its name.
    Other(String),
}

impl From<&str> for Kind {
    fn from(name: &str) -> Self {
        match name {
            "TenantDatabase" => Self::TenantDatabase,
            "TenantSchema" => Self::TenantSchema,
            "SchemaBackup" => Self::SchemaBackup,
            "Lease" => Self::Lease,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TenantDatabase => "TenantDatabase",
            Self::TenantSchema => "TenantSchema",
            Self::SchemaBackup => "SchemaBackup",
            Self::Lease => "Lease",
            Self::Other(name) => name,
        })
    }
}

/// An object that commands are about.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Object {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; none when it has none.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// What is done to the object.
#[allow(missing_docs, reason = "those without arguments are verbs of kubectl")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    Get,
    /// It is shown with its labels.
    GetLabels,
    Describe,
    Delete,
    Edit,
    /// Its status is mended in an editor.
    EditStatus,
    /// It gets an annotation with this key and value, whatever value that had.
    Annotate(String, String),
    /// Its annotation with this key is removed.
    Unannotate(String),
    /// A `TenantSchema` gets this policy.
    SetDeletionPolicy(DeletionPolicy),
    /// A `TenantSchema` gets this limit of its quota.
    SetQuota(String),
    /// A `TenantDatabase` allows its tenants this policy as well.
    AllowDeletionPolicy(DeletionPolicy),
}

/// All objects of a kind are listed, of all namespaces if they have one.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct List(pub Kind);

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let everywhere = if self.0 == Kind::TenantDatabase { "" } else { " -A" };
        write!(f, "kubectl get {}s{everywhere}", self.0.to_string().to_lowercase())
    }
}

/// What is done to which object. Its text is what is typed: whatever a name or a value has in it, a shell takes it as one word,
/// and kubectl takes no name for an option, since one that no object has stands behind a slash.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Command(pub Object, pub Verb);

impl Object {
    /// The object of this kind with this metadata.
    pub fn of(kind: Kind, metadata: &ObjectMeta) -> Self {
        Self { kind, namespace: metadata.namespace.clone(), name: metadata.name.clone().unwrap_or_default() }
    }

    /// A `TenantDatabase`.
    pub fn database(name: impl Into<String>) -> Self {
        Self { kind: Kind::TenantDatabase, namespace: None, name: name.into() }
    }

    /// A `TenantSchema`.
    pub fn tenant(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind: Kind::TenantSchema, namespace: Some(namespace.into()), name: name.into() }
    }

    /// A `SchemaBackup`.
    pub fn backup(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind: Kind::SchemaBackup, ..Self::tenant(namespace, name) }
    }

    /// The command that does this to it.
    pub fn to(&self, verb: Verb) -> Command {
        Command(self.clone(), verb)
    }

    /// The command that gives it an annotation.
    pub fn annotate(&self, key: &str, value: impl fmt::Display) -> Command {
        self.to(Verb::Annotate(key.to_owned(), value.to_string()))
    }

    /// The command that removes an annotation.
    pub fn unannotate(&self, key: &str) -> Command {
        self.to(Verb::Unannotate(key.to_owned()))
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(Object { kind, namespace, name }, verb) = self;
        let place = namespace.as_ref().map_or_else(String::new, |namespace| format!("-n {} ", word(namespace)));
        let (verb, how) = match verb {
            Verb::Get => ("get", String::new()),
            Verb::GetLabels => ("get", " --show-labels".to_owned()),
            Verb::Describe => ("describe", String::new()),
            Verb::Delete => ("delete", String::new()),
            Verb::Edit => ("edit", String::new()),
            Verb::EditStatus => ("edit", " --subresource=status".to_owned()),
            Verb::Annotate(key, value) => ("annotate", format!(" --overwrite {}", word(&format!("{key}={value}")))),
            Verb::Unannotate(key) => ("annotate", format!(" {}", word(&format!("{key}-")))),
            Verb::AllowDeletionPolicy(policy) => {
                let added = r#"{"op":"add","path":"/spec/limits/deletionPolicies/-","value":"#;
                ("patch", format!(" --type json -p '[{added}\"{}\"}}]'", policy.as_str()))
            }
            Verb::SetQuota(limit) => {
                ("patch", format!(r#" --type merge -p '{{"spec":{{"quota":{{"limit":"{limit}"}}}}}}'"#))
            }
            Verb::SetDeletionPolicy(to) => {
                ("patch", format!(r#" --type merge -p '{{"spec":{{"deletionPolicy":"{}"}}}}'"#, to.as_str()))
            }
        };
        let slash = if is_object_name(name) { ' ' } else { '/' };
        write!(f, "kubectl {place}{verb} {}{slash}{}{how}", kind.to_string().to_lowercase(), word(name))
    }
}

/// The text as one word of a shell: as it is if no shell makes anything else of it, else in single quotes.
fn word(text: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"@%+=:,./_-".contains(&byte);
    let plain = !text.is_empty() && text.bytes().all(is_plain);
    if plain { text.into() } else { format!("'{}'", text.replace('\'', r"'\''")).into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(command: &Command, expected: &str) {
        assert_eq!(command.to_string(), format!("kubectl {expected}"));
    }

    #[test]
    fn a_kind_is_its_name() {
        for name in ["TenantDatabase", "TenantSchema", "SchemaBackup", "Lease", "TimedSnapshot"] {
            let kind = Kind::from(name);
            assert_eq!(kind.to_string(), name);
            assert_eq!(matches!(kind, Kind::Other(_)), name == "TimedSnapshot", "{kind:?}");
        }
    }

    #[test]
    fn all_of_a_kind_are_listed_wherever_they_are() {
        assert_eq!(List(Kind::TenantDatabase).to_string(), "kubectl get tenantdatabases");
        assert_eq!(List(Kind::SchemaBackup).to_string(), "kubectl get schemabackups -A");
    }

    #[test]
    fn a_command_is_what_is_typed_and_what_a_name_has_in_it_is_no_other_word() {
        let (main, a, retain) = (Object::database("main"), Object::tenant("team", "a"), DeletionPolicy::Retain);
        check(&Object { kind: Kind::Lease, ..a.clone() }.to(Verb::Describe), "-n team describe lease a");
        check(&Object::backup("team", "b").to(Verb::Delete), "-n team delete schemabackup b");
        let other = Object { kind: "TimedSnapshot".into(), ..a.clone() };
        check(&other.to(Verb::Edit), "-n team edit timedsnapshot a");
        check(&main.unannotate("g/k"), "annotate tenantdatabase main g/k-");
        check(&a.annotate("g/k", "s@7.01:00Z+1"), "-n team annotate tenantschema a --overwrite g/k=s@7.01:00Z+1");
        let merge = r#"-n team patch tenantschema a --type merge -p '{"spec":{"deletionPolicy":"Retain"}}'"#;
        check(&a.to(Verb::SetDeletionPolicy(retain)), merge);
        let quota = r#"-n team patch tenantschema a --type merge -p '{"spec":{"quota":{"limit":"6Gi"}}}'"#;
        check(&a.to(Verb::SetQuota("6Gi".to_owned())), quota);
        let allow = r#"patch tenantdatabase main --type json -p '[{"op":"add","path":"/spec/limits/deletionPolicies/-","value":"Retain"}]'"#;
        check(&main.to(Verb::AllowDeletionPolicy(retain)), allow);
        check(&main.to(Verb::GetLabels), "get tenantdatabase main --show-labels");
        check(&main.annotate("g/k", "it's $(x)"), r"annotate tenantdatabase main --overwrite 'g/k=it'\''s $(x)'");
        check(&Object::tenant("a;b", "x y").to(Verb::Get), "-n 'a;b' get tenantschema/'x y'");
        check(&Object::database("--all").to(Verb::Delete), "delete tenantdatabase/--all");
    }
}
