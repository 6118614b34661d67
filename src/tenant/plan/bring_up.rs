//! A tenant without a row in the registry: made, taken back, or refused for what stands in the way.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    adopt::adopt,
    conflict::{
        borne, comes_back, conflict, holder_text, is_free, is_given, is_left_behind, is_left_beside, set_aside,
    },
    credentials::{held, issue_step, publish},
    grants::first_grants,
    policies,
};
use crate::{
    api::{condition::Reason, transfer::ObjectName},
    contract::{InstitutionStatus, RowStatus, SetAside, Step, TenantAnswer},
    ident::InstitutionId,
    plan::Effect,
    tenant::{access, desired::Desired},
    text::DOCS,
};

/// A tenant without a row: made, unless something stands in the way.
pub(super) fn bring_up(desired: &Desired, observed: &TenantAnswer) -> Vec<Effect> {
    if let Some(holder) = observed.name_holder.as_ref().filter(|holder| is_left_behind(holder, desired))
        && (desired.reclaim || holder.taken_over)
    {
        return reclaim(desired, holder.schema_id, None);
    }
    if let Some(holder) = observed.name_holder.as_ref().filter(|holder| is_free(holder, desired))
        && desired.reclaim
    {
        return limited(desired).unwrap_or_else(|| reclaim(desired, holder.schema_id, desired.given_by.as_ref()));
    }
    // A tenant that this object had before is not made again while its schema may be somewhere else.
    let lost = lost(desired, observed);
    if lost.is_none()
        && let Some(effects) = adopt(desired, observed)
    {
        return effects;
    }
    if let Some(message) = in_the_way(desired, observed) {
        return vec![match lost {
            Some(lost) => Effect::refuse(Reason::SchemaMissing, format!("{lost}; {message}")),
            None => Effect::refuse(Reason::Conflict, message),
        }];
    }
    let left = observed.set_aside.as_ref();
    if let Some(left) = left.filter(|left| desired.reclaim && comes_back(left, desired)) {
        let from = desired.given_by.as_ref().filter(|_| is_given(&left.holder, desired));
        return from.and_then(|_| limited(desired)).unwrap_or_else(|| restore(desired, left, from));
    }
    let beside = left.filter(|left| is_left_beside(left, desired));
    match (left, lost) {
        (Some(_), _) if beside.is_some() => {}
        (Some(left), None) => return vec![Effect::refuse(Reason::Conflict, set_aside(left, desired))],
        (Some(left), Some(lost)) => {
            return vec![Effect::refuse(Reason::SchemaMissing, format!("{lost}; {}", set_aside(left, desired)))];
        }
        (None, Some(lost)) => return vec![Effect::refuse(Reason::SchemaMissing, lost)],
        (None, None) => {}
    }
    if let Some(refused) = closed_to_new(desired, observed) {
        return vec![refused];
    }
    match &desired.config {
        Ok(config) => make(desired, observed, create(desired, observed, config, beside)),
        Err(complaint) => vec![Effect::refuse(Reason::InvalidSpec, complaint.clone())],
    }
}

/// Why there is no new tenant for now: its institution gets none, or the database takes none.
pub(super) fn closed_to_new(desired: &Desired, observed: &TenantAnswer) -> Option<Effect> {
    let is_closed = observed.institution_status == Some(InstitutionStatus::Closed);
    let is_refused = is_closed || !observed.institution_known && !desired.register_institution;
    if let Some(institution) = desired.institution.filter(|_| is_refused) {
        let id = institution.uuid();
        let message = match &observed.institution_problem {
            _ if is_closed => format!(
                "institution {id} is closed and gets no new tenant; this one goes on by itself when that is active again{}",
                access::activate(id)
            ),
            Some(problem) => format!(
                "institution {id} could not be looked for in the application's table: {problem}; mend that, this tenant \
                 goes on by itself then"
            ),
            None => format!(
                "institution {id} is not known in this database; register it there, this tenant goes on by itself then: \
                 {DOCS}/operations.md#institutions-that-must-exist"
            ),
        };
        return Some(Effect::refuse(Reason::InstitutionUnknown, message));
    }
    if desired.leaving {
        let database = desired.effective.database_ref.as_deref().unwrap_or_default();
        let fact = format!(
            "TenantDatabase {database} is being deleted and takes no new tenants; delete this object, or make the database again"
        );
        return Some(Effect::wait(Reason::DatabaseNotReady, fact));
    }
    None
}

/// A new schema, and in the same call what is to be logged in with.
fn make(desired: &Desired, observed: &TenantAnswer, create: Step) -> Vec<Effect> {
    let is_open = !access::of_new(desired, observed.institution_status.as_ref()).is_closed();
    let wanted = desired.logins.iter().filter_map(|logins| logins.wanted.as_ref().filter(|_| is_open));
    let (wanted, waiting): (Vec<_>, Vec<_>) = wanted.partition(|wanted| wanted.held.is_none());
    let issued = wanted.iter().map(|wanted| issue_step(wanted, false));
    let published = wanted.iter().map(|wanted| publish(wanted, desired.schema_name.as_str()));
    // Before a login comes in: what it makes is closed to others from the start.
    let policies = desired.row_security.as_ref().map(|_| policies::step(desired, false));
    [Effect::Steps([create].into_iter().chain(policies).chain(issued).collect())]
        .into_iter()
        .chain(published)
        .chain(first_grants(desired))
        .chain(waiting.first().and_then(|wanted| held(wanted)))
        .collect()
}

