//! The end of a tenant: what its deletion waits for, what becomes of its schema, and when the object may go.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, ResourceExt};

use super::{
    api, conclude,
    desired::{self, Removal, given_to, removal, removal_of_passed_over},
    observe::observe_removal,
    pause,
    plan::{caller, plan_removal, release_step},
    publish,
    resolve::{Resolved, resolve},
    status::status_of_end,
};
use crate::{
    api::{
        CONFIRM_DROP, TENANT_SCHEMA_FINALIZER, TenantDatabase, TenantSchema,
        condition::{ConditionType, Readiness, Reason, Verdict, find},
        event::EventReason,
        policy::DeletionPolicy,
    },
    context::{After, Context, Fit, Living, MissingDatabase, Next, Notice, StageError as Error, chain},
    contract::{Call, RowStatus, TenantAnswer, TenantRow},
    kubernetes,
    lane::{Lane, LaneState},
    plan::{Applied, End, apply},
};

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
    if observed.own.as_ref().is_some_and(|row| row.status == RowStatus::Released) {
        return Ok(gone());
    }
    let plan = plan_removal(&removal, &observed);
    let applied = match apply(lane, plan).await.map_err(Error::Apply) {
        Ok(applied) => applied,
        Err(failed) if failed.has_no_turn() => return Ok(Next::new(After::Retry, "waiting")),
        Err(failed) => return Err(failed),
    };
    match applied.end {
        End::Released | End::Done => {}
        // A person would have to act and has no object to act on: the row is released, and the schema stays.
        End::Refused { .. } => return Ok(gone()),
        End::Waits { .. } => return Ok(Next::new(After::Retry, "waiting")),
    }
    lane.forget(&removal.owner.uid);
    wake_rivals(&tenant, &ctx);
    Ok(Next { notices: taken_away(&tenant, &removal, None, &applied), ..gone() })
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
    applied.success(&Call::ReleaseTenants)?;
    let name = removal.schema_name.as_deref().unwrap_or("of the tenant");
    let message = format!("schema {name} stays as it is, for TenantSchema {to}");
    Some(vec![Notice { reason: EventReason::Retained, message }])
}

/// What is told when a schema was set aside, or its drop was begun.
fn taken_away(tenant: &TenantSchema, removal: &Removal, row: Option<&TenantRow>, applied: &Applied) -> Vec<Notice> {
    let Some(done) = applied.success(&Call::SetAsideTenantSchema) else { return Vec::new() };
    if done.detail.get("schema_missing").is_some() {
        // Nothing was there to be taken away.
        return Vec::new();
    }
    if removal.policy != DeletionPolicy::Drop {
        return vec![Notice { reason: EventReason::SetAside, message: done.message.clone() }];
    }
    let schema = removal.schema_name.as_deref().unwrap_or("of the tenant");
    let content = row.map_or_else(|| "its content was not measured".to_owned(), TenantRow::content);
    let message = format!(
        "schema {schema} is dropped without a backup ({content}), as {CONFIRM_DROP} confirmed, which {} wrote",
        writer_of(&tenant.metadata, CONFIRM_DROP)
    );
    vec![Notice { reason: EventReason::Dropped, message }]
}

/// Who wrote an annotation as it is now, and when, by the API server's own record. The audit log has the user.
fn writer_of(metadata: &ObjectMeta, annotation: &str) -> String {
    let path = format!("/f:metadata/f:annotations/f:{}", annotation.replace('/', "~1"));
    let entries = metadata.managed_fields.iter().flatten();
    let latest = entries
        .filter(|entry| entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer(&path).is_some()))
        .max_by_key(|entry| entry.time.as_ref().map(|time| time.0));
    match latest {
        Some(entry) => {
            let at = entry.time.as_ref().map_or_else(String::new, |time| format!(" at {}", time.0));
            format!("field manager {}{at}", entry.manager.as_deref().unwrap_or("unknown"))
        }
        None => "an unknown field manager".to_owned(),
    }
}

