//! The tenants of one namespace as a client that watches sees them: how many there are, and how many are Ready.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::watcher,
};
use serde_json::json;
use tenant_schema_operator::api::{
    ROTATE_REQUESTED_AT, TenantSchema, credentials::ConnectionSecret, tenant_schema::DatabaseRef,
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{
    direct::tenant,
    ground::{database, secrets},
};

/// How many requests are under way at once, as from a busy GitOps controller.
const CLIENTS: usize = 32;

/// A namespace's tenants.
pub struct Fleet {
    /// Where they are.
    pub api: Api<TenantSchema>,
    seen: watch::Receiver<Seen>,
    names: &'static str,
    databases: usize,
    watching: JoinHandle<()>,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

/// What the watch has told so far.
#[derive(Clone, Copy, Default)]
struct Seen {
    present: usize,
    ready: usize,
    /// Whose latest password a user asked for.
    rotated: usize,
}

impl Fleet {
    /// Begins to watch a namespace; schemas are called `names` and a number, and go to so many databases in turn.
    pub fn watch(client: &Client, namespace: &str, names: &'static str, databases: usize) -> Self {
        let api: Api<TenantSchema> = Api::namespaced(client.clone(), namespace);
        let (tell, seen) = watch::channel(Seen::default());
        let watched = api.clone();
        let watching = tokio::spawn(async move {
            let (mut ready_by_name, mut ready) = (HashMap::new(), 0);
            let mut rotated = HashSet::new();
            let mut events = std::pin::pin!(watcher(watched, watcher::Config::default()));
            while let Some(event) = events.next().await {
                let before = match event.expect("the watch goes on") {
                    watcher::Event::Apply(tenant) | watcher::Event::InitApply(tenant) => {
                        let is_ready = is_ready(&tenant);
                        if is_rotated(&tenant) {
                            rotated.insert(tenant.name_any());
                        }
                        ready += usize::from(is_ready);
                        ready_by_name.insert(tenant.name_any(), is_ready)
                    }
                    watcher::Event::Delete(tenant) => ready_by_name.remove(&tenant.name_any()),
                    watcher::Event::Init | watcher::Event::InitDone => None,
                };
                ready -= usize::from(before == Some(true));
                tell.send_replace(Seen { present: ready_by_name.len(), ready, rotated: rotated.len() });
            }
        });
        Self { api, seen, names, databases, watching }
    }

    /// Posts the tenants with these numbers and waits until all are Ready. Returns the seconds until the last was posted,
    /// and until the last was Ready.
    pub async fn create(&self, numbers: std::ops::Range<usize>) -> (f64, f64) {
        let (started, wanted) = (Instant::now(), numbers.end);
        stream::iter(numbers).for_each_concurrent(CLIENTS, |number| self.post(number)).await;
        let posted = started.elapsed();
        self.until(|seen| seen.ready >= wanted).await;
        (posted.as_secs_f64(), started.elapsed().as_secs_f64())
    }

    /// Posts one tenant after the other, each when the one before is Ready; returns how long each took, in milliseconds.
    pub async fn create_singly(&self, numbers: std::ops::Range<usize>) -> Vec<f64> {
        let mut took = Vec::new();
        for number in numbers {
            let started = Instant::now();
            self.post(number).await;
            self.until(|seen| seen.ready > number).await;
            took.push(started.elapsed().as_secs_f64() * 1000.0);
        }
        took
    }

    /// Asks for another password of these tenants, and waits until all are told; returns the seconds.
    pub async fn rotate(&self, numbers: std::ops::Range<usize>) -> f64 {
        // A request counts from the second after the password before it was published.
        sleep(Duration::from_secs(2)).await;
        let (started, wanted) = (Instant::now(), numbers.len());
        let asked = json!({ "metadata": { "annotations": { ROTATE_REQUESTED_AT: Timestamp::now().to_string() } } });
        let ask = async |number| {
            let (name, patch) = (self.name(number), Patch::Merge(&asked));
            drop(self.api.patch(&name, &PatchParams::default(), &patch).await.unwrap());
        };
        stream::iter(numbers).for_each_concurrent(CLIENTS, ask).await;
        self.until(|seen| seen.rotated >= wanted).await;
        started.elapsed().as_secs_f64()
    }

    /// Deletes all and waits until they are gone; returns the seconds.
    pub async fn delete(&self, numbers: std::ops::Range<usize>) -> f64 {
        let started = Instant::now();
        let delete = async |number| drop(self.api.delete(&self.name(number), &DeleteParams::default()).await.unwrap());
        stream::iter(numbers).for_each_concurrent(CLIENTS, delete).await;
        self.until(|seen| seen.present == 0).await;
        started.elapsed().as_secs_f64()
    }

    async fn post(&self, number: usize) {
        let mut tenant = tenant(self.names, number);
        if self.databases > 1 {
            tenant.spec.database_ref = Some(DatabaseRef { name: database(number % self.databases).0 });
        }
        let secret = |suffix: &str| Some(ConnectionSecret { name: format!("{}-{suffix}", self.name(number)) });
        if secrets() > 0 {
            tenant.spec.connection_secret = secret("db");
        }
        if secrets() > 1 {
            tenant.spec.migration_secret = secret("db-owner");
        }
        self.api.create(&PostParams::default(), &tenant).await.unwrap();
    }

    fn name(&self, number: usize) -> String {
        format!("{}-{number}", self.names)
    }

    async fn until(&self, holds: impl Fn(&Seen) -> bool) {
        let mut seen = self.seen.clone();
        let held = timeout(Duration::from_hours(1), seen.wait_for(holds)).await;
        held.expect("in time").expect("the watch goes on");
    }
}

fn is_ready(tenant: &TenantSchema) -> bool {
    let conditions = tenant.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn is_rotated(tenant: &TenantSchema) -> bool {
    let credentials = tenant.status.as_ref().and_then(|status| status.credentials.as_ref());
    credentials.is_some_and(|credentials| credentials.rotated.is_some())
}
