//! The scenarios of `tests/plan.rs`.

mod backups;
mod limits;
mod reclaim;
mod tenants;
