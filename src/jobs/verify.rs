//! Proving an archive: it is read back and compared, and restored into a scratch database if that was asked for.
//!
//! What is read back and is not what was written makes the attempt fail, since another may do better. An archive that is what was
//! written and cannot be restored is kept: it may be all that there is of the data. What was not proved is recorded beside it.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use artefact::{
    Expected, Key, Restore,
    error::{DumpError, RestoreError},
};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::archive::{Failed, Written, reach, within};
use crate::{
    api::schema_backup::Verification,
    contract::{BegunArchive, BegunScratch, ClaimedJob, Proof},
    lane::{Lane, archives::ArchiveStore},
    postgres::{ArchivedTable, Content, Error, TenantSession},
    quantity::human,
    text::count,
};

/// How often it is looked how large the scratch database is.
const LOOK: Duration = Duration::from_secs(2);
/// How often restoring is tried, and after what pause.
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_secs(5);
/// How often in a row its size may not be seen.
const UNSEEN: u32 = 15;
/// What the attempts are called in messages.
const RESTORE: &str = "restore";
/// What a message of `pg_restore` begins with when there was no session yet in which code of a tenant's could run.
const CONNECTING: &str = "pg_restore: error: connection to server";
/// How many names a message has.
const NAMES: usize = 3;

/// What the proof is about.
pub(super) struct Subject<'a> {
    pub lane: &'a Lane,
    pub job: &'a ClaimedJob,
    pub store: &'a ArchiveStore,
    pub begun: &'a BegunArchive,
    pub key: &'a Key,
    pub written: &'a Written,
}

/// What restoring an archive showed.
enum Restoring {
    /// That it holds what was archived; how, for people.
    Proved(String),
    /// Nothing, for a reason that is not the archive's.
    NotRestored(String),
    /// That it does not give what was archived.
    Failed(String),
}

