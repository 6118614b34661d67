//! A lane at work, with what its driver remembers of it from one pass to the next.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{task::JoinHandle, time::Instant};

use super::{
    bring_back::Progress, live_parts::SessionProblems, owners::Missed, status::Facts, store::StoreMemory,
    unseen::Unseen,
};
use crate::{
    api::{TenantDatabase, condition::Verdict, tenant_database::Functions as Mode},
    contract::{HeldBackups, SaltFound},
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
    /// Archives have connections of their own.
    has_store: bool,
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
            max_connections: spec.max_connections(),
            has_store: spec.backup_store.is_some(),
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
    memory: Mutex<Memory>,
}

/// What is remembered from one pass to the next.
pub struct Memory {
    /// What tenants were told to follow.
    pub told: Wishes,
    /// When the next survey is due.
    pub next_survey: Instant,
    /// Which slice it is told whole.
    pub slice: u8,
    /// What is to be said of tenants whose schema is not known.
    pub unbound: Option<Verdict>,
    /// The tenants whose objects are missed, while they are too many.
    pub missed: Option<Missed>,
    /// The tenants that are alive and out of view.
    pub unseen: Unseen,
    /// How far bringing back has come.
    pub bring_back: Option<Progress>,
    /// Backups that have expired and wait for a person.
    pub expired: Option<HeldBackups>,
    /// Why the application's table of institutions cannot be read.
    pub institution_problem: Option<String>,
    /// What the server told of the passwords of logins, for the next survey.
    pub salts: Vec<SaltFound>,
    /// What vacuums tables of tenants that are blocked for their quota.
    pub vacuuming: Option<JoinHandle<()>>,
    /// Why the operator could not work as tenants.
    pub session_problems: SessionProblems,
    /// How the backup store was found.
    pub store: StoreMemory,
    /// What does the jobs, until its end is waited for.
    pub runner: Option<JoinHandle<()>>,
}

impl Work {
    /// A lane that was opened when these were the wishes, with its runner of jobs.
    #[must_use]
    pub fn new(key: LaneKey, lane: Arc<Lane>, facts: Facts, told: Wishes, runner: JoinHandle<()>) -> Self {
        let memory = Memory {
            told,
            next_survey: Instant::now(),
            slice: 0,
            unbound: None,
            missed: None,
            unseen: Unseen::default(),
            bring_back: None,
            expired: None,
            institution_problem: None,
            salts: Vec::new(),
            vacuuming: None,
            session_problems: SessionProblems::default(),
            store: StoreMemory::default(),
            runner: Some(runner),
        };
        Self { key, lane, facts, memory: Mutex::new(memory) }
    }

    /// Reads or writes what is remembered. It is locked for as long as `with` takes, which calls nothing that remembers.
    pub fn memory<T>(&self, with: impl FnOnce(&mut Memory) -> T) -> T {
        // A panic elsewhere leaves what is remembered of the pass before.
        with(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How long until the next survey is due.
    #[must_use]
    pub fn until_survey(&self) -> Duration {
        self.memory(|memory| memory.next_survey.saturating_duration_since(Instant::now()))
    }

    /// The next survey is due after this.
    pub fn survey_after(&self, period: Duration) {
        self.memory(|memory| memory.next_survey = Instant::now() + period);
    }
}
