//! What a person reads of the grants to others.

use serde_json::from_value;

use crate::{
    api::{
        RECONCILE_REQUESTED_AT,
        command::Object,
        grants::{GrantState, GrantStatus},
    },
    contract::{Call, GrantRow, GrantTo, GrantWish, GrantWord, TenantRow},
    plan::Applied,
    tenant::{
        desired::Desired,
        grants::{Asked, lacking},
    },
};

/// What became of each grant of the spec.
pub(super) fn grants(desired: &Desired, row: Option<&TenantRow>, applied: &Applied) -> Vec<GrantStatus> {
    let told = applied.success(&Call::SetTenantGrants).and_then(|result| result.detail.get("grants").cloned());
    let told: Option<Vec<GrantRow>> = told.and_then(|grants| from_value(grants).ok());
    let found = told.as_deref().or_else(|| row?.grants.as_deref()).unwrap_or_default();
    let is_repaired = applied.success(&Call::RepairTenantSchema).is_some();
    let status = |asked: &Asked| {
        let (state, message) = match &asked.wish {
            Err(why) => (GrantState::Refused, Some(why.clone())),
            Ok(wish) => became(desired, wish, found.iter().find(|grant| grant.wish == *wish), is_repaired),
        };
        let message = message.map(|message| message.chars().take(1024).collect());
        GrantStatus { to: asked.to.clone(), state: Some(state), message }
    };
    desired.grants.asked.iter().map(status).collect()
}

fn became(
    desired: &Desired,
    wish: &GrantWish,
    found: Option<&GrantRow>,
    is_repaired: bool,
) -> (GrantState, Option<String>) {
    let Some(found) = found else {
        return (GrantState::Waiting, Some("it is not registered yet; given with the next pass".to_owned()));
    };
    match found.state {
        GrantWord::Given => (GrantState::Active, lacking(&found.missing, found.missing_count)),
        GrantWord::Due if is_repaired => (GrantState::Active, lacking(&found.missing, found.missing_count)),
        GrantWord::Due | GrantWord::Other(_) => {
            (GrantState::Waiting, Some("not all of it is given yet; the next pass goes on".to_owned()))
        }
        GrantWord::Waiting | GrantWord::Ending => (GrantState::Waiting, Some(waits_for(desired, &wish.to, found))),
    }
}

fn waits_for(desired: &Desired, to: &GrantTo, found: &GrantRow) -> String {
    let command = Object::tenant(&desired.owner.namespace, &desired.owner.name)
        .annotate(RECONCILE_REQUESTED_AT, "<now>".to_owned());
    match to {
        GrantTo::Tenant(to) if found.other_namespace => format!(
            "namespace {} was deleted and made again since, and is another one; if its TenantSchema {} is to have the grant: \
             {command}",
            to.namespace, to.name
        ),
        GrantTo::Tenant(to) => {
            let moved = found.moved_to.as_ref().map_or_else(String::new, |now| {
                format!("; what had the grant belongs to TenantSchema {now} now: name that one if it is to keep it")
            });
            format!("there is no tenant of TenantSchema {to} in this database; given when there is{moved}")
        }
        GrantTo::Role { role } if found.other_role => {
            format!("role {role} was made again since, and is another one; if it is to have the grant: {command}")
        }
        // One text for all reasons, so that no tenant learns by a grant what roles there are and what they may.
        GrantTo::Role { role } => format!(
            "there is no role {role} that can have a grant; given when there is. None of the operator's or of the server's \
             provider can, no superuser, none with CREATEROLE or BYPASSRLS, and no member of such; for the role of a tenant name \
             its TenantSchema"
        ),
    }
}
