//! Watches, one for each namespace or one for all, as a cache can take them.
//!
//! A list that is told again, after the API server was away, is turned into single changes: what was listed is applied,
//! and what was there and is not any more is deleted. A cache shows a list only after its end, while the queue is told
//! of each object at once: it would find the old object, or none, and never look again. The first lists of several
//! watches are told together when all have ended, because a cache takes the end of a list as "this is all there is".
//! For the first list of a watch that is alone the queue waits by itself, and ten thousand objects need not be held
//! twice.

use std::{collections::HashSet, mem, sync::Arc};

use futures::{StreamExt, stream, stream::BoxStream};
use kube::{
    Resource, ResourceExt,
    api::ObjectMeta,
    runtime::{
        reflector::{ObjectRef, Store},
        watcher::{self, Event},
    },
};

use crate::{
    frame::Unread,
    kubernetes::{id::Id, reading::Read},
};

/// The events of one watch.
pub type Told<K> = BoxStream<'static, Result<Event<Read<K>>, watcher::Error>>;
/// The events for a cache.
pub type Events<K> = BoxStream<'static, Result<Event<K>, watcher::Error>>;

/// One stream of events for the cache behind `store`. What cannot be read is remembered in `unread`, and is in no cache.
pub fn merge<K>(streams: Vec<Told<K>>, store: Store<K>, unread: Unread) -> Events<K>
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let mut merge = Merge::new(streams.len(), unread);
    let numbered =
        streams.into_iter().enumerate().map(|(index, events)| events.map(move |event| (index, event)).boxed());
    stream::select_all(numbered)
        .flat_map(move |(index, event)| {
            stream::iter(match event {
                Ok(event) => merge.take(index, event, &store).into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            })
        })
        .boxed()
}

/// Namespace, empty for what belongs to none, and name.
type Name = (String, String);

/// What the events went to.
trait Cache<K> {
    /// The object of this name.
    fn get(&self, name: &Name) -> Option<K>;
    /// The objects that `wanted` says.
    fn all(&self, wanted: impl Fn(Id) -> bool) -> Vec<K>;
}

impl<K: Resource<DynamicType = ()> + Clone> Cache<K> for Store<K> {
    fn get(&self, (namespace, name): &Name) -> Option<K> {
        Self::get(self, &ObjectRef::new(name).within(namespace)).map(Arc::unwrap_or_clone)
    }

    fn all(&self, wanted: impl Fn(Id) -> bool) -> Vec<K> {
        let found = self.state_filter(|object| wanted(Id::named(object.meta())));
        found.into_iter().map(Arc::unwrap_or_clone).collect()
    }
}

/// What each watch has, and the first lists of several until all have ended.
struct Merge<K> {
    parts: Vec<Part>,
    first: Option<Vec<K>>,
    unread: Unread,
}

#[derive(Default)]
struct Part {
    known: HashSet<Id>,
    listing: HashSet<Id>,
    /// Those that cannot be read.
    unread: HashSet<Name>,
    unread_listing: HashSet<Name>,
    listed: bool,
}

impl Part {
    /// Follows the first list.
    fn begin(&mut self, event: &Event<impl ResourceExt>) {
        match event {
            Event::Init => self.listing.clear(),
            Event::InitApply(object) | Event::Apply(object) => drop(self.listing.insert(Id::named(object.meta()))),
            Event::Delete(object) => drop(self.listing.remove(&Id::named(object.meta()))),
            Event::InitDone => {
                self.known = mem::take(&mut self.listing);
                self.listed = true;
            }
        }
    }
}

impl<K: Resource<DynamicType = ()>> Merge<K> {
    fn new(count: usize, unread: Unread) -> Self {
        let parts = std::iter::repeat_with(Part::default).take(count).collect();
        Self { parts, first: (count > 1).then(Vec::new), unread }
    }

    /// The events for the cache.
    fn take(&mut self, index: usize, event: Event<Read<K>>, cache: &impl Cache<K>) -> Vec<Event<K>> {
        match event {
            Event::Init => {
                if let Some(part) = self.parts.get_mut(index) {
                    let begun = mem::take(&mut part.unread_listing);
                    for (namespace, name) in begun.difference(&part.unread) {
                        self.unread.remove::<K>(namespace, name);
                    }
                }
                self.take_read(index, Event::Init, cache)
            }
            Event::InitApply(Read::Whole(object)) => {
                self.is_read(index, &name(&object));
                self.take_read(index, Event::InitApply(object), cache)
            }
            Event::Apply(Read::Whole(object)) => {
                self.is_read(index, &name(&object));
                self.take_read(index, Event::Apply(object), cache)
            }
            Event::InitApply(Read::Unreadable(object)) => {
                if let Some(part) = self.parts.get_mut(index) {
                    part.unread_listing.insert(named(&object.metadata));
                }
                self.unread.insert::<K>(*object);
                Vec::new()
            }
            // What the cache had of it is older than what cannot be read.
            Event::Apply(Read::Unreadable(object)) => {
                let name = named(&object.metadata);
                if let Some(part) = self.parts.get_mut(index) {
                    part.unread.insert(name.clone());
                }
                self.unread.insert::<K>(*object);
                self.drop(index, &name, cache.get(&name))
            }
            Event::Delete(Read::Unreadable(object)) => {
                let name = named(&object.metadata);
                self.is_read(index, &name);
                self.drop(index, &name, cache.get(&name))
            }
            Event::Delete(Read::Whole(object)) => {
                self.is_read(index, &name(&object));
                self.take_read(index, Event::Delete(object), cache)
            }
            Event::InitDone => {
                if let Some(part) = self.parts.get_mut(index) {
                    let listing = mem::take(&mut part.unread_listing);
                    let before = mem::replace(&mut part.unread, listing);
                    for (namespace, name) in before.difference(&part.unread) {
                        self.unread.remove::<K>(namespace, name);
                    }
                }
                self.take_read(index, Event::InitDone, cache)
            }
        }
    }

