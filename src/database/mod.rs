//! `TenantDatabase`: the driver. It takes part in the election of the database's holder, opens the lane, surveys at every
//! tick and says what it found. While the lane does not open, this is the only probe of the database.

pub mod balance;
mod bring_back;
pub mod election;
mod identity;
pub mod install;
mod leaving;
pub mod opens;
mod owners;
mod remarks;
pub mod resolve;
mod standby;
pub mod status;
pub mod survey;
mod unseen;
mod users;

use std::{sync::Arc, time::Duration};

use futures::channel::mpsc::UnboundedSender;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use thiserror::Error;

use crate::{
    api::{
        TENANT_DATABASE_FINALIZER, TenantDatabase, TenantDatabaseStatus,
        condition::{Reason, Verdict},
        confirmed_deletions,
        event::EventReason,
    },
    contract::{Caller, SurveyAnswer},
    frame::{After, Context, Failure, Next, Notice, Outcome},
    jobs,
    kubernetes::{self, status::Written},
    lane::{LaneState, heartbeat},
    postgres::{self, Connection},
    telemetry::metrics::DatabaseLabels,
};
use bring_back::Passed;
use install::{Claimant, Closed, InstalledNow, job_slots, open};
use leaving::{end, handed_over, refused, stand_by};
pub use leaving::{leave, leave_unseen};
use opens::{LaneKey, Open, Opens};
use resolve::{Unresolved, complaint, resolve};
use status::{Facts, notices, status, status_of_verdict};
use survey::{SurveyCount, survey};
use users::in_use;

/// How long until a database that is away is probed again: short, because there is one probe for all tenants.
const PROBE: Duration = Duration::from_secs(3);
/// How long until a database is asked for again that another operator works on.
const CONTESTED: Duration = Duration::from_secs(10);

/// How long until it is asked again whether the caches are of the world that is there now.
const UNSETTLED: Duration = Duration::from_millis(500);

