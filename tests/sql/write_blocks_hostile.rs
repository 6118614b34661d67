//! What a tenant prepared to write past a block, and what it tries while it is blocked.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::{
    application::{Application, is_ended},
    support::{Database, Tenant, call, expect, server, with_database},
};

async fn set(database: &Database, tenant: &Tenant, access: &str) -> Value {
    let options = tenant.options(&json!({ "access": access, "access_cause": null }));
    call(&database.operator().await, "set_tenant_access", &options).await
}

async fn may(client: &Client, statement: &str) -> bool {
    client.batch_execute(statement).await.is_ok()
}

/// All grants on the tenant's objects, in an order of their own.
const GRANTS: &str = "SELECT string_agg(g.acl, E'\\n' ORDER BY g.acl) FROM (
    SELECT c.oid::regclass::text || a::text AS acl FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS a
    WHERE c.relnamespace = 'school'::regnamespace
    UNION ALL SELECT t.attname || a::text FROM pg_attribute AS t JOIN pg_class AS c ON c.oid = t.attrelid
    CROSS JOIN LATERAL aclexplode(t.attacl) AS a WHERE c.relnamespace = 'school'::regnamespace
    UNION ALL SELECT p.oid::regprocedure::text || a::text FROM pg_proc AS p
    CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
    WHERE p.pronamespace IN ('school'::regnamespace, 'elsewhere'::regnamespace)) AS g";

#[tokio::test]
async fn no_grant_and_no_function_of_the_owners_writes_past_a_block() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database
            .admin
            .batch_execute(&format!("CREATE SCHEMA elsewhere; GRANT ALL ON SCHEMA elsewhere TO \"{}\", PUBLIC", tenant.owner))
            .await
            .unwrap();
        let reader = database.role("report", "LOGIN").await;
        let keeper = format!("(SELECT keeper FROM edu_matrix_hub_schema.tenant_schemas WHERE id = '{}')", tenant.id);
        database
            .admin
            .batch_execute(&format!(
                "SET ROLE {}; SELECT edu_matrix_hub_schema._role_command({keeper}, 'join inherit', ARRAY['{reader}'], '{}'); RESET ROLE",
                database.owner_role, tenant.reader
            ))
            .await
            .unwrap();
        let body = "SECURITY DEFINER LANGUAGE sql AS 'INSERT INTO school.t VALUES (1)'";
        database
            .as_owner(
                &tenant,
                &format!(
                    "CREATE TABLE t (id int, note text); CREATE SEQUENCE s; CREATE TABLE open (id int); CREATE TABLE part (id int, note text);
                     CREATE VIEW through AS SELECT * FROM t; CREATE TABLE chain (id int);
                     CREATE FUNCTION writes() RETURNS void {body}; CREATE FUNCTION elsewhere.writes() RETURNS void {body};
                     CREATE FUNCTION reads() RETURNS int LANGUAGE sql AS 'SELECT 1';
                     GRANT EXECUTE ON FUNCTION writes(), reads() TO \"{0}\"; GRANT EXECUTE ON FUNCTION elsewhere.writes() TO PUBLIC;
                     GRANT INSERT ON through TO \"{0}\"; GRANT ALL ON open TO PUBLIC; GRANT UPDATE (note), INSERT (id) ON part TO {reader};
                     GRANT USAGE, UPDATE ON SEQUENCE s TO \"{0}\"; GRANT INSERT ON chain TO {reader} WITH GRANT OPTION",
                    tenant.reader
                ),
            )
            .await;
        let client = database.connect(&reader).await;
        let writes = [
            "SELECT school.writes()",
            "SELECT elsewhere.writes()",
            "INSERT INTO school.through VALUES (1)",
            "INSERT INTO school.open VALUES (1)",
            "UPDATE school.open SET id = 2",
            "TRUNCATE school.open",
            "INSERT INTO school.part (id) VALUES (1)",
            "UPDATE school.part SET note = 'x'",
            "SELECT nextval('school.s')",
            "SELECT setval('school.s', 7)",
            "INSERT INTO school.chain VALUES (1)",
            "DO $$ BEGIN INSERT INTO school.chain VALUES (1); END $$",
        ];
        let tried = async |expected: bool| {
            for statement in writes {
                assert_eq!(may(&client, statement).await, expected, "{statement}");
            }
            assert!(may(&client, "SELECT FROM school.t; SELECT school.reads()").await);
        };
        tried(true).await;
        let grants: String = database.one(GRANTS).await;
        for access in ["ReadOnly", "WriteBlocked"] {
            let answer = set(&database, &tenant, access).await;
            expect(&answer, "success");
            assert_eq!(answer["detail"]["open"], json!(null), "{answer}");
            tried(false).await;
        }
        expect(&set(&database, &tenant, "ReadWrite").await, "success");
        tried(true).await;
        let deleter = "SELECT edu_matrix_hub_schema._deleter_name(t)::regrole::oid FROM edu_matrix_hub_schema.tenant_schemas AS t";
        let deleter: u32 = database.one(deleter).await;
        let now: String = database.one(GRANTS).await;
        let now: Vec<_> = now.lines().filter(|grant| !grant.contains(&format!(",{deleter},DELETE"))).collect();
        assert_eq!(now.join("\n"), grants);
    })
    .await;
}

