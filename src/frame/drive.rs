//! The driver of every kind that stands on a lane. It reads as a table of contents: resolve, desired, observe, plan, apply, status.
//!
//! The stages decide. The driver says when they come, what must be true before something is done, and how a pass ends
//! when one of them fails.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt, core::PartialObjectMeta, runtime::reflector::ObjectRef};

use super::{
    After, Context, Doors, Ending, Fit, Host, Invalid, Kind, Next, Outcome, Pass, StageError as Error, Wish, end::end,
    look, publish::publish,
};
use crate::{
    api::condition::{Conditions, Reason},
    contract::Step,
    kubernetes,
    lane::Lane,
    plan::{End, Plan, apply},
};

/// Brings one object to what its spec says, or lets it go.
pub async fn reconcile<K: Kind>(object: Arc<K>, ctx: Arc<Context>) -> Result<Next, Error> {
    let Some(object) = ctx.fresh(&api(&*object, &ctx), object).await? else { return Ok(Next::gone()) };
    if object.meta().deletion_timestamp.is_some() {
        return Box::pin(end(object, &ctx)).await;
    }
    let (facts, stand) = object.resolve(&ctx).await?;
    let desired = object.desired(&facts);
    match (&desired, &stand.host) {
        (_, Host::Elsewhere) | (Ok(_), Host::Missing) => Ok(Next::standby()),
        // Without its database a spec cannot be followed, and this one is there.
        (Ok(_) | Err(Invalid { reason: Reason::DatabaseNotFound, .. }), Host::Unavailable { reason, message }) => {
            // An object that has nothing to do keeps its status as it is.
            if object.status().is_some_and(|status| status.is_at_rest(object.meta())) {
                return Ok(Next::new(After::Resync, Outcome::Waiting));
            }
            publish(&object, &Pass::Waits { reason: *reason, message }, &ctx).await
        }
        (Err(invalid), _) => publish(&object, &Pass::Invalid(invalid), &ctx).await,
        (Ok(desired), Host::Open(lane)) => {
            if ctx.requests.is_new(&*object) {
                let uid = object.meta().uid.as_deref().unwrap_or_default();
                lane.distrust(&K::kind(&()).as_ref().into(), uid);
                ctx.secrets.ask(uid);
            }
            match Box::pin(keep(object.clone(), desired, lane, &ctx)).await {
                Err(failed) => trouble(&object, None, lane, failed, &ctx).await,
                done => done,
            }
        }
    }
}

/// A living object on an open lane: observe, plan, apply, publish.
async fn keep<K: Kind>(object: Arc<K>, desired: &K::Desired, lane: &Lane, ctx: &Context) -> Result<Next, Error> {
    let (wish, doors) = (Wish::<K>::Keep(desired), Doors::Lane(lane, ctx));
    let (mut observed, plan) = look(wish, doors).await?;
    if plan.paused {
        return publish(&object, &Pass::Paused { wish, plan: &plan, observed: &observed }, ctx).await;
    }
    if !may_be_applied(&*object, &plan, ctx).await? {
        return Ok(Next::waiting());
    }
    let object = if plan.changes() || plan.holds {
        ctx.with_finalizer(&api(&*object, ctx), object, K::FINALIZER).await?
    } else {
        object
    };
    let uid = object.meta().uid.as_deref().unwrap_or_default();
    let gives = plan.steps().any(Step::gives);
    if gives {
        ctx.making.begin(uid);
        ctx.begun.add(uid);
    } else if !plan.holds {
        ctx.begun.remove(uid);
    }
    let mut applied = apply(lane, &ctx.secrets, &ctx.backups, &plan).await.map_err(Error::Apply)?;
    if matches!(applied.end, End::Refused { reason: Reason::SchemaMissing, .. }) && plan.changes() {
        // What was there when it was looked at is gone. Another look says what that means.
        let (now, again) = look(wish, doors).await?;
        if again != plan {
            applied = apply(lane, &ctx.secrets, &ctx.backups, &again).await.map_err(Error::Apply)?;
            observed = now;
        }
    }
    if lane.is_refused() {
        // The replica that has the lane now looks at every object and says how it is.
        return Ok(Next::new(After::Retry, Outcome::Standby));
    }
    let pass =
        Pass::Applied { wish, observed: &observed, applied: &applied, database: &lane.database, place: &lane.place };
    let next = publish(&object, &pass, ctx).await?;
    if next.outcome == Outcome::Gone && gives && applied.changed() {
        object.gone(Ending::WhileMaking, ctx);
    }
    Ok(next)
}

/// Whether what a plan gives or opens may be given and opened now, as the API server says. A cache that is a moment
/// behind would give the data of a namespace that was deleted to the next one of its name; and a spec of which an older
/// definition cut something off opens nothing, and closes nothing for want of a field.
async fn may_be_applied<K: Kind>(object: &K, plan: &Plan, ctx: &Context) -> Result<bool, Error> {
    if plan.steps().any(Step::takes_back) {
        let name = object.namespace().unwrap_or_default();
        let known = ctx.stores.namespaces.get(&ObjectRef::new(&name)).and_then(|known| known.uid());
        let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(ctx.client.clone());
        let found = kubernetes::read(&namespaces, &name).await?;
        if found.is_none_or(|found| found.uid() != known) {
            return Ok(false);
        }
    }
    let needs_whole = |step: &Step| step.opens() || step.follows_an_absence();
    Ok(!plan.steps().any(needs_whole) || !matches!(ctx.kinds.check().await?, Fit::Older { .. }))
}

/// A stage failed on a lane: the status says so, and the pass counts as failed. A replica that lost the lane says nothing: it is
/// another one's turn.
pub(super) async fn trouble<K: Kind>(
    object: &Arc<K>,
    removal: Option<&K::Removal>,
    lane: &Lane,
    failed: Error,
    ctx: &Context,
) -> Result<Next, Error> {
    let told = |generation| object.status().is_some_and(|status| status.observed_generation() == generation);
    match failed {
        Error::Kubernetes(_) => Err(failed),
        // A change of the spec since the status was written gets an answer.
        _ if failed.is_crowded() && (removal.is_some() || !told(object.meta().generation)) => {
            publish(object, &Pass::Failed { removal, failed: &failed }, ctx).await
        }
        _ if failed.has_no_turn() => Ok(Next::new(After::Retry, Outcome::Standby)),
        _ if !ctx.still_holds(lane).await => Ok(Next::new(After::Retry, Outcome::Standby).failed(failed)),
        _ => Ok(publish(object, &Pass::Failed { removal, failed: &failed }, ctx).await?.failed(failed)),
    }
}

/// Where objects of the kind are read and written.
pub(super) fn api<K: Kind>(object: &K, ctx: &Context) -> Api<K> {
    Api::namespaced(ctx.client.clone(), &object.namespace().unwrap_or_default())
}
