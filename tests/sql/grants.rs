//! What the owner of a tenant gives to another: exactly that, while it is given, and as long as both are there.

use serde_json::{Value, json};

use crate::support::{Database, Lane, Tenant, call, expect, owner, surveyed, with_database};

/// A grant to the tenant of this name.
pub fn grant(to: &str, privileges: &[&str]) -> Value {
    json!({ "namespace": "team-a", "name": to, "privileges": privileges })
}

/// The same on some tables.
pub fn grant_on(to: &str, privileges: &[&str], tables: &[&str]) -> Value {
    json!({ "namespace": "team-a", "name": to, "privileges": privileges, "tables": tables })
}

/// Sets the grants of a tenant.
pub async fn give(database: &Database, tenant: &Tenant, grants: Value) -> Value {
    call(&database.operator().await, "set_tenant_grants", &tenant.options(&json!({ "grants": grants }))).await
}

/// Whether a role may do something, by trying it.
pub async fn may(database: &Database, role: &str, statement: &str) -> bool {
    let text = format!("BEGIN; SET LOCAL ROLE \"{role}\"; {statement}; ROLLBACK");
    let done = database.admin.batch_execute(&text).await;
    if done.is_err() {
        database.admin.batch_execute("ROLLBACK").await.unwrap();
    }
    done.is_ok()
}

/// All rights on the objects of a schema, and the default privileges of its owner.
pub async fn rights(database: &Database, tenant: &Tenant) -> String {
    database
        .one(&format!(
            "SELECT string_agg(r.what, E'\\n' ORDER BY r.what) FROM (SELECT c.relname || ' ' || coalesce((SELECT \
             string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(c.relacl) AS a), '') AS what FROM pg_class AS c WHERE \
             c.relnamespace = '{schema}'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'S') UNION ALL SELECT 'schema ' || \
             (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(n.nspacl) AS a) FROM pg_namespace AS n WHERE \
             n.nspname = '{schema}' UNION ALL SELECT d.defaclobjtype::text || ' ' || (SELECT string_agg(a::text, ' ' ORDER BY \
             a::text) FROM unnest(d.defaclacl) AS a) FROM pg_default_acl AS d WHERE d.defaclrole = '{owner}'::regrole) AS r",
            schema = tenant.schema,
            owner = tenant.owner,
        ))
        .await
}

/// What differs between the grants of a tenant and the rights on it.
async fn drift(database: &Database, tenant: &Tenant) -> Vec<String> {
    let answer: Value = database.one(&format!("SELECT edu_matrix_hub_schema._tenant_drift('{}')", tenant.id)).await;
    answer.as_array().unwrap().iter().map(|found| found["what"].as_str().unwrap().to_owned()).collect()
}

pub async fn repair(database: &Database, tenant: &Tenant) -> Value {
    call(&database.operator().await, "repair_tenant_schema", &tenant.options(&json!({}))).await
}

/// What the grants of a tenant have come to.
pub async fn states(database: &Database, tenant: &Tenant) -> Value {
    let mut request = owner(&tenant.schema);
    request["schema_name"] = json!(tenant.schema);
    call(&database.operator().await, "observe_tenant", &request).await["own"]["grants"].clone()
}

/// Two tenants, of which the first has tables with an identity, a serial and a view.
pub async fn school_and_reporting(database: &Database) -> (Tenant, Tenant) {
    let (school, reporting) = (database.tenant("school").await, database.tenant("reporting").await);
    let tables = "CREATE TABLE pupils (id serial PRIMARY KEY, name text); INSERT INTO pupils (name) VALUES ('Ann'); \
                  CREATE TABLE marks (id int GENERATED ALWAYS AS IDENTITY, mark int); \
                  CREATE VIEW best AS SELECT * FROM marks WHERE mark = 1; \
                  CREATE FUNCTION secret() RETURNS int LANGUAGE sql AS 'SELECT 1'";
    database.as_owner(&school, tables).await;
    (school, reporting)
}

