//! Which changes of an object are answered by a look at it.
//!
//! Another object, another spec, deletion and our own annotations are. So are a status that is not the one which this process
//! wrote last and a finalizer of ours that was taken away: a user did that by hand, or another replica, and it is mended at
//! once. What this process writes itself is not, or each write would be followed by another look.

use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use kube::{Resource, ResourceExt, core::object::HasStatus, runtime::watcher::Event};
use serde::Serialize;

use crate::{
    api::GROUP,
    frame::{Written, fingerprint},
    kubernetes::id::Id,
};

/// How often in this time the same object's status is put right at once. If a client writes it again and again, as
/// another manager does, only the periodic looks put it right.
const MOST: u8 = 5;
const WITHIN: Duration = Duration::from_mins(1);

/// What was seen of each object.
pub struct Interest {
    /// By namespace and name.
    seen: HashMap<Id, Seen>,
    written: Arc<Written>,
}

#[derive(Clone, Copy)]
struct Seen {
    wish: u64,
    status: u64,
    finalizer: bool,
    answered: u8,
    since: Instant,
}

impl Interest {
    /// Nothing is seen yet. `written` knows what this process wrote.
    pub fn new(written: Arc<Written>) -> Self {
        Self { seen: HashMap::new(), written }
    }

    /// The object of this event, if it is to be looked at.
    pub fn take<K>(&mut self, event: Event<K>) -> Option<K>
    where
        K: Resource + HasStatus,
        K::Status: Serialize,
    {
        match event {
            Event::Apply(object) | Event::InitApply(object) => self.is_news(&object).then_some(object),
            Event::Delete(object) => {
                // It may come back as it was, from out of view, and is looked at then.
                self.seen.remove(&Id::named(object.meta()));
                self.written.forget(object.meta().uid.as_deref().unwrap_or_default());
                None
            }
            Event::Init | Event::InitDone => None,
        }
    }

    fn is_news<K>(&mut self, object: &K) -> bool
    where
        K: Resource + HasStatus,
        K::Status: Serialize,
    {
        let uid = object.meta().uid.as_deref().unwrap_or_default();
        let status = fingerprint(&object.status());
        let ours = self.written.is_intended(uid, status);
        let finalizer = object.finalizers().iter().any(|finalizer| finalizer.split('/').next() == Some(GROUP));
        let now = Instant::now();
        let mut new = Seen { wish: wish(object), status, finalizer, answered: 0, since: now };
        let Some(before) = self.seen.insert(Id::named(object.meta()), new) else { return true };
        if before.wish != new.wish {
            return true;
        }
        if now.duration_since(before.since) < WITHIN {
            (new.answered, new.since) = (before.answered, before.since);
        }
        let touched = (before.status != status && !ours) || (before.finalizer && !finalizer);
        let answer = touched && new.answered < MOST;
        new.answered += u8::from(answer);
        if answer {
            self.written.touch(uid);
        }
        self.seen.insert(Id::named(object.meta()), new);
        answer
    }
}

/// What people and pipelines want of the object.
fn wish(object: &impl ResourceExt) -> u64 {
    let meta = object.meta();
    let mut hasher = DefaultHasher::new();
    meta.uid.hash(&mut hasher);
    meta.generation.hash(&mut hasher);
    meta.deletion_timestamp.is_some().hash(&mut hasher);
    for (key, value) in object.annotations() {
        if key.split('/').next() == Some(GROUP) {
            (key, value).hash(&mut hasher);
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::{TENANT_SCHEMA_FINALIZER, TenantSchema, TenantSchemaStatus};

    fn tenant(change: &Value) -> TenantSchema {
        let mut object = json!({
            "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantSchema",
            "metadata": { "name": "school", "namespace": "n", "uid": "u", "generation": 1 },
            "spec": { "databaseRef": { "name": "d" } },
        });
        for (key, value) in change.as_object().unwrap() {
            match (object[key].as_object_mut(), value) {
                (Some(old), Value::Object(new)) => old.extend(new.clone()),
                _ => object[key] = value.clone(),
            }
        }
        serde_json::from_value(object).unwrap()
    }

    fn named(name: &str) -> TenantSchemaStatus {
        TenantSchemaStatus { schema_name: Some(name.to_owned()), ..TenantSchemaStatus::default() }
    }

    fn looked_at(interest: &mut Interest, change: &Value) -> bool {
        interest.take(Event::Apply(tenant(change))).is_some()
    }

    #[test]
    fn what_people_want_is_looked_at_once() {
        let mut interest = Interest::new(Arc::default());
        for change in [
            json!({}),
            json!({ "metadata": { "generation": 2 } }),
            json!({ "metadata": { "generation": 2, "annotations": { "edumatrixhub.io/paused": "" } } }),
            json!({ "metadata": { "uid": "another" } }),
        ] {
            assert!(looked_at(&mut interest, &change), "{change}");
            assert!(!looked_at(&mut interest, &change), "{change}");
        }
        assert!(!looked_at(&mut interest, &json!({ "metadata": { "uid": "another", "labels": { "a": "b" } } })));
    }

    #[test]
    fn our_own_status_is_no_news_and_another_is() {
        let written = Arc::new(Written::default());
        let mut interest = Interest::new(written.clone());
        let status = |name: &str| json!({ "status": { "schemaName": name } });
        assert!(looked_at(&mut interest, &json!({})));
        written.intend("u", &named("ours"));
        assert!(!looked_at(&mut interest, &status("ours")));
        assert!(!looked_at(&mut interest, &status("ours")), "a change of something else");
        assert!(looked_at(&mut interest, &status("theirs")));
        written.intend("u", &named("ours"));
        assert!(!looked_at(&mut interest, &status("ours")), "put right");
        assert!(looked_at(&mut interest, &json!({})), "taken away");
    }

    #[test]
    fn our_finalizer_may_come_and_not_go() {
        let mut interest = Interest::new(Arc::default());
        let with = |finalizers: Value| json!({ "metadata": { "finalizers": finalizers } });
        assert!(looked_at(&mut interest, &json!({})));
        assert!(!looked_at(&mut interest, &with(json!([TENANT_SCHEMA_FINALIZER]))));
        assert!(!looked_at(&mut interest, &with(json!(["example.com/theirs", TENANT_SCHEMA_FINALIZER]))));
        assert!(looked_at(&mut interest, &with(json!(["example.com/theirs"]))));
    }

    #[test]
    fn another_manager_is_not_fought_without_an_end() {
        let mut interest = Interest::new(Arc::default());
        looked_at(&mut interest, &json!({}));
        let answered =
            (0..100).filter(|n| looked_at(&mut interest, &json!({ "status": { "schemaName": n.to_string() } })));
        assert_eq!(answered.count(), usize::from(MOST));
        assert!(looked_at(&mut interest, &json!({ "metadata": { "generation": 2 } })), "a wish always is");
    }

    #[test]
    fn what_comes_back_into_view_as_it_was_is_looked_at() {
        let mut interest = Interest::new(Arc::default());
        assert!(looked_at(&mut interest, &json!({})));
        assert!(interest.take(Event::Delete(tenant(&json!({})))).is_none());
        assert!(looked_at(&mut interest, &json!({})));
    }
}
