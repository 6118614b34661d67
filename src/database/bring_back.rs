//! Bringing back what deletions set aside, when a user asks for that by an annotation on the TenantDatabase.
//!
//! Each tenant comes back in a call of its own, for a few seconds at a time, so that surveys and elections go on
//! meanwhile. A tenant that cannot come back holds up no other: it is tried again at the next survey, and the condition
//! says why. Which ones they are is noted in the registry when the time is first heard, so that an annotation that
//! stays brings back no later deletion.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use tokio::time::Instant;

use super::{caller, work::Work};
use crate::{
    api::{
        BRING_BACK, TenantDatabase, bring_back_since,
        command::Object,
        condition::{Reason, Verdict},
        event::EventReason,
    },
    contract::{CallResult, CallStatus, Step, SurveyAnswer, ToBringBack},
    frame::Notice,
    lane::Lane,
    postgres::{self},
};

/// For how long one pass goes on.
const PASS: Duration = Duration::from_secs(3);

/// How far it has come.
#[derive(Clone, Default)]
pub struct Progress {
    since: Timestamp,
    done: u64,
    left: u64,
    /// Those that did not come back when they were tried: the others come first, however many passes that takes.
    skipped: Vec<String>,
    /// Why the first of them did not come back.
    problem: Option<String>,
    /// Every one was tried.
    tried: bool,
    /// One came back meanwhile.
    came_back: bool,
    /// How many were set aside in that time, also those that came back or were purged; nothing from functions that do
    /// not tell.
    ever: Option<u64>,
    /// When a schema that is still set aside was set aside last.
    latest: Option<Timestamp>,
}

/// What became of one pass.
#[derive(Default)]
pub struct Passed {
    /// Events to publish.
    pub notices: Vec<Notice>,
    /// Tenants came back: objects that wait for them have to look.
    pub came_back: bool,
    /// There are more that were not tried.
    pub goes_on: bool,
}

/// How far it has come with what was set aside since the time that is asked for now.
fn progress(database: &TenantDatabase, work: &Work, now: Timestamp) -> Option<Progress> {
    let since = bring_back_since(&database.metadata, now)?;
    work.memory(|memory| memory.bring_back.clone()).filter(|progress| progress.since == since)
}

/// What is to be said of the database while something that was asked for is not back.
#[must_use]
pub fn verdict(database: &TenantDatabase, work: &Work, now: Timestamp) -> Option<Verdict> {
    let progress = progress(database, work, now)?;
    (progress.left > 0).then(|| told(&progress, &database.name_any()))
}

/// What is to be said when there was nothing to bring back.
#[must_use]
pub fn in_vain(database: &TenantDatabase, work: &Work, now: Timestamp) -> Option<Verdict> {
    let progress = progress(database, work, now)?;
    (progress.tried && progress.ever == Some(0)).then(|| told_in_vain(&progress, &database.name_any()))
}

