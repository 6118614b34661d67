//! A tenant that is blocked for its quota is given back what it deleted, wherever the rows were in its files.

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::{
    application::{Application, found},
    support::{Database, Lane, Tenant, expect, surveyed, with_database},
    tenant_sessions::Runner,
};

/// What surveys know of the tenant's files, and what is free in them.
async fn sizes(lane: &Lane, tenant: &Tenant) -> (i64, i64) {
    let survey = lane.survey(true).await;
    let row = surveyed(&survey, tenant).unwrap();
    (row["storage_bytes"].as_i64().unwrap(), row["freed_bytes"].as_i64().unwrap_or_default())
}

/// What a survey asks to be vacuumed, at whatever time it was asked before.
async fn due(database: &Database, lane: &Lane) -> Vec<Value> {
    database.admin.batch_execute("UPDATE edu_matrix_hub_schema.quota_files SET tried_at = NULL").await.unwrap();
    lane.survey(false).await["live_parts_due"].as_array().unwrap().clone()
}

/// Vacuums what a survey asks for, as the operator does, and returns how many tables that were.
async fn vacuumed(runner: &Runner<'_>) -> usize {
    let due = due(runner.database, &runner.lane).await;
    let Some(part) = due.first() else { return 0 };
    let tables = part["tables"].as_array().unwrap();
    let session = runner.session("vacuum").await;
    for table in tables {
        session.batch_execute(table["statement"].as_str().unwrap()).await.unwrap();
    }
    drop(session);
    runner.closed().await;
    let oids: Vec<_> = tables.iter().map(|table| table["oid"].clone()).collect();
    expect(&runner.noted(&json!(oids)).await, "success");
    tables.len()
}

/// Has the server count what was done in this session.
async fn counted(client: &Client) {
    client.batch_execute("SELECT pg_stat_force_next_flush()").await.unwrap();
    client.batch_execute("SELECT 1").await.unwrap();
}

async fn block(runner: &Runner<'_>, access: &str) {
    let cause = if access == "ReadWrite" { Value::Null } else { json!("Quota") };
    let options = runner.tenant.options(&json!({ "access": access, "access_cause": cause }));
    expect(&crate::support::call(&runner.lane.client, "set_tenant_access", &options).await, "success");
}

async fn filled(database: &Database, tenant: &Tenant) {
    let fill = "CREATE TABLE t (id int PRIMARY KEY, pad text) WITH (autovacuum_enabled = off); \
                INSERT INTO t SELECT n, repeat('x', 200) FROM generate_series(1, 20000) AS n; \
                CREATE TABLE small (id int); INSERT INTO small VALUES (1)";
    database.as_owner(tenant, fill).await;
    counted(&database.admin).await;
}

#[tokio::test]
async fn rows_that_are_deleted_here_and_there_count() {
    with_database(async |database| {
        let (tenant, other) = (database.tenant("school").await, database.tenant("other").await);
        filled(&database, &tenant).await;
        filled(&database, &other).await;
        let application = Application::of(&database, &tenant).await;
        let login = application.issued("app").await;
        let runner = Runner::of(&database, &tenant).await;
        sizes(&runner.lane, &tenant).await;
        assert_eq!(due(&database, &runner.lane).await, Vec::<Value>::new(), "nobody is blocked");
        block(&runner, "WriteBlocked").await;
        let asked = due(&database, &runner.lane).await;
        assert_eq!(asked.len(), 1);
        assert_eq!((&asked[0]["owner"]["name"], asked[0]["tables"].as_array().unwrap().len()), (&json!("school"), 1));
        assert_eq!(runner.lane.survey(false).await["live_parts_due"], json!([]), "it was just asked for");
        database.admin.batch_execute("UPDATE edu_matrix_hub_schema.quota_files SET tried_at = NULL").await.unwrap();
        let busy = runner.lane.survey_with(json!({ "vacuuming": true })).await;
        assert_eq!(busy["live_parts_due"], json!([]), "the operator is at work on others");
        assert_eq!(
            database
                .one::<i64>("SELECT count(*) FROM edu_matrix_hub_schema.quota_files WHERE tried_at IS NOT NULL")
                .await,
            0
        );
        assert_eq!(vacuumed(&runner).await, 1);
        let (used, freed) = sizes(&runner.lane, &tenant).await;
        assert_eq!(freed, 0);
        assert_eq!(vacuumed(&runner).await, 0, "nothing was deleted since");

        // Every second row: no page is empty, and the file stays as it is.
        let client = database.log_in(&login, "app").await.unwrap();
        client.batch_execute("DELETE FROM t WHERE id % 2 = 0").await.unwrap();
        counted(&client).await;
        assert_eq!(sizes(&runner.lane, &tenant).await, (used, 0), "nothing was vacuumed since");
        assert_eq!(vacuumed(&runner).await, 1);
        let (now, freed) = sizes(&runner.lane, &tenant).await;
        assert!(now >= used && (freed - used / 2).abs() < used / 20, "{freed} of {now}, {used} before");

        // Deletes that are rolled back count for nothing.
        for _ in 0..3 {
            client.batch_execute("BEGIN; DELETE FROM t; ROLLBACK").await.unwrap();
        }
        counted(&client).await;
        vacuumed(&runner).await;
        let again = sizes(&runner.lane, &tenant).await.1;
        assert!((again - freed).abs() < used / 50, "{again}, {freed} before");

        // Writes are given back, and what is free does not count for as long as no rows come back.
        block(&runner, "ReadWrite").await;
        assert_eq!(sizes(&runner.lane, &tenant).await, (now, again));
        assert_eq!(due(&database, &runner.lane).await, Vec::<Value>::new());
        let client = database.log_in(&login, "app").await.unwrap();
        client
            .batch_execute("INSERT INTO t SELECT n, repeat('x', 200) FROM generate_series(20001, 25000) AS n")
            .await
            .unwrap();
        counted(&client).await;
        let (now, left) = sizes(&runner.lane, &tenant).await;
        assert!(now < used + used / 10 && (left - used / 4).abs() < used / 20, "{left} of {now}");
        // A second block does not forget it.
        block(&runner, "WriteBlocked").await;
        vacuumed(&runner).await;
        let (_, after) = sizes(&runner.lane, &tenant).await;
        assert!((after - left).abs() < used / 20, "{after}, {left} before");
        block(&runner, "ReadWrite").await;
        // Another file has nothing free.
        database.as_owner(&tenant, "TRUNCATE t").await;
        let (now, free) = sizes(&runner.lane, &tenant).await;
        assert!(now < used / 10 && free == 0, "{free} of {now}");
        due(&database, &runner.lane).await;
        assert_eq!(database.one::<i64>("SELECT count(*) FROM edu_matrix_hub_schema.quota_files").await, 0);
        assert_eq!(found(&runner.lane, &tenant).await, Vec::<Value>::new());
        assert_eq!(sizes(&runner.lane, &other).await.1, 0, "nothing of this one was ever blocked");
    })
    .await;
}

