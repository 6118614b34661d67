//! The scenarios that have golden plans.

mod adoption;
mod backups;
mod credentials;
mod identity;
mod institutions;
mod limits;
mod quotas;
mod reclaim;
mod removals;
mod statuses;
mod tenants;
mod transfers;
mod wishes;
