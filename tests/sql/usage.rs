//! What a tenant costs: exact after every kind of change, and never held up or frozen by a lock.

use serde_json::{Value, json};

use crate::support::{Database, Lane, Tenant, call, expect, surveyed, with_database};

/// What the tables of a schema take, asked of each.
async fn exact(database: &Database, tenant: &Tenant) -> i64 {
    database
        .one(&format!(
            "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class \
             WHERE relnamespace = '{}'::regnamespace AND relkind IN ('r', 'm', 'S')",
            tenant.schema
        ))
        .await
}

/// Runs statements as the owner, and lets their write counters arrive.
async fn write(database: &Database, tenant: &Tenant, statements: &str) {
    database.as_owner(tenant, statements).await;
    database.admin.batch_execute("SELECT pg_stat_force_next_flush()").await.unwrap();
    database.admin.batch_execute("SELECT 1").await.unwrap();
}

#[tokio::test]
async fn sizes_are_exact_after_every_kind_of_change() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let other = database.tenant("other").await;
        let lane = Lane::claim(database.operator().await).await;
        let first = lane.survey(false).await;
        assert_eq!(surveyed(&first, &tenant).unwrap()["storage_bytes"], 0);
        write(
            &database,
            &tenant,
            // Autovacuum would add a page of a map between the survey and the comparison.
            "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, v text) \
             WITH (autovacuum_enabled = off, toast.autovacuum_enabled = off); INSERT INTO t \
            (v) SELECT repeat(md5(g::text), 300) FROM generate_series(1, 500) AS g",
        )
        .await;
        let changes = [
            "SELECT 1",
            "INSERT INTO t (v) SELECT md5(g::text) FROM generate_series(1, 5000) AS g",
            "CREATE INDEX i ON t (v text_pattern_ops) WHERE length(v) < 100",
            "CREATE MATERIALIZED VIEW m WITH (autovacuum_enabled = off) AS SELECT * FROM t",
            "DROP INDEX i",
            "TRUNCATE t",
            "REFRESH MATERIALIZED VIEW m",
            "CREATE TABLE p (id int) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) \
                TO (100); INSERT INTO p VALUES (1)",
            "DROP TABLE t CASCADE",
        ];
        for change in changes {
            if change != "SELECT 1" {
                write(&database, &tenant, change).await;
            }
            let survey = lane.survey(false).await;
            let row = surveyed(&survey, &tenant).unwrap_or_else(|| panic!("{change}: not reported"));
            assert_eq!(row["storage_bytes"], json!(exact(&database, &tenant).await), "{change}");
            assert_eq!(survey["storage_bytes"], row["storage_bytes"], "{change}");
            assert_eq!(row["usage_stale"], false);
            assert!(surveyed(&survey, &other).is_none(), "{change}: the other did nothing");
            assert_eq!(lane.survey(false).await["tenants"], json!([]), "{change}: nothing happened since");
        }
        assert_eq!(
            database
                .one::<i32>(
                    "SELECT table_count FROM edu_matrix_hub_schema.tenant_schemas WHERE \
            schema_name = 'school'"
                )
                .await,
            2
        );
        // Counters that begin again at nothing cost a look, and no wrong number.
        let before: String = database
            .one(
                "SELECT write_signature::text FROM edu_matrix_hub_schema.tenant_schemas \
            WHERE schema_name = 'school'",
            )
            .await;
        database.admin.batch_execute("SELECT pg_stat_reset()").await.unwrap();
        assert_eq!(lane.survey(false).await["tenants"], json!([]));
        let after: String = database
            .one(
                "SELECT write_signature::text FROM edu_matrix_hub_schema.tenant_schemas \
            WHERE schema_name = 'school'",
            )
            .await;
        assert_ne!(before, after);
        assert_eq!(lane.survey(true).await["tenants"].as_array().unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_locked_table_holds_up_nobody_else() {
    with_database(async |database| {
        let locked = database.tenant("locked").await;
        let busy = database.tenant("busy").await;
        let lane = Lane::claim(database.operator().await).await;
        for tenant in [&locked, &busy] {
            // The server's own VACUUM would make maps of the files between a survey and the look after it.
            let table = "CREATE TABLE t WITH (autovacuum_enabled = off) AS SELECT g FROM generate_series(1, 100) AS g";
            write(&database, tenant, table).await;
        }
        lane.survey(false).await;
        let before = exact(&database, &locked).await;
        for tenant in [&locked, &busy] {
            write(&database, tenant, "INSERT INTO t SELECT g FROM generate_series(1, 20000) AS g").await;
        }
        let all = exact(&database, &locked).await;
        let holder = database.connect("postgres").await;
        holder.batch_execute("BEGIN; LOCK TABLE locked.t IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let survey = lane.survey(false).await;
        let row = surveyed(&survey, &locked).unwrap();
        assert_eq!((&row["usage_stale"], &survey["stale_count"]), (&json!(true), &json!(1)));
        // What the counters know of its rows counts, at the least that so many rows take.
        let estimated = row["storage_bytes"].as_i64().unwrap();
        assert!(estimated > 50 * before && estimated <= all, "{before}, then {estimated}");
        assert_eq!(surveyed(&survey, &busy).unwrap()["storage_bytes"], json!(exact(&database, &busy).await));
        assert!(surveyed(&lane.survey(false).await, &locked).is_none(), "as stale as before");
        holder.batch_execute("ROLLBACK").await.unwrap();
        let survey = lane.survey(false).await;
        let row = surveyed(&survey, &locked).unwrap();
        assert_eq!(
            (&row["usage_stale"], &row["storage_bytes"]),
            (&json!(false), &json!(exact(&database, &locked).await))
        );
        assert_eq!(survey["stale_count"], 0);
    })
    .await;
}

#[tokio::test]
async fn a_lock_of_a_prepared_transaction_freezes_no_size() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let lane = Lane::claim(database.operator().await).await;
        write(
            &database,
            &tenant,
            "CREATE TABLE hold (g int); CREATE TABLE big AS SELECT g FROM generate_series(1, 100) AS g",
        )
        .await;
        lane.survey(false).await;
        // No session is left that holds it.
        let hold =
            format!("BEGIN; LOCK TABLE school.hold IN ACCESS EXCLUSIVE MODE; PREPARE TRANSACTION '{}'", database.name);
        database.connect("postgres").await.batch_execute(&hold).await.unwrap();
        write(&database, &tenant, "INSERT INTO big SELECT g FROM generate_series(1, 20000) AS g").await;
        let big: i64 = database.one("SELECT pg_total_relation_size('school.big')").await;
        let survey = lane.survey(false).await;
        let row = surveyed(&survey, &tenant).unwrap();
        assert!(row["storage_bytes"].as_i64().unwrap() >= big, "{row}");
        assert_eq!(row["usage_stale"], json!(true));
        database.admin.batch_execute(&format!("ROLLBACK PREPARED '{}'", database.name)).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_size_that_stays_an_estimate_is_told_with_who_keeps_it_so() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let lane = Lane::claim(database.operator().await).await;
        write(&database, &tenant, "CREATE TABLE wide (v text); INSERT INTO wide VALUES ('a')").await;
        lane.survey(false).await;
        let hold = "BEGIN; LOCK TABLE school.wide IN ACCESS EXCLUSIVE MODE";
        let pid = async |client: &tokio_postgres::Client| -> i32 {
            client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0)
        };
        let first = database.connect("postgres").await;
        first.batch_execute(hold).await.unwrap();
        let row = surveyed(&lane.survey(false).await, &tenant).cloned().unwrap();
        assert_eq!((&row["usage_stale"], &row["size_estimate"]), (&json!(true), &json!(null)), "for a moment");

        let age = "UPDATE edu_matrix_hub_schema.tenant_schemas
                   SET size_estimate = jsonb_set(size_estimate, '{since}', to_jsonb(clock_timestamp() - interval '6 min'))";
        database.admin.batch_execute(age).await.unwrap();
        let told = surveyed(&lane.survey(false).await, &tenant).unwrap()["size_estimate"].clone();
        let statement = format!("SELECT pg_terminate_backend({})", pid(&first).await);
        assert_eq!(
            (&told["pid"], &told["login"], &told["table"], &told["statement"]),
            (&json!(pid(&first).await), &json!("postgres"), &json!("wide"), &json!(statement))
        );
        // It commits and locks again at once: the same size, the same session, and no news.
        for _ in 0..2 {
            first.batch_execute(&format!("INSERT INTO school.wide VALUES ('b'); COMMIT; {hold}")).await.unwrap();
            assert_eq!(lane.survey(false).await["tenants"], json!([]));
        }
        let everything = surveyed(&lane.survey(true).await, &tenant).cloned().unwrap();
        assert_eq!(everything["size_estimate"], told);

        // A session that has let go is named for two minutes at most, also when it goes on to be connected and the size
        // is unknown for another reason.
        let estimate = async |known: &str, namespace: &str| -> Value {
            database.one(&format!("SELECT edu_matrix_hub_schema._size_estimate({known}, {namespace}, clock_timestamp())")).await
        };
        let known = "(SELECT size_estimate FROM edu_matrix_hub_schema.tenant_schemas WHERE size_estimate IS NOT NULL)";
        assert_eq!(estimate(known, "NULL").await["pid"], told["pid"]);
        let unseen = format!("jsonb_set({known}, '{{seen}}', to_jsonb(clock_timestamp() - interval '3 min'))");
        let nobody = estimate(&unseen, "NULL").await;
        assert_eq!((&nobody["told"], &nobody["pid"]), (&json!(true), &json!(null)));
        assert_eq!(estimate(&unseen, "'school'::regnamespace").await["pid"], told["pid"], "it is seen now");
        let reused = format!("{known} || '{{\"login\": \"another\"}}'");
        assert_eq!(estimate(&reused, "'school'::regnamespace").await["login"], json!("postgres"));

        // Another takes its place, and then one that no session is left of.
        drop(first);
        let second = database.connect("postgres").await;
        second.batch_execute(hold).await.unwrap();
        let told = surveyed(&lane.survey(false).await, &tenant).unwrap()["size_estimate"].clone();
        assert_eq!(told["pid"], json!(pid(&second).await));
        second.batch_execute(&format!("PREPARE TRANSACTION '{}'", database.name)).await.unwrap();
        let rollback = format!("ROLLBACK PREPARED '{}'", database.name);
        let told = surveyed(&lane.survey(false).await, &tenant).unwrap()["size_estimate"].clone();
        assert_eq!((&told["statement"], &told["pid"]), (&json!(rollback), &json!(null)));
        database.admin.batch_execute(&rollback).await.unwrap();
        let row = surveyed(&lane.survey(false).await, &tenant).cloned().unwrap();
        assert_eq!((&row["usage_stale"], &row["size_estimate"]), (&json!(false), &json!(null)), "measured");
    })
    .await;
}

