//! A tenant without a row in the registry: made, taken back, or refused for what stands in the way.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    Effect, Step, access_word,
    conflict::{
        borne, comes_back, conflict, holder_text, is_free, is_given, is_left_behind, is_left_beside, set_aside,
    },
    quota_text, refuse, step,
};
use crate::{
    api::{condition::Reason, tenant_schema::Access, transfer::ObjectName},
    contract::{SetAside, TenantAnswer},
    ident::InstitutionId,
    quantity::Bytes,
    tenant::desired::Desired,
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
    // What it was itself is neither forgotten nor made again over what may be elsewhere.
    let lost = lost(desired, observed);
    if let Some(message) = in_the_way(desired, observed) {
        return vec![match lost {
            Some(lost) => refuse(Reason::SchemaMissing, format!("{lost}; {message}")),
            None => refuse(Reason::Conflict, message),
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
        (Some(left), None) => return vec![refuse(Reason::Conflict, set_aside(left, desired))],
        (Some(left), Some(lost)) => {
            return vec![refuse(Reason::SchemaMissing, format!("{lost}; {}", set_aside(left, desired)))];
        }
        (None, Some(lost)) => return vec![refuse(Reason::SchemaMissing, lost)],
        (None, None) => {}
    }
    if let (Some(institution), false, false) =
        (desired.institution, observed.institution_known, desired.register_institution)
    {
        let id = institution.uuid();
        let message = match &observed.institution_problem {
            Some(problem) => format!(
                "institution {id} could not be looked for in the application's table: {problem}; mend that, this tenant \
                 goes on by itself then"
            ),
            None => format!(
                "institution {id} is not known in this database; register it there, this tenant goes on by itself then: \
                 {DOCS}/operations.md#institutions-that-must-exist"
            ),
        };
        return vec![refuse(Reason::InstitutionUnknown, message)];
    }
    if desired.leaving {
        let database = desired.effective.database_ref.as_deref().unwrap_or_default();
        let fact = format!(
            "TenantDatabase {database} is being deleted and takes no new tenants; delete this object, or make the database again"
        );
        return vec![Effect::Await { reason: Reason::DatabaseNotReady, fact }];
    }
    match &desired.config {
        Ok(config) => vec![Effect::Steps(vec![create(desired, config, beside)])],
        Err(complaint) => vec![refuse(Reason::InvalidSpec, complaint.clone())],
    }
}

/// A tenant that comes from elsewhere meets the limits here, also if the object says that it had one before.
fn limited(desired: &Desired) -> Option<Vec<Effect>> {
    desired.outside.as_ref().map(|complaint| vec![refuse(complaint.reason, complaint.message.clone())])
}

/// What was set aside is brought back, for the object that it was of or for the one that it was given to.
fn restore(desired: &Desired, left: &SetAside, from: Option<&ObjectName>) -> Vec<Effect> {
    let text = format!("bring back what {} left set aside as {}", former_text(from), left.location);
    let options = json!({ "backup_id": left.backup_id, "owner": desired.owner });
    vec![Effect::Steps(vec![step("restore_tenant_schema", desired, with_former(options, from), text)]), look_again()]
}

/// What became of the tenant that this object had by its own UID or by its status.
fn lost(desired: &Desired, observed: &TenantAnswer) -> Option<String> {
    if observed.tombstone.is_some() {
        // An object that came back with its cluster, or a tenant that was dropped by hand.
        let way_out = match (&observed.set_aside, &observed.name_holder) {
            (None, None) => "; nothing of it is left: delete this object, and apply it again for a new, empty schema",
            // What is told of these has another way out.
            _ => "",
        };
        return Some(format!("this tenant was dropped{way_out}"));
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
        Some(row) if row.status == "dropped" => format!("the tenant of this object's status, row {id}, was dropped"),
        Some(row) => format!(
            "the tenant of this object's status, row {id}, is {} and belongs to {}",
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
             new TenantSchema, or have a DBA rename the schema"
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
    let options = json!({ "schema_id": schema_id, "owner": desired.owner });
    let text = format!("take back the schema that {} left behind", former_text(from));
    vec![Effect::Steps(vec![step("reclaim_tenant_schema", desired, with_former(options, from), text)]), look_again()]
}

/// The options of a call that gives a tenant to this object, with whose it was if the owners of the database give it.
fn with_former(mut options: Value, from: Option<&ObjectName>) -> Value {
    if let Some(from) = from {
        options["transfer"] = json!(from);
    }
    options
}

fn former_text(from: Option<&ObjectName>) -> String {
    from.map_or_else(|| "an earlier object of this name".to_owned(), |from| format!("TenantSchema {from}"))
}

/// What was taken back is looked at before anything else is done to it.
fn look_again() -> Effect {
    Effect::Await { reason: Reason::Progressing, fact: "what was taken back is looked at".to_owned() }
}

/// A new schema; `beside` is what was said to stay where it is.
fn create(desired: &Desired, config: &Map<String, Value>, beside: Option<&SetAside>) -> Step {
    let mut options = json!({
        "schema_name": desired.schema_name.as_str(),
        "institution_id": desired.institution.map(InstitutionId::uuid),
        "owner": desired.owner,
        "register_institution": desired.register_institution,
        "config": config,
        "quota_limit": desired.quota.map(Bytes::as_i64),
        "access": access_word(desired.access),
    });
    if let Some(source) = &desired.institution_source {
        options["institution_source"] = json!(source);
    }
    if let Some(left) = beside {
        options["beside"] = json!(left.backup_id);
    }
    let suspended = if desired.access == Access::Suspended { ", suspended" } else { "" };
    let text = format!("create schema with roles owner, reader, writer; quota {}{suspended}", quota_text(desired));
    step("create_tenant_schema", desired, options, text)
}
