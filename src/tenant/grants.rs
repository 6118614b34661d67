//! What a spec gives to others, after the limits of the database. Pure.

use std::collections::BTreeMap;

use kube::ResourceExt;

use crate::{
    api::{
        RECONCILE_REQUESTED_AT, TenantDatabase, TenantSchema,
        grants::{Granted, GrantsAllowed, Privilege},
        transfer::ObjectName,
    },
    contract::{GrantTo, GrantWish},
    text::count,
};

use super::limits::selects;

/// One entry of the spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Who is to get it.
    pub to: Granted,
    /// What the registry is to have; or why the grant is refused.
    pub wish: Result<GrantWish, String>,
}

/// All that a tenant gives to others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// In the order of the spec.
    pub asked: Vec<Asked>,
    /// The latest request of a user to look at the tenant again, by which a namespace that was made again gets what the former one
    /// had.
    pub request: Option<String>,
}

impl Grants {
    /// Those that are not refused.
    pub fn wishes(&self) -> impl Iterator<Item = &GrantWish> {
        self.asked.iter().filter_map(|asked| asked.wish.as_ref().ok())
    }
}

/// What the spec gives to others, with the labels of its namespace.
pub(super) fn grants(tenant: &TenantSchema, database: &TenantDatabase, labels: &BTreeMap<String, String>) -> Grants {
    let own = ObjectName { namespace: tenant.namespace().unwrap_or_default(), name: tenant.name_any() };
    let grants = tenant.spec.grants.iter().flatten();
    Grants {
        asked: grants
            .map(|grant| {
                let tenant_schema = grant.to.tenant_schema.as_ref().map(|to| to.within(&own.namespace));
                let to = Granted { tenant_schema, role: grant.to.role.clone() };
                let wish = allowed(&to, &own, database, tenant.spec.database(), labels).map(|to| GrantWish {
                    to,
                    privileges: words(&grant.privileges),
                    tables: grant.tables.as_deref().map(sorted),
                });
                Asked { to, wish }
            })
            .collect(),
        request: tenant.annotations().get(RECONCILE_REQUESTED_AT).map(|value| value.chars().take(256).collect()),
    }
}

/// Who gets a grant, if the limits allow it. Whether the grantee is there is not asked here: what is refused reads the same for one
/// that is not.
fn allowed(
    to: &Granted,
    own: &ObjectName,
    database: &TenantDatabase,
    name: &str,
    labels: &BTreeMap<String, String>,
) -> Result<GrantTo, String> {
    let allowed = database.spec.limits.as_ref().and_then(|limits| limits.grants).unwrap_or_default();
    let ask = format!("ask the platform team for spec.limits.grants of TenantDatabase {name}");
    match to {
        Granted { tenant_schema: Some(to), .. } if to == own => {
            Err("a tenant has all rights on its own schema; name another one".to_owned())
        }
        _ if allowed == GrantsAllowed::None => Err(format!("this database allows no grants; {ask}")),
        Granted { tenant_schema: Some(to), role: None } => {
            if allowed == GrantsAllowed::SameNamespace && to.namespace != own.namespace {
                return Err(format!("this database allows grants within namespace {} alone; {ask}", own.namespace));
            }
            Ok(GrantTo::Tenant(to.clone()))
        }
        Granted { tenant_schema: None, role: Some(role) } => {
            // A selector that is none is told on the TenantDatabase.
            let is_offered = database.spec.grantable_roles.iter().flatten().any(|offer| {
                offer.name == *role && selects(offer.namespace_selector.as_ref(), labels).unwrap_or_default()
            });
            if is_offered {
                return Ok(GrantTo::Role { role: role.clone() });
            }
            Err(format!(
                "role {role} is not offered to namespace {}; ask the platform team for an entry in spec.grantableRoles of \
                 TenantDatabase {name}, or, if it is a tenant's, name its TenantSchema",
                own.namespace
            ))
        }
        Granted { .. } => Err("it must name either a tenantSchema or a role".to_owned()),
    }
}

/// In one order, so that another order in the spec is no other grant.
fn words(privileges: &[Privilege]) -> Vec<String> {
    let mut words: Vec<_> = privileges.iter().map(|privilege| format!("{privilege:?}")).collect();
    words.sort_unstable();
    words.dedup();
    words
}

fn sorted(tables: &[String]) -> Vec<String> {
    let mut tables = tables.to_vec();
    tables.sort_unstable();
    tables.dedup();
    tables
}

/// Which of the named tables there are not.
pub(super) fn lacking(missing: &[String], total: i64) -> Option<String> {
    let more = total.saturating_sub(i64::try_from(missing.len()).unwrap_or(i64::MAX));
    let names = missing.join(", ");
    let names = if more > 0 { format!("{names} and {more} more") } else { names };
    (total > 0).then(|| {
        format!(
            "{} ({names}) not there, or of another role than the tenant's owner role; given when that changes",
            count(total, "table")
        )
    })
}
