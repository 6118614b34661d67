//! What went wrong at the database, sorted by what can be done about it. Pure.
//!
//! Matching is on SQLSTATE and on error kinds, never on message text. `tokio_postgres` prints only "db error" for what
//! the server said, so [`describe`] takes the server's own words.

use std::{error::Error as StdError, time::Duration};

use thiserror::Error;
use tokio_postgres::error::SqlState;

use super::{
    connection::{Connection, ConnectionError},
    tls::TlsError,
};
use crate::contract::may_pass;

/// What failed at the edge to PostgreSQL.
#[derive(Debug, Error)]
pub enum Error {
    /// The Secret does not describe a database.
    #[error("the connection Secret is not usable")]
    Connection(#[from] ConnectionError),
    /// No TLS configuration could be made from the Secret.
    #[error("{attempt}: the TLS settings are not usable")]
    Tls {
        /// What was to be tried.
        attempt: String,
        /// What is wrong with them.
        source: TlsError,
    },
    /// No connection could be made, or it was lost.
    #[error("cannot reach the database: {message}")]
    Unreachable {
        /// What the attempt said.
        message: String,
    },
    /// The TLS handshake failed, or the server offers no TLS.
    #[error(
        "the TLS handshake with the database failed: {message}; the authority that signed the server's certificate belongs in the \
         key ca.crt of the Secret, and spec.connection.tls.mode says what is checked"
    )]
    Handshake {
        /// What rustls or the server said.
        message: String,
    },
    /// The server refused the login.
    #[error("the server refused the login: {message}")]
    AuthenticationRefused {
        /// The server's words.
        message: String,
    },
    /// The login may not connect to the database.
    #[error("the login may not connect to the database: {message}")]
    ConnectRefused {
        /// The server's words, and the statement that gives the right.
        message: String,
    },
    /// The server has no database of that name.
    #[error("the server has no such database: {message}")]
    NoSuchDatabase {
        /// The server's words.
        message: String,
    },
    /// All connections of the pool were busy for the whole deadline.
    #[error("no free connection within {0:?}; raise spec.connection.maxConnections or wait")]
    PoolBusy(Duration),
    /// The lane was closed while the call waited for its turn.
    #[error("the lane of the database is closed and will be opened again")]
    LaneClosed,
    /// Other calls of this namespace, whose calls last long, already wait for their turn.
    #[error("calls of this namespace last long, so they are done one after the other; this one waits for its turn")]
    Crowded,
    /// A function refused for a reason that is no fault of the tenant's.
    #[error("{call} was refused: {message}")]
    Refused {
        /// The management function.
        call: &'static str,
        /// Its words.
        message: String,
        /// True when that may pass by itself.
        may_pass: bool,
    },
    /// A call took longer than its deadline and was cancelled.
    #[error("{call} did not finish within {deadline:?} and was cancelled")]
    Deadline {
        /// The management function or query.
        call: &'static str,
        /// The deadline that passed.
        deadline: Duration,
    },
    /// The server answered a call with an error.
    #[error("{call} failed: {message} (SQLSTATE {code})")]
    Statement {
        /// The management function or query.
        call: &'static str,
        /// Its five characters.
        code: String,
        /// The server's words, with detail and hint.
        message: String,
    },
    /// The answer of a call is not of the agreed form: functions and operator do not match.
    #[error("{call} answered in a form that this release does not know")]
    Answer {
        /// The management function or query.
        call: &'static str,
        /// What did not fit.
        source: serde_json::Error,
    },
}

