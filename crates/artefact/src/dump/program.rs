//! Finds the programs of PostgreSQL. `pg_dump` refuses servers newer than itself, so the newest that is there is taken.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{process::Command, time::timeout};

use crate::{error::DumpError, text::tame};

/// Where Debian and its kin put every major version.
const DISTRIBUTION: &str = "/usr/lib/postgresql";
/// How long a program may take to say its version.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// A program of PostgreSQL that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    path: PathBuf,
    major: u32,
    version: String,
}

impl Program {
    /// Finds the newest program of this name, `pg_dump` say, that is of this major version or a newer one: in `PATH` and where
    /// Debian has them.
    pub async fn find(name: &str, at_least_major: u32) -> Result<Self, DumpError> {
        let mut folders: Vec<PathBuf> = env::var_os("PATH").iter().flat_map(env::split_paths).collect();
        let versions = fs::read_dir(DISTRIBUTION).into_iter().flatten().flatten();
        folders.extend(versions.map(|entry| entry.path().join("bin")));
        Self::find_in(folders, name, at_least_major).await
    }

    async fn find_in(folders: Vec<PathBuf>, name: &str, at_least: u32) -> Result<Self, DumpError> {
        let mut found: Vec<Self> = Vec::new();
        let mut seen = BTreeSet::new();
        for path in folders.into_iter().map(|folder| folder.join(name)) {
            // Many folders of a PATH are links to one another.
            let first = fs::canonicalize(&path).is_ok_and(|real| seen.insert(real));
            if let (true, Some(version)) = (first, ask(&path).await)
                && let Some(major) = major_of(&version)
            {
                found.push(Self { path, major, version });
            }
        }
        let newest = found.iter().max_by_key(|program| program.major);
        match newest {
            Some(program) if program.major >= at_least => Ok(program.clone()),
            Some(_) => Err(DumpError::TooOld {
                name: name.to_owned(),
                at_least,
                found: found.into_iter().map(|program| program.version).collect(),
            }),
            None => Err(DumpError::NotFound { name: name.to_owned(), at_least }),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its major version.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }

    /// Its version, say `15.18`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A command that runs it and inherits nothing that is configured here: of the environment only what it is found by.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.env_clear().env("LANG", "C").env("TZ", "UTC").kill_on_drop(true);
        if let Some(path) = env::var_os("PATH") {
            command.env("PATH", path);
        }
        command
    }
}

/// The version that a program says, if it is one and answers.
async fn ask(path: &Path) -> Option<String> {
    let mut command = Command::new(path);
    command.arg("--version").env_clear().env("LANG", "C").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    if let Some(path) = env::var_os("PATH") {
        command.env("PATH", path);
    }
    let output = timeout(ANSWERS_WITHIN, command.output()).await.ok()?.ok()?;
    version_in(&String::from_utf8_lossy(&output.stdout))
}

/// Reads `pg_dump (PostgreSQL) 15.18 (Debian …)`.
fn version_in(printed: &str) -> Option<String> {
    printed.split_once("(PostgreSQL) ")?.1.split_whitespace().next().map(tame)
}

/// The first number; `19beta1` is of 19.
fn major_of(version: &str) -> Option<u32> {
    let digits = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    version[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn versions_are_read_from_what_programs_print() {
        let check = |printed: &str, version: Option<&str>, major: Option<u32>| {
            let found = version_in(printed);
            assert_eq!(found.as_deref(), version, "{printed}");
            assert_eq!(found.and_then(|version| major_of(&version)), major, "{printed}");
        };
        check("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", Some("15.18"), Some(15));
        check("pg_dump (PostgreSQL) 19beta1\n", Some("19beta1"), Some(19));
        check("pg_dump (PostgreSQL) x\n", Some("x"), None);
        check("something else 3.2", None, None);
    }

    #[tokio::test]
    async fn the_newest_is_taken_and_what_is_there_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let place = |folder: &str, script: &str| {
            let folder = dir.path().join(folder);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("pg_dump"), format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(folder.join("pg_dump"), fs::Permissions::from_mode(0o755)).unwrap();
            folder
        };
        let says = |version: &str| format!("echo 'pg_dump (PostgreSQL) {version}'");
        let folders = vec![
            dir.path().join("none"),
            place("a", &says("15.3")),
            place("b", &says("17.1")),
            place("c", "exit 1"),
            place("d", &says("16.9")),
        ];
        let found = Program::find_in(folders.clone(), "pg_dump", 16).await.unwrap();
        assert_eq!((found.path(), found.major(), found.version()), (folders[2].join("pg_dump").as_path(), 17, "17.1"));
        let old = Program::find_in(folders.clone(), "pg_dump", 18).await.unwrap_err().to_string();
        assert!(old.contains("found 15.3, 17.1, 16.9") && old.contains("postgresql-client-18"), "{old}");
        let none = Program::find_in(folders, "pg_restore", 15).await.unwrap_err().to_string();
        assert!(none.contains("`pg_restore` of PostgreSQL 15"), "{none}");
    }
}