    /// The object can be read, or is gone.
    fn is_read(&mut self, index: usize, name: &Name) {
        let Some(part) = self.parts.get_mut(index) else { return };
        let listed = part.unread_listing.remove(name);
        if part.unread.remove(name) || listed {
            self.unread.remove::<K>(&name.0, &name.1);
        }
    }

    fn drop(&mut self, index: usize, gone: &Name, cached: Option<K>) -> Vec<Event<K>> {
        if let Some(part) = self.parts.get_mut(index) {
            part.known.remove(&Id::of_name(&gone.0, &gone.1));
        }
        if let Some(first) = &mut self.first {
            first.retain(|object| name(object) != *gone);
            return Vec::new();
        }
        cached.map(Event::Delete).into_iter().collect()
    }

    fn take_read(&mut self, index: usize, event: Event<K>, cache: &impl Cache<K>) -> Vec<Event<K>> {
        let is_alone = self.parts.len() == 1;
        let Some(part) = self.parts.get_mut(index) else { return Vec::new() };
        if is_alone && !part.listed {
            part.begin(&event);
            return vec![event];
        }
        match event {
            Event::Init => {
                let begun = mem::take(&mut part.listing);
                // An attempt that broke off: what it told is told again.
                if let Some(first) = &mut self.first {
                    first.retain(|object| !begun.contains(&Id::named(object.meta())));
                }
                Vec::new()
            }
            Event::InitApply(object) => {
                part.listing.insert(Id::named(object.meta()));
                self.tell(object)
            }
            Event::InitDone => {
                let listing = mem::take(&mut part.listing);
                let known = mem::replace(&mut part.known, listing);
                part.listed = true;
                if self.first.is_none() {
                    let gone: HashSet<_> = known.difference(&part.known).copied().collect();
                    let found = if gone.is_empty() { Vec::new() } else { cache.all(|id| gone.contains(&id)) };
                    return found.into_iter().map(Event::Delete).collect();
                }
                if self.parts.iter().any(|part| !part.listed) {
                    return Vec::new();
                }
                let first = self.first.take().unwrap_or_default().into_iter().map(Event::InitApply);
                std::iter::once(Event::Init).chain(first).chain([Event::InitDone]).collect()
            }
            Event::Apply(object) => {
                part.known.insert(Id::named(object.meta()));
                self.tell(object)
            }
            Event::Delete(object) => self.drop(index, &name(&object), Some(object)),
        }
    }

    fn tell(&mut self, object: K) -> Vec<Event<K>> {
        let Some(first) = &mut self.first else { return vec![Event::Apply(object)] };
        first.push(object);
        Vec::new()
    }
}

fn name(object: &impl ResourceExt) -> Name {
    (object.namespace().unwrap_or_default(), object.name_any())
}

