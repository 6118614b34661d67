//! What a tenant gives to others.

use crate::{
    contract::{GrantRow, GrantWish, GrantWord, Step, TenantRow},
    plan::Effect,
    tenant::desired::Desired,
};

/// What is to do about the grants of a tenant that is there.
pub(super) fn grants(desired: &Desired, row: &TenantRow) -> Option<Effect> {
    let found = row.grants.as_deref().unwrap_or_default();
    let is_right = desired.grants.wishes().eq(found.iter().map(|grant| &grant.wish))
        && found
            .iter()
            .all(|grant| matches!(grant.state, GrantWord::Given | GrantWord::Waiting) && is_heard(desired, grant));
    (!is_right).then(|| give(desired))
}

/// What is to do about those of a tenant that is just made.
pub(super) fn first_grants(desired: &Desired) -> Option<Effect> {
    desired.grants.wishes().next().map(|_| give(desired))
}

/// Whether the request of a user was heard; one that is taken away asks for nothing.
fn is_heard(desired: &Desired, grant: &GrantRow) -> bool {
    desired.grants.request.is_none() || desired.grants.request == grant.request
}

fn give(desired: &Desired) -> Effect {
    let grants: Vec<GrantWish> = desired.grants.wishes().cloned().collect();
    Effect::Try(vec![Step::SetTenantGrants {
        owner_uid: desired.owner.uid.clone(),
        grants,
        request: desired.grants.request.clone(),
    }])
}