#[tokio::test]
async fn who_only_waits_for_a_turn_is_told_of_no_lock() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let lane = Lane::claim(database.operator().await).await;
        write(&database, &tenant, "CREATE TABLE wide (v text)").await;
        let survey: String = database
            .one("SELECT replace(pg_get_functiondef('edu_matrix_hub_schema.survey_tenants'::regproc), ':= 10000;', ':= 0;')")
            .await;
        assert!(survey.contains("relations_per_tick CONSTANT integer := 0;"));
        database.admin.batch_execute(&survey).await.unwrap();
        lane.survey(false).await;
        let noted = "SELECT usage_stale AND size_estimate IS NULL FROM edu_matrix_hub_schema.tenant_schemas";
        assert!(database.one::<bool>(noted).await);
    })
    .await;
}

/// The memory that a session has in use; nearly all of it is caches.
async fn memory(client: &tokio_postgres::Client) -> i64 {
    let query = "SELECT sum(used_bytes)::bigint FROM pg_backend_memory_contexts";
    client.query_one(query, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_locked_table_hides_neither_its_toast_nor_the_tables_beside_it() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let lane = Lane::claim(database.operator().await).await;
        let tables = "CREATE TABLE t (id int PRIMARY KEY, v text) WITH (autovacuum_enabled = off); \
                      ALTER TABLE t ALTER v SET STORAGE EXTERNAL; CREATE TABLE beside (LIKE t INCLUDING ALL)";
        write(&database, &tenant, tables).await;
        lane.survey(false).await;
        let holder = database.connect("postgres").await;
        holder.batch_execute("BEGIN; LOCK TABLE school.t IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let rows = "SELECT g, repeat(md5(g::text), 300) FROM generate_series(1, 400) AS g";
        write(&database, &tenant, &format!("INSERT INTO beside {rows}")).await;
        holder.batch_execute(&format!("INSERT INTO school.t {rows}")).await.unwrap();
        let all: i64 = holder
            .query_one(
                "SELECT (pg_total_relation_size('school.t') + pg_total_relation_size('school.beside'))::bigint",
                &[],
            )
            .await
            .unwrap()
            .get(0);
        let survey = lane.survey(false).await;
        let row = surveyed(&survey, &tenant).unwrap();
        let shown = row["storage_bytes"].as_i64().unwrap();
        assert_eq!(row["usage_stale"], true);
        assert!(shown <= all && all - shown < 200_000, "{shown} of {all}");

        // Emptied behind the same lock, it is shown as large as it was: nothing that is known says otherwise.
        holder.batch_execute("DELETE FROM school.t").await.unwrap();
        assert_eq!(lane.survey(false).await["tenants"], json!([]));
        holder.batch_execute("TRUNCATE school.t; COMMIT").await.unwrap();
        let survey = lane.survey(false).await;
        let row = surveyed(&survey, &tenant).unwrap();
        assert_eq!(
            (&row["usage_stale"], &row["storage_bytes"]),
            (&json!(false), &json!(exact(&database, &tenant).await))
        );
    })
    .await;
}