impl Subject<'_> {
    /// Proves the archive as far as was asked for; the steps take no longer than `time` each.
    pub async fn proof(&self, time: Duration, cancelled: &watch::Receiver<bool>) -> Result<Proof, Failed> {
        let asked = self.begun.verification.as_deref();
        if asked == Some(Verification::None.as_str()) {
            return Ok(Proof::default());
        }
        let how = within(time, cancelled, self.read_back()).await?;
        let by_checksum =
            Proof { verified_by: Some(Verification::Checksum.as_str()), verified_how: Some(how), unproved: None };
        if asked != Some(Verification::Restore.as_str()) {
            return Ok(by_checksum);
        }
        Ok(match self.restored(time, cancelled).await? {
            Restoring::Proved(how) => {
                Proof { verified_by: Some(Verification::Restore.as_str()), verified_how: Some(how), unproved: None }
            }
            Restoring::NotRestored(why) => Proof { unproved: Some(why), ..by_checksum },
            Restoring::Failed(why) => Proof { unproved: Some(why), ..Proof::default() },
        })
    }

    fn expected(&self) -> Expected {
        Expected { bytes: self.written.artefact.bytes, sha256: self.written.artefact.sha256.clone() }
    }

    /// Reads the archive back, and says how.
    async fn read_back(&self) -> Result<String, Failed> {
        let Self { store, key, .. } = self;
        let (identities, list) = (store.identities.as_ref(), store.restore.as_ref());
        let checked = artefact::check(&store.store, key, &self.expected(), identities, list).await?;
        Ok(match (checked.decoded, checked.entries) {
            (true, Some(entries)) => {
                format!("read back: length and SHA-256 are right, and pg_restore lists {entries} entries in it")
            }
            (true, None) => "read back: length and SHA-256 are right, and it can be decoded to its end".to_owned(),
            (false, _) => {
                "read back: length and SHA-256 are right; it was not decrypted, for want of an identity".to_owned()
            }
        })
    }

    /// Restores the archive, and compares every table. The only errors are that the lane or the job ended: all others say nothing against
    /// an archive that was read back.
    async fn restored(&self, time: Duration, cancelled: &watch::Receiver<bool>) -> Result<Restoring, Error> {
        if let Some(why) = self.in_the_way() {
            return Ok(Restoring::NotRestored(why));
        }
        let mut tries = 0;
        loop {
            tries += 1;
            match self.tried(time, cancelled).await {
                Ok(restoring) => return Ok(restoring),
                Err(error) if self.lane.is_lost() || *cancelled.borrow() => return Err(error),
                Err(error) if error.is_transient() && tries < TRIES => sleep(PAUSE).await,
                // What the program ran into may be what the tenant's code says.
                Err(Error::Refused { call: RESTORE, message, .. }) => return Ok(Restoring::Failed(message)),
                Err(error) => return Ok(Restoring::NotRestored(error.to_string())),
            }
        }
    }

    async fn tried(&self, time: Duration, cancelled: &watch::Receiver<bool>) -> Result<Restoring, Error> {
        let begun = Instant::now();
        let extensions = self.written.facts.pointer("/extensions/entries").cloned().unwrap_or_else(|| json!([]));
        let compared = self.lane.with_scratch(self.job.job_id, &extensions, async |scratch| {
            let (schema_id, cancelled) = (self.begun.schema_id, cancelled.clone());
            let restored = self.lane.for_backup(schema_id, false, time, cancelled, async |session, time| {
                let late = || {
                    let text =
                        format!("it took longer than {} s, the time that a tenant of its size has", time.as_secs());
                    Ok(Compared::Not(Restoring::NotRestored(text)))
                };
                timeout(time, self.restore_in(scratch, session)).await.unwrap_or_else(|_| late())
            });
            restored.await?
        });
        let counted = match compared.await? {
            Compared::Not(restoring) => return Ok(restoring),
            Compared::Alike { counted } => counted,
        };
        let tables = &self.written.tables;
        let mut how = format!(
            "read back, and restored into a scratch database in {} s: {} with {} hold what was archived, and every constraint was made; rights, \
             owners and positions of sequences were not compared",
            begun.elapsed().as_secs().max(1),
            tables_of(tables.len()),
            count(tables.iter().map(|(_, content)| content.rows).sum(), "row"),
        );
        if counted > 0 {
            let _ = write!(how, "; of {} the rows were counted alone", tables_of(counted));
        }
        Ok(Restoring::Proved(how))
    }

    /// What is known to keep it from being restored by itself.
    fn in_the_way(&self) -> Option<String> {
        let Self { store, begun, written, .. } = self;
        let facts = |path: &str| written.facts.pointer(path);
        if self.key.is_encrypted() && store.identities.is_none() {
            return Some("it is encrypted, and the operator has no identity that reads it".to_owned());
        }
        if facts("/outside/total").and_then(Value::as_u64).unwrap_or_default() > 0 {
            let names = facts("/outside/entries").and_then(Value::as_array).into_iter().flatten();
            let names: Vec<_> = names.filter_map(Value::as_str).take(NAMES).collect();
            return Some(format!("objects in it need what is in other schemas, among that {}", names.join(", ")));
        }
        let extensions = facts("/extensions/entries").and_then(Value::as_array).into_iter().flatten();
        let inside = |extension: &&Value| extension["schema"] == json!(begun.schema_name);
        if let Some(extension) = extensions.into_iter().find(inside) {
            return Some(format!("extension {} is in the schema itself, and no dump has it", extension["name"]));
        }
        let (needed, limit) = (written.artefact.plain_bytes, store.scratch_bytes);
        (needed > limit).then(|| too_large(&format!("it has {} of data", human(needed)), limit))
    }

    /// Restores it in this database, and compares what is there then.
    async fn restore_in(&self, scratch: &BegunScratch, session: &TenantSession) -> Result<Compared, Error> {
        let Self { lane, store, begun, key, .. } = self;
        let Some(program) = store.restore.clone() else { return Ok(Compared::Not(no_program())) };
        let inside = session.beside(&scratch.name).await?;
        inside.make_schema(&begun.schema_name).await?;
        lane.seal_scratch(scratch).await?;
        let (reach, schema) = (reach(inside.program()), Some(begun.schema_name.clone()));
        let with = Restore { program, reach, schema };
        let looked = async {
            let expected = self.expected();
            let identities = store.identities.as_ref();
            match artefact::restore(&store.store, key, &expected, identities, &with).await.map_err(judged) {
                Ok(_) => {}
                Err(Ok(restoring)) => return Ok(Compared::Not(restoring)),
                Err(Err(error)) => return Err(error),
            }
            match contents(&begun.schema_name, &inside, self.written.tables.len()).await {
                Ok(Some(found)) => Ok(compared(&self.written.tables, &found)),
                Ok(None) => Ok(Compared::Not(Restoring::Failed(
                    "what was restored has more tables than were archived".to_owned(),
                ))),
                Err(error) if error.is_transient() => Err(error),
                Err(error) => {
                    let why = format!("what was restored cannot be read: {error}");
                    Ok(Compared::Not(Restoring::Failed(why)))
                }
            }
        };
        tokio::select! {
            compared = looked => compared,
            // A tenant's own code runs when its indexes and constraints are made, and it could fill the disk.
            why = outgrown(lane, &scratch.name, store.scratch_bytes) => Ok(Compared::Not(Restoring::NotRestored(why))),
        }
    }
}

