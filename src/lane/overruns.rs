//! Whose calls passed their deadline without an answer.
//!
//! A restore runs code of the tenant's, and counts in the log how often it was cancelled there, so that it tries less the next time. Code
//! that catches every cancellation is only ended with its connection, and then there is no row. So the process remembers it, beyond
//! the lane, which ends with such a call, and tells the next attempt. The first time it may have been an outage: that is held against no
//! tenant.

use std::{collections::HashMap, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;

/// The longest pause between two attempts is a minute.
const REMEMBERED: Duration = Duration::from_mins(10);
/// The calls that run code of a tenant.
const RESTORE: &str = "restore_tenant_schema";
const BRING_BACK: &str = "bring_back";

/// How many restores in a row, and when the latest ended, by the UID of the tenant's object. What a TenantDatabase brings back has no
/// object yet, and is restored one at a time: it has the name of the call. Pure: who asks says what time it is.
#[derive(Debug, Default)]
pub struct Overruns(HashMap<String, (u32, Instant)>);

/// By what a call is remembered; nothing if it restores nothing.
#[must_use]
pub fn key(uid: Option<&str>, steps: &Value) -> Option<String> {
    let calls = |name: &str| steps.as_array().into_iter().flatten().any(|step| step["call"] == name);
    match uid {
        _ if calls(BRING_BACK) => Some(BRING_BACK.to_owned()),
        Some(uid) if calls(RESTORE) => Some(uid.to_owned()),
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

    /// It came to its end. An answer that it is busy, or failed, may be the tenant's doing and ends nothing.
    pub fn forget(&mut self, key: &str) {
        self.0.remove(key);
    }

    /// The steps, and in those that restore how many attempts at it are to be counted as cut off.
    #[must_use]
    pub fn told(&self, key: &str, mut steps: Value) -> Value {
        let count = self.0.get(key).map_or(0, |(count, _)| count - 1);
        if let (1.., Some(steps)) = (count, steps.as_array_mut()) {
            for step in steps {
                if matches!(step["call"].as_str(), Some(RESTORE | BRING_BACK)) {
                    step["options"]["cut_off"] = json!(count);
                }
            }
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_restores_is_remembered() {
        let steps = |call: &str| json!([{ "call": call, "options": {} }]);
        assert_eq!(key(Some("a"), &steps("restore_tenant_schema")).as_deref(), Some("a"));
        assert_eq!(key(None, &steps("bring_back")).as_deref(), Some("bring_back"));
        assert_eq!(key(None, &steps("release_tenants")), None);
        assert_eq!(key(Some("a"), &steps("cancel_backup")), None);
    }

    #[test]
    fn a_restore_that_got_no_answer_is_told_so_until_one_is_answered() {
        let start = Instant::now();
        let mut overruns = Overruns::default();
        let restore = json!([{ "call": "restore_tenant_schema", "options": { "backup_id": "b" } }]);
        let told = |overruns: &Overruns| overruns.told("a", restore.clone())[0]["options"]["cut_off"].clone();
        assert_eq!(told(&overruns), json!(null));
        overruns.note("a", start);
        assert_eq!(told(&overruns), json!(null), "it may have been an outage");
        overruns.note("a", start);
        assert_eq!(told(&overruns), json!(1));
        overruns.note("a", start);
        assert_eq!(told(&overruns), json!(2));
        assert_eq!(overruns.told("b", restore.clone()), restore, "another's");
        let create = json!([{ "call": "create_tenant_schema", "options": {} }]);
        assert_eq!(overruns.told("a", create.clone()), create);
        overruns.forget("a");
        assert_eq!(told(&overruns), json!(null));
        for _ in 0..3 {
            overruns.note("a", start);
        }
        overruns.note("a", start + REMEMBERED / 10 * 9);
        overruns.note("b", start + REMEMBERED + Duration::from_secs(1));
        assert_eq!(told(&overruns), json!(3), "the latest counts");
        overruns.note("b", start + REMEMBERED * 2);
        assert_eq!(told(&overruns), json!(null), "what is old is not remembered");
    }
}
