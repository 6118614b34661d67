//! A schema that stands already, or a tenant that was made by hand, and an object that adopts it.

use serde_json::{Value, json};
use tenant_schema_operator::{
    api::{CONFIRM_ADOPT, TenantSchema},
    frame::{Kind, Wish},
};

use crate::{INSTITUTION, ROW, annotated, answer, check_refused, check_removal, golden, resolved, row, seen, tenant};

fn adopting() -> TenantSchema {
    tenant(json!({ "schemaName": "school", "existingSchema": "Adopt" }), json!(null))
}

fn offered() -> Value {
    json!({ "adoptable": [{ "pattern": "sch(ool|eme)", "namespace": "team-a" }] })
}

/// The plan is the golden file where the database offers the schema.
fn check(file: &str, tenant: &TenantSchema, change: Value) {
    check_in(file, tenant, offered(), change);
}

fn check_in(file: &str, tenant: &TenantSchema, database: Value, change: Value) {
    let desired = tenant.desired(&resolved(database, 0)).expect("a spec that can be followed");
    golden(file, &seen(tenant, Wish::Keep(&desired), &answer(change).into()));
}

/// What the database answers about a schema with two owners.
fn pending(change: Value) -> Value {
    let mut plan = json!({
        "state": "pending", "total": 15, "owners": [
            { "owner": "app", "count": 14, "way": "grant",
              "kinds": [{ "kind": "table", "count": 10 }, { "kind": "sequence", "count": 3 }, { "kind": "schema", "count": 1 }] },
            { "owner": "etl", "count": 2, "way": "ours", "kinds": [{ "kind": "table", "count": 1 }, { "kind": "view", "count": 1 }] },
        ],
        "more_owners": 0, "is_left": false, "statements": [], "more_statements": 0, "kept": 0, "taken": [], "outside": null,
        "definers": 0, "digest": "5b519b9c92a4786b2d567efe6e8fb586",
    });
    plan.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    json!({ "schema_exists": true, "adoption": plan })
}

fn hand_made(institution: Value) -> Value {
    let holder = json!({ "schema_id": ROW, "schema_name": "school", "status": "active", "cluster": null, "namespace": null,
                         "name": null, "uid": null, "taken_over": false });
    json!({ "name_holder": holder, "adoption": { "state": "hand_made", "institution_id": institution, "access": "ReadWrite", "digest": "d1" } })
}

#[test]
fn what_would_change_is_told_with_what_confirms_it() {
    check("adopt_pending", &adopting(), pending(json!({})));
    let all = json!({
        "more_owners": 3, "kept": 2, "taken": ["PUBLIC", "other_reader"], "outside": { "count": 2, "name": "report" }, "definers": 1,
        "is_left": true, "more_statements": 4,
        "statements": [
            "GRANT app TO edu_matrix_owner WITH ADMIN TRUE, INHERIT FALSE, SET FALSE",
            "SELECT edu_matrix_hub_schema.adoption_statements('school') \\gexec",
        ],
    });
    check("adopt_pending_for_a_dba", &adopting(), pending(all));
}

#[test]
fn what_was_confirmed_and_nothing_else_is_adopted() {
    let confirmed = |digest: &str| annotated(adopting(), CONFIRM_ADOPT, digest);
    check("adopt_confirmed", &confirmed("5b519b9c92a4786b2d567efe6e8fb586"), pending(json!({})));
    check("adopt_changed", &confirmed("5b519b9c92a4786b2d567efe6e8fb586"), pending(json!({ "digest": "00" })));
    let left = json!({ "is_left": true, "statements": ["GRANT app TO edu_matrix_owner WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"] });
    check("adopt_confirmed_and_left", &confirmed("5b519b9c92a4786b2d567efe6e8fb586"), pending(left));
}

#[test]
fn what_is_begun_goes_on_without_another_word() {
    check(
        "adopt_begun",
        &adopting(),
        json!({ "schema_exists": true, "adoption": { "state": "begun", "moved": 50, "total": 120 } }),
    );
}

#[test]
fn without_a_schema_nothing_is_made() {
    check("adopt_nothing", &adopting(), json!({ "adoption": { "state": "nothing" } }));
    let lost = json!({ "state": "nothing", "moved": 50, "total": 120 });
    check("adopt_dropped_half_way", &adopting(), json!({ "adoption": lost }));
}

#[test]
fn what_is_never_adopted_is_a_conflict_that_says_why() {
    check(
        "adopt_never",
        &adopting(),
        json!({ "schema_exists": true, "adoption": { "state": "refused", "why": "it is part of an extension" } }),
    );
}

#[test]
fn what_is_not_offered_reads_the_same_whether_it_is_there_or_not() {
    let other = || json!({ "adoptable": [{ "pattern": "school", "namespace": "team-b" }, { "pattern": "scho", "namespace": "team-a" }] });
    for change in [json!({}), json!({ "schema_exists": true }), hand_made(json!(null))] {
        check_in("adopt_not_offered", &adopting(), other(), change);
    }
}

#[test]
fn a_tenant_of_another_object_is_a_conflict_as_for_any_other() {
    let holder = json!({ "schema_id": ROW, "schema_name": "school", "status": "active", "cluster": "cluster", "namespace": "team-b",
                         "name": "secret", "uid": "other", "taken_over": false });
    check("adopt_taken", &adopting(), json!({ "name_holder": holder }));
}

#[test]
fn a_tenant_that_was_made_by_hand_becomes_the_objects_when_that_is_confirmed() {
    check("adopt_hand_made", &adopting(), hand_made(json!(null)));
    check("adopt_hand_made_confirmed", &annotated(adopting(), CONFIRM_ADOPT, "d1"), hand_made(json!(null)));
    check("adopt_hand_made_institution", &adopting(), hand_made(json!(INSTITUTION)));
}

#[test]
fn an_adopted_tenant_plans_nothing_and_stays_when_its_object_goes() {
    let known = json!({ "schemaId": ROW, "schemaName": "school" });
    let adopted = tenant(json!({ "schemaName": "school", "existingSchema": "Adopt" }), known);
    // Also where the database has another default, and offers it no more.
    let database = json!({ "defaults": { "deletionPolicy": "Drop" }, "naming": [{ "pattern": "^never$" }] });
    check_in(
        "adopt_unchanged",
        &adopted,
        database,
        json!({ "own": row(json!({ "adopted_objects": 15 })), "schema_exists": true }),
    );
    check_removal("adopt_removed", &adopted, &answer(json!({ "own": row(json!({})), "schema_exists": true })));
}

#[test]
fn a_pattern_that_is_none_is_told_to_the_owners_of_the_database() {
    let database = json!({ "adoptable": [{ "pattern": "(", "namespace": "team-a" }] });
    check_refused(
        &adopting(),
        &resolved(database, 0),
        "InvalidSpec",
        &["spec.adoptable", "which its owners must mend"],
    );
}