/// What a comparison gave.
enum Compared {
    /// Every table holds what was archived; of so many the rows were counted alone.
    Alike { counted: usize },
    /// Not that.
    Not(Restoring),
}

/// What the tables hold that were restored, by their names; nothing if they are more than `most`, each of which takes a lock.
async fn contents(
    schema: &str,
    inside: &TenantSession,
    most: usize,
) -> Result<Option<BTreeMap<String, Restored>>, Error> {
    let mut found = BTreeMap::new();
    let Some(schema_oid) = inside.schema(schema).await? else { return Ok(Some(found)) };
    if inside.count_tables(schema_oid).await? > most {
        return Ok(None);
    }
    for table in inside.hold_tables(schema_oid, schema).await?.tables {
        let content = inside.content(&table).await?;
        found.insert(table.name, Restored { columns: table.columns, content });
    }
    Ok(Some(found))
}

/// A table that was restored.
struct Restored {
    columns: Vec<String>,
    content: Content,
}

fn no_program() -> Restoring {
    Restoring::NotRestored("the operator has no pg_restore".to_owned())
}

fn tables_of(number: usize) -> String {
    count(i64::try_from(number).unwrap_or(i64::MAX), "table")
}

/// Completes when the database has more bytes than this, or that cannot be seen for long; says which.
async fn outgrown(lane: &Lane, name: &str, limit: u64) -> String {
    let mut unseen = 0;
    loop {
        sleep(LOOK).await;
        match lane.functions().scratch_size(name).await {
            Ok(size) if size > limit => {
                return too_large(&format!("the scratch database had {} by then", human(size)), limit);
            }
            Ok(_) => unseen = 0,
            Err(error) if unseen == UNSEEN => return format!("its scratch database's size cannot be seen: {error}"),
            Err(_) => unseen += 1,
        }
    }
}

fn too_large(what: &str, limit: u64) -> String {
    format!("{what}, and spec.backupStore.scratchSizeLimit of the TenantDatabase is {}", human(limit))
}

/// What a failed restore says of the archive; or the error, if another try may do better. What an error of a statement says may be a
/// tenant's words, so none of them counts as proof that it is not the archive's.
fn judged(error: RestoreError) -> Result<Restoring, Error> {
    match error {
        RestoreError::Program(DumpError::Denied(message)) if message.starts_with(CONNECTING) => {
            Ok(Restoring::NotRestored(format!(
                "the server does not let the tenant's run login into a scratch database ({message}); a line of pg_hba.conf that lets all of \
                 them, from PostgreSQL 16 on: host \"/^edu_matrix_scratch_[0-9a-f]{{32}}$\" +GROUP OPERATOR_ADDRESS scram-sha-256, where \
                 GROUP is the role edu_matrix_connect_… that all logins of tenants are members of"
            )))
        }
        RestoreError::Program(DumpError::Failed { code: Some(_), message }) => {
            Ok(Restoring::Failed(format!("pg_restore failed: {message}")))
        }
        error if error.may_pass() => Err(Error::Refused { call: RESTORE, message: error.to_string(), may_pass: true }),
        error => Ok(Restoring::Failed(error.to_string())),
    }
}

