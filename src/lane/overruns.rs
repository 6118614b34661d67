//! Whose calls passed their deadline without an answer.
//!
//! A restore runs code of the tenant's, and counts in the log how often it was cancelled there, so that it tries less
//! the next time. Code that catches every cancellation is only ended with its connection, and then there is no row. So
//! the process remembers it, beyond the lane, which ends with such a call, and tells the next attempt. The first time
//! it may have been an outage, so it does not count for the tenant.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::contract::{Call, Step};

/// Longer than the longest pause between two attempts, which is a minute.
const REMEMBERED: Duration = Duration::from_mins(10);

/// How many restores in a row, and when the latest ended, by the UID of the tenant's object. What a TenantDatabase
/// brings back has no object yet, and is restored one at a time: it has the name of the call. Pure: the caller gives
/// the time.
#[derive(Debug, Default)]
pub struct Overruns(HashMap<String, (u32, Instant)>);

/// By what a call is remembered; nothing if it runs no code of a tenant's.
#[must_use]
pub fn key(uid: Option<&str>, steps: &[Step]) -> Option<String> {
    let calls = |call: &Call| steps.iter().any(|step| step.call() == *call);
    match uid {
        _ if calls(&Call::BringBack) => Some(Call::BringBack.to_string()),
        Some(uid) if calls(&Call::RestoreTenantSchema) || calls(&Call::RemakeDependents) => Some(uid.to_owned()),
        _ => None,
    }
}

impl Overruns {
    /// A call got no answer.
    pub fn note(&mut self, key: &str, now: Instant) {
        self.0.retain(|_, (_, at)| *at + REMEMBERED > now);
        let (count, latest) = self.0.entry(key.to_owned()).or_insert((0, now));
        (*count, *latest) = (*count + 1, now);
    }

    /// The call ended well. The tenant may cause an answer of busy or failed, so such an answer does not count.
    pub fn forget(&mut self, key: &str) {
        self.0.remove(key);
    }

    /// Tells the steps that restore how many attempts are to be counted as cut off.
    pub fn tell(&self, key: &str, steps: &mut [Step]) {
        let count = self.0.get(key).map_or(0, |(count, _)| count - 1);
        if count > 0 {
            for cut_off in steps.iter_mut().filter_map(Step::cut_off) {
                *cut_off = Some(count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn restore() -> Step {
        Step::RestoreTenantSchema {
            backup_id: Uuid::nil(),
            owner: serde_json::from_value(json!({ "cluster": "", "namespace": "", "name": "", "uid": "a" })).unwrap(),
            transfer: None,
            cut_off: None,
            location: String::new(),
        }
    }

    fn bring_back() -> Step {
        Step::BringBack { since: Timestamp::UNIX_EPOCH, skip: Vec::new(), cut_off: None }
    }

    #[test]
    fn only_what_restores_is_remembered() {
        assert_eq!(key(Some("a"), &[restore()]).as_deref(), Some("a"));
        assert_eq!(key(None, &[bring_back()]).as_deref(), Some("bring_back"));
        let cancel = Step::CancelBackup { backup_id: Uuid::nil() };
        assert_eq!(key(None, std::slice::from_ref(&cancel)), None);
        assert_eq!(key(Some("a"), &[cancel]), None);
    }

    #[test]
    fn a_restore_that_got_no_answer_is_told_so_until_one_is_answered() {
        let start = Instant::now();
        let mut overruns = Overruns::default();
        let of = |overruns: &Overruns, key: &str| {
            let mut steps = [restore()];
            overruns.tell(key, &mut steps);
            *steps[0].cut_off().unwrap()
        };
        let told = |overruns: &Overruns| of(overruns, "a");
        assert_eq!(told(&overruns), None);
        overruns.note("a", start);
        assert_eq!(told(&overruns), None, "it may have been an outage");
        overruns.note("a", start);
        assert_eq!(told(&overruns), Some(1));
        overruns.note("a", start);
        assert_eq!(told(&overruns), Some(2));
        assert_eq!(of(&overruns, "b"), None, "another's");
        let mut cancel = [Step::CancelBackup { backup_id: Uuid::nil() }];
        overruns.tell("a", &mut cancel);
        assert!(cancel[0].cut_off().is_none());
        overruns.forget("a");
        assert_eq!(told(&overruns), None);
        for _ in 0..3 {
            overruns.note("a", start);
        }
        overruns.note("a", start + REMEMBERED / 10 * 9);
        overruns.note("b", start + REMEMBERED + Duration::from_secs(1));
        assert_eq!(told(&overruns), Some(3), "the latest counts");
        overruns.note("b", start + REMEMBERED * 2);
        assert_eq!(told(&overruns), None, "what is old is not remembered");
    }
}
