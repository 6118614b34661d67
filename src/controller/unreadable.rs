//! Objects that cannot be read: what is wrong is said on each, and nothing else is done with it. Its schema and its finalizer stay
//! until a release that can read it, a mended field, or the annotation that lets the object go.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use kube::{Api, Resource, api::ObjectMeta};
use serde_json::{json, value::to_raw_value};

use super::{
    cached::{Cached, Caches},
    report,
};
use crate::{
    api::{
        ABANDON, TenantSchemaSpec, bound,
        command::{Object, Verb},
        condition::{ConditionType, Reason, Verdict, find, summary},
    },
    database::{self, Holdings},
    frame::Context,
    kubernetes::{Error, events::Events, finalizers, reading::Unreadable, status},
    lane::LaneState,
    telemetry::metrics::KindLabels,
};

/// How often they are looked at when no watch tells of one.
const TICK: Duration = Duration::from_secs(15);
/// After this long the same is said again if the object does not have it: another release may have written something
/// else.
const AGAIN: Duration = Duration::from_mins(10);

/// What was said of each object, by UID: its generation, the words, and when.
pub type Said = HashMap<String, (Option<i64>, String, Instant)>;

/// Says of every object that cannot be read what is wrong with it, for as long as the operator runs.
pub async fn said(caches: &Caches, ctx: &Context, holdings: &Holdings, events: &Events) {
    let mut said = Said::new();
    loop {
        for cache in caches.iter() {
            let count = i64::try_from(cache.say(&mut said, ctx, holdings, events).await).unwrap_or(i64::MAX);
            ctx.metrics.unreadable.get_or_create(&KindLabels { kind: cache.kind() }).set(count);
        }
        said.retain(|_, (_, _, at)| at.elapsed() < AGAIN);
        tokio::select! {
            () = ctx.unread.news() => {}
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

/// Says of the objects of one kind that cannot be read what is wrong with them; returns how many there are.
pub(super) async fn say<K>(
    cache: &Cached<K>,
    said: &mut Said,
    ctx: &Context,
    holdings: &Holdings,
    events: &Events,
) -> usize
where
    K: Resource<DynamicType = ()> + Clone,
{
    let objects = ctx.unread.all::<K>();
    for object in &objects {
        if let (None, Some(database)) = (&object.metadata.namespace, &object.metadata.name) {
            // Before anything is said of it, or it is let go.
            database::shut_unreadable(database, &object.why, ctx, holdings).await;
        }
        tell(cache, object, said, ctx, events).await;
    }
    objects.len()
}

/// Says what is wrong with one object, or lets it go where its annotation asks for that.
async fn tell<K>(cache: &Cached<K>, object: &Unreadable, said: &mut Said, ctx: &Context, events: &Events)
where
    K: Resource<DynamicType = ()> + Clone,
{
    let kind = &*K::kind(&());
    if ctx.kinds.would_lose(kind).await.unwrap_or(true) || !is_ours_to_tell(kind, object, ctx) {
        return;
    }
    let api = (cache.within)(&ctx.client, object.metadata.namespace.as_deref().unwrap_or_default());
    if is_abandoned(cache.finalizer, object) {
        let attempt = finalizers::remove(&api, &object.metadata, cache.finalizer).await;
        report::unreadable(kind, &object.metadata, "let go, as its annotation asks", attempt.err().as_ref());
        return;
    }
    let message = message(kind, object);
    let uid = object.metadata.uid.clone().unwrap_or_default();
    let generation = object.metadata.generation;
    if said.get(&uid).is_some_and(|(before, words, _)| *before == generation && *words == message) {
        return;
    }
    match write(&api, object, &message, ctx).await {
        Ok(Some(news)) => {
            said.insert(uid, (generation, message, Instant::now()));
            if let Some(news) = news {
                report::unreadable(kind, &object.metadata, &news, None);
                report::stalled::<K>(events, &object.metadata, &news).await;
            }
        }
        Ok(None) => {}
        Err(error) => report::unreadable(kind, &object.metadata, &message, Some(&error)),
    }
}

/// Writes the conditions, beside what the status has. Nothing when the object is gone; what is news otherwise.
async fn write<K>(
    api: &Api<K>,
    object: &Unreadable,
    message: &str,
    ctx: &Context,
) -> Result<Option<Option<String>>, Error>
where
    K: Resource<DynamicType = ()> + Clone,
{
    let before = object.conditions();
    let generation = object.metadata.generation.unwrap_or_default();
    let conditions = Verdict::of(Reason::InvalidSpec, message, false).conditions(&before, generation, ctx.now());
    if conditions == before {
        return Ok(Some(None));
    }
    let mut status = object.status.clone();
    // JSON that is made of texts and numbers can always be written.
    let fields = [
        ("conditions", json!(conditions)),
        ("summary", json!(summary(&conditions))),
        ("observedGeneration", json!(generation)),
    ];
    for (field, value) in fields {
        if let Ok(value) = to_raw_value(&value) {
            status.insert(field.to_owned(), value);
        }
    }
    match status::apply_unread(api, &object.metadata, &status).await {
        Ok(status::Written::As(_)) => {
            let told = find(&before, ConditionType::Stalled).map(|told| &told.message);
            let news = find(&conditions, ConditionType::Stalled).filter(|news| told != Some(&news.message));
            Ok(Some(news.map(|news| format!("{}: {}", news.reason, news.message))))
        }
        // Or it changed meanwhile, and the watch tells of it.
        Ok(status::Written::Gone | status::Written::Outdated) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether this replica is the one to speak: while releases change, another replica may read what this one cannot.
fn is_ours_to_tell(kind: &str, object: &Unreadable, ctx: &Context) -> bool {
    if object.metadata.namespace.is_none() {
        // A database itself.
        return true;
    }
    let by_default = (kind == "TenantSchema").then(|| TenantSchemaSpec::DEFAULT_DATABASE.to_owned());
    let database = object.database.clone().or(by_default);
    let holds = |name: &str| !matches!(ctx.lanes.get(name), LaneState::Elsewhere);
    let databases = ctx.stores.databases.state();
    let names: Vec<_> = databases.iter().filter_map(|database| database.metadata.name.as_deref()).collect();
    match database.as_deref().filter(|name| names.contains(name)) {
        Some(name) => holds(name),
        None => names.is_empty() || names.into_iter().any(holds),
    }
}

/// Whether a deleted object may go without anything being done for it. The schema's name confirms it, or the object's
/// own where there is none, with the UID of this very object, so that a value which is left in Git lets no later object
/// go.
fn is_abandoned(finalizer: &str, object: &Unreadable) -> bool {
    let metadata = &object.metadata;
    metadata.deletion_timestamp.is_some()
        && metadata.finalizers.iter().flatten().any(|present| present == finalizer)
        && metadata
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(ABANDON))
            .is_some_and(|value| *value == word_of_abandon(object))
}

fn word_of_abandon(object: &Unreadable) -> String {
    let ObjectMeta { name, uid, .. } = &object.metadata;
    let name = object.schema_name.as_deref().or(name.as_deref()).unwrap_or_default();
    bound(name, uid.as_deref().unwrap_or_default())
}

fn message(kind: &str, object: &Unreadable) -> String {
    let place = Object::of(kind.into(), &object.metadata);
    let mend = place.to(if object.why.starts_with("status") { Verb::EditStatus } else { Verb::Edit });
    let why = &object.why;
    if object.metadata.deletion_timestamp.is_none() {
        return format!(
            "this release of the operator cannot read the object: {why}; what it stands for stays as it is. Mend the field ({mend}), \
             or run a release that knows it"
        );
    }
    format!(
        "deletion waits, because this release of the operator cannot read the object: {why}; what it stands for stays as it is. \
         Mend the field ({mend}), or run a release that knows it; to let go and leave everything where it is: {}",
        place.annotate(ABANDON, word_of_abandon(object))
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::TENANT_SCHEMA_FINALIZER;

    fn object(why: &str, metadata: serde_json::Value) -> Unreadable {
        Unreadable {
            metadata: serde_json::from_value(metadata).unwrap(),
            why: why.to_owned(),
            schema_name: Some("school".to_owned()),
            ..Unreadable::default()
        }
    }

    #[test]
    fn the_message_has_the_next_command() {
        let living = object("spec.access: no", json!({ "name": "a", "namespace": "team" }));
        assert!(message("TenantSchema", &living).contains("(kubectl -n team edit tenantschema a)"));
        let status = object("status.usage: no", json!({ "name": "main" }));
        assert!(message("TenantDatabase", &status).contains("(kubectl edit tenantdatabase main --subresource=status)"));
        let deleted = object(
            "spec: no",
            json!({ "name": "a", "namespace": "team", "uid": "7", "deletionTimestamp": "2026-01-01T00:00:00Z" }),
        );
        let command = "kubectl -n team annotate tenantschema a --overwrite edumatrixhub.io/abandon=school@7";
        assert!(message("TenantSchema", &deleted).ends_with(command));
    }

    #[test]
    fn only_a_deleted_object_with_the_right_word_is_let_go() {
        let check = |deleted: bool, word: &str, expected: bool| {
            let mut metadata = json!({
                "name": "a", "uid": "7", "finalizers": [TENANT_SCHEMA_FINALIZER], "annotations": { ABANDON: word },
            });
            if deleted {
                metadata["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            assert_eq!(is_abandoned(TENANT_SCHEMA_FINALIZER, &object("", metadata)), expected, "{deleted} {word}");
        };
        check(true, "school@7", true);
        for left_behind in ["school", "a", "school@6"] {
            check(true, left_behind, false);
        }
        check(false, "school@7", false);
    }
}
