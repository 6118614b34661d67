//! Tenants that come, stay and go.

use serde_json::{Value, json};
use tenant_schema_operator::{
    api::{ABANDON, CONFIRM_DROP, PAUSED, RECREATE, bound},
    contract::TenantAnswer,
    frame::{Kind, Leave},
    plan::Effect,
    tenant::{
        desired::{self, Removal},
        plan,
        resolve::{Reach, Resolved},
    },
};

use crate::{
    DELETED_AT, INSTITUTION, ROW, UID, annotated, answer, check, check_removal, deleted, resolved, row, tenant,
};

const OTHER: &str = "33333333-3333-4333-8333-333333333333";

fn school() -> tenant_schema_operator::api::TenantSchema {
    tenant(json!({ "schemaName": "school" }), json!(null))
}

fn claim(namespace: &str, name: &str) -> Value {
    json!({ "schema_id": OTHER, "schema_name": "school", "status": "active", "cluster": "cluster",
            "namespace": namespace, "name": name, "uid": OTHER, "taken_over": false })
}

#[test]
fn a_new_tenant_is_created_in_one_step() {
    check("create", &school(), &answer(json!({})));
}

#[test]
fn a_tenant_without_names_is_called_after_its_object() {
    check("create_default_name", &tenant(json!({}), json!(null)), &answer(json!({})));
}

#[test]
fn an_institution_with_quota_is_created_suspended_when_it_says_so() {
    let spec = json!({ "institutionId": INSTITUTION, "quota": { "limit": "5Gi" }, "access": "Suspended" });
    check("create_institution", &tenant(spec, json!(null)), &answer(json!({ "institution_known": true })));
}

#[test]
fn a_name_of_the_same_namespace_is_a_conflict_that_names_the_holder() {
    check("conflict_same_namespace", &school(), &answer(json!({ "name_holder": claim("team-a", "older") })));
}

#[test]
fn a_name_of_another_namespace_is_a_conflict_that_does_not_name_it() {
    check("conflict_other_namespace", &school(), &answer(json!({ "name_holder": claim("team-b", "secret") })));
}

#[test]
fn a_name_that_an_earlier_object_kept_is_a_conflict_that_says_so() {
    check("conflict_earlier_self", &school(), &answer(json!({ "name_holder": claim("team-a", "school") })));
}

#[test]
fn an_institution_of_another_tenant_is_a_conflict() {
    let asking = tenant(json!({ "institutionId": INSTITUTION }), json!(null));
    check("conflict_institution", &asking, &answer(json!({ "institution_holder": claim("team-b", "secret") })));
}

#[test]
fn a_schema_that_we_did_not_make_is_never_touched() {
    check("conflict_foreign_schema", &school(), &answer(json!({ "schema_exists": true })));
}

#[test]
fn a_schema_is_not_called_like_a_role() {
    check("conflict_role", &school(), &answer(json!({ "name_is_role": true })));
}

#[test]
fn a_tenant_that_is_as_it_should_be_plans_nothing() {
    check("unchanged", &school(), &answer(json!({ "own": row(json!({})), "schema_exists": true })));
}

#[test]
fn config_and_quota_change_in_one_step() {
    let spec = json!({ "schemaName": "school", "config": { "grade": 7 }, "quota": { "limit": "1Gi" } });
    check("change_config_and_quota", &tenant(spec, json!(null)), &answer(json!({ "own": row(json!({})) })));
}

#[test]
fn access_comes_before_a_config_that_the_database_may_refuse() {
    let spec = json!({ "schemaName": "school", "access": "Suspended", "config": { "grade": 7 } });
    check("suspend_and_set_config", &tenant(spec, json!(null)), &answer(json!({ "own": row(json!({})) })));
}

