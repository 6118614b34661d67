//! What deletes left free in tenants that are blocked for their quota: their tables are vacuumed as their owners, beside the surveys.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::time::Instant;

use super::{caller, work::Work};
use crate::{
    contract::{CallStatus, LivePartDue, ObjectKind, Owner},
    frame::Wake,
    lane::{
        Lane,
        tenant_session::{LOGIN, OPEN},
    },
    postgres::Error,
};

/// No session of one tenant may take longer: it keeps a place from others.
const LONGEST: Duration = Duration::from_mins(5);

/// Vacuums what a survey asked for, unless the tables of an earlier survey are still under way. What is left then is asked for again.
pub fn begin(work: &Arc<Work>, due: Vec<LivePartDue>, wake: &Wake) {
    if due.is_empty() || work.memory(|memory| memory.vacuuming.as_ref().is_some_and(|task| !task.is_finished())) {
        return;
    }
    let (lane, wake, told) = (work.lane.clone(), wake.clone(), work.clone());
    let task = tokio::spawn(async move {
        for part in due {
            // Another operator that waits for the lane is not to wait for this.
            if lane.is_lost() || lane.contest().is_some() {
                break;
            }
            let problem = match one(&lane, &part).await {
                Ok(()) => {
                    // What is known of it by surveys is older.
                    let Owner { namespace, name, uid, .. } = &part.owner;
                    lane.distrust(&ObjectKind::TenantSchema, uid);
                    wake.tenant(namespace, name);
                    None
                }
                Err(error @ Error::Refused { call: LOGIN | OPEN, may_pass: false, .. }) => Some(error.to_string()),
                Err(error) => {
                    tracing::debug!(database = lane.database, %error, "cannot vacuum the tables of a tenant");
                    continue;
                }
            };
            let is_news = told.memory(|memory| {
                let known = memory.session_problem.take().map(|(_, problem)| problem);
                let is_news = known != problem;
                memory.session_problem = problem.map(|problem| (Instant::now(), problem));
                is_news
            });
            if is_news {
                wake.database(&lane.database);
            }
        }
    });
    work.memory(|memory| memory.vacuuming = Some(task));
}

/// Vacuums tables of one tenant, and has what is free in them noted.
async fn one(lane: &Lane, part: &LivePartDue) -> Result<(), Error> {
    let requested_by = caller(&lane.database).requested_by;
    let time = Duration::from_secs(part.seconds).min(LONGEST);
    let vacuumed = lane
        .as_tenant(part.schema_id, &requested_by, time, async |session, time| {
            let until = Instant::now() + time;
            let mut vacuumed = Vec::new();
            for table in &part.tables {
                match session.run(&table.statement, until.saturating_duration_since(Instant::now())).await {
                    Ok(()) => vacuumed.push(table.oid),
                    // It was renamed, dropped or is too large; the others have their turn.
                    Err(error) => {
                        tracing::debug!(database = lane.database, %error, table = table.oid, "cannot vacuum a table");
                        if error.is_outage() || matches!(error, Error::Deadline { .. }) {
                            break;
                        }
                    }
                }
            }
            vacuumed
        })
        .await?;
    let options = json!({ "schema_id": part.schema_id, "tables": vacuumed, "requested_by": requested_by });
    let result = lane.functions().note_live_part(lane.hold, &options).await?;
    lane.judge(&result);
    match result.status {
        CallStatus::Success | CallStatus::Unchanged | CallStatus::Partial => Ok(()),
        CallStatus::Busy | CallStatus::Error => {
            let may_pass = result.may_pass() || result.status == CallStatus::Busy;
            Err(Error::Refused { call: "note_live_part", message: result.message, may_pass })
        }
    }
}
