//! Stage 1: the tenant that a backup is of, and the lanes where its catalogue row can be. Decides nothing.

use std::sync::Arc;

use kube::{ResourceExt, runtime::reflector::ObjectRef};

use crate::{
    api::{SchemaBackup, TenantSchema},
    context::Context,
    lane::{Lane, LaneState},
};

/// What a backup points to.
pub struct Resolved {
    /// UID of the cluster's kube-system namespace.
    pub cluster: String,
    /// The tenant, if it is there.
    pub tenant: Option<Arc<TenantSchema>>,
    /// The lane of the tenant's database, or where the database stands.
    pub lane: Option<LaneState>,
    /// Other open lanes: a tenant that is gone does not say any more where it was.
    pub others: Vec<Arc<Lane>>,
    /// The namespace is being deleted; every backup counts as kept then.
    pub namespace_ends: bool,
}

/// Looks up what the backup points to.
#[must_use]
pub fn resolve(backup: &SchemaBackup, ctx: &Context) -> Resolved {
    let namespace = backup.namespace().unwrap_or_default();
    let tenant = ctx.stores.tenants.get(&ObjectRef::new(&backup.spec.tenant_schema_ref.name).within(&namespace));
    let lane = tenant.as_ref().map(|tenant| ctx.lanes.get(tenant.spec.database()));
    let others = if backup.status.as_ref().is_some_and(|status| status.backup_id.is_some()) {
        ctx.lanes.all_open()
    } else {
        Vec::new()
    };
    let namespace_ends = ctx
        .stores
        .namespaces
        .get(&ObjectRef::new(&namespace))
        .is_some_and(|found| found.metadata.deletion_timestamp.is_some());
    Resolved { cluster: ctx.cluster.clone(), tenant, lane, others, namespace_ends }
}
