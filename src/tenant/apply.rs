//! Stage 5: the plan's effects, in order, up to the first that waits, refuses or fails. No choices are left. One that is only tried
//! ends nothing, and where nothing else ends the plan, what became of it is told.

use serde_json::{Value, json};

use super::plan::{Effect, Plan, Step};
use crate::{
    api::condition::Reason,
    context::End,
    contract::{CallResult, CallStatus},
    lane::{Caller, Lane},
    postgres::Error,
};

/// What was done, and where it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// What the functions answered, in order.
    pub results: Vec<CallResult>,
    /// Where it ended.
    pub end: End,
}

impl Applied {
    /// What applying an empty plan comes to.
    #[must_use]
    pub fn nothing() -> Self {
        Self { results: Vec::new(), end: End::Done }
    }

    /// The answer of a function that did something.
    #[must_use]
    pub fn success(&self, call: &str) -> Option<&CallResult> {
        self.results.iter().find(|result| result.call == call && result.status == CallStatus::Success)
    }

    /// True when something was changed in the database.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.results.iter().any(|result| matches!(result.status, CallStatus::Success | CallStatus::Partial))
    }
}

/// Applies a plan on behalf of the tenant's object.
pub async fn apply(lane: &Lane, caller: Caller<'_>, plan: Plan) -> Result<Applied, Error> {
    let mut applied = Applied::nothing();
    let mut tried = None;
    for effect in plan.effects {
        let is_tried = matches!(effect, Effect::Try(_));
        match effect {
            Effect::EndJobs { schema_id } => lane.cancel_jobs_of(schema_id),
            Effect::Steps(steps) | Effect::Try(steps) => {
                let results = match lane.apply(caller, document(&steps)).await {
                    // No other text of a plan has letters beyond ASCII.
                    Err(error) if error.is_unstorable() => {
                        let message = format!("spec.config has a text that this database cannot store: {error}");
                        applied.end = End::Refused { reason: Reason::InvalidSpec, message };
                        return Ok(applied);
                    }
                    other => other?,
                };
                let end = results.last().and_then(End::of);
                applied.results.extend(results);
                match end {
                    Some(end) if is_tried => tried = Some(end),
                    Some(end) => {
                        applied.end = end;
                        return Ok(applied);
                    }
                    None => {}
                }
            }
            Effect::Await { reason, fact } => {
                if reason == Reason::AwaitingJob {
                    lane.jobs_waiting.notify_one();
                }
                applied.end = End::Waits { reason, message: format!("waiting until {fact}") };
                return Ok(applied);
            }
            Effect::Refuse { reason, message } => {
                applied.end = End::Refused { reason, message };
                return Ok(applied);
            }
            Effect::Release => applied.end = End::Released,
        }
    }
    if let (End::Done, Some(end)) = (&applied.end, tried) {
        applied.end = end;
    }
    Ok(applied)
}

/// Steps as the database takes them.
#[must_use]
pub fn document(steps: &[Step]) -> Value {
    steps.iter().map(|step| json!({ "call": step.call, "options": step.options })).collect()
}
