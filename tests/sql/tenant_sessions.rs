//! The session in which the operator works as a tenant: what it may, and that nothing of one is left when the next begins.

use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::{
    application::{Application, CLOSED, NO_PASSWORD, found, is_ended},
    support::{Database, Lane, Tenant, expect, has_keepers, with_database},
};

/// The operator, as far as it works as one tenant.
pub struct Runner<'a> {
    pub database: &'a Database,
    pub lane: Lane,
    pub tenant: &'a Tenant,
}

impl<'a> Runner<'a> {
    pub async fn of(database: &'a Database, tenant: &'a Tenant) -> Self {
        Self { database, lane: Lane::claim(database.operator().await).await, tenant }
    }

    /// One call that opens the login with this password.
    pub async fn try_open(&self, password: &str) -> Value {
        self.try_open_for(password, &json!({})).await
    }

    /// The same with further options.
    pub async fn try_open_for(&self, password: &str, more: &Value) -> Value {
        let verifier = self.database.verifier(password).await;
        let mut options = self.tenant.options(&json!({ "verifier": verifier, "seconds": 60 }));
        options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.lane.session("open", &options).await
    }

    /// Opens the login as the operator does, and returns what the last call answers and how often what a former session left was
    /// undone.
    pub async fn opened(&self, password: &str) -> (Value, usize) {
        let mut undone = 0;
        loop {
            let answer = self.try_open(password).await;
            if answer["status"] == "partial" {
                continue;
            }
            expect(&answer, "success");
            let before = answer["detail"]["before"].as_array().unwrap();
            if before.is_empty() {
                return (answer, undone);
            }
            undone += 1;
            let session = self.log_in(&answer, password).await;
            for statement in before {
                session.batch_execute(statement.as_str().unwrap()).await.unwrap();
            }
        }
    }

    pub async fn log_in(&self, answer: &Value, password: &str) -> Client {
        let text = |key: &str| answer["detail"][key].as_str().unwrap().to_owned();
        let options =
            format!("-c role={} -c default_transaction_read_only=off -c statement_timeout=10000", text("owner_role"));
        self.database.log_in_by(&text("login"), password, &options).await.unwrap()
    }

    pub async fn session(&self, password: &str) -> Client {
        let (answer, _) = self.opened(password).await;
        self.log_in(&answer, password).await
    }

    pub async fn close(&self) -> Value {
        self.lane.session("close", &self.tenant.options(&json!({}))).await
    }

    pub async fn closed(&self) {
        expect(&self.close().await, "partial");
        expect(&self.close().await, "success");
        expect(&self.close().await, "unchanged");
    }

    /// Has what is free in these tables noted.
    pub async fn noted(&self, tables: &Value) -> Value {
        self.lane.call("note_live_part", &self.tenant.options(&json!({ "tables": tables }))).await
    }

    pub fn login(&self) -> String {
        self.tenant.owner.replace("_owner", "_run")
    }

    async fn door(&self, password: &str) -> String {
        match self.database.log_in(&self.login(), password).await {
            Ok(_) => "open".to_owned(),
            Err(error) => error.code().unwrap().code().to_owned(),
        }
    }
}

