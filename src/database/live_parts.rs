//! What deletes left free in tenants that are blocked for their quota: their tables are vacuumed as their owners, beside the surveys.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

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

/// Why the operator could not work as tenants. What a tenant's was is told until it can, or for two hours: it is tried again within
/// one for as long as the tenant is blocked.
#[derive(Debug, Default)]
pub struct SessionProblems(BTreeMap<Uuid, (Instant, String)>);

impl SessionProblems {
    fn note(&mut self, tenant: Uuid, problem: Option<String>, now: Instant) {
        self.0.retain(|of, (at, _)| *of != tenant && *at + Self::TOLD > now);
        self.0.extend(problem.map(|problem| (tenant, (now, problem))));
    }

    /// That of one tenant, and how many others have one.
    #[must_use]
    pub fn told(&self, now: Instant) -> Option<String> {
        let mut told = self.0.values().filter(|(at, _)| *at + Self::TOLD > now).map(|(_, problem)| problem);
        let first = told.next()?;
        Some(match told.count() {
            0 => first.clone(),
            others => format!("{first} (and so for {others} more)"),
        })
    }

    const TOLD: Duration = Duration::from_hours(2);
}

/// Whether the tables that an earlier survey asked for are still under way. Until then a survey is to ask for no others, since
/// those that it asks for count as tried.
pub fn are_under_way(work: &Work) -> bool {
    work.memory(|memory| memory.vacuuming.as_ref().is_some_and(|task| !task.is_finished()))
}

/// Vacuums what a survey asked for.
pub fn begin(work: &Arc<Work>, due: Vec<LivePartDue>, wake: &Wake) {
    if due.is_empty() {
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
                let now = Instant::now();
                let before = memory.session_problems.told(now);
                memory.session_problems.note(part.schema_id, problem, now);
                memory.session_problems.told(now) != before
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
    let result = lane.note_live_part(&options).await?;
    match result.status {
        CallStatus::Success | CallStatus::Unchanged | CallStatus::Partial => Ok(()),
        CallStatus::Busy | CallStatus::Error => {
            let may_pass = result.may_pass() || result.status == CallStatus::Busy;
            Err(Error::Refused { call: "note_live_part", message: result.message, may_pass })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tenant_that_can_be_worked_as_hides_no_other_that_cannot() {
        let (mut problems, now) = (SessionProblems::default(), Instant::now());
        let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(problems.told(now), None);
        problems.note(second, Some("no line for b".to_owned()), now);
        problems.note(first, None, now);
        assert_eq!(problems.told(now).as_deref(), Some("no line for b"));
        problems.note(first, Some("no line for a".to_owned()), now);
        assert_eq!(problems.told(now).as_deref(), Some("no line for a (and so for 1 more)"));
        problems.note(first, None, now);
        assert_eq!(problems.told(now).as_deref(), Some("no line for b"));
        assert_eq!(problems.told(now + SessionProblems::TOLD), None);
    }
}
