//! What a tenant may prepare for the day that it is set aside or removed: nothing of it runs with our rights, keeps it
//! from being set aside, leaves the backup in its hands, or makes its removal endless.

use serde_json::{Value, json};

use crate::backup_world::{Worker, World, drop_by_hand, front, succeed, wait_for_a_waiter, with_world};
use crate::support::{Tenant, call, expect, has_keepers, tenant_options};

/// A tenant whose constants are code: a domain's check runs whenever a value of it is read, and tells as whom.
async fn with_code_in_constants(world: &World) -> Tenant {
    let tenant = world.tenant("school").await;
    world
        .run(&format!(
            "CREATE TABLE public.shared (id int PRIMARY KEY); INSERT INTO public.shared SELECT generate_series(0, 9);
             GRANT SELECT, REFERENCES ON public.shared TO {}",
            tenant.owner
        ))
        .await;
    world
        .as_owner(
            &tenant,
            "CREATE TABLE school.armed (yes boolean);
             CREATE FUNCTION school.tell(place text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
                 IF EXISTS (SELECT FROM school.armed) THEN INSERT INTO public.canary VALUES (current_user, place); END IF; RETURN true; END $$;
             CREATE DOMAIN school.d AS int CHECK (school.tell('domain'));
             CREATE TYPE school.pair AS (a school.d, b int);
             CREATE DOMAIN school.checked_pair AS school.pair CHECK (school.tell('domain of a row'));
             CREATE TYPE school.span AS RANGE (subtype = school.d);
             CREATE FUNCTION school.arguments(a int, x school.d[] DEFAULT '{1}', y school.pair DEFAULT '(1,2)', z school.checked_pair DEFAULT '(1,2)',
                 s school.span DEFAULT '[1,2)', OUT n bigint, INOUT m school.d DEFAULT 3, VARIADIC r school.d[] DEFAULT '{4}')
                 LANGUAGE sql BEGIN ATOMIC SELECT count(*), 1 FROM public.shared; END;
             CREATE FUNCTION school.rows(x school.d[] DEFAULT '{1}') RETURNS TABLE (id int, e school.d[]) LANGUAGE sql
                 BEGIN ATOMIC SELECT s.id, '{1}'::school.d[] FROM public.shared AS s; END;
             CREATE PROCEDURE school.does(int, x school.d[] DEFAULT '{1}') LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM public.shared; END;
             CREATE VIEW school.v WITH (security_barrier) AS
                 SELECT s.id, '{1}'::school.d[] AS x, '(1,2)'::school.pair AS y, '(1,2)'::school.checked_pair AS z, '[1,2)'::school.span AS s FROM public.shared AS s;
             ALTER VIEW school.v ALTER COLUMN x SET DEFAULT '{2}';
             CREATE RULE r AS ON INSERT TO school.v DO INSTEAD SELECT '{3}'::school.d[];
             CREATE TABLE school.t (id int PRIMARY KEY REFERENCES public.shared, x school.d[] DEFAULT '{1}', y school.pair DEFAULT '(1,2)' CHECK (y <> '(3,4)'::school.pair),
                 g school.d[] GENERATED ALWAYS AS ('{5}'::school.d[]) STORED);
             CREATE TABLE school.parts (x school.d[]) PARTITION BY LIST (x);
             CREATE TABLE school.part PARTITION OF school.parts FOR VALUES IN ('{6}');
             CREATE INDEX ON school.t (id) WHERE x <> '{7}'::school.d[];
             CREATE STATISTICS school.st ON (x || '{8}'::school.d[]), id FROM school.t;
             CREATE POLICY p ON school.t USING (x <> '{9}'::school.d[]);
             CREATE FUNCTION school.fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM school.tell('trigger'); RETURN NEW; END $$;
             CREATE TRIGGER fire BEFORE INSERT ON school.t FOR EACH ROW WHEN (NEW.x <> '{1}'::school.d[]) EXECUTE FUNCTION school.fire();
             CREATE MATERIALIZED VIEW school.m AS SELECT '{1}'::school.d[] AS x;
             INSERT INTO school.t (id) SELECT generate_series(1, 9);
             INSERT INTO school.armed VALUES (true)",
        )
        .await;
    world.run("TRUNCATE public.canary").await;
    tenant
}

#[tokio::test(flavor = "multi_thread")]
async fn no_constant_of_a_tenant_is_read_with_our_rights() {
    with_world(|world: World| async move {
        let tenant = with_code_in_constants(&world).await;
        let definition = "SELECT string_agg(pg_get_functiondef(oid), '' ORDER BY oid) || (SELECT pg_get_viewdef('school.v'::regclass)) \
                          FROM pg_proc WHERE pronamespace = 'school'::regnamespace";
        world.run("SET search_path = pg_catalog").await;
        let before = world.text(definition).await;
        let session = world.session().await;

        let (backup, location) = drop_by_hand(&world, &session, &tenant).await;
        assert_eq!(world.canary().await, [], "setting aside runs nothing of it");
        // All were taken away: nothing but the table's rows is in the way of others.
        let reaching = format!(
            "SELECT count(*) FROM pg_depend AS d WHERE d.refobjid = 'public.shared'::regclass AND d.classid IN ('pg_proc'::regclass, 'pg_rewrite'::regclass)
             OR d.refobjid = 'public.shared'::regclass AND d.classid = 'pg_constraint'::regclass AND d.objid IN (SELECT oid FROM pg_constraint WHERE connamespace = '{location}'::regnamespace)"
        );
        assert_eq!(world.text(&reaching).await, "0");

        succeed(&session, "restore_set_aside", backup).await;
        let ran = world.canary().await;
        assert!(ran.iter().all(|(who, _)| *who == tenant.owner), "as itself or not at all: {ran:?}");
        assert_eq!(world.text(definition).await, before);

        let (backup, _) = drop_by_hand(&world, &session, &tenant).await;
        world.run(&format!("REVOKE ALL ON public.shared FROM {}", tenant.owner)).await;
        succeed(&session, "purge_schema_backup", backup).await;
        assert_eq!(world.canary().await, [], "nor does removing it");
        world.assert_clean().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_sessions_temporary_view_keeps_no_tenant() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        world.as_owner(&tenant, "CREATE TABLE school.child (n text)").await;
        let rita = world.database.role("rita", "LOGIN").await;
        world.run(&format!("GRANT {} TO {rita}", tenant.reader)).await;
        let reader = world.database.connect(&rita).await;
        reader.batch_execute("CREATE TEMP VIEW v AS SELECT * FROM school.child").await.unwrap();
        let session = world.session().await;
        let (backup, _) = drop_by_hand(&world, &session, &tenant).await;
        succeed(&session, "purge_schema_backup", backup).await;
        assert!(reader.batch_execute("SELECT * FROM v").await.is_err());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_that_cannot_be_taken_away_is_left_and_named() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        let login = world.database.role("maker", "LOGIN").await;
        world
            .run(&format!(
                "CREATE TABLE public.shared (id int PRIMARY KEY); GRANT SELECT, REFERENCES ON public.shared TO PUBLIC; GRANT {} TO {login}",
                tenant.owner
            ))
            .await;
        world
            .as_owner(
                &tenant,
                "CREATE VIEW school.checked WITH (check_option = local, security_barrier = true) AS SELECT * FROM public.shared;
                 CREATE TABLE school.t (id int CONSTRAINT fk REFERENCES public.shared);
                 DO $$ BEGIN EXECUTE format('CREATE VIEW school.long AS SELECT id, %L AS x FROM public.shared', repeat('x', 3000000)); END $$;
                 GRANT CREATE ON SCHEMA school TO PUBLIC",
            )
            .await;
        let maker = world.database.connect(&login).await;
        maker.batch_execute("CREATE VIEW school.a_foreign_one AS SELECT * FROM public.shared").await.unwrap();
        for part in 0..8 {
            let views = format!(
                "DO $$ BEGIN FOR n IN 1..200 LOOP EXECUTE format('CREATE VIEW school.v%s AS SELECT *, 1 AS longer FROM public.shared', {part} * 200 + n); END LOOP; END $$"
            );
            world.as_owner(&tenant, &views).await;
        }
        let definition = "SELECT pg_get_viewdef('school.checked'::regclass) || (SELECT reloptions::text FROM pg_class WHERE oid = 'school.checked'::regclass)";
        let before = world.text(definition).await;

        let session = world.session().await;
        let message = succeed(&session, "drop_institution_schema", tenant.id).await;
        assert!(message.contains("these were left: ") && message.contains(" and more"), "{message}");
        let backup = world.newest_backup().await;
        let left = backup["manifest"]["references_left"].as_array().unwrap();
        assert_eq!(left.len(), 50);
        let note = |name: &str| left.iter().find(|r| r["name"] == name).map(|r| r["note"].as_str().unwrap().to_owned());
        assert_eq!(note("school.a_foreign_one").as_deref(), Some("must be owner of view a_foreign_one"));
        assert_eq!(note("school.long").as_deref(), Some("it is too long, or one of too many, or takes too long to write"));
        assert_eq!((note("school.t.fk"), note("school.checked")), (None, None));
        assert!(backup["manifest"]["references"].as_array().unwrap().len() > 100);

        succeed(&session, "restore_set_aside", backup["id"].as_str().unwrap().parse().unwrap()).await;
        assert_eq!(world.text(definition).await, before);
        assert_eq!(world.text("SELECT conrelid::regclass FROM pg_constraint WHERE conname = 'fk' AND convalidated").await, "school.t");
        world.assert_clean().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_on_a_reference_holds_up_for_ten_minutes_at_most() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        world.run("CREATE TABLE public.shared (id int PRIMARY KEY); GRANT SELECT ON public.shared TO PUBLIC").await;
        world.as_owner(&tenant, "CREATE VIEW school.v AS SELECT * FROM public.shared").await;
        let other = world.superuser().await;
        other.batch_execute("BEGIN; SELECT * FROM school.v").await.unwrap();
        let session = world.session().await;
        assert_eq!(front(&session, "drop_institution_schema", tenant.id).await.0, "busy");
        world.run("UPDATE edu_matrix_hub_schema.schema_operations SET started_at = started_at - interval '11 minutes' WHERE type = 'set_aside'").await;
        let message = succeed(&session, "drop_institution_schema", tenant.id).await;
        assert!(message.contains("view school.v (canceling statement due to lock timeout)"), "{message}");
    })
    .await;
}

/// A superuser gives a login membership in the tenant's owner role, which from 16 on is not ours to end.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_kept_a_membership_does_not_reach_the_backup() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        let bob = world.database.role("bob", "LOGIN").await;
        world.run(&format!("GRANT {} TO {bob}", tenant.owner)).await;
        world.as_owner(&tenant, "CREATE TABLE school.child (n text); INSERT INTO school.child VALUES ('Ann'); GRANT USAGE ON SCHEMA school TO PUBLIC").await;
        let acl = world.database.acl("school").await;
        let session = world.session().await;
        let (backup, location) = drop_by_hand(&world, &session, &tenant).await;
        let kept = world.database.connect(&bob).await;
        for statement in [
            format!("SELECT * FROM {location}.child"),
            format!("ALTER SCHEMA {location} RENAME TO mine"),
            format!("DROP SCHEMA {location} CASCADE"),
            format!("DROP TABLE {location}.child"),
        ] {
            assert!(kept.batch_execute(&statement).await.is_err(), "{statement}");
        }
        succeed(&session, "restore_set_aside", backup).await;
        assert_eq!(world.text("SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'school'").await, tenant.owner);
        assert_eq!(world.database.acl("school").await, acl);
        world.as_owner(&tenant, "INSERT INTO school.child VALUES ('Ben')").await;
        world.assert_clean().await;

        // One from before the schema became ours is restored and removed as well.
        let (backup, location) = drop_by_hand(&world, &session, &tenant).await;
        world.run(&format!("ALTER SCHEMA {location} OWNER TO {}", tenant.owner)).await;
        succeed(&session, "restore_set_aside", backup).await;
        let (backup, location) = drop_by_hand(&world, &session, &tenant).await;
        world.run(&format!("ALTER SCHEMA {location} OWNER TO {}", tenant.owner)).await;
        succeed(&session, "purge_schema_backup", backup).await;
        world.run("RESET ROLE").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_of_an_old_name_is_another_role() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        let same = world.database.role("same", "LOGIN").await;
        let other = world.database.role("other", "LOGIN").await;
        let session = world.session().await;
        let keeper = world.text(&format!("SELECT coalesce((SELECT k.role_name FROM edu_matrix_hub_schema.role_keepers k JOIN edu_matrix_hub_schema.tenant_schemas t ON t.keeper = k.n WHERE t.id = '{}'), '{}')", tenant.id, world.database.owner_role)).await;
        let options = if has_keepers() { "WITH ADMIN TRUE, INHERIT FALSE, SET FALSE" } else { "WITH ADMIN OPTION" };
        for role in [&same, &other] {
            world.run(&format!("SET ROLE \"{keeper}\"; GRANT {} TO {role} {options}; RESET ROLE", tenant.reader)).await;
            world.as_owner(&tenant, &format!("GRANT USAGE ON SCHEMA school TO {role}")).await;
        }
        let membership = |role: &str| {
            format!("SELECT to_jsonb(m) - 'oid' - 'roleid' - 'member' - 'grantor' FROM pg_auth_members m WHERE m.member = '{role}'::regrole AND m.roleid = '{}'::regrole", tenant.reader)
        };
        let before = world.text(&membership(&same)).await;
        let (backup, _) = drop_by_hand(&world, &session, &tenant).await;
        assert_eq!(world.text(&membership(&same)).await, "");
        world.run(&format!("DROP ROLE {other}; CREATE ROLE {other} LOGIN")).await;
        let message = succeed(&session, "restore_set_aside", backup).await;
        assert!(message.contains("got nothing back") && message.contains(&other) && !message.contains(&same), "{message}");
        assert_eq!(world.text(&membership(&same)).await, before);
        assert_eq!(world.text(&membership(&other)).await, "");
        assert_eq!(world.text(&format!("SELECT has_schema_privilege('{same}', 'school', 'USAGE') || ' ' || has_schema_privilege('{other}', 'school', 'USAGE')")).await, "true false");
        world.assert_clean().await;
    })
    .await;
}

