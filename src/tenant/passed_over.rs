//! A tenant that went although it had our finalizer: the API server can ignore a finalizer that is added while it
//! deletes.

use std::sync::Arc;

use kube::{Api, ResourceExt};

use super::{
    desired::removal_of_passed_over, ending::wake_rivals, observe::observe_removal, plan::plan_removal,
    resolve::resolve, status::taken_away,
};
use crate::{
    api::TenantSchema,
    contract::RowStatus,
    frame::{After, Context, Doors, Host, Leave, Next, Outcome, StageError as Error},
    plan::{End, apply},
};

/// What was made for it is treated as in a deletion that waited for us, but never dropped. Nothing is done for any
/// other: one that is alive left our view, and a survey releases the row of one that is gone.
pub async fn finish_passed_over(tenant: Arc<TenantSchema>, ctx: Arc<Context>) -> Result<Next, Error> {
    let uid = tenant.uid().unwrap_or_default();
    let api: Api<TenantSchema> = Api::namespaced(ctx.client.clone(), &tenant.namespace().unwrap_or_default());
    if !ctx.making.is_new(&uid) || !ctx.living(&api, &tenant.name_any(), &uid).await?.is_gone() {
        return Ok(Next::gone());
    }
    let (facts, stand) = resolve(&tenant, &ctx).await;
    let removal = removal_of_passed_over(&tenant, &facts, ctx.now());
    if removal.stays() || removal.paused {
        return Ok(Next::gone());
    }
    let lane = match &stand.host {
        Host::Open(lane) => lane,
        Host::Missing => return Ok(Next::gone()),
        Host::Elsewhere => return Ok(Next::standby()),
        Host::Unavailable { .. } => return Ok(Next::waiting()),
    };
    let leave = Leave::Asked(removal);
    let removal = leave.removal();
    let observed = observe_removal(&leave, Doors::Lane(lane, &ctx)).await?;
    if observed.answer.own.as_ref().is_some_and(|row| row.status == RowStatus::Released) {
        return Ok(Next::gone());
    }
    let applied =
        match apply(lane, &ctx.secrets, &ctx.backups, &plan_removal(removal, &observed)).await.map_err(Error::Apply) {
            Ok(applied) => applied,
            Err(failed) if failed.has_no_turn() => return Ok(Next::waiting()),
            Err(failed) => return Err(failed),
        };
    match applied.end {
        End::Released | End::Done => {}
        // A person would have to act and has no object to act on: the row is released, and the schema stays.
        End::Refused { .. } => return Ok(Next::gone()),
        End::Waits { .. } => return Ok(Next::waiting()),
    }
    lane.forget(&removal.owner.uid);
    wake_rivals(&tenant, &ctx);
    let notices = taken_away(&tenant, removal, None, &applied);
    Ok(Next { notices, ..Next::new(After::Never, Outcome::Gone) })
}
