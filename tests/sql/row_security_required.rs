//! `Required`: what reads or writes past the policies is closed until it is safe, and what is new until it was looked at.

use serde_json::{Value, json};

use crate::{
    policies::{ANN, Policies, own_rows, read},
    support::{expect, with_database},
};

const PROFILES: &str = "CREATE TABLE profiles (user_id int, name text);
    INSERT INTO profiles VALUES (7, 'ann'), (8, 'bob')";

/// Things that read or write past the policies of `profiles`.
const HOLES: [(&str, &str, &str); 6] = [
    ("CREATE VIEW v AS SELECT * FROM profiles", "SELECT count(*) FROM v", "view school.v"),
    ("CREATE MATERIALIZED VIEW m AS SELECT * FROM profiles", "SELECT count(*) FROM m", "materialized view school.m"),
    (
        "CREATE VIEW safe WITH (security_invoker = true) AS SELECT * FROM profiles; CREATE VIEW over AS SELECT * FROM safe",
        "SELECT count(*) FROM over",
        "view school.over",
    ),
    (
        "CREATE FUNCTION f() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM school.profiles'",
        "SELECT f()",
        "routine school.f()",
    ),
    (
        "CREATE TABLE inbox (user_name text); CREATE RULE r AS ON INSERT TO inbox DO INSTEAD INSERT INTO profiles VALUES (8, \
         'forged')",
        "INSERT INTO inbox VALUES ('x')",
        "a rule of table school.inbox",
    ),
    (
        "CREATE DOMAIN user_number AS int; CREATE TABLE odd (user_id user_number); INSERT INTO odd VALUES (7), (8)",
        "SELECT count(*) FROM odd",
        "column \"user_id\" of table school.odd is of type school.user_number",
    ),
];

fn texts(uncovered: &Value) -> String {
    uncovered.as_array().unwrap().iter().map(|open| open["what"].as_str().unwrap()).collect::<Vec<_>>().join("; ")
}

#[tokio::test]
async fn what_passes_the_policies_is_closed_and_told_and_with_best_effort_only_told() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database.as_owner(&tenant, PROFILES).await;
        for (make, ..) in HOLES {
            database.as_owner(&tenant, make).await;
        }
        let policies = Policies::of(&database, &tenant).await;
        let detail = policies.covered("BestEffort", own_rows()).await;
        assert_eq!((&detail["tables"], &detail["uncovered_count"]), (&json!(1), &json!(6)), "{detail}");
        for (_, hole, _) in HOLES {
            assert_ne!(policies.reads(Some("7"), hole).await, "42501", "{hole}");
        }
        let detail = policies.covered("Required", own_rows()).await;
        assert_eq!(detail["uncovered_count"], 6);
        for (_, hole, _) in HOLES {
            assert_eq!(policies.reads(Some("7"), hole).await, "42501", "{hole}");
        }
        policies.covered("BestEffort", own_rows()).await;
        for (_, hole, _) in HOLES {
            assert_ne!(policies.reads(Some("7"), hole).await, "42501", "{hole}");
        }
        policies.covered("Required", own_rows()).await;
        assert_eq!(policies.reads(Some("7"), "SELECT count(*) FROM safe").await, "1");
        assert_eq!(policies.drift().await, [] as [&str; 0]);
        let told = policies.told().await;
        assert_eq!((&told["uncovered_count"], told["uncovered"].as_array().unwrap().len()), (&json!(6), 5));

        // Each is safe when its owner says so, and is given back then.
        database
            .as_owner(
                &tenant,
                "ALTER VIEW v SET (security_invoker = 1); ALTER VIEW over SET (security_invoker = on);
                 ALTER FUNCTION f() SECURITY INVOKER; DROP RULE r ON inbox; ALTER TABLE odd ALTER user_id TYPE int;
                 DROP MATERIALIZED VIEW m; CREATE VIEW m WITH (security_invoker) AS SELECT * FROM profiles",
            )
            .await;
        policies.repaired().await;
        assert_eq!(policies.told().await["uncovered"], json!([]));
        for (_, hole, _) in HOLES {
            let found = policies.reads(Some("7"), hole).await;
            assert!(["1", ""].contains(&&*found), "{hole}: {found}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_new_is_closed_until_it_was_looked_at_and_then_as_open_as_by_default() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database.as_owner(&tenant, PROFILES).await;
        let policies = Policies::of(&database, &tenant).await;
        policies.covered("Required", own_rows()).await;
        for (make, hole, what) in HOLES {
            database.as_owner(&tenant, make).await;
            assert_eq!(policies.reads(Some("7"), hole).await, "42501", "{hole}");
            policies.repaired().await;
            assert_eq!(policies.reads(Some("7"), hole).await, "42501", "{hole}");
            assert!(
                texts(&policies.told().await["uncovered"]).contains(what) || what.contains("view school.v"),
                "{what}"
            );
        }
        let new = "CREATE TABLE pupils (user_id int); INSERT INTO pupils VALUES (7), (8); CREATE TABLE free (x int);
                   CREATE FUNCTION g() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TABLE hidden (x int);
                   REVOKE ALL ON hidden FROM PUBLIC; GRANT SELECT ON hidden TO CURRENT_USER; CREATE SEQUENCE s";
        database.as_owner(&tenant, new).await;
        for query in ["SELECT user_id FROM pupils", "INSERT INTO free VALUES (1)", "SELECT g()"] {
            assert_eq!(policies.reads(Some("7"), query).await, "42501", "{query}");
        }
        assert_eq!(policies.reads(None, "SELECT nextval('s')").await, "1");
        policies.repaired().await;
        assert_eq!(policies.reads(Some("7"), "SELECT user_id FROM pupils").await, "7");
        assert_eq!(policies.reads(Some("7"), "INSERT INTO free VALUES (1)").await, "");
        assert_eq!(policies.reads(Some("7"), "SELECT g()").await, "1");
        let reader = database.member("report", &tenant.reader).await;
        assert_eq!(read(&reader, "SELECT count(*) FROM school.free").await, "1");
        assert_eq!(read(&reader, "INSERT INTO school.free VALUES (1)").await, "42501");

        // Without it everything is as without us, what is new too.
        expect(&policies.unset().await, "success");
        database.as_owner(&tenant, "CREATE TABLE last (user_id int); INSERT INTO last VALUES (1)").await;
        assert_eq!(policies.reads(None, "SELECT user_id FROM last").await, "1");
        assert_eq!(policies.reads(None, "SELECT count(*) FROM v").await, "2");
        assert_eq!(policies.reads(None, "SELECT f()").await, "2");
        assert_eq!(policies.reads(None, "SELECT count(*) FROM odd").await, "2");
        assert_eq!(policies.drift().await, [] as [&str; 0]);
        assert_eq!(database.one::<i64>("SELECT count(*) FROM edu_matrix_hub_schema.tenant_row_security").await, 0);
    })
    .await;
}

