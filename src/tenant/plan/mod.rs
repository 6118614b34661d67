//! Stage 4: what to do, from what is wanted and what is. Pure and total: no clock, no waiting, no failure.

mod absent;
mod adopt;
mod bring_up;
mod conflict;
mod credentials;
mod dependents;
mod grants;
mod keep;
mod policies;
mod schedules;
mod take_down;

use bring_up::bring_up;
pub use conflict::awaited;
use keep::keep;
use take_down::take_down;

use super::{
    desired::{Desired, Removal},
    observe::Observed,
};
use crate::{
    api::condition::Reason,
    contract::{Caller, Owner},
    plan::{Effect, Plan},
};

/// Plans a living tenant.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed) -> Plan {
    let effects = match &observed.answer.own {
        Some(row) => keep(desired, row, observed),
        None => bring_up(desired, &observed.answer),
    };
    let mut plan = of(&desired.owner, desired.schema_name.as_str(), effects);
    if observed.gone && plan.changes() {
        // What this very object let go is given back only to an object that is there.
        plan.effects =
            vec![Effect::wait(Reason::Progressing, "this object is being deleted, and nothing is made for it")];
    }
    Plan { paused: desired.paused, holds: observed.answer.own.is_some(), ..plan }
}

/// Plans the end of a tenant.
#[must_use]
pub fn plan_removal(removal: &Removal, observed: &Observed) -> Plan {
    let given_to = observed.given_to.clone().unwrap_or_else(|| removal.given_to.clone());
    let effects = take_down(removal, given_to.as_ref(), &observed.answer);
    let plan = of(&removal.owner, removal.schema_name.as_deref().unwrap_or("unknown"), effects);
    // A pause keeps what is there. A tenant that has nothing goes.
    let has = removal.may_have_schema || observed.answer.own.is_some() || observed.answer.tombstone.is_some();
    Plan { paused: removal.paused && has, ..plan }
}

fn of(owner: &Owner, schema: &str, effects: Vec<Effect>) -> Plan {
    Plan {
        subject: format!("tenant {}/{}, schema {schema}", owner.namespace, owner.name),
        caller: caller(owner),
        effects,
        ..Plan::default()
    }
}

fn caller(owner: &Owner) -> Caller {
    Caller {
        namespace: owner.namespace.clone(),
        tenant: Some(owner.uid.clone()),
        requested_by: format!("TenantSchema {}/{}", owner.namespace, owner.name),
    }
}
