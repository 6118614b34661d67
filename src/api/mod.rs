//! The kinds of the API, and the words that conditions and Events are made of.
//!
//! Everything here is data and its description: the manifests in `crds/` and the pages in `docs/reference/` are
//! generated from it. Nothing here talks to Kubernetes or PostgreSQL.

#![allow(clippy::doc_markdown, reason = "PostgreSQL is a name, not code")]

pub mod condition;
pub mod connection;
pub mod event;
pub mod kinds;
pub mod policy;
pub mod reason;
pub mod reference;
pub mod schema_backup;
pub mod tenant_database;
pub mod tenant_schema;
pub mod tenant_status;
pub mod transfer;

mod schema;

use std::fmt::Display;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use kube::api::ObjectMeta;
use thiserror::Error;

pub use schema_backup::{SchemaBackup, SchemaBackupSpec, SchemaBackupStatus};
pub use tenant_database::{TenantDatabase, TenantDatabaseSpec, TenantDatabaseStatus};
pub use tenant_schema::{TenantSchema, TenantSchemaSpec, TenantSchemaStatus};

/// The API group of every kind.
pub const GROUP: &str = "edumatrixhub.io";

/// The only version so far.
pub const VERSION: &str = "v1alpha1";

/// The finalizer of a `TenantSchema`: what it made in the database is dealt with before it goes.
pub const TENANT_SCHEMA_FINALIZER: &str = "edumatrixhub.io/tenant-schema";

/// The finalizer of a `SchemaBackup`.
pub const SCHEMA_BACKUP_FINALIZER: &str = "edumatrixhub.io/schema-backup";

/// The finalizer of a `TenantDatabase`: it stays while tenants refer to it.
pub const TENANT_DATABASE_FINALIZER: &str = "edumatrixhub.io/tenant-database";

/// Annotation: look at the object now. The value is any text that changes, by custom a time.
pub const RECONCILE_REQUESTED_AT: &str = "edumatrixhub.io/reconcile-requested-at";

/// Annotation: the schema may really be dropped. The value is [`bound`] to the tenant's id in the registry, so that neither a
/// typo does anything nor one that stays in Git to the next tenant of that name.
pub const CONFIRM_DROP: &str = "edumatrixhub.io/confirm-drop";

/// Annotation: make the schema again, empty, after it was dropped by hand or beside what is set aside. The value is [`bound`] to
/// the tenant's id or the backup's, which the message tells.
pub const RECREATE: &str = "edumatrixhub.io/recreate";

/// Annotation: let the object go although the database cannot be asked. The value is [`bound`] to the UID of the object, which
/// is known without the database and is another one in the object's next life.
pub const ABANDON: &str = "edumatrixhub.io/abandon";

/// Annotation: take back what an earlier object of this namespace and name left behind. The value is the schema's name; it may
/// stay in Git, since it takes nothing but what was this object's own.
pub const RECLAIM: &str = "edumatrixhub.io/reclaim";

/// Annotation: do nothing, and say as a condition what would be done. The value does not matter.
pub const PAUSED: &str = "edumatrixhub.io/paused";

/// Annotation of a `TenantDatabase`: manage a database that another cluster managed, or another database than before. The
/// value is what the message of the condition says: `<cluster>/<epoch>` or `<installation>/<epoch>`, or both with a comma in
/// between. It counts for that epoch, so that one which is forgotten takes nothing over again.
pub const TAKE_OVER: &str = "edumatrixhub.io/take-over";

/// Annotation of a `TenantDatabase`: after a restore or an upgrade of the server, find out again which schema is whose. The value is
/// the installation's id. Forgotten it does nothing: only rows whose schema is nowhere are bound, and only to a schema that belongs to
/// the tenant's own role and carries the tenant's id.
pub const REBIND: &str = "edumatrixhub.io/rebind";

/// Annotation of a `TenantDatabase`: what was deleted, or has expired, up to this time may go, however much it is. The value is a
/// time such as `2026-01-31T12:00:00Z`, so that one which is forgotten confirms no later deletion. One to come confirms nothing.
pub const CONFIRM_DELETIONS: &str = "edumatrixhub.io/confirm-deletions";

/// Annotation of a `TenantDatabase`: bring back all tenants that were set aside since this time, each for the next object of its
/// namespace and name. The value is a time such as `2026-01-31T12:00:00Z`. It counts for what was set aside before the operator
/// first heard it, so that one which is forgotten takes back no later deletion.
pub const BRING_BACK: &str = "edumatrixhub.io/bring-back";

/// Annotation of the Lease of a database: the replica that asks its holder for it. The value is the identity of that replica.
pub const WANTED_BY: &str = "edumatrixhub.io/wanted-by";

