//! Stage 2: opening the lane. The database is looked at, the functions are installed or checked, the epoch is taken.
//!
//! What is found is judged by [`judge`], which is pure; this file does what the judgement says.

use std::{cmp::Ordering, sync::Arc, time::Duration};

use kube::ResourceExt;
use serde_json::json;
use thiserror::Error;
use uuid::Uuid;

use crate::{
    api::{TAKE_OVER, TenantDatabase, tenant_database::Functions as Mode},
    ident::{Ident, IdentError},
    lane::{Lane, LaneParts},
    postgres::{
        self, Connection, Functions, Hold, Pool,
        answer::{CallStatus, DatabaseFacts, Installation, LaneClaim, Missing},
        script,
    },
    telemetry::Metrics,
};

/// Installing a few hundred kilobytes of functions takes well under a second; a lock may make it wait.
const INSTALL_DEADLINE: Duration = Duration::from_mins(1);
/// The oldest server that is supported, as `server_version_num` has it.
const OLDEST: i32 = 150_000;

/// Why the lane does not open.
#[derive(Debug, Error)]
pub enum Closed {
    /// The database, or the way to it.
    #[error(transparent)]
    Postgres(#[from] postgres::Error),
    /// The owner role has no valid name.
    #[error("spec.ownerRole: {0}")]
    OwnerRole(#[from] IdentError),
    /// The server is too old.
    #[error("PostgreSQL {0} is not supported; versions 15 to 18 are")]
    UnsupportedVersion(String),
    /// The server only reads.
    #[error("the server is a read-only standby; point the Secret to the primary, or wait for the failover to end")]
    ReadOnlyStandby,
    /// The login may not do what is needed.
    #[error("the login {user} lacks: {}", missing_text(.missing))]
    InsufficientPrivilege {
        /// The login.
        user: String,
        /// What it lacks.
        missing: Vec<Missing>,
    },
    /// Functions that only a later release understands.
    #[error("the functions in the database are of release {installed} (contract {contract}), which this release {} does not understand; upgrade the operator", env!("CARGO_PKG_VERSION"))]
    FunctionsNewer {
        /// Their release.
        installed: String,
        /// Their contract.
        contract: i32,
    },
    /// `Verified`, and the functions are older or changed.
    #[error("{0}")]
    FunctionsUnverified(String),
    /// `Verified`, and nothing is installed.
    #[error(
        "the functions are not installed and spec.functions is Verified; a DBA runs: tenant-schema-operator sql --owner-role {0} | psql"
    )]
    FunctionsMissing(String),
    /// The Secret leads to another database than before.
    #[error(
        "this is not the database that was installed: expected installation {expected}, found {found}; nothing was changed. \
         Correct the Secret; or, if this database shall take the other's place: kubectl annotate tenantdatabase {name} \
         --overwrite {}={expected}",
        crate::api::TAKE_OVER
    )]
    DatabaseChanged {
        /// The TenantDatabase.
        name: String,
        /// What status remembers.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Another cluster manages it.
    #[error(
        "this database is managed by TenantDatabase {tenant_database} of another cluster ({cluster}); nothing was changed. If \
         that cluster is gone for good: kubectl annotate tenantdatabase {name} --overwrite {}={cluster}",
        crate::api::TAKE_OVER
    )]
    ManagedElsewhere {
        /// The TenantDatabase that asks.
        name: String,
        /// The other's kube-system UID.
        cluster: String,
        /// The other's name.
        tenant_database: String,
    },
    /// Another TenantDatabase of this cluster manages it.
    #[error(
        "TenantDatabase {other} manages this database already; one database has one TenantDatabase. If {other} is gone for \
         good: kubectl annotate tenantdatabase {name} --overwrite {}={cluster}",
        crate::api::TAKE_OVER
    )]
    Duplicate {
        /// The TenantDatabase that asks.
        name: String,
        /// The one that has it.
        other: String,
        /// Both their cluster.
        cluster: String,
    },
}

