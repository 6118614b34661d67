//! What can go wrong around the operator goes wrong, and everything comes to the same end.
//!
//! The operator is the real program. It reaches PostgreSQL and the API server over wires that a test holds in its hands.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its ground gives way")]

mod agreement;
// The first two in the alphabet of those with tests, so that the longest begin first.
mod any_order;
mod api;
mod chance;
mod chaos;
mod disk;
mod errands;
mod full;
mod ground;
mod kills;
mod outages;
mod pooler;
mod wire;

use support::{tools, world};
