//! The end of a backup's object: what its deletion waits for, whether the backup goes with it, and when the object may go.

use kube::{ResourceExt, runtime::reflector::ObjectRef};

use super::{
    api,
    apply::{Applied, apply},
    conclude,
    desired::{Removal, removal},
    observe::observe_removal,
    plan::plan_removal,
    publish,
    resolve::{Resolved, namespace_ends},
    status::status,
    trouble, uid,
};
use crate::{
    api::{
        ABANDON, SCHEMA_BACKUP_FINALIZER, SchemaBackup, bound,
        condition::{Readiness, Reason, Verdict},
    },
    context::{After, Context, End, Living, MissingDatabase, Next, StageError as Error},
    contract::{BackupAnswer, JobKind},
    lane::{Caller, Lane, LaneState},
};

/// A backup whose object is deleted: kept or removed, then the object goes.
pub(super) async fn end(backup: &SchemaBackup, resolved: &Resolved, ctx: &Context) -> Result<Next, Error> {
    if !backup.finalizers().iter().any(|finalizer| finalizer == SCHEMA_BACKUP_FINALIZER) {
        return Ok(Next::new(After::Never, "gone"));
    }
    let ends = namespace_ends(backup, ctx).await?;
    let found = removal(backup, resolved, ends);
    if found.abandoned || found.complete && !found.delete {
        return let_go(backup, resolved, ctx).await;
    }
    let lane = match (&resolved.lane, &resolved.database) {
        (Some(LaneState::Open(lane)), _) => lane,
        (Some(LaneState::Unavailable { message, .. }), _) => return blocked(backup, message, ctx).await,
        (Some(LaneState::Elsewhere), Some(name)) => match missing(name, ctx).await {
            Some(why) => return blocked(backup, &why, ctx).await,
            None => return Ok(Next::new(After::Resync, "standby")),
        },
        // It never came so far that a catalogue could have it.
        (Some(LaneState::Elsewhere) | None, _) => return let_go(backup, resolved, ctx).await,
    };
    // What the cache has may be of a world that went back. The object decides as it is now, or nothing is taken away.
    let backup = &match ctx.living_whole(&api(backup, ctx), &found.object.name, &found.object.uid).await? {
        Living::Deleting(now) => now,
        Living::Here(_) => return Ok(Next::new(After::Retry, "waiting")),
        Living::Gone => return Ok(Next::new(After::Never, "gone")),
    };
    match end_in_database(&removal(backup, resolved, ends), lane).await {
        Ok((_, applied)) if matches!(applied.end, End::Released | End::Done) => let_go(backup, resolved, ctx).await,
        Ok(_) if lane.is_refused() => Ok(Next::new(After::Retry, "standby")),
        Ok((observed, applied)) => {
            publish(backup, status(backup, &observed, &applied, &lane.database, ctx.now()), ctx).await
        }
        Err(failed) if failed.has_no_turn() && !failed.is_crowded() => Ok(Next::new(After::Retry, "standby")),
        Err(failed) => trouble(backup, lane, failed, ctx).await,
    }
}

async fn end_in_database(removal: &Removal, lane: &Lane) -> Result<(BackupAnswer, Applied), Error> {
    let observed = observe_removal(lane, removal).await.map_err(Error::Observe)?;
    let plan = plan_removal(removal, &observed);
    tracing::debug!(stage = "plan", plan = %plan);
    if let Some(job) = observed.job.as_ref().filter(|job| job.kind == JobKind::Snapshot) {
        lane.cancel_job(job.job_id);
    }
    let caller = Caller { namespace: &removal.object.namespace, tenant: None };
    let applied = apply(lane, caller, plan).await.map_err(Error::Apply)?;
    Ok((observed, applied))
}

/// Why no replica has the database, if that is so.
async fn missing(name: &str, ctx: &Context) -> Option<String> {
    if ctx.stores.databases.get(&ObjectRef::new(name)).is_some() {
        return None;
    }
    Some(match ctx.unseen_database(name).await {
        MissingDatabase::Gone => format!("TenantDatabase {name} is gone"),
        MissingDatabase::OutOfView(message) => message,
    })
}

/// The database cannot be asked: the object stays until it can, or until a user lets it go.
async fn blocked(backup: &SchemaBackup, why: &str, ctx: &Context) -> Result<Next, Error> {
    let (namespace, name) = (backup.namespace().unwrap_or_default(), backup.name_any());
    let since = backup.metadata.deletion_timestamp.as_ref().map_or_else(String::new, |at| at.0.to_string());
    let message = format!(
        "deletion waits since {since} for the database ({why}) and goes on by itself; to let go and leave the backup in the \
         database: kubectl -n {namespace} annotate schemabackup {name} --overwrite {ABANDON}={}",
        bound(&name, uid(backup))
    );
    conclude(backup, &Verdict::reconciling(Reason::DatabaseUnavailable, message, Readiness::Kept), ctx).await
}

/// Removes the finalizer; the object is gone with it.
async fn let_go(backup: &SchemaBackup, resolved: &Resolved, ctx: &Context) -> Result<Next, Error> {
    ctx.let_go(&api(backup, ctx), backup, SCHEMA_BACKUP_FINALIZER).await?;
    let database = resolved.database.as_ref().and_then(|name| ctx.stores.databases.get(&ObjectRef::new(name)));
    if let Some(database) = database.filter(|database| database.metadata.deletion_timestamp.is_some()) {
        // It may have waited for the last backup that needed it.
        ctx.wake.database(&database.name_any());
    }
    Ok(Next::new(After::Never, "changed"))
}