#[tokio::test]
async fn what_is_written_and_not_committed_counts() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let lane = Lane::claim(database.operator().await).await;
        write(&database, &tenant, "CREATE TABLE t (v text) WITH (autovacuum_enabled = off)").await;
        lane.survey(false).await;
        let writer = database.connect("postgres").await;
        let rows = "INSERT INTO school.t SELECT md5(g::text) FROM generate_series(1, 50000) AS g";
        writer.batch_execute(&format!("BEGIN; {rows}")).await.unwrap();
        for again in [false, true] {
            let survey = lane.survey(false).await;
            let size = exact(&database, &tenant).await;
            assert!(size > 3_000_000, "{size}");
            assert_eq!((&survey["storage_bytes"], &survey["stale_count"]), (&json!(size), &json!(0)));
            assert_eq!(surveyed(&survey, &tenant).is_none(), again, "told once");
        }
        writer.batch_execute("ROLLBACK").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_schema_of_thousands_is_estimated_whole_and_at_a_bounded_cost() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let lane = Lane::claim(database.connect("postgres").await).await;
        write(
            &database,
            &tenant,
            "CREATE TABLE t (id int PRIMARY KEY, v text) WITH (autovacuum_enabled = off, toast.autovacuum_enabled = off); \
             ALTER TABLE t ALTER v SET STORAGE EXTERNAL; \
             INSERT INTO t SELECT g, repeat(md5(g::text), 300) FROM generate_series(1, 400) AS g; \
             CREATE TABLE small (id int); INSERT INTO small VALUES (1)",
        )
        .await;
        let size = async |what: &str, stale: bool| {
            let survey = lane.survey(false).await;
            let row = surveyed(&survey, &tenant).unwrap_or_else(|| panic!("{what}: not reported"));
            assert_eq!(
                (&row["usage_stale"], &survey["stale_count"]),
                (&json!(stale), &json!(i64::from(stale))),
                "{what}"
            );
            assert_eq!(lane.survey(false).await["tenants"], json!([]), "{what}: nothing happened since");
            row["storage_bytes"].as_i64().unwrap()
        };
        let run = async |what: &str, number: u32, statement: &str| {
            let each = format!("DO $$ BEGIN FOR n IN 1..{number} LOOP EXECUTE format({statement}); END LOOP; END $$");
            write(&database, &tenant, &each).await;
            what.to_owned()
        };
        assert_eq!(size("two tables", false).await, exact(&database, &tenant).await);

        // Sequences are a page each: no number of them hides what is beside.
        let what = run("sequences", 3000, "'CREATE SEQUENCE s%s', n").await;
        assert_eq!(size(&what, false).await, exact(&database, &tenant).await);

        // One row of 2 kB in each, of which no vacuum and no analysis has told, and one that is large.
        let filled =
            "'CREATE TABLE p%s WITH (autovacuum_enabled = off) AS SELECT repeat(md5(%s::text), 60) AS v', n, n";
        let before = memory(&lane.client).await;
        let what = run("tables", 4000, filled).await;
        let estimated = size(&what, true).await;
        // Opened all, they would leave thirty million bytes.
        let left = memory(&lane.client).await - before;
        assert!(left < 24_000_000, "{left}");
        let all = exact(&database, &tenant).await;
        assert!((all - estimated).abs() < all / 50, "{estimated} for {all}");

        let rows = "INSERT INTO t SELECT g, repeat(md5(g::text), 300) FROM generate_series(401, 800) AS g";
        write(&database, &tenant, rows).await;
        let grown = size("written to", true).await;
        assert!(grown > estimated + 3_000_000, "{estimated}, then {grown}");
        let what = run("less", 2200, "'DROP TABLE p%s', n").await;
        assert_eq!(size(&what, false).await, exact(&database, &tenant).await);
    })
    .await;
}

