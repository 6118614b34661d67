//! Rotation, revocation, suspension and looks, while the tenant keeps sessions, transactions and locks.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::{task::JoinHandle, time::sleep};
use tokio_postgres::Client;

use crate::{
    application::{Application, LIMIT, NO_PASSWORD, is_ended},
    support::{call, expect, surveyed},
    world::{By, PASSWORD, World, alone, with_world},
};

#[tokio::test]
async fn a_session_does_not_outlive_the_grace_of_its_password() {
    with_world(async |world| {
        let application = Application::of(&world.database, &world.hostile).await;
        let session = world.session(By::Login).await;
        session.batch_execute("BEGIN; INSERT INTO school.pupils (name) VALUES ('late')").await.unwrap();
        // It chooses a password of its own, and keeps it through the grace of the next rotation and no longer.
        let mine = format!("ALTER ROLE {} PASSWORD 'mine'", world.login);
        world.session(By::Login).await.batch_execute(&mine).await.unwrap();
        assert_eq!(application.door(&world.login, PASSWORD).await, NO_PASSWORD);
        let other = application.issued("the next").await;
        assert_eq!(application.door(&other, "the next").await, "open");
        assert_eq!(application.door(&world.login, "mine").await, "open");
        application.closed_previous().await;
        assert!(is_ended(&session).await);
        assert_eq!(application.door(&world.login, "mine").await, NO_PASSWORD);
        assert_eq!(application.door(&other, "the next").await, "open");
        let rows: i64 = world.database.one("SELECT count(*) FROM school.pupils").await;
        assert_eq!(rows, 3, "what was not committed is undone");
    })
    .await;
}

#[tokio::test]
async fn a_suspension_ends_what_was_begun_and_the_door_stays_shut() {
    with_world(async |world| {
        let application = Application::of(&world.database, &world.hostile).await;
        let session = world.session(By::Login).await;
        session
            .batch_execute("BEGIN; UPDATE school.pupils SET name = name; DECLARE c CURSOR FOR TABLE school.pupils")
            .await
            .unwrap();
        // It changes itself, and so holds the row that the suspension wants.
        let holding = world.session(By::Login).await;
        let own = format!("BEGIN; ALTER ROLE {} SET search_path = school", world.login);
        holding.batch_execute(&own).await.unwrap();
        let owner = world.session(By::Owner).await;
        application.set_access("Suspended").await;
        assert!(is_ended(&session).await && is_ended(&holding).await && is_ended(&owner).await);
        assert_ne!(application.door(&world.login, PASSWORD).await, "open");
        application.set_access("ReadWrite").await;
        assert_eq!(application.door(&world.login, PASSWORD).await, "open");
        world.still_works().await;
    })
    .await;
}

#[tokio::test]
async fn a_revocation_closes_what_the_tenant_holds_open() {
    with_world(async |world| {
        let application = Application::of(&world.database, &world.hostile).await;
        let holding = world.session(By::Login).await;
        let own = format!(
            "SET idle_in_transaction_session_timeout = 0; BEGIN; ALTER ROLE {} PASSWORD 'mine'; SELECT pg_advisory_lock(1)",
            world.login
        );
        holding.batch_execute(&own).await.unwrap();
        for status in ["partial", "success"] {
            expect(&application.withdraw().await, status);
        }
        assert!(is_ended(&holding).await);
        for password in ["mine", PASSWORD] {
            assert_eq!(application.door(&world.login, password).await, NO_PASSWORD);
        }
    })
    .await;
}

/// A look at rights waits for nothing that a tenant can lock, and runs nothing of it.
#[tokio::test]
async fn no_lock_of_a_tenant_holds_up_a_look() {
    with_world(async |world| {
        let owner = world.session(By::Owner).await;
        owner
            .batch_execute(
                "CREATE FUNCTION school.code(oid) RETURNS oid IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RAISE 'ran'; END $$; \
                 BEGIN; LOCK TABLE school.pupils; COMMENT ON SCHEMA school IS 'held'; \
                 ALTER TABLE school.pupils RENAME TO held; GRANT ALL ON school.held TO PUBLIC",
            )
            .await
            .unwrap();
        world.database.admin.batch_execute("GRANT CREATE ON SCHEMA public TO PUBLIC").await.unwrap();
        let started = Instant::now();
        let answer = world.lane.survey(true).await;
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        for tenant in [&world.hostile, &world.victim] {
            let row = surveyed(&answer, tenant).unwrap();
            assert_eq!(row["isolation"][0]["statement"], "REVOKE CREATE ON SCHEMA public FROM PUBLIC CASCADE");
        }
        owner.batch_execute("ROLLBACK").await.unwrap();
        world.database.admin.batch_execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC").await.unwrap();
        world.still_works().await;
    })
    .await;
}

/// Takes every connection that a login may have, and takes it again when it is ended.
fn keep_all(world: &World, login: &str, password: &'static str) -> JoinHandle<()> {
    let (database, login) = (world.database.clone(), login.to_owned());
    tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.retain(|session: &Client| !session.is_closed());
            match database.log_in(&login, password).await {
                Ok(session) => held.push(session),
                Err(_) => sleep(Duration::from_millis(5)).await,
            }
        }
    })
}