#[test]
fn a_config_that_is_invalid_holds_up_nothing_else() {
    let known = json!({ "schemaId": ROW, "schemaName": "school" });
    let spec = json!({
        "schemaName": "school", "access": "Suspended", "quota": { "limit": "1Gi" }, "config": { "note": "x\u{0}y" },
    });
    let kept = row(json!({ "config": { "grade": 7 } }));
    check("suspend_with_invalid_config", &tenant(spec, known), &answer(json!({ "own": kept })));
}

#[test]
fn a_tenant_is_suspended() {
    let spec = json!({ "schemaName": "school", "access": "Suspended" });
    check("suspend", &tenant(spec, json!(null)), &answer(json!({ "own": row(json!({})) })));
}

#[test]
fn a_suspended_tenant_is_resumed() {
    let suspended = row(json!({ "status": "suspended", "access": "Suspended" }));
    check("resume", &school(), &answer(json!({ "own": suspended })));
}

#[test]
fn drift_is_repaired_and_what_cannot_be_is_refused_with_the_statement() {
    let drift = json!([
        { "what": "USAGE on the schema was granted to public", "repairable": true, "statement": null },
        { "what": "the schema belongs to postgres", "repairable": false,
          "statement": "ALTER SCHEMA school OWNER TO school_222222222222_owner" },
    ]);
    check("drift", &school(), &answer(json!({ "own": row(json!({ "drift": drift })) })));
}

#[test]
fn a_schema_that_was_dropped_by_hand_is_not_made_again() {
    check("schema_missing", &school(), &answer(json!({ "own": row(json!({ "schema_exists": false })) })));
}

#[test]
fn a_schema_that_was_dropped_by_hand_is_made_again_on_request() {
    let asked = annotated(school(), RECREATE, &format!("school@{ROW}"));
    check("recreate", &asked, &answer(json!({ "own": row(json!({ "schema_exists": false })) })));
}

#[test]
fn a_request_to_make_it_again_counts_for_one_loss() {
    let again = answer(json!({ "own": row(json!({ "schema_exists": false, "recreations": 1 })) }));
    check("schema_missing_again", &annotated(school(), RECREATE, &format!("school@{ROW}")), &again);
    check("recreate", &annotated(school(), RECREATE, &format!("school@{ROW}+1")), &again);
}

#[test]
fn a_typo_or_the_name_alone_does_nothing() {
    for value in ["school", "schol", "", &format!("schol@{ROW}"), &format!("school@{OTHER}")] {
        let asked = annotated(school(), RECREATE, value);
        check("schema_missing", &asked, &answer(json!({ "own": row(json!({ "schema_exists": false })) })));
    }
}

#[test]
fn a_row_that_was_edited_by_hand_is_left_alone() {
    check("row_edited", &school(), &answer(json!({ "own": row(json!({ "schema_name": "other" })) })));
}

#[test]
fn a_tenant_that_was_dropped_is_never_created_again() {
    let grave = json!({ "schema_id": ROW, "location": "school_bak_20260101120000", "backup_state": "purged" });
    check("dropped", &school(), &answer(json!({ "tombstone": grave })));
}

#[test]
fn a_tenant_that_had_a_row_is_never_created_again() {
    let known = tenant(json!({ "schemaName": "school" }), json!({ "schemaId": ROW, "schemaName": "school" }));
    check("row_lost", &known, &answer(json!({})));
}

#[test]
fn a_deleted_tenant_is_set_aside() {
    check_removal("remove", &school(), &answer(json!({ "own": row(json!({})) })));
}

#[test]
fn a_deleted_tenants_jobs_end_first() {
    let jobs = json!([{ "job_id": OTHER, "kind": "snapshot", "state": "running", "backup_id": OTHER }]);
    check_removal("remove_with_jobs", &school(), &answer(json!({ "own": row(json!({ "jobs": jobs })) })));
}