/// What a tenant has locked of a sandbox is left there, and the survey removes it when it is let go of.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_sandbox_is_left_to_the_survey() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        let worker = Worker::claim(world.session().await).await;
        expect(&worker.request(&tenant, "uid-1").await, "success");
        let job = worker.next_job().await;
        expect(&worker.run(job).await, "partial");
        let holder = world.superuser().await;
        holder.batch_execute(&format!("SET ROLE \"{0}\"; BEGIN; DROP OWNED BY \"{0}\"", tenant.owner)).await.unwrap();
        let started = std::time::Instant::now();
        let cancelled = worker.step("cancel_tenant_jobs", &json!({ "schema_id": tenant.id })).await;
        expect(&cancelled, "success");
        let survey = "SELECT edu_matrix_hub_schema.survey_tenants($1, $2)";
        let surveyed: Value =
            worker.client.query_one(survey, &[&worker.epoch, &worker.installation]).await.unwrap().get(0);
        assert!(surveyed.get("tenant_count").is_some(), "{surveyed}");
        assert!(started.elapsed().as_secs() < 10, "no call waits for it");
        let standing = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'edu_matrix_work%'";
        assert_eq!(world.text(standing).await, "1");
        holder.batch_execute("ROLLBACK").await.unwrap();
        worker.client.query_one(survey, &[&worker.epoch, &worker.installation]).await.unwrap();
        assert_eq!(world.text(standing).await, "0");
    })
    .await;
}

