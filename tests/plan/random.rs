//! Objects and answers of the database at random: anything that may be, near what decides.

use serde_json::{Value, json};
use tenant_schema_operator::{
    api::{
        ABANDON, CONFIRM_ADOPT, CONFIRM_DROP, PAUSED, RECLAIM, RECREATE, REVOKE_CREDENTIALS, ROTATE_REQUESTED_AT,
        SchemaBackup, TenantSchema, bound, condition::Reason, deletion,
    },
    contract::{BackupAnswer, BackupState, RowStatus, TenantAnswer},
    tenant::credential::SecretSeen,
};
use uuid::Uuid;

use crate::{DELETED_AT, INSTITUTION, ROW, UID, merge, row};

const OTHER: &str = "33333333-3333-4333-8333-333333333333";
const BACKUP: &str = "44444444-4444-4444-8444-444444444444";

/// Choices that were thrown before. When all are used up the first of everything is chosen, so that a short list is a plain case.
pub struct Dice<'a>(pub &'a [u8]);

impl Dice<'_> {
    pub fn one_in(&mut self, sides: u8) -> bool {
        self.throw() % sides == 1
    }

    fn throw(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[usize::from(self.throw()) % all.len()].clone()
    }

    fn maybe(&mut self, sides: u8, value: impl FnOnce(&mut Self) -> Value) -> Value {
        if self.one_in(sides) { value(self) } else { Value::Null }
    }
}

/// A tenant's object, living or deleted.
pub fn tenant(dice: &mut Dice<'_>, is_deleted: bool) -> TenantSchema {
    let mut annotations = json!({});
    let deleted_at = DELETED_AT.parse().unwrap();
    for (key, value) in [
        (CONFIRM_DROP, bound("school", deletion(ROW, UID, deleted_at))),
        (ABANDON, bound("school", UID)),
        (RECLAIM, "school".to_owned()),
        (RECREATE, bound("school", ROW)),
        (RECREATE, bound("school", BACKUP)),
        (PAUSED, String::new()),
        (CONFIRM_ADOPT, "d1".to_owned()),
        (REVOKE_CREDENTIALS, "school".to_owned()),
        (ROTATE_REQUESTED_AT, "2026-12-30T00:00:00Z".to_owned()),
    ] {
        if dice.one_in(4) {
            annotations[key] = json!(value);
        }
    }
    let mut spec = json!({
        "schemaName": "school",
        "access": dice.of(&["ReadWrite", "ReadOnly", "Suspended"]),
        "deletionPolicy": dice.of(&["BackupThenDrop", "Drop", "Retain"]),
        "config": dice.of(&[json!({}), json!({ "color": "red" }), json!({ "note": "\u{0}" })]),
    });
    if dice.one_in(3) {
        merge(&mut spec, json!({ "institutionId": INSTITUTION }));
    }
    if dice.one_in(3) {
        merge(
            &mut spec,
            json!({ "quota": { "limit": "1Gi", "enforcement": dice.of(&["Report", "Block", "Suspend"]) } }),
        );
    }
    if dice.one_in(4) {
        merge(&mut spec, json!({ "existingSchema": "Adopt" }));
    }
    if dice.one_in(2) {
        merge(&mut spec, json!({ "connectionSecret": { "name": dice.of(&["school-db", "other-db"]) } }));
    }
    if dice.one_in(3) {
        merge(&mut spec, json!({ "migrationSecret": { "name": "school-owner" } }));
    }
    if dice.one_in(2) {
        let policy = json!({ "name": "own", "column": "user_id", "setting": "app.user_id" });
        merge(
            &mut spec,
            json!({ "rowLevelSecurity": { "mode": dice.of(&["Required", "BestEffort"]), "policies": [policy] } }),
        );
    }
    let status = dice.maybe(3, |dice| {
        let credentials = dice.maybe(2, published);
        let migration = dice.maybe(3, published);
        json!({
            "schemaId": dice.of(&[ROW, OTHER]), "schemaName": "school", "credentials": credentials, "migrationCredentials": migration,
        })
    });
    let deleted = is_deleted.then_some(DELETED_AT);
    serde_json::from_value(json!({
        "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantSchema", "spec": spec, "status": status,
        "metadata": { "namespace": "team-a", "name": "school", "uid": UID, "generation": 1, "annotations": annotations,
                      "deletionTimestamp": deleted },
    }))
    .unwrap()
}

