//! Finding the `PostgreSQL` servers and client programs of this machine, and installing or fetching
//! what is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::fetch::{fetch_clients, fetch_server, fetched_clients, fetched_server};
use super::{PostgresInfo, PostgresVersion};
use crate::error::Error;
use crate::paths::{is_executable, on_path};
use crate::process::{Account, run};

/// A directory with server programs and their version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Installation {
    pub(crate) bin_dir: PathBuf,
    pub(crate) major: u16,
    pub(crate) minor: u16,
}

impl Installation {
    /// The version as in `server_version_num`.
    pub(crate) fn version_num(&self) -> u32 {
        u32::from(self.major) * 10_000 + u32::from(self.minor)
    }

    /// The installation that a running server comes from.
    pub(super) fn of(info: &PostgresInfo) -> Self {
        Self {
            bin_dir: info.bin_dir.clone(),
            major: info.major(),
            minor: u16::try_from(info.version_num % 10_000).unwrap_or_default(),
        }
    }

    /// Asks the server in this directory for its version, if there is one.
    pub(super) fn in_dir(bin_dir: &Path) -> Option<Self> {
        if !is_executable(&bin_dir.join("initdb")) {
            return None;
        }
        let printed = run(Command::new(bin_dir.join("postgres")).arg("--version")).ok()?;
        let (major, minor) = parse_version(&printed)?;
        Some(Self { bin_dir: bin_dir.to_owned(), major, minor })
    }
}

/// Reads `postgres (PostgreSQL) 15.18 (Debian …)`; a beta such as `19beta1` counts as minor 0.
fn parse_version(printed: &str) -> Option<(u16, u16)> {
    let version = printed.split("(PostgreSQL)").nth(1)?.split_whitespace().next()?;
    let number = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        text[..end].parse().ok()
    };
    match version.split_once('.') {
        Some((major, minor)) => Some((number(major)?, number(minor)?)),
        None => Some((number(version)?, 0)),
    }
}

/// A server of the wanted version, installed or fetched if there is none.
pub(crate) fn provide(wanted: PostgresVersion, account: Option<Account>) -> Result<Installation, Error> {
    if let Some(found) = choose(&installed(), wanted) {
        return Ok(found.clone());
    }
    match wanted {
        PostgresVersion::Newest => {
            install_newest()?;
            choose(&installed(), wanted)
                .cloned()
                .ok_or_else(|| Error::Missing { what: "a PostgreSQL server".to_owned(), remedy: INSTALL.to_owned() })
        }
        PostgresVersion::Major(major) => match fetched_server(major, account)? {
            Some(found) => Ok(found),
            None => fetch_server(major, account),
        },
    }
}

const INSTALL: &str = "install one: `apt-get install postgresql` on Debian and Ubuntu, `dnf install \
                       postgresql-server` on Fedora, `brew install postgresql` on macOS";

/// The one wanted among those found; of equal versions, the one found first.
fn choose(found: &[Installation], wanted: PostgresVersion) -> Option<&Installation> {
    found
        .iter()
        .filter(|one| match wanted {
            PostgresVersion::Newest => true,
            PostgresVersion::Major(major) => one.major == major,
        })
        .reduce(|best, one| if (one.major, one.minor) > (best.major, best.minor) { one } else { best })
}

/// The servers that `pg_config`, `PATH` and the distributions' directories lead to.
fn installed() -> Vec<Installation> {
    let mut dirs = Vec::new();
    if let Some(pg_config) = on_path("pg_config")
        && let Ok(dir) = run(Command::new(pg_config).arg("--bindir"))
    {
        dirs.push(PathBuf::from(dir.trim()));
    }
    if let Some(dir) = on_path("postgres").and_then(|file| file.parent().map(Path::to_owned)) {
        dirs.push(dir);
    }
    dirs.extend(distribution_dirs());
    dirs.dedup();
    dirs.iter().filter_map(|dir| Installation::in_dir(dir)).collect()
}

