//! Publishing Events. An Event that cannot be written (a terminating namespace refuses them) is not worth an error: the
//! condition says the same and stays.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::ObjectReference,
        events::v1::{Event, EventSeries},
    },
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ObjectMeta, Patch, PostParams},
};
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::{DEADLINE, MANAGER, as_manager};
use crate::text::plain;

/// An Event's note is cut to this many bytes by the API's rules.
const NOTE_BYTES: usize = 1024;
/// The same again within this time is counted and not told again.
const REPEATS: Duration = Duration::from_mins(6);

/// Writes Events under one reporter. `kube`'s recorder takes all Events of one reason for repeats of the first; ours looks
/// at the note too, since what was repaired yesterday does not say what was repaired today.
#[derive(Clone)]
pub struct Events {
    client: Client,
    instance: String,
    recent: Arc<Mutex<HashMap<Told, Recent>>>,
}

/// What makes two Events the same.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Told {
    uid: Option<String>,
    reason: String,
    note: String,
}

/// An Event that was written a short time ago.
struct Recent {
    name: String,
    count: i32,
    at: Instant,
}

impl Events {
    /// Writes as `instance`, the name of this replica.
    #[must_use]
    pub fn new(client: Client, instance: &str) -> Self {
        Self { client, instance: cut(instance, 128).to_owned(), recent: Arc::default() }
    }

    /// Publishes one Event about `regarding`; failures are logged at debug level.
    pub async fn publish(&self, regarding: &ObjectReference, warning: bool, reason: &str, note: &str) {
        let note = plain(note.to_owned());
        let note = cut(&note, NOTE_BYTES);
        let told = Told { uid: regarding.uid.clone(), reason: reason.to_owned(), note: note.to_owned() };
        let before = {
            let mut recent = self.recent();
            recent.retain(|_, event| event.at.elapsed() < REPEATS);
            recent.get(&told).map(|event| (event.name.clone(), event.count))
        };
        // Events about what belongs to no namespace are kept in `default`.
        let namespace = regarding.namespace.as_deref().unwrap_or("default");
        let api = Api::<Event>::namespaced(self.client.clone(), namespace);
        let count = before.as_ref().map_or(1, |(_, count)| count + 1);
        let written = async {
            match &before {
                Some((name, _)) => {
                    let series = EventSeries { count, last_observed_time: MicroTime(Timestamp::now()) };
                    api.patch(name, &as_manager(), &Patch::Merge(json!({ "series": series }))).await
                }
                None => api.create(&PostParams::default(), &self.event(regarding, namespace, warning, &told)).await,
            }
        };
        match timeout(DEADLINE, written).await {
            Ok(Ok(event)) => {
                self.recent().insert(told, Recent { name: event.name_any(), count, at: Instant::now() });
            }
            Ok(Err(error)) => {
                // A user may have removed the Event; the next one is written again.
                self.recent().remove(&told);
                tracing::debug!(%error, reason, "cannot publish an Event");
            }
            Err(_) => tracing::debug!(reason, "cannot publish an Event in time"),
        }
    }

    fn event(&self, regarding: &ObjectReference, namespace: &str, warning: bool, told: &Told) -> Event {
        let now = Timestamp::now();
        // As kubectl and all other recorders name them; a name has at most 253 bytes.
        let name = cut(regarding.name.as_deref().unwrap_or_default(), 220).trim_end_matches(['.', '-']);
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{:x}", now.as_nanosecond())),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            action: Some("Reconcile".to_owned()),
            event_time: Some(MicroTime(now)),
            note: Some(told.note.clone()),
            reason: Some(told.reason.clone()),
            regarding: Some(regarding.clone()),
            reporting_controller: Some(MANAGER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(if warning { "Warning" } else { "Normal" }.to_owned()),
            ..Event::default()
        }
    }

    fn recent(&self) -> MutexGuard<'_, HashMap<Told, Recent>> {
        // Entries are only put in and taken out whole, so a panic elsewhere leaves the map usable.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
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
