//! Stage 4: what this pass does about a database: the next moves, and what they come to. Pure, and total.
//!
//! The part that any replica can see at no cost comes first: only a replica whose turn it is asks for the rest.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    desired::Desired,
    observe::{Cache, LaneSeen, Observed, Stands},
    status,
};
use crate::{
    api::condition::{Reason, Verdict},
    kubernetes::{self, lease::Standing},
};

/// After how long without a sign of life in the database a holder is said to do nothing, and how often a standby checks
/// that.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// How long until it is asked again whether the caches are of the world that is there now.
const UNSETTLED: Duration = Duration::from_millis(500);

/// What is done, in order. The first that fails ends the pass.
#[derive(Debug)]
pub struct Plan {
    /// The moves.
    pub moves: Vec<Move>,
    /// What they come to.
    pub end: End,
}

/// One move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Takes part in the election.
    Join,
    /// Closes the lane, if one is open, and leaves the tenants alone.
    StandBy,
    /// Puts our finalizer on the object.
    Protect,
    /// Opens the lane, after closing the one that was open.
    Open,
    /// All tenants and backups of the database look again.
    Wake,
    /// Surveys the tenants, and looks after what the survey shows.
    Survey,
}

/// What a pass comes to.
#[derive(Debug)]
pub enum End {
    /// Leaves the election, to join it again: another replica took the lane while this one believed to hold it.
    Rejoin,
    /// Nothing can be done while the API server does not say whose turn it is.
    Unknown(Arc<kubernetes::Error>),
    /// Looks again after this.
    Wait(Duration),
    /// Looks whether the one that holds the Lease works.
    LookAtHolder,
    /// Gives the database to the replica that asks for it.
    HandOver(String),
    /// Closes the lane and says why.
    Shut {
        /// Why.
        verdict: Verdict,
        /// Whether it was said before.
        said: bool,
    },
    /// Lets the object go, and the database with it.
    Release,
    /// Brings back what is to come back, and says how the database is; with a remark, if this is to be said before all else.
    Report(Option<Verdict>),
}

/// The plan of one pass.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed) -> Plan {
    keep_off(observed).unwrap_or_else(|| work(desired, observed))
}

/// The plan of a replica that does not work on the database now; nothing when it does.
#[must_use]
pub fn keep_off(observed: &Observed) -> Option<Plan> {
    let Observed { standing, stands, cache, .. } = observed;
    let waited = if let Stands::By(waited) = stands { Some(*waited) } else { None };
    let mut moves = if waited.is_some() { Vec::new() } else { vec![Move::StandBy] };
    let end = match (standing, cache) {
        _ if *stands == Stands::Refused => End::Rejoin,
        (None, _) => {
            moves.insert(0, Move::Join);
            End::Wait(PATIENCE)
        }
        (Some(Standing::Waiting), _) if waited >= Some(PATIENCE) && observed.said_to_be_well => End::LookAtHolder,
        (Some(Standing::Waiting), _) => End::Wait(PATIENCE),
        (Some(Standing::Failed(error)), _) => End::Unknown(error.clone()),
        // No replica works from caches that do not show what is there.
        (Some(Standing::Held { .. }), Cache::Unsettled) => End::Wait(UNSETTLED),
        (Some(Standing::Held { .. }), Cache::CutOff(lacks)) => {
            moves.clear();
            let said = *stands == Stands::Shut(Reason::KindsOlder);
            End::Shut { verdict: Verdict::of(Reason::KindsOlder, lacks.clone(), false), said }
        }
        // The job would begin again at the other replica.
        (Some(Standing::Held { wanted_by: Some(_), .. }), _) if *stands == Stands::Open { busy: true } => return None,
        (Some(Standing::Held { wanted_by: Some(to), .. }), _) => {
            moves.clear();
            End::HandOver(to.clone())
        }
        (Some(Standing::Held { wanted_by: None, .. }), _) => return None,
    };
    Some(Plan { moves, end })
}

/// The plan of the replica whose turn it is.
fn work(desired: &Desired, observed: &Observed) -> Plan {
    if desired.leaving && observed.users.is_none() {
        return Plan { moves: Vec::new(), end: End::Release };
    }
    let mut moves = Vec::new();
    if !desired.leaving && !desired.protected {
        moves.push(Move::Protect);
    }
    match (&observed.lane, &observed.unresolved) {
        (None, Some(error)) => {
            let verdict = match &desired.complaint {
                Some(complaint) => Verdict::of(Reason::InvalidSpec, format!("{complaint}; {error}"), false),
                None => status::unresolved(error, false),
            };
            return Plan { moves, end: End::Shut { verdict, said: false } };
        }
        // A Secret that cannot be read closes nothing: the lane goes on with the connection that it has.
        (Some(LaneSeen { as_asked: true, news, due }), _) => {
            if *news {
                moves.push(Move::Wake);
            }
            if *due || observed.asked {
                moves.push(Move::Survey);
            }
        }
        (None | Some(_), _) => moves.extend([Move::Open, Move::Survey]),
    }
    let used = observed.users.clone().map(|message| Verdict::of(Reason::InUse, message, true));
    let remark = used.or_else(|| observed.unresolved.as_ref().map(|error| status::unresolved(error, true)));
    Plan { moves, end: End::Report(remark) }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.moves {
            writeln!(f, "{step}")?;
        }
        writeln!(f, "{}", self.end)
    }
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Join => "take part in the election",
            Self::StandBy => "stand by",
            Self::Protect => "set the finalizer",
            Self::Open => "open the lane",
            Self::Wake => "wake all tenants and backups",
            Self::Survey => "survey",
        })
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejoin => f.write_str("leave the election, to join it again"),
            Self::Unknown(error) => write!(f, "fail: {error}"),
            Self::Wait(time) => write!(f, "look again in {time:?}"),
            Self::LookAtHolder => f.write_str("see whether the holder works"),
            Self::HandOver(to) => write!(f, "hand over to {to}"),
            Self::Shut { verdict, said } => {
                let how = if *said { ", as was said" } else { "" };
                write!(f, "shut ({}{how}): {}", verdict.reason(), verdict.message())
            }
            Self::Release => f.write_str("give the database up, and let the object go"),
            Self::Report(None) => f.write_str("say how it is"),
            Self::Report(Some(remark)) => write!(f, "say how it is ({}): {}", remark.reason(), remark.message()),
        }
    }
}
