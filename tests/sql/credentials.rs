//! What an application of a tenant logs in with: two logins in turn, of which one or both are open, and never anything
//! more than the tenant's rows.

use serde_json::{Value, json};
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use crate::{
    application::{Application, CLOSED, NO_PASSWORD, credential},
    support::{Lane, call, expect, owner, surveyed, tenant_options, with_database},
};

#[tokio::test]
async fn an_application_reads_and_writes_and_does_nothing_else() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let other = database.tenant("other").await;
        database.as_owner(&tenant, "CREATE TABLE pupils (id int)").await;
        database.as_owner(&other, "CREATE TABLE pupils (id int)").await;
        let application = Application::of(&database, &tenant).await;
        let login = application.issued("first").await;
        assert_eq!(application.door(&login, "other").await, NO_PASSWORD);

        let client = database.log_in(&login, "first").await.unwrap();
        client.batch_execute("INSERT INTO pupils VALUES (1); DELETE FROM pupils").await.unwrap();
        for (setting, value) in
            [("search_path", "school"), ("statement_timeout", "7s"), ("idle_in_transaction_session_timeout", "5min")]
        {
            let now: String = client.query_one(&format!("SHOW {setting}"), &[]).await.unwrap().get(0);
            assert_eq!(now, value, "{setting}");
        }
        for statement in [
            "CREATE TABLE mine (id int)",
            "CREATE TABLE public.mine (id int)",
            "CREATE SCHEMA mine",
            "ALTER TABLE pupils ADD COLUMN name text",
            "DROP TABLE pupils",
            "TRUNCATE pupils",
            "SELECT FROM other.pupils",
            "SELECT FROM edu_matrix_hub_schema.tenant_credentials",
            "SELECT edu_matrix_hub_schema.issue_credential('{}')",
            "ALTER ROLE CURRENT_USER CONNECTION LIMIT 100",
            "ALTER ROLE CURRENT_USER VALID UNTIL 'infinity'",
            "ALTER ROLE CURRENT_USER CREATEROLE",
            "CREATE ROLE another",
            &format!("SET ROLE \"{}\"", tenant.owner),
            &format!("SET ROLE {}", database.owner_role),
            &format!("GRANT \"{}\" TO PUBLIC", tenant.reader),
        ] {
            assert!(client.batch_execute(statement).await.is_err(), "{statement}");
        }
        let (second, third) = (database.log_in(&login, "first").await, database.log_in(&login, "first").await);
        assert_eq!(application.door(&login, "first").await, SqlState::TOO_MANY_CONNECTIONS.code());
        drop((second, third));
    })
    .await;
}

#[tokio::test]
async fn an_application_that_connects_again_never_fails_through_ten_rotations() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let mut former = (application.issued("0").await, "0".to_owned());
        let first = former.0.clone();
        for turn in 1..=10 {
            let running = database.log_in(&former.0, &former.1).await.unwrap();
            let now = (application.issued(&turn.to_string()).await, turn.to_string());
            assert_ne!(now.0, former.0, "two logins in turn");
            // An application that still has the former password comes in, and is not disturbed.
            for (login, password) in [&former, &now] {
                assert_eq!(application.door(login, password).await, "open", "{turn}");
            }
            running.batch_execute("SELECT 1").await.unwrap();
            application.closed_previous().await;
            assert!(running.batch_execute("SELECT 1").await.is_err(), "its session ends with the grace");
            assert_eq!(application.door(&former.0, &former.1).await, NO_PASSWORD);
            assert_eq!(application.door(&now.0, &now.1).await, "open");
            expect(&application.end_previous().await, "unchanged");
            former = now;
        }
        assert_eq!(former.0, first, "there are two of them and no more");
        let count: i64 = database
            .one(&format!("SELECT count(*) FROM pg_roles WHERE rolname LIKE '{}%'", first.trim_end_matches('a')))
            .await;
        assert_eq!(count, 2);
        assert_eq!(database.standing_memberships().await, 0);
    })
    .await;
}

