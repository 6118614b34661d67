//! Rights on single columns, which no grant gives: what a user gave a grantee there by hand is found and taken, and what is
//! others' stays.

use serde_json::{Value, json};

use crate::{
    grants::{give, grant, grant_on, may, repair, rights, school_and_reporting},
    interplay::{is_settled, set},
    interplay_policies::{SCHOOL, covered, uncovered},
    policies::own_rows,
    support::{Database, Lane, Tenant, expect, surveyed, with_database},
};

const RENAME: &str = "UPDATE school.pupils SET name = 'Cy'";

/// All rights on single columns of a schema, but for those of a role.
async fn on_columns(database: &Database, but: &str) -> Vec<String> {
    let found: Value = database
        .one(&format!(
            "SELECT coalesce(jsonb_agg(f.what ORDER BY f.what), '[]') FROM (SELECT format('%s.%s %s %s', c.relname, a.attname, \
             x.privilege_type, x.grantee::regrole) AS what FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid \
             CROSS JOIN LATERAL aclexplode(a.attacl) AS x WHERE c.relnamespace = 'school'::regnamespace \
             AND x.grantee::regrole::text NOT IN ('{but}', '\"{but}\"')) AS f"
        ))
        .await;
    found.as_array().unwrap().iter().map(|what| what.as_str().unwrap().to_owned()).collect()
}

