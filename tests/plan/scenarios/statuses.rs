//! What a status says of a tenant, and what of it is news: a difference that no user needs to know is not written.

use jiff::Timestamp;
use serde_json::{Value, json};
use tenant_schema_operator::{
    api::{
        TenantSchema, TenantSchemaStatus,
        condition::{ConditionType, Reason, Summary, find},
        tenant_schema::{Place, State},
    },
    frame::{Kind, Pass, Told, Wish},
    plan::{Applied, End},
};

use crate::{annotated, answer, deleted, merge, resolved, row, tenant};

const GIB: i64 = 1 << 30;

pub fn place() -> Place {
    Place { host: "db".to_owned(), port: 5432, database: "app".to_owned(), ..Place::default() }
}

/// The status that a pass tells which had nothing to do; `change` is what the row has.
fn seen(spec: &Value, status: &Value, change: Value, end: End) -> TenantSchemaStatus {
    told(spec, status, change, end).status
}

/// All that it tells.
fn told(spec: &Value, status: &Value, change: Value, end: End) -> Told<TenantSchemaStatus> {
    let mut full = json!({ "schemaName": "school" });
    merge(&mut full, spec.clone());
    let tenant = tenant(full, status.clone());
    let desired = tenant.desired(&resolved(json!({}), 0)).unwrap();
    let observed = answer(json!({ "own": row(change) })).into();
    let applied = Applied { end, ..Applied::nothing() };
    let (database, place) = ("default", place());
    let pass =
        Pass::Applied { wish: Wish::Keep(&desired), observed: &observed, applied: &applied, database, place: &place };
    tenant.status_of(&pass, Timestamp::UNIX_EPOCH)
}

/// The status of a tenant that has a quota of 1 Gi and used so much when it was looked at last.
fn shown(bytes: i64) -> Value {
    serde_json::to_value(seen(&json!({ "quota": { "limit": "1Gi" } }), &json!(null), used(bytes, 2), End::Done))
        .unwrap()
}

fn used(bytes: i64, tables: i32) -> Value {
    json!({ "storage_bytes": bytes, "table_count": tables, "quota_limit": GIB })
}

#[test]
fn what_a_tenant_uses_is_news_by_its_tables_a_threshold_or_enough_bytes() {
    let check = |before: i64, now: i64, tables: i32, is_news: bool| {
        let spec = json!({ "quota": { "limit": "1Gi" } });
        let status = seen(&spec, &shown(before), used(now, tables), End::Done);
        assert_eq!(status.storage_used_bytes, Some(if is_news { now } else { before }), "{before} {now} {tables}");
        assert_eq!(status.table_count, Some(tables));
    };
    let (mib, warning) = (1 << 20, GIB * 8 / 10);
    check(100 * mib, 100 * mib + 65_536, 2, false);
    check(100 * mib, 103 * mib, 2, true);
    check(100 * mib, 100 * mib + 1, 3, true);
    check(warning - 4096, warning + 4096, 2, true);
    check(warning + 4096, warning - 4096, 2, true);
    check(warning + 4096, warning + 8192, 2, false);
    check(GIB - 4096, GIB + 4096, 2, true);
    check(GIB + 4096, GIB - 4096, 2, true);
    check(GIB + 4096, GIB + 8192, 2, false);
}

#[test]
fn a_quota_warns_at_its_percentage_and_is_exceeded_at_a_hundred() {
    let check = |bytes: i64, percent: i32, reason: Reason, words: &str| {
        let status = seen(&json!({ "quota": { "limit": "1Gi" } }), &json!(null), used(bytes, 2), End::Done);
        let Summary { reason: found, message, .. } = status.summary.unwrap();
        assert_eq!((status.quota_used_percent, found.as_str()), (Some(percent), reason.as_str()), "{bytes}");
        assert!(message.contains(words), "{message}");
    };
    check(GIB / 2, 50, Reason::Succeeded, "is ready");
    check(GIB * 799 / 1000, 79, Reason::Succeeded, "is ready");
    check(GIB * 801 / 1000, 80, Reason::QuotaWarning, "more than 80 % of its quota of 1Gi");
    check(GIB * 999 / 1000, 99, Reason::QuotaWarning, "more than 80 %");
    check(GIB, 100, Reason::QuotaExceeded, "more than its quota of 1Gi");
    check(GIB * 2, 200, Reason::QuotaExceeded, "more than its quota");
    let without = seen(&json!({}), &json!(null), json!({ "storage_bytes": GIB }), End::Done);
    assert_eq!(without.quota_used_percent, None);
}

#[test]
fn the_last_backup_has_the_name_of_its_object_or_of_its_schema() {
    let check = |object: Value, method: &str, expected: Value| {
        let backup = json!({
            "backup_id": crate::ROW, "location": "school_bak", "method": method, "completed_at": "2026-11-28T11:00:00.7Z",
            "size_bytes": 8192, "object_name": object,
        });
        let status = seen(&json!({}), &json!(null), json!({ "last_backup": backup }), End::Done);
        assert_eq!(serde_json::to_value(status.last_backup).unwrap(), expected);
    };
    let at = "2026-11-28T11:00:00Z";
    check(
        json!("nightly"),
        "Snapshot",
        json!({ "name": "nightly", "method": "Snapshot", "completionTime": at, "sizeBytes": 8192 }),
    );
    check(json!(null), "SetAside", json!({ "name": "school_bak", "completionTime": at, "sizeBytes": 8192 }));
}

