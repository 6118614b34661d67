//! Any text that comes from outside is read without a panic: Secrets, names, sizes, answers of the database. What is
//! read means what was written, and no part of a password is ever repeated.
//!
//! Each property is tried with 256 made-up inputs; `PROPTEST_CASES=100000 cargo test --test fuzz` tries more.

#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test fail the test")]

mod answers;
mod documents;
mod names;
mod schedules;
mod secrets;
mod sizes;
