//! A schema that stands already becomes the tenant's, or a tenant that was made by hand becomes the object's.

use serde_json::{Map, Value};

use super::{
    bring_up::{closed_to_new, look_again},
    conflict::set_aside,
};
use crate::{
    api::{CONFIRM_ADOPT, command::Object, condition::Reason},
    contract::{Adoption, AdoptionPlan, Claim, Outside, Step, TenantAnswer},
    ident::InstitutionId,
    plan::Effect,
    tenant::{adoption::Adopts, desired::Desired},
    text::{DOCS, count},
};

/// What is done for an object that adopts; nothing where another tenant is in its way, which is said as to any other.
pub(super) fn adopt(desired: &Desired, observed: &TenantAnswer) -> Option<Vec<Effect>> {
    let adopts = desired.adopts.as_ref()?;
    let holder = observed.name_holder.as_ref();
    let is_another = |of: &Claim| holder.is_none_or(|holder| holder.schema_id != of.schema_id);
    let has_institution = desired.institution.is_some() && observed.institution_holder.as_ref().is_some_and(is_another);
    if holder.is_some_and(|holder| holder.name.is_some()) || has_institution || observed.bearer.is_some() {
        return None;
    }
    Some(match (refusal(desired, adopts, observed), &desired.config) {
        (Some(refusal), _) => vec![refusal],
        (None, Err(complaint)) => vec![Effect::refuse(Reason::InvalidSpec, complaint.clone())],
        (None, Ok(config)) => vec![Effect::Steps(vec![step(desired, adopts, config)]), look_again()],
    })
}

/// Why nothing is adopted yet, if that is so.
fn refusal(desired: &Desired, adopts: &Adopts, observed: &TenantAnswer) -> Option<Effect> {
    let schema = desired.schema_name.as_str();
    let database = desired.effective.database_ref.as_deref().unwrap_or_default();
    if !adopts.is_offered {
        // The same whether there is such a schema or not.
        let namespace = &desired.owner.namespace;
        return Some(Effect::refuse(
            Reason::Conflict,
            format!(
                "schema {schema} is not offered to namespace {namespace}: spec.adoptable of TenantDatabase {database} has no entry for \
                 it; ask the platform team for one"
            ),
        ));
    }
    if let Some(left) = &observed.set_aside {
        return Some(Effect::refuse(Reason::Conflict, set_aside(left, desired)));
    }
    let is_confirmed = |digest: &String| adopts.confirmed.as_ref() == Some(digest);
    let (reason, message) = match observed.adoption.as_ref() {
        None => return Some(Effect::wait(Reason::Progressing, "what there is to adopt is looked at")),
        Some(Adoption::Begun { .. }) => return None,
        Some(Adoption::Nothing { moved, total }) => {
            let what = match (moved, total) {
                (Some(moved), Some(total)) => format!(
                    "schema {schema} was dropped while it was adopted, when {moved} of its {total} objects had moved; the roles that \
                     were made for it go by themselves, with the next survey"
                ),
                _ => format!("there is no schema {schema} in this database, and nothing is made"),
            };
            let message = format!(
                "{what}; delete this object and make it again, with the right spec.schemaName, or without existingSchema for a new, \
                 empty schema"
            );
            (Reason::NothingToAdopt, message)
        }
        Some(Adoption::Refused { why }) => (
            Reason::Conflict,
            format!("schema {schema} cannot be adopted: {why}; choose another spec.schemaName in a new object"),
        ),
        Some(Adoption::HandMade { institution_id, .. })
            if *institution_id != desired.institution.map(InstitutionId::uuid) =>
        {
            let institution = institution_id
                .map_or_else(|| "without spec.institutionId".to_owned(), |id| format!("with spec.institutionId {id}"));
            (
                Reason::Conflict,
                format!(
                    "schema {schema} is a tenant that was made by hand, for another institution; delete this object and make it again \
                     {institution}"
                ),
            )
        }
        Some(Adoption::HandMade { digest, .. }) if is_confirmed(digest) => return None,
        Some(Adoption::HandMade { digest, access, .. }) => (
            Reason::AdoptionPending,
            format!(
                "schema {schema} is a tenant that was made by hand ({access}), and can become this object's; its access, config and quota \
                 will be as the spec says, and nothing else changes. To adopt it: {}",
                confirm(desired, digest)
            ),
        ),
        Some(Adoption::Pending(plan)) => {
            let refused = closed_to_new(desired, observed);
            if refused.is_some() || is_confirmed(&plan.digest) && !plan.is_left {
                return refused;
            }
            (Reason::AdoptionPending, pending(desired, adopts, plan))
        }
    };
    Some(Effect::refuse(reason, message))
}

/// What would change, what is missing, and what confirms it.
fn pending(desired: &Desired, adopts: &Adopts, plan: &AdoptionPlan) -> String {
    let schema = desired.schema_name.as_str();
    let mut owners: Vec<_> = plan.owners.iter().map(ToString::to_string).collect();
    if plan.more_owners > 0 {
        owners.push(format!("{} own the rest", count(plan.more_owners, "more role")));
    }
    let mut said = vec![format!(
        "schema {schema} can be adopted, and nothing is changed yet. It has {}: {}. All of them will belong to a role of the tenant's own, \
         of which these roles become members, so that their applications go on; rows, definitions and grants stay",
        count(plan.total, "object"),
        owners.join("; "),
    )];
    if plan.kept > 0 {
        said.push(format!("Roles that have rights on the schema and keep them: {}", plan.kept));
    }
    if !plan.taken.is_empty() {
        said.push(format!("Who loses rights on the schema: {}", plan.taken.join(", ")));
    }
    if let Some(Outside { count: n, name }) = &plan.outside {
        said.push(format!(
            "Views that read other schemas with their owner's rights: {n}, such as {name}; the new owner has none there \
             ({DOCS}/adoption.md)"
        ));
    }
    if plan.definers > 0 {
        said.push(format!("Routines that run with their owner's rights, who is another one then: {}", plan.definers));
    }
    let confirm = confirm(desired, &plan.digest);
    said.push(if plan.is_left {
        let more = if plan.more_statements > 0 { " and more, which are told then" } else { "" };
        let then = if adopts.confirmed.as_ref() == Some(&plan.digest) {
            "it is adopted by itself then, as was confirmed".to_owned()
        } else {
            format!("to adopt it then: {confirm}")
        };
        format!("Before that a DBA has to run, in this database: {}{more}; {then}", plan.statements.join("; "))
    } else {
        format!("To adopt it: {confirm}")
    });
    said.join(". ")
}

fn confirm(desired: &Desired, digest: &str) -> String {
    Object::tenant(&desired.owner.namespace, &desired.owner.name).annotate(CONFIRM_ADOPT, digest).to_string()
}

fn step(desired: &Desired, adopts: &Adopts, config: &Map<String, Value>) -> Step {
    Step::AdoptTenantSchema {
        schema_name: desired.schema_name.as_str().to_owned(),
        owner: desired.owner.clone(),
        digest: adopts.confirmed.clone(),
        institution_id: desired.institution.map(InstitutionId::uuid),
        register_institution: desired.register_institution,
        institution_source: desired.institution_source.clone(),
        config: config.clone(),
        quota_limit: desired.quota.clone(),
    }
}
