//! What is to be said of a database that is at work all the same.

use std::sync::Arc;

use jiff::SignedDuration;
use kube::ResourceExt;
use tokio::time::Instant;

use super::{bring_back, desired::Desired, observe::Observed, open::contested, status, work::Work};
use crate::{
    api::{
        BRING_BACK, CONFIRM_DELETIONS, TenantDatabase, TenantSchema,
        command::{Kind, Object},
        condition::{Reason, Verdict},
        no_times, time_to_come,
    },
    frame::Context,
    text::DOCS,
};

/// A smaller difference of clocks is not reported.
const SKEW: SignedDuration = SignedDuration::from_mins(1);

/// What is most urgent to say of a database whose lane is open.
pub fn of_open(
    database: &TenantDatabase,
    desired: &Desired,
    observed: &Observed,
    work: &Work,
    ctx: &Context,
) -> Option<Verdict> {
    of_world(work, ctx)
        .or_else(|| work.memory(|memory| memory.unbound.clone()))
        .or_else(|| work.memory(|memory| memory.missed.as_ref().map(|missed| missed.verdict.clone())))
        .or_else(|| of_times(database, ctx))
        .or_else(|| of_deletions(database, ctx))
        .or_else(|| bring_back::verdict(database, work, ctx.clock.now()))
        .or_else(|| of_expiry(database, work))
        .or_else(|| of_institutions(work))
        .or_else(|| of_authority(observed, work))
        .or_else(|| of_names(desired, work))
        .or_else(|| of_sessions(work))
        .or_else(|| desired.complaint.clone().map(|message| Verdict::of(Reason::InvalidSpec, message, true)))
        .or_else(|| bring_back::in_vain(database, work, ctx.clock.now()))
}

/// Another operator wants the database, or its clock is not the API server's.
fn of_world(work: &Work, ctx: &Context) -> Option<Verdict> {
    if let Some(contest) = work.lane.contest() {
        return Some(Verdict::of(Reason::LaneContested, contested(&contest), false));
    }
    of_clocks(work.lane.ahead() - ctx.clock.ahead())
}

/// The database server's clock is so far ahead of the API server's that a user should know.
fn of_clocks(ahead: SignedDuration) -> Option<Verdict> {
    (ahead.abs() > SKEW).then(|| {
        let direction = if ahead.is_positive() { "ahead of" } else { "behind" };
        let message = format!(
            "the clock of the database server is {} s {direction} the API server's; let both take their time from one \
             source. Until then nothing expires before it is time by both",
            ahead.abs().as_secs()
        );
        Verdict::of(Reason::ClockSkew, message, true)
    })
}

/// Deletions of tenants that the brake holds.
fn of_deletions(database: &TenantDatabase, ctx: &Context) -> Option<Verdict> {
    let name = database.name_any();
    let leaving = ctx.stores.leaving(&name);
    let held: Vec<_> = leaving.iter().filter(|tenant| tenant.is_held_by_brake()).collect();
    let deleted = |tenant: &Arc<TenantSchema>| tenant.metadata.deletion_timestamp.as_ref().map(|at| at.0);
    let first = *held.iter().min_by_key(|tenant| (deleted(tenant), tenant.namespace(), tenant.name_any()))?;
    // The brake looks at the hour before a deletion, and held this one because the limit was reached then.
    let since = deleted(first).unwrap_or_else(|| ctx.now()) - SignedDuration::from_hours(1);
    // The time that confirms all deletions until now.
    let newest = leaving.iter().filter_map(deleted).max().unwrap_or_else(|| ctx.now());
    let most = database.spec.max_deletions_per_hour();
    let object = Object::database(&name);
    let message = format!(
        "{} deletions of tenants are held, {}/{} first; their schemas are open and untouched. From {since} on as many were set aside or \
         dropped as spec.limits.maxDeletionsPerHour allows, {most} in all or {} of one namespace, and that may be a mistake; if all \
         are meant: {}; if not: {DOCS}/everything-was-deleted.md; what was set aside since then, also what was meant, comes back by: {}",
        held.len(),
        first.namespace().unwrap_or_default(),
        first.name_any(),
        most - most / 5,
        object.annotate(CONFIRM_DELETIONS, newest),
        object.annotate(BRING_BACK, since),
    );
    Some(Verdict::of(Reason::DeletionBrake, message, true))
}

