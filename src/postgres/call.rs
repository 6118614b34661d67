//! The management functions as typed calls. Each is one round trip; `sql/call/` holds the statements.

use std::{sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{
    error::Error,
    pool::{Call, Parameter, Pool},
};
use crate::{
    contract::{
        self, ArchiveUpload, Asked, BackupAnswer, BackupQuestion, CallResult, DatabaseFacts, Installation, MadeArchive,
        Step, Surveyed, TenantAnswer, TenantQuestion,
    },
    ident::Ident,
    telemetry::Metrics,
};

macro_rules! call {
    ($name:ident) => {
        Call { name: stringify!($name), sql: include_str!(concat!("../../sql/call/", stringify!($name), ".sql")) }
    };
}

/// Reads what database and login are; needs no installation.
const DATABASE: Call = Call { name: "database", sql: include_str!("../../sql/observe/database.sql") };

/// The management functions of one database.
#[derive(Clone)]
pub struct Functions {
    pool: Pool,
    metrics: Arc<Metrics>,
    deadline: Duration,
}

/// Proof of holding a lane, sent with every call that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Which holder this is; the database refuses an older one.
    pub epoch: i64,
    /// Which database was claimed.
    pub installation_id: Uuid,
}

impl Functions {
    /// Calls over `pool`, each within `deadline`.
    #[must_use]
    pub fn new(pool: Pool, metrics: Arc<Metrics>, deadline: Duration) -> Self {
        Self { pool, metrics, deadline }
    }

    /// The pool that they use.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The same calls, each over a connection that is closed after it.
    #[must_use]
    pub fn over_own(&self) -> Self {
        Self { pool: self.pool.closing(), ..self.clone() }
    }

    /// What server, database and login are.
    pub async fn database(&self, owner_role: &Ident) -> Result<DatabaseFacts, Error> {
        self.ask(DATABASE, &[(&owner_role.as_str(), Type::TEXT)]).await
    }

    /// Runs the installation script.
    pub async fn install(&self, script: &str, deadline: Duration) -> Result<(), Error> {
        let started = Instant::now();
        let result = self.pool.script("install", script, deadline).await;
        self.measure("install", started, result.as_ref().map(|()| &()));
        result
    }

    /// What is installed.
    pub async fn installation(&self) -> Result<Installation, Error> {
        self.ask(call!(installation), &[]).await
    }

    /// Takes the lane: all older holders are refused from now on.
    pub async fn claim_lane(&self, options: &Value) -> Result<CallResult, Error> {
        self.ask(call!(claim_lane), &[(options, Type::JSONB)]).await
    }

    /// Says that the holder of the lane is alive, or leaves.
    pub async fn heartbeat_lane(&self, hold: Hold, options: &Value) -> Result<CallResult, Error> {
        self.held(call!(heartbeat_lane), hold, options).await
    }

    /// Gives the database back: another TenantDatabase may claim it.
    pub async fn release_lane(&self, hold: Hold) -> Result<CallResult, Error> {
        self.ask(call!(release_lane), &[(&hold.epoch, Type::INT8), (&hold.installation_id, Type::UUID)]).await
    }

    /// Everything about one tenant.
    pub async fn observe_tenant(&self, question: &TenantQuestion<'_>) -> Result<TenantAnswer, Error> {
        let call = call!(observe_tenant);
        self.ask(call, &[(&document(call.name, question)?, Type::JSONB)]).await
    }

    /// Everything about one backup.
    pub async fn observe_backup(&self, question: &BackupQuestion<'_>) -> Result<BackupAnswer, Error> {
        let call = call!(observe_backup);
        self.ask(call, &[(&document(call.name, question)?, Type::JSONB)]).await
    }

    /// Runs steps in order up to the first that is neither success nor unchanged.
    pub async fn apply_steps(&self, hold: Hold, steps: &[Step], requested_by: &str) -> Result<Vec<CallResult>, Error> {
        let call = call!(apply_steps);
        let steps =
            contract::document(steps, requested_by).map_err(|source| Error::Answer { call: call.name, source })?;
        self.ask(call, &[(&hold.epoch, Type::INT8), (&hold.installation_id, Type::UUID), (&steps, Type::JSONB)]).await
    }

