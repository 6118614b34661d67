//! Stage 5: makes the moves in order, and ends the pass. The only decision here is what a failure means.

use std::{sync::Arc, time::Duration};

use futures::channel::mpsc::UnboundedSender;
use kube::{Api, ResourceExt};

use super::{
    Error, bring_back,
    desired::Desired,
    election,
    holding::{Holding, Holdings},
    identity, live_parts,
    observe::{Observed, wishes},
    open::{Claimant, Closed, open},
    owners,
    plan::{End, Move, PATIENCE, Plan},
    remarks, standby,
    status::{self, Facts, status_of_verdict},
    store::Told,
    survey::{Followed, survey},
    work::Work,
};
use crate::{
    api::{TENANT_DATABASE_FINALIZER, TenantDatabase, TenantDatabaseStatus, condition::Verdict, event::EventReason},
    contract::{Asked, SurveyAnswer},
    frame::{After, Context, Next, Notice, Outcome},
    jobs,
    kubernetes::status::Written,
    lane::heartbeat,
};

/// How long until a database that does not answer is probed again: short, because there is one probe for all tenants.
const PROBE: Duration = Duration::from_secs(3);
/// How long until this replica asks again for a database that another operator works on.
const CONTESTED: Duration = Duration::from_secs(10);

/// One pass over a database: what it is given, and what it finds on its way.
pub struct Pass<'a> {
    pub(super) database: Arc<TenantDatabase>,
    pub(super) desired: &'a Desired,
    pub(super) observed: &'a Observed,
    pub(super) work: Option<Arc<Work>>,
    pub(super) ctx: &'a Context,
    pub(super) holdings: &'a Holdings,
    pub(super) finished_jobs: &'a UnboundedSender<jobs::Finished>,
    pub(super) survey: Option<SurveyAnswer>,
    pub(super) notices: Vec<Notice>,
}

/// Does what is planned. What was found on the way is told however the pass ends, because the next one does not find it again.
pub async fn apply(plan: Plan, mut pass: Pass<'_>) -> Result<Next, Error> {
    let ended = pass.run(plan).await;
    let found = pass.notices;
    match ended {
        Ok(mut next) => {
            next.notices.splice(..0, found);
            Ok(next)
        }
        Err(error) if found.is_empty() => Err(error),
        Err(error) => Ok(Next { notices: found, ..Next::new(After::Retry, Outcome::Error) }.failed(error)),
    }
}

