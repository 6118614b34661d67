//! Errors that may pass are never an end, nothing is lost to one, and the session that is in the way is named.

use serde_json::json;
use tenant_schema_operator::contract::may_pass;
use tokio_postgres::Client;

use crate::backup_world::{Worker, World, drop_by_hand, front, set_access, succeed, wait_for_a_waiter, with_world};
use crate::support::{Tenant, expect};

#[tokio::test(flavor = "multi_thread")]
async fn sql_and_rust_have_one_list_of_what_may_pass() {
    with_world(|world: World| async move {
        let digits = || ('0'..='9').chain('A'..='Z');
        let mut codes = Vec::new();
        for (a, b) in digits().flat_map(|a| digits().map(move |b| (a, b))) {
            for c in ['0', '1', '2', '3', 'F', 'P', 'V'] {
                codes.extend(digits().flat_map(|d| ['0', '1', '2', '3', '4', '5', '6', '7'].map(|e| format!("{a}{b}{c}{d}{e}"))));
            }
        }
        let sql = "SELECT coalesce(array_agg(c ORDER BY n), '{}') FROM unnest($1::text[]) WITH ORDINALITY AS u (c, n) WHERE edu_matrix_hub_schema._may_pass(c)";
        let by_sql: Vec<String> = world.database.admin.query_one(sql, &[&codes]).await.unwrap().get(0);
        let by_rust: Vec<_> = codes.into_iter().filter(|code| may_pass(code)).collect();
        assert!(by_rust.len() > 100);
        assert_eq!(by_sql, by_rust);
        for (state, message, passes) in [
            ("XX000", "tuple concurrently updated", "true"),
            ("XX000", "cache lookup failed for relation 17", "true"),
            ("XX000", "invalid memory alloc request size 4294967295", "false"),
            ("XX001", "tuple concurrently updated", "false"),
            ("53200", "out of shared memory", "true"),
            ("57P04", "", "false"),
            ("58P01", "", "false"),
            ("23503", "", "false"),
        ] {
            assert_eq!(world.text(&format!("SELECT edu_matrix_hub_schema._may_pass('{state}', '{message}')")).await, passes, "{state} {message}");
        }
        assert_eq!(world.text("SELECT edu_matrix_hub_schema._may_pass(NULL)").await, "false");
    })
    .await;
}

/// A tenant with a foreign key and a view over a table that every role may write.
async fn with_shared(world: &World) -> Tenant {
    let tenant = world.tenant("school").await;
    world
        .run(
            "CREATE TABLE public.shared (id int PRIMARY KEY); INSERT INTO public.shared SELECT generate_series(1, 9);
              GRANT SELECT, INSERT, REFERENCES ON public.shared TO PUBLIC",
        )
        .await;
    world
        .as_owner(
            &tenant,
            "CREATE TABLE school.t (id int CONSTRAINT fk REFERENCES public.shared); INSERT INTO school.t VALUES (1), (2);
             CREATE VIEW school.v AS SELECT s.id FROM public.shared AS s JOIN school.t USING (id)",
        )
        .await;
    tenant
}

