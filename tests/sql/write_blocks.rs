//! A tenant that may be read and not written: what it takes comes back exactly, and nothing is written meanwhile.

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::{
    application::{Application, is_ended},
    support::{Database, Lane, Tenant, call, expect, has_keepers, surveyed, tenant_options, with_database},
};

const MEMBERS: &str = "SELECT coalesce(string_agg(format('%s in %s %s', m.member::regrole, m.roleid::regrole, \
    (to_jsonb(m) - 'oid' - 'roleid' - 'member')), E'\\n' ORDER BY m.member::regrole::text, m.roleid::regrole::text, m.grantor), '') \
    FROM pg_auth_members AS m WHERE m.roleid IN (SELECT unnest(ARRAY[t.owner_role_oid, t.reader_role_oid, t.writer_role_oid]) FROM edu_matrix_hub_schema.tenant_schemas AS t)";

async fn set(database: &Database, tenant: &Tenant, access: &str) -> Value {
    let cause = match access {
        "ReadWrite" => Value::Null,
        "WriteBlocked" => json!("Quota"),
        _ => json!("Spec"),
    };
    let options = tenant.options(&json!({ "access": access, "access_cause": cause }));
    call(&database.operator().await, "set_tenant_access", &options).await
}

/// Lets a login of a DBA's make into a group, as the role that keeps the tenant's roles.
async fn join(database: &Database, tenant: &Tenant, name: &str, group: &str, options: &str) {
    let keeper = format!("(SELECT keeper FROM edu_matrix_hub_schema.tenant_schemas WHERE id = '{}')", tenant.id);
    let statements = format!(
        "SET ROLE {}; SELECT edu_matrix_hub_schema._role_command({keeper}, 'join {options}', ARRAY['{name}'], '{group}'); RESET ROLE",
        database.owner_role
    );
    database.admin.batch_execute(&statements).await.unwrap();
}

async fn may(client: &Client, statement: &str) -> bool {
    client.batch_execute(statement).await.is_ok()
}

async fn drift(database: &Database) -> Value {
    database
        .one("SELECT edu_matrix_hub_schema._tenant_drift(id) FROM edu_matrix_hub_schema.tenant_schemas LIMIT 1")
        .await
}

