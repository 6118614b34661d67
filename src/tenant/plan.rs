//! Stage 4: what to do, from what shall be and what is. Pure and total: no clock, no waiting, no failure.
//!
//! A plan is an ordered list of effects and reads as text; the golden files in `tests/plans/` are that text. Nothing is
//! left to decide while a plan is applied.

use std::fmt;

use serde_json::{Value, json};
use uuid::Uuid;

use super::desired::{Desired, Removal};
use crate::{
    api::{condition::Reason, policy::DeletionPolicy, tenant_schema::Access},
    ident::InstitutionId,
    postgres::answer::{Claim, Owner, SetAside, TenantAnswer, TenantRow},
    quantity::Bytes,
};

/// What to do, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Whom it is for.
    pub subject: String,
    /// In order; one reconcile runs up to the first that waits or refuses.
    pub effects: Vec<Effect>,
}

/// One thing to do, to wait for, or to refuse.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// End the tenant's long work that runs in this process.
    EndJobs {
        /// The tenant.
        schema_id: Uuid,
    },
    /// Calls of management functions that travel together.
    Steps(Vec<Step>),
    /// Come back when it is so.
    Await {
        /// From the closed set.
        reason: Reason,
        /// What is waited for.
        fact: String,
    },
    /// A person must act.
    Refuse {
        /// From the closed set.
        reason: Reason,
        /// What is wrong, where, and the way out.
        message: String,
    },
    /// Let the object go.
    Release,
}

/// One call of one management function.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The function.
    pub call: &'static str,
    /// What it is given.
    pub options: Value,
    /// What it does, for people.
    pub text: String,
}

impl Plan {
    /// True when nothing is to be done, waited for or refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.effects.is_empty()
    }

    /// True when applying it would change something, so that the finalizer must stand before.
    #[must_use]
    pub fn changes(&self) -> bool {
        self.effects.iter().any(|effect| matches!(effect, Effect::Steps(_)))
    }

    fn new(owner: &Owner, schema: &str, effects: Vec<Effect>) -> Self {
        Self { subject: format!("tenant {}/{}, schema {schema}", owner.namespace, owner.name), effects }
    }
}

/// Plans a living tenant.
#[must_use]
pub fn plan(desired: &Desired, observed: &TenantAnswer) -> Plan {
    let effects = match &observed.own {
        Some(row) => keep(desired, row),
        None => bring_up(desired, observed),
    };
    Plan::new(&desired.owner, desired.schema_name.as_str(), effects)
}

/// Plans the end of a tenant.
#[must_use]
pub fn plan_removal(removal: &Removal, observed: &TenantAnswer) -> Plan {
    let effects = match (&observed.own, &observed.tombstone) {
        (Some(row), _) => take_down(removal, row),
        (None, Some(grave)) if removal.policy == DeletionPolicy::Drop => match grave.backup_state.as_deref() {
            None | Some("purged") => vec![Effect::Release],
            Some(_) => vec![
                Effect::Steps(vec![Step {
                    call: "request_purge",
                    options: json!({ "backup_id": grave.backup_id, "requested_by": requested_by(&removal.owner) }),
                    text: "go on dropping it in parts".to_owned(),
                }]),
                Effect::Await {
                    reason: Reason::AwaitingJob,
                    fact: format!(
                        "the rest of schema {} is dropped",
                        grave.location.as_deref().unwrap_or("of the tenant")
                    ),
                },
            ],
        },
        (None, _) => vec![Effect::Release],
    };
    Plan::new(&removal.owner, removal.schema_name.as_deref().unwrap_or("unknown"), effects)
}

