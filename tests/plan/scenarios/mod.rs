//! The scenarios that have golden plans.

mod adoption;
mod archives;
mod backups;
mod credentials;
mod dependents;
mod grants;
mod identity;
mod institutions;
mod limits;
mod policies;
mod quotas;
mod reclaim;
mod removals;
mod schedules;
mod statuses;
mod tenants;
mod transfers;
mod wishes;