#[tokio::test]
async fn what_a_block_takes_comes_back_exactly() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database.as_owner(&tenant, "CREATE TABLE t (id serial); INSERT INTO t DEFAULT VALUES").await;
        let application = Application::of(&database, &tenant).await;
        let login = application.issued("first").await;
        let migrate = database.role("migrate", "LOGIN").await;
        let app = database.role("app", "LOGIN").await;
        let group = database.role("group", "NOLOGIN").await;
        let inside = database.role("inside", "LOGIN").await;
        database.admin.batch_execute(&format!("GRANT {group} TO {inside}")).await.unwrap();
        join(&database, &tenant, &migrate, &tenant.owner, "inherit set").await;
        join(&database, &tenant, &app, &tenant.writer, "admin inherit").await;
        join(&database, &tenant, &group, &tenant.writer, "inherit set").await;
        let (members, acl) = (database.one::<String>(MEMBERS).await, database.acl("school").await);
        // Sessions of others are ended where the operator may.
        database.admin.batch_execute(&format!("GRANT pg_signal_backend TO {}", database.owner_role)).await.unwrap();
        let held = database.connect(&inside).await;
        held.batch_execute(&format!("SET ROLE \"{}\"; BEGIN; INSERT INTO school.t VALUES (2)", tenant.writer))
            .await
            .unwrap();

        for access in ["ReadOnly", "WriteBlocked", "ReadOnly"] {
            let answer = set(&database, &tenant, access).await;
            expect(&answer, "success");
            assert_eq!(answer["detail"]["left"], json!([]), "{answer}");
            expect(&set(&database, &tenant, access).await, "unchanged");
            assert!(is_ended(&held).await);
            let mut clients = vec![database.log_in(&login, "first").await.unwrap()];
            for name in [&migrate, &app, &inside] {
                clients.push(database.connect(name).await);
            }
            for client in &clients {
                assert!(may(client, "SELECT FROM school.t; SELECT last_value FROM school.t_id_seq").await);
                for statement in [
                    "INSERT INTO school.t VALUES (1)",
                    "UPDATE school.t SET id = 2",
                    "COPY school.t FROM PROGRAM 'true'",
                    "TRUNCATE school.t",
                    "SELECT nextval('school.t_id_seq')",
                    "SELECT setval('school.t_id_seq', 1)",
                    "CREATE TABLE school.mine (id int)",
                    "DROP TABLE school.t",
                    &format!("GRANT \"{}\" TO CURRENT_USER", tenant.writer),
                    &format!("SET ROLE \"{}\"", tenant.writer),
                    &format!("SET ROLE \"{}\"", tenant.owner),
                ] {
                    assert!(!may(client, statement).await, "{access}: {statement}");
                }
                let deletes = "BEGIN; DELETE FROM school.t WHERE id = 1; ROLLBACK";
                assert_eq!(may(client, deletes).await, access == "WriteBlocked", "{access}");
                let _ = client.batch_execute("ROLLBACK").await;
            }
            assert_eq!(drift(&database).await, json!([]), "{access}");
            expect(&application.repair().await, "unchanged");
        }
        expect(&set(&database, &tenant, "ReadWrite").await, "success");
        assert_eq!(database.one::<String>(MEMBERS).await, members);
        assert_eq!(database.acl("school").await, acl);
        assert_eq!(drift(&database).await, json!([]));
        assert_eq!(database.standing_memberships().await, 1, "pg_signal_backend");
        assert_eq!(database.one::<i64>("SELECT count(*) FROM school.t").await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_suspension_on_top_of_a_block_leaves_the_block() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database.as_owner(&tenant, "CREATE TABLE t (id int)").await;
        let application = Application::of(&database, &tenant).await;
        let login = application.issued("first").await;
        let (members, acl) = (database.one::<String>(MEMBERS).await, database.acl("school").await);
        for way in [&["ReadOnly", "Suspended", "ReadOnly"][..], &["Suspended", "WriteBlocked", "Suspended", "ReadOnly"]]
        {
            for access in way {
                expect(&set(&database, &tenant, access).await, "success");
                assert_eq!(drift(&database).await, json!([]), "{access}");
            }
            let client = database.log_in(&login, "first").await.unwrap();
            assert!(may(&client, "SELECT FROM t").await);
            assert!(!may(&client, "INSERT INTO t VALUES (1)").await);
            expect(&set(&database, &tenant, "Suspended").await, "success");
            assert!(database.log_in(&login, "first").await.is_err());
            expect(&set(&database, &tenant, "ReadWrite").await, "success");
            assert_eq!(database.one::<String>(MEMBERS).await, members);
            assert_eq!(database.acl("school").await, acl);
        }
    })
    .await;
}

#[tokio::test]
async fn a_login_that_is_issued_while_writes_are_blocked_only_reads_until_they_are_given_back() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database.as_owner(&tenant, "CREATE TABLE t (id int)").await;
        let application = Application::of(&database, &tenant).await;
        let first = application.issued("first").await;
        expect(&set(&database, &tenant, "ReadOnly").await, "success");
        let second = application.issued("second").await;
        assert_ne!(first, second);
        let client = database.log_in(&second, "second").await.unwrap();
        assert!(may(&client, "SELECT FROM t").await && !may(&client, "INSERT INTO t VALUES (1)").await);
        assert_eq!(drift(&database).await, json!([]));
        expect(&set(&database, &tenant, "ReadWrite").await, "success");
        assert!(may(&client, "INSERT INTO t VALUES (1)").await, "in the same session");
        assert_eq!(drift(&database).await, json!([]));
    })
    .await;
}

#[tokio::test]
async fn one_who_becomes_a_writer_while_writes_are_blocked_is_found_and_stays_one_later() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database.as_owner(&tenant, "CREATE TABLE t (id int)").await;
        let application = Application::of(&database, &tenant).await;
        let lane = Lane::claim(database.operator().await).await;
        expect(&set(&database, &tenant, "ReadOnly").await, "success");
        let newcomer = database.role("late", "LOGIN").await;
        join(&database, &tenant, &newcomer, &tenant.writer, "inherit").await;
        let survey = lane.survey(false).await;
        let told = &surveyed(&survey, &tenant).unwrap()["drift"];
        assert_eq!(told[0]["repairable"], true, "{told}");
        expect(&application.repair().await, "success");
        assert_eq!(drift(&database).await, json!([]));
        let client = database.connect(&newcomer).await;
        assert!(may(&client, "SELECT FROM school.t").await && !may(&client, "INSERT INTO school.t VALUES (1)").await);
        expect(&set(&database, &tenant, "ReadWrite").await, "success");
        assert!(may(&client, "INSERT INTO school.t VALUES (1)").await);
    })
    .await;
}

