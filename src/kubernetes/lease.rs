//! Holding a Lease: at most one replica at a time believes that it works for a database.
//!
//! The rules are those of client-go's leader election. Every write names the version that it changes, so of two
//! replicas that want a Lease one is refused. No clock of another machine is read: a holder counts as gone when its
//! Lease did not change for [`DURATION`] by the clock of a replica that looks. A holder stops to believe `HOLD` after
//! its last renewal, by a clock that runs on while the process is stopped.
//!
//! A replica that waits may ask the holder for the Lease, by an annotation that does not extend the holder's time. The
//! holder hands it over by writing the name of the replica that asked, so that no other comes in between.
//!
//! A Lease is only for availability. What it cannot exclude is a holder that still believes to hold it and writes; the
//! database's epoch refuses that one.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ObjectMeta, PostParams},
};
use tokio::{
    sync::{Notify, oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{Error, clock::ApiClock, world::World};
use crate::api::WANTED_BY;

/// After this long without a change the holder of a Lease counts as gone.
pub const DURATION: Duration = Duration::from_secs(15);
/// For this long after the begin of its last renewal a holder believes to hold.
const HOLD: Duration = Duration::from_secs(10);
/// How often a Lease is renewed by its holder and looked at by the others, and how long one look may take.
const PERIOD: Duration = Duration::from_secs(5);
/// When a look that failed is taken again.
const RETRY: Duration = Duration::from_secs(1);
/// When a Lease that another replica changed in the same moment is looked at again.
const AGAIN: Duration = Duration::from_millis(200);

/// Whose turn it is, as this replica knows.
#[derive(Clone, Debug, Default)]
pub enum Standing {
    /// Another replica's, or not known yet.
    #[default]
    Waiting,
    /// This replica's.
    Held {
        /// Until this time.
        until: Instant,
        /// Another replica that asks for it.
        wanted_by: Option<String>,
    },
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
        Ok(self.holder().await?.as_deref() == Some(identity))
    }

    /// Which replica holds the Lease, as the API server says now.
    pub async fn holder(&self) -> Result<Option<String>, Error> {
        let lease = super::read(&self.api, &self.name).await?;
        Ok(lease.as_ref().and_then(holder).map(str::to_owned))
    }
}

/// The replica that holds the Lease; none when its holder gave it back.
#[must_use]
pub fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// The replica that asks the holder for the Lease.
#[must_use]
pub fn wanted_by(lease: &Lease) -> Option<&str> {
    let asking = lease.annotations().get(WANTED_BY).filter(|asking| !asking.is_empty())?;
    (holder(lease) != Some(asking)).then_some(asking)
}

/// Removes a Lease that is not needed any more.
pub async fn delete(client: &Client, namespace: &str, name: &str) -> Result<(), Error> {
    let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
    super::delete(&api, name).await
}

/// What hears of a Lease besides its election.
pub struct Hearers {
    /// Compares the API server's time with this machine's.
    pub clock: Arc<ApiClock>,
    /// Notices when the API server's world went back.
    pub world: Arc<World>,
}

/// Taking part in the election of one Lease's holder.
pub struct LeaseCandidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    standing: watch::Receiver<Standing>,
    look: Arc<Notify>,
    leave: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl LeaseCandidate {
    /// Starts to take part as `identity`; the Lease is made if it is not there. `wants` says of a Lease that another
    /// replica holds whether to ask for it. `changed` is called whenever [`LeaseCandidate::standing`] changes, and at
    /// every renewal while another replica asks.
    pub fn start(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
        hearers: Hearers,
        wants: impl Fn(&Lease) -> bool + Send + Sync + 'static,
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
            seen: Seen { spec: None, since: Instant::now() },
            tell,
            hearers,
            wants: Box::new(wants),
            changed: Box::new(changed),
        };
        let task = tokio::spawn(election.run(look.clone(), left));
        Self { api, name: name.to_owned(), identity: identity.to_owned(), standing, look, leave, task }
    }

    /// Whose turn it is.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match &*self.standing.borrow() {
            Standing::Held { until, .. } if *until <= Instant::now() => Standing::Waiting,
            standing => standing.clone(),
        }
    }

    /// The Lease itself, to ask the API server about it.
    #[must_use]
    pub fn lease(&self) -> HeldLease {
        HeldLease { api: self.api.clone(), name: self.name.clone() }
    }

    /// The Lease was seen so. It is looked at at once if that is news: no replica holds it, or this replica does or
    /// does not, or another replica asks for it.
    pub fn hear(&self, lease: &Lease) {
        let known = match self.standing() {
            Standing::Held { wanted_by, .. } => Some(wanted_by),
            Standing::Waiting | Standing::Failed(_) => None,
        };
        let seen = (holder(lease) == Some(&self.identity)).then(|| wanted_by(lease).map(str::to_owned));
        if holder(lease).is_none() || seen != known {
            self.look.notify_one();
        }
    }

    /// Gives the Lease back if it is held, so that another replica need not wait for it to run out: to the one that asked
    /// for it, or else to the first.
    pub async fn release(self) {
        let Self { leave, task, .. } = self;
        drop(leave);
        // The task ends by itself; it would only fail by a panic, and then the Lease runs out.
        let _ = task.await;
    }
}

