//! What a session that holds a login does to the calls about that login: they come back in time, say who it is, do the
//! rest of what they were called for, and write no verifier into the server's log.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::json;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls};

use crate::{
    application::Application,
    support::{Database, call, expect, owner, server, with_database},
};

/// A session of a login that has removed its defaults in the database, and is just giving itself another one.
async fn changes_its_defaults(database: &Database, login: &str, password: &str) -> Client {
    let session = database.log_in(login, password).await.unwrap();
    let place = format!("ALTER ROLE CURRENT_USER IN DATABASE {}", database.name);
    session.batch_execute(&format!("{place} RESET ALL")).await.unwrap();
    session.batch_execute(&format!("BEGIN; {place} SET work_mem = '1MB'")).await.unwrap();
    session
}

/// Commits as soon as another session waits for this one.
async fn commit_when_awaited(database: &Database, session: &Client) {
    let pid: i32 = session.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let awaited = format!("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE {pid} = ANY (pg_blocking_pids(pid)))");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !database.one::<bool>(&awaited).await {
        assert!(Instant::now() < deadline, "no session waits");
    }
    session.batch_execute("COMMIT").await.unwrap();
}

/// The server answers a unique violation where two sessions give a role its first default at once.
#[tokio::test]
async fn a_login_that_changes_its_defaults_meanwhile_holds_up_nothing_but_these() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let first = application.issued("1").await;

        let take = format!("REVOKE USAGE ON SCHEMA school FROM \"{}\"", tenant.reader);
        database.as_owner(&tenant, &take).await;
        let session = changes_its_defaults(&database, &first, "1").await;
        let (answer, ()) = tokio::join!(application.repair(), commit_when_awaited(&database, &session));
        expect(&answer, "success");
        assert_eq!(answer["detail"]["repaired"].as_array().unwrap().len(), 1, "the grant: {answer}");
        let remaining = answer["detail"]["not_repairable"].as_array().unwrap();
        assert_eq!(remaining.len(), 1, "the login: {answer}");
        assert!(remaining[0]["error"].as_str().unwrap().contains("at the same time"), "{answer}");
        expect(&application.repair().await, "success");

        let session = changes_its_defaults(&database, &first, "1").await;
        let (answer, ()) = tokio::join!(application.repair(), commit_when_awaited(&database, &session));
        expect(&answer, "busy");

        let session = changes_its_defaults(&database, &first, "1").await;
        let (answer, ()) = tokio::join!(application.limit(4, 8), commit_when_awaited(&database, &session));
        expect(&answer, "busy");
        expect(&application.limit(4, 8).await, "success");

        // The next credential has other limits, which the one before it is to have too.
        let session = changes_its_defaults(&database, &first, "1").await;
        let (answer, ()) = tokio::join!(application.issue("2", json!({})), commit_when_awaited(&database, &session));
        expect(&answer, "success");
        let login = answer["detail"]["login"].as_str().unwrap();
        assert_eq!(application.door(login, "2").await, "open");
    })
    .await;
}

#[tokio::test]
async fn a_tenant_whose_login_is_held_is_reclaimed_later_and_its_caller_does_not_hang() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let login = application.issued("1").await;
        let holder = database.connect(&server().user).await;
        holder.batch_execute(&format!("BEGIN; ALTER ROLE {login} PASSWORD 'mine'")).await.unwrap();
        let mut to = owner("school");
        to["namespace"] = json!("team-b");
        to["uid"] = json!("uid-elsewhere");
        let transfer = json!({ "namespace": "team-a", "name": "school" });
        let options = tenant.options(&json!({ "owner": to, "transfer": transfer }));
        application.operator.batch_execute("SET statement_timeout = '20s'").await.unwrap();
        let answer = call(&application.operator, "reclaim_tenant_schema", &options).await;
        assert_eq!((expect(&answer, "busy"), &answer["detail"]["sqlstate"]), (String::new(), &json!("55P03")));
        holder.batch_execute("ROLLBACK").await.unwrap();
        expect(&call(&application.operator, "reclaim_tenant_schema", &options).await, "success");
    })
    .await;
}

