//! What a tenant can lock, and what it cannot: no session of a tenant or of a stranger keeps the functions from working.

use serde_json::json;
use tokio_postgres::Client;

use crate::backup_world::{Worker, World, drop_by_hand, front, set_access, succeed, with_world};
use crate::support::{call, expect};

/// A login that a user made a member of a tenant's role, as a superuser may, and a session of it.
async fn member(world: &World, suffix: &str, group: &str) -> (String, Client) {
    let login = world.database.role(suffix, "LOGIN").await;
    world.run(&format!("GRANT \"{group}\" TO {login}")).await;
    let session = world.database.connect(&login).await;
    (login, session)
}

#[tokio::test(flavor = "multi_thread")]
async fn advisory_keys_stop_nothing() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        let (_, rita) = member(&world, "rita", &tenant.reader).await;
        let keys = ["lane", "survey", "claim_job", "role_keepers", "structure/", "access/"];
        for key in keys {
            let id = if key.ends_with('/') { tenant.id.to_string() } else { String::new() };
            let lock = format!("SELECT pg_advisory_lock(hashtextextended('edu_matrix_hub_schema/{key}{id}', 0))");
            rita.batch_execute(&lock).await.unwrap();
        }
        let session = world.session().await;
        session.batch_execute("SET statement_timeout = '10s'").await.unwrap();
        let worker = Worker::claim(session).await;
        let survey = "SELECT edu_matrix_hub_schema.survey_tenants($1, $2) ->> 'tenant_count'";
        let row = worker.client.query_one(survey, &[&worker.epoch, &worker.installation]).await.unwrap();
        assert_eq!(row.get::<_, String>(0), "1");
        expect(&worker.claim_job(&json!({ "holder": "a test" })).await, "unchanged");
        expect(&set_access(&worker.client, &tenant, "Suspended").await, "success");
        expect(&set_access(&worker.client, &tenant, "ReadWrite").await, "success");
        drop_by_hand(&world, &worker.client, &tenant).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_role_can_lock_what_the_functions_lock() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        let (_, alice) = member(&world, "alice", &tenant.owner).await;
        for session in [&alice, &world.session().await] {
            for table in ["lane_lock", "registry_locks", "tenant_locks", "tenant_schemas"] {
                for attempt in [
                    format!("LOCK TABLE edu_matrix_hub_schema.{table} IN ACCESS SHARE MODE"),
                    format!("LOCK TABLE edu_matrix_hub_schema.{table} IN ROW SHARE MODE"),
                    format!("SELECT FROM edu_matrix_hub_schema.{table} FOR SHARE"),
                    format!("SELECT FROM edu_matrix_hub_schema.{table} FOR KEY SHARE"),
                ] {
                    let error = session.batch_execute(&format!("BEGIN; {attempt}; COMMIT")).await.unwrap_err();
                    assert_eq!(error.code().unwrap().code(), "42501", "{attempt}");
                    session.batch_execute("ROLLBACK").await.unwrap();
                }
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_of_a_tenant_are_tried_shared_and_kept_to_the_end() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        let (one, two) = (world.superuser().await, world.superuser().await);
        let try_lock = async |client: &Client, kind: &str, exclusive: bool| -> bool {
            let sql = "SELECT edu_matrix_hub_schema._tenant_lock($1, $2, $3)";
            client.query_one(sql, &[&tenant.id, &kind, &exclusive]).await.unwrap().get(0)
        };
        one.batch_execute("BEGIN; SAVEPOINT a").await.unwrap();
        assert!(try_lock(&one, "structure", false).await);
        two.batch_execute("BEGIN").await.unwrap();
        assert!(try_lock(&two, "structure", false).await, "it is shared");
        assert!(!try_lock(&two, "structure", true).await, "and not to be had alone");
        assert!(try_lock(&two, "access", true).await, "the other aspect is free");
        assert!(!try_lock(&one, "access", true).await);
        // What holds a lock for hours keeps no call from writing the tenant's row.
        world.run("SET lock_timeout = '2s'; UPDATE edu_matrix_hub_schema.tenant_schemas SET updated_at = now()").await;
        two.batch_execute("COMMIT").await.unwrap();
        assert!(try_lock(&one, "access", true).await && try_lock(&one, "structure", true).await, "alone now");
        assert!(!try_lock(&two, "structure", false).await);
        one.batch_execute("ROLLBACK TO a").await.unwrap();
        assert!(try_lock(&two, "structure", true).await, "what is undone is not held");
        one.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(world.text("SELECT count(*) FROM edu_matrix_hub_schema.tenant_locks").await, "2");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_keeps_its_advisory_locks_and_a_tenant_keeps_none() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        let trap = "CREATE FUNCTION school.leak(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
                        PERFORM pg_advisory_lock_shared(7); RETURN i; END $$;
                    CREATE TABLE school.t (i int); CREATE INDEX ON school.t ((1)) WHERE school.leak(1) = 1";
        world.as_owner(&tenant, trap).await;
        let session = world.session().await;
        // Other tests' databases are on the same server.
        let held = "SELECT count(*) FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database
                    WHERE l.locktype = 'advisory' AND d.datname = current_database()";
        // A session that holds the same key in the same mode hides the lock of the tenant from every look at pg_locks,
        // and to release the one is to release the other. So a caller that holds any is told to release them itself.
        session.batch_execute("SELECT pg_advisory_lock_shared(7), pg_advisory_lock(8)").await.unwrap();
        let (status, message) = front(&session, "backup_institution_schema", tenant.id).await;
        assert_eq!(status, "busy", "{message}");
        assert!(message.contains("this session holds advisory locks"), "{message}");
        assert_eq!(world.text(held).await, "2", "they are still held");
        session.batch_execute("SELECT pg_advisory_unlock_all()").await.unwrap();
        let (status, message) = front(&session, "backup_institution_schema", tenant.id).await;
        assert_eq!(status, "error", "{message}");
        assert_eq!(world.text(held).await, "0");
        drop_by_hand(&world, &session, &tenant).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_by_hand_and_a_suspension_do_not_wait_for_each_other() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        world.as_owner(&tenant, "CREATE TABLE school.t (i int)").await;
        let (by_hand, other) = (world.session().await, world.session().await);
        by_hand.batch_execute("BEGIN").await.unwrap();
        succeed(&by_hand, "backup_institution_schema", tenant.id).await;
        other.batch_execute("SET statement_timeout = '20s'").await.unwrap();
        expect(&set_access(&other, &tenant, "Suspended").await, "busy");
        by_hand.batch_execute("COMMIT").await.unwrap();
        expect(&set_access(&other, &tenant, "Suspended").await, "success");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_to_everybody_are_one_finding_and_one_statement() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        let before = world.database.acl("school").await;
        for n in 0..30 {
            world.run(&format!("CREATE ROLE {}_s{n}", world.database.name)).await;
        }
        let prefix = format!("{}_s", world.database.name);
        world
            .as_owner(
                &tenant,
                &format!(
                    "DO $$ BEGIN EXECUTE 'GRANT USAGE, CREATE ON SCHEMA school TO PUBLIC, '
                        || (SELECT string_agg(rolname, ',') FROM pg_roles WHERE starts_with(rolname, '{prefix}')); END $$"
                ),
            )
            .await;
        let findings = "SELECT string_agg(d.what, '; ') FROM edu_matrix_hub_schema.tenant_schemas AS t,
                        edu_matrix_hub_schema._drift(ARRAY[t.id]) AS d";
        let what = world.text(findings).await;
        assert!(what.starts_with("others have rights on schema \"school\": "), "{what}");
        assert!(what.ends_with(" and 26 more"), "{what}");
        let answer = call(&world.session().await, "repair_tenant_schema", &tenant.options(&json!({}))).await;
        expect(&answer, "success");
        assert_eq!(world.text(findings).await, "");
        assert_eq!(world.database.acl("school").await, before);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_word_of_a_tenant_that_it_may_pass_is_believed_for_a_day() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        let trap = "CREATE TABLE school.t (i int);
                    CREATE FUNCTION school.tired(i int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1';
                    CREATE INDEX ON school.t ((1)) WHERE school.tired(1) = 1;
                    CREATE OR REPLACE FUNCTION school.tired(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
                        RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END $$";
        world.as_owner(&tenant, trap).await;
        let worker = Worker::claim(world.session().await).await;
        expect(&worker.request(&tenant, "one").await, "success");
        for (state, age, is) in
            [("40001", "0", "requested"), ("53200", "1 hour", "requested"), ("55P03", "23 hours", "requested"), ("53200", "25 hours", "failed")]
        {
            world.as_owner(&tenant, &format!("CREATE OR REPLACE FUNCTION school.tired(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
                RAISE EXCEPTION 'again' USING ERRCODE = '{state}'; END $$")).await;
            world.run(&format!("UPDATE edu_matrix_hub_schema.schema_jobs SET not_before = now(), requested_at = now() - interval '{age}'")).await;
            let job = worker.next_job().await;
            expect(&worker.run(job).await, "partial");
            let answer = worker.run(job).await;
            expect(&answer, "busy");
            assert!(answer["message"].as_str().unwrap().contains(&format!("again (SQLSTATE {state})")), "{answer}");
            assert_eq!(world.text("SELECT state FROM edu_matrix_hub_schema.schema_jobs").await, is, "{state} after {age}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_take_turns_and_none_fills_the_queue() {
    with_world(|world: World| async move {
        let (many, one) = (world.tenant("many").await, world.tenant("one").await);
        let worker = Worker::claim(world.session().await).await;
        for n in 0..10 {
            expect(&worker.request(&many, &format!("many-{n}")).await, "success");
        }
        expect(&worker.request(&many, "many-10").await, "busy");
        expect(&worker.request(&many, "many-9").await, "unchanged");
        expect(&worker.request(&one, "one").await, "success");
        for turn in ["many", "one", "many"] {
            let claimed = worker.claim_job(&json!({ "holder": "a test" })).await;
            assert_eq!(claimed["detail"]["schema_name"], turn);
            let job = crate::backup_world::id(&claimed["detail"]["job_id"]);
            while worker.run(job).await["status"] == "partial" {}
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_grant_makes_a_suspension_busy_and_is_named() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        let (login, alice) = member(&world, "alice", &tenant.owner).await;
        let grant = format!("SET ROLE \"{}\"; BEGIN; GRANT CREATE ON SCHEMA school TO {login}", tenant.owner);
        alice.batch_execute(&grant).await.unwrap();
        let session = world.session().await;
        session.batch_execute("SET statement_timeout = '20s'").await.unwrap();
        let answer = set_access(&session, &tenant, "Suspended").await;
        expect(&answer, "busy");
        assert_eq!(answer["detail"]["blocker"]["role"], login, "{answer}");
        assert!(answer["message"].as_str().unwrap().contains("pg_terminate_backend("), "{answer}");
        let (status, message) = front(&session, "drop_institution_schema", tenant.id).await;
        assert_eq!(status, "busy");
        assert!(message.contains(&login), "{message}");
        alice.batch_execute("ROLLBACK").await.unwrap();
        expect(&set_access(&session, &tenant, "Suspended").await, "success");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_of_grants_on_the_schema_does_not_hold_up_a_suspension() {
    with_world(|world: World| async move {
        let tenant = world.tenant("school").await;
        let (login, grants) = member(&world, "grants", &tenant.owner).await;
        grants.batch_execute(&format!("SET ROLE \"{}\"", tenant.owner)).await.unwrap();
        let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(async move {
            let mut times = 0;
            while stopped.try_recv().is_err() {
                let again =
                    format!("GRANT USAGE ON SCHEMA school TO {login}; REVOKE USAGE ON SCHEMA school FROM {login}");
                times += i32::from(grants.batch_execute(&again).await.is_ok());
            }
            times
        });
        let session = world.session().await;
        for _ in 0..20 {
            expect(&set_access(&session, &tenant, "Suspended").await, "success");
            expect(&set_access(&session, &tenant, "ReadWrite").await, "success");
        }
        stop.send(()).unwrap();
        assert!(running.await.unwrap() > 20, "the loop was at work");
    })
    .await;
}
