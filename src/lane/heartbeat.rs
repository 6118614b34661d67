//! What the database and its holder tell each other between surveys: that the holder is alive, that the database is the one
//! that it was, and who else wants it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::{Lane, overruns::Overruns, places};
use crate::contract::{Beat, CallResult, CallStatus, Contest, Quiet};
use crate::postgres::{Error, Heard};

/// How often the holder says that it is alive. The database takes it for gone after 45 s, after 20 s if the process that asks
/// is of the same Lease, and after 8 s if that process knows the holder's claim as well.
const PERIOD: Duration = Duration::from_secs(5);
/// A holder that leaves says so within this time, or not at all.
const LEAVING: Duration = Duration::from_secs(2);

/// What one process has seen of a database. It outlives the lane, so that an older state is known for one.
#[derive(Debug, Default)]
pub struct Seen {
    heard: Mutex<Option<(Uuid, i64, i64)>>,
    pub(super) pace: places::Memory,
    pub(super) overruns: Mutex<Overruns>,
}

impl Seen {
    /// Epoch and signs of life of this installation, as the options of a claim have them.
    #[must_use]
    pub fn of(&self, installation: Uuid) -> Option<(i64, i64)> {
        let seen = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        seen.filter(|(known, ..)| *known == installation).map(|(_, epoch, beats)| (epoch, beats))
    }

    fn note(&self, installation: Uuid, epoch: i64, beats: i64) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some((installation, epoch, beats));
    }
}

/// What the latest answer said of the world.
#[derive(Clone, Debug, Default)]
pub struct World {
    contest: Option<Contest>,
    quiet: Option<Quiet>,
    /// How far the server's clock is ahead of ours, at the least.
    ahead: SignedDuration,
}

/// Says that the holder is alive until the lane is lost.
pub async fn keep(lane: Arc<Lane>) {
    let mut lost = lane.lost.subscribe();
    loop {
        tokio::select! {
            _ = lost.wait_for(|lost| *lost) => return,
            () = sleep(PERIOD) => {}
        }
        if let Err(error) = lane.beat().await {
            tracing::debug!(database = lane.database, %error, "cannot say that the holder is alive");
        }
    }
}

impl Lane {
    /// Says that the holder is alive, and hears how the world is.
    async fn beat(&self) -> Result<(), Error> {
        let asked = Timestamp::now();
        let result = self.watched(self.functions.heartbeat_lane(self.hold, &json!({})).await)?;
        self.judge(&result);
        if result.status == CallStatus::Success {
            let beat = read(result)?;
            let changed = self.contest() != beat.contest;
            self.hear(&beat, asked);
            if changed {
                (self.ring)();
            }
        }
        Ok(())
    }

    /// Leaves in order, so that the next holder need not wait until this holder counts as gone. The lane is lost before.
    pub async fn leave(&self) {
        let options = json!({ "leaving": true });
        // A holder that is not heard counts as gone after a while.
        let _ = timeout(LEAVING, self.functions.heartbeat_lane(self.hold, &options)).await;
    }

    /// What an answer to a question that was put at `asked` said of the world.
    pub fn hear(&self, beat: &Beat, asked: Timestamp) {
        self.functions.pool().hear(Heard { start: beat.start, beats: beat.beats });
        self.seen.note(self.hold.installation_id, self.hold.epoch, beat.beats);
        let ahead = ahead(beat.clock, asked, Timestamp::now());
        let heard = World { contest: beat.contest.clone(), quiet: beat.quiet.clone(), ahead };
        *self.world.lock().unwrap_or_else(PoisonError::into_inner) = heard;
    }

    /// Who else wants the lane.
    #[must_use]
    pub fn contest(&self) -> Option<Contest> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner).contest.clone()
    }

    /// Until when nothing expires and nothing is purged.
    #[must_use]
    pub fn quiet(&self) -> Option<Quiet> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner).quiet.clone()
    }

    /// How far the server's clock is ahead of this process's.
    #[must_use]
    pub fn ahead(&self) -> SignedDuration {
        self.world.lock().unwrap_or_else(PoisonError::into_inner).ahead
    }
}

/// How far a clock is ahead that showed this between two moments of ours: nothing while it may be right.
fn ahead(clock: f64, asked: Timestamp, answered: Timestamp) -> SignedDuration {
    let Ok(shown) = SignedDuration::try_from_secs_f64(clock) else { return SignedDuration::ZERO };
    let (asked, answered) = (asked.as_duration(), answered.as_duration());
    (shown - answered).max(SignedDuration::ZERO) + (shown - asked).min(SignedDuration::ZERO)
}

fn read(result: CallResult) -> Result<Beat, Error> {
    let detail: Value = result.detail;
    serde_json::from_value(detail).map_err(|source| Error::Answer { call: "heartbeat_lane", source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_off_by_what_no_delay_explains() {
        let check = |clock: f64, expected: i64| {
            let at = |second| Timestamp::from_second(second).unwrap();
            assert_eq!(ahead(clock, at(1000), at(1010)).as_secs(), expected, "{clock}");
        };
        check(1000.0, 0);
        check(1005.0, 0);
        check(1010.0, 0);
        check(1130.0, 120);
        check(940.0, -60);
        check(f64::MAX, 0);
    }

    #[test]
    fn what_was_seen_of_one_installation_says_nothing_of_another() {
        let seen = Seen::default();
        seen.note(Uuid::nil(), 3, 70);
        assert_eq!(seen.of(Uuid::nil()), Some((3, 70)));
        assert_eq!(seen.of(Uuid::max()), None);
    }
}
