//! What the jobs of class `program` do: an archive is written into the store of the database, and removed from it.
//!
//! The database knows of an attempt before a byte of it is in the store, and of its end after the last; so an operator that dies leaves
//! nothing that the next does not find. `pg_dump` and everything that reads the tenant's tables works as the tenant, in a session of
//! its own, in one snapshot. The manifest is written last: an artefact without one does not count.

use std::time::Duration;

use artefact::{
    Artefact, Dump, Key, Manifest, Place, Program, Reach, Secret,
    error::{ArchiveError, CheckError, ManifestError, StoreError},
    manifest::{ArtefactFacts, Compression, Encryption, Sequence, Table},
};
use bytes::Bytes;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use thiserror::Error as ThisError;
use tokio::{sync::watch, time::timeout};
use uuid::Uuid;

use super::{Ended, Outcome, is_retried, verify::Subject};
use crate::{
    api::{connection::TlsMode, schema_backup::Verification},
    contract::{
        ArchiveUpload, BegunArchive, BegunRemoval, CallResult, CallStatus, ClaimedJob, JobObject, MadeArchive,
        ObjectKind, Refusal,
    },
    lane::{Lane, archives::ArchiveStore},
    postgres::{ArchivedTable, Content, Error, ProgramConnection, TenantSession},
    text::hex,
};

/// How long a lock on a table is waited for by the program. Meanwhile what waits behind it waits too.
const LOCK_WAIT: Duration = Duration::from_secs(30);
/// How long the program may take to connect.
const CONNECT: Duration = Duration::from_secs(15);