/// Brings back what there is time for. What did not come back before is tried again after a survey.
pub async fn pass(database: &TenantDatabase, work: &Work, survey: Option<&SurveyAnswer>, now: Timestamp) -> Passed {
    let Some(since) = bring_back_since(&database.metadata, now) else { return Passed::default() };
    let before = progress(database, work, now);
    let waits = |before: &Progress| before.tried && (before.left == 0 || survey.is_none());
    if before.as_ref().is_some_and(waits) {
        return Passed::default();
    }
    let surveyed = survey.and_then(|survey| survey.bring_back.as_ref());
    if let Some(&ToBringBack { done, left: 0, ever, latest, .. }) = surveyed.filter(|found| found.since == since) {
        let progress = Progress { since, done, ever, latest, tried: true, ..Progress::default() };
        work.memory(|memory| memory.bring_back = Some(progress));
        return Passed::default();
    }
    let begun = Instant::now();
    let mut passed = Passed::default();
    let unfinished = before.filter(|before| !before.tried);
    let mut progress = unfinished.unwrap_or(Progress { since, ..Progress::default() });
    while !progress.tried {
        // What came back so far stays, also when a later call fails. The next pass goes on from there.
        let result = match bring_one(database, &work.lane, since, &progress.skipped).await {
            Ok(Some(result)) => result,
            Ok(None) => return passed,
            Err(error) => {
                tracing::debug!(%error, "cannot bring back what was set aside");
                progress.came_back |= passed.came_back;
                work.memory(|memory| memory.bring_back = Some(progress));
                return passed;
            }
        };
        let count = |key: &str| result.detail[key].as_u64();
        (progress.done, progress.left) =
            (count("done").unwrap_or(progress.done), count("left").unwrap_or(progress.left));
        let chosen = result.text("backup_id").map(str::to_owned);
        match (result.status, chosen) {
            (CallStatus::Success, Some(_)) => passed.came_back = true,
            // The first call only notes the time. A backup that another call brought back meanwhile is not chosen
            // again.
            (CallStatus::Success, None) | (CallStatus::Unchanged, Some(_)) => {}
            (CallStatus::Unchanged, None) => {
                progress.ever = count("ever");
                progress.latest = result.text("latest").and_then(|latest| latest.parse().ok());
                progress.tried = true;
            }
            (_, Some(backup)) => {
                progress.problem.get_or_insert(result.message);
                progress.skipped.push(backup);
            }
            // Functions of a release that knows no such call.
            (_, None) => {
                progress.left = progress.left.max(1);
                progress.problem = Some(result.message);
                progress.tried = true;
            }
        }
        if begun.elapsed() > PASS {
            break;
        }
    }
    passed.goes_on = !progress.tried;
    progress.came_back |= passed.came_back;
    if progress.tried && progress.came_back {
        passed.notices.push(Notice { reason: EventReason::BroughtBack, message: outcome(&progress) });
    }
    work.memory(|memory| memory.bring_back = Some(progress));
    passed
}

/// One call; nothing when the lane was lost with it.
async fn bring_one(
    database: &TenantDatabase,
    lane: &Lane,
    since: Timestamp,
    skipped: &[String],
) -> Result<Option<CallResult>, postgres::Error> {
    let step = Step::BringBack { since, skip: skipped.to_vec(), cut_off: None };
    let mut results = lane.apply(&caller(&database.name_any()), vec![step]).await?;
    Ok(results.pop().filter(|_| !lane.is_refused()))
}

fn told(progress: &Progress, name: &str) -> Verdict {
    let Progress { since, done, left, problem, tried, .. } = progress;
    let all = done + left;
    match problem.as_ref().filter(|_| *tried) {
        None => {
            let message =
                format!("{done} of {all} schemas that were set aside since {since} are back under their names");
            Verdict::of(Reason::BringingBack, message, true)
        }
        Some(problem) => {
            let message = format!(
                "{done} of {all} schemas that were set aside since {since} are back under their names, and {left} are not: \
                 {problem}. They are tried again at every survey; to leave them where they are: {}",
                Object::database(name).unannotate(BRING_BACK)
            );
            Verdict::of(Reason::NotBroughtBack, message, true)
        }
    }
}

fn told_in_vain(progress: &Progress, name: &str) -> Verdict {
    let Progress { since, latest, .. } = progress;
    let latest = latest.map_or_else(
        || "nothing is set aside here".to_owned(),
        |latest| format!("of what is set aside now the latest was at {latest}; write an earlier time"),
    );
    let message = format!(
        "{BRING_BACK}={since} brings back nothing: nothing was set aside between then and when this was first read; {latest}, or \
         remove it: {}",
        Object::database(name).unannotate(BRING_BACK)
    );
    Verdict::of(Reason::InvalidSpec, message, true)
}

fn outcome(progress: &Progress) -> String {
    let Progress { since, done, left, .. } = progress;
    let rest = if *left == 0 { String::new() } else { format!("; {left} are not") };
    format!(
        "{done} schemas that were set aside since {since} are back under their names and wait for their TenantSchemas, which get \
         them when they are applied{rest}"
    )
}