/// Object identifiers are counted to four billion, and a server that has worked for long is beyond the half of it.
#[tokio::test]
async fn large_numbers_of_relations_are_numbers() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        write(&database, &tenant, "CREATE TABLE t (id int); CREATE SEQUENCE s").await;
        let renumber =
            "SET allow_system_table_mods = on; UPDATE pg_class SET oid = 3000000001 WHERE oid = 'school.s'::regclass";
        database.admin.batch_execute(renumber).await.unwrap();
        let survey = Lane::claim(database.operator().await).await.survey(false).await;
        assert_eq!(survey["tenant_count"], 1, "{survey}");
    })
    .await;
}

/// Figures that were stale for any reason are exact again as soon as what is there can be seen.
#[tokio::test]
async fn nothing_stays_stale_for_good() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let lane = Lane::claim(database.operator().await).await;
        let stale = async || {
            let survey = lane.survey(false).await;
            (survey["stale_count"].as_i64().unwrap(), survey["storage_bytes"].as_i64().unwrap())
        };
        // Locked when it was first seen, and gone the next time.
        write(&database, &tenant, "CREATE TABLE t AS SELECT g FROM generate_series(1, 100) AS g").await;
        let holder = database.connect("postgres").await;
        holder.batch_execute("BEGIN; LOCK TABLE school.t IN ACCESS EXCLUSIVE MODE").await.unwrap();
        assert_eq!(stale().await.0, 1);
        holder.batch_execute("DROP TABLE school.t; COMMIT").await.unwrap();
        assert_eq!(stale().await, (0, 0));

        write(&database, &tenant, "CREATE TABLE t AS SELECT g FROM generate_series(1, 100) AS g").await;
        let size = exact(&database, &tenant).await;
        assert_eq!(stale().await, (0, size));
        let restore = async || {
            let dropped = tenant.options(&json!({ "owner_uid": "uid-school" }));
            let backup = call(&lane.client, "set_aside_tenant_schema", &dropped).await["detail"]["backup_id"].clone();
            expect(&call(&lane.client, "restore_tenant_schema", &json!({ "backup_id": backup })).await, "success");
        };
        restore().await;
        assert_eq!(stale().await, (0, size));
        // Restored, and dropped by hand before a survey measured it.
        restore().await;
        database.admin.batch_execute("DROP SCHEMA school CASCADE").await.unwrap();
        assert_eq!(stale().await, (0, 0));
    })
    .await;
}

