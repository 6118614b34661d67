//! One database at work: its holder, its connections, its latest survey.
//!
//! A lane is open while this replica holds the Lease of a TenantDatabase, the database is fit to work with, and the
//! database gave this replica the newest epoch. Every call that changes something carries the epoch, so that a replica
//! that lost the lane and does not know it is refused by the database itself.

pub mod addresses;
pub mod archives;
pub mod directory;
pub mod endpoint;
pub mod heartbeat;
pub mod overruns;
pub mod places;
pub mod scratch;
pub mod survey;
pub mod tenant_session;

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use serde_json::Value;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use uuid::Uuid;

use addresses::Addresses;
use archives::Archives;
pub use directory::{LaneState, Lanes};
pub use endpoint::{CLIENT_AUTHORITY, Endpoint};
pub use heartbeat::Seen;
use heartbeat::World;
use overruns::Overruns;
use places::Places;
use survey::SurveyBook;

use crate::api::tenant_schema::Place;
use crate::contract::{
    Asked, BackupAnswer, BackupQuestion, CallResult, CallStatus, Caller, LoginToTry, ObjectKind, SaltFound, Step,
    SurveyAnswer, Surveyed, TenantAnswer, TenantQuestion, TenantRow,
};
use crate::kubernetes::id::Id;
use crate::postgres::{Error, Functions, Hold, PoolUse};

/// A survey may take this long before it is cancelled; it measures in bounded slices.
const SURVEY_DEADLINE: Duration = Duration::from_mins(2);

/// An open lane.
pub struct Lane {
    /// The TenantDatabase's name.
    pub database: String,
    /// Where the database is.
    pub place: Place,
    /// What applications connect to.
    pub endpoint: Endpoint,
    /// The names that tenants' Secrets may lead to.
    pub addresses: Addresses,
    /// Where archives go.
    pub archives: Archives,
    /// Epoch and installation.
    pub hold: Hold,
    functions: Functions,
    places: Places,
    waiting: AtomicUsize,
    book: Mutex<SurveyBook>,
    /// This replica, as the catalogue of jobs shows it.
    pub holder: String,
    lost: watch::Sender<bool>,
    refused: AtomicBool,
    ring: Box<dyn Fn() + Send + Sync>,
    /// Rung when jobs may be waiting.
    pub jobs_waiting: Notify,
    /// Kept while a job is claimed, so that none begins while a look finds that none runs.
    pub claiming: tokio::sync::Mutex<()>,
    running: Mutex<HashMap<Uuid, RunningJob>>,
    /// The objects, other than tenants, of which the database may say something else than it did.
    changed: Mutex<HashSet<Id>>,
    world: Mutex<World>,
    seen: Arc<Seen>,
}

/// What a lane is made of.
pub struct LaneParts {
    /// The TenantDatabase's name.
    pub database: String,
    /// Where the database is.
    pub place: Place,
    /// What applications connect to.
    pub endpoint: Endpoint,
    /// This replica.
    pub holder: String,
    /// Epoch and installation.
    pub hold: Hold,
    /// How many reconciles may use the database at once.
    pub apply_slots: usize,
    /// Whether the database is to have a store for archives.
    pub has_store: bool,
    /// What this process has seen of the database, also before this lane.
    pub seen: Arc<Seen>,
}

/// The connection over which a part of a job is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// A connection that reconciles use as well, when its turn comes: the part is short.
    Shared,
    /// A connection that nothing else uses meanwhile and nothing uses afterwards. It takes no turn, and what a tenant's
    /// code leaves in the session, such as a setting, meets no call of another tenant.
    Own,
}

/// Counts one call while it lives: a call that gives up waiting is not counted any more either.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct RunningJob {
    schema_id: Option<Uuid>,
    cancel: watch::Sender<bool>,
}