#[tokio::test]
async fn within_the_grace_the_former_login_is_closed_before_it_is_used_again() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let first = application.issued("1").await;
        let session = database.log_in(&first, "1").await.unwrap();
        let second = application.issued("2").await;
        assert_eq!(
            expect(&application.issue("3", json!({})).await, "error"),
            "internal",
            "it is open, with the old password"
        );
        expect(&application.end_previous().await, "partial");
        assert_eq!(expect(&application.issue("3", json!({})).await, "error"), "internal", "a session may have come in");
        expect(&application.end_previous().await, "success");
        let third = application.issued("3").await;
        assert_eq!(first, third);
        assert!(session.batch_execute("SELECT 1").await.is_err(), "the session of the leaked password is over");
        assert_eq!(application.door(&first, "1").await, NO_PASSWORD);
        assert_eq!(application.door(&third, "3").await, "open");
        assert_eq!(application.door(&second, "2").await, "open", "it has its grace now");
    })
    .await;
}

/// What the Secret says is what applications have, whatever the registry says.
#[tokio::test]
async fn a_credential_that_never_reached_its_secret_takes_nothing_from_the_one_before() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let unpublished = async |password| {
            let answer = application.issue(password, json!({ "unpublished": true })).await;
            expect(&answer, "success");
            answer["detail"].clone()
        };
        // Nothing is before the first one, so the next is a rotation like any other.
        let lost = application.issued("lost").await;
        let first = unpublished("1").await;
        assert_eq!((first["previous_login"].as_str(), first["login"] == json!(lost)), (Some(&*lost), false));
        let first = first["login"].as_str().unwrap();
        application.closed_previous().await;

        let session = database.log_in(first, "1").await.unwrap();
        let second = application.issued("2").await;
        let late = database.log_in(&second, "2").await.unwrap();
        let past = "UPDATE edu_matrix_hub_schema.tenant_credentials SET previous_until = now() - interval '1 minute'";
        database.admin.batch_execute(past).await.unwrap();
        for password in ["3", "4"] {
            let detail = unpublished(password).await;
            assert_eq!((&detail["login"], &detail["previous_login"]), (&json!(second), &json!(first)));
            let issued: jiff::Timestamp = detail["issued_at"].as_str().unwrap().parse().unwrap();
            let until: jiff::Timestamp = detail["previous_until"].as_str().unwrap().parse().unwrap();
            assert_eq!(until.duration_since(issued).as_secs(), 3600, "its grace begins again");
            assert_eq!(application.door(first, "1").await, "open", "applications have it still");
            assert_eq!(application.door(&second, password).await, "open");
            assert_eq!(application.door(&second, "2").await, NO_PASSWORD);
            session.batch_execute("SELECT 1").await.unwrap();
            late.batch_execute("SELECT 1").await.unwrap();
        }
        // Once the one before is closed, or is being closed, it is no more than any other.
        expect(&application.end_previous().await, "partial");
        let refused = application.issue("5", json!({ "unpublished": true })).await;
        assert_eq!(expect(&refused, "error"), "internal");
        expect(&application.end_previous().await, "success");
        assert_eq!(unpublished("5").await["login"], json!(first));
        expect(&application.withdraw().await, "partial");
        let refused = application.issue("6", json!({ "unpublished": true })).await;
        assert_eq!(expect(&refused, "error"), "internal", "a credential that is withdrawn stays closed");
    })
    .await;
}