/// What failed, by stage. What is wrong with the database itself is a verdict in the status, and an error too, so that it
/// is counted and backed off.
#[derive(Debug, Error)]
pub enum Error {
    /// The API server.
    #[error(transparent)]
    Kubernetes(#[from] kubernetes::Error),
    /// The election.
    #[error("cannot take part in the election of the database's holder")]
    Lease(#[source] Arc<kubernetes::Error>),
    /// The Secrets.
    #[error("failed to resolve the connection")]
    Resolve(#[source] Unresolved),
    /// Opening the lane.
    #[error("failed to open the lane")]
    Open(#[source] Closed),
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
            Self::Lease(error) => error.category(),
            Self::Refused => "lane_lost",
            Self::Resolve(_) => "secret",
            Self::Open(Closed::Postgres(error)) | Self::Survey(error) => error.category(),
            Self::Open(_) => "database",
        }
    }
}

/// Brings one database to work, or lets it go.
pub async fn reconcile(
    database: Arc<TenantDatabase>,
    ctx: Arc<Context>,
    opens: &Opens,
    finished_jobs: &UnboundedSender<jobs::Finished>,
) -> Result<Next, Error> {
    let Some(database) = ctx.fresh(&api(&ctx), database).await? else { return Ok(Next::gone()) };
    let name = database.name_any();
    if opens.is_refused(&name) {
        return Err(refused(&name, &ctx, opens).await);
    }
    match election::is_held(&name, &ctx).await {
        Ok(true) => opens.works(&name),
        not_held => {
            stand_by(&name, &ctx, opens);
            not_held?;
            return standby::look(&database, opens.stands_by(&name), &ctx).await;
        }
    }
    if let Some(next) = keep_off(&database, &ctx, opens).await? {
        return Ok(next);
    }
    if election::is_wanted(&name, &ctx).await && handed_over(&name, &ctx, opens).await {
        return Ok(Next::new(After::Resync, Outcome::Standby));
    }
    let asked = ctx.requests.is_new(&*database);
    let leaving = database.metadata.deletion_timestamp.is_some();
    let in_use = if leaving { in_use(&database, opens.usable(&name).as_deref(), &ctx).await } else { None };
    if leaving && in_use.is_none() {
        return end(&database, &ctx, opens).await;
    }
    let database =
        if leaving { database } else { ctx.with_finalizer(&api(&ctx), database, TENANT_DATABASE_FINALIZER).await? };
    let resolved = resolve(&database, &ctx.client, &ctx.config.namespace).await;
    let (connection, unresolved) = match (resolved, opens.usable(&name)) {
        (Ok(connection), _) => (connection, None),
        // A Secret that is away closes nothing: what runs goes on with what it has.
        (Err(error), Some(open)) => (open.key.connection().clone(), Some(error)),
        (Err(error), None) => {
            let verdict = match complaint(&database) {
                Some(complaint) => Verdict::stalled(Reason::InvalidSpec, format!("{complaint}; {error}"), false),
                None => status::unresolved(&error, false),
            };
            let next = shut(&database, &verdict, &ctx, opens).await?;
            return Ok(next.failed(Error::Resolve(error)));
        }
    };
    let (open, mut notices) = match open_lane(&database, connection, &ctx, opens, finished_jobs).await? {
        Ok(opened) => opened,
        Err(closed) => return fail(&database, closed, &ctx, opens).await,
    };
    open.survey_within(database.spec.survey_period());
    let mut answer = None;
    if asked || open.until_survey().is_zero() {
        match survey(&open.lane, &open.surveys, database.spec.survey_period(), &wishes(&database, &ctx), &ctx).await {
            Ok(found) => {
                answer = found;
                if let Some(answer) = &answer {
                    open.found(answer.expiry.clone());
                }
                notices.append(&mut look_after_identities(&database, &open, answer.as_ref(), &ctx).await);
                // What does not come about now is tried at the next tick.
                if let Ok(mut released) =
                    owners::release(&database, &open.lane, &open.missing, &open.unseen, &ctx).await
                {
                    notices.append(&mut released);
                }
            }
            Err(_) if open.lane.is_refused() => return Err(refused(&name, &ctx, opens).await),
            Err(error) if error.is_outage() || error.is_misfit() => {
                return fail(&database, error.into(), &ctx, opens).await;
            }
            // The lane is fine and the survey was too slow or refused: tenants go on, the next tick tries again.
            Err(error) => {
                open.survey_after(database.spec.survey_period());
                return Err(Error::Survey(error));
            }
        }
        // What was bound again is told by the next survey, which comes at once; so does the one that finds the rows that are gone.
        let bound = notices.iter().any(|notice| notice.reason == EventReason::Rebound);
        let again = bound || answer.is_some() && open.lane.is_in_doubt();
        open.survey_after(if again { Duration::ZERO } else { database.spec.survey_period() });
    }
    let mut passed = bring_back(&database, &open, answer.as_ref(), &ctx).await;
    notices.append(&mut passed.notices);
    set_up(&name, true, &ctx);
    let remark = in_use
        .map(|message| Verdict::stalled(Reason::InUse, message, true))
        .or_else(|| unresolved.as_ref().map(|error| status::unresolved(error, true)))
        .or_else(|| remarks::of_open(&database, &open, &ctx));
    let quiet = open.lane.quiet();
    let new = status(&database, &open.facts, answer.as_ref(), quiet.as_ref(), remark, ctx.now());
    let mut next = publish(&database, new, &ctx).await?;
    notices.append(&mut next.notices);
    let soonest = if passed.goes_on {
        Duration::ZERO
    } else if leaving {
        PROBE
    } else {
        Duration::MAX
    };
    let wait = open.until_survey().min(soonest);
    let next = Next { after: After::Delay(wait), notices, ..next };
    Ok(match unresolved {
        Some(error) => next.failed(Error::Resolve(error)),
        None => next,
    })
}

/// What is to come back, for as long as a pass takes. What does not come about now is tried at the next tick.
async fn bring_back(database: &TenantDatabase, open: &Open, answer: Option<&SurveyAnswer>, ctx: &Context) -> Passed {
    let passed = open.bring_back.pass(database, &open.lane, answer, ctx.clock.now()).await;
    if passed.came_back {
        wake_tenants(&database.name_any(), ctx);
    }
    passed
}

/// Which schemas and namespaces the rows are of. What does not come about now is tried at the next tick.
async fn look_after_identities(
    database: &TenantDatabase,
    open: &Open,
    answer: Option<&SurveyAnswer>,
    ctx: &Context,
) -> Vec<Notice> {
    let Some(answer) = answer else { return Vec::new() };
    let bound = identity::bind(database, &open.lane, answer, &open.unbound).await;
    if let Err(error) = identity::remember_namespaces(&open.lane, ctx).await {
        tracing::debug!(%error, "cannot remember the namespaces of tenants");
    }
    bound.unwrap_or_default()
}

/// No replica works by what was read while that is not what is there: after the API server's world went back, and while the definitions
/// of the kinds cut something off.
async fn keep_off(database: &TenantDatabase, ctx: &Context, opens: &Opens) -> Result<Option<Next>, Error> {
    let name = database.name_any();
    if !ctx.world.is_settled() {
        stand_by(&name, ctx, opens);
        return Ok(Some(Next::new(After::Delay(UNSETTLED), Outcome::Standby)));
    }
    let Some(message) = ctx.kinds.complaint() else { return Ok(None) };
    let known = matches!(ctx.lanes.get(&name), LaneState::Unavailable { reason: Reason::KindsOlder, .. });
    let mut next = shut(database, &Verdict::stalled(Reason::KindsOlder, message, false), ctx, opens).await?;
    if known {
        // Told once, also where the status cannot say so.
        next.notices.clear();
    }
    Ok(Some(next))
}

/// The lane that is open, or one that is opened now.
async fn open_lane(
    database: &TenantDatabase,
    connection: Connection,
    ctx: &Arc<Context>,
    opens: &Opens,
    finished_jobs: &UnboundedSender<jobs::Finished>,
) -> Result<Result<(Arc<Open>, Vec<Notice>), Closed>, Error> {
    let name = database.name_any();
    let key = LaneKey::new(database, connection.clone(), ctx.world.number());
    let generation = database.metadata.generation.unwrap_or_default();
    let confirmed = confirmed_deletions(&database.metadata, ctx.clock.now());
    if let Some(open) = opens.usable(&name).filter(|open| open.key == key) {
        if open.is_news((generation, confirmed, open.lane.contest().is_some())) {
            wake_tenants(&name, ctx);
        }
        return Ok(Ok((open, Vec::new())));
    }
    if opens.is_refused(&name) {
        return Err(refused(&name, ctx, opens).await);
    }
    if !election::is_confirmed(&name, ctx).await? {
        return Err(Error::Refused);
    }
    // No pass works with the old epoch while a new one is taken; whom an outage has stopped stays told so.
    opens.close(&name);
    if ctx.lanes.open(&name).is_some() {
        ctx.lanes.set(&name, &LaneState::Elsewhere);
    }
    let (wake, rung) = (ctx.wake.clone(), name.clone());
    let claimant = Claimant {
        cluster: &ctx.cluster,
        identity: &ctx.identity,
        claim: ctx.claim,
        lease: election::lease_of(&name, ctx),
        seen: opens.seen(&name),
        ring: Box::new(move || wake.database(&rung)),
    };
    let opened = match open(database, connection, claimant, ctx.metrics.clone()).await {
        Ok(opened) => opened,
        Err(closed) => return Ok(Err(closed)),
    };
    let returned = ctx.world.news(&name).map(|why| Notice {
        reason: EventReason::ClusterRestored,
        message: format!("{why}: everything was read again, and every tenant is looked at"),
    });
    let installed = installed_notice(opened.installed.as_ref(), &opened.functions_version);
    let went_back = opened.went_back.as_deref().map(went_back_notice);
    let notices = returned.into_iter().chain(installed).chain(went_back).collect();
    let facts = Facts::new(&opened, &ctx.identity, ctx.claim);
    let lane = opened.lane;
    // The first survey comes before any tenant uses the lane: it serves as their observation.
    let surveys = SurveyCount::default();
    if let Err(error) = survey(&lane, &surveys, database.spec.survey_period(), &wishes(database, ctx), ctx).await {
        lane.lose();
        return Ok(Err(error.into()));
    }
    ctx.metrics.expect_jobs(&name, jobs::expected());
    tokio::spawn(heartbeat::keep(lane.clone()));
    let slots = job_slots(database.spec.connection.max_connections());
    let runner = tokio::spawn(jobs::run(lane.clone(), slots, finished_jobs.clone()));
    let open = Arc::new(Open::new(key, lane.clone(), facts, (generation, confirmed, false), runner));
    opens.insert(&name, open.clone());
    ctx.lanes.set(&name, &LaneState::Open(lane));
    wake_tenants(&name, ctx);
    Ok(Ok((open, notices)))
}

/// What may expire: by the API server's clock, up to when a person confirmed it, and of how many tenants in an hour.
fn wishes(database: &TenantDatabase, ctx: &Context) -> Value {
    let now = ctx.clock.now();
    json!({
        "now": now, "confirmed_until": confirmed_deletions(&database.metadata, now),
        "expiry_limit": database.spec.max_deletions_per_hour(),
    })
}

/// The lane is held and cannot be worked on: tenants that have work to do are told why, once.
async fn shut(database: &TenantDatabase, verdict: &Verdict, ctx: &Context, opens: &Opens) -> Result<Next, Error> {
    let name = database.name_any();
    let told = matches!(ctx.lanes.get(&name), LaneState::Unavailable { reason, .. } if reason == verdict.reason());
    opens.close(&name);
    let state = LaneState::Unavailable { reason: verdict.reason(), message: verdict.message().to_owned() };
    ctx.lanes.set(&name, &state);
    set_up(&name, false, ctx);
    if !told {
        wake_tenants(&name, ctx);
    }
    publish(database, status_of_verdict(database, verdict, ctx.now()), ctx).await
}

/// A database whose object cannot be read is left alone: its lane closes, and its tenants are told why if they have work to do.
pub async fn shut_unreadable(name: &str, why: &str, ctx: &Context, opens: &Opens) {
    let message = format!("its object cannot be read: {why}");
    let known = matches!(ctx.lanes.get(name), LaneState::Unavailable { message: told, .. } if told == message);
    if known {
        return;
    }
    opens.close(name);
    // A replica of a release that can read it is to have it.
    election::leave(name, ctx).await;
    ctx.lanes.set(name, &LaneState::Unavailable { reason: Reason::InvalidSpec, message });
    ctx.metrics.forget_database(name);
    wake_tenants(name, ctx);
}

fn set_up(name: &str, up: bool, ctx: &Context) {
    let labels = DatabaseLabels { database: name.to_owned() };
    ctx.metrics.lane_held.get_or_create(&labels).set(1);
    ctx.metrics.database_up.get_or_create(&labels).set(i64::from(up));
}

/// The lane does not open, or broke. There is one probe for all tenants, so what passes by itself is looked at soon.
async fn fail(database: &TenantDatabase, closed: Closed, ctx: &Context, opens: &Opens) -> Result<Next, Error> {
    let verdict = status::closed(&closed);
    let next = if matches!(closed, Closed::Contested(_)) {
        // The tenants are told by the one who works on them.
        stand_by(&database.name_any(), ctx, opens);
        publish(database, status_of_verdict(database, &verdict, ctx.now()), ctx).await?
    } else {
        shut(database, &verdict, ctx, opens).await?
    };
    let after = match closed {
        Closed::Contested(_) => After::Delay(CONTESTED),
        _ if verdict.is_stalled() => After::Retry,
        _ => After::Delay(PROBE),
    };
    Ok(Next { after, ..next }.failed(Error::Open(closed)))
}

/// All tenants and backups of the database look again.
fn wake_tenants(name: &str, ctx: &Context) {
    let tenants = ctx.stores.tenants.state();
    for tenant in tenants.iter().filter(|tenant| tenant.spec.database() == name) {
        ctx.wake.tenant(&tenant.namespace().unwrap_or_default(), &tenant.name_any());
    }
    for backup in ctx.stores.backups.state() {
        let known = backup.status.as_ref().and_then(|status| status.database_ref.as_deref());
        if known.is_none_or(|known| known == name) {
            ctx.wake.backup(&backup.namespace().unwrap_or_default(), &backup.name_any());
        }
    }
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

fn went_back_notice(sign: &str) -> Notice {
    let message = format!(
        "the database is, or may be, an older state of itself: {sign}; every tenant is looked at again, and nothing expires \
         and nothing is purged for four hours"
    );
    Notice { reason: EventReason::WentBack, message }
}

async fn publish(database: &TenantDatabase, new: TenantDatabaseStatus, ctx: &Context) -> Result<Next, Error> {
    let notices = notices(database, &new);
    let changed = database.status.as_ref() != Some(&new);
    if changed && ctx.write_status(&api(ctx), database, &new).await? == Written::Outdated {
        return Ok(Next::new(After::Retry, Outcome::Waiting));
    }
    Ok(Next { notices, ..Next::of(&new.conditions, changed) })
}

fn api(ctx: &Context) -> Api<TenantDatabase> {
    Api::all(ctx.client.clone())
}

/// On whose behalf the steps of a database are applied: no tenant's.
fn caller(name: &str) -> Caller {
    Caller { requested_by: format!("TenantDatabase {name}"), ..Caller::default() }
}
