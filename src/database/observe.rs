//! Stage 3: how this replica stands to a database. Who holds it also looks who uses it and how it is reached.

use std::time::Duration;

use super::{
    desired::Desired,
    holding::{Holding, Holdings},
    plan::{Turn, keep_off},
    resolve::{Unresolved, resolve},
    status::is_said_to_be_well,
    users::in_use,
    work::{LaneKey, Wishes, Work},
};
use crate::{
    api::{TenantDatabase, condition::Reason},
    context::Context,
};

/// What was observed.
#[derive(Debug, Default)]
pub struct Observed {
    /// Whose turn it is.
    pub turn: Turn,
    /// What this replica has.
    pub stands: Stands,
    /// The database refused this replica's epoch.
    pub refused: bool,
    /// A job runs.
    pub busy: bool,
    /// The last holder said that the database is at work.
    pub said_to_be_well: bool,
    /// What was read is what the API server has.
    pub settled: bool,
    /// What the definitions of the kinds lack.
    pub kinds: Option<String>,
    /// A user asked to look now.
    pub asked: bool,
    /// Who still uses a database that is deleted.
    pub users: Option<String>,
    /// Why there is nothing to connect with.
    pub unresolved: Option<Unresolved>,
    /// The lane that is open and can be used.
    pub lane: Option<LaneSeen>,
    /// What the lane is to be made of.
    pub key: Option<LaneKey>,
}

/// What this replica has of the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stands {
    /// Nothing, or a lane.
    #[default]
    Otherwise,
    /// It has stood by for so long.
    By(Duration),
    /// The lane is shut for this.
    Shut(Reason),
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
    let mut observed = standing(database, desired, work, ctx, holdings);
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
        Ok(connection) => Some(connection),
        Err(error) => {
            observed.unresolved = Some(error);
            work.map(|work| work.key.connection().clone())
        }
    };
    observed.key = connection.map(|connection| LaneKey::new(database, connection, ctx.world.number()));
    observed.lane = work.map(|work| LaneSeen {
        as_asked: observed.key.as_ref() == Some(&work.key),
        news: work.is_news(wishes(desired, work)),
        due: work.until_survey().is_zero(),
    });
    observed
}

/// What any replica sees at no cost.
fn standing(
    database: &TenantDatabase,
    desired: &Desired,
    work: Option<&Work>,
    ctx: &Context,
    holdings: &Holdings,
) -> Observed {
    Observed {
        turn: holdings.turn(&desired.name),
        refused: holdings.is_refused(&desired.name),
        stands: match holdings.of(&desired.name) {
            Holding::StandsBy(since) => Stands::By(since.elapsed()),
            Holding::Shut(reason, _) => Stands::Shut(reason),
            Holding::Apart | Holding::Opening | Holding::Open(_) => Stands::Otherwise,
        },
        busy: work.is_some_and(|work| work.lane.is_busy()),
        said_to_be_well: is_said_to_be_well(database),
        settled: ctx.world.is_settled(),
        kinds: ctx.kinds.complaint(),
        ..Observed::default()
    }
}

/// What tenants have to follow now.
pub fn wishes(desired: &Desired, work: &Work) -> Wishes {
    (desired.generation, desired.confirmed, work.lane.contest().is_some())
}
