//! `TenantSchema`: its stages, as the frame drives them. Each is the function of its file's name.

mod access;
pub mod adoption;
pub mod credential;
pub mod desired;
pub mod ending;
pub mod grants;
mod limits;
pub mod observe;
mod passed_over;
pub mod plan;
pub mod resolve;
pub mod schedules;
pub mod status;

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use crate::{
    api::{TENANT_SCHEMA_FINALIZER, TenantSchema, TenantSchemaStatus},
    frame::{Context, Doors, Ending, Invalid, Kind, Leave, Pass, StageError, Stand, Told, Wish},
    kubernetes,
    plan::Plan,
};
use desired::{Desired, Removal};
use observe::Observed;
pub use passed_over::finish_passed_over;
use resolve::Resolved;

impl Kind for TenantSchema {
    const FINALIZER: &'static str = TENANT_SCHEMA_FINALIZER;
    type Facts = Resolved;
    type Desired = Desired;
    type Removal = Removal;
    type Observed = Observed;

    async fn resolve(&self, ctx: &Context) -> Result<(Resolved, Stand), kubernetes::Error> {
        Ok(resolve::resolve(self, ctx).await)
    }

    fn desired(&self, facts: &Resolved) -> Result<Desired, Invalid> {
        desired::desired(self, facts)
    }

    fn removal(&self, facts: &Resolved) -> Leave<Removal> {
        desired::leave(self, facts)
    }

    async fn observe(wish: Wish<'_, Self>, doors: Doors<'_>) -> Result<Observed, StageError> {
        match wish {
            Wish::Keep(desired) => observe::observe(desired, doors).await,
            Wish::End(leave) => observe::observe_removal(leave, doors).await,
        }
    }

    fn plan(wish: Wish<'_, Self>, observed: &Observed) -> Plan {
        match wish {
            Wish::Keep(desired) => plan::plan(desired, observed),
            Wish::End(leave) => plan::plan_removal(leave.removal(), observed),
        }
    }

    fn status_of(&self, pass: &Pass<'_, Self>, now: Timestamp) -> Told<TenantSchemaStatus> {
        status::told(self, self.spec.database(), pass, now)
    }

    fn gone(self: Arc<Self>, ending: Ending<'_, Self>, ctx: &Context) {
        match ending {
            Ending::LetGo { leave, stand } => ending::let_go(&self, leave, stand, ctx),
            // Another pass may have ended it and found nothing, before this pass made something. A closed channel means
            // that the operator stops.
            Ending::WhileMaking => {
                let _ = ctx.passed_over.unbounded_send(self);
            }
        }
    }
}

/// Whether the tenant stands on this database.
#[must_use]
pub fn stands_on(tenant: &TenantSchema, database: &str) -> bool {
    tenant.spec.database() == database
}

/// What wakes others when a tenant is gone.
fn is_same_tenant(gone: &TenantSchema, other: &TenantSchema) -> bool {
    let name = gone.schema_name().ok();
    let same_name = name.is_some() && other.schema_name().ok() == name;
    let same_institution = gone.spec.institution_id.is_some() && other.spec.institution_id == gone.spec.institution_id;
    other.spec.database() == gone.spec.database() && (same_name || same_institution) && other.uid() != gone.uid()
}
