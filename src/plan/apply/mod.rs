//! Applies the plan's effects in order, up to the first that waits, refuses or fails. Steps that are only tried do not
//! end the plan; if nothing else does, their failure is told.

mod credential;

pub use credential::{Published, refused};

use kube::ResourceExt;

use super::{Effect, End, Plan, Running};
use crate::{
    api::condition::Reason,
    contract::{Call, CallResult, CallStatus, Caller, Purpose, Step},
    kubernetes::{Error, backups::Backups, secrets::Secrets},
    lane::Lane,
    postgres,
};

/// What was done, and where it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// What the functions answered, in order.
    pub results: Vec<CallResult>,
    /// The passwords that were written to Secrets.
    pub published: Vec<Published>,
    /// The names of the `SchemaBackup`s that schedules asked for.
    pub made: Vec<String>,
    /// The names of those that were removed, since there are newer ones.
    pub forgotten: Vec<String>,
    /// Where it ended.
    pub end: End,
    /// The function whose answer was the end, if one's was.
    pub ended_by: Option<Call>,
}

impl Applied {
    /// The result of applying an empty plan.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            results: Vec::new(),
            published: Vec::new(),
            made: Vec::new(),
            forgotten: Vec::new(),
            end: End::Done,
            ended_by: None,
        }
    }

    /// The answer of a function that did something.
    #[must_use]
    pub fn success(&self, call: &Call) -> Option<&CallResult> {
        self.results.iter().find(|result| result.call == *call && result.status == CallStatus::Success)
    }

    /// The answer of a function that did something to the logins of this purpose.
    #[must_use]
    pub fn success_for(&self, call: &Call, purpose: &Purpose) -> Option<&CallResult> {
        self.results.iter().find(|result| result.succeeded_for(call, purpose))
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

/// Applies a plan on its database, on the Secrets of its tenant and on the `SchemaBackup`s of its schedules.
pub async fn apply(lane: &Lane, secrets: &Secrets, backups: &Backups, plan: &Plan) -> Result<Applied, postgres::Error> {
    let mut applied = Applied::nothing();
    // What is wrong with a schedule or its objects is told if nothing else is.
    let (mut tried, mut unmade, mut issued) = (None, None, Vec::new());
    for effect in &plan.effects {
        let is_tried = matches!(effect, Effect::Try(_));
        match effect {
            Effect::EndJobs(Running::OfTenant(schema_id)) => lane.cancel_jobs_of(*schema_id),
            Effect::EndJobs(Running::Job(job_id)) => lane.cancel_job(*job_id),
            Effect::Steps(steps) | Effect::Try(steps) => {
                let queues_job = steps.iter().any(Step::queues_job);
                let mut steps = steps.clone();
                let passwords = credential::make(&mut steps);
                let results = match call(lane, &plan.caller, steps).await {
                    Err(error) if error.is_unstorable() => {
                        applied.end = End::unstorable(&error);
                        return Ok(applied);
                    }
                    other => other?,
                };
                if queues_job {
                    lane.jobs_waiting.notify_one();
                }
                issued.extend(credential::issued(&results, passwords));
                let end = results.last().and_then(|last| Some((End::of(last)?, Some(last.call.clone()))));
                applied.results.extend(results);
                match end {
                    // The first failure says more than those that follow from it.
                    Some(end) if is_tried => drop(tried.get_or_insert(end)),
                    Some(end) => {
                        (applied.end, applied.ended_by) = end;
                        return Ok(applied);
                    }
                    None => {}
                }
            }
            Effect::Publish { purpose, secret, schema, client, read } => {
                // Without an answer there is nothing to write, and the next look finds a password that reached no Secret.
                let Some(at) = issued.iter().position(|issued| issued.purpose == *purpose) else { continue };
                let issued = issued.swap_remove(at);
                let ready = credential::prepare(lane, &plan.caller, secret, schema, &issued).await;
                let endpoint = ready.and_then(|()| {
                    let unread = |message| End::Waits { reason: Reason::ProgressingWithRetry, message, until: None };
                    lane.endpoint.for_clients(client.as_ref(), read.as_ref()).map_err(unread)
                });
                let written = match endpoint {
                    Ok(endpoint) => credential::publish(secrets, &endpoint, secret, schema, issued)
                        .await
                        .map_err(|refusal| refused(&refusal, secret, purpose, schema)),
                    Err(end) => Err(end),
                };
                match written {
                    Ok(published) => applied.published.push(published),
                    // What comes after has nothing to do with it.
                    Err(end) => drop(tried.get_or_insert((end, None))),
                }
            }
            Effect::MakeBackup { backup, at } => match backups.make(backup, *at).await {
                Ok(true) => applied.made.push(backup.name_any()),
                Ok(false) => {}
                Err(error) => drop(unmade.get_or_insert_with(|| not_made(&error))),
            },
            Effect::ForgetBackups { newer: Some(newer), .. } if !applied.made.contains(newer) => {}
            Effect::ForgetBackups { known, .. } => {
                for known in known {
                    match backups.remove(known).await {
                        Ok(()) => applied.forgotten.push(known.name.clone()),
                        // It has changed: another look finds it as it is.
                        Err(Error::Refused { code: 409, .. }) => {}
                        Err(error) => {
                            unmade.get_or_insert_with(|| not_made(&error));
                            break;
                        }
                    }
                }
            }
            Effect::Await { reason, fact, until } => {
                applied.end = End::Waits { reason: *reason, message: fact.clone(), until: *until };
                return Ok(applied);
            }
            Effect::Refuse { reason: reason @ Reason::BackupNotMade, message } => {
                unmade.get_or_insert_with(|| End::Refused { reason: *reason, message: message.clone() });
            }
            Effect::Refuse { reason, message } => {
                let refused = End::Refused { reason: *reason, message: message.clone() };
                // A Secret that is not written for want of a login says how that comes in; what it lacks until then follows from that.
                let is_shut_out =
                    |(end, _): &(End, _)| matches!(end, End::Refused { reason: Reason::LoginRefused, .. });
                (applied.end, applied.ended_by) = tried.filter(is_shut_out).unwrap_or((refused, None));
                return Ok(applied);
            }
            Effect::Release => applied.end = End::Released,
        }
    }
    if let (End::Done, Some(end)) = (&applied.end, tried.or_else(|| Some((unmade?, None)))) {
        (applied.end, applied.ended_by) = end;
    }
    Ok(applied)
}

/// Why a schedule does not have what it asks for.
fn not_made(error: &Error) -> End {
    let message = error.to_string();
    match error {
        Error::Refused { code: 400..=407 | 409..=428 | 430..=499, .. } | Error::NoName(_) => {
            End::Refused { reason: Reason::BackupNotMade, message }
        }
        Error::Refused { .. } | Error::Unreachable { .. } => {
            End::Waits { reason: Reason::ProgressingWithRetry, message, until: None }
        }
    }
}

/// In how many parts a step is done by one pass at most: the status tells of the rest, and other tenants have their turn.
const PARTS: usize = 40;

/// Calls the functions of these steps; one that closes logins a second time, once its first call is committed, and one that does its
/// work in parts for each of them.
async fn call(lane: &Lane, caller: &Caller, steps: Vec<Step>) -> Result<Vec<CallResult>, postgres::Error> {
    let mut results = lane.apply(caller, steps.clone()).await?;
    let goes_on = |results: &[CallResult]| {
        let at = results.len().checked_sub(1)?;
        let is_half = results[at].status == CallStatus::Partial;
        steps.get(at).filter(|step| is_half && step.goes_on()).map(|_| at)
    };
    for _ in 0..PARTS {
        let Some(at) = goes_on(&results) else { break };
        results.truncate(at);
        results.append(&mut lane.apply(caller, steps[at..].to_vec()).await?);
    }
    let is_half = |result: &CallResult| result.status == CallStatus::Partial;
    let reached = results.len().saturating_sub(1);
    if results.last().is_some_and(is_half) && steps.get(reached).is_some_and(Step::closes_logins) {
        let first = results.pop();
        let mut again = lane.apply(caller, steps[reached..].to_vec()).await?;
        if let (Some(first), Some(second)) = (first, again.first_mut()) {
            second.add_ended(&first);
        }
        results.append(&mut again);
    }
    Ok(results)
}
