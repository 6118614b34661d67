//! What a tenant's migrations log in with: sessions that begin as the owner role, so that what they make is the owner's, whichever of
//! the two logins made it; and nothing beyond that tenant.

use serde_json::Value;
use tokio_postgres::Client;

use crate::{
    application::{Application, CLOSED, NO_PASSWORD, found, is_ended},
    support::{Database, Lane, expect, has_keepers, with_database},
};

/// Who a session acts as.
async fn acts_as(session: &Client) -> String {
    session.query_one("SELECT current_user::text", &[]).await.unwrap().get(0)
}

/// Who has a table of the tenant's.
async fn owner_of(database: &Database, table: &str) -> String {
    database.one(&format!("SELECT pg_get_userbyid(relowner)::text FROM pg_class WHERE oid = '{table}'::regclass")).await
}

#[tokio::test]
async fn what_a_migration_makes_is_the_owners_and_is_changed_after_any_rotation() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let (application, migration) =
            (Application::of(&database, &tenant).await, Application::migrating(&database, &tenant).await);
        let writer = application.issued("app").await;
        let first = migration.issued("1").await;
        assert!(first.ends_with("_mig_a") && writer.ends_with("_app_a"), "{first}, {writer}");

        let client = database.log_in(&first, "1").await.unwrap();
        assert_eq!(acts_as(&client).await, tenant.owner);
        client
            .batch_execute("CREATE TABLE pupils (id int PRIMARY KEY); CREATE TYPE mark AS ENUM ('good')")
            .await
            .unwrap();
        assert_eq!(owner_of(&database, "school.pupils").await, tenant.owner);
        // As a pool leaves a session to the next one.
        for reset in ["RESET ROLE", "RESET ALL", "DISCARD ALL", "SET SESSION AUTHORIZATION DEFAULT"] {
            client.batch_execute(reset).await.unwrap();
            assert_eq!(acts_as(&client).await, tenant.owner, "{reset}");
        }
        let rows = database.log_in(&writer, "app").await.unwrap();
        rows.batch_execute("INSERT INTO pupils VALUES (1)").await.unwrap();

        let second = migration.issued("2").await;
        assert!(second.ends_with("_mig_b"), "{second}");
        client.batch_execute("ALTER TABLE pupils ADD COLUMN name text").await.unwrap();
        migration.closed_previous().await;
        assert!(is_ended(&client).await);
        assert_eq!(migration.door(&first, "1").await, NO_PASSWORD);
        let client = database.log_in(&second, "2").await.unwrap();
        client.batch_execute("ALTER TABLE pupils ADD COLUMN class mark; DROP TYPE mark CASCADE").await.unwrap();
        rows.batch_execute("INSERT INTO pupils VALUES (2, 'Ada')").await.unwrap();
        assert_eq!(database.standing_memberships().await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_migration_reaches_nothing_beyond_its_tenant() {
    with_database(async |database| {
        let (tenant, other) = (database.tenant("school").await, database.tenant("other").await);
        database.as_owner(&other, "CREATE TABLE pupils (id int)").await;
        let migration = Application::migrating(&database, &tenant).await;
        let login = migration.issued("1").await;
        let client = database.log_in(&login, "1").await.unwrap();
        for role in [tenant.owner.as_str(), login.as_str(), "NONE"] {
            for statement in [
                "SELECT FROM other.pupils",
                "CREATE TABLE other.mine (id int)",
                "CREATE TABLE public.mine (id int)",
                "CREATE SCHEMA mine",
                "SELECT FROM edu_matrix_hub_schema.tenant_credentials",
                "SELECT edu_matrix_hub_schema.issue_credential('{}')",
                "ALTER ROLE CURRENT_USER CREATEROLE",
                "ALTER ROLE CURRENT_USER CONNECTION LIMIT 100",
                &format!("ALTER ROLE \"{}\" LOGIN PASSWORD 'x'", tenant.owner),
                &format!("ALTER ROLE \"{}\" BYPASSRLS", tenant.owner),
                &format!("GRANT \"{}\" TO {login} WITH ADMIN OPTION", tenant.owner),
                &format!("GRANT \"{}\" TO PUBLIC", tenant.owner),
                &format!("SET ROLE \"{}\"", other.owner),
                &format!("SET ROLE {}", database.owner_role),
                &format!("SET SESSION AUTHORIZATION \"{}\"", tenant.owner),
            ] {
                client.batch_execute(&format!("SET ROLE {}", quoted(role))).await.unwrap();
                assert!(client.batch_execute(statement).await.is_err(), "as {role}: {statement}");
            }
        }
    })
    .await;
}

/// A role as `SET ROLE` has it.
fn quoted(role: &str) -> String {
    if role == "NONE" { role.to_owned() } else { format!("\"{role}\"") }
}

#[tokio::test]
async fn what_a_migration_makes_as_itself_is_given_to_the_owner() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let migration = Application::migrating(&database, &tenant).await;
        let login = migration.issued("1").await;
        let lane = Lane::claim(database.operator().await).await;
        assert_eq!(found(&lane, &tenant).await, [] as [Value; 0]);

        // From 16 on it has no right in the schema as itself, unless the owner gives it one.
        let allows = format!("GRANT CREATE, USAGE ON SCHEMA school TO {login}");
        database.as_owner(&tenant, &allows).await;
        let client = database.log_in(&login, "1").await.unwrap();
        client
            .batch_execute(
                "SET ROLE NONE; SELECT lo_create(77);
                 CREATE TABLE pupils (id int GENERATED ALWAYS AS IDENTITY, name text);
                 CREATE VIEW names AS SELECT name FROM pupils; CREATE MATERIALIZED VIEW kept AS SELECT 1 AS one;
                 CREATE SEQUENCE numbers; CREATE TYPE mark AS ENUM ('good'); CREATE DOMAIN grade AS int;
                 CREATE TYPE pair AS (a int, b int); CREATE TEMP TABLE scratch (id int);
                 CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT 2 * $1';
                 CREATE PROCEDURE nothing() LANGUAGE sql AS 'SELECT 1';
                 CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int);
                 CREATE AGGREGATE counted(*) (SFUNC = int8inc, STYPE = int8, INITCOND = '0')",
            )
            .await
            .unwrap();
        let drift = found(&lane, &tenant).await;
        let owned = drift.iter().filter(|drift| drift["what"].as_str().unwrap().contains("belongs to login"));
        assert_eq!(owned.count(), 12, "{drift:#?}");
        expect(&migration.repair().await, "success");
        assert_eq!(found(&lane, &tenant).await, [] as [Value; 0]);
        let left = format!(
            "SELECT count(*) FROM pg_shdepend WHERE refobjid = '{login}'::regrole AND deptype = 'o'
             AND objid <> 'pg_temp.scratch'::regclass"
        );
        let left: i64 = client.query_one(&left, &[]).await.unwrap().get(0);
        assert_eq!(left, 0);
        assert_eq!(owner_of(&database, "school.pupils").await, tenant.owner);

        // What stays hides nothing that is made later, a closed login keeps nothing, and one locked object holds up no other.
        database.as_owner(&tenant, &allows).await;
        client.batch_execute("CREATE COLLATION stays FROM \"C\"; CREATE TABLE later (id int)").await.unwrap();
        database.as_owner(&tenant, &format!("REVOKE ALL ON SCHEMA school FROM {login}")).await;
        let second = migration.issued("2").await;
        migration.closed_previous().await;
        assert_eq!(found(&lane, &tenant).await.len(), 1);
        let mut holder = database.connect("postgres").await;
        let transaction = holder.transaction().await.unwrap();
        transaction.batch_execute("LOCK TABLE school.later").await.unwrap();
        database.admin.batch_execute(&format!("ALTER ROLE {second} SET work_mem = 64")).await.unwrap();
        migration.repair().await;
        let drift = found(&lane, &tenant).await;
        assert!(drift.len() == 1 && drift[0]["what"].as_str().unwrap().starts_with("table school.later"), "{drift:?}");
        drop(transaction);
        expect(&migration.repair().await, "success");
        assert_eq!(found(&lane, &tenant).await, [] as [Value; 0]);
        assert_eq!(owner_of(&database, "school.later").await, tenant.owner);
    })
    .await;
}

