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
    /// So many of each class, and so many programs, which have connections of their own.
    pub fn new(each: usize, programs: usize) -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        Self { short: places(each), long: places(each), program: places(programs) }
    }

    fn of(&self, class: JobClass) -> &Arc<Semaphore> {
        match class {
            JobClass::Short => &self.short,
            JobClass::Long => &self.long,
            JobClass::Program => &self.program,
        }
    }

    /// The kinds that this release does and whose class has a place; those that work in a store only while it can be written, or
    /// something can be removed from it.
    pub fn free(&self, writes: bool, removes: bool) -> Vec<JobKind> {
        let has_place = |class| self.of(class).available_permits() > 0;
        let can_be_done = |kind: &JobKind| match kind {
            JobKind::Archive => writes,
            JobKind::RemoveArchive => removes,
            JobKind::Snapshot | JobKind::Purge | JobKind::Other(_) => true,
        };
        JobKind::all().filter(|kind| kind.class().is_some_and(has_place) && can_be_done(kind)).collect()
    }

    /// A place for a job of this kind, while it runs.
    pub fn take(&self, kind: &JobKind) -> Option<OwnedSemaphorePermit> {
        kind.class().and_then(|class| self.of(class).clone().try_acquire_owned().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_whose_places_are_taken_leaves_the_others_their_own() {
        let slots = Slots::new(1, 1);
        assert!(slots.free(true, true).into_iter().eq(JobKind::all()));
        let snapshot = slots.take(&JobKind::Snapshot);
        assert_eq!(slots.free(true, true), [JobKind::Archive, JobKind::Purge, JobKind::RemoveArchive]);
        let archive = slots.take(&JobKind::Archive);
        assert_eq!(slots.free(true, true), [JobKind::Purge, JobKind::RemoveArchive]);
        let purge = slots.take(&JobKind::Purge);
        assert!(slots.free(true, true).is_empty());
        drop(snapshot);
        assert_eq!(slots.free(true, true), [JobKind::Snapshot]);
        drop((archive, purge));
        assert!(slots.free(true, true).into_iter().eq(JobKind::all()));
    }

    #[test]
    fn without_a_store_nothing_is_done_in_it() {
        assert_eq!(Slots::new(1, 1).free(false, false), [JobKind::Snapshot, JobKind::Purge]);
        assert_eq!(Slots::new(1, 1).free(false, true), [JobKind::Snapshot, JobKind::Purge, JobKind::RemoveArchive]);
    }

    #[test]
    fn every_class_has_as_many_places() {
        let slots = Slots::new(2, 2);
        for class in JobClass::ALL {
            assert_eq!(slots.of(class).available_permits(), 2, "{class:?}");
        }
        assert!(slots.take(&JobKind::from("verify")).is_none(), "another release's has no place here");
    }
}
