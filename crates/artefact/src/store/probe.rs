//! Whether a store can be trusted with archives, found out by using it: a small object is created, created once more, which must
//! be refused, read back and deleted. A platform team that keeps archives safe from ransom forbids deleting, so that is no error; but the
//! object stays then, and the next probe uses one of a name that is always the same, lest they pile up.

use bytes::Bytes;
use uuid::Uuid;

use super::{Key, Store};
use crate::error::StoreError;

/// What a probe holds.
const CONTENT: &[u8] = b"tenant-schema-operator was here to see whether archives can be kept here\n";

/// What was found out about a store that can be written and read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Whether objects can be deleted; where not, the store itself must let old ones expire.
    pub may_delete: bool,
}

pub(super) async fn probe(store: &Store, installation_id: Uuid) -> Result<Probe, StoreError> {
    let lasting = Key::probe(installation_id, None);
    // It is there only where an earlier probe could not be deleted. Without the right to list, a store refuses to say that
    // something is not there; whether it may be read is found out below.
    match store.size(&lasting).await {
        Ok(_) => {
            proves_conditions(store, &lasting).await?;
            reads(store, &lasting).await?;
            let may_delete = deletes(store, &lasting).await?;
            return Ok(Probe { may_delete });
        }
        Err(StoreError::NotFound(_) | StoreError::Refused(_)) => {}
        Err(error) => return Err(error),
    }
    let own = Key::probe(installation_id, Some(Uuid::new_v4()));
    create(store, &own).await?;
    let proved = match proves_conditions(store, &own).await {
        Ok(()) => reads(store, &own).await,
        Err(error) => Err(error),
    };
    let may_delete = deletes(store, &own).await;
    proved?;
    let may_delete = may_delete?;
    if !may_delete {
        match create(store, &lasting).await {
            Ok(()) | Err(StoreError::Exists(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Probe { may_delete })
}

async fn create(store: &Store, key: &Key) -> Result<(), StoreError> {
    match store.put_new(key, Bytes::from_static(CONTENT)).await {
        // Some servers know the condition and say that they do not do it.
        Err(StoreError::Other(text)) if text.contains("NotImplemented") || text.contains("status code: 501") => {
            Err(StoreError::IgnoresConditions(text))
        }
        other => other,
    }
}

/// What is there must not be created again.
async fn proves_conditions(store: &Store, key: &Key) -> Result<(), StoreError> {
    match create(store, key).await {
        Err(StoreError::Exists(_)) => Ok(()),
        Ok(()) => Err(StoreError::IgnoresConditions(format!("creating {}/{key} twice", store.url()))),
        Err(error) => Err(error),
    }
}

async fn reads(store: &Store, key: &Key) -> Result<(), StoreError> {
    // A few bytes more, so that content that is too long is told from the right one.
    let most = u64::try_from(CONTENT.len()).unwrap_or(u64::MAX).saturating_mul(2);
    if store.get_small(key, most).await? == CONTENT {
        return Ok(());
    }
    Err(StoreError::Other(format!("reading {}/{key}: it gives back other content than was written", store.url())))
}

async fn deletes(store: &Store, key: &Key) -> Result<bool, StoreError> {
    match store.delete(key).await {
        Ok(()) => Ok(true),
        Err(StoreError::Refused(_) | StoreError::ReadOnly(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
