//! What several parts of a tenant have to do with the same rights: none gives back what another took, and each is content
//! with what the others did.

use serde_json::{Value, json};

use crate::{
    application::Application,
    grants::{give, grant, may, repair, rights, school_and_reporting, states},
    support::{Database, Lane, Tenant, call, expect, surveyed, with_database},
};

const WRITES: [&str; 5] = [
    "INSERT INTO school.pupils (name) VALUES ('Bea')",
    "UPDATE school.pupils SET name = 'Cy' WHERE id = 1",
    "DELETE FROM school.marks",
    "SELECT nextval('school.pupils_id_seq')",
    "INSERT INTO school.later VALUES (1)",
];

pub async fn set(database: &Database, tenant: &Tenant, access: &str) {
    let options = tenant.options(&json!({ "access": access, "access_cause": "Spec" }));
    expect(&call(&database.operator().await, "set_tenant_access", &options).await, "success");
}

/// Nothing is left to do: no drift, a repair does nothing, and the second of two surveys tells nothing of these tenants.
pub async fn is_settled(database: &Database, lane: &Lane, tenants: &[&Tenant], when: &str) {
    for tenant in tenants {
        let found: Value = database.one(&format!("SELECT edu_matrix_hub_schema._tenant_drift('{}')", tenant.id)).await;
        assert_eq!(found, json!([]), "{when}");
        let answer = repair(database, tenant).await;
        assert_eq!(answer["status"], "unchanged", "{when}: {answer}");
    }
    lane.survey(false).await;
    let survey = lane.survey(false).await;
    for tenant in tenants {
        assert_eq!(surveyed(&survey, tenant), None, "{when}");
    }
}

