//! How many jobs of each class may run at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::contract::{JobClass, JobKind};

/// The places of a lane's jobs. A tenant's own code can make its snapshot last for hours, so a snapshot never has the
/// place of a removal.
pub(super) struct Slots {
    short: Arc<Semaphore>,
    long: Arc<Semaphore>,
    program: Arc<Semaphore>,
}

impl Slots {
    /// So many of each class.
    pub fn new(each: usize) -> Self {
        let places = || Arc::new(Semaphore::new(each));
        Self { short: places(), long: places(), program: places() }
    }

    fn of(&self, class: JobClass) -> &Arc<Semaphore> {
        match class {
            JobClass::Short => &self.short,
            JobClass::Long => &self.long,
            JobClass::Program => &self.program,
        }
    }

    /// The kinds that this release does and whose class has a place.
    pub fn free(&self) -> Vec<JobKind> {
        let has_place = |class| self.of(class).available_permits() > 0;
        done().filter(|kind| kind.class().is_some_and(has_place)).collect()
    }

    /// A place for a job of this kind, while it runs.
    pub fn take(&self, kind: &JobKind) -> Option<OwnedSemaphorePermit> {
        kind.class().and_then(|class| self.of(class).clone().try_acquire_owned().ok())
    }
}

/// The kinds that this release does: no program runs in it yet.
fn done() -> impl Iterator<Item = JobKind> {
    JobKind::all().filter(|kind| kind.class() != Some(JobClass::Program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_whose_places_are_taken_leaves_the_others_their_own() {
        let slots = Slots::new(1);
        assert!(slots.take(&JobKind::Archive).is_some(), "it has a place, and is not asked for");
        assert!(slots.free().into_iter().eq(done()));
        let snapshot = slots.take(&JobKind::Snapshot);
        assert_eq!(slots.free(), [JobKind::Purge]);
        let purge = slots.take(&JobKind::Purge);
        assert!(slots.free().is_empty());
        drop(snapshot);
        assert_eq!(slots.free(), [JobKind::Snapshot]);
        drop(purge);
        assert!(slots.free().into_iter().eq(done()));
    }

    #[test]
    fn every_class_has_as_many_places() {
        let slots = Slots::new(2);
        for class in JobClass::ALL {
            assert_eq!(slots.of(class).available_permits(), 2, "{class:?}");
        }
        assert!(slots.take(&JobKind::from("verify")).is_none(), "another release's has no place here");
    }
}
