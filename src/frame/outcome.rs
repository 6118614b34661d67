//! How a reconcile ended, as the report and the queue are told.

use std::{error::Error, time::Duration};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::{
    api::{
        condition::{ConditionType, Reason, find},
        event::EventReason,
    },
    text::DOCS,
};

/// What the report and the retry need to know of a driver's error.
pub trait Failure: Error + Send + Sync {
    /// The stage that failed, as its file is called.
    fn stage(&self) -> &'static str;

    /// The closed set that metrics are labelled with.
    fn category(&self) -> &'static str;
}

/// How a reconcile ended.
#[derive(Debug)]
pub struct Next {
    /// When to look again.
    pub after: After,
    /// How it ended, for metrics.
    pub outcome: Outcome,
    /// Events to publish.
    pub notices: Vec<Notice>,
    /// What failed, although the pass came to an end and said so in the status.
    pub failure: Option<Box<dyn Failure>>,
}

/// How a reconcile ended, as a word for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Something was done or written.
    Changed,
    /// Nothing was to do.
    Unchanged,
    /// Something must come first, and comes by itself.
    Waiting,
    /// A person must act.
    Stalled,
    /// Another replica does it.
    Standby,
    /// The object is gone, or is not ours.
    Gone,
    /// A stage failed.
    Error,
}

impl Outcome {
    /// The word as metrics have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Waiting => "waiting",
            Self::Stalled => "stalled",
            Self::Standby => "standby",
            Self::Gone => "gone",
            Self::Error => "error",
        }
    }
}

/// When to look at an object again without being woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Nothing is left to do: at the next resync.
    Resync,
    /// It waits for something: with back-off.
    Retry,
    /// At a time that the stage knows.
    Delay(Duration),
    /// Never: the object is gone, or another replica's.
    Never,
}

impl After {
    /// At that time.
    #[must_use]
    pub fn until(time: Timestamp, now: Timestamp) -> Self {
        Self::Delay(Duration::try_from(time.duration_since(now)).unwrap_or_default())
    }
}

/// One Event in the making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// From the closed set.
    pub reason: EventReason,
    /// For people.
    pub message: String,
}

impl Next {
    /// An end without notices.
    #[must_use]
    pub fn new(after: After, outcome: Outcome) -> Self {
        Self { after, outcome, notices: Vec::new(), failure: None }
    }

    /// The end that these conditions tell, when `changed` says whether they were written.
    #[must_use]
    pub fn of(conditions: &[Condition], changed: bool) -> Self {
        if let Some(stalled) = find(conditions, ConditionType::Stalled) {
            let after = if Reason::is_final(&stalled.reason) { After::Resync } else { After::Retry };
            Self::new(after, Outcome::Stalled)
        } else if find(conditions, ConditionType::Reconciling).is_some() {
            Self::new(After::Retry, Outcome::Waiting)
        } else {
            Self::new(After::Resync, if changed { Outcome::Changed } else { Outcome::Unchanged })
        }
    }

    /// An end by an error that the status tells already.
    #[must_use]
    pub fn failed(self, failure: impl Failure + 'static) -> Self {
        Self { failure: Some(Box::new(failure)), outcome: Outcome::Error, ..self }
    }
}

/// The message about a call that failed in a way that does not pass by itself.
#[must_use]
pub fn failed_for_good(error: &dyn Error) -> String {
    format!(
        "{}; what was tried before is in the log of operations ({DOCS}/operations.md#what-to-look-at), and it is tried again within a \
         minute",
        chain(error)
    )
}

/// An error with its causes on one line; our own errors never repeat their source.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
