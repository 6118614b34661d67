//! Taking the epoch: whose the database is, and whether it may become this TenantDatabase's.

use serde_json::json;
use uuid::Uuid;

use super::{Claimant, Closed};
use crate::api::{
    TAKE_OVER,
    command::{Command, Object},
};
use crate::contract::{CallStatus, Contest, Installation, LaneClaim, Refusal};
use crate::postgres::{self, Functions};

/// The TenantDatabase that wants to manage a database, and what it knows of it.
pub struct Identity<'a> {
    /// UID of the cluster's kube-system namespace.
    pub cluster: &'a str,
    /// The TenantDatabase.
    pub name: &'a str,
    /// The installation that it managed before, and the last epoch of it, if it managed one.
    pub remembered: Option<(&'a str, i64)>,
    /// Whose place it is to take, by its annotation: one value, or several with commas in between.
    pub take_over: Option<&'a str>,
    /// The latest claim that its status tells of.
    pub known_claim: Option<&'a str>,
}

impl Identity<'_> {
    /// The installation that must be behind the connection; none when a person said that it may be another one now. That is
    /// said of one epoch, so it means nothing any more when the TenantDatabase has come back to that installation.
    #[must_use]
    pub fn expected(&self) -> Option<&str> {
        self.remembered.map(|(installation, _)| installation).filter(|_| !self.says(&self.given_up()))
    }

    /// Whether what is installed is the database that is meant, and no other's.
    pub fn may_manage(&self, found: &Installation) -> Result<(), Closed> {
        let id = found.installation_id.to_string();
        if self.expected().is_some_and(|expected| expected != id) {
            return Err(self.changed(&id));
        }
        match (&found.cluster, &found.tenant_database) {
            (Some(cluster), Some(database)) => {
                let taken_over = self.says(&format!("{cluster}/{}", found.epoch));
                let ours = cluster == self.cluster && database == self.name;
                if ours || taken_over { Ok(()) } else { Err(self.managed(cluster, database, found.epoch)) }
            }
            _ => Ok(()),
        }
    }

    /// The error for another database than before, with the value that allows it.
    #[must_use]
    pub fn changed(&self, found: &str) -> Closed {
        Closed::DatabaseChanged {
            expected: self.expected().unwrap_or("none").to_owned(),
            found: found.to_owned(),
            take_over: Box::new(self.annotate(self.given_up())),
        }
    }

    fn managed(&self, cluster: &str, tenant_database: &str, epoch: i64) -> Closed {
        let mut take_over = format!("{cluster}/{epoch}");
        // What was said before has to be said again, or it would be the wrong database again.
        if self.remembered.is_some() && self.expected().is_none() {
            take_over = format!("{},{take_over}", self.given_up());
        }
        let (take_over, tenant_database) = (Box::new(self.annotate(take_over)), tenant_database.to_owned());
        if cluster == self.cluster {
            Closed::Duplicate { other: tenant_database, take_over }
        } else {
            Closed::ManagedElsewhere { cluster: cluster.to_owned(), tenant_database, take_over }
        }
    }

    fn annotate(&self, take_over: String) -> Command {
        Object::database(self.name).annotate(TAKE_OVER, take_over)
    }

    /// What a person says to give the remembered installation up.
    fn given_up(&self) -> String {
        self.remembered.map_or_else(String::new, |(installation, epoch)| format!("{installation}/{epoch}"))
    }

    /// The cluster and epoch that are taken over, whether that cluster still manages the database or gave it back.
    fn taken_from(&self, epoch: i64) -> Option<&str> {
        let (epoch, given_up) = (format!("/{epoch}"), self.given_up());
        self.said().find(|said| said.ends_with(&epoch) && *said != given_up)
    }

    fn says(&self, value: &str) -> bool {
        self.said().any(|said| said == value)
    }

    fn said(&self) -> impl Iterator<Item = &str> {
        self.take_over.into_iter().flat_map(|said| said.split(',')).map(str::trim)
    }
}