/// Why there is no archive, where that is not the database's word.
#[derive(Debug, ThisError)]
pub(super) enum Failed {
    /// The database.
    #[error(transparent)]
    Database(#[from] Error),
    /// Dumping and writing.
    #[error("the archive could not be written: {0}")]
    Write(#[from] ArchiveError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Reading it back.
    #[error("the archive was written, and read back it is not that: {0}")]
    Check(#[from] CheckError),
    /// The manifest, read back.
    #[error("the manifest was written, and read back it has the SHA-256 {found} and not {expected}")]
    ManifestBack {
        /// What was written.
        expected: String,
        /// What came back.
        found: String,
    },
    /// The manifest.
    #[error("the manifest could not be written: {0}")]
    Manifest(#[from] ManifestError),
}

impl Failed {
    /// As the runner records it.
    fn into_error(self, lane: &Lane) -> Error {
        let (of_store, may_pass) = match &self {
            Self::Database(_)
            | Self::Manifest(_)
            | Self::Check(CheckError::WrongKey | CheckError::Damaged(_) | CheckError::Listing(_)) => (false, false),
            Self::Write(error) => (matches!(error, ArchiveError::Store(_)), error.may_pass()),
            Self::Store(error) | Self::Check(CheckError::Store(error)) => (true, error.may_pass()),
            // What the store gave back wrong it may give back right when all of it is written again.
            Self::Check(CheckError::Missing(_) | CheckError::Length { .. } | CheckError::Digest { .. })
            | Self::ManifestBack { .. } => (true, true),
        };
        if of_store {
            lane.doubt_store();
        }
        match self {
            Self::Database(error) => error,
            other => Error::Refused { call: "archive", message: other.to_string(), may_pass: of_store || may_pass },
        }
    }
}

/// What an attempt wrote.
pub(super) struct Written {
    pub tables: Vec<(ArchivedTable, Content)>,
    pub facts: Value,
    pub artefact: Artefact,
    taken_at: Timestamp,
}

/// Writes an archive of the job's tenant, proves it, and has it recorded.
pub(super) async fn archive(
    lane: &Lane,
    job: &ClaimedJob,
    time: Duration,
    cancelled: watch::Receiver<bool>,
) -> Result<Ended, Error> {
    let store = lane.archives.get().map_err(|why| unusable(&why))?;
    let installation_id = lane.hold.installation_id;
    let (Some(schema_id), Some(backup_id)) = (job.schema_id, job.backup_id) else { return Err(incomplete()) };
    let place = Place { installation_id, schema_id, backup_id, attempt: Uuid::new_v4() };
    let (key, manifest_key) = (place.dump(store.recipients.is_some()), place.manifest());
    let upload = ArchiveUpload {
        attempt: place.attempt,
        store: store.name(),
        location: key.to_string(),
        manifest_location: manifest_key.to_string(),
    };
    let begun: BegunArchive =
        match detail("begin_archive", lane, lane.functions().begin_archive(lane.hold, job.job_id, &upload).await?)? {
            Ok(begun) => begun,
            Err(ended) => return Ok(ended),
        };
    for left in &begun.leftovers {
        // What cannot be deleted now is found again by the next attempt, or by the removal.
        if let Err(error) = remove_upload(lane, &store, left).await {
            tracing::debug!(database = lane.database, %error, "cannot delete what an earlier attempt left");
        }
    }
    let worked = lane
        .for_backup(schema_id, true, time, cancelled.clone(), async |session, time| {
            timeout(time, write(&store, session, &begun, &place)).await.unwrap_or_else(|_| Err(too_long(time).into()))
        })
        .await;
    let made = async {
        let written = worked.map_err(Failed::Database).flatten()?;
        let subject = Subject { lane, job, store: &store, begun: &begun, key: &key, written: &written };
        let proof = subject.proof(time, &cancelled).await?;
        let (manifest, bytes) = manifest(lane, job, &store, &begun, place, &key, &written)?;
        let manifest_sha256 = hex(&Sha256::digest(&bytes));
        within(time, &cancelled, put_manifest(&store, &begun, &manifest_key, bytes.into())).await?;
        let rows = |tables: &[Table]| tables.iter().map(|table| table.rows).sum();
        let checksum = Sha256::digest(serde_json::to_vec(&manifest.tables).unwrap_or_default());
        Ok::<_, Failed>(MadeArchive {
            attempt: place.attempt,
            location: upload.location.clone(),
            store: upload.store.clone(),
            size_bytes: written.artefact.bytes,
            table_count: manifest.tables.len() as u64,
            row_count: rows(&manifest.tables),
            checksum: hex(&checksum),
            artefact_sha256: written.artefact.sha256.clone(),
            manifest_sha256,
            manifest: json!({ "format": manifest.format, "taken_at": manifest.taken_at }),
            proof,
        })
    };
    let made = match made.await {
        Ok(made) => made,
        Err(failed) => {
            // The next attempt has another key; what is left of this one goes now, or with that.
            let _ = remove_upload(lane, &store, &upload).await;
            return Err(failed.into_error(lane));
        }
    };
    let result = lane.functions().record_archive(lane.hold, job.job_id, &made).await?;
    lane.judge(&result);
    if result.status == CallStatus::Error && result.reason() == Refusal::Cancelled {
        let _ = remove_upload(lane, &store, &upload).await;
    }
    Ok(ended(lane, result))
}

/// Removes an archive, and what attempts at it left.
pub(super) async fn remove(lane: &Lane, job: &ClaimedJob) -> Result<Ended, Error> {
    let store = lane.archives.for_removal().map_err(|why| unusable(&why))?;
    let begun: BegunRemoval =
        match detail("begin_removal", lane, lane.functions().begin_removal(lane.hold, job.job_id).await?)? {
            Ok(begun) => begun,
            Err(ended) => return Ok(ended),
        };
    let mut kept = false;
    for upload in &begun.uploads {
        match remove_upload(lane, &store, upload).await {
            Ok(()) => {}
            // The store lets nothing be deleted, by a right or by an object lock: what is there is left to it.
            Err(Failed::Store(StoreError::Refused(_))) if !store.may_delete => kept = true,
            Err(failed) => return Err(failed.into_error(lane)),
        }
    }
    // That nothing is there means nothing in another store: one that was mounted, or answers, in the place of this one.
    if let Err(error) = store.is_still_there(lane.hold.installation_id).await {
        return Err(Failed::Store(error).into_error(lane));
    }
    let result = lane.functions().record_removal(lane.hold, job.job_id, kept).await?;
    Ok(ended(lane, result))
}

/// Deletes what an attempt wrote, the manifest first: without it the rest does not count.
async fn remove_upload(lane: &Lane, store: &ArchiveStore, upload: &ArchiveUpload) -> Result<(), Failed> {
    let name = store.name();
    if upload.store != name {
        let message = format!(
            "{} is in {}, and spec.backupStore of TenantDatabase {} is {name} now; its removal waits until that leads there again",
            upload.location, upload.store, lane.database
        );
        return Err(Error::Refused { call: "archive", message, may_pass: true }.into());
    }
    for name in [&upload.manifest_location, &upload.location] {
        // Only what begins with our installation is a key.
        let Some(key) = Key::parse(lane.hold.installation_id, name) else { continue };
        store.store.delete(&key).await?;
    }
    lane.functions().drop_upload(lane.hold, upload.attempt).await?;
    Ok(())
}

/// Dumps the tenant's schema into the store, and counts and hashes its tables in the same snapshot.
async fn write(
    store: &ArchiveStore,
    session: &TenantSession,
    begun: &BegunArchive,
    place: &Place,
) -> Result<Written, Failed> {
    let held = session.hold_tables(begun.schema_oid, &begun.schema_name).await?;
    let taken_at = Timestamp::now();
    let Some(pg_dump) = store.dump.clone() else { return Err(unusable("there is no pg_dump").into()) };
    let without_comments = !session.comments_are_few().await?;
    let reached = session.program();
    let dump = Dump { without_comments, ..dump(pg_dump, reached, &begun.schema_name, held.snapshot.clone()) };
    let counted = async {
        let mut tables = Vec::with_capacity(held.tables.len());
        for table in held.tables {
            let content = session.content(&table).await?;
            tables.push((table, content));
        }
        let facts = session.facts(begun.schema_oid).await?;
        Ok::<_, Failed>((tables, facts))
    };
    let written = async {
        let source = dump.start().map_err(ArchiveError::from)?;
        let (recipients, limit) = (store.recipients.as_ref(), store.bytes_per_second);
        Ok::<_, Failed>(artefact::archive(&store.store, place, source, recipients, limit, |_| {}).await?)
    };
    let ((tables, mut facts), artefact) = futures::try_join!(counted, written)?;
    // A session that was ended meanwhile let the tables go before all of them were dumped.
    session.still_holds().await?;
    facts["comments"] = json!(if without_comments { "left out" } else { "included" });
    Ok(Written { tables, facts, artefact, taken_at })
}

/// How `pg_dump` is called.
fn dump(pg_dump: Program, program: &ProgramConnection, schema: &str, snapshot: String) -> Dump {
    Dump {
        program: pg_dump,
        reach: reach(program),
        snapshot,
        schema: schema.to_owned(),
        lock_wait: LOCK_WAIT,
        without_comments: false,
    }
}

/// How a program reaches the database of a session.
pub(super) fn reach(program: &ProgramConnection) -> Reach {
    let ssl_mode = match program.tls {
        TlsMode::Disable => "disable",
        TlsMode::Prefer => "prefer",
        TlsMode::Require => "require",
        TlsMode::VerifyCA => "verify-ca",
        TlsMode::VerifyFull => "verify-full",
    };
    Reach {
        host: program.hosts.join(","),
        ports: program.ports.clone(),
        database: program.database.clone(),
        user: program.user.clone(),
        password: Some(Secret::from(program.password.as_str())),
        options: program.options.clone(),
        ssl_mode: ssl_mode.to_owned(),
        ca_pem: program.ca_pem.clone(),
        connect_timeout: CONNECT,
        target_session: program.is_read_write.then(|| "read-write".to_owned()),
    }
}

/// Writes the manifest, and reads it back where the archive was read back.
async fn put_manifest(store: &ArchiveStore, begun: &BegunArchive, key: &Key, bytes: Bytes) -> Result<(), Failed> {
    store.store.put_new(key, bytes.clone()).await?;
    if begun.verification.as_deref() == Some(Verification::None.as_str()) {
        return Ok(());
    }
    let found = store.store.get_small(key, artefact::manifest::MOST_BYTES as u64).await?;
    if found == bytes {
        return Ok(());
    }
    let [expected, found] = [bytes, found].map(|bytes| hex(&Sha256::digest(&bytes)));
    Err(Failed::ManifestBack { expected, found })
}

/// What is told beside the artefact.
fn manifest(
    lane: &Lane,
    job: &ClaimedJob,
    store: &ArchiveStore,
    begun: &BegunArchive,
    place: Place,
    key: &Key,
    written: &Written,
) -> Result<(Manifest, Vec<u8>), Failed> {
    let Place { installation_id, schema_id, backup_id, attempt } = place;
    let text = |key: &str| written.facts.get(key).and_then(Value::as_str).map(str::to_owned);
    let sequence = |entry: &Value| {
        Some(Sequence {
            name: entry.get("name")?.as_str()?.to_owned(),
            // Of one that the tenant's owner role may not read no position is known.
            last_value: entry.get("last_value")?.as_i64()?,
            is_called: entry.get("is_called")?.as_bool()?,
        })
    };
    let sequences = written.facts.pointer("/sequences/entries").and_then(Value::as_array);
    let tables = written.tables.iter().map(|(table, content)| Table {
        name: table.name.clone(),
        rows: content.rows.unsigned_abs(),
        hash: content.hash.clone(),
    });
    let manifest = Manifest {
        format: artefact::manifest::FORMAT,
        tenant: tenant(job),
        schema: begun.schema_name.clone(),
        schema_id,
        backup_id,
        attempt,
        installation_id,
        institution_id: None,
        taken_at: written.taken_at.to_string(),
        database: lane.place.database.clone(),
        server_version_num: begun.server_version_num.unsigned_abs(),
        pg_dump_version: store.dump.as_ref().map(|program| program.version().to_owned()).unwrap_or_default(),
        operator_version: env!("CARGO_PKG_VERSION").to_owned(),
        encoding: text("encoding").unwrap_or_default(),
        tables: tables.collect(),
        sequences: sequences.into_iter().flatten().filter_map(sequence).collect(),
        facts: written.facts.clone(),
        artefact: ArtefactFacts {
            key: key.to_string(),
            bytes: written.artefact.bytes,
            sha256: written.artefact.sha256.clone(),
            plain_bytes: written.artefact.plain_bytes,
            compression: Compression::Zstd,
            encryption: if store.recipients.is_some() { Encryption::Age } else { Encryption::None },
            recipients: store.recipients.as_ref().map(artefact::Recipients::texts).unwrap_or_default(),
        },
    };
    let bytes = manifest.to_bytes()?;
    Ok((manifest, bytes))
}

/// The object that the tenant belongs to.
fn tenant(job: &ClaimedJob) -> Option<artefact::manifest::Tenant> {
    let object = job.wake.iter().flatten().find(|object| object.kind == ObjectKind::TenantSchema)?;
    let JobObject { namespace, name, uid, .. } = object.clone();
    Some(artefact::manifest::Tenant { namespace: namespace.unwrap_or_default(), name, uid })
}

fn unusable(why: &str) -> Error {
    Error::Refused { call: "archive", message: why.to_string(), may_pass: true }
}

/// Does what needs no session of the tenant's and may be given up at any moment: when it takes longer than `time`, or is `cancelled`.
pub(super) async fn within<T>(
    time: Duration,
    cancelled: &watch::Receiver<bool>,
    work: impl Future<Output = Result<T, Failed>>,
) -> Result<T, Failed> {
    let mut ends = cancelled.clone();
    tokio::select! {
        done = timeout(time, work) => done.unwrap_or_else(|_| Err(too_long(time).into())),
        // An error means that the sender is gone, which job_ended does only after this ended.
        _ = ends.wait_for(|cancelled| *cancelled) => Err(Error::LaneClosed.into()),
    }
}

/// Each has an end, or one that never ends would keep its place from all others.
pub(super) fn too_long(deadline: Duration) -> Error {
    Error::Deadline { call: "archive", deadline }
}

/// The functions of another release answered otherwise than these do.
fn incomplete() -> Error {
    Error::Refused { call: "claim_job", message: "the job names no tenant or no backup".to_owned(), may_pass: false }
}

/// What a call answered that goes on, or how the attempt ended.
fn detail<T: DeserializeOwned>(call: &'static str, lane: &Lane, result: CallResult) -> Result<Result<T, Ended>, Error> {
    match result.status {
        CallStatus::Success | CallStatus::Unchanged => {
            serde_json::from_value(result.detail).map(Ok).map_err(|source| Error::Answer { call, source })
        }
        CallStatus::Busy | CallStatus::Error | CallStatus::Partial => Ok(Err(ended(lane, result))),
    }
}

/// How an attempt ended that the database has recorded.
pub(super) fn ended(lane: &Lane, result: CallResult) -> Ended {
    let outcome = match result.status {
        _ if result.lane_lost() => {
            lane.refuse();
            Outcome::Lost
        }
        CallStatus::Success | CallStatus::Unchanged => Outcome::Success,
        // The catalogue has it as requested again.
        CallStatus::Busy | CallStatus::Partial => Outcome::Retry,
        // A removal with something in its way that a person must remove is tried again as well, and metrics count it as an error.
        CallStatus::Error if is_retried(&result) && result.may_pass() => Outcome::Retry,
        CallStatus::Error if result.reason() == Refusal::Cancelled => Outcome::Cancelled,
        CallStatus::Error => Outcome::Error,
    };
    Ended { outcome, message: result.message }
}
