//! What has our finalizer and is out of this operator's view: a selector or a list of namespaces was narrowed, or another
//! operator has it. No watch tells of such an object, so it is looked for once, at the start.

use std::fmt::Debug;

use kube::{
    Resource, ResourceExt,
    api::{ListParams, ObjectMeta},
    runtime::reflector::ObjectRef,
};
use serde::de::DeserializeOwned;

use super::{
    cached::{Cached, Caches},
    report,
};
use crate::{
    config::Config,
    kubernetes::{self, full_name},
};

/// How many objects are read at once, and of how many such pages.
const PAGE: u32 = 500;
const PAGES: usize = 40;
/// How many are named.
const NAMED: usize = 5;

/// Logs what is out of view, and how it goes on when a user deletes it. Namespaces that are not watched may not be asked
/// about, so they are not.
pub async fn look(caches: &Caches, config: &Config) {
    if config.watch_selector.is_none() {
        return;
    }
    for cache in caches.iter() {
        report::outside(cache.outside().await);
    }
}

/// What to say of the objects of one kind that have our finalizer and that the cache does not have.
pub(super) async fn one<K>(cache: &Cached<K>) -> Result<Option<String>, kubernetes::Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let kind = K::kind(&()).into_owned();
    let mut objects = Vec::new();
    for api in &cache.apis {
        let mut page = ListParams::default().limit(PAGE);
        for _ in 0..PAGES {
            let list = kubernetes::within(|| format!("list objects of kind {kind}"), api.list_metadata(&page)).await?;
            for object in list.items {
                let mut reference = ObjectRef::new(&object.name_any());
                reference.namespace = object.namespace();
                let ours = object.finalizers().iter().any(|present| present == cache.finalizer);
                if ours && cache.store.get(&reference).is_none() {
                    objects.push(object.metadata);
                }
            }
            match list.metadata.continue_.filter(|next| !next.is_empty()) {
                Some(next) => page = page.continue_token(&next),
                None => break,
            }
        }
    }
    Ok(told(&kind, &objects))
}

/// What a person is told of them; nothing when there are none.
fn told(kind: &str, objects: &[ObjectMeta]) -> Option<String> {
    let (waiting, alive): (Vec<_>, Vec<_>) = objects.iter().partition(|object| object.deletion_timestamp.is_some());
    let worst = if waiting.is_empty() { &alive } else { &waiting };
    let few: Vec<_> = worst.iter().take(NAMED).map(|object| full_name(object)).collect();
    let more = if worst.len() > NAMED { " and others" } else { "" };
    let names = format!("{}{more}", few.join(", "));
    match (waiting.len(), alive.len()) {
        (0, 0) => None,
        (0, count) => Some(format!(
            "{count} objects of kind {kind} have this operator's finalizer and are out of its view: {names}; they are left \
             alone, and cannot be deleted until an operator sees them"
        )),
        (count, _) => Some(format!(
            "{count} objects of kind {kind} are deleted and wait for an operator that sees them: {names}; give them a label \
             that --watch-selector selects, or start an operator that works for them"
        )),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    #[test]
    fn what_waits_is_told_before_what_lives() {
        let object = |name: &str, deleted: bool| ObjectMeta {
            namespace: Some("a".to_owned()),
            name: Some(name.to_owned()),
            deletion_timestamp: deleted.then_some(Time(jiff::Timestamp::UNIX_EPOCH)),
            ..ObjectMeta::default()
        };
        let check = |objects: &[ObjectMeta], expected: Option<&str>| {
            let text = told("TenantSchema", objects);
            match (&text, expected) {
                (None, None) => {}
                (Some(text), Some(part)) => assert!(text.starts_with(part), "{text}"),
                _ => panic!("{text:?} instead of {expected:?}"),
            }
        };
        check(&[], None);
        let many: Vec<_> = (0..6).map(|number| object(&format!("t{number}"), false)).collect();
        check(
            &many,
            Some(
                "6 objects of kind TenantSchema have this operator's finalizer and are out of its view: a/t0, a/t1, a/t2, \
                 a/t3, a/t4 and others; they are left alone",
            ),
        );
        let mixed = [object("lives", false), object("waits", true)];
        check(
            &mixed,
            Some("1 objects of kind TenantSchema are deleted and wait for an operator that sees them: a/waits; "),
        );
    }
}
