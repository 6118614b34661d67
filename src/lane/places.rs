//! The places of a lane: how many reconciles may use the database at once, and whose turn it is.
//!
//! There are two by default, and how long a call lasts is partly its tenant's doing: its index expressions run when a
//! foreign key is checked, and its sessions hold locks. Three tenants that make each call last until it is cancelled,
//! again and again, would keep all others waiting. So a namespace that spends a good part of its time in calls of more
//! than a second, or has one under way for longer than five, counts as slow for ten minutes after it, and all that are
//! slow have together one place less than there are: others find that one as soon as the calls have ended that were
//! under way when it showed. A namespace that is quick may have all places, however much it does, and single calls that
//! a busy server delays do not make it slow. Calls that wait for the same place are served in the order of coming, so
//! that the quick ones do not overtake the others for ever. A reconcile that waits also keeps one of the operator's
//! workers busy, of which there are few. So one call of a slow namespace waits at a time, four of all, and the others
//! are told to come again, later and later. The memory outlives a lane, for a call that passes its deadline ends the
//! lane.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit, TryAcquireError},
    time::Instant,
};

use crate::postgres::Error;

/// A call that lasts longer counts as slow: a hundred times what a creation takes, and half of the shortest wait for a lock.
const SLOW: Duration = Duration::from_secs(1);
/// A namespace is slow when its slow calls took so long together, and a fourth of all the time that its calls took.
const MUCH: Duration = Duration::from_secs(5);
const SHARE: u32 = 4;
/// For so long after its latest slow call a namespace counts as slow. The longest pause between two attempts is a minute.
const REMEMBERED: Duration = Duration::from_mins(10);
/// So many calls of slow namespaces wait, each of another one.
const MOST_WAITING: usize = 4;

/// The calls of one namespace.
#[derive(Clone, Copy, Debug)]
struct Spent {
    /// How long all of them took, and how long the slow ones.
    all: Duration,
    slow: Duration,
    /// When the latest slow one ended.
    ended: Instant,
}

/// Which namespaces are slow. Pure: the caller gives the time.
#[derive(Debug, Default)]
pub struct Pace {
    running: HashMap<u64, (String, Instant)>,
    begun: u64,
    /// Namespaces that had a slow call not long ago.
    spent: HashMap<String, Spent>,
    waiting: HashSet<String>,
}

impl Pace {
    /// The operator's own calls, which have no namespace and come one at a time, are never slow: they bring tenants back.
    fn is_slow(&self, namespace: &str, now: Instant) -> bool {
        if namespace.is_empty() {
            return false;
        }
        let is_much =
            |spent: &Spent| spent.ended + REMEMBERED > now && spent.slow >= MUCH && spent.slow * SHARE >= spent.all;
        self.spent.get(namespace).is_some_and(is_much)
            || self.running.values().any(|(of, begun)| of == namespace && *begun + MUCH < now)
    }

    fn begin(&mut self, namespace: &str, now: Instant) -> u64 {
        self.begun += 1;
        self.running.insert(self.begun, (namespace.to_owned(), now));
        self.begun
    }

    fn end(&mut self, call: u64, now: Instant) {
        let Some((namespace, begun)) = self.running.remove(&call) else { return };
        let took = now - begun;
        if took > SLOW {
            self.spent.retain(|_, spent| spent.ended + REMEMBERED > now);
            let none = Spent { all: Duration::ZERO, slow: Duration::ZERO, ended: now };
            let spent = self.spent.entry(namespace).or_insert(none);
            *spent = Spent { all: spent.all + took, slow: spent.slow + took, ended: now };
        } else if let Some(spent) = self.spent.get_mut(&namespace) {
            spent.all += took;
        }
    }

    /// Whether one more call of this namespace may wait; it counts until it is taken out of `waiting`.
    fn may_wait(&mut self, namespace: &str) -> bool {
        self.waiting.len() < MOST_WAITING && self.waiting.insert(namespace.to_owned())
    }
}

/// What a process remembers of the pace of namespaces at one database.
pub type Memory = Arc<Mutex<Pace>>;

/// The places of one lane.
#[derive(Debug)]
pub struct Places {
    all: Semaphore,
    /// Those that slow namespaces may have.
    slow: Semaphore,
    count: usize,
    pace: Memory,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    places: &'a Places,
    call: u64,
    _permits: (Option<SemaphorePermit<'a>>, SemaphorePermit<'a>),
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.places.pace().end(self.call, Instant::now());
    }
}

/// A call that waits for a place of the slow ones.
struct Waiting<'a, 'b>(&'a Places, &'b str);

impl Drop for Waiting<'_, '_> {
    fn drop(&mut self) {
        self.0.pace().waiting.remove(self.1);
    }
}

