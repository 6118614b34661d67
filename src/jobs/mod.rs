//! The bounded runner of one lane: claims jobs from the catalogue, keeps them alive, ends them when asked.
//!
//! The catalogue is the queue. A runner that dies leaves its job with an old heartbeat and an old epoch; the next
//! holder of the lane claims it again, and PostgreSQL rolled back what was half made, since that was one transaction.

mod archive;
mod slots;
mod verify;
mod work;

use std::{sync::Arc, time::Duration};

use futures::channel::mpsc::UnboundedSender;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use crate::{
    contract::{CallResult, CallStatus, ClaimedJob, JobKind, Refusal},
    lane::Lane,
    postgres::Error,
};
use slots::Slots;
use work::work;

/// How often a running job says that it is alive; the database takes it for dead after six of these.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How often the catalogue is asked when nothing wakes the runner, for jobs that another replica left and for retries.
const POLL: Duration = Duration::from_secs(30);
/// The catalogue says when a job that could not be done is due again; it is not asked more often than this.
const RETRY: Duration = Duration::from_secs(1);

/// A job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The TenantDatabase.
    pub database: String,
    /// What it was.
    pub job: ClaimedJob,
    /// How it ended.
    pub outcome: Outcome,
    /// For people.
    pub message: String,
}

/// How an attempt at a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Success,
    /// It failed, or a person has to remove what is in its way.
    Error,
    /// It was given up on request.
    Cancelled,
    /// What was in its way may pass, and the catalogue has it as requested again.
    Retry,
    /// The lane was lost; its next holder claims the job again.
    Lost,
}

impl Outcome {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
            Self::Retry => "retry",
            Self::Lost => "lost",
        }
    }
}

/// How an attempt ended, and what people are told.
struct Ended {
    outcome: Outcome,
    message: String,
}

/// The ends of jobs that are counted from zero, as kind and outcome.
pub fn expected() -> impl Iterator<Item = (String, &'static str)> {
    let outcomes = [Outcome::Success, Outcome::Error];
    JobKind::all().flat_map(move |kind| outcomes.map(|outcome| (kind.to_string(), outcome.as_str())))
}

/// Runs jobs, at most so many of each class at once and so many programs, until the lane is lost.
pub async fn run(lane: Arc<Lane>, (slots, programs): (usize, usize), finished: UnboundedSender<Finished>) {
    let (mut running, places) = (JoinSet::new(), Slots::new(slots, programs));
    let mut pause = POLL;
    let sweeping = lane.clone();
    running.spawn(async move {
        if let Err(error) = sweeping.sweep_scratch(None).await {
            tracing::warn!(database = sweeping.database, %error, "cannot remove scratch databases that an operator left");
        }
    });
    while !lane.is_lost() {
        let kinds = places.free(lane.archives.get().is_ok(), lane.archives.for_removal().is_ok());
        if !kinds.is_empty() {
            match claim(&lane, &kinds, slots.max(programs)).await {
                Ok(Claim::Job(job, cancelled)) => {
                    let (lane, finished, place) = (lane.clone(), finished.clone(), places.take(&job.kind));
                    running.spawn(async move {
                        let Ended { outcome, message } = Box::pin(run_one(&lane, &job, cancelled)).await;
                        drop(place);
                        let database = lane.database.clone();
                        // A closed channel means that the process is shutting down: the catalogue has the result.
                        let _ = finished.unbounded_send(Finished { database, job, outcome, message });
                    });
                    continue;
                }
                Ok(Claim::Nothing { due }) => pause = due.unwrap_or(POLL).clamp(RETRY, POLL),
                Err(error) => {
                    tracing::warn!(database = lane.database, %error, "cannot claim a job");
                    if error.is_outage() || matches!(error, Error::Deadline { .. }) {
                        // A job was perhaps claimed, and is claimed again at once only in another epoch.
                        lane.lose();
                    }
                }
            }
        }
        tokio::select! {
            () = lane.jobs_waiting.notified() => {}
            Some(_) = running.join_next() => {}
            () = sleep(pause) => end_strays(&lane).await,
        }
    }
    lane.cancel_all_jobs();
    // What does not end in time ends with its connection.
    let ended = async { while running.join_next().await.is_some() {} };
    let _ = timeout(HEARTBEAT, ended).await;
}