impl Pass<'_> {
    async fn run(&mut self, plan: Plan) -> Result<Next, Error> {
        for step in plan.moves {
            match self.take(step).await {
                Ok(()) => {}
                Err(Error::Open(closed)) => return self.fail(closed).await,
                Err(error) => return Err(error),
            }
        }
        self.end(plan.end).await
    }

    async fn take(&mut self, step: Move) -> Result<(), Error> {
        let Self { ctx, holdings, desired, .. } = *self;
        match step {
            Move::Join => election::join(&desired.name, ctx, holdings),
            Move::StandBy => stand_by(&desired.name, ctx, holdings),
            Move::Protect => {
                let (api, object) = (api(ctx), self.database.clone());
                self.database = ctx.with_finalizer(&api, object, TENANT_DATABASE_FINALIZER).await?;
            }
            Move::Open => self.open().await?,
            Move::Wake => {
                if let Some(work) = &self.work {
                    let wishes = wishes(desired, work);
                    work.memory(|memory| memory.told = wishes);
                }
                ctx.wake.users(&desired.name);
            }
            Move::Survey => self.survey().await?,
        }
        Ok(())
    }

    async fn end(&mut self, end: End) -> Result<Next, Error> {
        let Self { ctx, holdings, desired, .. } = *self;
        match end {
            End::Rejoin => Err(rejoin(&desired.name, ctx, holdings).await),
            End::Unknown(error) => Err(Error::Lease(error)),
            End::Wait(time) => Ok(Next::new(After::Delay(time), Outcome::Standby)),
            End::LookAtHolder => {
                let again = Next::new(After::Delay(PATIENCE), Outcome::Standby);
                let Some(verdict) = standby::look(&self.database, ctx, holdings).await? else { return Ok(again) };
                let next = self.publish(status_of_verdict(&self.database, &verdict, ctx.now())).await?;
                Ok(Next { after: again.after, outcome: again.outcome, ..next })
            }
            End::HandOver(_) => self.hand_over().await,
            End::Shut { verdict, said } => {
                let mut next = self.shut(&verdict).await?;
                if said {
                    // No Event says it again, also where the status cannot be written.
                    next.notices.clear();
                }
                Ok(next)
            }
            End::Release => self.release().await,
            End::Report(remark) => self.report(remark).await,
        }
    }

    /// Opens the lane, and surveys the database before any tenant uses it: that serves as their observation.
    async fn open(&mut self) -> Result<(), Error> {
        let Self { ctx, holdings, desired, observed, .. } = *self;
        let name = &desired.name;
        let Some(key) = observed.key.clone() else { return Ok(()) };
        if holdings.is_refused(name) {
            return Err(rejoin(name, ctx, holdings).await);
        }
        if !election::is_confirmed(name, ctx).await? {
            return Err(Error::Refused);
        }
        // No pass works with the old epoch while a new one is taken.
        holdings.opening(name);
        self.work = None;
        let (wake, rung) = (ctx.wake.clone(), name.clone());
        let claimant = Claimant {
            cluster: &ctx.cluster,
            identity: &ctx.identity,
            claim: ctx.claim,
            lease: election::lease_of(name, ctx),
            seen: holdings.seen(name),
            ring: Box::new(move || wake.database(&rung)),
        };
        let opened = open(&self.database, key.connection().clone(), claimant, ctx.metrics.clone()).await;
        let opened = opened.map_err(Error::Open)?;
        self.notices.extend(status::opening_notices(ctx.world.news(name), &opened));
        let facts = Facts::new(&opened, &ctx.identity, ctx.claim);
        let (lane, slots) = (opened.lane, (opened.job_slots, opened.archive_slots));
        if let Err(error) = survey(&lane, 0, None, desired, ctx).await {
            lane.lose();
            return Err(Error::Open(error.into()));
        }
        ctx.metrics.expect_jobs(name, jobs::expected());
        tokio::spawn(heartbeat::keep(lane.clone()));
        let runner = tokio::spawn(jobs::run(lane.clone(), slots, self.finished_jobs.clone()));
        let work = Arc::new(Work::new(key, lane, facts, (desired.generation, desired.confirmed, false), runner));
        work.lane.addresses.look_up(&desired.names).await;
        ctx.secrets.look_again();
        holdings.set(name, Holding::Open(work.clone()));
        ctx.wake.users(name);
        self.work = Some(work);
        Ok(())
    }

    async fn survey(&mut self) -> Result<(), Error> {
        let Self { ctx, holdings, desired, .. } = *self;
        let Some(work) = self.work.clone() else { return Ok(()) };
        let lane = &work.lane;
        let slice = work.memory(|memory| {
            let next = (memory.slice + 1) % Asked::SLICES;
            std::mem::replace(&mut memory.slice, next)
        });
        let salts = work.memory(|memory| std::mem::take(&mut memory.salts));
        let followed = Followed { salts, vacuuming: live_parts::are_under_way(&work) };
        match survey(lane, slice, Some(followed), desired, ctx).await {
            Ok(found) => self.survey = found,
            Err(_) if lane.is_refused() => return Err(rejoin(&desired.name, ctx, holdings).await),
            Err(error) if error.is_outage() || error.is_misfit() => return Err(Error::Open(error.into())),
            // The lane is fine and the survey was too slow or refused: tenants go on, the next tick tries again.
            Err(error) => {
                work.survey_after(desired.survey_period);
                return Err(Error::Survey(error));
            }
        }
        // What fails now is tried again at the next tick.
        if let Some(answer) = &self.survey {
            work.memory(|memory| memory.expired.clone_from(&answer.expiry));
            work.memory(|memory| memory.institution_problem.clone_from(&answer.institution_problem));
            let bound = identity::bind(&self.database, &work, answer).await;
            self.notices.extend(bound.unwrap_or_default());
            if let Err(error) = identity::remember_namespaces(lane, ctx).await {
                tracing::debug!(%error, "cannot remember the namespaces of tenants");
            }
        }
        let released = owners::release(&self.database, &work, ctx).await;
        self.notices.extend(released.unwrap_or_default());
        if let Some(answer) = &mut self.survey {
            let salts = lane.salts(std::mem::take(&mut answer.logins_to_try)).await;
            work.memory(|memory| memory.salts = salts);
            live_parts::begin(&work, std::mem::take(&mut answer.live_parts_due), &ctx.wake);
        }
        // The next survey comes at once when rows were bound again, which it tells, or when it must find the rows that
        // are gone.
        let bound = self.notices.iter().any(|notice| notice.reason == EventReason::Rebound);
        let again = bound || self.survey.is_some() && lane.is_in_doubt();
        work.survey_after(if again { Duration::ZERO } else { desired.survey_period });
        Ok(())
    }

    /// Says how the database is, after bringing back what there is time for.
    async fn report(&mut self, remark: Option<Verdict>) -> Result<Next, Error> {
        let Self { ctx, desired, .. } = *self;
        // There is nothing to report of a lane that is not open.
        let Some(work) = self.work.clone() else { return Ok(Next::new(After::Retry, Outcome::Waiting)) };
        let survey = self.survey.take();
        let mut passed = bring_back::pass(&self.database, &work, survey.as_ref(), ctx.clock.now()).await;
        self.notices.append(&mut passed.notices);
        if passed.came_back {
            ctx.wake.users(&desired.name);
        }
        let remark = remark.or_else(|| remarks::of_open(&self.database, desired, self.observed, &work, ctx));
        let quiet = work.lane.quiet();
        let mut new = status::status(&self.database, &work.facts, survey.as_ref(), quiet.as_ref(), remark, ctx.now());
        let (told, id) = work.memory(|memory| (memory.store.told.clone(), memory.store.id.clone()));
        match told {
            Told::AsBefore => {}
            Told::NoStore => status::tell_store(&mut new, None, None, desired.generation, ctx.now()),
            Told::Found(verdict) => status::tell_store(&mut new, Some(&verdict), id, desired.generation, ctx.now()),
        }
        let next = self.publish(new).await?;
        // A period that became shorter holds at once.
        let wait = work.until_survey().min(desired.survey_period);
        work.survey_after(wait);
        let soonest = match (passed.goes_on, desired.leaving) {
            (true, _) => Duration::ZERO,
            (false, true) => PROBE,
            (false, false) => Duration::MAX,
        };
        Ok(Next { after: After::Delay(wait.min(soonest)), ..next })
    }

    /// The lane does not open, or broke. There is one probe for all tenants, so a failure that may pass is probed again
    /// soon.
    async fn fail(&self, closed: Closed) -> Result<Next, Error> {
        let verdict = status::closed(&closed);
        let (next, after) = if matches!(closed, Closed::Contested(_)) {
            // The replica that works on the tenants tells them.
            stand_by(&self.desired.name, self.ctx, self.holdings);
            let status = status_of_verdict(&self.database, &verdict, self.ctx.now());
            (self.publish(status).await?, After::Delay(CONTESTED))
        } else {
            let after = if verdict.is_stalled() { After::Retry } else { After::Delay(PROBE) };
            (self.shut(&verdict).await?, after)
        };
        Ok(Next { after, ..next }.failed(Error::Open(closed)))
    }

    /// The lane is held and cannot be worked on: tenants that have work to do are told why, once.
    async fn shut(&self, verdict: &Verdict) -> Result<Next, Error> {
        if self.holdings.shut(&self.desired.name, verdict) {
            self.ctx.wake.users(&self.desired.name);
        }
        self.publish(status_of_verdict(&self.database, verdict, self.ctx.now())).await
    }

    /// Hands the database over to the replica that asks for it. No survey is under way, because that is a move of this driver.
    async fn hand_over(&self) -> Result<Next, Error> {
        if let Some(work) = &self.work
            && !work.lane.retire().await
        {
            // A job began meanwhile.
            return Ok(Next::new(After::Delay(PROBE), Outcome::Waiting));
        }
        stand_by(&self.desired.name, self.ctx, self.holdings);
        election::hand_over(&self.desired.name, self.ctx, self.holdings).await;
        Ok(Next::new(After::Resync, Outcome::Standby))
    }

    /// Releases a database to which no object refers, so that another TenantDatabase may claim it. If the database
    /// cannot be reached, the old claim stays in it, and the message on the other TenantDatabase says how to take it
    /// over.
    async fn release(&self) -> Result<Next, Error> {
        let Self { database, ctx, holdings, desired, .. } = self;
        let living = ctx.living(&api(ctx), &desired.name, &database.uid().unwrap_or_default()).await?;
        if let Err(next) = living.deleting() {
            return Ok(next);
        }
        if let Some(lane) = self.work.as_ref().map(|work| &work.lane)
            && let Err(error) = lane.functions().release_lane(lane.hold).await
        {
            tracing::debug!(database = desired.name, %error, "cannot release the lane");
        }
        holdings.set(&desired.name, Holding::Apart);
        election::remove(&desired.name, ctx, holdings).await?;
        ctx.let_go(&api(ctx), database, TENANT_DATABASE_FINALIZER).await?;
        ctx.metrics.forget_database(&desired.name);
        Ok(Next::new(After::Never, Outcome::Changed))
    }

    async fn publish(&self, new: TenantDatabaseStatus) -> Result<Next, Error> {
        let notices = status::notices(&self.database, &new);
        let changed = self.database.status.as_ref() != Some(&new);
        if changed && self.ctx.write_status(&api(self.ctx), &self.database, &new).await? == Written::Outdated {
            return Ok(Next::new(After::Retry, Outcome::Waiting));
        }
        Ok(Next { notices, ..Next::of(&new.conditions, changed) })
    }
}

/// Another replica works on the database, or none. What this one measured is out of date.
pub fn stand_by(name: &str, ctx: &Context, holdings: &Holdings) {
    holdings.stand_by(name);
    ctx.metrics.forget_database(name);
}

/// Another replica took the lane while this one believed to hold it: it leaves the election, and joins it at the next pass.
async fn rejoin(name: &str, ctx: &Context, holdings: &Holdings) -> Error {
    stand_by(name, ctx, holdings);
    election::leave(name, holdings).await;
    Error::Refused
}

/// The API of the databases.
pub fn api(ctx: &Context) -> Api<TenantDatabase> {
    Api::all(ctx.client.clone())
}
