//! Programs of others connect by the Secrets that the operator writes, and by nothing else: migration tools by that of
//! migrations, and the files of `examples/applications` by that of applications, through rotations.
//!
//! They are fetched by the package managers of their languages into `target/clients`, as the folders here pin them, so these tests
//! are not among those of `make test`: `make test-clients`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its ground gives way")]

mod adoption;
mod applications;
mod client;
mod migrations;
mod pod;
mod tenant;
mod tools;