/// Ends what a cancelled job left running at the server, as often as the catalogue is polled.
async fn end_strays(lane: &Lane) {
    match lane.functions().end_stray_sessions().await {
        Ok(0) => {}
        Ok(count) => tracing::warn!(database = lane.database, count, "ended sessions that ignored their cancellation"),
        Err(error) => tracing::warn!(database = lane.database, %error, "cannot look for stray sessions"),
    }
}

/// What the catalogue had.
enum Claim {
    /// A job, registered as running, and whether it is to end.
    Job(ClaimedJob, watch::Receiver<bool>),
    /// Nothing that may run now.
    Nothing {
        /// When something may, if something waits.
        due: Option<Duration>,
    },
}

/// Takes the next job of one of these kinds.
async fn claim(lane: &Lane, kinds: &[JobKind], slots: usize) -> Result<Claim, Error> {
    let _claiming = lane.claiming.lock().await;
    if lane.is_lost() {
        return Ok(Claim::Nothing { due: None });
    }
    let kinds: Vec<_> = kinds.iter().map(JobKind::as_str).collect();
    let options = json!({ "holder": lane.holder, "kinds": kinds, "max_running": slots });
    let result = lane.functions().claim_job(lane.hold, &options).await?;
    lane.judge(&result);
    if result.status != CallStatus::Success {
        let due = result.detail.get("due_in_ms").and_then(Value::as_u64).map(Duration::from_millis);
        return Ok(Claim::Nothing { due });
    }
    let job: ClaimedJob =
        serde_json::from_value(result.detail).map_err(|source| Error::Answer { call: "claim_job", source })?;
    let cancelled = lane.job_started(job.job_id, job.schema_id);
    Ok(Claim::Job(job, cancelled))
}

async fn run_one(lane: &Lane, job: &ClaimedJob, cancelled: watch::Receiver<bool>) -> Ended {
    let mut work = std::pin::pin!(work(lane, job, cancelled.clone()));
    let result = tokio::select! {
        result = &mut work => result,
        () = keep_alive(lane, job) => {
            // The statement is cancelled at the server, and waited for: it holds the tenant's lock until it has ended.
            lane.cancel_job(job.job_id);
            work.await
        }
    };
    lane.job_ended(job.job_id);
    let (outcome, message) = match result {
        Ok(ended) => return ended,
        Err(_) if lane.is_lost() => (Outcome::Lost, "ended with the lane; it is claimed again".to_owned()),
        Err(_) if *cancelled.borrow() => (Outcome::Cancelled, "ended on request".to_owned()),
        Err(error) => {
            let outcome = json!({
                "status": "error", "message": error.to_string(), "retry": error.is_transient(), "sqlstate": error.sqlstate(),
            });
            (record(lane, job, &outcome).await, error.to_string())
        }
    };
    Ended { outcome, message }
}

/// Records how an attempt ended, and says what becomes of the job. What stays unrecorded is an attempt that was left behind,
/// of which there may be few; so this goes on while the lane does.
async fn record(lane: &Lane, job: &ClaimedJob, outcome: &Value) -> Outcome {
    while !lane.is_lost() {
        match lane.functions().finish_job(lane.hold, job.job_id, outcome).await {
            Ok(result) if is_retried(&result) => return Outcome::Retry,
            Ok(_) => return Outcome::Error,
            Err(error) => {
                tracing::warn!(job = %job.job_id, %error, "cannot record the failure of a job");
                if !error.is_transient() {
                    break;
                }
            }
        }
        sleep(HEARTBEAT / 2).await;
    }
    Outcome::Lost
}

/// Whether the catalogue has the job as requested again.
fn is_retried(result: &CallResult) -> bool {
    result.detail.get("retry").and_then(Value::as_bool).unwrap_or(false)
}

/// Completes when the catalogue says that the job was cancelled.
async fn keep_alive(lane: &Lane, job: &ClaimedJob) {
    let mut beat = interval(HEARTBEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat.tick().await;
    loop {
        beat.tick().await;
        match lane.functions().heartbeat_job(lane.hold, job.job_id).await {
            Ok(result) if result.lane_lost() => lane.refuse(),
            Ok(result) if result.reason() == Refusal::Cancelled => return,
            Ok(_) => {}
            Err(error) => tracing::warn!(job = %job.job_id, %error, "cannot send the heartbeat of a job"),
        }
    }
}
