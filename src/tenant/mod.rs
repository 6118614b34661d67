//! `TenantSchema`: the driver. It reads as a table of contents; each stage is the function of its file's name.

pub mod apply;
pub mod desired;
pub mod observe;
pub mod plan;
pub mod resolve;
pub mod status;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt, core::PartialObjectMeta};

use crate::{
    api::{
        TENANT_SCHEMA_FINALIZER, TenantDatabase, TenantSchema, TenantSchemaStatus,
        condition::{ConditionType, Readiness, Reason, Verdict, find},
        event::EventReason,
    },
    context::{After, Context, End, Fit, Living, Next, Notice, StageError as Error, chain},
    kubernetes::{self, status::Written},
    lane::{Lane, LaneState},
    postgres::answer::{Claim, Owner, TenantAnswer, TenantRow},
};
use apply::{Applied, apply};
use desired::{Desired, Removal, desired, given_to, removal, removal_of_passed_over};
use observe::{observe, observe_removal};
use plan::{Plan, awaited, plan, plan_removal};
use resolve::{Resolved, Unseen, resolve, unseen_database};
use status::{differs, notices, status, status_of_end, status_of_pause, status_of_verdict};

/// Brings one tenant to what its spec says, or lets it go.
pub async fn reconcile(tenant: Arc<TenantSchema>, ctx: Arc<Context>) -> Result<Next, Error> {
    let Some(tenant) = ctx.fresh(&api(&tenant, &ctx), tenant.clone()).await? else {
        return Ok(Next::new(After::Never, "gone"));
    };
    let resolved = resolve(&tenant, &ctx);
    if tenant.metadata.deletion_timestamp.is_some() {
        return end(&tenant, &resolved, &ctx).await;
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
                && let Unseen::OutOfView(message) = unseen_database(&tenant, &ctx).await
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
        Err(failed) if failed.is_lane_closed() => Ok(Next::new(After::Retry, "standby")),
        Err(failed @ (Error::Observe(_) | Error::Apply(_))) if !ctx.still_holds(lane).await => {
            Ok(Next::new(After::Retry, "standby").failed(failed))
        }
        Err(failed @ (Error::Observe(_) | Error::Apply(_))) => {
            let verdict = match &failed {
                Error::Observe(error) | Error::Apply(error) if error.is_transient() => {
                    Verdict::reconciling(Reason::DatabaseUnavailable, error.to_string(), Readiness::Kept)
                }
                _ => Verdict::stalled(Reason::OperationFailed, chain(&failed), false),
            };
            Ok(conclude(&tenant, &verdict, ctx).await?.failed(failed))
        }
        other => other,
    }
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
    if plan.takes_back() && !is_at_home(&desired.owner, ctx).await?
        || plan.opens() && matches!(ctx.kinds.check().await?, Fit::Older { .. })
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
    let applied = apply(lane, &desired.owner.uid, plan).await.map_err(Error::Apply)?;
    if lane.is_refused() {
        // Who has the lane now looks at every tenant and says how it is.
        return Ok(Next::new(After::Retry, "standby"));
    }
    let new = status(&tenant, desired, &observed, &applied, &lane.database_name, ctx.now());
    let next = publish(&tenant, new, Some(&applied), ctx).await?;
    if next.outcome == "gone" && applied.success("create_tenant_schema").is_some() {
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

/// A tenant that went although it had our finalizer, which the API server can pass over while a tenant is being made. What
/// was made for it is dealt with as if the deletion had waited for us, but never dropped. All others are none of our business
/// here: one that is alive left our view, and the row of one that is gone is released by a survey.
pub async fn finish_passed_over(tenant: Arc<TenantSchema>, ctx: Arc<Context>) -> Result<Next, Error> {
    let gone = || Next::new(After::Never, "gone");
    let uid = tenant.uid().unwrap_or_default();
    if !ctx.making.is_new(&uid) || !ctx.living(&api(&tenant, &ctx), &tenant.name_any(), &uid).await?.is_gone() {
        return Ok(gone());
    }
    let resolved = resolve(&tenant, &ctx);
    let removal = removal_of_passed_over(&tenant, &resolved, ctx.now());
    if removal.stays() || removal.paused || resolved.database.is_none() {
        return Ok(gone());
    }
    let lane = match &resolved.lane {
        LaneState::Open(lane) => lane,
        LaneState::Elsewhere => return Ok(Next::new(After::Never, "standby")),
        LaneState::Unavailable { .. } => return Ok(Next::new(After::Retry, "waiting")),
    };
    let observed = observe_removal(lane, &removal).await.map_err(Error::Observe)?;
    if observed.own.as_ref().is_some_and(|row| row.status == "released") {
        return Ok(gone());
    }
    let plan = plan_removal(&removal, &observed);
    let applied = apply(lane, &removal.owner.uid, plan).await.map_err(Error::Apply)?;
    match applied.end {
        End::Released | End::Done => {}
        // A person would have to act and has no object to act on: the row is released, and the schema stays.
        End::Refused { .. } => return Ok(gone()),
        End::Waits { .. } => return Ok(Next::new(After::Retry, "waiting")),
    }
    lane.forget(&removal.owner.uid);
    wake_rivals(&tenant, &ctx);
    Ok(Next { notices: set_aside(&applied), ..gone() })
}

/// Whether a process is there that can release the tenant now: this process, or the one that holds the lane.
fn is_elsewhere_or_open(resolved: &Resolved) -> bool {
    match resolved.lane {
        LaneState::Open(_) => true,
        LaneState::Elsewhere => resolved.database.is_some(),
        LaneState::Unavailable { .. } => false,
    }
}

/// What is told when a tenant was released for another object.
fn released(removal: &Removal, applied: &Applied) -> Option<Vec<Notice>> {
    let to = removal.given_to.as_ref()?;
    applied.success("release_tenants")?;
    let name = removal.schema_name.as_deref().unwrap_or("of the tenant");
    let message = format!("schema {name} stays as it is, for TenantSchema {to}");
    Some(vec![Notice { reason: EventReason::Retained, message }])
}

/// What is told when a schema was set aside.
fn set_aside(applied: &Applied) -> Vec<Notice> {
    let done = applied.success("set_aside_tenant_schema");
    done.map(|result| Notice { reason: EventReason::SetAside, message: result.message.clone() }).into_iter().collect()
}

/// A tenant that is deleted: what it made is dealt with, then it goes.
async fn end(tenant: &TenantSchema, resolved: &Resolved, ctx: &Context) -> Result<Next, Error> {
    if !tenant.finalizers().iter().any(|finalizer| finalizer == TENANT_SCHEMA_FINALIZER) {
        return Ok(Next::new(After::Never, "gone"));
    }
    let removal = removal(tenant, resolved);
    if !removal.abandoned && matches!(ctx.kinds.check().await?, Fit::Older { .. }) {
        // What is left of the spec is not what its owner wrote.
        return Ok(Next::new(After::Retry, "waiting"));
    }
    let released_there = removal.given_to.is_some() && !removal.abandoned && is_elsewhere_or_open(resolved);
    if removal.stays() && !released_there && removal.paused {
        return pause(tenant, &plan_removal(&removal, &TenantAnswer::default()), true, ctx).await;
    }
    if removal.stays() && !released_there {
        let reason = EventReason::Retained;
        let name = removal.schema_name.as_deref().unwrap_or("of the tenant");
        let message = format!("schema {name} stays as it is");
        return let_go(tenant, &removal, resolved, vec![Notice { reason, message }], ctx).await;
    }
    let lane = match &resolved.lane {
        // What a database says of its tenants' end is not known without it, although its lane may still be open.
        _ if resolved.database.is_none() => {
            let message = match unseen_database(tenant, ctx).await {
                Unseen::Gone => format!("TenantDatabase {} is gone", tenant.spec.database()),
                Unseen::OutOfView(message) => message,
            };
            return blocked(tenant, &removal, &message, ctx).await;
        }
        LaneState::Open(lane) => lane,
        LaneState::Elsewhere => return Ok(Next::new(After::Never, "standby")),
        LaneState::Unavailable { message, .. } => return blocked(tenant, &removal, message, ctx).await,
    };
    // What the cache has may be of a world that went back. The object decides as it is now, or nothing is taken away.
    let living = async { ctx.living_whole(&api(tenant, ctx), &removal.owner.name, &removal.owner.uid).await };
    // So does its database: it may give the tenant to another object since a moment.
    let databases = Api::<TenantDatabase>::all(ctx.client.clone());
    let database = kubernetes::read(&databases, &removal.database);
    let (observed, living, database) = futures::join!(observe_removal(lane, &removal), living, database);
    let tenant = &match living? {
        Living::Deleting(now) => now,
        Living::Here(_) => return Ok(Next::new(After::Retry, "waiting")),
        Living::Gone => return Ok(Next::new(After::Never, "gone")),
    };
    let mut removal = desired::removal(tenant, resolved);
    removal.given_to = database?.and_then(|database| given_to(&removal, &database));
    if removal.stays() && (removal.given_to.is_none() || removal.abandoned) {
        return Ok(Next::new(After::Retry, "waiting"));
    }
    let (plan, row) = match observed.map_err(Error::Observe) {
        Ok(observed) => (plan_removal(&removal, &observed), observed.own),
        Err(failed) => return cannot_end(tenant, &removal, lane, failed, ctx).await,
    };
    tracing::debug!(stage = "plan", plan = %plan);
    if removal.paused {
        return pause(tenant, &plan, row.as_ref().is_some_and(TenantRow::is_there), ctx).await;
    }
    let applied = match apply(lane, &removal.owner.uid, plan).await.map_err(Error::Apply) {
        Ok(applied) => applied,
        Err(failed) => return cannot_end(tenant, &removal, lane, failed, ctx).await,
    };
    if lane.is_refused() {
        return Ok(Next::new(After::Retry, "standby"));
    }
    match &applied.end {
        End::Released | End::Done => {
            let notices = released(&removal, &applied).unwrap_or_else(|| set_aside(&applied));
            let_go(tenant, &removal, resolved, notices, ctx).await
        }
        End::Refused { reason: Reason::DeletionBrake, message } => {
            let message = format!("{message}; {}", way_past_the_brake(tenant, ctx));
            let verdict = Verdict::stalled(Reason::DeletionBrake, message, true);
            publish(tenant, status_of_end(tenant, row.as_ref(), &verdict, ctx.now()), None, ctx).await
        }
        end => match end.verdict(Readiness::False) {
            Some(verdict) => publish(tenant, status_of_end(tenant, row.as_ref(), &verdict, ctx.now()), None, ctx).await,
            None => Ok(Next::new(After::Retry, "waiting")),
        },
    }
}

/// The database could not be asked about a deletion. Who lost the lane says nothing: it is another's turn.
async fn cannot_end(
    tenant: &TenantSchema,
    removal: &Removal,
    lane: &Lane,
    failed: Error,
    ctx: &Context,
) -> Result<Next, Error> {
    if failed.is_lane_closed() {
        return Ok(Next::new(After::Retry, "standby"));
    }
    if !ctx.still_holds(lane).await {
        return Ok(Next::new(After::Retry, "standby").failed(failed));
    }
    Ok(blocked(tenant, removal, &chain(&failed), ctx).await?.failed(failed))
}

/// How a wave of deletions is let go, or its tenants kept. One time serves for all that wait.
fn way_past_the_brake(tenant: &TenantSchema, ctx: &Context) -> String {
    let database = tenant.spec.database();
    let waiting = ctx.stores.tenants.state();
    let deleted = waiting.iter().filter(|other| other.spec.database() == database);
    let newest = deleted.filter_map(|other| other.metadata.deletion_timestamp.as_ref().map(|at| at.0)).max();
    format!(
        "if all deletions are meant: kubectl annotate tenantdatabase {database} --overwrite {}={}; to keep a tenant: kubectl -n {} \
         patch tenantschema {} --type merge -p '{{\"spec\":{{\"deletionPolicy\":\"Retain\"}}}}', and apply it again with {}",
        crate::api::CONFIRM_DELETIONS,
        newest.unwrap_or_else(|| ctx.now()),
        tenant.namespace().unwrap_or_default(),
        tenant.name_any(),
        crate::api::RECLAIM,
    )
}

/// What would be done is said, and nothing is done.
async fn pause(tenant: &TenantSchema, plan: &Plan, is_there: bool, ctx: &Context) -> Result<Next, Error> {
    publish(tenant, status_of_pause(tenant, plan, is_there, ctx.now()), None, ctx).await
}

/// Removes the finalizer; the object is gone with it.
async fn let_go(
    tenant: &TenantSchema,
    removal: &Removal,
    resolved: &Resolved,
    notices: Vec<Notice>,
    ctx: &Context,
) -> Result<Next, Error> {
    ctx.let_go(&api(tenant, ctx), tenant, TENANT_SCHEMA_FINALIZER).await?;
    // A row that stays is remembered: the next survey misses its object and releases it.
    if let LaneState::Open(lane) = &resolved.lane
        && (!removal.stays() || removal.given_to.is_some())
    {
        lane.forget(&removal.owner.uid);
    }
    wake_rivals(tenant, ctx);
    if resolved.database.as_ref().is_some_and(|database| database.metadata.deletion_timestamp.is_some()) {
        // It may have waited for its last tenant to go.
        ctx.wake.database(tenant.spec.database());
    }
    Ok(Next { notices, ..Next::new(After::Never, "changed") })
}

/// Objects that lost against this tenant try again now.
fn wake_rivals(gone: &TenantSchema, ctx: &Context) {
    let name = gone.schema_name().ok();
    let lost = |other: &TenantSchema| {
        let conditions = other.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        find(conditions, ConditionType::Stalled).is_some_and(|stalled| {
            [Reason::Conflict, Reason::SchemaMissing].iter().any(|lost| stalled.reason == lost.as_str())
        })
    };
    for other in ctx.stores.tenants.state().into_iter().filter(|other| lost(other)) {
        let same_name = name.is_some() && other.schema_name().ok() == name;
        let same_institution =
            gone.spec.institution_id.is_some() && other.spec.institution_id == gone.spec.institution_id;
        if other.spec.database() == gone.spec.database() && (same_name || same_institution) && other.uid() != gone.uid()
        {
            ctx.wake.tenant(&other.namespace().unwrap_or_default(), &other.name_any());
        }
    }
}

/// A deletion that waits for the database says since when, and how to let go without it.
async fn blocked(tenant: &TenantSchema, removal: &Removal, why: &str, ctx: &Context) -> Result<Next, Error> {
    let Removal { owner, schema_name, .. } = removal;
    let since = tenant.metadata.deletion_timestamp.as_ref().map_or_else(String::new, |at| at.0.to_string());
    let schema = schema_name.as_deref().unwrap_or("of the tenant");
    let message = format!(
        "deletion waits since {since} for the database ({why}) and goes on by itself; to let go and leave schema {schema} \
         where it is: kubectl -n {} annotate tenantschema {} --overwrite {}={}",
        owner.namespace,
        owner.name,
        crate::api::ABANDON,
        crate::api::bound(schema_name.as_deref().unwrap_or_default(), &owner.uid),
    );
    conclude(tenant, &Verdict::reconciling(Reason::DatabaseUnavailable, message, Readiness::Kept), ctx).await
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
    publish(tenant, status_of_verdict(tenant, verdict, ctx.now()), None, ctx).await
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
    Ok(Next { notices, ..Next::of(&new.conditions, changed) })
}

/// What was done in the database is told, also when another has written the status meanwhile.
fn done(tenant: &TenantSchema, applied: Option<&Applied>) -> Vec<Notice> {
    notices(tenant, applied, &tenant.status.clone().unwrap_or_default())
}

fn api(tenant: &TenantSchema, ctx: &Context) -> Api<TenantSchema> {
    Api::namespaced(ctx.client.clone(), &tenant.namespace().unwrap_or_default())
}
