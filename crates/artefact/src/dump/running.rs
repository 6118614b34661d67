//! A program that runs: bounded in memory, with the end of its stderr kept for the message, and told to end when it is dropped.

use std::{io, process::Stdio, time::Duration};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, ChildStdin, ChildStdout, Command},
    runtime::Handle,
    task::JoinHandle,
    time::timeout,
};

use super::outcome;
use crate::{error::DumpError, reach::Hidden};

/// How long a program that is told to end may take, in which it calls off what the server does for it.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// How much memory of its own a program may have, in bytes. 30,000 tables take `pg_dump` 120 MiB.
const MEMORY: u64 = 256 << 20;
/// The bytes of stderr that are kept: `pg_restore` writes the reason first, and then the statement that failed.
const KEPT: usize = 64 * 1024;

/// Dropped, it is told to end, and killed if it does not.
#[derive(Debug)]
pub(crate) struct Running {
    child: Option<Child>,
    stderr: JoinHandle<Vec<u8>>,
    files: Vec<Hidden>,
}

impl Running {
    /// Starts a program, which has these files until it has ended. It must be called within a runtime.
    pub(crate) fn start(mut command: Command, files: Vec<Hidden>) -> Result<Self, DumpError> {
        let mut child = command.stderr(Stdio::piped()).spawn().map_err(starting)?;
        bound(&child).map_err(starting)?;
        let stderr = child.stderr.take().ok_or_else(no_pipe)?;
        Ok(Self { child: Some(child), stderr: tokio::spawn(end_of(stderr)), files })
    }

    /// What it reads, which was piped; there once.
    pub(crate) fn stdin(&mut self) -> Result<ChildStdin, DumpError> {
        self.child.as_mut().and_then(|child| child.stdin.take()).ok_or_else(no_pipe)
    }

    /// What it writes, which was piped; there once.
    pub(crate) fn stdout(&mut self) -> Result<ChildStdout, DumpError> {
        self.child.as_mut().and_then(|child| child.stdout.take()).ok_or_else(no_pipe)
    }

    /// Waits for its end; it did what it was told if there is no error.
    pub(crate) async fn finish(mut self) -> Result<(), DumpError> {
        // It stays here while it is waited for, so that it is ended if that is dropped.
        let Some(child) = &mut self.child else { return Ok(()) };
        let ended = child.wait().await;
        self.child = None;
        let status = ended.map_err(|source| DumpError::Io { doing: "waiting for the program", source })?;
        if status.success() {
            return Ok(());
        }
        let stderr = (&mut self.stderr).await.unwrap_or_default();
        Err(outcome::reason(status, &stderr))
    }

    /// Ends it: it is asked to, so that the server learns of it, and killed if that takes five seconds.
    pub(crate) async fn cancel(mut self) {
        if let Some(child) = &mut self.child {
            tell(child);
            end(child).await;
        }
    }
}

fn starting(source: io::Error) -> DumpError {
    DumpError::Io { doing: "starting the program", source }
}

fn no_pipe() -> DumpError {
    starting(io::ErrorKind::BrokenPipe.into())
}

/// Bounds the memory of a program. What it reads, such as every comment in the database, is written by tenants, and a container that
/// runs out of memory ends with all that is in it.
fn bound(child: &Child) -> io::Result<()> {
    let Some(pid) = pid(child) else { return Ok(()) };
    let limit = Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) };
    match prlimit(Some(pid), Resource::Data, limit) {
        // It has ended already.
        Ok(_) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The id of a child that was not waited for, so it is not another process'.
fn pid(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}

/// Tells it to end.
fn tell(child: &Child) {
    if let Some(pid) = pid(child) {
        // One that has ended by now needs no signal.
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// Waits for one that was told to end, and kills it if that takes too long.
async fn end(child: &mut Child) {
    if timeout(ENDS_WITHIN, child.wait()).await.is_err() {
        // It may have ended at this moment; then there is nothing to kill.
        let _ = child.kill().await;
    }
}

/// The last bytes that come, without ever holding many more.
async fn end_of(mut stream: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut end = Vec::new();
    let mut buffer = [0; 4 * 1024];
    // What cannot be read any more ends it as the end does.
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        end.extend_from_slice(&buffer[..length]);
        end.drain(..end.len().saturating_sub(KEPT));
    }
    end
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stderr.abort();
        let Some(mut child) = self.child.take() else { return };
        // Before its pipes are closed, which it could take for the end of what it is to do.
        tell(&child);
        // Without a runtime the child is killed by being dropped.
        if let Ok(runtime) = Handle::try_current() {
            // The files stay until it has ended: their numbers would soon be those of other files.
            let files = std::mem::take(&mut self.files);
            runtime.spawn(async move {
                end(&mut child).await;
                drop(files);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_what_is_written_is_kept() {
        let text = [vec![b'a'; 2 * KEPT], vec![b'b'; 3]].concat();
        let end = end_of(text.as_slice()).await;
        assert_eq!(end.len(), KEPT);
        assert!(end.ends_with(b"abbb"), "{end:?}");
    }
}
