//! Installing the management functions, or using those that are there. What to do is judged by [`judge`], which is pure.

mod judge;

use std::time::Duration;

pub use judge::{Judgement, fit, judge, lacks_nothing};

use super::open::Closed;
use crate::{
    api::tenant_database::Functions as Mode,
    contract::{DatabaseFacts, Installation},
    ident::Ident,
    postgres::{Functions, script},
};

/// Installing a few hundred kilobytes of functions takes well under a second; a lock may make it wait.
const DEADLINE: Duration = Duration::from_mins(1);

/// What installing did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Installed {
    /// There was nothing before.
    First,
    /// There was another release, or a changed function.
    Upgraded {
        /// The release before.
        from: String,
    },
}

/// Installs the functions where the judgement says so; `before` is what was there.
pub async fn install(
    functions: &Functions,
    facts: DatabaseFacts,
    before: Option<&Installation>,
    mode: Mode,
    owner_role: &Ident,
    user: &str,
) -> Result<Option<Installed>, Closed> {
    // With the roles in place, their rights in this database and the login a member of them, nothing is left to
    // bootstrap, and a login that could not bootstrap can still upgrade.
    let stands = facts.roles_exist && facts.is_operator && facts.can_set_owner_role && facts.owner_has_its_rights;
    let form = if stands { script::Form::Managed } else { script::Form::Bootstrapping };
    match judge(before, mode, &by_hand(owner_role, &facts.database_name))? {
        Judgement::Use => {
            lacks_nothing(user, facts.missing_for_verified)?;
            Ok(None)
        }
        Judgement::Install => {
            lacks_nothing(user, facts.missing)?;
            functions.install(&script::script(owner_role, form), DEADLINE).await?;
            let from = before.map(|before| before.functions_version.clone());
            Ok(Some(from.map_or(Installed::First, |from| Installed::Upgraded { from })))
        }
    }
}

/// How a database administrator installs the functions.
fn by_hand(owner_role: &Ident, database: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let database = if database.bytes().all(is_plain) { database.to_owned() } else { "NAME_OF_THE_DATABASE".to_owned() };
    format!("tenant-schema-operator sql --owner-role {} | psql -v ON_ERROR_STOP=1 -d {database}", owner_role.as_str())
}
