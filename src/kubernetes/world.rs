//! Noticing that the API server's world went back: etcd was restored from a snapshot while this process lives on.
//!
//! Watches go on at the version that they had, which is ahead of the restored one, and are told nothing of what is below; no error
//! says so. But a Lease that is read and written every few seconds has then an older version than it was seen with. Versions of
//! one object can be compared as numbers, and nothing else is: a wrong comparison costs no more than reading everything again.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use tokio::sync::{Notify, watch};

use super::id::Id;

/// What was seen of a Lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    uid: Option<String>,
    version: Option<u64>,
    holder: Option<String>,
    transitions: Option<i32>,
    renewed: Option<Timestamp>,
}

impl Marks {
    /// Of a Lease as it was read or written.
    #[must_use]
    pub fn of(lease: &Lease) -> Self {
        let spec = lease.spec.as_ref();
        Self {
            uid: lease.metadata.uid.clone(),
            version: lease.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()),
            holder: spec.and_then(|spec| spec.holder_identity.clone()),
            transitions: spec.and_then(|spec| spec.lease_transitions),
            renewed: spec.and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0),
        }
    }

    /// Why a Lease that is so now, and was as `self` before, comes from an older world.
    #[must_use]
    pub fn contradicted_by(&self, now: &Self) -> Option<String> {
        let is_same = self.uid == now.uid;
        let is_same_holder = is_same && self.holder == now.holder;
        match (self.version, now.version) {
            (Some(before), Some(now)) if now < before => return Some(format!("has version {now} after {before}")),
            _ => {}
        }
        match (self.transitions, now.transitions) {
            (Some(before), Some(now)) if is_same && now < before => {
                return Some(format!("has changed hands {now} times after {before}"));
            }
            _ => {}
        }
        match (self.renewed, now.renewed) {
            // Only times of one process's clock are compared.
            (Some(before), Some(now)) if is_same_holder && now < before => {
                Some(format!("was renewed at {now} after {before}"))
            }
            _ => None,
        }
    }
}

/// Which state of the API server's world this process has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// How often everything was to be listed again.
    pub lists: u64,
    /// How often the world went back.
    pub worlds: u64,
}

/// What this process knows of the API server's world.
#[derive(Debug)]
pub struct World {
    turn: watch::Sender<Turn>,
    doubt: Notify,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    leases: HashMap<String, Marks>,
    why: String,
    /// For each watch the world of its latest list.
    listed: Vec<u64>,
    /// The databases on whose object the latest return was told.
    told: HashSet<String>,
}

impl Default for World {
    fn default() -> Self {
        Self { turn: watch::Sender::new(Turn::default()), doubt: Notify::new(), state: Mutex::default() }
    }
}

impl World {
    /// A Lease was read or written so.
    pub fn saw(&self, name: &str, lease: &Lease) {
        let now = Marks::of(lease);
        let before = self.lock().leases.insert(name.to_owned(), now.clone());
        let Some(before) = before else { return };
        if let Some(why) = before.contradicted_by(&now) {
            self.went_back(&format!("Lease {name} {why}"));
        } else if before.uid != now.uid {
            // A user removed it, or the world is from before it was made: the objects tell which.
            self.doubt.notify_one();
        }
    }

    /// Returns when something was seen for which there are two explanations: an older world, or what a user did.
    pub async fn doubted(&self) {
        self.doubt.notified().await;
    }

    /// The world went back: all watches begin again, and all lanes are opened again.
    pub fn went_back(&self, why: &str) {
        let mut state = self.lock();
        // What was seen of the other Leases was seen in the world that is gone.
        state.leases.clear();
        state.told.clear();
        why.clone_into(&mut state.why);
        drop(state);
        self.turn.send_modify(|turn| *turn = Turn { lists: turn.lists + 1, worlds: turn.worlds + 1 });
    }

    /// Everything that was read was not what is there: all watches begin again, and all lanes are opened again.
    pub fn begin_again(&self) {
        self.went_back("");
    }

