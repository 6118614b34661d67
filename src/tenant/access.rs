//! Whether a tenant may be used, and who keeps it closed, wholly or to writes: its spec, its quota, or its institution. Pure.

use jiff::SignedDuration;
use uuid::Uuid;

use super::desired::Desired;
use crate::{
    api::{
        command::{Object, Verb},
        policy::{Enforcement, Quota},
        tenant_schema::{Access, BlockedCause},
    },
    contract::{AccessCause, AccessWord, InstitutionSource, InstitutionStatus, Owner, TenantAnswer, TenantRow},
    quantity::{Bytes, human},
};

/// How far a tenant is to be open, and who closes it as far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// How far.
    pub access: AccessWord,
    /// Who; nothing when it is open.
    pub cause: Option<AccessCause>,
}

impl Wanted {
    /// Who closes it, as a status has it.
    pub(super) fn told_cause(&self) -> Option<BlockedCause> {
        match self.cause.as_ref()? {
            AccessCause::Spec => Some(BlockedCause::Spec),
            AccessCause::Quota => Some(BlockedCause::Quota),
            AccessCause::Institution => Some(BlockedCause::Institution),
            AccessCause::Other(_) => None,
        }
    }

    /// Nobody but the owner role comes in.
    pub(super) fn is_closed(&self) -> bool {
        self.access == AccessWord::Suspended
    }

    /// The registry has it otherwise. Former releases did not tell who closed a tenant.
    pub(super) fn differs(&self, row: &TenantRow) -> bool {
        self.access != row.access || row.access_cause.is_some() && self.cause != row.access_cause
    }
}

/// Who may come in to a new tenant, which uses nothing so far.
pub(super) fn of_new(desired: &Desired, institution: Option<&InstitutionStatus>) -> Wanted {
    wanted(desired, institution, None)
}

/// Who may come in to a tenant that has this row.
pub(super) fn of(desired: &Desired, row: &TenantRow) -> Wanted {
    wanted(desired, row.institution_status.as_ref(), by_quota(desired, row))
}

/// The same, as the answer has row and institution.
pub(super) fn as_observed(desired: &Desired, observed: &TenantAnswer) -> Wanted {
    match observed.own.as_deref() {
        Some(row) => of(desired, row),
        None => of_new(desired, observed.institution_status.as_ref()),
    }
}

/// The one that closes it most, the spec before the others. A word that this release does not know closes nothing.
fn wanted(desired: &Desired, institution: Option<&InstitutionStatus>, by_quota: Option<AccessWord>) -> Wanted {
    let by_spec = match desired.access {
        Access::ReadWrite => None,
        Access::ReadOnly => Some(AccessWord::ReadOnly),
        Access::Suspended => Some(AccessWord::Suspended),
    };
    let by_institution = is_shut(institution).then_some(AccessWord::Suspended);
    let asked =
        [(by_spec, AccessCause::Spec), (by_institution, AccessCause::Institution), (by_quota, AccessCause::Quota)];
    let mut found = Wanted { access: AccessWord::ReadWrite, cause: None };
    for (access, cause) in asked {
        if let Some(access) = access.filter(|access| rank(access) > rank(&found.access)) {
            found = Wanted { access, cause: Some(cause) };
        }
    }
    found
}

/// How much of it is closed.
const fn rank(access: &AccessWord) -> u8 {
    match access {
        AccessWord::ReadWrite | AccessWord::Other(_) => 0,
        AccessWord::WriteBlocked => 1,
        AccessWord::ReadOnly => 2,
        AccessWord::Suspended => 3,
    }
}

/// How far its quota closes it. What is closed stays so until there is some room, so that a tenant at its limit is not opened
/// and closed again and again.
fn by_quota(desired: &Desired, row: &TenantRow) -> Option<AccessWord> {
    let limit = desired.quota.as_ref().filter(|_| desired.enforcement != Enforcement::Report)?.limit;
    let percent = Bytes::saturating(row.certain_bytes()).percent_of(limit);
    let was_closed = row.access_cause == Some(AccessCause::Quota);
    let was_suspended = was_closed && row.access == AccessWord::Suspended;
    let suspends = percent >= Quota::SUSPEND_PERCENT || was_suspended && percent >= Quota::BLOCK_PERCENT;
    if suspends && desired.enforcement == Enforcement::Suspend {
        Some(AccessWord::Suspended)
    } else if percent >= Quota::BLOCK_PERCENT || was_closed && percent >= Quota::ALLOW_PERCENT {
        Some(AccessWord::WriteBlocked)
    } else {
        None
    }
}