#[tokio::test]
async fn a_session_is_the_tenants_and_has_no_way_back() {
    with_database(async |database| {
        let (tenant, other) = (database.tenant("school").await, database.tenant("other").await);
        database.as_owner(&other, "CREATE TABLE t (id int)").await;
        let runner = Runner::of(&database, &tenant).await;
        let client = runner.session("first").await;
        client.batch_execute("CREATE TABLE t (id int)").await.unwrap();
        let made: String = client
            .query_one("SELECT relowner::regrole::text FROM pg_class WHERE oid = 't'::regclass", &[])
            .await
            .unwrap()
            .get(0);
        assert_eq!(made, tenant.owner);
        for back in [
            "RESET ROLE",
            "SET ROLE NONE",
            "SET SESSION AUTHORIZATION DEFAULT",
            "RESET ALL; RESET SESSION AUTHORIZATION",
        ] {
            client.batch_execute(back).await.unwrap();
            for statement in [
                "SELECT FROM other.t",
                "SELECT FROM edu_matrix_hub_schema.tenant_schemas",
                &format!("SET ROLE {}", database.owner_role),
                &format!("SET ROLE \"{}\"", other.owner),
                "SELECT edu_matrix_hub_schema.installation()",
                "CREATE ROLE mine",
                "CREATE SCHEMA mine",
                "ALTER ROLE CURRENT_USER CONNECTION LIMIT 5",
                "ALTER ROLE CURRENT_USER VALID UNTIL 'infinity'",
                "ALTER ROLE CURRENT_USER CREATEROLE",
            ] {
                let refused = client.batch_execute(statement).await;
                assert!(refused.is_err(), "{back}: {statement}");
            }
        }
        // After RESET ROLE it is the owner again.
        client.batch_execute("RESET ROLE; SET SESSION AUTHORIZATION DEFAULT").await.unwrap();
        assert_eq!(runner.door("first").await, "53300", "one connection");
        assert_eq!(runner.door("second").await, NO_PASSWORD);
        assert_eq!(found(&runner.lane, &tenant).await, Vec::<Value>::new());

        runner.closed().await;
        assert!(is_ended(&client).await);
        assert_eq!(runner.door("first").await, NO_PASSWORD);
        assert_eq!(found(&runner.lane, &tenant).await, Vec::<Value>::new());
        assert_eq!(database.standing_memberships().await, 0);

        // What it made as itself is given to the owner.
        let client = runner.session("second").await;
        if !has_keepers() {
            client.batch_execute("SET ROLE NONE; CREATE TABLE school.mine (id int)").await.unwrap();
            runner.closed().await;
            assert_eq!(found(&runner.lane, &tenant).await.len(), 1);
            expect(&Application::of(&database, &tenant).await.repair().await, "success");
            assert_eq!(found(&runner.lane, &tenant).await, Vec::<Value>::new());
        }
    })
    .await;
}

/// Each is what a tenant's code may leave in its session, and is looked for from the next one.
#[tokio::test]
async fn nothing_of_a_session_is_left_for_the_next() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database.as_owner(&tenant, "CREATE TABLE t (id int)").await;
        let runner = Runner::of(&database, &tenant).await;
        let login = runner.login();
        let settings = format!("SELECT count(*) FROM pg_db_role_setting AS s JOIN pg_roles AS r ON r.oid = s.setrole WHERE r.rolname = '{login}'");

        // Its own password and settings, before the session is closed and when no call closes it.
        for (round, closes) in [true, false].into_iter().enumerate() {
            let client = runner.session(&format!("first{round}")).await;
            client
                .batch_execute(
                    "SET ROLE NONE; ALTER ROLE CURRENT_USER PASSWORD 'mine'; \
                     ALTER ROLE CURRENT_USER SET default_transaction_read_only = on; ALTER ROLE CURRENT_USER SET search_path = mine; \
                     ALTER ROLE CURRENT_USER SET statement_timeout = '1ms'; ALTER ROLE CURRENT_USER SET local_preload_libraries = 'nothing'",
                )
                .await
                .unwrap();
            if closes {
                runner.closed().await;
                assert_eq!(runner.door("mine").await, NO_PASSWORD);
            }
            let (answer, undone) = runner.opened(&format!("second{round}")).await;
            assert_eq!(undone, 0);
            assert!(is_ended(&client).await);
            assert_eq!(runner.door("mine").await, NO_PASSWORD);
            assert_eq!(database.one::<i64>(&settings).await, 1, "those that it was given");
            let client = runner.log_in(&answer, &format!("second{round}")).await;
            let path: String = client.query_one("SHOW search_path", &[]).await.unwrap().get(0);
            assert_eq!(path, "school");
        }

        // A default that no function can take back.
        let client = runner.session("third").await;
        client.batch_execute(&format!("SET ROLE NONE; ALTER ROLE CURRENT_USER SET role = '{login}'; ALTER ROLE CURRENT_USER SET work_mem = '64kB'"))
            .await
            .unwrap();
        let (answer, undone) = runner.opened("fourth").await;
        assert_eq!((undone, database.one::<i64>(&settings).await), (1, 1));
        let client = runner.log_in(&answer, "fourth").await;
        client.batch_execute("INSERT INTO t VALUES (1)").await.unwrap();
        runner.closed().await;

        // Locks and transactions that it does not end.
        let client = runner.session("fifth").await;
        client
            .batch_execute("BEGIN; LOCK TABLE t; SET ROLE NONE; ALTER ROLE CURRENT_USER PASSWORD 'mine'; SET idle_in_transaction_session_timeout = 0")
            .await
            .unwrap();
        let client = runner.session("sixth").await;
        client.batch_execute("INSERT INTO t VALUES (1)").await.unwrap();
        assert_eq!(runner.door("mine").await, NO_PASSWORD);

        // A second session, which its own password would let in when the first has ended.
        client.batch_execute("SET ROLE NONE; ALTER ROLE CURRENT_USER PASSWORD 'mine'").await.unwrap();
        assert_eq!(runner.door("mine").await, "53300");
        drop(client);
        let second = loop {
            match database.log_in(&login, "mine").await {
                Ok(second) => break second,
                Err(error) => assert_eq!(error.code().unwrap().code(), "53300"),
            }
        };
        second.batch_execute("BEGIN; INSERT INTO school.t VALUES (2)").await.or_else(|error| if has_keepers() { Ok(()) } else { Err(error) }).unwrap();
        let client = runner.session("seventh").await;
        assert!(is_ended(&second).await);
        let count: i64 = client.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
        assert_eq!(count, 2);
        let sessions = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{login}'");
        assert_eq!(database.one::<i64>(&sessions).await, 1);
    })
    .await;
}

