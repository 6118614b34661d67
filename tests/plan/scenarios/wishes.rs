//! What a spec, a status and a database come to, field by field, where no plan shows it.

use serde_json::{Value, json};
use tenant_schema_operator::{
    api::{ABANDON, bound, policy::DeletionPolicy},
    contract::{BackupAnswer, InstitutionSource},
    frame::{Kind, Leave, Pass, StageError, Wish},
    postgres,
    tenant::desired::{Desired, Removal},
};

use super::backups::{self, BACKUP};
use crate::{ROW, UID, annotated, answer, backup_resolved, deleted, resolved, row, tenant};

fn desired(spec: Value, status: Value, database: Value) -> Desired {
    tenant(spec, status).desired(&resolved(database, 0)).unwrap()
}

fn removal(spec: Value, status: Value) -> Removal {
    deleted(&tenant(spec, status)).removal(&resolved(json!({}), 0)).removal().clone()
}

#[test]
fn a_plan_is_for_its_object_and_holds_what_the_registry_has() {
    let school = tenant(json!({ "schemaName": "school" }), json!(null));
    let desired = school.desired(&resolved(json!({}), 0)).unwrap();
    for (own, holds) in [(json!(null), false), (row(json!({})), true)] {
        let plan = tenant_schema_operator::tenant::plan::plan(&desired, &answer(json!({ "own": own })).into());
        assert_eq!((plan.holds, plan.caller.tenant.as_deref()), (holds, Some(UID)));
    }
    let asked = backups::backup(&json!({}), json!(null));
    let wish = asked.desired(&backup_resolved(Some(school), false)).unwrap();
    let observed = backups::answer(None, true).into();
    assert_eq!(
        Kind::plan(Wish::<tenant_schema_operator::api::SchemaBackup>::Keep(&wish), &observed).caller.tenant.as_deref(),
        Some(UID)
    );
}

#[test]
fn an_unknown_institution_is_registered_unless_the_database_requires_it_or_has_a_table_of_its_own() {
    let source = json!({ "schema": "app", "table": "schools", "idColumn": "id" });
    let check = |institutions: Value, registers: bool, table: Option<&str>| {
        let desired = desired(json!({}), json!(null), json!({ "institutions": institutions }));
        let found = desired
            .institution_source
            .map(|InstitutionSource { schema, table, id_column, .. }| format!("{schema}.{table}.{id_column}"));
        assert_eq!((desired.register_institution, found.as_deref()), (registers, table), "{institutions}");
    };
    check(json!(null), true, None);
    check(json!({ "mode": "Register" }), true, None);
    check(json!({ "mode": "Require" }), false, None);
    check(json!({ "source": source }), false, Some("app.schools.id"));
    check(json!({ "mode": "Register", "source": source }), true, Some("app.schools.id"));
}

#[test]
fn a_quota_may_be_as_large_as_the_largest_that_is_allowed() {
    let limits = json!({ "limits": { "maxQuota": "5Gi" } });
    let known = json!({ "schemaId": ROW, "schemaName": "school" });
    let check = |limit: &str, shown: &str, is_outside: bool| {
        let desired = desired(json!({ "quota": { "limit": limit } }), known.clone(), limits.clone());
        assert_eq!(desired.effective.quota_limit.as_deref(), Some(shown), "{limit}");
        assert_eq!(desired.outside.is_some(), is_outside, "{limit}");
    };
    check("4Gi", "4Gi", false);
    check("5Gi", "5Gi", false);
    check("5120Mi", "5120Mi", false);
    check("6Gi", "5Gi", true);
}

#[test]
fn the_policy_that_a_tenant_was_told_to_have_counts_when_it_is_the_safer() {
    let check = |told: Option<&str>, spec: &str, expected: DeletionPolicy| {
        let status = json!({ "effective": { "deletionPolicy": told } });
        assert_eq!(removal(json!({ "deletionPolicy": spec }), status).policy, expected, "{told:?} {spec}");
    };
    check(None, "Drop", DeletionPolicy::Drop);
    check(Some("Drop"), "Drop", DeletionPolicy::Drop);
    check(Some("BackupThenDrop"), "Drop", DeletionPolicy::BackupThenDrop);
    check(Some("Retain"), "Drop", DeletionPolicy::Retain);
    check(Some("Drop"), "Retain", DeletionPolicy::Retain);
}

#[test]
fn a_schema_stays_for_its_policy_for_the_user_who_abandons_it_or_for_the_object_that_gets_it() {
    let plain = removal(json!({ "schemaName": "school", "deletionPolicy": "Drop" }), json!(null));
    assert!(!plain.stays());
    assert!(Removal { policy: DeletionPolicy::Retain, ..plain.clone() }.stays());
    assert!(Removal { abandoned: true, ..plain.clone() }.stays());
    let to = serde_json::from_value(json!({ "namespace": "team-b", "name": "school" })).unwrap();
    assert!(Removal { given_to: Some(to), ..plain }.stays());
}