/// What a status tells of a password.
fn published(dice: &mut Dice<'_>) -> Value {
    json!({
        "login": "school_app_a", "credentialId": dice.of(&[ROW, OTHER]), "secretName": "school-db", "secretUid": "uid-secret",
        "publishedTime": dice.of(&["2026-12-10T00:00:00Z", "2026-01-01T00:00:00Z"]), "secretRetention": dice.of(&["Owned", "Retained"]),
        "previousUntil": dice.maybe(2, |_| json!("2026-12-31T00:30:00Z")), "revoked": dice.maybe(2, |_| json!("school")),
    })
}

/// What the registry has of passwords.
fn credentials(dice: &mut Dice<'_>) -> Value {
    let of = dice.of(&[["connection"].as_slice(), &["migration"], &["connection", "migration"]]);
    of.iter().map(|purpose| credential(dice, purpose)).collect()
}

fn credential(dice: &mut Dice<'_>, purpose: &str) -> Value {
    let until = dice.maybe(2, |dice| json!(dice.of(&["2026-12-31T00:30:00Z", "2026-12-30T00:30:00Z"])));
    let time = |dice: &mut Dice<'_>| json!(dice.of(&["2026-12-30T00:00:00Z"]));
    json!({
        "purpose": purpose, "login": "school_app_a", "credential_id": dice.of(&[ROW, OTHER]), "issued_at": "2026-12-10T00:00:00Z",
        "previous_login": if until.is_null() { Value::Null } else { json!("school_app_b") }, "previous_until": until,
        "previous_closed_at": dice.maybe(4, time), "withdrawn_at": dice.maybe(4, time),
        "connection_limit": dice.of(&[20, 5]), "statement_timeout_seconds": 0, "idle_in_transaction_timeout_seconds": 300,
    })
}

/// What was seen of the Secret.
pub fn secret_seen(dice: &mut Dice<'_>) -> SecretSeen {
    dice.of(&[
        SecretSeen::NotLooked,
        SecretSeen::Same { uid: Some("uid-secret".to_owned()) },
        SecretSeen::Other,
        SecretSeen::Gone,
        SecretSeen::Refused { reason: Reason::SecretConflict, message: "it is there: choose another name".to_owned() },
    ])
}

/// What the database of a tenant says beside its connection.
pub fn database(dice: &mut Dice<'_>) -> Value {
    let mut spec = json!({});
    if dice.one_in(3) {
        let (from, to) =
            dice.of(&[(("team-b", "academy"), ("team-a", "school")), (("team-a", "school"), ("team-b", "academy"))]);
        spec["transfers"] = json!([{
            "schemaName": "school", "from": { "namespace": from.0, "name": from.1 }, "to": { "namespace": to.0, "name": to.1 },
        }]);
    }
    if dice.one_in(2) {
        spec["adoptable"] = json!([{ "pattern": dice.of(&["school", "other"]), "namespace": "team-a" }]);
    }
    if dice.one_in(4) {
        spec["institutions"] = json!({ "mode": "Require" });
    }
    spec
}

