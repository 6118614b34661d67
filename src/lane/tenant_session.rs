//! A session in which the operator works as a tenant: fenced off from every former one, and closed in any case.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use uuid::Uuid;

use super::Lane;
use crate::{
    contract::{CallResult, CallStatus},
    postgres::{Error, Hold, Identity, SessionPassword, TenantSession},
};

/// How often a login is opened or closed again before it is left for another time: what a former session left is undone in
/// sessions of its own.
const ROUNDS: usize = 8;

/// How long a statement that undoes something may take.
const UNDO: Duration = Duration::from_secs(5);

/// How long is waited for another call that is at work on the tenant.
const BUSY: Duration = Duration::from_millis(500);

/// Where a lane has one place, a session keeps it from all tenants for no longer than this.
const SHORTEST: Duration = Duration::from_secs(20);

/// What a function answers that opened the login.
#[derive(Deserialize)]
struct Opened {
    login: String,
    owner_role: String,
    schema_oid: i64,
    /// What all logins are members of.
    group: String,
    /// What is to be undone before anything else runs.
    before: Vec<String>,
}

/// A session among the running jobs, until it is dropped.
struct Running<'a> {
    lane: &'a Lane,
    number: Uuid,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.lane.job_ended(self.number);
    }
}

impl Lane {
    /// Works as a tenant's owner role, in a session of its own, for `time` at most. It takes a place of those that calls have, so that
    /// all connections together are as many as they may be. However the work ends, the login is closed after it.
    pub async fn as_tenant<T>(
        &self,
        schema_id: Uuid,
        requested_by: &str,
        time: Duration,
        work: impl AsyncFnOnce(&TenantSession, Duration) -> T,
    ) -> Result<T, Error> {
        // Like a job it is ended with the lane and with its tenant, and the lane is not handed over meanwhile; that holds while it
        // waits for its place as well.
        let (running, cancelled) = self.registered(schema_id).await;
        let _turn = self.waited(self.places.take_long()).await?;
        let time = if self.places.count() > 1 { time } else { time.min(SHORTEST) };
        let caller = json!({ "schema_id": schema_id, "requested_by": requested_by });
        let done = self.within_session(&caller, time, cancelled, work).await;
        drop(running);
        done
    }

    /// Works as a tenant's owner role for a job that makes a backup, with a second connection for a program, and a third that may be there
    /// while one of them just ends. The job has its place, and is registered as running. Where that only `reads`, also a tenant that is
    /// suspended is backed up; what may run code of the tenant's does not let it in.
    pub async fn for_backup<T>(
        &self,
        schema_id: Uuid,
        reads: bool,
        time: Duration,
        cancelled: watch::Receiver<bool>,
        work: impl AsyncFnOnce(&TenantSession, Duration) -> T,
    ) -> Result<T, Error> {
        let purpose = if reads { "backup" } else { "work" };
        let caller = json!({ "schema_id": schema_id, "requested_by": "backup", "purpose": purpose, "connections": 3 });
        self.within_session(&caller, time, cancelled, work).await
    }

    /// Opens the login, works in its session until that is done or `cancelled`, and closes it however that ends.
    async fn within_session<T>(
        &self,
        caller: &serde_json::Value,
        time: Duration,
        cancelled: watch::Receiver<bool>,
        work: impl AsyncFnOnce(&TenantSession, Duration) -> T,
    ) -> Result<T, Error> {
        let mut ends = cancelled.clone();
        let ended = async move {
            // An error means that the sender is gone, which job_ended does only after this ended.
            let _ = ends.wait_for(|cancelled| *cancelled).await;
        };
        if *cancelled.borrow() {
            return Err(Error::LaneClosed);
        }
        let done = match self.opened(caller, time).await {
            Ok(session) => tokio::select! {
                done = work(&session, time) => Ok(done),
                () = ended => Err(Error::LaneClosed),
            },
            Err(error) => Err(error),
        };
        let closed = self.closed(caller).await;
        // That a login stays open until a survey closes it is told before what became of the work.
        closed.and(done)
    }

