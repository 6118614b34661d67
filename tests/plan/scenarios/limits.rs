//! What the owners of a database allow: new tenants meet it or are not made, running ones are clamped or marked.

use std::sync::Arc;

use serde_json::{Value, json};
use tenant_schema_operator::tenant::{desired::desired, resolve::older};

use crate::{ROW, check_refused, resolved, tenant};

fn new(spec: Value) -> tenant_schema_operator::api::TenantSchema {
    tenant(spec, json!(null))
}

fn running(spec: Value) -> tenant_schema_operator::api::TenantSchema {
    tenant(spec, json!({ "schemaId": ROW, "schemaName": "school" }))
}

#[test]
fn a_config_of_17_kib_is_invalid() {
    let spec = json!({ "config": { "large": "x".repeat(17 * 1024) } });
    check_refused(&new(spec), &resolved(json!({}), 0), "InvalidSpec", &["spec.config", "bytes"]);
}

#[test]
fn a_config_has_at_most_32_levels() {
    let nested = |levels: usize| (1..levels).fold(json!({}), |inner, _| json!({ "a": inner }));
    assert!(desired(&new(json!({ "config": nested(32) })), &resolved(json!({}), 0)).is_ok());
    let listed = json!({ "config": { "a": [nested(31)] } });
    for (spec, levels) in [(json!({ "config": nested(33) }), "33 levels"), (listed, "33 levels")] {
        check_refused(&new(spec), &resolved(json!({}), 0), "InvalidSpec", &["spec.config", levels, "at most 32"]);
    }
}

#[test]
fn a_config_has_no_character_that_postgresql_cannot_store() {
    for (config, place) in [
        (json!({ "note": "a\u{0}b" }), "\\u0000 at note,"),
        (json!({ "notes": ["a", { "x": "\u{0}" }] }), "\\u0000 at notes.1.x,"),
        (json!({ "a": { "b\u{0}": 1 } }), "\\u0000 at a.b\\u0000,"),
    ] {
        check_refused(
            &new(json!({ "config": config })),
            &resolved(json!({}), 0),
            "InvalidSpec",
            &["spec.config", place],
        );
    }
}

#[test]
fn a_tenant_of_an_unknown_database_waits_for_it() {
    let mut nowhere = resolved(json!({}), 0);
    nowhere.database = None;
    check_refused(&new(json!({})), &nowhere, "DatabaseNotFound", &["kubectl get tenantdatabases"]);
}

#[test]
fn a_namespace_needs_the_labels_that_the_database_asks_for() {
    let database = json!({ "allowedNamespaces": { "matchLabels": { "team": "b" } } });
    check_refused(&new(json!({})), &resolved(database.clone(), 0), "NamespaceNotAllowed", &["team-a", "label"]);
    let left_alone = desired(&running(json!({ "schemaName": "school" })), &resolved(database, 0)).unwrap();
    assert!(left_alone.outside.unwrap().message.contains("team-a"));
    let fits = json!({ "allowedNamespaces": { "matchLabels": { "team": "a" } } });
    assert!(desired(&new(json!({})), &resolved(fits, 0)).is_ok());
}

#[test]
fn a_name_needs_a_pattern_for_its_namespace() {
    let naming = json!({ "naming": [
        { "namespaceSelector": { "matchLabels": { "team": "a" } }, "pattern": "^inst_" },
        { "namespaceSelector": { "matchLabels": { "team": "b" } }, "pattern": "^school$" },
    ] });
    check_refused(&new(json!({ "schemaName": "school" })), &resolved(naming.clone(), 0), "NameNotAllowed", &["^inst_"]);
    assert!(desired(&new(json!({ "schemaName": "inst_a" })), &resolved(naming, 0)).is_ok());
}

#[test]
fn a_namespace_has_only_so_many_tenants() {
    let limit = json!({ "limits": { "maxTenantsPerNamespace": 2 } });
    assert!(desired(&new(json!({})), &resolved(limit.clone(), 1)).is_ok());
    let mut full = resolved(limit, 2);
    check_refused(&new(json!({})), &full, "TooManyTenants", &["2 tenants", "maxTenantsPerNamespace"]);
    // Of those that come before it one is refused itself: it keeps its turn, and its name helps to free one.
    let named = |name: &str, status: Value| {
        let mut tenant = tenant(json!({ "schemaName": name }), status);
        tenant.metadata.name = Some(name.to_owned());
        Arc::new(tenant)
    };
    let stalled = json!({ "conditions": [{ "type": "Stalled", "status": "True", "reason": "Conflict", "message": "",
        "lastTransitionTime": "2026-12-31T00:00:00Z" }] });
    let all = [named("a", stalled), named("b", json!({ "schemaId": ROW })), named("c", json!(null))];
    full.older = older(&all[2], "default", &all);
    check_refused(&all[2], &full, "TooManyTenants", &["2 tenants", "describe tenantschema a"]);
}

#[test]
fn a_new_tenant_may_not_ask_for_more_than_the_largest_quota_and_a_running_one_is_clamped() {
    let limit = json!({ "limits": { "maxQuota": "1Gi" } });
    let spec = json!({ "schemaName": "school", "quota": { "limit": "5Gi" } });
    check_refused(&new(spec.clone()), &resolved(limit.clone(), 0), "LimitExceeded", &["5Gi", "1Gi"]);
    let clamped = desired(&running(spec), &resolved(limit.clone(), 0)).unwrap();
    assert_eq!(clamped.quota.unwrap().limit.get(), 1 << 30);
    assert_eq!(clamped.effective.quota_limit.as_deref(), Some("1Gi"));
    let unlimited = desired(&new(json!({})), &resolved(limit, 0)).unwrap();
    assert_eq!(unlimited.quota.unwrap().limit.get(), 1 << 30, "no quota means the largest one");
}

#[test]
fn a_deletion_policy_that_is_not_allowed_gives_way_to_the_safest_that_is() {
    let limit = json!({ "limits": { "deletionPolicies": ["Retain", "BackupThenDrop"] } });
    let spec = json!({ "schemaName": "school", "deletionPolicy": "Drop" });
    check_refused(
        &new(spec.clone()),
        &resolved(limit.clone(), 0),
        "LimitExceeded",
        &["Drop", "Retain, BackupThenDrop"],
    );
    let clamped = desired(&running(spec), &resolved(limit, 0)).unwrap();
    assert_eq!(clamped.effective.deletion_policy.unwrap().as_str(), "BackupThenDrop");
}

#[test]
fn defaults_of_the_database_fill_field_by_field() {
    let defaults = json!({ "defaults": {
        "deletionPolicy": "Retain", "quota": { "limit": "2Gi", "warningPercent": 50 } } });
    let filled = desired(&new(json!({ "quota": { "warningPercent": 70 } })), &resolved(defaults, 0)).unwrap();
    assert_eq!(filled.effective.quota_limit.as_deref(), Some("2Gi"));
    assert_eq!(filled.warning_percent, 70);
    assert_eq!(filled.effective.deletion_policy.unwrap().as_str(), "Retain");
}
