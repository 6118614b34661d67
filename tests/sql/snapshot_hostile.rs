//! A tenant may prepare anything: its code runs as its owner and as no other role, and nothing that it does to the
//! session stays.

use crate::backup_world::{Worker, World, drop_by_hand, front, succeed, text, with_world};
use crate::support::Tenant;

/// Code in every place where the planner, the executor or a definition could run it. `act` tells as whom it ran, tries to
/// use the rights of others, and changes settings for good.
const TRAPS: &str = "
    CREATE TABLE school.armed (yes boolean);
    CREATE FUNCTION school.act(place text) RETURNS int LANGUAGE plpgsql AS $$
    BEGIN
        IF NOT EXISTS (SELECT FROM school.armed) THEN RETURN 1; END IF;
        INSERT INTO public.canary VALUES (current_user, place);
        BEGIN EXECUTE 'CREATE ROLE stolen'; INSERT INTO public.canary VALUES (current_user, 'MADE A ROLE'); EXCEPTION WHEN OTHERS THEN END;
        BEGIN DELETE FROM edu_matrix_hub_schema.schema_backups; INSERT INTO public.canary VALUES (current_user, 'IN THE REGISTRY'); EXCEPTION WHEN OTHERS THEN END;
        BEGIN PERFORM edu_matrix_hub_schema.installation(); INSERT INTO public.canary VALUES (current_user, 'CALLED US'); EXCEPTION WHEN OTHERS THEN END;
        BEGIN PERFORM set_config('role', 'none', false); INSERT INTO public.canary VALUES (current_user, 'CHANGED ROLE'); EXCEPTION WHEN OTHERS THEN END;
        BEGIN EXECUTE 'SET SESSION AUTHORIZATION DEFAULT'; INSERT INTO public.canary VALUES (current_user, 'CHANGED SESSION'); EXCEPTION WHEN OTHERS THEN END;
        BEGIN EXECUTE 'COMMIT'; INSERT INTO public.canary VALUES (current_user, 'COMMITTED'); EXCEPTION WHEN OTHERS THEN END;
        PERFORM set_config('search_path', 'school', false), set_config('row_security', 'off', false), set_config('DateStyle', 'German', false),
                set_config('statement_timeout', '1', false), set_config('default_transaction_read_only', 'on', false),
                set_config('standard_conforming_strings', 'off', false), set_config('check_function_bodies', 'off', false);
        RETURN 1;
    END $$;
    CREATE FUNCTION school.same(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM school.act('expression'); RETURN i; END $$;
    CREATE FUNCTION school.good(i int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM school.act('check'); RETURN true; END $$;
    CREATE TYPE school.mood AS ENUM ('sad', 'happy');
    CREATE TYPE school.comp AS (a int);
    CREATE FUNCTION school.cast_it(school.mood) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM school.act('cast'); RETURN 'CAST'; END $$;
    CREATE FUNCTION school.cast_it(school.comp) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM school.act('cast'); RETURN 'CAST'; END $$;
    CREATE CAST (school.mood AS text) WITH FUNCTION school.cast_it(school.mood) AS IMPLICIT;
    CREATE CAST (school.comp AS text) WITH FUNCTION school.cast_it(school.comp) AS IMPLICIT;
    CREATE DOMAIN school.dom AS int CHECK (school.good(value));
    CREATE TABLE school.a (id int PRIMARY KEY, m school.mood, c school.comp, d school.dom DEFAULT school.same(4),
                           g int GENERATED ALWAYS AS (school.same(5)) STORED, CHECK (school.good(1)));
    INSERT INTO school.a (id, m, c, d) SELECT g, 'sad', ROW(g)::school.comp, g FROM generate_series(1, 10) AS g;
    CREATE INDEX ON school.a ((id + school.same(1)));
    CREATE INDEX ON school.a (id) WHERE id > school.same(0);
    CREATE STATISTICS school.st ON (id + school.same(2)), (id * 2) FROM school.a;
    ALTER TABLE school.a ENABLE ROW LEVEL SECURITY;
    CREATE POLICY p ON school.a USING (school.good(id));
    CREATE TABLE school.parts (a int) PARTITION BY RANGE (school.same(a));
    CREATE TABLE school.part PARTITION OF school.parts (CHECK (school.good(a))) FOR VALUES FROM (0) TO (100);
    INSERT INTO school.parts SELECT generate_series(1, 10);
    CREATE INDEX ON school.parts ((a + school.same(3)));
    ALTER TABLE school.a ADD FOREIGN KEY (id) REFERENCES public.shared;
    CREATE VIEW school.v AS SELECT s.id, school.same(1) AS e, 'sad'::school.mood AS m, 1::school.dom AS d FROM public.shared AS s;
    CREATE FUNCTION school.body(i int DEFAULT school.same(7), d school.dom DEFAULT 8) RETURNS bigint LANGUAGE sql
        BEGIN ATOMIC SELECT count(*) + i FROM public.shared; END;
    CREATE RULE r AS ON INSERT TO school.a DO ALSO SELECT school.act('rule');
    CREATE FUNCTION school.fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM school.act('trigger'); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER later AFTER INSERT OR UPDATE OR DELETE ON school.a DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION school.fire();
    CREATE FUNCTION school.alike(int, int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM school.act('operator'); RETURN true; END $$;
    CREATE OPERATOR school.= (leftarg = int, rightarg = int, function = school.alike);
    CREATE OPERATOR school.> (leftarg = int, rightarg = int, function = school.alike);
    CREATE FUNCTION school.format(text, school.mood) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM school.act('format'); RETURN 'x'; END $$;
    CREATE FUNCTION school.jsonb_build_object(VARIADIC text[]) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN PERFORM school.act('function'); RETURN '{}'; END $$;
    INSERT INTO school.armed VALUES (true);
";

async fn trapped(world: &World) -> Tenant {
    let tenant = world.tenant("school").await;
    let shared =
        "CREATE TABLE public.shared (id int PRIMARY KEY); INSERT INTO public.shared SELECT generate_series(0, 100)";
    world.run(&format!("{shared}; GRANT SELECT, REFERENCES ON public.shared TO {}", tenant.owner)).await;
    world.as_owner(&tenant, TRAPS).await;
    world.run("TRUNCATE public.canary").await;
    tenant
}

/// An expression of an index that runs this when the planner looks at the table.
async fn with_trap(world: &World, body: &str) -> Tenant {
    let tenant = world.tenant("school").await;
    let trap = format!(
        "CREATE TABLE school.armed (yes boolean); CREATE TABLE school.a (id int); INSERT INTO school.a VALUES (1);
         CREATE FUNCTION school.act() RETURNS int LANGUAGE plpgsql AS $$ BEGIN IF EXISTS (SELECT FROM school.armed) THEN {body} END IF; RETURN 1; END $$;
         CREATE FUNCTION school.same(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM school.act(); RETURN i; END $$;
         CREATE INDEX ON school.a ((id + school.same(1))); INSERT INTO school.armed VALUES (true)"
    );
    world.as_owner(&tenant, &trap).await;
    tenant
}

const SETTINGS: &str =
    "SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings WHERE name NOT LIKE 'plpgsql.%'";

#[tokio::test(flavor = "multi_thread")]
async fn code_of_a_tenant_runs_as_its_owner_only() {
    with_world(|world: World| async move {
        let tenant = trapped(&world).await;
        let session = world.session().await;
        let before = text(&session, SETTINGS).await;
        let as_its_owner = vec![(tenant.owner.clone(), "expression".to_owned())];

        succeed(&session, "backup_institution_schema", tenant.id).await;
        assert_eq!(world.canary().await, as_its_owner, "in a snapshot");
        let location = world.newest_backup().await["location"].as_str().unwrap().to_owned();
        assert_eq!(
            world.text(&format!("SELECT (x.*)::text FROM {location}.a AS x WHERE id = 3")).await,
            "(3,sad,\"(3)\",3,5)"
        );
        world.assert_clean().await;

        let (backup, _) = drop_by_hand(&world, &session, &tenant).await;
        assert_eq!(world.canary().await, vec![], "in setting aside");
        succeed(&session, "restore_set_aside", backup).await;
        let ran = world.canary().await;
        assert!(ran.iter().all(|(who, what)| *who == tenant.owner && what == "expression"), "in a restore: {ran:?}");
        world.assert_clean().await;

        let (backup, _) = drop_by_hand(&world, &session, &tenant).await;
        world.run(&format!("DROP OWNED BY {} RESTRICT", tenant.reader)).await;
        world.run(&format!("REVOKE ALL ON public.shared FROM {}", tenant.owner)).await;
        while front(&session, "purge_schema_backup", backup).await.0 == "partial" {}
        assert_eq!(world.canary().await, vec![], "in a purge");
        assert_eq!(world.newest_backup().await["state"], "purged");

        assert_eq!(text(&session, SETTINGS).await, before, "the session's settings");
        assert_eq!(world.text("SELECT count(*) FROM pg_roles WHERE rolname = 'stolen'").await, "0");
        world.assert_clean().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_keeps_its_prepared_statements_and_gets_no_others() {
    with_world(|world: World| async move {
        let statements = [
            "DEALLOCATE ALL", "PREPARE s0 AS SELECT 666", "DECLARE c CURSOR WITH HOLD FOR SELECT 1", "CREATE TEMP TABLE t (a int)",
            "LISTEN everything", "DISCARD PLANS",
        ];
        let attempts: Vec<String> = statements
            .iter()
            .map(|s| format!("BEGIN EXECUTE '{s}'; INSERT INTO public.canary VALUES (current_user, '{s}'); EXCEPTION WHEN OTHERS THEN END;"))
            .collect();
        let tenant = with_trap(&world, &format!("INSERT INTO public.canary VALUES (current_user, 'ran'); {}", attempts.join(" "))).await;
        let session = world.session().await;
        let prepared = session.prepare("SELECT 42").await.unwrap();
        succeed(&session, "backup_institution_schema", tenant.id).await;
        assert_eq!(world.canary().await, vec![(tenant.owner.clone(), "ran".to_owned())]);
        assert_eq!(session.query_one(&prepared, &[]).await.unwrap().get::<_, i32>(0), 42);
        assert_eq!(text(&session, "SELECT count(*) FROM pg_prepared_statements WHERE from_sql").await, "0");
        assert_eq!(text(&session, "SELECT count(*) FROM pg_cursors WHERE is_holdable").await, "0");
        assert_eq!(text(&session, "SELECT count(*) FROM pg_listening_channels()").await, "0");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn advisory_locks_that_it_takes_are_released_and_named() {
    with_world(|world: World| async move {
        let tenant = with_trap(&world, "PERFORM pg_advisory_lock(42);").await;
        let session = world.session().await;
        let (status, message) = front(&session, "backup_institution_schema", tenant.id).await;
        assert_eq!(status, "error");
        assert!(message.contains("advisory locks"), "{message}");
        // Other tests' databases are on the same server.
        let left = "SELECT count(*) FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database
                    WHERE l.locktype = 'advisory' AND d.datname = current_database()";
        assert_eq!(world.text(left).await, "0");
        world.assert_clean().await;
        world.as_owner(&tenant, "TRUNCATE school.armed").await;
        succeed(&session, "backup_institution_schema", tenant.id).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deferred_trigger_cannot_wait_for_our_commit() {
    with_world(|world: World| async move {
        let tenant = with_trap(&world, "INSERT INTO school.late VALUES (1);").await;
        world
            .as_owner(
                &tenant,
                "CREATE TABLE school.late (a int);
                 CREATE FUNCTION school.fire() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN INSERT INTO public.canary VALUES (current_user, 'deferred'); RETURN NULL; END $$;
                 CREATE CONSTRAINT TRIGGER t AFTER INSERT ON school.late DEFERRABLE INITIALLY DEFERRED
                 FOR EACH ROW EXECUTE FUNCTION school.fire()",
            )
            .await;
        let session = world.session().await;
        let (status, message) = front(&session, "backup_institution_schema", tenant.id).await;
        assert_eq!(status, "error");
        assert!(message.contains("deferred trigger"), "{message}");
        assert_eq!(world.canary().await, vec![]);
        world.assert_clean().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_that_it_forges_are_answers_of_ours() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        let session = world.session().await;
        world.as_owner(&tenant, "CREATE TABLE school.a (id int); CREATE TABLE school.forged (state text)").await;
        world
            .as_owner(
                &tenant,
                "CREATE FUNCTION school.act() RETURNS int LANGUAGE plpgsql AS $$ DECLARE s text; BEGIN
                     FOR s IN SELECT state FROM school.forged LOOP
                         RAISE EXCEPTION USING ERRCODE = s, MESSAGE = 'forged', DETAIL = 'not json';
                     END LOOP; RETURN 1; END $$;
                 CREATE FUNCTION school.same(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM school.act(); RETURN i; END $$;
                 CREATE INDEX ON school.a ((id + school.same(1)))",
            )
            .await;
        for (state, status) in [
            ("TS001", "error"), ("40001", "busy"), ("40P01", "busy"), ("57014", "error"), ("42501", "error"), ("P0004", "error"), ("XX000", "error"),
        ] {
            world.as_owner(&tenant, &format!("TRUNCATE school.forged; INSERT INTO school.forged VALUES ('{state}')")).await;
            let (answered, message) = front(&session, "backup_institution_schema", tenant.id).await;
            assert_eq!(answered, status, "{state}: {message}");
            assert!(message.contains("forged"), "{message}");
            world.assert_clean().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_cannot_leave_anything_in_the_snapshot() {
    with_world(|world: World| async move {
        let attempts = [
            "CREATE TABLE %I.mine (a int)", "CREATE VIEW %I.mine AS SELECT 1", "CREATE FUNCTION %I.mine() RETURNS int LANGUAGE sql AS ''SELECT 1''",
            "CREATE INDEX ON %I.a ((id + school.same(2)))", "CREATE TRIGGER t BEFORE INSERT ON %I.a EXECUTE FUNCTION school.fire()",
            "GRANT ALL ON %I.a TO PUBLIC", "GRANT USAGE ON SCHEMA %I TO PUBLIC", "ALTER TABLE %I.a ADD COLUMN more int",
            "CREATE RULE r AS ON INSERT TO %I.a DO ALSO NOTIFY x", "TRUNCATE %I.a", "SELECT * FROM %I.a",
        ];
        let tries: Vec<String> = attempts
            .iter()
            .map(|a| format!("BEGIN EXECUTE format('{a}', n); INSERT INTO public.canary VALUES (current_user, '{}'); EXCEPTION WHEN OTHERS THEN END;", a.replace('\'', "")))
            .collect();
        let body = format!("DECLARE n text; BEGIN FOR n IN SELECT nspname FROM pg_namespace WHERE nspname LIKE 'school_bak%' OR nspname LIKE 'edu_matrix_work%' LOOP {} END LOOP; END;", tries.join(" "));
        let tenant = with_trap(&world, &body).await;
        let session = world.session().await;
        succeed(&session, "backup_institution_schema", tenant.id).await;
        // A GRANT without the right to give warns and does nothing; what it gave would be seen below.
        let done: Vec<_> = world.canary().await.into_iter().filter(|(_, what)| !what.starts_with("GRANT")).collect();
        assert_eq!(done, vec![]);
        world.assert_clean().await;
        let location = world.newest_backup().await["location"].as_str().unwrap().to_owned();
        assert_eq!(world.text(&format!("SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relnamespace = '{location}'::regnamespace")).await, "a armed");
        let owned = format!("SELECT count(*) FROM pg_class WHERE relnamespace = '{location}'::regnamespace AND relowner <> '{}'::regrole", world.database.owner_role);
        assert_eq!(world.text(&owned).await, "0");
        let read = world.superuser().await;
        read.batch_execute(&format!("SET ROLE {}", tenant.owner)).await.unwrap();
        assert!(read.query(&format!("SELECT * FROM {location}.a"), &[]).await.is_err(), "readable by the owner role only");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_waits_for_its_job_is_out_of_the_tenants_reach() {
    with_world(|world: World| async move {
        let tenant = with_trap(&world, "INSERT INTO public.canary VALUES (current_user, 'ran');").await;
        let worker = Worker::claim(world.session().await).await;
        assert_eq!(worker.request(&tenant, "b").await["status"], "success");
        let job = worker.next_job().await;
        assert_eq!(worker.run(job).await["status"], "partial");
        let sandbox = world.text("SELECT sandbox FROM edu_matrix_hub_schema.schema_jobs").await;
        let mine = world.superuser().await;
        mine.batch_execute(&format!("SET ROLE {}", tenant.owner)).await.unwrap();
        for attempt in [
            format!("ALTER FUNCTION {sandbox}.enter() SECURITY INVOKER"),
            format!("SELECT {sandbox}.enter()"),
            format!("SELECT {sandbox}.run()"),
            format!("DROP FUNCTION {sandbox}.enter()"),
            format!("ALTER MATERIALIZED VIEW {sandbox}.once RENAME TO twice"),
            format!("CREATE STATISTICS school.s ON (done IS TRUE), (done IS FALSE) FROM {sandbox}.once"),
            format!("INSERT INTO {sandbox}.work VALUES (1, '', '', false)"),
        ] {
            assert!(mine.batch_execute(&attempt).await.is_err(), "{attempt}");
        }
        // All that its owner can do is to throw its part away; then it is made again.
        mine.batch_execute(&format!("DROP OWNED BY {} CASCADE", tenant.reader)).await.ok();
        world.run(&format!("DROP MATERIALIZED VIEW {sandbox}.once")).await;
        assert_eq!(worker.run(job).await["status"], "busy");
        world.run("UPDATE edu_matrix_hub_schema.schema_jobs SET not_before = now()").await;
        assert_eq!(worker.next_job().await, job);
        assert_eq!(worker.run(job).await["status"], "partial");
        assert_eq!(worker.run(job).await["status"], "success");
        assert_eq!(world.canary().await, vec![(tenant.owner.clone(), "ran".to_owned())]);
        world.assert_clean().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_cannot_pin_its_snapshot() {
    with_world(|world: World| async move {
        let pin = "DECLARE n text; BEGIN FOR n IN SELECT nspname FROM pg_namespace WHERE nspname LIKE 'school_bak%' LOOP \
                   EXECUTE format('CREATE TYPE school.keep AS (x %I.a)', n); END LOOP; END;";
        let tenant = with_trap(&world, pin).await;
        let session = world.session().await;
        let (status, message) = front(&session, "backup_institution_schema", tenant.id).await;
        assert_eq!(status, "error", "{message}");
        assert!(message.contains("depends on the snapshot (school.keep"), "{message}");
        world.assert_clean().await;
        assert_eq!(world.text("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'school_bak%'").await, "0");
        world.as_owner(&tenant, "TRUNCATE school.armed").await;
        succeed(&session, "backup_institution_schema", tenant.id).await;
        let backup = crate::backup_world::id(&world.newest_backup().await["id"]);
        succeed(&session, "purge_schema_backup", backup).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_took_too_long_for_is_no_success() {
    with_world(|world: World| async move {
        let swallow = "BEGIN PERFORM pg_sleep(120); EXCEPTION WHEN query_canceled THEN NULL; END;";
        let tenant = with_trap(&world, swallow).await;
        let session = world.session().await;
        session.batch_execute("SET statement_timeout = '5s'").await.unwrap();
        let (status, message) = front(&session, "backup_institution_schema", tenant.id).await;
        assert_eq!(status, "error", "{message}");
        assert!(message.contains("caught the cancellation"), "{message}");
        world.assert_clean().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_took_its_own_right_away_is_told_how_to_get_it_back() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        let owner = &tenant.owner;
        world
            .as_owner(&tenant, &format!("CREATE TABLE school.a (id int); REVOKE ALL ON school.a FROM \"{owner}\""))
            .await;
        let session = world.session().await;
        let (status, message) = front(&session, "backup_institution_schema", tenant.id).await;
        assert_eq!(status, "error");
        let way_out = format!("GRANT SELECT ON school.a TO {owner}");
        assert!(message.contains(&way_out), "{message}");
        world.as_owner(&tenant, &way_out).await;
        succeed(&session, "backup_institution_schema", tenant.id).await;
    })
    .await;
}

/// Anything may make a definition long: a snapshot has the rows, and the server's memory is not filled with it.
#[tokio::test(flavor = "multi_thread")]
async fn long_definitions_are_left_out_wherever_they_are_long() {
    with_world(|world: World| async move {
        let session = world.session().await;
        for (schema, part, make) in [
            (
                "settings",
                "functions",
                "FOR i IN 1..2 LOOP EXECUTE format('CREATE FUNCTION settings.f%s() RETURNS int LANGUAGE sql SET application_name TO %L AS ''SELECT 1''',
                     i, repeat('x', 20000000)); END LOOP;",
            ),
            (
                "starts",
                "functions",
                "EXECUTE format('CREATE AGGREGATE starts.a(text) (sfunc = textcat, stype = text, initcond = %L)', repeat('x', 40000000));",
            ),
            ("keys", "relations", "EXECUTE format('CREATE TABLE keys.p (a text) PARTITION BY RANGE ((a || %L))', repeat('x', 9000000));"),
            (
                "fired",
                "relations",
                "EXECUTE 'CREATE TABLE fired.w (' || (SELECT string_agg('c' || g || ' int', ', ') FROM generate_series(1, 1500) AS g) || ')';
                 CREATE FUNCTION fired.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
                 FOR i IN 1..180 LOOP EXECUTE format('CREATE TRIGGER t%s AFTER UPDATE OF %s ON fired.w EXECUTE FUNCTION fired.f()', i,
                     (SELECT string_agg('c' || g, ', ') FROM generate_series(1, 1500) AS g)); END LOOP;",
            ),
        ] {
            let tenant = world.tenant(schema).await;
            world.as_owner(&tenant, &format!("DO $$ BEGIN {make} END $$; CREATE TABLE {schema}.t AS SELECT 1 AS a")).await;
            let message = succeed(&session, "backup_institution_schema", tenant.id).await;
            let left_out = format!("too long to be kept in its manifest are the definitions of its {part} (");
            assert!(message.contains(&left_out), "{schema}: {message}");
            let definitions = &world.newest_backup().await["manifest"]["definitions"];
            assert_eq!(definitions["left_out"].as_object().unwrap().keys().collect::<Vec<_>>(), [part], "{schema}");
            assert!(definitions[part].is_null(), "{schema}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_cannot_write_is_left_out() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        world.as_owner(&tenant, "CREATE TABLE school.t AS SELECT 1 AS a").await;
        let fail = "CREATE OR REPLACE FUNCTION edu_matrix_hub_schema._describe_tables(namespace oid) RETURNS jsonb LANGUAGE plpgsql
                    AS $$ BEGIN RAISE EXCEPTION 'total size of jsonb array elements exceeds the maximum' USING ERRCODE = '54000'; END $$";
        world.run(fail).await;
        let message = succeed(&world.session().await, "backup_institution_schema", tenant.id).await;
        assert!(message.contains("relations (more than the server can write)"), "{message}");
        let backup = world.newest_backup().await;
        assert_eq!(backup["row_count"], 1);
        assert!(backup["manifest"]["definitions"]["relations"].is_null());
    })
    .await;
}
