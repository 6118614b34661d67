//! What the schedules of a tenant ask for. It comes first, since no backup is to wait for what a tenant can keep from being done.

use kube::ResourceExt;

use crate::{
    plan::Effect,
    tenant::{desired::Desired, schedules::Scheduled},
};

/// The backups that are due, and the objects that are too many. A database that is being deleted has to wait for none.
pub(super) fn schedules(desired: &Desired) -> impl Iterator<Item = Effect> {
    let all: &[Scheduled] = if desired.leaving { &[] } else { &desired.schedules };
    all.iter().flat_map(|schedule| {
        let newer = schedule.due.as_ref().map(|due| due.backup.name_any());
        let make =
            schedule.due.as_ref().map(|due| Effect::MakeBackup { backup: Box::new(due.backup.clone()), at: due.at });
        let known = &schedule.surplus;
        let forget = (!known.is_empty()).then(|| Effect::ForgetBackups { known: known.clone(), newer });
        make.into_iter().chain(forget)
    })
}
