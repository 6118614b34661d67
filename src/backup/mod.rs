//! `SchemaBackup`: the driver. The object asks for a backup; the catalogue has it and outlives the object.

pub mod desired;
mod end;
mod observe;
pub mod plan;
pub mod resolve;
pub mod status;

use std::sync::Arc;

use kube::{Api, ResourceExt};

use crate::{
    api::{
        SCHEMA_BACKUP_FINALIZER, SchemaBackup, SchemaBackupStatus,
        condition::{ConditionType, Readiness, Reason, Verdict, find},
    },
    context::{After, Context, Next, StageError as Error, failed_for_good},
    kubernetes::status::Written,
    lane::{Lane, LaneState},
    plan::{End, apply},
};
use desired::{Desired, desired};
use end::end;
use observe::observe;
use plan::{no_tenant, plan};
use resolve::resolve;
use status::{notices, status, status_of_verdict};

/// Brings one backup to what its spec says, or lets it go.
pub async fn reconcile(backup: Arc<SchemaBackup>, ctx: Arc<Context>) -> Result<Next, Error> {
    let Some(backup) = ctx.fresh(&api(&backup, &ctx), backup.clone()).await? else {
        return Ok(Next::new(After::Never, "gone"));
    };
    let resolved = resolve(&backup, &ctx);
    if backup.metadata.deletion_timestamp.is_some() {
        return end(&backup, &resolved, &ctx).await;
    }
    let desired = desired(&backup, &resolved);
    let touched = ctx.written.take_touch(&uid(&backup));
    match &resolved.lane {
        // What the catalogue says of a finished backup changes when the survey says so, and then this is woken by it.
        Some(LaneState::Open(lane)) if is_settled(&backup) && !lane.take_change(&uid(&backup)) && !touched => {
            Ok(Next::new(After::Never, "unchanged"))
        }
        Some(LaneState::Open(lane)) => match keep(backup.clone(), &desired, lane, &ctx).await {
            Err(failed) if failed.has_no_turn() => Ok(Next::new(After::Retry, "standby")),
            Err(failed @ (Error::Observe(_) | Error::Apply(_))) => trouble(&backup, lane, failed, &ctx).await,
            other => other,
        },
        Some(LaneState::Unavailable { .. }) if is_settled(&backup) => Ok(Next::new(After::Never, "waiting")),
        Some(LaneState::Unavailable { message, .. }) => conclude(&backup, &unavailable(message.clone()), &ctx).await,
        Some(LaneState::Elsewhere) => Ok(Next::new(After::Resync, "standby")),
        None => {
            let message = no_tenant(&desired);
            conclude(&backup, &Verdict::reconciling(Reason::TenantNotFound, message, Readiness::False), &ctx).await
        }
    }
}

async fn keep(backup: Arc<SchemaBackup>, desired: &Desired, lane: &Lane, ctx: &Context) -> Result<Next, Error> {
    let mut observed = observe(lane, desired).await.map_err(Error::Observe)?;
    let made = plan(desired, &observed);
    tracing::debug!(stage = "plan", plan = %made);
    let backup = if made.changes() {
        ctx.with_finalizer(&api(&backup, ctx), backup, SCHEMA_BACKUP_FINALIZER).await?
    } else {
        backup
    };
    let mut applied = apply(lane, made).await.map_err(Error::Apply)?;
    if matches!(applied.end, End::Refused { reason: Reason::SchemaMissing, .. }) {
        // Dropped between the look and the request, the tenant is one that the backup waits for.
        let now = observe(lane, desired).await.map_err(Error::Observe)?;
        if now.tenant.is_none() {
            applied = apply(lane, plan(desired, &now)).await.map_err(Error::Apply)?;
            observed = now;
        }
    }
    if lane.is_refused() {
        // Who has the lane now looks at every backup and says how it is.
        return Ok(Next::new(After::Retry, "standby"));
    }
    publish(&backup, status(&backup, &observed, &applied, &lane.database, ctx.now()), ctx).await
}

/// The database could not be asked: the status says so, and the pass counts as failed. Who lost the lane says nothing.
async fn trouble(backup: &SchemaBackup, lane: &Lane, failed: Error, ctx: &Context) -> Result<Next, Error> {
    if !ctx.still_holds(lane).await {
        return Ok(Next::new(After::Retry, "standby").failed(failed));
    }
    let verdict = match &failed {
        Error::Observe(error) | Error::Apply(error) if error.is_transient() => unavailable(error.to_string()),
        _ => Verdict::stalled(Reason::OperationFailed, failed_for_good(&failed), false),
    };
    Ok(conclude(backup, &verdict, ctx).await?.failed(failed))
}

fn unavailable(message: String) -> Verdict {
    Verdict::reconciling(Reason::DatabaseUnavailable, message, Readiness::Kept)
}

/// Whether the backup is finished, one way or the other, and its status says how.
fn is_settled(backup: &SchemaBackup) -> bool {
    backup.status.as_ref().is_some_and(|status| {
        status.backup_id.is_some()
            && status.observed_generation == backup.metadata.generation
            && find(&status.conditions, ConditionType::Reconciling).is_none()
    })
}

async fn conclude(backup: &SchemaBackup, verdict: &Verdict, ctx: &Context) -> Result<Next, Error> {
    publish(backup, status_of_verdict(backup, verdict, ctx.now()), ctx).await
}

async fn publish(backup: &SchemaBackup, new: SchemaBackupStatus, ctx: &Context) -> Result<Next, Error> {
    let notices = notices(backup, &new);
    let changed = backup.status.as_ref() != Some(&new);
    if changed && ctx.write_status(&api(backup, ctx), backup, &new).await? == Written::Outdated {
        return Ok(Next::new(After::Retry, "waiting"));
    }
    let next = Next::of(&new.conditions, changed);
    // A backup that failed is not tried again: the next one is another object. What is in the way of a removal may go.
    let failed = next.outcome == "stalled" && backup.metadata.deletion_timestamp.is_none();
    let after = if failed { After::Never } else { next.after };
    let next = Next { after, notices, ..next };
    Ok(ctx.tell_if_it_waits(&backup.metadata, &new.conditions, new.summary.as_ref(), next))
}

fn api(backup: &SchemaBackup, ctx: &Context) -> Api<SchemaBackup> {
    Api::namespaced(ctx.client.clone(), &backup.namespace().unwrap_or_default())
}

fn uid(backup: &SchemaBackup) -> String {
    backup.uid().unwrap_or_default()
}
