//! What is removed is removed in bounded parts, can be interrupted anywhere, and takes nothing of another user's with
//! it.

use std::time::Duration;

use uuid::Uuid;

use crate::backup_world::{World, drop_by_hand, front, id, succeed, with_world};
use crate::support::{Tenant, server};

/// Many tables that refer to one another, views over views, functions and types.
async fn big(world: &World, schema: &str) -> Tenant {
    let tenant = world.tenant(schema).await;
    world
        .as_owner(
            &tenant,
            &format!(
                "DO $$ BEGIN
                    FOR i IN 1..450 LOOP
                        EXECUTE format('CREATE TABLE {schema}.t%s (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, b text, r bigint REFERENCES {schema}.t%s)', i, greatest(i - 1, 1));
                    END LOOP;
                    CREATE TABLE {schema}.root (a int) PARTITION BY LIST (a);
                    FOR i IN 1..30 LOOP
                        EXECUTE format('CREATE TABLE {schema}.part%s PARTITION OF {schema}.root FOR VALUES IN (%s)', i, i);
                    END LOOP;
                    CREATE VIEW {schema}.v0 AS SELECT * FROM {schema}.t1;
                    FOR i IN 1..230 LOOP
                        EXECUTE format('CREATE VIEW {schema}.v%s AS SELECT * FROM {schema}.v%s', i, i / 2);
                    END LOOP;
                    FOR i IN 1..250 LOOP
                        EXECUTE format('CREATE FUNCTION {schema}.f%s(a {schema}.t%s) RETURNS int LANGUAGE sql IMMUTABLE BEGIN ATOMIC SELECT 1; END', i, i);
                        EXECUTE format('CREATE TYPE {schema}.e%s AS ENUM (''a'')', i);
                    END LOOP;
                    ALTER TABLE {schema}.t450 ADD CHECK ({schema}.f1(NULL) = 1);
                    CREATE POLICY p ON {schema}.t2 USING (id IN (SELECT id FROM {schema}.t449));
                    CREATE MATERIALIZED VIEW {schema}.m AS SELECT count(*) FROM {schema}.v230;
                    CREATE VIEW {schema}.younger AS SELECT * FROM {schema}.t1;
                    CREATE OR REPLACE VIEW {schema}.v230 AS SELECT * FROM {schema}.younger;
                 END $$"
            ),
        )
        .await;
    tenant
}

async fn objects(world: &World, location: &str) -> i64 {
    let sql = format!(
        "SELECT (SELECT count(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = '{location}')
              + (SELECT count(*) FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace WHERE n.nspname = '{location}')
              + (SELECT count(*) FROM pg_constraint AS k JOIN pg_namespace AS n ON n.oid = k.connamespace WHERE n.nspname = '{location}')
              + (SELECT count(*) FROM pg_type AS y JOIN pg_namespace AS n ON n.oid = y.typnamespace WHERE n.nspname = '{location}')"
    );
    world.text(&sql).await.parse().unwrap()
}

