//! What the owners of a database allow: its defaults and limits, applied to what a spec asks for. Pure.
//!
//! Limits bind new tenants: a complaint refuses one, and marks one that runs.

use std::collections::BTreeMap;

use kube::{
    ResourceExt,
    core::{Selector, SelectorExt},
};
use regex::Regex;

use super::{
    desired::invalid,
    resolve::{Older, Resolved},
};
use crate::{
    api::{
        TenantDatabase, TenantSchema,
        command::{Object, Verb},
        condition::Reason,
        credentials::Credentials,
        policy::{self, DeletionPolicy, Enforcement},
        tenant_database::Limits,
    },
    contract::Quota,
    frame::Invalid,
    ident::SchemaName,
    text::why_no_regex,
};

/// The policy after defaults; if the limits do not allow it, the safest one that they allow.
pub(super) fn policy(
    tenant: &TenantSchema,
    database: Option<&TenantDatabase>,
    outside: &mut Vec<Invalid>,
) -> DeletionPolicy {
    let of_database = || database.and_then(|database| database.spec.defaults.as_ref()?.deletion_policy);
    // What the operator did not make it does not remove unless it is told to.
    let by_default = if tenant.spec.adopts() { Some(DeletionPolicy::Retain) } else { of_database() };
    let wanted = tenant.spec.deletion_policy.or(by_default).unwrap_or_default();
    let Some(limits) = database.and_then(|database| database.spec.limits.as_ref()) else { return wanted };
    if limits.allows(wanted) {
        return wanted;
    }
    let allowed: Vec<_> = limits.deletion_policies.iter().flatten().map(|policy| policy.as_str()).collect();
    outside.push(Invalid {
        reason: Reason::LimitExceeded,
        message: format!(
            "spec.deletionPolicy {} is not allowed here; set it to one of {}",
            wanted.as_str(),
            allowed.join(", ")
        ),
    });
    [DeletionPolicy::BackupThenDrop, DeletionPolicy::Retain, DeletionPolicy::Drop]
        .into_iter()
        .find(|policy| limits.allows(*policy))
        .unwrap_or(DeletionPolicy::BackupThenDrop)
}

/// A quota after defaults and limits.
pub(super) struct QuotaInForce {
    /// The limit, if there is one.
    pub quota: Option<Quota>,
    /// The percentage of it from which on there is a warning.
    pub warning_percent: i32,
    /// What happens beyond it.
    pub enforcement: Enforcement,
}

/// The quota after defaults, field by field, and clamped to the database's largest.
pub(super) fn quota(
    wanted: Option<&policy::Quota>,
    database: &TenantDatabase,
    outside: &mut Vec<Invalid>,
) -> Result<QuotaInForce, Invalid> {
    let by_default = database.spec.defaults.as_ref().and_then(|defaults| defaults.quota.as_ref());
    let mut chain = [wanted, by_default].into_iter().flatten();
    let mut found = None;
    for quota in chain.clone() {
        let limit = quota.limit().map_err(|error| invalid(format!("spec.quota.limit: {error}")))?;
        found = found.or(limit.map(|limit| Quota { limit, shown: quota.limit.clone().unwrap_or_default() }));
    }
    let limits = database.spec.limits.as_ref();
    let max = limits
        .map(Limits::max_quota)
        .transpose()
        .map_err(|error| invalid(format!("limits.maxQuota of the TenantDatabase: {error}")))?
        .flatten();
    if let Some(max) = max
        && found.as_ref().is_none_or(|quota| quota.limit > max)
    {
        let most = limits.and_then(|limits| limits.max_quota.clone()).unwrap_or_default();
        if let Some(Quota { shown: asked, .. }) = &found {
            outside.push(Invalid {
                reason: Reason::LimitExceeded,
                message: format!(
                    "spec.quota.limit {asked} is more than the {most} allowed here; set it to at most {most}"
                ),
            });
        }
        found = Some(Quota { limit: max, shown: most });
    }
    let asked = chain.clone().find_map(|quota| quota.enforcement).unwrap_or_default();
    let least = limits.and_then(|limits| limits.enforcement_at_least).unwrap_or_default();
    if let Some(wanted) = wanted.and_then(|quota| quota.enforcement).filter(|wanted| *wanted < least) {
        outside.push(Invalid {
            reason: Reason::LimitExceeded,
            message: format!(
                "spec.quota.enforcement {} is less than the {least} that is asked for here; set it to {least}, or leave it out",
                wanted.as_str(),
                least = least.as_str(),
            ),
        });
    }
    Ok(QuotaInForce {
        quota: found,
        warning_percent: chain
            .find_map(|quota| quota.warning_percent)
            .unwrap_or(policy::Quota::DEFAULT_WARNING_PERCENT),
        enforcement: asked.max(least),
    })
}

