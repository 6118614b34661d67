//! What the operator reads of a tenant for an archive, in a session of the tenant's: that nothing of the tenant's takes part in it
//! but output functions, and that a tenant which is suspended lets it in.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::{
    application::{CLOSED, found, is_ended},
    backup_world::{Worker, World, set_access, with_world},
    support::expect,
    tenant_sessions::Runner,
};

const BEGIN: &str = include_str!("../../sql/call/archive_session.sql");
const TABLES: &str = include_str!("../../sql/call/archive_tables.sql");
const FACTS: &str = include_str!("../../sql/call/archive_facts.sql");

/// The number of a schema.
async fn schema_oid(world: &World, schema: &str) -> i64 {
    world.database.one(&format!("SELECT '\"{schema}\"'::regnamespace::oid::int8")).await
}

/// Rows and hash of each table, as the operator reads them.
async fn contents(session: &Client, schema: i64) -> BTreeMap<String, (i64, String)> {
    session.batch_execute(BEGIN).await.unwrap();
    let tables = session.query(TABLES, &[&schema]).await.unwrap();
    session.batch_execute(&format!("COMMIT; {BEGIN}")).await.unwrap();
    for table in &tables {
        session.batch_execute(table.get("lock")).await.unwrap();
    }
    let again = session.query(TABLES, &[&schema]).await.unwrap();
    assert_eq!(tables.len(), again.len());
    let mut found = BTreeMap::new();
    for table in again {
        let row = session.query_one(table.get::<_, &str>("content"), &[]).await.unwrap();
        found.insert(table.get("name"), (row.get("rows"), row.get("hash")));
    }
    session.batch_execute("COMMIT").await.unwrap();
    found
}

