//! Policies on a tenant's tables: set when the spec asks for others, looked at again when something differs.

use crate::{
    contract::{RowSecurity, Step, TenantRow},
    plan::Effect,
    tenant::desired::Desired,
};

/// What is to do about the policies of a tenant that is there; `differs`: something of the tenant is not as it was made, perhaps its
/// policies. What a session holds up here holds up nothing else.
pub(super) fn policies(desired: &Desired, row: &TenantRow, differs: bool) -> Option<Effect> {
    let found = row.row_security.as_deref();
    let is_set = found.map(|found| &found.digest) == desired.row_security.as_ref().map(|wanted| &wanted.digest);
    let again = is_set && differs && found.is_some();
    (again || !is_set).then(|| Effect::Try(vec![step(desired, again)]))
}

/// The call that sets them.
pub(super) fn step(desired: &Desired, again: bool) -> Step {
    let wanted = desired.row_security.clone().unwrap_or_else(RowSecurity::none);
    Step::SetRowSecurity { owner_uid: desired.owner.uid.clone(), wanted, again }
}
