//! Which backups a tenant has: when they are made, and how many of them stay.
//!
//! Here are the words only, and what a scheduled `SchemaBackup` is called. What is due is decided where the desired state is made.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{KubeSchema, ResourceExt};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::schedule::{Schedule, ScheduleError};
use super::schema;
use super::schema_backup::{BackupMethod, SchemaBackup, SchemaBackupSpec, TenantSchemaRef, Verification};
use super::tenant_schema::TenantSchema;
use super::text::hex;

/// Label of a `SchemaBackup` that a schedule asked for: the name of the schedule.
pub const SCHEDULE: &str = "edumatrixhub.io/schedule";

/// Label of a `SchemaBackup` that a schedule asked for: the UID of the `TenantSchema` that has the schedule.
pub const TENANT_UID: &str = "edumatrixhub.io/tenant-uid";

/// What is kept of a tenant, and for how long.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupPolicy {
    /// When backups are made by themselves; at most 8 schedules.
    ///
    /// Default: the database's `defaults.backup.schedules`, and without it none. `[]` is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub schedules: Option<Vec<BackupSchedule>>,

    /// Within how many seconds after the time of a schedule the backups of all tenants begin. Each tenant has its own moment in it, which
    /// stays the same.
    ///
    /// Default: the database's `defaults.backup.spreadSeconds`, and without it `3600`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86_400))]
    pub spread_seconds: Option<i32>,

    /// Which scheduled backups of the tenant stay; the others are removed from the database 26 hours after a newer one is finished, unless
    /// another one with another retention is finished before. The newest one always stays, and so do backups that no schedule asked for.
    ///
    /// Default: the database's `defaults.backup.retention`, and without it `{keepLast: 7}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,

    /// How many `SchemaBackup`s of each schedule there are; an older object goes, and its backup stays for as long as `retention` says.
    ///
    /// Default: the database's `defaults.backup.historyLimit`, and without it `3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16))]
    pub history_limit: Option<i32>,

    /// For how many days the final backup is kept that `deletionPolicy: BackupThenDrop` makes when the tenant is deleted;
    /// then it is purged.
    ///
    /// Default: the database's `defaults.backup.finalExpireAfterDays`, and without it for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 36_500))]
    pub final_expire_after_days: Option<i32>,
}

/// When backups are made by themselves.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupSchedule {
    /// What it is called, such as `daily`; the name is part of those of its `SchemaBackup`s.
    #[schemars(length(min = 1, max = 32), regex(pattern = schema::NAMESPACE_NAME))]
    pub name: String,

    /// When it fires, as the five fields of cron: minute, hour, day of month, month, day of week. Not more often than every 10
    /// minutes. What was missed while the operator was away is made up for once.
    #[schemars(length(min = 9, max = 128))]
    pub cron: String,

    /// The time zone of its clock, as the IANA database calls it, such as `Europe/Berlin`. What falls into an hour that this clock
    /// leaves out comes as much later as the clock jumps; what falls into one that it has twice comes once.
    ///
    /// Default: `UTC`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,

    /// How its backups are made: `Snapshot`, or `Archive` where the `TenantDatabase` has a `backupStore`.
    ///
    /// Default: `Snapshot`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<BackupMethod>,

    /// How its archives are proved: `Checksum`, `Restore` or `None`.
    ///
    /// Default: `Checksum`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,

    /// Whether it makes none for the time being. What is missed meanwhile is not made up for.
    ///
    /// Default: `false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// Which scheduled backups stay: each that one of the fields keeps. Days, weeks, months and years are those of the time zone of the
/// schedule whose backup was just finished.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "has(self.keepLast) || has(self.keepDaily) || has(self.keepWeekly) || has(self.keepMonthly) || has(self.keepYearly) || \
         has(self.maxAgeDays)"
    )
    .message("retention must say what stays: keepLast, keepDaily, keepWeekly, keepMonthly, keepYearly or maxAgeDays")
    .reason(Reason::FieldValueInvalid)
)]
pub struct Retention {
    /// So many of the newest.
    ///
    /// Default: none for this reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub keep_last: Option<i32>,

    /// The newest of each of so many days that have one.
    ///
    /// Default: none for this reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub keep_daily: Option<i32>,

    /// The newest of each of so many weeks that have one; weeks begin on Monday.
    ///
    /// Default: none for this reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub keep_weekly: Option<i32>,

    /// The newest of each of so many months that have one.
    ///
    /// Default: none for this reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub keep_monthly: Option<i32>,

    /// The newest of each of so many years that have one.
    ///
    /// Default: none for this reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub keep_yearly: Option<i32>,

