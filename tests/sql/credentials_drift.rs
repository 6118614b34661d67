//! What differs of an application's login is noticed by the survey and put right; what a password opens stays the same.

use serde_json::{Value, json};
use tenant_schema_operator::postgres::script::Form;

use crate::{
    application::{Application, found},
    support::{Database, Lane, Tenant, expect, has_keepers, surveyed, with_bare_database, with_database},
};

/// A tenant with two open logins, whose survey finds nothing.
struct Ground<'a> {
    database: &'a Database,
    application: Application<'a>,
    lane: Lane,
    former: String,
    now: String,
    connect: String,
}

impl<'a> Ground<'a> {
    async fn of(database: &'a Database, tenant: &'a Tenant) -> Self {
        let application = Application::of(database, tenant).await;
        let (former, now) = (application.issued("1").await, application.issued("2").await);
        let lane = Lane::claim(database.operator().await).await;
        assert_eq!(found(&lane, tenant).await, [] as [Value; 0]);
        assert!(surveyed(&lane.survey(false).await, tenant).is_none(), "nothing happened since");
        let connect = database
            .one("SELECT rolname::text FROM pg_roles JOIN edu_matrix_hub_schema.installation ON oid = connect_role_oid")
            .await;
        Self { database, application, lane, former, now, connect }
    }

    /// All is right again, to the survey and to who comes in.
    async fn is_right(&self, after: &str) {
        assert_eq!(found(&self.lane, self.application.tenant).await, [] as [Value; 0], "{after}");
        expect(&self.application.repair().await, "unchanged");
        assert!(surveyed(&self.lane.survey(false).await, self.application.tenant).is_none(), "{after}");
        for (login, password) in [(&self.former, "1"), (&self.now, "2")] {
            let client = self.database.log_in(login, password).await.unwrap();
            client.batch_execute("INSERT INTO pupils VALUES (1)").await.unwrap();
            for (setting, value) in [("search_path", "school"), ("statement_timeout", "7s"), ("work_mem", "4MB")] {
                let shown: String = client.query_one(&format!("SHOW {setting}"), &[]).await.unwrap().get(0);
                assert_eq!(shown, value, "{after}: {login}");
            }
        }
        assert_eq!(self.database.standing_memberships().await, 0, "{after}");
    }
}

#[tokio::test]
async fn whatever_is_changed_of_a_login_is_noticed_and_repaired() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database.as_owner(&tenant, "CREATE TABLE pupils (id int)").await;
        let ground = Ground::of(&database, &tenant).await;
        let Ground { former, now, connect, .. } = &ground;
        let name = &database.name;
        // What a user gave the login through the role that owns the functions is ours to take.
        let foreign = database.role("foreign", "NOLOGIN").await;
        let group = if has_keepers() {
            let owned = format!("SET ROLE {0}; CREATE ROLE {name}_group; RESET ROLE", database.owner_role);
            database.admin.batch_execute(&owned).await.unwrap();
            format!("SET ROLE {}; GRANT {name}_group TO {now}; RESET ROLE", database.owner_role)
        } else {
            format!("GRANT {foreign} TO {now} WITH ADMIN OPTION")
        };
        let mut changes = vec![
            (format!("ALTER ROLE {now} NOLOGIN"), 1),
            (format!("ALTER ROLE {former} NOLOGIN CONNECTION LIMIT -1"), 2),
            (format!("ALTER ROLE {now} VALID UNTIL '2001-01-01'"), 1),
            (format!("ALTER ROLE {now} CREATEROLE NOINHERIT"), 2),
            (group, 1),
            (format!("ALTER ROLE {now} SET work_mem = 64; ALTER ROLE {now} IN DATABASE {name} SET work_mem = 65"), 1),
            (format!("ALTER ROLE {now} IN DATABASE {name} RESET ALL"), 1),
            (format!("ALTER ROLE {former} IN DATABASE {name} SET search_path = public"), 1),
            // Moved to all databases, they are the same text elsewhere.
            (
                format!(
                    "ALTER ROLE {now} IN DATABASE {name} RESET ALL; ALTER ROLE {now} SET search_path = school;
                     ALTER ROLE {now} SET statement_timeout = '7s';
                     ALTER ROLE {now} SET idle_in_transaction_session_timeout = '300s'"
                ),
                1,
            ),
            (format!("ALTER ROLE {now} IN DATABASE {name} SET search_path = {}", vec!["away"; 9000].join(",")), 1),
            (format!("DROP OWNED BY {0}; DROP ROLE {0}", tenant.reader), 5),
            (
                format!(
                    "SET ROLE {}; REVOKE CONNECT ON DATABASE {name} FROM {connect}; RESET ROLE; DROP ROLE {connect}",
                    database.owner_role
                ),
                2,
            ),
        ];
        if has_keepers() {
            let keepers = database.one::<Vec<i32>>(
                "SELECT array_agg(k.n ORDER BY k.parent IS NULL) FROM edu_matrix_hub_schema.role_keepers AS k",
            );
            let [group, above] = &keepers.await.iter().map(|n| format!("{connect}_{n}")).collect::<Vec<_>>()[..] else {
                panic!("the first tenant's keeper, and its parent")
            };
            for group in [group, above] {
                let lost = format!(
                    "DO $$ BEGIN EXECUTE (
                        SELECT format('REVOKE %s FROM %s GRANTED BY %s', roleid::regrole, member::regrole, grantor::regrole)
                        FROM pg_auth_members WHERE member = '{group}'::regrole); END $$"
                );
                changes.push((lost, 2));
                changes.push((format!("DROP ROLE {group}"), 2));
            }
            for group in [&tenant.reader, &tenant.writer, group] {
                let of = format!("roleid = '{group}'::regrole AND member = '{now}'::regrole");
                let taken = format!(
                    "DO $$ BEGIN EXECUTE (
                        SELECT format('REVOKE %s FROM %s GRANTED BY %s', roleid::regrole, '{now}', grantor::regrole)
                        FROM pg_auth_members WHERE {of}); END $$"
                );
                changes.push((taken, 1));
                changes.push((format!("UPDATE pg_auth_members SET inherit_option = false WHERE {of}"), 1));
            }
        } else {
            changes.push((format!("ALTER ROLE {now} CREATEDB"), 1));
            changes.push((format!("REVOKE {} FROM {now}", tenant.reader), 1));
            changes.push((format!("REVOKE {connect} FROM {now}"), 1));
        }
        for (change, expected) in changes {
            database.admin.batch_execute(&change).await.unwrap_or_else(|error| panic!("{change}: {error:?}"));
            let differences = found(&ground.lane, &tenant).await;
            assert_eq!(differences.len(), expected, "{change}: {differences:#?}");
            assert!(differences.iter().all(|d| d["repairable"] == true), "{change}: {differences:#?}");
            let answer = ground.application.repair().await;
            expect(&answer, "success");
            assert_eq!(answer["detail"]["not_repairable"], json!([]), "{change}");
            ground.is_right(&change).await;
        }
    })
    .await;
}

