//! Compression and encryption of an archive: zstd with a checksum, and around it age for the recipients that are named. Both end
//! with a mark that [`Encoder::finish`] alone writes, so what was cut off anywhere never passes for an archive. Encrypting needs
//! only what is public; who reads an archive back brings the identity, of which no message and no `Debug` has a part.

use std::{
    error::Error,
    fmt,
    io::{self, Read, Write},
    iter,
    sync::{Arc, mpsc as sync},
};

use age::{
    DecryptError, Decryptor, Encryptor,
    stream::StreamWriter,
    x25519::{Identity, Recipient},
};
use bytes::{Buf, Bytes};
use tokio::{sync::mpsc, task};

use crate::{error::CipherError, text::tame};

/// Fast enough that the database is what an archive waits for; more would make it little smaller.
const LEVEL: i32 = 3;
/// The most memory that an archive may ask of who reads it, as a power of two: eight times what [`LEVEL`] uses.
const WINDOW_LOG: u32 = 24;
/// The length of what is decoded at a time, in bytes.
const CHUNK: usize = 256 * 1024;
/// How many chunks wait between two steps of decoding.
const WAITING: usize = 4;

/// Those who can read an archive.
#[derive(Clone)]
pub struct Recipients(Vec<Recipient>);

impl Recipients {
    /// Reads `age1…` recipients.
    pub fn parse(texts: &[String]) -> Result<Self, CipherError> {
        let recipients = texts.iter().zip(1..).map(|(text, number)| {
            let text = text.trim();
            text.parse().map_err(|_| {
                let secret = text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-");
                let why = if secret {
                    "it is a secret identity, which must be kept where archives are read"
                } else if text.starts_with("age1") {
                    "its characters do not fit together, or it is of a kind other than X25519"
                } else {
                    "it does not begin with `age1`"
                };
                CipherError::Recipient { number, why }
            })
        });
        let recipients = recipients.collect::<Result<Vec<_>, _>>()?;
        if recipients.is_empty() { Err(CipherError::NoRecipient) } else { Ok(Self(recipients)) }
    }

    /// The recipients as text, for the manifest.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Recipients").field(&self.texts()).finish()
    }
}

/// What reads archives back. It is wiped when the last copy is dropped.
#[derive(Clone)]
pub struct Identities(Arc<Vec<Identity>>);

impl Identities {
    /// Reads the file that `age-keygen` writes: an `AGE-SECRET-KEY-1…` on each line; empty lines and `#` lines mean nothing.
    pub fn parse(bytes: &[u8]) -> Result<Self, CipherError> {
        let mut identities = Vec::new();
        for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
            let bad = || CipherError::Identity { line: number };
            let text = std::str::from_utf8(line).map_err(|_| bad())?.trim();
            if !text.is_empty() && !text.starts_with('#') {
                identities.push(text.parse().map_err(|_| bad())?);
            }
        }
        if identities.is_empty() { Err(CipherError::NoIdentity) } else { Ok(Self(Arc::new(identities))) }
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identities({})", self.0.len())
    }
}

/// Turns plain bytes into those of an archive, in place: what goes in comes out at the next [`push`](Self::push) that completes
/// a block. It computes for a millisecond or so at a time, so an asynchronous caller runs it on a blocking thread.
pub struct Encoder {
    zstd: zstd::Encoder<'static, Layer>,
    out: sync::Receiver<Vec<u8>>,
}

/// What zstd writes to.
enum Layer {
    Plain(Out),
    Age(Box<StreamWriter<Out>>),
}

/// The end of the pipe: it hands over what is written to it.
struct Out(sync::Sender<Vec<u8>>);

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The other end lives as long as the encoder does.
        self.0.send(bytes.to_vec()).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for Layer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Age(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Age(out) => out.flush(),
        }
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encrypts = matches!(self.zstd.get_ref(), Layer::Age(_));
        f.debug_struct("Encoder").field("encrypts", &encrypts).finish_non_exhaustive()
    }
}

fn failed(error: impl fmt::Display) -> CipherError {
    CipherError::Failed(error.to_string())
}

