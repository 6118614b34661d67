//! Policies on a tenant's tables: set when the spec asks for others, looked at again when something differs.

use crate::{
    contract::{RowSecurity, Step, TenantRow},
    plan::Effect,
    tenant::desired::Desired,
};

/// Policies that are not those of the spec so far, set before others get anything; `None` also where there are to be none.
pub(super) fn changed(desired: &Desired, row: &TenantRow) -> Option<Effect> {
    (desired.row_security.is_some() && !is_set(desired, row)).then(|| Effect::Try(vec![step(desired, false)]))
}

/// What else is to do about the policies of a tenant that is there; `differs`: something of the tenant is not as it was made, perhaps
/// its policies. What a session holds up here holds up nothing else.
pub(super) fn kept(desired: &Desired, row: &TenantRow, differs: bool) -> Option<Effect> {
    let is_set = is_set(desired, row);
    let again = is_set && differs && row.row_security.is_some();
    (again || !is_set && desired.row_security.is_none()).then(|| Effect::Try(vec![step(desired, again)]))
}

fn is_set(desired: &Desired, row: &TenantRow) -> bool {
    row.row_security.as_deref().map(|found| &found.digest) == desired.row_security.as_ref().map(|wanted| &wanted.digest)
}

/// The call that sets them.
pub(super) fn step(desired: &Desired, again: bool) -> Step {
    let wanted = desired.row_security.clone().unwrap_or_else(RowSecurity::none);
    Step::SetRowSecurity { owner_uid: desired.owner.uid.clone(), wanted, again }
}
