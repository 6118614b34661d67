//! Stage 4: what to do, from what is wanted and what is. Pure and total: no clock, no waiting, no failure.
//!
//! A plan is an ordered list of effects and reads as text; the golden files in `tests/plans/` are that text. Nothing is
//! left to decide while a plan is applied.

mod absent;
mod bring_up;
mod conflict;
mod keep;
mod take_down;

use std::fmt;

use bring_up::bring_up;
pub use conflict::awaited;
use keep::keep;
use serde_json::{Value, json};
use take_down::take_down;
use uuid::Uuid;

use super::desired::{Desired, Removal};
use crate::{
    api::{condition::Reason, tenant_schema::Access},
    contract::{Owner, TenantAnswer},
};

/// What to do, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Whom it is for.
    pub subject: String,
    /// In order; one reconcile runs up to the first that waits or refuses.
    pub effects: Vec<Effect>,
}

/// One thing to do, to wait for, or to refuse.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// End the tenant's long work that runs in this process.
    EndJobs {
        /// The tenant.
        schema_id: Uuid,
    },
    /// Calls of management functions that travel together.
    Steps(Vec<Step>),
    /// The same, and what comes after is done also if one of them fails: a tenant can make them fail.
    Try(Vec<Step>),
    /// Come back when it is so.
    Await {
        /// From the closed set.
        reason: Reason,
        /// What is waited for.
        fact: String,
    },
    /// A person must act.
    Refuse {
        /// From the closed set.
        reason: Reason,
        /// What is wrong, where, and the way out.
        message: String,
    },
    /// Let the object go.
    Release,
}

/// One call of one management function.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The function.
    pub call: &'static str,
    /// What it is given.
    pub options: Value,
    /// What it does, for people.
    pub text: String,
}

impl Plan {
    /// True when nothing is to be done, waited for or refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.effects.is_empty()
    }

    /// True when applying it would change something, so that the finalizer must stand before.
    #[must_use]
    pub fn changes(&self) -> bool {
        self.effects.iter().any(|effect| matches!(effect, Effect::Steps(_) | Effect::Try(_)))
    }

    /// True when something becomes the object's that was another one's of its name.
    #[must_use]
    pub fn takes_back(&self) -> bool {
        self.steps().any(|step| matches!(step.call, "reclaim_tenant_schema" | "restore_tenant_schema"))
    }

    /// True when applying it would let a role in that was kept out.
    #[must_use]
    pub fn opens(&self) -> bool {
        let open = access_word(Access::ReadWrite);
        self.steps().any(|step| step.call == "set_tenant_access" && step.options["access"] == open)
    }

    fn steps(&self) -> impl Iterator<Item = &Step> {
        self.effects.iter().flat_map(|effect| match effect {
            Effect::Steps(steps) | Effect::Try(steps) => steps.as_slice(),
            _ => &[],
        })
    }

    fn new(owner: &Owner, schema: &str, effects: Vec<Effect>) -> Self {
        Self { subject: format!("tenant {}/{}, schema {schema}", owner.namespace, owner.name), effects }
    }
}

/// Plans a living tenant.
#[must_use]
pub fn plan(desired: &Desired, observed: &TenantAnswer) -> Plan {
    let effects = match &observed.own {
        Some(row) => keep(desired, row),
        None => bring_up(desired, observed),
    };
    Plan::new(&desired.owner, desired.schema_name.as_str(), effects)
}

/// Plans the end of a tenant.
#[must_use]
pub fn plan_removal(removal: &Removal, observed: &TenantAnswer) -> Plan {
    let effects = take_down(removal, observed);
    Plan::new(&removal.owner, removal.schema_name.as_deref().unwrap_or("unknown"), effects)
}

fn step(call: &'static str, desired: &Desired, mut options: Value, text: String) -> Step {
    options["requested_by"] = json!(requested_by(&desired.owner));
    Step { call, options, text }
}

fn refuse(reason: Reason, message: String) -> Effect {
    Effect::Refuse { reason, message }
}

/// Who asked, as the operation log shows it.
#[must_use]
pub fn requested_by(owner: &Owner) -> String {
    format!("TenantSchema {}/{}", owner.namespace, owner.name)
}

/// The word of the wire contract.
#[must_use]
pub const fn access_word(access: Access) -> &'static str {
    match access {
        Access::ReadWrite => "ReadWrite",
        Access::Suspended => "Suspended",
    }
}

fn quota_text(desired: &Desired) -> &str {
    desired.effective.quota_limit.as_deref().unwrap_or("none")
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:", self.subject)?;
        if self.effects.is_empty() {
            return writeln!(f, "  nothing to do");
        }
        for effect in &self.effects {
            match effect {
                Effect::EndJobs { .. } => writeln!(f, "  end its running jobs")?,
                Effect::Steps(steps) | Effect::Try(steps) => {
                    let how = if matches!(effect, Effect::Try(_)) { "as far as it goes" } else { "in order" };
                    writeln!(f, "  {how}:")?;
                    for step in steps {
                        writeln!(f, "    {}", step.text)?;
                    }
                }
                Effect::Await { fact, .. } => writeln!(f, "  wait until {fact}")?,
                Effect::Refuse { reason, message } => writeln!(f, "  refuse ({reason}): {message}")?,
                Effect::Release => writeln!(f, "  let the object go")?,
            }
        }
        Ok(())
    }
}
