//! A tenant that is deleted: what becomes of its schema before the object may go.

use std::collections::BTreeSet;

use jiff::Timestamp;
use uuid::Uuid;

use super::{
    absent::{elsewhere, or_abandon},
    credentials::leave_behind,
};
use crate::{
    api::{
        CONFIRM_DROP, bound,
        command::{Object, Verb},
        condition::Reason,
        deletion,
        policy::DeletionPolicy,
        transfer::ObjectName,
    },
    contract::{BackupState, Fate, HeldUp, RowStatus, Step, TenantAnswer, TenantRow, Tombstone},
    plan::{Effect, Running, reason_of},
    tenant::desired::Removal,
};

/// What is done until the object may go; what was begun by an earlier pass goes on.
pub(super) fn take_down(removal: &Removal, given_to: Option<&ObjectName>, observed: &TenantAnswer) -> Vec<Effect> {
    if removal.abandoned || given_to.is_none() && removal.policy == DeletionPolicy::Retain {
        return stay(removal, observed);
    }
    if let Some(to) = given_to {
        return release(removal, observed, to);
    }
    match (&observed.own, &observed.tombstone) {
        (Some(row), _) => set_aside(removal, row),
        (None, Some(grave)) if removal.policy == DeletionPolicy::Drop => match &grave.backup_state {
            None | Some(BackupState::Purged) => vec![Effect::Release],
            // A grant of another user's to its roles, or a session that holds one, keeps the roles for as long as it
            // lasts. The job goes on without the object.
            Some(BackupState::Purging) if grave.schema_gone => vec![Effect::Release],
            // It was set aside while the policy was another one.
            Some(BackupState::Complete) if !is_confirmed(removal, removal.schema_name.as_deref(), grave.schema_id) => {
                vec![Effect::Release]
            }
            Some(_) => vec![
                Effect::Steps(vec![Step::RequestPurge {
                    backup_id: grave.backup_id,
                    location: grave.location.clone(),
                    is_archive: false,
                }]),
                dropping(grave),
            ],
        },
        (None, _) => vec![Effect::Release],
    }
}

/// What a drop that is under way waits for, and whether a person has to do something about it.
fn dropping(grave: &Tombstone) -> Effect {
    let schema = grave.location.as_deref().unwrap_or("of the tenant");
    match &grave.held_up {
        Some(HeldUp { error, reason: Some(reason) }) => Effect::refuse(
            reason_of(reason),
            format!("schema {schema} is not gone yet, and it is tried again by itself: {error}"),
        ),
        Some(HeldUp { error, reason: None }) => Effect::wait(
            Reason::AwaitingJob,
            format!("the rest of schema {schema} is being dropped; the latest attempt: {error}"),
        ),
        None => Effect::wait(Reason::AwaitingJob, format!("the rest of schema {schema} is being dropped")),
    }
}

/// A tenant that goes to another object stays as it is, and its users go on working, until that object takes it. What
/// was set aside before stays so until then.
fn release(removal: &Removal, observed: &TenantAnswer, to: &ObjectName) -> Vec<Effect> {
    let mut effects = leave_behind(removal, observed.own.as_deref(), Some(to));
    if observed.own.as_ref().is_some_and(|row| row.status != RowStatus::Released) {
        effects.push(Effect::Steps(vec![release_step(removal, Some(to))]));
    }
    effects.push(Effect::Release);
    effects
}

/// What stays as it is, is released by the next survey. But a row that was taken over waits for its object for ever, so
/// it is released while that is there; if that fails, this process still remembers the deletion.
fn stay(removal: &Removal, observed: &TenantAnswer) -> Vec<Effect> {
    let taken_over = observed.own.as_ref().filter(|row| row.taken_over);
    let release = taken_over.map(|_| Effect::Try(vec![release_step(removal, None)]));
    let left = leave_behind(removal, observed.own.as_deref(), None);
    left.into_iter().chain(release).chain([Effect::Release]).collect()
}

/// The call that leaves the tenant as it is, without an object.
fn release_step(removal: &Removal, to: Option<&ObjectName>) -> Step {
    let uids = BTreeSet::from([removal.owner.uid.clone()]);
    Step::ReleaseTenants { owner_uids: uids.clone(), deleted_uids: uids, to: to.cloned() }
}

fn set_aside(removal: &Removal, row: &TenantRow) -> Vec<Effect> {
    let purge = removal.policy == DeletionPolicy::Drop;
    // What is gone leaves nothing to set aside. A schema that is only somewhere else must not be left without an
    // object.
    if let Some(absence) = row.absence.as_deref().filter(|absence| absence.kind != Fate::Replaced)
        && let Some(message) = elsewhere(&row.schema_name, &removal.database, Some(absence))
    {
        let message = format!("{message}{}", or_abandon(&removal.owner, &row.schema_name));
        return vec![Effect::refuse(Reason::SchemaMissing, message)];
    }
    let id = row.schema_id;
    if purge && !is_confirmed(removal, Some(&row.schema_name), id) {
        return vec![Effect::refuse(Reason::DropNotConfirmed, question(removal, row))];
    }
    let mut effects = Vec::new();
    let mut steps = Vec::new();
    if !row.jobs.is_empty() {
        effects.push(Effect::EndJobs(Running::OfTenant(id)));
        steps.push(Step::CancelTenantJobs { schema_id: id });
    }
    steps.push(Step::SetAsideTenantSchema {
        schema_id: id,
        owner_uid: removal.owner.uid.clone(),
        expire_after_days: removal.expire_after_days,
        purge,
        deleted_at: removal.deleted_at,
        brake: removal.brake.clone(),
    });
    effects.push(Effect::Steps(steps));
    effects.push(if purge {
        Effect::wait(Reason::AwaitingJob, format!("schema {} is being dropped", row.schema_name))
    } else {
        Effect::Release
    });
    effects
}

/// What is asked before a schema is dropped. While the same would be lost, the question stays as it was asked, with its
/// time.
fn question(removal: &Removal, row: &TenantRow) -> String {
    let object = Object::tenant(&removal.owner.namespace, &removal.owner.name);
    let this = deletion(row.schema_id, &removal.owner.uid, removal.deleted_at.unwrap_or_default());
    let value = bound(&row.schema_name, this);
    let message = format!(
        "schema {} would be dropped without a backup ({}) and nothing was done; to drop it: {}; to keep it: {}",
        row.schema_name,
        row.content(),
        object.annotate(CONFIRM_DROP, value),
        object.to(Verb::SetDeletionPolicy(DeletionPolicy::BackupThenDrop)),
    );
    let as_put = || {
        let (told, measured) = (removal.told.as_ref()?, row.measured.as_ref()?);
        let (before, after) = message.split_once(&measured.at.to_string())?;
        let time = told.strip_prefix(before)?.split_once(after)?.0;
        time.parse::<Timestamp>().ok().map(|_| format!("{before}{time}{after}"))
    };
    as_put().unwrap_or(message.clone())
}

/// Whether a user confirmed this very deletion of this very tenant. A value with the name alone may be meant for an
/// earlier tenant, and a value from before the deletion may be left in Git since an earlier object or before a restore.
fn is_confirmed(removal: &Removal, schema_name: Option<&str>, schema_id: Uuid) -> bool {
    let value = |name| Some(bound(name, deletion(schema_id, &removal.owner.uid, removal.deleted_at?)));
    removal.confirm_drop.is_some() && schema_name.is_some_and(|name| value(name) == removal.confirm_drop)
}