#[tokio::test]
async fn a_grantee_may_do_what_the_grant_says_and_nothing_else() {
    with_database(async |database| {
        let (school, reporting) = school_and_reporting(&database).await;
        let before = rights(&database, &school).await;
        let read = [
            "SELECT * FROM school.pupils",
            "SELECT * FROM school.best",
            "SELECT last_value FROM school.pupils_id_seq",
            "SELECT * FROM school.later",
        ];
        let write = [
            "INSERT INTO school.pupils (name) VALUES ('Bea')",
            "UPDATE school.pupils SET name = 'Cy' WHERE id = 1",
            "DELETE FROM school.marks",
            "INSERT INTO school.marks (mark) VALUES (1)",
            "INSERT INTO school.later (id) VALUES (DEFAULT)",
        ];
        let never = [
            "CREATE TABLE school.own ()",
            "TRUNCATE school.pupils",
            "ALTER TABLE school.pupils ADD COLUMN age int",
            "DROP TABLE school.marks",
            "SELECT school.secret()",
            "CREATE TABLE reporting.child (id int REFERENCES school.pupils (id))",
            "GRANT SELECT ON school.pupils TO PUBLIC; SET ROLE pg_monitor; SELECT * FROM school.pupils",
        ];
        let none: &[&str] = &[];
        let cases: &[(&[&str], &[&str], &[&str])] =
            &[(&["Read"], &read, none), (&["Write"], &read, &write), (&["Read", "Write"], &read, &write)];
        for (privileges, reads, writes) in cases {
            expect(&give(&database, &school, json!([grant("reporting", privileges)])).await, "success");
            database.as_owner(&school, "CREATE TABLE later (id serial)").await;
            for role in [&reporting.reader, &reporting.writer, &reporting.owner] {
                for statement in *reads {
                    assert!(may(&database, role, statement).await, "{privileges:?} {role}: {statement}");
                }
                for statement in write {
                    let expected = *role != reporting.reader && writes.contains(&statement);
                    assert_eq!(may(&database, role, statement).await, expected, "{privileges:?} {role}: {statement}");
                }
                for statement in never {
                    assert!(!may(&database, role, statement).await, "{privileges:?} {role}: {statement}");
                }
            }
            assert_eq!(drift(&database, &school).await, [] as [&str; 0]);
            assert_eq!(states(&database, &school).await[0]["state"], "given");
            expect(&give(&database, &school, json!([grant("reporting", privileges)])).await, "unchanged");
            assert_eq!(database.standing_memberships().await, 0);
            database.as_owner(&school, "DROP TABLE later").await;
        }
        expect(&give(&database, &school, json!([])).await, "success");
        assert_eq!(rights(&database, &school).await, before);
        assert_eq!(database.one::<i64>("SELECT count(*) FROM edu_matrix_hub_schema.tenant_grantees").await, 0);
        assert_eq!(drift(&database, &school).await, [] as [&str; 0]);
    })
    .await;
}

#[tokio::test]
async fn a_grant_on_named_tables_gives_these_with_their_sequences() {
    with_database(async |database| {
        let (school, reporting) = school_and_reporting(&database).await;
        let lane = Lane::claim(database.operator().await).await;
        let before = rights(&database, &school).await;
        let grants = json!([
            grant_on("reporting", &["Read"], &["marks", "absent"]),
            grant_on("reporting", &["Write"], &["pupils"]),
        ]);
        expect(&give(&database, &school, grants.clone()).await, "success");
        let role = &reporting.writer;
        assert!(may(&database, role, "SELECT * FROM school.marks").await);
        assert!(may(&database, role, "INSERT INTO school.pupils (name) VALUES ('Bea')").await);
        assert!(!may(&database, role, "INSERT INTO school.marks (mark) VALUES (1)").await);
        assert!(!may(&database, role, "SELECT * FROM school.best").await);
        let told = states(&database, &school).await;
        assert_eq!((&told[0]["missing"], &told[0]["missing_count"]), (&json!(["absent"]), &json!(1)));
        assert_eq!(told[1]["missing"], Value::Null);

        // A named table is given when it appears, and one that is not named is not.
        lane.survey(false).await;
        lane.survey(false).await;
        database.as_owner(&school, "CREATE TABLE absent (id int); CREATE TABLE other (id int)").await;
        let row = lane.survey(false).await;
        let found = surveyed(&row, &school).unwrap()["drift"].clone();
        assert_eq!(
            found[0]["what"].as_str().unwrap().split(" for ").next(),
            Some("grants: SELECT on table absent is missing"),
            "{found}"
        );
        expect(&repair(&database, &school).await, "success");
        assert!(may(&database, role, "SELECT * FROM school.absent").await);
        assert!(!may(&database, role, "SELECT * FROM school.other").await);

        // Fewer tables are less.
        database.as_owner(&school, "DROP TABLE absent, other").await;
        expect(&give(&database, &school, json!([grant_on("reporting", &["Read"], &["marks"])])).await, "success");
        assert!(!may(&database, role, "SELECT * FROM school.pupils").await);
        assert!(may(&database, role, "SELECT * FROM school.marks").await);
        expect(&give(&database, &school, json!([])).await, "success");
        assert_eq!(rights(&database, &school).await, before);
    })
    .await;
}

