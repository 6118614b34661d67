//! Stage 3: what is, as the catalogue says.

use uuid::Uuid;

use super::desired::{Desired, Removal};
use crate::{
    contract::{BackupAnswer, BackupQuestion, Owner},
    lane::Lane,
    postgres::Error,
};

/// Observes a backup that is wanted, on the lane of its tenant.
pub async fn observe(lane: &Lane, desired: &Desired) -> Result<BackupAnswer, Error> {
    let tenant_uid = desired.tenant.as_ref().map(|tenant| tenant.uid.as_str());
    ask(lane, &desired.object, desired.known, Some(desired.method.as_str()), tenant_uid).await
}

/// Observes a backup that is to go.
pub async fn observe_removal(lane: &Lane, removal: &Removal) -> Result<BackupAnswer, Error> {
    ask(lane, &removal.object, removal.known, None, None).await
}

async fn ask(
    lane: &Lane,
    object: &Owner,
    backup_id: Option<Uuid>,
    method: Option<&str>,
    tenant_uid: Option<&str>,
) -> Result<BackupAnswer, Error> {
    lane.observe_backup(&BackupQuestion { object, backup_id, method, tenant_uid }).await
}
