//! Proving an archive: it is read back and compared, and restored into a scratch database if that was asked for.
//!
//! What is read back and is not what was written makes the attempt fail, since another may do better. An archive that is what was
//! written and cannot be restored is kept: it may be all that there is of the data. What was not proved is recorded beside it.

use std::{collections::BTreeMap, time::Duration};

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
    contract::{BegunArchive, ClaimedJob, Proof},
    lane::{Lane, archives::ArchiveStore},
    postgres::{Content, Error, TenantSession},
    quantity::human,
    text::count,
};

/// How often it is looked how large the scratch database is.
const LOOK: Duration = Duration::from_secs(2);
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

/// Why an archive was not proved by restoring it.
enum Unproved {
    /// It was not tried, or could not be carried through for a reason that is not the archive's.
    NotRestored(String),
    /// It was tried, and did not give what was archived.
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
            Ok(how) => {
                Proof { verified_by: Some(Verification::Restore.as_str()), verified_how: Some(how), unproved: None }
            }
            Err(Unproved::NotRestored(why)) => Proof { unproved: Some(why), ..by_checksum },
            Err(Unproved::Failed(why)) => Proof { unproved: Some(why), ..Proof::default() },
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

    /// Restores the archive, compares every table, and says how.
    async fn restored(
        &self,
        time: Duration,
        cancelled: &watch::Receiver<bool>,
    ) -> Result<Result<String, Unproved>, Failed> {
        if let Some(why) = self.in_the_way() {
            return Ok(Err(Unproved::NotRestored(why)));
        }
        let begun = Instant::now();
        let extensions = self.written.facts.pointer("/extensions/entries").cloned().unwrap_or_else(|| json!([]));
        let worked = self.lane.with_scratch(self.job.job_id, &extensions, async |name| {
            let (schema_id, cancelled) = (self.begun.schema_id, cancelled.clone());
            let restored = self.lane.for_backup(schema_id, time, cancelled, async |session, time| {
                let restored = timeout(time, self.restore_in(name, session)).await;
                let late = || Unproved::NotRestored(format!("restoring it took longer than {} s", time.as_secs()));
                restored.unwrap_or_else(|_| Ok(Err(late())))
            });
            restored.await
        });
        match worked.await {
            Ok(Ok(Ok(Ok(())))) => {}
            Ok(Ok(Ok(Err(unproved)))) => return Ok(Err(unproved)),
            Ok(Ok(Err(failed))) => return Err(failed),
            Ok(Err(why)) => return Ok(Err(Unproved::NotRestored(no_scratch(&why)))),
            Err(error) if error.is_transient() => return Err(error.into()),
            Err(error) => return Ok(Err(Unproved::NotRestored(no_scratch(&error)))),
        }
        let tables = &self.written.tables;
        Ok(Ok(format!(
            "read back, and restored into a scratch database in {} s: {} with {} hold what was archived, and every constraint was made; rights, \
             owners and positions of sequences were not compared",
            begun.elapsed().as_secs().max(1),
            tables_of(tables.len()),
            count(tables.iter().map(|(_, content)| content.rows).sum(), "row"),
        )))
    }

    /// What is known to keep it from being restored by itself.
    fn in_the_way(&self) -> Option<String> {
        let Self { store, begun, written, .. } = self;
        let facts = |path: &str| written.facts.pointer(path);
        if store.restore.is_none() {
            return Some("the operator has no pg_restore".to_owned());
        }
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
    async fn restore_in(&self, name: &str, session: &TenantSession) -> Result<Result<(), Unproved>, Failed> {
        let Self { lane, store, begun, key, .. } = self;
        let Some(program) = store.restore.clone() else { return Ok(Ok(())) };
        let with = Restore { program, reach: reach(session.program(), name) };
        let expected = self.expected();
        let restoring = artefact::restore(&store.store, key, &expected, store.identities.as_ref(), &with);
        let restored = tokio::select! {
            restored = restoring => restored,
            // A tenant's own code runs when its indexes and constraints are made, and it could fill the disk.
            size = larger_than(lane, name, store.scratch_bytes) => {
                let size = format!("the scratch database had {} by then", human(size));
                return Ok(Err(Unproved::NotRestored(too_large(&size, store.scratch_bytes))));
            }
        };
        match restored {
            Ok(_) => {}
            Err(RestoreError::Program(error)) if !matches!(error, DumpError::Connection(_)) => {
                return Ok(Err(told(&error)));
            }
            Err(error) if error.may_pass() => return Err(error.into()),
            Err(error) => return Ok(Err(Unproved::Failed(error.to_string()))),
        }
        let found = match contents(name, &begun.schema_name, session).await {
            Ok(found) => found,
            Err(error) if error.is_transient() => return Err(error.into()),
            Err(error) => return Ok(Err(Unproved::Failed(format!("what was restored cannot be read: {error}")))),
        };
        let archived = self.written.tables.iter().map(|(table, content)| (table.name.as_str(), content));
        Ok(differences(archived, &found).map_or(Ok(()), |why| Err(Unproved::Failed(why))))
    }
}

/// What the tables hold that were restored.
async fn contents(name: &str, schema: &str, session: &TenantSession) -> Result<BTreeMap<String, Content>, Error> {
    let (inside, schema_oid) = session.beside(name, schema).await?;
    let mut found = BTreeMap::new();
    for table in inside.hold_tables(schema_oid, schema).await?.tables {
        let content = inside.content(&table).await?;
        found.insert(table.name, content);
    }
    Ok(found)
}

fn no_scratch(why: &impl std::fmt::Display) -> String {
    format!("a scratch database could not be made or used: {why}")
}

fn tables_of(number: usize) -> String {
    count(i64::try_from(number).unwrap_or(i64::MAX), "table")
}

/// Completes when the database has more bytes than this.
async fn larger_than(lane: &Lane, name: &str, limit: u64) -> u64 {
    loop {
        sleep(LOOK).await;
        match lane.functions().scratch_size(name).await {
            Ok(size) if size > limit => return size,
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(database = lane.database, %error, "cannot see how large a scratch database is");
            }
        }
    }
}

