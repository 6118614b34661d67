//! Stage 5: the plan's effects, in order. Requests are rows in the catalogue; the lane's runner does the work.

use serde_json::json;
use uuid::Uuid;

use super::plan::{Effect, Plan};
use crate::{
    api::condition::Reason,
    lane::Lane,
    postgres::{Error, answer::CallStatus},
};

/// Where applying ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The backup's id, when this pass requested it.
    pub backup_id: Option<Uuid>,
    /// How it stands.
    pub end: End,
}

/// How a backup stands after a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing is left to do.
    Done,
    /// The object may go.
    Released,
    /// It goes on by itself.
    Waits {
        /// From the closed set.
        reason: Reason,
        /// For people.
        message: String,
    },
    /// A person must act.
    Refused {
        /// From the closed set.
        reason: Reason,
        /// For people.
        message: String,
    },
}

/// Applies a plan on behalf of the object with this UID.
pub async fn apply(lane: &Lane, uid: &str, plan: Plan) -> Result<Applied, Error> {
    let mut applied = Applied { backup_id: None, end: End::Done };
    for effect in plan.effects {
        match effect {
            Effect::Request { call, options, .. } => {
                let results = lane.apply(uid, &json!([{ "call": call, "options": options }])).await?;
                let Some(result) = results.into_iter().next() else { continue };
                match result.status {
                    CallStatus::Success | CallStatus::Unchanged => {
                        applied.backup_id = result.text("backup_id").and_then(|id| id.parse().ok());
                        lane.jobs_waiting.notify_one();
                    }
                    CallStatus::Busy | CallStatus::Partial => {
                        applied.end = End::Waits { reason: Reason::ProgressingWithRetry, message: result.message };
                        return Ok(applied);
                    }
                    CallStatus::Error if result.lane_lost() => {
                        applied.end = End::Waits { reason: Reason::DatabaseNotReady, message: result.message };
                        return Ok(applied);
                    }
                    CallStatus::Error => {
                        applied.end = End::Refused { reason: Reason::OperationFailed, message: result.message };
                        return Ok(applied);
                    }
                }
            }
            Effect::Await { reason, message } => {
                applied.end = End::Waits { reason, message };
                return Ok(applied);
            }
            Effect::Refuse { reason, message } => {
                applied.end = End::Refused { reason, message };
                return Ok(applied);
            }
            Effect::Release => applied.end = End::Released,
        }
    }
    Ok(applied)
}
