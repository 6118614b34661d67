//! What is asked of a database's spec, and what a person reads of it.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tenant_schema_operator::{
    api::{
        TenantDatabase, TenantDatabaseStatus,
        condition::{ConditionType, Readiness, Reason, Verdict, find},
    },
    contract::{Missing, Quiet, SurveyAnswer},
    database::{
        desired::{complaint, desired},
        open::Closed,
        resolve::Unresolved,
        status::{Facts, closed, is_said_to_be_well, notices, status, status_of_verdict, unread_authority, unresolved},
    },
    kubernetes, postgres,
};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;
const MIB: i64 = 1 << 20;

fn database(change: &Value, status: &Value) -> TenantDatabase {
    let mut spec = json!({ "connection": { "secretRef": { "name": "postgres" } } });
    spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantDatabase", "spec": spec, "status": status,
        "metadata": { "name": "default", "generation": 7 },
    }))
    .unwrap()
}

#[test]
fn what_is_asked_comes_from_the_object() {
    let mut asked =
        database(&json!({ "surveyPeriodSeconds": 15, "limits": { "maxDeletionsPerHour": 3 } }), &json!(null));
    let plain = desired(&asked, NOW);
    assert_eq!((plain.name.as_str(), plain.generation, plain.leaving, plain.protected), ("default", 7, false, false));
    assert_eq!((plain.survey_period, plain.expiry_limit, plain.complaint), (Duration::from_secs(15), 3, None));
    asked.metadata.finalizers = Some(vec!["example.org/other".to_owned()]);
    assert!(!desired(&asked, NOW).protected);
    asked.metadata.finalizers = Some(vec!["edumatrixhub.io/tenant-database".to_owned()]);
    asked.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-11-28T11:00:00Z")).unwrap());
    let gone = desired(&asked, NOW);
    assert!(gone.protected && gone.leaving);
}

#[test]
fn what_the_api_server_took_and_cannot_be_followed_is_told_with_its_field() {
    let check = |spec: Value, expected: &str| {
        let found = complaint(&database(&spec, &json!(null))).unwrap_or_default();
        assert!(if expected.is_empty() { found.is_empty() } else { found.starts_with(expected) }, "{found:?}");
    };
    let wrong = json!({ "matchExpressions": [{ "key": "team", "operator": "Like", "values": [] }] });
    check(json!({}), "");
    check(json!({ "allowedNamespaces": { "matchLabels": { "team": "a" } } }), "");
    check(json!({ "allowedNamespaces": wrong }), "spec.allowedNamespaces is invalid");
    check(
        json!({ "naming": [{ "pattern": "a" }, { "pattern": "b", "namespaceSelector": wrong }] }),
        "spec.naming[1].namespaceSelector",
    );
    check(
        json!({ "naming": [{ "pattern": "a" }, { "pattern": "(" }] }),
        "spec.naming[1].pattern \"(\" is no regular expression",
    );
    check(json!({ "limits": { "maxQuota": "lots" } }), "spec.limits.maxQuota: ");
    check(json!({ "defaults": { "quota": { "limit": "lots" } } }), "spec.defaults.quota.limit: ");
    let both =
        |default: &str| json!({ "defaults": { "quota": { "limit": default } }, "limits": { "maxQuota": "1Gi" } });
    check(both("1Gi"), "");
    check(both("512Mi"), "");
    check(both("2Gi"), "spec.defaults.quota.limit 2Gi is more than spec.limits.maxQuota 1Gi");
    check(json!({ "defaults": { "quota": { "limit": "2Gi" } } }), "");
}

fn facts() -> Facts {
    Facts {
        installation_id: "11111111-1111-4111-8111-111111111111".to_owned(),
        server_version: "18.1".to_owned(),
        functions_version: "0.1.0".to_owned(),
        epoch: 4,
        holder: "operator-a".to_owned(),
        claim: "22222222-2222-4222-8222-222222222222".to_owned(),
    }
}

fn survey(tenants: i32, bytes: i64, aside: i32, aside_bytes: i64) -> SurveyAnswer {
    serde_json::from_value(json!({
        "tenant_count": tenants, "storage_bytes": bytes, "set_aside_count": aside, "set_aside_bytes": aside_bytes,
        "tenants": [], "stale_count": 0, "jobs_waiting": 0, "backups_changed": [], "expiry": null,
        "beats": 1, "start": 0, "clock": 0.0, "contest": null, "quiet": null,
    }))
    .unwrap()
}

