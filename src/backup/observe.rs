//! Stage 3: what is there, as the catalogue says. A finished backup is not asked about again until the survey finds it
//! changed and wakes its object.

use std::sync::Arc;

use uuid::Uuid;

use super::desired::{Desired, Removal};
use crate::{
    api::schema_backup::{BackupMethod, Verification},
    contract::{BackupAnswer, BackupQuestion, Owner},
    frame::{Doors, Leave},
    lane::archives::ArchiveStore,
    postgres::Error,
};

/// What is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// What the catalogue says.
    pub answer: BackupAnswer,
    /// The status says how the backup ended, and nothing is known to have changed since: the catalogue was not asked.
    pub settled: bool,
    /// Why the database has no store for an archive, or none from which one can be removed.
    pub no_store: Option<Arc<str>>,
    /// Archives are encrypted there, and the operator cannot read them.
    pub no_identity: bool,
    /// How an archive is to be proved, of one that is wanted.
    pub asked: Option<Verification>,
}

impl From<BackupAnswer> for Observed {
    fn from(answer: BackupAnswer) -> Self {
        Self { answer, ..Self::default() }
    }
}

/// Observes a backup that is wanted, on the lane of its tenant.
pub async fn observe(desired: &Desired, doors: Doors<'_>) -> Result<Observed, Error> {
    let changed = doors.lane().is_some_and(|lane| lane.take_change(&desired.object.uid));
    if desired.settled && !changed {
        return Ok(Observed { settled: true, ..Observed::default() });
    }
    let tenant_uid = desired.tenant.as_ref().map(|tenant| tenant.uid.as_str());
    let lane = doors.lane().filter(|_| desired.method == BackupMethod::Archive);
    let store = lane.map(|lane| lane.archives.get());
    let cannot_read = |store: &Arc<ArchiveStore>| store.recipients.is_some() && store.identities.is_none();
    let no_identity = store.as_ref().and_then(|store| store.as_ref().ok()).is_some_and(cannot_read);
    let no_store = store.and_then(Result::err);
    let asked = ask(doors, &desired.object, desired.known, Some(desired.method.as_str()), tenant_uid).await?;
    let verification = lane.map(|_| desired.verification);
    Ok(Observed { no_store, no_identity, asked: verification, ..asked })
}

/// Observes a backup that is to go. The catalogue is not asked about a backup that stays.
pub async fn observe_removal(leave: &Leave<Removal>, doors: Doors<'_>) -> Result<Observed, Error> {
    match leave {
        Leave::Asked(removal) => {
            // It is asked about in any case.
            doors.lane().map(|lane| lane.take_change(&removal.object.uid));
            let no_store = doors.lane().and_then(|lane| lane.archives.for_removal().err());
            let asked = ask(doors, &removal.object, removal.known, None, None).await?;
            Ok(Observed { no_store, ..asked })
        }
        Leave::Nothing(_) | Leave::Abandoned(_) | Leave::AsItIs(_) => Ok(Observed::default()),
    }
}

async fn ask(
    doors: Doors<'_>,
    object: &Owner,
    backup_id: Option<Uuid>,
    method: Option<&str>,
    tenant_uid: Option<&str>,
) -> Result<Observed, Error> {
    Ok(doors.observe_backup(&BackupQuestion { object, backup_id, method, tenant_uid }).await?.into())
}
