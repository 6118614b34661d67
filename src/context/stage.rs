//! What fails in a reconcile that observes, plans and applies.

use thiserror::Error;

use super::Failure;
use crate::{kubernetes, postgres};

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
    /// The lane was closed while the pass waited for its turn: the replica that opens it next looks again.
    #[must_use]
    pub fn is_lane_closed(&self) -> bool {
        matches!(self, Self::Observe(postgres::Error::LaneClosed) | Self::Apply(postgres::Error::LaneClosed))
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