/// For how long a tenant that was written to is expected to be written to.
const ACTIVE_FOR: SignedDuration = SignedDuration::from_mins(10);

/// True when its size is to be known sooner than the next survey tells it: it is open, close to a limit that is enforced, and
/// something was written to it lately.
pub(super) fn is_watched(desired: &Desired, row: &TenantRow) -> bool {
    let limit = desired.quota.as_ref().filter(|_| desired.enforcement != Enforcement::Report).map(|quota| quota.limit);
    let is_close =
        limit.is_some_and(|limit| Bytes::saturating(row.certain_bytes()).percent_of(limit) >= Quota::WATCH_PERCENT);
    let was_written = row.usage_at.is_some_and(|at| desired.now.duration_since(at) < ACTIVE_FOR);
    is_close && of(desired, row).cause.is_none() && (was_written || row.file_bytes() > row.storage_bytes)
}

/// How the institution stands, as the answer has it.
pub(super) fn institution(observed: &TenantAnswer) -> Option<&InstitutionStatus> {
    let known = observed.own.as_deref().map(|row| row.institution_status.as_ref());
    known.unwrap_or(observed.institution_status.as_ref())
}

/// How each of those who keep it closed lets it be used again, for people; `shown` is what its status tells that it uses.
pub(super) fn way_out(desired: &Desired, observed: &TenantAnswer, shown: Option<i64>) -> String {
    let spec = match desired.access {
        Access::ReadWrite => None,
        Access::ReadOnly => Some("give writes back with spec.access: ReadWrite".to_owned()),
        Access::Suspended => Some("resume with spec.access: ReadWrite".to_owned()),
    };
    let of_institution = desired.institution.zip(institution(observed)).filter(|(_, status)| is_shut(Some(status)));
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
    let quota = observed.own.as_deref().and_then(|row| out_of_quota(desired, row, shown));
    spec.into_iter().chain(institution).chain(quota).collect::<Vec<_>>().join("; and ")
}

/// How a tenant that its quota closes comes back.
fn out_of_quota(desired: &Desired, row: &TenantRow, shown: Option<i64>) -> Option<String> {
    let (access, quota) = (by_quota(desired, row)?, desired.quota.as_ref()?);
    let used = shown.unwrap_or_else(|| row.counted_bytes()) - row.uncertain_bytes();
    let Owner { namespace, name, .. } = &desired.owner;
    let command = Object::tenant(namespace, name).to(Verb::SetQuota(enough(used)));
    let back = match access {
        AccessWord::Suspended => format!("below {} % it can be read and deleted from again", Quota::BLOCK_PERCENT),
        _ => format!("below {} % writes come back", Quota::ALLOW_PERCENT),
    };
    // A tenant that is closed further deletes nothing.
    let room = match of(desired, row).access {
        AccessWord::WriteBlocked => ", or delete rows: surveys find what these took, and it counts no more",
        _ => "",
    };
    Some(format!(
        "it uses {} of its quota of {}; {back}: raise the limit ({command}){room}",
        human(used.unsigned_abs()),
        quota.shown
    ))
}

/// A limit of which this is less than what lets writes back, in whole Mi or Gi.
fn enough(used: i64) -> String {
    let needed = i128::from(used) * 100 / i128::from(Quota::ALLOW_PERCENT - 5) + 1;
    let (unit, suffix) = if needed > 10 << 30 { (1 << 30, "Gi") } else { (1 << 20, "Mi") };
    format!("{}{suffix}", (needed + unit - 1) / unit)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_told_is_enough() {
        let check = |used: i64, expected: &str| {
            assert_eq!(enough(used), expected);
            let limit = Bytes::parse_quota(expected).unwrap();
            assert!(Bytes::saturating(used).percent_of(limit) < Quota::ALLOW_PERCENT);
        };
        check(1, "1Mi");
        check(90 << 20, "101Mi");
        check(5 << 30, "5689Mi");
        check(50 << 30, "56Gi");
    }
}