    /// A watch left something out: all begin again.
    pub fn list_again(&self) {
        self.turn.send_modify(|turn| turn.lists += 1);
    }

    /// Hears of every turn.
    #[must_use]
    pub fn turns(&self) -> watch::Receiver<Turn> {
        self.turn.subscribe()
    }

    /// How often the world went back.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.turn.borrow().worlds
    }

    /// What showed it the last time.
    #[must_use]
    pub fn why(&self) -> String {
        self.lock().why.clone()
    }

    /// Another watch, by its number.
    pub fn watch(&self) -> usize {
        let mut state = self.lock();
        state.listed.push(0);
        state.listed.len() - 1
    }

    /// A watch has ended a list that it began in this world.
    pub fn listed(&self, watch: usize, world: u64) {
        if let Some(listed) = self.lock().listed.get_mut(watch) {
            *listed = world;
        }
    }

    /// Whether every watch has listed the world as it is now. Until then the caches are of another one.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let world = self.number();
        self.lock().listed.iter().all(|listed| *listed == world)
    }

    /// What is to be told on this database's object, once.
    #[must_use]
    pub fn news(&self, database: &str) -> Option<String> {
        let mut state = self.lock();
        (!state.why.is_empty() && state.told.insert(database.to_owned())).then(|| state.why.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// UID and version of objects by namespace and name.
pub type Versions = BTreeMap<(String, String), (Id, u64)>;

/// What a list says that is not what a cache has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// A watch left these out.
    Skipped(Vec<(String, String)>),
    /// An object that was seen in a later version.
    Older(String),
}

/// Compares a cache, as it was before a list was asked for, with the list. The cache is looked at `again` after a while: what
/// has changed in it since then was told by the watch, which was only slower.
#[must_use]
pub fn difference(cached: &Versions, listed: &Versions, again: &Versions) -> Option<Difference> {
    let names: HashSet<_> = cached.keys().chain(listed.keys()).collect();
    let mut skipped = Vec::new();
    for name in names {
        let (before, now) = (cached.get(name), listed.get(name));
        if before == now || again.get(name) != before {
            continue;
        }
        if let (Some((uid, before)), Some((same, now))) = (before, now)
            && uid == same
            && now < before
        {
            return Some(Difference::Older(format!("{}/{} has version {now} after {before}", name.0, name.1)));
        }
        skipped.push(name.clone());
    }
    skipped.sort();
    (!skipped.is_empty()).then_some(Difference::Skipped(skipped))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[allow(clippy::needless_pass_by_value, reason = "so that it can be written in place")]
    fn lease(version: &str, change: serde_json::Value) -> Lease {
        let mut lease = json!({
            "metadata": { "name": "tenant-database-main", "uid": "a", "resourceVersion": version },
            "spec": { "holderIdentity": "one", "leaseTransitions": 3, "renewTime": "2026-01-01T00:00:10.000000Z" },
        });
        for (path, value) in change.as_object().unwrap() {
            *lease.pointer_mut(path).unwrap() = value.clone();
        }
        serde_json::from_value(lease).unwrap()
    }

    #[test]
    fn a_lease_is_only_older_by_its_own_numbers() {
        let check = |now: &Lease, expected: Option<&str>| {
            let before = Marks::of(&lease("300", json!({})));
            assert_eq!(before.contradicted_by(&Marks::of(now)).as_deref(), expected);
        };
        check(&lease("300", json!({})), None);
        check(&lease("1000", json!({})), None);
        check(&lease("299", json!({})), Some("has version 299 after 300"));
        check(&lease("30", json!({ "/metadata/uid": "b" })), Some("has version 30 after 300"));
        check(&lease("", json!({})), None);
        check(&lease("opaque", json!({})), None);
        check(&lease("301", json!({ "/spec/leaseTransitions": 2 })), Some("has changed hands 2 times after 3"));
        check(&lease("301", json!({ "/spec/leaseTransitions": null })), None);
        // A user removed the Lease, and it was made again.
        check(&lease("301", json!({ "/metadata/uid": "b", "/spec/leaseTransitions": 0 })), None);
        let earlier = json!({ "/spec/renewTime": "2026-01-01T00:00:09.000000Z" });
        check(&lease("301", earlier.clone()), Some("was renewed at 2026-01-01T00:00:09Z after 2026-01-01T00:00:10Z"));
        let mut of_another = earlier;
        of_another["/spec/holderIdentity"] = json!("two");
        check(&lease("301", of_another), None);
    }

    #[tokio::test]
    async fn a_lease_that_was_made_again_makes_the_objects_be_compared_and_nothing_more() {
        let doubted = async |world: &World| tokio::time::timeout(std::time::Duration::ZERO, world.doubted()).await;
        let world = World::default();
        world.saw("main", &lease("300", json!({})));
        world.saw("main", &lease("301", json!({})));
        assert!(doubted(&world).await.is_err());
        world.saw("main", &lease("302", json!({ "/metadata/uid": "b", "/spec/leaseTransitions": 1 })));
        assert!(doubted(&world).await.is_ok());
        assert_eq!(world.turn.borrow().lists, 0);
    }

    #[test]
    fn a_world_that_went_back_is_settled_when_every_watch_has_listed_it() {
        let world = World::default();
        let (one, two) = (world.watch(), world.watch());
        assert!(world.is_settled());
        world.saw("main", &lease("300", json!({})));
        world.saw("other", &lease("310", json!({})));
        world.saw("main", &lease("301", json!({})));
        assert_eq!((world.number(), world.news("main")), (0, None));
        world.saw("main", &lease("100", json!({})));
        world.saw("other", &lease("90", json!({})));
        assert_eq!(world.number(), 1, "it is one return, however many Leases show it");
        assert!(!world.is_settled());
        world.listed(one, 0);
        world.listed(two, 1);
        assert!(!world.is_settled(), "a list that was begun before is of the other world");
        world.listed(one, 1);
        assert!(world.is_settled());
        assert_eq!(world.news("main").as_deref(), Some("Lease main has version 100 after 301"));
        assert_eq!(world.news("main"), None);
        world.list_again();
        assert!(world.is_settled() && world.number() == 1, "a list alone closes nothing");
    }

    #[test]
    fn a_list_differs_where_the_watch_was_not_only_slower() {
        let of = |entries: &[(&str, &str, u64)]| -> Versions {
            let entry = |(name, uid, version): &(&str, &str, u64)| {
                (("team".to_owned(), (*name).to_owned()), (Id::of_uid(uid), *version))
            };
            entries.iter().map(entry).collect()
        };
        let check = |cached: &[_], listed: &[_], again: &[_], expected: Option<Difference>| {
            assert_eq!(difference(&of(cached), &of(listed), &of(again)), expected);
        };
        let skipped = |names: &[&str]| {
            Some(Difference::Skipped(names.iter().map(|name| ("team".to_owned(), (*name).to_owned())).collect()))
        };
        let one = [("a", "1", 5)];
        check(&one, &one, &one, None);
        check(&one, &[("a", "1", 7)], &[("a", "1", 7)], None);
        check(&one, &[("a", "1", 7)], &[("a", "1", 9)], None);
        check(&one, &[("a", "1", 7)], &one, skipped(&["a"]));
        check(&one, &[], &[], None);
        check(&one, &[], &one, skipped(&["a"]));
        check(&[], &one, &one, None);
        check(&[], &[("b", "2", 3), ("a", "1", 5)], &[], skipped(&["a", "b"]));
        check(&one, &[("a", "2", 3)], &one, skipped(&["a"]));
        check(&one, &[("a", "1", 3)], &one, Some(Difference::Older("team/a has version 3 after 5".to_owned())));
        check(&one, &[("a", "1", 3)], &[("a", "1", 3)], None);
    }
}
