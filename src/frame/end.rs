//! The end of an object, for every kind: what its deletion waits for, and when it may go.

use std::sync::Arc;

use kube::ResourceExt;

use super::{
    After, Context, Doors, Ending, Fit, Host, Kind, Leave, Next, Outcome, Pass, StageError as Error, Stand, Wish,
    doors::planned,
    drive::{api, trouble},
    look,
    publish::publish,
};
use crate::{
    lane::Lane,
    plan::{Applied, End, apply},
};

/// A deleted object: what it made is dealt with, then it goes.
pub(super) async fn end<K: Kind>(object: Arc<K>, ctx: &Context) -> Result<Next, Error> {
    if !object.finalizers().iter().any(|finalizer| finalizer == K::FINALIZER) {
        return Ok(Next::gone());
    }
    let (facts, stand) = object.resolve(ctx).await?;
    let leave = object.removal(&facts);
    if !matches!(leave, Leave::Abandoned(_)) && matches!(ctx.kinds.check().await?, Fit::Older { .. }) {
        // What is left of the spec is not what its owner wrote.
        return Ok(Next::waiting());
    }
    let removal = leave.removal();
    match (&leave, &stand.host) {
        (Leave::Nothing(_), _) => leave_nothing(&object, ctx).await,
        (Leave::Abandoned(_) | Leave::AsItIs(_), _) => leave_it(object, &leave, &stand, ctx).await,
        (Leave::Asked(_), Host::Elsewhere) => Ok(Next::standby()),
        (Leave::Asked(_), Host::Missing) => {
            let why = format!("TenantDatabase {} is gone", stand.database.as_deref().unwrap_or_default());
            publish(&object, &Pass::Blocked { removal, why: &why }, ctx).await
        }
        (Leave::Asked(_), Host::Unavailable { message, .. }) => {
            publish(&object, &Pass::Blocked { removal, why: message }, ctx).await
        }
        (Leave::Asked(_), Host::Open(lane)) => match take_down(&object, &facts, &leave, &stand, lane, ctx).await {
            Err(failed) => trouble(&object, Some(removal), lane, failed, ctx).await,
            done => done,
        },
    }
}

/// Nothing was made for it as far as the cache has its status. It goes if that is so of the object as it is now.
async fn leave_nothing<K: Kind>(object: &Arc<K>, ctx: &Context) -> Result<Next, Error> {
    let uid = object.meta().uid.as_deref().unwrap_or_default();
    let object = match ctx.living_whole(&api(&**object, ctx), &object.name_any(), uid).await?.deleting() {
        Ok(now) => Arc::new(now),
        Err(next) => return Ok(next),
    };
    let (facts, stand) = object.resolve(ctx).await?;
    match object.removal(&facts) {
        leave @ Leave::Nothing(_) => let_go(object, &leave, &stand, &Pass::Left { leave: &leave }, ctx).await,
        _ => Ok(Next::waiting()),
    }
}

/// What it has is dealt with in its database. What the cache has may be of a world that went back, so the object as it
/// is now decides, or nothing is taken away.
async fn take_down<K: Kind>(
    object: &Arc<K>,
    facts: &K::Facts,
    leave: &Leave<K::Removal>,
    stand: &Stand,
    lane: &Lane,
    ctx: &Context,
) -> Result<Next, Error> {
    let uid = object.meta().uid.as_deref().unwrap_or_default();
    let (api, name) = (api(&**object, ctx), object.name_any());
    let living = ctx.living_whole(&api, &name, uid);
    let (observed, living) = futures::join!(K::observe(Wish::End(leave), Doors::Lane(lane, ctx)), living);
    let object = match living?.deleting() {
        Ok(now) => Arc::new(now),
        Err(next) => return Ok(next),
    };
    let leave = object.removal(facts);
    if !matches!(leave, Leave::Asked(_)) {
        return Ok(Next::waiting());
    }
    let observed = observed?;
    let wish = Wish::<K>::End(&leave);
    let plan = planned(wish, &observed);
    if plan.paused {
        return publish(&object, &Pass::Paused { wish, plan: &plan, observed: &observed }, ctx).await;
    }
    let applied = apply(lane, &ctx.secrets, &ctx.backups, &plan).await.map_err(Error::Apply)?;
    if lane.is_refused() {
        return Ok(Next::new(After::Retry, Outcome::Standby));
    }
    let pass =
        Pass::Applied { wish, observed: &observed, applied: &applied, database: &lane.database, place: &lane.place };
    match applied.end {
        End::Released | End::Done => let_go(object.clone(), &leave, stand, &pass, ctx).await,
        End::Waits { .. } | End::Refused { .. } => publish(&object, &pass, ctx).await,
    }
}

/// What it has stays as it is. The database is told where that can be done at once, and the object goes also if it cannot.
async fn leave_it<K: Kind>(
    object: Arc<K>,
    leave: &Leave<K::Removal>,
    stand: &Stand,
    ctx: &Context,
) -> Result<Next, Error> {
    let wish = Wish::<K>::End(leave);
    let lane = if let Host::Open(lane) = &stand.host { Some(lane) } else { None };
    let (observed, plan) = if let Some(lane) = lane {
        look(wish, Doors::Lane(lane, ctx)).await?
    } else {
        let nothing = K::Observed::default();
        let plan = planned(wish, &nothing);
        (nothing, plan)
    };
    if plan.paused {
        return publish(&object, &Pass::Paused { wish, plan: &plan, observed: &observed }, ctx).await;
    }
    let Some(lane) = lane else { return let_go(object, leave, stand, &Pass::Left { leave }, ctx).await };
    let applied = apply(lane, &ctx.secrets, &ctx.backups, &plan).await.unwrap_or_else(|error| {
        tracing::debug!(%error, "cannot tell the database of a deleted object");
        Applied::nothing()
    });
    let pass =
        Pass::Applied { wish, observed: &observed, applied: &applied, database: &lane.database, place: &lane.place };
    let_go(object.clone(), leave, stand, &pass, ctx).await
}

/// Removes the finalizer; the object is gone with it.
async fn let_go<K: Kind>(
    object: Arc<K>,
    leave: &Leave<K::Removal>,
    stand: &Stand,
    pass: &Pass<'_, K>,
    ctx: &Context,
) -> Result<Next, Error> {
    ctx.let_go(&api(&*object, ctx), &*object, K::FINALIZER).await?;
    let notices = object.status_of(pass, ctx.now()).done;
    object.gone(Ending::LetGo { leave, stand }, ctx);
    Ok(Next { notices, ..Next::new(After::Never, Outcome::Changed) })
}