/// How long passwords live and what logins may, after defaults, field by field, and within the database's limits.
pub(super) fn credentials(
    tenant: &TenantSchema,
    database: Option<&TenantDatabase>,
    outside: &mut Vec<Invalid>,
) -> Credentials {
    let asked = tenant.spec.credentials.clone().unwrap_or_default();
    let by_default = database.and_then(|database| database.spec.defaults.as_ref()?.credentials.as_ref());
    let mut own = by_default.map_or_else(|| asked.clone(), |by_default| asked.or(by_default));
    let limits = database.and_then(|database| database.spec.limits.as_ref());
    let mut clamp = |field: &mut Option<i32>, by_default: i32, asked: Option<i32>, most: Option<i32>, what: &str| {
        let Some(most) = most.filter(|most| field.unwrap_or(by_default) > *most) else { return };
        if let Some(asked) = asked {
            outside.push(Invalid {
                reason: Reason::LimitExceeded,
                message: format!(
                    "spec.credentials.{what} {asked} is more than the {most} allowed here; set it to at most {most}"
                ),
            });
        }
        *field = Some(most);
    };
    clamp(
        &mut own.connection_limit,
        Credentials::DEFAULT_CONNECTION_LIMIT,
        asked.connection_limit,
        limits.and_then(|limits| limits.max_connection_limit),
        "connectionLimit",
    );
    clamp(
        &mut own.rotation_period_days,
        Credentials::DEFAULT_ROTATION_PERIOD_DAYS,
        asked.rotation_period_days,
        limits.and_then(|limits| limits.max_rotation_period_days),
        "rotationPeriodDays",
    );
    own
}

pub(super) fn allow_namespace(
    database: &TenantDatabase,
    labels: &BTreeMap<String, String>,
    tenant: &TenantSchema,
    outside: &mut Vec<Invalid>,
) {
    match selects(database.spec.allowed_namespaces.as_ref(), labels) {
        Ok(true) => {}
        Ok(false) => outside.push(Invalid {
            reason: Reason::NamespaceNotAllowed,
            message: format!(
                "namespace {} may not use TenantDatabase {}: its labels do not match spec.allowedNamespaces there; ask \
                 the platform team for a label, or use another database",
                tenant.namespace().unwrap_or_default(),
                tenant.spec.database()
            ),
        }),
        Err(broken) => outside.push(broken),
    }
}

pub(super) fn allow_name(
    database: &TenantDatabase,
    labels: &BTreeMap<String, String>,
    name: &SchemaName,
    tenant: &TenantSchema,
    outside: &mut Vec<Invalid>,
) {
    let Some(naming) = &database.spec.naming else { return };
    let mut patterns = Vec::new();
    for rule in naming {
        match selects(rule.namespace_selector.as_ref(), labels) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(broken) => return outside.push(broken),
        }
        match Regex::new(&rule.pattern) {
            Ok(pattern) if pattern.is_match(name.as_str()) => return,
            Ok(_) => patterns.push(rule.pattern.as_str()),
            Err(error) => {
                let (pattern, why) = (&rule.pattern, why_no_regex(&error));
                let what = format!("{pattern:?} in spec.naming is no regular expression: {why}");
                return outside.push(broken_database(&what));
            }
        }
    }
    let (namespace, database) = (tenant.namespace().unwrap_or_default(), tenant.spec.database());
    let way_out = if patterns.is_empty() {
        "none of its entries selects this namespace: ask the platform team for one".to_owned()
    } else {
        format!(
            "allowed patterns: {}; make the object again with another spec.schemaName, or ask the platform team",
            patterns.join(", ")
        )
    };
    outside.push(Invalid {
        reason: Reason::NameNotAllowed,
        message: format!(
            "spec.naming of TenantDatabase {database} does not allow the schema name {} in namespace {namespace}; {way_out}",
            name.as_str()
        ),
    });
}

/// What is wrong with the TenantDatabase is no fault of its tenants: new ones wait, running ones go on.
pub(super) fn broken_database(what: &str) -> Invalid {
    Invalid {
        reason: Reason::InvalidSpec,
        message: format!("the TenantDatabase is invalid, which its owners must mend: {what}"),
    }
}

pub(super) fn allow_count(
    database: &TenantDatabase,
    resolved: &Resolved,
    tenant: &TenantSchema,
    outside: &mut Vec<Invalid>,
) {
    let most = database.spec.limits.as_ref().and_then(|limits| limits.max_tenants_per_namespace);
    let Some(most) = most.and_then(|most| usize::try_from(most).ok()) else { return };
    let Older { count, refused } = &resolved.older;
    if *count >= most {
        let namespace = tenant.namespace().unwrap_or_default();
        let refused = refused.as_ref().map_or_else(String::new, |name| {
            let command = Object::tenant(&namespace, name).to(Verb::Describe);
            format!("; {name} has no schema yet, and its own message says why: {command}")
        });
        outside.push(Invalid {
            reason: Reason::TooManyTenants,
            message: format!(
                "{count} tenants of namespace {namespace} come before it in TenantDatabase {}, and {most} are allowed; delete \
                 one, or ask the platform team for more (spec.limits.maxTenantsPerNamespace){refused}",
                tenant.spec.database()
            ),
        });
    }
}

/// An absent selector selects all, as an empty one does.
pub(super) fn selects(
    selector: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector>,
    labels: &BTreeMap<String, String>,
) -> Result<bool, Invalid> {
    let Some(selector) = selector else { return Ok(true) };
    let selector = Selector::try_from(selector.clone())
        .map_err(|error| broken_database(&format!("a namespace selector: {error}")))?;
    Ok(selector.matches(labels))
}