/// What the Lease said last, and since when it is known. Annotations do not count: asking for a Lease must not keep a holder
/// alive that is gone.
struct Seen {
    spec: Option<LeaseSpec>,
    since: Instant,
}

impl Seen {
    /// How long until the holder counts as gone, if the Lease says this now.
    fn left(&mut self, spec: Option<&LeaseSpec>, now: Instant) -> Duration {
        if self.spec.as_ref() != spec {
            *self = Self { spec: spec.cloned(), since: now };
        }
        DURATION.saturating_sub(now.duration_since(self.since))
    }
}

struct Election {
    api: Api<Lease>,
    name: String,
    identity: String,
    seen: Seen,
    tell: watch::Sender<Standing>,
    hearers: Hearers,
    wants: Box<dyn Fn(&Lease) -> bool + Send + Sync>,
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
        let attempt = timeout(PERIOD, self.attempt(begun)).await.unwrap_or_else(|_| {
            Err(Error::Unreachable {
                attempt: format!("take part in Lease {}", self.name),
                message: format!("the API server did not answer within {PERIOD:?}"),
            })
        });
        let (standing, pause) = match attempt {
            Ok(found) => found,
            Err(error) => {
                // Another replica wrote first, perhaps only to ask for the Lease.
                let raced = matches!(error, Error::Refused { code: 404 | 409, .. });
                let pause = if raced { AGAIN } else { RETRY };
                match &*self.tell.borrow() {
                    Standing::Held { until, .. } if *until > Instant::now() => return pause,
                    _ if raced => (Standing::Waiting, pause),
                    _ => (Standing::Failed(Arc::new(error)), pause),
                }
            }
        };
        let before = self.tell.send_replace(standing.clone());
        // A reader may have seen that the Lease ran out before it was renewed, and waits to hear how it goes on.
        let ran_out = matches!(before, Standing::Held { until, .. } if until <= Instant::now());
        // The holder hears at every renewal that a replica asks, until it has a moment to hand the Lease over.
        let wanted = matches!(standing, Standing::Held { wanted_by: Some(_), .. });
        if ran_out || wanted || std::mem::discriminant(&before) != std::mem::discriminant(&standing) {
            (self.changed)();
        }
        pause
    }

    /// Takes or renews the Lease, or asks for it; returns whose turn it is now, and when to look again.
    async fn attempt(&mut self, begun: Instant) -> Result<(Standing, Duration), Error> {
        let lease = super::read(&self.api, &self.name).await?;
        if let Some(lease) = &lease {
            self.hearers.world.saw(&self.name, lease);
        }
        let left = self.seen.left(lease.as_ref().and_then(|lease| lease.spec.as_ref()), Instant::now());
        let other = lease.as_ref().and_then(holder).filter(|holder| *holder != self.identity);
        if let Some(other) = other.filter(|_| !left.is_zero()) {
            let asked_for = lease.as_ref().filter(|lease| (self.wants)(lease));
            if let Some(lease) = asked_for {
                self.write(&asked(lease, Some(&self.identity))).await?;
                tracing::info!(
                    lease = self.name,
                    holder = other,
                    "asked for a Lease, because its holder has at least two more"
                );
            }
            return Ok((Standing::Waiting, left.min(PERIOD)));
        }
        let ours = taken(lease, &self.name, &self.identity, Timestamp::now());
        self.write(&ours).await?;
        Ok((Standing::Held { until: begun + HOLD, wanted_by: wanted_by(&ours).map(str::to_owned) }, PERIOD))
    }

    async fn give_back(&self) -> Result<(), Error> {
        loop {
            let Some(lease) = super::read(&self.api, &self.name).await? else { return Ok(()) };
            let asking = wanted_by(&lease).map(str::to_owned);
            let held = holder(&lease) == Some(&self.identity);
            let given = match &asking {
                Some(asking) if held => taken(Some(lease), &self.name, asking, Timestamp::now()),
                None if held => freed(lease),
                // It must not go to a replica that has left.
                Some(asking) if *asking == self.identity => asked(&lease, None),
                _ => return Ok(()),
            };
            match self.write(&given).await {
                // A renewal that was under way came first.
                Err(Error::Refused { code: 409, .. }) => {}
                Ok(()) => {
                    if let Some(asking) = asking.filter(|_| held) {
                        tracing::info!(
                            lease = self.name,
                            to = asking,
                            "handed a Lease to the replica that asked for it, because that has fewer"
                        );
                    }
                    return Ok(());
                }
                Err(error) => return Err(error),
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
        let asked = Timestamp::now();
        let written = super::within(|| format!("write Lease {}", self.name), call).await?;
        self.hearers.clock.hear(&written.metadata, asked, Timestamp::now());
        self.hearers.world.saw(&self.name, &written);
        Ok(())
    }
}

/// The Lease with this question, or with none.
fn asked(lease: &Lease, by: Option<&str>) -> Lease {
    let mut lease = lease.clone();
    match by {
        Some(by) => lease.annotations_mut().insert(WANTED_BY.to_owned(), by.to_owned()),
        None => lease.annotations_mut().remove(WANTED_BY),
    };
    lease
}

/// The Lease as no replica holds it.
fn freed(mut lease: Lease) -> Lease {
    let lease_transitions = lease.spec.and_then(|spec| spec.lease_transitions);
    lease.spec = Some(LeaseSpec { lease_transitions, ..LeaseSpec::default() });
    lease
}

/// The Lease as this replica holds it; a new holder removes the question to the former one.
fn taken(lease: Option<Lease>, name: &str, identity: &str, now: Timestamp) -> Lease {
    let mut lease = lease.unwrap_or_else(|| Lease {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        spec: None,
    });
    let renewed = holder(&lease) == Some(identity);
    let mut spec = lease.spec.take().unwrap_or_default();
    if !renewed {
        lease.annotations_mut().remove(WANTED_BY);
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
    fn who_asks_is_kept_over_renewals_and_answered_by_the_next_holder() {
        let held = taken(None, "tenant-database-default", "a", at(100));
        assert_eq!(wanted_by(&held), None);
        let asked_for = asked(&held, Some("b"));
        assert_eq!((holder(&asked_for), wanted_by(&asked_for)), (Some("a"), Some("b")));
        let renewed = taken(Some(asked_for.clone()), "tenant-database-default", "a", at(105));
        assert_eq!(wanted_by(&renewed), Some("b"));
        let handed = taken(Some(renewed), "tenant-database-default", "b", at(106));
        assert_eq!((holder(&handed), handed.annotations().len()), (Some("b"), 0));
        assert_eq!(handed.spec.unwrap().acquire_time, Some(MicroTime(at(106))));
        assert_eq!(asked(&asked_for, None).annotations().len(), 0);
        // A question of the holder's own does not count.
        assert_eq!(wanted_by(&asked(&held, Some("a"))), None);
        assert_eq!(wanted_by(&asked(&held, Some(""))), None);
    }

    #[test]
    fn asking_does_not_keep_a_holder_alive() {
        let held = taken(None, "tenant-database-default", "a", at(100));
        let start = Instant::now();
        let mut seen = Seen { spec: None, since: start };
        let mut left = |lease: &Lease, second| seen.left(lease.spec.as_ref(), start + Duration::from_secs(second));
        assert_eq!(left(&held, 1), DURATION);
        assert_eq!(left(&asked(&held, Some("b")), 11), Duration::from_secs(5));
        assert_eq!(left(&held, 30), Duration::ZERO);
        assert_eq!(left(&taken(Some(held), "tenant-database-default", "a", at(131)), 31), DURATION);
    }

    #[test]
    fn a_lease_that_names_no_holder_is_free() {
        for (identity, free) in [(None, true), (Some(""), true), (Some("a"), false)] {
            let spec = LeaseSpec { holder_identity: identity.map(str::to_owned), ..LeaseSpec::default() };
            assert_eq!(holder(&Lease { spec: Some(spec), ..Lease::default() }).is_none(), free, "{identity:?}");
        }
        assert_eq!(holder(&freed(taken(None, "tenant-database-default", "a", at(100)))), None);
    }
}
