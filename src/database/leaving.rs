//! How this replica leaves databases outside of a pass: because it stops, because it does not see them any more, or
//! because it cannot read their object. Nothing is touched in the database but the claim.

use kube::runtime::reflector::ObjectRef;

use super::{
    apply::{api, stand_by},
    election,
    holding::{Holding, Holdings},
};
use crate::{
    api::{TenantDatabase, condition::Reason},
    frame::Context,
    kubernetes,
};

/// Leaves all databases: lanes are closed, jobs end, Leases are given back.
pub async fn leave(holdings: &Holdings) {
    holdings.close_all().await;
    election::leave_all(holdings).await;
}

/// Leaves the databases that this operator does not see any more: those that are gone, and those that left its view by a label.
/// The lane closes and the Lease is given back; nothing is touched in the database. While the API server cannot be asked,
/// all stays as it is.
pub async fn leave_unseen(ctx: &Context, holdings: &Holdings) {
    let is_unseen = |name: &String| {
        ctx.stores.databases.get(&ObjectRef::new(name)).is_none()
            && ctx.unread.get::<TenantDatabase>("", name).is_none()
    };
    for name in holdings.names().into_iter().filter(is_unseen) {
        let Ok(found) = kubernetes::read_metadata(&api(ctx), &name).await else { continue };
        if !is_unseen(&name) {
            continue;
        }
        tracing::debug!(database = name, there = found.is_some(), "leaves a database that is out of view");
        stand_by(&name, ctx, holdings);
        holdings.set(&name, Holding::Apart);
        election::leave(&name, holdings).await;
    }
}

/// A database whose object cannot be read is left alone: its lane closes, and its tenants are told why if they have work to do.
pub async fn shut_unreadable(name: &str, why: &str, ctx: &Context, holdings: &Holdings) {
    let message = format!("its object cannot be read: {why}");
    if matches!(holdings.of(name), Holding::Shut(_, said) if said == message) {
        return;
    }
    holdings.set(name, Holding::Shut(Reason::InvalidSpec, message));
    // A replica whose release can read the object may take the database.
    election::leave(name, holdings).await;
    ctx.metrics.forget_database(name);
    ctx.wake.users(name);
}
