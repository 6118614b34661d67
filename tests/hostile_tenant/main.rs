//! A tenant with credentials of its own tries to get out of its schema, to get rid of its limits, and to hold up others.
//!
//! Each line of the tables is one attempt, made over a real connection: as the login that the operator issued, or as one that
//! acts as the tenant's owner role, as migrations do. It ends in a refusal, in nothing, or in a nuisance that the line bounds
//! and docs/security.md names. After each the neighbour's rows, the registry, and all roles, rights and owners are as before.
//!
//! The database side is set up as in `tests/sql`. `POSTGRES_MAJOR` chooses the server's version.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::doc_markdown,
    missing_docs,
    reason = "a test ends where its ground gives way, and PostgreSQL is a name"
)]

mod adopted;
mod blocked;
mod catalogues;
mod granted;
mod load;
mod names;
mod neighbours;
mod operator_code;
mod own_limits;
mod policies_passed;
mod races;
mod registry;
mod rights;
mod roles;
mod server;
mod world;

#[path = "../sql/adoption_world.rs"]
#[allow(dead_code, reason = "shared with tests/sql, which uses more of it")]
mod adoption_world;
#[path = "../sql/application.rs"]
#[allow(dead_code, reason = "shared with tests/sql, which uses more of it")]
mod application;
#[path = "../sql/support.rs"]
#[allow(dead_code, reason = "shared with tests/sql, which uses more of it")]
mod support;

use std::collections::BTreeSet;

use world::{Attempt, Expected, attempts};

/// The tables by what they are after.
const TABLES: [(&str, &[Attempt]); 12] = [
    ("roles", roles::ATTEMPTS),
    ("own limits", own_limits::ATTEMPTS),
    ("neighbours", neighbours::ATTEMPTS),
    ("registry", registry::ATTEMPTS),
    ("catalogues", catalogues::ATTEMPTS),
    ("names", names::ATTEMPTS),
    ("load", load::ATTEMPTS),
    ("server", server::ATTEMPTS),
    ("grants", granted::ATTEMPTS),
    ("policies", policies_passed::ATTEMPTS),
    ("blocked", blocked::ATTEMPTS),
    ("adopted", adopted::ATTEMPTS),
];

#[test]
fn attempts_are_many_and_each_has_a_name_of_its_own() {
    let names: Vec<_> = TABLES.iter().flat_map(|(_, attempts)| attempts.iter().map(|attempt| attempt.name)).collect();
    assert!(names.len() >= 300, "{}", names.len());
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    for attempt in TABLES.iter().flat_map(|(_, attempts)| *attempts) {
        if let Expected::Nuisance(bound) = attempt.expected {
            assert!(!bound.is_empty(), "{} names what bounds it", attempt.name);
        }
    }
}

#[tokio::test]
async fn no_role_of_others_is_taken_and_no_limit_shaken_off() {
    attempts(&[roles::ATTEMPTS, own_limits::ATTEMPTS]).await;
}

#[tokio::test]
async fn neither_neighbours_nor_registry_are_read_or_changed() {
    attempts(&[neighbours::ATTEMPTS, registry::ATTEMPTS]).await;
}

#[tokio::test]
async fn a_grant_gives_what_it_says_and_a_policy_shows_no_row_of_another() {
    attempts(&[granted::ATTEMPTS, policies_passed::ATTEMPTS]).await;
}

#[tokio::test]
async fn catalogues_tell_names_and_no_content_and_no_name_is_taken_for_another() {
    attempts(&[catalogues::ATTEMPTS, names::ATTEMPTS]).await;
}

#[tokio::test]
async fn load_is_bounded_and_the_server_out_of_reach() {
    attempts(&[load::ATTEMPTS, server::ATTEMPTS]).await;
}