async fn roles(world: &World, tenant: &Tenant) -> String {
    world
        .text(&format!(
            "SELECT count(*) FROM pg_roles WHERE rolname IN ('{}', '{}', '{}')",
            tenant.owner, tenant.reader, tenant.writer
        ))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_in_parts_and_may_be_interrupted_anywhere() {
    with_world(|world: World| async move {
        let tenant = big(&world, "school").await;
        let session = world.session().await;
        let (backup, location) = drop_by_hand(&world, &session, &tenant).await;
        let mut left = objects(&world, &location).await;
        let mut parts = 0;
        loop {
            // Every other time the session goes away in the middle: by a timeout, or without committing.
            let other = world.session().await;
            if parts % 3 == 1 {
                other.batch_execute("SET statement_timeout = '5ms'").await.unwrap();
                let _ = other.query("SELECT * FROM edu_matrix_hub_schema.purge_schema_backup($1)", &[&backup]).await;
            } else if parts % 3 == 2 {
                other.batch_execute("BEGIN").await.unwrap();
                front(&other, "purge_schema_backup", backup).await;
                drop(other);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            session.batch_execute("BEGIN").await.unwrap();
            let (status, message) = front(&session, "purge_schema_backup", backup).await;
            let locks: i64 = world
                .text("SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM pg_locks GROUP BY pid) AS held")
                .await
                .parse()
                .unwrap();
            session.batch_execute("COMMIT").await.unwrap();
            assert!(locks < 10_000, "{locks} locks in one part");
            if status == "busy" {
                continue;
            }
            parts += 1;
            let now = objects(&world, &location).await;
            assert!(now < left, "every part removes something: {message}");
            left = now;
            if status == "success" {
                break;
            }
            assert_eq!(status, "partial", "{message}");
            assert_eq!(world.newest_backup().await["state"], "purging");
            // Begun is begun: it cannot come back half.
            assert_eq!(front(&session, "restore_set_aside", backup).await.0, "error");
        }
        assert!(parts > 5, "{parts} parts");
        assert_eq!(roles(&world, &tenant).await, "0");
        let row = world.newest_backup().await;
        assert_eq!((row["state"].as_str().unwrap(), row["table_count"].as_i64().unwrap()), ("purged", 480));
        assert_eq!(row["manifest"], serde_json::json!({}));
        assert_eq!(front(&session, "purge_schema_backup", backup).await.0, "unchanged");
        world.assert_clean().await;
    })
    .await;
}

/// What a part reads does not depend on how much is left.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_part_costs_no_more_than_the_last() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        for from in (1..1600).step_by(400) {
            let create = format!(
                "DO $$ BEGIN FOR i IN {from}..{} LOOP EXECUTE format('CREATE TABLE school.t%s (id int PRIMARY KEY)', i); END LOOP; END $$",
                from + 399
            );
            world.as_owner(&tenant, &create).await;
        }
        let session = world.session().await;
        let (backup, _) = drop_by_hand(&world, &session, &tenant).await;
        let mut read: Vec<i64> = Vec::new();
        loop {
            // What was counted before goes where it belongs.
            session.batch_execute("SELECT pg_stat_force_next_flush()").await.unwrap();
            session.batch_execute("BEGIN").await.unwrap();
            let (status, _) = front(&session, "purge_schema_backup", backup).await;
            let query = "SELECT sum(pg_stat_get_xact_tuples_returned(c.oid) + pg_stat_get_xact_tuples_fetched(c.oid))::bigint \
                         FROM pg_class AS c WHERE c.relname LIKE 'pg_depend%'";
            read.push(session.query_one(query, &[]).await.unwrap().get(0));
            session.batch_execute("COMMIT").await.unwrap();
            if status == "success" {
                break;
            }
        }
        // Before the first, all of it is looked at; the last is what was left.
        let parts = &read[1..read.len() - 1];
        let (least, most) = (parts.iter().min().unwrap(), parts.iter().max().unwrap());
        assert!(parts.len() >= 5 && *most < least + least / 2, "{read:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_goes_and_its_tenant_stays() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        world.as_owner(&tenant, "DO $$ BEGIN FOR i IN 1..300 LOOP EXECUTE format('CREATE TABLE school.t%s AS SELECT 1 AS a', i); END LOOP; END $$").await;
        let session = world.session().await;
        succeed(&session, "backup_institution_schema", tenant.id).await;
        let backup = id(&world.newest_backup().await["id"]);
        assert_eq!(front(&session, "restore_set_aside", backup).await.0, "error", "a snapshot is not a tenant");
        let mut parts = 1;
        while front(&session, "purge_schema_backup", backup).await.0 == "partial" {
            parts += 1;
        }
        assert!(parts > 1);
        assert_eq!(world.newest_backup().await["state"], "purged");
        assert_eq!(world.text("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'school_bak%'").await, "0");
        assert_eq!(world.text("SELECT count(*) FROM pg_class WHERE relnamespace = 'school'::regnamespace AND relkind = 'r'").await, "300");
        assert_eq!(roles(&world, &tenant).await, "3");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_built_on_it_meanwhile_stops_it() {
    with_world(|world: World| async move {
        let tenant = big(&world, "school").await;
        let session = world.session().await;
        let (backup, location) = drop_by_hand(&world, &session, &tenant).await;
        assert_eq!(front(&session, "purge_schema_backup", backup).await.0, "partial");
        // It stops at the part that would take it along: the table, or a table on whose rows a function works that it calls.
        for reads in ["SELECT * FROM {location}.t{n}", "SELECT {location}.f{n}(NULL)"] {
            let left = format!(
                "SELECT min(substr(proname, 2)::int) FROM pg_proc WHERE pronamespace = '{location}'::regnamespace"
            );
            let reads = reads.replace("{location}", &location).replace("{n}", &world.text(&left).await);
            world.run(&format!("CREATE VIEW public.late AS {reads}")).await;
            let (status, message) = loop {
                let answer = front(&session, "purge_schema_backup", backup).await;
                if answer.0 != "partial" {
                    break answer;
                }
            };
            assert_eq!(status, "error");
            assert!(message.contains("public.late"), "{message}");
            world.run("SELECT * FROM public.late; DROP VIEW public.late").await;
        }
        while front(&session, "purge_schema_backup", backup).await.0 == "partial" {}
        assert_eq!(world.newest_backup().await["state"], "purged");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_that_own_something_elsewhere_are_named_and_left() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        let session = world.session().await;
        let (backup, location) = drop_by_hand(&world, &session, &tenant).await;
        let elsewhere = format!("e{}", &Uuid::new_v4().simple().to_string()[..10]);
        world.run(&format!("CREATE DATABASE {elsewhere} OWNER {}", tenant.owner)).await;
        let create = format!("CREATE TABLE public.t (a int); ALTER TABLE public.t OWNER TO {}", tenant.owner);
        server().psql(&elsewhere, &create).unwrap();
        let (status, message) = front(&session, "purge_schema_backup", backup).await;
        assert_eq!(status, "error");
        assert!(message.contains(&format!("DROP OWNED BY {} (in database {elsewhere})", tenant.owner)), "{message}");
        assert!(message.contains(&format!("ALTER DATABASE {elsewhere} OWNER TO another_role")), "{message}");
        assert_eq!(
            world.text(&format!("SELECT count(*) FROM pg_namespace WHERE nspname = '{location}'")).await,
            "0",
            "the data is gone"
        );
        assert_eq!(roles(&world, &tenant).await, "3");
        assert_eq!(world.newest_backup().await["state"], "purging");
        world.run(&format!("DROP DATABASE {elsewhere} WITH (FORCE)")).await;
        // What it owns in another schema here is another's data, and stays too.
        world
            .run(&format!(
                "CREATE SCHEMA library; CREATE TABLE library.books (a int); ALTER TABLE library.books OWNER TO {}",
                tenant.owner
            ))
            .await;
        let (status, message) = front(&session, "purge_schema_backup", backup).await;
        assert_eq!(status, "error");
        assert!(message.contains("a DBA can run: DROP TABLE library.books; it goes on"), "a superuser is offered nothing: {message}");
        let librarian = world.database.role("librarian", "NOLOGIN").await;
        // No other role gets code of the tenant's, and only the owner of the schema may get a table.
        world
            .run(&format!(
                "ALTER SCHEMA library OWNER TO {librarian}; CREATE FUNCTION library.esc(q text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
                 AS 'BEGIN EXECUTE q; END'; ALTER FUNCTION library.esc(text) OWNER TO {0}; CREATE VIEW library.v AS SELECT 1 AS a;
                 ALTER VIEW library.v OWNER TO {0}",
                tenant.owner
            ))
            .await;
        let (status, message) = front(&session, "purge_schema_backup", backup).await;
        assert_eq!(status, "error");
        for wanted in [
            "DROP FUNCTION library.esc(pg_catalog.text); ".to_owned(),
            "DROP VIEW library.v; ".to_owned(),
            format!("DROP TABLE library.books, or to keep it, ALTER TABLE library.books OWNER TO {librarian}; "),
        ] {
            assert!(message.contains(&wanted), "{message}");
        }
        assert!(!message.to_uppercase().contains("CURRENT_USER") && !message.contains("REASSIGN"), "{message}");
        world.run(&format!("DROP FUNCTION library.esc(text); DROP VIEW library.v; ALTER TABLE library.books OWNER TO {librarian}")).await;
        world.run("CREATE TABLE library.readers (a int)").await;
        world.run(&format!("GRANT SELECT ON library.readers TO {}", tenant.owner)).await;
        let (status, message) = front(&session, "purge_schema_backup", backup).await;
        assert_eq!(status, "error");
        assert!(message.contains(&format!("DROP OWNED BY {}", tenant.owner)), "{message}");
        world.run(&format!("DROP OWNED BY {}", tenant.owner)).await;
        succeed(&session, "purge_schema_backup", backup).await;
        assert_eq!(roles(&world, &tenant).await, "0");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_took_its_name_is_not_removed() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        let session = world.session().await;
        succeed(&session, "backup_institution_schema", tenant.id).await;
        let snapshot = world.newest_backup().await;
        let location = snapshot["location"].as_str().unwrap();
        world
            .run(&format!(
                "DROP SCHEMA {location} CASCADE; CREATE SCHEMA {location}; CREATE TABLE {location}.mine (a int)"
            ))
            .await;
        let (status, message) = front(&session, "purge_schema_backup", id(&snapshot["id"])).await;
        assert_eq!(status, "error");
        assert!(message.contains("is not what was backed up"), "{message}");
        world.run(&format!("DROP SCHEMA {location} CASCADE")).await;
        succeed(&session, "purge_schema_backup", id(&snapshot["id"])).await;

        // A restored tenant is no backup any more.
        let (backup, _) = drop_by_hand(&world, &session, &tenant).await;
        succeed(&session, "restore_set_aside", backup).await;
        assert_eq!(front(&session, "purge_schema_backup", backup).await.0, "unchanged");
        assert_eq!(world.text("SELECT count(*) FROM pg_namespace WHERE nspname = 'school'").await, "1");
        assert_eq!(front(&session, "purge_schema_backup", Uuid::new_v4()).await.0, "error");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_extension_of_the_schema_has_elsewhere_does_not_fall_with_it() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        world.as_owner(&tenant, "CREATE TABLE school.t (id int)").await;
        let session = world.session().await;
        // An extension that keeps to its schema goes along; one with a table elsewhere, which others use by now, does not.
        world.run("CREATE EXTENSION hstore SCHEMA school").await;
        let (backup, _) = drop_by_hand(&world, &session, &tenant).await;
        world
            .run(
                "CREATE TABLE public.elsewhere AS SELECT 1 AS id; CREATE VIEW public.strangers AS SELECT * FROM public.elsewhere;
                 ALTER EXTENSION hstore ADD TABLE public.elsewhere",
            )
            .await;
        let (status, message) = front(&session, "purge_schema_backup", backup).await;
        assert_eq!(status, "error", "{message}");
        assert!(message.contains("public.elsewhere"), "{message}");
        world.run("SELECT * FROM public.strangers; ALTER EXTENSION hstore DROP TABLE public.elsewhere").await;
        succeed(&session, "purge_schema_backup", backup).await;
        world.run("SELECT * FROM public.strangers; DROP VIEW public.strangers; DROP TABLE public.elsewhere").await;
    })
    .await;
}
