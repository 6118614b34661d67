//! What a kind adds to the frame: its stages, as functions. Nothing here has a default that does something.
//!
//! A kind that stands on a lane is this trait and nothing else; [`super::drive`] is its driver. One that would need another item has
//! a driver of its own, as `TenantDatabase` has, since it has no lane to stand on.

use std::{fmt::Debug, future::Future, sync::Arc};

use jiff::Timestamp;
use kube::{
    Resource,
    core::{NamespaceResourceScope, object::HasStatus},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{Context, Doors, MissingDatabase, Notice, StageError};
use crate::{
    api::{
        condition::{Conditions, Reason},
        tenant_schema::Place,
    },
    kubernetes,
    lane::{Lane, LaneState},
    plan::{Applied, Plan},
};

/// A kind of namespaced object that is brought to what its spec says in a database.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + HasStatus<Status: Conditions + Default + Clone + Debug + Serialize + PartialEq + Send + Sync>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Keeps an object that is deleted until what it made is dealt with.
    const FINALIZER: &'static str;
    /// What the spec points to.
    type Facts: Send + Sync;
    /// What a living object is to have.
    type Desired: Send + Sync;
    /// What becomes of what a deleted object has.
    type Removal: Send + Sync;
    /// What is there.
    type Observed: Default + Send + Sync;

    /// Stage 1: what the spec points to, and where its database stands. Decides nothing.
    fn resolve(&self, ctx: &Context) -> impl Future<Output = Result<(Self::Facts, Stand), kubernetes::Error>> + Send;

    /// Stage 2, pure: what is wanted, or why the spec cannot be followed. The last reader of `spec`.
    fn desired(&self, facts: &Self::Facts) -> Result<Self::Desired, Invalid>;

    /// Stage 2 of a deleted object, pure. Depends on no valid spec.
    fn removal(&self, facts: &Self::Facts) -> Leave<Self::Removal>;

    /// Stage 3: what is, as the database says.
    fn observe(
        wish: Wish<'_, Self>,
        doors: Doors<'_>,
    ) -> impl Future<Output = Result<Self::Observed, StageError>> + Send;

    /// Stage 4, pure and total: what to do.
    fn plan(wish: Wish<'_, Self>, observed: &Self::Observed) -> Plan;

    /// Stage 6, pure: what a person reads of a pass.
    fn status_of(&self, pass: &Pass<'_, Self>, now: Timestamp) -> Told<Self::Status>;

    /// The object is gone, or is not the one that a pass began with: the objects that wait for that are woken.
    fn gone(self: Arc<Self>, ending: Ending<'_, Self>, ctx: &Context);
}

/// Where the database of an object stands, and what it is called, if that is known.
#[derive(Clone)]
pub struct Stand {
    /// The TenantDatabase.
    pub database: Option<String>,
    /// Where it stands.
    pub host: Host,
}

/// Where a database stands.
#[derive(Clone)]
pub enum Host {
    /// The object points to none, or there is none of that name.
    Missing,
    /// Another replica works on it, or will.
    Elsewhere,
    /// It cannot be worked with.
    Unavailable {
        /// Why, from the closed set.
        reason: Reason,
        /// Why, for people.
        message: String,
    },
    /// This replica works on it.
    Open(Arc<Lane>),
}

impl Host {
    /// Where the TenantDatabase of this name stands; `is_there` says whether the caches have it.
    pub async fn of(name: &str, is_there: bool, ctx: &Context) -> Self {
        match ctx.lanes.get(name) {
            LaneState::Open(lane) if is_there => Self::Open(lane),
            LaneState::Unavailable { reason, message } => Self::Unavailable { reason, message },
            _ if is_there => Self::Elsewhere,
            _ => match ctx.unseen_database(name).await {
                MissingDatabase::Gone => Self::Missing,
                MissingDatabase::OutOfView(message) => Self::Unavailable { reason: Reason::DatabaseNotFound, message },
            },
        }
    }
}

/// Why the spec cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// From the closed set.
    pub reason: Reason,
    /// What is wrong, where, and the way out.
    pub message: String,
}

/// What a deleted object waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leave<R> {
    /// As far as its status tells nothing was made for it, and its database cannot be asked: it goes. If there is
    /// something all the same, it stays as it is, and the next survey finds that it has no object.
    Nothing(R),
    /// It goes, and the database need not answer: a user confirmed that for this very object.
    Abandoned(R),
    /// What it has stays as it is, so that nothing has to be asked.
    AsItIs(R),
    /// It goes once the database was asked.
    Asked(R),
}

impl<R> Leave<R> {
    /// What becomes of what it has.
    pub const fn removal(&self) -> &R {
        match self {
            Self::Nothing(removal) | Self::Abandoned(removal) | Self::AsItIs(removal) | Self::Asked(removal) => removal,
        }
    }
}

/// What is wanted of the database.
pub enum Wish<'a, K: Kind> {
    /// A living object has what it is to have.
    Keep(&'a K::Desired),
    /// A deleted object has nothing any more.
    End(&'a Leave<K::Removal>),
}

#[allow(clippy::expl_impl_clone_on_copy, reason = "derived, it would ask the kind to be copied too")]
impl<K: Kind> Clone for Wish<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: Kind> Copy for Wish<'_, K> {}

/// How a pass ended.
pub enum Pass<'a, K: Kind> {
    /// The spec cannot be followed.
    Invalid(&'a Invalid),
    /// The database cannot be worked with.
    Waits {
        /// Why, from the closed set.
        reason: Reason,
        /// Why, for people.
        message: &'a str,
    },
    /// A deletion waits for a database that cannot be asked.
    Blocked {
        /// What becomes of what the object has.
        removal: &'a K::Removal,
        /// Why, for people.
        why: &'a str,
    },
    /// A stage failed.
    Failed {
        /// What becomes of what the object has, if it is deleted.
        removal: Option<&'a K::Removal>,
        /// What failed.
        failed: &'a StageError,
    },
    /// Nothing is done, because a user asked for that; the plan is what would be.
    Paused {
        /// What was wanted.
        wish: Wish<'a, K>,
        /// What would be.
        plan: &'a Plan,
        /// What is there.
        observed: &'a K::Observed,
    },
    /// The plan was applied as far as it goes.
    Applied {
        /// What was wanted.
        wish: Wish<'a, K>,
        /// What was there.
        observed: &'a K::Observed,
        /// What was done.
        applied: &'a Applied,
        /// In which TenantDatabase.
        database: &'a str,
        /// Where that is.
        place: &'a Place,
    },
    /// What it has stays as it is, and no database was asked.
    Left {
        /// What becomes of what the object has.
        leave: &'a Leave<K::Removal>,
    },
}

/// What a person reads of a pass.
pub struct Told<S> {
    /// The status. A difference that no person needs to know stays out of it, so that it is not written.
    pub status: S,
    /// Events of what was done, which are sent also when the status could not be written.
    pub done: Vec<Notice>,
    /// Events of what the conditions say for the first time.
    pub news: Vec<Notice>,
    /// When something is to be done although nothing changes, if that is a time soon to come.
    pub due: Option<Timestamp>,
}

/// How an object went.
pub enum Ending<'a, K: Kind> {
    /// Its finalizer is off.
    LetGo {
        /// What became of what it had.
        leave: &'a Leave<K::Removal>,
        /// Where its database stands.
        stand: &'a Stand,
    },
    /// It was gone, or another one, when the pass that gave it something was told.
    WhileMaking,
}