/// A tenant without a row: made, unless something stands in the way.
fn bring_up(desired: &Desired, observed: &TenantAnswer) -> Vec<Effect> {
    let schema = desired.schema_name.as_str();
    if let Some(grave) = &observed.tombstone {
        // Only an object that is gone by now, or a row that was dropped by hand, comes here: neither is made anew.
        let left =
            grave.location.as_deref().map_or_else(String::new, |location| format!("; it is set aside as {location}"));
        return vec![refuse(
            Reason::SchemaMissing,
            format!("this tenant was dropped{left}; delete this object, and apply it again for a new, empty schema"),
        )];
    }
    if let Some(id) = desired.known {
        return vec![refuse(
            Reason::SchemaMissing,
            format!(
                "this tenant had row {id} in the registry and it is not there; nothing is made anew over what may be \
                 elsewhere. If the database was restored or replaced, bring the registry back; if the tenant was \
                 dropped by hand, delete this object and apply it again",
            ),
        )];
    }
    if let Some(holder) = &observed.name_holder {
        return if is_left_behind(holder, desired) && (desired.reclaim || holder.taken_over) {
            reclaim(desired, holder.schema_id)
        } else {
            vec![refuse(Reason::Conflict, conflict("schema", schema, holder, desired))]
        };
    }
    if let (Some(holder), Some(institution)) = (&observed.institution_holder, desired.institution) {
        let institution = institution.uuid().to_string();
        return vec![refuse(Reason::Conflict, conflict("institution", &institution, holder, desired))];
    }
    if observed.schema_exists {
        return vec![refuse(
            Reason::Conflict,
            format!(
                "schema {schema} exists in the database and was not made by this operator; choose another \
                 spec.schemaName in a new TenantSchema, or have a DBA rename the schema"
            ),
        )];
    }
    if observed.name_is_role {
        return vec![refuse(
            Reason::Conflict,
            format!(
                "a role is called {schema}, and a schema of that name would come first in its search_path; choose another spec.schemaName in a new TenantSchema"
            ),
        )];
    }
    if let (Some(institution), false, false) =
        (desired.institution, observed.institution_known, desired.register_institution)
    {
        return vec![refuse(
            Reason::InstitutionUnknown,
            format!(
                "institution {} is not known in this database; register it there, this tenant goes on by itself then",
                institution.uuid()
            ),
        )];
    }
    match &observed.set_aside {
        Some(left) if desired.reclaim => {
            let text = format!("bring back what an earlier object of this name left set aside as {}", left.location);
            let options = json!({ "backup_id": left.backup_id, "owner": desired.owner });
            vec![Effect::Steps(vec![step("restore_tenant_schema", desired, options, text)]), look_again()]
        }
        Some(left) if !desired.recreate => vec![refuse(Reason::Conflict, left_set_aside(desired, left))],
        _ => vec![Effect::Steps(vec![create(desired)])],
    }
}

/// A schema without its object, living or released, becomes this object's.
fn reclaim(desired: &Desired, schema_id: Uuid) -> Vec<Effect> {
    let options = json!({ "schema_id": schema_id, "owner": desired.owner });
    let text = "take back the schema that an earlier object of this name left behind".to_owned();
    vec![Effect::Steps(vec![step("reclaim_tenant_schema", desired, options, text)]), look_again()]
}

/// What was taken back is looked at before anything else is done to it.
fn look_again() -> Effect {
    Effect::Await { reason: Reason::Progressing, fact: "what was taken back is looked at".to_owned() }
}

/// An earlier object's data is neither forgotten nor brought back by guess.
fn left_set_aside(desired: &Desired, left: &SetAside) -> String {
    let Owner { namespace, name, .. } = &desired.owner;
    let schema = desired.schema_name.as_str();
    let annotate = format!("kubectl -n {namespace} annotate tenantschema {name}");
    format!(
        "an earlier TenantSchema {name} of this namespace was deleted at {} and its schema, {} tables, is set aside as {}; \
         to take it back: {annotate} {}={schema}; to begin with an empty schema and leave it there: {annotate} {}={schema}",
        left.dropped_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        left.table_count.unwrap_or_default(),
        left.location,
        crate::api::RECLAIM,
        crate::api::RECREATE,
    )
}