fn too_large(what: &str, limit: u64) -> String {
    format!("{what}, and spec.backupStore.scratchSizeLimit of the TenantDatabase is {}", human(limit))
}

/// What it means that `pg_restore` failed.
fn told(error: &DumpError) -> Unproved {
    match error {
        DumpError::Denied(message) if message.contains("pg_hba.conf") => Unproved::NotRestored(format!(
            "the server does not let the tenant's run login into a scratch database ({message}); let a line of pg_hba.conf do that, as the \
             page on archives says"
        )),
        error => Unproved::Failed(format!("pg_restore failed: {error}")),
    }
}

/// How the tables differ that were restored, if they do.
fn differences<'a>(
    archived: impl Iterator<Item = (&'a str, &'a Content)>,
    found: &BTreeMap<String, Content>,
) -> Option<String> {
    let mut known = 0;
    let differs = archived.inspect(|_| known += 1).filter_map(|(name, content)| match found.get(name) {
        None => Some(format!("table {name:?} is missing")),
        Some(other) if other.rows != content.rows => {
            Some(format!("table {name:?} has {} instead of {}", count(other.rows, "row"), count(content.rows, "row")))
        }
        Some(other) if other.hash != content.hash => Some(format!("table {name:?} has other rows")),
        Some(_) => None,
    });
    let differs: Vec<_> = differs.collect();
    let told = match differs.len() {
        0 if found.len() == known => return None,
        0 => format!("it has {} instead of {}", tables_of(found.len()), tables_of(known)),
        1..=NAMES => differs.join(", "),
        _ => format!("{}, and more", differs[..NAMES].join(", ")),
    };
    Some(format!("what was restored is not what was archived: {told}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(rows: i64, hash: &str) -> Content {
        Content { rows, hash: hash.to_owned() }
    }

    #[test]
    fn every_difference_is_told_and_equal_tables_are_none() {
        let check = |found: &[(&str, i64, &str)], expected: Option<&str>| {
            let archived = [("a", 1), ("b", 2), ("c", 3), ("d", 4)].map(|(name, rows)| (name, content(rows, "h")));
            let found: BTreeMap<_, _> =
                found.iter().map(|(name, rows, hash)| ((*name).to_owned(), content(*rows, hash))).collect();
            assert_eq!(
                differences(archived.iter().map(|(name, content)| (*name, content)), &found).as_deref(),
                expected,
                "{found:?}"
            );
        };
        let same = [("a", 1, "h"), ("b", 2, "h"), ("c", 3, "h"), ("d", 4, "h")];
        check(&same, None);
        check(
            &[&same[..], &[("e", 0, "h")]].concat(),
            Some("what was restored is not what was archived: it has 5 tables instead of 4 tables"),
        );
        check(
            &[("a", 1, "h"), ("b", 1, "h"), ("d", 4, "other")],
            Some(
                "what was restored is not what was archived: table \"b\" has 1 row instead of 2 rows, table \"c\" is missing, table \"d\" \
                 has other rows",
            ),
        );
        check(
            &[],
            Some(
                "what was restored is not what was archived: table \"a\" is missing, table \"b\" is missing, table \"c\" is missing, and more",
            ),
        );
    }
}
