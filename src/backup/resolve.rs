//! Stage 1: the tenant that a backup is of, and the database whose catalogue has it. Decides nothing.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt, runtime::reflector::ObjectRef};

use crate::{
    api::{SchemaBackup, TenantSchema, tenant_database::TenantDefaults},
    frame::{Context, Host, Stand},
    kubernetes,
};

/// What a backup points to.
pub struct Resolved {
    /// UID of the cluster's kube-system namespace.
    pub cluster: String,
    /// The UID of the backup's namespace, as the cache has it.
    pub namespace_uid: Option<String>,
    /// The backup's namespace is being deleted; asked only of a backup that is deleted.
    pub namespace_ends: bool,
    /// The tenant, if it is there.
    pub tenant: Option<Arc<TenantSchema>>,
    /// The TenantDatabase that has the backup, or will have it, if that is known.
    pub database: Option<String>,
    /// What holds for tenants of that database that leave it out.
    pub defaults: Option<TenantDefaults>,
    /// Another client has written the status since the operator looked at it last.
    pub touched: bool,
}

/// Looks up what the backup points to. The database that has the backup is remembered in its status, since a tenant that is
/// gone does not say any more where it was.
pub async fn resolve(backup: &SchemaBackup, ctx: &Context) -> Result<(Resolved, Stand), kubernetes::Error> {
    let namespace = backup.namespace().unwrap_or_default();
    let tenant = ctx.stores.tenants.get(&ObjectRef::new(&backup.spec.tenant_schema_ref.name).within(&namespace));
    let remembered = backup.status.as_ref().and_then(|status| status.database_ref.as_deref());
    let database = remembered.or_else(|| tenant.as_ref().map(|tenant| tenant.spec.database())).map(str::to_owned);
    let hosting = database.as_ref().and_then(|name| ctx.stores.databases.get(&ObjectRef::new(name)));
    let host = match &database {
        Some(name) => Host::of(name, hosting.is_some(), ctx).await,
        None => Host::Missing,
    };
    let facts = Resolved {
        cluster: ctx.cluster.clone(),
        namespace_uid: ctx.stores.namespaces.get(&ObjectRef::new(&namespace)).and_then(|found| found.uid()),
        namespace_ends: backup.metadata.deletion_timestamp.is_some() && ends(&namespace, ctx).await?,
        tenant,
        database: database.clone(),
        defaults: hosting.and_then(|database| database.spec.defaults.clone()),
        touched: ctx.written.take_touch(&backup.uid().unwrap_or_default()),
    };
    Ok((facts, Stand { database, host }))
}

/// Whether the namespace is being deleted, as the API server says: a cache that is a moment behind would let backups go
/// that no user asked to remove.
async fn ends(namespace: &str, ctx: &Context) -> Result<bool, kubernetes::Error> {
    let api: Api<Namespace> = Api::all(ctx.client.clone());
    let namespace = kubernetes::read(&api, namespace).await?;
    Ok(namespace.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()))
}