/// However many there are of a rare kind, each part is a bounded one; and no setting of the session changes
/// what the statements mean.
#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_small_objects_are_removed_in_parts() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        for part in 0..6 {
            world
                .as_owner(
                    &tenant,
                    &format!(
                        "DO $$ BEGIN FOR n IN 1..1000 LOOP EXECUTE format('CREATE COLLATION school.c%s FROM \"C\"', {part} * 1000 + n); END LOOP; END $$"
                    ),
                )
                .await;
        }
        world
            .as_owner(
                &tenant,
                "CREATE TABLE school.t (id int, v text); CREATE STATISTICS school.st ON id, v FROM school.t;
                 CREATE TEXT SEARCH CONFIGURATION school.ts (COPY = pg_catalog.simple);
                 CREATE TEXT SEARCH DICTIONARY school.td (TEMPLATE = pg_catalog.simple);
                 CREATE FUNCTION school.same(int, int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 = $2';
                 CREATE OPERATOR school.=== (leftarg = int, rightarg = int, function = school.same);
                 CREATE CONVERSION school.cv FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
                 DO $$ BEGIN FOR n IN 1..400 LOOP EXECUTE format('CREATE FUNCTION school.f%s() RETURNS int LANGUAGE sql AS ''SELECT 1''', n); END LOOP; END $$",
            )
            .await;
        // Only a superuser makes these.
        for name in ["one", "two"] {
            world.run(&format!("CREATE OPERATOR CLASS school.{name} FOR TYPE int4 USING hash AS OPERATOR 1 =")).await;
        }
        for part in 0..4 {
            world
                .as_owner(
                    &tenant,
                    &format!(
                        "DO $$ BEGIN FOR n IN 1..500 LOOP EXECUTE format('ALTER TABLE school.t ADD CONSTRAINT k%s CHECK (id > 0) NOT VALID', {part} * 500 + n); END LOOP; END $$"
                    ),
                )
                .await;
        }
        let session = world.session().await;
        session.batch_execute("SET standard_conforming_strings = off; SET escape_string_warning = off").await.unwrap();
        let (backup, _) = drop_by_hand(&world, &session, &tenant).await;
        let mut parts = 0;
        loop {
            let (status, message) = front(&session, "purge_schema_backup", backup).await;
            parts += 1;
            if status == "success" {
                break;
            }
            assert_eq!(status, "partial", "{message}");
            assert!(parts < 100, "{message}");
        }
        assert!(parts > 6, "{parts}");
        world.assert_clean().await;
    })
    .await;
}

