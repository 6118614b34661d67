//! Backups that go into the store of their database.

use serde_json::{Value, json};
use tenant_schema_operator::{
    api::{SchemaBackup, TenantSchema, schema_backup::Verification},
    backup::observe::Observed,
    contract::BackupAnswer,
    frame::{Kind, Wish},
};

use super::backups::{BACKUP, answer, backup};
use crate::{ROW, backup_resolved, check_backup, check_backup_removal, golden, merge, seen, tenant};

const KEY: &str = "33333333-3333-4333-8333-333333333333/22222222-2222-4222-8222-222222222222/\
                   44444444-4444-4444-8444-444444444444/66666666-6666-4666-8666-666666666666.dump.zst.age";

fn archive(spec: Value, status: Value) -> SchemaBackup {
    let mut full = json!({ "method": "Archive" });
    merge(&mut full, spec);
    backup(&full, status)
}

/// What the catalogue says of an archive in this state.
fn of_archive(state: &str, change: Value) -> BackupAnswer {
    let is_there = matches!(state, "complete" | "purging" | "purged");
    let mut row = json!({
        "backup_id": BACKUP, "schema_id": ROW, "schema_name": "school", "method": "Archive", "state": state,
        "location": is_there.then_some(KEY), "started_at": null, "completed_at": null, "size_bytes": is_there.then_some(8192),
        "table_count": is_there.then_some(2), "row_count": is_there.then_some(10), "checksum": is_there.then_some("abc"),
        "expires_at": null, "error": null, "store": is_there.then_some("s3://archives/prod"), "verification": "Checksum",
        "verified_at": is_there.then_some("2026-11-28T11:00:00.7Z"),
        "verified_how": is_there.then_some("read back: length and SHA-256 are right, and pg_restore lists 12 entries in it"),
    });
    merge(&mut row, change);
    serde_json::from_value(json!({ "backup": row, "job": null, "tenant": null })).unwrap()
}

fn check_without_store(file: &str, backup: &SchemaBackup, tenant: Option<TenantSchema>, answer: BackupAnswer) {
    let desired = backup.desired(&backup_resolved(tenant, false)).unwrap();
    let why = "TenantDatabase default has no spec.backupStore, so nothing is archived";
    let observed = Observed { no_store: Some(why.into()), ..answer.into() };
    golden(file, &seen(backup, Wish::Keep(&desired), &observed));
}

#[test]
fn an_archive_is_requested_of_the_catalogue() {
    let school = || Some(tenant(json!({ "schemaName": "school" }), json!({ "schemaId": ROW })));
    let asked = archive(json!({ "expireAfterDays": 30, "verification": "None" }), json!(null));
    check_backup("archive_request", &asked, school(), &answer(None, true));
    // The catalogue keeps the request until there is a store.
    check_without_store("archive_request", &asked, school(), answer(None, true));
}

#[test]
fn an_archive_that_waits_says_for_what() {
    let known = archive(json!({}), json!({ "backupId": BACKUP }));
    let tried = json!({ "error": "the archive could not be written: the store is full: s3://archives/prod" });
    check_without_store("archive_no_store", &known, None, of_archive("requested", json!({})));
    // What the store says now is newer than what an attempt said.
    check_without_store("archive_no_store", &known, None, of_archive("requested", tried.clone()));
    check_backup("archive_tried_again", &known, None, &of_archive("requested", tried));
    let mut queued = of_archive("requested", json!({}));
    let waits = json!({ "own": "snapshot", "since": "2026-11-21T08:00:00.123Z" });
    let job = json!({ "job_id": BACKUP, "kind": "archive", "state": "requested", "waits": waits });
    queued.job = Some(serde_json::from_value(job).unwrap());
    check_backup("archive_queued_behind_its_own", &known, None, &queued);
}

