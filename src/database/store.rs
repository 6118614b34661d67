//! The backup store of a database: read from the spec and its Secrets, tried by writing to it, and given to the lane.
//!
//! A look may take long where the store does not answer, so it runs beside the passes of the driver, which tell what the latest one
//! found. A store that works is looked at again every ten minutes, and at once when an archive could not be written; one that does
//! not at every pass.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use artefact::{
    Identities, Key, Probe, Program, Recipients, Secret, Store, StoreAccess, StoreUrl,
    error::{DumpError, StoreError},
};
use kube::ResourceExt;
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};
use uuid::Uuid;

use super::{
    open::FOR_ARCHIVES,
    resolve::{Unresolved, authority},
    work::Work,
};
use crate::{
    api::{
        TenantDatabase,
        backup_store::{BackupStore, Encryption},
        condition::{Readiness, Reason, Verdict},
        connection::SecretRef,
    },
    frame::{Context, chain},
    kubernetes::secrets,
    lane::archives::{ArchiveStore, Writer},
};

/// When a store that works is looked at again.
const WELL: Duration = Duration::from_mins(10);
/// When one that does not is looked at again at the earliest: what wakes the driver may come often.
const AGAIN: Duration = Duration::from_secs(4);
/// No look takes longer.
const LONGEST: Duration = Duration::from_secs(45);
/// The key of the Secret with the identity.
const IDENTITY: &str = "identity";

/// What is remembered of the store from one pass to the next.
#[derive(Debug, Default)]
pub struct StoreMemory {
    /// What is to be told of it.
    pub told: Told,
    /// The URL and the id of the store that was found.
    pub id: Option<(String, Uuid)>,
    /// What the spec says of it, and until when counts how that was found.
    asked: Option<BackupStore>,
    counts_until: Option<Instant>,
    task: Option<JoinHandle<()>>,
}

/// What is to be told of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Told {
    /// What was told before: it was not looked at since the lane was opened.
    #[default]
    AsBefore,
    /// Nothing, since the spec has none.
    NoStore,
    /// How it was found.
    Found(Verdict),
}

/// Why archives cannot be kept.
struct Unusable {
    reason: Reason,
    message: String,
}

/// What a look found.
struct Looked {
    /// The store, if it is ours, also where nothing can be written into it.
    store: Option<ArchiveStore>,
    /// What is to be said of it, or why archives cannot be kept.
    verdict: Result<String, Unusable>,
}

/// Begins a look at the store, if one is due. A store that is another one in the spec is not used until it was looked at.
pub fn look(database: &Arc<TenantDatabase>, work: &Arc<Work>, ctx: &Arc<Context>) {
    let name = database.name_any();
    let Some(spec) = database.spec.backup_store.clone() else {
        let message = format!("TenantDatabase {name} has no spec.backupStore, so nothing is archived");
        work.lane.archives.set(None, Some(message.into()));
        work.memory(|memory| memory.store = StoreMemory { told: Told::NoStore, ..StoreMemory::default() });
        return;
    };
    let is_due = work.memory(|memory| {
        let store = &mut memory.store;
        if store.asked.as_ref() != Some(&spec) {
            store.asked = Some(spec.clone());
            store.counts_until = None;
            let message = "it is just being looked at";
            work.lane.archives.set(None, Some(format!("spec.backupStore of TenantDatabase {name}: {message}").into()));
            store.told = Told::Found(Verdict::of(Reason::StoreNotLookedAt, message, Readiness::Unknown));
        }
        if store.task.as_ref().is_some_and(|task| !task.is_finished()) {
            return false;
        }
        work.lane.archives.take_doubt() || store.counts_until.is_none_or(|until| until <= Instant::now())
    });
    if !is_due {
        return;
    }
    let (database, told, ctx) = (database.clone(), work.clone(), ctx.clone());
    let task = tokio::spawn(async move {
        let found = timeout(LONGEST, looked(&database, &spec, &told, &ctx)).await.unwrap_or_else(|_| {
            let message = format!("{} did not answer within {} s", spec.url, LONGEST.as_secs());
            Looked { store: None, verdict: Err(Unusable { reason: Reason::StoreUnreachable, message }) }
        });
        let (verdict, counts) = match found.verdict {
            Ok(message) => (Verdict::of(Reason::StoreUsable, message, true), WELL),
            Err(Unusable { reason, message }) => (Verdict::of(reason, message, false), AGAIN),
        };
        let is_news = told.memory(|memory| {
            let store = &mut memory.store;
            if store.asked.as_ref() != Some(&spec) {
                // It is another one by now, and is looked at next.
                return true;
            }
            store.counts_until = Some(Instant::now() + counts);
            store.id = found.store.as_ref().map(|found| (spec.url.clone(), found.store_id));
            let is_known = matches!(&store.told, Told::Found(before) if are_alike(before, &verdict));
            let why_not = (verdict.reason() != Reason::StoreUsable).then(|| {
                // What the store answers may be long, and differs from one time to the next.
                let reason = verdict.reason().as_str();
                format!("{reason}, see the condition BackupStoreReady of TenantDatabase {}", database.name_any()).into()
            });
            told.lane.archives.set(found.store.map(Arc::new), why_not);
            if !is_known {
                store.told = Told::Found(verdict);
            }
            !is_known
        });
        // What waits for the store may be done now.
        told.lane.jobs_waiting.notify_one();
        if is_news {
            ctx.wake.database(&database.name_any());
        }
    });
    work.memory(|memory| memory.store.task = Some(task));
}