/// A tenant that is deleted: what it made is dealt with, then it goes.
pub(super) async fn end(tenant: &TenantSchema, resolved: &Resolved, ctx: &Context) -> Result<Next, Error> {
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
        release_if_taken_over(&removal, resolved).await;
        let reason = EventReason::Retained;
        let name = removal.schema_name.as_deref().unwrap_or("of the tenant");
        let message = format!("schema {name} stays as it is");
        return let_go(tenant, &removal, resolved, vec![Notice { reason, message }], ctx).await;
    }
    let lane = match &resolved.lane {
        // What a database says of its tenants' end is not known without it, although its lane may still be open.
        _ if resolved.database.is_none() => {
            let message = match ctx.unseen_database(tenant.spec.database()).await {
                MissingDatabase::Gone => format!("TenantDatabase {} is gone", tenant.spec.database()),
                MissingDatabase::OutOfView(message) => message,
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
    let applied = match apply(lane, plan).await.map_err(Error::Apply) {
        Ok(applied) => applied,
        Err(failed) => return cannot_end(tenant, &removal, lane, failed, ctx).await,
    };
    if lane.is_refused() {
        return Ok(Next::new(After::Retry, "standby"));
    }
    match &applied.end {
        End::Released | End::Done => {
            let told = || taken_away(tenant, &removal, row.as_ref(), &applied);
            let notices = released(&removal, &applied).unwrap_or_else(told);
            let_go(tenant, &removal, resolved, notices, ctx).await
        }
        End::Refused { reason: Reason::DeletionBrake, message } => {
            let message = format!("{message}; {}", way_past_the_brake(tenant, ctx));
            let verdict = Verdict::stalled(Reason::DeletionBrake, message, true);
            if !tenant.is_held_by_brake() {
                // It counts what is held.
                ctx.wake.database(tenant.spec.database());
            }
            publish(tenant, status_of_end(tenant, row.as_ref(), &verdict, ctx.now()), None, ctx).await
        }
        end => match end.verdict(Readiness::False) {
            Some(verdict) => {
                let status = status_of_end(tenant, row.as_ref(), &verdict, ctx.now());
                let mut next = publish(tenant, status, None, ctx).await?;
                next.notices.append(&mut taken_away(tenant, &removal, row.as_ref(), &applied));
                Ok(next)
            }
            None => Ok(Next::new(After::Retry, "waiting")),
        },
    }
}

/// A row that was taken over waits for its object for ever, so it is released while that is there. If that does not come about, it
/// serves that this process remembers the deletion.
async fn release_if_taken_over(removal: &Removal, resolved: &Resolved) {
    let LaneState::Open(lane) = &resolved.lane else { return };
    let uid = &removal.owner.uid;
    if !lane.surveyed(uid).is_some_and(|row| row.taken_over) {
        return;
    }
    if let Err(error) = lane.apply(&caller(&removal.owner), vec![release_step(removal, None)]).await {
        tracing::debug!(%error, "cannot release the tenant of a deleted object");
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
    if failed.has_no_turn() && !failed.is_crowded() {
        return Ok(Next::new(After::Retry, "standby"));
    }
    if !ctx.still_holds(lane).await {
        return Ok(Next::new(After::Retry, "standby").failed(failed));
    }
    if failed.is_crowded() {
        let verdict = Verdict::reconciling(Reason::ProgressingWithRetry, chain(&failed), Readiness::Kept);
        return conclude(tenant, &verdict, ctx).await;
    }
    Ok(blocked(tenant, removal, &chain(&failed), ctx).await?.failed(failed))
}

/// How a wave of deletions is let go, or its tenants kept. One time serves for all that wait.
fn way_past_the_brake(tenant: &TenantSchema, ctx: &Context) -> String {
    let database = tenant.spec.database();
    let newest = ctx.stores.newest_deletion(database).unwrap_or_else(|| ctx.now());
    format!(
        "if all deletions are meant: kubectl annotate tenantdatabase {database} --overwrite {}={newest}; to keep a tenant: kubectl -n {} \
         patch tenantschema {} --type merge -p '{{\"spec\":{{\"deletionPolicy\":\"Retain\"}}}}', and apply it again with {}",
        crate::api::CONFIRM_DELETIONS,
        tenant.namespace().unwrap_or_default(),
        tenant.name_any(),
        crate::api::RECLAIM,
    )
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
    if let LaneState::Open(lane) = &resolved.lane {
        if removal.stays() && removal.given_to.is_none() {
            // The next survey misses the object, and releases the row although many go at once: their deletions were seen.
            ctx.let_go.add(&removal.owner.uid);
        } else {
            lane.forget(&removal.owner.uid);
        }
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
