//! What bears a tenant's name and is not the tenant's; namespaces of the same name that are not the same.

use serde_json::{Value, json};
use tenant_schema_operator::api::{CONFIRM_DROP, RECLAIM, RECREATE};

use crate::{DELETED_AT, ROW, UID, annotated, answer, check, check_removal, merge, row, tenant};

const INSTALLATION: &str = "44444444-4444-4444-8444-444444444444";

fn school() -> tenant_schema_operator::api::TenantSchema {
    tenant(json!({ "schemaName": "school" }), json!(null))
}

fn claim(namespace: &str, name: &str) -> Value {
    json!({ "schema_id": INSTALLATION, "schema_name": name, "status": "active", "cluster": "cluster",
            "namespace": namespace, "name": name, "uid": INSTALLATION, "taken_over": false })
}

fn absent(absence: Value) -> Value {
    let mut facts = json!({ "text": "as the functions say it", "installation_id": INSTALLATION });
    merge(&mut facts, absence);
    json!({ "own": row(json!({ "schema_exists": false, "absence": facts })) })
}

#[test]
fn a_strangers_schema_is_named_and_left() {
    let replaced = answer(absent(json!({ "kind": "replaced", "owner": "postgres" })));
    check("absent_replaced", &school(), &replaced);
    check("absent_replaced", &annotated(school(), RECREATE, &format!("school@{ROW}")), &replaced);
    check_removal("absent_replaced_remove", &school(), &replaced);
    check("absent_unknown", &school(), &answer(absent(json!({ "kind": "unknown", "owner": "postgres" }))));
}

#[test]
fn a_renamed_schema_is_named_back_before_anything_else() {
    let renamed = answer(absent(json!({
        "kind": "renamed", "now": "Parked", "statement": "ALTER SCHEMA \"Parked\" RENAME TO school",
    })));
    check("absent_renamed", &school(), &renamed);
    check("absent_renamed", &annotated(school(), RECREATE, &format!("school@{ROW}")), &renamed);
    check_removal("absent_renamed_remove", &school(), &renamed);
    let drop = tenant(json!({ "schemaName": "school", "deletionPolicy": "Drop" }), json!(null));
    check_removal(
        "absent_renamed_remove",
        &annotated(drop, CONFIRM_DROP, &format!("school@{ROW}.{UID}.{DELETED_AT}")),
        &renamed,
    );
}

#[test]
fn after_a_restore_the_platform_team_binds_again() {
    let unbound = answer(absent(json!({ "kind": "unbound", "owner": "school_222222222222_owner" })));
    check("absent_unbound", &school(), &unbound);
    check_removal("absent_unbound_remove", &school(), &unbound);
}

#[test]
fn a_schema_that_is_gone_is_as_it_was() {
    check("schema_missing", &school(), &answer(absent(json!({ "kind": "dropped" }))));
    check_removal("remove", &school(), &answer(absent(json!({ "kind": "dropped" }))));
}

#[test]
fn who_asks_for_a_borrowed_name_is_told_whose_it_is() {
    let mut neighbour = claim("team-a", "library");
    neighbour["statement"] = json!("ALTER SCHEMA school RENAME TO library");
    check("conflict_borne", &school(), &answer(json!({ "bearer": neighbour, "schema_exists": true })));
    let mut foreign = claim("team-b", "library");
    foreign["statement"] = neighbour["statement"].clone();
    check("conflict_borne_elsewhere", &school(), &answer(json!({ "bearer": foreign, "schema_exists": true })));
}

#[test]
fn a_namespace_that_was_made_again_gets_nothing_of_the_former_ones() {
    let mut former = claim("team-a", "school");
    merge(&mut former, json!({ "namespace_uid": "another", "status": "released" }));
    let asked = annotated(school(), RECLAIM, "school");
    for tenant in [&school(), &asked] {
        check("stranger_holds", tenant, &answer(json!({ "name_holder": former })));
    }
    let left = json!({
        "backup_id": ROW, "location": "school_bak_20260101120000", "size_bytes": 1, "table_count": 2,
        "dropped_at": "2026-01-01T12:00:00Z", "state": "complete", "holder": former,
    });
    let begins = annotated(school(), RECREATE, &format!("school@{ROW}"));
    for tenant in [&school(), &asked, &begins] {
        check("stranger_left", tenant, &answer(json!({ "set_aside": left })));
    }
    former["namespace_uid"] = json!("uid-team-a");
    check("reclaim_living", &asked, &answer(json!({ "name_holder": former })));
}
