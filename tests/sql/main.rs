//! The database side of the operator against a real PostgreSQL: what `sql/` promises, function by function.
//!
//! Each test has a database, an owner role and tenants of its own, and removes them when it ends. `POSTGRES_MAJOR` chooses
//! the server's version; without it, it is the newest that is installed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::doc_markdown,
    missing_docs,
    reason = "a test ends where its ground gives way, and PostgreSQL is a name"
)]

mod access;
mod admin;
mod adopt;
mod adoption;
mod adoption_hostile;
mod adoption_lost;
mod across;
mod adoption_world;
mod application;
mod archives;
mod archives_read;
mod archives_removal;
mod scratch;
mod backup_world;
mod brake;
mod bring_back;
mod copies;
mod create;
mod credentials;
mod credentials_drift;
mod credentials_grace;
mod credentials_held;
mod credentials_hostile;
mod credentials_migration;
mod credentials_owner;
mod credentials_parked;
mod credentials_shut_out;
mod dependents;
mod dependents_bounds;
mod dependents_hostile;
mod drift;
mod emptied;
mod expiry;
mod findings;
mod forced_row_security;
mod grants;
mod grants_columns;
mod grants_life;
mod grants_roles;
mod hostile;
mod hostile_backups;
mod hostile_locks;
mod identity;
mod idle_transactions;
mod hostile_size;
mod install;
mod institutions;
mod interplay;
mod interplay_policies;
mod jobs;
mod isolation;
mod lane;
mod large_objects;
mod lane_world;
mod lifecycle;
mod live_part;
mod passwords_changed;
mod planted;
mod policies;
mod purge;
mod queue;
mod reserved;
mod retention;
mod row_security;
mod row_security_cost;
mod row_security_hostile;
mod row_security_required;
mod set_aside;
mod snapshot;
mod snapshot_hostile;
mod strangers;
mod support;
mod survey;
mod tables;
mod take_over;
mod tenant_sessions;
mod transfer;
mod transient;
mod transient_jobs;
mod usage;
mod write_blocks;
mod write_blocks_deletes;
mod write_blocks_hostile;