#[tokio::test]
async fn limits_are_changed_in_place_and_hold_for_those_who_come_in() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        assert_eq!(expect(&application.limit(1, 9).await, "error"), "internal", "there is no credential");
        let former = application.issued("1").await;
        let now = application.issued("2").await;
        expect(&application.limit(3, 7).await, "unchanged");
        let timeout = async |client: &tokio_postgres::Client| -> String {
            client.query_one("SHOW statement_timeout", &[]).await.unwrap().get(0)
        };
        let sessions = [database.log_in(&former, "1").await.unwrap(), database.log_in(&now, "2").await.unwrap()];
        let answer = application.limit(2, 9).await;
        expect(&answer, "success");
        assert_eq!(answer["detail"]["connection_limit"], json!(2));
        for ((login, password), session) in [(&former, "1"), (&now, "2")].into_iter().zip(&sessions) {
            assert_eq!(timeout(session).await, "7s", "it goes on as it was");
            let new = database.log_in(login, password).await.unwrap();
            assert_eq!(timeout(&new).await, "9s");
            let path: String = new.query_one("SHOW search_path", &[]).await.unwrap().get(0);
            assert_eq!(path, "school");
            assert_eq!(application.door(login, password).await, SqlState::TOO_MANY_CONNECTIONS.code());
        }
        expect(&application.limit(2, 9).await, "unchanged");
        drop(sessions);
        application.closed_previous().await;

        // With a rotation it is the same for the login before.
        let next = json!({ "connection_limit": 4, "statement_timeout_seconds": 0 });
        expect(&application.issue("3", next).await, "success");
        assert_eq!(timeout(&database.log_in(&now, "2").await.unwrap()).await, "0");
        application.set_access("Suspended").await;
        expect(&application.limit(5, 5).await, "success");
        assert_eq!(application.door(&former, "3").await, CLOSED, "it opens nothing");
        let logged: i64 = database
            .one(
                "SELECT count(*) FROM edu_matrix_hub_schema.schema_operations
                 WHERE type = 'set_credential_limits' AND status = 'success'",
            )
            .await;
        assert_eq!(logged, 2);
        expect(&application.withdraw().await, "partial");
        assert_eq!(expect(&application.limit(1, 9).await, "error"), "internal", "it is withdrawn");
        let options = tenant.options(&json!({ "owner_uid": "uid-school" }));
        expect(&call(&application.operator, "set_aside_tenant_schema", &options).await, "success");
        assert_eq!(expect(&application.limit(1, 9).await, "error"), "not_found");
    })
    .await;
}

/// A tenant with a password can hold its own login with a statement that is not committed.
#[tokio::test]
async fn a_login_that_holds_itself_holds_up_no_new_credential() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let first = application.issued("1").await;
        let holder = database.log_in(&first, "1").await.unwrap();
        holder.batch_execute("BEGIN; ALTER ROLE CURRENT_USER PASSWORD 'mine'").await.unwrap();
        expect(&application.limit(5, 7).await, "busy");
        let answer = application.issue("2", json!({ "connection_limit": 5 })).await;
        expect(&answer, "success");
        assert_eq!(application.door(answer["detail"]["login"].as_str().unwrap(), "2").await, "open");
        application.closed_previous().await;
        assert!(holder.batch_execute("COMMIT").await.is_err());
    })
    .await;
}

#[tokio::test]
async fn a_survey_tells_what_became_of_a_credential() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let lane = Lane::claim(database.operator().await).await;
        let told = async || {
            let survey = lane.survey(false).await;
            let row = surveyed(&survey, &tenant).expect("it is told").clone();
            assert_eq!(row["drift"], json!([]));
            let mut request = owner("school");
            request["schema_name"] = json!("school");
            let observed = call(&application.operator, "observe_tenant", &request).await;
            assert_eq!(observed["own"]["credentials"], row["credentials"]);
            let again = lane.survey(false).await;
            assert!(surveyed(&again, &tenant).is_none(), "nothing happened since");
            row["credentials"][0].clone()
        };
        assert_eq!(told().await, Value::Null);
        let first = application.issued("1").await;
        let issued = told().await;
        assert_eq!(
            issued,
            json!({
                "purpose": "connection", "login": first, "credential_id": issued["credential_id"], "issued_at": issued["issued_at"],
                "previous_login": null, "previous_until": null, "previous_closed_at": null, "withdrawn_at": null,
                "connection_limit": 3, "statement_timeout_seconds": 7, "idle_in_transaction_timeout_seconds": 300,
            })
        );
        let second = application.issued("2").await;
        let rotated = told().await;
        assert_eq!((&rotated["login"], &rotated["previous_login"]), (&json!(second), &json!(first)));
        assert!(rotated["previous_until"].is_string() && rotated["credential_id"] != issued["credential_id"]);
        expect(&application.end_previous().await, "partial");
        assert!(told().await["previous_closed_at"].is_string());
        expect(&application.end_previous().await, "success");
        assert_eq!(told().await["previous_login"], Value::Null);
        expect(&application.withdraw().await, "partial");
        assert!(told().await["withdrawn_at"].is_string());
        expect(&application.withdraw().await, "success");
        assert_eq!(told().await, Value::Null);
    })
    .await;
}

