//! What a spec gives to others, after the limits of the database. Pure.

use kube::ResourceExt;

use crate::{
    api::{
        RECONCILE_REQUESTED_AT, TenantDatabase, TenantSchema,
        grants::{Grant, Granted, GrantsAllowed, Privilege},
        transfer::ObjectName,
    },
    contract::GrantWish,
    text::count,
};

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

/// What the spec gives to others.
pub(super) fn grants(tenant: &TenantSchema, database: &TenantDatabase) -> Grants {
    let own = ObjectName { namespace: tenant.namespace().unwrap_or_default(), name: tenant.name_any() };
    let grants = tenant.spec.grants.iter().flatten();
    Grants {
        asked: grants
            .map(|grant| {
                let to = grant.to.tenant_schema.within(&own.namespace);
                let wish = wish(grant, &to, &own, database, tenant.spec.database());
                Asked { to: Granted { tenant_schema: to }, wish }
            })
            .collect(),
        request: tenant.annotations().get(RECONCILE_REQUESTED_AT).map(|value| value.chars().take(256).collect()),
    }
}

/// A grant as the registry is to have it. Whether the grantee is there is not asked here: what is refused reads the same for one that
/// is not.
fn wish(
    grant: &Grant,
    to: &ObjectName,
    own: &ObjectName,
    database: &TenantDatabase,
    name: &str,
) -> Result<GrantWish, String> {
    if to == own {
        return Err("a tenant has all rights on its own schema; name another one".to_owned());
    }
    let allowed = database.spec.limits.as_ref().and_then(|limits| limits.grants).unwrap_or_default();
    let ask = format!("ask the platform team for spec.limits.grants of TenantDatabase {name}");
    match allowed {
        GrantsAllowed::None => return Err(format!("this database allows no grants; {ask}")),
        GrantsAllowed::SameNamespace if to.namespace != own.namespace => {
            return Err(format!("this database allows grants within namespace {} alone; {ask}", own.namespace));
        }
        GrantsAllowed::SameNamespace | GrantsAllowed::AllNamespaces => {}
    }
    Ok(GrantWish { to: to.clone(), privileges: words(&grant.privileges), tables: grant.tables.as_deref().map(sorted) })
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
