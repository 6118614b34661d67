//! The edge to PostgreSQL: the only module that names `tokio_postgres`.
//!
//! The operator speaks to a database in one way: it calls management functions, which do the work in one transaction and
//! answer with JSON. [`call`] is the list of them, [`crate::contract`] what is said, [`script`] what installs them.

mod archive_session;
pub mod call;
pub mod connection;
pub mod error;
pub mod pool;
mod salt;
mod scratch;
pub mod script;
mod tenant_session;
mod tls;
mod verifier;

pub use archive_session::{ArchivedTable, Content, Held};
pub use call::{Functions, Hold};
pub use connection::{ClientAuthority, Connection, ConnectionError};
pub use error::Error;
pub use pool::{Heard, Pool, PoolUse};
pub use tenant_session::{Identity, ProgramConnection, TenantSession};
pub use verifier::{SessionPassword, random_password};
