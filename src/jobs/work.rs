//! What a job does: one match over its kind.

use std::time::Duration;

use tokio::sync::watch;

use super::{
    Ended,
    archive::{archive, ended, remove},
};
use crate::{
    contract::{CallStatus, ClaimedJob, JobKind},
    lane::{Lane, Over},
    postgres::Error,
};

/// No part of a removal may take longer; it runs no code of the tenant's.
const PURGE_DEADLINE: Duration = Duration::from_hours(1);
/// How long a snapshot or an archive of a tenant that has next to nothing may take.
const SNAPSHOT_DEADLINE: Duration = Duration::from_mins(10);
/// How many bytes of a tenant are another second for its snapshot. A slow server copies and hashes many times as much.
const BYTES_PER_SECOND: u64 = 1024 * 1024;
/// No snapshot may take longer.
const LONGEST_SNAPSHOT: Duration = Duration::from_hours(6);

/// Does what a job of this kind is for.
pub(super) async fn work(lane: &Lane, job: &ClaimedJob, cancelled: watch::Receiver<bool>) -> Result<Ended, Error> {
    match &job.kind {
        JobKind::Snapshot => in_database(lane, job, Over::Own, snapshot_deadline(job.storage_bytes), cancelled).await,
        JobKind::Purge => in_database(lane, job, Over::Shared, PURGE_DEADLINE, cancelled).await,
        JobKind::Archive => archive(lane, job, snapshot_deadline(job.storage_bytes), cancelled).await,
        JobKind::RemoveArchive => remove(lane, job).await,
        // The database was asked for the kinds above alone.
        JobKind::Other(kind) => {
            let message = format!("this release does not know what a job of kind {kind} does");
            Err(Error::Refused { call: "claim_job", message, may_pass: true })
        }
    }
}

/// How long a part of a snapshot may take. All other snapshots wait meanwhile, so the time depends on the tenant's size
/// and not on what the tenant's code does.
fn snapshot_deadline(storage_bytes: Option<i64>) -> Duration {
    let size = u64::try_from(storage_bytes.unwrap_or_default()).unwrap_or_default();
    (SNAPSHOT_DEADLINE + Duration::from_secs(size / BYTES_PER_SECOND)).min(LONGEST_SNAPSHOT)
}

/// Calls the function that does it, part by part.
async fn in_database(
    lane: &Lane,
    job: &ClaimedJob,
    over: Over,
    deadline: Duration,
    cancelled: watch::Receiver<bool>,
) -> Result<Ended, Error> {
    loop {
        let mut cancel = cancelled.clone();
        let until = async move {
            // An error means that the sender is gone, which job_ended does only after this ended.
            let _ = cancel.wait_for(|cancelled| *cancelled).await;
        };
        let result = lane.run_job(job.job_id, over, deadline, until).await?;
        if result.status == CallStatus::Partial && !result.lane_lost() {
            continue;
        }
        return Ok(ended(lane, result));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(storage_bytes: Option<i64>, expected: Duration) {
        assert_eq!(snapshot_deadline(storage_bytes), expected, "of {storage_bytes:?} bytes");
    }

    #[test]
    fn a_snapshot_has_the_time_of_its_tenants_size() {
        const GIB: i64 = 1024 * 1024 * 1024;
        check(None, Duration::from_mins(10));
        check(Some(-1), Duration::from_mins(10));
        check(Some(8192), Duration::from_mins(10));
        check(Some(GIB), Duration::from_secs(600 + 1024));
        check(Some(1000 * GIB), Duration::from_hours(6));
        check(Some(i64::MAX), Duration::from_hours(6));
    }
}
