//! The bounded runner of one lane: claims jobs from the catalogue, keeps them alive, ends them when asked.
//!
//! The catalogue is queue and truth. A runner that dies leaves its job with an old heartbeat and an old epoch; the
//! next holder of the lane claims it again, and what was half made was one transaction that never happened.

use std::{sync::Arc, time::Duration};

use futures::channel::mpsc::UnboundedSender;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use crate::{
    contract::{CallResult, CallStatus, ClaimedJob, Refusal},
    lane::Lane,
    postgres::Error,
};

/// The kind of job that makes a copy of a tenant.
const SNAPSHOT: &str = "snapshot";
/// The kind of job that removes what was set aside or copied.
const PURGE: &str = "purge";
/// How often a running job says that it is alive; the database takes it for dead after six of these.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How often the catalogue is asked without being rung: jobs that another replica left, retries.
const POLL: Duration = Duration::from_secs(30);
/// No part of a removal may take longer; it runs no code of the tenant's.
const PURGE_DEADLINE: Duration = Duration::from_hours(1);
/// How long a snapshot of a tenant that has next to nothing may take.
const SNAPSHOT_DEADLINE: Duration = Duration::from_mins(10);
/// How many bytes of a tenant are another second for its snapshot. A slow server copies and hashes many times as much.
const BYTES_PER_SECOND: u64 = 1024 * 1024;
/// No snapshot may take longer.
const LONGEST_SNAPSHOT: Duration = Duration::from_hours(6);
/// The catalogue says when a job that could not be done is due again; it is not asked more often than this.
const RETRY: Duration = Duration::from_secs(1);

/// A job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The TenantDatabase.
    pub database: String,
    /// What it was.
    pub job: ClaimedJob,
    /// `success`, `error`, `cancelled`, `retry` or `lost`.
    pub outcome: &'static str,
    /// For people.
    pub message: String,
}

