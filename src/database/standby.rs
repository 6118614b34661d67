//! Standing by: another process holds the Lease of a database, and this replica checks every minute that it works.
//!
//! A Lease says no more than that a process renews it. A process that hangs, or that has nothing to do with this
//! operator, keeps every replica from working, and nothing would say so: the TenantDatabase still shows what its last
//! holder wrote.

use std::time::Duration;

use kube::ResourceExt;

use super::{election::lease_of, holding::Holdings, plan::PATIENCE, resolve::resolve};
use crate::{
    api::{
        TenantDatabase,
        command::{Kind, Object, Verb},
        condition::{Reason, Verdict},
    },
    contract::Installation,
    frame::Context,
    kubernetes,
    postgres::{Functions, Pool},
};

/// Looks at a database whose Lease another process holds; returns what to say of it if that process does nothing.
pub async fn look(
    database: &TenantDatabase,
    ctx: &Context,
    holdings: &Holdings,
) -> Result<Option<Verdict>, kubernetes::Error> {
    let name = database.name_any();
    let Some(lease) = holdings.contended(&name) else { return Ok(None) };
    let Some(holder) = lease.holder().await? else { return Ok(None) };
    match is_silent(database, ctx).await {
        Ok(true) => Ok(Some(Verdict::of(Reason::LaneContested, idle(&holder, &lease_of(&name, ctx)), false))),
        Ok(false) => Ok(None),
        Err(error) => {
            // The holder reports a database that cannot be asked.
            tracing::debug!(database = name, %error, "cannot see whether the holder of the Lease works");
            Ok(None)
        }
    }
}

/// Whether the database has heard of no operator for longer than a working operator is ever silent.
async fn is_silent(database: &TenantDatabase, ctx: &Context) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let owner_role = database.spec.owner_role()?;
    let connection = resolve(database, &ctx.client, &ctx.config.namespace).await?.connection;
    let pool = Pool::new(connection, 1)?;
    let functions = Functions::new(pool, ctx.metrics.clone(), database.spec.connection.statement_timeout());
    let facts = functions.database(&owner_role).await?;
    if !facts.installed {
        // No operator has ever worked here, unless this login may not see it.
        return Ok(!facts.registry_exists);
    }
    Ok(has_been_silent(&functions.installation().await?, database.spec.survey_period()))
}

fn has_been_silent(found: &Installation, survey_period: Duration) -> bool {
    // An operator without heartbeats is heard of when it surveys.
    let longest = if found.heartbeat_at.is_some() { PATIENCE } else { PATIENCE + survey_period };
    found.silent_for.is_some_and(|seconds| seconds > longest.as_secs_f64())
}

fn idle(holder: &str, lease: &str) -> String {
    let (namespace, name) = lease.split_once('/').unwrap_or_default();
    let lease = Object { kind: Kind::Lease, namespace: Some(namespace.to_owned()), name: name.to_owned() };
    format!(
        "{holder} holds the Lease of this database and renews it, but for more than a minute the database has heard of no operator: \
         no tenant is looked after. See {}; end {holder} if it hangs or is not meant to work here, then: {}",
        lease.to(Verb::Describe),
        lease.to(Verb::Delete)
    )
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_holder_is_silent_after_a_minute_or_a_survey_more_if_it_gives_no_heartbeat() {
        let check = |beats: bool, silent_for: Option<f64>, expected: bool| {
            let found = Installation {
                installation_id: Uuid::nil(),
                functions_version: String::new(),
                contract: 1,
                checksum: String::new(),
                fingerprint_matches: true,
                cluster: None,
                tenant_database: None,
                epoch: 1,
                heartbeat_at: beats.then(String::new),
                silent_for,
            };
            assert_eq!(has_been_silent(&found, Duration::from_mins(5)), expected, "{beats} {silent_for:?}");
        };
        check(true, Some(16.0), false);
        check(true, Some(61.0), true);
        check(false, Some(61.0), false);
        check(false, Some(361.0), true);
        check(true, None, false);
    }
}
