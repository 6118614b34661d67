//! What fails in a reconcile that observes, plans and applies.

use thiserror::Error;

use super::{Failure, failed_for_good};
use crate::{
    api::condition::{Readiness, Reason, Verdict},
    kubernetes, postgres,
};

/// What failed, by stage.
#[derive(Debug, Error)]
pub enum StageError {
    /// The API server.
    #[error(transparent)]
    Kubernetes(#[from] kubernetes::Error),
    /// The database, while observing.
    #[error("failed to observe what is there")]
    Observe(#[source] postgres::Error),
    /// The database, while applying.
    #[error("failed to apply the plan")]
    Apply(#[source] postgres::Error),
}

impl StageError {
    /// The pass got no turn at the database, and comes again: the lane was closed while it waited, or too many wait.
    #[must_use]
    pub fn has_no_turn(&self) -> bool {
        matches!(self, Self::Observe(postgres::Error::LaneClosed) | Self::Apply(postgres::Error::LaneClosed))
            || self.is_crowded()
    }

    /// What its condition says: an outage passes by itself, and for what does not a person must act.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Observe(error) | Self::Apply(error) if error.is_transient() => {
                Verdict::of(Reason::DatabaseUnavailable, error.to_string(), Readiness::Kept)
            }
            _ => Verdict::of(Reason::OperationFailed, failed_for_good(self), false),
        }
    }

    /// Too many of a namespace whose calls last long wait for their turn.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        matches!(self, Self::Apply(postgres::Error::Crowded))
    }
}

impl Failure for StageError {
    fn stage(&self) -> &'static str {
        match self {
            Self::Kubernetes(_) => "status",
            Self::Observe(_) => "observe",
            Self::Apply(_) => "apply",
        }
    }

    fn category(&self) -> &'static str {
        match self {
            Self::Kubernetes(error) => error.category(),
            Self::Observe(error) | Self::Apply(error) => error.category(),
        }
    }
}
