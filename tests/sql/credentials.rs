//! What an application of a tenant logs in with: two logins in turn, of which one or both are open, and never anything
//! more than the tenant's rows.

use serde_json::{Value, json};
use tenant_schema_operator::postgres::script::Form;
use tokio_postgres::{Client, error::SqlState};
use uuid::Uuid;

use crate::support::{
    Database, Tenant, call, expect, has_keepers, owner, tenant_options, with_bare_database, with_database,
};

/// What an application of a tenant is issued.
struct Application<'a> {
    database: &'a Database,
    operator: Client,
    tenant: &'a Tenant,
}

impl<'a> Application<'a> {
    async fn of(database: &'a Database, tenant: &'a Tenant) -> Self {
        Self { database, operator: database.operator().await, tenant }
    }

    /// Issues a credential with this password; others of the options may be given.
    async fn issue(&self, password: &str, more: Value) -> Value {
        let mut options = json!({
            "purpose": "connection", "credential_id": Uuid::new_v4(), "verifier": self.database.verifier(password).await,
            "connection_limit": 3, "statement_timeout_seconds": 7, "idle_in_transaction_timeout_seconds": 300,
            "grace_seconds": 3600,
        });
        options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        call(&self.operator, "issue_credential", &self.tenant.options(&options)).await
    }

    /// Issues one, which must succeed, and returns its login.
    async fn issued(&self, password: &str) -> String {
        let answer = self.issue(password, json!({})).await;
        expect(&answer, "success");
        answer["detail"]["login"].as_str().unwrap().to_owned()
    }

    async fn end_previous(&self) -> Value {
        call(&self.operator, "end_previous_login", &self.tenant.options(&json!({ "purpose": "connection" }))).await
    }

    async fn withdraw(&self) -> Value {
        call(&self.operator, "withdraw_credential", &self.tenant.options(&json!({ "purpose": "connection" }))).await
    }

    /// Closes the former login for good, in its two calls.
    async fn closed_previous(&self) {
        expect(&self.end_previous().await, "partial");
        expect(&self.end_previous().await, "success");
    }

    async fn set_access(&self, access: &str) {
        let options = self.tenant.options(&json!({ "access": access }));
        expect(&call(&self.operator, "set_tenant_access", &options).await, "success");
    }

    /// Why a login with this password does not come in, or that it does.
    async fn door(&self, login: &str, password: &str) -> String {
        match self.database.log_in(login, password).await {
            Ok(_) => "open".to_owned(),
            Err(error) => error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned()),
        }
    }
}

/// The server's answer to a wrong password, and to any where a login has none.
const NO_PASSWORD: &str = "28P01";
/// Its answer when a login with a password may not come in.
const CLOSED: &str = "28000";

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
            // Whoever still has the former password comes in, and is not disturbed.
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

/// Between closing a login and the commit of that its password still opens it.
#[tokio::test]
async fn a_session_that_comes_in_before_the_commit_is_ended_by_the_second_call() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let (former, now) = (application.issued("1").await, application.issued("2").await);
        application.operator.batch_execute("BEGIN").await.unwrap();
        expect(&application.end_previous().await, "partial");
        let late = database.log_in(&former, "1").await.unwrap();
        application.operator.batch_execute("COMMIT").await.unwrap();
        late.batch_execute("SELECT 1").await.unwrap();
        expect(&application.end_previous().await, "success");
        assert!(late.batch_execute("SELECT 1").await.is_err());

        application.operator.batch_execute("BEGIN").await.unwrap();
        expect(&application.withdraw().await, "partial");
        let late = database.log_in(&now, "2").await.unwrap();
        application.operator.batch_execute("COMMIT").await.unwrap();
        let answer = application.withdraw().await;
        assert_eq!((expect(&answer, "success"), &answer["detail"]["ended"]), (String::new(), &json!(1)));
        assert!(late.batch_execute("SELECT 1").await.is_err());
    })
    .await;
}

