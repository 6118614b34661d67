//! The result of a pass, made known: a status that is written only if it differs, Events, and when to look again.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{After, Context, Kind, Next, Outcome, Pass, StageError, Told, drive::api};
use crate::{
    api::condition::{ConditionType, Conditions, Reason, find, newly},
    kubernetes::status::Written,
    plan::End,
};

/// Writes the status if it differs, and says when to look again.
pub(super) async fn publish<K: Kind>(object: &Arc<K>, pass: &Pass<'_, K>, ctx: &Context) -> Result<Next, StageError> {
    let Told { status, done, news, due } = object.status_of(pass, ctx.now());
    let changed = object.status() != Some(&status);
    if changed {
        match ctx.write_status(&api(&**object, ctx), &**object, &status).await? {
            Written::As(_) => {}
            Written::Gone => return Ok(Next::gone()),
            // What was done in the database is told, also when another client has written the status meanwhile.
            Written::Outdated => return Ok(Next { notices: done, ..Next::waiting() }),
        }
    }
    let old = object.status().map(Conditions::conditions).unwrap_or_default();
    let braked = newly(old, status.conditions(), ConditionType::Stalled)
        .is_some_and(|stalled| stalled.reason == Reason::DeletionBrake.as_str());
    if let (true, Pass::Applied { database, .. }) = (braked, pass) {
        // The database counts what it holds.
        ctx.wake.database(database);
    }
    let lost = |stalled: &Condition| {
        [Reason::Conflict, Reason::SchemaMissing].iter().any(|lost| stalled.reason == lost.as_str())
    };
    ctx.losers.set(&**object, find(status.conditions(), ConditionType::Stalled).is_some_and(lost));
    let mut next = Next::of(status.conditions(), changed);
    if let (Pass::Applied { applied, .. }, After::Retry) = (pass, next.after)
        && let End::Waits { until: Some(until), .. } = applied.end
    {
        next.after = After::until(until, ctx.now());
    }
    if let (After::Resync, Some(due)) = (next.after, due) {
        next.after = After::until(due, ctx.now());
    }
    next.notices = done.into_iter().chain(news).collect();
    Ok(ctx.tell_if_it_waits(object.meta(), status.conditions(), status.summary(), next))
}

impl Next {
    /// The object is gone, or is not ours.
    #[must_use]
    pub fn gone() -> Self {
        Self::new(After::Never, Outcome::Gone)
    }

    /// Another replica has its database, or will have it, and looks at it then.
    #[must_use]
    pub fn standby() -> Self {
        Self::new(After::Never, Outcome::Standby)
    }

    /// Something must come first, which may come at any moment.
    #[must_use]
    pub fn waiting() -> Self {
        Self::new(After::Retry, Outcome::Waiting)
    }
}
