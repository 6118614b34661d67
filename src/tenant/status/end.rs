//! What a person reads of a tenant that is deleted.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{finish, quota, usage};
use crate::{
    api::{
        ABANDON, CONFIRM_DELETIONS, CONFIRM_DROP, RECLAIM, TenantSchema, TenantSchemaStatus, bound,
        command::{Kind, Object, Verb},
        condition::{Readiness, Reason, Verdict},
        event::EventReason,
        policy::DeletionPolicy,
        tenant_schema::State,
    },
    contract::{Call, TenantRow},
    frame::{Leave, Notice},
    plan::{Applied, End},
    tenant::{desired::Removal, observe::Observed},
};

/// The status of a tenant whose end waits for something: what would be lost is shown as it is now.
pub(super) fn status_of_end(
    tenant: &TenantSchema,
    row: Option<&TenantRow>,
    verdict: &Verdict,
    now: Timestamp,
) -> TenantSchemaStatus {
    let mut status = tenant.status.clone().unwrap_or_default();
    if row.is_some() {
        let limit = quota(Some(&status)).and_then(|limit| limit.parse().ok());
        usage(&mut status, row, limit, 100);
    }
    // What has no row any more and is not let go is set aside under another name, closed, and removed in parts.
    if row.is_none() || verdict.reason() == Reason::AwaitingJob {
        status.state = Some(State::Dropping);
    }
    finish(tenant, status, verdict, now)
}

/// A deletion that waits for the database says since when, and how to let go without it.
pub(super) fn blocked(removal: &Removal, why: &str) -> Verdict {
    let Removal { owner, schema_name, deleted_at, .. } = removal;
    let since = deleted_at.map_or_else(String::new, |at| at.to_string());
    let schema = schema_name.as_deref().unwrap_or("of the tenant");
    let message = format!(
        "deletion waits since {since} for the database ({why}) and goes on by itself; to let go and leave schema {schema} \
         where it is: {}",
        Object::tenant(&owner.namespace, &owner.name)
            .annotate(ABANDON, bound(schema_name.as_deref().unwrap_or_default(), &owner.uid)),
    );
    Verdict::of(Reason::DatabaseUnavailable, message, Readiness::Kept)
}

/// What is said of a deletion that waits, if it does.
pub(super) fn end_verdict(
    tenant: &TenantSchema,
    database: &str,
    removal: &Removal,
    applied: &Applied,
) -> Option<Verdict> {
    let End::Refused { reason: Reason::DeletionBrake, message } = &applied.end else {
        return applied.end.verdict(Readiness::False);
    };
    // How a wave of deletions is let go, or its tenants kept. One time serves for all that wait.
    let newest = removal.newest_deletion.map_or_else(String::new, |at| at.to_string());
    let message = format!(
        "{message}; if all deletions are meant: {}; to keep a tenant: {}, and apply it again with {RECLAIM}",
        Object::database(database).annotate(CONFIRM_DELETIONS, newest),
        Object::of(Kind::TenantSchema, &tenant.metadata).to(Verb::SetDeletionPolicy(DeletionPolicy::Retain)),
    );
    Some(Verdict::of(Reason::DeletionBrake, message, true))
}

/// What is told of what became of a deleted tenant.
pub(super) fn what_became(
    tenant: &TenantSchema,
    leave: &Leave<Removal>,
    observed: &Observed,
    applied: &Applied,
) -> Vec<Notice> {
    let removal = leave.removal();
    let name = removal.schema_name.as_deref().unwrap_or("of the tenant");
    let given_to = observed.given_to.clone().flatten();
    let message = match given_to.filter(|_| applied.success(&Call::ReleaseTenants).is_some()) {
        Some(to) => format!("schema {name} stays as it is, for TenantSchema {to}"),
        // Not while it waits for something.
        None if !matches!(leave, Leave::Asked(_)) && applied.end == End::Released => {
            format!("schema {name} stays as it is")
        }
        None => return taken_away(tenant, removal, observed.answer.own.as_deref(), applied),
    };
    vec![Notice { reason: EventReason::Retained, message }]
}

/// What is told when a schema was set aside, or its drop was begun.
pub fn taken_away(tenant: &TenantSchema, removal: &Removal, row: Option<&TenantRow>, applied: &Applied) -> Vec<Notice> {
    let Some(done) = applied.success(&Call::SetAsideTenantSchema) else { return Vec::new() };
    if done.detail.get("schema_missing").is_some() {
        // Nothing was there to be taken away.
        return Vec::new();
    }
    if removal.policy != DeletionPolicy::Drop {
        return vec![Notice { reason: EventReason::SetAside, message: done.message.clone() }];
    }
    let schema = removal.schema_name.as_deref().unwrap_or("of the tenant");
    let content = row.map_or_else(|| "its content was not measured".to_owned(), TenantRow::content);
    let message = format!(
        "schema {schema} is dropped without a backup ({content}), as {CONFIRM_DROP} confirmed, which {} wrote",
        writer_of(&tenant.metadata, CONFIRM_DROP)
    );
    vec![Notice { reason: EventReason::Dropped, message }]
}

/// The field manager that wrote an annotation as it is now, and when, by the API server's own record. The audit log has
/// the user.
fn writer_of(metadata: &ObjectMeta, annotation: &str) -> String {
    let path = format!("/f:metadata/f:annotations/f:{}", annotation.replace('/', "~1"));
    let entries = metadata.managed_fields.iter().flatten();
    let latest = entries
        .filter(|entry| entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer(&path).is_some()))
        .max_by_key(|entry| entry.time.as_ref().map(|time| time.0));
    match latest {
        Some(entry) => {
            let at = entry.time.as_ref().map_or_else(String::new, |time| format!(" at {}", time.0));
            format!("field manager {}{at}", entry.manager.as_deref().unwrap_or("unknown"))
        }
        None => "an unknown field manager".to_owned(),
    }
}