/// A time in an annotation that is none, or that is to come.
fn of_times(database: &TenantDatabase, ctx: &Context) -> Option<Verdict> {
    let object = Object::of(Kind::TenantDatabase, &database.metadata);
    if let Some((annotation, value)) = no_times(&database.metadata).first() {
        let message = format!(
            "{annotation}={value} is no time such as 2026-01-31T12:00:00Z, and does nothing; write such a time, or remove it: {}",
            object.unannotate(annotation)
        );
        return Some(Verdict::of(Reason::InvalidSpec, message, true));
    }
    if let Some((annotation, time)) = time_to_come(&database.metadata, ctx.clock.now()) {
        let message = format!(
            "{annotation}={time} is in the future, and does nothing until then; what comes before it would count then, also what no \
             user has seen. Write a time that has passed, or remove it: {}",
            object.unannotate(annotation)
        );
        return Some(Verdict::of(Reason::InvalidSpec, message, true));
    }
    None
}

/// Backups that expired and wait.
fn of_expiry(database: &TenantDatabase, work: &Work) -> Option<Verdict> {
    let held = work.memory(|memory| memory.expired.clone())?;
    let why = if held.stopped {
        "more tenants' last backups expired within an hour than spec.limits.maxDeletionsPerHour allows"
    } else {
        "they had expired days before an operator looked, as after a restore of the database or a long outage"
    };
    let message = format!(
        "{} backups have expired and stay, because {why}; the catalogue schema_backups lists them with their expires_at. If they \
         are meant to go: {}",
        held.count,
        Object::database(database.name_any()).annotate(CONFIRM_DELETIONS, held.confirm)
    );
    Some(Verdict::of(Reason::ExpiryBrake, message, true))
}

/// The application's table of institutions cannot be read, so that their tenants stay as they are.
fn of_institutions(work: &Work) -> Option<Verdict> {
    let problem = work.memory(|memory| memory.institution_problem.clone())?;
    let message = format!("{problem}. Until then tenants stay as the table said last");
    Some(Verdict::of(Reason::InstitutionsUnreadable, message, true))
}

/// It is not known now whom applications may trust where they connect to.
fn of_authority(observed: &Observed, work: &Work) -> Option<Verdict> {
    let known = work.key.connection().client_authority.as_ref().is_some_and(|authority| authority.pem.is_ok());
    observed.unread_authority.as_ref().map(|error| status::unread_authority(error, known))
}

/// A name that Secrets are to lead to has no address.
fn of_names(desired: &Desired, work: &Work) -> Option<Verdict> {
    let missing = work.lane.addresses.missing(&desired.names)?;
    let message = format!("{missing}. Until then no tenant gets a Secret or another password; all else goes on");
    Some(Verdict::of(Reason::ClientHostNotFound, message, true))
}

/// The operator cannot work as a tenant, so that what deletes left free is not found.
fn of_sessions(work: &Work) -> Option<Verdict> {
    let problem = work.memory(|memory| memory.session_problems.told(Instant::now()))?;
    let message =
        format!("{problem}. Until then what tenants that are blocked for their quota delete does not give them room");
    Some(Verdict::of(Reason::TenantSessionRefused, message, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_differ_by_more_than_a_minute_are_told_with_the_direction() {
        let told = |seconds| of_clocks(SignedDuration::from_secs(seconds)).map(|verdict| verdict.message().to_owned());
        assert_eq!((told(0), told(60), told(-60)), (None, None, None));
        let (ahead, behind) = (told(7_205).unwrap(), told(-61).unwrap());
        assert!(ahead.contains("database server is 7205 s ahead of the API server's"), "{ahead}");
        assert!(behind.contains("database server is 61 s behind the API server's"), "{behind}");
    }
}