/// What was opened.
pub struct Opened {
    /// The lane.
    pub lane: Arc<Lane>,
    /// As `15.18`.
    pub server_version: String,
    /// The release of the functions.
    pub functions_version: String,
    /// True when this replica installed them now, with what was there before.
    pub installed: Option<InstalledNow>,
}

/// What installing did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstalledNow {
    /// There was nothing before.
    First,
    /// There was another release, or a changed function.
    Upgraded {
        /// The release before.
        from: String,
    },
}

/// What to do about the functions in a database.
#[derive(Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Go on with what is there.
    Use,
    /// Install ours.
    Install,
}

/// Who asks for the lane.
pub struct Claimant<'a> {
    /// UID of the cluster's kube-system namespace.
    pub cluster: &'a str,
    /// This replica.
    pub identity: &'a str,
    /// Called when the lane closes.
    pub ring: Box<dyn Fn() + Send + Sync>,
}

/// Opens the lane of a database.
pub async fn open(
    database: &TenantDatabase,
    connection: Connection,
    claimant: Claimant<'_>,
    metrics: Arc<Metrics>,
) -> Result<Opened, Closed> {
    let spec = &database.spec;
    let name = database.metadata.name.clone().unwrap_or_default();
    let owner_role = spec.owner_role()?;
    let user = connection.user().to_owned();
    let size = spec.connection.max_connections();
    let pool = Pool::new(connection, size)?;
    let functions = Functions::new(pool, metrics, spec.connection.statement_timeout());
    let facts = functions.database(&owner_role).await?;
    fit(&facts)?;
    let take_over = database.annotations().get(TAKE_OVER).map(String::as_str);
    // To take over from an installation is to say that another may be behind the Secret.
    let expected = database.status.as_ref().and_then(|status| status.installation_id.clone());
    let expected = expected.filter(|id| take_over != Some(id.as_str()));
    // Functions that stand and may not be called: the right that lacks says more than that nothing was found.
    if facts.registry_exists && !facts.installed && (expected.is_some() || spec.functions() == Mode::Verified) {
        lacks_nothing(&user, facts.missing_for_verified.clone())?;
    }
    if let (Some(expected), false) = (&expected, facts.installed) {
        let found = if facts.registry_exists { "one that this login may not see" } else { "none" };
        return Err(Closed::DatabaseChanged { name, expected: expected.clone(), found: found.to_owned() });
    }
    let before = if facts.installed { Some(functions.installation().await?) } else { None };
    let identity = Identity { cluster: claimant.cluster, name: &name, expected: expected.as_deref(), take_over };
    // Before anything is installed: functions are not upgraded in a database that is another's.
    if let Some(before) = &before {
        identity.may_manage(before)?;
    }
    // With the roles in place, their rights in this database and the right to act as the owner, nothing is left to
    // bootstrap, and a login that could not bootstrap can still upgrade.
    let stands = facts.can_set_owner_role && facts.owner_can_create_in_database;
    let form = if stands { script::Form::Managed } else { script::Form::Bootstrapping };
    let installed = match judge(before.as_ref(), spec.functions(), &owner_role)? {
        Judgement::Use => {
            lacks_nothing(&user, facts.missing_for_verified)?;
            None
        }
        Judgement::Install => {
            lacks_nothing(&user, facts.missing)?;
            functions.install(&script::script(&owner_role, form), INSTALL_DEADLINE).await?;
            Some(before.map_or(InstalledNow::First, |before| InstalledNow::Upgraded { from: before.functions_version }))
        }
    };
    let claim = claim(&functions, claimant.identity, &identity).await?;
    let installation = functions.installation().await?;
    let hold = Hold { epoch: claim.epoch, installation_id: claim.installation_id };
    // One connection stays for the survey and the heartbeats, the job slots have theirs, the rest applies.
    let apply_slots = size.saturating_sub(1 + job_slots(size));
    let parts = LaneParts {
        database: name,
        database_name: facts.database_name,
        holder: claimant.identity.to_owned(),
        hold,
        apply_slots,
    };
    Ok(Opened {
        lane: Arc::new(Lane::new(parts, functions, claimant.ring)),
        // Distributions append their own package version in brackets.
        server_version: facts.server_version.split(' ').next().unwrap_or_default().to_owned(),
        functions_version: installation.functions_version,
        installed,
    })
}

