//! Stage 4: what to do. Pure and total.

use super::{
    desired::{Desired, Removal, no_tenant},
    observe::Observed,
};
use crate::{
    api::{
        RECONCILE_REQUESTED_AT,
        command::{Object, Verb},
        condition::Reason,
        schema_backup::{BackupMethod, Verification},
    },
    contract::{BackupRow, BackupState, Caller, JobKind, JobRow, JobWaits, ObjectKind, Owner, Step},
    plan::{Effect, Plan, Running, reason_of},
};

/// Plans a backup that is wanted.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed) -> Plan {
    let answer = &observed.answer;
    let effects = match &answer.backup {
        _ if observed.settled => Vec::new(),
        Some(row) => adopt(desired, row).into_iter().chain(follow(desired, row, observed)).collect(),
        None => start(desired, observed),
    };
    of(&desired.object, desired.tenant.as_ref().map(|tenant| tenant.uid.clone()), effects)
}

/// Plans the end of a backup's object.
#[must_use]
pub fn plan_removal(removal: &Removal, observed: &Observed) -> Plan {
    let effects = match &observed.answer.backup {
        None => vec![Effect::Release],
        Some(row) => finish(removal, row, observed),
    };
    of(&removal.object, None, effects)
}

fn start(desired: &Desired, observed: &Observed) -> Vec<Effect> {
    if let Some(id) = desired.known {
        let message = format!("the catalogue has no backup {id} any more; {}", make_another(desired));
        return vec![Effect::refuse(Reason::Failed, message)];
    }
    if desired.is_of_another {
        let message = format!(
            "a schedule of an earlier TenantSchema {} asked for it, which is gone with what it had; delete this object",
            desired.tenant_name
        );
        return vec![Effect::refuse(Reason::Failed, message)];
    }
    if desired.method == BackupMethod::Archive && desired.verification == Verification::Restore {
        // Whether it could be proved is known of a store that was looked at.
        if let Some(why) = &observed.no_store {
            return vec![no_store(why)];
        }
        if observed.no_identity {
            return vec![Effect::refuse(Reason::IdentityMissing, no_identity(desired))];
        }
    }
    let Some(tenant) = observed.answer.tenant.as_ref().filter(|_| desired.tenant.is_some()) else {
        return vec![Effect::wait(Reason::TenantNotFound, no_tenant(desired))];
    };
    vec![
        Effect::Steps(vec![Step::RequestBackup {
            schema_id: tenant.schema_id,
            object: desired.object.clone(),
            object_kind: ObjectKind::SchemaBackup,
            method: desired.method,
            verification: (desired.method == BackupMethod::Archive).then_some(desired.verification),
            expire_after_days: desired.expire_after_days,
            scheduled: desired.scheduled.clone(),
            schema_name: tenant.schema_name.clone(),
        }]),
        running(desired.method),
    ]
}

fn no_store(why: &str) -> Effect {
    Effect::wait(Reason::StoreUnavailable, format!("the archive waits for its store: {why}"))
}

fn no_identity(desired: &Desired) -> String {
    let Owner { namespace, name, .. } = &desired.object;
    let object = Object::backup(namespace, name);
    format!(
        "the archive is to be restored to prove it (verification: Restore), and the operator has no identity that reads it; let \
         spec.backupStore.encryption.identitySecretRef of the TenantDatabase name a Secret with one, then: {}; or, for one that is proved by \
         its checksum: {}, and apply its manifest with verification: Checksum",
        object.annotate(RECONCILE_REQUESTED_AT, "<now>".to_owned()),
        object.to(Verb::Delete),
    )
}

/// A backup that an earlier object of the same names asked for becomes this one's, so that a manifest which is applied
/// again makes no second backup.
fn adopt(desired: &Desired, row: &BackupRow) -> Option<Effect> {
    let is_earlier = row.object.as_ref().is_some_and(|object| object.uid != desired.object.uid);
    let adopt = || Step::AdoptBackup { backup_id: row.backup_id, object: desired.object.clone() };
    is_earlier.then(|| Effect::Steps(vec![adopt()]))
}

/// How a user gets the backup that this object cannot have.
fn make_another(desired: &Desired) -> String {
    let Owner { namespace, name, .. } = &desired.object;
    let command = Object::backup(namespace, name).to(Verb::Delete);
    format!("make another, which needs another object: {command}, and apply its manifest again")
}

/// A backup that the catalogue has: its row says how far it is.
fn follow(desired: &Desired, row: &BackupRow, observed: &Observed) -> Vec<Effect> {
    match &row.state {
        BackupState::Complete | BackupState::Purging | BackupState::Purged | BackupState::Restored => Vec::new(),
        BackupState::Failed => vec![Effect::refuse(
            Reason::Failed,
            format!(
                "the backup of TenantSchema {} could not be made: {}; when that is mended, {}",
                desired.tenant_name,
                row.error.as_deref().unwrap_or("the operation log has the reason"),
                make_another(desired)
            ),
        )],
        BackupState::Cancelled => vec![Effect::refuse(
            Reason::Cancelled,
            format!(
                "the backup of TenantSchema {} was cancelled, by hand or because the tenant was deleted; {}",
                desired.tenant_name,
                make_another(desired)
            ),
        )],
        BackupState::Requested if observed.no_store.is_some() => {
            vec![no_store(observed.no_store.as_deref().unwrap_or_default())]
        }
        BackupState::Requested if row.error.is_some() => vec![Effect::wait(
            Reason::ProgressingWithRetry,
            format!("an attempt failed and another follows: {}", row.error.as_deref().unwrap_or_default()),
        )],
        BackupState::Requested | BackupState::Running | BackupState::Other(_) => {
            let waits = observed.answer.job.as_ref().and_then(|job| job.waits.as_ref());
            vec![waits.map_or_else(|| running(desired.method), |waits| queued(desired.method, waits))]
        }
    }
}

