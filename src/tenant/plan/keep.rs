//! A tenant with a row in the registry: kept as it is wanted.

use super::{
    absent::elsewhere,
    bring_up::{look_again, reclaim},
    credentials::credentials,
    dependents::dependents,
    grants::grants,
    policies,
    schedules::schedules,
};
use crate::{
    api::{RECREATE, bound, command::Object, condition::Reason},
    contract::{ConfigChange, ConfigDigest, RowStatus, Step, TenantRow},
    ident::InstitutionId,
    plan::Effect,
    tenant::{access, desired::Desired, observe::Observed},
    text::DOCS,
};

/// A tenant with a row: kept as it is wanted.
pub(super) fn keep(desired: &Desired, row: &TenantRow, observed: &Observed) -> Vec<Effect> {
    let schema = desired.schema_name.as_str();
    if row.schema_name != schema || row.institution_id != desired.institution.map(InstitutionId::uuid) {
        return vec![Effect::refuse(
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
    if row.status == RowStatus::Released || row.taken_over && row.status.lives() {
        // The object is there after all, or again: a row that waits for its object must not wait for ever.
        return reclaim(desired, row.schema_id, None);
    }
    if !row.status.lives() {
        return vec![Effect::refuse(
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
        if let Some(message) = elsewhere(schema, database, row.absence.as_deref()) {
            return vec![Effect::refuse(Reason::SchemaMissing, message)];
        }
        let value = loss(row);
        if desired.recreate.as_deref() == Some(&value) {
            let recreate = Step::RecreateTenantSchema { schema_id: row.schema_id, recreations: row.recreations };
            // One that is to be closed is open until then.
            let is_closed = access::of(desired, row).is_closed();
            return [Effect::Steps(vec![recreate])].into_iter().chain(is_closed.then(look_again)).collect();
        }
        return vec![Effect::refuse(
            Reason::SchemaMissing,
            format!(
                "schema {schema} was dropped by hand; it is not made again by itself, because that would hide the \
                 loss. Restore it ({DOCS}/everything-was-deleted.md#one-schema); or have it made again, empty: {}",
                Object::tenant(&desired.owner.namespace, &desired.owner.name).annotate(RECREATE, value),
            ),
        )];
    }
    // Before a repair, which would do the same, and tell it as if a user had changed something by hand. Policies come first:
    // grants give nothing that passes them.
    let mut effects: Vec<_> = schedules(desired).collect();
    effects.extend(policies::changed(desired, row).into_iter().chain(grants(desired, row)));
    let (repairable, stuck): (Vec<_>, Vec<_>) = row.drift.iter().partition(|drift| drift.repairable);
    // Before access: a grant or an owner that is not as it should be keeps access from being changed, and would be
    // recorded. But no suspension waits for a repair: a tenant can hold up a repair for ever.
    let holes = row.isolation.iter().flatten().filter(|hole| hole.repairable).map(|hole| hole.what.clone());
    let drift: Vec<_> = repairable.into_iter().map(|drift| drift.what.clone()).chain(holes).collect();
    if !drift.is_empty() {
        effects.push(Effect::Try(vec![Step::RepairTenantSchema { schema_id: row.schema_id, drift }]));
    }
    effects.extend(policies::kept(desired, row, row.drift.iter().any(|drift| drift.repairable)));
    let wanted = access::of(desired, row);
    if wanted.differs(row) {
        effects.push(Effect::Steps(vec![Step::SetTenantAccess {
            schema_id: row.schema_id,
            access: wanted.access,
            access_cause: wanted.cause,
            from: row.access.clone(),
        }]));
    }
    effects.extend(dependents(desired, row));
    let (logins, last) = credentials(desired, row, observed);
    effects.extend(logins);
    // In a call of its own and last: a text that the database cannot store fails the whole call, and access must not
    // wait for it.
    effects.extend(set_config(desired, row));
    if let Err(complaint) = &desired.config {
        // One refusal ends the pass; what else is wrong is said when this is mended.
        effects.push(Effect::refuse(Reason::InvalidSpec, complaint.clone()));
    } else if !stuck.is_empty() {
        let what: Vec<_> = stuck
            .iter()
            .map(|drift| match &drift.statement {
                Some(statement) => format!("{}; a DBA can run: {statement}", drift.what),
                None => drift.what.clone(),
            })
            .collect();
        effects.push(Effect::refuse(
            Reason::DriftNotRepairable,
            format!("schema {schema} was changed in a way that the operator may not repair: {}", what.join("; ")),
        ));
    } else {
        effects.extend(last);
        effects.extend(desired.bad_schedule.as_ref().map(|bad| Effect::refuse(Reason::BackupNotMade, bad.clone())));
    }
    effects
}

fn set_config(desired: &Desired, row: &TenantRow) -> Option<Effect> {
    // What cannot be stored leaves what is stored as it is.
    let config = desired.config.as_ref().ok();
    let same_config = config.is_none_or(|config| row.config == ConfigDigest::from(config));
    let same_quota = row.quota_limit == desired.quota.as_ref().map(|quota| quota.limit.as_i64());
    let changes = match (same_config, same_quota) {
        (true, true) => return None,
        (false, false) => ConfigChange::Both,
        (false, true) => ConfigChange::Config,
        (true, false) => ConfigChange::Quota,
    };
    let (config, quota_limit) = (config.cloned(), desired.quota.clone());
    Some(Effect::Steps(vec![Step::SetTenantConfig { schema_id: row.schema_id, config, quota_limit, changes }]))
}

/// The value of the annotation with which a user accepts an empty schema for this one loss. It does not count for the
/// next loss.
fn loss(row: &TenantRow) -> String {
    let value = bound(&row.schema_name, row.schema_id);
    if row.recreations == 0 { value } else { format!("{value}+{}", row.recreations) }
}
