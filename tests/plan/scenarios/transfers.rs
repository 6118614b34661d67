//! Tenants that get another object: under another name, or in another namespace.

use serde_json::{Value, json};
use tenant_schema_operator::{
    api::{CONFIRM_DROP, RECLAIM, TenantSchema},
    frame::{Kind, Wish},
    tenant::{desired, plan},
};

use crate::{DELETED_AT, ROW, UID, annotated, answer, deleted, golden, resolved, row, seen, tenant};

const OLD: &str = "33333333-3333-4333-8333-333333333333";
const BACKUP: &str = "55555555-5555-4555-8555-555555555555";

fn school() -> TenantSchema {
    tenant(json!({ "schemaName": "school" }), json!(null))
}

fn entry(from: (&str, &str), to: (&str, &str)) -> Value {
    json!({ "transfers": [{
        "schemaName": "school", "from": { "namespace": from.0, "name": from.1 }, "to": { "namespace": to.0, "name": to.1 },
    }]})
}

/// An entry that gives this object the tenant of another namespace's.
fn given() -> Value {
    entry(("team-b", "academy"), ("team-a", "school"))
}

fn claim(status: &str) -> Value {
    json!({ "schema_id": OLD, "schema_name": "school", "status": status, "cluster": "cluster", "namespace": "team-b",
            "name": "academy", "uid": OLD, "taken_over": false })
}

fn set_aside() -> Value {
    json!({ "set_aside": {
        "backup_id": BACKUP, "location": "school_bak_20260101120000", "size_bytes": 1024, "table_count": 3,
        "dropped_at": "2026-01-01T12:00:00Z", "state": "complete", "holder": claim("dropped"),
    }})
}

fn check(file: &str, tenant: &TenantSchema, database: Value, observed: Value, gone: bool) {
    let desired = tenant.desired(&resolved(database, 0)).unwrap();
    let mut observed = answer(observed);
    let asked = plan::awaited(&desired, &observed).is_some();
    if asked && let Some(holder) = &mut observed.name_holder {
        holder.gone = gone;
    }
    golden(file, &seen(tenant, Wish::Keep(&desired), &observed.into()));
}

fn check_removal(file: &str, tenant: &TenantSchema, database: Value, observed: Value) {
    let tenant = deleted(tenant);
    let leave = tenant.removal(&resolved(database, 0));
    golden(file, &seen(&tenant, Wish::End(&leave), &answer(observed).into()));
}

#[test]
fn each_half_that_is_missing_is_named() {
    let holder = json!({ "name_holder": claim("active") });
    let reclaims = annotated(school(), RECLAIM, "school");
    check("transfer_reclaim_missing", &school(), given(), holder.clone(), true);
    check("transfer_entry_missing", &reclaims, json!({}), holder.clone(), true);
    check("transfer_old_lives", &reclaims, given(), holder, false);
}

/// The API server is asked about the former object only when its answer decides.
#[test]
fn the_former_object_is_waited_for_when_nothing_else_is_missing() {
    let reclaims = || annotated(school(), RECLAIM, "school");
    let check = |tenant: &TenantSchema, database: Value, status: &str, expected: bool| {
        let desired = tenant.desired(&resolved(database, 0)).unwrap();
        let observed = answer(json!({ "name_holder": claim(status) }));
        assert_eq!(plan::awaited(&desired, &observed).is_some(), expected, "{status}");
    };
    check(&reclaims(), given(), "active", true);
    check(&reclaims(), given(), "suspended", true);
    check(&reclaims(), given(), "released", false);
    check(&reclaims(), json!({}), "active", false);
    check(&school(), given(), "active", false);
}

#[test]
fn the_new_object_has_the_tenant_when_the_old_one_is_gone() {
    let reclaims = annotated(school(), RECLAIM, "school");
    check("transfer_reclaim", &reclaims, given(), json!({ "name_holder": claim("active") }), true);
    check("transfer_reclaim", &reclaims, given(), json!({ "name_holder": claim("released") }), false);
    check("transfer_set_aside", &reclaims, given(), set_aside(), false);
    check("transfer_set_aside_reclaim_missing", &school(), given(), set_aside(), false);
    // Restored by a tool with the status that its copy had.
    let known = tenant(json!({ "schemaName": "school" }), json!({ "schemaId": OLD, "schemaName": "school" }));
    let observed = json!({ "name_holder": claim("active"), "known": claim("active") });
    check("transfer_reclaim", &annotated(known, RECLAIM, "school"), given(), observed, true);
}

