//! A Kubernetes operator for isolated PostgreSQL schemas.

pub mod ident;
pub mod quantity;
pub mod api;