/// A tenant that comes from elsewhere meets the limits here, also if the object says that it had one before.
fn limited(desired: &Desired) -> Option<Vec<Effect>> {
    desired.outside.as_ref().map(|complaint| vec![Effect::refuse(complaint.reason, complaint.message.clone())])
}

/// What was set aside is brought back, for the object that it was of or for the one that it was given to.
fn restore(desired: &Desired, left: &SetAside, from: Option<&ObjectName>) -> Vec<Effect> {
    let restore = Step::RestoreTenantSchema {
        backup_id: left.backup_id,
        owner: desired.owner.clone(),
        transfer: from.cloned(),
        cut_off: None,
        location: left.location.clone(),
    };
    vec![Effect::Steps(vec![restore]), look_again()]
}

/// What became of the tenant that this object had by its own UID or by its status.
fn lost(desired: &Desired, observed: &TenantAnswer) -> Option<String> {
    // If something has the name or is set aside under it, that has a way out of its own.
    let or = |way_out: &'static str| match (&observed.set_aside, &observed.name_holder) {
        (None, None) => way_out,
        _ => "",
    };
    let leave = or("; delete this object, which drops nothing, and apply it again for a new, empty schema");
    if observed.tombstone.is_some() {
        // An object that came back with its cluster, or a tenant that was dropped by hand.
        let nothing = or("; nothing of it is left: delete this object, and apply it again for a new, empty schema");
        return Some(format!("this tenant was dropped{nothing}"));
    }
    let id = desired.known?;
    let held = observed.name_holder.as_ref().is_some_and(|holder| is_left_behind(holder, desired));
    let is_own = |left: &SetAside| comes_back(left, desired) && left.holder.schema_id == id;
    if held || observed.set_aside.as_ref().is_some_and(is_own) {
        // It is there under its name, and what has it says how it comes back.
        return None;
    }
    Some(match &observed.known {
        None => format!(
            "this tenant had row {id} in the registry and it is not there; nothing is made again over what may be \
             elsewhere. If the database was restored or replaced, bring the registry back; if the tenant was dropped by \
             hand, delete this object and apply it again"
        ),
        Some(row) if row.status == RowStatus::Dropped => {
            format!("the tenant of this object's status, row {id}, was dropped{leave}")
        }
        Some(row) => format!(
            "the tenant of this object's status, row {id}, is {} and belongs to {}{leave}",
            row.status,
            holder_text(row, desired)
        ),
    })
}

/// What has the name or the institution, if anything stands in the way.
fn in_the_way(desired: &Desired, observed: &TenantAnswer) -> Option<String> {
    let schema = desired.schema_name.as_str();
    if let Some(holder) = &observed.name_holder {
        return Some(conflict("schema", schema, holder, desired));
    }
    if let (Some(holder), Some(institution)) = (&observed.institution_holder, desired.institution) {
        return Some(conflict("institution", &institution.uuid().to_string(), holder, desired));
    }
    if let Some(bearer) = &observed.bearer {
        return Some(borne(schema, bearer, desired));
    }
    if observed.schema_exists {
        return Some(format!(
            "schema {schema} exists in the database and was not made by this operator; choose another spec.schemaName in a \
             new TenantSchema, have a DBA rename the schema, or adopt it if the platform team offers it: {DOCS}/adoption.md"
        ));
    }
    observed.name_is_role.then(|| {
        format!(
            "a role is called {schema}, and a schema of that name would come first in its search_path; choose another \
             spec.schemaName in a new TenantSchema"
        )
    })
}

/// A schema without its object, living or released, becomes this object's.
pub(super) fn reclaim(desired: &Desired, schema_id: Uuid, from: Option<&ObjectName>) -> Vec<Effect> {
    let reclaim = Step::ReclaimTenantSchema { schema_id, owner: desired.owner.clone(), transfer: from.cloned() };
    vec![Effect::Steps(vec![reclaim]), look_again()]
}

/// What was taken back or made again is looked at before anything else is done to it.
pub(super) fn look_again() -> Effect {
    Effect::wait(Reason::Progressing, "what was taken back is looked at")
}

/// A new schema; `beside` is what was said to stay where it is.
fn create(desired: &Desired, observed: &TenantAnswer, config: &Map<String, Value>, beside: Option<&SetAside>) -> Step {
    let wanted = access::of_new(desired, observed.institution_status.as_ref());
    Step::CreateTenantSchema {
        schema_name: desired.schema_name.as_str().to_owned(),
        institution_id: desired.institution.map(InstitutionId::uuid),
        owner: desired.owner.clone(),
        register_institution: desired.register_institution,
        config: config.clone(),
        quota_limit: desired.quota.clone(),
        access: wanted.access,
        access_cause: wanted.cause,
        institution_source: desired.institution_source.clone(),
        beside: beside.map(|left| left.backup_id),
    }
}
