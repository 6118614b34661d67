//! Structured logs on standard error: text for people, JSON for machines.

use std::io::{self, IsTerminal, Stderr, Write};

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
    let layer = fmt::layer().with_writer(|| Lines(io::stderr())).with_target(false);
    match format {
        LogFormat::Text => registry.with(layer.with_ansi(io::stderr().is_terminal())).try_init()?,
        LogFormat::Json => registry.with(layer.json().flatten_event(true).with_current_span(true)).try_init()?,
    }
    Ok(())
}

/// Standard error, where no line but the first of a record begins at the margin: what a tenant wrote with a line break in it looks like
/// no record of ours.
struct Lines(Stderr);

impl Write for Lines {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        self.0.write_all(&indented(record))?;
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn indented(record: &[u8]) -> Vec<u8> {
    let body = record.strip_suffix(b"\n").unwrap_or(record);
    let mut lines = Vec::with_capacity(record.len());
    for byte in body {
        match byte {
            b'\n' => lines.extend(b"\n    "),
            b'\r' => lines.extend(b"\\r"),
            other => lines.push(*other),
        }
    }
    lines.extend(&record[body.len()..]);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_break_begins_no_record() {
        let forged = b"one\r\n2026-01-01T00:00:00Z  INFO two\n";
        assert_eq!(indented(forged), b"one\\r\n    2026-01-01T00:00:00Z  INFO two\n");
        assert_eq!(indented(b"one"), b"one");
    }
}
