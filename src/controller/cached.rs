//! A watched kind, and what is done for every kind alike: its cache is waited for and compared with what the API server has, what cannot be
//! read or is out of view is told, and the end of a job wakes the object that waits for it.

use std::{borrow::Cow, fmt::Debug, sync::Arc};

use futures::{FutureExt, channel::mpsc::UnboundedSender, future::BoxFuture};
use kube::{
    Api, Client, Resource,
    runtime::reflector::{ObjectRef, Store},
};
use serde::de::DeserializeOwned;

use super::{
    compare, outside,
    unreadable::{self, Said},
};
use crate::{
    contract::JobObject,
    database::Holdings,
    frame::Context,
    kubernetes::{self, events::Events, reading::Read},
};

/// A watched kind, whichever it is.
pub trait Cache: Send + Sync {
    /// Its name.
    fn kind(&self) -> Cow<'static, str>;

    /// True once its objects are known, false if they never will be.
    fn filled(&self) -> BoxFuture<'_, bool>;

    /// Compares its objects with what the API server has.
    fn compare<'a>(&'a self, ctx: &'a Context) -> BoxFuture<'a, ()>;

    /// What to say of its objects that have our finalizer and are out of view; nothing when there are none.
    fn outside(&self) -> BoxFuture<'_, Result<Option<String>, kubernetes::Error>>;

    /// Says of its objects that cannot be read what is wrong with them; returns how many there are.
    fn say<'a>(
        &'a self,
        said: &'a mut Said,
        ctx: &'a Context,
        holdings: &'a Holdings,
        events: &'a Events,
    ) -> BoxFuture<'a, usize>;

    /// A job in this TenantDatabase ended, and this object of the kind waits for it. An object of the same names that was applied
    /// again since waits for it as well.
    fn job_ended(&self, object: &JobObject, database: &str, ctx: &Context);
}

/// The watched kinds.
pub type Caches = Arc<[Arc<dyn Cache>]>;

/// One watched kind.
pub struct Cached<K: Resource<DynamicType = ()> + 'static> {
    /// Its objects.
    pub store: Store<K>,
    /// Asks its controller to look at one.
    pub wake: UnboundedSender<ObjectRef<K>>,
    /// Where they are listed: everywhere, or in each namespace that is watched.
    pub(super) apis: Vec<Api<Read<K>>>,
    /// Where one of this namespace is written.
    pub(super) within: fn(&Client, &str) -> Api<K>,
    /// What keeps one that is deleted.
    pub(super) finalizer: &'static str,
}

impl<K> Cache for Cached<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    fn kind(&self) -> Cow<'static, str> {
        K::kind(&())
    }

    fn filled(&self) -> BoxFuture<'_, bool> {
        async { self.store.wait_until_ready().await.is_ok() }.boxed()
    }

    fn compare<'a>(&'a self, ctx: &'a Context) -> BoxFuture<'a, ()> {
        compare::one(self, ctx).boxed()
    }

    fn outside(&self) -> BoxFuture<'_, Result<Option<String>, kubernetes::Error>> {
        outside::one(self).boxed()
    }

    fn say<'a>(
        &'a self,
        said: &'a mut Said,
        ctx: &'a Context,
        holdings: &'a Holdings,
        events: &'a Events,
    ) -> BoxFuture<'a, usize> {
        unreadable::say(self, said, ctx, holdings, events).boxed()
    }

    fn job_ended(&self, object: &JobObject, database: &str, ctx: &Context) {
        let namespace = object.namespace.as_deref().unwrap_or_default();
        let Some(found) = self.store.get(&ObjectRef::new(&object.name).within(namespace)) else { return };
        if let Some(lane) = ctx.lanes.open(database) {
            lane.distrust(&object.kind, found.meta().uid.as_deref().unwrap_or_default());
        }
        // A closed channel means that the controller has shut down.
        let _ = self.wake.unbounded_send(ObjectRef::from_obj(&*found));
    }
}
