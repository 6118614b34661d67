//! A folder as a store. Users write where it is, so it must lie below the root that the operator was started with also when
//! links on the way are followed; the root itself is never made, since an empty folder where a volume should be mounted would
//! take archives and lose them with the pod. What is written is on the disk before it counts as written.

use std::{fs, io, path::Path};

use object_store::local::LocalFileSystem;

use super::url::StoreUrl;
use crate::error::{StoreError, UrlError};

/// Opens the folder of this url and makes it if it is not there.
pub(super) fn open(url: &StoreUrl) -> Result<LocalFileSystem, StoreError> {
    let Some((folder, root)) = url.folder() else {
        return Err(StoreError::Invalid(UrlError::NoRoot.to_string()));
    };
    let outside = || StoreError::Invalid(UrlError::OutsideRoot { root: root.to_owned() }.to_string());
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| from_io(&error, &path)
    };
    let real_root = fs::canonicalize(root).map_err(failed(root))?;
    // Before anything is made: what is there of the way must not lead out.
    let there = folder.ancestors().find(|path| path.symlink_metadata().is_ok()).unwrap_or(root);
    let real = fs::canonicalize(there).map_err(failed(there))?;
    if !real.starts_with(&real_root) {
        return Err(outside());
    }
    fs::create_dir_all(&folder).map_err(failed(&folder))?;
    let real = fs::canonicalize(&folder).map_err(failed(&folder))?;
    if !real.starts_with(&real_root) {
        return Err(outside());
    }
    let store = LocalFileSystem::new_with_prefix(&real).map_err(|error| StoreError::Other(error.to_string()))?;
    Ok(store.with_fsync(true))
}

/// What an error of the file system says about the store.
pub(super) fn from_io(error: &io::Error, place: &str) -> StoreError {
    let text = format!("{place}: {error}");
    match error.kind() {
        io::ErrorKind::NotFound => StoreError::NotFound(format!("{text}; is the volume mounted?")),
        io::ErrorKind::PermissionDenied => StoreError::Refused(text),
        io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly(text),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            StoreError::Full(text)
        }
        io::ErrorKind::AlreadyExists => StoreError::Exists(text),
        io::ErrorKind::TimedOut | io::ErrorKind::StaleNetworkFileHandle | io::ErrorKind::HostUnreachable => {
            StoreError::Unreachable(text)
        }
        _ => StoreError::Other(text),
    }
}