#[tokio::test]
async fn a_tenant_is_made_with_its_credential_in_one_call() {
    with_database(async |database| {
        let lane = Lane::claim(database.operator().await).await;
        let mut options = credential(&database, "1").await;
        options["owner_uid"] = json!("uid-school");
        let issue = json!({ "call": "issue_credential", "options": options });
        let create = json!({ "call": "create_tenant_schema", "options": tenant_options("school") });
        let answers = lane.apply(&json!([issue])).await;
        assert_eq!((answers.len(), &*expect(&answers[0], "error")), (1, "not_found"), "{answers:?}");

        let answers = lane.apply(&json!([create, issue])).await;
        assert_eq!(answers.len(), 2, "{answers:?}");
        for answer in &answers {
            expect(answer, "success");
        }
        assert_eq!(answers[0]["schema_id"], answers[1]["schema_id"]);
        let tenant = database.tenant_of(&answers[0]).await;
        let application = Application::of(&database, &tenant).await;
        let login = answers[1]["detail"]["login"].as_str().unwrap();
        assert_eq!(application.door(login, "1").await, "open");

        // Applied once more, as after an answer that was lost.
        let again = lane.apply(&json!([create, issue])).await;
        for answer in &again {
            expect(answer, "unchanged");
        }
        for more in [json!({ "owner_uid": "uid-school" }), json!({ "schema_id": null })] {
            assert_eq!(expect(&application.issue("2", more).await, "error"), "internal", "one of the two");
        }
        let steps = ["end_previous_login", "withdraw_credential", "withdraw_credential"]
            .map(|name| json!({ "call": name, "options": tenant.options(&json!({ "purpose": "connection" })) }));
        for (step, status) in steps.iter().zip(["unchanged", "partial", "success"]) {
            expect(&lane.apply(&json!([step])).await[0], status);
        }
        let aside = tenant.options(&json!({ "owner_uid": "uid-school" }));
        expect(&call(&application.operator, "set_aside_tenant_schema", &aside).await, "success");
        assert_eq!(expect(&lane.apply(&json!([issue])).await[0], "error"), "not_found", "no living one is left");
    })
    .await;
}

#[tokio::test]
async fn the_same_credential_is_issued_once_and_no_password_is_taken_or_logged() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let id = Uuid::new_v4();
        let first = application.issue("1", json!({ "credential_id": id })).await;
        expect(&first, "success");
        let again = application.issue("2", json!({ "credential_id": id })).await;
        expect(&again, "unchanged");
        assert_eq!(again["detail"], first["detail"]);
        let like_one = "SCRAM-SHA-256$4096:YQ==$YQ==:YQ==";
        for wrong in
            [json!("clear-text"), json!(like_one), json!("md5e7b9b2c3d5d1e1a1f4b5c6d7e8f90a1b"), json!(""), Value::Null]
        {
            let answer = application.issue("3", json!({ "verifier": wrong })).await;
            assert_eq!(expect(&answer, "error"), "internal");
        }
        assert_eq!(application.door(first["detail"]["login"].as_str().unwrap(), "1").await, "open");
        let told: i64 = database
            .one(
                "SELECT count(*) FROM edu_matrix_hub_schema.schema_operations AS o
                 WHERE o::text ~ 'SCRAM-SHA-256[$]|clear-text|md5e7b9'",
            )
            .await;
        assert_eq!(told, 0);
        let logged: i64 = database
            .one(&format!(
                "SELECT count(*) FROM edu_matrix_hub_schema.schema_operations
                 WHERE type = 'issue_credential' AND metadata ->> 'credential_id' = '{id}'"
            ))
            .await;
        assert_eq!(logged, 1);
    })
    .await;
}

#[tokio::test]
async fn a_suspension_closes_logins_and_a_resumption_opens_those_that_still_count() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let (former, now) = (application.issued("1").await, application.issued("2").await);
        application.set_access("Suspended").await;
        assert_eq!(application.door(&now, "2").await, CLOSED);
        assert_eq!(application.door(&former, "1").await, CLOSED);
        let refused = application.issue("3", json!({})).await;
        assert_eq!(expect(&refused, "error"), "internal");
        // The grace ends meanwhile.
        application.closed_previous().await;
        application.set_access("ReadWrite").await;
        assert_eq!(application.door(&now, "2").await, "open");
        assert_eq!(application.door(&former, "1").await, NO_PASSWORD);
    })
    .await;
}

