//! Conditions as kstatus reads them: `Ready` always, `Reconciling` and `Stalled` only while they hold.
//!
//! A stage ends in a [`Verdict`]; a verdict and the conditions of before make the conditions of now. No clock is read
//! here: `now` is an argument. What a reason means is in [`super::reason`].

use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{KubeSchema, core::ObjectMeta};
use serde::{Deserialize, Serialize};

use super::is_paused;
pub use super::reason::Reason;
use crate::text::plain;

/// The longest message of a condition, in characters; longer ones are cut.
pub const MESSAGE_MAX_CHARS: usize = 4096;

/// The types of conditions that the operator writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// The object is what its spec says, and works.
    Ready,
    /// The operator is at work or waits for something that comes by itself.
    Reconciling,
    /// A person must act.
    Stalled,
    /// Nothing is done, because an annotation says so; the message says what would be.
    Paused,
    /// The tenant's roles can do nothing beyond its schema. It says nothing of the others, and they nothing of it.
    Isolated,
    /// The policies of `spec.rowLevelSecurity` are in force, and nothing reads or writes past them.
    RowSecurity,
    /// The tenant's views and functions over the tables of others, which ended with one of these, are there again.
    GrantedViews,
    /// The backups that the tenant's schedules ask for are made in time.
    BackedUp,
    /// The `backupStore` of a `TenantDatabase` can be written and read.
    BackupStoreReady,
    /// An archive was proved as far as was asked for.
    Verified,
}

/// Whether `Ready` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Readiness {
    /// It does.
    True,
    /// It does not.
    False,
    /// It is not known.
    Unknown,
    /// It is what it was; not known if it never was anything.
    Kept,
}

impl From<bool> for Readiness {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// The condition that a user should read first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The reason of the most urgent condition: `Stalled`, else `Reconciling`, else `Paused`, else `Ready`.
    #[schemars(length(max = 64))]
    pub reason: String,

    /// Its message.
    #[schemars(length(max = MESSAGE_MAX_CHARS))]
    pub message: String,

    /// Since when that condition holds.
    pub since: Time,
}

/// The result of a reconcile, to be shown as conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    ready: Readiness,
    reason: Reason,
    message: String,
}

impl ConditionType {
    /// The conditions that a verdict is made of.
    pub const ALL: [Self; 4] = [Self::Ready, Self::Reconciling, Self::Stalled, Self::Paused];

    /// The word as status has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::Paused => "Paused",
            Self::Isolated => "Isolated",
            Self::RowSecurity => "RowSecurity",
            Self::GrantedViews => "GrantedViews",
            Self::BackedUp => "BackedUp",
            Self::BackupStoreReady => "BackupStoreReady",
            Self::Verified => "Verified",
        }
    }
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Verdict {
    /// What the reason says, under the condition that it is given with. `ready` says what that means for the user of the object:
    /// a tenant that only waits for an unreachable database to confirm it stays what it was.
    #[must_use]
    pub fn of(reason: Reason, message: impl Into<String>, ready: impl Into<Readiness>) -> Self {
        Self { ready: ready.into(), reason, message: cut(message.into()) }
    }

    /// The same, and this said besides.
    #[must_use]
    pub fn adding(self, text: &str) -> Self {
        Self { message: cut(self.message + text), ..self }
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// What is the case, for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether nothing is left to do or to wait for.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.reason.condition() == ConditionType::Ready
    }

    /// Whether a person must act.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.reason.condition() == ConditionType::Stalled
    }

    /// The conditions that say so, given those of before, the generation that was looked at and the time.
    ///
    /// Times have whole seconds, as in the API, so that what is written and what is read back are equal. A `Ready` that
    /// is kept keeps all of itself, its generation too: it was not looked at, and `kubectl wait` must not think so.
    #[must_use]
    pub fn conditions(&self, old: &[Condition], generation: i64, now: Timestamp) -> Vec<Condition> {
        let condition = |type_: ConditionType, status: &str| self.condition(type_, status, old, generation, now);
        let ready = match (self.ready, find(old, ConditionType::Ready)) {
            (Readiness::Kept, Some(before)) => before.clone(),
            (Readiness::Kept | Readiness::Unknown, _) => condition(ConditionType::Ready, "Unknown"),
            (Readiness::True, _) => condition(ConditionType::Ready, "True"),
            (Readiness::False, _) => condition(ConditionType::Ready, "False"),
        };
        let beside = self.reason.condition();
        let also = (beside != ConditionType::Ready).then(|| condition(beside, "True"));
        // A condition of another type says something of its own, beside how the object stands, and stays.
        let facets = old.iter().filter(|other| ConditionType::ALL.iter().all(|own| other.type_ != own.as_str()));
        std::iter::once(ready).chain(also).chain(facets.cloned()).collect()
    }

    fn condition(
        &self,
        type_: ConditionType,
        status: &str,
        old: &[Condition],
        generation: i64,
        now: Timestamp,
    ) -> Condition {
        let since = find(old, type_)
            .filter(|before| before.status == status)
            .map_or_else(|| whole_seconds(now), |before| before.last_transition_time.clone());
        Condition {
            type_: type_.as_str().to_owned(),
            status: status.to_owned(),
            reason: self.reason.as_str().to_owned(),
            message: self.message.clone(),
            observed_generation: Some(generation),
            last_transition_time: since,
        }
    }
}