fn distribution_dirs() -> Vec<PathBuf> {
    let mut dirs = vec![PathBuf::from("/usr/local/pgsql/bin"), PathBuf::from("/usr/bin")];
    for (parent, prefix) in [
        ("/usr/lib/postgresql", ""),
        ("/usr", "pgsql-"),
        ("/opt/homebrew/opt", "postgresql"),
        ("/usr/local/opt", "postgresql"),
    ] {
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        dirs.extend(
            entries
                .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
                .map(|entry| entry.path().join("bin"))
                .filter(|dir| dir.is_dir()),
        );
    }
    dirs
}

/// Installs the distribution's server where that asks no user a question.
fn install_newest() -> Result<(), Error> {
    let apt = on_path("apt-get");
    let root = rustix::process::geteuid().is_root();
    let sudo = on_path("sudo").filter(|sudo| run(Command::new(sudo).args(["-n", "true"])).is_ok());
    let (Some(apt), true) = (apt, root || sudo.is_some()) else {
        return Err(Error::Missing { what: "a PostgreSQL server".to_owned(), remedy: INSTALL.to_owned() });
    };
    eprintln!("devcluster: no PostgreSQL server is installed; running apt-get install postgresql");
    let apt_get = |args: &[&str]| {
        let mut command = match &sudo {
            Some(sudo) if !root => {
                let mut command = Command::new(sudo);
                command.arg("-n").arg("env").arg("DEBIAN_FRONTEND=noninteractive").arg(&apt);
                command
            }
            _ => Command::new(&apt),
        };
        command.env("DEBIAN_FRONTEND", "noninteractive").args(args);
        run(&mut command)
    };
    apt_get(&["update", "-qq"])?;
    apt_get(&["install", "-y", "-qq", "--no-install-recommends", "postgresql"])?;
    Ok(())
}

/// A client program for a server of this version. psql and `pg_isready` deal with any server; the
/// others refuse servers newer than themselves.
pub(super) fn client_tool(bin_dir: &Path, major: u16, name: &str) -> Result<PathBuf, Error> {
    let own = bin_dir.join(name);
    if is_executable(&own) {
        return Ok(own);
    }
    let any = matches!(name, "psql" | "pg_isready");
    let in_installed = installed()
        .into_iter()
        .filter(|one| any || one.major >= major)
        .map(|one| one.bin_dir.join(name))
        .find(|file| is_executable(file));
    let found = in_installed.or_else(|| any.then(|| on_path(name)).flatten());
    if let Some(found) = found {
        return Ok(found);
    }
    let account = crate::process::unprivileged_account()?;
    let clients = match fetched_clients(major, account)? {
        Some(dir) => dir,
        None => fetch_clients(major, account)?,
    };
    let file = clients.join(name);
    if is_executable(&file) {
        return Ok(file);
    }
    Err(Error::Missing {
        what: format!("`{name}` for PostgreSQL {major}"),
        remedy: format!(
            "install the client programs of PostgreSQL {major} or newer, for example \
                         `apt-get install postgresql-client-{major}`"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_servers_print() {
        let debian = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n";
        assert_eq!(parse_version(debian), Some((15, 18)));
        assert_eq!(parse_version("postgres (PostgreSQL) 19beta1\n"), Some((19, 0)));
        assert_eq!(parse_version("something else 3.2"), None);
    }

    #[test]
    fn the_newest_or_the_named_one_is_chosen() {
        let one = |bin_dir: &str, major, minor| Installation { bin_dir: PathBuf::from(bin_dir), major, minor };
        let found = [one("/a", 15, 3), one("/b", 17, 1), one("/c", 15, 9), one("/d", 17, 1)];
        let dir = |wanted| choose(&found, wanted).map(|one| one.bin_dir.to_str().unwrap());
        assert_eq!(dir(PostgresVersion::Newest), Some("/b"));
        assert_eq!(dir(PostgresVersion::Major(15)), Some("/c"));
        assert_eq!(dir(PostgresVersion::Major(16)), None);
    }

    #[test]
    fn the_version_number_is_the_servers() {
        let one = Installation { bin_dir: PathBuf::new(), major: 15, minor: 18 };
        assert_eq!(one.version_num(), 150_018);
    }
}
