//! A Kubernetes operator that turns a `TenantSchema` into an isolated PostgreSQL schema and keeps it right.
//!
//! ```text
//!  kubectl, Argo CD, Flux
//!         │ apply                                        one lane per TenantDatabase (Lease, pool, epoch)
//!         ▼
//!    kube-apiserver ──watch──►  tenant    resolve ► desired ► observe ► plan ► apply ► status ──► /status
//!         ▲                     backup    resolve ► desired ► observe ► plan ► apply ► status
//!         │                     database  resolve ► desired ► observe ► plan ► apply ► status
//!         │ status, Events                    │ request          │ who changed, who drifted
//!         │                                   ▼                  │
//!         └──── wake ◄──── jobs: claim ► run ► record            └──► wake only those
//!                                │ snapshot, archive, purge
//!                                ▼
//!               PostgreSQL: edu_matrix_hub_schema.<management functions>
//! ```
//!
//! The folder is the pipeline: every kind has one folder, and its files are its stages in order; [`frame`] drives those that stand
//! on a lane. The modules below are in reading order, and each depends only on those above it. What is forbidden where is a test in `tests/architecture/`:
//!
//! 1. Pure files contain no `async`, no client, no tokio, no clock and no randomness.
//! 2. Only [`postgres`] names `tokio_postgres`, and SQL lives only in `sql/`.
//! 3. Only [`kubernetes`], [`frame`], the drivers, the `resolve` files, [`controller`] and [`command`] name `kube::Client`.
//! 4. [`tenant`], [`backup`] and [`database`] do not import one another.
//! 5. After `desired` no stage reads a `spec`.
//! 6. Logs, Events and metrics about outcomes are written in [`controller::report`] alone.
//! 7. No file has more than 500 lines, and no line of SQL more than 120 columns.

pub use tenant_schema_api as api;
pub use tenant_schema_api::{ident, quantity, text};

pub mod telemetry;
pub mod config;
pub mod contract;
pub mod postgres;
pub mod kubernetes;
pub mod lane;
pub mod jobs;
pub mod plan;
pub mod frame;
pub mod tenant;
pub mod backup;
pub mod database;
pub mod controller;
pub mod command;
