//! The API server's clock. Deletions are stamped by it, so what is compared with them is asked of it and not of this machine.
//!
//! It costs no request: the answer to a write has in its managed fields the time at which the API server took it.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// How far the API server's clock is ahead of this process's, in milliseconds; nothing until something was written.
#[derive(Debug, Default)]
pub struct ApiClock(AtomicI64);

impl ApiClock {
    /// The time by the API server's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        now.checked_add(self.ahead()).unwrap_or(now)
    }

    /// How far the API server's clock is ahead.
    #[must_use]
    pub fn ahead(&self) -> SignedDuration {
        SignedDuration::from_millis(self.0.load(Ordering::Relaxed))
    }

    /// The API server wrote this for us between two moments of ours.
    pub fn hear(&self, written: &ObjectMeta, asked: Timestamp, answered: Timestamp) {
        let fields = written.managed_fields.iter().flatten();
        let Some(at) = fields.filter_map(|entry| Some(entry.time.as_ref()?.0)).max() else { return };
        self.0.store(ahead(at, asked, answered).as_millis().try_into().unwrap_or_default(), Ordering::Relaxed);
    }
}

/// How far a clock is ahead that showed this second between two moments of ours: nothing while it may be right.
fn ahead(second: Timestamp, asked: Timestamp, answered: Timestamp) -> SignedDuration {
    let early = second.duration_since(answered).max(SignedDuration::ZERO);
    let late = (second.duration_since(asked) + SignedDuration::from_secs(1)).min(SignedDuration::ZERO);
    early + late
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_of_whole_seconds_is_off_by_what_no_delay_explains() {
        let check = |second: &str, expected: i64| {
            let at = |text: &str| format!("2026-01-01T12:00:{text}Z").parse::<Timestamp>().unwrap();
            let second = format!("2026-01-01T{second}Z").parse().unwrap();
            assert_eq!(ahead(second, at("10.5"), at("11.25")).as_millis(), i128::from(expected), "{second}");
        };
        check("12:00:10", 0);
        check("12:00:11", 0);
        check("12:00:12", 750);
        check("12:00:09", -500);
        check("14:00:11", 7_199_750);
    }
}
