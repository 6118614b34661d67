//! A client that has proved its password and waits before it comes in, while the login is closed: no closing finds it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::{
    application::{Application, NO_PASSWORD, is_ended},
    support::{Database, Lane, call, expect, with_database},
};

/// A session takes this lock when its password was right, and gives it back when it has come in.
const IS_PARKED: &str = "SELECT EXISTS (
    SELECT FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.objid AND d.datname = current_database()
    WHERE l.locktype = 'object' AND l.classid = 'pg_database'::regclass AND l.mode = 'RowExclusiveLock'
      AND l.pid <> pg_backend_pid())";

const ITS_OWN: &str = "ALTER ROLE CURRENT_USER PASSWORD 'mine'";

/// Comes in seconds after its password was found right, and returns then; nothing if another session's work woke it at once.
async fn park(database: &Arc<Database>, login: &str, password: &str) -> Option<JoinHandle<Option<Client>>> {
    let (there, login, password) = (Arc::clone(database), login.to_owned(), password.to_owned());
    let parked = tokio::spawn(async move { there.log_in_by(&login, &password, "-c post_auth_delay=3").await.ok() });
    let deadline = Instant::now() + Duration::from_secs(30);
    while !database.one::<bool>(IS_PARKED).await {
        if parked.is_finished() {
            return None;
        }
        assert!(Instant::now() < deadline, "it neither waits nor comes in");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Some(parked)
}

/// Revokes a credential while a client parks on its login, which the next one, with the password 2, opens again: that
/// login, a session that came in since, and the one that parks. Another session's work may wake a parked one too early; then it is
/// done again.
async fn parked_over_a_revocation(
    application: &Application<'_>,
    database: &Arc<Database>,
    lane: &Lane,
) -> (String, Client, Client) {
    for _ in 0..50 {
        let login = application.issued("1").await;
        let Some(parked) = park(database, &login, "1").await else {
            while application.withdraw().await["status"] != "unchanged" {}
            continue;
        };
        expect(&application.withdraw().await, "partial");
        expect(&application.withdraw().await, "success");
        assert_eq!(application.issued("2").await, login, "it is opened again");
        let session = database.log_in(&login, "2").await.unwrap();
        expect(&lane.beat().await, "success");
        let was_parked = database.one::<bool>(IS_PARKED).await;
        if let (true, Some(parked)) = (was_parked, came_in(parked).await) {
            assert!(!is_ended(&session).await, "what came in since is good");
            return (login, session, parked);
        }
        while application.withdraw().await["status"] != "unchanged" {}
    }
    panic!("no session stayed parked");
}

/// The parked session once it has come in; nothing if it was ended on the way, as one that woke too early is.
async fn came_in(parked: JoinHandle<Option<Client>>) -> Option<Client> {
    let parked = parked.await.unwrap()?;
    (!is_ended(&parked).await).then_some(parked)
}

#[tokio::test]
async fn a_session_that_comes_in_after_a_revocation_keeps_no_door_open() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let lane = Lane::claim(database.operator().await).await;
        let (login, session, parked) = parked_over_a_revocation(&application, &database, &lane).await;
        parked.batch_execute(ITS_OWN).await.unwrap();
        assert_eq!(application.door(&login, "mine").await, "open");
        expect(&lane.beat().await, "success");
        assert!(is_ended(&parked).await && is_ended(&session).await);
        assert_eq!(application.door(&login, "mine").await, NO_PASSWORD);
        let told = lane.survey(false).await;
        let credential = &told["tenants"][0]["credentials"][0];
        assert!(credential["withdrawn_at"].is_string(), "the operator issues another: {credential}");

        expect(&application.withdraw().await, "success");
        assert_eq!(application.issued("3").await, login);
        let session = database.log_in(&login, "3").await.unwrap();
        expect(&lane.beat().await, "success");
        let seen = "SELECT xmin::text || known_pids::text FROM edu_matrix_hub_schema.opened_logins";
        let known = database.one::<String>(seen).await;
        expect(&lane.beat().await, "success");
        assert_eq!(database.one::<String>(seen).await, known, "a session that is known costs nothing");
        assert!(!is_ended(&session).await);
        let logged: Vec<Value> = database
            .admin
            .query("SELECT metadata FROM edu_matrix_hub_schema.schema_operations WHERE type = 'end_sessions'", &[])
            .await
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect();
        assert_eq!(logged.last().unwrap()["closed"], json!([login]), "{logged:?}");
        assert_eq!(database.standing_memberships().await, 0);

        // What is removed leaves nothing behind.
        let options = tenant.options(&json!({ "owner_uid": "uid-school" }));
        let aside = call(&application.operator, "set_aside_tenant_schema", &options).await;
        expect(&aside, "success");
        let backup = aside["detail"]["backup_id"].as_str().unwrap();
        let purge = format!("SELECT status FROM edu_matrix_hub_schema.purge_schema_backup('{backup}')");
        while database.one::<String>(&purge).await == "partial" {}
        assert_eq!(database.one::<i64>("SELECT count(*) FROM edu_matrix_hub_schema.opened_logins").await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_session_that_comes_in_when_its_login_is_already_the_one_before_closes_that() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let lane = Lane::claim(database.operator().await).await;
        let (former, _, parked) = parked_over_a_revocation(&application, &database, &lane).await;
        let now = application.issued("3").await;
        parked.batch_execute(ITS_OWN).await.unwrap();
        let session = database.log_in(&now, "3").await.unwrap();
        expect(&lane.beat().await, "success");
        assert!(is_ended(&parked).await && !is_ended(&session).await);
        assert_eq!(application.door(&former, "mine").await, NO_PASSWORD);
        assert_eq!(application.door(&now, "3").await, "open");
        expect(&application.end_previous().await, "success");
    })
    .await;
}

#[tokio::test]
async fn a_session_that_comes_in_after_its_login_was_closed_is_ended() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let lane = Lane::claim(database.operator().await).await;
        let (mut n, mut found) = (0, None);
        while found.is_none() {
            n += 1;
            assert!(n < 50, "no session stayed parked");
            let former = application.issued("1").await;
            let parked = park(&database, &former, "1").await;
            let now = application.issued("2").await;
            application.closed_previous().await;
            let was_parked = database.one::<bool>(IS_PARKED).await;
            let parked = match parked.filter(|_| was_parked) {
                Some(parked) => came_in(parked).await,
                None => None,
            };
            if let Some(parked) = parked {
                found = Some((now, parked));
            } else {
                while application.withdraw().await["status"] != "unchanged" {}
            }
        }
        let (now, parked) = found.unwrap();
        let session = database.log_in(&now, "2").await.unwrap();
        expect(&lane.beat().await, "success");
        assert!(is_ended(&parked).await && !is_ended(&session).await);
        assert_eq!(application.door(&now, "2").await, "open");
    })
    .await;
}
