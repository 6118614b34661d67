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
};

/// After what time it is looked whether a backup is finished in whose way another one is.
const HELD_FOR: SignedDuration = SignedDuration::from_mins(1);

/// After what time a backup that is not complete is late.
const LATE_AFTER: SignedDuration = SignedDuration::from_hours(1);

/// By how much the clock of the database, which says when a backup was complete, may differ from the API server's.
const SKEW: SignedDuration = SignedDuration::from_mins(2);

/// What the condition is to say.
pub(super) enum BackedUp {
    /// There is no schedule, and no condition.
    NoSchedule,
    /// What it said before: a backup is under way, and will be late at this time.
    Kept {
        /// When it is.
        late_at: Timestamp,
    },
    /// This.
    Told(Verdict),
}

/// What the condition says of a tenant with this status.
pub(super) fn backed_up(owner: &Owner, status: &TenantSchemaStatus, now: Timestamp) -> BackedUp {
    let time = |time: &Option<_>| time.as_ref().map(|time: &Time| time.0);
    let made = status.last_backup.as_ref().and_then(|last| time(&last.completion_time));
    // Of all that is due, the oldest is late first.
    // One that is in the future was promised by a clock that was ahead for a moment.
    let is_open = |asked: &Timestamp| *asked <= now && made.is_none_or(|made| made + SKEW < *asked);
    let in_force = || status.schedules.iter().filter(|schedule| schedule.cron.is_some());
    let open = in_force().filter_map(|schedule| {
        let asked = time(&schedule.last_schedule_time).filter(is_open);
        let due = time(&schedule.next_schedule_time).filter(|due| *due <= now);
        Some((asked.into_iter().chain(due).min()?, schedule))
    });
    let told = |reason, message, ready| BackedUp::Told(Verdict::of(reason, message, ready));
    match open.min_by_key(|(at, _)| *at) {
        None if status.schedules.is_empty() => BackedUp::NoSchedule,
        Some((at, _)) if now < at + LATE_AFTER => BackedUp::Kept { late_at: at + LATE_AFTER },
        Some((at, schedule)) => told(Reason::BackupLate, late(owner, at, schedule, made), Readiness::False),
        None if in_force().all(|schedule| schedule.last_schedule_time.is_none()) => {
            let next = in_force().filter_map(|schedule| time(&schedule.next_schedule_time)).min();
            let message = next.map_or_else(
                || "no schedule of the tenant is in force".to_owned(),
                |next| format!("no schedule has asked for a backup yet; the first is due at {next}"),
            );
            told(Reason::BackupNotYet, message, Readiness::Unknown)
        }
        None => {
            let message = "the last backup that a schedule asked for is complete".to_owned();
            told(Reason::BackupInTime, message, Readiness::True)
        }
    }
}

/// When a schedule asks for the next backup.
pub(super) fn scheduled_next(
    pass: &Pass<'_, TenantSchema>,
    status: &TenantSchemaStatus,
    now: Timestamp,
) -> impl Iterator<Item = Timestamp> {
    let Pass::Applied { wish: Wish::Keep(desired), .. } = pass else { return None.into_iter().chain(Vec::new()) };
    let is_held = desired.schedules.iter().any(|schedule| schedule.is_held);
    let late_at = match backed_up(&desired.owner, status, desired.now) {
        BackedUp::Kept { late_at } => Some(late_at),
        BackedUp::NoSchedule | BackedUp::Told(_) => None,
    };
    // What was not due by the clock that the pass went by may be by this one.
    let until = |next: Timestamp| now + next.duration_since(desired.now);
    let times = status.schedules.iter().filter_map(|schedule| Some(schedule.next_schedule_time.as_ref()?.0));
    let times: Vec<_> = times.filter(|next| *next > desired.now).chain(late_at).map(until).collect();
    is_held.then(|| now + HELD_FOR).into_iter().chain(times)
}

