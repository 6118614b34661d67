//! What becomes of a deleted tenant, as the spec, the status and the database's limits say it.

use std::sync::Arc;

use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use tenant_schema_operator::{
    api::{CONFIRM_DELETIONS, policy::DeletionPolicy},
    frame::Kind,
    tenant::{
        desired::{Removal, removal_of_passed_over},
        resolve::Resolved,
    },
};

use crate::{DELETED_AT, deleted, resolved, tenant};

fn removal(spec: Value, resolved: &Resolved) -> Removal {
    deleted(&tenant(spec, json!(null))).removal(resolved).removal().clone()
}

fn deleted_at() -> Timestamp {
    DELETED_AT.parse().unwrap()
}

#[test]
fn the_brake_looks_at_the_hour_before_a_deletion() {
    let check = |limits: Value, expected: i32| {
        let brake = removal(json!({}), &resolved(json!({ "limits": limits }), 0)).brake.unwrap();
        assert_eq!((brake.since, brake.limit), (deleted_at() - 1.hour(), expected));
    };
    check(json!({ "maxDeletionsPerHour": 7 }), 7);
    check(json!({}), 50);
    let unknown = Resolved { database: None, ..resolved(json!({}), 0) };
    assert_eq!(removal(json!({}), &unknown).brake.unwrap().limit, 50, "also when the database cannot be asked");
}

#[test]
fn a_confirmation_releases_the_brake_for_what_was_deleted_before_it() {
    let check = |until: Timestamp, is_braked: bool| {
        let mut resolved = resolved(json!({}), 0);
        let database = resolved.database.as_mut().map(Arc::make_mut).unwrap();
        database.metadata.annotations = Some([(CONFIRM_DELETIONS.to_owned(), until.to_string())].into());
        resolved.now = deleted_at() + 1.hour();
        assert_eq!(removal(json!({}), &resolved).brake.is_some(), is_braked, "{until}");
    };
    check(deleted_at() - 1.second(), true);
    check(deleted_at(), false);
    check(deleted_at() + 1.minute(), false);
    check(deleted_at() + 24.hours(), true);
}

#[test]
fn what_is_set_aside_expires_as_the_tenant_says_or_else_the_database() {
    let check = |own: Option<i32>, by_default: Option<i32>, expected: Option<i32>| {
        let resolved = resolved(json!({ "defaults": { "backup": { "finalExpireAfterDays": by_default } } }), 0);
        let spec = |policy: &str| json!({ "deletionPolicy": policy, "backup": { "finalExpireAfterDays": own } });
        assert_eq!(removal(spec("BackupThenDrop"), &resolved).expire_after_days, expected, "{own:?} {by_default:?}");
        // The status promises it only where something is set aside.
        for (policy, shown) in [("BackupThenDrop", expected), ("Retain", None), ("Drop", None)] {
            let desired = tenant(spec(policy), json!(null)).desired(&resolved).unwrap();
            assert_eq!(desired.effective.final_expire_after_days, shown, "{policy} {own:?} {by_default:?}");
        }
    };
    check(None, None, None);
    check(None, Some(90), Some(90));
    check(Some(30), Some(90), Some(30));
}

#[test]
fn a_tenant_that_went_unseen_is_never_dropped() {
    for (policy, expected) in [
        ("Drop", DeletionPolicy::BackupThenDrop),
        ("BackupThenDrop", DeletionPolicy::BackupThenDrop),
        ("Retain", DeletionPolicy::Retain),
    ] {
        let gone = tenant(json!({ "deletionPolicy": policy }), json!(null));
        let removal = removal_of_passed_over(&gone, &resolved(json!({}), 0), deleted_at());
        assert_eq!((removal.policy, removal.deleted_at), (expected, Some(deleted_at())), "{policy}");
    }
}
