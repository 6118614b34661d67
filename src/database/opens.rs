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

use super::{owners::Missing, status::Facts, survey::SurveyCount, unseen::Unseen};
use crate::{
    api::{TenantDatabase, tenant_database::Functions as Mode},
    lane::Lane,
    postgres::Connection,
};

/// Jobs that do not end in this time at shutdown end with the process; the catalogue has them as running.
const END_OF_JOBS: Duration = Duration::from_secs(5);

/// What a lane is made of. A lane is opened anew when one of these changes, and not for any other edit of the spec: opening
/// costs the running jobs a try.
#[derive(Clone, Debug, PartialEq)]
pub struct LaneKey {
    uid: Option<String>,
    connection: Connection,
    max_connections: usize,
    statement_timeout: Duration,
    owner_role: Option<String>,
    functions: Mode,
}

impl LaneKey {
    /// The key of a database that is reached so.
    #[must_use]
    pub fn new(database: &TenantDatabase, connection: Connection) -> Self {
        let spec = &database.spec;
        Self {
            uid: database.metadata.uid.clone(),
            connection,
            max_connections: spec.connection.max_connections(),
            statement_timeout: spec.connection.statement_timeout(),
            owner_role: spec.owner_role.clone(),
            functions: spec.functions(),
        }
    }

    /// How the database is reached.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// What a person said of a database that its tenants follow: the generation of the spec, and up to when deletions are confirmed.
pub type Wishes = (i64, Option<Timestamp>);

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
    /// The tenants that are alive and out of view.
    pub unseen: Unseen,
    heard: Mutex<Wishes>,
    next_survey: Mutex<Instant>,
    runner: Mutex<Option<JoinHandle<()>>>,
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
            unseen: Unseen::default(),
            heard: Mutex::new(wishes),
            next_survey: Mutex::new(Instant::now()),
            runner: Mutex::new(Some(runner)),
        }
    }

    /// True when the wishes changed since this was asked last, so that tenants have to look again.
    pub fn is_news(&self, generation: i64, confirmed: Option<Timestamp>) -> bool {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *heard, (generation, confirmed)) != (generation, confirmed)
    }

    /// How long until the next survey is due.
    #[must_use]
    pub fn until_survey(&self) -> Duration {
        self.next_survey.lock().unwrap_or_else(PoisonError::into_inner).saturating_duration_since(Instant::now())
    }

    /// The next survey is due after this.
    pub fn survey_after(&self, period: Duration) {
        *self.next_survey.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + period;
    }
}

/// The lanes that this replica opened, by their TenantDatabase.
#[derive(Default)]
pub struct Opens(Mutex<HashMap<String, Arc<Open>>>);

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

    /// A lane was opened.
    pub fn insert(&self, name: &str, open: Arc<Open>) {
        self.lock().insert(name.to_owned(), open);
    }

    /// The lane of a database is closed: its jobs end, and whoever waits for a turn is told.
    pub fn close(&self, name: &str) {
        let open = self.lock().remove(name);
        if let Some(open) = open {
            open.lane.lose();
        }
    }

    /// Closes all lanes and waits for their jobs to end, so that no statement goes on when the process is gone.
    pub async fn close_all(&self) {
        let opens: Vec<_> = self.lock().drain().map(|(_, open)| open).collect();
        let runners = opens.iter().filter_map(|open| {
            open.lane.lose();
            open.runner.lock().unwrap_or_else(PoisonError::into_inner).take()
        });
        let _ = timeout(END_OF_JOBS, futures::future::join_all(runners)).await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Open>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
