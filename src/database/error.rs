//! What failed, by stage.

use std::sync::Arc;

use thiserror::Error;

use super::{open::Closed, resolve::Unresolved};
use crate::{frame::Failure, kubernetes, postgres};

/// What failed. What is wrong with the database itself is a verdict in the status, and an error too, so that it
/// is counted and backed off.
#[derive(Debug, Error)]
pub enum Error {
    /// The API server.
    #[error(transparent)]
    Kubernetes(#[from] kubernetes::Error),
    /// The election.
    #[error("cannot take part in the election of the database's holder")]
    Lease(#[source] Arc<kubernetes::Error>),
    /// The Secrets.
    #[error("failed to resolve the connection")]
    Resolve(#[source] Unresolved),
    /// Opening the lane.
    #[error("failed to open the lane")]
    Open(#[source] Closed),
    /// Another replica has the lane.
    #[error("the database refused this replica's epoch: another replica has taken the lane, this one stands by")]
    Refused,
    /// The survey.
    #[error("failed to survey the tenants")]
    Survey(#[source] postgres::Error),
}

impl Failure for Error {
    fn stage(&self) -> &'static str {
        match self {
            Self::Kubernetes(_) => "status",
            Self::Lease(_) | Self::Refused => "lease",
            Self::Resolve(_) => "resolve",
            Self::Open(_) => "install",
            Self::Survey(_) => "survey",
        }
    }

    fn category(&self) -> &'static str {
        match self {
            Self::Kubernetes(error) | Self::Resolve(Unresolved::Unreadable(error)) => error.category(),
            Self::Lease(error) => error.category(),
            Self::Refused => "lane_lost",
            Self::Resolve(_) => "secret",
            Self::Open(Closed::Postgres(error)) | Self::Survey(error) => error.category(),
            Self::Open(_) => "database",
        }
    }
}
