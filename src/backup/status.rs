//! Stage 6: what a person reads of a backup. Pure.

use jiff::Timestamp;

use super::{desired::Removal, observe::Observed};

use crate::{
    api::{
        SchemaBackup, SchemaBackupStatus,
        command::Kind,
        condition::{ConditionType, Readiness, Reason, Verdict, find, newly, put_beside, summary, whole_seconds},
        event::EventReason,
        in_vain,
        schema_backup::{BackupMethod, Verification},
    },
    contract::{BackupRow, BackupState, Call},
    frame::{Notice, Pass, Told, chain},
    plan::{Applied, End},
    quantity::human,
    text::count,
};

/// What a person reads of a pass.
#[must_use]
pub fn told(backup: &SchemaBackup, pass: &Pass<'_, SchemaBackup>, now: Timestamp) -> Told<SchemaBackupStatus> {
    let as_it_was = || backup.status.clone().unwrap_or_default();
    let plain = |verdict: &Verdict| finish(backup, as_it_was(), verdict, now);
    let status = match pass {
        Pass::Invalid(invalid) => plain(&Verdict::of(invalid.reason, &invalid.message, false)),
        Pass::Waits { message, .. } => plain(&unavailable(message)),
        Pass::Blocked { removal, why } => plain(&blocked(removal, why)),
        Pass::Failed { failed, .. } if failed.is_crowded() => {
            plain(&Verdict::of(Reason::ProgressingWithRetry, chain(*failed), Readiness::Kept))
        }
        Pass::Failed { failed, .. } => plain(&failed.verdict()),
        Pass::Paused { plan, .. } => plain(&Verdict::of(Reason::Paused, plan.to_string(), Readiness::Kept)),
        Pass::Left { .. } | Pass::Applied { observed: Observed { settled: true, .. }, .. } => as_it_was(),
        Pass::Applied { observed, applied, database, .. } => status(backup, observed, applied, database, now),
    };
    let news = news(backup, &status);
    Told { status, done: Vec::new(), news, due: None }
}

fn unavailable(message: &str) -> Verdict {
    Verdict::of(Reason::DatabaseUnavailable, message, Readiness::Kept)
}

/// The database cannot be asked: the object stays until it can, or until a user lets it go.
fn blocked(removal: &Removal, why: &str) -> Verdict {
    let since = removal.deleted_at.map_or_else(String::new, |at| at.to_string());
    unavailable(&format!(
        "deletion waits since {since} for the database ({why}) and goes on by itself; to let go and leave the backup in the \
         database: {}",
        removal.abandon()
    ))
}

/// The status after a plan was applied.
fn status(
    backup: &SchemaBackup,
    observed: &Observed,
    applied: &Applied,
    database: &str,
    now: Timestamp,
) -> SchemaBackupStatus {
    let answer = &observed.answer;
    let mut status = backup.status.clone().unwrap_or_default();
    let requested = applied.text(&Call::RequestBackup, "backup_id");
    if answer.backup.is_some() || requested.is_some() {
        status.database_ref = Some(database.to_owned());
    }
    if let Some(row) = &answer.backup {
        status.backup_id = Some(row.backup_id.to_string());
        status.schema_id = Some(row.schema_id.to_string());
        status.method = BackupMethod::of(&row.method);
        status.location.clone_from(&row.location);
        status.start_time = row.started_at.map(whole_seconds);
        status.completion_time = row.completed_at.map(whole_seconds);
        status.size = row.size_bytes.map(|bytes| human(bytes.unsigned_abs()));
        status.size_bytes = row.size_bytes;
        status.table_count = row.table_count;
        status.row_count = row.row_count;
        status.checksum.clone_from(&row.checksum);
        status.store.clone_from(&row.store);
        status.verified_time = row.verified_at.map(whole_seconds);
        status.verified_how.clone_from(&row.verified_how);
        status.expire_time = row.expires_at.map(whole_seconds);
    } else if let Some(id) = requested {
        status.backup_id = Some(id.to_owned());
        status.schema_id = answer.tenant.as_ref().map(|tenant| tenant.schema_id.to_string());
    }
    let proof = answer.backup.as_ref().and_then(|row| proof(row, observed.asked));
    let unproved = proof.as_ref().is_some_and(|proof| !matches!(proof.reason(), Reason::Restored | Reason::ReadBack));
    put_beside(
        proof.as_ref(),
        ConditionType::Verified,
        &mut status.conditions,
        backup.metadata.generation.unwrap_or_default(),
        now,
    );
    let verdict = verdict(answer.backup.as_ref(), &applied.end);
    let beside = if unproved { "; not all was proved that was asked for: see the condition Verified" } else { "" };
    finish(backup, status, &verdict.adding(beside), now)
}

