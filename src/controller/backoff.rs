//! How long to wait before looking again: by object, growing, jittered, bounded, without an end.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::kubernetes::id::Id;

/// The first delay.
const FIRST: Duration = Duration::from_millis(500);
/// No delay is longer, however often something failed: an outage of a week is over within a minute of its end.
const LONGEST: Duration = Duration::from_mins(1);

/// The delay before attempt number `attempt`, from 0. `jitter` is from 0 to 1 and takes away up to a third, so that a
/// thousand objects that failed together do not come back together. Pure.
#[must_use]
pub fn delay(attempt: u32, jitter: f64) -> Duration {
    let grown = FIRST.saturating_mul(2_u32.saturating_pow(attempt.min(16))).min(LONGEST);
    grown.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 3.0)
}

/// Attempts by object.
#[derive(Debug, Default)]
pub struct Backoff(Mutex<HashMap<Id, u32>>);

impl Backoff {
    /// The next delay of the object with this UID.
    pub fn next(&self, uid: &str, jitter: f64) -> Duration {
        let mut attempts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let attempt = attempts.entry(Id::of_uid(uid)).or_insert(0);
        let delay = delay(*attempt, jitter);
        *attempt = attempt.saturating_add(1);
        delay
    }

    /// The object is well, or gone.
    pub fn reset(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&Id::of_uid(uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_minute_and_stay_there() {
        assert_eq!(delay(0, 0.0), Duration::from_millis(500));
        assert_eq!(delay(3, 0.0), Duration::from_secs(4));
        assert_eq!(delay(7, 0.0), Duration::from_mins(1));
        assert_eq!(delay(u32::MAX, 0.0), Duration::from_mins(1));
    }

    #[test]
    fn jitter_takes_away_at_most_a_third() {
        assert_eq!(delay(7, 1.0), Duration::from_secs(40));
        assert!(delay(7, 0.5) > Duration::from_secs(40) && delay(7, 0.5) < Duration::from_mins(1));
    }

    #[test]
    fn a_success_starts_again_from_the_shortest() {
        let backoff = Backoff::default();
        backoff.next("a", 0.0);
        backoff.next("a", 0.0);
        backoff.reset("a");
        assert_eq!(backoff.next("a", 0.0), FIRST);
    }
}
