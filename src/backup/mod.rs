//! `SchemaBackup`: the driver. The object asks for a backup; the catalogue has it and outlives the object.

pub mod apply;
pub mod desired;
mod observe;
pub mod plan;
pub mod resolve;
pub mod status;

use std::sync::Arc;

use kube::{Api, ResourceExt};
use thiserror::Error;

use crate::{
    api::{
        SCHEMA_BACKUP_FINALIZER, SchemaBackup, SchemaBackupStatus,
        condition::{ConditionType, Readiness, Reason, Verdict, find},
    },
    context::{After, Context, Failure, Next},
    kubernetes::{self, finalizers},
    lane::{Lane, LaneState},
    postgres::{self, answer::BackupAnswer},
};
use apply::{End, apply};
use desired::{Desired, desired, removal};
use observe::{observe, observe_removal};
use plan::{Effect, plan, plan_removal};
use resolve::{Resolved, resolve};
use status::{notices, status, status_of_verdict};

/// What failed, by stage.
#[derive(Debug, Error)]
pub enum Error {
    /// The API server.
    #[error(transparent)]
    Kubernetes(#[from] kubernetes::Error),
    /// The database, while observing.
    #[error("failed to observe the backup")]
    Observe(#[source] postgres::Error),
    /// The database, while applying.
    #[error("failed to apply the plan")]
    Apply(#[source] postgres::Error),
}

impl Failure for Error {
    fn stage(&self) -> &'static str {
        match self {
            Self::Kubernetes(_) => "status",
            Self::Observe(_) => "observe",
            Self::Apply(_) => "apply",
        }
    }

    fn category(&self) -> &'static str {
        match self {
            Self::Kubernetes(error) => error.category(),
            Self::Observe(error) | Self::Apply(error) => error.category(),
        }
    }
}

/// Brings one backup to what its spec says, or lets it go.
pub async fn reconcile(backup: Arc<SchemaBackup>, ctx: Arc<Context>) -> Result<Next, Error> {
    let Some(backup) = fresh(backup, &ctx).await? else { return Ok(Next::new(After::Never, "unchanged")) };
    let resolved = resolve(&backup, &ctx);
    if backup.metadata.deletion_timestamp.is_some() {
        return end(&backup, &resolved, &ctx).await;
    }
    let finished = backup.status.as_ref().is_some_and(|status| {
        find(&status.conditions, ConditionType::Ready).is_some_and(|ready| ready.reason == Reason::Expired.as_str())
    });
    if finished {
        return Ok(Next::new(After::Never, "unchanged"));
    }
    let desired = desired(&backup, &resolved);
    match (&resolved.lane, resolved.others.as_slice()) {
        (Some(LaneState::Open(lane)), _) => keep(backup, &desired, lane, &ctx).await,
        (Some(LaneState::Unavailable { message, .. }), _) => {
            if backup.status.as_ref().is_some_and(|status| status.completion_time.is_some()) {
                return Ok(Next::new(After::Resync, "waiting"));
            }
            conclude(
                &backup,
                &Verdict::reconciling(Reason::DatabaseUnavailable, message.clone(), Readiness::Kept),
                &ctx,
            )
            .await
        }
        (Some(LaneState::Elsewhere), _) => Ok(Next::new(After::Resync, "standby")),
        // The tenant is gone; the catalogue that has the backup still says how it stands.
        (None, [lane, ..]) => {
            let lane = lane.clone();
            keep(backup, &desired, &lane, &ctx).await
        }
        (None, []) if desired.known.is_some() => Ok(Next::new(After::Resync, "unchanged")),
        (None, []) => {
            let waits = plan(&desired, &BackupAnswer::default());
            let verdict = first_wait(&waits.effects);
            conclude(&backup, &verdict, &ctx).await
        }
    }
}

fn first_wait(effects: &[Effect]) -> Verdict {
    match effects.first() {
        Some(Effect::Await { reason, message }) => Verdict::reconciling(*reason, message.clone(), Readiness::False),
        _ => Verdict::reconciling(Reason::Progressing, "being looked at", Readiness::False),
    }
}

async fn keep(backup: Arc<SchemaBackup>, desired: &Desired, lane: &Lane, ctx: &Context) -> Result<Next, Error> {
    let observed = observe(lane, desired).await.map_err(Error::Observe)?;
    let plan = plan(desired, &observed);
    tracing::debug!(stage = "plan", plan = %plan);
    let mut backup = backup;
    if plan.effects.iter().any(|effect| matches!(effect, Effect::Request { .. })) {
        // Before anything is made, so that nothing is left behind by a deletion that comes in between.
        if let Some(updated) = finalizers::ensure(&api(&backup, ctx), &backup, SCHEMA_BACKUP_FINALIZER).await? {
            ctx.written.record(&uid(&updated), updated.resource_version().as_deref());
            backup = Arc::new(updated);
        }
    }
    let applied = apply(lane, &uid(&backup), plan).await.map_err(Error::Apply)?;
    publish(&backup, status(&backup, &observed, &applied, ctx.now()), ctx).await
}

/// A backup whose object is deleted: kept or removed, then the object goes.
async fn end(backup: &SchemaBackup, resolved: &Resolved, ctx: &Context) -> Result<Next, Error> {
    if !backup.finalizers().iter().any(|finalizer| finalizer == SCHEMA_BACKUP_FINALIZER) {
        return Ok(Next::new(After::Never, "unchanged"));
    }
    let removal = removal(backup, resolved);
    let complete = backup.status.as_ref().is_some_and(|status| status.completion_time.is_some());
    if !removal.delete && complete {
        return let_go(backup, ctx).await;
    }
    let lanes = match &resolved.lane {
        Some(LaneState::Open(lane)) => vec![lane.clone()],
        Some(LaneState::Elsewhere) => return Ok(Next::new(After::Resync, "standby")),
        Some(LaneState::Unavailable { message, .. }) => {
            let verdict = Verdict::reconciling(Reason::DatabaseUnavailable, message.clone(), Readiness::Kept);
            return conclude(backup, &verdict, ctx).await;
        }
        None => ctx.lanes.all_open(),
    };
    let Some((lane, observed)) = observe_removal(&lanes, &removal).await.map_err(Error::Observe)? else {
        return let_go(backup, ctx).await;
    };
    let plan = plan_removal(&removal, &observed);
    tracing::debug!(stage = "plan", plan = %plan);
    if let Some(job) = observed.job.as_ref().filter(|job| job.kind == "snapshot") {
        lane.cancel_job(job.job_id);
    }
    let applied = apply(&lane, &removal.object.uid, plan).await.map_err(Error::Apply)?;
    match applied.end {
        End::Released | End::Done => let_go(backup, ctx).await,
        _ => publish(backup, status(backup, &observed, &applied, ctx.now()), ctx).await,
    }
}

async fn let_go(backup: &SchemaBackup, ctx: &Context) -> Result<Next, Error> {
    finalizers::remove(&api(backup, ctx), backup, SCHEMA_BACKUP_FINALIZER).await?;
    ctx.written.release(&uid(backup));
    Ok(Next::new(After::Never, "changed"))
}

async fn conclude(backup: &SchemaBackup, verdict: &Verdict, ctx: &Context) -> Result<Next, Error> {
    publish(backup, status_of_verdict(backup, verdict, ctx.now()), ctx).await
}

async fn publish(backup: &SchemaBackup, new: SchemaBackupStatus, ctx: &Context) -> Result<Next, Error> {
    let notices = notices(backup, &new);
    let changed = backup.status.as_ref() != Some(&new);
    if changed {
        let version = kubernetes::status::apply(&api(backup, ctx), backup, &new).await?;
        ctx.written.record(&uid(backup), version.as_deref());
    }
    let (after, outcome) = if find(&new.conditions, ConditionType::Stalled).is_some() {
        // A backup that failed is not tried again: the next one is another object.
        (After::Resync, "stalled")
    } else if find(&new.conditions, ConditionType::Reconciling).is_some() {
        (After::Retry, "waiting")
    } else if changed {
        (After::Resync, "changed")
    } else {
        (After::Resync, "unchanged")
    };
    Ok(Next { after, outcome, notices })
}

async fn fresh(backup: Arc<SchemaBackup>, ctx: &Context) -> Result<Option<Arc<SchemaBackup>>, Error> {
    if !ctx.written.is_stale(&*backup) {
        return Ok(Some(backup));
    }
    let read = kubernetes::read(&api(&backup, ctx), &backup.name_any()).await?;
    Ok(read.filter(|read| read.uid() == backup.uid()).map(Arc::new))
}

fn api(backup: &SchemaBackup, ctx: &Context) -> Api<SchemaBackup> {
    Api::namespaced(ctx.client.clone(), &backup.namespace().unwrap_or_default())
}

fn uid(backup: &SchemaBackup) -> String {
    backup.uid().unwrap_or_default()
}