#[tokio::test]
async fn what_a_session_prepared_is_rolled_back_before_the_next() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database.as_owner(&tenant, "CREATE TABLE t (id int)").await;
        let runner = Runner::of(&database, &tenant).await;
        let prepared = format!("SELECT count(*) FROM pg_prepared_xacts WHERE database = '{}'", database.name);
        // What a migration prepared at another time is not the session's.
        let migration = Application::migrating(&database, &tenant).await;
        let login = migration.issued("m").await;
        let migrate = database.log_in(&login, "m").await.unwrap();
        migrate.batch_execute("BEGIN; INSERT INTO t VALUES (7); PREPARE TRANSACTION 'migration'").await.unwrap();
        let client = runner.session("first").await;
        for (n, role) in [(1, "NONE"), (2, &*format!("\"{}\"", tenant.owner))] {
            client
                .batch_execute(&format!("SET ROLE {role}; BEGIN; SELECT txid_current(); CREATE TEMP TABLE x{n} (id int) ON COMMIT DROP; PREPARE TRANSACTION 'x{n}'"))
                .await
                .unwrap_err();
            client.batch_execute("ROLLBACK").await.unwrap();
            client
                .batch_execute(&format!("SET ROLE {role}; BEGIN; SELECT txid_current(); PREPARE TRANSACTION 'a''{n}'"))
                .await
                .unwrap();
        }
        client.batch_execute(&format!("SET ROLE \"{}\"; BEGIN; LOCK TABLE t; PREPARE TRANSACTION 'lock'", tenant.owner)).await.unwrap_err();
        client.batch_execute("ROLLBACK; BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'row'").await.unwrap();
        assert_eq!(database.one::<i64>(&prepared).await, 4);
        let (_, undone) = runner.opened("second").await;
        assert_eq!((undone, database.one::<i64>(&prepared).await), (1, 1));
        runner.closed().await;
        let (_, undone) = runner.opened("third").await;
        assert_eq!((undone, database.one::<i64>(&prepared).await), (0, 1));
        migrate.batch_execute("COMMIT PREPARED 'migration'").await.unwrap();
    })
    .await;
}

