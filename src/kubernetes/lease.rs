//! Holding a Lease: at most one replica at a time believes that it works for a database.
//!
//! The rules are those of client-go's leader election. Every write names the version that it changes, so of two replicas
//! that reach for a Lease one is refused. No clock of another machine is read: a holder counts as gone when its Lease did
//! not change for [`DURATION`] by the clock of whoever watches it. A holder stops to believe [`HOLD`] after its last
//! renewal, by a clock that runs on while the process is stopped.
//!
//! A Lease is only for availability. What it cannot exclude, a holder that believed until it wrote, the database's epoch
//! refuses.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ObjectMeta, PostParams},
};
use tokio::{
    sync::{Notify, oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::Error;

/// After this long without a change the holder of a Lease counts as gone.
pub const DURATION: Duration = Duration::from_secs(15);
/// For this long after the begin of its last renewal a holder believes to hold.
const HOLD: Duration = Duration::from_secs(10);
/// How often a Lease is renewed by its holder and looked at by the others, and how long one look may take.
const PERIOD: Duration = Duration::from_secs(5);
/// When a look that failed is taken again.
const RETRY: Duration = Duration::from_secs(1);
/// When a Lease that somebody else changed in the same moment is looked at again.
const AGAIN: Duration = Duration::from_millis(200);

/// Whose turn it is, as this replica knows.
#[derive(Clone, Debug, Default)]
pub enum Standing {
    /// Another replica's, or nobody knows yet.
    #[default]
    Waiting,
    /// This replica's, until this time.
    Held(Instant),
    /// The API server did not let this replica find out.
    Failed(Arc<Error>),
}

/// A Lease, to be asked about.
pub struct HeldLease {
    api: Api<Lease>,
    name: String,
}

impl HeldLease {
    /// Whether the API server, asked now, says that this replica holds the Lease.
    pub async fn is_held_by(&self, identity: &str) -> Result<bool, Error> {
        let lease = super::read(&self.api, &self.name).await?;
        Ok(lease.as_ref().and_then(holder) == Some(identity))
    }
}

/// True when nobody holds the Lease, because its holder gave it back.
#[must_use]
pub fn is_free(lease: &Lease) -> bool {
    holder(lease).is_none()
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// Removes a Lease that nobody needs any more.
pub async fn delete(client: &Client, namespace: &str, name: &str) -> Result<(), Error> {
    let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
    match super::within(|| format!("delete Lease {name}"), api.delete(name, &DeleteParams::default())).await {
        Err(error) if error.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Taking part in the election of one Lease's holder.
pub struct LeaseCandidate {
    api: Api<Lease>,
    name: String,
    standing: watch::Receiver<Standing>,
    look: Arc<Notify>,
    leave: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl LeaseCandidate {
    /// Starts to take part as `identity`; the Lease is made if it is not there. `changed` is called whenever
    /// [`LeaseCandidate::standing`] becomes another one.
    pub fn start(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
        changed: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let api: Api<Lease> = Api::namespaced(client, namespace);
        let (tell, standing) = watch::channel(Standing::Waiting);
        let (leave, left) = oneshot::channel();
        let look = Arc::new(Notify::new());
        let election = Election {
            api: api.clone(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            seen: Seen { version: None, since: Instant::now() },
            tell,
            changed: Box::new(changed),
        };
        let task = tokio::spawn(election.run(look.clone(), left));
        Self { api, name: name.to_owned(), standing, look, leave, task }
    }

    /// Whose turn it is.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match &*self.standing.borrow() {
            Standing::Held(until) if *until <= Instant::now() => Standing::Waiting,
            standing => standing.clone(),
        }
    }

    /// The Lease itself, to ask the API server about it.
    #[must_use]
    pub fn lease(&self) -> HeldLease {
        HeldLease { api: self.api.clone(), name: self.name.clone() }
    }

    /// Looks at the Lease at once: it may have been given back.
    pub fn look(&self) {
        self.look.notify_one();
    }

    /// Gives the Lease back if it is held, so that another replica need not wait for it to run out.
    pub async fn release(self) {
        let Self { leave, task, .. } = self;
        drop(leave);
        // The task ends by itself; it would only fail by a panic, and then the Lease runs out.
        let _ = task.await;
    }
}

/// The version of the Lease that was seen last, and since when it is known.
struct Seen {
    version: Option<String>,
    since: Instant,
}

struct Election {
    api: Api<Lease>,
    name: String,
    identity: String,
    seen: Seen,
    tell: watch::Sender<Standing>,
    changed: Box<dyn Fn() + Send + Sync>,
}

impl Election {
    async fn run(mut self, look: Arc<Notify>, mut left: oneshot::Receiver<()>) {
        loop {
            let turn = async {
                let pause = self.step().await;
                tokio::select! {
                    () = look.notified() => {}
                    () = sleep(pause) => {}
                }
            };
            tokio::select! {
                biased;
                _ = &mut left => break,
                () = turn => {}
            }
        }
        self.tell.send_replace(Standing::Waiting);
        // What cannot be given back runs out.
        let _ = self.give_back().await;
    }

    /// One look; returns when to take the next.
    async fn step(&mut self) -> Duration {
        let begun = Instant::now();
        let attempt = timeout(PERIOD, self.attempt()).await.unwrap_or_else(|_| {
            Err(Error::Unreachable {
                attempt: format!("take part in Lease {}", self.name),
                message: format!("the API server did not answer within {PERIOD:?}"),
            })
        });
        let (standing, pause) = match attempt {
            Ok(None) => (Standing::Held(begun + HOLD), PERIOD),
            Ok(Some(pause)) => (Standing::Waiting, pause),
            Err(error) => match &*self.tell.borrow() {
                Standing::Held(until) if *until > Instant::now() => return RETRY,
                _ => (Standing::Failed(Arc::new(error)), RETRY),
            },
        };
        let before = self.tell.send_replace(standing.clone());
        // One that ran out before it was renewed was perhaps seen so, and whoever saw it waits to be told.
        let ran_out = matches!(before, Standing::Held(until) if until <= Instant::now());
        if ran_out || std::mem::discriminant(&before) != std::mem::discriminant(&standing) {
            (self.changed)();
        }
        pause
    }

    /// Takes or renews the Lease; or how long to wait before that can be tried.
    async fn attempt(&mut self) -> Result<Option<Duration>, Error> {
        let lease = super::read(&self.api, &self.name).await?;
        let version = lease.as_ref().and_then(Lease::resource_version);
        if self.seen.version != version {
            self.seen = Seen { version, since: Instant::now() };
        }
        let others = lease.as_ref().and_then(holder).is_some_and(|holder| holder != self.identity);
        let left = DURATION.saturating_sub(self.seen.since.elapsed());
        if others && !left.is_zero() {
            return Ok(Some(left.min(PERIOD)));
        }
        let ours = taken(lease, &self.name, &self.identity, Timestamp::now());
        match self.write(&ours).await {
            Ok(()) => Ok(None),
            Err(Error::Refused { code: 404 | 409, .. }) => Ok(Some(AGAIN)),
            Err(error) => Err(error),
        }
    }

    async fn give_back(&self) -> Result<(), Error> {
        loop {
            let Some(mut lease) = super::read(&self.api, &self.name).await? else { return Ok(()) };
            if holder(&lease) != Some(&self.identity) {
                return Ok(());
            }
            let lease_transitions = lease.spec.and_then(|spec| spec.lease_transitions);
            lease.spec = Some(LeaseSpec { lease_transitions, ..LeaseSpec::default() });
            match self.write(&lease).await {
                // A renewal that was under way came first.
                Err(Error::Refused { code: 409, .. }) => {}
                other => return other,
            }
        }
    }

    /// Writes the Lease if it is still in the version that it was read in.
    async fn write(&self, lease: &Lease) -> Result<(), Error> {
        let parameters = PostParams { field_manager: Some(super::MANAGER.to_owned()), ..PostParams::default() };
        let call = async {
            if lease.metadata.resource_version.is_some() {
                self.api.replace(&self.name, &parameters, lease).await
            } else {
                self.api.create(&parameters, lease).await
            }
        };
        super::within(|| format!("write Lease {}", self.name), call).await.map(|_| ())
    }
}

/// The Lease as this replica holds it.
fn taken(lease: Option<Lease>, name: &str, identity: &str, now: Timestamp) -> Lease {
    let mut lease = lease.unwrap_or_else(|| Lease {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        spec: None,
    });
    let renewed = holder(&lease) == Some(identity);
    let mut spec = lease.spec.take().unwrap_or_default();
    if !renewed {
        spec.acquire_time = Some(MicroTime(now));
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default().saturating_add(1));
        spec.holder_identity = Some(identity.to_owned());
    }
    spec.renew_time = Some(MicroTime(now));
    spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
    lease.spec = Some(spec);
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_lease_is_made_taken_and_renewed() {
        let made = taken(None, "tenant-database-default", "a", at(100));
        assert_eq!((made.name_any().as_str(), holder(&made)), ("tenant-database-default", Some("a")));
        let renewed = taken(Some(made.clone()), "tenant-database-default", "a", at(105)).spec.unwrap();
        assert_eq!(renewed.acquire_time, Some(MicroTime(at(100))));
        assert_eq!(renewed.renew_time, Some(MicroTime(at(105))));
        assert_eq!(renewed.lease_transitions, Some(1));
        let lost = taken(Some(made), "tenant-database-default", "b", at(120)).spec.unwrap();
        assert_eq!(lost.acquire_time, Some(MicroTime(at(120))));
        assert_eq!((lost.holder_identity.as_deref(), lost.lease_transitions), (Some("b"), Some(2)));
    }

    #[test]
    fn a_lease_that_names_nobody_is_free() {
        for (identity, free) in [(None, true), (Some(""), true), (Some("a"), false)] {
            let spec = LeaseSpec { holder_identity: identity.map(str::to_owned), ..LeaseSpec::default() };
            assert_eq!(is_free(&Lease { spec: Some(spec), ..Lease::default() }), free, "{identity:?}");
        }
        assert!(is_free(&Lease::default()));
    }
}
