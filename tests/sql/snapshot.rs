//! A snapshot holds every row, every position and every definition, of one instant, and leaves nothing else behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::backup_world::{World, front, set_access, succeed, text, wait_for_a_waiter, with_world};

/// A schema with every kind of thing that is hard to copy.
pub const FEATURES: &str = r#"
    CREATE TYPE school.mood AS ENUM ('sad', 'happy');
    CREATE DOMAIN school.pos AS int CHECK (value > 0);
    CREATE TYPE school.comp AS (a int, b school.mood);
    CREATE TYPE school.span AS RANGE (subtype = int);
    CREATE COLLATION school.co FROM "C";
    CREATE SEQUENCE school.free START 7 INCREMENT 3;
    SELECT nextval('school.free'), nextval('school.free');
    CREATE SEQUENCE school.unused START 5;
    CREATE TABLE school.pupils (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n text COLLATE school.co, m school.mood, ms school.mood[],
        c school.comp, cs school.comp[], p school.pos, g text GENERATED ALWAYS AS (n || '!') STORED, r regclass, f float8,
        t timestamptz, v varchar(7), d numeric(8, 3), b bytea, j jsonb, s school.span, i interval);
    INSERT INTO school.pupils (n, m, ms, c, cs, p, r, f, t, v, d, b, j, s, i)
    SELECT 'x' || g, 'happy', '{sad,happy}', ROW(g, 'sad')::school.comp, ARRAY[ROW(g, 'sad')::school.comp], g, 'school.pupils', 1.0 / g,
           timestamptz '2026-01-01 00:00+02' + g * interval '1 hour', 'v' || g, g / 7.0, decode(md5(g::text), 'hex'),
           jsonb_build_object('g', g), school.span(g, g + 2), g * interval '1 day 2 hours' FROM generate_series(1, 500) AS g;
    INSERT INTO school.pupils (c, ms) VALUES (ROW(NULL, NULL), '{NULL}'), (NULL, '{}');
    CREATE TABLE school."we""ird 'ü $$" ("A b" text, copy int, source json, "select" int);
    INSERT INTO school."we""ird 'ü $$" VALUES ('a', 1, '{"k": [1, 2]}', 4);
    CREATE TABLE school.nothing ();
    INSERT INTO school.nothing DEFAULT VALUES;
    INSERT INTO school.nothing DEFAULT VALUES;
    CREATE TABLE school.empty (a int);
    CREATE TABLE school.lost_a_column (a int, b text, c int);
    INSERT INTO school.lost_a_column VALUES (1, 'b', 3);
    ALTER TABLE school.lost_a_column DROP COLUMN b;
    CREATE TABLE school.parts (a int, b text) PARTITION BY LIST (a);
    CREATE TABLE school.part_1 PARTITION OF school.parts FOR VALUES IN (1);
    CREATE TABLE school.part_2 PARTITION OF school.parts FOR VALUES IN (2) PARTITION BY RANGE (b);
    CREATE TABLE school.part_2x PARTITION OF school.part_2 DEFAULT;
    INSERT INTO school.parts VALUES (1, 'a'), (2, 'b'), (2, 'c');
    CREATE TABLE school.parent (a int);
    CREATE TABLE school.child (b int) INHERITS (school.parent);
    INSERT INTO school.parent VALUES (1);
    INSERT INTO school.child VALUES (2, 3);
    CREATE UNLOGGED TABLE school.unlogged (a text);
    INSERT INTO school.unlogged SELECT string_agg(md5(g::text), '') FROM generate_series(1, 2000) AS g;
    CREATE VIEW school.some WITH (security_barrier = true) AS SELECT id, n FROM school.pupils;
    CREATE MATERIALIZED VIEW school.counted AS SELECT count(*) FROM school.pupils;
    CREATE FUNCTION school.next(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT i + 1';
    CREATE AGGREGATE school.agg (int) (sfunc = int4pl, stype = int, initcond = 0);
    CREATE FUNCTION school.on_insert() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
    CREATE TRIGGER watch BEFORE INSERT ON school.pupils FOR EACH ROW EXECUTE FUNCTION school.on_insert();
    CREATE OPERATOR school.=== (leftarg = int, rightarg = int, function = int4eq);
    ALTER TABLE school.pupils ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON school.pupils USING (id > 0);
    CREATE RULE quiet AS ON DELETE TO school.empty DO INSTEAD NOTHING;
    CREATE INDEX by_next ON school.pupils ((school.next(p)));
    CREATE STATISTICS school.together ON id, n FROM school.pupils;
    COMMENT ON COLUMN school.pupils.n IS 'the name';
"#;

#[tokio::test(flavor = "multi_thread")]
async fn it_holds_every_row_position_and_definition() {
    with_world(|world: World| async move {
    let tenant = world.tenant("school").await;
    world.as_owner(&tenant, FEATURES).await;
    let session = world.session().await;
    succeed(&session, "backup_institution_schema", tenant.id).await;
    let backup = world.newest_backup().await;
    let location = backup["location"].as_str().unwrap();
    assert!(location.starts_with("school_bak_2"), "{location}");
    assert_eq!(backup["state"], "complete");

    // Every row of every table that holds rows, in the text form that any client would see.
    let tables = world
        .database
        .admin
        .query("SELECT relname::text FROM pg_class WHERE relnamespace = 'school'::regnamespace AND relkind = 'r'", &[])
        .await
        .unwrap();
    assert_eq!(backup["table_count"], tables.len());
    world.run("SET search_path = pg_catalog").await;
    for table in &tables {
        let name = format!("\"{}\"", table.get::<_, &str>(0).replace('"', "\"\""));
        let rows = |schema: &str| {
            format!("SELECT array_agg((x.*)::text ORDER BY (x.*)::text COLLATE \"C\") FROM ONLY {schema}.{name} AS x")
        };
        assert_eq!(world.text(&rows("school")).await, world.text(&rows(location)).await, "{name}");
    }
    let manifest = &backup["manifest"];
    let pupils = manifest["tables"].as_array().unwrap().iter().find(|t| t["name"] == "pupils").unwrap();
    assert_eq!(pupils["rows"], 502);
    let sequences = manifest["sequences"].to_string();
    assert!(sequences.contains(r#"{"is_called":true,"last_value":10,"name":"free"}"#), "{sequences}");
    assert!(sequences.contains(r#"{"is_called":true,"last_value":502,"name":"pupils_id_seq"}"#), "{sequences}");
    assert!(sequences.contains(r#"{"is_called":false,"last_value":5,"name":"unused"}"#), "{sequences}");

    let definitions = manifest["definitions"].to_string();
    for wanted in [
        "happy", "VALUE > 0", "school.co", "int4eq", "security_barrier=true", "CREATE OR REPLACE FUNCTION school.next",
        "school.agg(integer)", "CREATE TRIGGER watch BEFORE INSERT", "school.===(integer,integer)", "(id > 0)", "CREATE RULE quiet",
        "CREATE INDEX by_next", "CREATE STATISTICS school.together", "the name", "LIST (a)", "FOR VALUES IN (1)", "DEFAULT",
        "school.parent", "PRIMARY KEY (id)", "_reader=", "default_privileges", "count(*) AS count",
    ] {
        assert!(definitions.contains(wanted), "{wanted} is not in {definitions}");
    }
    // What is copied is ours alone, of built-in types, and depends on nothing of the tenant's.
    let foreign = format!(
        "SELECT count(*) FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_type AS y ON y.oid = a.atttypid
         WHERE c.relnamespace = '{location}'::regnamespace AND a.attnum > 0 AND y.typnamespace <> 'pg_catalog'::regnamespace"
    );
    assert_eq!(world.text(&foreign).await, "0");
    world.assert_clean().await;
    world.as_owner(&tenant, "DROP TYPE school.mood CASCADE").await;
    assert_eq!(world.text(&format!("SELECT m FROM {location}.pupils WHERE id = 1")).await, "happy");
    let verified = format!(
        "SELECT edu_matrix_hub_schema._snapshot_content('{location}', b.manifest -> 'tables') = b.manifest -> 'tables' FROM edu_matrix_hub_schema.schema_backups AS b"
    );
    assert_eq!(world.text(&verified).await, "true", "the hashes can be computed again");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_its_tables_are_of_one_instant() {
    with_world(|world: World| async move {
    let tenant = world.tenant("school").await;
    world
        .as_owner(
            &tenant,
            "CREATE TABLE school.a (id bigint GENERATED ALWAYS AS IDENTITY, t text DEFAULT repeat('x', 500));
             CREATE TABLE school.filler AS SELECT g, repeat('y', 100) AS y FROM generate_series(1, 100000) AS g;
             CREATE TABLE school.z (id bigint, t text)",
        )
        .await;
    let done = Arc::new(AtomicBool::new(false));
    let writer = world.superuser().await;
    let stop = Arc::clone(&done);
    let writing = tokio::spawn(async move {
        let mut written = 0_u32;
        while !stop.load(Ordering::Relaxed) {
            let sql = "WITH a AS (INSERT INTO school.a DEFAULT VALUES RETURNING id) INSERT INTO school.z SELECT id FROM a";
            writer.batch_execute(sql).await.unwrap();
            written += 1;
        }
        written
    });
    let session = world.session().await;
    for _ in 0..4 {
        succeed(&session, "backup_institution_schema", tenant.id).await;
        let backup = world.newest_backup().await;
        let location = backup["location"].as_str().unwrap();
        let rows = format!("SELECT ARRAY[(SELECT count(*) FROM {location}.a), (SELECT count(*) FROM {location}.z)]");
        let counts = world.text(&rows).await;
        let (a, z) = counts.trim_matches(['{', '}']).split_once(',').unwrap();
        assert_eq!(a, z, "both tables as of one instant");
        let position = backup["manifest"]["sequences"][0]["last_value"].as_i64().unwrap();
        assert!(position >= a.parse().unwrap(), "a sequence is never behind the data");
    }
    done.store(true, Ordering::Relaxed);
    assert!(writing.await.unwrap() > 50, "the writer was at work all the time");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_cannot_be_read_whole_is_named_with_the_way_out() {
    with_world(|world: World| async move {
    let tenant = world.tenant("school").await;
    world.as_owner(&tenant, "CREATE TABLE school.forced (a int); ALTER TABLE school.forced ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY").await;
    let stranger = format!("s{}", &tenant.id.simple().to_string()[..8]);
    world
        .run(&format!(
            "CREATE ROLE {stranger}; GRANT CREATE, USAGE ON SCHEMA school TO {stranger}; SET ROLE {stranger};
             CREATE TABLE school.foreign_one (a int); CREATE TABLE school.veiled (a int); GRANT SELECT ON school.veiled TO {};
             ALTER TABLE school.veiled ENABLE ROW LEVEL SECURITY; RESET ROLE",
            tenant.owner
        ))
        .await;
    let session = world.session().await;
    let (status, message) = front(&session, "backup_institution_schema", tenant.id).await;
    assert_eq!(status, "error");
    let statements = [
        format!("ALTER TABLE school.foreign_one OWNER TO {}", tenant.owner),
        format!("ALTER TABLE school.veiled OWNER TO {}", tenant.owner),
        "ALTER TABLE school.forced NO FORCE ROW LEVEL SECURITY".to_owned(),
    ];
    for statement in &statements {
        assert!(message.contains(statement.as_str()), "{message}");
    }
    assert_eq!(world.text("SELECT count(*) FROM edu_matrix_hub_schema.schema_backups").await, "0");
    assert_eq!(world.text("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'school_bak%'").await, "0");
    world.assert_clean().await;
    world.run(&statements.join(";")).await;
    succeed(&session, "backup_institution_schema", tenant.id).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_tables_are_refused_with_the_number() {
    with_world(|world: World| async move {
    let tenant = world.tenant("school").await;
    let capacity = "current_setting('max_locks_per_transaction')::int * (current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int) / 2";
    let budget: usize = world.text(&format!("SELECT {capacity}")).await.parse().unwrap();
    // Two tables, one index and twice a TOAST table with its index make seven locks for a table.
    let tables = budget / 7 + 1;
    let create = format!("DO $$ BEGIN FOR i IN 1..{tables} LOOP EXECUTE format('CREATE TABLE school.t%s (a int PRIMARY KEY, b text)', i); END LOOP; END $$");
    world.as_owner(&tenant, &create).await;
    let session = world.session().await;
    let (status, message) = front(&session, "backup_institution_schema", tenant.id).await;
    assert_eq!(status, "error");
    assert!(message.contains(&format!("{tables} tables")) && message.contains(&format!("may take {budget}")) && message.contains("Archive"), "{message}");
    world.assert_clean().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_structure_meanwhile_ends_it_as_busy() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        world.as_owner(&tenant, "CREATE TABLE school.a (a int); CREATE TABLE school.b (b int)").await;
        let migration = world.superuser().await;
        migration.batch_execute("BEGIN; ALTER TABLE school.b ADD COLUMN more int").await.unwrap();
        let session = world.session().await;
        let id = tenant.id;
        let snapshot = tokio::spawn(async move { front(&session, "backup_institution_schema", id).await });
        wait_for_a_waiter(&world).await;
        migration.batch_execute("COMMIT").await.unwrap();
        let (status, message) = snapshot.await.unwrap();
        assert_eq!(status, "busy", "{message}");
        world.assert_clean().await;
        succeed(&world.session().await, "backup_institution_schema", tenant.id).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_may_have_1600_columns_and_a_name_may_be_long() {
    with_world(|world: World| async move {
        let tenant = world.tenant(&"a".repeat(50)).await;
        let columns: Vec<_> = (0..1600).map(|n| format!("c{n} int")).collect();
        world
            .as_owner(
                &tenant,
                &format!(
                    "CREATE TABLE {0}.wide ({1}); INSERT INTO {0}.wide (c1599) VALUES (7)",
                    tenant.schema,
                    columns.join(",")
                ),
            )
            .await;
        let session = world.session().await;
        for _ in 0..3 {
            succeed(&session, "backup_institution_schema", tenant.id).await;
        }
        let names = world
            .text("SELECT string_agg(location, ' ' ORDER BY location) FROM edu_matrix_hub_schema.schema_backups")
            .await;
        let first = names.split(' ').next().unwrap();
        assert!(first.starts_with(&format!("{}_bak_", "a".repeat(41))), "{names}");
        assert_eq!(world.text(&format!("SELECT c1599 FROM {first}.wide")).await, "7");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_without_tables_and_a_suspended_one_are_copied_too() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        let session = world.session().await;
        succeed(&session, "backup_institution_schema", tenant.id).await;
        world.as_owner(&tenant, "CREATE TABLE school.a AS SELECT 1 AS a").await;
        assert_eq!(set_access(&session, &tenant, "Suspended").await["status"], "success");
        succeed(&session, "backup_institution_schema", tenant.id).await;
        let backup = world.newest_backup().await;
        assert_eq!(backup["row_count"], 1);
        assert!(text(&session, "SELECT current_user").await.ends_with("_op"));
    })
    .await;
}

/// Rows of new tables that an event trigger hides are neither lost nor in the way; one that hides them again is named.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_trigger_that_secures_every_new_table_hides_no_row() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        let made = "CREATE TABLE school.pupils AS SELECT generate_series(1, 3) AS id; CREATE SEQUENCE school.free START 7";
        world.as_owner(&tenant, made).await;
        let secure = |tags: &str, forms: &str| {
            format!(
                "CREATE OR REPLACE FUNCTION public.secure() RETURNS event_trigger LANGUAGE plpgsql AS $$
                 DECLARE made record;
                 BEGIN
                     FOR made IN SELECT c.oid FROM pg_event_trigger_ddl_commands() AS d JOIN pg_class AS c ON c.oid = d.objid
                                 WHERE c.relkind = 'r' AND NOT (c.relrowsecurity OR c.relforcerowsecurity) LOOP
                         EXECUTE format('ALTER TABLE %s {forms}', made.oid::regclass);
                     END LOOP;
                 END $$;
                 DROP EVENT TRIGGER IF EXISTS secure;
                 CREATE EVENT TRIGGER secure ON ddl_command_end WHEN TAG IN ({tags}) EXECUTE FUNCTION public.secure()"
            )
        };
        let (on, forced) = ("ENABLE ROW LEVEL SECURITY", "FORCE ROW LEVEL SECURITY");
        let session = world.session().await;
        for forms in [on.to_owned(), forced.to_owned(), format!("{on}, {forced}")] {
            world.run(&secure("'CREATE TABLE', 'CREATE TABLE AS'", &forms)).await;
            succeed(&session, "backup_institution_schema", tenant.id).await;
            let backup = world.newest_backup().await;
            assert_eq!((&backup["row_count"], &backup["state"]), (&3.into(), &"complete".into()), "{forms}");
            let location = backup["location"].as_str().unwrap();
            let rows = format!(
                "SELECT count(*) || '|' || (SELECT count(*) FROM pg_class WHERE (relrowsecurity OR relforcerowsecurity)
                                            AND relnamespace = '{location}'::regnamespace) FROM {location}.pupils"
            );
            assert_eq!(world.text(&rows).await, "3|0", "{forms}");
            let positions = "SELECT manifest #>> '{sequences,0,last_value}' FROM edu_matrix_hub_schema.schema_backups ORDER BY completed_at DESC LIMIT 1";
            assert_eq!(world.text(positions).await, "7", "{forms}");
        }
        world.run(&secure("'CREATE TABLE', 'ALTER TABLE'", on)).await;
        let (status, message) = front(&session, "backup_institution_schema", tenant.id).await;
        assert!(status == "error" && message.contains("leave out what role \""), "{message}");
        assert!(message.contains("(there are: secure (public.secure))"), "{message}");
        assert_eq!(message.matches("public.secure").count(), 1, "it is named once: {message}");
        world.assert_clean().await;
    })
    .await;
}