fn late(owner: &Owner, at: Timestamp, schedule: &ScheduleStatus, made: Option<Timestamp>) -> String {
    let Owner { namespace, name, .. } = owner;
    let asked = schedule.last_schedule_time.as_ref().is_some_and(|asked| asked.0 == at);
    let what = match schedule.backups.first().filter(|_| asked) {
        Some(backup) => {
            format!("SchemaBackup {backup} is not complete: {}", Object::backup(namespace, backup).to(Verb::Describe))
        }
        None => format!("its SchemaBackup is not made yet: {}", Object::tenant(namespace, name).to(Verb::Describe)),
    };
    let last = made.map_or_else(|| "there is no backup".to_owned(), |made| format!("the last backup is of {made}"));
    format!("schedule {} asks for a backup since {at}, and {what}; {last}", schedule.name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-12-31T03:00:00Z";

    /// `check(schedules, when the last backup was complete, expected)`: status and reason, or when what is under way will be late.
    fn check(schedules: &Value, made: &Value, expected: &str) {
        let last = made.is_string().then(|| json!({ "completionTime": made }));
        let status: TenantSchemaStatus =
            serde_json::from_value(json!({ "schedules": schedules, "lastBackup": last })).unwrap();
        let [cluster, namespace, name, uid] = ["cluster", "team-a", "school", "uid"].map(str::to_owned);
        let owner = Owner { cluster, namespace, name, uid, namespace_uid: None };
        let found = match backed_up(&owner, &status, NOW.parse().unwrap()) {
            BackedUp::NoSchedule => "none".to_owned(),
            BackedUp::Kept { late_at } => format!("late at {late_at}"),
            BackedUp::Told(verdict) => verdict.message().to_owned(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_backup_is_late_an_hour_after_its_time_and_until_one_is_complete() {
        let daily = |last: Value, next: &str| json!({ "name": "daily", "cron": "-", "lastScheduleTime": last, "nextScheduleTime": next, "backups": ["school.daily-1"] });
        let asked = |last: &str| daily(json!(last), "2027-01-01T01:00:00Z");
        check(&json!([]), &json!("2026-12-30T01:00:05Z"), "none");
        let not_yet = "no schedule has asked for a backup yet; the first is due at 2027-01-01T01:00:00Z";
        check(&json!([daily(json!(null), "2027-01-01T01:00:00Z")]), &json!(null), not_yet);
        let complete = "the last backup that a schedule asked for is complete";
        check(&json!([asked("2026-12-31T01:00:00Z")]), &json!("2026-12-31T01:00:05Z"), complete);
        check(&json!([asked("2026-12-31T02:30:00Z")]), &json!(null), "late at 2026-12-31T03:30:00Z");
        let describe = "kubectl -n team-a describe schemabackup school.daily-1";
        check(
            &json!([asked("2026-12-31T01:00:00Z")]),
            &json!("2026-12-30T01:00:05Z"),
            &format!(
                "schedule daily asks for a backup since 2026-12-31T01:00:00Z, and SchemaBackup school.daily-1 is not complete: {describe}; \
                 the last backup is of 2026-12-30T01:00:05Z"
            ),
        );
        // Not even the object is made.
        check(
            &json!([daily(json!("2026-12-30T01:00:00Z"), "2026-12-31T01:00:00Z")]),
            &json!("2026-12-30T01:00:05Z"),
            "schedule daily asks for a backup since 2026-12-31T01:00:00Z, and its SchemaBackup is not made yet: kubectl -n team-a describe \
             tenantschema school; the last backup is of 2026-12-30T01:00:05Z",
        );
        // The late one of two is told.
        let both = json!([asked("2026-12-31T02:30:00Z"), { "name": "weekly", "cron": "-", "lastScheduleTime": "2026-12-29T01:00:00Z",
            "nextScheduleTime": "2027-01-05T01:00:00Z", "backups": ["school.weekly-1"] }]);
        check(&both, &json!("2026-12-29T02:00:00Z"), "late at 2026-12-31T03:30:00Z");
        check(
            &both,
            &json!(null),
            "schedule weekly asks for a backup since 2026-12-29T01:00:00Z, and SchemaBackup school.weekly-1 is not complete: kubectl -n \
             team-a describe schemabackup school.weekly-1; there is no backup",
        );
        check(&json!([{ "name": "daily" }]), &json!(null), "no schedule of the tenant is in force");
    }
}
