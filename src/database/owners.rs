//! Tenants whose object is gone without a deletion that we saw: with `Retain`, abandoned, or lost.
//!
//! What the cache suggests, a live answer of the API server must confirm: there is no object of that name, or one with
//! another UID. Such a row becomes `released`. Its schema stays as it is, and the next object of that name can reclaim
//! it. When many are gone at once, nothing is released until a person says that they are meant to be gone.

use std::{collections::BTreeSet, pin::pin};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use kube::{Api, ResourceExt, runtime::reflector::ObjectRef};
use tokio::time::Instant;

use super::{caller, work::Work};
use crate::{
    api::{
        self, TenantDatabase, TenantSchema,
        command::Object,
        condition::{Reason, Verdict},
        event::EventReason,
    },
    contract::{CallResult, CallStatus, Owner, Step},
    frame::{Context, Notice},
    kubernetes,
    postgres::{self},
};

/// How many of those that were released an Event names.
const NAMED: usize = 5;
/// What share of the tenants may be released at once, in percent of all, and how many in any case.
const SHARE: usize = 2;
const FEW: usize = 3;
/// How many objects the API server is asked about at the same time.
const AT_ONCE: usize = 8;

/// The tenants that were missed, as long as they are too many.
pub struct Missed {
    uids: BTreeSet<String>,
    /// When the latest of them was first missed, in whole seconds, as an annotation has it.
    since: Timestamp,
    /// What is to be said of the database.
    pub verdict: Verdict,
}

/// Since when just these are missed.
fn since(before: Option<&Missed>, uids: &BTreeSet<String>, now: Timestamp) -> Timestamp {
    let known = before.filter(|missed| uids.is_subset(&missed.uids));
    known.map_or_else(|| Timestamp::from_second(now.as_second()).unwrap_or(now), |missed| missed.since)
}

/// Releases the tenants whose object is gone, or says that they are too many; returns the Events to publish.
pub async fn release(database: &TenantDatabase, work: &Work, ctx: &Context) -> Result<Vec<Notice>, postgres::Error> {
    let lane = &work.lane;
    if lane.contest().is_some() {
        // Another operator may know the objects that this one misses.
        return Ok(Vec::new());
    }
    let (living, taken_over) = (lane.living(), lane.taken_over());
    let total = living.len();
    let most = (total * SHARE / 100).max(FEW);
    let owners = living.iter().filter_map(|row| row.owner.as_ref());
    // A tenant that was taken over waits for its object, unless that was there and its deletion was seen.
    let let_go = taken_over.iter().filter_map(|row| row.owner.as_ref());
    let let_go = let_go.filter(|owner| ctx.let_go.has(&owner.uid));
    let missed = owners.chain(let_go).filter(|owner| is_missed(owner, ctx)).cloned().collect();
    let asked = work.memory(|memory| memory.unseen.sort(missed, |owner: &Owner| &owner.uid, Instant::now()));
    let mut gone = gone_of(asked.now, ctx).await;
    work.memory(|memory| {
        for owner in &gone.alive {
            memory.unseen.is_alive(&owner.uid, Instant::now());
        }
    });
    let forget =
        |gone: &[Owner]| work.memory(|memory| gone.iter().filter(|owner| memory.unseen.is_gone(&owner.uid)).count());
    // All that are gone count together: if one is gone that was alive out of view, the others are asked for as well.
    if forget(&gone.gone) > 0 {
        let more = gone_of(asked.later, ctx).await;
        forget(&more.gone);
        gone.gone.extend(more.gone);
    }
    let (mut gone, mut lost): (Vec<_>, Vec<_>) = gone.gone.into_iter().partition(|owner| ctx.let_go.has(&owner.uid));
    let mut held = None;
    if lost.len() > most {
        let uids = uids_of(&lost);
        let since = work.memory(|memory| since(memory.missed.as_ref(), &uids, ctx.now()));
        if api::confirmed_deletions(&database.metadata, ctx.clock.now()).is_none_or(|until| until < since) {
            let verdict = Verdict::of(Reason::ManyOwnersMissing, too_many(database, &lost, total, since), true);
            held = Some(Missed { uids, since, verdict });
            lost.clear();
        }
    }
    gone.append(&mut lost);
    if gone.is_empty() {
        work.memory(|memory| memory.missed = held);
        return Ok(Vec::new());
    }
    let uids = uids_of(&gone);
    let deleted_uids = uids.iter().filter(|uid| ctx.let_go.has(uid)).cloned().collect();
    let release = Step::ReleaseTenants { owner_uids: uids.clone(), deleted_uids, to: None };
    let results = lane.apply(&caller(&database.name_any()), vec![release]).await?;
    let refused = |result: &CallResult| !matches!(result.status, CallStatus::Success | CallStatus::Unchanged);
    if results.iter().any(refused) {
        // The next survey misses these tenants again, and what was said of them stays.
        return Ok(Vec::new());
    }
    work.memory(|memory| memory.missed = held);
    for uid in &uids {
        lane.forget(uid);
        ctx.let_go.remove(uid);
    }
    let released = results.into_iter().filter(|result| result.status == CallStatus::Success);
    let message = |result: CallResult| format!("{}: {}", result.message, names(&gone));
    Ok(released.map(|result| Notice { reason: EventReason::Released, message: message(result) }).collect())
}

