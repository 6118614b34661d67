//! Stage 4: what to do. Pure and total.

use std::fmt;

use serde_json::{Value, json};

use super::desired::{Desired, Removal};
use crate::{
    api::condition::Reason,
    context::End,
    contract::{BackupAnswer, BackupRow, JobKind, JobRow, JobWaits, Owner},
    text::is_object_name,
};

/// What to do, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Whom it is for.
    pub subject: String,
    /// In order.
    pub effects: Vec<Effect>,
}

/// One thing to do, to wait for, or to refuse.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Queues long work in the catalogue, or takes it back.
    Request {
        /// The function.
        call: &'static str,
        /// What it is given.
        options: Value,
        /// What it does, for people.
        text: String,
    },
    /// Come back when it is so.
    Await {
        /// From the closed set.
        reason: Reason,
        /// For people.
        message: String,
    },
    /// It can never be.
    Refuse {
        /// From the closed set.
        reason: Reason,
        /// For people.
        message: String,
    },
    /// Let the object go.
    Release,
}

/// Plans a backup that is wanted.
#[must_use]
pub fn plan(desired: &Desired, observed: &BackupAnswer) -> Plan {
    let effects = match &observed.backup {
        Some(row) => adopt(desired, row).into_iter().chain(follow(desired, row, observed.job.as_ref())).collect(),
        None => start(desired, observed),
    };
    Plan { subject: subject(&desired.object), effects }
}

/// Plans the end of a backup's object.
#[must_use]
pub fn plan_removal(removal: &Removal, observed: &BackupAnswer) -> Plan {
    let effects = match &observed.backup {
        None => vec![Effect::Release],
        Some(row) => finish(removal, row, observed.job.as_ref()),
    };
    Plan { subject: subject(&removal.object), effects }
}

fn start(desired: &Desired, observed: &BackupAnswer) -> Vec<Effect> {
    if let Some(id) = desired.known {
        return vec![Effect::Refuse {
            reason: Reason::Failed,
            message: format!("the catalogue has no backup {id} any more; {}", make_another(desired)),
        }];
    }
    let Some(tenant) = observed.tenant.as_ref().filter(|_| desired.tenant.is_some()) else {
        return vec![Effect::Await { reason: Reason::TenantNotFound, message: no_tenant(desired) }];
    };
    vec![
        Effect::Request {
            call: "request_backup",
            options: json!({
                "schema_id": tenant.schema_id, "object": desired.object, "method": desired.method.as_str(),
                "expire_after_days": desired.expire_after_days, "requested_by": requested_by(&desired.object),
            }),
            text: format!("request a {} of schema {}", desired.method.as_str(), tenant.schema_name),
        },
        running(),
    ]
}

/// Said of a tenant that is not there and of one that waits for its schema alike, so that it stays true while one becomes the
/// other.
#[must_use]
pub fn no_tenant(desired: &Desired) -> String {
    let Desired { object: Owner { namespace, .. }, tenant_name, .. } = desired;
    if !is_object_name(tenant_name) {
        return format!("no TenantSchema can be called {tenant_name:?}; make another SchemaBackup");
    }
    format!(
        "TenantSchema {tenant_name} of namespace {namespace} is not there or has no schema yet; the backup is made when it has: \
         kubectl -n {namespace} get tenantschema {tenant_name}"
    )
}

/// A backup that an earlier object of the same names asked for becomes this one's: it is not made again because its manifest was
/// applied again.
fn adopt(desired: &Desired, row: &BackupRow) -> Option<Effect> {
    let is_earlier = row.object.as_ref().is_some_and(|object| object.uid != desired.object.uid);
    is_earlier.then(|| Effect::Request {
        call: "adopt_backup",
        options: json!({
            "backup_id": row.backup_id, "object": desired.object, "requested_by": requested_by(&desired.object),
        }),
        text: "take over the backup that an earlier object of this name asked for".to_owned(),
    })
}

/// How a user comes to a backup that this object cannot have.
fn make_another(desired: &Desired) -> String {
    let Owner { namespace, name, .. } = &desired.object;
    format!(
        "make another, which needs another object: kubectl -n {namespace} delete schemabackup {name}, and apply its manifest again"
    )
}

