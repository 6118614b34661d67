//! `TenantSchema`: the driver. It reads as a table of contents; each stage is the function of its file's name.

pub mod desired;
mod end;
pub mod observe;
pub mod plan;
pub mod resolve;
pub mod status;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt, core::PartialObjectMeta};

use crate::{
    api::{
        TENANT_SCHEMA_FINALIZER, TenantSchema, TenantSchemaStatus,
        condition::{ConditionType, Readiness, Reason, Verdict, find},
    },
    context::{
        After, Context, Fit, Living, MissingDatabase, Next, Notice, StageError as Error, chain, failed_for_good,
    },
    contract::{Call, Claim, Owner, Step, TenantRow},
    kubernetes::{self, status::Written},
    lane::{Lane, LaneState},
    plan::{Applied, Plan, apply},
};
use desired::{Desired, desired};
use end::end;
pub use end::finish_passed_over;
use observe::observe;
use plan::{awaited, plan};
use resolve::resolve;
use status::{differs, notices, status, status_of_pause, status_of_verdict};

/// Brings one tenant to what its spec says, or lets it go.
pub async fn reconcile(tenant: Arc<TenantSchema>, ctx: Arc<Context>) -> Result<Next, Error> {
    let Some(tenant) = ctx.fresh(&api(&tenant, &ctx), tenant.clone()).await? else {
        return Ok(Next::new(After::Never, "gone"));
    };
    let resolved = resolve(&tenant, &ctx);
    if tenant.metadata.deletion_timestamp.is_some() {
        return Box::pin(end(&tenant, &resolved, &ctx)).await;
    }
    if let (None, LaneState::Unavailable { reason, message }) = (&resolved.database, &resolved.lane) {
        // It is there and in no cache, because it cannot be read.
        return wait_for_database(&tenant, *reason, message, &ctx).await;
    }
    let desired = match desired(&tenant, &resolved) {
        Ok(desired) => desired,
        Err(_) if resolved.database.is_some() && matches!(resolved.lane, LaneState::Elsewhere) => {
            return Ok(Next::new(After::Never, "standby"));
        }
        Err(invalid) => {
            if invalid.reason == Reason::DatabaseNotFound
                && let MissingDatabase::OutOfView(message) = ctx.unseen_database(tenant.spec.database()).await
            {
                return wait_for_database(&tenant, invalid.reason, &message, &ctx).await;
            }
            let verdict = match invalid.reason {
                Reason::DatabaseNotFound | Reason::Progressing => {
                    Verdict::reconciling(invalid.reason, invalid.message, Readiness::False)
                }
                _ => Verdict::stalled(invalid.reason, invalid.message, false),
            };
            return conclude(&tenant, &verdict, &ctx).await;
        }
    };
    match &resolved.lane {
        LaneState::Elsewhere => Ok(Next::new(After::Never, "standby")),
        LaneState::Unavailable { reason, message } => wait_for_database(&tenant, *reason, message, &ctx).await,
        LaneState::Open(lane) if ctx.requests.is_new(&*tenant) => {
            lane.distrust(&desired.owner.uid);
            work(tenant, &desired, lane, &ctx).await
        }
        LaneState::Open(lane) => work(tenant, &desired, lane, &ctx).await,
    }
}

/// A living tenant on an open lane; what goes wrong on the way is said in its status.
async fn work(tenant: Arc<TenantSchema>, desired: &Desired, lane: &Lane, ctx: &Context) -> Result<Next, Error> {
    match keep(tenant.clone(), desired, lane, ctx).await {
        // What was asked for since the status was written is not met with silence.
        Err(failed) if failed.is_crowded() && !is_told(&tenant) => {
            let verdict = Verdict::reconciling(Reason::ProgressingWithRetry, chain(&failed), Readiness::Kept);
            conclude(&tenant, &verdict, ctx).await
        }
        Err(failed) if failed.has_no_turn() => Ok(Next::new(After::Retry, "standby")),
        Err(failed @ (Error::Observe(_) | Error::Apply(_))) if !ctx.still_holds(lane).await => {
            Ok(Next::new(After::Retry, "standby").failed(failed))
        }
        Err(failed @ (Error::Observe(_) | Error::Apply(_))) => {
            let verdict = match &failed {
                Error::Observe(error) | Error::Apply(error) if error.is_transient() => {
                    Verdict::reconciling(Reason::DatabaseUnavailable, error.to_string(), Readiness::Kept)
                }
                _ => Verdict::stalled(Reason::OperationFailed, failed_for_good(&failed), false),
            };
            Ok(conclude(&tenant, &verdict, ctx).await?.failed(failed))
        }
        other => other,
    }
}

/// Whether the status is of the spec as it is.
fn is_told(tenant: &TenantSchema) -> bool {
    tenant.status.as_ref().is_some_and(|status| status.observed_generation == tenant.metadata.generation)
}