/// A table that a migration made as its own login is told with the statement that mends it; what an extension made is not, nor
/// is what is ours.
#[tokio::test]
async fn tables_that_belong_to_other_roles_are_told_and_no_others() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let lane = Lane::claim(database.operator().await).await;
        let mig = database.role("mig", "NOLOGIN").await;
        let made = format!(
            "CREATE TABLE school.own (); ALTER TABLE school.own OWNER TO {}; CREATE TABLE school.pupils (id int);
             CREATE TABLE school.\"New orders\" (); ALTER TABLE school.pupils OWNER TO {mig};
             ALTER TABLE school.\"New orders\" OWNER TO {mig}; CREATE VIEW school.names AS SELECT 1 AS one",
            tenant.owner
        );
        let told = async |change: &str| {
            database.admin.batch_execute(change).await.unwrap();
            let survey = lane.survey(false).await;
            let row = surveyed(&survey, &tenant).unwrap_or_else(|| panic!("{change}: not reported"));
            assert_eq!(lane.survey(false).await["tenants"], json!([]), "{change}: nothing happened since");
            row["foreign_tables"].clone()
        };
        let statement = format!("ALTER TABLE school.\"New orders\" OWNER TO {}", tenant.owner);
        let both = json!({ "count": 2, "name": "New orders", "owner": mig, "statement": statement });
        assert_eq!(told(&made).await, both);
        let mut request = crate::support::owner("school");
        request["schema_name"] = json!("school");
        assert_eq!(call(&database.admin, "observe_tenant", &request).await["own"]["foreign_tables"], both);

        let one = told(&statement).await;
        assert_eq!((&one["count"], &one["name"]), (&json!(1), &json!("pupils")));
        database.admin.batch_execute("ALTER TABLE school.pupils RENAME TO learners").await.unwrap();
        let renamed = surveyed(&lane.survey(true).await, &tenant).unwrap()["foreign_tables"].clone();
        assert_eq!((&renamed["count"], &renamed["name"]), (&json!(1), &json!("learners")));
        assert_eq!(
            told("ALTER EXTENSION plpgsql ADD TABLE school.learners; CREATE TABLE school.more ()").await["name"],
            "more"
        );
        let ours: String = database.one("SELECT owner_role FROM edu_matrix_hub_schema.installation").await;
        assert_eq!(told(&format!("ALTER TABLE school.more OWNER TO {ours}")).await, json!(null));
    })
    .await;
}

