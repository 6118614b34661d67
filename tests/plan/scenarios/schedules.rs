//! Backups that schedules ask for: when one is due, what is made up for, and which objects go.

use std::{collections::BTreeMap, sync::Arc};

use jiff::SignedDuration;
use serde_json::{Value, json};
use tenant_schema_operator::{
    api::{
        SchemaBackup, TenantSchema,
        condition::{Reason, Verdict},
        schema_backup::BackupDeletionPolicy,
    },
    frame::{Kind, Wish},
    tenant::resolve::Resolved,
};

use super::backups::{answer as backup_answer, backup};
use crate::{
    ROW, UID, answer, backup_resolved, check_backup, check_refused, golden, merge, resolved, row, seen, tenant,
};

const CRON: &str = "0 2 * * * Europe/Berlin";

/// A tenant with this schedule, of which the status tells this. There is no delay, and it is 00:00 UTC on 31 December 2026.
fn with(schedule: Value, told: Value) -> TenantSchema {
    let mut daily = json!({ "name": "daily", "cron": "0 2 * * *", "timeZone": "Europe/Berlin" });
    merge(&mut daily, schedule);
    let mut status = json!({ "schemaId": ROW, "schemaName": "school" });
    if !told.is_null() {
        let mut known = json!({ "name": "daily", "cron": CRON, "spreadSeconds": 0 });
        merge(&mut known, told);
        status["schedules"] = json!([known]);
    }
    tenant(json!({ "schemaName": "school", "backup": { "schedules": [daily], "spreadSeconds": 0 } }), status)
}

/// A backup that the schedule asked for, as the cache has it.
fn made(name: &str, verdict: &Verdict) -> (String, Arc<SchemaBackup>) {
    let mut backup = backup(&json!({}), json!({ "observedGeneration": 1 }));
    backup.metadata.name = Some(name.to_owned());
    backup.metadata.labels = Some([("edumatrixhub.io/tenant-uid".to_owned(), UID.to_owned())].into());
    backup.metadata.resource_version = Some("7".to_owned());
    let status = backup.status.as_mut().unwrap();
    status.conditions = verdict.conditions(&[], 1, jiff::Timestamp::UNIX_EPOCH);
    (name.to_owned(), Arc::new(backup))
}

fn completed() -> Verdict {
    Verdict::of(Reason::Completed, "", true)
}

fn check_with(file: &str, tenant: &TenantSchema, backups: BTreeMap<String, Arc<SchemaBackup>>) {
    let desired = tenant.desired(&Resolved { backups, ..resolved(json!({}), 0) }).unwrap();
    golden(file, &seen(tenant, Wish::Keep(&desired), &answer(json!({ "own": row(json!({})) })).into()));
}

fn check(file: &str, tenant: &TenantSchema) {
    check_with(file, tenant, BTreeMap::new());
}

#[test]
fn a_schedule_that_is_new_or_changed_begins_now() {
    check("schedule_new", &with(json!({}), json!(null)));
    // However much was missed by the former fields.
    check(
        "schedule_changed",
        &with(json!({}), json!({ "cron": "0 1 * * * UTC", "nextScheduleTime": "2026-12-01T01:00:00Z" })),
    );
    check("schedule_resumed", &with(json!({}), json!({ "nextScheduleTime": null })));
}

#[test]
fn a_backup_is_asked_for_when_it_is_due_and_once_for_all_that_was_missed() {
    check("schedule_not_due", &with(json!({}), json!({ "nextScheduleTime": "2026-12-31T01:00:00Z" })));
    check("schedule_due", &with(json!({}), json!({ "nextScheduleTime": "2026-12-31T00:00:00Z" })));
    check("schedule_missed", &with(json!({}), json!({ "nextScheduleTime": "2026-11-03T01:00:00Z" })));
    check(
        "schedule_suspended",
        &with(json!({ "suspend": true }), json!({ "nextScheduleTime": "2026-11-03T01:00:00Z" })),
    );
}

#[test]
fn the_moment_of_a_tenant_is_its_own_and_stays() {
    let mut late = with(json!({}), json!(null));
    late.spec.backup.as_mut().unwrap().spread_seconds = Some(3600);
    let of = |now: &str, uid: &str| {
        let mut late = late.clone();
        late.metadata.uid = Some(uid.to_owned());
        let desired = late.desired(&Resolved { now: now.parse().unwrap(), ..resolved(json!({}), 0) }).unwrap();
        desired.schedules[0].as_it_is.next_schedule_time.clone().unwrap().0
    };
    let first = of("2026-12-30T12:00:00Z", UID);
    let delay = first.duration_since("2026-12-31T01:00:00Z".parse().unwrap());
    assert!(delay > SignedDuration::ZERO && delay < SignedDuration::from_hours(1), "{delay}");
    // Until then it is the same, and after it that of the next day.
    assert_eq!(of(&(first - SignedDuration::from_secs(1)).to_string(), UID), first);
    assert_eq!(of(&first.to_string(), UID), first + SignedDuration::from_hours(24));
    assert_ne!(of("2026-12-30T12:00:00Z", ROW), first);
}

#[test]
fn one_that_is_still_made_keeps_the_next_one_waiting() {
    let name = "school.daily-20261230010000";
    let due = with(json!({}), json!({ "nextScheduleTime": "2026-12-31T00:00:00Z", "backups": [name] }));
    let check = |file: &str, verdict: &Verdict| check_with(file, &due, BTreeMap::from([made(name, verdict)]));
    check("schedule_held", &Verdict::of(Reason::Running, "", false));
    check("schedule_after_a_failure", &Verdict::of(Reason::Failed, "", false));
}