impl Error {
    /// True when the same call may succeed by itself later: outages, deadlines, conflicts between transactions.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::PoolBusy(_) | Self::Deadline { .. } | Self::LaneClosed | Self::Crowded => {
                true
            }
            Self::Statement { code, .. } => may_pass(code),
            Self::Refused { may_pass, .. } => *may_pass,
            _ => false,
        }
    }

    /// What the server called it, if it was the server.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Statement { code, .. } => Some(code),
            _ => None,
        }
    }

    /// True when a text has a character that the database's encoding does not have: nothing of the call was done.
    #[must_use]
    pub fn is_unstorable(&self) -> bool {
        matches!(self, Self::Statement { code, .. } if code == "22P05" || code == "22021")
    }

    /// True when the server does not let the login in: by its rules or the database's rights, or because of its password.
    #[must_use]
    pub fn refuses_login(&self) -> bool {
        matches!(self, Self::AuthenticationRefused { .. } | Self::ConnectRefused { .. })
    }

    /// True when the connection itself is in doubt, so that the whole database must be probed.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::AuthenticationRefused { .. }
            | Self::ConnectRefused { .. }
            | Self::NoSuchDatabase { .. }
            | Self::Handshake { .. } => true,
            Self::Statement { code, .. } => code.starts_with("08") || code.starts_with("57P") || code == "25006",
            _ => false,
        }
    }

    /// True when the functions are not there, or not as this release knows them, or may not be called: the lane must be
    /// opened again, which puts that right or says what is missing.
    #[must_use]
    pub fn is_misfit(&self) -> bool {
        match self {
            // Insufficient privilege; no such function, schema or table.
            Self::Statement { code, .. } => ["42501", "42883", "3F000", "42P01"].contains(&code.as_str()),
            Self::Answer { .. } => true,
            _ => false,
        }
    }

    /// True when two transactions met and this one was told to start again.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Statement { code, .. } if code == "40001" || code == "40P01")
    }

    /// The closed set that error metrics are labelled with.
    #[must_use]
    pub fn category(&self) -> &'static str {
        match self {
            Self::Connection(_) => "secret",
            Self::Tls { .. } | Self::Handshake { .. } => "tls",
            Self::Unreachable { .. } => "unreachable",
            Self::AuthenticationRefused { .. } => "authentication",
            Self::ConnectRefused { .. } => "privilege",
            Self::NoSuchDatabase { .. } => "database",
            Self::PoolBusy(_) => "pool",
            Self::Deadline { .. } => "deadline",
            Self::LaneClosed => "lane_closed",
            Self::Crowded => "crowded",
            Self::Refused { .. } => "refused",
            Self::Statement { .. } => "statement",
            Self::Answer { .. } => "answer",
        }
    }

    /// Sorts an error of a call on an open connection.
    pub(super) fn from_call(call: &'static str, error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) => Self::Statement { call, code: db.code().code().to_owned(), message: describe(error) },
            None => Self::Unreachable { message: describe(error) },
        }
    }

    /// Sorts an error of an attempt to connect.
    pub(super) fn from_connect(error: &tokio_postgres::Error) -> Self {
        let message = describe(error);
        match error.code() {
            Some(code)
                if *code == SqlState::INVALID_PASSWORD || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION =>
            {
                Self::AuthenticationRefused { message }
            }
            Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => Self::ConnectRefused { message },
            Some(code) if *code == SqlState::INVALID_CATALOG_NAME => Self::NoSuchDatabase { message },
            None if is_tls(error) => Self::Handshake { message },
            Some(_) | None => Self::Unreachable { message },
        }
    }
}

impl Error {
    /// The same, and where the connection leads, as which login and by which Secret, if it is an error of the connection.
    pub(super) fn at(self, connection: &Connection) -> Self {
        let at = |message: String| format!("{}: {message}", connection.attempt());
        match self {
            Self::Unreachable { message } => Self::Unreachable { message: at(message) },
            Self::Handshake { message } => Self::Handshake { message: at(message) },
            Self::AuthenticationRefused { message } => {
                let doubt = connection.doubt().map_or_else(String::new, |doubt| format!("; {doubt}"));
                Self::AuthenticationRefused { message: at(message + &doubt) }
            }
            Self::ConnectRefused { message } => {
                let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
                let (database, user) = (quoted(connection.database()), quoted(connection.user()));
                let way_out = format!("; a DBA runs: GRANT CONNECT ON DATABASE {database} TO {user}");
                Self::ConnectRefused { message: at(message + &way_out) }
            }
            Self::NoSuchDatabase { message } => {
                // CloudNativePG's Secret of the superuser has this for a database.
                let any =
                    if connection.database() == "*" { "; give the Secret a key database with its name" } else { "" };
                Self::NoSuchDatabase { message: at(message + any) }
            }
            other => other,
        }
    }
}

fn is_tls(error: &tokio_postgres::Error) -> bool {
    let mut source: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(cause) = source {
        if cause.is::<rustls::Error>() {
            return true;
        }
        // `io::Error::source` skips the error it wraps, so the wrapped one is looked at by hand. A connection that was cut
        // during the handshake says nothing about certificates.
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return io.get_ref().is_some_and(<dyn StdError + Send + Sync>::is::<rustls::Error>);
        }
        source = cause.source();
    }
    // The server's plain refusal of TLS has no source; the driver's own words are all there is.
    error.to_string().contains("TLS")
}

/// The server's message with detail and hint, or the driver's with its causes, on one line.
#[must_use]
pub fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        // "No space left on device" does not say of which machine.
        let full = if *db.code() == SqlState::DISK_FULL { "the disk of the database server is full: " } else { "" };
        let mut text = format!("{full}{}", db.message());
        for (label, part) in [("detail", db.detail()), ("hint", db.hint())] {
            if let Some(part) = part {
                text.extend(["; ", label, ": ", part]);
            }
        }
        return text;
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}
