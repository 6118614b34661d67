//! The steps that a replica can take, and what is true in every state.

use tenant_schema_operator::database::balance::{Claim, asks_for};

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// All rules hold.
    Nothing,
    /// The database does not compare the epoch of a call with its own.
    EpochNotCompared,
    /// A claim leaves the epoch as it is.
    EpochNotRaised,
    /// A claim does not wait for the end of calls that are under way.
    ClaimDoesNotWait,
    /// A Lease is written even if it was changed since it was read.
    WrittenUnseen,
    /// A holder never counts as gone.
    LeaseForEver,
    /// The database takes the last holder for alive for ever.
    HeartbeatForEver,
    /// A replica asks, no matter how many databases the holder has.
    AskedWhenever,
}

/// One replica, by its place in [`State::replicas`].
type Name = u8;

/// What a replica is about to write into the Lease that it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Intent {
    Take,
    Ask,
    PassOn(Name),
    GiveBack,
}

/// The epoch that a replica calls with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Epoch {
    #[default]
    None,
    /// The database's.
    Current,
    /// An older one.
    Stale,
}

/// What a replica knows, and what it is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent of one another")]
pub struct Replica {
    /// What it is about to write, and whether the Lease is still as it was read.
    intent: Option<(Intent, bool)>,
    /// It believes to hold the Lease.
    pub believes: bool,
    /// It has seen at the API server that it does, and is about to claim the database.
    confirmed: bool,
    /// It is passing the Lease on.
    leaving: bool,
    epoch: Epoch,
    /// A call of it is under way in the database.
    at_work: bool,
    /// It does not come back.
    dead: bool,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub replicas: Vec<Replica>,
    /// The replica that has the Lease, and the one that asks for it.
    holder: Option<Name>,
    wanted_by: Option<Name>,
    /// The replica that claimed the database last, if that process still lives.
    claimed_by: Option<Name>,
    /// The one that claimed it was heard of a moment ago.
    heard: bool,
}

/// A step: what happened, whether only a failure explains it, and the state after it.
pub struct Step {
    pub is_failure: bool,
    pub passes_on: bool,
    pub after: State,
    pub wrong: Option<&'static str>,
}

/// Replicas under rules.
pub struct Model {
    replicas: usize,
    broken: Broken,
}

impl Model {
    pub fn new(replicas: usize, broken: Broken) -> Self {
        Self { replicas, broken }
    }

    /// No replica has the database yet.
    pub fn begin(&self) -> State {
        let replicas = vec![Replica::default(); self.replicas];
        State { replicas, holder: None, wanted_by: None, claimed_by: None, heard: false }
    }

    /// All steps that any replica can take.
    pub fn steps(&self, state: &State) -> Vec<Step> {
        let mut steps = Vec::new();
        for me in 0..self.replicas {
            if !state.replicas[me].dead {
                self.steps_of(state, me, &mut steps);
            }
        }
        if state.heard && self.broken != Broken::HeartbeatForEver {
            steps.push(Step::of(state, false, |after| after.heard = false));
        }
        steps
    }

    fn steps_of(&self, state: &State, me: usize, steps: &mut Vec<Step>) {
        let (replica, name) = (state.replicas[me], Name::try_from(me).unwrap());
        let mine = state.holder == Some(name);
        let mut step = |is_failure, change: &dyn Fn(&mut State, &mut Replica)| {
            steps.push(Step::of(state, is_failure, |after| {
                let mut replica = after.replicas[me];
                change(after, &mut replica);
                after.replicas[me] = replica;
            }));
        };
        // The election: a look, and what is written after it.
        if replica.intent.is_none() {
            let intent = |replica: &mut Replica, intent| replica.intent = Some((intent, true));
            if replica.leaving {
                step(false, &|after, replica| match after.wanted_by {
                    _ if !mine => replica.leaving = false,
                    Some(asking) if asking != name => intent(replica, Intent::PassOn(asking)),
                    _ => intent(replica, Intent::GiveBack),
                });
            } else if mine || state.holder.is_none() {
                step(false, &|_, replica| intent(replica, Intent::Take));
            } else {
                if self.wants(state, name) {
                    step(false, &|_, replica| intent(replica, Intent::Ask));
                }
                if self.broken != Broken::LeaseForEver {
                    step(true, &|_, replica| intent(replica, Intent::Take));
                }
            }
        }
        if replica.believes && !replica.leaving {
            step(true, &|_, replica| {
                *replica = Replica { believes: false, epoch: Epoch::None, confirmed: false, ..*replica }
            });
        }
        // The database: seen to hold the Lease, claimed, called.
        if replica.believes && replica.epoch == Epoch::None && !replica.confirmed && !replica.leaving && mine {
            step(false, &|_, replica| replica.confirmed = true);
        }
        let calls_end = state.replicas.iter().all(|other| !other.at_work) || self.broken == Broken::ClaimDoesNotWait;
        if replica.confirmed && calls_end {
            step(false, &|after, replica| self.claim(after, replica, name));
        }
        if replica.epoch == Epoch::Current && !state.heard {
            step(false, &|after, _| after.heard = true);
        }
        if replica.at_work {
            step(false, &|_, replica| replica.at_work = false);
        }
        // It passes on what is asked for once nothing of it is under way, and says that it leaves.
        let asked = state.wanted_by.is_some_and(|asking| asking != name);
        if replica.believes && mine && asked && !replica.leaving && !replica.at_work {
            step(false, &|after, replica| {
                after.heard &= replica.epoch != Epoch::Current;
                *replica = Replica { leaving: true, ..Replica::default() };
            });
        }
        // Another life of it, or none any more. Its call is undone.
        let forget = |after: &mut State| after.claimed_by = after.claimed_by.filter(|claimed| *claimed != name);
        step(true, &|after, replica| {
            forget(after);
            *replica = Replica::default();
        });
        if state.replicas.iter().filter(|other| !other.dead).count() > 1 {
            step(true, &|after, replica| {
                forget(after);
                *replica = Replica { dead: true, ..Replica::default() };
            });
        }
        if let Some((intent, unchanged)) = replica.intent {
            let mut written = Step::of(state, false, |after| {
                after.replicas[me].intent = None;
                if unchanged || self.broken == Broken::WrittenUnseen {
                    write(after, me, name, intent);
                }
            });
            written.passes_on = matches!(intent, Intent::PassOn(_)) && written.after.holder != state.holder;
            steps.push(written);
        }
        if replica.epoch != Epoch::None && !replica.at_work {
            let accepted = replica.epoch == Epoch::Current || self.broken == Broken::EpochNotCompared;
            let mut call = Step::of(state, false, |after| {
                let replica = &mut after.replicas[me];
                replica.at_work = accepted;
                replica.epoch = if accepted { replica.epoch } else { Epoch::None };
            });
            if accepted && replica.epoch == Epoch::Stale {
                call.wrong = Some("a call of a replica that was followed by another is accepted");
            }
            steps.push(call);
        }
    }

