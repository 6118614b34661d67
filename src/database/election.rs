//! Which replica works on a database: taking part in the election of its Lease, and leaving it.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{ResourceExt, runtime::reflector::ObjectRef};
use tokio::time::timeout;

use super::{
    Error,
    balance::{Claim, asks_for},
    holding::Holdings,
};
use crate::{
    frame::{Context, Stores},
    kubernetes::{
        self,
        lease::{Hearers, LeaseCandidate, holder, wanted_by},
    },
};

/// Keeps the Leases of databases apart from others in the namespace.
const LEASE_PREFIX: &str = "tenant-database-";
/// A Lease that cannot be given back in this time runs out by itself.
const RELEASE: Duration = Duration::from_secs(5);

/// Takes part in the election of the database's Lease from now on.
pub fn join(name: &str, ctx: &Context, holdings: &Holdings) {
    holdings.join(name, || take_part(name, ctx));
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

/// Gives the database to the replica that asks for it, and waits for the next turn. What cannot be handed over runs out.
pub async fn hand_over(name: &str, ctx: &Context, holdings: &Holdings) {
    if let Some(candidate) = holdings.withdraw(name) {
        candidate.release().await;
    }
    join(name, ctx, holdings);
}

/// Whether the Lease is this replica's, as the API server says now and not from memory: the epoch is only taken then.
pub async fn is_confirmed(name: &str, ctx: &Context) -> Result<bool, Error> {
    let Some(lease) = ctx.lanes.lease(name) else { return Ok(false) };
    Ok(lease.is_held_by(&ctx.identity).await?)
}

/// A Lease changed: the candidate for it hears of that.
pub fn heard(lease: &Lease, holdings: &Holdings) {
    let name = lease.name_any();
    if let Some(name) = name.strip_prefix(LEASE_PREFIX) {
        holdings.hear(name, lease);
    }
}

/// Leaves the election; the Lease is given back if it was held.
pub async fn leave(name: &str, holdings: &Holdings) {
    if let Some(candidate) = holdings.withdraw(name) {
        // What is not given back in time runs out.
        let _ = timeout(RELEASE, candidate.release()).await;
    }
}

/// Leaves every election, so that other replicas need not wait for Leases to run out.
pub async fn leave_all(holdings: &Holdings) {
    let released =
        holdings.names().into_iter().filter_map(|name| holdings.withdraw(&name)).map(LeaseCandidate::release);
    let _ = timeout(RELEASE, futures::future::join_all(released)).await;
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
pub async fn remove(name: &str, ctx: &Context, holdings: &Holdings) -> Result<(), Error> {
    leave(name, holdings).await;
    Ok(kubernetes::lease::delete(&ctx.client, &ctx.config.namespace, &lease_name(name)).await?)
}
