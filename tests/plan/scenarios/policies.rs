//! Policies on a tenant's tables: set with the tenant, changed with its spec, looked at again when something differs.

use serde_json::{Value, json};
use tenant_schema_operator::{api::TenantSchema, contract::RowSecurity};

use crate::{ROW, answer, check, merge, row, tenant};

/// A tenant with these policies; null for none.
fn asked(change: Value, is_known: bool) -> TenantSchema {
    let mut spec = json!({ "schemaName": "school" });
    if !change.is_null() {
        let mut wanted =
            json!({ "policies": [{ "name": "own-rows", "column": "user_id", "setting": "app.current_user_id" }] });
        merge(&mut wanted, change);
        merge(&mut spec, json!({ "rowLevelSecurity": wanted }));
    }
    let status = json!({ "schemaId": ROW, "schemaName": "school", "rowSecurity": { "tables": 1, "uncovered": [] } });
    tenant(spec, if is_known { status } else { json!(null) })
}

/// The tenant's row with policies that were set for this object, unless `change` says otherwise.
fn kept(tenant: &TenantSchema, change: Value, of_row: Value) -> Value {
    let wanted = tenant.spec.row_level_security.as_ref().map_or_else(RowSecurity::none, RowSecurity::from);
    let mut found = json!({
        "mode": "Required", "digest": wanted.digest, "tables": 3, "uncovered": [], "uncovered_count": 0, "forced": [],
    });
    merge(&mut found, change);
    let mut of_row = of_row;
    merge(&mut of_row, json!({ "row_security": found }));
    json!({ "own": row(of_row) })
}

fn holes() -> Value {
    let view = json!({ "what": "view school.all_marks reads with the rights of its owner",
                       "statement": "ALTER VIEW school.all_marks SET (security_invoker = true)" });
    let table = json!({ "what": "table school.marks has no column \"user_id\"", "statement": null });
    json!({ "uncovered": [table, view], "uncovered_count": 2 })
}

#[test]
fn a_new_tenant_gets_its_policies_in_the_same_call() {
    check("policies_create", &asked(json!({}), false), &answer(json!({})));
}

#[test]
fn a_tenant_that_was_there_before_gets_policies() {
    check("policies_first", &asked(json!({ "mode": "BestEffort" }), true), &answer(json!({ "own": row(json!({})) })));
}

#[test]
fn policies_in_force_are_told_and_nothing_is_done() {
    let tenant = asked(json!({}), true);
    check("policies_unchanged", &tenant, &answer(kept(&tenant, json!({}), json!({}))));
}

#[test]
fn other_policies_are_set() {
    let tenant = asked(json!({}), true);
    check("policies_changed", &tenant, &answer(kept(&tenant, json!({ "digest": "another" }), json!({}))));
}

#[test]
fn what_passes_the_policies_is_told() {
    for (mode, file) in [("Required", "policies_passed"), ("BestEffort", "policies_passed_best_effort")] {
        let tenant = asked(json!({ "mode": mode }), true);
        check(file, &tenant, &answer(kept(&tenant, holes(), json!({}))));
    }
}

#[test]
fn an_owner_that_is_bound_is_told() {
    let tenant = asked(json!({}), true);
    let forced = json!({ "forced": ["ALTER TABLE school.marks NO FORCE ROW LEVEL SECURITY"] });
    check("policies_forced", &tenant, &answer(kept(&tenant, forced, json!({}))));
}

#[test]
fn what_differs_is_repaired_in_all_tables_and_before_a_tenant_is_opened() {
    let tenant = asked(json!({}), true);
    let what = "row-level security: table school.marks has no policies";
    let drift = json!([{ "what": what, "repairable": true, "statement": null }]);
    let of_row = json!({ "drift": drift, "access": "Suspended", "status": "suspended" });
    check("policies_repaired", &tenant, &answer(kept(&tenant, json!({}), of_row)));
}

#[test]
fn policies_that_are_not_asked_for_any_more_are_taken_back() {
    let tenant = asked(json!(null), true);
    check("policies_not_wanted", &tenant, &answer(kept(&tenant, json!({ "digest": "another" }), json!({}))));
}