/// It holds the row of the login, which gets no password before it is gone.
#[tokio::test]
async fn a_prepared_change_of_its_own_password_is_named_with_what_ends_it() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let runner = Runner::of(&database, &tenant).await;
        let client = runner.session("first").await;
        client
            .batch_execute("SET ROLE NONE; BEGIN; ALTER ROLE CURRENT_USER PASSWORD 'mine'; PREPARE TRANSACTION 'mine'")
            .await
            .unwrap();
        drop(client);
        let answer = runner.try_open("second").await;
        expect(&answer, "busy");
        assert!(answer["message"].as_str().unwrap().contains("ROLLBACK PREPARED 'mine'"), "{answer}");
        database.admin.batch_execute("ROLLBACK PREPARED 'mine'").await.unwrap();
        let client = runner.session("second").await;
        client.batch_execute("SELECT 1").await.unwrap();
        assert_eq!(runner.door("mine").await, NO_PASSWORD);
    })
    .await;
}

/// An operator that is killed between any two steps leaves nothing that the next one, or a survey, does not end.
#[tokio::test]
async fn an_operator_that_is_killed_between_two_steps_leaves_nothing_open() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let runner = Runner::of(&database, &tenant).await;
        // Opened and left; with a session, and with what it was to undo.
        for step in 0..4 {
            let password = format!("left{step}");
            let mut held = None;
            match step {
                0 => {
                    runner.opened(&password).await;
                }
                1 => held = Some(runner.session(&password).await),
                2 => {
                    let client = runner.session(&password).await;
                    client.batch_execute("SET ROLE NONE; ALTER ROLE CURRENT_USER SET role = 'none'").await.unwrap();
                    drop(client);
                    while runner.try_open(&password).await["status"] != "success" {}
                }
                _ => {
                    held = Some(runner.session(&password).await);
                    expect(&runner.close().await, "partial");
                }
            }
            let (_, _) = runner.opened("next").await;
            if let Some(held) = held {
                assert!(is_ended(&held).await, "{step}");
            }
            assert_eq!(runner.door(&password).await, NO_PASSWORD, "{step}");
            runner.closed().await;
        }
        // No call opens it again: the password ends by itself, and a survey closes the login.
        let held = runner.session("last").await;
        database
            .admin
            .batch_execute("UPDATE edu_matrix_hub_schema.tenant_sessions SET open_until = now() - interval '1 second'")
            .await
            .unwrap();
        runner.lane.survey(false).await;
        assert!(is_ended(&held).await);
        assert_eq!(runner.door("last").await, NO_PASSWORD);
        runner.lane.survey(false).await;
        expect(&runner.close().await, "unchanged");
        assert_eq!(found(&runner.lane, &tenant).await, Vec::<Value>::new());
        let ends: bool = database
            .one(&format!(
                "SELECT rolvaliduntil BETWEEN now() AND now() + interval '1 minute' FROM pg_roles WHERE rolname = '{}'",
                runner.login()
            ))
            .await;
        assert!(ends);
        // Another holder of the lane, and one that was another's.
        let other = Lane::claim(database.operator().await).await;
        let answer = runner.try_open("stale").await;
        assert_eq!(expect(&answer, "error"), "stale_epoch");
        let verifier = database.verifier("x").await;
        let wrong = other.with(0, Some(Uuid::nil()));
        let answer = wrong.session("open", &tenant.options(&json!({ "verifier": verifier, "seconds": 60 }))).await;
        assert_eq!(expect(&answer, "error"), "wrong_installation");
    })
    .await;
}

