//! From the store into a database: an archive is decoded while it is read and goes into `pg_restore` as it comes, never whole in memory
//! and on no disk. What was read is compared with what was recorded, and `pg_restore` is told that it has all only if that is right.
//!
//! It has executed most of it by then. A restore that failed leaves what it made, and what was put into the store by another hand was
//! executed with the rights of the login before it was found out: the database is to be a new one, and the login without other rights.
//! An archive is looked at beforehand by [`check`](crate::check()).

use std::process::Stdio;

use bytes::Bytes;
use futures::try_join;
use tokio::{io::AsyncWriteExt, process::ChildStdin};

use crate::{
    check::{Expected, MAGIC, NO_DUMP, compare, open},
    cipher::{Decoder, Identities, decode},
    dump::{Program, Running},
    error::{DumpError, RestoreError},
    reach::{Given, Reach},
    store::{Key, Store},
};

/// What restores, and where to. `Debug` does not show the password.
#[derive(Debug, Clone)]
pub struct Restore {
    /// `pg_restore`, not older than the `pg_dump` that made the archive.
    pub program: Program,
    /// The database, in which nothing of what the schema holds is there yet. All becomes the login's.
    pub reach: Reach,
    /// The schema whose content alone is restored, without the schema itself; all without it.
    pub schema: Option<String>,
}

/// An archive that was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The length of the dump in it.
    pub plain_bytes: u64,
}

/// Restores an archive. It must be called within a runtime. Dropped, the program is told to end, and killed if it does not; so it is
/// after an error, and may take a moment for that.
pub async fn restore(
    store: &Store,
    key: &Key,
    expected: &Expected,
    identities: Option<&Identities>,
    with: &Restore,
) -> Result<Restored, RestoreError> {
    if key.is_encrypted() && identities.is_none() {
        return Err(RestoreError::IdentityNeeded);
    }
    let download = open(store, key, expected).await?;
    let (feed, decoder) = decode(identities.filter(|_| key.is_encrypted()).cloned());
    let mut pouring = None;
    let read = async { Ok(compare(download, expected, Some(feed)).await?) };
    let pour = async {
        match pour(decoder, with, &mut pouring).await {
            Err(error) if !may_be_for_the_archive(&error) => Err(error),
            poured => Ok(poured),
        }
    };
    let restored = try_join!(read, pour).and_then(|((), poured)| poured);
    if let Some(Pouring { program, stdin }) = pouring {
        program.cancel().await;
        // Not before: it could take that for the end of the archive.
        drop(stdin);
    }
    restored
}

/// Whether something wrong in the archive may be the reason, so that it is read to its end first: the digest says better what is wrong.
fn may_be_for_the_archive(error: &RestoreError) -> bool {
    match error {
        RestoreError::Program(error) => matches!(error, DumpError::Failed { .. } | DumpError::Memory(_)),
        RestoreError::WrongKey | RestoreError::Damaged(_) => true,
        RestoreError::Archive(_) | RestoreError::IdentityNeeded => false,
    }
}

/// `pg_restore`, and what it reads.
struct Pouring {
    // First, so that the program is told to end before its input is closed.
    program: Running,
    stdin: ChildStdin,
}

impl Pouring {
    fn start(with: &Restore) -> Result<Self, DumpError> {
        let Given { environment, files } = with.reach.give("tenant-schema-operator restore")?;
        let mut command = with.program.command();
        command.arg(format!("--dbname={}", dbname(&with.reach.database)));
        if let Some(schema) = &with.schema {
            command.arg(format!("--schema={schema}"));
        }
        command.args(["--no-password", "--exit-on-error", "--no-owner", "--no-acl", "--no-publications"]);
        command.args(["--no-subscriptions", "--no-tablespaces", "--no-security-labels"]);
        command.envs(environment).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut program = Running::start(command, files)?;
        Ok(Self { stdin: program.stdin()?, program })
    }

    /// Gives it all that comes; false if it reads no more.
    async fn give(&mut self, first: Bytes, decoder: &mut Decoder) -> bool {
        let mut next = Some(first);
        while let Some(chunk) = next {
            if self.stdin.write_all(&chunk).await.is_err() {
                return false;
            }
            next = decoder.next().await;
        }
        true
    }

    /// Says that it has all, and waits for its end.
    async fn finish(self) -> Result<(), DumpError> {
        drop(self.stdin);
        self.program.finish().await
    }
}

/// The database as `pg_restore` takes it. libpq reads a name with `=` or with `://` in that place as the parameters of a connection, so
/// it is given parameters in which the name is one value.
fn dbname(database: &str) -> String {
    format!("dbname='{}'", database.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Gives what comes out of the decoder to the program, which is started once that begins as a dump does. `pouring` has the program
/// until it is waited for.
async fn pour(mut decoder: Decoder, with: &Restore, pouring: &mut Option<Pouring>) -> Result<Restored, RestoreError> {
    let Some(first) = decoder.next().await else {
        decoder.finish().await?;
        return Err(RestoreError::Damaged(NO_DUMP.to_owned()));
    };
    // A chunk is shorter than what a dump begins with only if it is all there is.
    if !first.starts_with(MAGIC) {
        return Err(RestoreError::Damaged(NO_DUMP.to_owned()));
    }
    let reads = pouring.insert(Pouring::start(with)?).give(first, &mut decoder).await;
    // One that reads no more has ended, and says why itself.
    let plain_bytes = if reads { Some(decoder.finish().await?) } else { None };
    if let Some(pouring) = pouring.take() {
        pouring.finish().await?;
    }
    let unread = || DumpError::Failed { code: Some(0), message: "it has not read all of the archive".to_owned() };
    Ok(Restored { plain_bytes: plain_bytes.ok_or_else(unread)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_database_is_one_value() {
        let check = |database: &str, expected: &str| assert_eq!(dbname(database), expected);
        check("plain", "dbname='plain'");
        check("postgres://elsewhere/x", "dbname='postgres://elsewhere/x'");
        check("x' host='elsewhere", "dbname='x\\' host=\\'elsewhere'");
        check("a\\' b\\", "dbname='a\\\\\\' b\\\\'");
    }
}
