//! Taking the epoch: whose the database is, and whether it may become this TenantDatabase's.

use serde_json::json;
use uuid::Uuid;

use super::Closed;
use crate::postgres::{
    self, Functions,
    answer::{CallStatus, Installation, LaneClaim},
};

/// Who wants to manage a database, and which.
pub struct Identity<'a> {
    /// UID of the cluster's kube-system namespace.
    pub cluster: &'a str,
    /// The TenantDatabase.
    pub name: &'a str,
    /// The installation that it managed before, if it managed one.
    pub expected: Option<&'a str>,
    /// Whose place it shall take, by its annotation.
    pub take_over: Option<&'a str>,
}

impl Identity<'_> {
    /// Whether what is installed is the database that is meant, and nobody else's.
    pub fn may_manage(&self, found: &Installation) -> Result<(), Closed> {
        let id = found.installation_id.to_string();
        if self.expected.is_some_and(|expected| expected != id) {
            return Err(self.changed(&id));
        }
        match (&found.cluster, &found.tenant_database) {
            (Some(cluster), Some(database)) => {
                let taken_over = self.take_over == Some(cluster);
                let ours = cluster == self.cluster && database == self.name;
                if ours || taken_over { Ok(()) } else { Err(self.managed(cluster, database)) }
            }
            _ => Ok(()),
        }
    }

    fn changed(&self, found: &str) -> Closed {
        Closed::DatabaseChanged {
            name: self.name.to_owned(),
            expected: self.expected.unwrap_or("none").to_owned(),
            found: found.to_owned(),
        }
    }

    fn managed(&self, cluster: &str, tenant_database: &str) -> Closed {
        let (name, cluster, other) = (self.name.to_owned(), cluster.to_owned(), tenant_database.to_owned());
        if cluster == self.cluster {
            Closed::Duplicate { name, other, cluster }
        } else {
            Closed::ManagedElsewhere { name, cluster, tenant_database: other }
        }
    }
}

/// Takes the epoch.
pub async fn claim(functions: &Functions, holder: &str, identity: &Identity<'_>) -> Result<LaneClaim, Closed> {
    let options = json!({
        "cluster": identity.cluster, "tenant_database": identity.name, "holder": holder,
        "expected_installation_id": identity.expected.and_then(|id| id.parse::<Uuid>().ok()),
        "take_over": identity.take_over,
    });
    let result = functions.claim_lane(&options).await?;
    if result.status == CallStatus::Success {
        return serde_json::from_value(result.detail)
            .map_err(|source| Closed::Postgres(postgres::Error::Answer { call: "claim_lane", source }));
    }
    let managed_by =
        |key: &str| result.detail.get("managed_by").and_then(|by| by.get(key)?.as_str()).unwrap_or("unknown");
    // Between the look and the claim somebody else may have come.
    Err(match result.reason() {
        "wrong_installation" => identity.changed(result.text("installation_id").unwrap_or("another")),
        "managed_elsewhere" => identity.managed(managed_by("cluster"), managed_by("tenant_database")),
        _ => {
            let may_pass = result.may_pass();
            Closed::Postgres(postgres::Error::Refused { call: "claim_lane", message: result.message, may_pass })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_anothers_is_not_managed_without_being_told_to() {
        let id = Uuid::nil().to_string();
        let check = |expected, take_over, (cluster, database): (&str, &str), complaint: Option<&str>| {
            let found = Installation {
                installation_id: Uuid::nil(),
                functions_version: "0.1.0".to_owned(),
                contract: 1,
                checksum: String::new(),
                fingerprint_matches: true,
                cluster: Some(cluster.to_owned()),
                tenant_database: Some(database.to_owned()),
            };
            let identity = Identity { cluster: "here", name: "default", expected, take_over };
            let said = identity.may_manage(&found).err().map(|closed| closed.to_string());
            match (&said, complaint) {
                (None, None) => {}
                (Some(said), Some(part)) => assert!(said.contains(part), "{said}"),
                _ => panic!("{said:?} instead of {complaint:?}"),
            }
        };
        check(None, None, ("here", "default"), None);
        check(Some(&id), None, ("here", "default"), None);
        check(Some("another"), None, ("here", "default"), Some("edumatrixhub.io/take-over=another"));
        check(None, None, ("there", "default"), Some("edumatrixhub.io/take-over=there"));
        check(None, Some("there"), ("there", "default"), None);
        check(None, Some("elsewhere"), ("there", "default"), Some("of another cluster"));
        check(None, None, ("here", "other"), Some("edumatrixhub.io/take-over=here"));
        check(None, Some("here"), ("here", "other"), None);
    }
}
