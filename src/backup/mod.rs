//! `SchemaBackup`: its stages, as the frame drives them. The object asks for a backup; the catalogue has it and outlives the object.
//! A snapshot is made in the database; an archive by `jobs/archive.rs`, in the store that `database/store.rs` finds.

pub mod desired;
pub mod observe;
pub mod plan;
pub mod resolve;
pub mod status;

use std::sync::Arc;

use jiff::Timestamp;
use kube::{ResourceExt, runtime::reflector::ObjectRef};

use crate::{
    api::{SCHEMA_BACKUP_FINALIZER, SchemaBackup, SchemaBackupStatus},
    frame::{Context, Doors, Ending, Invalid, Kind, Leave, Pass, StageError, Stand, Told, Wish},
    kubernetes,
    plan::Plan,
};
use desired::{Desired, Removal};
use observe::Observed;
use resolve::Resolved;

impl Kind for SchemaBackup {
    const FINALIZER: &'static str = SCHEMA_BACKUP_FINALIZER;
    type Facts = Resolved;
    type Desired = Desired;
    type Removal = Removal;
    type Observed = Observed;

    async fn resolve(&self, ctx: &Context) -> Result<(Resolved, Stand), kubernetes::Error> {
        resolve::resolve(self, ctx).await
    }

    fn desired(&self, facts: &Resolved) -> Result<Desired, Invalid> {
        desired::desired(self, facts)
    }

    fn removal(&self, facts: &Resolved) -> Leave<Removal> {
        desired::leave(self, facts)
    }

    async fn observe(wish: Wish<'_, Self>, doors: Doors<'_>) -> Result<Observed, StageError> {
        let observed = match wish {
            Wish::Keep(desired) => observe::observe(desired, doors).await,
            Wish::End(leave) => observe::observe_removal(leave, doors).await,
        };
        observed.map_err(StageError::Observe)
    }

    fn plan(wish: Wish<'_, Self>, observed: &Observed) -> Plan {
        match wish {
            Wish::Keep(desired) => plan::plan(desired, observed),
            Wish::End(leave) => plan::plan_removal(leave.removal(), observed),
        }
    }

    fn status_of(&self, pass: &Pass<'_, Self>, now: Timestamp) -> Told<SchemaBackupStatus> {
        status::told(self, pass, now)
    }

    fn gone(self: Arc<Self>, ending: Ending<'_, Self>, ctx: &Context) {
        let Ending::LetGo { stand, .. } = ending else { return };
        let database = stand.database.as_ref().and_then(|name| ctx.stores.databases.get(&ObjectRef::new(name)));
        if let Some(database) = database.filter(|database| database.metadata.deletion_timestamp.is_some()) {
            // The deleted database may wait for this backup, the last that needed it.
            ctx.wake.database(&database.name_any());
        }
    }
}

/// Whether the backup may stand on this database. One that has no status yet may stand on any.
#[must_use]
pub fn stands_on(backup: &SchemaBackup, database: &str) -> bool {
    let known = backup.status.as_ref().and_then(|status| status.database_ref.as_deref());
    known.is_none_or(|known| known == database)
}