fn finish(removal: &Removal, row: &BackupRow, observed: &Observed) -> Vec<Effect> {
    let job = observed.answer.job.as_ref();
    if let (BackupState::Other(state), true) = (&row.state, removal.delete) {
        return vec![Effect::wait(Reason::ProgressingWithRetry, unknown(removal, state))];
    }
    let makes = |job: &&JobRow| matches!(job.kind, JobKind::Snapshot | JobKind::Archive);
    let ends_job = job.filter(makes).map(|job| Effect::EndJobs(Running::Job(job.job_id)));
    let purge = || Step::RequestPurge {
        backup_id: Some(row.backup_id),
        location: row.location.clone(),
        is_archive: row.is_archive(),
    };
    let effects = match &row.state {
        BackupState::Requested | BackupState::Running => {
            vec![Effect::Steps(vec![Step::CancelBackup { backup_id: row.backup_id }]), Effect::Release]
        }
        BackupState::Complete if removal.delete => vec![Effect::Steps(vec![purge()]), gone(removal, row, observed)],
        BackupState::Purging if removal.delete => vec![gone(removal, row, observed)],
        // Nothing is held, or it is kept.
        BackupState::Complete
        | BackupState::Purging
        | BackupState::Failed
        | BackupState::Cancelled
        | BackupState::Purged
        | BackupState::Restored
        | BackupState::Other(_) => vec![Effect::Release],
    };
    ends_job.into_iter().chain(effects).collect()
}

/// A newer release wrote what becomes of the backup.
fn unknown(removal: &Removal, state: &str) -> String {
    format!(
        "deletion waits, because this release does not know what becomes of a backup that is {state:?}, and removes nothing; it goes on \
         by itself with a release that knows it; to let go and leave the backup in the database: {}",
        removal.abandon()
    )
}

fn running(method: BackupMethod) -> Effect {
    Effect::wait(Reason::Running, format!("the {} is queued or being made", called(method)))
}

/// What it is called in messages.
fn called(method: BackupMethod) -> &'static str {
    match method {
        BackupMethod::Snapshot => "snapshot",
        BackupMethod::Archive => "archive",
    }
}

/// What the backup waits for. Other tenants are not named: only the owners of the database may see them.
fn queued(method: BackupMethod, waits: &JobWaits) -> Effect {
    let since = waits.since.strftime("%Y-%m-%dT%H:%M:%SZ");
    let what = called(method);
    let message = match &waits.own {
        Some(kind) => format!("the {what} is queued: a {kind} of the same tenant has been running since {since}"),
        None => format!(
            "the {what} is queued: those of other tenants are being made, the oldest since {since}; each has an end, at most \
             after 10 minutes and a second for each MiB"
        ),
    };
    Effect::wait(Reason::Running, message)
}

/// What a removal waits for, and whether a person has to do something about it.
fn gone(removal: &Removal, row: &BackupRow, observed: &Observed) -> Effect {
    let job = observed.answer.job.as_ref();
    let noun = if row.is_archive() { "archive" } else { "schema" };
    let held = format!("{noun} {}", row.location.as_deref().unwrap_or("of the backup"));
    if let Some(why) = observed.no_store.as_ref().filter(|_| row.is_archive()) {
        let message = format!(
            "{held} is removed when its store can be used ({why}), by itself; to let go and leave it there: {}",
            removal.abandon()
        );
        return Effect::wait(Reason::StoreUnavailable, message);
    }
    let failed = job
        .filter(|job| matches!(job.kind, JobKind::Purge | JobKind::RemoveArchive))
        .and_then(|job| Some((job.error.as_ref()?, job.reason.as_ref())));
    match failed {
        Some((error, Some(reason))) => Effect::refuse(
            reason_of(reason),
            format!("{held} is not gone yet, and it is tried again by itself: {error}"),
        ),
        Some((error, None)) => {
            Effect::wait(Reason::Deleting, format!("{held} is being removed; the latest attempt: {error}"))
        }
        None => Effect::wait(Reason::Deleting, format!("{held} is being removed")),
    }
}

fn of(object: &Owner, tenant: Option<String>, effects: Vec<Effect>) -> Plan {
    let Owner { namespace, name, .. } = object;
    let requested_by = format!("SchemaBackup {namespace}/{name}");
    let caller = Caller { namespace: namespace.clone(), tenant, requested_by };
    Plan { subject: format!("backup {namespace}/{name}"), caller, effects, ..Plan::default() }
}