impl Encoder {
    /// For these recipients; without any it only compresses.
    pub fn new(recipients: Option<&Recipients>) -> Result<Self, CipherError> {
        let (sender, out) = sync::channel();
        let layer = match recipients {
            None => Layer::Plain(Out(sender)),
            Some(Recipients(recipients)) => {
                let recipients = recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
                let encryptor = Encryptor::with_recipients(recipients).map_err(failed)?;
                Layer::Age(Box::new(encryptor.wrap_output(Out(sender)).map_err(failed)?))
            }
        };
        let mut zstd = zstd::Encoder::new(layer, LEVEL).map_err(failed)?;
        zstd.include_checksum(true).map_err(failed)?;
        Ok(Self { zstd, out })
    }

    /// Takes plain bytes and gives those of the archive that are done, perhaps none.
    pub fn push(&mut self, plain: &[u8]) -> Result<Bytes, CipherError> {
        self.zstd.write_all(plain).map_err(failed)?;
        Ok(self.done())
    }

    /// Writes the end marks and gives the rest. Without it what was given is never a valid archive.
    pub fn finish(self) -> Result<Bytes, CipherError> {
        let Self { zstd, out } = self;
        match zstd.finish().map_err(failed)? {
            Layer::Plain(_) => {}
            Layer::Age(age) => drop(age.finish().map_err(failed)?),
        }
        Ok(out.try_iter().flatten().collect::<Vec<_>>().into())
    }

    fn done(&self) -> Bytes {
        let mut done = Vec::new();
        self.out.try_iter().for_each(|bytes| done.extend_from_slice(&bytes));
        done.into()
    }
}

/// Begins to turn the bytes of an archive into the plain ones, on a thread of its own: they go into the feed, come out of
/// [`Decoder::next`], and [`Decoder::finish`] tells how it went. Without identities it only decompresses. Both ends are to be
/// used at the same time, since little waits between them.
#[must_use]
pub fn decode(identities: Option<Identities>) -> (Feed, Decoder) {
    let (feed, chunks) = mpsc::channel(WAITING);
    let (outgoing, plain) = mpsc::channel(WAITING);
    let thread =
        task::spawn_blocking(move || run(Incoming { chunks, rest: Bytes::new(), ended: false }, identities, &outgoing));
    (Feed(feed), Decoder { plain, thread })
}

/// Whether something that is encrypted for these recipients can be read with these identities.
pub async fn fit(recipients: &Recipients, identities: &Identities) -> Result<(), CipherError> {
    let mut encoder = Encoder::new(Some(recipients))?;
    let chunks = [encoder.push(b"fit")?, encoder.finish()?];
    let (feed, mut decoder) = decode(Some(identities.clone()));
    for chunk in chunks {
        feed.push(chunk).await;
    }
    feed.finish().await;
    while decoder.next().await.is_some() {}
    decoder.finish().await.map(|_| ())
}

/// Where the bytes of an archive go in. Dropped without [`Feed::finish`], the decoder ends with [`CipherError::CutOff`].
#[derive(Debug)]
pub struct Feed(mpsc::Sender<Option<Bytes>>);

impl Feed {
    /// Gives the next bytes; false if the decoder has ended, and [`Decoder::finish`] says why.
    pub async fn push(&self, bytes: Bytes) -> bool {
        self.0.send(Some(bytes)).await.is_ok()
    }

    /// Says that the archive was given whole.
    pub async fn finish(self) {
        // A decoder that has ended already says why itself.
        let _ = self.0.send(None).await;
    }
}

/// Where the plain bytes come out.
#[derive(Debug)]
pub struct Decoder {
    plain: mpsc::Receiver<Bytes>,
    thread: task::JoinHandle<Result<u64, CipherError>>,
}

impl Decoder {
    /// The next plain bytes; nothing after the last, or after an error that [`Decoder::finish`] tells. They count as read only
    /// once that has given no error.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.plain.recv().await
    }

    /// How many plain bytes there were, if the archive was whole.
    pub async fn finish(mut self) -> Result<u64, CipherError> {
        self.plain.close();
        while self.plain.recv().await.is_some() {}
        self.thread.await.map_err(failed)?
    }
}

fn run(incoming: Incoming, identities: Option<Identities>, outgoing: &mpsc::Sender<Bytes>) -> Result<u64, CipherError> {
    let Some(Identities(identities)) = identities else { return decompress(incoming, outgoing) };
    let decryptor = Decryptor::new_buffered(io::BufReader::with_capacity(CHUNK, incoming)).map_err(undecrypted)?;
    let identities = identities.iter().map(|identity| identity as &dyn age::Identity);
    decompress(decryptor.decrypt(identities).map_err(undecrypted)?, outgoing)
}