#[tokio::test]
async fn what_is_withdrawn_lets_no_session_in_and_the_next_credential_opens_again() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        expect(&application.withdraw().await, "unchanged");
        let (former, now) = (application.issued("1").await, application.issued("2").await);
        let sessions = [database.log_in(&former, "1").await.unwrap(), database.log_in(&now, "2").await.unwrap()];
        let answer = application.withdraw().await;
        expect(&answer, "partial");
        assert_eq!(answer["detail"]["closed"], json!([&former, &now]));
        assert_eq!(answer["detail"]["ended"], json!(2));
        for session in sessions {
            assert!(session.batch_execute("SELECT 1").await.is_err());
        }
        for (login, password) in [(&former, "1"), (&now, "2")] {
            assert_eq!(application.door(login, password).await, NO_PASSWORD);
        }
        let passwords: i64 = database
            .one(&format!("SELECT count(rolpassword) FROM pg_authid WHERE rolname IN ('{former}', '{now}')"))
            .await;
        assert_eq!(passwords, 0);
        assert_eq!(expect(&application.issue("3", json!({})).await, "error"), "internal");
        expect(&application.withdraw().await, "success");
        let again = application.issued("3").await;
        assert_eq!(application.door(&again, "3").await, "open");
    })
    .await;
}

#[tokio::test]
async fn logins_connect_through_one_role_where_the_public_may_not() {
    with_database(async |database| {
        let (tenant, other) = (database.tenant("school").await, database.tenant("other").await);
        let application = Application::of(&database, &tenant).await;
        let name = &database.name;
        let operator = format!("{name}_op");
        let closed =
            format!("REVOKE CONNECT ON DATABASE {name} FROM PUBLIC; GRANT CONNECT ON DATABASE {name} TO {operator}");
        database.admin.batch_execute(&closed).await.unwrap();
        let take = format!("REVOKE GRANT OPTION FOR CONNECT ON DATABASE {name} FROM {}", database.owner_role);
        database.admin.batch_execute(&take).await.unwrap();
        let refused = application.issue("1", json!({})).await;
        assert_eq!(expect(&refused, "error"), "insufficient_privilege");
        let message = refused["message"].as_str().unwrap();
        database.admin.batch_execute(message.split_once("a DBA can run: ").unwrap().1).await.unwrap();

        let login = application.issued("1").await;
        assert_eq!(application.door(&login, "1").await, "open");
        let neighbour = Application::of(&database, &other).await;
        let second = neighbour.issued("2").await;
        assert_eq!(neighbour.door(&second, "2").await, "open");
        let grantees: i64 = database
            .one(
                "SELECT count(*) FROM pg_database AS d, aclexplode(d.datacl) AS a
                 WHERE d.datname = current_database() AND a.grantee::regrole::text ~ '_connect_[0-9]+$'",
            )
            .await;
        assert_eq!(grantees, 1, "the list of grants does not grow with the tenants");
    })
    .await;
}

#[tokio::test]
async fn logins_go_with_the_tenant_that_is_removed() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let login = application.issued("1").await;
        application.issued("2").await;
        let options = tenant.options(&json!({ "owner_uid": "uid-school" }));
        let aside = call(&application.operator, "set_aside_tenant_schema", &options).await;
        expect(&aside, "success");
        assert_eq!(application.door(&login, "1").await, CLOSED);
        let backup = aside["detail"]["backup_id"].as_str().unwrap();
        let purge = format!("SELECT status FROM edu_matrix_hub_schema.purge_schema_backup('{backup}')");
        while database.one::<String>(&purge).await == "partial" {}
        let left: i64 = database
            .one(&format!(
                "SELECT (SELECT count(*) FROM pg_roles WHERE rolname LIKE '{}%')
                        + (SELECT count(*) FROM edu_matrix_hub_schema.tenant_credentials)",
                login.trim_end_matches('a')
            ))
            .await;
        assert_eq!(left, 0);
        assert_eq!(database.standing_memberships().await, 0);
        expect(&call(&application.operator, "create_tenant_schema", &tenant_options("school")).await, "success");
    })
    .await;
}
