//! Tenants that come after an earlier object of the same namespace and name.

use serde_json::{Value, json};
use tenant_schema_operator::api::{RECLAIM, RECREATE, TenantSchema};

use crate::{annotated, answer, check, row, tenant};

const EARLIER: &str = "33333333-3333-4333-8333-333333333333";

fn school() -> TenantSchema {
    tenant(json!({ "schemaName": "school" }), json!(null))
}

fn left(status: &str, taken_over: bool) -> Value {
    json!({ "name_holder": {
        "schema_id": EARLIER, "schema_name": "school", "status": status, "cluster": "cluster", "namespace": "team-a",
        "name": "school", "uid": EARLIER, "taken_over": taken_over,
    }})
}

fn set_aside() -> Value {
    json!({ "set_aside": {
        "backup_id": EARLIER, "location": "school_bak_20260101120000", "size_bytes": 1024, "table_count": 3,
        "dropped_at": "2026-01-01T12:00:00Z",
    }})
}

#[test]
fn what_lives_on_is_taken_back_when_asked() {
    check("reclaim_living", &annotated(school(), RECLAIM, "school"), &answer(left("active", false)));
    check("reclaim_released", &annotated(school(), RECLAIM, "school"), &answer(left("released", false)));
}

#[test]
fn what_a_lost_cluster_left_is_taken_back_without_being_asked() {
    check("reclaim_taken_over", &school(), &answer(left("active", true)));
}

#[test]
fn what_is_just_being_dropped_is_not_taken_back() {
    check("reclaim_dropping", &annotated(school(), RECLAIM, "school"), &answer(left("dropping", false)));
}

#[test]
fn what_is_set_aside_is_neither_forgotten_nor_brought_back_by_guess() {
    check("set_aside_left", &school(), &answer(set_aside()));
    check("set_aside_reclaim", &annotated(school(), RECLAIM, "school"), &answer(set_aside()));
    check("set_aside_begin_anew", &annotated(school(), RECREATE, "school"), &answer(set_aside()));
}

#[test]
fn a_row_that_was_released_is_its_objects_again_if_that_is_there() {
    check("released_own", &school(), &answer(json!({ "own": row(json!({ "status": "released" })) })));
}