/// Observe, plan, apply, publish.
async fn keep(tenant: Arc<TenantSchema>, desired: &Desired, lane: &Lane, ctx: &Context) -> Result<Next, Error> {
    let mut observed = observe(lane, desired).await.map_err(Error::Observe)?;
    if let Some(holder) = awaited(desired, &observed) {
        let gone = is_gone(holder, ctx).await;
        if let Some(holder) = &mut observed.name_holder {
            holder.gone = gone;
        }
    }
    let plan = plan(desired, &observed);
    tracing::debug!(stage = "plan", plan = %plan);
    if desired.paused {
        let is_there = observed.own.as_ref().is_some_and(TenantRow::is_there);
        return pause(&tenant, &plan, is_there, ctx).await;
    }
    let uid = &desired.owner.uid;
    if observed.tombstone.is_some()
        && plan.changes()
        && !matches!(ctx.living(&api(&tenant, ctx), &tenant.name_any(), uid).await?, Living::Here(_))
    {
        // What this very object let go is given back only to an object that is there, and not to a cache that is late.
        return Ok(Next::new(After::Never, "gone"));
    }
    if plan.steps().any(Step::takes_back) && !is_at_home(&desired.owner, ctx).await?
        || plan.steps().any(Step::opens) && matches!(ctx.kinds.check().await?, Fit::Older { .. })
    {
        return Ok(Next::new(After::Retry, "waiting"));
    }
    let tenant = if plan.changes() || observed.own.is_some() {
        ctx.with_finalizer(&api(&tenant, ctx), tenant, TENANT_SCHEMA_FINALIZER).await?
    } else {
        tenant
    };
    if observed.own.is_none() {
        ctx.making.begin(&desired.owner.uid);
    }
    let applied = apply(lane, plan).await.map_err(Error::Apply)?;
    if lane.is_refused() {
        // Who has the lane now looks at every tenant and says how it is.
        return Ok(Next::new(After::Retry, "standby"));
    }
    let new = status(&tenant, desired, &observed, &applied, &lane.place, ctx.now());
    let next = publish(&tenant, new, Some(&applied), ctx).await?;
    if next.outcome == "gone" && applied.success(&Call::CreateTenantSchema).is_some() {
        // Its end was perhaps seen, and nothing found, before this pass made something. A closed channel means that the
        // operator stops.
        let _ = ctx.passed_over.unbounded_send(tenant);
    }
    Ok(next)
}

/// Whether the namespace is the one that the cache knows, by the API server's word: a cache that is a moment behind would give
/// the data of a namespace that was deleted to the next one of its name.
async fn is_at_home(owner: &Owner, ctx: &Context) -> Result<bool, Error> {
    let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(ctx.client.clone());
    let found = kubernetes::read(&namespaces, &owner.namespace).await?;
    Ok(found.is_some_and(|namespace| namespace.uid() == owner.namespace_uid))
}

/// Whether the API server, asked now, does not have the object that holds a tenant. No answer proves nothing.
async fn is_gone(holder: &Claim, ctx: &Context) -> bool {
    let (Some(namespace), Some(name), Some(uid)) = (&holder.namespace, &holder.name, &holder.uid) else { return false };
    let api: Api<TenantSchema> = Api::namespaced(ctx.client.clone(), namespace);
    ctx.living(&api, name, uid).await.is_ok_and(|living| living.is_gone())
}

/// What would be done is said, and nothing is done.
async fn pause(tenant: &TenantSchema, plan: &Plan, is_there: bool, ctx: &Context) -> Result<Next, Error> {
    publish(tenant, status_of_pause(tenant, plan, is_there, ctx.now()), None, ctx).await
}

/// The database cannot be worked with. A tenant that has nothing to do keeps its status as it is.
async fn wait_for_database(tenant: &TenantSchema, reason: Reason, message: &str, ctx: &Context) -> Result<Next, Error> {
    let nothing_to_do = tenant.status.as_ref().is_some_and(|status| {
        status.observed_generation == tenant.metadata.generation
            && status::is_ready(&status.conditions)
            && find(&status.conditions, ConditionType::Reconciling).is_none()
    });
    if nothing_to_do {
        return Ok(Next::new(After::Resync, "waiting"));
    }
    let message = format!("TenantDatabase {} is not ready ({reason}): {message}", tenant.spec.database());
    conclude(tenant, &Verdict::reconciling(Reason::DatabaseUnavailable, message, Readiness::Kept), ctx).await
}

/// Publishes a verdict that comes from no plan.
async fn conclude(tenant: &TenantSchema, verdict: &Verdict, ctx: &Context) -> Result<Next, Error> {
    publish(tenant, status_of_verdict(tenant, tenant.spec.database(), verdict, ctx.now()), None, ctx).await
}

/// Writes the status if a person would care, and says when to look again.
async fn publish(
    tenant: &TenantSchema,
    new: TenantSchemaStatus,
    applied: Option<&Applied>,
    ctx: &Context,
) -> Result<Next, Error> {
    let notices = notices(tenant, applied, &new);
    let changed = differs(tenant.status.as_ref(), &new);
    if changed {
        match ctx.write_status(&api(tenant, ctx), tenant, &new).await? {
            Written::As(_) => {}
            Written::Gone => return Ok(Next::new(After::Never, "gone")),
            Written::Outdated => {
                return Ok(Next { notices: done(tenant, applied), ..Next::new(After::Retry, "waiting") });
            }
        }
    }
    let next = Next { notices, ..Next::of(&new.conditions, changed) };
    Ok(ctx.tell_if_it_waits(&tenant.metadata, &new.conditions, new.summary.as_ref(), next))
}

/// What was done in the database is told, also when another has written the status meanwhile.
fn done(tenant: &TenantSchema, applied: Option<&Applied>) -> Vec<Notice> {
    notices(tenant, applied, &tenant.status.clone().unwrap_or_default())
}

fn api(tenant: &TenantSchema, ctx: &Context) -> Api<TenantSchema> {
    Api::namespaced(ctx.client.clone(), &tenant.namespace().unwrap_or_default())
}
