//! Stage 5: the plan's effects, in order. Requests are rows in the catalogue; the lane's runner does the work.

use serde_json::json;
use uuid::Uuid;

use super::plan::{Effect, Plan};
use crate::{
    context::End,
    lane::{Caller, Lane},
    postgres::Error,
};

/// Where applying ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The backup's id, when this pass requested it.
    pub backup_id: Option<Uuid>,
    /// How it stands.
    pub end: End,
}

/// Applies a plan about a backup.
pub async fn apply(lane: &Lane, caller: Caller<'_>, plan: Plan) -> Result<Applied, Error> {
    let mut applied = Applied { backup_id: None, end: End::Done };
    for effect in plan.effects {
        match effect {
            Effect::Request { call, options, .. } => {
                let results = lane.apply(caller, json!([{ "call": call, "options": options }])).await?;
                let Some(result) = results.into_iter().next() else { continue };
                if let Some(end) = End::of(&result) {
                    applied.end = end;
                    return Ok(applied);
                }
                applied.backup_id = result.text("backup_id").and_then(|id| id.parse().ok());
                lane.jobs_waiting.notify_one();
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
