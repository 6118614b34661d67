//! Driving one controller: the queue, the report of each pass, and when an object is looked at again.

use std::{
    collections::hash_map::RandomState,
    fmt::Debug,
    future::Future,
    hash::{BuildHasher, Hasher},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures::{
    FutureExt, Stream, StreamExt,
    future::{BoxFuture, Shared},
    stream,
};
use kube::{
    Resource, ResourceExt,
    runtime::{
        Controller,
        controller::{Action, Config as ControllerConfig},
        reflector::{ObjectRef, Store},
        watcher,
    },
};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::{backoff::Backoff, cached::Cache, report, watches::Watched};
use crate::{
    frame::{self, After, Context, Failure, Kind, Next},
    kubernetes::events::Events,
};

/// Objects with nothing to do are looked at again after this long, in memory: what a user did to our finalizer is
/// mended then.
const RESYNC: Duration = Duration::from_mins(10);
/// In how many parts all objects are looked at again, so that they do not come at once.
const PARTS: u32 = 120;

/// How many objects that are woken the queue takes in at once.
const AT_ONCE: usize = 16;

/// Drives controllers.
pub struct Runner {
    /// What every reconcile shares.
    pub ctx: Arc<Context>,
    /// Where Events go.
    pub events: Events,
    /// Attempts by object.
    pub backoff: Arc<Backoff>,
    /// Completes when the process is told to stop.
    pub shutdown: Shared<BoxFuture<'static, ()>>,
    /// Completes when every cache is filled: an object that is looked at before the others are known would seem to point
    /// to nothing.
    pub filled: Shared<BoxFuture<'static, bool>>,
}

impl Runner {
    /// The controller of a kind that stands on a lane. When something is new of a database, all objects that `stands_on` says may
    /// stand on it are looked at.
    fn drive_kind<K: Kind>(&self, watched: Watched<K>, stands_on: fn(&K, &str) -> bool) -> BoxFuture<'static, ()> {
        let Watched { cache, objects, woken } = watched;
        let (store, all) = (cache.store.clone(), cache.store.clone());
        let users = self
            .ctx
            .wake
            .users_woken()
            .flat_map(move |database| queued(all.state_filter(|object| stands_on(object, &database))));
        self.drive(objects, store, stream::select(woken, users), self.ctx.config.concurrency, frame::reconcile)
    }

    /// One controller, which runs until it is told to stop and what it has begun has ended.
    pub fn drive<K, E, F>(
        &self,
        objects: impl Stream<Item = Result<K, watcher::Error>> + Send + 'static,
        store: Store<K>,
        woken: impl Stream<Item = ObjectRef<K>> + Send + 'static,
        concurrency: u16,
        reconcile: impl Fn(Arc<K>, Arc<Context>) -> F + Send + Sync + 'static,
    ) -> BoxFuture<'static, ()>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
        E: Failure + 'static,
        F: Future<Output = Result<Next, E>> + Send + 'static,
    {
        let reconcile = Arc::new(reconcile);
        let (events, backoff) = (self.events.clone(), self.backoff.clone());
        let error_backoff = self.backoff.clone();
        let filled = self.filled.clone();
        let woken = stream::select(woken, at_rest(store.clone()));
        Controller::for_stream(objects, store)
            .with_config(ControllerConfig::default().concurrency(concurrency))
            .reconcile_on(paced(woken))
            .graceful_shutdown_on(self.shutdown.clone())
            .run(
                move |object: Arc<K>, ctx: Arc<Context>| {
                    let (reconcile, events, backoff) = (reconcile.clone(), events.clone(), backoff.clone());
                    let filled = filled.clone();
                    async move {
                        if !filled.await {
                            return Ok(Action::await_change());
                        }
                        let started = Instant::now();
                        let result = reconcile(object.clone(), ctx.clone()).await;
                        report::reconciled(&ctx.metrics, &events, &*object, &result, started.elapsed()).await;
                        let uid = object.uid().unwrap_or_default();
                        result.map(|next| action(next.after, &uid, &backoff))
                    }
                },
                move |object: Arc<K>, _error: &E, _ctx: Arc<Context>| {
                    let uid = object.uid().unwrap_or_default();
                    Action::requeue(error_backoff.next(&uid, jitter()))
                },
                self.ctx.clone(),
            )
            .for_each(|result| async { report::queue(result.err()) })
            .boxed()
    }

    /// Ends what is left of objects that no cache has any more, each as often as it takes.
    pub async fn finish<K, E, F>(&self, gone: impl Stream<Item = Arc<K>>, reconcile: impl Fn(Arc<K>, Arc<Context>) -> F)
    where
        K: Resource<DynamicType = ()>,
        E: Failure,
        F: Future<Output = Result<Next, E>>,
    {
        let end = |object: Arc<K>| {
            let reconcile = &reconcile;
            async move {
                loop {
                    let started = Instant::now();
                    let result = reconcile(object.clone(), self.ctx.clone()).await;
                    report::reconciled(&self.ctx.metrics, &self.events, &*object, &result, started.elapsed()).await;
                    let uid = object.meta().uid.as_deref().unwrap_or_default();
                    if result.is_ok_and(|next| next.after == After::Never) {
                        return self.backoff.reset(uid);
                    }
                    tokio::time::sleep(self.backoff.next(uid, jitter())).await;
                }
            }
        };
        gone.for_each_concurrent(8, end).await;
    }
}