/// A view that was just being made when the tables of a part were looked at is not taken along.
#[tokio::test(flavor = "multi_thread")]
async fn removing_waits_and_looks_again() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        world.as_owner(&tenant, "CREATE TABLE school.child (n text)").await;
        world.run("CREATE SCHEMA other").await;
        let session = world.session().await;
        let (backup, location) = drop_by_hand(&world, &session, &tenant).await;
        let maker = world.superuser().await;
        maker
            .batch_execute(&format!("BEGIN; CREATE VIEW other.report AS SELECT * FROM {location}.child"))
            .await
            .unwrap();
        let removing = tokio::spawn(async move { front(&session, "purge_schema_backup", backup).await });
        wait_for_a_waiter(&world).await;
        maker.batch_execute("COMMIT").await.unwrap();
        let (status, message) = removing.await.unwrap();
        assert_eq!(status, "error", "{message}");
        assert!(message.contains("other.report"), "{message}");
        assert_eq!(world.text("SELECT count(*) FROM other.report").await, "0");
    })
    .await;
}

/// Rights that another tenant gave end with the roles that hold them.
#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_grants_do_not_keep_the_roles() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        let other = world.tenant("evil").await;
        world
            .as_owner(
                &other,
                &format!(
                    "CREATE TABLE evil.t (i int, j int); GRANT SELECT ON evil.t TO {0}; GRANT UPDATE (j) ON evil.t TO {1}; GRANT USAGE ON SCHEMA evil TO {0};
                     ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {1}",
                    tenant.reader, tenant.owner
                ),
            )
            .await;
        let session = world.session().await;
        let (backup, _) = drop_by_hand(&world, &session, &tenant).await;
        succeed(&session, "purge_schema_backup", backup).await;
        assert_eq!(world.text(&format!("SELECT count(*) FROM pg_roles WHERE rolname IN ('{}', '{}')", tenant.owner, tenant.reader)).await, "0");
        assert_eq!(world.text("SELECT count(*) FROM pg_class WHERE oid = 'evil.t'::regclass").await, "1");
        world.assert_clean().await;
    })
    .await;
}