    /// `claim_lane`: refused while another replica that was heard of has the database.
    fn claim(&self, after: &mut State, replica: &mut Replica, name: Name) {
        replica.confirmed = false;
        if after.heard && after.claimed_by != Some(name) {
            return;
        }
        if self.broken != Broken::EpochNotRaised {
            for other in after.replicas.iter_mut().filter(|other| other.epoch == Epoch::Current) {
                other.epoch = Epoch::Stale;
            }
        }
        replica.epoch = Epoch::Current;
        (after.claimed_by, after.heard) = (Some(name), true);
    }

    /// Whether a replica asks for the Lease. The first replica has another database besides.
    fn wants(&self, state: &State, name: Name) -> bool {
        const NAMES: [&str; 3] = ["a", "b", "c"];
        let named = |name: Option<Name>| name.map(|name| NAMES[usize::from(name)]);
        let claims = [
            Claim { lease: "database", holder: named(state.holder), wanted_by: named(state.wanted_by) },
            Claim { lease: "other", holder: Some("a"), wanted_by: None },
        ];
        if self.broken == Broken::AskedWhenever {
            return state.wanted_by.is_none() && state.holder != Some(name);
        }
        asks_for(&claims, NAMES[usize::from(name)]) == Some("database")
    }
}

/// What becomes of the Lease: a renewal keeps the question of a replica, and the next holder removes it.
fn write(after: &mut State, me: usize, name: Name, intent: Intent) {
    match intent {
        Intent::Take => {
            if after.holder != Some(name) {
                (after.holder, after.wanted_by) = (Some(name), None);
            }
            after.replicas[me].believes = true;
        }
        Intent::Ask => after.wanted_by = Some(name),
        Intent::PassOn(to) => (after.holder, after.wanted_by) = (Some(to), None),
        Intent::GiveBack => after.holder = None,
    }
    if matches!(intent, Intent::PassOn(_) | Intent::GiveBack) {
        after.replicas[me].leaving = false;
    }
    for other in &mut after.replicas {
        other.intent = other.intent.map(|(intent, _)| (intent, false));
    }
}

impl Step {
    fn of(state: &State, is_failure: bool, change: impl FnOnce(&mut State)) -> Self {
        let mut after = state.clone();
        change(&mut after);
        let wrong = after.wrong();
        Self { is_failure, passes_on: false, after, wrong }
    }
}

impl State {
    /// What must never be.
    fn wrong(&self) -> Option<&'static str> {
        let count = |is: fn(&Replica) -> bool| self.replicas.iter().filter(|replica| is(replica)).count();
        if count(|replica| replica.at_work) > 1 {
            return Some("two replicas are at work");
        }
        (count(|replica| replica.epoch == Epoch::Current) > 1).then_some("the calls of two replicas are accepted")
    }

    /// A replica has the Lease, and its calls are accepted.
    pub fn is_served(&self) -> bool {
        let serves = |replica: &Replica| replica.believes && replica.epoch == Epoch::Current;
        self.holder.is_some_and(|holder| serves(&self.replicas[usize::from(holder)]))
    }
}
