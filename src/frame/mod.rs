//! The frame of every reconcile: the driver of the kinds that stand on a lane, what all reconciles share, and what they hand back.
//!
//! A kind is a folder of stages behind the trait [`Kind`]; [`drive`] and [`end`] call them in order.

mod context;
mod doors;
mod drive;
mod end;
mod error;
mod index;
mod kind;
mod kinds;
mod living;
mod memory;
mod missing;
mod outcome;
mod patience;
mod publish;
mod stores;
mod unread;

pub use context::Context;
pub use doors::{Doors, look};
pub use drive::reconcile;
pub use error::StageError;
pub use index::Index;
pub use kind::{Ending, Host, Invalid, Kind, Leave, Pass, Stand, Told, Wish};
pub use kinds::{Fit, Kinds};
pub use living::Living;
pub use memory::{Deletions, Losers, Making, Requests, Uids, Written, fingerprint};
pub use missing::MissingDatabase;
pub use outcome::{After, Failure, Next, Notice, Outcome, chain, failed_for_good};
pub use stores::{Stores, Wake};
pub use unread::Unread;
