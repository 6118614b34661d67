//! Whether a database can be worked with, and what to do about the functions in it. Pure.

use std::cmp::Ordering;

use crate::database::open::Closed;
use crate::{
    api::tenant_database::Functions as Mode,
    contract::{DatabaseFacts, Installation, Missing},
    postgres::script,
};

/// The oldest server that is supported, as `server_version_num` has it.
const OLDEST: i32 = 150_000;

/// What to do about the functions in a database.
#[derive(Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Go on with what is there.
    Use,
    /// Install ours.
    Install,
}

/// Whether server and database can be worked with at all. `attempt` is what was tried, for the message.
pub fn fit(facts: &DatabaseFacts, attempt: &str) -> Result<(), Closed> {
    let place = attempt.to_owned();
    if facts.server_version_num < OLDEST {
        return Err(Closed::UnsupportedVersion { place, version: facts.server_version.clone() });
    }
    if facts.in_recovery {
        return Err(Closed::ReadOnlyStandby(place));
    }
    if let Some(statement) = &facts.read_only {
        return Err(Closed::ReadOnlySetting { place, statement: statement.clone() });
    }
    Ok(())
}

/// What to do about the functions that are there, if any. `by_hand` is how a database administrator installs them.
pub fn judge(before: Option<&Installation>, mode: Mode, by_hand: &str) -> Result<Judgement, Closed> {
    let Some(before) = before else {
        return match mode {
            Mode::Managed => Ok(Judgement::Install),
            Mode::Verified => Err(Closed::FunctionsMissing(by_hand.to_owned())),
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
            "a function in the database was changed by hand since it was installed; a DBA runs: {by_hand}"
        ))),
        Mode::Verified if newer || ours => Ok(Judgement::Use),
        Mode::Verified => Err(Closed::FunctionsUnverified(format!(
            "the functions in the database are of release {}, this operator brings {}; a DBA runs: {by_hand}",
            before.functions_version,
            env!("CARGO_PKG_VERSION"),
        ))),
    }
}

/// Whether the login has every right that it needs.
pub fn lacks_nothing(user: &str, missing: Vec<Missing>) -> Result<(), Closed> {
    if missing.is_empty() { Ok(()) } else { Err(Closed::InsufficientPrivilege { user: user.to_owned(), missing }) }
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
    use uuid::Uuid;

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
            epoch: 1,
            heartbeat_at: None,
            silent_for: None,
        }
    }

    fn check(before: Option<&Installation>, mode: Mode, expected: &str) {
        let found = match judge(before, mode, "psql") {
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
            read_only: None,
            database_name: "edu".to_owned(),
            registry_exists: false,
            installed: false,
            roles_exist: false,
            is_operator: false,
            owner_has_its_rights: false,
            can_set_owner_role: false,
            missing: Vec::new(),
            missing_for_verified: Vec::new(),
        }
    }

    #[test]
    fn a_server_before_version_15_and_a_standby_are_not_worked_with() {
        let found = |facts: &DatabaseFacts| fit(facts, "db:5432/edu as op").map_err(|closed| closed.to_string());
        let old = found(&facts(140_019, false)).unwrap_err();
        assert_eq!(old, "db:5432/edu as op: PostgreSQL 14.19 is not supported; versions 15 to 18 are");
        assert!(found(&facts(140_019, true)).unwrap_err().contains("14.19"), "the version is what a person must mend");
        assert!(found(&facts(150_000, true)).unwrap_err().contains("read-only standby"));
        let statement = "ALTER ROLE operator RESET default_transaction_read_only".to_owned();
        let set = DatabaseFacts { read_only: Some(statement.clone()), ..facts(150_000, false) };
        assert!(found(&set).unwrap_err().ends_with(&statement));
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