/// Runs jobs, at most `slots` of each kind at once, until the lane is lost. A snapshot lasts as long as the tenant's own code
/// in it likes, so none of them ever has the place of a removal.
pub async fn run(lane: Arc<Lane>, slots: usize, finished: UnboundedSender<Finished>) {
    let (mut snapshots, mut purges) = (JoinSet::new(), JoinSet::new());
    let mut pause = POLL;
    while !lane.is_lost() {
        let kinds = free(slots, snapshots.len(), purges.len());
        if !kinds.is_empty() {
            match claim(&lane, &kinds, slots).await {
                Ok(Claim::Job(job, cancelled)) => {
                    let (lane, finished) = (lane.clone(), finished.clone());
                    let running = if job.is_purge() { &mut purges } else { &mut snapshots };
                    running.spawn(async move {
                        let (outcome, message) = run_one(&lane, &job, cancelled).await;
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
            Some(_) = snapshots.join_next() => {}
            Some(_) = purges.join_next() => {}
            () = sleep(pause) => end_strays(&lane).await,
        }
    }
    lane.cancel_all_jobs();
    // What does not end in time ends with its connection.
    let ended = async {
        while snapshots.join_next().await.is_some() {}
        while purges.join_next().await.is_some() {}
    };
    let _ = timeout(HEARTBEAT, ended).await;
}

/// The kinds of jobs that have a place, when so many of each are running.
fn free(slots: usize, snapshots: usize, purges: usize) -> Vec<&'static str> {
    let counts = [(SNAPSHOT, snapshots), (PURGE, purges)];
    counts.into_iter().filter(|(_, running)| *running < slots).map(|(kind, _)| kind).collect()
}

/// What a cancelled job left running at the server is ended, at the pace of the poll.
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
async fn claim(lane: &Lane, kinds: &[&str], slots: usize) -> Result<Claim, Error> {
    let _claiming = lane.claiming.lock().await;
    if lane.is_lost() {
        return Ok(Claim::Nothing { due: None });
    }
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

async fn run_one(lane: &Lane, job: &ClaimedJob, cancelled: watch::Receiver<bool>) -> (&'static str, String) {
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
        Ok(ended) => ended,
        Err(_) if lane.is_lost() => ("lost", "ended with the lane; it is claimed again".to_owned()),
        Err(_) if *cancelled.borrow() => ("cancelled", "ended on request".to_owned()),
        Err(error) => {
            let outcome = json!({
                "status": "error", "message": error.to_string(), "retry": error.is_transient(), "sqlstate": error.sqlstate(),
            });
            (record(lane, job, &outcome).await, error.to_string())
        }
    };
    (outcome, message)
}

async fn work(
    lane: &Lane,
    job: &ClaimedJob,
    cancelled: watch::Receiver<bool>,
) -> Result<(&'static str, String), Error> {
    loop {
        let mut cancel = cancelled.clone();
        let ended = async move {
            // An error means that the sender is gone, which job_ended does only after this ended.
            let _ = cancel.wait_for(|cancelled| *cancelled).await;
        };
        let result = lane.run_job(job, deadline(job), ended).await?;
        if result.lane_lost() {
            lane.refuse();
            return Ok(("lost", result.message));
        }
        match result.status {
            CallStatus::Success | CallStatus::Unchanged => return Ok(("success", result.message)),
            CallStatus::Partial => {}
            // The catalogue has it as requested again.
            CallStatus::Busy => return Ok(("retry", result.message)),
            // A removal that a person has to make way for is tried again as well, and counts as an error for who watches.
            CallStatus::Error if is_retried(&result) && result.may_pass() => return Ok(("retry", result.message)),
            CallStatus::Error if result.reason() == Refusal::Cancelled => return Ok(("cancelled", result.message)),
            CallStatus::Error => return Ok(("error", result.message)),
        }
    }
}

/// How long a part of a job may take. What a tenant's code adds to its snapshot is at the cost of all who wait for theirs, so the
/// time is that of the tenant's size.
fn deadline(job: &ClaimedJob) -> Duration {
    if job.is_purge() {
        return PURGE_DEADLINE;
    }
    let size = u64::try_from(job.storage_bytes.unwrap_or_default()).unwrap_or_default();
    (SNAPSHOT_DEADLINE + Duration::from_secs(size / BYTES_PER_SECOND)).min(LONGEST_SNAPSHOT)
}

/// Records how an attempt ended, and says what becomes of the job. What stays unrecorded is an attempt that was left behind,
/// of which there may be few; so this goes on while the lane does.
async fn record(lane: &Lane, job: &ClaimedJob, outcome: &Value) -> &'static str {
    while !lane.is_lost() {
        match lane.functions().finish_job(lane.hold, job.job_id, outcome).await {
            Ok(result) if is_retried(&result) => return "retry",
            Ok(_) => return "error",
            Err(error) => {
                tracing::warn!(job = %job.job_id, %error, "cannot record the failure of a job");
                if !error.is_transient() {
                    break;
                }
            }
        }
        sleep(HEARTBEAT / 2).await;
    }
    "lost"
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: &str, storage_bytes: Option<i64>, expected: Duration) {
        let job = ClaimedJob {
            job_id: uuid::Uuid::nil(),
            kind: kind.to_owned(),
            schema_id: None,
            schema_name: None,
            backup_id: None,
            attempt: 1,
            storage_bytes,
        };
        assert_eq!(deadline(&job), expected, "{kind} of {storage_bytes:?} bytes");
    }

    #[test]
    fn a_snapshot_has_the_time_of_its_tenants_size() {
        const GIB: i64 = 1024 * 1024 * 1024;
        check(SNAPSHOT, None, Duration::from_mins(10));
        check(SNAPSHOT, Some(-1), Duration::from_mins(10));
        check(SNAPSHOT, Some(8192), Duration::from_mins(10));
        check(SNAPSHOT, Some(GIB), Duration::from_secs(600 + 1024));
        check(SNAPSHOT, Some(1000 * GIB), Duration::from_hours(6));
        check(SNAPSHOT, Some(i64::MAX), Duration::from_hours(6));
        check(PURGE, Some(1000 * GIB), Duration::from_hours(1));
    }

    #[test]
    fn a_kind_whose_places_are_taken_leaves_the_other_its_own() {
        assert_eq!(free(1, 0, 0), [SNAPSHOT, PURGE]);
        assert_eq!(free(1, 1, 0), [PURGE]);
        assert_eq!(free(1, 0, 1), [SNAPSHOT]);
        assert!(free(1, 1, 1).is_empty());
        assert_eq!(free(2, 1, 2), [SNAPSHOT]);
    }
}
