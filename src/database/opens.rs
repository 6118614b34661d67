//! What this replica remembers of the lanes that it opened.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::{
    bring_back::BringBack, identity::Unbound, owners::Missing, status::Facts, survey::SurveyCount, unseen::Unseen,
};
use crate::{
    api::{TenantDatabase, tenant_database::Functions as Mode},
    contract::HeldBackups,
    lane::{Lane, Seen},
    postgres::Connection,
};

/// Jobs that do not end in this time at shutdown end with the process; the catalogue has them as running.
const END_OF_JOBS: Duration = Duration::from_secs(5);

/// What a lane is made of. A lane is opened again when one of these changes, and not for any other edit of the spec: opening
/// costs the running jobs a try.
#[derive(Clone, Debug, PartialEq)]
pub struct LaneKey {
    uid: Option<String>,
    connection: Connection,
    max_connections: usize,
    statement_timeout: Duration,
    owner_role: Option<String>,
    functions: Mode,
    /// How often the API server's world went back.
    world: u64,
}

impl LaneKey {
    /// The key of a database that is reached so.
    #[must_use]
    pub fn new(database: &TenantDatabase, connection: Connection, world: u64) -> Self {
        let spec = &database.spec;
        Self {
            uid: database.metadata.uid.clone(),
            connection,
            max_connections: spec.connection.max_connections(),
            statement_timeout: spec.connection.statement_timeout(),
            owner_role: spec.owner_role.clone(),
            functions: spec.functions(),
            world,
        }
    }

    /// How the database is reached.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// What tenants follow: the generation of the database's spec, up to when deletions are confirmed, and whether another operator
/// wants the database.
pub type Wishes = (i64, Option<Timestamp>, bool);

/// One lane that this replica opened.
pub struct Open {
    /// What it is made of.
    pub key: LaneKey,
    /// The lane.
    pub lane: Arc<Lane>,
    /// What opening it told.
    pub facts: Facts,
    /// Which survey is next.
    pub surveys: SurveyCount,
    /// The tenants whose objects are missed.
    pub missing: Missing,
    /// The tenants whose schema is not known.
    pub unbound: Unbound,
    /// The tenants that are alive and out of view.
    pub unseen: Unseen,
    /// What is brought back.
    pub bring_back: BringBack,
    heard: Mutex<Wishes>,
    next_survey: Mutex<Instant>,
    runner: Mutex<Option<JoinHandle<()>>>,
    held: Mutex<Option<HeldBackups>>,
}

impl Open {
    /// A lane that was opened when these were the wishes, with its runner of jobs.
    #[must_use]
    pub fn new(key: LaneKey, lane: Arc<Lane>, facts: Facts, wishes: Wishes, runner: JoinHandle<()>) -> Self {
        Self {
            key,
            lane,
            facts,
            surveys: SurveyCount::default(),
            missing: Missing::default(),
            unbound: Unbound::default(),
            unseen: Unseen::default(),
            bring_back: BringBack::default(),
            heard: Mutex::new(wishes),
            next_survey: Mutex::new(Instant::now()),
            runner: Mutex::new(Some(runner)),
            held: Mutex::default(),
        }
    }

    /// True when the wishes changed since this was asked last, so that tenants have to look again.
    pub fn is_news(&self, wishes: Wishes) -> bool {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *heard, wishes) != wishes
    }

    /// How long until the next survey is due.
    #[must_use]
    pub fn until_survey(&self) -> Duration {
        self.next_survey.lock().unwrap_or_else(PoisonError::into_inner).saturating_duration_since(Instant::now())
    }

    /// What the latest survey found expired and waiting for a person.
    #[must_use]
    pub fn held(&self) -> Option<HeldBackups> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A survey found this.
    pub fn found(&self, held: Option<HeldBackups>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }

    /// The next survey is due after this at the latest: a period that became shorter holds at once.
    pub fn survey_within(&self, period: Duration) {
        let mut next = self.next_survey.lock().unwrap_or_else(PoisonError::into_inner);
        *next = (*next).min(Instant::now() + period);
    }

    /// The next survey is due after this.
    pub fn survey_after(&self, period: Duration) {
        *self.next_survey.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + period;
    }
}

/// The lanes that this replica opened, by their TenantDatabase.
#[derive(Default)]
pub struct Opens {
    open: Mutex<HashMap<String, Arc<Open>>>,
    seen: Mutex<HashMap<String, Arc<Seen>>>,
    standing_by: Mutex<HashMap<String, Instant>>,
}

impl Opens {
    /// The open lane of a database, if it can still be used.
    #[must_use]
    pub fn usable(&self, name: &str) -> Option<Arc<Open>> {
        self.lock().get(name).filter(|open| !open.lane.is_lost()).cloned()
    }

    /// True when the database refused this replica's epoch.
    #[must_use]
    pub fn is_refused(&self, name: &str) -> bool {
        self.lock().get(name).is_some_and(|open| open.lane.is_refused())
    }

    /// What this process has seen of a database; it outlives its lanes.
    #[must_use]
    pub fn seen(&self, name: &str) -> Arc<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default().clone()
    }

    /// Another replica has the database; for how long this one has stood by.
    #[must_use]
    pub fn stands_by(&self, name: &str) -> Duration {
        let mut standing_by = self.standing_by.lock().unwrap_or_else(PoisonError::into_inner);
        standing_by.entry(name.to_owned()).or_insert_with(Instant::now).elapsed()
    }

    /// It is this replica's turn to work on the database.
    pub fn works(&self, name: &str) {
        self.standing_by.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// A lane was opened.
    pub fn insert(&self, name: &str, open: Arc<Open>) {
        self.lock().insert(name.to_owned(), open);
    }

    /// The lane of a database is closed: its jobs end, and a pass that waits for a turn is told.
    pub fn close(&self, name: &str) {
        let open = self.lock().remove(name);
        if let Some(open) = open {
            open.lane.lose();
        }
    }

    /// All lanes are lost: what waits for a turn or for a job need not wait any longer. They stay here until they are closed,
    /// which is where the databases are told.
    pub fn lose_all(&self) {
        for open in self.lock().values() {
            open.lane.lose();
        }
    }

    /// Closes all lanes and waits for their jobs to end, so that no statement goes on when the process is gone, and tells the
    /// databases. Dropped half way, it leaves a next holder waiting for 20 s, so nothing races it.
    pub async fn close_all(&self) {
        let opens: Vec<_> = self.lock().drain().map(|(_, open)| open).collect();
        let runners = opens.iter().filter_map(|open| {
            open.lane.lose();
            open.runner.lock().unwrap_or_else(PoisonError::into_inner).take()
        });
        let _ = timeout(END_OF_JOBS, futures::future::join_all(runners)).await;
        let held = opens.iter().filter(|open| !open.lane.is_refused());
        futures::future::join_all(held.map(async |open| open.lane.leave().await)).await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Open>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
