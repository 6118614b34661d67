//! Lists every kind every ten minutes, and when the API server's world may have gone back, and compares it with the
//! cache, to find what a watch left out.

use std::{sync::Arc, time::Duration};

use kube::{
    Api, Resource,
    api::{ListParams, ObjectMeta},
    runtime::reflector::Store,
};

use super::{report, runner::jitter, watches::apis};
use crate::{
    api::{SchemaBackup, TenantSchema},
    frame::Context,
    kubernetes::{
        Error,
        id::Id,
        list_versions,
        world::{Difference, Versions, difference},
    },
};

/// How often.
const PERIOD: Duration = Duration::from_mins(10);
/// No watch is later than this.
const LAG: Duration = Duration::from_secs(15);

/// Compares for as long as the operator runs.
pub async fn compared(ctx: &Context) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD.mul_f64(0.8 + 0.4 * jitter())) => {}
            () = ctx.world.doubted() => {}
        }
        let databases = vec![Api::all(ctx.client.clone())];
        one(databases, "TenantDatabase", &ctx.stores.databases, ctx).await;
        one(apis::<TenantSchema>(&ctx.client, &ctx.config.watch_namespaces), "TenantSchema", &ctx.stores.tenants, ctx)
            .await;
        one(apis::<SchemaBackup>(&ctx.client, &ctx.config.watch_namespaces), "SchemaBackup", &ctx.stores.backups, ctx)
            .await;
    }
}

async fn one<K>(apis: Vec<Api<K>>, kind: &'static str, store: &Store<K>, ctx: &Context)
where
    K: Resource<DynamicType = ()> + Clone,
{
    let cached = versions(store, kind, ctx);
    let listed = match listed(apis, ctx).await {
        Ok(listed) => listed,
        Err(error) => return report::not_compared(kind, &error),
    };
    if cached == listed {
        return;
    }
    tokio::time::sleep(LAG).await;
    match difference(&cached, &listed, &versions(store, kind, ctx)) {
        None => {}
        Some(Difference::Older(why)) => ctx.world.went_back(&format!("{kind} {why}")),
        Some(Difference::Skipped(names)) => {
            report::skipped(kind, &names);
            ctx.world.list_again();
        }
    }
}

async fn listed<K>(apis: Vec<Api<K>>, ctx: &Context) -> Result<Versions, Error>
where
    K: Resource<DynamicType = ()> + Clone,
{
    let mut listed = Versions::new();
    let selected = ctx.config.watch_selector.as_deref().unwrap_or_default();
    for api in apis {
        list_versions(&api, &ListParams::default().labels(selected), |found| listed.extend(entry(found))).await?;
    }
    Ok(listed)
}

/// What the cache has, and what cannot be read.
fn versions<K>(store: &Store<K>, kind: &'static str, ctx: &Context) -> Versions
where
    K: Resource<DynamicType = ()> + Clone,
{
    let objects: Vec<Arc<K>> = store.state();
    let unread = ctx.unread.all(kind);
    let unread = unread.iter().map(|object| &object.metadata);
    objects.iter().map(|object| object.meta()).chain(unread).filter_map(entry).collect()
}

/// Nothing for a version that is no number.
fn entry(object: &ObjectMeta) -> Option<((String, String), (Id, u64))> {
    let version = object.resource_version.as_deref()?.parse().ok()?;
    let name = (object.namespace.clone().unwrap_or_default(), object.name.clone()?);
    Some((name, (Id::of_uid(object.uid.as_deref()?), version)))
}