/// How to come in to one of the server's databases.
fn config(database: &str, user: &str, password: &str) -> Config {
    let mut config = Config::new();
    config.host_path(&server().socket_dir).port(server().port).user(user).password(password).dbname(database);
    config
}

/// A superuser's session, and what the server says to it of locks that it waits for, with the statements.
async fn told(database: &Database) -> (Client, Arc<Mutex<Vec<String>>>) {
    let (client, mut connection) =
        config(&database.name, &server().user, &server().password).connect(NoTls).await.unwrap();
    let notices = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&notices);
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notice(notice) = message {
                heard.lock().unwrap().push(format!("{notice:?}"));
            }
        }
    });
    let settings = "SET log_lock_waits = on; SET deadlock_timeout = '50ms'; SET client_min_messages = log";
    client.batch_execute(settings).await.unwrap();
    (client, notices)
}

#[tokio::test]
async fn a_wait_for_a_login_writes_no_verifier_into_the_log() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let login = application.issued("1").await;
        application.issued("2").await;
        application.closed_previous().await;
        let holder = database.connect(&server().user).await;
        holder.batch_execute(&format!("BEGIN; ALTER ROLE {login} CONNECTION LIMIT 1")).await.unwrap();
        let (operator, notices) = told(&database).await;
        let waiting = Application { database: &database, operator, tenant: &tenant, purpose: "connection" };
        expect(&waiting.issue("3", json!({})).await, "busy");
        let told = notices.lock().unwrap().join("\n");
        assert!(told.contains("still waiting for") && told.contains(&format!("ALTER ROLE {login} ")), "{told}");
        assert!(!told.contains("SCRAM-SHA-256"), "{told}");
        holder.batch_execute("ROLLBACK").await.unwrap();
        expect(&waiting.issue("3", json!({})).await, "success");
        assert_eq!(application.door(&login, "3").await, "open");
    })
    .await;
}

/// The statement that a message has for this place.
fn command<'a>(message: &'a str, place: &str) -> &'a str {
    let told = message.rsplit_once(&format!(", in {place}: ")).unwrap_or_else(|| panic!("{message}")).1;
    told.strip_suffix("; it will be tried again").unwrap_or(told)
}

/// What was prepared outlives its session, so that nothing but its end lets the login be closed.
#[tokio::test]
async fn who_holds_a_login_is_named_with_the_statement_that_ends_it() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let login = application.issued("1").await;
        let prepared = |id: &str| format!("BEGIN; ALTER ROLE CURRENT_USER PASSWORD 'mine'; PREPARE TRANSACTION {id}");
        let here = database.log_in(&login, "1").await.unwrap();
        let id = format!("'{} ''one'''", database.name);
        here.batch_execute(&prepared(&id)).await.unwrap();
        let suspend = tenant.options(&json!({ "access": "Suspended" }));
        let answers = [application.withdraw().await, call(&application.operator, "set_tenant_access", &suspend).await];
        // Whatever the answers are, nothing stays prepared, which would keep the database from being dropped.
        database.admin.batch_execute(&format!("ROLLBACK PREPARED {id}")).await.unwrap();
        for answer in answers {
            expect(&answer, "busy");
            let message = answer["message"].as_str().unwrap();
            assert!(message.contains(&format!("prepared by role \"{login}\" at ")), "{message}");
            assert!(message.contains(&format!(", has changed role {login}; ")), "{message}");
            assert_eq!(command(message, "this database"), format!("ROLLBACK PREPARED {id}"));
            assert_eq!(answer["detail"]["blocker"]["prepared"], json!(format!("{} 'one'", database.name)));
        }

        let (elsewhere, connection) = config("postgres", &login, "1").connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        let id = format!("'{}'", database.name);
        elsewhere.batch_execute(&prepared(&id)).await.unwrap();
        let answer = application.withdraw().await;
        let (admin, connection) = config("postgres", &server().user, &server().password).connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        admin.batch_execute(&format!("ROLLBACK PREPARED {id}")).await.unwrap();
        expect(&answer, "busy");
        let message = answer["message"].as_str().unwrap();
        assert_eq!(command(message, "database \"postgres\""), format!("ROLLBACK PREPARED {id}"));
        expect(&application.withdraw().await, "partial");
    })
    .await;
}