/// How many jobs may run at once with so many connections.
#[must_use]
pub fn job_slots(connections: usize) -> usize {
    (connections / 4).max(1)
}

/// Whether server and database can be worked with at all.
fn fit(facts: &DatabaseFacts) -> Result<(), Closed> {
    if facts.server_version_num < OLDEST {
        return Err(Closed::UnsupportedVersion(facts.server_version.clone()));
    }
    if facts.in_recovery {
        return Err(Closed::ReadOnlyStandby);
    }
    Ok(())
}

/// What to do about the functions that are there, if any.
pub fn judge(before: Option<&Installation>, mode: Mode, owner_role: &Ident) -> Result<Judgement, Closed> {
    let Some(before) = before else {
        return match mode {
            Mode::Managed => Ok(Judgement::Install),
            Mode::Verified => Err(Closed::FunctionsMissing(owner_role.as_str().to_owned())),
        };
    };
    // An operator works with its own contract and the next, so that a rollback by one release runs on.
    if before.contract > script::CONTRACT + 1 {
        let installed = before.functions_version.clone();
        return Err(Closed::FunctionsNewer { installed, contract: before.contract });
    }
    let newer = compare_versions(&before.functions_version, env!("CARGO_PKG_VERSION")) == Ordering::Greater;
    let ours = before.checksum == script::checksum();
    match mode {
        Mode::Managed if newer || (ours && before.fingerprint_matches) => Ok(Judgement::Use),
        Mode::Managed => Ok(Judgement::Install),
        Mode::Verified if !before.fingerprint_matches => Err(Closed::FunctionsUnverified(format!(
            "a function in the database was changed by hand since it was installed; a DBA runs: tenant-schema-operator sql \
             --owner-role {} | psql",
            owner_role.as_str()
        ))),
        Mode::Verified if newer || ours => Ok(Judgement::Use),
        Mode::Verified => Err(Closed::FunctionsUnverified(format!(
            "the functions in the database are of release {}, this operator brings {}; a DBA runs: tenant-schema-operator \
             sql --owner-role {} | psql",
            before.functions_version,
            env!("CARGO_PKG_VERSION"),
            owner_role.as_str()
        ))),
    }
}

/// Who wants to manage a database, and which.
struct Identity<'a> {
    /// UID of the cluster's kube-system namespace.
    cluster: &'a str,
    /// The TenantDatabase.
    name: &'a str,
    /// The installation that it managed before, if it managed one.
    expected: Option<&'a str>,
    /// Whose place it shall take, by its annotation.
    take_over: Option<&'a str>,
}