#[tokio::test]
async fn rights_of_others_come_back_as_they_were_with_their_options_and_columns() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let (guest, other) = (database.role("guest", "NOLOGIN").await, database.role("other", "NOLOGIN").await);
        database.as_owner(&tenant, PROFILES).await;
        database
            .as_owner(
                &tenant,
                &format!(
                    "CREATE VIEW v AS SELECT * FROM profiles; GRANT SELECT ON v TO {guest} WITH GRANT OPTION;
                     GRANT UPDATE (name) ON v TO {other}; GRANT SELECT ON v TO PUBLIC;
                     CREATE FUNCTION f(int) RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
                     GRANT EXECUTE ON FUNCTION f(int) TO PUBLIC"
                ),
            )
            .await;
        let acl = "SELECT concat_ws(';', (SELECT relacl::text FROM pg_class WHERE oid = 'school.v'::regclass),
                     (SELECT attacl::text FROM pg_attribute WHERE attrelid = 'school.v'::regclass AND attname = 'name'),
                     (SELECT proacl::text FROM pg_proc WHERE oid = 'school.f(int)'::regprocedure))";
        let sorted = |text: String| {
            let mut parts: Vec<_> = text.split(['{', '}', ',', ';']).map(str::to_owned).collect();
            parts.sort();
            parts
        };
        let before = sorted(database.one(acl).await);
        let policies = Policies::of(&database, &tenant).await;
        policies.covered("Required", own_rows()).await;
        for role in [&guest, &other, &tenant.reader] {
            let has: bool = database
                .one(&format!(
                    "SELECT has_any_column_privilege('{role}', 'school.v', 'SELECT, UPDATE')
                     OR has_function_privilege('{role}', 'school.f(int)', 'EXECUTE')"
                ))
                .await;
            assert!(!has, "{role}");
        }
        // Given again while it is not safe, it is taken again.
        database.as_owner(&tenant, &format!("GRANT SELECT ON v TO {guest}")).await;
        policies.repaired().await;
        expect(&policies.unset().await, "success");
        assert_eq!(sorted(database.one(acl).await), before);
    })
    .await;
}

#[tokio::test]
async fn a_tenant_that_binds_its_owner_is_told_so() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database
            .as_owner(
                &tenant,
                &PROFILES.replace(" int,", " uuid,").replace("7,", &format!("'{ANN}',")).replace("8,", "NULL,"),
            )
            .await;
        let policies = Policies::of(&database, &tenant).await;
        policies.covered("Required", own_rows()).await;
        database.as_owner(&tenant, "ALTER TABLE profiles FORCE ROW LEVEL SECURITY").await;
        let forced = json!(["ALTER TABLE school.profiles NO FORCE ROW LEVEL SECURITY"]);
        policies.repaired().await;
        assert_eq!(policies.told().await["forced"], forced);
        assert_eq!(policies.reads(Some(ANN), "SELECT name FROM profiles").await, "ann");
    })
    .await;
}
