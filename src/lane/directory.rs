//! Which lanes this replica knows, and in what state they are.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use super::Lane;
use crate::api::condition::Reason;

/// What can be said to a tenant that asks for its database.
#[derive(Clone)]
pub enum LaneState {
    /// Another replica holds the lane, or none does yet: this one leaves the tenants alone.
    Elsewhere,
    /// This replica holds the Lease, and the database cannot be worked with.
    Unavailable {
        /// Why, as the TenantDatabase's condition says it.
        reason: Reason,
        /// For people.
        message: String,
    },
    /// At work.
    Open(Arc<Lane>),
}

/// The lanes by the name of their TenantDatabase.
#[derive(Default)]
pub struct Lanes(RwLock<HashMap<String, LaneState>>);

impl Lanes {
    /// The state of a database's lane.
    #[must_use]
    pub fn get(&self, database: &str) -> LaneState {
        let lanes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        lanes.get(database).cloned().unwrap_or(LaneState::Elsewhere)
    }

    /// The open lane of a database.
    #[must_use]
    pub fn open(&self, database: &str) -> Option<Arc<Lane>> {
        match self.get(database) {
            LaneState::Open(lane) => Some(lane),
            LaneState::Elsewhere | LaneState::Unavailable { .. } => None,
        }
    }

    /// The databases that this replica has something to say of.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Every lane that is open.
    #[must_use]
    pub fn all_open(&self) -> Vec<Arc<Lane>> {
        let lanes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let open = lanes.values().filter_map(|state| match state {
            LaneState::Open(lane) => Some(lane.clone()),
            LaneState::Elsewhere | LaneState::Unavailable { .. } => None,
        });
        open.collect()
    }

    /// Replaces the state; a lane that was open and is not any more is lost and its jobs end.
    pub fn set(&self, database: &str, state: &LaneState) {
        let old = self.0.write().unwrap_or_else(PoisonError::into_inner).insert(database.to_owned(), state.clone());
        if let Some(LaneState::Open(old)) = old {
            let same = matches!(state, LaneState::Open(new) if Arc::ptr_eq(&old, new));
            if !same {
                old.lose();
                old.cancel_all_jobs();
            }
        }
    }

    /// Forgets a database that is gone, or out of view.
    pub fn remove(&self, database: &str) {
        self.set(database, &LaneState::Elsewhere);
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(database);
    }
}