fn uids_of(owners: &[Owner]) -> BTreeSet<String> {
    owners.iter().map(|owner| owner.uid.clone()).collect()
}

/// The first few by name.
fn names(owners: &[Owner]) -> String {
    let names = owners.iter().take(NAMED).map(|owner| format!("{}/{}", owner.namespace, owner.name));
    let more = if owners.len() > NAMED { " and others" } else { "" };
    names.collect::<Vec<_>>().join(", ") + more
}

/// The objects that are alive and those that are gone, as the API server answered.
#[derive(Default)]
struct Told {
    gone: Vec<Owner>,
    alive: Vec<Owner>,
}

async fn gone_of(owners: Vec<Owner>, ctx: &Context) -> Told {
    let mut told = Told::default();
    let mut unsure = 0_usize;
    let asked = owners.into_iter().map(async |owner| (is_gone(&owner, ctx).await, owner));
    let mut answers = pin!(stream::iter(asked).buffered(AT_ONCE));
    while let Some((answer, owner)) = answers.next().await {
        match answer {
            Ok(true) => told.gone.push(owner),
            Ok(false) => told.alive.push(owner),
            // An API server that does not answer, or not about this namespace, proves nothing.
            Err(_) => unsure += 1,
        }
        if unsure > FEW {
            break;
        }
    }
    told
}

/// True when the cache does not have the object, although it would if it were there.
fn is_missed(owner: &Owner, ctx: &Context) -> bool {
    let watched = &ctx.config.watch_namespaces;
    let found = || ctx.stores.tenants.get(&ObjectRef::new(&owner.name).within(&owner.namespace));
    let unread = || ctx.unread.get::<TenantSchema>(&owner.namespace, &owner.name);
    owner.cluster == ctx.cluster
        && (watched.is_empty() || watched.contains(&owner.namespace))
        && found().is_none_or(|tenant| tenant.uid().as_deref() != Some(&owner.uid))
        && unread().is_none_or(|tenant| tenant.metadata.uid.as_deref() != Some(&owner.uid))
}

/// Whether the API server, asked now, does not have the object. An object outside of this operator's selection counts
/// as there.
async fn is_gone(owner: &Owner, ctx: &Context) -> Result<bool, kubernetes::Error> {
    let api: Api<TenantSchema> = Api::namespaced(ctx.client.clone(), &owner.namespace);
    Ok(ctx.living(&api, &owner.name, &owner.uid).await?.is_gone())
}

fn too_many(database: &TenantDatabase, gone: &[Owner], total: usize, since: Timestamp) -> String {
    let first = gone.first().map_or_else(String::new, |owner| format!("{}/{}", owner.namespace, owner.name));
    format!(
        "{} of {total} tenants have no TenantSchema any more, {first} for one, and no deletion of them was seen; their \
         schemas are untouched. If the objects were lost, apply their manifests again. If they are meant to be gone: \
         {}",
        gone.len(),
        Object::database(database.name_any()).annotate(api::CONFIRM_DELETIONS, since),
    )
}
