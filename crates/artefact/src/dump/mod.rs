//! One schema as `pg_dump` writes it, of the moment that a snapshot shows, as a stream. The program gets its secrets through
//! files in memory and nothing of this process' environment, and what it writes to stderr is kept for the message: its end, and
//! tame, since tenants choose the names in it. A dump is whole only when [`RunningDump::finish`] has given no error.

mod hidden;
mod outcome;
mod program;
mod reach;

use std::{io, process::Stdio, time::Duration};

use bytes::{Bytes, BytesMut};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, ChildStdout},
    runtime::Handle,
    task::JoinHandle,
    time::timeout,
};

pub(crate) use self::{hidden::Hidden, outcome::reason};
pub use self::{program::Program, reach::Reach};
use crate::{archive::Source, error::DumpError};

/// The most bytes of a chunk.
const CHUNK: usize = 256 * 1024;
/// How long a program that is told to end may take, in which it calls off what the server does for it.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// How much memory of its own a program may have, in bytes. 30,000 tables take `pg_dump` 120 MiB.
const MEMORY: u64 = 256 << 20;
/// What is dumped.
#[derive(Debug, Clone)]
pub struct Dump {
    /// `pg_dump`, not older than the server.
    pub program: Program,
    /// How the database is reached.
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
        let mut command = self.program.command();
        if [&self.snapshot, &self.schema].iter().any(|text| text.contains('\0')) {
            return Err(DumpError::Invalid("a name or an option has a NUL, which no program can be given"));
        }
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
        let files = self.reach.tell(&mut command, "archive")?;
        command.env("PGDATABASE", &self.reach.database);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let starting = |source| DumpError::Io { doing: "starting pg_dump", source };
        let mut child = command.spawn().map_err(starting)?;
        bound(&child).map_err(starting)?;
        let pipes = (child.stdout.take(), child.stderr.take());
        let (Some(stdout), Some(stderr)) = pipes else { return Err(starting(io::ErrorKind::BrokenPipe.into())) };
        let stderr = tokio::spawn(end_of(stderr));
        Ok(RunningDump { child: Some(child), stdout, stderr, files })
    }
}

/// Bounds the memory of a program. What it reads, such as every comment in the database, is written by tenants, and a container that
/// runs out of memory ends with all that is in it.
pub(crate) fn bound(child: &Child) -> io::Result<()> {
    let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) else { return Ok(()) };
    let limit = Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) };
    match prlimit(Some(pid), Resource::Data, limit) {
        // It has ended already.
        Ok(_) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A pattern that only this name fits: within double quotes nothing has a meaning but a double quote.
fn pattern(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The last bytes that come, without ever holding more than twice as many.
pub(crate) async fn end_of(mut stream: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut end = Vec::new();
    let mut buffer = [0; outcome::KEPT];
    // What cannot be read any more ends it as the end does.
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        end.extend_from_slice(&buffer[..length]);
        end.drain(..end.len().saturating_sub(outcome::KEPT));
    }
    end
}

/// A dump that runs. Dropped, it is told to end, and killed if it does not.
#[derive(Debug)]
pub struct RunningDump {
    child: Option<Child>,
    stdout: ChildStdout,
    stderr: JoinHandle<Vec<u8>>,
    files: Vec<Hidden>,
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
    pub async fn finish(mut self) -> Result<(), DumpError> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let status = child.wait().await.map_err(|source| DumpError::Io { doing: "waiting for pg_dump", source })?;
        if status.success() {
            return Ok(());
        }
        let stderr = (&mut self.stderr).await.unwrap_or_default();
        Err(reason(status, &stderr))
    }

    /// Ends it: it is asked to, so that the server learns of it, and killed if that takes five seconds.
    pub async fn cancel(mut self) {
        if let Some(child) = self.child.take() {
            end(child).await;
        }
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

/// Asks a program to end, so that the server learns of it, and kills it if it does not.
pub(crate) async fn end(mut child: Child) {
    // The id is there as long as the child was not waited for, so it is not another process'.
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
        // One that has ended by now needs no signal.
        let _ = kill_process(pid, Signal::TERM);
    }
    if timeout(ENDS_WITHIN, child.wait()).await.is_err() {
        // It may have ended at this moment; then there is nothing to kill.
        let _ = child.kill().await;
    }
}

impl Drop for RunningDump {
    fn drop(&mut self) {
        self.stderr.abort();
        // Without a runtime the child is killed by being dropped.
        if let (Some(child), Ok(runtime)) = (self.child.take(), Handle::try_current()) {
            // The files stay until it has ended: their numbers would soon be those of other files.
            let files = std::mem::take(&mut self.files);
            runtime.spawn(async move {
                end(child).await;
                drop(files);
            });
        }
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

    #[tokio::test]
    async fn the_end_of_what_is_written_is_kept() {
        let text = [vec![b'a'; 10_000], vec![b'b'; 3]].concat();
        let end = end_of(text.as_slice()).await;
        assert_eq!(end.len(), outcome::KEPT);
        assert!(end.ends_with(b"abbb"), "{end:?}");
    }
}