impl Lane {
    /// A lane over `functions`. `ring` is called when the lane closes, so that the driver of its database looks at it.
    #[must_use]
    pub fn new(parts: LaneParts, functions: Functions, ring: Box<dyn Fn() + Send + Sync>) -> Self {
        let LaneParts { database, place, endpoint, holder, hold, apply_slots, has_store, seen } = parts;
        Self {
            database,
            place,
            endpoint,
            addresses: Addresses::default(),
            archives: Archives::new(has_store),
            hold,
            functions,
            holder,
            ring,
            places: Places::new(apply_slots, seen.pace.clone()),
            waiting: AtomicUsize::new(0),
            book: Mutex::new(SurveyBook::default()),
            lost: watch::Sender::new(false),
            refused: AtomicBool::new(false),
            jobs_waiting: Notify::new(),
            claiming: tokio::sync::Mutex::default(),
            running: Mutex::new(HashMap::new()),
            changed: Mutex::default(),
            world: Mutex::default(),
            seen,
        }
    }

    /// The management functions, for jobs.
    #[must_use]
    pub fn functions(&self) -> &Functions {
        &self.functions
    }

    /// How busy the lane is now; a call that waits for a turn counts as one that waits for a connection.
    #[must_use]
    pub fn usage(&self) -> PoolUse {
        let pool = self.functions.pool().usage();
        PoolUse { waiting: pool.waiting + self.waiting.load(Ordering::Relaxed), ..pool }
    }

