//! What the end-to-end tests stand on: a world of a test's own, the operator's program, what other programs type, and every
//! expression that the chart hands to Prometheus.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its ground gives way")]
#![allow(
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "every helper of a test panics when it fails"
)]

pub mod expressions;
pub mod tools;
pub mod world;

use std::{
    env,
    path::{Path, PathBuf},
};

/// The repository.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The operator's program, which cargo builds beside the folder of the test programs.
pub fn program() -> PathBuf {
    let test = env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("tenant-schema-operator");
    assert!(program.exists(), "{} is not built: cargo build", program.display());
    program
}
