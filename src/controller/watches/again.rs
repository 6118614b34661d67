//! A watch that begins again from nothing whenever everything is to be listed again, and that says whether it fails.

use std::borrow::Cow;

use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use kube::runtime::watcher::{Error, Event};

use super::Hearing;

/// The events of what `begin` begins, for as long as it is polled.
pub fn watched<K: Send + 'static>(
    kind: Cow<'static, str>,
    hearing: &Hearing,
    begin: impl Fn() -> BoxStream<'static, Result<Event<K>, Error>> + Send + 'static,
) -> BoxStream<'static, Result<Event<K>, Error>> {
    let (world, readiness, kinds) = (hearing.world.clone(), hearing.readiness.clone(), hearing.kinds.clone());
    let watch = world.watch();
    let turns = world.turns();
    let first = (begin(), turns.borrow().worlds);
    let events = stream::unfold((first, turns, begin), move |((mut events, mut number), mut turns, begin)| {
        let (kind, world, readiness, kinds) = (kind.clone(), world.clone(), readiness.clone(), kinds.clone());
        async move {
            loop {
                tokio::select! {
                    biased;
                    Ok(()) = turns.changed() => {
                        number = turns.borrow_and_update().worlds;
                        events = begin();
                    }
                    event = events.next() => {
                        match &event {
                            Some(Ok(Event::Init)) => kinds.doubt(),
                            Some(Ok(Event::InitDone)) => world.listed(watch, number),
                            Some(Err(error)) => readiness.watch_failed(watch, kind.clone(), &error.to_string()),
                            _ => {}
                        }
                        // The beginning of a list is told before the API server answers.
                        if matches!(event, Some(Ok(ref event)) if !matches!(event, Event::Init)) {
                            readiness.watch_goes_on(watch);
                        }
                        return event.map(|event| (event, ((events, number), turns, begin)));
                    }
                }
            }
        }
    });
    events.into_stream().boxed()
}
