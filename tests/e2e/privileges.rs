//! The least that the operator's login needs, and that what it lacks is said with the SQL that gives it.

use devcluster::wait_until;
use regex::Regex;
use serde_json::json;
use tenant_schema_operator::{ident::Ident, postgres::script};

use crate::world::{DEADLINE, World};

/// The statements that a message tells a DBA to run.
fn statements(message: &str) -> Vec<String> {
    let told = Regex::new(r"\(a DBA runs: ([^)]*)\)").unwrap();
    told.captures_iter(message).map(|found| found[1].to_owned()).collect()
}

/// A database that belongs to the superuser, and a login that owns nothing.
async fn with_a_poor_login() -> World {
    let world = World::bare().await;
    world.sql_in("postgres", &format!("CREATE ROLE {} LOGIN PASSWORD 'pw'", world.login()));
    world.sql_in("postgres", &format!("CREATE DATABASE {}", world.database));
    world.write_secret(json!({})).await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_owns_nothing_is_told_exactly_what_it_lacks_and_works_once_it_is_given() {
    let mut world = with_a_poor_login().await;
    let (owner, login) = (world.owner_role(), world.login());
    world.apply_database(json!({})).await;
    world.start_operator().await;

    let message = world.database_stalled("InsufficientPrivilege", &format!("the login {login} lacks")).await;
    let told = statements(&message);
    for expected in [
        format!("CREATE ROLE {owner} NOLOGIN CREATEROLE"),
        format!("CREATE ROLE e2e_{}_admin NOLOGIN", world.id),
        format!("CREATE ROLE e2e_{}_operator NOLOGIN", world.id),
        format!("GRANT CREATE ON DATABASE {} TO {owner}", world.database),
        format!("GRANT CONNECT ON DATABASE {} TO {owner} WITH GRANT OPTION", world.database),
    ] {
        assert!(told.contains(&expected), "{expected} is not among {told:#?}");
    }
    assert_eq!(world.schemas("edu_matrix"), Vec::<String>::new(), "nothing was installed");

    for statement in &told {
        world.sql(statement);
    }
    world.database_ready().await;
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    assert_eq!(
        world.sql(&format!("SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = '{login}'")),
        "f",
        "the login itself needs neither"
    );

    // One right is taken away: exactly that one is named when the lane is opened the next time.
    world.stop_operator().await;
    world.sql(&format!("REVOKE {owner} FROM {login}"));
    world.sql("UPDATE edu_matrix_hub_schema.installation SET functions_checksum = 'of an older release'");
    world.start_operator().await;
    let message = world.database_stalled("InsufficientPrivilege", &owner).await;
    let told = statements(&message);
    assert!(matches!(told.as_slice(), [one] if one.starts_with(&format!("GRANT {owner} TO {login}"))), "{told:#?}");
    assert_eq!(world.tenant_readiness("school").await, "True", "who runs goes on");
    world.sql(&told[0]);
    world.database_ready().await;
    world.until_told("FunctionsUpgraded", "over").await;

    // A function that a user drops is missed by the next survey.
    world.sql("DROP FUNCTION edu_matrix_hub_schema.survey_tenants(bigint, uuid, jsonb)");
    let there = async || world.sql("SELECT count(*) FROM pg_proc WHERE proname = 'survey_tenants'") == "1";
    world.eventually("a function that was dropped is put back", there).await;
    world.database_ready().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verified_functions_need_a_login_that_may_do_nothing_but_call_them() {
    let mut world = with_a_poor_login().await;
    let (owner, login) = (world.owner_role(), world.login());
    world.apply_database(json!({ "functions": "Verified" })).await;
    world.start_operator().await;
    world
        .database_stalled("FunctionsMissing", &format!("tenant-schema-operator sql --owner-role {owner} | psql"))
        .await;

    // The DBA does what the message says, as the superuser.
    let role = Ident::new(&owner).unwrap();
    world.run_script(&script::script(&role, script::Form::Printed));
    let message = world.database_stalled("InsufficientPrivilege", &login).await;
    let told = statements(&message);
    assert!(matches!(told.as_slice(), [one] if one.starts_with("GRANT")), "{message}");
    world.sql(&told[0]);
    world.database_ready().await;
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;

    // A function that a user changed, and functions of another release, are looked at and left alone.
    let change = "ALTER FUNCTION edu_matrix_hub_schema.set_tenant_access(jsonb) SET work_mem = '4MB'";
    for (damage, words, mend) in [
        (change, "changed by hand", "ALTER FUNCTION edu_matrix_hub_schema.set_tenant_access(jsonb) RESET work_mem"),
        (
            "UPDATE edu_matrix_hub_schema.installation SET functions_version = '0.0.1', functions_checksum = 'x' || functions_checksum",
            "of release 0.0.1",
            "UPDATE edu_matrix_hub_schema.installation SET functions_version = '0.1.0', functions_checksum = substr(functions_checksum, 2)",
        ),
    ] {
        world.stop_operator().await;
        world.sql(damage);
        world.start_operator().await;
        world.database_stalled("FunctionsUnverified", words).await;
        assert_eq!(world.tenant_readiness("school").await, "True", "who runs goes on");
        world.sql(mend);
        world.database_ready().await;
    }

    // A right that is taken away while the operator is at work: the next survey notices, and a registry that may not be seen
    // is not taken for another one.
    let operator = format!("e2e_{}_operator", world.id);
    world.sql(&format!("REVOKE {operator} FROM {login}"));
    let message = world.database_stalled("InsufficientPrivilege", &format!("not a member of \"{operator}\"")).await;
    let told = statements(&message);
    assert!(matches!(told.as_slice(), [one] if one.starts_with(&format!("GRANT {operator} TO {login}"))), "{told:#?}");
    assert_eq!(world.tenant_readiness("school").await, "True", "who runs goes on");
    world.sql(&told[0]);
    world.database_ready().await;

    // Functions that only a later release understands.
    world.stop_operator().await;
    world.sql("UPDATE edu_matrix_hub_schema.installation SET contract = contract + 2");
    world.start_operator().await;
    world.database_stalled("FunctionsNewer", "upgrade the operator").await;
    world.sql("UPDATE edu_matrix_hub_schema.installation SET contract = contract - 2");
    world.database_ready().await;
    world.finish().await;
}

/// What these tests do in their world.
pub trait Privileges {
    fn run_script(&self, script: &str);
}

impl Privileges for World {
    /// Runs a script of many statements as superuser, as `psql -f` does.
    fn run_script(&self, script: &str) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), script).unwrap();
        let mut command = std::process::Command::new(self.postgres.tool("psql").unwrap());
        command.envs(self.postgres.env()).args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &self.database, "-f"]);
        let done = command.arg(file.path()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let there = || self.sql("SELECT to_regproc('edu_matrix_hub_schema.installation') IS NOT NULL") == "t";
        wait_until(DEADLINE, "the functions are there", there).unwrap();
    }
}
