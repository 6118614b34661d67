//! Publishing Events. An Event that cannot be written (a terminating namespace refuses them) is not worth an error: the
//! condition says the same and stays.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::time::timeout;

use super::{DEADLINE, MANAGER};

/// An Event's note is cut to this many bytes by the API's rules.
const NOTE_BYTES: usize = 1024;

/// Writes Events under one reporter, so that repeats are counted and not multiplied.
#[derive(Clone)]
pub struct Events(Recorder);

impl Events {
    /// Writes as `instance`, the name of this replica.
    #[must_use]
    pub fn new(client: Client, instance: &str) -> Self {
        Self(Recorder::new(client, Reporter { controller: MANAGER.to_owned(), instance: Some(instance.to_owned()) }))
    }

    /// Publishes one Event about `regarding`; failures are logged at debug level.
    pub async fn publish(&self, regarding: &ObjectReference, warning: bool, reason: &str, note: &str) {
        let event = Event {
            type_: if warning { EventType::Warning } else { EventType::Normal },
            reason: reason.to_owned(),
            note: Some(cut(note, NOTE_BYTES).to_owned()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        match timeout(DEADLINE, self.0.publish(&event, regarding)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, reason, "cannot publish an Event"),
            Err(_) => tracing::debug!(reason, "cannot publish an Event in time"),
        }
    }
}

/// The longest start of `text` that fits into `bytes` and ends between two characters.
#[must_use]
pub fn cut(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn a_note_is_cut_between_characters() {
        assert_eq!(cut("Prüfung", 3), "Pr");
        assert_eq!(cut("Prüfung", 4), "Prü");
        assert_eq!(cut("short", 1024), "short");
    }
}
