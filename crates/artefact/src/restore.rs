//! From the store into a database: an archive is fetched, decoded and given to `pg_restore` as it comes, never whole in memory and never
//! on a disk of this machine. What was restored counts only when there was no error, since its length and SHA-256 are known at the end.

use std::process::Stdio;

use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, ChildStdin},
    runtime::Handle,
    task::JoinHandle,
};

use crate::{
    check::Expected,
    cipher::{Decoder, Identities, decode},
    dump::{Hidden, Program, Reach, bound, end, end_of, reason},
    error::{CheckError, CipherError, DumpError, RestoreError},
    store::{Key, Store},
    text::{hex, tame},
};

/// What is there is not written over: the first statement that fails ends it. Of what is beyond the schema nothing is restored.
const OPTIONS: [&str; 8] = [
    "--no-password",
    "--exit-on-error",
    "--no-owner",
    "--no-acl",
    "--no-publications",
    "--no-subscriptions",
    "--no-tablespaces",
    "--no-security-labels",
];

/// What restores, and where to.
#[derive(Debug, Clone)]
pub struct Restore {
    /// `pg_restore`, not older than the `pg_dump` that made the archive.
    pub program: Program,
    /// How the database is reached.
    pub reach: Reach,
}

/// Restores an archive into a database that has nothing of it, as the login and with the options that are given. Dropped, it ends the
/// program, and so the session in the server; what it made until then stays.
pub async fn restore(
    store: &Store,
    key: &Key,
    expected: &Expected,
    identities: Option<&Identities>,
    with: &Restore,
) -> Result<(), RestoreError> {
    let mut download = store.get_stream(key).await.map_err(CheckError::from)?;
    if download.size != expected.bytes {
        return Err(CheckError::Length { expected: expected.bytes, found: download.size }.into());
    }
    let running = Running::start(with)?;
    let (feed, decoder) = decode(identities.filter(|_| key.is_encrypted()).cloned());
    let fetched = async {
        let mut feed = Some(feed);
        let (mut digest, mut bytes) = (Sha256::new(), 0);
        // It is read to its end also where decoding has failed by then: the digest says better what is wrong.
        while let Some(chunk) = download.content.try_next().await.map_err(CheckError::from)? {
            bytes += chunk.len() as u64;
            digest.update(&chunk);
            if let Some(open) = &feed
                && !open.push(chunk).await
            {
                feed = None;
            }
        }
        if let Some(feed) = feed.take() {
            feed.finish().await;
        }
        let found = hex(&digest.finalize());
        match () {
            () if bytes != expected.bytes => Err(CheckError::Length { expected: expected.bytes, found: bytes }),
            () if !found.eq_ignore_ascii_case(&expected.sha256) => {
                Err(CheckError::Digest { expected: tame(&expected.sha256), found })
            }
            () => Ok(()),
        }
    };
    let (fetched, restored) = futures::join!(fetched, running.feed(decoder));
    // What the program makes of something else than was written says nothing.
    fetched?;
    restored
}

/// `pg_restore` at work. Dropped, it is told to end, and killed if it does not.
struct Running {
    child: Option<Child>,
    stdin: Option<ChildStdin>,
    stderr: JoinHandle<Vec<u8>>,
    files: Vec<Hidden>,
}

impl Running {
    fn start(with: &Restore) -> Result<Self, DumpError> {
        let starting = |source| DumpError::Io { doing: "starting pg_restore", source };
        let mut command = with.program.command();
        command.args(OPTIONS);
        let files = with.reach.tell(&mut command, "restore")?;
        command.arg(format!("--dbname=dbname={}", quoted(&with.reach.database)));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(starting)?;
        bound(&child).map_err(starting)?;
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        let Some(stderr) = stderr else { return Err(starting(std::io::ErrorKind::BrokenPipe.into())) };
        Ok(Self { child: Some(child), stdin, stderr: tokio::spawn(end_of(stderr)), files })
    }

    /// Gives it all that the decoder has, and waits for its end.
    async fn feed(mut self, mut decoder: Decoder) -> Result<(), RestoreError> {
        while let Some(chunk) = decoder.next().await {
            // One that has ended by now failed, and its own words say why. The rest is read all the same, and compared.
            if let Some(stdin) = &mut self.stdin
                && stdin.write_all(&chunk).await.is_err()
            {
                self.stdin = None;
            }
        }
        if let Err(error) = decoder.finish().await {
            // Its input stays open until it has ended, so that it does not take for whole what it was given.
            if let Some(child) = self.child.take() {
                end(child).await;
            }
            return Err(RestoreError::Archive(match error {
                CipherError::WrongKey => CheckError::WrongKey,
                error => CheckError::Damaged(error.to_string()),
            }));
        }
        self.stdin = None;
        let Some(child) = &mut self.child else { return Ok(()) };
        let status = child.wait().await.map_err(|source| DumpError::Io { doing: "waiting for pg_restore", source })?;
        self.child = None;
        if status.success() {
            return Ok(());
        }
        let stderr = (&mut self.stderr).await.unwrap_or_default();
        Err(reason(status, &stderr).into())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stderr.abort();
        // Without a runtime the child is killed by being dropped.
        if let (Some(child), Ok(runtime)) = (self.child.take(), Handle::try_current()) {
            // Its input stays open, and the files there, until it has ended.
            let kept = (self.stdin.take(), std::mem::take(&mut self.files));
            runtime.spawn(async move {
                end(child).await;
                drop(kept);
            });
        }
    }
}

/// A value of a connection string, where a name alone would be taken for one if it looked like it.
fn quoted(name: &str) -> String {
    format!("'{}'", name.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_value_of_a_connection_string() {
        let check = |name: &str, expected: &str| assert_eq!(quoted(name), expected);
        check("plain", "'plain'");
        check("postgres://a b=c", "'postgres://a b=c'");
        check(r"it's \ odd", r"'it\'s \\ odd'");
    }
}