/// From 16 on a membership that a superuser gave is not the operator's to end. Until a DBA hands it over, who has it does not
/// reach the schema at all.
#[tokio::test]
async fn a_membership_that_another_role_gave_is_told_with_what_hands_it_over() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database.as_owner(&tenant, "CREATE TABLE t (id int)").await;
        let application = Application::of(&database, &tenant).await;
        let app = database.role("app", "LOGIN").await;
        database.admin.batch_execute(&format!("GRANT \"{}\" TO {app}", tenant.writer)).await.unwrap();
        let answer = set(&database, &tenant, "ReadOnly").await;
        expect(&answer, "success");
        let client = database.connect(&app).await;
        assert!(!may(&client, "INSERT INTO school.t VALUES (1)").await);
        if has_keepers() {
            assert_eq!(answer["detail"]["left"], json!([app]));
            assert!(!may(&client, "SELECT FROM school.t").await);
            let told = drift(&database).await;
            assert_eq!(told[0]["repairable"], false, "{told}");
            database.admin.batch_execute(told[0]["statement"].as_str().unwrap()).await.unwrap();
            assert_eq!(drift(&database).await[0]["repairable"], true);
            expect(&application.repair().await, "success");
        }
        assert_eq!(drift(&database).await, json!([]));
        assert!(may(&client, "SELECT FROM school.t").await && !may(&client, "INSERT INTO school.t VALUES (1)").await);
        expect(&set(&database, &tenant, "ReadWrite").await, "success");
        assert!(may(&client, "INSERT INTO school.t VALUES (1)").await);
    })
    .await;
}

#[tokio::test]
async fn a_session_that_came_in_while_writes_were_being_taken_is_ended() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database.as_owner(&tenant, "CREATE TABLE t (id int)").await;
        let lane = Lane::claim(database.operator().await).await;
        database.admin.batch_execute(&format!("GRANT pg_signal_backend TO {}", database.owner_role)).await.unwrap();
        let inside = database.role("inside", "LOGIN").await;
        join(&database, &tenant, &inside, &tenant.writer, "inherit set").await;
        let blocking = database.operator().await;
        blocking.batch_execute("BEGIN").await.unwrap();
        let options = tenant.options(&json!({ "access": "ReadOnly", "access_cause": "Spec" }));
        expect(&call(&blocking, "set_tenant_access", &options).await, "success");
        let session = database.connect(&inside).await;
        session
            .batch_execute(&format!("SET ROLE \"{}\"; INSERT INTO school.t VALUES (1)", tenant.writer))
            .await
            .unwrap();
        blocking.batch_execute("COMMIT").await.unwrap();
        expect(&lane.beat().await, "success");
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        expect(&lane.beat().await, "success");
        assert!(is_ended(&session).await);
        let after = database.connect(&inside).await;
        expect(&lane.beat().await, "success");
        assert!(!is_ended(&after).await);
    })
    .await;
}