/// How far two clocks that are right may be apart.
const CLOCKS: SignedDuration = SignedDuration::from_mins(1);

/// Why the definitions could not be written.
#[derive(Debug, Error)]
#[error("failed to write the definition of {kind} as YAML")]
pub struct YamlError {
    kind: String,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// The definitions of all kinds, in the order in which they are explained. This is what is installed: the derived
/// `CustomResourceExt::crd` lacks the last pass.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    [TenantDatabase::crd(), TenantSchema::crd(), SchemaBackup::crd()].map(schema::finish).into()
}

/// One definition as YAML.
pub fn crd_yaml(crd: &CustomResourceDefinition) -> Result<String, YamlError> {
    let error = |source| YamlError { kind: crd.spec.names.kind.clone(), source };
    let value = serde_json::to_value(crd).map_err(|source| error(source.into()))?;
    serde_saphyr::to_string(&schema::plain(value)).map_err(|source| error(source.into()))
}

/// The definitions of all kinds as one stream of YAML documents, for `kubectl apply -f -`.
pub fn crds_yaml() -> Result<String, YamlError> {
    let documents = crds().iter().map(crd_yaml).collect::<Result<Vec<_>, _>>()?;
    Ok(format!("---\n{}", documents.join("---\n")))
}

/// Whether the object is not to be worked on.
#[must_use]
pub fn is_paused(metadata: &ObjectMeta) -> bool {
    metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(PAUSED))
}

/// Up to which time deletions are confirmed, if it is `now` by the API server's clock; a value that is no time confirms
/// nothing, and nor does a time to come, which would confirm what no user has seen yet.
#[must_use]
pub fn confirmed_deletions(metadata: &ObjectMeta, now: Timestamp) -> Option<Timestamp> {
    said_deletions(metadata).filter(|until| *until <= now + CLOCKS)
}

/// Up to which time deletions would be confirmed, if it is too far ahead to confirm anything.
#[must_use]
pub fn confirmed_too_early(metadata: &ObjectMeta, now: Timestamp) -> Option<Timestamp> {
    said_deletions(metadata).filter(|until| *until > now + CLOCKS)
}

fn said_deletions(metadata: &ObjectMeta) -> Option<Timestamp> {
    said_time(metadata, CONFIRM_DELETIONS)?.ok()
}

/// Since when what was set aside is to be brought back, if a user said so; as exact as PostgreSQL keeps it.
#[must_use]
pub fn bring_back_since(metadata: &ObjectMeta) -> Option<Timestamp> {
    Timestamp::from_microsecond(said_time(metadata, BRING_BACK)?.ok()?.as_microsecond()).ok()
}

/// The time that an annotation has for its value, or the value if it is none.
fn said_time<'a>(metadata: &'a ObjectMeta, annotation: &str) -> Option<Result<Timestamp, &'a str>> {
    let value = metadata.annotations.as_ref()?.get(annotation)?.trim();
    Some(value.parse().map_err(|_| value))
}

/// The annotations of a TenantDatabase whose value must be a time and is none, each with its value.
#[must_use]
pub fn no_times(metadata: &ObjectMeta) -> Vec<(&'static str, &str)> {
    let said = |annotation: &'static str| Some((annotation, said_time(metadata, annotation)?.err()?));
    [CONFIRM_DELETIONS, BRING_BACK].into_iter().filter_map(said).collect()
}

/// Whether the object has `annotation` with just this value; anything else confirms nothing.
#[must_use]
pub fn confirms(metadata: &ObjectMeta, annotation: &str, value: &str) -> bool {
    metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(annotation))
        .is_some_and(|found| found == value)
}

/// The annotations of this operator's group on an object that mean nothing: misspelt, or of another release.
#[must_use]
pub fn unknown_annotations(metadata: &ObjectMeta) -> Vec<&str> {
    const KNOWN: [&str; 11] = [
        RECONCILE_REQUESTED_AT,
        CONFIRM_DROP,
        RECREATE,
        ABANDON,
        RECLAIM,
        PAUSED,
        TAKE_OVER,
        REBIND,
        CONFIRM_DELETIONS,
        BRING_BACK,
        WANTED_BY,
    ];
    let ours = |key: &str| key.split_once('/').is_some_and(|(group, _)| group == GROUP);
    let keys = metadata.annotations.iter().flatten().map(|(key, _)| key.as_str());
    keys.filter(|key| ours(key) && !KNOWN.contains(key)).collect()
}

/// The value of an annotation that counts for one life: the schema's name, so that a person reads what it is about, and the id
/// of what the message was about, which comes only once.
#[must_use]
pub fn bound(schema_name: &str, id: impl Display) -> String {
    format!("{schema_name}@{id}")
}
