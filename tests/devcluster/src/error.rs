//! The one error type of this crate. Every message names what was tried, on what, and the way out,
//! because it is usually read by a person whose test run just stopped on a machine that lacks
//! something.

use std::io;
use std::path::{Path, PathBuf};

/// Why a development cluster, or a part of one, could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory could not be used.
    #[error("could not {attempt} {}: {source}; check that the directory exists, is writable and has room", path.display())]
    File {
        /// What was tried, as a verb: `read`, `write`, `create`.
        attempt: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system answered.
        source: io::Error,
    },
    /// A program could not be started at all.
    #[error("could not start `{program}`: {source}; check that it is installed and executable")]
    Spawn {
        /// The program as it was called.
        program: String,
        /// What the operating system answered.
        source: io::Error,
    },
    /// A program ran and failed.
    #[error("`{command}` failed ({status}): {output}")]
    Command {
        /// The command line as it was run.
        command: String,
        /// Its exit status in words.
        status: String,
        /// The end of what it printed.
        output: String,
    },
    /// Something needed is not on this machine and may not, or cannot, be installed by this crate.
    #[error("{what} is missing: {remedy}")]
    Missing {
        /// What is missing.
        what: String,
        /// The exact command or setting that provides it.
        remedy: String,
    },
    /// A process of the cluster ended while it was being started or waited for.
    #[error("{member} ended while starting ({status}); the end of its log {} says: {tail}", log.display())]
    MemberEnded {
        /// Which member: `etcd`, `kube-apiserver`, `postgres` and so on.
        member: String,
        /// Its exit status in words.
        status: String,
        /// Where its log is.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// A condition did not come true in time.
    #[error("waited {seconds} s for {what}; look into the logs in the state directory, or give it more time")]
    Timeout {
        /// What was waited for.
        what: String,
        /// For how long, in whole seconds.
        seconds: u64,
    },
    /// A state directory does not hold what was asked of it.
    #[error("the cluster in {}: {problem}; {remedy}", dir.display())]
    State {
        /// The state directory.
        dir: PathBuf,
        /// What is the matter.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// A certificate or key could not be made.
    #[error("could not make the certificate for {subject}: {source}; check the names and groups given")]
    Certificate {
        /// Whom or what the certificate is for.
        subject: String,
        /// What the certificate library answered.
        source: rcgen::Error,
    },
    /// An option has a value that this crate cannot follow.
    #[error("{option} cannot be `{value}`: {remedy}")]
    Option {
        /// The option.
        option: &'static str,
        /// The refused value.
        value: String,
        /// Which values are possible.
        remedy: String,
    },
    /// An earlier call in this process failed, and its outcome is shared by all that follow.
    #[error("the shared development cluster could not be had: {0}")]
    Shared(String),
}

/// Attaches the attempt and the path to an I/O error.
pub(crate) trait FileContext<T> {
    /// Names what was being done to which path.
    fn file(self, attempt: &'static str, path: &Path) -> Result<T, Error>;
}

impl<T> FileContext<T> for io::Result<T> {
    fn file(self, attempt: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::File { attempt, path: path.to_owned(), source })
    }
}
