//! The scenarios of `tests/plan.rs`.

mod backups;
mod identity;
mod limits;
mod reclaim;
mod tenants;
mod transfers;
