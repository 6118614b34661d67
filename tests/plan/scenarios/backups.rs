//! Backups that are asked for, followed and let go.

use serde_json::{Value, json};
use tenant_schema_operator::{api::SchemaBackup, contract::BackupAnswer};

use crate::{ROW, UID, check_backup, check_backup_removal, tenant};

pub(super) const BACKUP: &str = "44444444-4444-4444-8444-444444444444";

pub(super) fn backup(spec: &Value, status: Value) -> SchemaBackup {
    let mut full = json!({ "tenantSchemaRef": { "name": "school" } });
    crate::merge(&mut full, spec.clone());
    serde_json::from_value(json!({
        "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "SchemaBackup",
        "metadata": { "namespace": "team-a", "name": "before-exams", "uid": UID, "generation": 1 },
        "spec": full, "status": status,
    }))
    .unwrap()
}

pub(super) fn answer(state: Option<&str>, tenant: bool) -> BackupAnswer {
    let row = state.map(|state| {
        json!({
            "backup_id": BACKUP, "schema_id": ROW, "schema_name": "school", "method": "Snapshot",
            "location": "school_bak_20261121000000", "state": state, "started_at": null, "completed_at": null,
            "size_bytes": 8192, "table_count": 2, "row_count": 10, "checksum": "abc", "expires_at": null,
            "error": "permission denied",
        })
    });
    let claim = json!({ "schema_id": ROW, "schema_name": "school", "status": "active", "cluster": "cluster",
                        "namespace": "team-a", "name": "school", "uid": UID, "taken_over": false });
    serde_json::from_value(json!({ "backup": row, "job": null, "tenant": tenant.then_some(claim) })).unwrap()
}

#[test]
fn a_backup_is_requested_of_the_catalogue() {
    let school = tenant(json!({ "schemaName": "school" }), json!({ "schemaId": ROW }));
    let asked = backup(&json!({ "expireAfterDays": 30 }), json!(null));
    check_backup("backup_request", &asked, Some(school), &answer(None, true));
}

#[test]
fn a_backup_waits_for_its_tenant() {
    check_backup("backup_no_tenant", &backup(&json!({}), json!(null)), None, &answer(None, false));
    let school = tenant(json!({ "schemaName": "school" }), json!(null));
    check_backup("backup_no_schema", &backup(&json!({}), json!(null)), Some(school), &answer(None, false));
}

#[test]
fn a_backup_follows_its_catalogue_row() {
    let known = backup(&json!({}), json!({ "backupId": BACKUP }));
    for (state, file) in [
        ("requested", "backup_tried_again"),
        ("running", "backup_running"),
        ("complete", "backup_complete"),
        ("purged", "backup_expired"),
        ("failed", "backup_failed"),
        ("cancelled", "backup_cancelled"),
    ] {
        check_backup(file, &known, None, &answer(Some(state), false));
    }
    check_backup("backup_lost", &known, None, &answer(None, false));
}

#[test]
fn a_backup_that_waits_says_for_what() {
    let known = backup(&json!({}), json!({ "backupId": BACKUP }));
    for (file, own) in [("backup_queued", json!(null)), ("backup_queued_behind_its_own", json!("purge"))] {
        let mut queued = answer(Some("requested"), true);
        queued.backup.as_mut().unwrap().error = None;
        let waits = json!({ "own": own, "since": "2026-11-21T08:00:00.123Z" });
        let job = json!({ "job_id": BACKUP, "kind": "snapshot", "state": "requested", "waits": waits });
        queued.job = Some(serde_json::from_value(job).unwrap());
        check_backup(file, &known, None, &queued);
    }
}

#[test]
fn a_backup_that_is_applied_again_is_the_one_that_its_earlier_object_made() {
    let mut observed = answer(Some("complete"), true);
    let object = json!({ "cluster": "cluster", "namespace": "team-a", "name": "before-exams", "uid": BACKUP });
    observed.backup.as_mut().unwrap().object = Some(serde_json::from_value(object).unwrap());
    let school = tenant(json!({ "schemaName": "school" }), json!({ "schemaId": ROW }));
    check_backup("backup_adopt", &backup(&json!({}), json!(null)), Some(school.clone()), &observed);
    observed.backup.as_mut().unwrap().object.as_mut().unwrap().uid = UID.to_owned();
    check_backup("backup_complete", &backup(&json!({}), json!(null)), Some(school), &observed);
}

#[test]
fn a_deleted_backup_is_kept_removed_or_cancelled() {
    let kept = backup(&json!({}), json!({ "backupId": BACKUP }));
    let deleted = backup(&json!({ "deletionPolicy": "Delete" }), json!({ "backupId": BACKUP }));
    check_backup_removal("backup_keep", &kept, false, &answer(Some("complete"), false));
    check_backup_removal("backup_delete", &deleted, false, &answer(Some("complete"), false));
    check_backup_removal("backup_delete_going_on", &deleted, false, &answer(Some("purging"), false));
    for (file, reason) in [("backup_delete_held_up", json!("dependents")), ("backup_delete_waits", json!(null))] {
        let mut held_up = answer(Some("complete"), false);
        let job = json!({ "job_id": BACKUP, "kind": "purge", "state": "requested", "backup_id": BACKUP, "error": "in use", "reason": reason });
        held_up.job = Some(serde_json::from_value(job).unwrap());
        check_backup_removal(file, &deleted, false, &held_up);
    }
    check_backup_removal("backup_keep", &deleted, false, &answer(Some("purged"), false));
    let mut unknown = answer(Some("word_of_tomorrow"), false);
    check_backup_removal("backup_delete_unknown", &deleted, false, &unknown);
    let job = json!({ "job_id": BACKUP, "kind": "snapshot", "state": "running", "backup_id": BACKUP });
    unknown.job = Some(serde_json::from_value(job).unwrap());
    check_backup_removal("backup_delete_unknown", &deleted, false, &unknown);
    check_backup_removal("backup_keep", &kept, false, &answer(Some("word_of_tomorrow"), false));
    check_backup_removal("backup_cancel", &kept, false, &answer(Some("running"), false));
    // A user who deletes a namespace did not say that the backups may go.
    check_backup_removal("backup_keep", &deleted, true, &answer(Some("complete"), false));
}
