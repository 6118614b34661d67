//! Lists every kind every ten minutes, and when the API server's world may have gone back, and compares it with the
//! cache, to find what a watch left out.

use std::time::Duration;

use kube::{
    Api, Resource,
    api::{ListParams, ObjectMeta},
    runtime::reflector::Store,
};

use super::{
    cached::{Cached, Caches},
    report,
    runner::jitter,
};
use crate::{
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
pub async fn compared(caches: &Caches, ctx: &Context) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD.mul_f64(0.8 + 0.4 * jitter())) => {}
            () = ctx.world.doubted() => {}
        }
        for cache in caches.iter() {
            cache.compare(ctx).await;
        }
    }
}

/// Compares one kind.
pub(super) async fn one<K>(cache: &Cached<K>, ctx: &Context)
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let (kind, store) = (K::kind(&()), &cache.store);
    let cached = versions(store, ctx);
    let listed = match listed(&cache.apis, ctx).await {
        Ok(listed) => listed,
        Err(error) => return report::not_compared(&kind, &error),
    };
    if cached == listed {
        return;
    }
    tokio::time::sleep(LAG).await;
    match difference(&cached, &listed, &versions(store, ctx)) {
        None => {}
        Some(Difference::Older(why)) => ctx.world.went_back(&format!("{kind} {why}")),
        Some(Difference::Skipped(names)) => {
            report::skipped(&kind, &names);
            ctx.world.list_again();
        }
    }
}

async fn listed<K>(apis: &[Api<K>], ctx: &Context) -> Result<Versions, Error>
where
    K: Resource<DynamicType = ()> + Clone,
{
    let mut listed = Versions::new();
    let selected = ctx.config.watch_selector.as_deref().unwrap_or_default();
    for api in apis {
        list_versions(api, &ListParams::default().labels(selected), |found| listed.extend(entry(found))).await?;
    }
    Ok(listed)
}

/// What the cache has, and what cannot be read.
fn versions<K>(store: &Store<K>, ctx: &Context) -> Versions
where
    K: Resource<DynamicType = ()> + Clone,
{
    let (objects, unread) = (store.state(), ctx.unread.all::<K>());
    let unread = unread.iter().map(|object| &object.metadata);
    objects.iter().map(|object| object.meta()).chain(unread).filter_map(entry).collect()
}

/// Nothing for a version that is no number.
fn entry(object: &ObjectMeta) -> Option<((String, String), (Id, u64))> {
    let version = object.resource_version.as_deref()?.parse().ok()?;
    let name = (object.namespace.clone().unwrap_or_default(), object.name.clone()?);
    Some((name, (Id::of_uid(object.uid.as_deref()?), version)))
}
