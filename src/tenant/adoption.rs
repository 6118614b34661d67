//! What a tenant says of a schema that stands already, and what its database offers. Pure.

use kube::ResourceExt;
use regex::Regex;

use super::limits::broken_database;
use crate::{
    api::{CONFIRM_ADOPT, TenantDatabase, TenantSchema},
    frame::Invalid,
    ident::SchemaName,
    text::why_no_regex,
};

/// A schema that stands already is to become the tenant's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopts {
    /// The owners of the database offer it to this namespace.
    pub is_offered: bool,
    /// What a user has confirmed: the digest of what would change.
    pub confirmed: Option<String>,
}

/// What the object asks for, if it asks for that.
pub(super) fn adopts(
    tenant: &TenantSchema,
    database: &TenantDatabase,
    name: &SchemaName,
) -> Result<Option<Adopts>, Invalid> {
    if !tenant.spec.adopts() {
        return Ok(None);
    }
    let namespace = tenant.namespace().unwrap_or_default();
    let mut is_offered = false;
    for entry in database.spec.adoptable.iter().flatten().filter(|entry| entry.namespace == namespace) {
        let pattern = Regex::new(&format!("^(?:{})$", entry.pattern)).map_err(|error| {
            let (pattern, why) = (&entry.pattern, why_no_regex(&error));
            broken_database(&format!("{pattern:?} in spec.adoptable is no regular expression: {why}"))
        })?;
        is_offered = is_offered || pattern.is_match(name.as_str());
    }
    Ok(Some(Adopts { is_offered, confirmed: tenant.annotations().get(CONFIRM_ADOPT).cloned() }))
}
