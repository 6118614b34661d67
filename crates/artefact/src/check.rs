//! Whether an archive is what was written: all of it is read back, its length and its digest are compared, and, where it can
//! be decoded, it is decoded to its end, must be a dump of `pg_dump`, and is listed by `pg_restore`. Nothing of it is kept.

use std::process::Stdio;

use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::ChildStdin,
    task::JoinHandle,
};

use crate::{
    cipher::{Decoder, Feed, Identities, decode},
    dump::{Program, Running},
    error::{CheckError, CipherError, DumpError, StoreError},
    store::{Download, Key, Store},
    text::{hex, tame},
};

/// What each dump begins with that `pg_dump -Fc` writes.
pub(crate) const MAGIC: &[u8] = b"PGDMP";
/// What is said of an archive with something else in it.
pub(crate) const NO_DUMP: &str = "what is in it is no dump of pg_dump";

/// What was recorded when the archive was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Its length in bytes.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
}

/// An archive that is what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Its length in bytes.
    pub bytes: u64,
    /// Whether it was decoded to its end; an encrypted one is only where an identity is given.
    pub decoded: bool,
    /// The length of the dump in it, if it was decoded.
    pub plain_bytes: Option<u64>,
    /// How many entries `pg_restore --list` tells, if it was asked.
    pub entries: Option<u64>,
}

/// Reads an archive back and compares it. `list_with` is `pg_restore`, not older than the `pg_dump` that made it.
pub async fn check(
    store: &Store,
    key: &Key,
    expected: &Expected,
    identities: Option<&Identities>,
    list_with: Option<&Program>,
) -> Result<Checked, CheckError> {
    let download = open(store, key, expected).await?;
    if key.is_encrypted() && identities.is_none() {
        compare(download, expected, None).await?;
        return Ok(Checked { bytes: expected.bytes, decoded: false, plain_bytes: None, entries: None });
    }
    let (feed, decoder) = decode(identities.filter(|_| key.is_encrypted()).cloned());
    let looking = Looking(tokio::spawn(look(decoder, list_with.cloned())));
    compare(download, expected, Some(feed)).await?;
    let (plain_bytes, entries) = looking.finish().await?;
    Ok(Checked { bytes: expected.bytes, decoded: true, plain_bytes: Some(plain_bytes), entries })
}

/// Begins to read an archive, which has the length that was recorded.
pub(crate) async fn open(store: &Store, key: &Key, expected: &Expected) -> Result<Download, CheckError> {
    let download = store.get_stream(key).await?;
    if download.size != expected.bytes {
        return Err(CheckError::Length { expected: expected.bytes, found: download.size });
    }
    Ok(download)
}

/// Reads an archive to its end and compares it. A decoder gets it meanwhile, and learns that it was whole only if it was what was
/// recorded.
pub(crate) async fn compare(
    mut download: Download,
    expected: &Expected,
    mut feed: Option<Feed>,
) -> Result<(), CheckError> {
    let mut digest = Sha256::new();
    let mut bytes = 0;
    // It is read to its end also where decoding has failed by then: the digest says better what is wrong.
    while let Some(chunk) = download.content.try_next().await? {
        bytes += chunk.len() as u64;
        digest.update(&chunk);
        if let Some(open) = &feed
            && !open.push(chunk).await
        {
            feed = None;
        }
    }
    if bytes != expected.bytes {
        return Err(CheckError::Length { expected: expected.bytes, found: bytes });
    }
    let found = hex(&digest.finalize());
    if !found.eq_ignore_ascii_case(&expected.sha256) {
        return Err(CheckError::Digest { expected: tame(&expected.sha256), found });
    }
    if let Some(feed) = feed {
        feed.finish().await;
    }
    Ok(())
}

/// The decoding that goes on beside the reading.
struct Looking(JoinHandle<Result<(u64, Option<u64>), CheckError>>);

impl Looking {
    async fn finish(mut self) -> Result<(u64, Option<u64>), CheckError> {
        (&mut self.0).await.map_err(|error| CheckError::Store(StoreError::Other(error.to_string())))?
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Takes what comes out of the decoder: its length, and the number of its entries if there is a program that lists them.
async fn look(mut decoder: Decoder, list_with: Option<Program>) -> Result<(u64, Option<u64>), CheckError> {
    let mut listing = list_with.as_ref().map(Listing::start).transpose()?;
    let mut beginning = Vec::new();
    while let Some(chunk) = decoder.next().await {
        let missing = MAGIC.len().saturating_sub(beginning.len()).min(chunk.len());
        beginning.extend_from_slice(&chunk[..missing]);
        if let Some(listing) = &mut listing {
            listing.write(&chunk).await;
        }
    }
    let plain_bytes = decoder.finish().await.map_err(|error| match error {
        CipherError::WrongKey => CheckError::WrongKey,
        error => CheckError::Damaged(error.to_string()),
    })?;
    if beginning != MAGIC {
        return Err(CheckError::Damaged(NO_DUMP.to_owned()));
    }
    let entries = match listing {
        Some(listing) => Some(listing.finish().await?),
        None => None,
    };
    Ok((plain_bytes, entries))
}

/// `pg_restore --list`, which reads the list of contents at the beginning and may end before it was given all.
struct Listing {
    program: Running,
    stdin: Option<ChildStdin>,
    entries: JoinHandle<u64>,
}

impl Listing {
    fn start(program: &Program) -> Result<Self, DumpError> {
        let mut command = program.command();
        command.arg("--list").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = Running::start(command, Vec::new())?;
        let (stdin, stdout) = (program.stdin()?, program.stdout()?);
        Ok(Self { program, stdin: Some(stdin), entries: tokio::spawn(count(stdout)) })
    }

    async fn write(&mut self, bytes: &[u8]) {
        if let Some(stdin) = &mut self.stdin
            && stdin.write_all(bytes).await.is_err()
        {
            // It has read what it wants, or failed, which its status tells.
            self.stdin = None;
        }
    }

    async fn finish(mut self) -> Result<u64, DumpError> {
        self.stdin = None;
        self.program.finish().await?;
        Ok(self.entries.await.unwrap_or_default())
    }
}

/// The lines of a list that are no remarks. Only the beginning of a line is looked at, so that its length does not matter.
async fn count(mut list: impl AsyncRead + Unpin) -> u64 {
    let (mut entries, mut begins) = (0, true);
    let mut buffer = [0; 8 * 1024];
    // What cannot be read any more ends it as the end does; the status tells of it.
    while let Ok(length @ 1..) = list.read(&mut buffer).await {
        for byte in &buffer[..length] {
            if begins && !matches!(byte, b';' | b'\n') {
                entries += 1;
            }
            begins = *byte == b'\n';
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn entries_are_lines_that_are_no_remarks() {
        let list = b";\n; Archive created\n;\n\n5; 2615 1 SCHEMA - a o\n6; 1259 2 TABLE a b o\n";
        assert_eq!(count(list.as_slice()).await, 2);
    }
}