#[tokio::test]
async fn a_grant_waits_for_its_grantee_and_ends_with_it() {
    with_database(async |database| {
        let school = database.tenant("school").await;
        let lane = Lane::claim(database.operator().await).await;
        database.as_owner(&school, "CREATE TABLE pupils (id int)").await;
        let before = rights(&database, &school).await;
        expect(&give(&database, &school, json!([grant("reporting", &["Read"])])).await, "success");
        assert_eq!(states(&database, &school).await[0]["state"], "waiting");
        assert_eq!(rights(&database, &school).await, before);
        lane.survey(false).await;
        assert!(surveyed(&lane.survey(false).await, &school).is_none());

        // The survey tells of the grantor when the grantee comes.
        let reporting = database.tenant("reporting").await;
        let survey = lane.survey(false).await;
        assert_ne!(surveyed(&survey, &school).unwrap()["drift"], json!([]));
        assert_eq!(states(&database, &school).await[0]["state"], "due");
        expect(&repair(&database, &school).await, "success");
        assert_eq!(states(&database, &school).await[0]["state"], "given");
        let read = "SELECT * FROM school.pupils";
        assert!(may(&database, &reporting.reader, read).await);
        lane.survey(false).await;
        assert!(surveyed(&lane.survey(false).await, &school).is_none());

        // And when it goes; its roles stay with what is set aside.
        let aside = reporting.options(&json!({ "owner_uid": "uid-reporting" }));
        let answer = call(&database.operator().await, "set_aside_tenant_schema", &aside).await;
        expect(&answer, "success");
        assert_ne!(surveyed(&lane.survey(false).await, &school).unwrap()["drift"], json!([]));
        expect(&repair(&database, &school).await, "success");
        assert!(!may(&database, &reporting.reader, read).await);
        assert_eq!(rights(&database, &school).await, before);
        assert_eq!(states(&database, &school).await[0]["state"], "waiting");

        // It comes back with it.
        let restore = json!({ "backup_id": answer["detail"]["backup_id"], "owner": owner("reporting") });
        expect(&call(&database.operator().await, "restore_tenant_schema", &restore).await, "success");
        assert_ne!(surveyed(&lane.survey(false).await, &school).unwrap()["drift"], json!([]));
        expect(&repair(&database, &school).await, "success");
        assert!(may(&database, &reporting.reader, read).await);
    })
    .await;
}

#[tokio::test]
async fn what_a_user_changes_by_hand_on_a_grant_is_found_and_put_right() {
    with_database(async |database| {
        let (school, reporting) = school_and_reporting(&database).await;
        let lane = Lane::claim(database.operator().await).await;
        expect(&give(&database, &school, json!([grant("reporting", &["Read"])])).await, "success");
        let right = rights(&database, &school).await;
        lane.survey(false).await;
        lane.survey(false).await;
        let Tenant { reader, owner, .. } = &reporting;
        let stranger = database.role("stranger", "NOLOGIN").await;
        for change in [
            format!("REVOKE SELECT ON school.pupils FROM {reader}"),
            format!("REVOKE ALL ON ALL TABLES IN SCHEMA school FROM {reader}, {owner}"),
            format!("GRANT INSERT ON school.pupils TO {reader}"),
            format!(
                "SET ROLE {}; GRANT SELECT ON school.pupils TO {reader} WITH GRANT OPTION; SET ROLE {reader}; \
                     GRANT SELECT ON school.pupils TO {stranger}; RESET ROLE",
                school.owner
            ),
            format!("REVOKE USAGE ON SCHEMA school FROM {reader}"),
            format!("GRANT CREATE ON SCHEMA school TO {reader}"),
            format!("ALTER DEFAULT PRIVILEGES FOR ROLE {} REVOKE SELECT ON TABLES FROM {reader}", school.owner),
            format!("ALTER DEFAULT PRIVILEGES FOR ROLE {} GRANT DELETE ON TABLES TO {reader}", school.owner),
            format!("REVOKE SELECT ON school.pupils_id_seq FROM {owner}"),
        ] {
            database.admin.batch_execute(&change).await.unwrap();
            let survey = lane.survey(false).await;
            assert!(survey["tenants"].is_array(), "{change}: {survey}");
            let found = surveyed(&survey, &school).map(|row| row["drift"].clone());
            assert_eq!(found.as_ref().and_then(|found| found.as_array()).map(Vec::len), Some(1), "{change}: {found:?}");
            expect(&repair(&database, &school).await, "success");
            assert_eq!(rights(&database, &school).await, right, "{change}");
            assert_eq!(drift(&database, &school).await, [] as [&str; 0], "{change}");
            assert_eq!(surveyed(&lane.survey(false).await, &school).unwrap()["drift"], json!([]), "{change}");
        }
        // A table that another role made is given when it becomes the owner's.
        database.admin.batch_execute("CREATE TABLE school.imported (id int)").await.unwrap();
        lane.survey(false).await;
        assert!(!may(&database, reader, "SELECT * FROM school.imported").await);
        database.admin.batch_execute(&format!("ALTER TABLE school.imported OWNER TO {}", school.owner)).await.unwrap();
        let survey = lane.survey(false).await;
        assert!(survey["tenants"].is_array(), "{survey}");
        assert_ne!(surveyed(&survey, &school).unwrap()["drift"], json!([]));
        expect(&repair(&database, &school).await, "success");
        assert!(may(&database, reader, "SELECT * FROM school.imported").await);
        // What the tenant gives to others is its own business.
        database.as_owner(&school, &format!("GRANT ALL ON imported TO {stranger}")).await;
        assert_eq!(drift(&database, &school).await, [] as [&str; 0]);
    })
    .await;
}
