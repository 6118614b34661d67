//! The scenarios that have golden plans.

mod backups;
mod identity;
mod limits;
mod reclaim;
mod removals;
mod tenants;
mod transfers;