/// Puts a condition beside those that say how an object stands, or takes it away. A verdict that is kept is unknown.
pub fn put_beside(
    verdict: Option<&Verdict>,
    type_: ConditionType,
    conditions: &mut Vec<Condition>,
    generation: i64,
    now: Timestamp,
) {
    let new = verdict.map(|verdict| {
        let status = match verdict.ready {
            Readiness::True => "True",
            Readiness::False => "False",
            Readiness::Unknown | Readiness::Kept => "Unknown",
        };
        verdict.condition(type_, status, conditions, generation, now)
    });
    match new {
        Some(new) => put(conditions, new),
        None => conditions.retain(|condition| condition.type_ != type_.as_str()),
    }
}

/// Puts a condition in the place of the one of its type, or last: their order stays, so that the same facts are the same status.
fn put(conditions: &mut Vec<Condition>, new: Condition) {
    match conditions.iter_mut().find(|condition| condition.type_ == new.type_) {
        Some(before) => *before = new,
        None => conditions.push(new),
    }
}

/// A status that has conditions.
pub trait Conditions {
    /// Its conditions.
    fn conditions(&self) -> &[Condition];
    /// The generation that it is about.
    fn observed_generation(&self) -> Option<i64>;
    /// What a person should read first.
    fn summary(&self) -> Option<&Summary>;

    /// True when it tells of the object as it is, and that nothing is left to do or to wait for.
    fn is_at_rest(&self, object: &ObjectMeta) -> bool {
        let conditions = self.conditions();
        let is_final = |stalled: &Condition| Reason::is_final(&stalled.reason);
        self.observed_generation() == object.generation
            && (find(conditions, ConditionType::Paused).is_none() || is_paused(object))
            && find(conditions, ConditionType::Reconciling).is_none()
            && (is_true(conditions, ConditionType::Ready)
                || find(conditions, ConditionType::Stalled).is_some_and(is_final))
    }
}

macro_rules! have_conditions {
    ($($status:ty),+) => {
        $(impl Conditions for $status {
            fn conditions(&self) -> &[Condition] {
                &self.conditions
            }
            fn observed_generation(&self) -> Option<i64> {
                self.observed_generation
            }
            fn summary(&self) -> Option<&Summary> {
                self.summary.as_ref()
            }
        })+
    };
}

have_conditions!(super::TenantSchemaStatus, super::SchemaBackupStatus, super::TenantDatabaseStatus);

/// The condition of that type, if there is one.
#[must_use]
pub fn find(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == type_.as_str())
}

/// The most urgent of the conditions. `Ready` keeps its meaning for tools that wait; people read this.
#[must_use]
pub fn summary(conditions: &[Condition]) -> Option<Summary> {
    let by_urgency = [ConditionType::Stalled, ConditionType::Reconciling, ConditionType::Paused, ConditionType::Ready];
    let first = by_urgency.into_iter().find_map(|type_| find(conditions, type_))?;
    Some(Summary {
        reason: first.reason.clone(),
        message: first.message.clone(),
        since: first.last_transition_time.clone(),
    })
}

/// The new condition of that type, if the old ones did not have it for the same reason.
#[must_use]
pub fn newly<'a>(old: &[Condition], new: &'a [Condition], type_: ConditionType) -> Option<&'a Condition> {
    find(new, type_).filter(|new| find(old, type_).is_none_or(|old| old.reason != new.reason))
}

/// Whether the condition of that type holds.
#[must_use]
pub fn is_true(conditions: &[Condition], type_: ConditionType) -> bool {
    find(conditions, type_).is_some_and(|condition| condition.status == "True")
}

/// The message without characters that control a terminal, and no longer than the API server takes.
fn cut(message: String) -> String {
    let message = plain(message);
    match message.char_indices().nth(MESSAGE_MAX_CHARS) {
        None => message,
        Some(_) => message.chars().take(MESSAGE_MAX_CHARS - 1).chain(['…']).collect(),
    }
}

