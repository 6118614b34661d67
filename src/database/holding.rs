//! What this replica has of each database: one [`Holding`] each, in one map.
//!
//! What tenants and backups are told, whose turn it is, the open lane with its driver's memory and the metrics are all
//! read from it, so that they cannot contradict one another. The map is never locked over a call: one slow answer must
//! not hold up every database.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::{Instant, timeout};

use super::work::Work;
use crate::{
    api::condition::{Reason, Verdict},
    kubernetes::lease::{HeldLease, LeaseCandidate, Standing},
    lane::{Lane, LaneState, Lanes, Seen},
};

/// Jobs that do not end in this time at shutdown end with the process; the catalogue has them as running.
const END_OF_JOBS: Duration = Duration::from_secs(5);

/// How this replica stands to one database.
#[derive(Clone, Default)]
pub enum Holding {
    /// It has nothing to do with it: no pass has looked at it yet, or it is out of view.
    #[default]
    Apart,
    /// Another replica works on it, or none does. Since when this one stands by.
    StandsBy(Instant),
    /// It is this replica's; the lane was open, and is being opened again.
    Reopening,
    /// It is this replica's, and cannot be worked with. Why, as the condition of the TenantDatabase says it.
    Shut(Reason, String),
    /// It is this replica's, and at work.
    Open(Arc<Work>),
}

/// The holdings by the name of their TenantDatabase.
#[derive(Default)]
pub struct Holdings(Mutex<HashMap<String, Entry>>);

#[derive(Default)]
struct Entry {
    holding: Holding,
    /// How this replica takes part in the election.
    candidate: Option<LeaseCandidate>,
    /// What this process has seen of the database; it outlives lanes and elections.
    seen: Arc<Seen>,
}

/// What the metrics show of one database.
pub struct Shown {
    /// Its name.
    pub database: String,
    /// Whether it is this replica's.
    pub held: bool,
    /// Whether it can be worked with, where this replica knows.
    pub up: Option<bool>,
    /// The lane at work.
    pub lane: Option<Arc<Lane>>,
}

impl Entry {
    fn shown(&self, name: &str) -> Option<Shown> {
        let (held, up, lane) = match &self.holding {
            Holding::Apart => return None,
            // A database whose object cannot be read is for a replica that can read it.
            Holding::Shut(..) if self.candidate.is_none() => return None,
            Holding::StandsBy(_) => (false, None, None),
            Holding::Shut(..) => (true, Some(false), None),
            Holding::Reopening => (true, Some(true), None),
            Holding::Open(work) => (true, Some(true), Some(work.lane.clone())),
        };
        Some(Shown { database: name.to_owned(), held, up, lane })
    }
}

impl Lanes for Holdings {
    fn get(&self, database: &str) -> LaneState {
        match self.of(database) {
            Holding::Apart | Holding::StandsBy(_) | Holding::Reopening => LaneState::Elsewhere,
            Holding::Shut(reason, message) => LaneState::Unavailable { reason, message },
            Holding::Open(work) => LaneState::Open(work.lane.clone()),
        }
    }

    fn lease(&self, database: &str) -> Option<HeldLease> {
        let held = matches!(self.standing(database), Some(Standing::Held { .. }));
        self.contended(database).filter(|_| held)
    }
}

impl Holdings {
    /// How this replica stands to a database.
    #[must_use]
    pub fn of(&self, name: &str) -> Holding {
        self.lock().get(name).map(|entry| entry.holding.clone()).unwrap_or_default()
    }

    /// The lane at work with what is remembered of it, if it can still be used.
    #[must_use]
    pub fn usable(&self, name: &str) -> Option<Arc<Work>> {
        match self.of(name) {
            Holding::Open(work) if !work.lane.is_lost() => Some(work),
            _ => None,
        }
    }

    /// True when the database refused this replica's epoch.
    #[must_use]
    pub fn is_refused(&self, name: &str) -> bool {
        matches!(self.of(name), Holding::Open(work) if work.lane.is_refused())
    }

    /// Replaces the holding. A lane that was open is lost: its jobs end, and a pass that waits for a turn is told.
    pub fn set(&self, name: &str, holding: Holding) {
        let before = std::mem::replace(&mut self.lock().entry(name.to_owned()).or_default().holding, holding);
        if let Holding::Open(work) = before {
            work.lane.lose();
            work.lane.cancel_all_jobs();
        }
    }