/// Any role may change its own password, and hold its row by that.
#[tokio::test]
async fn a_tenant_that_holds_its_own_login_keeps_no_door_open() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let holding = "SET idle_in_transaction_session_timeout = 0; BEGIN; ALTER ROLE CURRENT_USER PASSWORD 'mine'";
        let held = async |login: &str, password: &str| {
            let session = database.log_in(login, password).await.unwrap();
            session.batch_execute(holding).await.unwrap();
            session
        };
        let former = application.issued("1").await;
        let now = application.issued("2").await;
        let session = held(&former, "1").await;
        application.closed_previous().await;
        assert!(session.batch_execute("SELECT 1").await.is_err());

        let session = held(&now, "2").await;
        application.set_access("Suspended").await;
        assert!(session.batch_execute("SELECT 1").await.is_err());
        application.set_access("ReadWrite").await;

        let session = held(&now, "2").await;
        expect(&application.withdraw().await, "partial");
        assert!(session.batch_execute("SELECT 1").await.is_err());
        assert_eq!(application.door(&now, "2").await, NO_PASSWORD);

        expect(&application.withdraw().await, "success");
        let login = application.issued("3").await;
        let session = held(&login, "3").await;
        let options = tenant.options(&json!({ "owner_uid": "uid-school" }));
        expect(&call(&application.operator, "set_aside_tenant_schema", &options).await, "success");
        assert!(session.batch_execute("SELECT 1").await.is_err());
    })
    .await;
}

#[tokio::test]
async fn a_login_gets_back_what_a_user_took_from_it_with_its_next_credential() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database.as_owner(&tenant, "CREATE TABLE pupils (id int)").await;
        let application = Application::of(&database, &tenant).await;
        let first = application.issued("1").await;
        application.issued("2").await;
        application.closed_previous().await;
        let connect: String = database
            .one("SELECT rolname::text FROM pg_roles JOIN edu_matrix_hub_schema.installation ON oid = connect_role_oid")
            .await;
        let take = format!(
            "REVOKE CONNECT ON DATABASE {} FROM PUBLIC; SET ROLE {}; REVOKE {connect} FROM {first}; RESET ROLE",
            database.name, database.owner_role
        );
        database.admin.batch_execute(&take).await.unwrap();
        database.admin.batch_execute(&format!("GRANT CONNECT ON DATABASE {0} TO {0}_op", database.name)).await.unwrap();
        for group in [&tenant.reader, &tenant.writer] {
            database.admin.batch_execute(&format!("DROP OWNED BY \"{group}\"; DROP ROLE \"{group}\"")).await.unwrap();
        }
        expect(&call(&application.operator, "repair_tenant_schema", &tenant.options(&json!({}))).await, "success");
        assert_eq!(application.issued("3").await, first);
        let client = database.log_in(&first, "3").await.unwrap();
        client.batch_execute("INSERT INTO pupils VALUES (1)").await.unwrap();
        assert!(client.batch_execute(&format!("SET ROLE {connect}")).await.is_err() || !has_keepers());
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
async fn another_namespace_gets_the_tenant_without_those_who_were_let_in_before() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let login = application.issued("1").await;
        let session = database.log_in(&login, "1").await.unwrap();
        let from = owner("school");
        let known = "UPDATE edu_matrix_hub_schema.tenant_schemas SET owner_namespace_uid = 'n1'";
        database.admin.batch_execute(known).await.unwrap();
        let mut again = from.clone();
        again["uid"] = json!("uid-again");
        again["namespace_uid"] = json!("n1");
        let reclaim = async |to: &Value| {
            let transfer = json!({ "namespace": from["namespace"], "name": from["name"] });
            let options = tenant.options(&json!({ "owner": to, "transfer": transfer }));
            expect(&call(&application.operator, "reclaim_tenant_schema", &options).await, "success");
        };
        reclaim(&again).await;
        session.batch_execute("SELECT 1").await.unwrap();
        assert_eq!(application.door(&login, "1").await, "open", "of the same namespace and name");

        let mut elsewhere = again.clone();
        elsewhere["namespace"] = json!("team-b");
        elsewhere["namespace_uid"] = json!("n2");
        elsewhere["uid"] = json!("uid-elsewhere");
        reclaim(&elsewhere).await;
        assert!(session.batch_execute("SELECT 1").await.is_err());
        assert_eq!(application.door(&login, "1").await, NO_PASSWORD);
        expect(&application.withdraw().await, "success");
        let next = application.issued("2").await;
        assert_eq!(application.door(&next, "2").await, "open");

        // The same of a tenant that comes back from where it was set aside.
        let options = tenant.options(&json!({ "owner_uid": "uid-elsewhere" }));
        let aside = call(&application.operator, "set_aside_tenant_schema", &options).await;
        let mut third = elsewhere.clone();
        third["namespace"] = json!("team-c");
        third["uid"] = json!("uid-third");
        let transfer = json!({ "namespace": elsewhere["namespace"], "name": elsewhere["name"] });
        let restore = json!({ "backup_id": aside["detail"]["backup_id"], "owner": third, "transfer": transfer });
        expect(&call(&application.operator, "restore_tenant_schema", &restore).await, "success");
        assert_eq!(application.door(&next, "2").await, NO_PASSWORD);
    })
    .await;
}