const KEYS: &str = "SELECT string_agg(conrelid::regclass || ' ' || convalidated, ', ' ORDER BY conrelid::regclass::text) FROM pg_constraint WHERE contype = 'f' AND connamespace = 'school'::regnamespace AND conparentid = 0";

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_waits_for_a_lock_and_loses_nothing_to_it() {
    with_world(|world: World| async move {
        let tenant = with_shared(&world).await;
        let session = world.session().await;
        let (backup, location) = drop_by_hand(&world, &session, &tenant).await;
        let writer = world.database.role("writer", "LOGIN").await;
        let other = world.database.connect(&writer).await;
        other.batch_execute("BEGIN; INSERT INTO public.shared VALUES (77)").await.unwrap();
        let pid: i32 = other.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        for age in ["0", "1 hour"] {
            world
                .run(&format!(
                    "UPDATE edu_matrix_hub_schema.schema_operations SET started_at = started_at - interval '{age}'"
                ))
                .await;
            let (status, message) = front(&session, "restore_set_aside", backup).await;
            assert_eq!(status, "busy", "a lock that is seen is believed however long it lasts: {message}");
            assert!(
                message.contains(
                    "foreign key school.t.fk cannot be made again now: canceling statement due to lock timeout"
                ),
                "{message}"
            );
            assert!(
                message.contains(&format!("session {pid} of login \"{writer}\" holds a lock on public.shared")),
                "{message}"
            );
            assert!(message.contains(&format!("SELECT pg_terminate_backend({pid})")), "{message}");
        }
        assert_eq!(world.text(&format!("SELECT count(*) FROM {location}.t")).await, "2");
        assert_eq!(
            world
                .text(
                    "SELECT metadata ->> 'attempts' FROM edu_matrix_hub_schema.schema_operations WHERE type = 'restore'"
                )
                .await,
            "2",
            "one row for what repeats itself"
        );
        other
            .batch_execute(
                "ROLLBACK; BEGIN; INSERT INTO public.shared VALUES (78); PREPARE TRANSACTION 'forgotten ''one'''",
            )
            .await
            .unwrap();
        let (status, message) = front(&session, "restore_set_aside", backup).await;
        assert_eq!(status, "busy");
        assert!(message.contains(&format!("prepared by role \"{writer}\" at ")), "{message}");
        let command = message.rsplit_once("in this database: ").unwrap().1;
        assert_eq!(command, "ROLLBACK PREPARED 'forgotten ''one'''");
        world.run(command).await;
        let message = succeed(&session, "restore_set_aside", backup).await;
        assert_eq!(message, "schema \"school\" is restored");
        assert_eq!(world.text(KEYS).await, "school.t true");
        assert_eq!(world.text("SELECT count(*) FROM school.v").await, "2");
        world.assert_clean().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_believes_a_tenant_that_it_may_pass_for_ten_minutes() {
    with_world(|world: World| async move {
        let tenant = with_shared(&world).await;
        world
            .as_owner(
                &tenant,
                "CREATE FUNCTION school.tired(i int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1';
                 CREATE INDEX ON school.t ((1)) WHERE school.tired(1) = 1;
                 CREATE OR REPLACE FUNCTION school.tired(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
                     RAISE EXCEPTION 'again' USING ERRCODE = '40P01'; END $$",
            )
            .await;
        let session = world.session().await;
        let (backup, _) = drop_by_hand(&world, &session, &tenant).await;
        let (status, message) = front(&session, "restore_set_aside", backup).await;
        assert_eq!(status, "busy", "{message}");
        assert!(message.ends_with("cannot be made again now: again"), "{message}");
        world.run("UPDATE edu_matrix_hub_schema.schema_operations SET started_at = started_at - interval '11 minutes' WHERE type = 'restore'").await;
        let message = succeed(&session, "restore_set_aside", backup).await;
        assert!(message.contains("foreign key school.t.fk is NOT VALID, since its rows could not be checked: again"), "{message}");
        assert_eq!(world.text(KEYS).await, "school.t false");
        assert_eq!(
            world.text("SELECT manifest #>> '{not_remade,0,name}' FROM edu_matrix_hub_schema.schema_backups").await,
            "school.t.fk"
        );
    })
    .await;
}

const QUICK: &str = "CREATE OR REPLACE FUNCTION school.nap(i int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN true; END'";

/// `check(what the tenant has, what its code does, [what an attempt to restore it says...])`: the last attempt succeeds.
async fn check_sleeper(has: &'static str, nap: &'static str, attempts: Vec<&'static str>) {
    with_world(move |world: World| async move {
        let tenant = with_shared(&world).await;
        world.as_owner(&tenant, &format!("{QUICK}; {has}; CREATE OR REPLACE FUNCTION school.nap(i int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN {nap} RETURN true; END $$")).await;
        let session = world.session().await;
        let (backup, _) = drop_by_hand(&world, &session, &tenant).await;
        session.batch_execute("SET statement_timeout = '3s'").await.unwrap();
        for (n, expected) in attempts.iter().enumerate() {
            let (status, message) = front(&session, "restore_set_aside", backup).await;
            assert_eq!(status, if n + 1 < attempts.len() { "error" } else { "success" }, "{message}");
            assert!(message.contains(expected), "attempt {n} of {has}: {message}");
            world.assert_clean().await;
        }
        session.batch_execute("RESET statement_timeout").await.unwrap();
        assert_eq!(
            world.text("SELECT manifest #>> '{not_remade,-1,name}' FROM edu_matrix_hub_schema.schema_backups").await,
            "school.t.fk"
        );

        // Attempts that count for this backup do not count for the next one.
        let mend = format!("{QUICK}; ALTER TABLE school.t DROP CONSTRAINT IF EXISTS fk, ADD CONSTRAINT fk FOREIGN KEY (id) REFERENCES public.shared");
        world.as_owner(&tenant, &mend).await;
        let (backup, _) = drop_by_hand(&world, &session, &tenant).await;
        assert_eq!(succeed(&session, "restore_set_aside", backup).await, "schema \"school\" is restored");
        assert_eq!(world.text(KEYS).await, "school.t true");
    })
    .await;
}

const CANCELLED: &str = "canceling statement due to statement timeout (SQLSTATE 57014); the next attempt does without checking the rows of foreign keys";
const UNCHECKED: &str = "foreign key school.t.fk is NOT VALID, since its rows were not checked";

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_code_sleeps_comes_back_with_what_can_be_made() {
    const INDEX: &str = "CREATE INDEX ON school.t ((1)) WHERE school.nap(1)";
    check_sleeper(INDEX, "PERFORM pg_sleep(120);", vec![CANCELLED, UNCHECKED]).await;
    let swallows = "BEGIN PERFORM pg_sleep(120); EXCEPTION WHEN query_canceled THEN NULL; END;";
    let caught = "code of that role caught the cancellation; the next attempt does without checking";
    check_sleeper(INDEX, swallows, vec![caught, UNCHECKED]).await;
    check_sleeper(INDEX, "RAISE query_canceled;", vec!["query_canceled", UNCHECKED]).await;
    check_sleeper(
        INDEX,
        "RAISE assert_failure USING MESSAGE = 'no';",
        vec!["NOT VALID, since its rows could not be checked: no"],
    )
    .await;
    let refused = "remove it from index, statistics and policy expressions; the next attempt does without checking";
    check_sleeper(INDEX, "PERFORM pg_advisory_xact_lock(1);", vec![refused, UNCHECKED]).await;
    let writes = "CREATE FUNCTION school.do(q text) RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE q; END'; CREATE INDEX ON school.t ((1)) WHERE school.nap(1)";
    let results = "PERFORM school.do(format('INSERT INTO %I.result SELECT 1, ''{}'' FROM generate_series(1, 100000)',
                       (SELECT nspname FROM pg_namespace WHERE starts_with(nspname, 'edu_matrix_work_') LIMIT 1)));";
    check_sleeper(
        writes,
        results,
        vec!["writes into the results; remove it; the next attempt does without checking", UNCHECKED],
    )
    .await;
    let domain = "CREATE DOMAIN school.slow AS int CHECK (school.nap(VALUE)); CREATE TYPE school.pair AS (a school.slow); CREATE VIEW school.w AS SELECT s.id, '(1)'::school.pair AS one FROM public.shared AS s";
    let view = "view school.w was not made again and is recorded in the backup: an attempt to make the references again did not come to an end; \
                foreign key school.t.fk is NOT VALID";
    check_sleeper(
        domain,
        "PERFORM pg_sleep(120);",
        vec![CANCELLED, "the next attempt does without views and functions", view],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_that_got_no_answer_count_as_well() {
    with_world(|world: World| async move {
        let tenant = with_shared(&world).await;
        let session = world.session().await;
        let (backup, _) = drop_by_hand(&world, &session, &tenant).await;
        let answer =
            crate::support::call(&session, "restore_tenant_schema", &json!({ "backup_id": backup, "cut_off": 1 }))
                .await;
        assert!(
            answer["message"].as_str().unwrap().contains(&format!(
                "{UNCHECKED}: an attempt to make the references again did not come to an end; a login that "
            )),
            "{answer}"
        );
        assert_eq!(
            world.text("SELECT manifest #>> '{not_remade,0,remake}' FROM edu_matrix_hub_schema.schema_backups").await,
            "ALTER TABLE school.t VALIDATE CONSTRAINT fk"
        );
        assert_eq!(world.text(KEYS).await, "school.t false");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_three_attempts_a_restore_makes_no_reference_again() {
    with_world(|world: World| async move {
        let tenant = with_shared(&world).await;
        let session = world.session().await;
        let heard = format!(
            "INSERT INTO edu_matrix_hub_schema.schema_operations (schema_id, type, status, metadata, requested_by, started_at, completed_at)
             VALUES ('{}', 'restore', 'error', '{{\"reason\": \"cancelled\", \"tenant\": true, \"attempts\": 3}}', 'a test', now(), now())",
            tenant.id
        );
        // A person who mended the code asks for all of them.
        let (backup, _) = drop_by_hand(&world, &session, &tenant).await;
        world.run(&heard).await;
        let all = json!({ "backup_id": backup, "references": "all", "cut_off": 3 });
        let answer = crate::support::call(&session, "restore_tenant_schema", &all).await;
        assert_eq!(answer["message"], "schema \"school\" is restored");
        assert_eq!(world.text(KEYS).await, "school.t true");

        let (backup, location) = drop_by_hand(&world, &session, &tenant).await;
        assert_eq!(world.text(&format!("SELECT count(*) FROM {location}.v")).await, "0");
        // A former release left a view with a row in it.
        world
            .run(&format!(
                "{heard}; CREATE OR REPLACE VIEW {location}.v (id) AS SELECT NULL::integer; UPDATE edu_matrix_hub_schema.schema_backups
                 SET manifest = replace(manifest::text, ' WHERE false', '')::jsonb WHERE id = '{backup}'"
            ))
            .await;
        let message = succeed(&session, "restore_set_aside", backup).await;
        for name in ["view school.v", "foreign key school.t.fk"] {
            assert!(message.contains(&format!("{name} was not made again and is recorded in the backup")), "{message}");
        }
        assert_eq!((world.text(KEYS).await, world.text("SELECT count(*) FROM school.v").await), (String::new(), "0".to_owned()));
        let told = message.rsplit_once("told by: ").unwrap().1;
        assert_eq!(
            world.text(&format!("SELECT max(s.remake) FROM ({told}) AS s (remake) WHERE s.remake LIKE 'ALTER%'")).await,
            "ALTER TABLE school.t ADD CONSTRAINT fk FOREIGN KEY (id) REFERENCES public.shared(id)"
        );
        world.assert_clean().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_key_under_forced_row_security_comes_back_as_true_as_it_was() {
    with_world(|world: World| async move {
        let tenant = with_shared(&world).await;
        world
            .as_owner(
                &tenant,
                "CREATE TABLE school.parts (id int REFERENCES public.shared) PARTITION BY LIST (id);
                 CREATE TABLE school.part PARTITION OF school.parts FOR VALUES IN (1); INSERT INTO school.parts VALUES (1);
                 CREATE TABLE school.hidden (id int REFERENCES public.shared); INSERT INTO school.hidden VALUES (3);
                 DO $$ DECLARE name text; BEGIN FOREACH name IN ARRAY '{t,parts,part,hidden}'::text[] LOOP
                     EXECUTE format('ALTER TABLE school.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name); END LOOP; END $$;
                 CREATE POLICY none ON school.hidden USING (false)",
            )
            .await;
        let forced = "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relnamespace = 'school'::regnamespace AND relforcerowsecurity";
        let session = world.session().await;
        let (backup, _) = drop_by_hand(&world, &session, &tenant).await;
        assert_eq!(succeed(&session, "restore_set_aside", backup).await, "schema \"school\" is restored");
        assert_eq!(world.text(KEYS).await, "school.hidden true, school.parts true, school.t true");
        assert_eq!(world.text(forced).await, "hidden part parts t");

        // A row that no policy shows is checked all the same.
        let (backup, _) = drop_by_hand(&world, &session, &tenant).await;
        world.run("DELETE FROM public.shared WHERE id = 3").await;
        let message = succeed(&session, "restore_set_aside", backup).await;
        assert!(message.contains("school.hidden.hidden_id_fkey is NOT VALID, since its rows do not match any more: "), "{message}");
        assert_eq!(world.text(KEYS).await, "school.hidden false, school.parts true, school.t true");
        assert_eq!(world.text(forced).await, "hidden part parts t");
        world.assert_clean().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_view_holds_up_a_drop_for_ten_minutes_and_is_named() {
    with_world(|world: World| async move {
        let tenant = with_shared(&world).await;
        let login = world.database.role("app", "LOGIN").await;
        world.run(&format!("GRANT {} TO {login}", tenant.owner)).await;
        let app = world.database.connect(&login).await;
        app.batch_execute("BEGIN; LOCK TABLE school.t; PREPARE TRANSACTION 'forgotten'").await.unwrap();
        let session = world.session().await;
        let (status, message) = front(&session, "drop_institution_schema", tenant.id).await;
        assert_eq!(status, "busy");
        assert!(message.contains("holds a lock on school.t"), "{message}");
        assert!(message.contains("ROLLBACK PREPARED 'forgotten'"), "{message}");
        assert_eq!(
            world.text("SELECT metadata #>> '{blocker,prepared}' FROM edu_matrix_hub_schema.schema_operations WHERE type = 'set_aside'").await,
            "forgotten"
        );
        world.run("UPDATE edu_matrix_hub_schema.schema_operations SET started_at = started_at - interval '11 minutes' WHERE type = 'set_aside'").await;
        let message = succeed(&session, "drop_institution_schema", tenant.id).await;
        assert!(message.contains("view school.v (canceling statement due to lock timeout)"), "{message}");
        let backup = world.newest_backup().await;
        let left: Vec<_> = backup["manifest"]["references_left"].as_array().unwrap().iter().map(|left| left["name"].clone()).collect();
        assert_eq!(left, ["school.v", "school.t.fk"].map(|name| json!(name)), "both are behind the lock");

        // The removal waits as well, says for which session, and goes on by itself.
        let id = backup["id"].as_str().unwrap().parse().unwrap();
        let (status, message) = front(&session, "purge_schema_backup", id).await;
        assert_eq!(status, "busy");
        assert!(message.contains("ROLLBACK PREPARED 'forgotten'"), "{message}");
        world.run("ROLLBACK PREPARED 'forgotten'").await;
        succeed(&session, "purge_schema_backup", id).await;
        world.assert_clean().await;
    })
    .await;
}

/// Sessions of the tenant's own logins are ended before anything of the schema is locked.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_own_session_does_not_hold_up_its_drop() {
    with_world(|world: World| async move {
        let tenant = with_shared(&world).await;
        world.database.let_in(&tenant.owner).await;
        let own = world.database.connect(&tenant.owner).await;
        own.batch_execute("BEGIN; LOCK TABLE school.t").await.unwrap();
        drop_by_hand(&world, &world.session().await, &tenant).await;
        assert!(own.batch_execute("SELECT 1").await.is_err());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_at_work_on_a_tenant_is_named() {
    with_world(|world: World| async move {
        let tenant = with_shared(&world).await;
        let (one, two) = (world.session().await, world.session().await);
        one.batch_execute("BEGIN").await.unwrap();
        succeed(&one, "backup_institution_schema", tenant.id).await;
        let pid: i32 = one.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        let answer = set_access(&two, &tenant, "Suspended").await;
        expect(&answer, "busy");
        assert_eq!(answer["detail"]["blocker"]["pid"], json!(pid), "{answer}");
        one.batch_execute("ROLLBACK").await.unwrap();

        let worker = Worker::claim(one).await;
        worker.request(&tenant, "b1").await;
        let job = worker.next_job().await;
        expect(&worker.run(job).await, "partial");
        let holder = world.superuser().await;
        holder.batch_execute("BEGIN; LOCK TABLE school.t").await.unwrap();
        let running = tokio::spawn(async move { worker.run(job).await });
        wait_for_a_waiter(&world).await;
        let (status, message) = front(&two, "drop_institution_schema", tenant.id).await;
        assert_eq!(status, "busy");
        assert!(message.contains(&format!("snapshot job {job} has been running since 20")), "{message}");
        holder.batch_execute("ROLLBACK").await.unwrap();
        expect(&running.await.unwrap(), "success");
    })
    .await;
}

/// What waits for the definitions has copied nothing.
#[tokio::test(flavor = "multi_thread")]
async fn definitions_are_read_before_anything_is_copied() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        world
            .as_owner(
                &tenant,
                "CREATE TABLE school.parts (id int) PARTITION BY LIST (id); CREATE TABLE school.part PARTITION OF school.parts FOR VALUES IN (1);
                 INSERT INTO school.parts VALUES (1); CREATE VIEW school.v AS SELECT * FROM school.parts",
            )
            .await;
        let holder = world.superuser().await;
        holder.batch_execute("BEGIN; LOCK TABLE ONLY school.parts").await.unwrap();
        let worker = Worker::claim(world.session().await).await;
        worker.request(&tenant, "b1").await;
        let job = worker.next_job().await;
        expect(&worker.run(job).await, "partial");
        let running = tokio::spawn(async move { worker.run(job).await });
        wait_for_a_waiter(&world).await;
        let locked = "SELECT count(*) FROM pg_locks WHERE relation = 'school.part'::regclass AND mode = 'AccessShareLock'";
        assert_eq!(world.text(locked).await, "0", "the rows have not been read");
        holder.batch_execute("COMMIT").await.unwrap();
        expect(&running.await.unwrap(), "success");
        let manifest = "SELECT manifest #>> '{definitions,relations}' FROM edu_matrix_hub_schema.schema_backups";
        assert!(world.text(manifest).await.contains("FROM school.parts"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_see_others_commit_is_refused() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        let worker = Worker::claim(world.session().await).await;
        let zero = "00000000-0000-0000-0000-000000000000";
        let lane = format!("{}, '{}'", worker.epoch, worker.installation);
        let job = format!("{lane}, '{zero}'");
        // These only look.
        let looking = "adoption_statements installation observe_backup observe_tenant end_stray_sessions stray_sessions";
        let open = "SELECT string_agg(p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')', ';' ORDER BY p.proname) FROM pg_proc AS p
                    WHERE p.pronamespace = 'edu_matrix_hub_schema'::regnamespace AND left(p.proname, 1) <> '_' AND EXISTS (
                        SELECT FROM aclexplode(p.proacl) AS a WHERE a.grantee <> p.proowner)";
        let mut tried = 0;
        for level in ["REPEATABLE READ", "SERIALIZABLE"] {
            for function in world.text(open).await.split(';') {
                let (name, arguments) = function.trim_end_matches(')').split_once('(').unwrap();
                if looking.split(' ').any(|looks| looks == name) {
                    continue;
                }
                let arguments = match arguments {
                    "epoch bigint, installation_id uuid" => lane.clone(),
                    "epoch bigint, installation_id uuid, options jsonb" => format!("{lane}, '{{}}'"),
                    "epoch bigint, installation_id uuid, steps jsonb" => format!("{lane}, '[]'"),
                    "epoch bigint, installation_id uuid, job_id uuid" | "epoch bigint, installation_id uuid, attempt uuid" => job.clone(),
                    "epoch bigint, installation_id uuid, job_id uuid, outcome jsonb"
                    | "epoch bigint, installation_id uuid, job_id uuid, options jsonb" => format!("{job}, '{{}}'"),
                    "epoch bigint, installation_id uuid, name text" => format!("{lane}, 'edu_matrix_scratch_1'"),
                    "institution_id uuid, schema_name text" => format!("'{}', 'other'", world.database.institution().await),
                    "options jsonb" => json_options(&tenant),
                    "schema_id uuid, role_name text" => format!("'{}', 'other'", tenant.id),
                    _ => format!("'{}'", tenant.id),
                };
                let sql = format!("SELECT to_jsonb(f)::text FROM edu_matrix_hub_schema.{name}({arguments}) AS f");
                let answer = refused(&worker.client, level, &sql).await;
                assert!(answer.contains(&format!("this transaction is {level}")), "{name}: {answer}");
                assert!(answer.contains("BEGIN ISOLATION LEVEL READ COMMITTED"), "{name}: {answer}");
                tried += 1;
            }
        }
        assert!(tried > 40, "{tried}");
        // The operator's own transactions say what they are, so the default of the database does not matter.
        let begin = include_str!("../../sql/call/begin.sql").replace(":milliseconds", "1000");
        worker.client.batch_execute(&format!("SET default_transaction_isolation = 'serializable'; {begin}")).await.unwrap();
        let level: String = worker.client.query_one("SHOW transaction_isolation", &[]).await.unwrap().get(0);
        assert_eq!(level, "read committed");
        assert_eq!(world.text("SELECT count(*) FROM edu_matrix_hub_schema.tenant_schemas WHERE status = 'active'").await, "1");
    })
    .await;
}

fn json_options(tenant: &Tenant) -> String {
    let options = json!({
        "schema_id": tenant.id, "backup_id": tenant.id, "schema_name": "other", "method": "Snapshot", "access": "Suspended", "config": {},
        "cluster": "cluster-1", "tenant_database": "default", "holder": "another",
    });
    format!("'{options}'")
}

/// One call in a transaction of that level.
async fn refused(client: &Client, level: &str, sql: &str) -> String {
    client.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}")).await.unwrap();
    let answer: String = client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0);
    client.batch_execute("ROLLBACK").await.unwrap();
    answer
}
