//! A deletion that takes long is told as an Event, for every kind the same.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};

use super::{After, Context, Next, Notice};
use crate::api::{
    condition::{ConditionType, Summary, find},
    event::EventReason,
};

/// A deletion that takes longer is told.
const PATIENCE: Duration = Duration::from_secs(10);

impl Context {
    /// Tells once that a deletion waits for what nothing else tells: one that a person must act on has an Event of its own.
    pub fn tell_if_it_waits(
        &self,
        object: &ObjectMeta,
        conditions: &[Condition],
        summary: Option<&Summary>,
        mut next: Next,
    ) -> Next {
        let Some(since) = object.deletion_timestamp.as_ref() else { return next };
        if find(conditions, ConditionType::Stalled).is_some() {
            return next;
        }
        let waited = Duration::try_from(self.clock.now().duration_since(since.0)).unwrap_or_default();
        match PATIENCE.checked_sub(waited).filter(|left| !left.is_zero()) {
            // One that is paused has no other reason to be looked at; what is tried again keeps its own pace.
            Some(left) if matches!(next.after, After::Resync) => next.after = After::Delay(left),
            Some(_) => {}
            None => {
                if self.waiting.add(object.uid.as_deref().unwrap_or_default()) {
                    let message = summary.map_or_else(String::new, |summary| summary.message.clone());
                    next.notices.push(Notice { reason: EventReason::DeletionWaits, message });
                }
            }
        }
        next
    }
}
