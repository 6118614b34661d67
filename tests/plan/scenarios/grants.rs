//! What a tenant gives to others: registered, given again when something came or went, refused, taken back.

use serde_json::{Value, json};
use tenant_schema_operator::api::{RECONCILE_REQUESTED_AT, TenantSchema};

use crate::{ROW, annotated, answer, check, golden, merge, resolved, row, seen, tenant};
use tenant_schema_operator::frame::{Kind, Wish};

/// A tenant that gives this.
fn giving(grants: Value) -> TenantSchema {
    tenant(json!({ "schemaName": "school", "grants": grants }), json!({ "schemaId": ROW, "schemaName": "school" }))
}

fn reading(name: &str) -> Value {
    json!({ "to": { "tenantSchema": { "name": name } }, "privileges": ["Read"] })
}

/// The same as the registry has it.
fn registered(name: &str, state: &str, change: Value) -> Value {
    let mut row = json!({ "namespace": "team-a", "name": name, "privileges": ["Read"], "state": state });
    merge(&mut row, change);
    row
}

fn own(grants: Value) -> tenant_schema_operator::contract::TenantAnswer {
    answer(json!({ "own": row(json!({ "grants": grants })) }))
}

#[test]
fn a_new_tenant_gives_in_the_pass_that_makes_it() {
    let new = tenant(json!({ "schemaName": "school", "grants": [reading("reporting")] }), json!(null));
    check("grants_create", &new, &answer(json!({})));
}

#[test]
fn grants_that_are_registered_are_left_alone_in_any_order_of_their_words() {
    let mut grant = reading("reporting");
    merge(&mut grant, json!({ "privileges": ["Write", "Read"], "tables": ["pupils", "marks"] }));
    let as_it_is = json!({ "privileges": ["Read", "Write"], "tables": ["marks", "pupils"], "missing": ["marks"], "missing_count": 1 });
    check("grants_kept", &giving(json!([grant])), &own(json!([registered("reporting", "given", as_it_is)])));
}

#[test]
fn what_waits_says_for_what() {
    let moved = json!({ "moved_to": { "namespace": "team-b", "name": "figures" } });
    let again = json!({ "other_namespace": true });
    let found = json!([
        registered("absent", "waiting", json!({})),
        registered("moved", "waiting", moved),
        registered("remade", "waiting", again),
    ]);
    let asked = json!([reading("absent"), reading("moved"), reading("remade")]);
    check("grants_waiting", &giving(asked), &own(found));
}

#[test]
fn a_grantee_that_came_or_went_is_followed_before_a_repair() {
    let drift = json!([{ "what": "\"reporting_reader\" lost USAGE", "repairable": true, "statement": "GRANT" }]);
    let came = row(json!({ "grants": [registered("reporting", "due", json!({}))], "drift": drift }));
    check("grants_due", &giving(json!([reading("reporting")])), &answer(json!({ "own": came })));
    let went = own(json!([registered("reporting", "ending", json!({}))]));
    check("grants_ending", &giving(json!([reading("reporting")])), &went);
}

#[test]
fn grants_that_are_not_asked_for_any_more_are_taken_back() {
    check("grants_removed", &giving(json!(null)), &own(json!([registered("reporting", "given", json!({}))])));
}

#[test]
fn another_look_is_heard_once() {
    let asked = annotated(giving(json!([reading("remade")])), RECONCILE_REQUESTED_AT, "noon");
    let found = |request: Value| own(json!([registered("remade", "waiting", request)]));
    check("grants_look_again", &asked, &found(json!({ "other_namespace": true })));
    check("grants_looked_again", &asked, &found(json!({ "request": "noon" })));
}

#[test]
fn what_the_limits_forbid_is_refused_and_the_rest_is_given() {
    let there =
        json!({ "to": { "tenantSchema": { "name": "reporting", "namespace": "team-b" } }, "privileges": ["Read"] });
    let tenant = giving(json!([there, reading("school"), reading("reporting")]));
    check("grants_refused", &tenant, &own(json!([registered("reporting", "given", json!({}))])));
    for (allowed, file) in [("None", "grants_none_allowed"), ("AllNamespaces", "grants_all_allowed")] {
        let desired = tenant.desired(&resolved(json!({ "limits": { "grants": allowed } }), 0)).unwrap();
        let observed = own(json!([registered("reporting", "given", json!({}))])).into();
        golden(file, &seen(&tenant, Wish::Keep(&desired), &observed));
    }
}

/// A database that offers roles, some to this namespace.
fn offering(limits: Value) -> Value {
    let team = |name: &str| json!({ "matchLabels": { "team": name } });
    json!({ "limits": limits, "grantableRoles": [
        { "name": "notifications" },
        { "name": "metrics", "namespaceSelector": team("a") },
        { "name": "billing", "namespaceSelector": team("b") },
    ] })
}

/// What comes of it in a database of this spec.
fn with_database(file: &str, tenant: &TenantSchema, database: Value, found: Value) {
    let desired = tenant.desired(&resolved(database, 0)).unwrap();
    golden(file, &seen(tenant, Wish::Keep(&desired), &own(found).into()));
}

fn to_role(name: &str) -> Value {
    json!({ "to": { "role": name }, "privileges": ["Write"] })
}

#[test]
fn roles_get_grants_that_the_platform_offers_to_the_namespace() {
    let tenant = giving(json!(["notifications", "metrics", "billing", "other"].map(to_role)));
    with_database("grants_roles_new", &tenant, offering(json!({})), json!([]));
    with_database("grants_roles_not_allowed", &tenant, offering(json!({ "grants": "None" })), json!([]));
    with_database("grants_roles_not_offered", &tenant, json!({}), json!([]));
}

#[test]
fn a_role_that_is_not_there_may_not_have_it_or_was_made_again_is_told() {
    let found = |role: &str, state: &str, more: Value| {
        let mut row = json!({ "role": role, "privileges": ["Write"], "state": state });
        merge(&mut row, more);
        row
    };
    let tenant = giving(json!(["notifications", "metrics"].map(to_role)));
    let rows = json!([
        found("notifications", "waiting", json!({})),
        found("metrics", "waiting", json!({ "other_role": true }))
    ]);
    with_database("grants_roles_waiting", &tenant, offering(json!({})), rows);
    let rows = json!([found("notifications", "given", json!({})), found("metrics", "given", json!({}))]);
    with_database("grants_roles_given", &tenant, offering(json!({})), rows.clone());
    // An offer that is taken back is a grant that ends.
    with_database("grants_roles_taken_back", &tenant, json!({}), rows);
}
