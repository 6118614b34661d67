//! Tenants that come after an earlier object of the same namespace and name.

use serde_json::{Value, json};
use tenant_schema_operator::api::{RECLAIM, RECREATE, TenantSchema};

use crate::{INSTITUTION, ROW, annotated, answer, check, row, tenant};

const EARLIER: &str = "33333333-3333-4333-8333-333333333333";
const BACKUP: &str = "55555555-5555-4555-8555-555555555555";

fn school() -> TenantSchema {
    tenant(json!({ "schemaName": "school" }), json!(null))
}

fn left(status: &str, taken_over: bool) -> Value {
    json!({ "name_holder": {
        "schema_id": EARLIER, "schema_name": "school", "status": status, "cluster": "cluster", "namespace": "team-a",
        "name": "school", "uid": EARLIER, "taken_over": taken_over,
    }})
}

/// What is set aside, of an earlier object of the same names unless `change` says otherwise.
fn set_aside(change: Value, holder: Value) -> Value {
    let mut left = json!({
        "backup_id": BACKUP, "location": "school_bak_20260101120000", "size_bytes": 1024, "table_count": 3,
        "dropped_at": "2026-01-01T12:00:00Z", "state": "complete", "holder": left("dropped", false)["name_holder"],
    });
    crate::merge(&mut left["holder"], holder);
    crate::merge(&mut left, change);
    json!({ "set_aside": left })
}

fn known() -> TenantSchema {
    tenant(json!({ "schemaName": "school" }), json!({ "schemaId": ROW, "schemaName": "school" }))
}

#[test]
fn what_lives_on_is_taken_back_when_asked() {
    check("reclaim_living", &annotated(school(), RECLAIM, "school"), &answer(left("active", false)));
    check("reclaim_released", &annotated(school(), RECLAIM, "school"), &answer(left("released", false)));
}

#[test]
fn what_a_lost_cluster_left_is_taken_back_without_being_asked() {
    check("reclaim_taken_over", &school(), &answer(left("active", true)));
    // The very object has it, since the database was taken over and back.
    check("reclaim_taken_back", &known(), &answer(json!({ "own": row(json!({ "taken_over": true })) })));
}

#[test]
fn what_is_just_being_dropped_is_not_taken_back() {
    check("reclaim_dropping", &annotated(school(), RECLAIM, "school"), &answer(left("dropping", false)));
}

#[test]
fn what_is_set_aside_is_neither_forgotten_nor_brought_back_by_guess() {
    let own = answer(set_aside(json!({}), json!({})));
    check("set_aside_left", &school(), &own);
    check("set_aside_reclaim", &annotated(school(), RECLAIM, "school"), &own);
    check("set_aside_begin_again", &annotated(school(), RECREATE, &format!("school@{BACKUP}")), &own);
}

#[test]
fn an_annotation_of_another_life_is_answered_by_the_value_to_type() {
    let own = answer(set_aside(json!({}), json!({})));
    for value in ["school", "", &format!("school@{ROW}"), &format!("other@{BACKUP}"), &format!("school@{BACKUP} ")] {
        check("set_aside_left", &annotated(school(), RECREATE, value), &own);
    }
}

#[test]
fn what_is_set_aside_keeps_its_name_for_whose_it_was() {
    for (file, change, holder) in [
        ("set_aside_other_namespace", json!({}), json!({ "namespace": "team-b", "name": "secret" })),
        ("set_aside_other_name", json!({}), json!({ "name": "older" })),
        ("set_aside_other_cluster", json!({}), json!({ "cluster": "another" })),
        ("set_aside_by_hand", json!({}), json!({ "cluster": null, "namespace": null, "name": null, "uid": null })),
        ("set_aside_going", json!({ "state": "purging" }), json!({})),
    ] {
        let observed = answer(set_aside(change, holder));
        check(file, &school(), &observed);
        check(file, &annotated(school(), RECLAIM, "school"), &observed);
        if file != "set_aside_going" {
            check(file, &annotated(school(), RECREATE, &format!("school@{BACKUP}")), &observed);
        }
    }
}

#[test]
fn what_an_institution_left_under_another_name_is_said_and_not_brought_back_under_this_one() {
    let observed = answer(set_aside(json!({}), json!({ "schema_name": "academy" })));
    check("set_aside_institution", &school(), &observed);
    check("set_aside_institution", &annotated(school(), RECLAIM, "school"), &observed);
    check("set_aside_begin_again", &annotated(school(), RECREATE, &format!("school@{BACKUP}")), &observed);
}

#[test]
fn who_asks_for_an_institution_alone_learns_no_name_of_another_namespace() {
    let asking = tenant(json!({ "schemaName": "school", "institutionId": INSTITUTION }), json!(null));
    let elsewhere = json!({ "namespace": "team-b", "name": "secret", "schema_name": "academy" });
    let observed = answer(set_aside(json!({}), elsewhere.clone()));
    check("set_aside_institution_elsewhere", &asking, &observed);
    check("set_aside_institution_elsewhere", &annotated(asking.clone(), RECLAIM, "academy"), &observed);
    let again = answer(set_aside(json!({}), json!({ "schema_name": "academy", "namespace_uid": "another" })));
    check("set_aside_institution_elsewhere", &asking, &again);
    let going = answer(set_aside(json!({ "state": "purging" }), elsewhere));
    check("set_aside_institution_elsewhere_going", &asking, &going);
    for file in ["set_aside_institution_elsewhere", "set_aside_institution_elsewhere_going"] {
        let plan =
            std::fs::read_to_string(format!("{}/tests/plan/golden/{file}.txt", env!("CARGO_MANIFEST_DIR"))).unwrap();
        for told in ["academy", "secret", "team-b", "2026-01-01", "school_bak", BACKUP] {
            assert!(!plan.contains(told), "{file} tells {told}");
        }
    }
}