fn undecrypted(error: DecryptError) -> CipherError {
    match error {
        DecryptError::NoMatchingKeys => CipherError::WrongKey,
        DecryptError::Io(error) => damaged(&error),
        error => CipherError::Damaged(tame(&error.to_string())),
    }
}

fn damaged(error: &io::Error) -> CipherError {
    let cut_off = error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<SourceEnded>);
    if cut_off { CipherError::CutOff } else { CipherError::Damaged(tame(&error.to_string())) }
}

fn decompress(source: impl Read, outgoing: &mpsc::Sender<Bytes>) -> Result<u64, CipherError> {
    let unread = |error: io::Error| damaged(&error);
    let mut zstd = zstd::Decoder::new(source).map_err(unread)?;
    zstd.window_log_max(WINDOW_LOG).map_err(unread)?;
    let mut total = 0;
    for chunk in iter::repeat_with(|| {
        let mut chunk = Vec::with_capacity(CHUNK);
        (&mut zstd).take(CHUNK as u64).read_to_end(&mut chunk).map(|_| chunk)
    }) {
        let chunk = chunk.map_err(unread)?;
        if chunk.is_empty() {
            break;
        }
        total += chunk.len() as u64;
        if outgoing.blocking_send(chunk.into()).is_err() {
            // The reader has gone, so this ends as well.
            return Err(CipherError::CutOff);
        }
    }
    Ok(total)
}

/// Gives what comes through the channel as a reader; an end that was not said is an error.
struct Incoming {
    chunks: mpsc::Receiver<Option<Bytes>>,
    rest: Bytes,
    ended: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("the source ended without saying that it was whole")]