/// A session that holds objects, or the schema, keeps nobody else from being blocked; what is left open is told.
#[tokio::test]
async fn a_session_that_holds_a_table_keeps_no_block_from_coming() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database.as_owner(&tenant, "CREATE TABLE held (id int); CREATE TABLE t (id int)").await;
        database.as_owner(&tenant, &format!("GRANT INSERT ON held, t TO \"{}\"", tenant.reader)).await;
        let application = Application::of(&database, &tenant).await;
        let login = application.issued("first").await;
        // As a session of the owner's would that the operator may not end.
        let holding = database.connect(&server().user).await;
        let holds = format!(
            "BEGIN; SET LOCAL ROLE \"{0}\"; GRANT UPDATE ON school.held TO \"{1}\"; GRANT USAGE ON SCHEMA school TO \"{1}\"; LOCK TABLE school.held",
            tenant.owner, tenant.reader
        );
        holding.batch_execute(&holds).await.unwrap();
        let answer = set(&database, &tenant, "WriteBlocked").await;
        expect(&answer, "success");
        let message = answer["message"].as_str().unwrap();
        assert!(message.contains("could not be taken, such as one on school.held; a DBA can run: REVOKE INSERT"), "{message}");
        holding.batch_execute("ROLLBACK").await.unwrap();
        let client = database.log_in(&login, "first").await.unwrap();
        assert!(!may(&client, "INSERT INTO t VALUES (1)").await && may(&client, "DELETE FROM t").await);
        database.admin.batch_execute(answer["message"].as_str().unwrap().split("run: ").nth(1).unwrap()).await.unwrap();
        assert!(!may(&client, "INSERT INTO held VALUES (1)").await);
        expect(&application.repair().await, "success");
        expect(&application.repair().await, "unchanged");
    })
    .await;
}

/// What a blocked login is still writing, or has ready to commit.
#[tokio::test]
async fn what_is_being_written_ends_with_the_block() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database.as_owner(&tenant, "CREATE TABLE t (id int)").await;
        let application = Application::of(&database, &tenant).await;
        let login = application.issued("first").await;
        let open = database.log_in(&login, "first").await.unwrap();
        open.batch_execute("BEGIN; INSERT INTO t VALUES (1)").await.unwrap();
        let prepared = database.log_in(&login, "first").await.unwrap();
        let gid = format!("{}_ready", database.name);
        prepared.batch_execute(&format!("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION '{gid}'")).await.unwrap();
        let busy = database.log_in(&login, "first").await.unwrap();
        let long = tokio::spawn(async move {
            busy.batch_execute("INSERT INTO t SELECT 1 FROM generate_series(1, 1000) AS n, pg_sleep(20)").await.is_ok()
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        let answer = set(&database, &tenant, "ReadOnly").await;
        expect(&answer, "success");
        let rollback = format!("ROLLBACK PREPARED '{gid}'");
        assert!(answer["message"].as_str().unwrap().contains(&rollback), "{answer}");
        database.admin.batch_execute(&rollback).await.unwrap();
        assert!(is_ended(&open).await && !long.await.unwrap());
        let client = database.log_in(&login, "first").await.unwrap();
        for statement in [
            &format!("GRANT \"{}\" TO \"{login}\"", tenant.writer),
            &format!("GRANT \"{login}\" TO \"{}\"", tenant.writer),
            &format!("ALTER ROLE \"{login}\" SET role = '{}'", tenant.writer),
            "GRANT INSERT ON t TO CURRENT_USER",
            "CREATE TABLE school.mine ()",
            "SELECT lo_put(1, 0, 'x')",
            "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC; INSERT INTO t VALUES (1)",
        ] {
            let _ = client.batch_execute(statement).await;
            let again = database.log_in(&login, "first").await;
            let writes = match again {
                Ok(again) => may(&again, "INSERT INTO school.t VALUES (1)").await,
                Err(_) => false,
            };
            assert!(!writes, "{statement}");
        }
        // It has nothing to do with the tenant's size, and ends with the session.
        client.batch_execute("CREATE TEMPORARY TABLE scratch AS SELECT * FROM t").await.unwrap();
        assert_eq!(database.one::<i64>("SELECT count(*) FROM school.t").await, 0);
    })
    .await;
}
