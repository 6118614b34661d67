//! From a dump to the store: encoded, hashed as it is stored, no faster than is allowed, and never there in part. The end
//! marks of the encoding are written only after the source has said that it was whole, and the object appears only after
//! that; on every error, and if the future is dropped, the upload is called off and the source is ended.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep_until},
};

use crate::{
    cipher::{Encoder, Recipients},
    error::{ArchiveError, CipherError, DumpError},
    store::{Place, Store, Upload},
    text::hex,
};

/// What an archive is made of, piece by piece.
pub trait Source: Send {
    /// The next bytes, of a length that may be held in memory; nothing at the end.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, DumpError>> + Send;
    /// Whether what came was all of it.
    fn finish(self) -> impl Future<Output = Result<(), DumpError>> + Send;
    /// Ends it early.
    fn cancel(self) -> impl Future<Output = ()> + Send;
}

/// An archive that is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artefact {
    /// Its name below the prefix of the store.
    pub key: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// The length of the dump in it.
    pub plain_bytes: u64,
    /// The SHA-256 of it as it is stored, in hexadecimal.
    pub sha256: String,
}

/// Makes an archive of a source. With recipients it is encrypted. `limit` is in bytes of the archive per second, at most a
/// second's worth at once; `progress` is told how many of them were written so far.
pub async fn archive<S: Source>(
    store: &Store,
    place: &Place,
    mut source: S,
    recipients: Option<&Recipients>,
    limit: Option<u64>,
    progress: impl Fn(u64) + Send,
) -> Result<Artefact, ArchiveError> {
    let key = place.dump(recipients.is_some());
    let begun = match Pipe::new(recipients) {
        Ok(pipe) => store.upload(&key).await.map(|upload| (pipe, upload)).map_err(ArchiveError::from),
        Err(error) => Err(error.into()),
    };
    let (mut pipe, mut upload) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            source.cancel().await;
            return Err(error);
        }
    };
    let mut tempo = Tempo::new(limit);
    match copy(&mut source, pipe, &mut upload, &mut tempo, &progress).await {
        Ok(done) => pipe = done,
        Err(error) => {
            source.cancel().await;
            call_off(upload).await;
            return Err(error);
        }
    }
    if let Err(error) = source.finish().await {
        call_off(upload).await;
        return Err(error.into());
    }
    let (rest, plain_bytes, sha256) = match pipe.finish().await {
        Ok(finished) => finished,
        Err(error) => {
            call_off(upload).await;
            return Err(error.into());
        }
    };
    if let Err(error) = write(&mut upload, rest, &mut tempo, &progress).await {
        call_off(upload).await;
        return Err(error);
    }
    let bytes = upload.finish().await?;
    Ok(Artefact { key: key.to_string(), bytes, plain_bytes, sha256 })
}

async fn copy<S: Source>(
    source: &mut S,
    mut pipe: Pipe,
    upload: &mut Upload,
    tempo: &mut Tempo,
    progress: &(impl Fn(u64) + Send),
) -> Result<Pipe, ArchiveError> {
    while let Some(chunk) = source.chunk().await? {
        let (next, encoded) = pipe.push(chunk).await?;
        pipe = next;
        write(upload, encoded, tempo, progress).await?;
    }
    Ok(pipe)
}

async fn write(
    upload: &mut Upload,
    bytes: Bytes,
    tempo: &mut Tempo,
    progress: &(impl Fn(u64) + Send),
) -> Result<(), ArchiveError> {
    tempo.take(bytes.len() as u64).await;
    upload.write(bytes).await?;
    progress(upload.written());
    Ok(())
}

async fn call_off(upload: Upload) {
    // The error that led here is the one to tell; parts that stay are the store's to expire.
    let _ = upload.abort().await;
}

/// What is computed of each chunk, on a blocking thread, which it moves to and back from.
struct Pipe {
    encoder: Encoder,
    digest: Sha256,
    plain_bytes: u64,
}

impl Pipe {
    fn new(recipients: Option<&Recipients>) -> Result<Self, CipherError> {
        Ok(Self { encoder: Encoder::new(recipients)?, digest: Sha256::new(), plain_bytes: 0 })
    }

    async fn push(mut self, chunk: Bytes) -> Result<(Self, Bytes), CipherError> {
        compute(move || {
            let encoded = self.encoder.push(&chunk)?;
            self.digest.update(&encoded);
            self.plain_bytes += chunk.len() as u64;
            Ok((self, encoded))
        })
        .await
    }

    async fn finish(self) -> Result<(Bytes, u64, String), CipherError> {
        compute(move || {
            let Self { encoder, mut digest, plain_bytes } = self;
            let rest = encoder.finish()?;
            digest.update(&rest);
            Ok((rest, plain_bytes, hex(&digest.finalize())))
        })
        .await
    }
}

async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CipherError> + Send + 'static,
) -> Result<T, CipherError> {
    spawn_blocking(work).await.map_err(|error| CipherError::Failed(error.to_string()))?
}

/// A bucket of a second's worth that fills at the rate: what was not used for longer than that is lost.
struct Tempo {
    /// In bytes per second.
    rate: Option<u64>,
    /// When all that was taken is paid for.
    paid: Instant,
}

impl Tempo {
    fn new(rate: Option<u64>) -> Self {
        // At first the bucket is empty: a limit is wanted for the network now.
        Self { rate: rate.map(|rate| rate.max(1)), paid: Instant::now() }
    }

    async fn take(&mut self, bytes: u64) {
        let Some(rate) = self.rate else { return };
        let full = Instant::now().checked_sub(Duration::from_secs(1));
        let from = full.map_or(self.paid, |full| self.paid.max(full));
        // Integers: what is rounded off for a chunk is a nanosecond.
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
        self.paid = from + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        sleep_until(self.paid).await;
    }
}