/// Types, casts, functions and operators that would come first if any name was looked up in the tenant's schema.
const HOSTILE: &str = "
    SET search_path = school;
    CREATE FUNCTION ran() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the tenant''s code ran'; END $$;
    CREATE TYPE pair AS (a int, b text);
    CREATE TYPE mood AS ENUM ('well', 'so-so');
    CREATE DOMAIN short AS text;
    CREATE FUNCTION pair_text(pair) RETURNS text LANGUAGE sql AS 'SELECT school.ran()';
    CREATE CAST (pair AS text) WITH FUNCTION pair_text (pair) AS IMPLICIT;
    CREATE FUNCTION mood_text(mood) RETURNS text LANGUAGE sql AS 'SELECT school.ran()';
    CREATE CAST (mood AS text) WITH FUNCTION mood_text (mood) AS IMPLICIT;
    CREATE FUNCTION format(text, VARIADIC text[]) RETURNS text LANGUAGE sql AS 'SELECT school.ran()';
    CREATE FUNCTION hashtextextended(text, bigint) RETURNS bigint LANGUAGE sql AS 'SELECT school.ran()::bigint';
    CREATE FUNCTION same(oid, oid) RETURNS boolean LANGUAGE sql AS 'SELECT school.ran()::boolean';
    CREATE OPERATOR = (LEFTARG = oid, RIGHTARG = oid, FUNCTION = same);
    CREATE TABLE \"select\" (copy text, \"copy.*\" mood, \"both\" pair, d short, \"%s\" float8, at timestamptz, of pair[]);
    INSERT INTO \"select\" VALUES ('x', 'well', (1, 'y'), 'z', 0.1, '2026-01-02 03:04:05+02', ARRAY[(2, NULL)::pair]);
    INSERT INTO \"select\" DEFAULT VALUES;
    CREATE TABLE root (a int, b text) PARTITION BY LIST (a);
    CREATE TABLE one PARTITION OF root FOR VALUES IN (1);
    CREATE TABLE two PARTITION OF root FOR VALUES IN (2);
    INSERT INTO root VALUES (1, 'a'), (1, 'b'), (2, 'c');
    CREATE TABLE parent (a int);
    CREATE TABLE child () INHERITS (parent);
    INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2), (3);
    CREATE TABLE \"No \"\"Columns'\" (); INSERT INTO \"No \"\"Columns'\" DEFAULT VALUES;
    CREATE TABLE empty (a int);
    CREATE VIEW shown AS SELECT * FROM root WHERE b <> school.ran();
    CREATE MATERIALIZED VIEW kept AS SELECT * FROM root;";

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_hashed_by_output_functions_alone_and_as_a_snapshot_hashes_them() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        world.as_owner(&tenant, HOSTILE).await;
        let schema = schema_oid(&world, "school").await;
        let runner = Runner::of(&world.database, &tenant).await;
        let session = runner.session("a").await;
        // What a session before left, or the tenant's defaults say, is not what counts.
        let left = "SET TimeZone = 'Asia/Tokyo'; SET extra_float_digits = -5; SET DateStyle = 'German'; SET search_path = school, pg_catalog";
        session.batch_execute(left).await.unwrap();
        let first = contents(&session, schema).await;
        let rows: Vec<_> = first.iter().map(|(name, (rows, _))| format!("{name} {rows}")).collect();
        assert_eq!(rows.join(", "), "No \"Columns' 1, child 2, empty 0, one 2, parent 1, select 2, two 1");
        assert_eq!(first["empty"].1, "0");
        assert_ne!(first["one"].1, first["two"].1);
        // The order of rows says nothing.
        world.as_owner(&tenant, "DELETE FROM school.one WHERE b = 'a'; INSERT INTO school.one VALUES (1, 'a')").await;
        assert_eq!(contents(&session, schema).await, first);
        world.as_owner(&tenant, "UPDATE school.two SET b = 'd'").await;
        assert_ne!(contents(&session, schema).await["two"], first["two"]);
        // It reads only.
        session.batch_execute(BEGIN).await.unwrap();
        assert!(session.batch_execute("DELETE FROM school.one").await.is_err());
        session.batch_execute("ROLLBACK").await.unwrap();
        let second = contents(&session, schema).await;
        runner.closed().await;

        let worker = Worker::claim(world.session().await).await;
        expect(&worker.request(&tenant, "snapshot").await, "success");
        let job = worker.next_of("snapshot").await;
        while worker.run(job).await["status"] == "partial" {}
        let tables = world.newest_backup().await["manifest"]["tables"].clone();
        let snapshot: BTreeMap<_, _> = tables
            .as_array()
            .unwrap()
            .iter()
            .map(|t| (t["name"].as_str().unwrap().to_owned(), (t["rows"].as_i64().unwrap(), t["hash"].as_str().unwrap().to_owned())))
            .collect();
        assert!(snapshot.keys().eq(second.keys()), "the same tables: {snapshot:?}");
        for name in ["one", "two", "parent", "child", "empty", "No \"Columns'"] {
            assert_eq!(second[name], snapshot[name], "{name} has built-in types");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_cannot_be_written_and_rows_that_are_hidden_are_errors() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        world
            .run(
                "CREATE TYPE public.bad;
                 CREATE FUNCTION public.bad_in(cstring) RETURNS public.bad LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
                 CREATE FUNCTION public.bad_out(public.bad) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'trigger_out';
                 CREATE TYPE public.bad (INPUT = public.bad_in, OUTPUT = public.bad_out, INTERNALLENGTH = 4, PASSEDBYVALUE, ALIGNMENT = int4)",
            )
            .await;
        world
            .as_owner(
                &tenant,
                "CREATE TABLE school.broken (b public.bad); INSERT INTO school.broken VALUES ('1');
                 CREATE TABLE school.hidden (a int); INSERT INTO school.hidden VALUES (1);
                 ALTER TABLE school.hidden ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
            )
            .await;
        let schema = schema_oid(&world, "school").await;
        let runner = Runner::of(&world.database, &tenant).await;
        let session = runner.session("a").await;
        let tables = session.query(TABLES, &[&schema]).await.unwrap();
        for (table, expected) in tables.iter().zip(["cannot display a value of type trigger", "row-level security"]) {
            session.batch_execute(BEGIN).await.unwrap();
            let error = session.query_one(table.get::<_, &str>("content"), &[]).await.unwrap_err();
            let message = error.as_db_error().unwrap().message().to_owned();
            assert!(message.contains(expected), "{message}");
            session.batch_execute("ROLLBACK").await.unwrap();
        }
        assert_eq!(tables.len(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dump_does_not_say_at_a_glance_is_told() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        let other = world.tenant("other").await;
        world.as_owner(&other, "CREATE TABLE other.of (a int)").await;
        world
            .as_owner(
                &tenant,
                "CREATE SEQUENCE school.\"<odd> & name\"; SELECT setval('school.\"<odd> & name\"', 42, false);
                 CREATE SEQUENCE school.down INCREMENT -1 MAXVALUE 10; SELECT nextval('school.down'), setval('school.down', -7);
                 CREATE SEQUENCE school.shut; REVOKE ALL ON SEQUENCE school.shut FROM CURRENT_USER;
                 CREATE TABLE school.t (a int PRIMARY KEY); CREATE TABLE school.u (a int REFERENCES school.t);
                 ALTER TABLE school.t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON school.t USING (true);
                 GRANT SELECT (a) ON school.t TO PUBLIC; GRANT SELECT, INSERT ON school.u TO PUBLIC;
                 CREATE FUNCTION school.f() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'",
            )
            .await;
        world
            .run(
                "CREATE TABLE public.outer (a int PRIMARY KEY);
                 ALTER TABLE school.u ADD CONSTRAINT out FOREIGN KEY (a) REFERENCES public.outer;
                 ALTER TABLE public.outer ADD CONSTRAINT \"in\" FOREIGN KEY (a) REFERENCES school.t",
            )
            .await;
        let schema = schema_oid(&world, "school").await;
        let runner = Runner::of(&world.database, &tenant).await;
        let session = runner.session("a").await;
        session.batch_execute(BEGIN).await.unwrap();
        let facts: Value = session.query_one(FACTS, &[&schema]).await.unwrap().get(0);
        assert_eq!(
            facts["sequences"],
            json!({ "total": 3, "entries": [{ "name": "<odd> & name", "last_value": 42, "is_called": false },
                                            { "name": "down", "last_value": -7, "is_called": true }, { "name": "shut" }] })
        );
        let secured = json!([{ "table": "t", "enabled": true, "forced": false, "policies": 1 }]);
        assert_eq!(facts["row_security"], json!({ "total": 1, "entries": secured }));
        assert_eq!(
            facts["references"],
            json!({ "total": 2, "entries": [
                { "constraint": "in", "from_schema": "public", "from_table": "outer", "to_schema": "school", "to_table": "t" },
                { "constraint": "out", "from_schema": "school", "from_table": "u", "to_schema": "public", "to_table": "outer" }] })
        );
        assert_eq!((&facts["extensions"]["total"], &facts["extensions"]["entries"][0]["name"]), (&json!(1), &json!("plpgsql")));
        let public: Vec<_> = facts["grants"]["entries"].as_array().unwrap().iter().filter(|g| g["grantee"] == "PUBLIC").collect();
        let told = json!({ "on": "table", "name": "u", "grantee": "PUBLIC", "grantor": tenant.owner, "privileges": ["INSERT", "SELECT"] });
        assert_eq!(public, [&told]);
        let own = |g: &Value| g["on"] == "schema" && g["grantee"] == json!(tenant.reader);
        assert!(facts["grants"]["entries"].as_array().unwrap().iter().any(own), "{facts}");
        session.batch_execute("COMMIT").await.unwrap();

        // There is a bound, and how many there are is told.
        world.as_owner(&tenant, "DO $$ BEGIN FOR n IN 1..1010 LOOP EXECUTE format('CREATE SEQUENCE school.s%s', n); END LOOP; END $$").await;
        let facts: Value = session.query_one(FACTS, &[&schema]).await.unwrap().get(0);
        let sequences = &facts["sequences"];
        assert_eq!((&sequences["total"], sequences["entries"].as_array().unwrap().len()), (&json!(1013), 1000));
        // And of another's schema nothing but what the catalogue shows to all.
        let facts: Value = session.query_one(FACTS, &[&schema_oid(&world, "other").await]).await.unwrap().get(0);
        assert_eq!(facts["sequences"], json!({ "total": 0, "entries": [] }));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_tenant_lets_a_backup_in_and_nothing_else() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        world.as_owner(&tenant, "CREATE TABLE school.t (a int); INSERT INTO school.t VALUES (1)").await;
        let runner = Runner::of(&world.database, &tenant).await;
        for wrong in [json!({ "connections": 0 }), json!({ "connections": 4 }), json!({ "purpose": "other" })] {
            assert_eq!(expect(&runner.try_open_for("a", &wrong).await, "error"), "internal", "{wrong}");
        }
        expect(&set_access(&runner.lane.client, &tenant, "Suspended").await, "success");
        assert_eq!(expect(&runner.try_open("a").await, "error"), "internal", "for work it stays closed");
        let backup = json!({ "purpose": "backup", "connections": 2 });
        let opened = runner.try_open_for("a", &backup).await;
        expect(&opened, "success");
        let sessions = [runner.log_in(&opened, "a").await, runner.log_in(&opened, "a").await];
        let third = world.database.log_in(&runner.login(), "a").await.err().and_then(|error| error.code().cloned());
        assert_eq!(third.unwrap().code(), "53300", "two connections");
        let schema = schema_oid(&world, "school").await;
        for session in &sessions {
            assert_eq!(contents(session, schema).await["t"].0, 1);
        }
        // What ends the sessions of suspended tenants, again and again, leaves these, and ends what is the tenant's.
        runner.lane.beat().await;
        expect(&set_access(&runner.lane.client, &tenant, "Suspended").await, "unchanged");
        runner.lane.survey(true).await;
        assert_eq!(found(&runner.lane, &tenant).await, Vec::<Value>::new(), "it is no drift");
        for session in &sessions {
            assert_eq!(contents(session, schema).await["t"].0, 1);
        }
        runner.closed().await;
        for session in &sessions {
            assert!(is_ended(session).await);
        }
        // One whose time is over is the tenant's, and so is the session of one that is closed by hand in the catalogue.
        let opened = runner.try_open_for("b", &backup).await;
        expect(&opened, "success");
        let session = runner.log_in(&opened, "b").await;
        world.run("UPDATE edu_matrix_hub_schema.tenant_sessions SET open_until = now()").await;
        runner.lane.beat().await;
        assert!(is_ended(&session).await);

        // Suspending ends a backup of before, and setting aside any.
        expect(&set_access(&runner.lane.client, &tenant, "ReadWrite").await, "success");
        let (opened, _) = runner.opened("c").await;
        let session = runner.log_in(&opened, "c").await;
        expect(&set_access(&runner.lane.client, &tenant, "Suspended").await, "success");
        assert!(is_ended(&session).await);
        while runner.try_open_for("d", &backup).await["status"] == "partial" {}
        let session = world.database.log_in(&runner.login(), "d").await.unwrap();
        let (status, message) =
            crate::backup_world::front(&world.database.admin, "drop_institution_schema", tenant.id).await;
        assert_eq!(status, "success", "{message}");
        assert!(is_ended(&session).await);
        let door = world.database.log_in(&runner.login(), "d").await.err().and_then(|error| error.code().cloned());
        assert_eq!(door.unwrap().code(), CLOSED);
    })
    .await;
}
