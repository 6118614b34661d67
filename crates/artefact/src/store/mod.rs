//! The object store that archives go to. Every name in it is a [`Key`], which lies in the folder of one installation, so
//! nothing else in a bucket that is shared with others can be written, listed or deleted. Nothing is ever overwritten either:
//! small objects are created under the condition that there is none of the name, and archives have names of their own.

mod cloud;
mod credentials;
mod failure;
mod file;
pub mod key;
mod probe;
mod upload;
pub mod url;

use std::{collections::BTreeMap, fmt, sync::Arc, time::SystemTime};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, path::Path};
use uuid::Uuid;

pub use self::{
    key::{Key, Part, Place, Scope},
    probe::Probe,
    upload::Upload,
    url::{Scheme, StoreUrl},
};
use crate::{error::StoreError, secret::Secret};

/// What it takes to use a store. `Debug` shows no value of a credential.
#[derive(Debug, Clone, Default)]
pub struct StoreAccess {
    /// The url of a server that is not the cloud's own, such as `https://minio.storage:9000`; without TLS only if it says `http`.
    pub endpoint: Option<String>,
    /// Certificates in PEM that the server's may be signed by, beside those that the system trusts.
    pub ca_pem: Option<Vec<u8>>,
    /// The content of the Secret; empty for the identity that the pod has.
    pub credentials: BTreeMap<String, Secret>,
}

/// A store that is opened. It is cheap to clone.
#[derive(Clone)]
pub struct Store {
    url: Arc<StoreUrl>,
    objects: Arc<dyn ObjectStore>,
    secrets: Arc<Vec<Secret>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("url", &self.url.to_string()).finish_non_exhaustive()
    }
}

/// An object as a list has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub key: Key,
    /// What the name says, if it is that of an archive or a manifest.
    pub place: Option<(Place, Part)>,
    /// Its length in bytes.
    pub size: u64,
    /// When it was written, by the clock of the store.
    pub modified: SystemTime,
}

/// An object that is being read.
pub struct Download {
    /// Its length in bytes.
    pub size: u64,
    /// Its content.
    pub content: BoxStream<'static, Result<Bytes, StoreError>>,
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens a store. A folder is made if it is not there; a cloud is not asked anything yet.
    pub fn open(url: &StoreUrl, access: &StoreAccess) -> Result<Self, StoreError> {
        let objects: Arc<dyn ObjectStore> = if url.scheme() == Scheme::File {
            credentials::Credentials::read(Scheme::File, &access.credentials)?;
            if access.endpoint.is_some() || access.ca_pem.is_some() {
                return Err(StoreError::Invalid(
                    "a file:// store has neither endpoint nor CA; take them out".to_owned(),
                ));
            }
            Arc::new(file::open(url)?)
        } else {
            cloud::open(url, access)?
        };
        let secrets = Arc::new(access.credentials.values().cloned().collect());
        Ok(Self { url: Arc::new(url.clone()), objects, secrets })
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &StoreUrl {
        &self.url
    }

    /// Creates a small object; [`StoreError::Exists`] if there is one of the name, which then stays as it is.
    pub async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<(), StoreError> {
        self.create(key, bytes.into()).await
    }

    /// Reads an object.
    pub async fn get_stream(&self, key: &Key) -> Result<Download, StoreError> {
        let result = self.objects.get(&self.path(key)).await.map_err(|error| self.failure("reading", key, &error))?;
        let (store, name) = (self.clone(), key.clone());
        let size = result.meta.size;
        let content = result.into_stream().map_err(move |error| store.failure("reading", &name, &error)).boxed();
        Ok(Download { size, content })
    }

    /// Reads an object of at most so many bytes as a whole, such as a manifest.
    pub async fn get_small(&self, key: &Key, most: u64) -> Result<Bytes, StoreError> {
        let Download { size, mut content } = self.get_stream(key).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = content.try_next().await? {
            bytes.extend_from_slice(&chunk);
            // What the server says of the size and what it sends are two things.
            if u64::try_from(bytes.len()).unwrap_or(u64::MAX).max(size) > most {
                let text = format!("reading {}/{key}: it has more than {most} bytes", self.url);
                return Err(StoreError::Other(text));
            }
        }
        Ok(bytes.into())
    }

    /// The length of an object in bytes.
    pub async fn size(&self, key: &Key) -> Result<u64, StoreError> {
        let meta = self.objects.head(&self.path(key)).await.map_err(|error| self.failure("looking at", key, &error))?;
        Ok(meta.size)
    }

    /// Deletes an object. One that is not there is deleted already.
    pub async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        match self.objects.delete(&self.path(key)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failure("deleting", key, &error)),
        }
    }

    /// Lists the objects of an installation, of one of its schemas or of one of their backups, in no order.
    #[must_use]
    pub fn list(&self, scope: Scope) -> BoxStream<'static, Result<Listed, StoreError>> {
        let store = self.clone();
        let folder = self.join(&scope.path());
        let listed = self.objects.list(Some(&folder));
        listed
            .filter_map(move |object| {
                let listed = match object {
                    Ok(object) => store.listed(scope, &object).map(Ok),
                    // A folder that is not there has nothing in it.
                    Err(object_store::Error::NotFound { .. }) => None,
                    Err(error) => Some(Err(store.failure("listing", scope.path(), &error))),
                };
                futures::future::ready(listed)
            })
            .boxed()
    }

    fn listed(&self, scope: Scope, object: &object_store::ObjectMeta) -> Option<Listed> {
        let path = object.location.as_ref();
        let below = match self.url.prefix() {
            "" => path,
            prefix => path.strip_prefix(prefix)?.strip_prefix('/')?,
        };
        below.strip_prefix(&scope.path())?.strip_prefix('/')?;
        let key = Key::parse(scope.installation_id(), below)?;
        let place = Place::parse(below);
        Some(Listed { key, place, size: object.size, modified: object.last_modified.into() })
    }

    /// Begins to write an archive under a name of its own; [`StoreError::Exists`] if there is one of this name.
    pub async fn upload(&self, key: &Key) -> Result<Upload, StoreError> {
        Upload::start(self, key).await
    }

    /// Proves that this store keeps what is written to it, creates without overwriting, and gives it back, and finds out
    /// whether it deletes.
    pub async fn probe(&self, installation_id: Uuid) -> Result<Probe, StoreError> {
        probe::probe(self, installation_id).await
    }

    async fn create(&self, key: &Key, payload: PutPayload) -> Result<(), StoreError> {
        let options = PutOptions::from(PutMode::Create);
        let put = self.objects.put_opts(&self.path(key), payload, options).await;
        put.map(|_| ()).map_err(|error| self.failure("creating", key, &error))
    }

    fn path(&self, key: &Key) -> Path {
        self.join(key.as_str())
    }

    /// Prefix and key have only parts that are plain, so that nothing of them is encoded or left out.
    fn join(&self, below: &str) -> Path {
        self.url.prefix().split('/').chain(below.split('/')).filter(|part| !part.is_empty()).collect()
    }

    fn failure(&self, doing: &str, key: impl fmt::Display, error: &object_store::Error) -> StoreError {
        failure::classify(&format!("{doing} {}/{key}", self.url), error, &self.secrets)
    }
}