/// Opens the store and tries it.
async fn looked(database: &TenantDatabase, spec: &BackupStore, work: &Work, ctx: &Context) -> Looked {
    let opened = async {
        let store = opened(spec, ctx).await?;
        let writer = ours(database, &store, work, ctx).await?;
        Ok((store, writer))
    };
    let (store, writer) = match opened.await {
        Ok(opened) => opened,
        Err(unusable) => return Looked { store: None, verdict: Err(unusable) },
    };
    let mut store = ArchiveStore {
        store,
        store_id: writer.store_id,
        recipients: None,
        identities: None,
        may_delete: true,
        bytes_per_second: spec.bandwidth_mib_per_second.and_then(|mib| u64::try_from(mib).ok()).map(|mib| mib << 20),
        dump: None,
        restore: None,
        scratch_bytes: 0,
    };
    let verdict = ready(database, spec, &mut store, work, ctx).await;
    Looked { store: Some(store), verdict }
}

/// Opens the store with what the spec names.
async fn opened(spec: &BackupStore, ctx: &Context) -> Result<Store, Unusable> {
    let url = StoreUrl::parse(&spec.url, ctx.config.file_store_root.as_deref())
        .map_err(|error| invalid(format!("spec.backupStore.url: {}", chain(&error))))?;
    let (client, own) = (&ctx.client, &ctx.config.namespace);
    let mut access = StoreAccess { endpoint: spec.endpoint.clone(), ..StoreAccess::default() };
    if let Some(ca) = &spec.ca_secret_ref {
        access.ca_pem =
            Some(authority(client, ca, own, "spec.backupStore.caSecretRef").await.map_err(|error| unread(&error))?);
    }
    if let Some(secret) = &spec.credentials_secret_ref {
        let (data, _) = keys_of(secret, "spec.backupStore.credentialsSecretRef", ctx).await?;
        access.credentials = data.into_iter().map(|(key, value)| (key, Secret::from(value))).collect();
    }
    Store::open(&url, &access).map_err(|error| refused(&error))
}

/// Whose store it is: this database's, or none's before.
async fn ours(database: &TenantDatabase, store: &Store, work: &Work, ctx: &Context) -> Result<Writer, Unusable> {
    let installation = work.lane.hold.installation_id;
    let (url, key) = (store.url(), Key::owner(installation));
    let found = match Writer::read(store, installation).await {
        Err(StoreError::NotFound(_)) => None,
        other => Some(other.map_err(|error| refused(&error))?),
    };
    let known = database.status.as_ref().and_then(|status| status.backup_store.as_ref());
    if let Some(known) = known.filter(|known| found.is_none() && known.url == url.to_string()) {
        return Err(invalid(format!(
            "{url} is empty, and archives were written there, into the store with the id {}: is the volume mounted, and is it the \
             same bucket? If they are gone for good, let spec.backupStore.url have another path",
            known.id
        )));
    }
    let writer = Writer { cluster: ctx.cluster.clone(), database: database.name_any(), store_id: Uuid::new_v4() };
    let Some(found) = found else {
        return writer.claim(store, installation).await.map_err(|error| refused(&error));
    };
    if (&found.cluster, &found.database) == (&writer.cluster, &writer.database) {
        return Ok(found);
    }
    Err(invalid(format!(
        "{url} has archives of this installation that TenantDatabase {} of cluster {} writes; this database may be a copy of that one, \
         whose archives must not be removed from here: use another url; if that TenantDatabase is gone for good, write cluster {} and \
         database {} into the object {key} in the store",
        found.database, found.cluster, writer.cluster, writer.database
    )))
}

