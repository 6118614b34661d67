//! A session that sits in a transaction: its locks end with its credential's limit, whatever it set for itself.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio_postgres::Client;

use crate::{
    application::{Application, is_ended},
    support::{Database, Lane, Tenant, expect, with_database},
};

/// A session in a transaction that has written, and has no timeout.
async fn sitting(database: &Database, login: &str, statement: &str) -> Client {
    let session = database.log_in(login, "first").await.unwrap();
    session.batch_execute(&format!("SET idle_in_transaction_session_timeout = 0; BEGIN; {statement}")).await.unwrap();
    session
}

/// A login whose sessions may be idle in a transaction for so many seconds.
async fn login(application: &Application<'_>, seconds: u32) -> String {
    let answer = application.issue("first", json!({ "idle_in_transaction_timeout_seconds": seconds })).await;
    expect(&answer, "success");
    answer["detail"]["login"].as_str().unwrap().to_owned()
}

async fn noted(database: &Database) -> i64 {
    database.one("SELECT count(*) FROM edu_matrix_hub_schema.login_transactions").await
}

async fn idle_sessions(database: &Database) -> i64 {
    let sessions =
        "FROM pg_stat_activity AS a WHERE a.datname = current_database() AND a.state = 'idle in transaction'";
    database.one(&format!("SELECT count(*) {sessions}")).await
}

async fn with_table(database: &Database, name: &str) -> Tenant {
    let tenant = database.tenant(name).await;
    database.as_owner(&tenant, "CREATE TABLE pupils (id int)").await;
    tenant
}

#[tokio::test]
async fn a_session_that_is_idle_in_a_transaction_ends_and_one_at_work_goes_on() {
    with_database(async |database| {
        let (school, patient) = (with_table(&database, "school").await, with_table(&database, "patient").await);
        let lane = Lane::claim(database.operator().await).await;
        let (short, long) = (Application::of(&database, &school).await, Application::of(&database, &patient).await);
        let (short, long) = (login(&short, 1).await, login(&long, 300).await);
        let idle = sitting(&database, &short, "INSERT INTO pupils VALUES (1)").await;
        let waits = sitting(&database, &long, "INSERT INTO pupils VALUES (1)").await;
        let works = database.log_in(&short, "first").await.unwrap();
        works.batch_execute("BEGIN").await.unwrap();
        let work = tokio::spawn(async move { works.batch_execute("SET statement_timeout = 0; SELECT pg_sleep(5)").await });

        // The first survey that meets a transaction only notes it.
        lane.survey(false).await;
        assert_eq!(noted(&database).await, 3);
        assert!(!is_ended(&waits).await);
        let deadline = Instant::now() + Duration::from_mins(1);
        while idle_sessions(&database).await > 1 {
            assert!(Instant::now() < deadline, "it sits there still");
            tokio::time::sleep(Duration::from_millis(200)).await;
            lane.survey(false).await;
        }
        assert!(is_ended(&idle).await, "its own setting keeps no session");
        assert!(!is_ended(&waits).await, "its limit is another one");
        work.await.unwrap().unwrap();
        let told: String = database
            .one("SELECT string_agg(description, ' ') FROM edu_matrix_hub_schema.schema_operations WHERE type = 'end_sessions'")
            .await;
        assert_eq!(told, "end the sessions that were idle in a transaction for longer than their credential allows");
        assert_eq!(database.standing_memberships().await, 0);
        // What is over is forgotten.
        waits.batch_execute("ROLLBACK").await.unwrap();
        lane.survey(false).await;
        assert_eq!(noted(&database).await, 0);
    })
    .await;
}

/// It holds a lock on its own login, which nothing that is done to that may wait for.
#[tokio::test]
async fn a_session_that_changes_its_own_login_and_sits_there_ends_too() {
    with_database(async |database| {
        let tenant = with_table(&database, "school").await;
        let lane = Lane::claim(database.operator().await).await;
        let login = login(&Application::of(&database, &tenant).await, 1).await;
        let idle = sitting(
            &database,
            &login,
            "ALTER ROLE CURRENT_USER SET work_mem = '1MB'; ALTER ROLE CURRENT_USER PASSWORD 'x'",
        )
        .await;
        let deadline = Instant::now() + Duration::from_mins(1);
        while idle_sessions(&database).await > 0 {
            assert!(Instant::now() < deadline, "it sits there still");
            lane.survey(false).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert!(is_ended(&idle).await);
    })
    .await;
}
