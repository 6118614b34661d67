//! What to do, for every kind: a plan is an ordered list of effects, and reads as text. The golden files in `tests/plan/golden/` are
//! that text.
//!
//! Each kind's stage `plan` makes one, pure and total. [`apply()`] does what it says; nothing is decided there.

mod apply;
mod end;

use std::fmt;

use jiff::Timestamp;
use kube::ResourceExt;
use uuid::Uuid;

pub use apply::{Applied, Published, apply, refused};
pub use end::{End, reason_of};

use crate::{
    api::{
        SchemaBackup,
        condition::Reason,
        endpoint::{ClientEndpoint, ReadEndpoint},
    },
    contract::{Caller, Purpose, Step},
    kubernetes::{backups::Known, secrets::Target},
};

/// What to do, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What it is about, for people.
    pub subject: String,
    /// For which object.
    pub caller: Caller,
    /// Nothing is to be done, because a user asked for that; what would be is shown.
    pub paused: bool,
    /// The object has something in the database already, so that its finalizer must stand also when nothing is done.
    pub holds: bool,
    /// In order; one reconcile runs up to the first that waits or refuses.
    pub effects: Vec<Effect>,
}

/// One thing to do, to wait for, or to refuse.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// End long work that runs in this process, so that it holds no lock of what comes next.
    EndJobs(Running),
    /// Calls of management functions that travel together.
    Steps(Vec<Step>),
    /// The same, and what comes after is done also if one of them fails: a tenant can make them fail.
    Try(Vec<Step>),
    /// Write the password that the steps before this one issued to the tenant's Secret.
    Publish {
        /// Who logs in with it.
        purpose: Purpose,
        /// The Secret.
        secret: Box<Target>,
        /// The schema that it leads to.
        schema: String,
        /// Where applications connect to, if not where the operator does.
        client: Option<ClientEndpoint>,
        /// Where they may only read.
        read: Option<ReadEndpoint>,
    },
    /// Make the object by which a schedule asks for a backup.
    MakeBackup {
        /// The object.
        backup: Box<SchemaBackup>,
        /// Since when it is due.
        at: Timestamp,
    },
    /// Remove objects by which a schedule asked for backups; the backups stay.
    ForgetBackups {
        /// The objects.
        known: Vec<Known>,
        /// The one that takes their place; without it they stay.
        newer: Option<String>,
    },
    /// Come back when it is so.
    Await {
        /// From the closed set.
        reason: Reason,
        /// What is waited for, as the condition says it.
        fact: String,
        /// When it is so, if that is a time: nothing has to look before.
        until: Option<Timestamp>,
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

/// Which long work is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Running {
    /// All of a tenant.
    OfTenant(Uuid),
    /// One job.
    Job(Uuid),
}

impl Effect {
    /// A person must act.
    #[must_use]
    pub fn refuse(reason: Reason, message: impl Into<String>) -> Self {
        Self::Refuse { reason, message: message.into() }
    }

    /// Something comes by itself, at a time that is not known.
    #[must_use]
    pub fn wait(reason: Reason, fact: impl Into<String>) -> Self {
        Self::Await { reason, fact: fact.into(), until: None }
    }
}

impl Plan {
    /// True when nothing is to be done, waited for or refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.effects.is_empty()
    }

    /// True when applying it would call a function, so that the finalizer must stand before.
    #[must_use]
    pub fn changes(&self) -> bool {
        self.steps().next().is_some()
    }

    /// True when a person must act.
    #[must_use]
    pub fn refuses(&self) -> bool {
        self.effects.iter().any(|effect| matches!(effect, Effect::Refuse { .. }))
    }

    /// All calls, in order.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.effects.iter().flat_map(|effect| match effect {
            Effect::Steps(steps) | Effect::Try(steps) => steps.as_slice(),
            _ => &[],
        })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:", self.subject)?;
        if self.effects.is_empty() {
            return writeln!(f, "  nothing to do");
        }
        self.effects.iter().try_for_each(|effect| effect.fmt(f))
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EndJobs(Running::OfTenant(_)) => writeln!(f, "  end its running jobs"),
            Self::EndJobs(Running::Job(_)) => writeln!(f, "  end its running job"),
            Self::Steps(steps) => {
                writeln!(f, "  in order:")?;
                steps.iter().try_for_each(|step| writeln!(f, "    {step}"))
            }
            Self::Try(steps) => {
                writeln!(f, "  as far as it goes:")?;
                steps.iter().try_for_each(|step| writeln!(f, "    {step}"))
            }
            Self::Publish { secret, .. } => {
                let stays = if secret.stays { ", which stays when its object goes" } else { "" };
                writeln!(f, "  write Secret {}{stays}", secret.full_name())
            }
            Self::MakeBackup { backup, .. } => writeln!(f, "  make SchemaBackup {}, which is due", backup.name_any()),
            Self::ForgetBackups { known, .. } => {
                let names: Vec<_> = known.iter().map(|known| known.name.as_str()).collect();
                writeln!(f, "  delete SchemaBackups, whose backups stay: {}", names.join(", "))
            }
            Self::Await { fact, until: None, .. } => writeln!(f, "  wait: {fact}"),
            Self::Await { fact, until: Some(until), .. } => writeln!(f, "  wait until {until}: {fact}"),
            Self::Refuse { reason, message } => writeln!(f, "  refuse ({reason}): {message}"),
            Self::Release => writeln!(f, "  let the object go"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps() -> Vec<Step> {
        vec![Step::CancelTenantJobs { schema_id: Uuid::nil() }]
    }

    /// `check(effects, nothing is to be done, a function is called, a person must act)`.
    fn check(effects: Vec<Effect>, is_empty: bool, changes: bool, refuses: bool) {
        let plan = Plan { effects, ..Plan::default() };
        assert_eq!((plan.is_empty(), plan.changes(), plan.refuses()), (is_empty, changes, refuses), "{plan}");
    }

    #[test]
    fn a_plan_says_what_comes_of_it() {
        check(vec![], true, false, false);
        check(vec![Effect::Release], false, false, false);
        check(vec![Effect::wait(Reason::Progressing, "soon")], false, false, false);
        check(vec![Effect::EndJobs(Running::OfTenant(Uuid::nil()))], false, false, false);
        check(vec![Effect::refuse(Reason::Conflict, "taken")], false, false, true);
        check(vec![Effect::Steps(vec![])], false, false, false);
        check(vec![Effect::Steps(steps())], false, true, false);
        check(vec![Effect::Try(steps()), Effect::refuse(Reason::Conflict, "taken")], false, true, true);
    }

    #[test]
    fn the_steps_of_a_plan_are_those_that_it_must_do_and_those_that_it_tries() {
        let other = Step::CancelBackup { backup_id: Uuid::nil() };
        let effects = vec![Effect::Try(steps()), Effect::Release, Effect::Steps(vec![other.clone()])];
        let plan = Plan { effects, ..Plan::default() };
        assert_eq!(plan.steps().collect::<Vec<_>>(), [&steps()[0], &other]);
    }
}
