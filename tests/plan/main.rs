//! Plans are text that a reviewer can read: each scenario's plan is a golden file in `tests/plan/golden/`.
//!
//! A scenario is a manifest, what the database answers, and the name of the file. `UPDATE_PLANS=1 cargo test --test plan`
//! writes the files again; the diff is the review.

#![allow(clippy::needless_pass_by_value, reason = "json! literals read better without a reference")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where its ground gives way")]

mod lint;
mod random;
mod scenarios;

use std::{collections::BTreeMap, fmt::Write, fs, path::PathBuf, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use serde_json::{Value, json};
use tenant_schema_operator::{
    api::{SchemaBackup, TenantDatabase, TenantSchema, condition::Conditions, tenant_schema::Place},
    backup,
    contract::{BackupAnswer, Caller, Purpose, Step, TenantAnswer},
    frame::{Invalid, Kind, Notice, Pass, Wish},
    plan::{Applied, Effect, End, Plan, Published},
    tenant::resolve::{Older, Reach, Resolved},
};

/// UID of the tenant of all scenarios.
const UID: &str = "11111111-1111-4111-8111-111111111111";
/// Its row in the registry.
const ROW: &str = "22222222-2222-4222-8222-222222222222";
/// The institution of a tenant that has one.
const INSTITUTION: &str = "3f0c1d52-0000-4000-8000-00000000000a";
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
        may_have_schema: true,
        reach: Reach::Reached,
        namespace_labels: Some(BTreeMap::from([("team".to_owned(), "a".to_owned())])),
        namespace_uid: Some("uid-team-a".to_owned()),
        now: "2026-12-31T00:00:00Z".parse().expect("a time"),
        newest_deletion: None,
        held: None,
        backups: BTreeMap::new(),
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

/// The plan of a living tenant is the golden file, with what a person reads of it.
fn check(file: &str, tenant: &TenantSchema, observed: &TenantAnswer) {
    let desired = tenant.desired(&resolved(json!({}), 0)).expect("a spec that can be followed");
    golden(file, &seen(tenant, Wish::Keep(&desired), &observed.clone().into()));
}

/// The same object after a user deleted it.
fn deleted(tenant: &TenantSchema) -> TenantSchema {
    let mut tenant = tenant.clone();
    tenant.metadata.deletion_timestamp = Some(serde_json::from_value(json!(DELETED_AT)).expect("a time"));
    tenant
}

/// The plan of a deleted tenant is the golden file, with what a person reads of it.
fn check_removal(file: &str, tenant: &TenantSchema, observed: &TenantAnswer) {
    let tenant = deleted(tenant);
    let leave = tenant.removal(&resolved(json!({}), 0));
    golden(file, &seen(&tenant, Wish::End(&leave), &observed.clone().into()));
}

/// The spec is refused for this reason, with a message that contains all of `words`.
fn check_refused(tenant: &TenantSchema, resolved: &Resolved, reason: &str, words: &[&str]) {
    let Invalid { reason: found, message } = tenant.desired(resolved).expect_err("a spec that cannot be followed");
    assert_eq!(found.as_str(), reason, "{message}");
    for word in words {
        assert!(message.contains(word), "{message:?} does not say {word:?}");
    }
}

/// What a backup points to.
fn backup_resolved(tenant: Option<TenantSchema>, namespace_ends: bool) -> backup::resolve::Resolved {
    backup::resolve::Resolved {
        cluster: "cluster".to_owned(),
        namespace_uid: None,
        namespace_ends,
        database: Some("default".to_owned()),
        tenant: tenant.map(Arc::new),
        defaults: None,
        touched: false,
    }
}

/// The plan of a backup is the golden file, with what a person reads of it.
fn check_backup(file: &str, backup: &SchemaBackup, tenant: Option<TenantSchema>, observed: &BackupAnswer) {
    let desired = backup.desired(&backup_resolved(tenant, false)).expect("a spec that can be followed");
    golden(file, &seen(backup, Wish::Keep(&desired), &observed.clone().into()));
}

/// The plan of a deleted backup is the golden file, with what a person reads of it.
fn check_backup_removal(file: &str, backup: &SchemaBackup, namespace_ends: bool, observed: &BackupAnswer) {
    let leave = backup.removal(&backup_resolved(None, namespace_ends));
    golden(file, &seen(backup, Wish::End(&leave), &observed.clone().into()));
}

/// A plan, and what a person reads once it is applied and every function did what it was asked.
fn seen<K: Kind>(object: &K, wish: Wish<'_, K>, observed: &K::Observed) -> String {
    let plan = K::plan(wish, observed);
    let Caller { namespace, requested_by, .. } = &plan.caller;
    assert_eq!(
        (namespace.as_str(), requested_by),
        ("team-a", &format!("{} team-a/{}", K::kind(&()), object.name_any()))
    );
    let applied = as_planned(&plan);
    let place = Place { host: "db".to_owned(), port: 5432, database: "app".to_owned(), ..Place::default() };
    let pass = if plan.paused {
        Pass::Paused { wish, plan: &plan, observed }
    } else {
        Pass::Applied { wish, observed, applied: &applied, database: "default", place: &place }
    };
    let told = object.status_of(&pass, Timestamp::UNIX_EPOCH);
    let mut text = plan.to_string();
    if applied.end != End::Released {
        let status = serde_json::to_value(&told.status).expect("a status that can be written");
        // The summary is the most urgent condition again.
        for (field, value) in status.as_object().into_iter().flatten() {
            if !["conditions", "summary", "observedGeneration"].contains(&field.as_str()) {
                let _ = writeln!(text, "status {field}: {value}");
            }
        }
        for condition in told.status.conditions() {
            let Condition { type_, status, reason, message, .. } = condition;
            // The plan has the message of what waits or is refused, and need not be read twice. What is said of an annotation that
            // does nothing is tested where that is decided.
            let message = message.split("; the annotation ").next().unwrap_or_default();
            let message = if text.contains(message) { "as above" } else { message };
            let _ = writeln!(text, "condition {type_}={status} {reason}: {message}");
        }
    }
    let news = told.news.iter().filter(|_| applied.end != End::Released);
    for Notice { reason, message } in told.done.iter().chain(news) {
        let message = message.split("; the annotation ").next().unwrap_or_default();
        let message = message.strip_prefix(plan_reason(&plan)).unwrap_or(message).trim_start_matches(": ");
        let message = if text.contains(message) { "as above" } else { message };
        let _ = writeln!(text, "Event {reason}: {message}");
    }
    text
}

/// How an Event of a refusal begins.
fn plan_reason(plan: &Plan) -> &str {
    match plan.effects.last() {
        Some(Effect::Refuse { reason, .. }) => reason.as_str(),
        _ => "",
    }
}

/// The plan applied by functions that do what they are asked.
fn as_planned(plan: &Plan) -> Applied {
    let mut applied = Applied::nothing();
    for effect in &plan.effects {
        match effect {
            Effect::Steps(steps) | Effect::Try(steps) => applied.results.extend(steps.iter().map(|step| {
                let id = "44444444-4444-4444-8444-444444444444";
                let answer = json!({
                    "call": step.call(), "status": "success", "message": format!("done: {step}"), "schema_id": ROW,
                    "detail": { "backup_id": id, "closed": "school_app_a", "ended": 2, "purpose": purpose_of(step) },
                });
                serde_json::from_value(answer).expect("an answer")
            })),
            Effect::EndJobs(_) => {}
            Effect::MakeBackup { backup, .. } => applied.made.push(backup.name_any()),
            Effect::ForgetBackups { known, .. } => {
                applied.forgotten.extend(known.iter().map(|known| known.name.clone()));
            }
            Effect::Publish { purpose, secret, .. } => {
                applied.published.push(Published {
                    purpose: purpose.clone(),
                    secret_name: secret.name.clone(),
                    secret_uid: Some("uid-secret".to_owned()),
                    login: "school_app_b".to_owned(),
                    credential_id: "55555555-5555-4555-8555-555555555555".parse().expect("an id"),
                    previous_until: Some("2026-12-31T01:00:00Z".parse().expect("a time")),
                });
            }
            Effect::Await { reason, fact, until } => {
                applied.end = End::Waits { reason: *reason, message: fact.clone(), until: *until };
                return applied;
            }
            Effect::Refuse { reason, message } => {
                applied.end = End::Refused { reason: *reason, message: message.clone() };
                return applied;
            }
            Effect::Release => applied.end = End::Released,
        }
    }
    applied
}

/// What the logins are for that a step is about.
fn purpose_of(step: &Step) -> Option<&Purpose> {
    match step {
        Step::IssueCredential { purpose, .. }
        | Step::EndPreviousLogin { purpose, .. }
        | Step::WithdrawCredential { purpose, .. } => Some(purpose),
        _ => None,
    }
}

fn golden(file: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/plan/golden").join(format!("{file}.txt"));
    if std::env::var_os("UPDATE_PLANS").is_some() {
        fs::write(&path, text).expect("a golden file that can be written");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "plan {file}; if this is meant: UPDATE_PLANS=1 cargo test --test plan");
}
