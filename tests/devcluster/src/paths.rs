//! Where things live: the build's target directory, the cache that survives `cargo clean`, and
//! places that the unprivileged account of a `PostgreSQL` server can reach.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, FileContext};
use crate::process::{Account, run};

/// The longest directory in which the server's socket still fits into a socket address.
const LONGEST_SOCKET_DIR: usize = 80;

/// The build's target directory, which is never committed and always writable to a developer.
#[must_use]
pub fn target_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("CARGO_TARGET_DIR") {
        return absolute(Path::new(&dir));
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    match workspace {
        Some(workspace) if workspace.is_dir() => workspace.join("target"),
        _ => absolute(Path::new("target")),
    }
}

/// The path made absolute against the current directory, without asking the file system.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The cache shared by all checkouts of this user.
pub(crate) fn cache_dir() -> Result<PathBuf, Error> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .ok_or_else(|| Error::Missing {
            what: "a cache directory".to_owned(),
            remedy: "set XDG_CACHE_HOME or HOME to a writable directory".to_owned(),
        })?;
    Ok(absolute(&base).join("tenant-schema-operator"))
}

/// The cache for programs that the unprivileged account has to execute: root's own cache is usually
/// closed to it, in which case the system's is used.
pub(crate) fn executable_cache_dir(account: Option<Account>) -> Result<PathBuf, Error> {
    let cache = cache_dir()?;
    if reachable(&cache, account) { Ok(cache) } else { Ok(PathBuf::from("/var/cache/tenant-schema-operator")) }
}

/// Whether the account can enter every directory on the way that exists already.
fn reachable(path: &Path, account: Option<Account>) -> bool {
    let Some(account) = account else { return true };
    path.ancestors().all(|dir| match fs::metadata(dir) {
        Ok(meta) => meta.uid() == account.uid || meta.mode() & 0o001 != 0,
        Err(_) => true,
    })
}

/// A directory for a `PostgreSQL` server's files: the preferred one if the account can reach it and
/// a socket fits, otherwise a fresh one elsewhere that the caller has to have removed.
pub(crate) fn server_place(preferred: &Path, account: Option<Account>) -> Result<(PathBuf, bool), Error> {
    let fits = preferred.as_os_str().len() <= LONGEST_SOCKET_DIR;
    let (place, outside) = if fits && reachable(preferred, account) {
        make_dir(preferred, 0o711)?;
        (preferred.to_owned(), false)
    } else {
        let parent = Path::new("/var/tmp");
        let dir =
            tempfile::Builder::new().prefix("devcluster-").tempdir_in(parent).file("create a directory in", parent)?;
        (dir.keep(), true)
    };
    give(&place, account)?;
    Ok((place, outside))
}

/// Creates a directory and its parents, with this mode.
pub(crate) fn make_dir(path: &Path, mode: u32) -> Result<(), Error> {
    fs::create_dir_all(path).file("create", path)?;
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).file("set the mode of", path)
}

/// Copies a directory to a place where nothing is yet, with everything in it, owners and modes.
pub(crate) fn copy_dir(from: &Path, to: &Path) -> Result<(), Error> {
    run(Command::new("cp").arg("-a").arg(from).arg(to)).map(drop)
}

/// Makes a file or directory the account's own.
pub(crate) fn give(path: &Path, account: Option<Account>) -> Result<(), Error> {
    match account {
        Some(account) => chown(path, Some(account.uid), Some(account.gid)).file("change the owner of", path),
        None => Ok(()),
    }
}

/// Writes a file that only its owner may read.
pub(crate) fn write_private(path: &Path, text: &str, account: Option<Account>) -> Result<(), Error> {
    let partial = path.with_extension("partial");
    fs::write(&partial, "").file("write", &partial)?;
    fs::set_permissions(&partial, PermissionsExt::from_mode(0o600)).file("set the mode of", &partial)?;
    fs::write(&partial, text).file("write", &partial)?;
    give(&partial, account)?;
    fs::rename(&partial, path).file("write", path)
}

/// Takes the lock of this name, waiting for the process that has it; it is given up when the value is
/// dropped or the process ends in any way.
pub(crate) fn lock(path: &Path) -> Result<File, Error> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).file("create", parent)?;
    }
    let file = File::options().create(true).truncate(false).write(true).open(path).file("open", path)?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => {
            eprintln!("devcluster: waiting for another process to give up {}", path.display());
        }
        // Waiting for it meets the same error, and reports it.
        Err(TryLockError::Error(_)) => {}
    }
    file.lock().file("lock", path)?;
    Ok(file)
}

/// The program of this name on `PATH`.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| is_executable(file))
}

/// Whether this is a file that can be executed.
pub(crate) fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.mode() & 0o111 != 0)
}

/// Random text for a password, from the operating system.
pub(crate) fn random_password() -> Result<String, Error> {
    use std::fmt::Write as _;
    use std::io::Read as _;
    let source = Path::new("/dev/urandom");
    let mut bytes = [0_u8; 16];
    File::open(source).and_then(|mut file| file.read_exact(&mut bytes)).file("read", source)?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_directory_on_the_way_makes_a_place_unreachable() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("inner");
        make_dir(&inner, 0o711).unwrap();
        fs::set_permissions(root.path(), PermissionsExt::from_mode(0o700)).unwrap();
        let stranger = Some(Account { uid: 65533, gid: 65533 });
        assert!(!reachable(&inner, stranger), "its parent is closed to others");
        assert!(reachable(&inner, None));
        fs::set_permissions(root.path(), PermissionsExt::from_mode(0o711)).unwrap();
        assert!(reachable(&inner, stranger));
    }

    #[test]
    fn passwords_differ() {
        let one = random_password().unwrap();
        assert_eq!(one.len(), 32);
        assert_ne!(one, random_password().unwrap());
    }

    #[test]
    fn a_private_file_is_private() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("secret");
        write_private(&file, "x", None).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    }
}