/// A tenant with a row: kept as it shall be.
fn keep(desired: &Desired, row: &TenantRow) -> Vec<Effect> {
    let schema = desired.schema_name.as_str();
    if row.schema_name != schema || row.institution_id != desired.institution.map(InstitutionId::uuid) {
        return vec![refuse(
            Reason::Conflict,
            format!(
                "the registry row {} of this tenant says schema {} and institution {}, the spec says otherwise; the row \
                 was edited by hand: put it back, nothing is touched until then",
                row.schema_id,
                row.schema_name,
                row.institution_id.map_or_else(|| "none".to_owned(), |id| id.to_string()),
            ),
        )];
    }
    if row.status == "released" {
        // The object is there after all, or again.
        return reclaim(desired, row.schema_id);
    }
    if row.status != "active" && row.status != "suspended" {
        return vec![refuse(
            Reason::Conflict,
            format!("the registry has this tenant as {}; nothing is touched until a person decided", row.status),
        )];
    }
    if !row.schema_exists {
        if desired.recreate {
            return vec![Effect::Steps(vec![step(
                "recreate_tenant_schema",
                desired,
                json!({ "schema_id": row.schema_id }),
                "create the schema anew, empty, as its annotation asks".to_owned(),
            )])];
        }
        return vec![refuse(
            Reason::SchemaMissing,
            format!(
                "schema {schema} was dropped by hand; it is not made anew by itself, because that would hide the loss. \
                 Restore it; or have it made anew, empty (if the annotation is still there from an earlier time, remove it \
                 first): kubectl -n {} annotate tenantschema {} {}={schema}",
                desired.owner.namespace,
                desired.owner.name,
                crate::api::RECREATE,
            ),
        )];
    }
    let mut steps = Vec::new();
    let id = row.schema_id;
    let quota = desired.quota.map(Bytes::as_i64);
    if row.config != desired.config || row.quota_limit != quota {
        let text = match (row.config == desired.config, row.quota_limit == quota) {
            (false, false) => format!("set config and quota {}", quota_text(desired)),
            (false, true) => "set config".to_owned(),
            (true, _) => format!("set quota {}", quota_text(desired)),
        };
        let options = json!({ "schema_id": id, "config": desired.config, "quota_limit": quota });
        steps.push(step("set_tenant_config", desired, options, text));
    }
    let (repairable, stuck): (Vec<_>, Vec<_>) = row.drift.iter().partition(|drift| drift.repairable);
    // Before access: a grant or an owner that is not as it should be keeps access from being changed, and would be recorded.
    if !repairable.is_empty() {
        let what: Vec<_> = repairable.iter().map(|drift| drift.what.as_str()).collect();
        steps.push(step(
            "repair_tenant_schema",
            desired,
            json!({ "schema_id": id }),
            format!("repair: {}", what.join("; ")),
        ));
    }
    if row.access != access_word(desired.access) {
        let text = match desired.access {
            Access::Suspended => "suspend: take USAGE from all but the owner, end sessions",
            Access::ReadWrite => "resume: give back what suspension took",
        };
        let options = json!({ "schema_id": id, "access": access_word(desired.access) });
        steps.push(step("set_tenant_access", desired, options, text.to_owned()));
    }
    let mut effects = Vec::new();
    if !steps.is_empty() {
        effects.push(Effect::Steps(steps));
    }
    if !stuck.is_empty() {
        let what: Vec<_> = stuck
            .iter()
            .map(|drift| match &drift.statement {
                Some(statement) => format!("{}; a DBA can run: {statement}", drift.what),
                None => drift.what.clone(),
            })
            .collect();
        effects.push(refuse(
            Reason::DriftNotRepairable,
            format!("schema {schema} was changed in a way that the operator may not repair: {}", what.join("; ")),
        ));
    }
    effects
}

fn take_down(removal: &Removal, row: &TenantRow) -> Vec<Effect> {
    let purge = match removal.policy {
        DeletionPolicy::Retain => return vec![Effect::Release],
        DeletionPolicy::BackupThenDrop => false,
        DeletionPolicy::Drop => true,
    };
    let Owner { namespace, name, .. } = &removal.owner;
    if purge && !removal.drop_confirmed {
        return vec![refuse(
            Reason::DropNotConfirmed,
            format!(
                "schema {} would be dropped without a backup ({} tables, {} bytes) and nothing was done; to drop it: \
                 kubectl -n {namespace} annotate tenantschema {name} {}={}; to keep it: kubectl -n {namespace} patch \
                 tenantschema {name} --type merge -p '{{\"spec\":{{\"deletionPolicy\":\"BackupThenDrop\"}}}}'",
                row.schema_name,
                row.table_count,
                row.storage_bytes,
                crate::api::CONFIRM_DROP,
                row.schema_name,
            ),
        )];
    }
    let requested_by = requested_by(&removal.owner);
    let id = row.schema_id;
    let mut effects = Vec::new();
    let mut steps = Vec::new();
    if !row.jobs.is_empty() {
        effects.push(Effect::EndJobs { schema_id: id });
        steps.push(Step {
            call: "cancel_tenant_jobs",
            options: json!({ "schema_id": id, "requested_by": requested_by }),
            text: "cancel its jobs".to_owned(),
        });
    }
    let mut options = json!({
        "schema_id": id, "owner_uid": removal.owner.uid, "expire_after_days": removal.expire_after_days, "purge": purge,
        "requested_by": requested_by,
    });
    if let Some(brake) = &removal.brake {
        options["brake"] = json!({ "since": brake.since, "limit": brake.limit });
    }
    steps.push(Step {
        call: "set_aside_tenant_schema",
        options,
        text: if purge {
            "close access, set the schema aside and drop it in parts".to_owned()
        } else {
            "close access and set the schema aside whole".to_owned()
        },
    });
    effects.push(Effect::Steps(steps));
    if purge {
        effects.push(Effect::Await {
            reason: Reason::AwaitingJob,
            fact: format!("schema {} is dropped", row.schema_name),
        });
    } else {
        effects.push(Effect::Release);
    }
    effects
}

