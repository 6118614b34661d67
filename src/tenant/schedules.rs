//! Which backups of a tenant are due by its schedules, and which of their objects are too many. Pure.
//!
//! The status is the memory: it has the next time of each schedule, and the names of the `SchemaBackup`s that it asked for. A schedule
//! that is new, or has other fields than the status tells, begins now, so that a change of the defaults of a database asks for no
//! backup of all its tenants at once. What was missed is made up for by one backup.

use std::iter::successors;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::resolve::Resolved;
use crate::{
    api::{
        SchemaBackup, SchemaBackupSpec, TenantSchema,
        backup_policy::{BackupPolicy, BackupSchedule, SCHEDULE, ScheduleStatus, TENANT_UID, scheduled_name},
        condition::{Conditions, whole_seconds},
        schedule::Schedule,
        schema_backup::{BackupDeletionPolicy, TenantSchemaRef},
        tenant_database::TenantDefaults,
    },
    kubernetes::backups::Known,
};

/// How a schedule is to stand.
#[derive(Clone, Debug, PartialEq)]
pub struct Scheduled {
    /// How it stands if nothing is due.
    pub as_it_is: ScheduleStatus,
    /// What it asks for now.
    pub due: Option<Due>,
    /// A backup is due, and the one before it is still being made.
    pub is_held: bool,
    /// Objects that it asked for, are finished, and are more than there are to be.
    pub surplus: Vec<Known>,
}

/// A backup that is due.
#[derive(Clone, Debug, PartialEq)]
pub struct Due {
    /// The time for which it is.
    pub at: Timestamp,
    /// The time after that.
    pub next: Option<Timestamp>,
    /// The object that asks for it.
    pub backup: SchemaBackup,
}

impl Scheduled {
    /// How it stands after these objects were made and these removed.
    #[must_use]
    pub fn after(&self, made: &[String], forgotten: &[String]) -> ScheduleStatus {
        let mut status = self.as_it_is.clone();
        status.backups.retain(|name| !forgotten.contains(name));
        if let Some(Due { at, next, backup }) = self.due.as_ref().filter(|due| made.contains(&due.backup.name_any())) {
            status.last_schedule_time = Some(whole_seconds(*at));
            status.next_schedule_time = next.map(whole_seconds);
            status.backups.insert(0, backup.name_any());
        }
        status.backups.truncate(ScheduleStatus::MOST_BACKUPS);
        status
    }
}

/// How the schedules of a tenant are to stand, or what is wrong with one. What is wrong in a spec of the tenant keeps a new tenant
/// from being made; a running one goes on.
pub(super) fn schedules(
    tenant: &TenantSchema,
    defaults: Option<&TenantDefaults>,
    resolved: &Resolved,
) -> Result<Vec<Scheduled>, String> {
    let policy = tenant.spec.backup_policy(defaults);
    let is_own = tenant.spec.backup.as_ref().is_some_and(|own| own.schedules.is_some());
    let place = if is_own { "spec.backup.schedules" } else { "spec.defaults.backup.schedules of the TenantDatabase" };
    let all = policy.schedules.iter().flatten();
    all.map(|schedule| {
        scheduled(tenant, schedule, &policy, resolved).map_err(|error| {
            format!(
                "{place}, schedule {}: {error}; none of the tenant's schedules asks for a backup until it is mended, and then they go on \
                 by themselves",
                schedule.name
            )
        })
    })
    .collect()
}

fn scheduled(
    tenant: &TenantSchema,
    schedule: &BackupSchedule,
    policy: &BackupPolicy,
    resolved: &Resolved,
) -> Result<Scheduled, String> {
    let times = schedule.times().map_err(|error| error.to_string())?;
    let cron = format!("{} {}", schedule.cron, schedule.zone());
    let delay = policy.delay(&schedule.name, tenant.metadata.uid.as_deref().unwrap_or_default());
    let next = || times.next(resolved.now.checked_sub(delay).ok()?)?.checked_add(delay).ok();
    let told = tenant.status.iter().flat_map(|status| &status.schedules).find(|told| told.name == schedule.name);
    let mut as_it_is = told.cloned().unwrap_or_default();
    // A cache has what was made a moment ago after a while.
    let mut place = 0..;
    as_it_is.backups.retain(|name| place.next() == Some(0) || resolved.backups.contains_key(name));
    let is_same = as_it_is.cron.as_ref() == Some(&cron);
    let promised = as_it_is.next_schedule_time.as_ref().map(|time| time.0).filter(|_| is_same);
    let is_due = promised.filter(|promised| *promised <= resolved.now && !schedule.is_suspended());
    as_it_is.name.clone_from(&schedule.name);
    as_it_is.cron = Some(cron);
    as_it_is.next_schedule_time = match promised {
        _ if schedule.is_suspended() => None,
        Some(promised) => Some(whole_seconds(promised)),
        None => next().map(whole_seconds),
    };
    let newest = as_it_is.backups.first().and_then(|name| resolved.backups.get(name));
    let is_held = is_due.is_some() && newest.is_some_and(|newest| !is_finished(newest));
    let due = is_due.filter(|_| !is_held).map(|promised| latest(&times, promised, delay, resolved.now)).map(|at| Due {
        at,
        next: next(),
        backup: asks_for(tenant, schedule, at),
    });
    let most = policy.history_limit() - usize::from(due.is_some());
    let too_many = as_it_is.backups.iter().skip(most).filter_map(|name| resolved.backups.get(name));
    let surplus = too_many.filter(|backup| may_go(backup)).map(|backup| Known::of(backup)).collect();
    Ok(Scheduled { as_it_is, due, is_held, surplus })
}

/// The last of the times that were missed, from the first of them. A schedule fires at most 52,560 times a year.
fn latest(times: &Schedule, missed: Timestamp, delay: SignedDuration, now: Timestamp) -> Timestamp {
    let after = |at: &Timestamp| {
        let next = times.next(at.checked_sub(delay).ok()?)?.checked_add(delay).ok()?;
        (next > *at && next <= now).then_some(next)
    };
    successors(Some(missed), after).take(100_000).last().unwrap_or(missed)
}

/// Nothing more comes of it.
fn is_finished(backup: &SchemaBackup) -> bool {
    backup.status.as_ref().is_some_and(|status| status.is_at_rest(&backup.metadata))
        || backup.metadata.deletion_timestamp.is_some()
}

/// Nothing goes with the object but the object.
fn may_go(backup: &SchemaBackup) -> bool {
    is_finished(backup)
        && backup.metadata.deletion_timestamp.is_none()
        && backup.spec.deletion_policy() == BackupDeletionPolicy::Retain
}

/// The object that asks for a backup; its labels say where it comes from.
fn asks_for(tenant: &TenantSchema, schedule: &BackupSchedule, at: Timestamp) -> SchemaBackup {
    let name = scheduled_name(&tenant.name_any(), &schedule.name, at);
    let spec = SchemaBackupSpec {
        tenant_schema_ref: TenantSchemaRef { name: tenant.name_any() },
        method: schedule.method,
        ..SchemaBackupSpec::default()
    };
    let labels = [(SCHEDULE, schedule.name.clone()), (TENANT_UID, tenant.uid().unwrap_or_default())];
    let mut backup = SchemaBackup::new(&name, spec);
    backup.metadata.namespace = tenant.namespace();
    backup.metadata.labels = Some(labels.map(|(key, value)| (key.to_owned(), value)).into());
    backup
}