/// Whether archives can be written: the programs, the keys, and the store itself.
async fn ready(
    database: &TenantDatabase,
    spec: &BackupStore,
    store: &mut ArchiveStore,
    work: &Work,
    ctx: &Context,
) -> Result<String, Unusable> {
    let limit = spec.scratch_size_limit();
    store.scratch_bytes = limit.map_err(|error| invalid(format!("spec.backupStore.scratchSizeLimit: {error}")))?.get();
    let probe = store.store.probe(work.lane.hold.installation_id).await.map_err(|error| refused(&error))?;
    store.may_delete = probe.may_delete;
    let connections = database.spec.max_connections();
    if connections < FOR_ARCHIVES {
        return Err(invalid(format!(
            "spec.connection.maxConnections is {connections}, and archives need {FOR_ARCHIVES}: two for each that is being made"
        )));
    }
    if let Some(encryption) = &spec.encryption {
        (store.recipients, store.identities) = keys(encryption, ctx).await?;
    }
    let dump = Program::find("pg_dump", work.facts.server_major()).await.map_err(|error| no_program(&error))?;
    // One that is older than what dumped could not list it.
    store.restore = Program::find("pg_restore", dump.major()).await.ok();
    store.dump = Some(dump);
    Ok(told(store.store.url(), store.recipients.as_ref(), store.identities.is_some(), probe))
}

/// Whom archives are encrypted for, and what can read them.
async fn keys(encryption: &Encryption, ctx: &Context) -> Result<(Option<Recipients>, Option<Identities>), Unusable> {
    let recipients = Recipients::parse(&encryption.recipients)
        .map_err(|error| invalid(format!("spec.backupStore.encryption.recipients: {}", chain(&error))))?;
    let Some(secret) = &encryption.identity_secret_ref else { return Ok((Some(recipients), None)) };
    let field = "spec.backupStore.encryption.identitySecretRef";
    let (mut data, named) = keys_of(secret, field, ctx).await?;
    let wrong = |why: String| invalid(format!("{named}, which {field} names: {why}"));
    let identity = data.remove(IDENTITY).ok_or_else(|| wrong(format!("it has no key {IDENTITY}")))?;
    let identities = Identities::parse(Secret::from(identity).expose()).map_err(|error| wrong(chain(&error)))?;
    if let Err(error) = artefact::cipher::fit(&recipients, &identities).await {
        let what = "it reads nothing that is encrypted for spec.backupStore.encryption.recipients";
        return Err(wrong(format!("{what}: {}", chain(&error))));
    }
    Ok((Some(recipients), Some(identities)))
}

/// What a Secret has, and what it is called.
async fn keys_of(
    secret: &SecretRef,
    field: &str,
    ctx: &Context,
) -> Result<(BTreeMap<String, Vec<u8>>, String), Unusable> {
    let SecretRef { name, namespace } = secret;
    let namespace = namespace.as_deref().unwrap_or(&ctx.config.namespace);
    let named = format!("Secret {namespace}/{name}");
    let found = secrets::read(&ctx.client, namespace, name).await.map_err(|error| unread(&error.into()))?;
    let data = found.ok_or_else(|| invalid(format!("{named}, which {field} names, does not exist; make it")))?;
    Ok((data, named))
}

fn told(url: &StoreUrl, recipients: Option<&Recipients>, can_read: bool, probe: Probe) -> String {
    let encrypted = match (recipients, can_read) {
        (None, _) => "not encrypted",
        (Some(_), true) => "encrypted, and the operator can read them",
        (Some(_), false) => "encrypted, and read by the holders of the identities alone",
    };
    let deleted = if probe.may_delete {
        "what expires is deleted there"
    } else {
        "nothing may be deleted there, so what expires is left to the store"
    };
    format!("archives go to {url}: {encrypted}; {deleted}")
}

/// Whether two verdicts say the same, but for numbers: a store gives each of its refusals another one, and time is no news.
fn are_alike(one: &Verdict, other: &Verdict) -> bool {
    let words = |verdict: &Verdict| {
        let is_word = |word: &&str| !word.contains(|letter: char| letter.is_ascii_digit());
        verdict.message().split_whitespace().filter(is_word).map(str::to_owned).collect::<Vec<_>>()
    };
    one.reason() == other.reason() && words(one) == words(other)
}

fn invalid(message: String) -> Unusable {
    Unusable { reason: Reason::StoreInvalid, message }
}

fn unread(error: &Unresolved) -> Unusable {
    let reason = if error.may_pass() { Reason::StoreUnreachable } else { Reason::StoreInvalid };
    Unusable { reason, message: chain(error) }
}

fn no_program(error: &DumpError) -> Unusable {
    Unusable { reason: Reason::DumpMissing, message: chain(error) }
}

fn refused(error: &StoreError) -> Unusable {
    let reason = match error {
        StoreError::Unreachable(_) | StoreError::Other(_) => Reason::StoreUnreachable,
        StoreError::Refused(_) | StoreError::ReadOnly(_) => Reason::StoreRefused,
        StoreError::Full(_) => Reason::StoreFull,
        StoreError::NotFound(_) | StoreError::Exists(_) | StoreError::IgnoresConditions(_) | StoreError::Invalid(_) => {
            Reason::StoreInvalid
        }
    };
    Unusable { reason, message: chain(error) }
}