fn create(desired: &Desired) -> Step {
    let mut options = json!({
        "schema_name": desired.schema_name.as_str(),
        "institution_id": desired.institution.map(InstitutionId::uuid),
        "owner": desired.owner,
        "register_institution": desired.register_institution,
        "config": desired.config,
        "quota_limit": desired.quota.map(Bytes::as_i64),
        "access": access_word(desired.access),
    });
    if let Some(source) = &desired.institution_source {
        options["institution_source"] = json!(source);
    }
    let suspended = if desired.access == Access::Suspended { ", suspended" } else { "" };
    let text = format!("create schema with roles owner, reader, writer; quota {}{suspended}", quota_text(desired));
    step("create_tenant_schema", desired, options, text)
}

fn step(call: &'static str, desired: &Desired, mut options: Value, text: String) -> Step {
    options["requested_by"] = json!(requested_by(&desired.owner));
    Step { call, options, text }
}

fn refuse(reason: Reason, message: String) -> Effect {
    Effect::Refuse { reason, message }
}

/// Who asked, as the operation log shows it.
#[must_use]
pub fn requested_by(owner: &Owner) -> String {
    format!("TenantSchema {}/{}", owner.namespace, owner.name)
}

/// The word of the wire contract.
#[must_use]
pub const fn access_word(access: Access) -> &'static str {
    match access {
        Access::ReadWrite => "ReadWrite",
        Access::Suspended => "Suspended",
    }
}

fn quota_text(desired: &Desired) -> &str {
    desired.effective.quota_limit.as_deref().unwrap_or("none")
}

/// True when the row belonged to an object of the same namespace and name, which is gone: this one has its place.
fn is_earlier(holder: &Claim, asking: &Owner) -> bool {
    holder.cluster.as_deref() == Some(&asking.cluster)
        && holder.namespace.as_deref() == Some(&asking.namespace)
        && holder.name.as_deref() == Some(&asking.name)
}

/// True when this object may have the row: its schema is the one that is wanted, and it is not just being dropped.
fn is_left_behind(holder: &Claim, desired: &Desired) -> bool {
    is_earlier(holder, &desired.owner)
        && holder.schema_name == desired.schema_name.as_str()
        && holder.status != "dropping"
}

/// The holder is named only to those who may see it: within the same namespace.
fn conflict(what: &str, value: &str, holder: &Claim, desired: &Desired) -> String {
    let asking = &desired.owner;
    let same_cluster = holder.cluster.as_deref() == Some(&asking.cluster);
    let holder_text = match (&holder.namespace, &holder.name) {
        (None, _) | (_, None) => "a tenant that was made by hand".to_owned(),
        (Some(namespace), Some(name)) if is_left_behind(holder, desired) => {
            return format!(
                "{what} {value} was left behind by an earlier TenantSchema {name} of this namespace; to take it back with \
                 all its data: kubectl -n {namespace} annotate tenantschema {name} {}={}; if it shall stay with nobody, \
                 delete this object, which drops nothing",
                crate::api::RECLAIM,
                holder.schema_name,
            );
        }
        (Some(_), Some(name)) if is_earlier(holder, asking) && holder.status == "dropping" => {
            return format!(
                "{what} {value} belongs to an earlier TenantSchema {name} of this namespace, whose schema is being dropped; \
                 this object is looked at again until that has ended"
            );
        }
        (Some(_), Some(name)) if is_earlier(holder, asking) => {
            format!("schema {} of an earlier TenantSchema {name} of this namespace", holder.schema_name)
        }
        (Some(namespace), Some(name)) if same_cluster && *namespace == asking.namespace => {
            format!("TenantSchema {name} of this namespace")
        }
        _ => "a tenant of another namespace".to_owned(),
    };
    format!("{what} {value} belongs to {holder_text}; the first keeps it, and deleting this object drops nothing")
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:", self.subject)?;
        if self.effects.is_empty() {
            return writeln!(f, "  nothing to do");
        }
        for effect in &self.effects {
            match effect {
                Effect::EndJobs { .. } => writeln!(f, "  end its running jobs")?,
                Effect::Steps(steps) => {
                    writeln!(f, "  in order:")?;
                    for step in steps {
                        writeln!(f, "    {}", step.text)?;
                    }
                }
                Effect::Await { fact, .. } => writeln!(f, "  wait until {fact}")?,
                Effect::Refuse { reason, message } => writeln!(f, "  refuse ({reason}): {message}")?,
                Effect::Release => writeln!(f, "  let the object go")?,
            }
        }
        Ok(())
    }
}
