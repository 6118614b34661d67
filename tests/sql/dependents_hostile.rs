//! What a grantee can do so that a tenant does not end, or does not come back: nothing, or not for long.

use serde_json::{Value, json};

use crate::{
    dependents::{content, lost, remake, restore, set_aside, taken, with_grant},
    support::{Database, Tenant, call, expect, with_database},
};

/// As if all that was logged were some minutes older.
pub async fn age(database: &Database, minutes: i32) {
    let sql = format!(
        "UPDATE edu_matrix_hub_schema.schema_operations SET started_at = started_at - interval '{minutes} minutes' WHERE status = 'busy'"
    );
    database.admin.batch_execute(&sql).await.unwrap();
}

#[tokio::test]
async fn a_session_that_holds_a_view_is_waited_for_named_and_ended_at_last() {
    with_database(async |database| {
        let (school, reporting) = with_grant(&database).await;
        database.as_owner(&reporting, "CREATE VIEW names AS SELECT name FROM school.pupils").await;
        database.declare_login(&reporting, "reporting_app", &reporting.reader).await;
        let session = database.connect("reporting_app").await;
        session.batch_execute("BEGIN; SELECT * FROM reporting.names").await.unwrap();
        let answer = set_aside(&database, &school).await;
        expect(&answer, "busy");
        let message = answer["message"].as_str().unwrap();
        assert!(message.contains("reporting.names") && message.contains("pg_terminate_backend"), "{message}");
        assert_eq!(taken(&database).await, 0);
        age(&database, 11).await;
        expect(&set_aside(&database, &school).await, "success");
        assert!(session.batch_execute("SELECT 1").await.is_err());
    })
    .await;
    // There is no lock on a function, but a change that is not committed is waited for.
    with_database(async |database| {
        let (school, reporting) = with_grant(&database).await;
        let body = "FUNCTION reporting.one() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT id FROM school.pupils; END";
        database.as_owner(&reporting, &format!("CREATE {body}")).await;
        database.declare_login(&reporting, "reporting_migration", &reporting.owner).await;
        let session = database.connect("reporting_migration").await;
        let change = format!("SET ROLE \"{}\"; BEGIN; CREATE OR REPLACE {body}", reporting.owner);
        session.batch_execute(&change).await.unwrap();
        let answer = set_aside(&database, &school).await;
        expect(&answer, "busy");
        assert!(answer["message"].as_str().unwrap().contains("login \"reporting_migration\""), "{answer}");
        age(&database, 11).await;
        expect(&set_aside(&database, &school).await, "success");
        assert!(session.batch_execute("SELECT 1").await.is_err());
    })
    .await;
}

#[tokio::test]
async fn circles_wrong_orders_and_temporary_views_do_not_keep_a_tenant() {
    with_database(async |database| {
        let (school, reporting) = with_grant(&database).await;
        // A circle of a view and a function; and views that read younger ones.
        let circle = "CREATE VIEW round AS SELECT 1 AS id; \
             CREATE FUNCTION around() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT id FROM round; END; \
             CREATE OR REPLACE VIEW round AS SELECT around() AS id FROM school.pupils; \
             CREATE VIEW v1 AS SELECT 1 AS id; CREATE VIEW v2 AS SELECT 1 AS id; CREATE VIEW v3 AS SELECT id FROM school.pupils; \
             CREATE OR REPLACE VIEW v2 AS SELECT id FROM v3; CREATE OR REPLACE VIEW v1 AS SELECT id FROM v2";
        database.as_owner(&reporting, circle).await;
        database.let_in(&reporting.owner).await;
        let session = database.connect(&reporting.owner).await;
        session.batch_execute("CREATE TEMP VIEW mine AS SELECT * FROM reporting.v1").await.unwrap();
        let answer = set_aside(&database, &school).await;
        expect(&answer, "success");
        assert_eq!(answer["detail"]["dependents"].as_array().unwrap().len(), 5, "{answer}");
        restore(&database, &answer["detail"]["backup_id"]).await;
        let made = remake(&database, &reporting, "").await;
        expect(&made, "success");
        let made = made["detail"]["made"].to_string();
        assert!(["v1", "v2", "v3"].iter().all(|view| made.contains(view)), "{made}");
        assert_eq!(lost(&database, &reporting).await[0]["state"], "left");
    })
    .await;
}

