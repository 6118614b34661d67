//! What an archive outside the database is made of: the output of `pg_dump`, compressed with zstd, encrypted with age if
//! recipients are named, in an object store or a folder, with a manifest beside it that says what it holds. It is streamed:
//! never whole in memory, and nothing is written to a disk of this machine. Standard programs undo all of it:
//! `age --decrypt | zstd --decompress | pg_restore`.
//!
//! - [`store`]: where archives go, and what they are called there.
//! - [`cipher`]: compression and encryption, both ways.
//! - [`dump`]: `pg_dump` as a stream, and finding it.
//! - [`manifest`]: what an archive holds, in JSON.
//! - [`archive`](mod@archive): from the dump to the store.
//! - [`check`](mod@check): whether what is there is what was written.
//! - [`restore`](mod@restore): from the store into a database.
//! - [`error`]: what goes wrong in each of these.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test ends where its ground gives way"))]

pub mod error;
mod secret;
mod text;
pub mod store;
pub mod cipher;
mod reach;
pub mod dump;
pub mod manifest;
pub mod archive;
pub mod check;
pub mod restore;

pub use archive::{Artefact, Source, archive};
pub use check::{Checked, Expected, check};
pub use cipher::{Identities, Recipients};
pub use dump::{Dump, Program, RunningDump};
pub use manifest::Manifest;
pub use reach::Reach;
pub use restore::{Restore, Restored, restore};
pub use secret::Secret;
pub use store::{Key, Part, Place, Probe, Scope, Store, StoreAccess, StoreUrl, Upload};