#[tokio::test]
async fn what_an_applications_login_made_is_never_given_to_the_owner() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let login = application.issued("1").await;
        database.as_owner(&tenant, &format!("GRANT CREATE ON SCHEMA school TO {login}")).await;
        let client = database.log_in(&login, "1").await.unwrap();
        let function = "CREATE FUNCTION lent() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'DROP TABLE pupils'";
        client.batch_execute(&format!("SET check_function_bodies = off; {function}")).await.unwrap();
        application.repair().await;
        let owner: String =
            database.one("SELECT pg_get_userbyid(proowner)::text FROM pg_proc WHERE proname = 'lent'").await;
        assert_eq!(owner, login);
    })
    .await;
}

#[tokio::test]
async fn whatever_is_changed_of_a_migrations_login_is_put_right_and_its_role_stays() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let migration = Application::migrating(&database, &tenant).await;
        let login = migration.issued("1").await;
        let lane = Lane::claim(database.operator().await).await;
        assert_eq!(found(&lane, &tenant).await, [] as [Value; 0]);
        let name = &database.name;
        let mut changes = vec![
            (format!("ALTER ROLE {login} NOLOGIN CONNECTION LIMIT -1"), 2),
            (format!("ALTER ROLE {login} SET work_mem = 64; ALTER ROLE {login} IN DATABASE {name} SET work_mem = 65"), 1),
            (format!("ALTER ROLE {login} IN DATABASE {name} SET search_path = public"), 1),
        ];
        if has_keepers() {
            let as_keeper = |options: &str| {
                format!(
                    "DO $$ BEGIN EXECUTE (
                        SELECT format('GRANT %s TO %s WITH {options} GRANTED BY %s', roleid::regrole, '{login}', grantor::regrole)
                        FROM pg_auth_members WHERE roleid = '{0}'::regrole AND member = '{login}'::regrole); END $$",
                    tenant.owner
                )
            };
            changes.push((as_keeper("SET FALSE"), 1));
            changes.push((as_keeper("ADMIN TRUE"), 1));
        }
        for (change, findings) in changes {
            database.admin.batch_execute(&change).await.unwrap();
            let drift = found(&lane, &tenant).await;
            assert_eq!(drift.len(), findings, "{change}: {drift:#?}");
            expect(&migration.repair().await, "success");
            assert_eq!(found(&lane, &tenant).await, [] as [Value; 0], "{change}");
            let client = database.log_in(&login, "1").await.unwrap();
            assert_eq!(acts_as(&client).await, tenant.owner, "{change}");
            let shown: String = client.query_one("SHOW search_path", &[]).await.unwrap().get(0);
            assert_eq!(shown, "school", "{change}");
        }
        expect(&migration.limit(5, 0).await, "success");
        assert_eq!(acts_as(&database.log_in(&login, "1").await.unwrap()).await, tenant.owner);

        // The role itself only a session of the login can set, and so it takes another password.
        for change in [
            format!("ALTER ROLE {login} IN DATABASE {name} RESET role"),
            format!("ALTER ROLE {login} SET role = 'none'"),
            format!("ALTER ROLE {login} IN DATABASE {name} SET role = '{}'", tenant.reader),
            format!(
                "DO $$ BEGIN EXECUTE format('ALTER ROLE {login} IN DATABASE {name} SET search_path = %s',
                    (SELECT string_agg(quote_ident(md5(n::text)), ', ') FROM generate_series(1, 600) AS n)); END $$"
            ),
        ] {
            database.admin.batch_execute(&change).await.unwrap();
            let drift = found(&lane, &tenant).await;
            let expected = format!("login \"{login}\" has defaults that take a new password: ");
            assert!(drift[0]["what"].as_str().unwrap().starts_with(&expected), "{drift:?}");
            assert!(drift[0]["statement"].as_str().unwrap().contains("rotate-requested-at"), "{drift:?}");
            migration.issued("2").await;
            migration.closed_previous().await;
            migration.issued("1").await;
            migration.closed_previous().await;
            assert_eq!(found(&lane, &tenant).await, [] as [Value; 0]);
        }
    })
    .await;
}