#[test]
fn the_last_operation_alone_is_news_only_when_it_failed() {
    let operation = |status: &str, error: Value| {
        json!({ "last_operation": {
            "type": "repair_tenant_schema", "status": status, "started_at": "2026-11-28T11:00:00Z", "duration_ms": 7,
            "error": error,
        } })
    };
    let before = serde_json::to_value(seen(&json!({}), &json!(null), json!({}), End::Done)).unwrap();
    let quiet = seen(&json!({}), &before, operation("success", json!(null)), End::Done);
    assert_eq!(serde_json::to_value(&quiet).unwrap(), before);
    let failed = seen(&json!({}), &before, operation("error", json!("no room")), End::Done);
    assert_eq!(
        serde_json::to_value(failed.last_operation).unwrap(),
        json!({ "type": "repair_tenant_schema", "status": "error", "startTime": "2026-11-28T11:00:00Z",
                "durationMilliseconds": 7, "error": "no room" })
    );
    // With other news it is told too.
    let mut change = operation("success", json!(null));
    merge(&mut change, json!({ "table_count": 9 }));
    assert_eq!(seen(&json!({}), &before, change, End::Done).last_operation.unwrap().status, "success");
}

#[test]
fn a_tenant_is_what_its_row_says_until_a_function_has_changed_it() {
    let waits = || End::Waits { reason: Reason::ProgressingWithRetry, message: "busy".to_owned(), until: None };
    let closed = json!({ "status": "suspended", "access": "Suspended" });
    assert_eq!(seen(&json!({}), &json!(null), closed, waits()).state, Some(State::Suspended));
    let open = seen(&json!({ "access": "Suspended" }), &json!(null), json!({}), waits());
    assert_eq!((open.state, open.blocked), (Some(State::Active), None));
}

#[test]
fn since_when_a_tenant_is_closed_stays_until_another_closes_it() {
    let closed = |institution: &str| {
        json!({ "status": "suspended", "access": "Suspended", "institution_id": crate::INSTITUTION,
                "institution_status": institution })
    };
    let since = "2026-11-28T11:00:00Z";
    let before = |cause: &str| json!({ "state": "Suspended", "blocked": { "cause": cause, "since": since } });
    let check = |access: &str, institution: &str, told: &str, cause: Value, is_kept: bool| {
        let spec = json!({ "access": access, "institutionId": crate::INSTITUTION });
        let status = serde_json::to_value(seen(&spec, &before(told), closed(institution), End::Done)).unwrap();
        assert_eq!(status["blocked"]["cause"], cause);
        assert_eq!(status["blocked"]["since"] == since, is_kept, "{status}");
    };
    check("Suspended", "active", "Spec", json!("Spec"), true);
    check("ReadWrite", "suspended", "Institution", json!("Institution"), true);
    check("ReadWrite", "suspended", "Spec", json!("Institution"), false);
    check("Suspended", "suspended", "Institution", json!("Spec"), false);
}

#[test]
fn a_tenant_whose_database_is_away_keeps_what_is_known_of_it() {
    let before = json!({ "schemaName": "school", "storageUsedBytes": 8192, "state": "Active" });
    let tenant = tenant(json!({ "schemaName": "school" }), before);
    let pass = Pass::Waits { reason: Reason::DatabaseUnavailable, message: "no route" };
    let status = tenant.status_of(&pass, Timestamp::UNIX_EPOCH).status;
    assert_eq!((status.storage_used_bytes, status.state), (Some(8192), Some(State::Active)));
    assert_eq!(status.effective.unwrap().database_ref.as_deref(), Some("default"));
    assert_eq!(find(&status.conditions, ConditionType::Reconciling).unwrap().reason, "DatabaseUnavailable");
}

#[test]
fn a_paused_deletion_says_that_the_schema_is_there_when_it_stays_or_was_seen() {
    let paused = |policy: &str| {
        let spec = json!({ "schemaName": "school", "deletionPolicy": policy });
        let ready = json!([{ "type": "Ready", "status": "True", "reason": "Succeeded", "message": "",
                             "lastTransitionTime": "2026-11-28T11:00:00Z" }]);
        let status = json!({ "schemaId": crate::ROW, "conditions": ready });
        deleted(&annotated(tenant(spec, status), "edumatrixhub.io/paused", "true"))
    };
    let check = |policy: &str, own: Value, expected: Option<&str>| {
        let tenant: TenantSchema = paused(policy);
        let leave = tenant.removal(&resolved(json!({}), 0));
        let observed = answer(json!({ "own": own })).into();
        let wish = Wish::End(&leave);
        let plan = TenantSchema::plan(wish, &observed);
        assert!(plan.paused);
        let status =
            tenant.status_of(&Pass::Paused { wish, plan: &plan, observed: &observed }, Timestamp::UNIX_EPOCH).status;
        let ready = find(&status.conditions, ConditionType::Ready).map(|ready| ready.status.as_str());
        assert_eq!(ready, expected, "{policy}");
    };
    check("Retain", json!(null), Some("True"));
    check("BackupThenDrop", row(json!({})), Some("True"));
    check("BackupThenDrop", json!(null), Some("False"));
}

#[test]
fn a_tenant_that_was_stalled_is_told_to_be_ready_again_once() {
    let refused = || End::Refused { reason: Reason::Conflict, message: "taken".to_owned() };
    let check = |before: &Value, end: End, expected: &[&str]| {
        let told = told(&json!({}), before, json!({}), end);
        let news: Vec<_> = told.news.iter().map(|notice| notice.reason.as_str()).collect();
        assert_eq!(news, expected);
        serde_json::to_value(told.status).unwrap()
    };
    let stalled = check(&json!(null), refused(), &["Stalled"]);
    check(&stalled, refused(), &[]);
    let ready = check(&stalled, End::Done, &["Ready"]);
    check(&ready, End::Done, &[]);
    let waits = End::Waits { reason: Reason::ProgressingWithRetry, message: "busy".to_owned(), until: None };
    check(&stalled, waits, &[]);
}
