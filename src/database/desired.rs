//! Stage 2: what is asked of this replica about a database. Pure.

use std::time::Duration;

use jiff::Timestamp;
use kube::{ResourceExt, core::Selector};
use regex::Regex;

use crate::{
    api::{TENANT_DATABASE_FINALIZER, TenantDatabase, confirmed_deletions, tenant_database::Limits},
    contract::InstitutionTable,
    lane::addresses::{Name, names},
    text::why_no_regex,
};

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// The object's name.
    pub name: String,
    /// The generation of the spec.
    pub generation: i64,
    /// The object is being deleted.
    pub leaving: bool,
    /// The object has our finalizer.
    pub protected: bool,
    /// What in the spec cannot be followed.
    pub complaint: Option<String>,
    /// How often a survey is due.
    pub survey_period: Duration,
    /// Up to when a person confirmed deletions.
    pub confirmed: Option<Timestamp>,
    /// How many tenants' backups may expire in an hour.
    pub expiry_limit: i32,
    /// The application's own table of institutions.
    pub institutions: Option<InstitutionTable>,
    /// The names that tenants' Secrets lead to, which have to have an address.
    pub names: Vec<Name>,
}

/// What the object asks for.
#[must_use]
pub fn desired(database: &TenantDatabase, now: Timestamp) -> Desired {
    let metadata = &database.metadata;
    Desired {
        name: database.name_any(),
        generation: metadata.generation.unwrap_or_default(),
        leaving: metadata.deletion_timestamp.is_some(),
        protected: database.finalizers().iter().any(|finalizer| finalizer == TENANT_DATABASE_FINALIZER),
        complaint: complaint(database),
        survey_period: database.spec.survey_period(),
        confirmed: confirmed_deletions(metadata, now),
        expiry_limit: database.spec.max_deletions_per_hour(),
        institutions: InstitutionTable::of(database),
        names: names(&database.spec),
    }
}

/// What in the spec cannot be followed although the API server took it. Said here, since the owners of tenants could
/// not mend it.
#[must_use]
pub fn complaint(database: &TenantDatabase) -> Option<String> {
    let spec = &database.spec;
    let naming = || spec.naming.iter().flatten().enumerate();
    let of_database = spec.allowed_namespaces.iter().map(|selector| ("spec.allowedNamespaces".to_owned(), selector));
    let of_rules = naming().filter_map(|(index, rule)| {
        Some((format!("spec.naming[{index}].namespaceSelector"), rule.namespace_selector.as_ref()?))
    });
    let offered = spec.grantable_roles.iter().flatten().enumerate().filter_map(|(index, role)| {
        Some((format!("spec.grantableRoles[{index}].namespaceSelector"), role.namespace_selector.as_ref()?))
    });
    for (field, selector) in of_database.chain(of_rules).chain(offered) {
        if let Err(error) = Selector::try_from(selector.clone()) {
            return Some(format!("{field} is invalid: {error}"));
        }
    }
    for (index, rule) in naming() {
        if let Err(error) = Regex::new(&rule.pattern) {
            let why = why_no_regex(&error);
            return Some(format!("spec.naming[{index}].pattern {:?} is no regular expression: {why}", rule.pattern));
        }
    }
    let limit = match spec.limits.as_ref().map_or(Ok(None), Limits::max_quota) {
        Ok(limit) => limit,
        Err(error) => return Some(format!("spec.limits.maxQuota: {error}")),
    };
    let defaults = spec.defaults.as_ref()?;
    for schedule in defaults.backup.iter().flat_map(|backup| &backup.schedules).flatten() {
        if let Err(error) = schedule.times() {
            return Some(format!("spec.defaults.backup.schedules, schedule {}: {error}", schedule.name));
        }
    }
    match defaults.quota.as_ref()?.limit() {
        Err(error) => Some(format!("spec.defaults.quota.limit: {error}")),
        Ok(Some(default)) if limit.is_some_and(|limit| limit < default) => Some(format!(
            "spec.defaults.quota.limit {default} is more than spec.limits.maxQuota {}, so no tenant may have it",
            limit.unwrap_or(default)
        )),
        Ok(_) => None,
    }
}