#[tokio::test]
async fn defaults_that_a_login_gives_itself_keep_no_password_from_being_issued() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let (application, name) = (Application::of(&database, &tenant).await, &database.name);
        let lane = Lane::claim(database.operator().await).await;
        let (first, second) = (application.issued("1").await, application.issued("2").await);
        assert_eq!(found(&lane, &tenant).await, [] as [Value; 0]);
        for (login, password) in [(&first, "1"), (&second, "2")] {
            let client = database.log_in(login, password).await.unwrap();
            let change = format!(
                "ALTER ROLE {login} SET role = 'none'; ALTER ROLE {login} SET search_path = public;
                 ALTER ROLE {login} IN DATABASE {name} SET session_authorization = '{login}';
                 ALTER ROLE {login} IN DATABASE {name} SET default_transaction_read_only = on"
            );
            client.batch_execute(&change).await.unwrap();
        }
        let drift = found(&lane, &tenant).await;
        // That of the former login which only itself can take back ends with it.
        assert_eq!(drift.len(), 3, "{drift:#?}");
        expect(&application.repair().await, "success");
        for password in ["3", "4"] {
            application.closed_previous().await;
            let login = application.issued(password).await;
            let client = database.log_in(&login, password).await.unwrap();
            client.batch_execute("CREATE TEMP TABLE mine (id int)").await.unwrap();
            let shown: String = client.query_one("SHOW search_path", &[]).await.unwrap().get(0);
            assert_eq!(shown, "school");
        }
        assert_eq!(found(&lane, &tenant).await, [] as [Value; 0]);
    })
    .await;
}

#[tokio::test]
async fn a_migrations_login_is_closed_with_its_tenant_and_apart_from_the_applications() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let (application, migration) =
            (Application::of(&database, &tenant).await, Application::migrating(&database, &tenant).await);
        let (writer, login) = (application.issued("app").await, migration.issued("1").await);
        migration.set_access("Suspended").await;
        assert_eq!(migration.door(&login, "1").await, CLOSED);
        migration.set_access("ReadWrite").await;
        assert_eq!(migration.door(&login, "1").await, "open");

        expect(&migration.withdraw().await, "partial");
        expect(&migration.withdraw().await, "success");
        assert_eq!(migration.door(&login, "1").await, NO_PASSWORD);
        assert_eq!(application.door(&writer, "app").await, "open");
        let purposes: String =
            database.one("SELECT string_agg(purpose, ' ') FROM edu_matrix_hub_schema.tenant_credentials").await;
        assert_eq!(purposes, "connection");
    })
    .await;
}
