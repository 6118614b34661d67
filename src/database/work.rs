//! A lane at work, with what its driver remembers of it from one pass to the next.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{task::JoinHandle, time::Instant};

use super::{
    bring_back::BringBack, identity::Unbound, owners::Missing, status::Facts, survey::SurveyCount, unseen::Unseen,
};
use crate::{
    api::{TenantDatabase, tenant_database::Functions as Mode},
    contract::HeldBackups,
    lane::Lane,
    postgres::Connection,
};

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

/// What tenants follow besides the lane itself: the generation of the database's spec, up to when deletions are confirmed, and whether another operator
/// wants the database.
pub type Wishes = (i64, Option<Timestamp>, bool);

/// A lane at work.
pub struct Work {
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

impl Work {
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

    /// True when tenants do not know these wishes yet, so that they have to look again.
    #[must_use]
    pub fn is_news(&self, wishes: Wishes) -> bool {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) != wishes
    }

    /// The tenants look again.
    pub fn told(&self, wishes: Wishes) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = wishes;
    }

    /// The runner of jobs, to be waited for once.
    #[must_use]
    pub fn take_runner(&self) -> Option<JoinHandle<()>> {
        self.runner.lock().unwrap_or_else(PoisonError::into_inner).take()
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
