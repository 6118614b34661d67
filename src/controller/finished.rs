//! When a job ends, the objects that wait for it are woken.

use futures::{StreamExt, channel::mpsc::UnboundedReceiver};
use kube::{ResourceExt, runtime::reflector::ObjectRef};
use uuid::Uuid;

use super::report;
use crate::{
    api::{SchemaBackup, TenantSchema},
    contract::{JobObject, ObjectKind},
    frame::Context,
    jobs::Finished,
};

/// Reports every job that ended, and wakes the objects that it named when it was claimed.
pub(super) async fn reported(mut finished: UnboundedReceiver<Finished>, ctx: &Context) {
    while let Some(finished) = finished.next().await {
        report::job_finished(&ctx.metrics, &finished);
        match &finished.job.wake {
            Some(objects) => objects.iter().for_each(|object| wake(object, &finished, ctx)),
            None => wake_all(&finished, ctx),
        }
    }
}

/// An object of the same names that was applied again since the job was asked for waits for it as well.
fn wake(object: &JobObject, finished: &Finished, ctx: &Context) {
    let namespace = object.namespace.as_deref().unwrap_or_default();
    match &object.kind {
        ObjectKind::SchemaBackup => {
            if let Some(backup) = ctx.stores.backups.get(&ObjectRef::new(&object.name).within(namespace)) {
                wake_backup(&backup, finished, ctx);
            }
        }
        ObjectKind::TenantSchema => {
            if let Some(tenant) = ctx.stores.tenants.get(&ObjectRef::new(&object.name).within(namespace)) {
                wake_tenant(&tenant, finished, ctx);
            }
        }
        // A newer release's, which has no controller here.
        ObjectKind::Other(_) => {}
    }
}

/// Functions of a former release do not name objects: every object is woken that the job may concern.
fn wake_all(finished: &Finished, ctx: &Context) {
    let id = |wanted: Option<Uuid>| wanted.map(|id| id.to_string());
    let (backup_id, schema_id) = (id(finished.job.backup_id), id(finished.job.schema_id));
    for backup in ctx.stores.backups.state() {
        let known = backup.status.as_ref().and_then(|status| status.backup_id.clone());
        if known.is_none() || known == backup_id {
            wake_backup(&backup, finished, ctx);
        }
    }
    for tenant in ctx.stores.tenants.state() {
        let known = tenant.status.as_ref().and_then(|status| status.schema_id.clone());
        if known.is_some() && known == schema_id {
            wake_tenant(&tenant, finished, ctx);
        }
    }
}

fn wake_backup(backup: &SchemaBackup, finished: &Finished, ctx: &Context) {
    if let Some(lane) = ctx.lanes.open(&finished.database) {
        lane.backup_changed(&backup.uid().unwrap_or_default());
    }
    ctx.wake.backup(&backup.namespace().unwrap_or_default(), &backup.name_any());
}

fn wake_tenant(tenant: &TenantSchema, finished: &Finished, ctx: &Context) {
    if let Some(lane) = ctx.lanes.open(&finished.database) {
        lane.distrust(&tenant.uid().unwrap_or_default());
    }
    ctx.wake.tenant(&tenant.namespace().unwrap_or_default(), &tenant.name_any());
}