/// The login is known wherever a tenant's roles are.
#[tokio::test]
async fn the_login_goes_with_its_tenant() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database.as_owner(&tenant, "CREATE TABLE t (id int)").await;
        let application = Application::of(&database, &tenant).await;
        let runner = Runner::of(&database, &tenant).await;
        let (login, operator) = (runner.login(), &application.operator);

        // A block takes nothing from it, and ends no session of it.
        let client = runner.session("first").await;
        application.set_access("WriteBlocked").await;
        client.batch_execute("INSERT INTO t VALUES (1)").await.unwrap();
        assert_eq!(found(&runner.lane, &tenant).await, Vec::<Value>::new());
        application.set_access("ReadWrite").await;
        client.batch_execute("INSERT INTO t VALUES (1)").await.unwrap();

        // A suspension closes it for good.
        application.set_access("Suspended").await;
        assert!(is_ended(&client).await);
        assert_eq!(expect(&runner.try_open("second").await, "error"), "internal");
        application.set_access("ReadWrite").await;
        assert_eq!(runner.door("first").await, CLOSED);
        runner.session("second").await;
        runner.closed().await;

        // What a user changes by hand is drift.
        let stranger = database.role("stranger", "NOLOGIN").await;
        database
            .admin
            .batch_execute(&format!("ALTER ROLE \"{login}\" LOGIN CREATEROLE; GRANT {stranger} TO \"{login}\""))
            .await
            .unwrap();
        let drift = found(&runner.lane, &tenant).await;
        assert_eq!(drift.len(), 3, "{drift:?}");
        expect(&application.repair().await, "success");
        if has_keepers() {
            database.admin.batch_execute(&format!("REVOKE {stranger} FROM \"{login}\"")).await.unwrap();
        }
        assert_eq!(found(&runner.lane, &tenant).await, Vec::<Value>::new());

        // Set aside, brought back, and removed.
        let client = runner.session("third").await;
        let aside = crate::support::call(
            operator,
            "set_aside_tenant_schema",
            &tenant.options(&json!({ "owner_uid": "uid-school" })),
        )
        .await;
        expect(&aside, "success");
        assert!(is_ended(&client).await);
        let backup = aside["detail"]["backup_id"].clone();
        expect(&runner.close().await, "success");
        let restored = crate::support::call(
            operator,
            "restore_tenant_schema",
            &json!({ "backup_id": backup, "owner": crate::support::owner("school") }),
        )
        .await;
        expect(&restored, "success");
        assert_ne!(runner.door("third").await, "open");
        runner.session("fourth").await;
        runner.closed().await;
        let aside = crate::support::call(
            operator,
            "set_aside_tenant_schema",
            &tenant.options(&json!({ "owner_uid": "uid-school" })),
        )
        .await;
        let backup = aside["detail"]["backup_id"].clone();
        let backup: Uuid = backup.as_str().unwrap().parse().unwrap();
        let purge = "SELECT status FROM edu_matrix_hub_schema.purge_schema_backup($1)";
        let answer = loop {
            let status: String = operator.query_one(purge, &[&backup]).await.unwrap().get(0);
            if status != "partial" {
                break status;
            }
        };
        assert_eq!(answer, "success");
        let stands: i64 = database.one(&format!("SELECT count(*) FROM pg_roles WHERE rolname = '{login}'")).await;
        assert_eq!(stands, 0);
    })
    .await;
}

#[tokio::test]
async fn only_the_operator_role_may_open_it() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let runner = Runner::of(&database, &tenant).await;
        let admin = database.member("person", &database.admin_role()).await;
        let person = Lane::claim_shared(&runner.lane, admin);
        for function in ["open", "close"] {
            let asked = person.try_session(function, &tenant.options(&json!({ "verifier": "x", "seconds": 60 }))).await;
            assert_eq!(asked.unwrap_err().code().unwrap().code(), "42501");
        }
        let answer =
            runner.lane.session("open", &tenant.options(&json!({ "verifier": "a password", "seconds": 60 }))).await;
        assert!(answer["message"].as_str().unwrap().contains("verifier"), "{answer}");
        // A role of its name that is not the tenant's is not touched.
        database.admin.batch_execute(&format!("CREATE ROLE \"{}\" SUPERUSER", runner.login())).await.unwrap();
        assert_eq!(expect(&runner.try_open("first").await, "error"), "name_taken");
        database.admin.batch_execute(&format!("DROP ROLE \"{}\"", runner.login())).await.unwrap();
    })
    .await;
}
