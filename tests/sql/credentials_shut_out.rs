//! Sessions that a closing does not find: in another database, of a login that comes back at once, still logging in.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    application::{Application, CLOSED, NO_PASSWORD, is_ended},
    support::{Database, Lane, Tenant, call, expect, with_database},
};

/// A change of one's own password that is not committed.
const HOLDING: &str = "SET idle_in_transaction_session_timeout = 0; BEGIN; ALTER ROLE CURRENT_USER PASSWORD 'mine'";

/// Waits until a query of the superuser's answers true.
async fn until(database: &Database, what: &str, query: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !database.one::<bool>(query).await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_login_that_holds_itself_from_another_database_keeps_no_door_open() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let elsewhere = async |login: &str, password: &str| {
            let idle = database.log_in_elsewhere(login, password).await.unwrap();
            let holding = database.log_in_elsewhere(login, password).await.unwrap();
            holding.batch_execute(HOLDING).await.unwrap();
            [idle, holding]
        };
        let former = application.issued("1").await;
        let now = application.issued("2").await;
        let sessions = elsewhere(&former, "1").await;
        application.closed_previous().await;
        assert!(is_ended(&sessions[0]).await && is_ended(&sessions[1]).await);

        let sessions = elsewhere(&now, "2").await;
        application.set_access("Suspended").await;
        assert!(is_ended(&sessions[0]).await && is_ended(&sessions[1]).await);
        application.set_access("ReadWrite").await;

        let sessions = elsewhere(&now, "2").await;
        let answer = application.withdraw().await;
        assert_eq!((expect(&answer, "partial"), &answer["detail"]["ended"]), (String::new(), &json!(2)));
        assert!(is_ended(&sessions[0]).await && is_ended(&sessions[1]).await);
        assert_eq!(application.door(&now, "2").await, NO_PASSWORD);

        expect(&application.withdraw().await, "success");
        let login = application.issued("3").await;
        let sessions = elsewhere(&login, "3").await;
        let options = tenant.options(&json!({ "owner_uid": "uid-school" }));
        expect(&call(&application.operator, "set_aside_tenant_schema", &options).await, "success");
        assert!(is_ended(&sessions[0]).await && is_ended(&sessions[1]).await);
    })
    .await;
}

#[tokio::test]
async fn a_heartbeat_ends_what_a_suspended_tenant_has_in_another_database() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let lane = Lane::claim(database.operator().await).await;
        let login = application.issued("1").await;
        application.operator.batch_execute("BEGIN").await.unwrap();
        application.set_access("Suspended").await;
        let newcomer = database.log_in_elsewhere(&login, "1").await.unwrap();
        application.operator.batch_execute("COMMIT").await.unwrap();
        newcomer.batch_execute(HOLDING).await.unwrap();
        expect(&lane.beat().await, "success");
        assert!(is_ended(&newcomer).await);
        assert_eq!(application.door(&login, "1").await, CLOSED);
    })
    .await;
}

/// The call waits for a session that changed the login and then commits: what it waited for is another row by then.
#[tokio::test]
async fn a_login_that_is_changed_meanwhile_is_closed_all_the_same() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let former = application.issued("1").await;
        application.issued("2").await;
        database.admin.batch_execute(&format!("BEGIN; ALTER ROLE {former} CONNECTION LIMIT 9")).await.unwrap();
        let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() \
                     AND query ~ 'end_previous_login' AND pid <> pg_backend_pid() AND wait_event_type = 'Lock')";
        let (answer, ()) = tokio::join!(application.end_previous(), async {
            // The list of sessions is kept until the end of the transaction.
            let deadline = Instant::now() + Duration::from_secs(30);
            while !database.one::<bool>(waits).await {
                assert!(Instant::now() < deadline);
                database.admin.batch_execute("SELECT pg_stat_clear_snapshot()").await.unwrap();
            }
            database.admin.batch_execute("COMMIT").await.unwrap();
        });
        expect(&answer, "partial");
        assert_eq!(application.door(&former, "1").await, NO_PASSWORD);
    })
    .await;
}

/// As fast as it can, with a few connections: each holds the login until it is ended, and comes again.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_comes_back_at_once_and_holds_itself_is_closed() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let former = application.issued("1").await;
        application.issued("2").await;
        let attackers: Vec<_> = (0..3)
            .map(|_| {
                let (database, former) = (std::sync::Arc::clone(&database), former.clone());
                tokio::spawn(async move {
                    loop {
                        match database.log_in(&former, "1").await {
                            Ok(session) => while session.batch_execute(HOLDING).await.is_ok() {},
                            Err(error) if error.code().is_some_and(|code| code.code() == NO_PASSWORD) => return,
                            Err(_) => {}
                        }
                    }
                })
            })
            .collect();
        let holds = format!(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE usename = '{former}' AND wait_event_type = 'Lock')"
        );
        until(&database, "one holds the login, and another waits for it", &holds).await;
        application.closed_previous().await;
        for attacker in attackers {
            attacker.await.unwrap();
        }
        assert_eq!(application.door(&former, "1").await, NO_PASSWORD);
    })
    .await;
}

/// Twenty tenants whose logins cannot be closed come first at every heartbeat, if the order is always the same.
#[tokio::test]
async fn tenants_whose_sessions_stay_keep_no_other_from_its_turn() {
    with_database(async |database| {
        let lane = Lane::claim(database.operator().await).await;
        let suspend = async |tenant: &Tenant| {
            let options = tenant.options(&json!({ "access": "Suspended" }));
            expect(&call(&lane.client, "set_tenant_access", &options).await, "success");
        };
        let mut held = Vec::new();
        for n in 0..24 {
            let tenant = database.tenant(&format!("school{n}")).await;
            let login = format!("{}_l{n}", database.name);
            database.declare_login(&tenant, &login, &tenant.reader).await;
            suspend(&tenant).await;
            database.let_in(&login).await;
            held.push((tenant, database.connect(&login).await));
        }
        // Another call is at work on those whom one heartbeat would take first, so these stay.
        let lock = "BEGIN; SELECT FROM edu_matrix_hub_schema.tenant_locks AS l \
                    WHERE l.kind = 'access' AND l.schema_id IN (SELECT t.id FROM edu_matrix_hub_schema.tenant_schemas AS t \
                    ORDER BY t.id LIMIT 21) FOR UPDATE";
        database.admin.batch_execute(lock).await.unwrap();
        held.sort_by_key(|(tenant, _)| tenant.id);
        let deadline = Instant::now() + Duration::from_mins(1);
        for (_, session) in &held[21..] {
            while !is_ended(session).await {
                assert!(Instant::now() < deadline, "the others have their turn");
                expect(&lane.beat().await, "success");
            }
        }
        assert!(!is_ended(&held[0].1).await);
        database.admin.batch_execute("ROLLBACK").await.unwrap();
    })
    .await;
}