/// What the database answers about a tenant.
pub fn tenant_answer(dice: &mut Dice<'_>) -> TenantAnswer {
    let own = dice.maybe(2, own);
    let answer = json!({
        "own": own,
        "tombstone": dice.maybe(4, |dice| json!({
            "schema_id": ROW, "backup_id": BACKUP, "location": "school_bak_20260101120000",
            "backup_state": dice.maybe(2, |dice| json!(dice.of(BackupState::ALL))), "schema_gone": dice.one_in(2),
            "held_up": dice.maybe(3, |dice| json!({
                "error": "in use", "reason": dice.maybe(2, |dice| json!(dice.of(&["dependents", "internal", "word_of_tomorrow"]))),
            })),
        })),
        "name_holder": dice.maybe(3, claim),
        "institution_holder": dice.maybe(4, claim),
        "schema_exists": dice.one_in(2),
        "bearer": dice.maybe(6, |dice| {
            let mut bearer = claim(dice);
            merge(&mut bearer, json!({ "statement": "ALTER SCHEMA school RENAME TO library" }));
            bearer
        }),
        "name_is_role": dice.one_in(4),
        "institution_known": dice.one_in(2),
        "institution_status": dice.maybe(2, |dice| json!(dice.of(&["active", "suspended", "closed", "merged"]))),
        "institution_problem": dice.maybe(4, |_| json!("permission denied")),
        "set_aside": dice.maybe(3, |dice| json!({
            "backup_id": BACKUP, "location": "school_bak_20260101120000", "size_bytes": 1024, "table_count": 3,
            "dropped_at": "2026-01-01T12:00:00Z", "state": dice.of(&["complete", "purging"]), "holder": claim(dice),
        })),
        "known": dice.maybe(3, claim),
        "adoption": dice.maybe(2, adoption),
    });
    let mut answer: TenantAnswer = serde_json::from_value(answer).unwrap();
    if let Some(holder) = &mut answer.name_holder {
        holder.gone = dice.one_in(2);
    }
    answer
}

/// What there is to adopt.
fn adoption(dice: &mut Dice<'_>) -> Value {
    let is_left = dice.one_in(2);
    let digest = dice.of(&["d1", "d2"]);
    dice.of(&[
        json!({ "state": "nothing" }),
        json!({ "state": "nothing", "moved": 1, "total": 2 }),
        json!({ "state": "refused", "why": "it is a backup" }),
        json!({ "state": "begun", "moved": 1, "total": 2 }),
        json!({ "state": "hand_made", "institution_id": INSTITUTION, "access": "ReadOnly", "digest": digest }),
        json!({ "state": "hand_made", "institution_id": null, "access": "ReadWrite", "digest": digest }),
        json!({
            "state": "pending", "total": 2, "more_owners": 0, "is_left": is_left, "more_statements": 0, "kept": 1, "taken": ["PUBLIC"],
            "owners": [{ "owner": "app", "count": 2, "way": "take", "kinds": [{ "kind": "table", "count": 2 }] }],
            "statements": if is_left { json!(["GRANT app TO owner"]) } else { json!([]) }, "outside": null, "definers": 0,
            "digest": digest,
        }),
    ])
}

fn own(dice: &mut Dice<'_>) -> Value {
    let drift = dice.of(&[
        json!([]),
        json!([{ "what": "a role lacks USAGE", "repairable": true, "statement": null }]),
        json!([{ "what": "it belongs to postgres", "repairable": false, "statement": "ALTER SCHEMA school OWNER TO owner" }]),
    ]);
    let absence = dice.maybe(3, |dice| json!({
        "kind": dice.of(&["dropped", "renamed", "replaced", "unknown", "unbound"]), "text": "it is not there",
        "now": "parked", "statement": "ALTER SCHEMA parked RENAME TO school", "owner": "postgres", "installation_id": BACKUP,
    }));
    let jobs =
        dice.maybe(2, |_| json!([{ "job_id": BACKUP, "kind": "snapshot", "state": "running", "backup_id": BACKUP }]));
    row(json!({
        "schema_name": dice.of(&["school", "school", "school", "library"]),
        "status": dice.of(&["active", "suspended", "active", "released", "dropping", "dropped", "word_of_tomorrow"]),
        "access": dice.of(&["ReadWrite", "WriteBlocked", "ReadOnly", "Suspended"]), "taken_over": dice.one_in(3), "drift": drift,
        "access_cause": dice.of(&[json!(null), json!("Spec"), json!("Quota"), json!("Institution")]),
        "storage_bytes": dice.of(&[0, 1_000_000_000, 1_060_000_000, 2_000_000_000]),
        "schema_exists": !dice.one_in(3), "absence": absence, "jobs": if jobs.is_null() { json!([]) } else { jobs },
        "institution_id": dice.maybe(5, |_| json!(INSTITUTION)),
        "institution_status": dice.maybe(2, |dice| json!(dice.of(&["active", "suspended", "closed", "merged"]))),
        "config": dice.of(&[json!({}), json!({ "color": "blue" })]),
        "credentials": dice.maybe(2, credentials),
        "row_security": dice.maybe(2, row_security),
    }))
}

