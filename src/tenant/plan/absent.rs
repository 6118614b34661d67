//! A tenant whose schema does not stand under its name. Something else may be there, and the operator does not guess
//! that it is the tenant's.

use crate::{
    api::{ABANDON, REBIND, bound, command::Object},
    contract::{Absence, Fate, Owner},
    text::DOCS,
};

/// What is said of a schema that is not simply gone; nothing when it is.
pub(super) fn elsewhere(schema: &str, database: &str, absence: Option<&Absence>) -> Option<String> {
    let Absence { kind, now, statement, owner, installation_id, .. } = absence?;
    let (now, owner) = (now.as_deref().unwrap_or_default(), owner.as_deref().unwrap_or_default());
    let statement = statement.as_deref().unwrap_or_default();
    Some(match kind {
        Fate::Dropped => return None,
        Fate::Renamed => format!(
            "schema {schema} is called {now} now, with all that is in it; a DBA can run: {statement}; nothing is done \
             until then",
        ),
        Fate::Replaced => format!(
            "schema {schema} was dropped by hand, and the schema that has its name now is another one, of role {owner}; it is \
             not touched. Once it has another name or is gone, this one can be restored, or made again, empty",
        ),
        Fate::Unknown => format!(
            "the registry does not know which schema was this tenant's, and schema {schema} belongs to role {owner}; it is \
             not touched. A DBA has to find out whose it is: {DOCS}/operations.md#whose-schema-is-it",
        ),
        Fate::Unbound => format!(
            "since a restore or an upgrade of the server it is not known which schema is whose, and schema {schema} is not \
             touched; to bind them again: {}",
            Object::database(database).annotate(REBIND, installation_id)
        ),
    })
}

/// How to let an object go whose schema cannot be dealt with, while everything stays as it is.
pub(super) fn or_abandon(owner: &Owner, schema: &str) -> String {
    let Owner { namespace, name, uid, .. } = owner;
    format!(
        "; to let the object go and leave everything in the database as it is: {}",
        Object::tenant(namespace, name).annotate(ABANDON, bound(schema, uid))
    )
}
