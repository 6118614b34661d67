//! Whether the backups that a tenant's schedules ask for are made in time, as a condition of its own, and when to look again. Pure.
//!
//! It is beside `Ready`: a tenant whose backup is late works. It says no time of a backup that is complete, so that a night in which
//! all went well changes no condition.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    api::{
        TenantSchema, TenantSchemaStatus,
        backup_policy::ScheduleStatus,
        command::{Object, Verb},
        condition::{Readiness, Reason, Verdict},
    },
    contract::Owner,
    frame::{Pass, Wish},
    tenant::schedules::Scheduled,
};

/// After what time it is looked whether a backup that is under way is finished.
const LOOKED_AT: SignedDuration = SignedDuration::from_mins(1);

/// After what time a backup that is not complete is late.
const LATE_AFTER: SignedDuration = SignedDuration::from_hours(1);

/// What the condition is to say.
pub(super) enum BackedUp {
    /// There is no schedule, and no condition.
    NoSchedule,
    /// What it said before: a backup is under way, and will be late at this time.
    AsBefore {
        /// When it is.
        late_at: Timestamp,
    },
    /// This.
    Told(Verdict),
}

/// What the condition says of a tenant with this status.
pub(super) fn backed_up(owner: &Owner, status: &TenantSchemaStatus, now: Timestamp) -> BackedUp {
    let time = |time: &Option<Time>| time.as_ref().map(|time| time.0);
    let in_force = || status.schedules.iter().filter(|schedule| schedule.cron.is_some());
    let open = in_force().filter_map(|schedule| {
        let waits = time(&schedule.waiting_since);
        let due = time(&schedule.next_schedule_time).filter(|due| *due <= now);
        Some((waits.into_iter().chain(due).min()?, schedule))
    });
    let told = |reason, message: String, ready| BackedUp::Told(Verdict::of(reason, message, ready));
    // Of all that is open, the oldest is late first.
    match open.min_by_key(|(since, _)| *since) {
        None if status.schedules.is_empty() => BackedUp::NoSchedule,
        Some((since, _)) if now < since + LATE_AFTER => BackedUp::AsBefore { late_at: since + LATE_AFTER },
        Some((since, schedule)) => told(Reason::BackupLate, late(owner, since, schedule), Readiness::False),
        None if in_force().all(|schedule| schedule.last_schedule_time.is_none()) => {
            let next = in_force().filter_map(|schedule| time(&schedule.next_schedule_time)).min();
            let none = || "no schedule of the tenant is in force".to_owned();
            let message = next
                .map_or_else(none, |next| format!("no schedule in force has asked yet; the first is due at {next}"));
            told(Reason::BackupNotYet, message, Readiness::Unknown)
        }
        None => told(Reason::BackupInTime, "the last backup of each schedule is complete".to_owned(), Readiness::True),
    }
}

/// When a schedule asks for the next backup, or something else is to be told of it.
pub(super) fn scheduled_next(
    pass: &Pass<'_, TenantSchema>,
    status: &TenantSchemaStatus,
    now: Timestamp,
) -> Option<Timestamp> {
    let Pass::Applied { wish: Wish::Keep(desired), .. } = pass else { return None };
    let is_open =
        |schedule: &Scheduled| schedule.is_held || !schedule.is_complete && !schedule.as_it_is.backups.is_empty();
    let late_at = match backed_up(&desired.owner, status, desired.now) {
        BackedUp::AsBefore { late_at } => Some(late_at),
        BackedUp::NoSchedule | BackedUp::Told(_) => None,
    };
    // Until it is late, a backup that is under way is looked at.
    let soon = (late_at.is_some() && desired.schedules.iter().any(is_open)).then(|| desired.now + LOOKED_AT);
    let times = status.schedules.iter().filter_map(|schedule| Some(schedule.next_schedule_time.as_ref()?.0));
    let first = times.filter(|next| *next > desired.now).chain(late_at).chain(soon).min()?;
    // What was not due by the clock that the pass went by may be by this one.
    Some(now + first.duration_since(desired.now))
}

fn late(owner: &Owner, since: Timestamp, schedule: &ScheduleStatus) -> String {
    let Owner { namespace, name, .. } = owner;
    let is_asked = schedule.waiting_since.as_ref().is_some_and(|waits| waits.0 == since);
    let what = match schedule.backups.first().filter(|_| is_asked) {
        Some(backup) => {
            format!("SchemaBackup {backup} is not complete: {}", Object::backup(namespace, backup).to(Verb::Describe))
        }
        None => format!("its SchemaBackup is not made yet: {}", Object::tenant(namespace, name).to(Verb::Describe)),
    };
    format!("schedule {} has waited for a backup since {since}: {what}", schedule.name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-12-31T03:00:00Z";

    /// `check(schedules, expected)`: what is said, or when what is under way will be late.
    fn check(schedules: &Value, expected: &str) {
        let status: TenantSchemaStatus = serde_json::from_value(json!({ "schedules": schedules })).unwrap();
        let [cluster, namespace, name, uid] = ["cluster", "team-a", "school", "uid"].map(str::to_owned);
        let owner = Owner { cluster, namespace, name, uid, namespace_uid: None };
        let found = match backed_up(&owner, &status, NOW.parse().unwrap()) {
            BackedUp::NoSchedule => "none".to_owned(),
            BackedUp::AsBefore { late_at } => format!("late at {late_at}"),
            BackedUp::Told(verdict) => verdict.message().to_owned(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_backup_is_late_an_hour_after_its_time_and_until_one_is_complete() {
        let of = |name: &str, last: Value, waiting: Value, next: &str| {
            json!({ "name": name, "cron": "-", "lastScheduleTime": last, "waitingSince": waiting, "nextScheduleTime": next,
                    "backups": [format!("school.{name}-1")] })
        };
        let tomorrow = "2027-01-01T01:00:00Z";
        let daily = |last: Value, waiting: Value| of("daily", last, waiting, tomorrow);
        check(&json!([]), "none");
        let first = daily(json!(null), json!(null));
        check(&json!([first]), "no schedule in force has asked yet; the first is due at 2027-01-01T01:00:00Z");
        let met = daily(json!("2026-12-31T01:00:00Z"), json!(null));
        check(&json!([met]), "the last backup of each schedule is complete");
        let under_way = daily(json!("2026-12-31T02:30:00Z"), json!("2026-12-31T02:30:00Z"));
        check(&json!([under_way]), "late at 2026-12-31T03:30:00Z");
        // However often it has asked since then.
        let describe = "kubectl -n team-a describe schemabackup";
        let hourly = of("hourly", json!("2026-12-31T02:55:00Z"), json!("2026-12-30T20:55:00Z"), "2026-12-31T03:55:00Z");
        let late = format!(
            "schedule hourly has waited for a backup since 2026-12-30T20:55:00Z: SchemaBackup school.hourly-1 is not complete: {describe} \
             school.hourly-1"
        );
        check(&json!([met, hourly]), &late);
        check(&json!([under_way, hourly]), &late);
        // Not even the object is made.
        check(
            &json!([of("daily", json!("2026-12-30T01:00:00Z"), json!(null), "2026-12-31T01:00:00Z")]),
            "schedule daily has waited for a backup since 2026-12-31T01:00:00Z: its SchemaBackup is not made yet: kubectl -n team-a describe \
             tenantschema school",
        );
        check(&json!([{ "name": "daily" }]), "no schedule of the tenant is in force");
    }
}