/// Takes the epoch; `before` is what was found.
pub async fn claim(
    functions: &Functions,
    claimant: &Claimant<'_>,
    identity: &Identity<'_>,
    before: Option<&Installation>,
) -> Result<LaneClaim, Closed> {
    let uuid = |text: &str| text.parse::<Uuid>().ok();
    let taken = before.and_then(|before| identity.taken_from(before.epoch));
    let known = before.and_then(|before| known(claimant, identity, before.installation_id));
    let options = json!({
        "cluster": identity.cluster, "tenant_database": identity.name, "holder": claimant.identity,
        "expected_installation_id": identity.expected().and_then(uuid),
        "take_over": taken,
        "claim_id": claimant.claim, "lease": claimant.lease, "known_claim": identity.known_claim.and_then(uuid),
        "known": known.map(|(epoch, beats)| json!({ "epoch": epoch, "beats": beats })),
    });
    let result = functions.claim_lane(&options).await?;
    let answer = |source| Closed::Postgres(postgres::Error::Answer { call: "claim_lane", source });
    if result.status == CallStatus::Success {
        return serde_json::from_value(result.detail).map_err(answer);
    }
    let managed_by =
        |key: &str| result.detail.get("managed_by").and_then(|by| by.get(key)?.as_str()).unwrap_or("unknown");
    let epoch = result.detail.get("epoch").and_then(serde_json::Value::as_i64).unwrap_or_default();
    // Between the look and the claim another operator may have claimed it.
    Err(match result.reason() {
        Refusal::WrongInstallation => identity.changed(result.text("installation_id").unwrap_or("another")),
        Refusal::ManagedElsewhere => identity.managed(managed_by("cluster"), managed_by("tenant_database"), epoch),
        Refusal::Contested => {
            let contest = result.detail.get("contest").cloned().unwrap_or_default();
            Closed::Contested(Box::new(serde_json::from_value::<Contest>(contest).map_err(answer)?))
        }
        _ => {
            let may_pass = result.may_pass();
            Closed::Postgres(postgres::Error::Refused { call: "claim_lane", message: result.message, may_pass })
        }
    })
}

/// The newest epoch and signs of life of this installation that this process, or the status, has seen.
fn known(claimant: &Claimant<'_>, identity: &Identity<'_>, installation: Uuid) -> Option<(i64, i64)> {
    let told = identity.remembered.filter(|(id, _)| id.parse() == Ok(installation)).map(|(_, epoch)| epoch);
    match (claimant.seen.of(installation), told) {
        (Some((epoch, beats)), told) => Some((epoch.max(told.unwrap_or_default()), beats)),
        (None, told) => told.map(|epoch| (epoch, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_anothers_is_not_managed_without_being_told_to() {
        let id = Uuid::nil().to_string();
        let check = |remembered, take_over, (cluster, database): (&str, &str), complaint: Option<&str>| {
            let found = Installation {
                installation_id: Uuid::nil(),
                functions_version: "0.1.0".to_owned(),
                contract: 1,
                checksum: String::new(),
                fingerprint_matches: true,
                cluster: Some(cluster.to_owned()),
                tenant_database: Some(database.to_owned()),
                epoch: 7,
                heartbeat_at: None,
                silent_for: None,
            };
            let identity = Identity { cluster: "here", name: "default", remembered, take_over, known_claim: None };
            let said = identity.may_manage(&found).err().map(|closed| closed.to_string());
            match (&said, complaint) {
                (None, None) => {}
                (Some(said), Some(part)) => assert!(said.contains(part), "{said}"),
                _ => panic!("{said:?} instead of {complaint:?}"),
            }
        };
        check(None, None, ("here", "default"), None);
        check(Some((&id, 5)), None, ("here", "default"), None);
        check(Some(("another", 5)), None, ("here", "default"), Some("edumatrixhub.io/take-over=another/5"));
        check(None, None, ("there", "default"), Some("edumatrixhub.io/take-over=there/7"));
        check(None, Some("there/7"), ("there", "default"), None);
        check(None, Some("elsewhere/7"), ("there", "default"), Some("of another cluster"));
        check(None, None, ("here", "other"), Some("edumatrixhub.io/take-over=here/7"));
        check(None, Some("here/7"), ("here", "other"), None);
    }

    #[test]
    fn a_take_over_is_of_one_epoch_and_both_kinds_can_be_said_at_once() {
        let check = |remembered, take_over, expected: Option<&str>, takes: bool| {
            let identity =
                Identity { cluster: "here", name: "d", remembered, take_over: Some(take_over), known_claim: None };
            assert_eq!((identity.expected(), identity.says("there/7")), (expected, takes), "{take_over}");
        };
        // A value in the short form of former releases is answered with the whole form.
        check(Some(("one", 5)), "one", Some("one"), false);
        check(Some(("one", 5)), "there", Some("one"), false);
        check(Some(("one", 5)), "one/5", None, false);
        // The value was left in a repository, after the TenantDatabase came back to that installation.
        check(Some(("one", 9)), "one/5", Some("one"), false);
        check(Some(("one", 5)), "one/5, there/7", None, true);
        check(Some(("one", 5)), "there/6", Some("one"), false);
        let identity = Identity {
            cluster: "here",
            name: "d",
            remembered: Some(("one", 5)),
            take_over: Some("one/5"),
            known_claim: None,
        };
        assert!(identity.managed("there", "d", 7).to_string().ends_with("take-over=one/5,there/7"));
    }
}
