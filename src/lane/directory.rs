//! Where this replica has its databases, as tenants and backups ask for that. The driver of the databases keeps it.

use std::sync::Arc;

use super::Lane;
use crate::{api::condition::Reason, kubernetes::lease::HeldLease};

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

/// The databases by the name of their TenantDatabase.
pub trait Lanes: Send + Sync {
    /// Where a database stands.
    fn get(&self, database: &str) -> LaneState;

    /// The Lease by which this replica holds a database, as far as it knows.
    fn lease(&self, database: &str) -> Option<HeldLease>;

    /// The open lane of a database.
    fn open(&self, database: &str) -> Option<Arc<Lane>> {
        match self.get(database) {
            LaneState::Open(lane) => Some(lane),
            LaneState::Elsewhere | LaneState::Unavailable { .. } => None,
        }
    }
}