#[tokio::test]
async fn a_block_survives_being_set_aside_and_the_loss_of_its_schema() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database.as_owner(&tenant, "CREATE TABLE t (id int)").await;
        let app = database.role("app", "LOGIN").await;
        join(&database, &tenant, &app, &tenant.writer, "inherit").await;
        let operator = database.operator().await;
        expect(&set(&database, &tenant, "WriteBlocked").await, "success");
        let aside = tenant.options(&json!({ "owner_uid": "uid-school" }));
        let answer = call(&operator, "set_aside_tenant_schema", &aside).await;
        expect(&answer, "success");
        let back = json!({ "backup_id": answer["detail"]["backup_id"], "owner": crate::support::owner("school") });
        expect(&call(&operator, "restore_tenant_schema", &back).await, "success");
        let client = database.connect(&app).await;
        assert!(may(&client, "DELETE FROM school.t").await && !may(&client, "INSERT INTO school.t VALUES (1)").await);
        assert_eq!(drift(&database).await, json!([]));
        database.admin.batch_execute("DROP SCHEMA school CASCADE").await.unwrap();
        expect(
            &call(&operator, "recreate_tenant_schema", &tenant.options(&json!({ "recreations": 0 }))).await,
            "success",
        );
        database.as_owner(&tenant, "CREATE TABLE t (id int)").await;
        assert!(may(&client, "SELECT FROM school.t").await && !may(&client, "INSERT INTO school.t VALUES (1)").await);
        assert_eq!(drift(&database).await, json!([]));
        expect(&set(&database, &tenant, "ReadWrite").await, "success");
        assert!(may(&client, "INSERT INTO school.t VALUES (1)").await);
        assert_eq!(drift(&database).await, json!([]));

        let gone = tenant.options(&json!({ "owner_uid": "uid-school", "purge": true }));
        expect(&call(&operator, "set_aside_tenant_schema", &gone).await, "success");
    })
    .await;
}

#[tokio::test]
async fn a_tenant_may_be_read_only_from_the_start() {
    with_database(async |database| {
        let mut options = tenant_options("school");
        options["access"] = json!("ReadOnly");
        options["access_cause"] = json!("Spec");
        let answer = call(&database.operator().await, "create_tenant_schema", &options).await;
        expect(&answer, "success");
        let tenant = database.tenant_of(&answer).await;
        database.as_owner(&tenant, "CREATE TABLE t (id int)").await;
        let application = Application::of(&database, &tenant).await;
        let login = application.issued("first").await;
        let client = database.log_in(&login, "first").await.unwrap();
        assert_eq!(drift(&database).await, json!([]));
        assert!(may(&client, "SELECT FROM t").await && !may(&client, "INSERT INTO t VALUES (1)").await);
        expect(&set(&database, &tenant, "ReadWrite").await, "success");
        assert!(may(&client, "INSERT INTO t VALUES (1)").await);
    })
    .await;
}

/// Without `pg_signal_backend` the sessions of others stay. What one does as the writer role ends with its transaction.
#[tokio::test]
async fn a_held_session_that_cannot_be_ended_is_told_and_writes_nothing_more_as_the_writer() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database.as_owner(&tenant, "CREATE TABLE t (id int)").await;
        let (inside, boss) = (database.role("inside", "LOGIN").await, database.role("boss", "LOGIN").await);
        join(&database, &tenant, &inside, &tenant.writer, "inherit set").await;
        join(&database, &tenant, &boss, &tenant.owner, "inherit set").await;
        let held = database.connect(&inside).await;
        held.batch_execute(&format!(
            "SET ROLE \"{}\"; PREPARE write AS INSERT INTO school.t VALUES (1); EXECUTE write; BEGIN; EXECUTE write",
            tenant.writer
        ))
        .await
        .unwrap();
        let acting = database.connect(&boss).await;
        acting.batch_execute(&format!("SET ROLE \"{}\"", tenant.owner)).await.unwrap();
        let answer = set(&database, &tenant, "ReadOnly").await;
        expect(&answer, "success");
        let _ = held.batch_execute("ROLLBACK").await;
        for statement in ["EXECUTE write", "INSERT INTO school.t VALUES (1)", "SELECT nextval('school.t_id_seq')"] {
            assert!(!may(&held, statement).await, "{statement}");
        }
        let not_ended = answer["detail"]["not_ended"].as_array().unwrap();
        assert_eq!(not_ended.len(), 2, "{answer}");
        let message = answer["message"].as_str().unwrap();
        assert!(message.contains("SELECT pg_terminate_backend("), "{message}");
        for session in not_ended {
            database
                .admin
                .execute(
                    "SELECT pg_terminate_backend($1)",
                    &[&i32::try_from(session["pid"].as_i64().unwrap()).unwrap()],
                )
                .await
                .unwrap();
        }
        assert!(is_ended(&acting).await);
        let again = database.connect(&boss).await;
        assert!(may(&again, "SELECT FROM school.t").await);
        for statement in
            ["CREATE TABLE school.mine ()", "ALTER TABLE school.t OWNER TO CURRENT_USER", "TRUNCATE school.t"]
        {
            assert!(!may(&again, statement).await, "{statement}");
        }
    })
    .await;
}
