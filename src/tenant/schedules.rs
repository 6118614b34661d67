//! Which backups of a tenant are due by its schedules, and which of their objects are too many. Pure.
//!
//! The status is the memory: it has the next time of each schedule, and the names of the `SchemaBackup`s that it asked for. A schedule
//! that is new, or has other fields than the status tells, begins now, so that a change of the defaults of a database asks for no
//! backup of all its tenants at once. What was missed is made up for by one backup, which has the name of the first time that was
//! missed: that name stays until the status tells of it, however often it is asked for.

use jiff::Timestamp;
use kube::ResourceExt;

use super::resolve::Resolved;
use crate::{
    api::{
        SchemaBackup, TenantSchema,
        backup_policy::{BackupPolicy, BackupSchedule, ScheduleStatus, asks_for},
        condition::{ConditionType, Conditions, is_true, whole_seconds},
        schedule::Schedule,
        schema_backup::BackupDeletionPolicy,
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
    /// The newest object says that its backup is complete.
    pub is_complete: bool,
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
    /// How it stands after these objects were made and these removed, when `complete` is the object whose backup the catalogue completed
    /// last: a cache has what an object says after a while.
    #[must_use]
    pub fn after(&self, made: &[String], forgotten: &[String], complete: Option<&str>) -> ScheduleStatus {
        let mut status = self.as_it_is.clone();
        let newest = status.backups.first().map(String::as_str);
        if self.is_complete || newest.is_some() && newest == complete {
            status.waiting_since = None;
        }
        status.backups.retain(|name| !forgotten.contains(name));
        if let Some(Due { at, next, backup }) = self.due.as_ref().filter(|due| made.contains(&due.backup.name_any())) {
            status.last_schedule_time = Some(whole_seconds(*at));
            status.waiting_since.get_or_insert_with(|| whole_seconds(*at));
            status.next_schedule_time = next.map(whole_seconds);
            status.backups.insert(0, backup.name_any());
        }
        status.backups.truncate(ScheduleStatus::MOST_BACKUPS);
        status
    }
}

/// How the schedules of a tenant are to stand, and what is wrong with the first that cannot be followed. What is wrong in the spec of a
/// tenant keeps a new one from being made; a running one goes on, and so do its other schedules.
pub(super) fn schedules(
    tenant: &TenantSchema,
    defaults: Option<&TenantDefaults>,
    resolved: &Resolved,
) -> (Vec<Scheduled>, Option<String>) {
    let policy = tenant.spec.backup_policy(defaults);
    let of_database = "spec.defaults.backup.schedules of the TenantDatabase";
    let place = if has_own(tenant) { "spec.backup.schedules" } else { of_database };
    let told = tenant.status.iter().flat_map(|status| &status.schedules);
    let find = |name: &str| told.clone().find(|told| told.name == name);
    let (mut all, mut complaint) = (Vec::new(), None);
    for schedule in policy.schedules.iter().flatten() {
        let known = known(&schedule.name, find(&schedule.name), true, resolved);
        match schedule.times() {
            _ if schedule.is_suspended() => all.push(at_rest(known, policy.history_limit(), resolved)),
            Ok(times) => all.push(scheduled(tenant, schedule, &times, &policy, known, resolved)),
            Err(error) => {
                let goes_on = "it asks for no backup until it is mended, and then goes on by itself";
                complaint.get_or_insert_with(|| format!("{place}, schedule {}: {error}; {goes_on}", schedule.name));
                all.push(at_rest(known, policy.history_limit(), resolved));
            }
        }
    }
    // Of one that is not in the spec any more only the objects are left to go.
    let is_wanted = |told: &&ScheduleStatus| policy.schedules.iter().flatten().any(|wanted| wanted.name == told.name);
    for told in told.clone().filter(|told| !is_wanted(told)) {
        let left = at_rest(known(&told.name, Some(told), false, resolved), 0, resolved);
        all.extend(Some(left).filter(|left| !left.as_it_is.backups.is_empty()));
    }
    (all, complaint)
}

/// The schedules are the tenant's own, and not those of its database.
pub(super) fn has_own(tenant: &TenantSchema) -> bool {
    tenant.spec.backup.as_ref().is_some_and(|own| own.schedules.is_some())
}

/// What the status tells of a schedule, with those of its objects that are there. A cache has what was made a moment ago after a while,
/// so that the newest stays until another one comes, if it `may_be_new`.
fn known(name: &str, told: Option<&ScheduleStatus>, may_be_new: bool, resolved: &Resolved) -> ScheduleStatus {
    let mut known = told.cloned().unwrap_or_default();
    name.clone_into(&mut known.name);
    let newest = known.backups.first().filter(|_| may_be_new).cloned();
    known.backups.retain(|name| resolved.backups.contains_key(name) || Some(name) == newest.as_ref());
    known
}

/// One that asks for nothing. When it does again it begins then.
fn at_rest(known: ScheduleStatus, most: usize, resolved: &Resolved) -> Scheduled {
    let surplus = surplus(&known, most, resolved);
    let is_complete = is_newest_complete(&known, resolved);
    let as_it_is = ScheduleStatus { cron: None, spread_seconds: None, next_schedule_time: None, ..known };
    Scheduled { as_it_is, due: None, is_held: false, is_complete, surplus }
}

fn scheduled(
    tenant: &TenantSchema,
    schedule: &BackupSchedule,
    times: &Schedule,
    policy: &BackupPolicy,
    mut known: ScheduleStatus,
    resolved: &Resolved,
) -> Scheduled {
    let delay = policy.delay(&schedule.name, tenant.metadata.uid.as_deref().unwrap_or_default());
    let after = |time: Timestamp| times.next(time.checked_sub(delay).ok()?)?.checked_add(delay).ok();
    let next = after(resolved.now);
    let (cron, spread) = (Some(format!("{} {}", schedule.cron, schedule.zone())), Some(policy.spread_seconds()));
    let is_same = (&known.cron, known.spread_seconds) == (&cron, spread);
    // A clock that was ahead for a moment promised what would come years too late.
    let latest = next.and_then(after);
    let told = known.next_schedule_time.as_ref().map(|time| time.0);
    let promised = told.filter(|told| is_same && latest.is_none_or(|latest| *told <= latest));
    (known.cron, known.spread_seconds) = (cron, spread);
    known.next_schedule_time = promised.or(next).map(whole_seconds);
    let is_due = promised.filter(|promised| *promised <= resolved.now);
    let newest = known.backups.first().and_then(|name| resolved.backups.get(name));
    let is_held = is_due.is_some() && newest.is_some_and(|newest| !is_finished(newest));
    let due = is_due.filter(|_| !is_held).map(|at| Due { at, next, backup: asks_for(tenant, schedule, at) });
    let most = policy.history_limit() - usize::from(due.is_some());
    let (surplus, is_complete) = (surplus(&known, most, resolved), is_newest_complete(&known, resolved));
    Scheduled { as_it_is: known, due, is_held, is_complete, surplus }
}

/// The objects that are more than there are to be, and may go.
fn surplus(known: &ScheduleStatus, most: usize, resolved: &Resolved) -> Vec<Known> {
    let too_many = known.backups.iter().skip(most).filter_map(|name| resolved.backups.get(name));
    too_many.filter(|backup| may_go(backup)).map(|backup| Known::of(backup)).collect()
}

fn is_newest_complete(known: &ScheduleStatus, resolved: &Resolved) -> bool {
    let newest = known.backups.first().and_then(|name| resolved.backups.get(name));
    newest
        .and_then(|backup| backup.status.as_ref())
        .is_some_and(|status| is_true(&status.conditions, ConditionType::Ready))
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
