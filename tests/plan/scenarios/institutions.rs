//! A tenant whose institution is suspended or closed in the registry: it may not be used, although its spec says nothing of it.

use serde_json::{Value, json};

use tenant_schema_operator::{
    api::{RECREATE, TenantSchema},
    frame::{Kind, Wish},
};

use crate::{INSTITUTION, ROW, annotated, answer, check, golden, merge, resolved, row, seen, tenant};

fn of_institution(access: &str) -> TenantSchema {
    tenant(json!({ "schemaName": "school", "institutionId": INSTITUTION, "access": access }), json!(null))
}

fn kept(institution_status: &str, access: &str) -> Value {
    let status = if access == "Suspended" { "suspended" } else { "active" };
    let change = json!({
        "institution_id": INSTITUTION, "institution_status": institution_status, "access": access, "status": status,
    });
    json!({ "own": row(change) })
}

#[test]
fn a_suspended_institution_closes_its_tenant_and_says_how_it_is_opened() {
    check("institution_suspends", &of_institution("ReadWrite"), &answer(kept("suspended", "ReadWrite")));
}

#[test]
fn a_tenant_that_both_close_says_how_each_opens_it() {
    check("institution_closed_and_spec", &of_institution("Suspended"), &answer(kept("closed", "Suspended")));
}

#[test]
fn a_tenant_is_resumed_when_its_institution_is_open_again() {
    check("institution_resumes", &of_institution("ReadWrite"), &answer(kept("active", "Suspended")));
}

#[test]
fn a_new_tenant_of_a_suspended_institution_is_created_suspended() {
    let known = answer(json!({ "institution_known": true, "institution_status": "suspended" }));
    check("create_of_suspended_institution", &of_institution("ReadWrite"), &known);
}

#[test]
fn a_closed_institution_gets_no_new_tenant() {
    for mode in ["Require", "Register"] {
        let known = answer(json!({ "institution_known": false, "institution_status": "closed" }));
        let tenant = of_institution("ReadWrite");
        let desired = tenant.desired(&resolved(json!({ "institutions": { "mode": mode } }), 0)).unwrap();
        golden("create_of_closed_institution", &seen(&tenant, Wish::Keep(&desired), &known.into()));
    }
}

#[test]
fn a_schema_that_is_made_again_for_a_suspended_institution_is_closed_by_the_next_look() {
    let lost = json!({ "institution_id": INSTITUTION, "institution_status": "suspended", "schema_exists": false });
    let asked = annotated(of_institution("ReadWrite"), RECREATE, &format!("school@{ROW}"));
    check("recreate_of_suspended_institution", &asked, &answer(json!({ "own": row(lost) })));
}

#[test]
fn a_tenant_outside_the_limits_says_that_it_is_closed_too() {
    let tenant = tenant(
        json!({ "schemaName": "school", "institutionId": INSTITUTION, "quota": { "limit": "2Gi" } }),
        json!({ "schemaId": ROW, "schemaName": "school" }),
    );
    let desired = tenant.desired(&resolved(json!({ "limits": { "maxQuota": "1Gi" } }), 0)).unwrap();
    let mut kept = kept("suspended", "Suspended");
    merge(&mut kept["own"], json!({ "quota_limit": 1_i64 << 30 }));
    golden("institution_outside_limits", &seen(&tenant, Wish::Keep(&desired), &answer(kept).into()));
}

#[test]
fn functions_that_do_not_tell_of_institutions_close_nothing() {
    let known = row(json!({ "institution_id": INSTITUTION }));
    check("institution_not_told", &of_institution("ReadWrite"), &answer(json!({ "own": known })));
}

#[test]
fn a_word_of_a_newer_release_closes_nothing() {
    check("institution_in_an_unknown_state", &of_institution("ReadWrite"), &answer(kept("merged", "ReadWrite")));
}

/// A database whose application says how institutions stand.
fn by_table() -> Value {
    let source = json!({ "schema": "app", "table": "schools", "idColumn": "id", "statusColumn": "status" });
    json!({ "institutions": { "source": source } })
}

fn check_by_table(file: &str, tenant: &TenantSchema, row: Value) {
    let desired = tenant.desired(&resolved(by_table(), 0)).unwrap();
    golden(file, &seen(tenant, Wish::Keep(&desired), &answer(row).into()));
}

#[test]
fn a_tenant_that_the_table_closes_says_where_it_is_opened() {
    check_by_table("institution_suspended_by_table", &of_institution("ReadWrite"), kept("suspended", "Suspended"));
}

#[test]
fn an_institution_that_its_table_does_not_name_any_more_is_told_and_nothing_is_closed() {
    check_by_table("institution_gone", &of_institution("ReadWrite"), kept("gone", "ReadWrite"));
}