/// The application's table is looked at and read under one lock; what gets its name in between is not read.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_table_that_is_replaced_in_the_middle_is_not_read() {
    with_world(|world: World| async move {
        let app = world.database.role("app", "LOGIN").await;
        world
            .run(&format!(
                "CREATE SCHEMA app AUTHORIZATION {app}; SET ROLE {app};
                 CREATE TABLE app.inst (id uuid); CREATE TABLE app.evil_inst (id uuid);
                 CREATE FUNCTION app.tell() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.canary VALUES (current_user, 'index'); RETURN true; END $$;
                 CREATE FUNCTION app.evil(id uuid) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
                     IF current_user <> '{app}' THEN PERFORM app.tell(); END IF; RETURN true; END $$;
                 CREATE INDEX ON app.evil_inst (id) WHERE app.evil(NULL::uuid);
                 GRANT USAGE ON SCHEMA app TO {0}; GRANT SELECT ON ALL TABLES IN SCHEMA app TO {0}; RESET ROLE",
                world.database.owner_role
            ))
            .await;
        let swapping = world.database.connect(&app).await;
        swapping
            .batch_execute("BEGIN; ALTER TABLE app.inst RENAME TO inst_old; ALTER TABLE app.evil_inst RENAME TO inst")
            .await
            .unwrap();
        let session = world.session().await;
        let mut options = tenant_options("school");
        options["institution_source"] = json!({ "schema": "app", "table": "inst", "id_column": "id" });
        options["institution_id"] = json!(uuid::Uuid::new_v4());
        let creating = tokio::spawn(async move { call(&session, "create_tenant_schema", &options).await });
        wait_for_a_waiter(&world).await;
        swapping.batch_execute("COMMIT").await.unwrap();
        let answer = creating.await.unwrap();
        assert_eq!(answer["status"], "busy", "{answer}");
        assert_eq!(world.canary().await, []);
    })
    .await;
}