impl Places {
    /// So many places, at least one.
    #[must_use]
    pub fn new(count: usize, pace: Memory) -> Self {
        let count = count.max(1);
        // A lane of one place can keep none for the others.
        let slow = (count - 1).max(1);
        Self { all: Semaphore::new(count), slow: Semaphore::new(slow), count, pace }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// A place for a look, which takes no longer for what a tenant does.
    pub async fn look(&self) -> Result<SemaphorePermit<'_>, Error> {
        self.all.acquire().await.map_err(|_| Error::LaneClosed)
    }

    /// A place for a call on behalf of a namespace; an empty name is the operator's own.
    pub async fn take(&self, namespace: &str) -> Result<Turn<'_>, Error> {
        let mut slow = None;
        loop {
            if slow.is_none() && self.is_slow(namespace) {
                slow = Some(self.slow_place(namespace).await?);
            }
            let place = self.look().await?;
            // The namespace may have become slow while this call waited.
            if slow.is_some() || !self.is_slow(namespace) {
                let call = self.pace().begin(namespace, Instant::now());
                return Ok(Turn { places: self, call, _permits: (slow, place) });
            }
        }
    }

    /// A place for work that takes long: with two places or more one is left for what is quick.
    pub async fn take_long(&self) -> Result<Turn<'_>, Error> {
        let slow = self.slow.acquire().await.map_err(|_| Error::LaneClosed)?;
        let place = self.look().await?;
        let call = self.pace().begin("", Instant::now());
        Ok(Turn { places: self, call, _permits: (Some(slow), place) })
    }

    /// Waits until all places are free.
    pub async fn drain(&self) -> Result<SemaphorePermit<'_>, Error> {
        let all = u32::try_from(self.count).unwrap_or(u32::MAX);
        self.all.acquire_many(all).await.map_err(|_| Error::LaneClosed)
    }

    /// Calls that wait are answered that the lane is closed.
    pub fn close(&self) {
        self.slow.close();
        self.all.close();
    }

    async fn slow_place(&self, namespace: &str) -> Result<SemaphorePermit<'_>, Error> {
        // The semaphore is fair: no place is free as long as a call waits.
        match self.slow.try_acquire() {
            Ok(place) => return Ok(place),
            Err(TryAcquireError::Closed) => return Err(Error::LaneClosed),
            Err(TryAcquireError::NoPermits) => {}
        }
        if !self.pace().may_wait(namespace) {
            return Err(Error::Crowded);
        }
        let _waiting = Waiting(self, namespace);
        self.slow.acquire().await.map_err(|_| Error::LaneClosed)
    }

    fn is_slow(&self, namespace: &str) -> bool {
        self.pace().is_slow(namespace, Instant::now())
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        // Each change is whole, so a panic elsewhere leaves it usable.
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    /// Places of which these namespaces had a long call just now.
    fn places(count: usize, slow: &[&str]) -> Places {
        let places = Places::new(count, Memory::default());
        for namespace in slow {
            let mut pace = places.pace();
            let call = pace.begin(namespace, Instant::now().checked_sub(MUCH).unwrap());
            pace.end(call, Instant::now());
            drop(pace);
        }
        places
    }

    /// `check(when a call began and ended, asked, expected)`, in milliseconds.
    fn check_pace(calls: &[(u64, Option<u64>)], asked: u64, expected: bool) {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pace = Pace::default();
        for (begun, ended) in calls {
            let call = pace.begin("a", at(*begun));
            if let Some(ended) = ended {
                pace.end(call, at(*ended));
            }
        }
        assert_eq!(pace.is_slow("a", at(asked)), expected, "{calls:?} at {asked}");
        assert!(!pace.is_slow("b", at(asked)), "another namespace is not");
    }

    #[test]
    fn a_namespace_is_slow_from_the_sixth_second_of_a_call_until_ten_minutes_after() {
        check_pace(&[(0, Some(900)), (0, Some(1_000)), (900, Some(1_500))], 1_600, false);
        check_pace(&[(0, None)], 5_000, false);
        check_pace(&[(0, None)], 5_001, true);
        check_pace(&[(0, Some(4_999))], 5_000, false);
        check_pace(&[(0, Some(29_000))], 629_000 - 1, true);
        check_pace(&[(0, Some(29_000))], 629_000, false);
        check_pace(&[(0, Some(29_000)), (29_000, Some(29_100))], 629_000, false);
        check_pace(&[(0, Some(29_000)), (30_000, Some(32_000))], 631_000, true);
    }

    #[test]
    fn short_slow_calls_count_together_and_beside_what_is_quick() {
        let waits_for_locks: Vec<_> = (0..3).map(|n| (n * 2_000, Some(n * 2_000 + 2_000))).collect();
        check_pace(&waits_for_locks[..2], 6_000, false);
        check_pace(&waits_for_locks, 6_000, true);
        // A thousand quick calls among which a busy server delays a few.
        let mut busy: Vec<_> = (0..1_000).map(|n| (n * 50, Some(n * 50 + 50))).collect();
        busy.splice(0..0, (0..4).map(|n| (n * 2_000, Some(n * 2_000 + 2_000))));
        check_pace(&busy, 50_000, false);
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let start = Instant::now();
        let mut pace = Pace::default();
        for n in 0..100 {
            let call = pace.begin(&format!("n{n}"), start);
            pace.end(call, start + SLOW * 2);
        }
        assert_eq!((pace.spent.len(), pace.running.len()), (100, 0));
        let call = pace.begin("a", start + REMEMBERED);
        pace.end(call, start + REMEMBERED + SLOW * 2);
        assert_eq!(pace.spent.keys().collect::<Vec<_>>(), ["a"]);
    }

    /// `check(places, slow namespaces, those that ask, who gets a place at once)`.
    fn check_places(count: usize, slow: &[&str], ask: &[&str], expected: &[bool]) {
        let places = places(count, slow);
        let turns: Vec<_> = ask.iter().map(|namespace| places.take(namespace).now_or_never()).collect();
        let got: Vec<bool> = turns.iter().map(|turn| matches!(turn, Some(Ok(_)))).collect();
        assert_eq!(got, expected, "{count} places, slow {slow:?}, asked {ask:?}");
    }

    #[test]
    fn one_place_is_kept_from_those_that_are_slow() {
        check_places(2, &[], &["a", "a", "b"], &[true, true, false]);
        check_places(2, &["a"], &["a", "a", "b", "b"], &[true, false, true, false]);
        check_places(2, &["a", "c"], &["a", "c", "b"], &[true, false, true]);
        check_places(2, &["a"], &["b", "b", "a"], &[true, true, false]);
        check_places(4, &["a"], &["a", "a", "a", "a", "b"], &[true, true, true, false, true]);
        check_places(1, &["a"], &["a", "b"], &[true, false]);
        check_places(0, &["a"], &["a"], &[true]);
        // The operator's own calls are never slow.
        check_places(2, &["", "a"], &["", "", "a"], &[true, true, false]);
    }

    #[test]
    fn a_namespace_that_shows_slow_while_it_waits_leaves_the_place_to_others() {
        let places = places(2, &[]);
        let mut first = places.take("a").now_or_never();
        let second = places.take("a").now_or_never().unwrap().unwrap();
        let mut third = Box::pin(places.take("a"));
        let mut other = Box::pin(places.take("b"));
        assert!((&mut third).now_or_never().is_none() && (&mut other).now_or_never().is_none());
        let spent = Spent { all: MUCH, slow: MUCH, ended: Instant::now() };
        places.pace().spent.insert("a".into(), spent);
        // `second` goes on, and the place that is free goes on to the one that is quick.
        drop(first.take());
        let slow = places.slow.try_acquire().unwrap();
        assert!((&mut third).now_or_never().is_none());
        assert!(other.now_or_never().unwrap().is_ok());
        drop((slow, second));
        assert!(third.now_or_never().unwrap().is_ok());
    }

    #[test]
    fn one_call_of_a_slow_namespace_waits_and_four_in_all() {
        let slow = ["a", "b", "c", "d", "e"];
        let places = places(2, &slow);
        let turn = places.take("a").now_or_never();
        let mut waiting: Vec<_> = slow.iter().map(|namespace| Box::pin(places.take(namespace))).collect();
        let answers: Vec<_> = waiting.iter_mut().map(FutureExt::now_or_never).collect();
        assert!(answers[..4].iter().all(Option::is_none), "{answers:?}");
        assert!(matches!(answers[4], Some(Err(Error::Crowded))));
        drop(answers);
        assert!(matches!(places.take("a").now_or_never(), Some(Err(Error::Crowded))), "one of it waits");
        drop(turn);
        // In the order of coming; one that gives up is not counted any more.
        assert!((&mut waiting[1]).now_or_never().is_none());
        assert!((&mut waiting[0]).now_or_never().unwrap().is_ok());
        drop(waiting.remove(3));
        let mut last = Box::pin(places.take("e"));
        assert!((&mut last).now_or_never().is_none());
        places.close();
        assert!(matches!(last.now_or_never(), Some(Err(Error::LaneClosed))));
        assert!(matches!(places.drain().now_or_never(), Some(Err(Error::LaneClosed))));
    }
}
