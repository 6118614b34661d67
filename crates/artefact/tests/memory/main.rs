//! An archive is streamed: a hundred megabytes go through a process of which little more than what it is made of is in memory.
//! It is a program of its own, since what a process used at most is counted for all that runs in it.

#![allow(clippy::unwrap_used, reason = "a test ends where its ground gives way")]

use std::{fs, path::PathBuf};

use age::{secrecy::ExposeSecret, x25519::Identity};
use artefact::{
    Expected, Identities, Key, Place, Recipients, Source, Store, StoreAccess, StoreUrl, archive, check,
    error::DumpError,
};
use bytes::Bytes;
use uuid::Uuid;

/// Half of it without a pattern, half of it all alike.
const CHUNKS: u64 = 400;
const CHUNK: usize = 256 * 1024;
/// In KiB: two parts of 8 MiB on their way and one that is filled, and as much again for what encodes and the allocator.
const MOST: u64 = 60 * 1024;

struct Made {
    chunks: u64,
    state: u64,
}

impl Source for Made {
    async fn chunk(&mut self) -> Result<Option<Bytes>, DumpError> {
        if self.chunks == CHUNKS {
            return Ok(None);
        }
        self.chunks += 1;
        let mut chunk = vec![b'x'; CHUNK];
        if self.chunks == 1 {
            chunk[..5].copy_from_slice(b"PGDMP");
        } else if self.chunks.is_multiple_of(2) {
            for part in chunk.chunks_exact_mut(8) {
                self.state ^= self.state << 13;
                self.state ^= self.state >> 7;
                self.state ^= self.state << 17;
                part.copy_from_slice(&self.state.to_le_bytes());
            }
        }
        Ok(Some(chunk.into()))
    }

    async fn finish(self) -> Result<(), DumpError> {
        Ok(())
    }

    async fn cancel(self) {}
}

/// What this process used at most so far, in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_long_archive_takes_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    let root: PathBuf = dir.path().canonicalize().unwrap();
    let url = StoreUrl::parse(&format!("file://{}", root.display()), Some(&root)).unwrap();
    let store = Store::open(&url, &StoreAccess::default()).unwrap();
    let identity = Identity::generate();
    let recipients = Recipients::parse(&[identity.to_public().to_string()]).unwrap();
    let identities = Identities::parse(identity.to_string().expose_secret().as_bytes()).unwrap();
    let [installation_id, schema_id, backup_id, attempt] = [(); 4].map(|()| Uuid::new_v4());
    let place = Place { installation_id, schema_id, backup_id, attempt };
    let before = peak();
    let source = Made { chunks: 0, state: 1 };
    let artefact = archive(&store, &place, source, Some(&recipients), None, |_| ()).await.unwrap();
    assert_eq!(artefact.plain_bytes, CHUNKS * CHUNK as u64);
    assert!(
        artefact.bytes > artefact.plain_bytes / 2 && artefact.bytes < artefact.plain_bytes * 6 / 10,
        "{artefact:?}"
    );
    let expected = Expected { bytes: artefact.bytes, sha256: artefact.sha256 };
    let key = Key::parse(installation_id, &artefact.key).unwrap();
    let checked = check(&store, &key, &expected, Some(&identities), None).await.unwrap();
    assert_eq!(checked.plain_bytes, Some(artefact.plain_bytes));
    let used = peak() - before;
    assert!(used < MOST, "{used} KiB for {} bytes", artefact.plain_bytes);
}
