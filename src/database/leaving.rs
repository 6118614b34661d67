//! How this replica leaves a database: to another replica, because it does not see it any more, for good, or because it stops. Nothing
//! is touched in the database but the claim.

use kube::{ResourceExt, runtime::reflector::ObjectRef};

use super::{Error, api, election, opens::Opens};
use crate::{
    api::{TENANT_DATABASE_FINALIZER, TenantDatabase},
    frame::{After, Context, Living, Next, Outcome},
    kubernetes,
    lane::LaneState,
    telemetry::metrics::DatabaseLabels,
};

/// Leaves the stage: lanes are closed, jobs end, Leases are given back.
pub async fn leave(ctx: &Context, opens: &Opens) {
    opens.close_all().await;
    election::leave_all(ctx).await;
}

/// Another replica took the lane while this one believed to hold it: it leaves the election and joins it again.
pub(super) async fn refused(name: &str, ctx: &Context, opens: &Opens) -> Error {
    stand_by(name, ctx, opens);
    election::leave(name, ctx).await;
    Error::Refused
}

/// Hands the database over to the replica that asks for it, unless a job runs: it would begin again there. No survey is under
/// way, because that is a stage of this reconcile.
pub(super) async fn handed_over(name: &str, ctx: &Context, opens: &Opens) -> bool {
    if let Some(open) = opens.usable(name)
        && !open.lane.retire().await
    {
        return false;
    }
    stand_by(name, ctx, opens);
    election::hand_over(name, ctx).await;
    true
}

/// Leaves the databases that this operator does not see any more: those that are gone, and those that left its view by a label.
/// The lane closes and the Lease is given back; nothing is touched in the database. While the API server cannot be asked,
/// all stays as it is.
pub async fn leave_unseen(ctx: &Context, opens: &Opens) {
    let is_unseen = |name: &String| {
        ctx.stores.databases.get(&ObjectRef::new(name)).is_none()
            && ctx.unread.get("TenantDatabase", "", name).is_none()
    };
    let mut names = election::names(ctx).await;
    names.extend(ctx.lanes.names());
    for name in names.into_iter().filter(is_unseen) {
        let Ok(found) = kubernetes::read_metadata(&api(ctx), &name).await else { continue };
        if !is_unseen(&name) {
            continue;
        }
        tracing::debug!(database = name, there = found.is_some(), "leaves a database that is out of view");
        stand_by(&name, ctx, opens);
        ctx.lanes.remove(&name);
        election::leave(&name, ctx).await;
    }
}

/// Another replica works on the database, or none.
pub(super) fn stand_by(name: &str, ctx: &Context, opens: &Opens) {
    opens.close(name);
    ctx.lanes.set(name, &LaneState::Elsewhere);
    // What this replica measured says nothing any more.
    ctx.metrics.forget_database(name);
    ctx.metrics.lane_held.get_or_create(&DatabaseLabels { database: name.to_owned() }).set(0);
}

/// Lets a database go to which no object refers. Another TenantDatabase may claim it then; when it cannot be told, its claim
/// stays, and the message that the other one gets says how to take it back.
pub(super) async fn end(database: &TenantDatabase, ctx: &Context, opens: &Opens) -> Result<Next, Error> {
    let name = database.name_any();
    match ctx.living(&api(ctx), &name, &database.uid().unwrap_or_default()).await? {
        Living::Deleting(_) => {}
        Living::Here(_) => return Ok(Next::new(After::Retry, Outcome::Waiting)),
        Living::Gone => return Ok(Next::new(After::Never, Outcome::Gone)),
    }
    if let Some(open) = opens.usable(&name)
        && let Err(error) = open.lane.functions().release_lane(open.lane.hold).await
    {
        tracing::debug!(database = name, %error, "cannot release the lane");
    }
    opens.close(&name);
    ctx.lanes.remove(&name);
    election::remove(database, ctx).await?;
    ctx.let_go(&api(ctx), database, TENANT_DATABASE_FINALIZER).await?;
    ctx.metrics.forget_database(&name);
    Ok(Next::new(After::Never, Outcome::Changed))
}