impl Identity<'_> {
    /// Whether what is installed is the database that is meant, and nobody else's.
    fn may_manage(&self, found: &Installation) -> Result<(), Closed> {
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

async fn claim(functions: &Functions, holder: &str, identity: &Identity<'_>) -> Result<LaneClaim, Closed> {
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

fn lacks_nothing(user: &str, missing: Vec<Missing>) -> Result<(), Closed> {
    if missing.is_empty() { Ok(()) } else { Err(Closed::InsufficientPrivilege { user: user.to_owned(), missing }) }
}

fn missing_text(missing: &[Missing]) -> String {
    let lines: Vec<_> = missing.iter().map(|one| format!("{} (a DBA runs: {})", one.what, one.statement)).collect();
    lines.join("; ")
}

/// Compares `1.10.0` with `1.9.0` number by number. What follows `-` or `+` does not count: between a candidate and its
/// release the checksum decides.
fn compare_versions(left: &str, right: &str) -> Ordering {
    let release = |text: &str| text.split(['-', '+']).next().unwrap_or_default().to_owned();
    let numbers = |text: &str| -> Vec<u64> { release(text).split('.').map(|part| part.parse().unwrap_or(0)).collect() };
    numbers(left).cmp(&numbers(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installation(version: &str, contract: i32, ours: bool, fingerprint_matches: bool) -> Installation {
        Installation {
            installation_id: Uuid::nil(),
            functions_version: version.to_owned(),
            contract,
            checksum: if ours { script::checksum() } else { "other".to_owned() },
            fingerprint_matches,
            cluster: None,
            tenant_database: None,
        }
    }

    #[test]
    fn a_database_that_is_anothers_is_not_managed_without_being_told_to() {
        let id = Uuid::nil().to_string();
        let check = |expected, take_over, (cluster, database): (&str, &str), complaint: Option<&str>| {
            let found = Installation {
                cluster: Some(cluster.to_owned()),
                tenant_database: Some(database.to_owned()),
                ..installation("0.1.0", 1, true, true)
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

    fn check(before: Option<&Installation>, mode: Mode, expected: &str) {
        let role = Ident::new("edu_matrix_owner").unwrap();
        let found = match judge(before, mode, &role) {
            Ok(judgement) => format!("{judgement:?}"),
            Err(closed) => format!("{closed:?}").split(['(', ' ', '{']).next().unwrap().to_owned(),
        };
        assert_eq!(found, expected);
    }

    fn facts(version: i32, in_recovery: bool) -> DatabaseFacts {
        DatabaseFacts {
            server_version_num: version,
            server_version: format!("{}.{}", version / 10_000, version % 10_000),
            in_recovery,
            database_name: "edu".to_owned(),
            registry_exists: false,
            installed: false,
            owner_role_exists: false,
            owner_can_create_in_database: false,
            can_set_owner_role: false,
            missing: Vec::new(),
            missing_for_verified: Vec::new(),
        }
    }

    #[test]
    fn a_server_before_version_15_and_a_standby_are_not_worked_with() {
        let found = |facts: &DatabaseFacts| fit(facts).map_err(|closed| closed.to_string());
        let old = found(&facts(140_019, false)).unwrap_err();
        assert_eq!(old, "PostgreSQL 14.19 is not supported; versions 15 to 18 are");
        assert!(found(&facts(140_019, true)).unwrap_err().contains("14.19"), "the version is what a person must mend");
        assert!(found(&facts(150_000, true)).unwrap_err().contains("read-only standby"));
        assert_eq!(found(&facts(150_000, false)), Ok(()));
        assert_eq!(found(&facts(180_001, false)), Ok(()));
    }

    #[test]
    fn managed_functions_are_installed_unless_they_are_ours_or_newer() {
        let own = env!("CARGO_PKG_VERSION");
        check(None, Mode::Managed, "Install");
        check(Some(&installation(own, script::CONTRACT, true, true)), Mode::Managed, "Use");
        check(Some(&installation(own, script::CONTRACT, true, false)), Mode::Managed, "Install");
        check(Some(&installation("0.0.1", script::CONTRACT, false, true)), Mode::Managed, "Install");
        check(Some(&installation("99.0.0", script::CONTRACT + 1, false, true)), Mode::Managed, "Use");
        check(Some(&installation("99.0.0", script::CONTRACT + 2, false, true)), Mode::Managed, "FunctionsNewer");
    }

    #[test]
    fn verified_functions_are_only_looked_at() {
        let own = env!("CARGO_PKG_VERSION");
        check(None, Mode::Verified, "FunctionsMissing");
        check(Some(&installation(own, script::CONTRACT, true, true)), Mode::Verified, "Use");
        check(Some(&installation(own, script::CONTRACT, true, false)), Mode::Verified, "FunctionsUnverified");
        check(Some(&installation("0.0.1", script::CONTRACT, false, true)), Mode::Verified, "FunctionsUnverified");
        check(Some(&installation("99.0.0", script::CONTRACT + 1, false, true)), Mode::Verified, "Use");
    }

    #[test]
    fn versions_are_compared_by_number() {
        assert_eq!(compare_versions("0.10.0", "0.9.9"), Ordering::Greater);
        assert_eq!(compare_versions("1.0.0", "1.0.0"), Ordering::Equal);
        assert_eq!(compare_versions("0.2.0-rc1", "0.2.0"), Ordering::Equal);
    }
}
