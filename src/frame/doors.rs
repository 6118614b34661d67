//! What a look may ask: the lane of a database, or only its functions; and the API server, if it may be asked.
//!
//! The driver looks through a lane. `plan -f` and tests have no lane and no watches, and look by the same stages.

use std::sync::Arc;

use super::{Context, Kind, StageError, Wish};
use crate::{
    contract::{BackupAnswer, BackupQuestion, TenantAnswer, TenantQuestion, TenantRow},
    lane::Lane,
    plan::Plan,
    postgres::{Error, Functions},
};

/// What a look may ask.
#[derive(Clone, Copy)]
pub enum Doors<'a> {
    /// The lane, which knows its latest survey, and the API server.
    Lane(&'a Lane, &'a Context),
    /// Only the functions.
    Functions(&'a Functions),
}

impl<'a> Doors<'a> {
    /// What has watches and a client, if the API server may be asked.
    #[must_use]
    pub const fn context(self) -> Option<&'a Context> {
        match self {
            Self::Lane(_, ctx) => Some(ctx),
            Self::Functions(_) => None,
        }
    }

    /// The lane, if there is one.
    #[must_use]
    pub const fn lane(self) -> Option<&'a Lane> {
        match self {
            Self::Lane(lane, _) => Some(lane),
            Self::Functions(_) => None,
        }
    }

    /// The tenant's row as the latest survey has it.
    #[must_use]
    pub fn surveyed(self, uid: &str) -> Option<Arc<TenantRow>> {
        self.lane().and_then(|lane| lane.surveyed(uid))
    }

    /// Asks about one tenant.
    pub async fn observe_tenant(self, question: &TenantQuestion<'_>) -> Result<TenantAnswer, Error> {
        match self {
            Self::Lane(lane, _) => lane.observe_tenant(question).await,
            Self::Functions(functions) => functions.observe_tenant(question).await,
        }
    }

    /// Asks about one backup.
    pub async fn observe_backup(self, question: &BackupQuestion<'_>) -> Result<BackupAnswer, Error> {
        match self {
            Self::Lane(lane, _) => lane.observe_backup(question).await,
            Self::Functions(functions) => functions.observe_backup(question).await,
        }
    }
}

/// What is there, and what is to do: stages 3 and 4, for the driver, for `plan -f` and for tests.
pub async fn look<K: Kind>(wish: Wish<'_, K>, doors: Doors<'_>) -> Result<(K::Observed, Plan), StageError> {
    let observed = K::observe(wish, doors).await?;
    let plan = planned(wish, &observed);
    Ok((observed, plan))
}

/// What is to do, which the log can show.
pub(super) fn planned<K: Kind>(wish: Wish<'_, K>, observed: &K::Observed) -> Plan {
    let plan = K::plan(wish, observed);
    tracing::debug!(stage = "plan", plan = %plan);
    plan
}