#[test]
fn the_status_of_a_database_at_work_has_what_opening_and_the_survey_told() {
    let seen = |old: &Value, survey: &SurveyAnswer| {
        status(&database(&json!({}), old), &facts(), Some(survey), None, None, NOW)
    };
    let first = seen(&json!(null), &survey(3, 100 * MIB, 1, 50 * MIB));
    let text = serde_json::to_value(&first).unwrap();
    for (field, value) in [
        ("installationId", json!("11111111-1111-4111-8111-111111111111")),
        ("serverVersion", json!("18.1")),
        ("functionsVersion", json!("0.1.0")),
        ("epoch", json!(4)),
        ("holder", json!("operator-a")),
        ("claimId", json!("22222222-2222-4222-8222-222222222222")),
        ("tenantCount", json!(3)),
        ("setAsideCount", json!(1)),
        ("setAsideBytes", json!(50 * MIB)),
        ("storageUsedBytes", json!(100 * MIB)),
        ("storageUsed", json!("100Mi")),
        ("observedGeneration", json!(7)),
    ] {
        assert_eq!(text[field], value, "{field}");
    }
    assert_eq!(find(&first.conditions, ConditionType::Ready).unwrap().message, "PostgreSQL 18.1 with functions 0.1.0");

    // Bytes alone are news when they moved enough; with other counts they always are.
    let check = |survey: &SurveyAnswer, bytes: i64, aside: i64| {
        let now = seen(&text, survey);
        assert_eq!((now.storage_used_bytes, now.set_aside_bytes), (Some(bytes), Some(aside)));
    };
    check(&survey(3, 100 * MIB + 1, 1, 50 * MIB + 1), 100 * MIB, 50 * MIB);
    check(&survey(3, 103 * MIB, 1, 50 * MIB + 1), 103 * MIB, 50 * MIB);
    check(&survey(4, 100 * MIB + 1, 1, 50 * MIB + 1), 100 * MIB + 1, 50 * MIB + 1);
    check(&survey(3, 100 * MIB + 1, 2, 50 * MIB + 1), 100 * MIB + 1, 50 * MIB + 1);
}

#[test]
fn a_remark_comes_before_a_quiet_time_and_that_before_nothing() {
    let quiet = Quiet { until: NOW, reason: "another TenantDatabase took it over".to_owned() };
    let said = |quiet: Option<&Quiet>, remark: Option<Verdict>| {
        let status = status(&database(&json!({}), &json!(null)), &facts(), None, quiet, remark, NOW);
        let summary = status.summary.unwrap();
        (summary.reason, summary.message)
    };
    let (reason, message) = said(Some(&quiet), None);
    assert_eq!(reason, "Succeeded");
    assert!(
        message.ends_with("nothing is purged until 1970-01-01T00:00:00Z: another TenantDatabase took it over"),
        "{message}"
    );
    let remark = Verdict::of(Reason::ClockSkew, "ahead", true);
    assert_eq!(said(Some(&quiet), Some(remark)), ("ClockSkew".to_owned(), "ahead".to_owned()));
}

#[test]
fn a_database_that_cannot_be_worked_with_keeps_what_was_known_of_it() {
    let before = json!({ "tenantCount": 3, "epoch": 4 });
    let verdict = Verdict::of(Reason::ConnectionFailed, "no route", false);
    let status = status_of_verdict(&database(&json!({}), &before), &verdict, NOW);
    assert_eq!((status.tenant_count, status.epoch, status.observed_generation), (Some(3), Some(4), Some(7)));
    assert_eq!(status.summary.unwrap().reason, "ConnectionFailed");
}

#[test]
fn a_user_who_watches_is_told_what_is_new() {
    let after =
        |verdict: &Verdict| TenantDatabaseStatus { conditions: verdict.conditions(&[], 7, NOW), ..Default::default() };
    let (well, away) =
        (Verdict::of(Reason::Succeeded, "", true), Verdict::of(Reason::ConnectionFailed, "no route", false));
    let (stuck, kept) = (
        Verdict::of(Reason::InsufficientPrivilege, "a GRANT", false),
        Verdict::of(Reason::ProgressingWithRetry, "busy", Readiness::Kept),
    );
    let check = |old: Option<&Verdict>, new: &Verdict, expected: &[&str]| {
        let old = old.map_or(json!(null), |old| serde_json::to_value(after(old)).unwrap());
        let told = notices(&database(&json!({}), &old), &after(new));
        let told: Vec<_> = told.iter().map(|notice| format!("{} {}", notice.reason, notice.message)).collect();
        assert_eq!(told, expected);
    };
    check(None, &well, &[]);
    check(None, &away, &[]);
    check(None, &stuck, &["Stalled InsufficientPrivilege: a GRANT"]);
    check(Some(&well), &away, &["Unavailable no route"]);
    check(Some(&well), &kept, &["Unavailable busy"]);
    check(Some(&well), &well, &[]);
    check(Some(&away), &away, &[]);
    check(Some(&away), &well, &["Recovered ready again"]);
    check(Some(&stuck), &stuck, &[]);
    check(Some(&stuck), &well, &["Recovered ready again"]);
    check(Some(&well), &stuck, &["Stalled InsufficientPrivilege: a GRANT"]);
}