/// How far an archive was proved, while it is there and that is asked for.
fn proof(row: &BackupRow, asked: Option<Verification>) -> Option<Verdict> {
    let asked = asked.map(Verification::as_str).or(row.verification.as_deref());
    if !row.is_archive() || row.state != BackupState::Complete {
        return None;
    }
    let how = || row.verified_how.clone().unwrap_or_default();
    let not = |reason, message: String| Some(Verdict::of(reason, message, false));
    let is_restored = row.verified_by.as_deref() == Some(Verification::Restore.as_str());
    match (&row.unproved, row.verified_at.is_some()) {
        (Some(why), false) => {
            not(Reason::RestoreFailed, format!("{why}; the archive itself was read back and is whole"))
        }
        (Some(why), true) => not(Reason::NotRestored, format!("not restored, since {why}; {}", how())),
        (None, true) if asked == Some(Verification::Restore.as_str()) && !is_restored => not(
            Reason::NotRestored,
            format!("not restored, since the archive was made before that was asked for; {}", how()),
        ),
        (None, true) => Some(Verdict::of(if is_restored { Reason::Restored } else { Reason::ReadBack }, how(), true)),
        (None, false) if asked.is_none_or(|asked| asked == Verification::None.as_str()) => None,
        (None, false) => {
            not(Reason::NotReadBack, "the archive was made before it was asked to be read back".to_owned())
        }
    }
}

/// What a user who watches Events would like to know.
fn news(backup: &SchemaBackup, new: &SchemaBackupStatus) -> Vec<Notice> {
    let old = backup.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let ready = |conditions| find(conditions, ConditionType::Ready).is_some_and(|found| found.status == "True");
    let mut notices = Vec::new();
    if !ready(old)
        && ready(&new.conditions)
        && let Some(condition) = find(&new.conditions, ConditionType::Ready)
    {
        notices.push(Notice { reason: EventReason::BackupCompleted, message: condition.message.clone() });
    }
    let unproved = |conditions| find(conditions, ConditionType::Verified).filter(|found| found.status == "False");
    if let Some(condition) = unproved(&new.conditions)
        && unproved(old).is_none()
    {
        let message = format!("{}: {}", condition.reason, condition.message);
        notices.push(Notice { reason: EventReason::BackupNotProved, message });
    }
    if let Some(condition) = newly(old, &new.conditions, ConditionType::Stalled) {
        let deleted = backup.metadata.deletion_timestamp.is_some();
        let reason = if deleted { EventReason::Stalled } else { EventReason::BackupFailed };
        notices.push(Notice { reason, message: condition.message.clone() });
    }
    notices
}

fn verdict(row: Option<&BackupRow>, end: &End) -> Verdict {
    if let Some(verdict) = end.verdict(Readiness::False) {
        return verdict;
    }
    match row {
        // The backup lived as long as was asked; a GitOps pipeline that still has it is not in error.
        Some(row) if matches!(row.state, BackupState::Purging | BackupState::Purged) => {
            let what = if row.is_archive() && row.state == BackupState::Purging {
                "the backup expired and is being removed from its store"
            } else if row.kept_by_store {
                "the backup expired; its store lets nothing be deleted, so its files are there until the store removes them"
            } else {
                "the backup expired and was removed"
            };
            Verdict::of(Reason::Expired, format!("{what}; delete this object"), true)
        }
        Some(row) => Verdict::of(
            Reason::Completed,
            format!(
                "{} {} holds {} and {} of schema {}{}",
                if row.is_archive() { "archive" } else { "schema" },
                row.location.as_deref().unwrap_or_default(),
                count(i64::from(row.table_count.unwrap_or_default()), "table"),
                count(row.row_count.unwrap_or_default(), "row"),
                row.schema_name,
                row.verified_how.as_ref().map_or_else(String::new, |how| format!("; {how}"))
            ),
            true,
        ),
        None => Verdict::of(Reason::Progressing, "being looked at", false),
    }
}

fn finish(
    backup: &SchemaBackup,
    mut status: SchemaBackupStatus,
    verdict: &Verdict,
    now: Timestamp,
) -> SchemaBackupStatus {
    let generation = backup.metadata.generation.unwrap_or_default();
    let verdict = verdict.clone().adding(&in_vain(&backup.metadata, &Kind::SchemaBackup, verdict.message()));
    status.conditions = verdict.conditions(&status.conditions, generation, now);
    status.summary = summary(&status.conditions);
    status.observed_generation = Some(generation);
    status
}