fn named(metadata: &ObjectMeta) -> Name {
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;
    use crate::kubernetes::reading::Unreadable;

    fn object(name: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.name = Some(name.to_owned());
        object
    }

    fn told(events: &[Event<ConfigMap>]) -> Vec<String> {
        let word = |event: &Event<ConfigMap>| match event {
            Event::Init => "init".to_owned(),
            Event::InitApply(object) => format!("init {}", object.name_any()),
            Event::InitDone => "done".to_owned(),
            Event::Apply(object) => format!("apply {}", object.name_any()),
            Event::Delete(object) => format!("delete {}", object.name_any()),
        };
        events.iter().map(word).collect()
    }

    fn merge(count: usize) -> Merge<ConfigMap> {
        Merge::new(count, Unread::default())
    }

    fn unreadable(name: &str) -> Read<ConfigMap> {
        Read::Unreadable(Box::new(Unreadable { metadata: object(name).metadata, ..Unreadable::default() }))
    }

    /// The names of those that cannot be read.
    fn unread(merge: &Merge<ConfigMap>) -> Vec<String> {
        merge.unread.all::<ConfigMap>().iter().filter_map(|object| object.metadata.name.clone()).collect()
    }

    struct HasAll;

    impl Cache<ConfigMap> for HasAll {
        fn get(&self, name: &Name) -> Option<ConfigMap> {
            Some(object(&name.1))
        }

        fn all(&self, wanted: impl Fn(Id) -> bool) -> Vec<ConfigMap> {
            let all = ["a", "b", "c", "d", "deep", "ghost", "new"].map(object);
            all.into_iter().filter(|object| wanted(Id::named(&object.metadata))).collect()
        }
    }

    /// Everything that is told for these events; the cache finds every object that it is asked for.
    fn take_any(merge: &mut Merge<ConfigMap>, events: Vec<Event<Read<ConfigMap>>>) -> Vec<String> {
        events.into_iter().flat_map(|event| told(&merge.take(0, event, &HasAll))).collect()
    }

    fn take(merge: &mut Merge<ConfigMap>, events: Vec<(usize, Event<ConfigMap>)>) -> Vec<String> {
        let whole = |event| match event {
            Event::Init => Event::Init,
            Event::InitApply(object) => Event::InitApply(Read::Whole(object)),
            Event::InitDone => Event::InitDone,
            Event::Apply(object) => Event::Apply(Read::Whole(object)),
            Event::Delete(object) => Event::Delete(Read::Whole(object)),
        };
        events.into_iter().flat_map(|(index, event)| told(&merge.take(index, whole(event), &HasAll))).collect()
    }

    #[test]
    fn what_cannot_be_read_leaves_the_cache_and_is_remembered_until_it_can() {
        let mut merge = merge(1);
        let list = |item| {
            vec![Event::Init, Event::InitApply(Read::Whole(object("a"))), Event::InitApply(item), Event::InitDone]
        };
        assert_eq!(take_any(&mut merge, list(unreadable("deep"))), ["init", "init a", "done"]);
        assert_eq!(unread(&merge), ["deep"]);
        let change = |object| vec![Event::Apply(object)];
        assert_eq!(take_any(&mut merge, change(unreadable("a"))), ["delete a"], "it was in the cache");
        assert_eq!(unread(&merge), ["a", "deep"]);
        assert_eq!(take_any(&mut merge, change(Read::Whole(object("a")))), ["apply a"]);
        assert_eq!(unread(&merge), ["deep"]);
        let broken_off = vec![Event::Init, Event::InitApply(unreadable("ghost"))];
        assert_eq!(take_any(&mut merge, broken_off), [""; 0]);
        assert_eq!(take_any(&mut merge, list(unreadable("new"))), ["apply a"]);
        assert_eq!(unread(&merge), ["new"], "a list is all there is");
        take_any(&mut merge, vec![Event::Delete(unreadable("new"))]);
        assert_eq!(unread(&merge), [""; 0]);
    }

    #[test]
    fn the_first_lists_are_told_together_when_all_have_ended() {
        let mut merge = merge(2);
        let events = vec![
            (0, Event::Init),
            (0, Event::InitApply(object("a"))),
            (1, Event::Init),
            (0, Event::InitDone),
            (0, Event::Apply(object("b"))),
            (0, Event::Delete(object("a"))),
            (1, Event::InitApply(object("c"))),
            (1, Event::InitDone),
            (1, Event::Apply(object("d"))),
        ];
        assert_eq!(take(&mut merge, events), ["init", "init b", "init c", "done", "apply d"]);
    }

    #[test]
    fn a_first_list_that_broke_off_leaves_nothing_behind() {
        let mut merge = merge(2);
        let events = vec![
            (0, Event::Init),
            (0, Event::InitApply(object("ghost"))),
            (0, Event::Init),
            (0, Event::InitApply(object("a"))),
            (0, Event::InitDone),
            (1, Event::Init),
            (1, Event::InitDone),
        ];
        assert_eq!(take(&mut merge, events), ["init", "init a", "done"]);
    }

    #[test]
    fn the_first_list_of_a_watch_that_is_alone_is_told_as_it_comes() {
        let mut merge = merge(1);
        let list = |name| vec![(0, Event::Init), (0, Event::InitApply(object(name))), (0, Event::InitDone)];
        let broken_off = vec![(0, Event::Init), (0, Event::InitApply(object("ghost")))];
        assert_eq!(take(&mut merge, broken_off), ["init", "init ghost"]);
        assert_eq!(take(&mut merge, list("a")), ["init", "init a", "done"]);
        assert_eq!(take(&mut merge, list("b")), ["apply b", "delete a"], "and the next as single changes");
    }

    #[test]
    fn a_list_that_is_told_again_becomes_single_changes() {
        let mut merge = merge(2);
        let first =
            |index, name| vec![(index, Event::Init), (index, Event::InitApply(object(name))), (index, Event::InitDone)];
        take(&mut merge, [first(0, "a"), first(1, "b")].concat());
        let events = vec![(0, Event::Init), (0, Event::InitApply(object("c"))), (0, Event::InitDone)];
        assert_eq!(take(&mut merge, events), ["apply c", "delete a"]);
    }
}