#[tokio::test]
async fn a_block_takes_what_grants_write_with_and_gives_it_back() {
    with_database(async |database| {
        let (school, reporting) = school_and_reporting(&database).await;
        let lane = Lane::claim(database.operator().await).await;
        database.as_owner(&school, "CREATE TABLE later (id int)").await;
        let grants = json!([grant("reporting", &["Read", "Write"])]);
        expect(&give(&database, &school, grants.clone()).await, "success");
        // A role that no grant is to, and a function through which the grantee would write.
        let stranger = database.role("stranger", "NOLOGIN").await;
        database
            .as_owner(
                &school,
                &format!(
                    "GRANT INSERT ON later TO {stranger}; CREATE FUNCTION write() RETURNS void LANGUAGE sql SECURITY DEFINER \
                     AS 'INSERT INTO school.later VALUES (1)'; GRANT EXECUTE ON FUNCTION write() TO {}",
                    reporting.writer
                ),
            )
            .await;
        let before = rights(&database, &school).await;
        is_settled(&database, &lane, &[&school, &reporting], "open").await;
        for access in ["ReadOnly", "WriteBlocked", "Suspended", "ReadOnly"] {
            set(&database, &school, access).await;
            for role in [&reporting.writer, &reporting.owner] {
                assert_eq!(may(&database, role, "SELECT * FROM school.pupils").await, access != "Suspended", "{access}");
                for statement in WRITES.into_iter().chain(["SELECT school.write()"]) {
                    assert!(!may(&database, role, statement).await, "{access} {role}: {statement}");
                }
            }
            assert_eq!(states(&database, &school).await[0]["state"], "given", "{access}");
            expect(&give(&database, &school, grants.clone()).await, "unchanged");
            is_settled(&database, &lane, &[&school, &reporting], access).await;

            // What is made and given meanwhile is read, and not written.
            database.as_owner(&school, "CREATE TABLE meanwhile (id int)").await;
            assert!(!may(&database, &reporting.writer, "INSERT INTO school.meanwhile VALUES (1)").await);
            let by_hand = format!("GRANT INSERT ON school.meanwhile TO {}", reporting.writer);
            database.admin.batch_execute(&by_hand).await.unwrap();
            expect(&repair(&database, &school).await, "success");
            is_settled(&database, &lane, &[&school, &reporting], access).await;
            assert!(!may(&database, &reporting.writer, "INSERT INTO school.meanwhile VALUES (1)").await);
            database.as_owner(&school, "DROP TABLE meanwhile").await;
        }
        set(&database, &school, "ReadWrite").await;
        // The role that may delete during a block keeps its grants.
        let after = rights(&database, &school).await;
        let kept: String = after.split(' ').filter(|right| !right.contains("_delete=")).collect::<Vec<_>>().join(" ");
        assert_eq!(kept, before);
        is_settled(&database, &lane, &[&school, &reporting], "open again").await;
        for statement in WRITES.into_iter().chain(["SELECT school.write()"]) {
            assert!(may(&database, &reporting.writer, statement).await, "{statement}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_grant_that_comes_or_goes_during_a_block_counts_when_that_ends() {
    with_database(async |database| {
        let (school, reporting) = school_and_reporting(&database).await;
        let lane = Lane::claim(database.operator().await).await;
        let (write, read) = ("INSERT INTO school.pupils (name) VALUES ('Bea')", "SELECT * FROM school.pupils");
        // What an owner gave by hand is the block's to take, and what a grant says counts from then on.
        database.as_owner(&school, &format!("GRANT INSERT ON pupils TO {}", reporting.reader)).await;
        set(&database, &school, "ReadOnly").await;
        expect(&give(&database, &school, json!([grant("reporting", &["Write"])])).await, "success");
        assert!(may(&database, &reporting.writer, read).await && !may(&database, &reporting.writer, write).await);
        is_settled(&database, &lane, &[&school, &reporting], "given").await;
        set(&database, &school, "ReadWrite").await;
        assert!(may(&database, &reporting.writer, write).await && !may(&database, &reporting.reader, write).await);
        is_settled(&database, &lane, &[&school, &reporting], "open").await;

        set(&database, &school, "ReadOnly").await;
        expect(&give(&database, &school, json!([])).await, "success");
        set(&database, &school, "ReadWrite").await;
        assert!(!may(&database, &reporting.writer, read).await && !may(&database, &reporting.writer, write).await);
        is_settled(&database, &lane, &[&school, &reporting], "gone").await;
    })
    .await;
}

#[tokio::test]
async fn a_grantee_whose_own_writes_are_taken_reads_by_its_grant() {
    with_database(async |database| {
        let (school, reporting) = school_and_reporting(&database).await;
        let lane = Lane::claim(database.operator().await).await;
        let application = Application::of(&database, &reporting).await;
        let login = application.issued("first").await;
        expect(&give(&database, &school, json!([grant("reporting", &["Write"])])).await, "success");
        for access in ["WriteBlocked", "ReadWrite"] {
            set(&database, &reporting, access).await;
            let client = database.log_in(&login, "first").await.unwrap();
            assert!(client.batch_execute("SELECT * FROM school.pupils").await.is_ok(), "{access}");
            let writes = client.batch_execute("INSERT INTO school.pupils (name) VALUES ('Bea')").await.is_ok();
            assert_eq!(writes, access == "ReadWrite");
            is_settled(&database, &lane, &[&school, &reporting], access).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_grant_is_no_hole_and_what_is_left_of_one_that_has_gone_is() {
    with_database(async |database| {
        let (school, reporting) = school_and_reporting(&database).await;
        expect(&give(&database, &school, json!([grant("reporting", &["Read"])])).await, "success");
        let unsure = "UPDATE edu_matrix_hub_schema.tenant_schemas SET fingerprint = NULL";
        let holes = async || -> String {
            database.admin.batch_execute(unsure).await.unwrap();
            database
                .one(&format!(
                    "SELECT coalesce(string_agg(statement, '; '), '') FROM \
                     edu_matrix_hub_schema._isolation_holes(ARRAY['{}'::uuid])",
                    reporting.id
                ))
                .await
        };
        let Tenant { owner, reader, writer, .. } = &reporting;
        assert_eq!(holes().await, "");
        for (given, told) in [
            ("CREATE ON SCHEMA school TO", format!("REVOKE CREATE ON SCHEMA school FROM {reader} CASCADE")),
            ("USAGE ON SCHEMA school TO PUBLIC,", "REVOKE USAGE ON SCHEMA school FROM PUBLIC CASCADE".to_owned()),
        ] {
            database.admin.batch_execute(&format!("GRANT {given} {reader}")).await.unwrap();
            assert_eq!(holes().await, told);
            expect(&repair(&database, &school).await, "success");
            assert_eq!(holes().await, "");
        }
        // It is gone, and nobody has taken what it gave so far.
        database.admin.batch_execute("DELETE FROM edu_matrix_hub_schema.tenant_grants").await.unwrap();
        let told = [owner, reader, writer].map(|role| format!("REVOKE USAGE ON SCHEMA school FROM {role} CASCADE"));
        assert_eq!(holes().await, told.join("; "));
        expect(&repair(&database, &school).await, "success");
        assert_eq!(holes().await, "");
    })
    .await;
}
