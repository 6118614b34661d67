//! What a tenant, a user or a moment may do to its logins, and what keeps a door open that is said to be closed: nothing.

use serde_json::{Value, json};
use tenant_schema_operator::postgres::script::Form;

use crate::{
    application::{Application, NO_PASSWORD, is_ended},
    support::{Database, call, expect, has_keepers, owner, with_bare_database, with_database},
};

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
async fn a_copy_of_the_database_leaves_the_passwords_of_the_original_alone_and_this_renews_and_revokes_them() {
    with_bare_database(async |outer| {
        let database = Database::beside(&outer).await;
        database.install("postgres", Form::Printed).await.unwrap();
        let tenant = database.tenant("school").await;
        let login = Application::of(&database, &tenant).await.issued("1").await;
        let (database, copy) = database.copied().await;
        let operator = copy.connect(&format!("{}_op", database.name)).await;
        let there = Application { database: &copy, operator, tenant: &tenant, purpose: "connection" };
        assert_eq!(expect(&there.issue("2", json!({})).await, "error"), "copy");
        assert_eq!(expect(&there.withdraw().await, "error"), "copy");
        let here = Application::of(&database, &tenant).await;
        assert_eq!(here.door(&login, "1").await, "open");
        // They are the original's: a leak is closed, and passwords are renewed, also beside a copy.
        let second = here.issued("3").await;
        let session = copy.log_in(&login, "1").await.unwrap();
        here.closed_previous().await;
        assert!(is_ended(&session).await);
        assert_eq!(
            (here.door(&login, "1").await, here.door(&second, "3").await),
            (NO_PASSWORD.to_owned(), "open".to_owned())
        );
        assert_eq!(expect(&there.withdraw().await, "error"), "copy", "whatever its rows say");
        expect(&here.withdraw().await, "partial");
        expect(&here.withdraw().await, "success");
        assert_eq!(here.door(&second, "3").await, NO_PASSWORD);
        // Where it is not known which database issued them, none touches them.
        assert_eq!(here.issued("4").await, login);
        database.admin.batch_execute("UPDATE edu_matrix_hub_schema.opened_logins SET made_in = NULL").await.unwrap();
        assert_eq!(expect(&here.withdraw().await, "error"), "copy", "and nothing is said to be closed that is not");
        copy.drop_alone().await;
        expect(&here.withdraw().await, "partial");
        database.remove().await;
    })
    .await;
}