#[tokio::test]
async fn names_and_definitions_of_any_kind_go_and_come_back() {
    with_database(async |database| {
        let (school, reporting) = with_grant(&database).await;
        let name = format!("\"{}\"", "a\"\"'; DROP TABLE school.pupils; --".to_owned() + &"x".repeat(32));
        let long = "'".to_owned() + &"y".repeat(9 * 1024 * 1024) + "'";
        let hostile = format!(
            "CREATE VIEW {name} AS SELECT name AS {name} FROM school.pupils; COMMENT ON VIEW {name} IS $c${name}$c$; \
             CREATE PROCEDURE proc(a int, b text DEFAULT 'x''y') LANGUAGE sql BEGIN ATOMIC SELECT name FROM school.pupils; END; \
             CREATE VIEW long AS SELECT {long} AS text FROM school.pupils"
        );
        database.as_owner(&reporting, &hostile).await;
        let before = content(&database, "reporting").await;
        let answer = set_aside(&database, &school).await;
        expect(&answer, "success");
        assert_eq!(answer["detail"]["dependents"].as_array().unwrap().len(), 3);
        let states = lost(&database, &reporting).await;
        assert!(states.as_array().unwrap().iter().any(|state| state["state"] == "left"), "{states}");
        restore(&database, &answer["detail"]["backup_id"]).await;
        expect(&remake(&database, &reporting, "").await, "success");
        let after = content(&database, "reporting").await;
        assert!(after.lines().all(|line| before.contains(line)) && after.contains("DROP TABLE school.pupils"), "{after}");
        // What was not kept is never due.
        expect(&remake(&database, &reporting, "again").await, "unchanged");
        assert_eq!(taken(&database).await, 1);
    })
    .await;
}

#[tokio::test]
async fn thousands_of_views_are_removed_and_made_in_turns() {
    with_database(async |database| {
        let (school, reporting) = with_grant(&database).await;
        let many = "DO $$ BEGIN CREATE VIEW v0 AS SELECT id FROM school.pupils; FOR i IN 1..700 LOOP EXECUTE format('CREATE VIEW \
                    v%s AS SELECT id FROM v%s', i, i / 2); END LOOP; END $$";
        database.as_owner(&reporting, many).await;
        let mut calls = 0;
        let answer = loop {
            let answer = set_aside(&database, &school).await;
            calls += 1;
            if answer["status"] == "success" {
                break answer;
            }
            expect(&answer, "busy");
            assert!(calls < 5 && answer["message"].as_str().unwrap().contains("in turns"), "{answer}");
            assert_eq!(lost(&database, &reporting).await[0]["state"], "away");
        };
        assert_eq!((calls > 1, taken(&database).await), (true, 701));
        restore(&database, &answer["detail"]["backup_id"]).await;
        for _ in 0..20 {
            if remake(&database, &reporting, "").await["status"] == "success" {
                break;
            }
        }
        assert_eq!(taken(&database).await, 0);
        assert_eq!(database.one::<i64>("SELECT count(*) FROM pg_views WHERE schemaname = 'reporting'").await, 701);
    })
    .await;
}

#[tokio::test]
async fn a_drop_that_never_came_to_its_end_gives_back_what_its_turns_removed() {
    with_database(async |database| {
        let (school, reporting) = with_grant(&database).await;
        database.as_owner(&reporting, "CREATE VIEW names AS SELECT name FROM school.pupils").await;
        let turn = format!(
            "SELECT edu_matrix_hub_schema._take_dependents(t, t.schema_oid, NULL, ARRAY(SELECT d.key FROM \
             edu_matrix_hub_schema._grantee_dependents(t.id, t.schema_oid) AS d), 'test')::text FROM \
             edu_matrix_hub_schema.tenant_schemas AS t WHERE t.id = '{}'",
            school.id
        );
        let removed: String = database.one(&turn).await;
        assert!(removed.contains("reporting.names"), "{removed}");
        assert_eq!(lost(&database, &reporting).await[0]["state"], "away");
        let later = "UPDATE edu_matrix_hub_schema.taken_dependents SET taken_at = taken_at - interval '2 hours'";
        database.admin.batch_execute(later).await.unwrap();
        expect(&remake(&database, &reporting, "").await, "success");
        assert_eq!(taken(&database).await, 0);
    })
    .await;
}

