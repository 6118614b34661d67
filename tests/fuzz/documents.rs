//! Answers of the database in which every field is there, and what reads them.

use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tenant_schema_operator::contract::{
    BackupAnswer, CallResult, ClaimedJob, DatabaseFacts, Installation, LaneClaim, Surveyed, TenantAnswer, TenantRow,
};

/// An answer, and what it is read as: the `Debug` of the whole and what is told of it.
pub struct Document {
    pub answer: Value,
    pub read: fn(&str) -> Result<String, String>,
}

const ID: &str = "3f0c1d52-8a3e-4a43-9d3b-0d1f6a2b7c11";
const TIME: &str = "2026-11-02T03:04:05.678901Z";

pub fn documents() -> Vec<Document> {
    vec![
        Document { answer: survey(), read: surveyed },
        Document { answer: call(), read: surveyed },
        Document {
            answer: tenant(),
            read: |text| read(text, |answer: &TenantAnswer| answer.own.as_deref().map(row_told)),
        },
        Document { answer: backup(), read: |text| read(text, |_: &BackupAnswer| ()) },
        Document {
            answer: call(),
            read: |text| {
                read(text, |call: &CallResult| {
                    let flags = [call.may_pass(), call.lane_lost(), call.needs_new_claim()];
                    (call.reason().to_string(), call.text("sqlstate").map(str::to_owned), flags)
                })
            },
        },
        Document { answer: installation(), read: |text| read(text, |_: &Installation| ()) },
        Document { answer: claim(), read: |text| read(text, |_: &LaneClaim| ()) },
        Document { answer: facts(), read: |text| read(text, |_: &DatabaseFacts| ()) },
        Document { answer: claimed_job(), read: |text| read(text, |job: &ClaimedJob| job.kind.to_string()) },
    ]
}

fn surveyed(text: &str) -> Result<String, String> {
    read(text, |surveyed: &Surveyed| match surveyed {
        Surveyed::Refused(call) => vec![call.reason().to_string()],
        Surveyed::Found(answer) => answer.tenants.iter().map(row_told).collect(),
    })
}

fn row_told(row: &TenantRow) -> String {
    let (tables, estimate) = (row.foreign_tables.as_ref(), row.size_estimate.as_ref());
    let texts = [tables.map(ToString::to_string), estimate.map(ToString::to_string)];
    format!("{} {} {texts:?}", row.is_there(), row.content())
}

fn read<T: DeserializeOwned + Debug, R: Debug>(text: &str, tell: impl Fn(&T) -> R) -> Result<String, String> {
    let value: T = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(format!("{value:?} {:?}", tell(&value)))
}

fn owner() -> Value {
    json!({"cluster": ID, "namespace": "team-a", "name": "school", "uid": ID, "namespace_uid": ID})
}

fn holder() -> Value {
    json!({
        "schema_id": ID, "schema_name": "school", "cluster": ID, "namespace": "team-a", "name": "school", "uid": ID,
        "namespace_uid": ID, "status": "active", "taken_over": false,
    })
}

fn job() -> Value {
    json!({
        "job_id": ID, "kind": "snapshot", "state": "requested", "backup_id": ID, "attempt": 2, "error": "why", "reason": "busy",
        "waits": {"own": "purge", "since": TIME},
    })
}

fn row() -> Value {
    json!({
        "schema_id": ID, "institution_id": ID, "schema_name": "school", "status": "active", "access": "ReadWrite",
        "owner": owner(), "taken_over": false, "recreations": 1, "shared_with": ["other"],
        "roles": {"owner": "o", "reader": "r", "writer": "w"}, "config": {"a": [1, {"b": null}]}, "quota_limit": 5_000_000_000_u64,
        "schema_exists": true,
        "absence": {"kind": "renamed", "text": "why", "now": "school2", "statement": "ALTER", "owner": "o", "installation_id": ID},
        "drift": [{"what": "grant", "repairable": true, "statement": "GRANT"}], "storage_bytes": 81920, "table_count": 2,
        "foreign_tables": {"count": 2, "name": "t", "owner": "o", "statement": "ALTER"}, "usage_stale": true,
        "size_estimate": {"since": TIME, "holder": "session 1", "table": "t", "statement": "SELECT"},
        "measured": {"at": TIME, "table_count": 2, "storage_bytes": 81920, "exact": false},
        "last_backup": {
            "backup_id": ID, "object_name": "nightly", "method": "Snapshot", "location": "school_bak", "completed_at": TIME,
            "size_bytes": 1,
        },
        "last_operation": {"type": "create_tenant_schema", "status": "success", "started_at": TIME, "duration_ms": 3, "error": "why"},
        "jobs": [job()],
    })
}