    /// True once the database refused this replica's epoch, or an outage was seen: the lane must be opened again.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// True once the database refused this replica's epoch: another replica works here, and the Lease that this replica
    /// believes to hold is not to be trusted.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Acquire)
    }

    /// The database refused this replica's epoch.
    pub fn refuse(&self) {
        self.refused.store(true, Ordering::Release);
        self.lose();
    }

    /// Whether the database let this replica act: another replica's epoch, another server or an older state ends the lane.
    pub fn judge(&self, result: &CallResult) {
        if result.lane_lost() {
            self.refuse();
        } else if result.needs_new_claim() {
            self.lose();
        }
    }

    /// The backup store did not do what it should: the driver looks at it.
    pub fn doubt_store(&self) {
        self.archives.doubt();
        (self.ring)();
    }

    /// Says that the lane must be opened again.
    pub fn lose(&self) {
        if !self.lost.send_replace(true) {
            // A call that waits for a turn need not wait for it any longer.
            self.places.close();
            self.jobs_waiting.notify_one();
            (self.ring)();
        }
    }

    /// Closes the lane for good when no job runs, after the calls of reconciles that are under way have ended; false when a
    /// job runs.
    pub async fn retire(&self) -> bool {
        let _claiming = self.claiming.lock().await;
        if !self.running().is_empty() {
            return false;
        }
        // An error means that the lane was lost meanwhile, and is closed as well.
        let ended = self.places.drain().await;
        self.lose();
        if ended.is_ok() {
            self.leave().await;
        }
        true
    }

    /// Whether a job runs.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.running().is_empty()
    }

    /// The tenant's row as the latest survey has it, if nothing was applied since.
    #[must_use]
    pub fn surveyed(&self, uid: &str) -> Option<Arc<TenantRow>> {
        self.book().get(uid)
    }

    /// Asks the database about one tenant.
    pub async fn observe_tenant(&self, question: &TenantQuestion<'_>) -> Result<TenantAnswer, Error> {
        let _place = self.waited(self.places.look()).await?;
        let begun = Instant::now();
        let answer = self.watched(self.functions.observe_tenant(question).await)?;
        if let Some(row) = &answer.own {
            self.book().observed(row, begun);
        }
        Ok(answer)
    }

    /// Asks the database about one backup.
    pub async fn observe_backup(&self, question: &BackupQuestion<'_>) -> Result<BackupAnswer, Error> {
        let _place = self.waited(self.places.look()).await?;
        self.watched(self.functions.observe_backup(question).await)
    }

    /// Applies steps that change what is known of the caller's tenant.
    pub async fn apply(&self, caller: &Caller, mut steps: Vec<Step>) -> Result<Vec<CallResult>, Error> {
        let _turn = self.waited(self.places.take(&caller.namespace)).await?;
        // Booked before as well: a call whose answer is lost may have been done.
        let booked = || {
            if let Some(uid) = &caller.tenant {
                self.book().applied(uid, Instant::now());
            }
        };
        booked();
        let key = overruns::key(caller.tenant.as_deref(), &steps);
        if let Some(key) = &key {
            self.overruns().tell(key, &mut steps);
        }
        let results = self.watched(self.functions.apply_steps(self.hold, &steps, &caller.requested_by).await);
        booked();
        let is_done = |result: &CallResult| matches!(result.status, CallStatus::Success | CallStatus::Unchanged);
        if let (Some(key), Ok(results)) = (&key, &results)
            && results.iter().all(is_done)
        {
            self.overruns().forget(key);
        }
        if matches!(results, Err(Error::Deadline { .. })) {
            if let Some(key) = &key {
                self.overruns().note(key, Instant::now());
            }
            // The statement was cancelled and may all the same commit in a moment. The next holder of the lane waits until
            // every former call has ended, and what it observes then stays so.
            self.lose();
        }
        let results = results?;
        for result in &results {
            self.judge(result);
        }
        Ok(results)
    }

    /// Has a session of a tenant's login run statements, over a connection of its own, in the turn of the caller's namespace: no
    /// more of them are open than calls may be under way.
    pub async fn run_as(&self, caller: &Caller, login: &str, password: &str, statements: &str) -> Result<(), Error> {
        let _turn = self.waited(self.places.take(&caller.namespace)).await?;
        self.functions.pool().run_as(login, password, statements).await
    }

    /// Asks what the server tells of the passwords of these logins, one after the other and over connections of its own, in a turn
    /// like any other work. When one cannot be asked the others have their turn later.
    pub async fn salts(&self, logins: Vec<LoginToTry>) -> Vec<SaltFound> {
        let mut found = Vec::new();
        for LoginToTry { schema_id, purpose, login, credential_id } in logins {
            let Ok(_turn) = self.places.take("").await else { break };
            match self.functions.pool().salt_of(&login).await {
                Ok(salt) => found.extend(salt.map(|salt| SaltFound { schema_id, purpose, credential_id, salt })),
                Err(error) => {
                    tracing::debug!(%error, login, database = self.database, "cannot ask what a login's password is hashed with");
                    break;
                }
            }
        }
        found
    }

    /// What is known of the object of this kind may be old: its next reconcile asks the database. Surveys tell of tenants; whatever
    /// else was asked about is known until something is told of it.
    pub fn distrust(&self, kind: &ObjectKind, uid: &str) {
        match kind {
            ObjectKind::TenantSchema => self.book().applied(uid, Instant::now()),
            ObjectKind::SchemaBackup | ObjectKind::Other(_) => {
                self.changed.lock().unwrap_or_else(PoisonError::into_inner).insert(Id::of_uid(uid));
            }
        }
    }

    /// Whether what is known of the object with this UID, which is no tenant, may be old; asking clears it.
    pub fn take_change(&self, uid: &str) -> bool {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).remove(&Id::of_uid(uid))
    }

    /// The rows of tenants that belong to an object and were not dropped, released or taken over, as the latest surveys have
    /// them.
    #[must_use]
    pub fn living(&self) -> Vec<Arc<TenantRow>> {
        self.book().living()
    }

    /// The rows of tenants that were taken over and wait for their object.
    #[must_use]
    pub fn taken_over(&self) -> Vec<Arc<TenantRow>> {
        self.book().taken_over()
    }

    /// True when the next survey is to tell all tenants.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        !self.book().is_complete()
    }

    /// The tenant is gone from the registry.
    pub fn forget(&self, uid: &str) {
        self.book().forget(uid);
    }

    /// Surveys all tenants and returns the answer, without its rows, and the rows that are news; nothing when another survey
    /// is under way. Which slice is told whole changes from one to the next; all is, until everything is known. `wishes` say
    /// what may expire. A row that is gone is news too.
    pub async fn survey(
        &self,
        slice: u8,
        wishes: &Value,
    ) -> Result<Option<(SurveyAnswer, Vec<Arc<TenantRow>>)>, Error> {
        let (begun, asked_at) = (Instant::now(), Timestamp::now());
        let asked = if self.book().is_complete() { Asked::Slice(slice) } else { Asked::All };
        let mut lost = self.lost.subscribe();
        let ended = async move {
            // An error means that the lane is gone, which waits for this survey.
            let _ = lost.wait_for(|lost| *lost).await;
        };
        // The replica that opens the lane again waits until this survey has ended.
        let surveyed = self.functions.survey_tenants(self.hold, asked, wishes, SURVEY_DEADLINE, ended).await;
        if surveyed.is_err() {
            // What the database took as told was perhaps not heard.
            self.book().doubt();
        }
        let mut answer = match self.watched(surveyed)? {
            Surveyed::Found(answer) => *answer,
            Surveyed::Refused(result) if result.status == CallStatus::Busy => return Ok(None),
            Surveyed::Refused(result) => {
                self.judge(&result);
                let may_pass = result.may_pass();
                return Err(Error::Refused { call: "survey_tenants", message: result.message, may_pass });
            }
        };
        self.hear(&answer.beat, asked_at);
        let news = self.book().book(std::mem::take(&mut answer.tenants), begun, asked);
        let owned = answer.owned_count.filter(|_| asked != Asked::All);
        if owned.is_some_and(|owned| !self.book().agrees_with(owned, begun)) {
            self.book().doubt();
        }
        for object in answer.backups_changed.iter().filter_map(|backup| backup.object.as_ref()) {
            self.distrust(&ObjectKind::SchemaBackup, &object.uid);
        }
        if answer.jobs_waiting > 0 {
            self.jobs_waiting.notify_one();
        }
        Ok(Some((answer, news)))
    }

    /// Does a job in the database, or its next part.
    pub async fn run_job(
        &self,
        job: Uuid,
        over: Over,
        deadline: Duration,
        cancelled: impl Future<Output = ()>,
    ) -> Result<CallResult, Error> {
        match over {
            Over::Shared => {
                let _place = self.waited(self.places.look()).await?;
                self.functions.run_job(self.hold, job, deadline, cancelled).await
            }
            Over::Own => self.functions.over_own().run_job(self.hold, job, deadline, cancelled).await,
        }
    }

    /// Registers a running job; the receiver turns true when it is to end.
    pub fn job_started(&self, job: Uuid, schema_id: Option<Uuid>) -> watch::Receiver<bool> {
        let (cancel, cancelled) = watch::channel(false);
        self.running().insert(job, RunningJob { schema_id, cancel });
        cancelled
    }

    /// The job ended.
    pub fn job_ended(&self, job: Uuid) {
        self.running().remove(&job);
    }

    /// Ends the running jobs of a tenant, so that they do not hold its structure lock.
    pub fn cancel_jobs_of(&self, schema_id: Uuid) {
        for job in self.running().values().filter(|job| job.schema_id == Some(schema_id)) {
            job.cancel.send_replace(true);
        }
    }

    /// Ends one running job.
    pub fn cancel_job(&self, job: Uuid) {
        if let Some(job) = self.running().get(&job) {
            job.cancel.send_replace(true);
        }
    }

    /// Ends all running jobs; they are claimed again by the next holder of the lane.
    pub fn cancel_all_jobs(&self) {
        for job in self.running().values() {
            job.cancel.send_replace(true);
        }
    }

    async fn waited<T>(&self, place: impl Future<Output = T>) -> T {
        let _waiting = Counted::new(&self.waiting);
        place.await
    }

    fn watched<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if result.as_ref().is_err_and(Error::is_outage) {
            self.lose();
        }
        result
    }

    fn book(&self) -> std::sync::MutexGuard<'_, SurveyBook> {
        // The book is only ever replaced entry by entry, so a panic elsewhere leaves it usable.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn overruns(&self) -> std::sync::MutexGuard<'_, Overruns> {
        self.seen.overruns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, RunningJob>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
