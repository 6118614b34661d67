//! Opening a lane: the database is looked at, the functions are installed or checked, the epoch is taken.

mod claim;
mod closed;

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use uuid::Uuid;

use crate::{
    api::{TAKE_OVER, TenantDatabase, TenantDatabaseSpec, tenant_database::Functions as Mode, tenant_schema::Place},
    contract::DatabaseFacts,
    lane::{Endpoint, Lane, LaneParts, Seen},
    postgres::{Connection, Functions, Hold, Pool},
    telemetry::Metrics,
};
use claim::{Identity, claim};
pub use closed::{Closed, contested};

use super::install::{Installed, fit, install, lacks_nothing};

/// What was opened.
pub struct Opened {
    /// The lane.
    pub lane: Arc<Lane>,
    /// As `15.18`.
    pub server_version: String,
    /// The release of the functions.
    pub functions_version: String,
    /// True when this replica installed them now, with what was there before.
    pub installed: Option<Installed>,
    /// How many jobs of a kind may run at once.
    pub job_slots: usize,
    /// How many programs may run at once.
    pub archive_slots: usize,
    /// By what it is known that the database is, or may be, an older state of itself.
    pub went_back: Option<String>,
}

/// The replica that asks for the lane.
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
    let pool = Pool::new(connection, database.spec.max_connections())?;
    let functions = Functions::new(pool, metrics, connecting.statement_timeout());
    let facts = functions.database(&database.spec.owner_role()?).await?;
    fit(&facts, &attempt)?;
    Ok(Reached { functions, facts })
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
    let (tls, ca_pem, client_authority) =
        (connection.tls, connection.ca_pem.clone(), connection.client_authority.clone());
    let size = spec.max_connections();
    let Reached { functions, facts } = reach(database, connection, metrics).await?;
    let place = Place { host, port: i32::from(port), database: facts.database_name.clone(), ..Place::default() };
    let status = database.status.as_ref();
    let remembered = status.and_then(|status| Some((status.installation_id.as_deref()?, status.epoch.unwrap_or(0))));
    let identity = Identity {
        cluster: claimant.cluster,
        name: &name,
        remembered,
        take_over: database.annotations().get(TAKE_OVER).map(String::as_str),
        known_claim: status.and_then(|status| status.claim_id.as_deref()),
    };
    // If the functions are there and the login may not call them, the missing right says more than "nothing was found".
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
    // Before anything is installed: functions are not upgraded in a database that another TenantDatabase manages.
    if let Some(before) = &before {
        identity.may_manage(before)?;
    }
    // Distributions append their own package version in brackets.
    let server_version = facts.server_version.split(' ').next().unwrap_or_default().to_owned();
    let installed = install(&functions, facts, before.as_ref(), spec.functions(), &owner_role, &user).await?;
    let asked = Timestamp::now();
    let claim = claim(&functions, &claimant, &identity, before.as_ref()).await?;
    let installation = functions.installation().await?;
    let hold = Hold { epoch: claim.epoch, installation_id: claim.installation_id };
    // One connection stays for the survey and the heartbeats, snapshots have theirs, the rest applies and removes.
    let job_slots = job_slots(size);
    let archive_slots = archive_slots(spec);
    let apply_slots = size.saturating_sub(1 + job_slots + 2 * archive_slots);
    let parts = LaneParts {
        database: name.clone(),
        endpoint: Endpoint::of(&place, tls, ca_pem.as_deref(), client_authority),
        place,
        holder: claimant.identity.to_owned(),
        hold,
        apply_slots,
        has_store: spec.backup_store.is_some(),
        seen: claimant.seen,
    };
    let lane = Lane::new(parts, functions, claimant.ring);
    if let Some(beat) = &claim.beat {
        lane.hear(beat, asked);
    }
    Ok(Opened {
        lane: Arc::new(lane),
        server_version,
        functions_version: installation.functions_version,
        installed,
        job_slots,
        archive_slots,
        went_back: claim.went_back,
    })
}

/// How many archives may be made at once. Each has two connections for itself: a session, and that of a program.
fn archive_slots(spec: &TenantDatabaseSpec) -> usize {
    let connections = spec.max_connections();
    if spec.backup_store.is_some() && connections >= FOR_ARCHIVES { (connections / 6).max(1) } else { 0 }
}

/// With fewer connections there are none for archives.
pub const FOR_ARCHIVES: usize = 5;

/// How many jobs of a kind may run at once with so many connections. That many connections are for snapshots alone; removals
/// run on those that apply.
fn job_slots(connections: usize) -> usize {
    (connections / 4).max(1)
}
