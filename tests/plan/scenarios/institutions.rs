//! A tenant whose institution is suspended or closed in the registry: it may not be used, whatever its spec says.

use serde_json::{Value, json};

use tenant_schema_operator::{
    api::TenantSchema,
    frame::{Kind, Wish},
};

use crate::{INSTITUTION, answer, check, golden, resolved, row, seen, tenant};

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
    let known = answer(json!({ "institution_known": false, "institution_status": "closed" }));
    let tenant = of_institution("ReadWrite");
    let desired = tenant.desired(&resolved(json!({ "institutions": { "mode": "Require" } }), 0)).unwrap();
    golden("create_of_closed_institution", &seen(&tenant, Wish::Keep(&desired), &known.into()));
}

#[test]
fn a_word_of_a_newer_release_closes_nothing() {
    check("institution_in_an_unknown_state", &of_institution("ReadWrite"), &answer(kept("merged", "ReadWrite")));
}
