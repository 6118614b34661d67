//! `TenantDatabase`: the driver. It takes part in the election of the database's holder, opens the lane, surveys at every
//! tick and says what it found. While the lane does not open, this is the only probe of the database.

pub mod install;
pub mod resolve;
pub mod status;
pub mod survey;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kube::{Api, ResourceExt};
use thiserror::Error;
use tokio::time::Instant;

use crate::{
    api::{
        TENANT_DATABASE_FINALIZER, TenantDatabase, TenantDatabaseStatus,
        condition::{ConditionType, Verdict, find},
        event::EventReason,
    },
    context::{After, Context, Failure, Next, Notice},
    jobs,
    kubernetes::{
        self, finalizers,
        lease::{LeaseCandidate, LeaseError},
    },
    lane::LaneState,
    postgres::{self, Connection},
    telemetry::metrics::DatabaseLabels,
};
use install::{Claimant, InstalledNow, job_slots, open};
use resolve::{Unresolved, resolve};
use status::{Facts, notices, status, status_of_verdict};
use survey::{SurveyCount, survey};

/// How long until a database that is away is probed again: short, because there is one probe for all tenants.
const PROBE: Duration = Duration::from_secs(3);

/// What failed, by stage. What is wrong with the database itself is a verdict in the status, and an error too, so that it
/// is counted and backed off.
#[derive(Debug, Error)]
pub enum Error {
    /// The API server.
    #[error(transparent)]
    Kubernetes(#[from] kubernetes::Error),
    /// The election.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The Secrets.
    #[error("failed to resolve the connection")]
    Resolve(#[source] Unresolved),
    /// Opening the lane.
    #[error("failed to open the lane")]
    Open(#[source] install::Closed),
    /// Another replica has the lane.
    #[error("the database refused this replica's epoch: another replica has taken the lane, this one stands by")]
    Refused,
    /// The survey.
    #[error("failed to survey the tenants")]
    Survey(#[source] postgres::Error),
}

impl Failure for Error {
    fn stage(&self) -> &'static str {
        match self {
            Self::Kubernetes(_) => "status",
            Self::Lease(_) | Self::Refused => "lease",
            Self::Resolve(_) => "resolve",
            Self::Open(_) => "install",
            Self::Survey(_) => "survey",
        }
    }

    fn category(&self) -> &'static str {
        match self {
            Self::Kubernetes(error) => error.category(),
            Self::Lease(_) => "lease",
            Self::Refused => "lane_lost",
            Self::Resolve(_) => "secret",
            Self::Open(install::Closed::Postgres(error)) | Self::Survey(error) => error.category(),
            Self::Open(_) => "database",
        }
    }

    /// There is one probe for all tenants, so it need not back off.
    fn retry_after(&self) -> Option<Duration> {
        matches!(self, Self::Open(closed) if !status::closed(closed).is_stalled()).then_some(PROBE)
    }
}

/// What this replica remembers of the lanes that it opened.
#[derive(Default)]
pub struct Opens(Mutex<HashMap<String, Arc<Open>>>);

/// One lane that this replica opened.
struct Open {
    connection: Connection,
    generation: Option<i64>,
    facts: Facts,
    surveys: SurveyCount,
    next_survey: Mutex<Instant>,
}

impl Opens {
    fn get(&self, name: &str) -> Option<Arc<Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn set(&self, name: &str, open: Option<Arc<Open>>) {
        let mut opens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match open {
            Some(open) => opens.insert(name.to_owned(), open),
            None => opens.remove(name),
        };
    }
}

/// Brings one database to work, or lets it go.
pub async fn reconcile(
    database: Arc<TenantDatabase>,
    ctx: Arc<Context>,
    opens: &Opens,
    finished_jobs: &futures::channel::mpsc::UnboundedSender<jobs::Finished>,
) -> Result<Next, Error> {
    let Some(database) = fresh(database, &ctx).await? else { return Ok(Next::new(After::Never, "unchanged")) };
    let name = database.name_any();
    if ctx.lanes.open(&name).is_some_and(|lane| lane.is_refused()) {
        return give_up(&name, &ctx, opens).await;
    }
    if !is_held(&name, &ctx).await? {
        stand_by(&name, &ctx, opens);
        return Ok(Next::new(After::Resync, "standby"));
    }
    let leaving = database.metadata.deletion_timestamp.is_some();
    let in_use = if leaving { in_use(&name, &ctx) } else { None };
    if leaving && in_use.is_none() {
        return end(&database, &ctx, opens).await;
    }
    let mut database = database;
    if !leaving && let Some(updated) = finalizers::ensure(&api(&ctx), &database, TENANT_DATABASE_FINALIZER).await? {
        ctx.written.record(&updated.uid().unwrap_or_default(), updated.resource_version().as_deref());
        database = Arc::new(updated);
    }
    let connection = match resolve(&database, &ctx.client, &ctx.config.namespace).await {
        Ok(connection) => connection,
        Err(error) => {
            let verdict = status::unresolved(&error);
            // A Secret that is away for a moment closes nothing: the pool goes on with what it has.
            if verdict.is_stalled() {
                shut(&name, &verdict, &ctx, opens);
            }
            publish(&database, status_of_verdict(&database, &verdict, ctx.now()), Vec::new(), &ctx).await?;
            return Err(Error::Resolve(error));
        }
    };
    let mut noticed = Vec::new();
    let mut current = opens.get(&name).filter(|open| {
        let usable = ctx.lanes.open(&name).is_some_and(|lane| !lane.is_lost());
        usable && open.connection == connection && open.generation == database.metadata.generation
    });
    if current.is_none() {
        if !is_confirmed(&name, &ctx).await? {
            stand_by(&name, &ctx, opens);
            return Ok(Next::new(After::Delay(PROBE), "waiting"));
        }
        let claimant = Claimant { cluster: &ctx.cluster, identity: &ctx.identity };
        match open(&database, connection.clone(), &claimant, ctx.metrics.clone()).await {
            Ok(opened) => {
                noticed.extend(installed_notice(opened.installed.as_ref(), &opened.functions_version));
                let open = Arc::new(Open {
                    connection,
                    generation: database.metadata.generation,
                    facts: Facts::new(&opened, &ctx.identity),
                    surveys: SurveyCount::default(),
                    next_survey: Mutex::new(Instant::now()),
                });
                opens.set(&name, Some(open.clone()));
                let slots = job_slots(database.spec.connection.max_connections());
                tokio::spawn(jobs::run(opened.lane.clone(), slots, finished_jobs.clone()));
                // The first survey comes before the tenants are woken: it serves as their observation.
                if let Err(error) = survey(&opened.lane, &open.surveys, &ctx).await {
                    return fail(&database, error.into(), &ctx, opens).await;
                }
                ctx.lanes.set(&name, &LaneState::Open(opened.lane));
                wake_tenants(&name, &ctx);
                current = Some(open);
            }
            Err(error) => return fail(&database, error, &ctx, opens).await,
        }
    }
    let (Some(open), Some(lane)) = (current, ctx.lanes.open(&name)) else {
        return Ok(Next::new(After::Delay(PROBE), "waiting"));
    };
    let due = *open.next_survey.lock().unwrap_or_else(PoisonError::into_inner);
    let mut answer = None;
    if Instant::now() >= due {
        match survey(&lane, &open.surveys, &ctx).await {
            Ok(found) => answer = found,
            Err(error) if error.is_outage() || error.is_misfit() => {
                return fail(&database, error.into(), &ctx, opens).await;
            }
            // The lane is fine and the survey was too slow or refused: tenants go on, the next tick tries again.
            Err(error) => {
                set_next_survey(&open, database.spec.survey_period());
                return Err(Error::Survey(error));
            }
        }
        set_next_survey(&open, database.spec.survey_period());
    }
    set_up(&name, true, &ctx);
    let new = status(&database, &open.facts, answer.as_ref(), in_use, ctx.now());
    let changed = publish(&database, new, noticed, &ctx).await?;
    let wait =
        open.next_survey.lock().unwrap_or_else(PoisonError::into_inner).saturating_duration_since(Instant::now());
    Ok(Next { after: After::Delay(wait), ..changed })
}

/// Gives back every Lease, so that another replica need not wait for them to run out.
pub async fn release_all(ctx: &Context) {
    let candidates = std::mem::take(&mut *ctx.candidates.lock().await);
    for (name, candidate) in candidates {
        ctx.lanes.set(&name, &LaneState::Elsewhere);
        candidate.release().await;
    }
}

/// Whether this replica holds the database's Lease; it takes part in the election from the first call on.
async fn is_held(name: &str, ctx: &Context) -> Result<bool, Error> {
    let mut candidates = ctx.candidates.lock().await;
    if candidates.get(name).is_none_or(LeaseCandidate::is_over) {
        let (wake, woken) = (ctx.wake.clone(), name.to_owned());
        let changed = move || wake.database(&woken);
        let namespace = &ctx.config.namespace;
        let candidate =
            LeaseCandidate::start(ctx.client.clone(), namespace, &lease_name(name), &ctx.identity, changed).await?;
        candidates.insert(name.to_owned(), candidate);
    }
    Ok(candidates.get(name).is_some_and(LeaseCandidate::is_held))
}

/// Whether the Lease is this replica's, by the API server's word and not by memory: the epoch is only taken then.
async fn is_confirmed(name: &str, ctx: &Context) -> Result<bool, Error> {
    let candidates = ctx.candidates.lock().await;
    match candidates.get(name) {
        Some(candidate) => Ok(candidate.confirm().await?),
        None => Ok(false),
    }
}

/// Another replica took the lane while this one believed to hold it: it leaves the election and joins it anew.
async fn give_up(name: &str, ctx: &Context, opens: &Opens) -> Result<Next, Error> {
    stand_by(name, ctx, opens);
    if let Some(candidate) = ctx.candidates.lock().await.remove(name) {
        candidate.release().await;
    }
    Err(Error::Refused)
}

/// The Lease of a database; the prefix keeps it apart from other Leases in the namespace.
fn lease_name(database: &str) -> String {
    format!("tenant-database-{database}")
}

fn stand_by(name: &str, ctx: &Context, opens: &Opens) {
    opens.set(name, None);
    ctx.lanes.set(name, &LaneState::Elsewhere);
    let labels = DatabaseLabels { database: name.to_owned() };
    ctx.metrics.lane_held.get_or_create(&labels).set(0);
    ctx.metrics.database_up.remove(&labels);
}

/// The lane is held and cannot be worked on: tenants that have work to do are told why.
fn shut(name: &str, verdict: &Verdict, ctx: &Context, opens: &Opens) {
    opens.set(name, None);
    let state = LaneState::Unavailable { reason: verdict.reason(), message: verdict.message().to_owned() };
    ctx.lanes.set(name, &state);
    set_up(name, false, ctx);
}

fn set_up(name: &str, up: bool, ctx: &Context) {
    let labels = DatabaseLabels { database: name.to_owned() };
    ctx.metrics.lane_held.get_or_create(&labels).set(1);
    ctx.metrics.database_up.get_or_create(&labels).set(i64::from(up));
}

/// The lane does not open, or broke: the tenants that have work to do are told, once.
async fn fail(database: &TenantDatabase, error: install::Closed, ctx: &Context, opens: &Opens) -> Result<Next, Error> {
    let name = database.name_any();
    let verdict = status::closed(&error);
    let first = !matches!(ctx.lanes.get(&name), LaneState::Unavailable { reason, .. } if reason == verdict.reason());
    shut(&name, &verdict, ctx, opens);
    if first {
        wake_tenants(&name, ctx);
    }
    publish(database, status_of_verdict(database, &verdict, ctx.now()), Vec::new(), ctx).await?;
    Err(Error::Open(error))
}

/// Why a database that is deleted cannot go yet: tenants need its lane for their own end.
fn in_use(name: &str, ctx: &Context) -> Option<String> {
    let tenants = ctx.stores.tenants.state();
    let users: Vec<_> = tenants.iter().filter(|tenant| tenant.spec.database() == name).collect();
    let first = users.first()?;
    Some(format!(
        "{} TenantSchemas still refer to this database, {}/{} for one; delete them first: kubectl get tenantschemas -A",
        users.len(),
        first.namespace().unwrap_or_default(),
        first.name_any()
    ))
}

/// Lets a database go that nobody refers to.
async fn end(database: &TenantDatabase, ctx: &Context, opens: &Opens) -> Result<Next, Error> {
    let name = database.name_any();
    finalizers::remove(&api(ctx), database, TENANT_DATABASE_FINALIZER).await?;
    ctx.written.release(&database.uid().unwrap_or_default());
    opens.set(&name, None);
    ctx.lanes.remove(&name);
    ctx.metrics.forget_database(&name);
    if let Some(candidate) = ctx.candidates.lock().await.remove(&name) {
        candidate.release().await;
    }
    Ok(Next::new(After::Never, "changed"))
}

/// Every tenant of the database looks again.
fn wake_tenants(name: &str, ctx: &Context) {
    for tenant in ctx.stores.tenants.state().iter().filter(|tenant| tenant.spec.database() == name) {
        ctx.wake.tenant(&tenant.namespace().unwrap_or_default(), &tenant.name_any());
    }
    for backup in ctx.stores.backups.state() {
        ctx.wake.backup(&backup.namespace().unwrap_or_default(), &backup.name_any());
    }
}

fn set_next_survey(open: &Open, period: Duration) {
    *open.next_survey.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + period;
}

fn installed_notice(installed: Option<&InstalledNow>, version: &str) -> Option<Notice> {
    Some(match installed? {
        InstalledNow::First => Notice {
            reason: EventReason::FunctionsInstalled,
            message: format!("installed management functions {version}"),
        },
        InstalledNow::Upgraded { from } => Notice {
            reason: EventReason::FunctionsUpgraded,
            message: format!("installed management functions {version} over {from}"),
        },
    })
}

async fn publish(
    database: &TenantDatabase,
    new: TenantDatabaseStatus,
    mut noticed: Vec<Notice>,
    ctx: &Context,
) -> Result<Next, Error> {
    noticed.extend(notices(database, &new));
    let changed = database.status.as_ref() != Some(&new);
    if changed {
        let version = kubernetes::status::apply(&api(ctx), database, &new).await?;
        ctx.written.record(&database.uid().unwrap_or_default(), version.as_deref());
    }
    let outcome = if find(&new.conditions, ConditionType::Stalled).is_some() {
        "stalled"
    } else if find(&new.conditions, ConditionType::Reconciling).is_some() {
        "waiting"
    } else if changed {
        "changed"
    } else {
        "unchanged"
    };
    Ok(Next { after: After::Retry, outcome, notices: noticed })
}

async fn fresh(database: Arc<TenantDatabase>, ctx: &Context) -> Result<Option<Arc<TenantDatabase>>, Error> {
    if !ctx.written.is_stale(&*database) {
        return Ok(Some(database));
    }
    let read = kubernetes::read(&api(ctx), &database.name_any()).await?;
    Ok(read.filter(|read| read.uid() == database.uid()).map(Arc::new))
}

fn api(ctx: &Context) -> Api<TenantDatabase> {
    Api::all(ctx.client.clone())
}
