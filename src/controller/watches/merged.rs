//! Watches, one for each namespace or one for all, as a cache can take them.
//!
//! A list that is told anew, after the API server was away, is turned into single changes: what was listed is applied, and
//! what was there and is not any more is deleted. A cache fills a list in secret until its end, while the queue is told of
//! each object at once: it would find the old object, or none, and never look again. The first lists of several watches are told
//! together when all have ended, because a cache takes the end of a list as "this is all there is". For the first list of
//! a watch that is alone the queue waits by itself, and ten thousand objects need not be held twice.

use std::{collections::HashSet, mem};

use futures::{StreamExt, stream, stream::BoxStream};
use kube::{
    Resource, ResourceExt,
    runtime::{
        reflector::{ObjectRef, Store},
        watcher::{self, Event},
    },
};

type Events<K> = BoxStream<'static, Result<Event<K>, watcher::Error>>;

/// One stream of events for the cache behind `store`.
pub fn merge<K>(streams: Vec<Events<K>>, store: Store<K>) -> Events<K>
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let mut merge = Merge::new(streams.len());
    let numbered =
        streams.into_iter().enumerate().map(|(index, events)| events.map(move |event| (index, event)).boxed());
    stream::select_all(numbered)
        .flat_map(move |(index, event)| {
            stream::iter(match event {
                Ok(event) => {
                    let lookup =
                        |name: &Name| store.get(&ObjectRef::new(&name.1).within(&name.0)).map(|found| (*found).clone());
                    merge.take(index, event, lookup).into_iter().map(Ok).collect()
                }
                Err(error) => vec![Err(error)],
            })
        })
        .boxed()
}

/// Namespace, empty for what belongs to none, and name.
type Name = (String, String);

/// What each watch has, and the first lists of several until all have ended.
struct Merge<K> {
    parts: Vec<Part>,
    first: Option<Vec<K>>,
}

#[derive(Default)]
struct Part {
    known: HashSet<Name>,
    listing: HashSet<Name>,
    listed: bool,
}

impl Part {
    /// Follows the first list.
    fn begin(&mut self, event: &Event<impl ResourceExt>) {
        match event {
            Event::Init => self.listing.clear(),
            Event::InitApply(object) | Event::Apply(object) => drop(self.listing.insert(name(object))),
            Event::Delete(object) => drop(self.listing.remove(&name(object))),
            Event::InitDone => {
                self.known = mem::take(&mut self.listing);
                self.listed = true;
            }
        }
    }
}

impl<K: ResourceExt> Merge<K> {
    fn new(count: usize) -> Self {
        let parts = std::iter::repeat_with(Part::default).take(count).collect();
        Self { parts, first: (count > 1).then(Vec::new) }
    }

    /// The events for the cache; `lookup` finds an object that the cache has.
    fn take(&mut self, index: usize, event: Event<K>, lookup: impl Fn(&Name) -> Option<K>) -> Vec<Event<K>> {
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
                    first.retain(|object| !begun.contains(&name(object)));
                }
                Vec::new()
            }
            Event::InitApply(object) => {
                part.listing.insert(name(&object));
                self.tell(object)
            }
            Event::InitDone => {
                let listing = mem::take(&mut part.listing);
                let known = mem::replace(&mut part.known, listing);
                part.listed = true;
                let gone = known.difference(&part.known).filter_map(lookup).map(Event::Delete).collect();
                if self.first.is_none() {
                    return gone;
                }
                if self.parts.iter().any(|part| !part.listed) {
                    return Vec::new();
                }
                let first = self.first.take().unwrap_or_default().into_iter().map(Event::InitApply);
                std::iter::once(Event::Init).chain(first).chain([Event::InitDone]).collect()
            }
            Event::Apply(object) => {
                part.known.insert(name(&object));
                self.tell(object)
            }
            Event::Delete(object) => {
                part.known.remove(&name(&object));
                if let Some(first) = &mut self.first {
                    let gone = name(&object);
                    first.retain(|object| name(object) != gone);
                    return Vec::new();
                }
                vec![Event::Delete(object)]
            }
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

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

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

    /// Everything that is told for these events; the cache finds every object that it is asked for.
    fn take(merge: &mut Merge<ConfigMap>, events: Vec<(usize, Event<ConfigMap>)>) -> Vec<String> {
        let lookup = |name: &Name| Some(object(&name.1));
        events.into_iter().flat_map(|(index, event)| told(&merge.take(index, event, lookup))).collect()
    }

    #[test]
    fn the_first_lists_are_told_together_when_all_have_ended() {
        let mut merge = Merge::new(2);
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
        let mut merge = Merge::new(2);
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
        let mut merge = Merge::new(1);
        let list = |name| vec![(0, Event::Init), (0, Event::InitApply(object(name))), (0, Event::InitDone)];
        let broken_off = vec![(0, Event::Init), (0, Event::InitApply(object("ghost")))];
        assert_eq!(take(&mut merge, broken_off), ["init", "init ghost"]);
        assert_eq!(take(&mut merge, list("a")), ["init", "init a", "done"]);
        assert_eq!(take(&mut merge, list("b")), ["apply b", "delete a"], "and the next as single changes");
    }

    #[test]
    fn a_list_that_is_told_anew_becomes_single_changes() {
        let mut merge = Merge::new(2);
        let first =
            |index, name| vec![(index, Event::Init), (index, Event::InitApply(object(name))), (index, Event::InitDone)];
        take(&mut merge, [first(0, "a"), first(1, "b")].concat());
        let events = vec![(0, Event::Init), (0, Event::InitApply(object("c"))), (0, Event::InitDone)];
        assert_eq!(take(&mut merge, events), ["apply c", "delete a"]);
    }
}