#[test]
fn a_drop_that_was_not_confirmed_is_refused_with_the_command() {
    let drop = tenant(json!({ "schemaName": "school", "deletionPolicy": "Drop" }), json!(null));
    let measured = |at, bytes: Value, exact| {
        let measured = json!({ "at": at, "table_count": 2, "storage_bytes": bytes, "exact": exact });
        answer(json!({ "own": row(json!({ "measured": measured })) }))
    };
    let now = measured("2026-11-28T12:00:00Z", json!(81920), true);
    check_removal("drop_unconfirmed", &drop, &now);
    for value in [
        "school",
        "scool",
        &format!("scool@{ROW}.{UID}.{DELETED_AT}"),
        &format!("school@{OTHER}.{UID}.{DELETED_AT}"),
        &format!("school@{ROW}.{OTHER}.{DELETED_AT}"),
        &format!("school@{ROW}.{UID}"),
        &format!("school@{ROW}.2026-11-28T11:59:59Z"),
    ] {
        let confirmed = annotated(drop.clone(), CONFIRM_DROP, value);
        check_removal("drop_unconfirmed", &confirmed, &now);
    }
    check_removal("drop_unconfirmed_estimated", &drop, &measured("2026-11-28T12:00:00Z", json!(81920), false));
    check_removal("drop_unconfirmed_unknown_size", &drop, &measured("2026-11-28T12:00:00Z", json!(null), false));
    check_removal("drop_unconfirmed_unmeasured", &drop, &answer(json!({ "own": row(json!({})) })));

    // What was asked stays as it was put while the same would be lost, so that no status is written for the time alone.
    let removal = desired::removal(&deleted(&drop), &resolved(json!({}), 0));
    let asked = |told: Option<&str>, observed: &TenantAnswer| {
        let removal = Removal { told: told.map(str::to_owned), ..removal.clone() };
        match plan::plan_removal(&removal, &observed.clone().into()).effects.into_iter().next() {
            Some(Effect::Refuse { message, .. }) => message,
            other => panic!("not a question: {other:?}"),
        }
    };
    let first = asked(None, &now);
    assert!(first.contains("as of 2026-11-28T12:00:00Z"), "{first}");
    assert_eq!(asked(Some(&first), &measured("2026-11-29T12:00:00Z", json!(81920), true)), first);
    let with_word = format!("{first}; an annotation does nothing");
    assert_eq!(asked(Some(&with_word), &measured("2026-11-29T12:00:00Z", json!(81920), true)), first);
    let more = asked(Some(&first), &measured("2026-11-29T12:00:00Z", json!(90112), true));
    assert!(more.contains("(2 tables, 90112 bytes, as of 2026-11-29T12:00:00Z)"), "{more}");
}

#[test]
fn a_confirmed_drop_waits_until_everything_is_gone() {
    let drop = tenant(json!({ "schemaName": "school", "deletionPolicy": "Drop" }), json!(null));
    let unconfirmed = annotated(drop.clone(), CONFIRM_DROP, "school");
    let drop = annotated(drop, CONFIRM_DROP, &format!("school@{ROW}.{UID}.{DELETED_AT}"));
    check_removal("drop", &drop, &answer(json!({ "own": row(json!({})) })));
    let grave = |state| json!({ "schema_id": ROW, "backup_id": OTHER, "location": "school_bak_20261121000000", "backup_state": state });
    check_removal("drop_going_on", &drop, &answer(json!({ "tombstone": grave("purging") })));
    let held_up = |reason| {
        let mut grave = grave("purging");
        grave["held_up"] =
            json!({ "error": "large object 7 is in the way; as a superuser: SELECT lo_unlink(7)", "reason": reason });
        answer(json!({ "tombstone": grave }))
    };
    check_removal("drop_held_up", &drop, &held_up(json!("dependents")));
    check_removal("drop_held_up_by_a_lock", &drop, &held_up(json!(null)));
    // Roles that a stranger's grant keeps are the job's to end, and keep no object.
    let mut gone = held_up(json!("dependents"));
    gone.tombstone.as_mut().unwrap().schema_gone = true;
    check_removal("drop_done", &drop, &gone);
    check_removal("drop_going_on", &unconfirmed, &answer(json!({ "tombstone": grave("purging") })));
    check_removal("drop_done", &drop, &answer(json!({ "tombstone": grave("purged") })));
    // Set aside under another policy, and then only the policy was changed.
    check_removal("drop_done", &unconfirmed, &answer(json!({ "tombstone": grave("complete") })));
    check_removal("drop_of_what_was_set_aside", &drop, &answer(json!({ "tombstone": grave("complete") })));
    // Under another policy nothing of it is removed.
    check_removal("remove_nothing", &school(), &answer(json!({ "tombstone": grave("purging") })));
}

