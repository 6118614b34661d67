//! The objects of one cache by namespace, and those that are being deleted, so that no look at one of them walks all. It has the very
//! objects that the cache has, by 16 bytes for each of their names. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use kube::{Resource, api::ObjectMeta};

use crate::kubernetes::id::Id;

/// Namespace, and namespace and name.
type Key = (Id, Id);

/// See the module.
pub struct Index<K> {
    all: BTreeMap<Key, Arc<K>>,
    leaving: BTreeSet<Key>,
}

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self { all: BTreeMap::new(), leaving: BTreeSet::new() }
    }
}

impl<K: Resource> Index<K> {
    /// The cache has this object, or has it as it is now.
    pub fn insert(&mut self, object: Arc<K>) {
        let key = key(object.meta());
        if object.meta().deletion_timestamp.is_some() {
            self.leaving.insert(key);
        } else {
            self.leaving.remove(&key);
        }
        self.all.insert(key, object);
    }

    /// The cache does not have the object with these metadata any more.
    pub fn remove(&mut self, metadata: &ObjectMeta) {
        let key = key(metadata);
        self.all.remove(&key);
        self.leaving.remove(&key);
    }

    /// The cache has these objects and no other.
    pub fn replace(&mut self, objects: Vec<Arc<K>>) {
        *self = Self::default();
        for object in objects {
            self.insert(object);
        }
    }

    /// The objects of a namespace.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let namespace = of_namespace(namespace);
        let from = self.all.range((Bound::Included((namespace, Id::LEAST)), Bound::Unbounded));
        from.take_while(|((of, _), _)| *of == namespace).map(|(_, object)| object.clone()).collect()
    }

    /// The objects that are being deleted.
    #[must_use]
    pub fn leaving(&self) -> Vec<Arc<K>> {
        self.leaving.iter().filter_map(|key| self.all.get(key)).cloned().collect()
    }
}

fn of_namespace(namespace: &str) -> Id {
    Id::of_name(namespace, "")
}

fn key(metadata: &ObjectMeta) -> Key {
    (of_namespace(metadata.namespace.as_deref().unwrap_or_default()), Id::named(metadata))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::Time};

    use super::*;

    /// An object of `namespace/name`; a `-` behind it says that it is being deleted.
    fn object(text: &str) -> Arc<ConfigMap> {
        let (namespace, name) = text.trim_end_matches('-').split_once('/').unwrap();
        let mut object = ConfigMap::default();
        (object.metadata.namespace, object.metadata.name) = (Some(namespace.to_owned()), Some(name.to_owned()));
        object.metadata.deletion_timestamp = text.ends_with('-').then_some(Time(jiff::Timestamp::UNIX_EPOCH));
        Arc::new(object)
    }

    fn names(found: &[Arc<ConfigMap>]) -> Vec<String> {
        let mut names: Vec<_> = found.iter().filter_map(|object| object.metadata.name.clone()).collect();
        names.sort();
        names
    }

    /// `check(what the cache had, what comes, what goes, expected in namespace a, expected to leave)`.
    fn check(had: &[&str], comes: &[&str], goes: &[&str], in_a: &[&str], leaving: &[&str]) {
        let mut index = Index::default();
        index.insert(object("a/of-the-list-before-"));
        index.replace(had.iter().map(|text| object(text)).collect());
        for text in comes {
            index.insert(object(text));
        }
        for text in goes {
            index.remove(&object(text).metadata);
        }
        assert_eq!(names(&index.in_namespace("a")), in_a);
        assert_eq!(names(&index.leaving()), leaving);
    }

    #[test]
    fn it_has_what_the_cache_has() {
        check(&[], &[], &[], &[], &[]);
        check(&["a/x", "b/x", "a/y-"], &[], &[], &["x", "y"], &["y"]);
        check(&["a/x"], &["a/x-", "b/y-"], &[], &["x"], &["x", "y"]);
        check(&["a/x-"], &["a/x"], &[], &["x"], &[]);
        check(&["a/x-", "a/y"], &[], &["a/x", "b/y", "a/z"], &["y"], &[]);
        check(&["/x", "aa/x", "A/x", "a/b"], &["a/c"], &["/a"], &["b", "c"], &[]);
    }

    #[test]
    fn it_has_the_object_as_the_cache_has_it_now() {
        let mut index = Index::default();
        index.insert(object("a/x"));
        let now = object("a/x");
        index.insert(now.clone());
        assert!(index.in_namespace("a").iter().all(|found| Arc::ptr_eq(found, &now)));
        assert_eq!(Arc::strong_count(&now), 2, "and the former one is held by nothing");
    }
}