    /// Measures all tenants of the database and answers with what changed and what is `asked` for; `wishes` say what may
    /// expire. Ends early when `cancelled`
    /// completes.
    pub async fn survey_tenants(
        &self,
        hold: Hold,
        asked: Asked,
        wishes: &Value,
        deadline: Duration,
        cancelled: impl Future<Output = ()>,
    ) -> Result<Surveyed, Error> {
        let mut options = wishes.clone();
        match asked {
            Asked::All => options["everything"] = json!(true),
            Asked::Slice(slice) => options["slice"] = json!(slice),
        }
        let parameters: [Parameter<'_>; 3] =
            [(&hold.epoch, Type::INT8), (&hold.installation_id, Type::UUID), (&options, Type::JSONB)];
        let call = call!(survey_tenants);
        let started = Instant::now();
        let result = self.pool.call_until(call, &parameters, deadline, cancelled).await;
        self.measure(call.name, started, result.as_ref());
        result
    }

    /// Opens a tenant's run login for one session.
    pub async fn open_tenant_session(&self, hold: Hold, options: &Value) -> Result<CallResult, Error> {
        self.held(call!(open_tenant_session), hold, options).await
    }

    /// Closes it.
    pub async fn close_tenant_session(&self, hold: Hold, options: &Value) -> Result<CallResult, Error> {
        self.held(call!(close_tenant_session), hold, options).await
    }

    /// Notes what deletes left free in tables that were vacuumed.
    pub async fn note_live_part(&self, hold: Hold, options: &Value) -> Result<CallResult, Error> {
        self.held(call!(note_live_part), hold, options).await
    }

    /// Takes the next job, if there is one.
    pub async fn claim_job(&self, hold: Hold, options: &Value) -> Result<CallResult, Error> {
        self.held(call!(claim_job), hold, options).await
    }

    /// Does a job, or its next bounded part. Ends early when `cancelled` completes.
    pub async fn run_job(
        &self,
        hold: Hold,
        job: Uuid,
        deadline: Duration,
        cancelled: impl Future<Output = ()>,
    ) -> Result<CallResult, Error> {
        let parameters: [Parameter<'_>; 3] =
            [(&hold.epoch, Type::INT8), (&hold.installation_id, Type::UUID), (&job, Type::UUID)];
        let call = call!(run_job);
        let started = Instant::now();
        let result = self.pool.call_until(call, &parameters, deadline, cancelled).await;
        self.measure(call.name, started, result.as_ref());
        result
    }

    /// Ends sessions of this login that work on snapshots which no job wants any more, because a tenant's code in them catches
    /// every cancellation; says how many.
    pub async fn end_stray_sessions(&self) -> Result<i64, Error> {
        self.ask(call!(end_stray_sessions), &[]).await
    }

    /// Says that a job is alive; the answer is an error when it was cancelled.
    pub async fn heartbeat_job(&self, hold: Hold, job: Uuid) -> Result<CallResult, Error> {
        self.ask(
            call!(heartbeat_job),
            &[(&hold.epoch, Type::INT8), (&hold.installation_id, Type::UUID), (&job, Type::UUID)],
        )
        .await
    }

    /// Records a failure that only the client saw.
    pub async fn finish_job(&self, hold: Hold, job: Uuid, outcome: &Value) -> Result<CallResult, Error> {
        self.of_job(call!(finish_job), hold, job, outcome).await
    }

    /// Begins an attempt at an archive, before a byte of it is written.
    pub async fn begin_archive(&self, hold: Hold, job: Uuid, upload: &ArchiveUpload) -> Result<CallResult, Error> {
        let call = call!(begin_archive);
        self.of_job(call, hold, job, &document(call.name, upload)?).await
    }

    /// Records that an attempt at an archive is complete; its job is done then.
    pub async fn record_archive(&self, hold: Hold, job: Uuid, made: &MadeArchive) -> Result<CallResult, Error> {
        let call = call!(record_archive);
        self.of_job(call, hold, job, &document(call.name, made)?).await
    }

    /// Prepares a scratch database for a job, with these extensions.
    pub async fn begin_scratch(&self, hold: Hold, job: Uuid, extensions: &Value) -> Result<CallResult, Error> {
        self.of_job(call!(begin_scratch), hold, job, &json!({ "extensions": extensions })).await
    }

    /// Notes that a scratch database stands.
    pub async fn note_scratch(&self, hold: Hold, name: &str) -> Result<CallResult, Error> {
        let parameters: [Parameter<'_>; 3] =
            [(&hold.epoch, Type::INT8), (&hold.installation_id, Type::UUID), (&name, Type::TEXT)];
        self.ask(call!(note_scratch), &parameters).await
    }

    /// Says which scratch databases are to be removed: those that no job uses, and that of this job.
    pub async fn left_scratch(&self, hold: Hold, job: Option<Uuid>) -> Result<CallResult, Error> {
        self.held(call!(left_scratch), hold, &json!({ "job_id": job })).await
    }

    /// How many bytes a database of this login has on disk.
    pub async fn scratch_size(&self, name: &str) -> Result<u64, Error> {
        self.ask(call!(scratch_size), &[(&name, Type::TEXT)]).await
    }

    /// Says what is to be deleted of an archive.
    pub async fn begin_removal(&self, hold: Hold, job: Uuid) -> Result<CallResult, Error> {
        self.ask(
            call!(begin_removal),
            &[(&hold.epoch, Type::INT8), (&hold.installation_id, Type::UUID), (&job, Type::UUID)],
        )
        .await
    }

    /// Records that it is deleted, or that the store keeps it; the job is done then.
    pub async fn record_removal(&self, hold: Hold, job: Uuid, kept_by_store: bool) -> Result<CallResult, Error> {
        self.of_job(call!(record_removal), hold, job, &json!({ "kept_by_store": kept_by_store })).await
    }

    /// Notes that what an attempt at an archive began is deleted.
    pub async fn drop_upload(&self, hold: Hold, attempt: Uuid) -> Result<CallResult, Error> {
        self.ask(
            call!(drop_upload),
            &[(&hold.epoch, Type::INT8), (&hold.installation_id, Type::UUID), (&attempt, Type::UUID)],
        )
        .await
    }

    /// A call about a job that takes one document.
    async fn of_job(&self, call: Call, hold: Hold, job: Uuid, options: &Value) -> Result<CallResult, Error> {
        let parameters: [Parameter<'_>; 4] = [
            (&hold.epoch, Type::INT8),
            (&hold.installation_id, Type::UUID),
            (&job, Type::UUID),
            (options, Type::JSONB),
        ];
        self.ask(call, &parameters).await
    }

    /// A call that changes something and takes one document.
    async fn held(&self, call: Call, hold: Hold, options: &Value) -> Result<CallResult, Error> {
        let parameters: [Parameter<'_>; 3] =
            [(&hold.epoch, Type::INT8), (&hold.installation_id, Type::UUID), (options, Type::JSONB)];
        self.ask(call, &parameters).await
    }

    async fn ask<T: DeserializeOwned>(&self, call: Call, parameters: &[Parameter<'_>]) -> Result<T, Error> {
        let started = Instant::now();
        let result = self.pool.call(call, parameters, self.deadline).await;
        self.measure(call.name, started, result.as_ref());
        result
    }

    fn measure<T>(&self, function: &'static str, started: Instant, result: Result<T, &Error>) {
        let outcome = result.map_or_else(Error::category, |_| "ok");
        self.metrics.called(function, outcome, started.elapsed());
    }
}

fn document(call: &'static str, question: &impl Serialize) -> Result<Value, Error> {
    serde_json::to_value(question).map_err(|source| Error::Answer { call, source })
}