async fn found(lane: &Lane, tenant: &Tenant) -> Vec<String> {
    let survey = lane.survey(false).await;
    assert!(survey["tenants"].is_array(), "{survey}");
    let Some(row) = surveyed(&survey, tenant) else { return Vec::new() };
    row["drift"].as_array().unwrap().iter().map(|found| found["what"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn what_a_user_gives_on_columns_is_found_and_taken() {
    with_database(async |database| {
        let (school, reporting) = school_and_reporting(&database).await;
        let lane = Lane::claim(database.operator().await).await;
        let service = database.role("service", "NOLOGIN").await;
        let stranger = database.role("stranger", "NOLOGIN").await;
        // What the owner gives to others is its own business, on columns of the same table as well.
        let theirs = format!("GRANT SELECT (name), UPDATE (name) ON school.pupils TO {stranger}");
        database.admin.batch_execute(&theirs).await.unwrap();
        let grants = json!([grant("reporting", &["Write"]), { "role": service, "privileges": ["Read"] }]);
        expect(&give(&database, &school, grants).await, "success");
        let right = rights(&database, &school).await;
        is_settled(&database, &lane, &[&school, &reporting], "given").await;
        let Tenant { reader, writer, .. } = &reporting;
        let finding = |what: &str, roles: &str| vec![format!("grants: {what} is with {roles}, and no grant says so")];
        for (change, told) in [
            (
                format!("GRANT UPDATE (name) ON school.pupils TO {reader}"),
                finding("UPDATE (name) on table pupils", reader),
            ),
            // System columns, sequences and views have rights on columns too.
            (
                format!("GRANT SELECT (ctid, id), INSERT (name) ON school.pupils TO {service}"),
                finding("INSERT (name), SELECT (ctid, id) on table pupils", &service),
            ),
            (
                format!("GRANT SELECT (last_value) ON TABLE school.pupils_id_seq TO {reader}"),
                finding("SELECT (last_value) on table pupils_id_seq", reader),
            ),
            (
                format!("GRANT UPDATE (mark) ON school.best, school.marks TO {reader}, {service}"),
                finding("UPDATE (mark) on tables best, marks", &{
                    let mut roles = [reader.as_str(), &service];
                    roles.sort_unstable();
                    roles.join(", ")
                }),
            ),
            // What a grant says of the table anyway, for it may end.
            (
                format!("GRANT UPDATE (name) ON school.pupils TO {writer}"),
                finding("UPDATE (name) on table pupils", writer),
            ),
            // And what was given on by it.
            (
                format!(
                    "SET ROLE {}; GRANT REFERENCES (id) ON school.pupils TO {reader} WITH GRANT OPTION; SET ROLE {reader}; \
                     GRANT REFERENCES (id) ON school.pupils TO {service}; RESET ROLE",
                    school.owner
                ),
                finding("REFERENCES (id) on table pupils", reader),
            ),
        ] {
            database.admin.batch_execute(&change).await.unwrap();
            assert_eq!(found(&lane, &school).await, told, "{change}");
            expect(&repair(&database, &school).await, "success");
            assert_eq!(on_columns(&database, &stranger).await, [] as [&str; 0], "{change}");
            assert_eq!(rights(&database, &school).await, right, "{change}");
            is_settled(&database, &lane, &[&school, &reporting], &change).await;
        }
        assert_eq!(on_columns(&database, "").await.len(), 2);
        // A column that is dropped leaves nothing to take.
        let gone = format!("ALTER TABLE marks ADD COLUMN note text; GRANT UPDATE (note) ON marks TO {reader}");
        database.as_owner(&school, &gone).await;
        database.as_owner(&school, "ALTER TABLE marks DROP COLUMN note").await;
        is_settled(&database, &lane, &[&school], "a column is gone").await;
    })
    .await;
}

#[tokio::test]
async fn a_grant_that_ends_or_shrinks_leaves_no_column_open() {
    with_database(async |database| {
        let (school, reporting) = school_and_reporting(&database).await;
        let lane = Lane::claim(database.operator().await).await;
        let by_hand = format!(
            "GRANT UPDATE (name), SELECT (name) ON pupils TO {0}, {1}; GRANT SELECT (mark) ON marks TO {0}",
            reporting.reader, reporting.writer
        );
        let before = rights(&database, &school).await;
        for fewer in
            [json!([grant("reporting", &["Read"])]), json!([grant_on("reporting", &["Write"], &["marks"])]), json!([])]
        {
            expect(&give(&database, &school, json!([grant("reporting", &["Write"])])).await, "success");
            database.as_owner(&school, &by_hand).await;
            assert!(may(&database, &reporting.reader, RENAME).await);
            expect(&give(&database, &school, fewer.clone()).await, "success");
            assert_eq!(on_columns(&database, "").await, [] as [&str; 0], "{fewer}");
            for role in [&reporting.reader, &reporting.writer] {
                assert!(!may(&database, role, RENAME).await, "{fewer}");
            }
            is_settled(&database, &lane, &[&school, &reporting], "fewer").await;
        }
        assert_eq!(rights(&database, &school).await, before);
        assert_eq!(database.one::<i64>("SELECT count(*) FROM edu_matrix_hub_schema.tenant_grantees").await, 0);
        // A tenant that has no grant is one of those others to whom an owner gives what it likes.
        database.as_owner(&school, &by_hand).await;
        is_settled(&database, &lane, &[&school, &reporting], "no grant").await;
        assert_eq!(on_columns(&database, "").await.len(), 5);
        // From its first grant on it has what that says.
        expect(&give(&database, &school, json!([grant("reporting", &["Read"])])).await, "success");
        assert_eq!(on_columns(&database, "").await, [] as [&str; 0]);
        is_settled(&database, &lane, &[&school, &reporting], "first grant").await;
    })
    .await;
}

#[tokio::test]
async fn a_block_gives_no_grantee_a_column_back() {
    with_database(async |database| {
        let (school, reporting) = school_and_reporting(&database).await;
        let lane = Lane::claim(database.operator().await).await;
        let stranger = database.role("stranger", "NOLOGIN").await;
        let by_hand = format!(
            "GRANT UPDATE (name), SELECT (name) ON pupils TO {}, {stranger}; GRANT INSERT ON marks TO {}",
            reporting.reader, reporting.reader
        );
        for grants in [json!([grant("reporting", &["Read"])]), json!([grant("reporting", &["Write"])])] {
            for ends in [true, false] {
                expect(&give(&database, &school, grants.clone()).await, "success");
                database.as_owner(&school, &by_hand).await;
                let others = on_columns(&database, &reporting.reader).await;
                assert_eq!(others.len(), 2);
                for access in ["ReadOnly", "WriteBlocked"] {
                    set(&database, &school, access).await;
                    // At once, and not by the next survey.
                    assert!(!may(&database, &reporting.reader, RENAME).await, "{access}");
                    let insert = "INSERT INTO school.marks (mark) VALUES (1)";
                    assert!(!may(&database, &reporting.reader, insert).await, "{access}");
                    is_settled(&database, &lane, &[&school, &reporting], access).await;
                    // And given again meanwhile.
                    let again = format!("GRANT UPDATE (name) ON pupils TO {}", reporting.reader);
                    database.as_owner(&school, &again).await;
                    assert_eq!(found(&lane, &school).await.len(), 1, "{access}");
                    expect(&repair(&database, &school).await, "success");
                    is_settled(&database, &lane, &[&school, &reporting], access).await;
                }
                if ends {
                    expect(&give(&database, &school, json!([])).await, "success");
                }
                set(&database, &school, "ReadWrite").await;
                assert_eq!(on_columns(&database, "").await, others, "{grants} {ends}");
                is_settled(&database, &lane, &[&school, &reporting], "open again").await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn required_policies_give_no_grantee_a_column_back() {
    with_database(async |database| {
        let (school, reporting) = (database.tenant("school").await, database.tenant("reporting").await);
        let lane = Lane::claim(database.operator().await).await;
        let stranger = database.role("stranger", "NOLOGIN").await;
        database.as_owner(&school, SCHOOL).await;
        expect(&give(&database, &school, json!([grant("reporting", &["Read"])])).await, "success");
        covered(&database, &school, "Required", own_rows()).await;
        is_settled(&database, &lane, &[&school, &reporting], "covered").await;
        let by_hand =
            format!("GRANT UPDATE (name), SELECT (name) ON profiles, past TO {}, {stranger}", reporting.reader);
        database.as_owner(&school, &by_hand).await;
        assert_ne!(found(&lane, &school).await, [] as [&str; 0]);
        expect(&repair(&database, &school).await, "success");
        is_settled(&database, &lane, &[&school, &reporting], "taken").await;
        // What is past the policies is taken from others, and from a grantee what is on the table as well.
        let theirs = [format!("profiles.name SELECT {stranger}"), format!("profiles.name UPDATE {stranger}")];
        assert_eq!(on_columns(&database, "").await, theirs);
        uncovered(&database, &school).await;
        assert_eq!(on_columns(&database, &stranger).await, [] as [&str; 0]);
        assert_eq!(on_columns(&database, "").await.len(), 4);
        is_settled(&database, &lane, &[&school, &reporting], "without policies").await;
    })
    .await;
}

#[tokio::test]
async fn a_column_that_a_session_holds_keeps_no_other_right() {
    with_database(async |database| {
        let (school, reporting) = school_and_reporting(&database).await;
        let lane = Lane::claim(database.operator().await).await;
        expect(&give(&database, &school, json!([grant("reporting", &["Read"])])).await, "success");
        let by_hand = format!(
            "GRANT UPDATE (name) ON pupils TO {0}; GRANT UPDATE (mark) ON marks TO {0}; GRANT INSERT ON marks TO {0}",
            reporting.reader
        );
        database.as_owner(&school, &by_hand).await;
        let session = database.connect("postgres").await;
        let held = format!("BEGIN; GRANT UPDATE (name) ON school.pupils TO {}", reporting.owner);
        session.batch_execute(&held).await.unwrap();
        let answer = repair(&database, &school).await;
        expect(&answer, "success");
        assert_eq!(answer["detail"]["repaired"].as_array().map(Vec::len), Some(2), "{answer}");
        assert_eq!(on_columns(&database, "").await, [format!("pupils.name UPDATE {}", reporting.reader)]);
        // Nothing else is left, and it says why that one is.
        let answer = repair(&database, &school).await;
        expect(&answer, "busy");
        assert_eq!(found(&lane, &school).await.len(), 1);
        session.batch_execute("COMMIT").await.unwrap();
        expect(&repair(&database, &school).await, "success");
        assert_eq!(on_columns(&database, "").await, [] as [&str; 0]);
        is_settled(&database, &lane, &[&school, &reporting], "let go").await;
    })
    .await;
}

#[tokio::test]
async fn many_columns_are_taken_in_short_calls() {
    with_database(async |database| {
        let (school, reporting) = school_and_reporting(&database).await;
        let lane = Lane::claim(database.operator().await).await;
        expect(&give(&database, &school, json!([grant("reporting", &["Read"])])).await, "success");
        let columns: Vec<_> = (0..700).map(|n| format!("\"Column {n}\" int")).collect();
        for table in 0..8 {
            // Different ones on each, so that no statement is for all.
            let some: Vec<_> = (table..700).map(|n| format!("\"Column {n}\"")).collect();
            let make = format!(
                "CREATE TABLE wide{table} ({}); GRANT UPDATE ({}) ON wide{table} TO {}",
                columns.join(", "),
                some.join(", "),
                reporting.reader
            );
            database.as_owner(&school, &make).await;
        }
        for table in 0..600 {
            let make = format!("CREATE TABLE t{table} (a int); GRANT UPDATE (a) ON t{table} TO {}", reporting.reader);
            database.as_owner(&school, &make).await;
        }
        // At most two thousand rights, the statement by which it is so many, and one for what stands for the rest.
        let look = format!(
            "SELECT array_agg(d.kind ORDER BY d.kind) FROM edu_matrix_hub_schema._drift(ARRAY['{}']::uuid[]) AS d",
            school.id
        );
        let told: Vec<String> = database.one(&look).await;
        assert_eq!(told, ["grant", "grant", "grant", "grant_part"]);
        for _ in 0..5 {
            if found(&lane, &school).await.is_empty() {
                break;
            }
            expect(&repair(&database, &school).await, "success");
        }
        assert_eq!(on_columns(&database, "").await, [] as [&str; 0]);
        is_settled(&database, &lane, &[&school, &reporting], "done").await;
    })
    .await;
}
