//! The Helm chart: what it renders is what an API server takes, and what it allows is what the operator needs, no less and
//! no more. Needs Helm or Go; without both, the tests that need Helm say so and pass.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its ground gives way")]

mod account;
mod cloudnativepg;
mod conform;
mod forbidden;
mod helm;
mod install;
mod journey;
mod monitoring;
mod permissions;
mod reference;
mod rendering;
mod secrets;
mod stage;
mod values;
