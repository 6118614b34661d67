//! Policies beside grants to others and beside writes that are taken: nothing that passes required policies is given by
//! either, and what one took the others do not give back.

use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::{
    application::Application,
    grants::{give, grant, may, repair},
    interplay::{is_settled, set},
    policies::{own_rows, read},
    support::{Database, Lane, Tenant, call, expect, with_database},
};

pub const SCHOOL: &str =
    "CREATE TABLE profiles (user_id int, name text); INSERT INTO profiles VALUES (7, 'ann'), (8, 'bob');
    CREATE VIEW past AS SELECT * FROM profiles; CREATE MATERIALIZED VIEW kept AS SELECT * FROM profiles;
    CREATE VIEW mine AS SELECT * FROM profiles; CREATE FUNCTION pass() RETURNS bigint LANGUAGE sql SECURITY DEFINER
        AS 'SELECT count(*) FROM school.profiles'";
const PAST: [&str; 3] = ["past", "kept", "mine"];

pub async fn covered(database: &Database, tenant: &Tenant, mode: &str, policies: Value) {
    let digest = format!("{mode} {policies}");
    let options = tenant.options(&json!({ "mode": mode, "policies": policies, "digest": digest }));
    let answer = call(&database.operator().await, "set_row_security", &options).await;
    assert!(["success", "unchanged"].contains(&answer["status"].as_str().unwrap()), "{answer}");
}

pub async fn uncovered(database: &Database, tenant: &Tenant) {
    let options = tenant.options(&json!({ "mode": null, "policies": [], "digest": "" }));
    expect(&call(&database.operator().await, "set_row_security", &options).await, "success");
}

/// How many rows a role reads as user 7; none where it may not read.
async fn rows(database: &Database, role: &str, relation: &str) -> Option<i64> {
    let read = format!(
        "SET app.user_id = '7'; BEGIN; SET LOCAL ROLE \"{role}\"; CREATE TEMP TABLE seen ON COMMIT DROP AS \
         SELECT count(*) AS n FROM school.{relation}"
    );
    let done = database.admin.batch_execute(&read).await;
    let found = match done {
        Ok(()) => Some(database.one("SELECT n FROM seen").await),
        Err(_) => None,
    };
    database.admin.batch_execute("ROLLBACK").await.unwrap();
    found
}

