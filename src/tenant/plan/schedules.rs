//! What the schedules of a tenant ask for. It comes first, since no backup is to wait for what a tenant can keep from being done.

use crate::{plan::Effect, tenant::desired::Desired};

/// The backups that are due, and the objects that are too many. A database that is being deleted has to wait for none.
pub(super) fn schedules(desired: &Desired) -> impl Iterator<Item = Effect> {
    desired.schedules.iter().filter(|_| !desired.leaving).flat_map(|schedule| {
        let make =
            schedule.due.as_ref().map(|due| Effect::MakeBackup { backup: Box::new(due.backup.clone()), at: due.at });
        let forget = Some(&schedule.surplus).filter(|surplus| !surplus.is_empty());
        make.into_iter().chain(forget.map(|surplus| Effect::ForgetBackups(surplus.clone())))
    })
}
