//! What follows when a tenant's object is gone: the lane forgets it, and the tenants that waited for its place look
//! again.

use kube::{ResourceExt, runtime::reflector::ObjectRef};

use super::{desired::Removal, is_same_tenant};
use crate::{
    api::TenantSchema,
    frame::{Context, Host, Leave, Stand},
};

/// Its finalizer is off.
pub(super) fn let_go(tenant: &TenantSchema, leave: &Leave<Removal>, stand: &Stand, ctx: &Context) {
    let uid = &leave.removal().owner.uid;
    if let Host::Open(lane) = &stand.host {
        if matches!(leave, Leave::Asked(_)) {
            lane.forget(uid);
        } else {
            // The next survey misses the object, and releases the row although many go at once: their deletions were seen.
            ctx.let_go.add(uid);
        }
    }
    wake_rivals(tenant, ctx);
    let database = ctx.stores.databases.get(&ObjectRef::new(&leave.removal().database));
    if let Some(database) = database.filter(|database| database.metadata.deletion_timestamp.is_some()) {
        // The deleted database may have waited for its last tenant to go.
        ctx.wake.database(&database.name_any());
    }
}

/// Objects that lost against this tenant try again now.
pub(super) fn wake_rivals(gone: &TenantSchema, ctx: &Context) {
    for (uid, (namespace, name)) in ctx.losers.all() {
        match ctx.stores.tenants.get(&ObjectRef::new(&name).within(&namespace)) {
            Some(other) if other.uid().as_ref() != Some(&uid) => ctx.losers.forget(&uid),
            Some(other) if is_same_tenant(gone, &other) => ctx.wake.tenant(&namespace, &name),
            Some(_) => {}
            None => ctx.losers.forget(&uid),
        }
    }
}