#[tokio::test]
async fn a_grant_gives_nothing_that_passes_required_policies() {
    with_database(async |database| {
        let (school, reporting) = (database.tenant("school").await, database.tenant("reporting").await);
        let lane = Lane::claim(database.operator().await).await;
        database.as_owner(&school, SCHOOL).await;
        let Tenant { reader, writer, owner, .. } = &reporting;
        let grants = json!([grant("reporting", &["Write"])]);
        // A view from which its owner took what all had.
        let alone = format!("REVOKE ALL ON mine FROM {}, {}", school.reader, school.writer);
        database.as_owner(&school, &alone).await;
        for grants_first in [true, false] {
            let when = format!("grants first: {grants_first}");
            if grants_first {
                expect(&give(&database, &school, grants.clone()).await, "success");
                covered(&database, &school, "Required", own_rows()).await;
            } else {
                covered(&database, &school, "Required", own_rows()).await;
                expect(&give(&database, &school, grants.clone()).await, "success");
            }
            is_settled(&database, &lane, &[&school, &reporting], &when).await;
            for role in [reader, writer, owner] {
                assert_eq!(rows(&database, role, "profiles").await, Some(1), "{when}");
                for past in PAST {
                    assert_eq!(rows(&database, role, past).await, None, "{when}: {past}");
                }
            }
            // What is new is closed to grantees too, until it was looked at.
            database.as_owner(&school, "CREATE TABLE new (user_id int); INSERT INTO new VALUES (7), (8)").await;
            assert_eq!(rows(&database, reader, "new").await, None, "{when}");
            expect(&repair(&database, &school).await, "success");
            assert_eq!(rows(&database, reader, "new").await, Some(1), "{when}");
            assert!(may(&database, writer, "SET LOCAL app.user_id = '7'; INSERT INTO school.new VALUES (7)").await);
            assert!(!may(&database, writer, "SET LOCAL app.user_id = '7'; INSERT INTO school.new VALUES (8)").await);
            is_settled(&database, &lane, &[&school, &reporting], &when).await;

            // What becomes safe they have by the same repair.
            database.as_owner(&school, "ALTER VIEW past SET (security_invoker = true)").await;
            expect(&repair(&database, &school).await, "success");
            for role in [reader, &school.reader] {
                assert_eq!(rows(&database, role, "past").await, Some(1), "{when}");
            }
            is_settled(&database, &lane, &[&school, &reporting], &when).await;
            database.as_owner(&school, "ALTER VIEW past RESET (security_invoker)").await;
            expect(&repair(&database, &school).await, "success");
            assert_eq!(rows(&database, reader, "past").await, None, "{when}");
            is_settled(&database, &lane, &[&school, &reporting], &when).await;

            // A grant that ended does not come back with it, and without policies a grant counts for all.
            if grants_first {
                expect(&give(&database, &school, json!([])).await, "success");
                uncovered(&database, &school).await;
                assert_eq!(rows(&database, reader, "past").await, None);
                assert_eq!(rows(&database, &school.reader, "past").await, Some(2));
            } else {
                uncovered(&database, &school).await;
                for past in PAST {
                    assert_eq!(rows(&database, reader, past).await, Some(2), "{past}");
                }
            }
            database.as_owner(&school, "DROP TABLE new").await;
            repair(&database, &school).await;
            is_settled(&database, &lane, &[&school, &reporting], &when).await;
        }
        let due: i64 = database.one("SELECT count(*) FROM edu_matrix_hub_schema.tenant_row_security").await;
        assert_eq!((due, database.standing_memberships().await), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn a_block_and_required_policies_give_nothing_back_that_the_other_took() {
    with_database(async |database| {
        let school = database.tenant("school").await;
        let lane = Lane::claim(database.operator().await).await;
        database.as_owner(&school, SCHOOL).await;
        let application = Application::of(&database, &school).await;
        let login = application.issued("first").await;
        let stranger = database.role("stranger", "NOLOGIN").await;
        let by_hand = format!(
            "GRANT INSERT ON past TO {stranger}; GRANT UPDATE (name) ON past TO \
             {stranger}; GRANT EXECUTE ON FUNCTION pass() TO {stranger}"
        );
        database.admin.batch_execute(&format!("SET ROLE {}; SET search_path = school; {by_hand}; RESET ROLE; RESET search_path", school.owner)).await.unwrap();
        let held = async || -> String {
            let query = format!(
                "SELECT concat_ws(' ', CASE WHEN has_table_privilege('{stranger}', 'school.past', 'INSERT') THEN 'insert' END, CASE \
                 WHEN has_column_privilege('{stranger}', 'school.past', 'name', 'UPDATE') THEN 'update' END, CASE WHEN \
                 has_function_privilege('{stranger}', 'school.pass()', 'EXECUTE') THEN 'call' END)"
            );
            database.one(&query).await
        };
        assert_eq!(held().await, "insert update call");
        let deletes = async |from: &str| -> bool {
            let client = database.log_in(&login, "first").await.unwrap();
            client.batch_execute(&format!("SET app.user_id = '7'; BEGIN; DELETE FROM school.{from}; ROLLBACK")).await.is_ok()
        };
        // The block first, then policies: when it ends, nothing that passes them is open.
        set(&database, &school, "WriteBlocked").await;
        assert!(deletes("past").await);
        covered(&database, &school, "Required", own_rows()).await;
        is_settled(&database, &lane, &[&school], "blocked and covered").await;
        assert!(deletes("profiles").await && !deletes("past").await);
        set(&database, &school, "ReadWrite").await;
        assert_eq!(held().await, "");
        is_settled(&database, &lane, &[&school], "covered").await;
        // A block gives the deleter nothing that passes them.
        set(&database, &school, "WriteBlocked").await;
        assert!(deletes("profiles").await && !deletes("past").await);
        is_settled(&database, &lane, &[&school], "blocked again").await;
        // What is safe by now is not written to before the block ends.
        database
            .as_owner(&school, "ALTER VIEW past SET (security_invoker); ALTER FUNCTION pass() SECURITY INVOKER")
            .await;
        expect(&repair(&database, &school).await, "success");
        assert_eq!(held().await, "call");
        is_settled(&database, &lane, &[&school], "safe and blocked").await;
        set(&database, &school, "ReadWrite").await;
        assert_eq!(held().await, "insert update call");
        is_settled(&database, &lane, &[&school], "safe").await;
        uncovered(&database, &school).await;
        is_settled(&database, &lane, &[&school], "as before").await;
        assert_eq!(database.standing_memberships().await, 0);
    })
    .await;
}

#[tokio::test]
async fn policies_of_writers_bind_who_was_one_while_writes_are_taken() {
    with_database(async |database| {
        let school = database.tenant("school").await;
        let lane = Lane::claim(database.operator().await).await;
        database.as_owner(&school, "CREATE TABLE profiles (user_id int); INSERT INTO profiles VALUES (7), (8)").await;
        let application = Application::of(&database, &school).await;
        let login = application.issued("first").await;
        let mut policies = own_rows();
        policies[0]["roles"] = json!(["writer"]);
        covered(&database, &school, "Required", policies).await;
        let report = database.member("report", &school.reader).await;
        let count = async |client: &Client, query: &str| read(client, query).await;
        for access in ["ReadWrite", "ReadOnly", "WriteBlocked", "ReadWrite"] {
            if access != "ReadWrite" || count(&report, "SELECT count(*) FROM school.profiles").await != "2" {
                set(&database, &school, access).await;
            }
            let client = database.log_in(&login, "first").await.unwrap();
            client.batch_execute("SET app.user_id = '7'").await.unwrap();
            assert_eq!(count(&client, "SELECT user_id FROM school.profiles").await, "7", "{access}");
            if access == "WriteBlocked" {
                client.batch_execute("BEGIN").await.unwrap();
                assert_eq!(count(&client, "DELETE FROM school.profiles RETURNING user_id").await, "7");
                client.batch_execute("ROLLBACK").await.unwrap();
            }
            // Who only reads is bound as long as writers are no others than readers.
            let rows = if access == "ReadWrite" { "2" } else { "0" };
            assert_eq!(count(&report, "SELECT count(*) FROM school.profiles").await, rows, "{access}");
            is_settled(&database, &lane, &[&school], access).await;
        }
    })
    .await;
}
