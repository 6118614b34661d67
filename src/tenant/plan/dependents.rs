//! Views and functions of a tenant over the tables of others, which end with these.

use crate::{
    contract::{Step, TakenWord, TenantRow},
    plan::Effect,
    tenant::desired::Desired,
};

/// What is to be made again: what can be, and with another request of a user also what could not be before.
pub(super) fn dependents(desired: &Desired, row: &TenantRow) -> Option<Effect> {
    let request = desired.grants.request.clone().unwrap_or_default();
    let taken = row.taken.as_deref().unwrap_or_default();
    let due: Vec<_> = taken.iter().filter(|taken| taken.state == TakenWord::Due).map(ToString::to_string).collect();
    // What was never told of a request is told of the one that stands, so that only the next one counts.
    let unheard = taken.iter().any(|taken| {
        matches!(taken.state, TakenWord::Left | TakenWord::Gone) && taken.request.as_ref() != Some(&request)
    });
    (!due.is_empty() || unheard).then(|| {
        let owner_uid = desired.owner.uid.clone();
        Effect::Try(vec![Step::RemakeDependents { owner_uid, request, cut_off: None, what: due }])
    })
}