#[tokio::test]
async fn a_login_that_was_dropped_is_made_again_and_a_stranger_of_its_name_is_not_touched() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let first = application.issued("1").await;
        let second = application.issued("2").await;
        database.admin.batch_execute(&format!("DROP OWNED BY {first}; DROP ROLE {first}")).await.unwrap();
        application.closed_previous().await;
        assert_eq!(application.issued("3").await, first);
        assert_eq!(application.door(&first, "3").await, "open");
        application.closed_previous().await;

        database.admin.batch_execute(&format!("ALTER ROLE {second} RENAME TO {second}x")).await.unwrap();
        let refused = application.issue("4", json!({})).await;
        assert_eq!(expect(&refused, "error"), "not_repairable");
        let told = |answer: &Value| {
            let message = answer["message"].as_str().unwrap();
            message.split_once("a DBA can run: ").unwrap_or_else(|| panic!("{message}")).1.to_owned()
        };
        assert_eq!(told(&refused), format!("ALTER ROLE {second}x RENAME TO {second}"));
        database.admin.batch_execute(&format!("CREATE ROLE {second} NOLOGIN")).await.unwrap();
        let refused = application.issue("4", json!({})).await;
        assert_eq!(expect(&refused, "error"), "not_repairable");
        database.admin.batch_execute(&told(&refused)).await.unwrap();
        assert_eq!(application.issued("4").await, second);
        let others = format!("SELECT count(*) FROM pg_roles WHERE rolname ~ '^{second}_[0-9]+$' AND NOT rolcanlogin");
        assert_eq!(database.one::<i64>(&others).await, 1, "the other role has another name, and nothing else changed");
        application.closed_previous().await;
        application.issued("5").await;
        application.closed_previous().await;

        let replace = format!("DROP OWNED BY {second}; DROP ROLE {second}; CREATE ROLE {second} NOLOGIN");
        database.admin.batch_execute(&replace).await.unwrap();
        let refused = application.issue("6", json!({})).await;
        assert_eq!(expect(&refused, "error"), "not_repairable");
        database.admin.batch_execute(&told(&refused)).await.unwrap();
        assert_eq!(database.one::<i64>(&others).await, 2);
        assert_eq!(application.issued("6").await, second);
        assert_eq!(application.door(&second, "6").await, "open");
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
async fn a_copy_of_the_database_leaves_the_passwords_of_the_original_alone() {
    with_bare_database(async |outer| {
        let database = Database::beside(&outer).await;
        database.install("postgres", Form::Printed).await.unwrap();
        let tenant = database.tenant("school").await;
        let login = Application::of(&database, &tenant).await.issued("1").await;
        let (database, copy) = database.copied().await;
        let operator = copy.connect(&format!("{}_op", database.name)).await;
        let there = Application { database: &copy, operator, tenant: &tenant };
        assert_eq!(expect(&there.issue("2", json!({})).await, "error"), "copy");
        assert_eq!(expect(&there.withdraw().await, "error"), "copy");
        let here = Application::of(&database, &tenant).await;
        assert_eq!(expect(&here.withdraw().await, "error"), "copy", "and nothing is said to be closed that is not");
        assert_eq!(here.door(&login, "1").await, "open");
        copy.drop_alone().await;
        expect(&here.withdraw().await, "partial");
        assert_eq!(here.door(&login, "1").await, NO_PASSWORD);
        database.remove().await;
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
