//! Stage 3: what is, as the database says. One question, or none when the latest survey has the answer.

use crate::{
    api::policy::DeletionPolicy,
    contract::{TenantAnswer, TenantQuestion},
    lane::Lane,
    postgres::Error,
};

use super::desired::{Desired, Removal};

/// Observes a living tenant.
pub async fn observe(lane: &Lane, desired: &Desired) -> Result<TenantAnswer, Error> {
    if let Some(row) = lane.surveyed(&desired.owner.uid) {
        return Ok(TenantAnswer {
            own: Some((*row).clone()),
            schema_exists: row.schema_exists,
            ..TenantAnswer::default()
        });
    }
    lane.observe_tenant(&question(desired)).await
}

/// What is asked about a living tenant.
#[must_use]
pub fn question(desired: &Desired) -> TenantQuestion<'_> {
    TenantQuestion {
        owner: &desired.owner,
        schema_id: desired.known,
        institution_id: desired.institution.map(crate::ident::InstitutionId::uuid),
        schema_name: desired.schema_name.as_str(),
        institution_source: desired.institution_source.as_ref(),
        measure: false,
    }
}

/// Observes a tenant that is to go. Always asks: nothing is removed on the word of a cache.
pub async fn observe_removal(lane: &Lane, removal: &Removal) -> Result<TenantAnswer, Error> {
    lane.observe_tenant(&removal_question(removal)).await
}

/// What is asked about a tenant that is to go.
#[must_use]
pub fn removal_question(removal: &Removal) -> TenantQuestion<'_> {
    TenantQuestion {
        owner: &removal.owner,
        schema_id: None,
        institution_id: None,
        schema_name: removal.schema_name.as_deref().unwrap_or_default(),
        institution_source: None,
        // The question before a drop, and what is told of one, are about what is there now.
        measure: removal.policy == DeletionPolicy::Drop && !removal.stays(),
    }
}
