//! What a grantee writes has a bound, and acts on nothing but what it was about.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    dependents::{lost, remake, restore, set_aside, taken, with_grant},
    dependents_hostile::age,
    grants::{give, grant, grant_on, may},
    support::{Database, Tenant, call, expect, owner, with_database},
};

async fn rights_on_names(database: &Database) -> String {
    database
        .one(
            "SELECT concat_ws(' ', c.relkind, c.relacl::text, obj_description(c.oid), (SELECT count(*) FROM pg_rewrite AS u WHERE \
             u.ev_class = c.oid), (SELECT count(*) FROM pg_trigger AS t WHERE t.tgrelid = c.oid)) FROM pg_class AS c WHERE c.oid = \
             'reporting.names'::regclass",
        )
        .await
}

#[tokio::test]
async fn nothing_of_a_view_is_done_to_another_one_that_has_its_name_now() {
    with_database(async |database| {
        let (school, reporting) = with_grant(&database).await;
        let made = "CREATE VIEW names AS SELECT id, name FROM school.pupils; COMMENT ON VIEW names IS 'who is there'; \
             GRANT ALL ON names TO PUBLIC; CREATE RULE noting AS ON DELETE TO names DO INSTEAD NOTHING; \
             CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
             CREATE TRIGGER noting INSTEAD OF INSERT ON names FOR EACH ROW EXECUTE FUNCTION noted()";
        database.as_owner(&reporting, made).await;
        let answer = set_aside(&database, &school).await;
        database.as_owner(&reporting, "CREATE VIEW names AS SELECT 1 AS id, 'secret' AS name").await;
        let before = rights_on_names(&database).await;
        restore(&database, &answer["detail"]["backup_id"]).await;
        let told = remake(&database, &reporting, "").await;
        expect(&told, "success");
        assert!(told["detail"]["left"][0]["note"].as_str().unwrap().contains("already exists"), "{told}");
        assert_eq!(rights_on_names(&database).await, before);

        // One whose part cannot be made is not made at all.
        database.as_owner(&reporting, "DROP VIEW names; DROP FUNCTION noted").await;
        let told = remake(&database, &reporting, "again").await;
        assert!(told["detail"]["left"][0]["note"].as_str().unwrap().contains("noted"), "{told}");
        assert_eq!(database.one::<i64>("SELECT count(*) FROM pg_class WHERE relname = 'names'").await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_definition_is_not_run_when_a_schema_that_it_names_is_another_tenants_now() {
    with_database(async |database| {
        let (school, reporting) = with_grant(&database).await;
        let academy = database.tenant("academy").await;
        let helper = "CREATE FUNCTION helper(int) RETURNS int LANGUAGE sql AS 'SELECT $1'; CREATE TABLE staff (id int)";
        database.as_owner(&academy, helper).await;
        expect(&give(&database, &academy, json!([grant("reporting", &["Read"])])).await, "success");
        database.admin.batch_execute("GRANT EXECUTE ON FUNCTION academy.helper TO PUBLIC").await.unwrap();
        let view = "CREATE MATERIALIZED VIEW counted AS SELECT academy.helper(id) AS n FROM school.pupils";
        database.as_owner(&reporting, view).await;
        database.admin.batch_execute("CREATE FUNCTION public.helper(int) RETURNS int LANGUAGE sql AS 'SELECT $1'").await.unwrap();
        database.as_owner(&reporting, "CREATE VIEW other AS SELECT public.helper(id) AS n FROM school.pupils").await;
        let first = set_aside(&database, &school).await;
        expect(&first, "success");
        let second = set_aside(&database, &academy).await;
        expect(&second, "success");
        let backup = second["detail"]["backup_id"].as_str().unwrap();
        let purge = format!("SELECT status FROM edu_matrix_hub_schema.purge_schema_backup('{backup}')");
        assert_eq!(database.one::<String>(&purge).await, "success");

        let stranger = database.tenant("academy").await;
        let hostile = "CREATE TABLE seen (who text); GRANT INSERT ON seen TO PUBLIC; CREATE FUNCTION helper(int) RETURNS int \
             LANGUAGE sql AS 'INSERT INTO academy.seen VALUES (current_user) RETURNING 1'";
        database.as_owner(&stranger, hostile).await;
        expect(&give(&database, &stranger, json!([grant("reporting", &["Read"])])).await, "success");
        database.admin.batch_execute("GRANT EXECUTE ON FUNCTION academy.helper TO PUBLIC").await.unwrap();
        restore(&database, &first["detail"]["backup_id"]).await;
        let told = remake(&database, &reporting, "").await;
        expect(&told, "success");
        assert_eq!((&told["detail"]["made"], told["detail"]["left"].as_array().unwrap().len()), (&json!([]), 2), "{told}");
        let message = told["message"].as_str().unwrap();
        assert!(message.contains("names schema \"academy\"") && message.contains("names schema \"public\""), "{told}");
        assert_eq!(database.one::<i64>("SELECT count(*) FROM academy.seen").await, 0);
        let made = "SELECT count(*) FROM pg_class WHERE relnamespace = 'reporting'::regnamespace";
        assert_eq!(database.one::<i64>(made).await, 0);
        assert_eq!(lost(&database, &reporting).await[0]["state"], "left");
    })
    .await;
}

/// How many definitions there are with a text, and without.
async fn kept(database: &Database) -> String {
    database
        .one(
            "SELECT count(*) FILTER (WHERE remake <> '{}') || ' ' || count(*) FILTER (WHERE remake = '{}') FROM \
             edu_matrix_hub_schema.taken_dependents",
        )
        .await
}

#[tokio::test]
async fn comments_and_rules_are_counted_before_they_are_read() {
    with_database(async |database| {
        let (school, reporting) = with_grant(&database).await;
        let body = "RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT id FROM school.pupils; END";
        let long = format!(
            "DO $$ BEGIN FOR i IN 1..12 LOOP EXECUTE format('CREATE FUNCTION f%s() {body}', i); EXECUTE format('COMMENT ON \
             FUNCTION f%s() IS %L', i, repeat('x', 8000000)); EXECUTE format('CREATE VIEW v%s AS SELECT id FROM school.pupils', \
             i); EXECUTE format('COMMENT ON COLUMN v%s.id IS %L', i, repeat('y', 8000000)); END LOOP; \
             CREATE VIEW ruled AS SELECT id FROM school.pupils; EXECUTE format('CREATE RULE r AS ON DELETE TO ruled WHERE \
             old.id = length(%L) DO INSTEAD NOTHING', repeat('z', 9000000)); \
             CREATE VIEW plain AS SELECT id FROM school.pupils; END $$"
        );
        database.as_owner(&reporting, &long).await;
        let begun = Instant::now();
        expect(&set_aside(&database, &school).await, "success");
        assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
        assert_eq!(kept(&database).await, "1 25");
        let said = "SELECT description FROM edu_matrix_hub_schema.schema_operations WHERE type = 'take_dependents'";
        assert!(database.one::<String>(said).await.contains("the definitions of 25 are not kept"));
    })
    .await;
}

#[tokio::test]
async fn calls_that_were_cancelled_for_ten_minutes_read_no_texts() {
    with_database(async |database| {
        let (school, reporting) = with_grant(&database).await;
        database.as_owner(&reporting, "CREATE VIEW names AS SELECT name FROM school.pupils").await;
        let cancelled = format!(
            "INSERT INTO edu_matrix_hub_schema.schema_operations (schema_id, type, status, description, metadata, sqlstate, \
             requested_by, started_at, completed_at) VALUES ('{}', 'set_aside', 'error', 'x', '{{\"retry\": true}}', '57014', 'x', \
             now() - interval '11 minutes', now())",
            school.id
        );
        database.admin.batch_execute(&cancelled).await.unwrap();
        expect(&set_aside(&database, &school).await, "success");
        assert_eq!(kept(&database).await, "0 1");
    })
    .await;
}

/// A session of the grantee's owner that is in a transaction and did this.
async fn held_by(database: &Database, reporting: &Tenant, login: &str, statement: &str) -> tokio_postgres::Client {
    database.declare_login(reporting, login, &reporting.owner).await;
    let session = database.connect(login).await;
    session.batch_execute(&format!("SET ROLE \"{}\"; BEGIN; {statement}", reporting.owner)).await.unwrap();
    session
}

#[tokio::test]
async fn a_change_that_is_not_committed_is_waited_for_named_and_ended_at_last() {
    for (login, statement) in [
        ("reporting_of_function", "COMMENT ON FUNCTION reporting.one() IS 'x'"),
        ("reporting_of_type", "COMMENT ON TYPE reporting.names IS 'x'"),
        ("reporting_of_rights", "GRANT SELECT ON reporting.names TO PUBLIC"),
        // These hold what falls with a view, and not the view.
        (
            "reporting_of_temporary_view",
            "CREATE TEMP VIEW mine AS SELECT * FROM reporting.names; CREATE TEMP VIEW over AS SELECT * FROM mine; \
             COMMIT; BEGIN; COMMENT ON VIEW pg_temp.over IS 'x'",
        ),
        (
            "reporting_of_temporary_table",
            "CREATE TEMP TABLE mine (n reporting.names[]); COMMIT; BEGIN; LOCK TABLE pg_temp.mine",
        ),
    ] {
        with_database(async move |database| {
            let (school, reporting) = with_grant(&database).await;
            let made = "CREATE FUNCTION one() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT id FROM school.pupils; END; \
                 CREATE VIEW names AS SELECT name FROM school.pupils";
            database.as_owner(&reporting, made).await;
            let session = held_by(&database, &reporting, login, statement).await;
            let answer = set_aside(&database, &school).await;
            expect(&answer, "busy");
            assert!(answer["message"].as_str().unwrap().contains(&format!("login \"{login}\"")), "{answer}");
            age(&database, 11).await;
            expect(&set_aside(&database, &school).await, "success");
            assert!(session.batch_execute("SELECT 1").await.is_err());
            assert_eq!(taken(&database).await, 2);
        })
        .await;
    }
}

#[tokio::test]
async fn a_view_that_is_made_and_dropped_without_end_does_not_keep_the_tenant() {
    with_database(async |database| {
        let (school, reporting) = with_grant(&database).await;
        let made = "CREATE FUNCTION one() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT id FROM school.pupils; END";
        database.as_owner(&reporting, made).await;
        database.declare_login(&reporting, "reporting_loop", &reporting.owner).await;
        let looping = async |view: &str, over: &str| -> Value {
            loop {
                let Ok(session) = database.try_connect("reporting_loop").await else { continue };
                let statements = format!(
                    "SET ROLE \"{}\"; CREATE VIEW reporting.{view} AS {over}; DROP VIEW reporting.{view}",
                    reporting.owner
                );
                for statement in statements.split("; ").cycle() {
                    if session.batch_execute(statement).await.is_err() && session.is_closed() {
                        break;
                    }
                }
            }
        };
        let ending = async {
            for _ in 0..20 {
                let answer = set_aside(&database, &school).await;
                if answer["status"] == "success" {
                    return answer;
                }
                expect(&answer, "busy");
                age(&database, 4).await;
            }
            json!("it never ended")
        };
        let answer = tokio::select! {
            answer = ending => answer,
            answer = looping("a", "SELECT * FROM school.pupils") => answer,
            answer = looping("b", "SELECT reporting.one()") => answer,
        };
        expect(&answer, "success");
    })
    .await;
}

#[tokio::test]
async fn a_long_chain_ends_in_bounded_calls_and_what_is_beyond_the_bound_is_not_kept() {
    with_database(async |database| {
        let (school, reporting) = with_grant(&database).await;
        // Half of it in the wrong order: older views read younger ones.
        let each = async |range: &str, statement: &str| {
            let many = format!(
                "DO $$ BEGIN FOR i IN {range} LOOP EXECUTE format('{statement}', i, i - 1, i + 1); END LOOP; END $$"
            );
            database.as_owner(&reporting, &many).await;
        };
        each("1..1100", "CREATE VIEW w%1$s AS SELECT 1 AS id").await;
        database.as_owner(&reporting, "CREATE OR REPLACE VIEW w1100 AS SELECT id FROM school.pupils").await;
        each("REVERSE 1099..1", "CREATE OR REPLACE VIEW w%1$s AS SELECT id FROM w%3$s").await;
        database.as_owner(&reporting, "CREATE VIEW v0 AS SELECT id FROM school.pupils").await;
        each("1..550", "CREATE VIEW v%1$s AS SELECT id FROM v%2$s").await;
        each("551..1100", "CREATE VIEW v%1$s AS SELECT id FROM v%2$s").await;
        let mut calls = 0;
        loop {
            let answer = set_aside(&database, &school).await;
            calls += 1;
            if answer["status"] == "success" {
                break;
            }
            expect(&answer, "busy");
            assert!(calls < 12 && answer["message"].as_str().unwrap().contains("in turns"), "{answer}");
        }
        assert!(calls > 4, "{calls} calls for 2,201 views");
        assert_eq!(kept(&database).await, "2000 0");
        assert_eq!(database.one::<i64>("SELECT count(*) FROM pg_views WHERE schemaname = 'reporting'").await, 0);
    })
    .await;
}

#[tokio::test]
async fn what_is_late_goes_in_turns_before_the_tenant_is_removed() {
    with_database(async |database| {
        let (school, reporting) = with_grant(&database).await;
        let answer = set_aside(&database, &school).await;
        let late = format!(
            "DO $$ BEGIN FOR i IN 1..700 LOOP EXECUTE format('CREATE VIEW reporting.v%s AS SELECT * FROM {}.pupils', i); EXECUTE \
             format('ALTER VIEW reporting.v%s OWNER TO {}', i); END LOOP; END $$",
            answer["detail"]["location"].as_str().unwrap(),
            reporting.owner
        );
        database.admin.batch_execute(&late).await.unwrap();
        let backup = answer["detail"]["backup_id"].as_str().unwrap();
        let purge =
            format!("SELECT status || ': ' || message FROM edu_matrix_hub_schema.purge_schema_backup('{backup}')");
        let mut calls = 0;
        loop {
            let said: String = database.one(&purge).await;
            calls += 1;
            if said.starts_with("success") {
                break;
            }
            assert!(said.starts_with("partial") && calls < 6, "{said}");
        }
        assert!(calls > 1);
        assert_eq!(lost(&database, &reporting).await[0]["state"], "gone");
        assert_eq!(taken(&database).await, 700);
        let options = json!({ "backup_id": backup, "owner": owner("school") });
        expect(&call(&database.operator().await, "restore_tenant_schema", &options).await, "error");
    })
    .await;
}

#[tokio::test]
async fn temporary_views_over_more_than_goes_in_one_turn_go_with_it() {
    with_database(async |database| {
        let (school, reporting) = with_grant(&database).await;
        let many = "DO $$ BEGIN FOR i IN 1..310 LOOP EXECUTE format('CREATE VIEW v%s AS SELECT id FROM school.pupils', i); \
                    END LOOP; END $$";
        database.as_owner(&reporting, many).await;
        let over = "DO $$ BEGIN FOR i IN 1..310 LOOP EXECUTE format('CREATE TEMP VIEW t%s AS SELECT id FROM reporting.v%s', \
                    i, i); END LOOP; END $$; COMMIT; BEGIN";
        let _session = held_by(&database, &reporting, "reporting_temporary", over).await;
        let mut calls = 0;
        loop {
            let answer = set_aside(&database, &school).await;
            if answer["status"] == "success" {
                break;
            }
            expect(&answer, "busy");
            calls += 1;
            assert!(calls < 4, "{answer}");
        }
        assert_eq!((calls > 0, taken(&database).await), (true, 310));
    })
    .await;
}

#[tokio::test]
async fn rights_that_others_lost_meanwhile_do_not_come_back_with_a_view() {
    with_database(async |database| {
        let (school, reporting) = with_grant(&database).await;
        let academy = database.tenant("academy").await;
        let all = json!([grant("academy", &["Read"])]);
        let made = "CREATE TABLE own (id int, name text); CREATE VIEW names AS SELECT id, name FROM school.pupils";
        database.as_owner(&reporting, made).await;
        expect(&give(&database, &reporting, all).await, "success");
        let other = database.role("other", "NOLOGIN").await;
        let past = format!(
            "CREATE RULE past AS ON INSERT TO names DO INSTEAD INSERT INTO own VALUES (new.id, new.name); \
             GRANT INSERT ON names TO {other}; GRANT USAGE ON SCHEMA reporting TO {other}"
        );
        database.as_owner(&reporting, &past).await;
        assert!(may(&database, &academy.reader, "SELECT * FROM reporting.names").await);
        assert!(may(&database, &other, "INSERT INTO reporting.names VALUES (1, 'x')").await);

        let answer = set_aside(&database, &school).await;
        expect(&answer, "success");
        // A narrower grant, and a block of all writes.
        expect(&give(&database, &reporting, json!([grant_on("academy", &["Read"], &["own"])])).await, "success");
        let block = format!(
            "SELECT edu_matrix_hub_schema._block_writes(t, false)::text FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = '{}'",
            reporting.id
        );
        let _: String = database.one(&block).await;
        restore(&database, &answer["detail"]["backup_id"]).await;
        let told = remake(&database, &reporting, "").await;
        expect(&told, "success");
        assert_eq!(told["detail"]["made"], json!(["reporting.names"]), "{told}");
        assert!(may(&database, &academy.reader, "SELECT * FROM reporting.own").await);
        assert!(!may(&database, &academy.reader, "SELECT * FROM reporting.names").await);
        assert!(!may(&database, &other, "INSERT INTO reporting.names VALUES (1, 'x')").await);
    })
    .await;
}

#[tokio::test]
async fn no_code_of_another_tenant_is_run_by_making_an_index() {
    with_database(async |database| {
        let (school, reporting) = with_grant(&database).await;
        let helper = "CREATE FUNCTION helper(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1'; \
             CREATE TABLE seen (who text); GRANT INSERT ON seen TO PUBLIC";
        database.as_owner(&school, helper).await;
        database.admin.batch_execute("GRANT EXECUTE ON FUNCTION school.helper TO PUBLIC").await.unwrap();
        let made = "CREATE MATERIALIZED VIEW called AS SELECT id FROM school.pupils; CREATE INDEX ON called (school.helper(id)); \
             CREATE MATERIALIZED VIEW plain AS SELECT id, name FROM school.pupils; CREATE INDEX ON plain (lower(name)); \
             CREATE STATISTICS together ON id, name FROM plain";
        database.as_owner(&reporting, made).await;
        let answer = set_aside(&database, &school).await;
        restore(&database, &answer["detail"]["backup_id"]).await;
        let hostile = "CREATE FUNCTION noted() RETURNS int LANGUAGE sql AS 'INSERT INTO school.seen VALUES (current_user) RETURNING 1'; \
             CREATE FUNCTION constant(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN school.noted(); END'; \
             CREATE OR REPLACE FUNCTION helper(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + school.constant(1)'";
        database.as_owner(&school, hostile).await;
        let open = "GRANT EXECUTE ON FUNCTION school.noted, school.constant TO PUBLIC";
        database.admin.batch_execute(open).await.unwrap();
        let told = remake(&database, &reporting, "").await;
        expect(&told, "success");
        assert_eq!(told["detail"]["made"], json!(["reporting.plain"]), "{told}");
        assert!(told["detail"]["left"][0]["note"].as_str().unwrap().contains("making an index"), "{told}");
        assert_eq!(database.one::<i64>("SELECT count(*) FROM school.seen").await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_view_of_which_the_server_cannot_lock_all_that_depends_on_it_is_named() {
    with_database(async |database| {
        let (school, reporting) = with_grant(&database).await;
        database.as_owner(&reporting, "CREATE VIEW names AS SELECT name FROM school.pupils").await;
        // As the server says when its lock table is full.
        let full = "CREATE FUNCTION public.full() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN \
                        RAISE EXCEPTION 'out of shared memory' USING ERRCODE = '53200'; END $$; \
                    CREATE EVENT TRIGGER is_full ON ddl_command_start WHEN TAG IN ('DROP VIEW') EXECUTE FUNCTION public.full()";
        database.admin.batch_execute(full).await.unwrap();
        let answer = set_aside(&database, &school).await;
        expect(&answer, "error");
        let message = answer["message"].as_str().unwrap();
        assert!(message.contains("reporting.names") && message.contains("raise max_locks_per_transaction"), "{message}");
        database.admin.batch_execute("DROP EVENT TRIGGER is_full").await.unwrap();
        expect(&set_aside(&database, &school).await, "success");
        assert_eq!(taken(&database).await, 1);
    })
    .await;
}