/// Code that ignores every cancellation ends with its session, once its job is not wanted any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_cannot_be_cancelled_is_ended() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        world
            .as_owner(
                &tenant,
                "CREATE TABLE school.armed (yes boolean);
                 CREATE FUNCTION school.deaf(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
                     IF NOT EXISTS (SELECT FROM school.armed) THEN RETURN i; END IF;
                     LOOP BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$;
                 CREATE TABLE school.t (i int); CREATE INDEX ON school.t ((1)) WHERE school.deaf(1) = 1; INSERT INTO school.armed VALUES (true)",
            )
            .await;
        let worker = Worker::claim(world.session().await).await;
        expect(&worker.request(&tenant, "uid-1").await, "success");
        let job = worker.next_job().await;
        expect(&worker.run(job).await, "partial");
        let busy = worker.over(world.session().await);
        let running = tokio::spawn(async move {
            let sql = "SELECT edu_matrix_hub_schema.run_job($1, $2, $3)";
            busy.client.query_one(sql, &[&busy.epoch, &busy.installation, &job]).await.is_err()
        });
        let inside = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
        while world.text(inside).await == "0" {
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
        let end = || async { worker.client.query_one("SELECT edu_matrix_hub_schema.end_stray_sessions()", &[]).await.unwrap().get::<_, i64>(0) };
        assert_eq!(end().await, 0, "its job is wanted");
        expect(&worker.step("cancel_tenant_jobs", &json!({ "schema_id": tenant.id })).await, "success");
        assert_eq!(end().await, 0, "it has just been told");
        world.run("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'").await;
        world.run("UPDATE edu_matrix_hub_schema.schema_jobs SET finished_at = finished_at - interval '1 minute'").await;
        assert_eq!(front(&worker.client, "drop_institution_schema", tenant.id).await.0, "busy");
        while end().await == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
        assert!(running.await.unwrap(), "the connection is lost");
        // Its session is seen for a moment longer.
        while end().await > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
        // Its locks go a moment after its connection.
        while front(&worker.client, "drop_institution_schema", tenant.id).await.0 == "busy" {
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
        assert_eq!(world.newest_backup().await["method"], "SetAside");
    })
    .await;
}

/// The files are installed into databases of any encoding and read with any setting of backslashes.
#[test]
fn the_files_are_plain() {
    fn check(folder: &std::path::Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                check(&path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.is_ascii(), "{} is not ASCII", path.display());
            assert!(!text.contains('\\'), "{} contains a backslash", path.display());
        }
    }
    check(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("sql"));
}
