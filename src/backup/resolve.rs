//! Stage 1: the tenant that a backup is of, and the lane whose catalogue has it. Decides nothing.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt, runtime::reflector::ObjectRef};

use crate::{
    api::{SchemaBackup, TenantSchema},
    context::Context,
    kubernetes,
    lane::LaneState,
};

/// What a backup points to.
pub struct Resolved {
    /// UID of the cluster's kube-system namespace.
    pub cluster: String,
    /// The UID of the backup's namespace, as the cache has it.
    pub namespace_uid: Option<String>,
    /// The tenant, if it is there.
    pub tenant: Option<Arc<TenantSchema>>,
    /// The TenantDatabase that has the backup, or will have it, if that is known.
    pub database: Option<String>,
    /// Where the database stands that has the backup, or will have it; nothing when neither is known.
    pub lane: Option<LaneState>,
}

/// Looks up what the backup points to. The database that has the backup is remembered in its status, since a tenant that is
/// gone does not say any more where it was.
#[must_use]
pub fn resolve(backup: &SchemaBackup, ctx: &Context) -> Resolved {
    let namespace = backup.namespace().unwrap_or_default();
    let tenant = ctx.stores.tenants.get(&ObjectRef::new(&backup.spec.tenant_schema_ref.name).within(&namespace));
    let remembered = backup.status.as_ref().and_then(|status| status.database_ref.as_deref());
    let database = remembered.or_else(|| tenant.as_ref().map(|tenant| tenant.spec.database()));
    let lane = database.map(|database| ctx.lanes.get(database));
    let namespace_uid = ctx.stores.namespaces.get(&ObjectRef::new(&namespace)).and_then(|found| found.uid());
    let database = database.map(str::to_owned);
    Resolved { cluster: ctx.cluster.clone(), namespace_uid, database, tenant, lane }
}

/// Whether the backup's namespace is being deleted, by the API server's word: a cache that is a moment behind would let
/// backups go that no user asked to remove.
pub async fn namespace_ends(backup: &SchemaBackup, ctx: &Context) -> Result<bool, kubernetes::Error> {
    let api: Api<Namespace> = Api::all(ctx.client.clone());
    let namespace = kubernetes::read(&api, &backup.namespace().unwrap_or_default()).await?;
    Ok(namespace.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()))
}
