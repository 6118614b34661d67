//! Stage 2: opening the lane. The database is looked at, the functions are installed or checked, the epoch is taken.
//!
//! What is found is judged by `judge.rs`, which is pure; this file does what the judgement says.

mod claim;
mod closed;
mod judge;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::ResourceExt;
use uuid::Uuid;

use crate::{
    api::{TAKE_OVER, TenantDatabase, tenant_database::Functions as Mode, tenant_schema::Place},
    contract::DatabaseFacts,
    ident::Ident,
    lane::{Lane, LaneParts, Seen},
    postgres::{Connection, Functions, Hold, Pool, script},
    telemetry::Metrics,
};
use claim::{Identity, claim};
pub use closed::{Closed, contested};
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
    /// By what it is known that the database is, or may be, an older state of itself.
    pub went_back: Option<String>,
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
    /// The number of this process's claims.
    pub claim: Uuid,
    /// Namespace and name of the Lease by which it is this replica's turn.
    pub lease: String,
    /// What this process has seen of the database.
    pub seen: Arc<Seen>,
    /// Called when the lane closes.
    pub ring: Box<dyn Fn() + Send + Sync>,
}

/// A server that answers, and that can be worked with as far as it is known before the functions are looked at.
pub struct Reached {
    /// What is called there.
    pub functions: Functions,
    /// What was found.
    pub facts: DatabaseFacts,
}

/// Connects to a database and looks what server and login are. Nothing is changed.
pub async fn reach(
    database: &TenantDatabase,
    connection: Connection,
    metrics: Arc<Metrics>,
) -> Result<Reached, Closed> {
    let connecting = &database.spec.connection;
    let attempt = connection.attempt();
    let pool = Pool::new(connection, connecting.max_connections())?;
    let functions = Functions::new(pool, metrics, connecting.statement_timeout());
    let facts = functions.database(&database.spec.owner_role()?).await?;
    fit(&facts, &attempt)?;
    Ok(Reached { functions, facts })
}

/// How a database administrator installs the functions.
fn by_hand(owner_role: &Ident, database: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let database = if database.bytes().all(is_plain) { database.to_owned() } else { "NAME_OF_THE_DATABASE".to_owned() };
    format!("tenant-schema-operator sql --owner-role {} | psql -v ON_ERROR_STOP=1 -d {database}", owner_role.as_str())
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
    let (host, port) = (connection.host(), connection.port());
    let size = spec.connection.max_connections();
    let Reached { functions, facts } = reach(database, connection, metrics).await?;
    let place = Place { host, port: i32::from(port), database: facts.database_name.clone() };
    let status = database.status.as_ref();
    let remembered = status.and_then(|status| Some((status.installation_id.as_deref()?, status.epoch.unwrap_or(0))));
    let identity = Identity {
        cluster: claimant.cluster,
        name: &name,
        remembered,
        take_over: database.annotations().get(TAKE_OVER).map(String::as_str),
        known_claim: status.and_then(|status| status.claim_id.as_deref()),
    };
    // Functions that stand and may not be called: the right that lacks says more than that nothing was found.
    if facts.registry_exists
        && !facts.installed
        && (identity.expected().is_some() || spec.functions() == Mode::Verified)
    {
        lacks_nothing(&user, facts.missing_for_verified.clone())?;
    }
    if identity.expected().is_some() && !facts.installed {
        return Err(identity.changed(if facts.registry_exists { "one that this login may not see" } else { "none" }));
    }
    let before = if facts.installed { Some(functions.installation().await?) } else { None };
    // Before anything is installed: functions are not upgraded in a database that is another's.
    if let Some(before) = &before {
        identity.may_manage(before)?;
    }
    // With the roles in place, their rights in this database and the right to act as the owner, nothing is left to
    // bootstrap, and a login that could not bootstrap can still upgrade.
    let stands = facts.can_set_owner_role && facts.owner_can_create_in_database;
    let form = if stands { script::Form::Managed } else { script::Form::Bootstrapping };
    let installed = match judge(before.as_ref(), spec.functions(), &by_hand(&owner_role, &facts.database_name))? {
        Judgement::Use => {
            lacks_nothing(&user, facts.missing_for_verified)?;
            None
        }
        Judgement::Install => {
            lacks_nothing(&user, facts.missing)?;
            functions.install(&script::script(&owner_role, form), INSTALL_DEADLINE).await?;
            Some(before.as_ref().map_or(InstalledNow::First, |before| {
                let from = before.functions_version.clone();
                InstalledNow::Upgraded { from }
            }))
        }
    };
    let asked = Timestamp::now();
    let claim = claim(&functions, &claimant, &identity, before.as_ref()).await?;
    let installation = functions.installation().await?;
    let hold = Hold { epoch: claim.epoch, installation_id: claim.installation_id };
    // One connection stays for the survey and the heartbeats, snapshots have theirs, the rest applies and removes.
    let apply_slots = size.saturating_sub(1 + job_slots(size));
    let parts = LaneParts {
        database: name.clone(),
        place,
        holder: claimant.identity.to_owned(),
        hold,
        apply_slots,
        seen: claimant.seen,
    };
    let lane = Lane::new(parts, functions, claimant.ring);
    if let Some(beat) = &claim.beat {
        lane.hear(beat, asked);
    }
    Ok(Opened {
        lane: Arc::new(lane),
        // Distributions append their own package version in brackets.
        server_version: facts.server_version.split(' ').next().unwrap_or_default().to_owned(),
        functions_version: installation.functions_version,
        installed,
        went_back: claim.went_back,
    })
}

/// How many jobs of a kind may run at once with so many connections. That many connections are for snapshots alone; removals
/// run on those that apply.
#[must_use]
pub fn job_slots(connections: usize) -> usize {
    (connections / 4).max(1)
}