    /// Notes what is free in tables that were vacuumed in such a session.
    pub async fn note_live_part(&self, options: &serde_json::Value) -> Result<CallResult, Error> {
        let _place = self.waited(self.places.look()).await?;
        let result = self.watched(self.functions.note_live_part(self.hold, options).await)?;
        self.judge(&result);
        Ok(result)
    }

    /// Counts it among the running jobs, unless the lane is just given up.
    async fn registered(&self, schema_id: Uuid) -> (Running<'_>, watch::Receiver<bool>) {
        let _claiming = self.claiming.lock().await;
        let number = Uuid::new_v4();
        let cancelled = self.job_started(number, Some(schema_id));
        (Running { lane: self, number }, cancelled)
    }

    /// Opens the login, undoes what former sessions left, and begins the session.
    async fn opened(&self, caller: &serde_json::Value, time: Duration) -> Result<TenantSession, Error> {
        // Closed by the server if this process does not come so far; closing takes as long as that may.
        let seconds = time.as_secs() + 30;
        for _ in 0..ROUNDS {
            let password = SessionPassword::random();
            let mut options = caller.clone();
            options["verifier"] = json!(password.verifier());
            options["seconds"] = json!(seconds);
            let result = self.watched(self.functions.open_tenant_session(self.hold, &options).await)?;
            self.judge(&result);
            match result.status {
                CallStatus::Partial => continue,
                CallStatus::Success | CallStatus::Unchanged => {}
                CallStatus::Busy | CallStatus::Error => return Err(refused(OPEN, result)),
            }
            let opened: Opened =
                serde_json::from_value(result.detail).map_err(|source| Error::Answer { call: OPEN, source })?;
            let identity = Identity {
                login: &opened.login,
                password: password.as_str(),
                role: &opened.owner_role,
                schema_oid: opened.schema_oid,
            };
            let pool = self.functions.pool();
            pool.make_room();
            let session = pool.session_as(&identity, time).await.map_err(|error| self.named(error, &opened))?;
            if opened.before.is_empty() {
                return Ok(session);
            }
            for statement in &opened.before {
                session.run(statement, UNDO).await?;
            }
        }
        let message = "what former sessions of the tenant left was not undone".to_owned();
        Err(Error::Refused { call: OPEN, message, may_pass: true })
    }

    /// Closes the login, until it has no session.
    async fn closed(&self, caller: &serde_json::Value) -> Result<(), Error> {
        for _ in 0..ROUNDS {
            let result = self.watched(close(self, self.hold, caller).await)?;
            self.judge(&result);
            match result.status {
                CallStatus::Partial => {}
                CallStatus::Success | CallStatus::Unchanged => return Ok(()),
                // A heartbeat or another call is at work on the tenant, for a moment.
                CallStatus::Busy => tokio::time::sleep(BUSY).await,
                CallStatus::Error => return Err(refused("close_tenant_session", result)),
            }
        }
        let message = "sessions of the tenant came in again and again, or another call was at work on it".to_owned();
        Err(Error::Refused { call: "close_tenant_session", message, may_pass: true })
    }

    /// A server that does not let the login in, with the line that is missing.
    fn named(&self, error: Error, opened: &Opened) -> Error {
        if !error.refuses_login() {
            return error;
        }
        let Opened { login, group, .. } = opened;
        let database = &self.place.database;
        let message = format!(
            "the operator has to log in as {login} to work as the tenant, and {error}; a line of pg_hba.conf that lets it: host \
             \"{database}\" +{group} OPERATOR_ADDRESS scram-sha-256; then: SELECT pg_reload_conf()"
        );
        Error::Refused { call: LOGIN, message, may_pass: false }
    }
}

/// The call that opens the login, which says what only a person can put right.
pub const OPEN: &str = "open_tenant_session";

/// What a server that does not let a run login in has refused.
pub const LOGIN: &str = "tenant_session";

async fn close(lane: &Lane, hold: Hold, caller: &serde_json::Value) -> Result<CallResult, Error> {
    lane.functions.close_tenant_session(hold, caller).await
}

fn refused(call: &'static str, result: CallResult) -> Error {
    let may_pass = result.may_pass() || result.status == CallStatus::Busy;
    Error::Refused { call, message: result.message, may_pass }
}
