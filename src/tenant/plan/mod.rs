//! Stage 4: what to do, from what is wanted and what is. Pure and total: no clock, no waiting, no failure.

mod absent;
mod bring_up;
mod conflict;
mod keep;
mod take_down;

use bring_up::bring_up;
pub use conflict::awaited;
use keep::keep;
pub use take_down::release_step;
use take_down::take_down;

use super::desired::{Desired, Removal};
use crate::{
    contract::{Caller, Owner, TenantAnswer},
    plan::{Effect, Plan},
};

/// Plans a living tenant.
#[must_use]
pub fn plan(desired: &Desired, observed: &TenantAnswer) -> Plan {
    let effects = match &observed.own {
        Some(row) => keep(desired, row),
        None => bring_up(desired, observed),
    };
    of(&desired.owner, desired.schema_name.as_str(), effects)
}

/// Plans the end of a tenant.
#[must_use]
pub fn plan_removal(removal: &Removal, observed: &TenantAnswer) -> Plan {
    let effects = take_down(removal, observed);
    of(&removal.owner, removal.schema_name.as_deref().unwrap_or("unknown"), effects)
}

fn of(owner: &Owner, schema: &str, effects: Vec<Effect>) -> Plan {
    Plan {
        subject: format!("tenant {}/{}, schema {schema}", owner.namespace, owner.name),
        caller: caller(owner),
        effects,
    }
}

/// On whose behalf a tenant's steps are applied.
#[must_use]
pub fn caller(owner: &Owner) -> Caller {
    Caller {
        namespace: owner.namespace.clone(),
        tenant: Some(owner.uid.clone()),
        requested_by: format!("TenantSchema {}/{}", owner.namespace, owner.name),
    }
}