/// An earlier object of this name holds the institution, under another schema's name.
#[test]
fn an_institution_of_an_earlier_life_is_told_by_what_became_of_that() {
    let asking = tenant(json!({ "schemaName": "school", "institutionId": INSTITUTION }), json!(null));
    let holder = |change: Value| {
        let mut holder = json!({
            "schema_id": BACKUP, "schema_name": "academy", "status": "active", "cluster": "cluster", "namespace": "team-a",
            "name": "school", "uid": BACKUP, "taken_over": false,
        });
        crate::merge(&mut holder, change);
        answer(json!({ "institution_holder": holder }))
    };
    check("institution_of_an_earlier_life", &asking, &holder(json!({})));
    check("institution_going_with_an_earlier_life", &asking, &holder(json!({ "status": "dropping" })));
    check("institution_going_with_another", &asking, &holder(json!({ "status": "dropping", "name": "older" })));
}

#[test]
fn who_asks_for_an_institution_of_this_namespace_is_told_what_it_left() {
    let asking = tenant(json!({ "schemaName": "school", "institutionId": INSTITUTION }), json!(null));
    let here = answer(set_aside(json!({}), json!({ "name": "older", "schema_name": "academy" })));
    check("set_aside_institution_here", &asking, &here);
    let other = answer(set_aside(json!({}), json!({ "cluster": "another", "schema_name": "academy" })));
    check("set_aside_institution_other_cluster", &asking, &other);
}

#[test]
fn what_was_restored_with_its_status_is_told_where_its_tenant_is_and_may_take_it_back() {
    let released = answer(left("released", false));
    check("conflict_earlier_self_restored", &known(), &released);
    check("reclaim_released", &annotated(known(), RECLAIM, "school"), &released);
    check("reclaim_taken_over", &known(), &answer(left("active", true)));
    let aside = answer(set_aside(json!({}), json!({ "schema_id": ROW })));
    check("set_aside_left_restored", &known(), &aside);
    check("set_aside_reclaim", &annotated(known(), RECLAIM, "school"), &aside);
    check("set_aside_begin_again", &annotated(known(), RECREATE, &format!("school@{BACKUP}")), &aside);
}

#[test]
fn what_was_said_before_a_tenant_was_made_makes_no_other_when_that_is_lost() {
    // The object began beside what an earlier one left, and the database went back to before that.
    let aside = answer(set_aside(json!({}), json!({})));
    check("set_aside_and_row_lost", &known(), &aside);
    check("set_aside_and_row_lost", &annotated(known(), RECREATE, &format!("school@{BACKUP}")), &aside);
    check("set_aside_reclaim", &annotated(known(), RECLAIM, "school"), &aside);
    check("set_aside_begin_again", &annotated(known(), RECREATE, &format!("school@{BACKUP}.{ROW}")), &aside);
}

#[test]
fn what_was_restored_into_another_namespace_takes_nothing_and_makes_nothing() {
    let mut living = left("active", false);
    crate::merge(&mut living["name_holder"], json!({ "namespace": "team-b" }));
    living["known"] = living["name_holder"].clone();
    check("known_elsewhere", &known(), &answer(living.clone()));
    check("known_elsewhere", &annotated(known(), RECLAIM, "school"), &answer(living));
    let mut gone = set_aside(json!({}), json!({ "namespace": "team-b" }));
    gone["known"] = gone["set_aside"]["holder"].clone();
    check("known_elsewhere_gone", &known(), &answer(gone.clone()));
    check("known_elsewhere_gone", &annotated(known(), RECLAIM, "school"), &answer(gone));
    check("row_lost", &annotated(known(), RECLAIM, "school"), &answer(json!({})));
}

#[test]
fn an_object_that_came_back_with_its_cluster_may_take_back_what_it_left() {
    let mut observed = set_aside(json!({}), json!({}));
    observed["tombstone"] =
        json!({ "schema_id": ROW, "location": "school_bak_20260101120000", "backup_state": "complete" });
    check("dropped_aside", &school(), &answer(observed.clone()));
    check("set_aside_reclaim", &annotated(school(), RECLAIM, "school"), &answer(observed));
}

#[test]
fn an_object_that_came_back_with_its_cluster_is_told_of_the_tenant_that_came_after_it() {
    let mut observed = left("released", false);
    observed["tombstone"] = json!({ "schema_id": ROW, "location": null, "backup_state": "purged" });
    check("dropped_and_followed", &school(), &answer(observed));
}

#[test]
fn a_row_that_was_released_is_its_objects_again_if_that_is_there() {
    check("released_own", &school(), &answer(json!({ "own": row(json!({ "status": "released" })) })));
}