/// A kind that stands on a lane, ready to be driven.
pub trait Standing: Send {
    /// What is done for every kind alike.
    fn cache(&self) -> Arc<dyn Cache>;

    /// Its controller, which runs until it is told to stop.
    fn drive(self: Box<Self>, runner: &Runner) -> BoxFuture<'static, ()>;
}

/// Which objects of a watched kind stand on which database.
struct OnLane<K: Kind> {
    watched: Watched<K>,
    stands_on: fn(&K, &str) -> bool,
}

impl<K: Kind> Watched<K> {
    /// A kind whose objects stand on the lanes of databases; `stands_on` says whether one may stand on the database of this name.
    #[must_use]
    pub fn standing(self, stands_on: fn(&K, &str) -> bool) -> Box<dyn Standing> {
        Box::new(OnLane { watched: self, stands_on })
    }
}

impl<K: Kind> Standing for OnLane<K> {
    fn cache(&self) -> Arc<dyn Cache> {
        self.watched.cache.clone()
    }

    fn drive(self: Box<Self>, runner: &Runner) -> BoxFuture<'static, ()> {
        runner.drive_kind(self.watched, self.stands_on)
    }
}

/// The same in small parts. The queue takes in all that is there before it looks at what is due, and keeps the room that this took for
/// good: 5 MiB after a survey of ten thousand tenants.
fn paced<T>(items: impl Stream<Item = T> + Send + 'static) -> impl Stream<Item = T> + Send + 'static {
    let (mut items, mut given) = (Box::pin(items), 0);
    stream::poll_fn(move |cx| {
        if given == AT_ONCE {
            given = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let next = items.as_mut().poll_next(cx);
        given = if matches!(next, Poll::Ready(Some(_))) { given + 1 } else { 0 };
        next
    })
}

/// Every object of a cache once in a while, a part at a time. One timer serves all of them: ten thousand objects at rest cost no
/// memory for it.
fn at_rest<K>(store: Store<K>) -> impl Stream<Item = ObjectRef<K>> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let hasher = RandomState::new();
    let part_of = move |object: &K| hasher.hash_one(object.meta().uid.as_deref()) % u64::from(PARTS);
    let tick = tokio::time::interval(RESYNC / PARTS);
    stream::unfold((tick, 0), |(mut tick, part)| async move {
        tick.tick().await;
        Some((part, (tick, (part + 1) % u64::from(PARTS))))
    })
    .flat_map(move |part| queued(store.state_filter(|object| part_of(object) == part)))
}

/// Objects as the queue takes them.
fn queued<K: Resource<DynamicType = ()>>(objects: Vec<Arc<K>>) -> impl Stream<Item = ObjectRef<K>> {
    stream::iter(objects.into_iter().map(|object| ObjectRef::from_obj(&*object)))
}

fn action(after: After, uid: &str, backoff: &Backoff) -> Action {
    match after {
        After::Retry => Action::requeue(backoff.next(uid, jitter())),
        After::Delay(delay) => {
            backoff.reset(uid);
            Action::requeue(delay.max(Duration::from_millis(10)))
        }
        // No timer is kept for an object at rest: [`at_rest`] has at all of them.
        After::Resync | After::Never => {
            backoff.reset(uid);
            Action::await_change()
        }
    }
}

/// A number from 0 to 1. The hasher's random keys are randomness enough to spread retries.
pub fn jitter() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
    let fraction = bits as f64 / (1_u64 << 53) as f64;
    fraction
}

#[cfg(test)]
mod tests {
    use std::task::{Context as Polled, Waker};

    use super::*;

    #[test]
    fn what_is_paced_comes_in_parts_and_whole() {
        let mut items = Box::pin(paced(stream::iter(0..40)));
        let mut context = Polled::from_waker(Waker::noop());
        let (mut parts, mut part) = (Vec::new(), Vec::new());
        loop {
            match items.as_mut().poll_next(&mut context) {
                Poll::Ready(Some(item)) => part.push(item),
                Poll::Pending => parts.push(std::mem::take(&mut part)),
                Poll::Ready(None) => break,
            }
        }
        parts.push(part);
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [AT_ONCE, AT_ONCE, 8]);
        assert_eq!(parts.concat(), (0..40).collect::<Vec<_>>());
    }
}
