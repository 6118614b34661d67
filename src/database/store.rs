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
        condition::{Reason, Verdict},
        connection::SecretRef,
    },
    frame::{Context, chain},
    kubernetes::secrets,
    lane::archives::{ArchiveStore, Writer},
};

/// When a store that works is looked at again.
const WELL: Duration = Duration::from_mins(10);
/// No look takes longer.
const LONGEST: Duration = Duration::from_secs(45);
/// The key of the Secret with the identity.
const IDENTITY: &str = "identity";

/// What is remembered of the store from one pass to the next.
#[derive(Debug, Default)]
pub struct StoreMemory {
    /// What is to be told of it.
    pub told: Told,
    /// The generation of the spec that was looked at, and until when that counts.
    looked: Option<(i64, Instant)>,
    /// The generation of the spec as the driver saw it last.
    generation: i64,
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

/// Begins a look at the store, if one is due.
pub fn look(database: &Arc<TenantDatabase>, work: &Arc<Work>, ctx: &Arc<Context>) {
    let name = database.name_any();
    let Some(spec) = database.spec.backup_store.clone() else {
        let message = format!("TenantDatabase {name} has no spec.backupStore, so nothing is archived");
        work.lane.archives.set(Err(message.into()));
        work.memory(|memory| memory.store.told = Told::NoStore);
        return;
    };
    let generation = database.metadata.generation.unwrap_or_default();
    let is_due = work.memory(|memory| {
        let store = &mut memory.store;
        store.generation = generation;
        if store.task.as_ref().is_some_and(|task| !task.is_finished()) {
            return false;
        }
        let counts = store.looked.is_some_and(|(of, until)| of == generation && Instant::now() < until);
        work.lane.archives.take_doubt() || !counts
    });
    if !is_due {
        return;
    }
    let (database, told, ctx) = (database.clone(), work.clone(), ctx.clone());
    let task = tokio::spawn(async move {
        let found = timeout(LONGEST, usable(&database, &spec, &told, &ctx)).await.unwrap_or_else(|_| {
            let message = format!("{} did not answer within {} s", spec.url, LONGEST.as_secs());
            Err(Unusable { reason: Reason::StoreUnreachable, message })
        });
        let (verdict, counts) = match &found {
            Ok((_, message)) => (Verdict::of(Reason::StoreUsable, message, true), WELL),
            Err(Unusable { reason, message }) => (Verdict::of(*reason, message, false), Duration::ZERO),
        };
        let is_news = told.memory(|memory| {
            let store = &mut memory.store;
            let is_same = store.looked.is_some_and(|(of, _)| of == generation);
            store.looked = Some((generation, Instant::now() + counts));
            if store.generation != generation {
                // The spec is another one by now, and is looked at next.
                return true;
            }
            told.lane.archives.set(found.map(|(store, _)| Arc::new(store)).map_err(|unusable| unusable.message.into()));
            let is_known = is_same && matches!(&store.told, Told::Found(before) if are_alike(before, &verdict));
            if !is_known {
                store.told = Told::Found(verdict);
            }
            !is_known
        });
        // Archives that wait for the store may be made now.
        told.lane.jobs_waiting.notify_one();
        if is_news {
            ctx.wake.database(&database.name_any());
        }
    });
    work.memory(|memory| memory.store.task = Some(task));
}

/// The store, tried by writing to it, and what is to be said of it.
async fn usable(
    database: &TenantDatabase,
    spec: &BackupStore,
    work: &Work,
    ctx: &Context,
) -> Result<(ArchiveStore, String), Unusable> {
    let connections = database.spec.max_connections();
    if connections < FOR_ARCHIVES {
        return Err(invalid(format!(
            "spec.connection.maxConnections is {connections}, and archives need {FOR_ARCHIVES}: two for each that is being made"
        )));
    }
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
    let (recipients, identities) = match &spec.encryption {
        Some(encryption) => keys(encryption, ctx).await?,
        None => (None, None),
    };
    let major = work.facts.server_major();
    let dump = Program::find("pg_dump", major).await.map_err(|error| no_program(&error))?;
    // One that is older than what dumped could not list it.
    let restore = Program::find("pg_restore", dump.major()).await.ok();
    let store = Store::open(&url, &access).map_err(|error| refused(&error))?;
    let installation = work.lane.hold.installation_id;
    let probe = store.probe(installation).await.map_err(|error| refused(&error))?;
    let (cluster, named) = (ctx.cluster.clone(), database.name_any());
    let writer = Writer { cluster, database: named, store_id: Uuid::new_v4() };
    let found = writer.clone().claim(&store, installation).await.map_err(|error| refused(&error))?;
    if (&found.cluster, &found.database) != (&writer.cluster, &writer.database) {
        return Err(invalid(format!(
            "{url} has archives of this installation that TenantDatabase {} of cluster {} writes; this database may be a copy of that \
             one, whose archives must not be removed from here: use another url; if that TenantDatabase is gone for good, write cluster {} \
             and database {} into the object {} in the store",
            found.database,
            found.cluster,
            writer.cluster,
            writer.database,
            Key::owner(installation)
        )));
    }
    let message = told(&url, recipients.as_ref(), identities.is_some(), probe);
    let bytes_per_second = spec.bandwidth_mib_per_second.and_then(|mib| u64::try_from(mib).ok()).map(|mib| mib << 20);
    let may_delete = probe.may_delete;
    Ok((
        ArchiveStore {
            store,
            store_id: found.store_id,
            recipients,
            identities,
            may_delete,
            bytes_per_second,
            dump,
            restore,
        },
        message,
    ))
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
