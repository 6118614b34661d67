//! What a user who watches Events would like to know.

use super::{credentials, quota};
use crate::{
    api::{
        TenantSchema, TenantSchemaStatus,
        condition::{ConditionType, Reason, find, is_true, newly},
        event::EventReason,
        tenant_schema::{BlockedCause, State},
    },
    contract::{Call, CallResult, CallStatus},
    frame::Notice,
    plan::Applied,
    tenant::{desired::Desired, observe::Observed},
};

/// Of what was done.
pub(super) fn what_was_done(
    tenant: &TenantSchema,
    desired: &Desired,
    observed: &Observed,
    applied: &Applied,
    new: &TenantSchemaStatus,
) -> Vec<Notice> {
    let mut notices = Vec::new();
    let done = [
        (Call::RecreateTenantSchema, EventReason::Recreated),
        (Call::ReclaimTenantSchema, EventReason::Reclaimed),
        (Call::RestoreTenantSchema, EventReason::Reclaimed),
        (Call::AdoptTenantSchema, EventReason::Adopted),
        (Call::RepairTenantSchema, EventReason::DriftRepaired),
    ];
    for (call, reason) in done {
        if let Some(result) = applied.success(&call) {
            notices.push(Notice { reason, message: result.message.clone() });
        }
    }
    if let Some(result) = applied.success(&Call::SetTenantConfig) {
        let message = match (quota(tenant.status.as_ref()), quota(Some(new))) {
            (before, now) if before == now => result.message.clone(),
            (_, Some(now)) => format!("{}; its quota is {now}", result.message),
            (_, None) => format!("{}; it has no quota any more", result.message),
        };
        notices.push(Notice { reason: EventReason::Updated, message });
    }
    // The status tells of those that come with the tenant.
    let is_new = applied.success(&Call::CreateTenantSchema).is_some();
    if let Some(result) = applied.success(&Call::SetTenantGrants).filter(|_| !is_new) {
        notices.push(Notice { reason: EventReason::Updated, message: result.message.clone() });
    }
    // What a pass looked at again is no news of another tenant's end.
    let told = tenant.status.as_ref().and_then(|status| find(&status.conditions, ConditionType::GrantedViews));
    let missing = find(&new.conditions, ConditionType::GrantedViews);
    let is_looking =
        |result: &CallResult| result.call == Call::RemakeDependents && result.status != CallStatus::Unchanged;
    let remade = applied.results.iter().any(is_looking);
    if let Some(missing) = missing.filter(|now| !remade && told.is_none_or(|told| told.message != now.message)) {
        notices.push(Notice { reason: EventReason::ViewsRemoved, message: missing.message.clone() });
    }
    if let Some(result) = applied.success(&Call::RemakeDependents) {
        notices.push(Notice { reason: EventReason::ViewsRemade, message: result.message.clone() });
    }
    if let Some(result) = applied.success(&Call::SetTenantAccess) {
        let old = tenant.status.as_ref().and_then(|status| status.state);
        let reason = match new.state {
            Some(State::Suspended) => EventReason::Suspended,
            Some(State::ReadOnly | State::WriteBlocked) => EventReason::WritesTaken,
            _ if matches!(old, Some(State::ReadOnly | State::WriteBlocked)) => EventReason::WritesGivenBack,
            _ => EventReason::Resumed,
        };
        let by_quota = new.blocked.as_ref().is_some_and(|blocked| blocked.cause == Some(BlockedCause::Quota));
        let message = match find(&new.conditions, ConditionType::Ready).filter(|_| by_quota) {
            Some(ready) => format!("{}; {}", result.message, ready.message),
            None => result.message.clone(),
        };
        notices.push(Notice { reason, message });
    }
    for logins in &desired.logins {
        notices.extend(credentials::what_was_done(logins, desired, observed, applied));
    }
    notices
}

/// Of conditions that are new.
pub(super) fn news(tenant: &TenantSchema, new: &TenantSchemaStatus) -> Vec<Notice> {
    let mut notices = Vec::new();
    let old = tenant.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    if let Some(condition) = newly(old, &new.conditions, ConditionType::Stalled) {
        let message = format!("{}: {}", condition.reason, condition.message);
        notices.push(Notice { reason: EventReason::Stalled, message });
    }
    let opened = newly(old, &new.conditions, ConditionType::Isolated).filter(|isolated| isolated.status == "False");
    if let Some(isolated) = opened {
        notices.push(Notice { reason: EventReason::NotIsolated, message: isolated.message.clone() });
    }
    let late = newly(old, &new.conditions, ConditionType::BackedUp).filter(|backed_up| backed_up.status == "False");
    if let Some(late) = late {
        notices.push(Notice { reason: EventReason::BackupLate, message: late.message.clone() });
    }
    for (crossed, reason) in
        [(Reason::QuotaWarning, EventReason::QuotaWarning), (Reason::QuotaExceeded, EventReason::QuotaExceeded)]
    {
        let ready = newly(old, &new.conditions, ConditionType::Ready);
        if let Some(ready) = ready.filter(|ready| ready.reason == crossed.as_str()) {
            notices.push(Notice { reason, message: ready.message.clone() });
        }
    }
    if let Some(condition) = newly(old, &new.conditions, ConditionType::RowSecurity)
        && condition.reason == Reason::PastPolicies.as_str()
    {
        notices.push(Notice { reason: EventReason::PastPolicies, message: condition.message.clone() });
    }
    let stalled = |conditions| find(conditions, ConditionType::Stalled).is_some();
    if stalled(old) && !stalled(&new.conditions) && is_true(&new.conditions, ConditionType::Ready) {
        notices.push(Notice { reason: EventReason::Ready, message: "ready again".to_owned() });
    }
    notices
}
