//! Archives from end to end: real folders, a real S3 server, a real `PostgreSQL` with its real programs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where its ground gives way")]

mod archives;
mod dumps;
mod ground;
mod postgres;
mod restores;
mod stores;
mod stub;
