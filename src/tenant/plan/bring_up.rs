//! A tenant without a row in the registry: made, taken back, or refused for what stands in the way.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    Effect, Step, access_word,
    conflict::{borne, conflict, is_left_behind, stranger},
    quota_text, refuse, step,
};
use crate::{
    api::{condition::Reason, tenant_schema::Access},
    ident::InstitutionId,
    postgres::answer::{Owner, SetAside, TenantAnswer},
    quantity::Bytes,
    tenant::desired::Desired,
};

/// A tenant without a row: made, unless something stands in the way.
pub(super) fn bring_up(desired: &Desired, observed: &TenantAnswer) -> Vec<Effect> {
    let schema = desired.schema_name.as_str();
    if let Some(grave) = &observed.tombstone {
        // Only an object that is gone by now, or a row that was dropped by hand, comes here: neither is made anew.
        let left =
            grave.location.as_deref().map_or_else(String::new, |location| format!("; it is set aside as {location}"));
        return vec![refuse(
            Reason::SchemaMissing,
            format!("this tenant was dropped{left}; delete this object, and apply it again for a new, empty schema"),
        )];
    }
    if let Some(id) = desired.known {
        return vec![refuse(
            Reason::SchemaMissing,
            format!(
                "this tenant had row {id} in the registry and it is not there; nothing is made anew over what may be \
                 elsewhere. If the database was restored or replaced, bring the registry back; if the tenant was \
                 dropped by hand, delete this object and apply it again",
            ),
        )];
    }
    if let Some(holder) = &observed.name_holder {
        return if is_left_behind(holder, desired) && (desired.reclaim || holder.taken_over) {
            reclaim(desired, holder.schema_id)
        } else {
            vec![refuse(Reason::Conflict, conflict("schema", schema, holder, desired))]
        };
    }
    if let (Some(holder), Some(institution)) = (&observed.institution_holder, desired.institution) {
        let institution = institution.uuid().to_string();
        return vec![refuse(Reason::Conflict, conflict("institution", &institution, holder, desired))];
    }
    if let Some(bearer) = &observed.bearer {
        return vec![refuse(Reason::Conflict, borne(schema, bearer, desired))];
    }
    if observed.schema_exists {
        return vec![refuse(
            Reason::Conflict,
            format!(
                "schema {schema} exists in the database and was not made by this operator; choose another \
                 spec.schemaName in a new TenantSchema, or have a DBA rename the schema"
            ),
        )];
    }
    if observed.name_is_role {
        return vec![refuse(
            Reason::Conflict,
            format!(
                "a role is called {schema}, and a schema of that name would come first in its search_path; choose another spec.schemaName in a new TenantSchema"
            ),
        )];
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
                "institution {id} is not known in this database; register it there, this tenant goes on by itself then"
            ),
        };
        return vec![refuse(Reason::InstitutionUnknown, message)];
    }
    if let Some(left) =
        observed.set_aside.as_ref().filter(|left| desired.owner.is_stranger(left.namespace_uid.as_deref()))
    {
        let what = format!("schema {schema}, which is set aside as {},", left.location);
        return vec![refuse(Reason::Conflict, stranger(&what, desired))];
    }
    match &observed.set_aside {
        Some(left) if desired.reclaim => {
            let text = format!("bring back what an earlier object of this name left set aside as {}", left.location);
            let options = json!({ "backup_id": left.backup_id, "owner": desired.owner });
            vec![Effect::Steps(vec![step("restore_tenant_schema", desired, options, text)]), look_again()]
        }
        Some(left) if !desired.recreate => vec![refuse(Reason::Conflict, left_set_aside(desired, left))],
        _ => match &desired.config {
            Ok(config) => vec![Effect::Steps(vec![create(desired, config)])],
            Err(complaint) => vec![refuse(Reason::InvalidSpec, complaint.clone())],
        },
    }
}

/// An earlier object's data is neither forgotten nor brought back by guess.
fn left_set_aside(desired: &Desired, left: &SetAside) -> String {
    let Owner { namespace, name, .. } = &desired.owner;
    let schema = desired.schema_name.as_str();
    let annotate = format!("kubectl -n {namespace} annotate tenantschema {name}");
    format!(
        "an earlier TenantSchema {name} of this namespace was deleted at {} and its schema, {} tables, is set aside as {}; \
         to take it back: {annotate} {}={schema}; to begin with an empty schema and leave it there: {annotate} {}={schema}",
        left.dropped_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        left.table_count.unwrap_or_default(),
        left.location,
        crate::api::RECLAIM,
        crate::api::RECREATE,
    )
}

/// A schema without its object, living or released, becomes this object's.
pub(super) fn reclaim(desired: &Desired, schema_id: Uuid) -> Vec<Effect> {
    let options = json!({ "schema_id": schema_id, "owner": desired.owner });
    let text = "take back the schema that an earlier object of this name left behind".to_owned();
    vec![Effect::Steps(vec![step("reclaim_tenant_schema", desired, options, text)]), look_again()]
}

/// What was taken back is looked at before anything else is done to it.
fn look_again() -> Effect {
    Effect::Await { reason: Reason::Progressing, fact: "what was taken back is looked at".to_owned() }
}

fn create(desired: &Desired, config: &Map<String, Value>) -> Step {
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
    let suspended = if desired.access == Access::Suspended { ", suspended" } else { "" };
    let text = format!("create schema with roles owner, reader, writer; quota {}{suspended}", quota_text(desired));
    step("create_tenant_schema", desired, options, text)
}