/// A tenant with the password may do this, and the next session must not feel it.
#[tokio::test]
async fn what_a_tenant_gives_its_login_is_taken_back() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database.as_owner(&tenant, "CREATE TABLE pupils (id int)").await;
        let ground = Ground::of(&database, &tenant).await;
        let name = &database.name;
        let session = database.log_in(&ground.now, "2").await.unwrap();
        for statements in [
            "ALTER ROLE CURRENT_USER SET search_path = public",
            "ALTER ROLE CURRENT_USER SET plpgsql.extra_errors = 'all'",
            &format!("ALTER ROLE CURRENT_USER IN DATABASE {name} SET statement_timeout = 0"),
            &format!(
                "ALTER ROLE CURRENT_USER IN DATABASE {name} SET work_mem = '64kB'; ALTER ROLE CURRENT_USER SET jit = on"
            ),
        ] {
            session.batch_execute(&format!("DO 'BEGIN END'; {statements}")).await.unwrap();
            let differences = found(&ground.lane, &tenant).await;
            assert_eq!(differences.len(), 1, "{statements}: {differences:#?}");
            assert!(differences[0]["what"].as_str().unwrap().contains("has other defaults: "), "{differences:?}");
            expect(&ground.application.repair().await, "success");
            ground.is_right(statements).await;
        }
        // Its own password is its own, and no function sees it.
        session.batch_execute("ALTER ROLE CURRENT_USER PASSWORD '2'").await.unwrap();
        assert_eq!(found(&ground.lane, &tenant).await, [] as [Value; 0]);
        session.batch_execute("SELECT 1").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn what_only_a_superuser_takes_back_comes_with_the_statement() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database.as_owner(&tenant, "CREATE TABLE pupils (id int)").await;
        let ground = Ground::of(&database, &tenant).await;
        let now = &ground.now;
        let foreign = database.role("foreign", "NOLOGIN").await;
        let mut changes = vec![
            format!("ALTER ROLE {now} BYPASSRLS"),
            format!("ALTER ROLE {now} REPLICATION"),
            format!("ALTER ROLE {now} SUPERUSER"),
            format!("ALTER ROLE {now} SET log_statement = 'all'"),
            format!("ALTER ROLE {now} IN DATABASE {} SET other.thing = '1'", database.name),
        ];
        if has_keepers() {
            changes.push(format!("ALTER ROLE {now} CREATEDB"));
            changes.push(format!("GRANT {foreign} TO {now}"));
            changes.push(format!("GRANT {} TO {now} WITH ADMIN OPTION", tenant.reader));
            let keeper = "SELECT role_name FROM edu_matrix_hub_schema.role_keepers WHERE parent IS NOT NULL";
            changes.push(format!("REVOKE {now} FROM {}", database.one::<String>(keeper).await));
        }
        for change in changes {
            database.admin.batch_execute(&change).await.unwrap();
            let differences = found(&ground.lane, &tenant).await;
            assert_eq!(differences.len(), 1, "{change}: {differences:#?}");
            let answer = ground.application.repair().await;
            assert_eq!(expect(&answer, "error"), "not_repairable", "{change}");
            database.admin.batch_execute(differences[0]["statement"].as_str().unwrap()).await.unwrap();
            ground.is_right(&change).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_login_that_holds_itself_is_told_and_holds_up_no_other_repair() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database.as_owner(&tenant, "CREATE TABLE pupils (id int)").await;
        let ground = Ground::of(&database, &tenant).await;
        let now = &ground.now;
        let holder = database.log_in(now, "2").await.unwrap();
        holder.batch_execute("BEGIN; ALTER ROLE CURRENT_USER PASSWORD '2'").await.unwrap();
        // From a session that does not wait for that row itself.
        let change =
            format!("GRANT CREATE ON SCHEMA school TO {}; ALTER ROLE {} NOLOGIN", tenant.reader, ground.former);
        database.admin.batch_execute(&change).await.unwrap();
        let more = "UPDATE edu_matrix_hub_schema.tenant_credentials SET connection_limit = 9";
        database.admin.batch_execute(more).await.unwrap();
        let answer = ground.application.repair().await;
        expect(&answer, "success");
        assert_eq!(answer["detail"]["repaired"].as_array().unwrap().len(), 3, "{answer}");
        let left = answer["detail"]["not_repairable"].as_array().unwrap();
        assert_eq!((left.len(), left[0]["what"].as_str().unwrap().contains(now)), (1, true), "{left:?}");
        let answer = ground.application.repair().await;
        expect(&answer, "busy");
        assert_eq!(answer["detail"]["sqlstate"], "55P03", "{answer}");
        holder.batch_execute("COMMIT").await.unwrap();
        expect(&ground.application.repair().await, "success");
        ground.is_right("held").await;
    })
    .await;
}