/// A tenant has as many connections as its limits say, and no more by keeping them: those of a former password are ended for
/// good, the next password comes in, and surveys and the neighbour go on all the while.
#[tokio::test]
async fn a_tenant_that_keeps_all_connections_of_all_its_logins_holds_up_only_itself() {
    with_world(async |world| {
        let applications = Application::of(&world.database, &world.hostile).await;
        let migrations = Application::migrating(&world.database, &world.hostile).await;
        let goes_on = async || {
            let started = Instant::now();
            let answer = world.lane.survey(true).await;
            assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
            for tenant in [&world.hostile, &world.victim] {
                assert_eq!(surveyed(&answer, tenant).unwrap()["isolation"], json!([]));
            }
            let neighbour = world.session(By::Neighbour).await;
            neighbour.batch_execute("BEGIN; UPDATE college.pupils SET name = name; COMMIT").await.unwrap();
        };
        let mut keeping = Vec::new();
        for (issued, first) in [(&applications, &world.login), (&migrations, &world.migration)] {
            keeping.push(keep_all(&world, first, PASSWORD));
            let second = issued.issued("the second").await;
            keeping.push(keep_all(&world, &second, "the second"));
            for (login, password) in [(first, PASSWORD), (&second, "the second")] {
                let sessions = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{login}'");
                let deadline = Instant::now() + Duration::from_secs(30);
                while world.database.one::<i64>(&sessions).await < LIMIT {
                    assert!(Instant::now() < deadline, "{login} has its connections");
                }
                assert_eq!(issued.door(login, password).await, "53300", "it has no more than its limit");
            }
        }
        goes_on().await;

        // A rotation: what is kept of the password before the last is ended, and stays out however often it comes back.
        for (issued, first) in [(&applications, &world.login), (&migrations, &world.migration)] {
            let closed = async || issued.end_previous().await["status"] == "success";
            let mut tries = 1;
            while !closed().await {
                tries += 1;
                assert!(tries <= 10, "the former login is closed in {tries} calls");
            }
            let third = issued.issued("the third").await;
            assert_eq!((&third, issued.door(first, PASSWORD).await.as_str()), (first, NO_PASSWORD));
            assert_eq!(issued.door(&third, "the third").await, "open");
        }
        goes_on().await;
        for keeping in keeping {
            keeping.abort();
        }
        world.still_works().await;
    })
    .await;
}

/// A tenant opens its schema to others again and again: that is its own drift, taken back each time, and says nothing of a
/// neighbour while it can be.
#[tokio::test]
async fn a_tenant_that_opens_its_own_schema_makes_no_neighbour_look_open() {
    with_world(async |world| {
        let owner = world.session(By::Owner).await;
        for _ in 0..3 {
            let open = format!(
                "GRANT USAGE ON SCHEMA school TO PUBLIC; GRANT USAGE ON SCHEMA school TO {}",
                world.victim.reader
            );
            owner.batch_execute(&open).await.unwrap();
            let answer = world.lane.survey(true).await;
            assert_eq!(surveyed(&answer, &world.victim).unwrap()["isolation"], json!([]));
            let repaired = call(&world.lane.client, "repair_tenant_schema", &world.hostile.options(&json!({}))).await;
            expect(&repaired, "success");
            let denied = format!("SELECT has_schema_privilege('{}', 'school', 'USAGE')", world.their_login);
            assert!(!world.database.one::<bool>(&denied).await);
        }
        world.still_works().await;
    })
    .await;
}

/// No function may reset a default of this kind. The login itself does, before its next password is given to others.
#[tokio::test]
async fn a_default_that_no_function_takes_back_blocks_no_rotation() {
    with_world(async |world| {
        let application = Application::of(&world.database, &world.hostile).await;
        let planted = format!(
            "ALTER ROLE {0} SET role = 'postgres'; ALTER ROLE {0} SET work_mem = '1MB'; ALTER ROLE {0} SET search_path = x",
            world.login
        );
        world.session(By::Login).await.batch_execute(&planted).await.unwrap();
        application.issued("2").await;
        application.closed_previous().await;
        let login = application.issued("3").await;
        assert_eq!(login, world.login);
        let session = world.database.log_in(&login, "3").await.unwrap();
        let now = "SELECT format('%s %s %s', CURRENT_USER, current_setting('search_path'), current_setting('work_mem'))";
        let now: String = session.query_one(now, &[]).await.unwrap().get(0);
        assert_eq!(now, format!("{login} school 4MB"));
        let answer = call(&world.lane.client, "repair_tenant_schema", &world.hostile.options(&json!({}))).await;
        expect(&answer, "unchanged");
        world.still_works().await;
    })
    .await;
}

/// PostgreSQL has one table of locks for all, and any login can fill it. What the operator calls meanwhile fails, is tried again,
/// and works once the session is gone.
#[tokio::test]
async fn a_full_table_of_locks_is_an_error_that_passes() {
    alone(async |world| {
        let before = world.untouched().await;
        let session = world.session(By::Login).await;
        let fill = "SELECT pg_advisory_lock(n) FROM generate_series(1, 1000000) AS n";
        let refusal = session.batch_execute(fill).await.unwrap_err();
        assert_eq!(refusal.code().unwrap().code(), "53200", "{refusal:?}");
        let refused = world.lane.client.batch_execute("LOCK TABLE edu_matrix_hub_schema.lane_lock").await;
        assert!(refused.is_err());
        drop(session);
        let deadline = Instant::now() + Duration::from_secs(30);
        while world.database.log_in(&world.login, PASSWORD).await.is_err() {
            assert!(Instant::now() < deadline);
        }
        world.still_works().await;
        assert_eq!(world.untouched().await, before);
    })
    .await;
}