fn beat(mut of: Value) -> Value {
    let party =
        json!({"holder": "pod", "cluster": ID, "tenant_database": "default", "lease": "a/b", "from": "10.0.0.1"});
    of["beats"] = json!(7);
    of["start"] = json!(1_700_000_000_000_000_i64);
    of["clock"] = json!(1_700_000_000.25);
    of["contest"] = json!({"holder": party, "contender": party});
    of["quiet"] = json!({"until": TIME, "reason": "ClusterRestored"});
    of
}

fn survey() -> Value {
    beat(json!({
        "tenant_count": 1, "owned_count": 1, "storage_bytes": 81920, "set_aside_count": 1, "set_aside_bytes": 5, "tenants": [row()],
        "stale_count": 1, "jobs_waiting": 1, "unbound_count": 1, "backups_changed": [{"backup_id": ID, "object": owner()}],
        "expiry": {"count": 2, "confirm": TIME, "stopped": true},
        "bring_back": {"since": TIME, "done": 1, "left": 2, "ever": 3, "latest": TIME},
    }))
}

fn tenant() -> Value {
    let mut bearer = holder();
    bearer["statement"] = json!("ALTER");
    json!({
        "own": row(),
        "tombstone": {
            "schema_id": ID, "backup_id": ID, "location": "school_bak", "backup_state": "complete", "schema_gone": true,
            "held_up": {"error": "why", "reason": "busy"},
        },
        "name_holder": holder(), "institution_holder": holder(), "schema_exists": true, "bearer": bearer, "name_is_role": true,
        "institution_known": true, "institution_problem": "why",
        "set_aside": {
            "backup_id": ID, "holder": holder(), "state": "complete", "location": "school_bak", "size_bytes": 1, "table_count": 1,
            "dropped_at": TIME,
        },
        "known": holder(),
    })
}

fn backup() -> Value {
    json!({
        "backup": {
            "backup_id": ID, "schema_id": ID, "schema_name": "school", "method": "Snapshot", "location": "school_bak",
            "state": "complete", "started_at": TIME, "completed_at": TIME, "size_bytes": 1, "table_count": 1, "row_count": 1,
            "checksum": "c", "expires_at": TIME, "error": "why", "object": owner(),
        },
        "job": job(), "tenant": holder(),
    })
}

fn call() -> Value {
    json!({
        "call": "create_tenant_schema", "status": "error", "message": "why", "schema_id": ID,
        "detail": {"reason": "stale_epoch", "sqlstate": "53100"},
    })
}

fn installation() -> Value {
    json!({
        "installation_id": ID, "functions_version": "0.1.0", "contract": 1, "checksum": "c", "fingerprint_matches": true, "cluster": ID,
        "tenant_database": "default", "epoch": 3, "heartbeat_at": TIME, "silent_for": 0.5,
    })
}

fn claim() -> Value {
    beat(json!({"installation_id": ID, "epoch": 3, "went_back": "counter"}))
}

fn facts() -> Value {
    let missing = json!([{"what": "CREATEROLE", "statement": "ALTER ROLE"}]);
    json!({
        "server_version_num": 150_018, "server_version": "15.18", "in_recovery": false, "read_only": "ALTER", "database_name": "edu",
        "registry_exists": true, "installed": true, "roles_exist": true, "is_operator": true, "owner_has_its_rights": true,
        "can_set_owner_role": true, "missing": missing, "missing_for_verified": missing,
    })
}

fn claimed_job() -> Value {
    json!({
        "job_id": ID, "kind": "purge", "schema_id": ID, "schema_name": "school", "backup_id": ID, "attempt": 1, "storage_bytes": 1,
        "subject": { "kind": "backup", "id": ID },
        "wake": [{ "kind": "SchemaBackup", "namespace": "team-a", "name": "before-exams", "uid": ID }],
    })
}
