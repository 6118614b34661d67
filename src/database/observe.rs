//! Stage 3: how this replica stands to a database. The holder also looks at who uses it and how it is reached.

use std::time::Duration;

use super::{
    desired::Desired,
    holding::{Holding, Holdings},
    plan::keep_off,
    resolve::{Resolved, Unresolved, resolve},
    status::is_said_to_be_well,
    users::in_use,
    work::{LaneKey, Wishes, Work},
};
use crate::{
    api::{TenantDatabase, condition::Reason},
    frame::Context,
    kubernetes::lease::Standing,
};

/// What was observed.
#[derive(Debug, Default)]
pub struct Observed {
    /// How this replica stands in the election, if it takes part.
    pub standing: Option<Standing>,
    /// What this replica has.
    pub stands: Stands,
    /// Whether what was read is what is there.
    pub cache: Cache,
    /// The last holder said that the database is at work.
    pub said_to_be_well: bool,
    /// A user asked to look now.
    pub asked: bool,
    /// Who still uses a database that is deleted.
    pub users: Option<String>,
    /// Why there is nothing to connect with.
    pub unresolved: Option<Unresolved>,
    /// Why it is not known whom applications may trust.
    pub unread_authority: Option<Unresolved>,
    /// The lane that is open and can be used.
    pub lane: Option<LaneSeen>,
    /// What the lane is to be made of.
    pub key: Option<LaneKey>,
}

/// What this replica has of the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stands {
    /// Nothing that could be used.
    #[default]
    Idle,
    /// It has stood by for so long.
    By(Duration),
    /// The lane is shut for this.
    Shut(Reason),
    /// The lane is open, and jobs run or not.
    Open {
        /// A job runs.
        busy: bool,
    },
    /// The database refused this replica's epoch.
    Refused,
}

/// Whether what was read from the API server is what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cache {
    /// It is.
    #[default]
    Settled,
    /// The API server's world went back, and not everything was read again.
    Unsettled,
    /// The definitions of the kinds cut something off.
    CutOff(String),
}

/// An open lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneSeen {
    /// It is made of what is asked for.
    pub as_asked: bool,
    /// There is something that tenants have to follow.
    pub news: bool,
    /// A survey is due.
    pub due: bool,
}

/// Observes; `work` is the lane that is open and can be used.
pub async fn observe(
    database: &TenantDatabase,
    desired: &Desired,
    work: Option<&Work>,
    ctx: &Context,
    holdings: &Holdings,
) -> Observed {
    let mut observed = at_no_cost(database, desired, work, ctx, holdings);
    if keep_off(&observed).is_some() {
        return observed;
    }
    observed.asked = ctx.requests.is_new(database);
    if desired.leaving {
        observed.users = in_use(database, work, ctx).await;
        if observed.users.is_none() {
            return observed;
        }
    }
    let connection = match resolve(database, &ctx.client, &ctx.config.namespace).await {
        Ok(Resolved { connection, unread_authority }) => {
            observed.unread_authority = unread_authority;
            Some(match work {
                Some(work) => connection.trusted_as_before(work.key.connection()),
                None => connection,
            })
        }
        Err(error) => {
            observed.unresolved = Some(error);
            work.map(|work| work.key.connection().clone())
        }
    };
    observed.key = connection.map(|connection| LaneKey::new(database, connection, ctx.world.number()));
    let found = match work {
        Some(work) => work.lane.addresses.look_up(&desired.names).await,
        None => false,
    };
    observed.lane = work.map(|work| {
        let told = work.memory(|memory| memory.told);
        let (news, due) = (found || told != wishes(desired, work), work.until_survey().is_zero());
        LaneSeen { as_asked: observed.key.as_ref() == Some(&work.key), news, due }
    });
    observed
}

/// What any replica sees at no cost.
fn at_no_cost(
    database: &TenantDatabase,
    desired: &Desired,
    work: Option<&Work>,
    ctx: &Context,
    holdings: &Holdings,
) -> Observed {
    Observed {
        standing: holdings.standing(&desired.name),
        stands: match (holdings.of(&desired.name), work) {
            (Holding::StandsBy(since), _) => Stands::By(since.elapsed()),
            (Holding::Shut(reason, _), _) => Stands::Shut(reason),
            (Holding::Open(work), _) if work.lane.is_refused() => Stands::Refused,
            (_, Some(work)) => Stands::Open { busy: work.lane.is_busy() },
            (_, None) => Stands::Idle,
        },
        cache: match ctx.kinds.complaint() {
            _ if !ctx.world.is_settled() => Cache::Unsettled,
            Some(lacks) => Cache::CutOff(lacks),
            None => Cache::Settled,
        },
        said_to_be_well: is_said_to_be_well(database),
        ..Observed::default()
    }
}

/// What tenants have to follow now.
pub fn wishes(desired: &Desired, work: &Work) -> Wishes {
    (desired.generation, desired.confirmed, work.lane.contest().is_some())
}