    /// None that is older stays, whatever the other fields keep, but for the newest. Without another field all that are younger stay.
    ///
    /// Default: any age.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 36_500))]
    pub max_age_days: Option<i32>,
}

/// How a schedule stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleStatus {
    /// What it is called.
    #[schemars(length(max = 32))]
    pub name: String,

    /// The fields of cron and the time zone by which `nextScheduleTime` was found; absent while the schedule is suspended, cannot be followed, or is
    /// not in the spec any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub cron: Option<String>,

    /// The `spreadSeconds` by which it was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86_400))]
    pub spread_seconds: Option<i32>,

    /// The time for which the last backup was asked for; of times that were missed it is the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_schedule_time: Option<Time>,

    /// When the next one is asked for; absent while `cron` is, and when none comes within four years.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_schedule_time: Option<Time>,

    /// Since when a backup that it asked for has not been complete; absent when the newest is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<Time>,

    /// The names of its `SchemaBackup`s, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 24), inner(length(max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub backups: Vec<String>,
}

impl ScheduleStatus {
    /// How many a status tells of at most: those of the spec, and some whose objects are still to go.
    pub const MOST: usize = 24;
    /// How many names of objects it has at most: those of `historyLimit`, and some that could not go yet.
    pub const MOST_BACKUPS: usize = 24;
}

impl BackupPolicy {
    /// The same, where these leave something out.
    #[must_use]
    pub fn or(&self, by_default: &Self) -> Self {
        Self {
            schedules: self.schedules.clone().or_else(|| by_default.schedules.clone()),
            spread_seconds: self.spread_seconds.or(by_default.spread_seconds),
            retention: self.retention.clone().or_else(|| by_default.retention.clone()),
            history_limit: self.history_limit.or(by_default.history_limit),
            final_expire_after_days: self.final_expire_after_days.or(by_default.final_expire_after_days),
        }
    }

    /// Which scheduled backups stay.
    #[must_use]
    pub fn retention(&self) -> Retention {
        let by_default = || Retention { keep_last: Some(7), ..Retention::default() };
        self.retention.clone().unwrap_or_else(by_default)
    }

    /// Within how many seconds the backups of all tenants begin.
    #[must_use]
    pub fn spread_seconds(&self) -> i32 {
        self.spread_seconds.unwrap_or(3600)
    }

    /// How many objects of each schedule there are.
    #[must_use]
    pub fn history_limit(&self) -> usize {
        self.history_limit.and_then(|limit| limit.try_into().ok()).unwrap_or(3)
    }

    /// How long after the time of this schedule the backup of the tenant with this UID begins; always the same.
    #[must_use]
    pub fn delay(&self, schedule: &str, tenant_uid: &str) -> SignedDuration {
        let spread = u64::from(self.spread_seconds().unsigned_abs());
        let digest = Sha256::digest(format!("{tenant_uid}/{schedule}"));
        let number = digest.iter().take(8).fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
        // At most a day.
        SignedDuration::from_secs(i64::try_from(number % (spread + 1)).unwrap_or_default())
    }
}

impl BackupSchedule {
    /// The name of its time zone.
    #[must_use]
    pub fn zone(&self) -> &str {
        self.time_zone.as_deref().unwrap_or(Schedule::DEFAULT_ZONE)
    }

    /// When it fires, or what is wrong with it.
    pub fn times(&self) -> Result<Schedule, ScheduleError> {
        Schedule::new(&self.cron, self.zone())
    }

    /// It makes no backups for the time being.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.suspend.unwrap_or_default()
    }
}

/// What the `SchemaBackup` is called that the schedule of a tenant asks for at this time. No schedule has a dot in its name, so no two
/// tenants of a namespace have the same. A long name of the tenant is cut.
#[must_use]
pub fn scheduled_name(tenant: &str, schedule: &str, at: Timestamp) -> String {
    let end = format!(".{schedule}-{}", at.strftime("%Y%m%d%H%M%S"));
    let most = 253 - end.len();
    if tenant.len() <= most {
        return format!("{tenant}{end}");
    }
    let digest = hex(&Sha256::digest(tenant)[..6]);
    let cut: String = tenant.chars().take(most - digest.len()).collect();
    format!("{cut}{digest}{end}")
}

