//! What the operator promises, proved on a real kube-apiserver and a real PostgreSQL: one file for each promise.
//!
//! Every test has namespaces, a database, roles and an operator of its own, so that all run side by side; each ends by
//! proving that a second run of the operator plans nothing and writes nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its ground gives way")]

mod adoption;
mod archives;
mod archives_restored;
mod archives_s3;
mod backups;
mod bad_input;
mod bring_back;
mod clones;
mod conflicts;
mod connections;
mod contested;
mod contract;
mod credentials;
mod credentials_changed;
mod credentials_lost;
mod credentials_moved;
mod credentials_refused;
mod databases;
mod deletion;
mod dependents;
mod documented;
mod drift;
mod editors;
mod events;
mod examples;
mod further_kind;
mod gitops;
mod grants;
mod hardened;
mod held_up;
mod institutions;
mod isolation;
mod jobs;
mod kinds;
mod lifecycle;
mod limits;
mod metrics;
mod migrations;
mod missing;
mod namespaces;
mod nothing_made;
mod outage;
mod pause;
mod planted;
mod pooled;
mod privileges;
mod quotas;
mod quotas_blocked;
mod quotas_late;
mod quotas_live;
mod reclaim;
mod renaming;
mod replicas;
mod restart;
mod restored;
mod rivals;
mod schedules;
mod row_security;
mod suspension;
mod take_over;
mod timed_snapshot;
mod turns;
mod two_databases;
mod unreadable;
mod usage;
mod views;
mod watched;
mod went_back;

use support::{expressions, tools, world};