    /// The database is another replica's; since when is remembered.
    pub fn stand_by(&self, name: &str) {
        if !matches!(self.of(name), Holding::StandsBy(_)) {
            self.set(name, Holding::StandsBy(Instant::now()));
        }
    }

    /// The lane is opened now, and the one that was open is closed. Tenants that an outage has stopped keep their
    /// message.
    pub fn opening(&self, name: &str) {
        if matches!(self.of(name), Holding::Open(_)) {
            self.set(name, Holding::Reopening);
        }
    }

    /// It is this replica's and cannot be worked with; true when that is news to the tenants.
    pub fn shut(&self, name: &str, verdict: &Verdict) -> bool {
        let news = !matches!(self.of(name), Holding::Shut(reason, _) if reason == verdict.reason());
        self.set(name, Holding::Shut(verdict.reason(), verdict.message().to_owned()));
        news
    }

    /// What this process has seen of a database.
    #[must_use]
    pub fn seen(&self, name: &str) -> Arc<Seen> {
        self.lock().entry(name.to_owned()).or_default().seen.clone()
    }

    /// How this replica stands in the election; nothing when it takes no part.
    #[must_use]
    pub fn standing(&self, name: &str) -> Option<Standing> {
        self.lock().get(name)?.candidate.as_ref().map(LeaseCandidate::standing)
    }

    /// Takes part in the election from now on, unless it does already.
    pub fn join(&self, name: &str, candidate: impl FnOnce() -> LeaseCandidate) {
        self.lock().entry(name.to_owned()).or_default().candidate.get_or_insert_with(candidate);
    }

    /// The Lease in whose election this replica takes part; any replica may hold it.
    #[must_use]
    pub fn contended(&self, name: &str) -> Option<HeldLease> {
        self.lock().get(name)?.candidate.as_ref().map(LeaseCandidate::lease)
    }

    /// The Lease was seen so.
    pub fn hear(&self, name: &str, lease: &Lease) {
        if let Some(candidate) = self.lock().get(name).and_then(|entry| entry.candidate.as_ref()) {
            candidate.hear(lease);
        }
    }

    /// Takes no part in the election any more; the candidate is to be released.
    #[must_use]
    pub fn withdraw(&self, name: &str) -> Option<LeaseCandidate> {
        self.lock().get_mut(name)?.candidate.take()
    }

    /// The databases with which this replica has something to do.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        let entries = self.lock();
        let concerned = |entry: &Entry| entry.candidate.is_some() || !matches!(entry.holding, Holding::Apart);
        entries.iter().filter(|(_, entry)| concerned(entry)).map(|(name, _)| name.clone()).collect()
    }

    /// What the metrics show.
    #[must_use]
    pub fn shown(&self) -> Vec<Shown> {
        self.lock().iter().filter_map(|(name, entry)| entry.shown(name)).collect()
    }

    /// All lanes are lost: what waits for a turn or for a job need not wait any longer. They stay here until they are closed,
    /// which is where the databases are told.
    pub fn lose_all(&self) {
        for work in self.works() {
            work.lane.lose();
        }
    }

    /// Closes all lanes and waits for their jobs to end, so that no statement goes on when the process is gone, and
    /// tells the databases. If it is dropped half way, the next holder waits for 20 s, so nothing races it.
    pub async fn close_all(&self) {
        let works = self.works();
        let runners = works.iter().filter_map(|work| {
            self.set(&work.lane.database, Holding::Apart);
            work.memory(|memory| memory.runner.take())
        });
        let _ = timeout(END_OF_JOBS, futures::future::join_all(runners)).await;
        let held = works.iter().filter(|work| !work.lane.is_refused());
        futures::future::join_all(held.map(async |work| work.lane.leave().await)).await;
    }

    fn works(&self) -> Vec<Arc<Work>> {
        let work = |entry: &Entry| match &entry.holding {
            Holding::Open(work) => Some(work.clone()),
            _ => None,
        };
        self.lock().values().filter_map(work).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        // Every change is of one field, so a panic elsewhere leaves the map usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