#[tokio::test]
async fn a_login_that_is_closed_withdrawn_or_gone_is_left_to_its_calls() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let ground = Ground::of(&database, &tenant).await;
        let application = &ground.application;
        application.set_access("Suspended").await;
        assert_eq!(found(&ground.lane, &tenant).await, [] as [Value; 0], "a suspension closes logins");
        application.set_access("ReadWrite").await;
        assert_eq!(found(&ground.lane, &tenant).await, [] as [Value; 0]);
        expect(&application.end_previous().await, "partial");
        assert_eq!(found(&ground.lane, &tenant).await, [] as [Value; 0], "it is to be closed");
        expect(&application.end_previous().await, "success");

        let gone = format!("DROP OWNED BY {0}; DROP ROLE {0}", ground.now);
        database.admin.batch_execute(&gone).await.unwrap();
        let differences = found(&ground.lane, &tenant).await;
        assert_eq!(differences[0]["what"], json!(format!("login \"{}\" is missing", ground.now)));
        assert_eq!((differences.len(), &differences[0]["repairable"]), (1, &json!(false)));
        application.issued("3").await;
        assert_eq!(found(&ground.lane, &tenant).await, [] as [Value; 0], "it was the one in use, and is not any more");

        expect(&application.withdraw().await, "partial");
        assert_eq!(found(&ground.lane, &tenant).await, [] as [Value; 0]);
        let change = format!("ALTER ROLE {} CREATEROLE", ground.former);
        database.admin.batch_execute(&change).await.unwrap();
        assert_eq!(found(&ground.lane, &tenant).await, [] as [Value; 0], "it is closed, and has no password");
    })
    .await;
}

#[tokio::test]
async fn logins_that_a_copy_uses_too_are_left_alone_until_it_is_gone() {
    with_bare_database(async |outer| {
        let database = Database::beside(&outer).await;
        database.install("postgres", Form::Printed).await.unwrap();
        let tenant = database.tenant("school").await;
        let login = Application::of(&database, &tenant).await.issued("1").await;
        let (database, copy) = database.copied().await;
        let application = Application::of(&database, &tenant).await;
        let lane = Lane::claim(database.operator().await).await;
        database.admin.batch_execute(&format!("ALTER ROLE {login} CONNECTION LIMIT 77")).await.unwrap();
        for _ in 0..2 {
            assert_eq!(found(&lane, &tenant).await, [] as [Value; 0]);
            expect(&application.repair().await, "unchanged");
        }
        copy.drop_alone().await;
        assert_eq!(found(&lane, &tenant).await.len(), 1);
        expect(&application.repair().await, "success");
        assert_eq!(found(&lane, &tenant).await, [] as [Value; 0]);
        database.remove().await;
    })
    .await;
}