struct SourceEnded;

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() && !self.ended {
            match self.chunks.blocking_recv() {
                Some(Some(bytes)) => self.rest = bytes,
                Some(None) => self.ended = true,
                None => return Err(io::Error::other(SourceEnded)),
            }
        }
        let length = self.rest.len().min(buffer.len());
        self.rest.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use age::secrecy::ExposeSecret;

    use super::*;

    fn keys() -> (Recipients, Identities) {
        let identity = Identity::generate();
        let recipients = Recipients::parse(&[identity.to_public().to_string()]).unwrap();
        (recipients, Identities::parse(identity.to_string().expose_secret().as_bytes()).unwrap())
    }

    fn encode(recipients: Option<&Recipients>, plain: &[u8]) -> Vec<u8> {
        let mut encoder = Encoder::new(recipients).unwrap();
        let mut bytes = Vec::new();
        plain.chunks(1_000).for_each(|chunk| bytes.extend_from_slice(&encoder.push(chunk).unwrap()));
        bytes.extend_from_slice(&encoder.finish().unwrap());
        bytes
    }

    async fn decoded(identities: Option<Identities>, bytes: &[u8]) -> Result<Vec<u8>, CipherError> {
        let (feed, mut decoder) = decode(identities);
        let bytes = Bytes::copy_from_slice(bytes);
        let feeding = tokio::spawn(async move {
            feed.push(bytes).await;
            feed.finish().await;
        });
        let mut plain = Vec::new();
        while let Some(chunk) = decoder.next().await {
            plain.extend_from_slice(&chunk);
        }
        feeding.await.unwrap();
        let length = decoder.finish().await?;
        assert_eq!(length, plain.len() as u64);
        Ok(plain)
    }

    /// Neither all alike nor without a pattern.
    fn plain() -> Vec<u8> {
        (0..200_000_u32).flat_map(|n| (n.wrapping_mul(n) / 7).to_le_bytes()).collect()
    }

    #[tokio::test]
    async fn what_goes_in_comes_out() {
        let (recipients, identities) = keys();
        for plain in [Vec::new(), b"x".to_vec(), plain()] {
            let open = encode(None, &plain);
            let sealed = encode(Some(&recipients), &plain);
            assert!(sealed.starts_with(b"age-encryption.org/v1\n") && !open.starts_with(b"age"));
            assert_eq!(decoded(None, &open).await.unwrap(), plain);
            assert_eq!(decoded(Some(identities.clone()), &sealed).await.unwrap(), plain);
        }
    }

    #[tokio::test]
    async fn what_is_cut_off_or_changed_is_refused() {
        let (recipients, identities) = keys();
        for (recipients, identities) in [(None, None), (Some(recipients), Some(identities))] {
            let whole = encode(recipients.as_ref(), &plain());
            let ends = [1, 20, 300, 70_000, whole.len() / 2, whole.len() - 17, whole.len() - 16, whole.len() - 1];
            for end in ends {
                let found = decoded(identities.clone(), &whole[..end]).await;
                assert!(matches!(found, Err(CipherError::Damaged(_))), "{end} of {}: {found:?}", whole.len());
            }
            for place in [whole.len() / 3, whole.len() - 2] {
                let mut changed = whole.clone();
                changed[place] ^= 1;
                let found = decoded(identities.clone(), &changed).await;
                assert!(matches!(found, Err(CipherError::Damaged(_))), "{place}: {found:?}");
            }
            let longer = [whole.as_slice(), b"more"].concat();
            assert!(matches!(decoded(identities, &longer).await, Err(CipherError::Damaged(_))));
        }
    }

    #[tokio::test]
    async fn an_encoder_that_did_not_finish_leaves_no_archive() {
        let (recipients, identities) = keys();
        for (recipients, identities) in [(None, None), (Some(recipients), Some(identities))] {
            let mut encoder = Encoder::new(recipients.as_ref()).unwrap();
            let bytes = encoder.push(&plain()).unwrap();
            drop(encoder);
            let found = decoded(identities, &bytes).await;
            assert!(matches!(found, Err(CipherError::Damaged(_))), "{found:?}");
        }
    }

    #[tokio::test]
    async fn a_source_that_ends_without_saying_so_is_told() {
        let (recipients, identities) = keys();
        let bytes = Bytes::from(encode(Some(&recipients), &plain()));
        let (feed, mut decoder) = decode(Some(identities));
        let feeding = tokio::spawn(async move { feed.push(bytes).await });
        while decoder.next().await.is_some() {}
        assert!(feeding.await.unwrap());
        assert_eq!(decoder.finish().await, Err(CipherError::CutOff));
    }

    #[tokio::test]
    async fn another_key_is_told_from_damage() {
        let sealed = encode(Some(&keys().0), b"secret");
        assert_eq!(decoded(Some(keys().1), &sealed).await, Err(CipherError::WrongKey));
        let both = Recipients::parse(&[keys().0.texts(), keys().0.texts()].concat()).unwrap();
        assert_eq!(both.texts().len(), 2);
    }

    #[test]
    fn bad_recipients_are_told_and_not_repeated() {
        let secret = Identity::generate().to_string().expose_secret().to_owned();
        let good = keys().0.texts().remove(0);
        let check = |texts: &[&str], says: &str| {
            let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
            let message = Recipients::parse(&texts).unwrap_err().to_string();
            assert!(message.contains(says), "{message}");
            assert!(!message.contains(&secret) && !message.contains("hunter2"), "{message}");
        };
        check(&[], "empty");
        check(&[&good, "hunter2"], "recipient 2");
        check(&[&good[..good.len() - 1]], "do not fit together");
        check(&[&secret], "secret identity");
        check(&[&secret.to_lowercase()], "secret identity");
        check(&["ssh-ed25519 hunter2"], "does not begin with `age1`");
        assert!(Recipients::parse(&[format!(" {good}\n")]).is_ok());
    }

    #[test]
    fn bad_identities_are_told_and_not_repeated() {
        let secret = Identity::generate().to_string().expose_secret().to_owned();
        let check = |text: &str, says: &str| {
            let message = Identities::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(message.contains(says) && !message.contains("hunter2"), "{message}");
        };
        check("", "no age identity");
        check("# only this\n\n", "no age identity");
        check(&format!("# a key\n{secret}\nhunter2\n"), "line 3");
        check(&secret[..secret.len() - 1], "line 1");
        let two = Identities::parse(format!("# created: x\r\n{secret}\r\n\n{secret}").as_bytes()).unwrap();
        assert_eq!(format!("{two:?}"), "Identities(2)");
    }
}
