//! A role that made the schema that is adopted, or uses it meanwhile, gets no rights by it, and holds nothing up for ever.

use serde_json::json;

use crate::{
    adoption_world::{Before, adopt, adopt_whole, adopted, foreign, help, look},
    support::{call, expect, has_keepers, with_database},
};

#[tokio::test]
async fn what_a_session_holds_comes_later_and_the_rest_does_not_wait_for_it() {
    with_database(async |database| {
        let before = Before::of(&database).await;
        let tables = "CREATE SCHEMA education; DO $$ BEGIN FOR i IN 1..60 LOOP EXECUTE 'CREATE TABLE education.t' || i || ' ()'; \
                      END LOOP; END $$";
        before.make(&database, tables).await;
        help(&database, "education", "school").await;
        let holder = database.connect(&before.app).await;
        holder
            .batch_execute("BEGIN; LOCK TABLE education.t1, education.t2, education.t3, education.t60 IN ACCESS SHARE MODE")
            .await
            .unwrap();
        let digest = look(&database, "education", "school").await["digest"].clone();
        let started = std::time::Instant::now();
        let mut answer = json!({ "status": "partial" });
        let mut busy = 0;
        for _ in 0..12 {
            answer = adopt(&database.admin, "education", "school", &digest).await;
            busy += i32::from(answer["status"] == "busy");
        }
        assert!(busy >= 2 && started.elapsed().as_secs() < 10, "{busy} {answer}");
        assert_eq!(answer["detail"]["moved"], 56, "{answer}");
        let told = adopt_whole_busy(&database).await;
        assert!(told.contains("another session holds education.t") && told.contains(&before.app), "{told}");
        holder.batch_execute("COMMIT").await.unwrap();
        expect(&adopt_whole(&database, "education", "school").await, "success");
        assert_eq!(foreign(&database, "education").await, 0);
    })
    .await;
}

/// The next answer that says who is in the way.
async fn adopt_whole_busy(database: &crate::support::Database) -> String {
    for _ in 0..10 {
        let answer = adopt(&database.admin, "education", "school", &json!(null)).await;
        if answer["status"] == "busy" {
            return answer["message"].as_str().unwrap().to_owned();
        }
    }
    String::new()
}

