//! What a user who watches Events would like to know.

use super::{credentials, quota};
use crate::{
    api::{
        TenantSchema, TenantSchemaStatus,
        condition::{ConditionType, Reason, find, is_true, newly},
        event::EventReason,
        tenant_schema::State,
    },
    contract::Call,
    frame::Notice,
    plan::Applied,
};

/// Of what was done. `wants_secret`: a Secret is asked for.
pub(super) fn what_was_done(
    tenant: &TenantSchema,
    wants_secret: bool,
    applied: &Applied,
    new: &TenantSchemaStatus,
) -> Vec<Notice> {
    let mut notices = Vec::new();
    let done = [
        (Call::RecreateTenantSchema, EventReason::Recreated),
        (Call::ReclaimTenantSchema, EventReason::Reclaimed),
        (Call::RestoreTenantSchema, EventReason::Reclaimed),
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
    if let Some(result) = applied.success(&Call::SetTenantAccess) {
        let reason = if new.state == Some(State::Suspended) { EventReason::Suspended } else { EventReason::Resumed };
        notices.push(Notice { reason, message: result.message.clone() });
    }
    let told = tenant.status.as_ref().and_then(|status| status.credentials.as_ref());
    let namespace = tenant.metadata.namespace.as_deref().unwrap_or_default();
    notices.extend(credentials::what_was_done(told, wants_secret, namespace, applied));
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