/// A backup that the catalogue has: it says itself how far it is.
fn follow(desired: &Desired, row: &BackupRow, job: Option<&JobRow>) -> Vec<Effect> {
    match row.state.as_str() {
        "complete" | "purging" | "purged" | "restored" => Vec::new(),
        "failed" => vec![Effect::Refuse {
            reason: Reason::Failed,
            message: format!(
                "the backup of TenantSchema {} could not be made: {}; when that is mended, {}",
                desired.tenant_name,
                row.error.as_deref().unwrap_or("the operation log has the reason"),
                make_another(desired)
            ),
        }],
        "cancelled" => vec![Effect::Refuse {
            reason: Reason::Cancelled,
            message: format!(
                "the backup of TenantSchema {} was cancelled, by hand or because the tenant was deleted; {}",
                desired.tenant_name,
                make_another(desired)
            ),
        }],
        "requested" if row.error.is_some() => vec![Effect::Await {
            reason: Reason::ProgressingWithRetry,
            message: format!("an attempt failed and another follows: {}", row.error.as_deref().unwrap_or_default()),
        }],
        _ => vec![job.and_then(|job| job.waits.as_ref()).map_or_else(running, queued)],
    }
}

fn finish(removal: &Removal, row: &BackupRow, job: Option<&JobRow>) -> Vec<Effect> {
    let options = json!({ "backup_id": row.backup_id, "requested_by": requested_by(&removal.object) });
    match row.state.as_str() {
        "requested" | "running" => {
            vec![Effect::Request { call: "cancel_backup", options, text: "cancel it".to_owned() }, Effect::Release]
        }
        "complete" if removal.delete => vec![
            Effect::Request {
                call: "request_purge",
                options,
                text: format!("remove {}", row.location.as_deref().unwrap_or("it")),
            },
            gone(row, job),
        ],
        "purging" if removal.delete => vec![gone(row, job)],
        _ => vec![Effect::Release],
    }
}

fn running() -> Effect {
    Effect::Await { reason: Reason::Running, message: "the snapshot is queued or being made".to_owned() }
}

/// What the snapshot waits for. Whose snapshots the others are is for the owners of the database to see.
fn queued(waits: &JobWaits) -> Effect {
    let since = waits.since.strftime("%Y-%m-%dT%H:%M:%SZ");
    let message = match &waits.own {
        Some(kind) => format!("the snapshot is queued: a {kind} of the same tenant has been running since {since}"),
        None => format!(
            "the snapshot is queued: those of other tenants are being made, the oldest since {since}; each has an end, at most \
             after 10 minutes and a second for each MiB"
        ),
    };
    Effect::Await { reason: Reason::Running, message }
}

/// What a removal waits for, and whether a person has to do something about it.
fn gone(row: &BackupRow, job: Option<&JobRow>) -> Effect {
    let schema = row.location.as_deref().unwrap_or("of the backup");
    let failed =
        job.filter(|job| job.kind == JobKind::Purge).and_then(|job| Some((job.error.as_ref()?, job.reason.as_ref())));
    match failed {
        Some((error, Some(reason))) => Effect::Refuse {
            reason: End::reason_of(reason),
            message: format!("schema {schema} is not gone yet, and it is tried again by itself: {error}"),
        },
        Some((error, None)) => Effect::Await {
            reason: Reason::Deleting,
            message: format!("schema {schema} is being removed; the latest attempt: {error}"),
        },
        None => Effect::Await { reason: Reason::Deleting, message: format!("schema {schema} is being removed") },
    }
}

fn subject(object: &Owner) -> String {
    format!("backup {}/{}", object.namespace, object.name)
}

fn requested_by(object: &Owner) -> String {
    format!("SchemaBackup {}/{}", object.namespace, object.name)
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:", self.subject)?;
        if self.effects.is_empty() {
            return writeln!(f, "  nothing to do");
        }
        for effect in &self.effects {
            match effect {
                Effect::Request { text, .. } => writeln!(f, "  {text}")?,
                Effect::Await { message, .. } => writeln!(f, "  wait: {message}")?,
                Effect::Refuse { reason, message } => writeln!(f, "  refuse ({reason}): {message}")?,
                Effect::Release => writeln!(f, "  let the object go")?,
            }
        }
        Ok(())
    }
}