fn row_security(dice: &mut Dice<'_>) -> Value {
    let open = json!([{ "what": "view school.v reads with the rights of its owner", "statement": null }]);
    json!({ "mode": dice.of(&["Required", "BestEffort"]), "digest": "another", "tables": 2,
            "uncovered": dice.of(&[json!([]), open]), "uncovered_count": 1, "forced": [] })
}

fn claim(dice: &mut Dice<'_>) -> Value {
    let (namespace, name, uid) = dice.of(&[
        (Some("team-a"), Some("school"), Some(OTHER)),
        (Some("team-a"), Some("older"), Some(OTHER)),
        (Some("team-b"), Some("academy"), Some(OTHER)),
        (None, None, None),
    ]);
    json!({
        "schema_id": dice.of(&[ROW, OTHER]), "schema_name": dice.of(&["school", "library"]), "status": dice.of(RowStatus::ALL),
        "cluster": dice.of(&["cluster", "another"]), "namespace": namespace, "name": name, "uid": uid,
        "namespace_uid": dice.of(&[Some("uid-team-a"), None, Some("uid-before")]), "taken_over": dice.one_in(4),
    })
}

/// A backup's object, living or deleted.
pub fn backup(dice: &mut Dice<'_>, is_deleted: bool) -> SchemaBackup {
    let spec = json!({ "tenantSchemaRef": { "name": "school" }, "deletionPolicy": dice.of(&["Retain", "Delete"]),
                       "method": dice.of(&["Snapshot", "Archive"]) });
    let annotations = if dice.one_in(4) { json!({ ABANDON: bound("before-exams", UID) }) } else { json!({}) };
    serde_json::from_value(json!({
        "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "SchemaBackup", "spec": spec,
        "metadata": { "namespace": "team-a", "name": "before-exams", "uid": UID, "generation": 1, "annotations": annotations,
                      "deletionTimestamp": is_deleted.then_some(DELETED_AT) },
        "status": dice.maybe(2, |_| json!({ "backupId": BACKUP })),
    }))
    .unwrap()
}

/// What the catalogue answers about a backup.
pub fn backup_answer(dice: &mut Dice<'_>) -> BackupAnswer {
    let states: Vec<_> = BackupState::ALL.iter().copied().chain(["word_of_tomorrow"]).collect();
    serde_json::from_value(json!({
        "backup": dice.maybe(2, |dice| json!({
            "backup_id": BACKUP, "schema_id": ROW, "schema_name": "school",
            "method": dice.of(&["Snapshot", "Archive"]), "location": dice.maybe(2, |_| json!("school_bak_20261121000000")), "state": dice.of(&states), "started_at": null,
            "completed_at": null, "size_bytes": 8192, "table_count": 2, "row_count": 10, "checksum": "abc", "expires_at": null,
            "error": dice.maybe(2, |_| json!("permission denied")),
            "object": dice.maybe(2, |dice| json!({ "cluster": "cluster", "namespace": "team-a", "name": "before-exams",
                                                   "uid": dice.of(&[UID, OTHER]) })),
        })),
        "job": dice.maybe(2, |dice| json!({
            "job_id": Uuid::nil(), "kind": dice.of(&["snapshot", "purge", "archive", "remove_archive"]), "state": "running",
            "error": dice.maybe(3, |_| json!("in use")), "reason": dice.maybe(3, |_| json!("dependents")),
            "waits": dice.maybe(3, |_| json!({ "own": null, "since": "2026-11-21T08:00:00Z" })),
        })),
        "tenant": dice.maybe(2, claim),
    }))
    .unwrap()
}
