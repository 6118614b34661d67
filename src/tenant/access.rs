//! Whether a tenant may be used, and who keeps it closed: its spec, or its institution. Pure.

use uuid::Uuid;

use super::desired::Desired;
use crate::{
    api::{
        command::{Object, Verb},
        tenant_schema::{Access, BlockedCause},
    },
    contract::{InstitutionSource, InstitutionStatus, TenantAnswer, TenantRow},
};

/// Who may come in, given how the tenant's institution stands in the registry.
pub(super) fn wanted(desired: &Desired, institution: Option<&InstitutionStatus>) -> Access {
    closed_by(desired, institution).map_or(Access::ReadWrite, |_| Access::Suspended)
}

/// Who may come in to a tenant that has this row.
pub(super) fn of(desired: &Desired, row: &TenantRow) -> Access {
    wanted(desired, row.institution_status.as_ref())
}

/// Who keeps it closed, the spec before the institution. A word that this release does not know closes nothing.
pub(super) fn closed_by(desired: &Desired, institution: Option<&InstitutionStatus>) -> Option<BlockedCause> {
    match desired.access {
        Access::Suspended => Some(BlockedCause::Spec),
        Access::ReadWrite if is_shut(institution) => Some(BlockedCause::Institution),
        Access::ReadWrite => None,
    }
}

/// How the institution stands, as the answer has it.
pub(super) fn institution(observed: &TenantAnswer) -> Option<&InstitutionStatus> {
    let known = observed.own.as_deref().map(|row| row.institution_status.as_ref());
    known.unwrap_or(observed.institution_status.as_ref())
}

/// How each of those who keep it closed lets it be used again, for people.
pub(super) fn way_out(desired: &Desired, institution: Option<&InstitutionStatus>) -> String {
    let spec = (desired.access == Access::Suspended).then(|| "resume with spec.access: ReadWrite".to_owned());
    let of_institution = desired.institution.zip(institution).filter(|(_, status)| is_shut(Some(status)));
    let institution = of_institution.map(|(institution, status)| {
        let id = institution.uuid();
        let source = desired.institution_source.as_ref().and_then(|source| {
            let InstitutionSource { schema, table, status_column, .. } = source;
            Some(format!("; or, if table {schema}.{table} says so: change its {} there", status_column.as_ref()?))
        });
        format!(
            "its institution {id} is {status}, and the schema opens by itself when that is active again{}{}",
            activate(id),
            source.unwrap_or_default()
        )
    });
    spec.into_iter().chain(institution).collect::<Vec<_>>().join("; and ")
}

/// The statement that makes an institution active again, as the end of a sentence.
pub(super) fn activate(institution: Uuid) -> String {
    let statement =
        format!("UPDATE edu_matrix_hub_schema.institutions SET status = 'active' WHERE id = '{institution}'");
    format!(": as a superuser, in this database: {statement}")
}

/// What is to be said of an institution that its table does not name any more.
pub(super) fn gone(desired: &Desired, institution: Option<&InstitutionStatus>) -> Option<String> {
    let id = desired.institution.filter(|_| institution == Some(&InstitutionStatus::Gone))?.uuid();
    let InstitutionSource { schema, table, .. } = desired.institution_source.as_ref()?;
    let object = Object::tenant(&desired.owner.namespace, &desired.owner.name);
    Some(format!(
        "schema {} goes on, and its institution {id} is not in table {schema}.{table} any more: if it has left: {}; if not, put its row \
         back there",
        desired.schema_name.as_str(),
        object.to(Verb::Delete)
    ))
}

fn is_shut(institution: Option<&InstitutionStatus>) -> bool {
    matches!(institution, Some(InstitutionStatus::Suspended | InstitutionStatus::Closed))
}