#[test]
fn what_is_given_to_another_or_of_another_is_not_taken() {
    let reclaims = annotated(school(), RECLAIM, "school");
    let holder = json!({ "name_holder": claim("released") });
    for other in [
        entry(("team-b", "academy"), ("team-a", "another")),
        entry(("team-b", "academy"), ("team-c", "school")),
        entry(("team-b", "another"), ("team-a", "school")),
        entry(("team-a", "school"), ("team-b", "academy")),
    ] {
        check("transfer_entry_missing", &reclaims, other, holder.clone(), true);
    }
    let mut elsewhere = given();
    elsewhere["transfers"][0]["schemaName"] = json!("another");
    check("transfer_entry_missing", &reclaims, elsewhere, holder, true);
    // An entry that is done does nothing: the tenant is this object's own.
    check("unchanged", &reclaims, given(), json!({ "own": row(json!({})), "schema_exists": true }), false);
    check("create", &school(), given(), json!({}), false);
}

#[test]
fn the_limits_of_the_database_hold_for_the_new_object_also_when_it_says_that_it_had_one() {
    let mut database = given();
    database["allowedNamespaces"] = json!({ "matchLabels": { "team": "b" } });
    let reclaims = annotated(school(), RECLAIM, "school");
    let refused = desired::desired(&reclaims, &resolved(database.clone(), 0)).unwrap_err();
    assert_eq!(refused.reason.as_str(), "NamespaceNotAllowed");
    let known = tenant(json!({ "schemaName": "school" }), json!({ "schemaId": ROW, "schemaName": "school" }));
    let known = annotated(known, RECLAIM, "school");
    check("transfer_outside", &known, database.clone(), json!({ "name_holder": claim("released") }), false);
    check("transfer_outside", &known, database, set_aside(), false);
}

#[test]
fn a_tenant_of_a_namespace_that_was_made_again_is_answered_for_by_an_entry_from_it_to_itself() {
    let itself = entry(("team-a", "school"), ("team-a", "school"));
    let mut former = claim("active");
    for (key, value) in [("namespace", "team-a"), ("name", "school"), ("namespace_uid", "another")] {
        former[key] = json!(value);
    }
    let reclaims = annotated(school(), RECLAIM, "school");
    let observed = json!({ "name_holder": former });
    check("transfer_same_name", &reclaims, itself.clone(), observed.clone(), true);
    check("stranger_holds", &reclaims, json!({}), observed, true);
    // That the object is deleted gives nothing to another one.
    check_removal("remove", &school(), itself, json!({ "own": row(json!({})) }));
}

#[test]
fn an_object_whose_tenant_is_given_away_is_let_go_and_nothing_is_set_aside_or_dropped() {
    let away = entry(("team-a", "school"), ("team-b", "academy"));
    let own = || json!({ "own": row(json!({})) });
    check_removal("transfer_release", &school(), away.clone(), own());
    for policy in ["BackupThenDrop", "Drop", "Retain"] {
        let mut object = tenant(json!({ "schemaName": "school", "deletionPolicy": policy }), json!(null));
        object = annotated(object, CONFIRM_DROP, &format!("school@{ROW}.{UID}.{DELETED_AT}"));
        check_removal("transfer_release", &object, away.clone(), own());
        let released = json!({ "own": row(json!({ "status": "released" })) });
        check_removal("remove_nothing", &object, away.clone(), released);
        let grave = json!({ "tombstone": {
            "schema_id": ROW, "backup_id": BACKUP, "location": "school_bak_20260101120000", "backup_state": "complete" } });
        check_removal("remove_nothing", &object, away.clone(), grave);
    }
    // Another schema, or another object.
    let mut another = away;
    another["transfers"][0]["schemaName"] = json!("another");
    check_removal("remove", &school(), another, own());
    check_removal("remove", &school(), given(), own());
    assert_ne!(UID, OLD);
}