/// The time without its fraction, which the API does not keep: what is written and what is read back are equal.
#[must_use]
pub fn whole_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

#[cfg(test)]
mod tests {
    use super::super::{PAUSED, SchemaBackupStatus, TenantSchemaStatus};
    use super::*;

    const THEN: Timestamp = Timestamp::constant(1_700_000_000, 0);
    const NOW: Timestamp = Timestamp::constant(1_700_000_060, 999_999_999);

    /// `check(verdict, expected)` on top of a Ready=True of generation 1, at generation 2.
    fn check(verdict: &Verdict, expected: &str) {
        let before = Verdict::of(Reason::Succeeded, "fine", true).conditions(&[], 1, THEN);
        assert_eq!(text(&verdict.conditions(&before, 2, NOW)), expected);
    }

    fn text(conditions: &[Condition]) -> String {
        let line = |c: &Condition| {
            let age = NOW.as_second() - c.last_transition_time.0.as_second();
            format!("{}={} {} g{} {age}s", c.type_, c.status, c.reason, c.observed_generation.unwrap_or(-1))
        };
        conditions.iter().map(line).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn ready_keeps_the_time_of_its_transition() {
        check(&Verdict::of(Reason::Suspended, "", true), "Ready=True Suspended g2 60s");
    }

    #[test]
    fn reconciling_is_there_only_while_it_holds() {
        check(
            &Verdict::of(Reason::Progressing, "", false),
            "Ready=False Progressing g2 0s; Reconciling=True Progressing g2 0s",
        );
        check(
            &Verdict::of(Reason::Progressing, "", Readiness::Unknown),
            "Ready=Unknown Progressing g2 0s; Reconciling=True Progressing g2 0s",
        );
    }

    #[test]
    fn a_kept_ready_is_untouched_down_to_its_generation() {
        check(
            &Verdict::of(Reason::DatabaseUnavailable, "", Readiness::Kept),
            "Ready=True Succeeded g1 60s; Reconciling=True DatabaseUnavailable g2 0s",
        );
        let first = Verdict::of(Reason::Progressing, "", Readiness::Kept).conditions(&[], 1, NOW);
        assert_eq!(text(&first), "Ready=Unknown Progressing g1 0s; Reconciling=True Progressing g1 0s");
    }

    #[test]
    fn a_summary_is_the_most_urgent_condition() {
        let check = |verdict: &Verdict, expected: &str| {
            let before = Verdict::of(Reason::Succeeded, "fine", true).conditions(&[], 1, THEN);
            let summary = summary(&verdict.conditions(&before, 2, NOW)).unwrap();
            let age = NOW.as_second() - summary.since.0.as_second();
            assert_eq!(format!("{} {} {age}s", summary.reason, summary.message), expected);
        };
        check(&Verdict::of(Reason::Suspended, "shut", true), "Suspended shut 60s");
        check(&Verdict::of(Reason::LimitExceeded, "far", true), "LimitExceeded far 0s");
        check(&Verdict::of(Reason::DatabaseUnavailable, "away", Readiness::Kept), "DatabaseUnavailable away 0s");
        check(&Verdict::of(Reason::Paused, "suspend", Readiness::Kept), "Paused suspend 0s");
        assert_eq!(summary(&[]), None);
    }

    #[test]
    fn stalled_replaces_reconciling() {
        check(
            &Verdict::of(Reason::LimitExceeded, "", true),
            "Ready=True LimitExceeded g2 60s; Stalled=True LimitExceeded g2 0s",
        );
        let working = Verdict::of(Reason::Progressing, "", false).conditions(&[], 1, THEN);
        let stuck = Verdict::of(Reason::Conflict, "", false).conditions(&working, 1, NOW);
        assert_eq!(text(&stuck), "Ready=False Conflict g1 60s; Stalled=True Conflict g1 0s");
        assert!(is_true(&stuck, ConditionType::Stalled) && !is_true(&stuck, ConditionType::Ready));
    }

    #[test]
    fn the_same_verdict_twice_changes_nothing() {
        let verdict = Verdict::of(Reason::Conflict, "taken", false);
        let once = verdict.conditions(&[], 3, THEN);
        assert_eq!(verdict.conditions(&once, 3, NOW), once);
        let read_back: Vec<Condition> = serde_json::from_value(serde_json::to_value(&once).unwrap()).unwrap();
        assert_eq!(read_back, once);
    }

    #[test]
    fn a_condition_of_another_type_is_kept() {
        let mut before = Verdict::of(Reason::Conflict, "taken", false).conditions(&[], 1, THEN);
        before.push(Condition { type_: "Verified".to_owned(), ..before[0].clone() });
        let after = Verdict::of(Reason::Succeeded, "fine", true).conditions(&before, 2, NOW);
        assert_eq!(text(&after), "Ready=True Succeeded g2 0s; Verified=False Conflict g1 60s");
    }

    #[test]
    fn messages_are_cut_at_characters() {
        let verdict = Verdict::of(Reason::Succeeded, "é".repeat(MESSAGE_MAX_CHARS + 1), true);
        assert_eq!(verdict.message().chars().count(), MESSAGE_MAX_CHARS);
        assert!(verdict.message().ends_with('…'));
    }

    #[test]
    fn what_is_said_besides_stands_behind_the_message() {
        let verdict = Verdict::of(Reason::Conflict, "taken", false).adding("; choose another");
        assert_eq!((verdict.reason(), verdict.message()), (Reason::Conflict, "taken; choose another"));
        let check = |added: &str, expected: &str| {
            let long = Verdict::of(Reason::Conflict, "a".repeat(MESSAGE_MAX_CHARS - 1), false).adding(added);
            assert_eq!(long.message(), format!("{}{expected}", "a".repeat(MESSAGE_MAX_CHARS - 1)));
        };
        check("b", "b");
        check("bc", "…");
    }

    #[test]
    fn a_reason_says_whether_it_is_settled_or_a_person_must_act() {
        let check = |reason: Reason, settled: bool, stalled: bool| {
            let verdict = Verdict::of(reason, "", true);
            assert_eq!((verdict.is_settled(), verdict.is_stalled()), (settled, stalled), "{reason}");
        };
        check(Reason::Succeeded, true, false);
        check(Reason::QuotaExceeded, true, false);
        check(Reason::Progressing, false, false);
        check(Reason::DatabaseUnavailable, false, false);
        check(Reason::Paused, false, false);
        check(Reason::LimitExceeded, false, true);
    }

    #[test]
    fn a_status_is_at_rest_when_nothing_more_comes_of_its_generation() {
        let check = |verdict: &Verdict, expected: bool| {
            let conditions = verdict.conditions(&[], 2, NOW);
            let status = SchemaBackupStatus { observed_generation: Some(2), conditions, ..Default::default() };
            let object = |generation| ObjectMeta { generation: Some(generation), ..ObjectMeta::default() };
            assert_eq!(status.is_at_rest(&object(2)), expected, "{verdict:?}");
            assert!(!status.is_at_rest(&object(3)), "{verdict:?}");
        };
        check(&Verdict::of(Reason::Completed, "", true), true);
        check(&Verdict::of(Reason::Failed, "", false), true);
        check(&Verdict::of(Reason::Cancelled, "", false), true);
        check(&Verdict::of(Reason::Conflict, "", false), false);
        check(&Verdict::of(Reason::Running, "", false), false);
        check(&Verdict::of(Reason::Progressing, "", true), false);
        check(&Verdict::of(Reason::Paused, "", Readiness::Unknown), false);
        assert!(!TenantSchemaStatus::default().is_at_rest(&ObjectMeta::default()));
    }

    #[test]
    fn a_pause_that_was_taken_off_is_not_told_any_longer() {
        let conditions = Verdict::of(Reason::Paused, "", true).conditions(&[], 1, THEN);
        let status = TenantSchemaStatus { conditions, observed_generation: Some(1), ..TenantSchemaStatus::default() };
        let mut object = ObjectMeta { generation: Some(1), ..ObjectMeta::default() };
        assert!(!status.is_at_rest(&object));
        object.annotations = Some([(PAUSED.to_owned(), String::new())].into());
        assert!(status.is_at_rest(&object));
    }

    #[test]
    fn only_another_reason_is_new() {
        let stalled = |reason: Reason, message: &str| Verdict::of(reason, message, false).conditions(&[], 1, THEN);
        let check = |old: &[Condition], new: &[Condition], expected: Option<&str>| {
            let found = newly(old, new, ConditionType::Stalled);
            assert_eq!(found.map(|condition| condition.message.as_str()), expected);
        };
        let taken = stalled(Reason::Conflict, "taken");
        check(&[], &taken, Some("taken"));
        check(&stalled(Reason::Progressing, "at work"), &taken, Some("taken"));
        check(&stalled(Reason::SchemaMissing, "lost"), &taken, Some("taken"));
        check(&stalled(Reason::Conflict, "taken by another"), &taken, None);
        check(&taken, &stalled(Reason::Progressing, "at work"), None);
    }
}
