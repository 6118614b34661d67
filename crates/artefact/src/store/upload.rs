//! Writes an archive in parts, with few of them in memory. Less than one part is created as a small object is, under the
//! condition that there is none of the name. An upload in parts has no such condition in the client (S3 itself has it); but the
//! name has a UUID that each attempt draws, and before the upload begins it is looked whether there is such an object, so
//! that overwriting would take the same UUID twice. Nothing is seen of an upload before [`Upload::finish`].

use std::{collections::VecDeque, fmt, time::Duration};

use bytes::Bytes;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};
use tokio::{runtime::Handle, task::JoinSet, time::timeout};

use super::{Key, Store};
use crate::error::StoreError;

const MIB: usize = 1024 * 1024;
/// The length of a part. All are equal but the last, since some stores demand it.
const PART: usize = 8 * MIB;
/// S3 takes 10,000 parts. After so many, 31 GiB, the others are longer, which makes it 218 GiB.
const SMALL_PARTS: usize = 4_000;
const LONG_PART: usize = 32 * MIB;
const MOST_PARTS: usize = 10_000;
/// How many parts are sent at a time.
const IN_FLIGHT: usize = 2;
/// How long an upload that is called off waits for the parts that are under way.
const LAST_PARTS: Duration = Duration::from_secs(10);

/// An archive that is being written. Dropped, it is called off in the background as far as the store lets it.
pub struct Upload {
    store: Store,
    key: Key,
    /// What is not in a part yet, less than one.
    pending: VecDeque<Bytes>,
    pending_bytes: usize,
    multipart: Option<Box<dyn MultipartUpload>>,
    sending: JoinSet<object_store::Result<()>>,
    parts: usize,
    written: u64,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("key", &self.key).field("written", &self.written).finish_non_exhaustive()
    }
}

impl Upload {
    pub(super) async fn start(store: &Store, key: &Key) -> Result<Self, StoreError> {
        match store.size(key).await {
            Ok(_) => return Err(StoreError::Exists(format!("creating {}/{key}", store.url()))),
            // Without the right to list, a store refuses to say that something is not there.
            Err(StoreError::NotFound(_) | StoreError::Refused(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(Self {
            store: store.clone(),
            key: key.clone(),
            pending: VecDeque::new(),
            pending_bytes: 0,
            multipart: None,
            sending: JoinSet::new(),
            parts: 0,
            written: 0,
        })
    }

    /// The bytes that were taken so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Takes the next bytes; waits while the store is slower than they come.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.written += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.pending_bytes += bytes.len();
        self.pending.push_back(bytes);
        while self.pending_bytes >= self.part_length() {
            self.send_part().await?;
        }
        Ok(())
    }

    /// Makes the object appear, with all that was written, and gives its length.
    pub async fn finish(mut self) -> Result<u64, StoreError> {
        match self.complete().await {
            Ok(()) => {
                self.multipart = None;
                Ok(self.written)
            }
            Err(error) => {
                // One that was there before stays; else the answer may have been lost after the object appeared.
                let may_be_ours = !matches!(error, StoreError::Exists(_));
                let (store, key) = (self.store.clone(), self.key.clone());
                // What is wrong is told by the error; that calling off fails too, adds nothing to it.
                let _ = self.abort().await;
                if may_be_ours {
                    let _ = store.delete(&key).await;
                }
                Err(error)
            }
        }
    }

    /// Calls it off: the store forgets the parts that it has.
    pub async fn abort(mut self) -> Result<(), StoreError> {
        match self.multipart.take() {
            None => Ok(()),
            Some(multipart) => match call_off(multipart, std::mem::take(&mut self.sending)).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(self.store.failure("calling off", &self.key, &error)),
            },
        }
    }

    async fn complete(&mut self) -> Result<(), StoreError> {
        if self.multipart.is_none() {
            let all = self.take(self.pending_bytes);
            return self.store.create(&self.key, all).await;
        }
        if self.pending_bytes > 0 {
            self.send_part().await?;
        }
        while !self.sending.is_empty() {
            self.sent().await?;
        }
        if let Some(multipart) = &mut self.multipart {
            multipart.complete().await.map_err(|error| self.store.failure("completing", &self.key, &error))?;
        }
        Ok(())
    }

    fn part_length(&self) -> usize {
        if self.parts < SMALL_PARTS { PART } else { LONG_PART }
    }

    async fn send_part(&mut self) -> Result<(), StoreError> {
        if self.parts == MOST_PARTS {
            let text = format!("writing {}/{}: an archive cannot have more than 218 GiB", self.store.url(), self.key);
            return Err(StoreError::Other(text));
        }
        while self.sending.len() >= IN_FLIGHT {
            self.sent().await?;
        }
        let payload = self.take(self.part_length().min(self.pending_bytes));
        if self.multipart.is_none() {
            let path = self.store.path(&self.key);
            let started = self.store.objects.put_multipart(&path).await;
            self.multipart = Some(started.map_err(|error| self.store.failure("writing", &self.key, &error))?);
        }
        if let Some(multipart) = &mut self.multipart {
            self.sending.spawn(multipart.put_part(payload));
            self.parts += 1;
        }
        Ok(())
    }

    async fn sent(&mut self) -> Result<(), StoreError> {
        match self.sending.join_next().await {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(error))) => Err(self.store.failure("writing", &self.key, &error)),
            Some(Err(error)) => Err(self.store.failure("writing", &self.key, &error.into())),
        }
    }

    fn take(&mut self, length: usize) -> PutPayload {
        let mut chunks = Vec::new();
        let mut missing = length;
        while let Some(mut chunk) = self.pending.pop_front() {
            if chunk.len() > missing {
                let part = chunk.split_to(missing);
                self.pending.push_front(chunk);
                chunks.push(part);
                break;
            }
            missing -= chunk.len();
            chunks.push(chunk);
            if missing == 0 {
                break;
            }
        }
        self.pending_bytes -= length;
        chunks.into_iter().filter(|chunk| !chunk.is_empty()).collect()
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(multipart) = self.multipart.take() else { return };
        let sending = std::mem::take(&mut self.sending);
        // Without a runtime the process ends, and the store's own rule for parts that are left does the rest.
        if let Ok(runtime) = Handle::try_current() {
            // No caller is left to tell of an error.
            runtime.spawn(call_off(multipart, sending));
        }
    }
}

/// Has the store forget an upload. It comes after the parts that are under way, since a store may keep one that ends after it;
/// a request that is dropped here goes on there.
async fn call_off(
    mut multipart: Box<dyn MultipartUpload>,
    mut sending: JoinSet<object_store::Result<()>>,
) -> object_store::Result<()> {
    let ended = async { while sending.join_next().await.is_some() {} };
    // A store that takes longer keeps what it gets later, until its own rule for parts that are left.
    let _ = timeout(LAST_PARTS, ended).await;
    sending.shutdown().await;
    multipart.abort().await
}
