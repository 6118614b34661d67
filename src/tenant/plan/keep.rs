//! A tenant with a row in the registry: kept as it is wanted.

use serde_json::json;

use super::{Effect, absent::elsewhere, access_word, bring_up::reclaim, quota_text, refuse, step};
use crate::{
    api::{bound, condition::Reason, tenant_schema::Access},
    contract::TenantRow,
    ident::InstitutionId,
    quantity::Bytes,
    tenant::desired::Desired,
    text::DOCS,
};

/// A tenant with a row: kept as it is wanted.
pub(super) fn keep(desired: &Desired, row: &TenantRow) -> Vec<Effect> {
    let schema = desired.schema_name.as_str();
    if row.schema_name != schema || row.institution_id != desired.institution.map(InstitutionId::uuid) {
        return vec![refuse(
            Reason::Conflict,
            format!(
                "the registry row {} of this tenant says schema {} and institution {}, the spec says otherwise: the row was edited by \
                 hand, and nothing is touched until a DBA puts it back: {DOCS}/operations.md#a-row-of-the-registry-that-was-edited",
                row.schema_id,
                row.schema_name,
                row.institution_id.map_or_else(|| "none".to_owned(), |id| id.to_string()),
            ),
        )];
    }
    if row.status == "released" {
        // The object is there after all, or again.
        return reclaim(desired, row.schema_id, None);
    }
    if row.status != "active" && row.status != "suspended" {
        return vec![refuse(
            Reason::Conflict,
            format!(
                "the registry row {} of this tenant is {}, which no call of the operator leaves behind, and nothing is touched until \
                 a DBA puts it back: {DOCS}/operations.md#a-row-of-the-registry-that-was-edited",
                row.schema_id, row.status,
            ),
        )];
    }
    if !row.schema_exists {
        let database = desired.effective.database_ref.as_deref().unwrap_or_default();
        if let Some(message) = elsewhere(schema, database, row.absence.as_ref()) {
            return vec![refuse(Reason::SchemaMissing, message)];
        }
        let value = loss(row);
        if desired.recreate.as_deref() == Some(&value) {
            return vec![Effect::Steps(vec![step(
                "recreate_tenant_schema",
                desired,
                json!({ "schema_id": row.schema_id, "recreations": row.recreations }),
                "create the schema again, empty, as its annotation asks".to_owned(),
            )])];
        }
        return vec![refuse(
            Reason::SchemaMissing,
            format!(
                "schema {schema} was dropped by hand; it is not made again by itself, because that would hide the \
                 loss. Restore it ({DOCS}/everything-was-deleted.md#one-schema); or have it made again, empty: kubectl -n {} annotate tenantschema {} --overwrite {}={value}",
                desired.owner.namespace,
                desired.owner.name,
                crate::api::RECREATE,
            ),
        )];
    }
    let id = row.schema_id;
    let mut effects = Vec::new();
    let (repairable, stuck): (Vec<_>, Vec<_>) = row.drift.iter().partition(|drift| drift.repairable);
    // Before access: a grant or an owner that is not as it should be keeps access from being changed, and would be recorded. But no
    // suspension waits for a repair: a tenant can hold one up for as long as it likes.
    if !repairable.is_empty() {
        let what: Vec<_> = repairable.iter().map(|drift| drift.what.as_str()).collect();
        effects.push(Effect::Try(vec![step(
            "repair_tenant_schema",
            desired,
            json!({ "schema_id": id }),
            format!("repair: {}", what.join("; ")),
        )]));
    }
    if row.access != access_word(desired.access) {
        let text = match desired.access {
            Access::Suspended => "suspend: take USAGE from all but the owner, end sessions",
            Access::ReadWrite => "resume: give back what suspension took",
        };
        let options = json!({ "schema_id": id, "access": access_word(desired.access) });
        effects.push(Effect::Steps(vec![step("set_tenant_access", desired, options, text.to_owned())]));
    }
    // By itself and last: a text that the database cannot store fails the whole call, and no tenant's access waits for that.
    effects.extend(set_config(desired, row));
    if let Err(complaint) = &desired.config {
        effects.push(refuse(Reason::InvalidSpec, complaint.clone()));
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

fn set_config(desired: &Desired, row: &TenantRow) -> Option<Effect> {
    let quota = desired.quota.map(Bytes::as_i64);
    let config = desired.config.as_ref().unwrap_or(&row.config);
    if row.config == *config && row.quota_limit == quota {
        return None;
    }
    let text = match (row.config == *config, row.quota_limit == quota) {
        (false, false) => format!("set config and quota {}", quota_text(desired)),
        (false, true) => "set config".to_owned(),
        (true, _) => format!("set quota {}", quota_text(desired)),
    };
    let options = json!({ "schema_id": row.schema_id, "config": config, "quota_limit": quota });
    Some(Effect::Steps(vec![step("set_tenant_config", desired, options, text)]))
}

/// What an annotation says to have just this loss made good by an empty schema. It says nothing about the next one.
fn loss(row: &TenantRow) -> String {
    let value = bound(&row.schema_name, row.schema_id);
    if row.recreations == 0 { value } else { format!("{value}+{}", row.recreations) }
}