#[tokio::test]
async fn what_comes_meanwhile_comes_along_and_what_we_cannot_give_on_is_told() {
    with_database(async |database| {
        let before = Before::of(&database).await;
        before.make(&database, "CREATE SCHEMA education; CREATE TABLE education.pupils (id int)").await;
        let other = database.role("other", "LOGIN").await;
        database.admin.batch_execute(&format!("GRANT USAGE, CREATE ON SCHEMA education TO {other}")).await.unwrap();
        help(&database, "education", "school").await;
        let digest = look(&database, "education", "school").await["digest"].clone();
        expect(&adopt(&database.admin, "education", "school", &digest).await, "partial");
        before.make(&database, "CREATE TABLE education.marks (id serial)").await;
        expect(&adopt(&database.admin, "education", "school", &digest).await, "partial");
        database.connect(&other).await.batch_execute("CREATE TABLE education.late (id int)").await.unwrap();
        let answer = adopt_whole(&database, "education", "school").await;
        if has_keepers() {
            assert_eq!(expect(&answer, "error"), "insufficient_privilege", "{answer}");
            let statement =
                format!("GRANT {other} TO {} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE", database.owner_role);
            assert!(answer["message"].as_str().unwrap().ends_with(&format!("a DBA can run: {statement}")), "{answer}");
            database.admin.batch_execute(&statement).await.unwrap();
            expect(&adopt_whole(&database, "education", "school").await, "success");
        } else {
            expect(&answer, "success");
        }
        assert_eq!(foreign(&database, "education").await, 0);
        assert_eq!(database.standing_memberships().await, 0);
        database.connect(&other).await.batch_execute("INSERT INTO education.late VALUES (1)").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn no_role_of_a_tenant_becomes_a_member_and_a_tenants_rights_end() {
    with_database(async |database| {
        let before = Before::of(&database).await;
        before.make(&database, "CREATE SCHEMA education; CREATE TABLE education.pupils (id int)").await;
        let hostile = database.tenant("hostile").await;
        database
            .admin
            .batch_execute(&format!(
                "GRANT USAGE, CREATE ON SCHEMA education TO \"{0}\", \"{1}\"; SET ROLE \"{0}\"; \
                 CREATE TABLE education.trap (id int); RESET ROLE",
                hostile.owner, hostile.reader
            ))
            .await
            .unwrap();
        let plan = look(&database, "education", "school").await;
        assert_eq!(
            plan["statements"][plan["statements"].as_array().unwrap().len() - 1],
            "SELECT edu_matrix_hub_schema.adoption_statements('education') \\gexec",
            "{plan}"
        );
        let tenant = adopted(&database, "education").await;
        for role in [&hostile.owner, &hostile.reader, &hostile.writer] {
            for (what, may) in [
                (format!("pg_has_role('{role}', '{}', 'MEMBER')", tenant.owner), false),
                (format!("has_schema_privilege('{role}', 'education', 'USAGE')"), false),
                (format!("has_schema_privilege('{role}', 'education', 'CREATE')"), false),
            ] {
                assert_eq!(database.one::<bool>(&format!("SELECT {what}")).await, may, "{what}");
            }
        }
        let may = format!("SELECT pg_has_role('{}', '{}', 'MEMBER')", tenant.owner, before.app);
        assert!(!database.one::<bool>(&may).await, "the tenant gets nothing of who was there before");
    })
    .await;
}

#[tokio::test]
async fn nothing_of_the_schema_runs_while_it_is_adopted() {
    with_database(async |database| {
        let before = Before::of(&database).await;
        // What would run if anything was read, written or evaluated.
        before
            .make(
                &database,
                "CREATE SEQUENCE ran; GRANT USAGE ON SEQUENCE ran TO PUBLIC; GRANT USAGE ON SCHEMA shared TO PUBLIC; \
                 CREATE SCHEMA education; SET search_path = education; \
                 CREATE FUNCTION bait(v anyelement) RETURNS anyelement LANGUAGE plpgsql IMMUTABLE AS \
                    $$ BEGIN PERFORM nextval('shared.ran'); RETURN v; END $$; \
                 CREATE FUNCTION bait() RETURNS trigger LANGUAGE plpgsql AS \
                    $$ BEGIN PERFORM nextval('shared.ran'); RETURN NEW; END $$; \
                 CREATE TABLE t (id int DEFAULT bait(1), CHECK (bait(id) > 0)); \
                 CREATE INDEX ON t (bait(id)); CREATE INDEX ON t (id) WHERE bait(id) > 1; \
                 CREATE TRIGGER g BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION bait(); \
                 CREATE STATISTICS s ON bait(id), (id + 1) FROM t; CREATE VIEW v AS SELECT bait(id) FROM t; \
                 CREATE MATERIALIZED VIEW m AS SELECT bait(1); CREATE DOMAIN d AS int CHECK (bait(VALUE) > 0); \
                 ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (bait(id) > 0); \
                 CREATE RULE r AS ON DELETE TO t DO ALSO SELECT bait(1); SELECT setval('shared.ran', 1, false)",
            )
            .await;
        adopted(&database, "education").await;
        assert!(!database.one::<bool>("SELECT is_called FROM shared.ran").await);
    })
    .await;
}

#[tokio::test]
async fn names_of_63_bytes_and_those_that_would_end_a_statement_are_adopted() {
    with_database(async |database| {
        let before = Before::of(&database).await;
        for schema in ["x".repeat(63), "ä".repeat(31), "PG_Zoo".to_owned(), "7 \"; DROP TABLE x; --'".to_owned()] {
            let quoted = format!("\"{}\"", schema.replace('"', "\"\""));
            let table = format!("{quoted}.\"{}\"", "t\"; DROP SCHEMA shared; --".replace('"', "\"\""));
            before.make(&database, &format!("CREATE SCHEMA {quoted}; CREATE TABLE {table} (id int)")).await;
            let plan = look(&database, &schema, &schema).await;
            for statement in plan["statements"].as_array().unwrap() {
                database.admin.batch_execute(statement.as_str().unwrap()).await.unwrap();
            }
            let answer = adopt_whole(&database, &schema, &schema).await;
            expect(&answer, "success");
            let tenant = database.tenant_of(&answer).await;
            assert!(!tenant.owner.starts_with("pg_") && tenant.owner.len() <= 63, "{}", tenant.owner);
            let survey = call(&database.admin, "observe_tenant", &json!({
                "schema_name": schema, "cluster": "cluster-1", "namespace": "team-a", "name": schema, "uid": format!("uid-{schema}")
            }))
            .await;
            assert_eq!(survey["own"]["schema_exists"], true, "{survey}");
            let client = database.connect(&before.app).await;
            client.batch_execute(&format!("INSERT INTO {table} VALUES (1)")).await.unwrap();
        }
        assert!(database.one::<bool>("SELECT to_regnamespace('shared') IS NOT NULL").await);
    })
    .await;
}

#[tokio::test]
async fn a_statement_that_fails_is_told_with_what_a_dba_runs() {
    with_database(async |database| {
        let before = Before::of(&database).await;
        let other = database.role("other", "NOLOGIN").await;
        before.make(&database, "CREATE SCHEMA education; CREATE TABLE education.pupils (id int)").await;
        // A type that we may not name is an argument.
        database
            .admin
            .batch_execute(&format!(
                "CREATE SCHEMA hidden; CREATE TYPE hidden.kind AS ENUM ('a'); GRANT USAGE ON SCHEMA hidden TO {0}; SET ROLE {0}; \
                 CREATE FUNCTION education.f(hidden.kind) RETURNS int LANGUAGE sql AS 'SELECT 1'; RESET ROLE; \
                 REVOKE USAGE ON SCHEMA hidden FROM {0}; GRANT {0} TO {1}",
                before.app, other
            ))
            .await
            .unwrap();
        help(&database, "education", "school").await;
        let answer = adopt_whole(&database, "education", "school").await;
        assert_eq!(expect(&answer, "error"), "insufficient_privilege", "{answer}");
        let message = answer["message"].as_str().unwrap();
        let (said, statement) = message.split_once("a DBA can run: ").unwrap();
        assert!(said.contains("permission denied for schema hidden"), "{message}");
        assert!(statement.starts_with("ALTER ROUTINE education.f(IN hidden.kind) OWNER TO "), "{message}");
        database.admin.batch_execute(statement).await.unwrap();
        expect(&adopt_whole(&database, "education", "school").await, "success");
        assert_eq!(foreign(&database, "education").await, 0);
    })
    .await;
}