#[test]
fn a_promise_of_a_clock_that_was_ahead_is_not_believed() {
    check("schedule_far_away", &with(json!({}), json!({ "nextScheduleTime": "2030-12-31T01:00:00Z" })));
}

#[test]
fn a_schedule_that_left_the_spec_takes_its_objects_with_it() {
    let name = "school.daily-20261230010000";
    let mut left = with(json!({}), json!({ "nextScheduleTime": "2026-12-31T00:00:00Z", "backups": [name] }));
    left.spec.backup = None;
    check_with("schedule_left", &left, BTreeMap::from([made(name, &completed())]));
    check_with("schedule_left_and_gone", &left, BTreeMap::new());
}

#[test]
fn objects_that_are_finished_and_too_many_go_by_identity() {
    let names = [5, 4, 3, 2].map(|day| format!("school.daily-2026122{day}010000"));
    let due = with(json!({}), json!({ "nextScheduleTime": "2026-12-31T00:00:00Z", "backups": names }));
    let all: BTreeMap<_, _> = names.iter().map(|name| made(name, &completed())).collect();
    check_with("schedule_surplus", &due, all.clone());
    // One that is gone is told no longer, one that is not finished stays, and so does one that would take its backup with it.
    let mut some = all;
    some.remove(&names[1]);
    some.insert(names[2].clone(), made(&names[2], &Verdict::of(Reason::Running, "", false)).1);
    let last = Arc::make_mut(some.get_mut(&names[3]).unwrap());
    last.spec.deletion_policy = Some(BackupDeletionPolicy::Delete);
    check_with("schedule_surplus_stays", &due, some);
}

#[test]
fn a_schedule_that_cannot_be_followed_refuses_a_new_tenant_and_no_other() {
    let mut bad = with(json!({ "cron": "0 0 2 * * *" }), json!({ "nextScheduleTime": "2026-12-31T00:00:00Z" }));
    let mut two = bad.clone();
    let good = json!({ "name": "weekly", "cron": "0 3 * * SUN" });
    two.spec.backup.as_mut().unwrap().schedules.as_mut().unwrap().push(serde_json::from_value(good).unwrap());
    check("schedule_bad", &two);
    bad.status = None;
    check_refused(&bad, &resolved(json!({}), 0), "InvalidSpec", &["spec.backup.schedules, schedule daily", "6 fields"]);
    let defaults = json!({ "defaults": { "backup": { "schedules": [{ "name": "x", "cron": "0 2 * * *", "timeZone": "Mars" }] } } });
    // A mistake of the database's owners refuses none.
    let other = tenant(json!({ "schemaName": "school", "backup": { "finalExpireAfterDays": 9 } }), json!(null));
    let desired = other.desired(&resolved(defaults, 0)).unwrap();
    let error = desired.bad_schedule.unwrap();
    assert!(
        error.contains("spec.defaults.backup.schedules of the TenantDatabase") && error.contains("Mars"),
        "{error}"
    );
}

/// An object of this name and UID label that was made on 31 December 2026 at noon.
fn asked(name: &str, uid: &str) -> SchemaBackup {
    let mut asked = backup(&json!({}), json!(null));
    asked.metadata.creation_timestamp = Some(serde_json::from_value(json!("2026-12-31T12:00:00Z")).unwrap());
    asked.metadata.name = Some(name.to_owned());
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    asked.metadata.labels =
        Some([label("edumatrixhub.io/schedule", "daily"), label("edumatrixhub.io/tenant-uid", uid)].into());
    asked
}

#[test]
fn a_backup_is_a_schedules_by_the_word_of_the_tenants_status_alone() {
    let name = "school.daily-20261231010000";
    let school = |told: Value| Some(with(json!({}), told));
    let next = |time: &str| json!({ "nextScheduleTime": time });
    let (due, tomorrow) = (next("2026-12-31T01:00:00Z"), next("2027-01-01T01:00:00Z"));
    check_backup("backup_scheduled", &asked(name, UID), school(due.clone()), &backup_answer(None, true));
    let is_scheduled = |backup: &SchemaBackup, told: &Value| {
        backup.desired(&backup_resolved(school(told.clone()), false)).unwrap().scheduled.is_some()
    };
    let was_last = json!({ "lastScheduleTime": "2026-12-31T01:00:00Z", "nextScheduleTime": "2027-01-01T01:00:00Z" });
    assert!(is_scheduled(&asked(name, UID), &was_last));
    assert!(!is_scheduled(&asked(name, UID), &tomorrow));
    for other in
        ["school.daily-20261231010001", "school.weekly-20261231010000", "school-daily-20261231010000", "before-exams"]
    {
        assert!(!is_scheduled(&asked(other, UID), &due), "{other}");
    }
    // Made before its time, of another tenant, or to go sooner.
    assert!(!is_scheduled(&asked("school.daily-20270101010000", UID), &tomorrow));
    let change = |change: fn(&mut SchemaBackup)| {
        let mut backup = asked(name, UID);
        change(&mut backup);
        backup
    };
    assert!(is_scheduled(&change(|_| ()), &due));
    assert!(!is_scheduled(&change(|backup| backup.spec.expire_after_days = Some(1)), &due));
    assert!(!is_scheduled(&change(|backup| backup.spec.deletion_policy = Some(BackupDeletionPolicy::Delete)), &due));
    assert!(!is_scheduled(&change(|backup| backup.spec.tenant_schema_ref.name = "other".to_owned()), &due));
}

#[test]
fn a_backup_of_an_earlier_tenant_of_the_name_is_not_made_of_this_one() {
    let due = with(json!({}), json!({ "nextScheduleTime": "2026-12-31T01:00:00Z" }));
    check_backup(
        "backup_of_an_earlier_tenant",
        &asked("school.daily-20261231010000", ROW),
        Some(due),
        &backup_answer(None, true),
    );
}
