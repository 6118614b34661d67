//! One schema as `pg_dump` writes it, of the moment that a snapshot shows, as a stream. The program gets its secrets through
//! files in memory and nothing of this process' environment, and what it writes to stderr is kept for the message: its end, and
//! tame, since tenants choose the names in it. A dump is whole only when [`RunningDump::finish`] has given no error.

mod outcome;
mod program;
mod running;

use std::{process::Stdio, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{io::AsyncReadExt, process::ChildStdout};

pub use self::program::Program;
pub(crate) use self::running::Running;
use crate::{
    archive::Source,
    error::DumpError,
    reach::{Given, Reach, refuse_nul},
};

/// The most bytes of a chunk.
const CHUNK: usize = 256 * 1024;

/// What is dumped, and how the database is reached. `Debug` does not show the password.
#[derive(Debug, Clone)]
pub struct Dump {
    /// `pg_dump`, not older than the server.
    pub program: Program,
    /// Where it is.
    pub reach: Reach,
    /// The snapshot, as `pg_export_snapshot()` names it; its transaction must stay open until the dump has begun to write.
    pub snapshot: String,
    /// The name of the schema, as it is in the catalogue.
    pub schema: String,
    /// How long to wait for the lock of a table that another session holds.
    pub lock_wait: Duration,
    /// Comments are left out: the program reads those of the whole database into its memory.
    pub without_comments: bool,
}

impl Dump {
    /// Starts it. It must be called within a runtime.
    pub fn start(&self) -> Result<RunningDump, DumpError> {
        refuse_nul([&self.snapshot, &self.schema])?;
        let Given { environment, files } = self.reach.give("tenant-schema-operator archive")?;
        let mut command = self.program.command();
        command.args(["-Fc", "-Z0", "--no-password", "--strict-names"]);
        // Zero would mean to wait for ever.
        command.arg(format!("--lock-wait-timeout={}", self.lock_wait.as_millis().max(1)));
        command.arg(format!("--snapshot={}", self.snapshot));
        command.arg(format!("--schema={}", pattern(&self.schema)));
        if self.without_comments {
            command.arg("--no-comments");
        }
        if !self.schema.is_ascii() {
            // The name is given in UTF-8, and would otherwise be read in the encoding of the database.
            command.arg("--encoding=UTF8");
        }
        command.envs(environment).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut program = Running::start(command, files)?;
        Ok(RunningDump { stdout: program.stdout()?, program })
    }
}

/// A pattern that only this name fits: within double quotes nothing has a meaning but a double quote.
fn pattern(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A dump that runs. Dropped, it is told to end, and killed if it does not.
#[derive(Debug)]
pub struct RunningDump {
    // First, so that the program is told to end before its output is closed.
    program: Running,
    stdout: ChildStdout,
}

impl RunningDump {
    /// The next bytes; nothing at the end, which alone does not mean that the dump is whole.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, DumpError> {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        // A pipe gives less at a time than a chunk has.
        while chunk.len() < CHUNK {
            let read = self.stdout.read_buf(&mut chunk).await;
            if read.map_err(|source| DumpError::Io { doing: "reading what pg_dump writes", source })? == 0 {
                break;
            }
        }
        Ok(if chunk.is_empty() { None } else { Some(chunk.freeze()) })
    }

    /// Waits for the end of the program; the dump is whole if there is no error. All chunks must have been read.
    pub async fn finish(self) -> Result<(), DumpError> {
        self.program.finish().await
    }

    /// Ends it: it is asked to, so that the server learns of it, and killed if that takes five seconds.
    pub async fn cancel(self) {
        self.program.cancel().await;
    }
}

impl Source for RunningDump {
    async fn chunk(&mut self) -> Result<Option<Bytes>, DumpError> {
        self.chunk().await
    }

    async fn finish(self) -> Result<(), DumpError> {
        self.finish().await
    }

    async fn cancel(self) {
        self.cancel().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_one_name() {
        let check = |name: &str, expected: &str| assert_eq!(pattern(name), expected);
        check("plain", "\"plain\"");
        check("A.b*?", "\"A.b*?\"");
        check("say \"x\"", "\"say \"\"x\"\"\"");
    }
}
