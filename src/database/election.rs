//! Which replica works on a database: taking part in the election of its Lease, and leaving it.
//!
//! The map of candidates is never locked over a call to the API: one slow answer must not hold up every database.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;
use kube::{ResourceExt, runtime::reflector::ObjectRef};
use tokio::time::timeout;

use super::{
    Error,
    balance::{Claim, asks_for},
};
use crate::{
    frame::{Context, Stores},
    kubernetes::lease::{Hearers, LeaseCandidate, Standing, holder, wanted_by},
};

/// Keeps the Leases of databases apart from others in the namespace.
const LEASE_PREFIX: &str = "tenant-database-";
/// A Lease that cannot be given back in this time runs out by itself.
const RELEASE: Duration = Duration::from_secs(5);

/// Whether this replica holds the database's Lease; it takes part in the election from the first call on.
pub async fn is_held(name: &str, ctx: &Context) -> Result<bool, Error> {
    let mut candidates = ctx.candidates.lock().await;
    let candidate = candidates.entry(name.to_owned()).or_insert_with(|| take_part(name, ctx));
    match candidate.standing() {
        Standing::Waiting => Ok(false),
        Standing::Held { .. } => Ok(true),
        Standing::Failed(error) => Err(Error::Lease(error)),
    }
}

fn take_part(name: &str, ctx: &Context) -> LeaseCandidate {
    let (stores, identity) = (ctx.stores.clone(), ctx.identity.clone());
    let wants = move |lease: &Lease| wants(lease, &stores, &identity);
    let (wake, woken) = (ctx.wake.clone(), name.to_owned());
    let changed = move || wake.database(&woken);
    let (client, namespace) = (ctx.client.clone(), &ctx.config.namespace);
    let hearers = Hearers { clock: ctx.clock.clone(), world: ctx.world.clone() };
    LeaseCandidate::start(client, namespace, &lease_name(name), &ctx.identity, hearers, wants, changed)
}

/// Whether this replica asks for the Lease, which was read just now. Only Leases of databases that it works for count: other
/// operators may have theirs in the same namespace.
fn wants(read: &Lease, stores: &Stores, identity: &str) -> bool {
    let (leases, name) = (stores.leases.state(), read.name_any());
    let ours = |lease: &&str| {
        lease.strip_prefix(LEASE_PREFIX).is_some_and(|name| stores.databases.get(&ObjectRef::new(name)).is_some())
    };
    let claims: Vec<_> = leases
        .iter()
        .filter_map(|cached| {
            let lease = cached.metadata.name.as_deref().filter(ours)?;
            let latest = if lease == name { read } else { cached };
            Some(Claim { lease, holder: holder(latest), wanted_by: wanted_by(latest) })
        })
        .collect();
    asks_for(&claims, identity) == Some(&name)
}

/// Whether another replica asks for the database, which this one holds.
pub async fn is_wanted(name: &str, ctx: &Context) -> bool {
    let candidates = ctx.candidates.lock().await;
    let standing = candidates.get(name).map(LeaseCandidate::standing);
    matches!(standing, Some(Standing::Held { wanted_by: Some(_), .. }))
}

/// Gives the database to the replica that asks for it, and waits for the next turn. What cannot be handed over runs out.
pub async fn hand_over(name: &str, ctx: &Context) {
    let candidate = ctx.candidates.lock().await.remove(name);
    if let Some(candidate) = candidate {
        candidate.release().await;
    }
    ctx.candidates.lock().await.entry(name.to_owned()).or_insert_with(|| take_part(name, ctx));
}

/// Whether the Lease is this replica's, by the API server's word and not by memory: the epoch is only taken then.
pub async fn is_confirmed(name: &str, ctx: &Context) -> Result<bool, Error> {
    let lease = match ctx.candidates.lock().await.get(name) {
        Some(candidate) if matches!(candidate.standing(), Standing::Held { .. }) => candidate.lease(),
        _ => return Ok(false),
    };
    Ok(lease.is_held_by(&ctx.identity).await?)
}

/// Who holds the Lease, by the API server's word.
pub async fn holder_of(name: &str, ctx: &Context) -> Result<Option<String>, Error> {
    let Some(lease) = ctx.candidates.lock().await.get(name).map(LeaseCandidate::lease) else { return Ok(None) };
    Ok(lease.holder().await?)
}

/// A Lease changed: the candidate for it hears of that.
pub async fn heard(lease: Lease, ctx: &Context) {
    let name = lease.name_any();
    let Some(name) = name.strip_prefix(LEASE_PREFIX) else { return };
    if let Some(candidate) = ctx.candidates.lock().await.get(name) {
        candidate.hear(&lease);
    }
}

/// Leaves the election; the Lease is given back if it was held.
pub async fn leave(name: &str, ctx: &Context) {
    let candidate = ctx.candidates.lock().await.remove(name);
    if let Some(candidate) = candidate {
        // What is not given back in time runs out.
        let _ = timeout(RELEASE, candidate.release()).await;
    }
}

/// Leaves every election, so that other replicas need not wait for Leases to run out.
pub async fn leave_all(ctx: &Context) {
    let candidates = std::mem::take(&mut *ctx.candidates.lock().await);
    let released = candidates.into_values().map(LeaseCandidate::release);
    let _ = timeout(RELEASE, futures::future::join_all(released)).await;
}

/// The databases in whose election this replica takes part.
pub async fn names(ctx: &Context) -> BTreeSet<String> {
    ctx.candidates.lock().await.keys().cloned().collect()
}

/// Namespace and name of the Lease by which a database has one holder.
pub fn lease_of(name: &str, ctx: &Context) -> String {
    format!("{}/{}", ctx.config.namespace, lease_name(name))
}

/// The Lease of a database.
fn lease_name(database: &str) -> String {
    format!("{LEASE_PREFIX}{database}")
}

/// The Lease of a database that is gone is removed with it.
pub async fn remove(database: &crate::api::TenantDatabase, ctx: &Context) -> Result<(), Error> {
    let name = database.name_any();
    leave(&name, ctx).await;
    crate::kubernetes::lease::delete(&ctx.client, &ctx.config.namespace, &lease_name(&name)).await?;
    Ok(())
}