#[test]
fn an_archive_follows_its_catalogue_row() {
    let known = archive(json!({}), json!({ "backupId": BACKUP }));
    check_backup("archive_running", &known, None, &of_archive("running", json!({})));
    check_backup("archive_complete", &known, None, &of_archive("complete", json!({})));
    let unproved = json!({ "verification": "None", "verified_at": null, "verified_how": null });
    check_backup("archive_complete_unverified", &known, None, &of_archive("complete", unproved));
    let failed =
        json!({ "error": "the archive was written, and read back it is not that: it has 12 bytes and should have 13" });
    check_backup("archive_failed", &known, None, &of_archive("failed", failed));
    check_backup("archive_expired", &known, None, &of_archive("purged", json!({})));
    let kept = of_archive("purged", json!({ "kept_by_store": true }));
    check_backup("archive_expired_and_kept", &known, None, &kept);
    // One that is there needs no store to be told.
    check_without_store("archive_complete", &known, None, of_archive("complete", json!({})));
}

#[test]
fn how_far_an_archive_was_proved_is_a_condition() {
    let known = archive(json!({ "verification": "Restore" }), json!({ "backupId": BACKUP }));
    let check = |file: &str, change: Value| {
        let desired = known.desired(&backup_resolved(None, false)).unwrap();
        let observed = Observed { asked: Some(Verification::Restore), ..of_archive("complete", change).into() };
        golden(file, &seen(&known, Wish::Keep(&desired), &observed));
    };
    let how = "read back, and restored into a scratch database in 3 s: 2 tables with 10 rows hold what was archived";
    check("archive_restored", json!({ "verified_by": "Restore", "verified_how": how }));
    let why = "objects in it need what is in other schemas, among that table hub.institutions";
    check("archive_not_restored", json!({ "verified_by": "Checksum", "unproved": why }));
    let why = "pg_restore failed: relation \"pupils\" does not exist";
    check("archive_restore_failed", json!({ "verified_at": null, "verified_how": null, "unproved": why }));
    // What was made before this object asked for more.
    check("archive_made_before", json!({ "verification": "Checksum", "verified_by": "Checksum" }));
    let bare = json!({ "verification": "None", "verified_at": null, "verified_how": null });
    check("archive_made_before_any", bare);
    // Of what is gone nothing is proved.
    check_backup(
        "archive_restored_and_expired",
        &known,
        None,
        &of_archive("purged", json!({ "verified_by": "Restore" })),
    );
}

#[test]
fn an_archive_that_cannot_be_read_is_not_begun_when_it_is_to_be_restored() {
    let school = || Some(tenant(json!({ "schemaName": "school" }), json!({ "schemaId": ROW })));
    let check = |file: &str, verification: &str| {
        let asked = archive(json!({ "verification": verification }), json!(null));
        let desired = asked.desired(&backup_resolved(school(), false)).unwrap();
        let observed = Observed { no_identity: true, ..answer(None, true).into() };
        golden(file, &seen(&asked, Wish::Keep(&desired), &observed));
    };
    check("archive_no_identity", "Restore");
    let waits = archive(json!({ "verification": "Restore" }), json!(null));
    check_without_store("archive_restored_waits", &waits, school(), answer(None, true));
    check("archive_request_checksum", "Checksum");
}

#[test]
fn a_deleted_archive_is_kept_removed_or_cancelled() {
    let kept = archive(json!({}), json!({ "backupId": BACKUP }));
    let deleted = archive(json!({ "deletionPolicy": "Delete" }), json!({ "backupId": BACKUP }));
    check_backup_removal("backup_keep", &kept, false, &of_archive("complete", json!({})));
    check_backup_removal("archive_delete", &deleted, false, &of_archive("complete", json!({})));
    let mut waits = of_archive("purging", json!({}));
    let error = "the store cannot be reached or is not well: deleting s3://archives/prod/x: 503";
    let job = json!({ "job_id": BACKUP, "kind": "remove_archive", "state": "requested", "backup_id": BACKUP, "error": error });
    waits.job = Some(serde_json::from_value(job).unwrap());
    check_backup_removal("archive_delete_waits", &deleted, false, &waits);
    let mut running = of_archive("running", json!({}));
    let job = json!({ "job_id": BACKUP, "kind": "archive", "state": "running", "backup_id": BACKUP });
    running.job = Some(serde_json::from_value(job).unwrap());
    check_backup_removal("archive_cancel", &kept, false, &running);
    // What a failed attempt left in the store is removed without the object.
    check_backup_removal("backup_keep", &deleted, false, &of_archive("failed", json!({})));
    check_backup_removal("backup_keep", &deleted, true, &of_archive("complete", json!({})));
}
