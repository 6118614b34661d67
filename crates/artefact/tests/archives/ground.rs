//! What the tests stand on: a folder, a real S3 server that all of them share, with a bucket for each, and sources of bytes.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use artefact::{
    Identities, Key, Place, Recipients, Scope, Secret, Source, Store, StoreAccess, StoreUrl,
    error::{DumpError, StoreError},
};
use bytes::Bytes;
use devcluster::{free_port, wait_until};
use futures::TryStreamExt;
use tempfile::TempDir;
use uuid::Uuid;

pub const PASSWORD: &str = "the-secret-of-the-gateway";

/// A store of this test alone.
pub struct Ground {
    pub store: Store,
    /// Where what is in it lies as files.
    pub folder: PathBuf,
    /// Removes the folder of one that is no bucket.
    _dir: Option<TempDir>,
}

/// A folder, and a bucket where there is a server.
pub fn grounds() -> Vec<Ground> {
    [Some(folder()), bucket()].into_iter().flatten().collect()
}

pub fn folder() -> Ground {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().canonicalize().unwrap().join("archives");
    let url = StoreUrl::parse(&format!("file://{}", folder.display()), folder.parent()).unwrap();
    let store = Store::open(&url, &StoreAccess::default()).unwrap();
    Ground { store, folder, _dir: Some(dir) }
}

pub fn bucket() -> Option<Ground> {
    let gateway = Gateway::shared()?;
    let name = format!("b-{}", Uuid::new_v4());
    let folder = gateway.folder.join(&name);
    fs::create_dir(&folder).unwrap();
    let store = Store::open(&s3(&format!("{name}/a/prefix")), &gateway.access(PASSWORD)).unwrap();
    Some(Ground { store, folder: folder.join("a/prefix"), _dir: None })
}

pub fn s3(bucket_and_prefix: &str) -> StoreUrl {
    StoreUrl::parse(&format!("s3://{bucket_and_prefix}"), None).unwrap()
}

impl Ground {
    /// The file that an object is.
    pub fn file(&self, key: &Key) -> PathBuf {
        self.folder.join(key.as_str())
    }

    /// The names of all objects of an installation.
    pub async fn keys(&self, installation_id: Uuid) -> Vec<String> {
        self.listed(Scope::Installation(installation_id)).await
    }

    pub async fn listed(&self, scope: Scope) -> Vec<String> {
        let listed: Vec<_> = self.store.list(scope).try_collect().await.unwrap();
        let mut keys: Vec<_> = listed.into_iter().map(|object| object.key.to_string()).collect();
        keys.sort();
        keys
    }

    /// The files of all kinds, also those that no list shows, such as parts of uploads.
    pub fn files(&self) -> Vec<PathBuf> {
        // An S3 server keeps parts beside the objects, in a folder of the bucket.
        let top = self.folder.ancestors().find(|path| path.ends_with("archives") || is_bucket(path)).unwrap();
        let mut files = Vec::new();
        let mut folders = vec![top.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_type().unwrap().is_dir() { folders.push(entry.path()) } else { files.push(entry.path()) }
            }
        }
        files
    }

    /// Waits until no file is left, which calling off in the background takes a moment for.
    pub async fn is_empty_soon(&self) {
        for _ in 0..1200 {
            if self.files().is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{:?}", self.files());
    }
}

fn is_bucket(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("b-"))
}

pub fn place() -> Place {
    let [installation_id, schema_id, backup_id, attempt] = [(); 4].map(|()| Uuid::new_v4());
    Place { installation_id, schema_id, backup_id, attempt }
}

/// A pair of keys that fit.
pub fn keys() -> (Recipients, Identities) {
    use age::secrecy::ExposeSecret;
    let identity = age::x25519::Identity::generate();
    let recipients = Recipients::parse(&[identity.to_public().to_string()]).unwrap();
    (recipients, Identities::parse(identity.to_string().expose_secret().as_bytes()).unwrap())
}

/// An S3 server.
pub struct Gateway {
    pub port: u16,
    pub folder: PathBuf,
    /// It ends with its input, and so with this process.
    _process: Child,
}

impl Gateway {
    /// The one of this process; nothing where it can neither be found nor built, which is printed.
    pub fn shared() -> Option<&'static Self> {
        static GATEWAY: OnceLock<Option<Gateway>> = OnceLock::new();
        GATEWAY.get_or_init(|| Self::start(&[])).as_ref()
    }

    /// One of its own, with more in its environment.
    pub fn start(environment: &[(&str, &str)]) -> Option<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.ci/versitygw");
        let version = Command::new(script).arg("--version").output().unwrap();
        if !version.status.success() {
            println!("left out: S3; {}", String::from_utf8_lossy(&version.stderr));
            return None;
        }
        // Another process may take a port that was free.
        (0..5).find_map(|_| {
            let folder = tempfile::Builder::new().prefix("artefact-s3-").tempdir().unwrap().keep();
            let port = free_port().unwrap();
            let mut process = Command::new(script)
                .args([folder.to_str().unwrap(), &port.to_string()])
                .envs([("ROOT_ACCESS_KEY_ID", "operator"), ("ROOT_SECRET_ACCESS_KEY", PASSWORD)])
                .envs(environment.iter().copied())
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            let ready = wait_until(Duration::from_secs(10), "the S3 server", || {
                std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
            if ready.is_err() {
                drop(process.stdin.take());
                process.wait().unwrap();
            }
            ready.ok().map(|()| Self { port, folder, _process: process })
        })
    }

    pub fn access(&self, password: &str) -> StoreAccess {
        access(self.port, password)
    }
}

pub fn access(port: u16, password: &str) -> StoreAccess {
    let keys = [("accessKeyId", "operator"), ("secretAccessKey", password), ("region", "us-east-1")];
    StoreAccess {
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        ca_pem: None,
        credentials: keys
            .map(|(key, value)| (key.to_owned(), Secret::from(value)))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
    }
}

/// A source that gives what it holds and then ends as it is told to.
pub struct Pieces {
    pub pieces: std::vec::IntoIter<Bytes>,
    pub ends: End,
}

pub enum End {
    Whole,
    /// After the last piece it says that it was not whole.
    Failed,
    /// After the last piece it gives nothing for ever.
    Stuck,
}

impl Pieces {
    pub fn new(bytes: &[u8], ends: End) -> Self {
        let pieces: Vec<_> = bytes.chunks(256 * 1024).map(Bytes::copy_from_slice).collect();
        Self { pieces: pieces.into_iter(), ends }
    }
}

impl Source for Pieces {
    async fn chunk(&mut self) -> Result<Option<Bytes>, DumpError> {
        match (self.pieces.next(), &self.ends) {
            (None, End::Stuck) => std::future::pending().await,
            (piece, _) => Ok(piece),
        }
    }

    async fn finish(self) -> Result<(), DumpError> {
        match self.ends {
            End::Whole => Ok(()),
            _ => Err(DumpError::Connection("it broke".to_owned())),
        }
    }

    async fn cancel(self) {}
}

/// Bytes that zstd makes nothing of, the same each time, behind what a dump begins with.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let random = std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    b"PGDMP".iter().copied().chain(random.flatten()).take(length).collect()
}

pub async fn read_whole(store: &Store, key: &Key) -> Result<Vec<u8>, StoreError> {
    let mut content = store.get_stream(key).await?.content;
    let mut bytes = Vec::new();
    while let Some(chunk) = content.try_next().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
