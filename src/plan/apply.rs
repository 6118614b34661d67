//! Applies the plan's effects in order, up to the first that waits, refuses or fails. Steps that are only tried do not
//! end the plan; if nothing else does, their failure is told.

use super::{Effect, End, Plan, Running};
use crate::{
    contract::{Call, CallResult, CallStatus, Step},
    lane::Lane,
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
    /// The result of applying an empty plan.
    #[must_use]
    pub fn nothing() -> Self {
        Self { results: Vec::new(), end: End::Done }
    }

    /// The answer of a function that did something.
    #[must_use]
    pub fn success(&self, call: &Call) -> Option<&CallResult> {
        self.results.iter().find(|result| result.call == *call && result.status == CallStatus::Success)
    }

    /// A text that one of the functions answered with.
    #[must_use]
    pub fn text(&self, call: &Call, key: &str) -> Option<&str> {
        self.results.iter().filter(|result| result.call == *call).find_map(|result| result.text(key))
    }

    /// True when something was changed in the database.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.results.iter().any(|result| matches!(result.status, CallStatus::Success | CallStatus::Partial))
    }
}

/// Applies a plan on its database.
pub async fn apply(lane: &Lane, plan: &Plan) -> Result<Applied, Error> {
    let mut applied = Applied::nothing();
    let mut tried = None;
    for effect in &plan.effects {
        let is_tried = matches!(effect, Effect::Try(_));
        match effect {
            Effect::EndJobs(Running::OfTenant(schema_id)) => lane.cancel_jobs_of(*schema_id),
            Effect::EndJobs(Running::Job(job_id)) => lane.cancel_job(*job_id),
            Effect::Steps(steps) | Effect::Try(steps) => {
                let queues_job = steps.iter().any(Step::queues_job);
                let results = match lane.apply(&plan.caller, steps.clone()).await {
                    Err(error) if error.is_unstorable() => {
                        applied.end = End::unstorable(&error);
                        return Ok(applied);
                    }
                    other => other?,
                };
                if queues_job {
                    lane.jobs_waiting.notify_one();
                }
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
            Effect::Await { reason, fact, until } => {
                applied.end = End::Waits { reason: *reason, message: fact.clone(), until: *until };
                return Ok(applied);
            }
            Effect::Refuse { reason, message } => {
                applied.end = End::Refused { reason: *reason, message: message.clone() };
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