#[test]
fn a_deleted_loser_of_a_conflict_drops_nothing() {
    assert_ne!(UID, OTHER);
    check_removal("remove_nothing", &school(), &answer(json!({ "name_holder": claim("team-a", "older") })));
}

#[test]
fn what_is_retained_or_abandoned_goes_and_leaves_the_schema_as_it_is() {
    let own = answer(json!({ "own": row(json!({})) }));
    let retained = tenant(json!({ "schemaName": "school", "deletionPolicy": "Retain" }), json!(null));
    check_removal("retain", &retained, &own);
    check_removal("abandon", &annotated(school(), ABANDON, &bound("school", UID)), &own);
    check_removal("retain_taken_over", &retained, &answer(json!({ "own": row(json!({ "taken_over": true })) })));
}

/// `check(there may be a schema, whether its database can be asked, policy, expected)` of what a deleted tenant waits for.
fn check_leave(may_have_schema: bool, reach: Reach, policy: &str, expected: &str) {
    let tenant = deleted(&tenant(json!({ "schemaName": "school", "deletionPolicy": policy }), json!(null)));
    let leave = tenant.removal(&Resolved { may_have_schema, reach, ..resolved(json!({}), 0) });
    let found = match &leave {
        Leave::Nothing(_) => "goes",
        Leave::AsItIs(_) => "stays",
        Leave::Asked(_) => "asks",
        Leave::Abandoned(_) => "abandoned",
    };
    assert_eq!(found, expected, "{may_have_schema} {reach:?} {policy}");
}

#[test]
fn what_may_have_a_schema_waits_for_its_database_and_nothing_else_does() {
    for policy in ["BackupThenDrop", "Drop"] {
        for reach in [Reach::Reached, Reach::Unsettled, Reach::OutOfReach] {
            check_leave(true, reach, policy, "asks");
        }
        check_leave(false, Reach::Reached, policy, "asks");
        check_leave(false, Reach::Unsettled, policy, "asks");
        check_leave(false, Reach::OutOfReach, policy, "goes");
    }
    for reach in [Reach::Reached, Reach::OutOfReach] {
        check_leave(true, reach, "Retain", "stays");
    }
    check_leave(false, Reach::Unsettled, "Retain", "stays");
    check_leave(false, Reach::OutOfReach, "Retain", "goes");
}

/// `check(there may be a schema as far as is known, what the database has, paused)` of a deleted tenant with a pause.
fn check_pause(may_have_schema: bool, observed: &TenantAnswer, paused: bool) {
    let tenant = annotated(deleted(&school()), PAUSED, "true");
    let leave = tenant.removal(&Resolved { may_have_schema, ..resolved(json!({}), 0) });
    let plan = plan::plan_removal(leave.removal(), &observed.clone().into());
    assert_eq!(plan.paused, paused, "{may_have_schema} {plan}");
}

#[test]
fn a_pause_keeps_what_is_there_and_no_object_that_has_nothing() {
    check_pause(true, &answer(json!({})), true);
    check_pause(false, &answer(json!({})), false);
    check_pause(false, &answer(json!({ "own": row(json!({})) })), true);
}
