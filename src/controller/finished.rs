//! When a job ends, the objects that wait for it are woken.

use futures::{StreamExt, channel::mpsc::UnboundedReceiver};
use kube::{Resource, api::ObjectMeta};
use uuid::Uuid;

use super::{cached::Caches, report};
use crate::{
    contract::{JobObject, ObjectKind},
    frame::Context,
    jobs::Finished,
};

/// Reports every job that ended, and wakes the objects that it named when it was claimed.
pub(super) async fn reported(mut finished: UnboundedReceiver<Finished>, caches: &Caches, ctx: &Context) {
    while let Some(finished) = finished.next().await {
        report::job_finished(&ctx.metrics, &finished);
        let concerned = finished.job.wake.clone().unwrap_or_else(|| concerned(&finished, ctx));
        for object in &concerned {
            // A newer release's kind has no controller here.
            if let Some(cache) = caches.iter().find(|cache| cache.kind() == object.kind.as_str()) {
                cache.job_ended(object, &finished.database, ctx);
            }
        }
    }
}

/// Functions of a former release do not name objects: these are all that the job may concern.
fn concerned(finished: &Finished, ctx: &Context) -> Vec<JobObject> {
    let id = |wanted: Option<Uuid>| wanted.map(|id| id.to_string());
    let (backup_id, schema_id) = (id(finished.job.backup_id), id(finished.job.schema_id));
    let backups = ctx.stores.backups.state_filter(|backup| {
        let known = backup.status.as_ref().and_then(|status| status.backup_id.as_ref());
        known.is_none() || known == backup_id.as_ref()
    });
    let tenants = ctx.stores.tenants.state_filter(|tenant| {
        let known = tenant.status.as_ref().and_then(|status| status.schema_id.as_ref());
        known.is_some() && known == schema_id.as_ref()
    });
    let backups = backups.iter().map(|backup| named(ObjectKind::SchemaBackup, backup.meta()));
    backups.chain(tenants.iter().map(|tenant| named(ObjectKind::TenantSchema, tenant.meta()))).collect()
}

fn named(kind: ObjectKind, metadata: &ObjectMeta) -> JobObject {
    let ObjectMeta { namespace, name, uid, .. } = metadata.clone();
    JobObject { kind, namespace, name: name.unwrap_or_default(), uid: uid.unwrap_or_default() }
}