/// Compares what was restored with what was archived. A dump does not keep the order of columns that were added to a parent of the table
/// later, and the hash has them in that order.
fn compared(archived: &[(ArchivedTable, Content)], found: &BTreeMap<String, Restored>) -> Compared {
    let (mut differs, mut counted) = (Vec::new(), 0);
    for (ArchivedTable { name, columns, .. }, content) in archived {
        let Some(restored) = found.get(name) else {
            differs.push(format!("table {name:?} is missing"));
            continue;
        };
        let (rows, same_order) = (restored.content.rows, restored.columns == *columns);
        if rows != content.rows {
            let rows = |rows| count(rows, "row");
            differs.push(format!(
                "table {name:?} has {} instead of {}",
                rows(restored.content.rows),
                rows(content.rows)
            ));
        } else if sorted(&restored.columns) != sorted(columns) {
            differs.push(format!("table {name:?} has other columns"));
        } else if same_order && restored.content.hash != content.hash {
            differs.push(format!("table {name:?} has other rows"));
        }
        counted += usize::from(!same_order);
    }
    let told = match differs.len() {
        0 if found.len() == archived.len() => return Compared::Alike { counted },
        0 => format!("it has {} instead of {}", tables_of(found.len()), tables_of(archived.len())),
        1..=NAMES => differs.join(", "),
        _ => format!("{}, and more", differs[..NAMES].join(", ")),
    };
    Compared::Not(Restoring::Failed(format!("what was restored is not what was archived: {told}")))
}

fn sorted(columns: &[String]) -> Vec<&String> {
    let mut columns: Vec<_> = columns.iter().collect();
    columns.sort();
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn content(rows: i64, hash: &str) -> Content {
        Content { rows, hash: hash.to_owned() }
    }

    #[test]
    fn every_difference_is_told_and_another_order_of_columns_is_none() {
        let check = |found: &[(&str, &str, i64, &str)], expected: Result<usize, &str>| {
            let archived = [("a", 1), ("b", 2), ("c", 3), ("d", 4)]
                .map(|(name, rows)| (ArchivedTable::of(name, words("x y")), content(rows, "h")));
            let found: BTreeMap<_, _> = found
                .iter()
                .map(|(name, columns, rows, hash)| {
                    ((*name).to_owned(), Restored { columns: words(columns), content: content(*rows, hash) })
                })
                .collect();
            match (compared(&archived, &found), expected) {
                (Compared::Alike { counted }, Ok(expected)) => assert_eq!(counted, expected),
                (Compared::Not(Restoring::Failed(why)), Err(expected)) => {
                    assert_eq!(why, format!("what was restored is not what was archived: {expected}"));
                }
                (_, expected) => panic!("not {expected:?}"),
            }
        };
        let same = [("a", "x y", 1, "h"), ("b", "x y", 2, "h"), ("c", "x y", 3, "h"), ("d", "x y", 4, "h")];
        let but = |change| [&same[..3], &[change]].concat();
        check(&same, Ok(0));
        check(&but(("d", "y x", 4, "other")), Ok(1));
        check(&but(("d", "y x", 5, "other")), Err("table \"d\" has 5 rows instead of 4 rows"));
        check(&but(("d", "y z", 4, "h")), Err("table \"d\" has other columns"));
        check(&but(("d", "x y", 4, "other")), Err("table \"d\" has other rows"));
        check(&[&same[..], &[("e", "x", 0, "h")]].concat(), Err("it has 5 tables instead of 4 tables"));
        check(&same[3..], Err("table \"a\" is missing, table \"b\" is missing, table \"c\" is missing"));
        check(&[], Err("table \"a\" is missing, table \"b\" is missing, table \"c\" is missing, and more"));
    }

    #[test]
    fn only_what_is_in_the_archive_speaks_against_it() {
        let check = |error: DumpError, expected: &str| {
            let found = match judged(error.into()) {
                Ok(Restoring::Failed(_)) => "failed",
                Ok(Restoring::NotRestored(_)) => "not restored",
                Ok(Restoring::Proved(_)) => "proved",
                Err(error) if error.is_transient() => "again",
                Err(_) => "error",
            };
            assert_eq!(found, expected);
        };
        let failed = |code, message: &str| DumpError::Failed { code, message: message.to_owned() };
        check(failed(Some(1), "relation \"pupils\" does not exist"), "failed");
        check(failed(None, ""), "again");
        check(DumpError::Connection("reset".to_owned()), "again");
        check(DumpError::Memory("long".to_owned()), "failed");
        check(DumpError::Denied("no pg_hba.conf entry".to_owned()), "failed");
        check(DumpError::Denied(format!("{CONNECTING} at x failed: FATAL: no pg_hba.conf entry")), "not restored");
        check(DumpError::RowSecurity("t".to_owned()), "failed");
    }
}