#[test]
fn a_holder_that_works_says_itself_what_is_wrong() {
    let check = |verdict: Option<Verdict>, expected: bool| {
        let status = verdict.map_or(json!(null), |verdict| json!({ "conditions": verdict.conditions(&[], 7, NOW) }));
        assert_eq!(is_said_to_be_well(&database(&json!({}), &status)), expected, "{status}");
    };
    check(None, true);
    check(Some(Verdict::of(Reason::Succeeded, "", true)), true);
    check(Some(Verdict::of(Reason::LaneContested, "", false)), true);
    check(Some(Verdict::of(Reason::ConnectionFailed, "", false)), false);
}

#[test]
fn a_secret_that_does_not_resolve_is_told_by_what_is_wrong_with_it() {
    let refused = |code| {
        Unresolved::Unreadable(kubernetes::Error::Refused {
            attempt: "read Secret".to_owned(),
            code,
            message: "no".to_owned(),
        })
    };
    let named = || ("operators".to_owned(), "postgres".to_owned());
    let check = |error: Unresolved, reason: Reason| {
        for open in [false, true] {
            let verdict = unresolved(&error, open);
            assert_eq!((verdict.reason(), verdict.message().contains("what runs goes on")), (reason, open));
        }
    };
    let (namespace, name) = named();
    check(Unresolved::NotFound { namespace, name }, Reason::SecretNotFound);
    let (namespace, name) = named();
    check(
        Unresolved::NoCaKey { namespace, name, key: "ca.crt".to_owned(), field: "spec.connection.tls.caSecretRef" },
        Reason::SecretInvalid,
    );
    let (namespace, name) = named();
    let key = "ca.crt".to_owned();
    let absent = Unresolved::NoCaSecret { namespace, name, key, field: "spec.clientEndpoint.caSecretRef" };
    for (known, words) in [(true, "goes on with what was read before"), (false, "no tenant gets a Secret")] {
        let verdict = unread_authority(&absent, known);
        let (reason, message) = (verdict.reason(), verdict.message());
        assert!(reason == Reason::SecretNotFound && message.contains(words), "{message}");
        assert!(message.contains("create secret generic postgres --from-file=ca.crt="), "{message}");
    }
    check(absent, Reason::SecretNotFound);
    check(refused(403), Reason::SecretUnreadable);
    check(refused(500), Reason::ProgressingWithRetry);
}

#[test]
fn a_lane_that_does_not_open_is_told_by_what_keeps_it_shut() {
    let text = || "db:5432".to_owned();
    let check = |error: Closed, reason: Reason| assert_eq!(closed(&error).reason(), reason, "{error}");
    let statement = |code: &str| {
        Closed::Postgres(postgres::Error::Statement {
            call: "apply_steps",
            code: code.to_owned(),
            message: "no".to_owned(),
        })
    };
    let secret = postgres::ConnectionError::MissingKey("host");
    check(Closed::Postgres(postgres::Error::Connection(secret)), Reason::SecretInvalid);
    check(Closed::Postgres(postgres::Error::AuthenticationRefused { message: text() }), Reason::AuthenticationRefused);
    check(Closed::Postgres(postgres::Error::Handshake { message: text() }), Reason::TlsFailed);
    check(Closed::Postgres(postgres::Error::ConnectRefused { message: text() }), Reason::InsufficientPrivilege);
    check(Closed::Postgres(postgres::Error::NoSuchDatabase { message: text() }), Reason::NoSuchDatabase);
    check(Closed::Postgres(postgres::Error::Unreachable { message: text() }), Reason::ConnectionFailed);
    check(statement("42501"), Reason::InsufficientPrivilege);
    check(statement("25006"), Reason::ReadOnlyStandby);
    check(statement("57P03"), Reason::ConnectionFailed);
    check(statement("42P01"), Reason::OperationFailed);
    check(Closed::UnsupportedVersion { place: text(), version: "14".to_owned() }, Reason::UnsupportedVersion);
    check(Closed::ReadOnlyStandby(text()), Reason::ReadOnlyStandby);
    check(Closed::ReadOnlySetting { place: text(), statement: text() }, Reason::ReadOnlySetting);
    let missing = vec![Missing { what: text(), statement: text() }];
    check(Closed::InsufficientPrivilege { user: text(), missing }, Reason::InsufficientPrivilege);
    check(Closed::FunctionsNewer { installed: text(), contract: 9 }, Reason::FunctionsNewer);
    check(Closed::FunctionsUnverified(text()), Reason::FunctionsUnverified);
    check(Closed::FunctionsMissing(text()), Reason::FunctionsMissing);
}