/// In one session, whose settings last.
async fn remake_by(operator: &tokio_postgres::Client, tenant: &Tenant, request: &str) -> Value {
    call(operator, "remake_dependents", &tenant.options(&json!({ "request": request }))).await
}

#[tokio::test]
async fn code_that_does_not_come_to_an_end_is_tried_three_times() {
    with_database(async |database| {
        let (school, reporting) = with_grant(&database).await;
        let slow = "CREATE FUNCTION slow(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1'; \
             CREATE MATERIALIZED VIEW sleeping AS SELECT id FROM school.pupils; CREATE INDEX ON sleeping ((slow(1))); \
             CREATE VIEW fine AS SELECT id FROM school.pupils; \
             CREATE OR REPLACE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS \
             $$ BEGIN PERFORM pg_sleep(20); RETURN 1; END $$";
        database.as_owner(&reporting, slow).await;
        let answer = set_aside(&database, &school).await;
        expect(&answer, "success");
        restore(&database, &answer["detail"]["backup_id"]).await;
        let operator = database.operator().await;
        operator.batch_execute("SET statement_timeout = '2s'").await.unwrap();
        for attempt in 1..=3 {
            let answer = remake_by(&operator, &reporting, "").await;
            expect(&answer, "error");
            let last = answer["message"].as_str().unwrap().contains("not tried again until a user asks");
            assert_eq!(last, attempt == 3, "{answer}");
        }
        // It is the only one that is given up.
        let fourth = remake_by(&operator, &reporting, "").await;
        expect(&fourth, "partial");
        assert_eq!(fourth["detail"]["left"][0]["name"], "reporting.sleeping", "{fourth}");
        let fifth = remake_by(&operator, &reporting, "").await;
        expect(&fifth, "success");
        assert_eq!(fifth["detail"]["made"], json!(["reporting.fine"]), "{fifth}");
        assert_eq!(taken(&database).await, 1);
    })
    .await;
}

#[tokio::test]
async fn after_five_definitions_that_do_not_come_to_an_end_none_of_the_others_is_tried() {
    with_database(async |database| {
        let (school, reporting) = with_grant(&database).await;
        let slow = "CREATE FUNCTION slow(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1'; \
             CREATE VIEW fine AS SELECT id FROM school.pupils; \
             DO $$ BEGIN FOR i IN 1..300 LOOP \
                 EXECUTE format('CREATE MATERIALIZED VIEW sleeping%s AS SELECT id FROM school.pupils', i); \
                 EXECUTE format('CREATE INDEX ON sleeping%s ((slow(1)))', i); END LOOP; END $$; \
             CREATE OR REPLACE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS \
             $$ BEGIN PERFORM pg_sleep(20); RETURN 1; END $$";
        database.as_owner(&reporting, slow).await;
        let mut answer = set_aside(&database, &school).await;
        while answer["status"] == "busy" {
            answer = set_aside(&database, &school).await;
        }
        expect(&answer, "success");
        restore(&database, &answer["detail"]["backup_id"]).await;
        let operator = database.operator().await;
        operator.batch_execute("SET statement_timeout = '500ms'").await.unwrap();
        let mut calls = 0;
        let last = loop {
            let answer = remake_by(&operator, &reporting, "").await;
            calls += 1;
            assert!(calls <= 22, "{answer}");
            if answer["status"] == "success" {
                break answer;
            }
        };
        assert_eq!(calls, 22, "two until the view is made, three attempts and a word for each of five");
        assert_eq!(last["detail"]["due"], 0, "{last}");
        let remaining = lost(&database, &reporting).await;
        let (state, count) = (&remaining[0]["state"], &remaining[0]["count"]);
        assert_eq!((state, count), (&json!("left"), &json!(300)), "{remaining}");

        // Without that code a user has them all again.
        let mended = "CREATE OR REPLACE FUNCTION slow(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1'";
        database.as_owner(&reporting, mended).await;
        operator.batch_execute("RESET statement_timeout").await.unwrap();
        while remake_by(&operator, &reporting, "again").await["status"] == "partial" {}
        assert_eq!(taken(&database).await, 0);
    })
    .await;
}