/// The object by which a schedule of a tenant asks for the backup that is due at this time; its labels say where it comes from.
#[must_use]
pub fn asks_for(tenant: &TenantSchema, schedule: &BackupSchedule, at: Timestamp) -> SchemaBackup {
    let name = scheduled_name(&tenant.name_any(), &schedule.name, at);
    let spec = SchemaBackupSpec {
        tenant_schema_ref: TenantSchemaRef { name: tenant.name_any() },
        method: schedule.method,
        verification: schedule.verification,
        ..SchemaBackupSpec::default()
    };
    let labels = [(SCHEDULE, schedule.name.clone()), (TENANT_UID, tenant.uid().unwrap_or_default())];
    let mut backup = SchemaBackup::new(&name, spec);
    backup.metadata.namespace = tenant.namespace();
    backup.metadata.labels = Some(labels.map(|(key, value)| (key.to_owned(), value)).into());
    backup
}

/// By how much the clocks of the operator and of the API server may differ.
const SKEW: SignedDuration = SignedDuration::from_mins(1);

/// Whether two objects ask for the same, and nothing else becomes of it.
fn is_of_same_backup(one: &SchemaBackupSpec, other: &SchemaBackupSpec) -> bool {
    let parts =
        |spec: &SchemaBackupSpec| (spec.method(), spec.verification(), spec.deletion_policy(), spec.expire_after_days);
    one.tenant_schema_ref == other.tenant_schema_ref && parts(one) == parts(other)
}

/// Whether the object that is there is the one that a schedule asks for since `at`. A user who can make such objects could have made it
/// earlier, of another tenant, or so that it goes too soon.
#[must_use]
pub fn is_asked_for(found: &SchemaBackup, wanted: &SchemaBackup, at: Timestamp) -> bool {
    let label = |backup: &SchemaBackup, key: &str| backup.labels().get(key).cloned();
    let made = found.metadata.creation_timestamp.as_ref().map(|made| made.0);
    is_of_same_backup(&found.spec, &wanted.spec)
        && [SCHEDULE, TENANT_UID]
            .iter()
            .all(|key| label(found, key).is_some() && label(found, key) == label(wanted, key))
        && made.is_some_and(|made| made + SKEW >= at)
        && found.metadata.deletion_timestamp.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::is_object_name;

    #[test]
    fn a_tenant_says_what_it_wants_field_by_field() {
        let check = |own: &str, by_default: &str, expected: &str| {
            let policy = |text: &str| serde_json::from_str::<BackupPolicy>(text).unwrap();
            assert_eq!(policy(own).or(&policy(by_default)), policy(expected));
        };
        let schedules = r#"{"schedules": [{"name": "daily", "cron": "0 2 * * *"}], "historyLimit": 5}"#;
        check("{}", schedules, schedules);
        check(r#"{"schedules": []}"#, schedules, r#"{"schedules": [], "historyLimit": 5}"#);
        check(
            r#"{"spreadSeconds": 0}"#,
            r#"{"spreadSeconds": 60, "retention": {"keepLast": 1}}"#,
            r#"{"spreadSeconds": 0, "retention": {"keepLast": 1}}"#,
        );
        assert_eq!(BackupPolicy::default().retention().keep_last, Some(7));
        assert_eq!(BackupPolicy::default().history_limit(), 3);
    }

    #[test]
    fn tenants_are_spread_and_each_keeps_its_moment() {
        let policy = |spread| BackupPolicy { spread_seconds: spread, ..BackupPolicy::default() };
        let delays = |spread| -> Vec<_> {
            (0..1000).map(|n| policy(spread).delay("daily", &format!("uid-{n}")).as_secs()).collect()
        };
        assert_eq!(delays(None), delays(Some(3600)));
        assert!(delays(Some(0)).iter().all(|delay| *delay == 0));
        let minutes = delays(None).iter().fold([0; 61], |mut minutes, delay| {
            minutes[usize::try_from(delay / 60).unwrap()] += 1;
            minutes
        });
        assert!(minutes.iter().take(60).all(|count| (4..40).contains(count)), "{minutes:?}");
        assert_ne!(policy(None).delay("daily", "uid"), policy(None).delay("weekly", "uid"));
    }

    #[test]
    fn a_scheduled_backup_has_a_name_of_its_own() {
        let at = "2026-11-30T02:17:05Z".parse().unwrap();
        assert_eq!(scheduled_name("acme", "daily", at), "acme.daily-20261130021705");
        let long = |last: char| format!("{}{last}", "a".repeat(252));
        let (one, other) = (scheduled_name(&long('b'), "daily", at), scheduled_name(&long('c'), "daily", at));
        assert!(one != other && one.len() == 253 && is_object_name(&one), "{one}");
        let dotted = scheduled_name(&format!("{}.b{}", "a".repeat(218), "c".repeat(30)), "daily", at);
        assert!(is_object_name(&dotted), "{dotted}");
    }
}