#[test]
fn a_backup_is_settled_when_its_status_says_how_it_ended_and_no_user_asked_again() {
    let ended = json!([{
        "type": "Ready", "status": "True", "reason": "Completed", "message": "", "observedGeneration": 1,
        "lastTransitionTime": "2026-11-28T11:00:00Z",
    }]);
    let check = |id: Option<&str>, conditions: Value, touched: bool, expected: bool| {
        let status = json!({ "backupId": id, "observedGeneration": 1, "conditions": conditions });
        let mut resolved = backup_resolved(None, false);
        resolved.touched = touched;
        let desired = backups::backup(&json!({}), status).desired(&resolved).unwrap();
        assert_eq!(desired.settled, expected, "{id:?} {conditions} {touched}");
    };
    check(Some(BACKUP), ended.clone(), false, true);
    check(Some(BACKUP), ended.clone(), true, false);
    check(Some(BACKUP), json!([]), false, false);
    check(None, ended, false, false);
}

#[test]
fn nothing_is_done_for_a_backup_that_is_settled() {
    let known = backups::backup(&json!({}), json!({ "backupId": BACKUP }));
    let desired = known.desired(&backup_resolved(None, false)).unwrap();
    let mut observed: tenant_schema_operator::backup::observe::Observed = backups::answer(None, false).into();
    assert!(tenant_schema_operator::backup::plan::plan(&desired, &observed).refuses(), "its row is gone");
    observed.settled = true;
    assert!(tenant_schema_operator::backup::plan::plan(&desired, &observed).is_empty());
}

#[test]
fn a_deleted_backup_is_asked_about_unless_it_is_finished_and_kept_or_never_had_a_database() {
    let done = json!({ "backupId": BACKUP, "completionTime": "2026-11-28T11:00:00Z", "conditions": [{
        "type": "Ready", "status": "True", "reason": "Completed", "message": "", "lastTransitionTime": "2026-11-28T11:00:00Z",
    }] });
    let check = |policy: &str, status: Value, has_database: bool, expected: &str| {
        let mut resolved = backup_resolved(None, false);
        resolved.database = resolved.database.filter(|_| has_database);
        let leave = backups::backup(&json!({ "deletionPolicy": policy }), status).removal(&resolved);
        let found = match leave {
            Leave::AsItIs(_) => "as it is",
            Leave::Asked(_) => "asked",
            Leave::Nothing(_) | Leave::Abandoned(_) => "gone",
        };
        assert_eq!(found, expected, "{policy} {has_database}");
    };
    check("Retain", done.clone(), true, "as it is");
    check("Delete", done.clone(), true, "asked");
    check("Retain", json!(null), true, "asked");
    check("Delete", json!(null), true, "asked");
    check("Delete", done, false, "as it is");
    check("Delete", json!(null), false, "as it is");
}

#[test]
fn a_backup_that_is_kept_goes_while_its_schema_is_being_removed() {
    let answered = |deletion_policy: &str| {
        let kept = backups::backup(&json!({ "deletionPolicy": deletion_policy }), json!({ "backupId": BACKUP }));
        let leave = kept.removal(&backup_resolved(None, false));
        let observed: BackupAnswer = backups::answer(Some("purging"), false);
        tenant_schema_operator::backup::plan::plan_removal(leave.removal(), &observed.into()).to_string()
    };
    assert!(answered("Retain").contains("let the object go"), "{}", answered("Retain"));
    assert!(answered("Delete").contains("is being removed"), "{}", answered("Delete"));
}

/// One pass got no turn among too many of its namespace: that passes by itself, and is no outage of the database.
#[test]
fn a_crowd_is_told_as_work_that_comes_again() {
    let check = |failed: StageError, expected: &str| {
        let school = tenant(json!({ "schemaName": "school" }), json!(null));
        let told = school.status_of(&Pass::Failed { removal: None, failed: &failed }, jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(told.status.summary.unwrap().reason, expected);
        let asked = backups::backup(&json!({}), json!(null));
        let told = asked.status_of(&Pass::Failed { removal: None, failed: &failed }, jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(told.status.summary.unwrap().reason, expected);
    };
    check(StageError::Apply(postgres::Error::Crowded), "ProgressingWithRetry");
    check(StageError::Apply(postgres::Error::LaneClosed), "DatabaseUnavailable");
}

#[test]
fn abandoning_names_the_schema_and_the_very_object() {
    let school = || tenant(json!({ "schemaName": "school" }), json!(null));
    let check = |value: &str, expected: bool| {
        let leave = deleted(&annotated(school(), ABANDON, value)).removal(&resolved(json!({}), 0));
        assert_eq!(leave.removal().abandoned, expected, "{value}");
    };
    check(&bound("school", UID), true);
    check("school", false);
    check(&bound("other", UID), false);
    check(&bound("school", ROW), false);
}

#[test]
fn a_tenant_is_there_when_it_lives_and_its_schema_stands() {
    let check = |status: &str, schema_exists: bool, expected: bool| {
        let own =
            answer(json!({ "own": row(json!({ "status": status, "schema_exists": schema_exists })) })).own.unwrap();
        assert_eq!(own.is_there(), expected, "{status} {schema_exists}");
    };
    check("active", true, true);
    check("suspended", true, true);
    check("active", false, false);
    check("released", true, false);
    check("dropping", true, false);
    check("word_of_tomorrow", true, false);
}
