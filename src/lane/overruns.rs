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

/// How many calls in a row, and when the latest ended, by the UID of the tenant's object. Pure: who asks says what time it is.
#[derive(Debug, Default)]
pub struct Overruns(HashMap<String, (u32, Instant)>);

impl Overruns {
    /// A call got no answer.
    pub fn note(&mut self, uid: &str, now: Instant) {
        self.0.retain(|_, (_, at)| *at + REMEMBERED > now);
        self.0.entry(uid.to_owned()).or_insert((0, now)).0 += 1;
    }

    /// A call was answered.
    pub fn forget(&mut self, uid: &str) {
        self.0.remove(uid);
    }

    /// The steps, and in those that restore how many attempts at it are to be counted as cut off.
    #[must_use]
    pub fn told(&self, uid: &str, mut steps: Value) -> Value {
        let count = self.0.get(uid).map_or(0, |(count, _)| count - 1);
        if let (1.., Some(steps)) = (count, steps.as_array_mut()) {
            for step in steps {
                if matches!(step["call"].as_str(), Some("restore_tenant_schema" | "bring_back")) {
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
        overruns.note("b", start + REMEMBERED);
        assert_eq!(told(&overruns), json!(null), "what is old is not remembered");
    }
}
