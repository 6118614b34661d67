//! Measuring all tenants in one batched query set, and waking the objects that are concerned.
//!
//! Surveys ask for what changed, and each for a tenth of all, so that a row that was edited or removed by hand is
//! noticed even if the database believes that it told us. Only two surveys are told all: the first, and one after a
//! survey whose number of tenants was not the number that is known.

use std::sync::Arc;

use serde_json::json;
use tokio::time::Instant;

use super::desired::Desired;
use crate::{
    contract::{SaltFound, SurveyAnswer, TenantRow},
    frame::Context,
    lane::Lane,
    postgres::Error,
    telemetry::metrics::{DatabaseLabels, Metrics},
};

/// What came of what the survey before named.
pub struct Followed {
    /// What the server told of the passwords of logins.
    pub salts: Vec<SaltFound>,
    /// Whether tables of tenants that are blocked for their quota are still being vacuumed.
    pub vacuuming: bool,
}

/// Surveys the database and wakes the tenants and backups that changed; `slice` is told whole. One that follows no other names no
/// logins to try.
pub async fn survey(
    lane: &Lane,
    slice: u8,
    followed: Option<Followed>,
    desired: &Desired,
    ctx: &Context,
) -> Result<Option<SurveyAnswer>, Error> {
    let labels = DatabaseLabels { database: lane.database.clone() };
    // For alerts on the age of surveys.
    ctx.metrics.survey_period.get_or_create(&labels).set(desired.survey_period.as_secs_f64());
    // What may expire: by the API server's clock, up to when a person confirmed it, and of how many tenants in an hour; and where
    // institutions are.
    let mut wishes = json!({
        "now": ctx.clock.now(), "confirmed_until": desired.confirmed, "expiry_limit": desired.expiry_limit,
        "institutions": desired.institutions,
    });
    // Nothing is done about what the first survey of a lane names.
    wishes["vacuuming"] = json!(followed.as_ref().is_none_or(|followed| followed.vacuuming));
    if let Some(Followed { salts, .. }) = followed {
        wishes["salts"] = json!(salts);
    }
    let started = Instant::now();
    let Some((answer, news)) = lane.survey(slice, &wishes).await? else { return Ok(None) };
    wake(&answer, &news, ctx);
    lane.functions().pool().tend();
    measure(&ctx.metrics, lane, &answer, started, ctx.now().as_second());
    ctx.metrics.clock_skew.get_or_create(&labels).set((lane.ahead() - ctx.clock.ahead()).as_secs_f64());
    Ok(Some(answer))
}

fn wake(answer: &SurveyAnswer, news: &[Arc<TenantRow>], ctx: &Context) {
    for owner in news.iter().filter_map(|row| row.owner.as_ref()) {
        ctx.wake.tenant(&owner.namespace, &owner.name);
    }
    for object in answer.backups_changed.iter().filter_map(|backup| backup.object.as_ref()) {
        ctx.wake.backup(&object.namespace, &object.name);
    }
}

fn measure(metrics: &Metrics, lane: &Lane, answer: &SurveyAnswer, started: Instant, now: i64) {
    let labels = DatabaseLabels { database: lane.database.clone() };
    metrics.survey_duration.get_or_create(&labels).set(started.elapsed().as_secs_f64());
    #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 fit into the 52 bits of a float for ages")]
    metrics.survey_time.get_or_create(&labels).set(now as f64);
    metrics.survey_stale.get_or_create(&labels).set(i64::from(answer.stale_count));
    metrics.not_isolated.get_or_create(&labels).set(i64::from(answer.not_isolated_count));
    metrics.set_aside.get_or_create(&labels).set(answer.set_aside_bytes);
    metrics.lane_contested.get_or_create(&labels).set(i64::from(answer.beat.contest.is_some()));
}
