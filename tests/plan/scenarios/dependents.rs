//! What ended with a tenant that gave a grant: told while that is away, made again when it is back, kept when it cannot be.

use serde_json::{Value, json};
use tenant_schema_operator::api::{RECONCILE_REQUESTED_AT, TenantSchema};

use crate::{ROW, annotated, answer, check, merge, row, tenant};

fn plain() -> TenantSchema {
    tenant(json!({ "schemaName": "school" }), json!({ "schemaId": ROW, "schemaName": "school" }))
}

/// Two views over another tenant's tables, and how they stand.
fn taken(state: &str, change: Value) -> Value {
    let mut taken = json!({
        "schema": "archive", "owner": { "namespace": "team-a", "name": "archive" }, "state": state, "count": 7,
        "names": ["school.names", "school.count(IN integer)"],
    });
    merge(&mut taken, change);
    taken
}

fn own(taken: Value) -> tenant_schema_operator::contract::TenantAnswer {
    answer(json!({ "own": row(json!({ "taken": taken })) }))
}

#[test]
fn what_is_away_is_told_and_what_is_due_is_made_again() {
    check("dependents_away", &plain(), &own(json!([taken("away", json!({}))])));
    let found = json!([taken("away", json!({ "owner": null, "schema": "made_by_hand" })), taken("due", json!({}))]);
    check("dependents_due", &plain(), &own(found));
}

#[test]
fn what_could_not_be_made_waits_for_a_user_and_what_is_gone_is_forgotten_by_one() {
    let heard = |request: &str| json!({ "request": request });
    let note = json!({ "request": "", "note": "relation \"names\" already exists" });
    let found = json!([taken("left", note), taken("gone", heard(""))]);
    check("dependents_left", &plain(), &own(found.clone()));
    check("dependents_asked_for", &annotated(plain(), RECONCILE_REQUESTED_AT, "noon"), &own(found));
    check("dependents_unheard", &plain(), &own(json!([taken("gone", json!({}))])));
    let heard = json!([taken("gone", heard("noon"))]);
    check("dependents_heard", &annotated(plain(), RECONCILE_REQUESTED_AT, "noon"), &own(heard));
}
