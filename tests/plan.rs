//! Plans are text that a reviewer can read: each scenario's plan is a golden file in `tests/plans/`.
//!
//! A scenario is a manifest, what the database answers, and the name of the file. `UPDATE_PLANS=1 cargo test --test plan`
//! writes the files again; the diff is the review.

#![allow(clippy::needless_pass_by_value, reason = "json! literals read better without a reference")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where its ground gives way")]

mod plan_scenarios;

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc};

use serde_json::{Value, json};
use tenant_schema_operator::{
    api::{SchemaBackup, TenantDatabase, TenantSchema},
    backup,
    contract::{BackupAnswer, TenantAnswer},
    lane::LaneState,
    tenant::{
        self,
        desired::Invalid,
        resolve::{Older, Resolved},
    },
};

/// UID of the tenant of all scenarios.
const UID: &str = "11111111-1111-4111-8111-111111111111";
/// Its row in the registry.
const ROW: &str = "22222222-2222-4222-8222-222222222222";
/// When its object was deleted, where it was.
const DELETED_AT: &str = "2026-11-28T11:00:00Z";

/// A tenant of namespace team-a called school, with this spec and status.
fn tenant(spec: Value, status: Value) -> TenantSchema {
    serde_json::from_value(json!({
        "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantSchema",
        "metadata": { "namespace": "team-a", "name": "school", "uid": UID, "generation": 1 },
        "spec": spec, "status": status,
    }))
    .expect("a valid tenant")
}

/// The same with an annotation.
fn annotated(mut tenant: TenantSchema, key: &str, value: &str) -> TenantSchema {
    tenant.metadata.annotations = Some(BTreeMap::from([(key.to_owned(), value.to_owned())]));
    tenant
}

/// What a tenant points to: a database with this spec, beside its connection.
fn resolved(mut spec: Value, older: usize) -> Resolved {
    spec["connection"] = json!({ "secretRef": { "name": "postgres" } });
    let database: TenantDatabase = serde_json::from_value(json!({
        "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantDatabase",
        "metadata": { "name": "default" }, "spec": spec,
    }))
    .expect("a valid database");
    Resolved {
        cluster: "cluster".to_owned(),
        database: Some(Arc::new(database)),
        lane: LaneState::Elsewhere,
        namespace_labels: Some(BTreeMap::from([("team".to_owned(), "a".to_owned())])),
        namespace_uid: Some("uid-team-a".to_owned()),
        now: "2026-12-31T00:00:00Z".parse().expect("a time"),
        older: Older { count: older, refused: None },
    }
}

/// A tenant's row that is just as the spec `{"schemaName": "school"}` asks, changed by `change`.
fn row(change: Value) -> Value {
    let mut row = json!({
        "schema_id": ROW, "institution_id": null, "schema_name": "school", "status": "active", "access": "ReadWrite",
        "taken_over": false, "recreations": 0,
        "owner": { "cluster": "cluster", "namespace": "team-a", "name": "school", "uid": UID },
        "config": {}, "quota_limit": null, "schema_exists": true, "drift": [], "storage_bytes": 81920,
        "table_count": 2, "usage_stale": false, "last_backup": null, "last_operation": null, "jobs": [],
    });
    merge(&mut row, change);
    row
}

/// What the database answers when nothing is there, changed by `change`.
fn answer(change: Value) -> TenantAnswer {
    let mut answer = json!({
        "own": null, "tombstone": null, "name_holder": null, "institution_holder": null, "schema_exists": false,
        "name_is_role": false, "institution_known": false, "set_aside": null, "known": null,
    });
    merge(&mut answer, change);
    serde_json::from_value(answer).expect("a valid answer")
}

fn merge(into: &mut Value, change: Value) {
    if let (Some(into), Value::Object(change)) = (into.as_object_mut(), change) {
        into.extend(change);
    }
}

/// The plan of a living tenant is the golden file.
fn check(file: &str, tenant: &TenantSchema, observed: &TenantAnswer) {
    let desired = tenant::desired::desired(tenant, &resolved(json!({}), 0)).expect("a spec that can be followed");
    golden(file, &tenant::plan::plan(&desired, observed).to_string());
}

/// The same object after a user deleted it.
fn deleted(tenant: &TenantSchema) -> TenantSchema {
    let mut tenant = tenant.clone();
    tenant.metadata.deletion_timestamp = Some(serde_json::from_value(json!(DELETED_AT)).expect("a time"));
    tenant
}

/// The plan of a deleted tenant is the golden file.
fn check_removal(file: &str, tenant: &TenantSchema, observed: &TenantAnswer) {
    let removal = tenant::desired::removal(&deleted(tenant), &resolved(json!({}), 0));
    golden(file, &tenant::plan::plan_removal(&removal, observed).to_string());
}

/// The spec is refused for this reason, with a message that contains all of `words`.
fn check_refused(tenant: &TenantSchema, resolved: &Resolved, reason: &str, words: &[&str]) {
    let Invalid { reason: found, message } =
        tenant::desired::desired(tenant, resolved).expect_err("a spec that cannot be followed");
    assert_eq!(found.as_str(), reason, "{message}");
    for word in words {
        assert!(message.contains(word), "{message:?} does not say {word:?}");
    }
}

/// The plan of a backup is the golden file.
fn check_backup(file: &str, backup: &SchemaBackup, tenant: Option<TenantSchema>, observed: &BackupAnswer) {
    let resolved = backup::resolve::Resolved {
        cluster: "cluster".to_owned(),
        namespace_uid: None,
        database: None,
        tenant: tenant.map(Arc::new),
        lane: None,
    };
    let desired = backup::desired::desired(backup, &resolved);
    golden(file, &backup::plan::plan(&desired, observed).to_string());
}

/// The plan of a deleted backup is the golden file.
fn check_backup_removal(file: &str, backup: &SchemaBackup, namespace_ends: bool, observed: &BackupAnswer) {
    let resolved = backup::resolve::Resolved {
        cluster: "cluster".to_owned(),
        namespace_uid: None,
        database: None,
        tenant: None,
        lane: None,
    };
    let removal = backup::desired::removal(backup, &resolved, namespace_ends);
    golden(file, &backup::plan::plan_removal(&removal, observed).to_string());
}

fn golden(file: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/plans").join(format!("{file}.txt"));
    if std::env::var_os("UPDATE_PLANS").is_some() {
        fs::write(&path, text).expect("a golden file that can be written");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "plan {file}; if this is meant: UPDATE_PLANS=1 cargo test --test plan");
}
