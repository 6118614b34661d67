//! Stage 2: opening the lane. The database is looked at, the functions are installed or checked, the epoch is taken.
//!
//! What is found is judged by [`judge`], which is pure; this file does what the judgement says.

mod claim;
mod closed;
mod judge;

use std::{sync::Arc, time::Duration};

use kube::ResourceExt;

use crate::{
    api::{TAKE_OVER, TenantDatabase, tenant_database::Functions as Mode},
    lane::{Lane, LaneParts},
    postgres::{Connection, Functions, Hold, Pool, script},
    telemetry::Metrics,
};
use claim::{Identity, claim};
pub use closed::Closed;
use judge::{Judgement, fit, judge, lacks_nothing};

/// Installing a few hundred kilobytes of functions takes well under a second; a lock may make it wait.
const INSTALL_DEADLINE: Duration = Duration::from_mins(1);

/// What was opened.
pub struct Opened {
    /// The lane.
    pub lane: Arc<Lane>,
    /// As `15.18`.
    pub server_version: String,
    /// The release of the functions.
    pub functions_version: String,
    /// True when this replica installed them now, with what was there before.
    pub installed: Option<InstalledNow>,
}

/// What installing did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstalledNow {
    /// There was nothing before.
    First,
    /// There was another release, or a changed function.
    Upgraded {
        /// The release before.
        from: String,
    },
}

/// Who asks for the lane.
pub struct Claimant<'a> {
    /// UID of the cluster's kube-system namespace.
    pub cluster: &'a str,
    /// This replica.
    pub identity: &'a str,
    /// Called when the lane closes.
    pub ring: Box<dyn Fn() + Send + Sync>,
}

/// Opens the lane of a database.
pub async fn open(
    database: &TenantDatabase,
    connection: Connection,
    claimant: Claimant<'_>,
    metrics: Arc<Metrics>,
) -> Result<Opened, Closed> {
    let spec = &database.spec;
    let name = database.metadata.name.clone().unwrap_or_default();
    let owner_role = spec.owner_role()?;
    let user = connection.user().to_owned();
    let size = spec.connection.max_connections();
    let pool = Pool::new(connection, size)?;
    let functions = Functions::new(pool, metrics, spec.connection.statement_timeout());
    let facts = functions.database(&owner_role).await?;
    fit(&facts)?;
    let take_over = database.annotations().get(TAKE_OVER).map(String::as_str);
    // To take over from an installation is to say that another may be behind the Secret.
    let expected = database.status.as_ref().and_then(|status| status.installation_id.clone());
    let expected = expected.filter(|id| take_over != Some(id.as_str()));
    // Functions that stand and may not be called: the right that lacks says more than that nothing was found.
    if facts.registry_exists && !facts.installed && (expected.is_some() || spec.functions() == Mode::Verified) {
        lacks_nothing(&user, facts.missing_for_verified.clone())?;
    }
    if let (Some(expected), false) = (&expected, facts.installed) {
        let found = if facts.registry_exists { "one that this login may not see" } else { "none" };
        return Err(Closed::DatabaseChanged { name, expected: expected.clone(), found: found.to_owned() });
    }
    let before = if facts.installed { Some(functions.installation().await?) } else { None };
    let identity = Identity { cluster: claimant.cluster, name: &name, expected: expected.as_deref(), take_over };
    // Before anything is installed: functions are not upgraded in a database that is another's.
    if let Some(before) = &before {
        identity.may_manage(before)?;
    }
    // With the roles in place, their rights in this database and the right to act as the owner, nothing is left to
    // bootstrap, and a login that could not bootstrap can still upgrade.
    let stands = facts.can_set_owner_role && facts.owner_can_create_in_database;
    let form = if stands { script::Form::Managed } else { script::Form::Bootstrapping };
    let installed = match judge(before.as_ref(), spec.functions(), &owner_role)? {
        Judgement::Use => {
            lacks_nothing(&user, facts.missing_for_verified)?;
            None
        }
        Judgement::Install => {
            lacks_nothing(&user, facts.missing)?;
            functions.install(&script::script(&owner_role, form), INSTALL_DEADLINE).await?;
            Some(before.map_or(InstalledNow::First, |before| InstalledNow::Upgraded { from: before.functions_version }))
        }
    };
    let claim = claim(&functions, claimant.identity, &identity).await?;
    let installation = functions.installation().await?;
    let hold = Hold { epoch: claim.epoch, installation_id: claim.installation_id };
    // One connection stays for the survey and the heartbeats, the job slots have theirs, the rest applies.
    let apply_slots = size.saturating_sub(1 + job_slots(size));
    let parts = LaneParts {
        database: name,
        database_name: facts.database_name,
        holder: claimant.identity.to_owned(),
        hold,
        apply_slots,
    };
    Ok(Opened {
        lane: Arc::new(Lane::new(parts, functions, claimant.ring)),
        // Distributions append their own package version in brackets.
        server_version: facts.server_version.split(' ').next().unwrap_or_default().to_owned(),
        functions_version: installation.functions_version,
        installed,
    })
}

/// How many jobs may run at once with so many connections.
#[must_use]
pub fn job_slots(connections: usize) -> usize {
    (connections / 4).max(1)
}