/// A tenant chooses how large its rows are.
#[tokio::test]
async fn nothing_that_is_deleted_makes_files_count_for_less_than_half() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database
            .as_owner(
                &tenant,
                "CREATE TABLE t (id int, pad text) WITH (autovacuum_enabled = off); ALTER TABLE t ALTER pad SET STORAGE PLAIN; \
                 INSERT INTO t SELECT n, NULL FROM generate_series(1, 20000) AS n; \
                 INSERT INTO t SELECT 0, repeat('x', 7000) FROM generate_series(1, 500) AS n; \
                 CREATE TABLE toasted (id int, pad text) WITH (autovacuum_enabled = off); ALTER TABLE toasted ALTER pad SET STORAGE EXTERNAL; \
                 INSERT INTO toasted SELECT n, CASE WHEN n % 100 = 0 THEN repeat('x', 20000) END FROM generate_series(1, 20000) AS n",
            )
            .await;
        counted(&database.admin).await;
        let application = Application::of(&database, &tenant).await;
        let login = application.issued("app").await;
        let runner = Runner::of(&database, &tenant).await;
        let (used, _) = sizes(&runner.lane, &tenant).await;
        block(&runner, "WriteBlocked").await;
        let client = database.log_in(&login, "app").await.unwrap();
        // Before anything was vacuumed; it counts all the same.
        client.batch_execute("DELETE FROM toasted WHERE id % 100 <> 0").await.unwrap();
        counted(&client).await;
        assert_eq!(vacuumed(&runner).await, 2);
        let (_, freed) = sizes(&runner.lane, &tenant).await;
        let heap: i64 = database.one("SELECT pg_relation_size('school.toasted')").await;
        assert!((freed - heap).abs() < heap / 10, "{freed}; the TOAST of {used} is as full as before");
        client.batch_execute("DELETE FROM t WHERE id > 0").await.unwrap();
        counted(&client).await;
        assert_eq!(vacuumed(&runner).await, 1);
        let (now, freed) = sizes(&runner.lane, &tenant).await;
        assert!(freed <= now / 2, "{freed} of {now}");
        // Rows of another size, into what is free.
        block(&runner, "ReadWrite").await;
        let client = database.log_in(&login, "app").await.unwrap();
        client.batch_execute("INSERT INTO t SELECT 0, repeat('x', 7000) FROM generate_series(1, 1000) AS n").await.unwrap();
        counted(&client).await;
        let (now, freed) = sizes(&runner.lane, &tenant).await;
        assert!(now > used + 7_000_000 && freed <= now / 2, "{freed} of {now}");
    })
    .await;
}

#[tokio::test]
async fn a_table_that_a_session_holds_is_left_for_another_time() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        filled(&database, &tenant).await;
        let runner = Runner::of(&database, &tenant).await;
        sizes(&runner.lane, &tenant).await;
        block(&runner, "WriteBlocked").await;
        let locked = database.connect("postgres").await;
        locked.batch_execute("BEGIN; LOCK TABLE school.t").await.unwrap();
        assert_eq!(vacuumed(&runner).await, 1);
        let counted = "SELECT count(*) FROM edu_matrix_hub_schema.quota_files WHERE rows IS NOT NULL";
        assert_eq!(database.one::<i64>(counted).await, 0);
        locked.batch_execute("COMMIT").await.unwrap();
        assert_eq!(vacuumed(&runner).await, 1);
        assert_eq!(database.one::<i64>(counted).await, 1);
        // A table that goes takes what is known of it along.
        database.as_owner(&tenant, "DROP TABLE t").await;
        assert_eq!(vacuumed(&runner).await, 0);
    })
    .await;
}
