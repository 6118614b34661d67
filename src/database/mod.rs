//! `TenantDatabase`: the driver. It takes part in the election of the database's holder, opens the lane, surveys at every
//! tick and says what it found. While the lane does not open, this is the only probe of the database.

pub mod apply;
pub mod balance;
mod bring_back;
pub mod desired;
pub mod election;
mod error;
pub mod holding;
mod identity;
pub mod install;
mod leaving;
mod live_parts;
pub mod observe;
pub mod open;
mod owners;
pub mod plan;
mod remarks;
pub mod resolve;
mod standby;
pub mod status;
mod store;
pub mod survey;
mod unseen;
mod users;
pub mod work;

use std::sync::Arc;

use futures::channel::mpsc::UnboundedSender;
use kube::ResourceExt;

use crate::{
    api::TenantDatabase,
    contract::Caller,
    frame::{Context, Next},
    jobs,
};
use apply::{Pass, api, apply};
use desired::desired;
pub use error::Error;
pub use holding::Holdings;
pub use leaving::{leave, leave_unseen, shut_unreadable};
use observe::observe;
use plan::plan;

/// Brings one database to work, or lets it go.
pub async fn reconcile(
    database: Arc<TenantDatabase>,
    ctx: Arc<Context>,
    holdings: &Holdings,
    finished_jobs: &UnboundedSender<jobs::Finished>,
) -> Result<Next, Error> {
    let Some(database) = ctx.fresh(&api(&ctx), database).await? else { return Ok(Next::gone()) };
    let work = holdings.usable(&database.name_any());
    let desired = &desired(&database, ctx.clock.now());
    // Before anything is told of a store that is another one in the spec by now.
    if let Some(work) = &work {
        store::look(&database, work, &ctx);
    }
    let observed = observe(&database, desired, work.as_deref(), &ctx, holdings).await;
    let plan = plan(desired, &observed);
    let (object, survey, notices) = (database.clone(), None, Vec::new());
    let pass =
        Pass { database, desired, observed: &observed, work, ctx: &ctx, holdings, finished_jobs, survey, notices };
    let next = apply(plan, pass).await?;
    // A lane that this pass opened knows no store yet.
    if let Some(work) = holdings.usable(&desired.name) {
        store::look(&object, &work, &ctx);
    }
    Ok(match observed.unresolved {
        Some(error) if next.failure.is_none() => next.failed(Error::Resolve(error)),
        _ => next,
    })
}

/// The steps of a database are applied for no tenant.
fn caller(name: &str) -> Caller {
    Caller { requested_by: format!("TenantDatabase {name}"), ..Caller::default() }
}
