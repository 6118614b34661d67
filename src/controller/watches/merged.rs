//! Several watches, one for each namespace, as if they were one.
//!
//! A cache takes the end of an initial list as "this is all there is". Of several lists that is true only when all have
//! ended, and when one of them is listed again only for its own namespace. So the lists after the first are turned into
//! single changes: what a namespace had and has not any more is deleted.

use std::collections::HashMap;

use futures::{Stream, StreamExt, stream, stream::BoxStream};
use kube::{
    Resource, ResourceExt,
    runtime::watcher::{self, Event},
};

type Events<K> = BoxStream<'static, Result<Event<K>, watcher::Error>>;

/// One stream of events for one cache.
pub fn merge<K>(mut streams: Vec<Events<K>>) -> Events<K>
where
    K: Resource + Clone + Send + 'static,
{
    if streams.len() == 1
        && let Some(only) = streams.pop()
    {
        return only;
    }
    let mut merge = Merge::new(streams.len());
    let numbered = streams.into_iter().enumerate().map(|(index, events)| events.map(move |event| (index, event)));
    numbered_events(numbered)
        .flat_map(move |(index, event)| {
            stream::iter(match event {
                Ok(event) => merge.take(index, event).into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            })
        })
        .boxed()
}

fn numbered_events<K: 'static>(
    streams: impl Iterator<Item = impl Stream<Item = (usize, Result<Event<K>, watcher::Error>)> + Send + 'static>,
) -> impl Stream<Item = (usize, Result<Event<K>, watcher::Error>)> + Send {
    stream::select_all(streams.map(StreamExt::boxed))
}

/// What each watch has, and whether all have told their first list.
struct Merge<K> {
    parts: Vec<Part<K>>,
    started: bool,
    complete: bool,
}

struct Part<K> {
    known: HashMap<String, K>,
    listing: Option<HashMap<String, K>>,
    listed: bool,
}

impl<K: Resource + Clone> Merge<K> {
    fn new(count: usize) -> Self {
        let part = || Part { known: HashMap::new(), listing: None, listed: false };
        Self { parts: std::iter::repeat_with(part).take(count).collect(), started: false, complete: false }
    }

    fn take(&mut self, index: usize, event: Event<K>) -> Vec<Event<K>> {
        let part = &mut self.parts[index];
        match event {
            Event::Init => {
                part.listing = Some(HashMap::new());
                if self.started {
                    return Vec::new();
                }
                self.started = true;
                vec![Event::Init]
            }
            Event::InitApply(object) => {
                if let Some(listing) = &mut part.listing {
                    listing.insert(object.name_any(), object.clone());
                }
                vec![if self.complete { Event::Apply(object) } else { Event::InitApply(object) }]
            }
            Event::InitDone => {
                let listing = part.listing.take().unwrap_or_default();
                let known = std::mem::replace(&mut part.known, listing);
                part.listed = true;
                if self.complete {
                    let part = &self.parts[index];
                    let gone = known.into_iter().filter(|(name, _)| !part.known.contains_key(name));
                    return gone.map(|(_, object)| Event::Delete(object)).collect();
                }
                self.complete = self.parts.iter().all(|part| part.listed);
                if self.complete { vec![Event::InitDone] } else { Vec::new() }
            }
            Event::Apply(object) => {
                part.known.insert(object.name_any(), object.clone());
                vec![if self.complete { Event::Apply(object) } else { Event::InitApply(object) }]
            }
            Event::Delete(object) => {
                part.known.remove(&object.name_any());
                // Before the cache is complete there is no event for it; the object was listed and is gone again, and the
                // reconcile that finds nothing ends at once.
                if self.complete { vec![Event::Delete(object)] } else { Vec::new() }
            }
        }
    }
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

    #[test]
    fn the_cache_is_complete_when_every_namespace_was_listed() {
        let mut merge = Merge::new(2);
        let mut events = Vec::new();
        for (index, event) in [
            (0, Event::Init),
            (0, Event::InitApply(object("a"))),
            (1, Event::Init),
            (0, Event::InitDone),
            (0, Event::Apply(object("b"))),
            (1, Event::InitApply(object("c"))),
            (1, Event::InitDone),
            (1, Event::Apply(object("d"))),
        ] {
            events.extend(merge.take(index, event));
        }
        assert_eq!(told(&events), ["init", "init a", "init b", "init c", "done", "apply d"]);
    }

    #[test]
    fn a_namespace_that_is_listed_again_takes_only_its_own_away() {
        let mut merge = Merge::new(2);
        for (index, name) in [(0, "a"), (1, "b")] {
            merge.take(index, Event::Init);
            merge.take(index, Event::InitApply(object(name)));
            merge.take(index, Event::InitDone);
        }
        let mut events = merge.take(0, Event::Init);
        events.extend(merge.take(0, Event::InitApply(object("c"))));
        events.extend(merge.take(0, Event::InitDone));
        assert_eq!(told(&events), ["apply c", "delete a"]);
    }
}
