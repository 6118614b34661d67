//! Structured logs on standard error: text for people, JSON for machines.

use std::io::IsTerminal;

use clap::ValueEnum;
use thiserror::Error;
use tracing_subscriber::{EnvFilter, filter::ParseError, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, Error)]
pub enum LogError {
    /// The level or filter does not parse.
    #[error("--log-level is not a level (error, warn, info, debug, trace) or filter")]
    Filter(#[from] ParseError),
    /// Logging was set up before.
    #[error("logging is set up already")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts logging. `level` is a level or a filter such as `info,tenant_schema_operator=debug`.
pub fn init(format: LogFormat, level: &str) -> Result<(), LogError> {
    // Its span repeats in every line what the line says itself. A level that is given for it comes later, and counts.
    let filter = EnvFilter::try_new(format!("kube_runtime=warn,{level}"))?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(std::io::stderr).with_target(false);
    match format {
        LogFormat::Text => registry.with(layer.with_ansi(std::io::stderr().is_terminal())).try_init()?,
        LogFormat::Json => registry.with(layer.json().flatten_event(true).with_current_span(true)).try_init()?,
    }
    Ok(())
}