/// The question before a drop tells what is there now and not what the survey knew, and nothing waits for a lock.
#[tokio::test]
async fn a_tenant_is_measured_when_it_is_asked_for() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let mut request = crate::support::owner("school");
        request["schema_name"] = json!("school");
        let observe = async |measure: bool| {
            let mut request = request.clone();
            request["measure"] = json!(measure);
            call(&database.admin, "observe_tenant", &request).await["own"].clone()
        };
        database.as_owner(&tenant, "CREATE TABLE t (v text); CREATE TABLE p (id int) PARTITION BY RANGE (id)").await;
        database.as_owner(&tenant, "INSERT INTO t SELECT repeat('x', 1000) FROM generate_series(1, 100)").await;
        let seen = observe(true).await;
        let measured = &seen["measured"];
        assert_eq!((&measured["table_count"], &measured["exact"]), (&json!(2), &json!(true)));
        assert_eq!(measured["storage_bytes"], json!(exact(&database, &tenant).await));
        assert_eq!(
            (&seen["table_count"], &seen["storage_bytes"]),
            (&json!(0), &json!(0)),
            "what the survey found stays"
        );
        assert!(observe(false).await.get("measured").is_none());

        let locking = database.connect("postgres").await;
        locking.batch_execute("BEGIN; LOCK TABLE school.t IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let measured = observe(true).await["measured"].clone();
        assert_eq!((&measured["table_count"], &measured["exact"]), (&json!(2), &json!(false)));
        locking.batch_execute("ROLLBACK; DROP SCHEMA school CASCADE").await.unwrap();
        assert!(observe(true).await.get("measured").is_none(), "nothing stands");
    })
    .await;
}
