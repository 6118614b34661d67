//! Policies on a tenant's tables: what an application reads and writes with a setting, without one, and with nonsense in
//! it; what belongs to the tenant stays as it is.

use serde_json::json;

use crate::{
    policies::{ANN, BOB, Policies, own_rows, read},
    support::{Database, Tenant, expect, with_database},
};

const PROFILES: &str = "CREATE TABLE profiles (user_id uuid, name text);
    INSERT INTO profiles VALUES ('11111111-1111-1111-1111-111111111111', 'ann'),
                                ('22222222-2222-2222-2222-222222222222', 'bob'), (NULL, 'nobody')";
const NAMES: &str = "SELECT name FROM profiles ORDER BY name";

async fn with_profiles(database: &Database) -> Tenant {
    let tenant = database.tenant("school").await;
    database.as_owner(&tenant, PROFILES).await;
    tenant
}

#[tokio::test]
async fn an_application_has_the_rows_of_its_setting_and_without_one_none() {
    with_database(async |database| {
        let tenant = with_profiles(&database).await;
        database.as_owner(&tenant, "CREATE TABLE free (id int); INSERT INTO free VALUES (1)").await;
        let policies = Policies::of(&database, &tenant).await;
        assert_eq!(policies.reads(None, NAMES).await, "ann,bob,nobody");
        let detail = policies.covered("BestEffort", own_rows()).await;
        assert_eq!((&detail["tables"], &detail["uncovered"], &detail["left"]), (&json!(1), &json!([]), &json!(0)));
        assert_eq!(policies.reads(Some(ANN), NAMES).await, "ann");
        assert_eq!(policies.reads(Some(BOB), NAMES).await, "bob");
        for nonsense in [None, Some(""), Some("1"), Some("'' OR true"), Some(&*format!("{ANN}\n")), Some("null")] {
            assert_eq!(policies.reads(nonsense, NAMES).await, "", "{nonsense:?}");
        }
        assert_eq!(policies.reads(None, "SELECT id FROM free").await, "1", "a table without the column stays as it is");
        assert_eq!(policies.owner_reads(NAMES).await, "ann,bob,nobody", "a backup of the owner is whole");

        let ann = policies.session(Some(ANN)).await;
        let wrote = read(&ann, &format!("INSERT INTO profiles VALUES ('{ANN}', 'ann 2') RETURNING name")).await;
        assert_eq!(wrote, "ann 2");
        assert_eq!(read(&ann, &format!("INSERT INTO profiles VALUES ('{BOB}', 'no')")).await, "42501");
        assert_eq!(read(&ann, &format!("UPDATE profiles SET user_id = '{BOB}'")).await, "42501");
        assert_eq!(read(&ann, "UPDATE profiles SET name = 'me' WHERE name = 'ann 2' RETURNING name").await, "me");
        assert_eq!(read(&ann, "DELETE FROM profiles RETURNING name").await, "ann,me");
        assert_eq!(policies.owner_reads(NAMES).await, "bob,nobody");

        expect(&policies.set("BestEffort", own_rows()).await, "unchanged");
        assert_eq!(policies.drift().await, [] as [&str; 0]);
        expect(&policies.unset().await, "success");
        expect(&policies.unset().await, "unchanged");
        assert_eq!(policies.reads(None, NAMES).await, "bob,nobody");
        assert!(!database.one::<bool>("SELECT relrowsecurity FROM pg_class WHERE relname = 'profiles'").await);
        assert_eq!(policies.drift().await, [] as [&str; 0]);
        assert_eq!(database.standing_memberships().await, 0);
    })
    .await;
}

#[tokio::test]
async fn every_type_that_can_be_compared_is_and_no_value_of_it_is_an_error() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let types = [
            ("smallint", "7", "32768,-32769,7.0,7e0,0x7,99999999999999999999"),
            ("integer", "-7", "2147483648,-2147483649,--7,- 7"),
            ("bigint", "9223372036854775807", "9223372036854775808,-9223372036854775809,99999999999999999999"),
            ("text", "it''s", "its"),
            ("varchar(20)", "x y", "x"),
            ("uuid", ANN, "11111111111111111111111111111111,{11111111-1111-1111-1111-111111111111}"),
        ];
        let mut tables = String::new();
        for (n, (type_, value, _)) in types.iter().enumerate() {
            let values = format!("SELECT * FROM (VALUES (NULL), ('{value}')) AS v (x)");
            let table = format!(
                "CREATE TABLE t{n} (user_id {type_}); INSERT INTO t{n} SELECT x::{type_} FROM ({values}) AS w;"
            );
            tables.push_str(&table);
        }
        database.as_owner(&tenant, &tables).await;
        let policies = Policies::of(&database, &tenant).await;
        assert_eq!(policies.covered("Required", own_rows()).await["tables"], json!(types.len()));
        for (n, (type_, value, nonsense)) in types.iter().enumerate() {
            let count = format!("SELECT count(*) FROM t{n}");
            assert_eq!(policies.reads(Some(value), &count).await, "1", "{type_}");
            assert_eq!(policies.reads(None, &count).await, "0", "{type_}");
            for nonsense in nonsense.split(',').chain(["", " ", "a"]) {
                assert_eq!(policies.reads(Some(nonsense), &count).await, "0", "{type_} {nonsense}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_index_on_the_column_is_used_and_the_setting_is_read_once() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        for (name, type_, value) in [
            ("a", "uuid", "md5(n::text)::uuid"),
            ("b", "smallint", "(n % 30000)::smallint"),
            ("c", "integer", "n"),
            ("d", "bigint", "n"),
            ("e", "text", "n::text"),
            ("f", "varchar(20)", "n::text"),
        ] {
            let table = format!(
                "CREATE TABLE {name} (user_id {type_}, x text); INSERT INTO {name} SELECT {value}, 'x' FROM \
                 generate_series(1, 20000) AS n; CREATE INDEX ON {name} (user_id); ANALYZE {name}"
            );
            database.as_owner(&tenant, &table).await;
        }
        let policies = Policies::of(&database, &tenant).await;
        policies.covered("BestEffort", own_rows()).await;
        for table in ["a", "b", "c", "d", "e", "f"] {
            let session = policies.session(Some("7")).await;
            let plan = session.query(&format!("EXPLAIN (COSTS off) SELECT x FROM {table}"), &[]).await.unwrap();
            let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
            let plan = plan.join("\n");
            assert!(plan.contains("Index") && !plan.contains("Seq Scan"), "{plan}");
            assert_eq!(plan.matches("Result").count(), 1, "one subquery: the two policies say the same\n{plan}");
        }
    })
    .await;
}

#[tokio::test]
async fn policies_are_for_the_commands_and_roles_that_they_name() {
    with_database(async |database| {
        let tenant = with_profiles(&database).await;
        let policies = Policies::of(&database, &tenant).await;
        policies
            .covered(
                "BestEffort",
                json!([{ "name": "own", "column": "user_id", "setting": "app.user_id", "commands": ["Update", "Delete"] }]),
            )
            .await;
        let ann = policies.session(Some(ANN)).await;
        assert_eq!(read(&ann, NAMES).await, "ann,bob,nobody");
        assert_eq!(read(&ann, "UPDATE profiles SET name = upper(name) RETURNING name").await, "ANN");
        assert_eq!(read(&ann, &format!("INSERT INTO profiles VALUES ('{BOB}', 'eve') RETURNING name")).await, "eve");

        policies
            .covered(
                "BestEffort",
                json!([{ "name": "own", "column": "user_id", "setting": "app.user_id", "roles": ["writer"] }]),
            )
            .await;
        assert_eq!(policies.reads(Some(ANN), NAMES).await, "ANN");
        let reader = database.member("report", &tenant.reader).await;
        assert_eq!(read(&reader, "SELECT count(*) FROM school.profiles").await, "4");

        // Two policies narrow each other.
        database.as_owner(&tenant, "ALTER TABLE profiles ADD class int; UPDATE profiles SET class = length(name)").await;
        policies
            .covered(
                "BestEffort",
                json!([
                    { "name": "own", "column": "user_id", "setting": "app.user_id" },
                    { "name": "class", "column": "class", "setting": "app.class", "tables": ["profiles"] },
                ]),
            )
            .await;
        let ann = policies.session(Some(ANN)).await;
        assert_eq!(read(&ann, NAMES).await, "");
        ann.batch_execute("SET app.class = '3'").await.unwrap();
        assert_eq!(read(&ann, NAMES).await, "ANN");
        ann.batch_execute("SET app.class = '4'").await.unwrap();
        assert_eq!(read(&ann, NAMES).await, "");
    })
    .await;
}

#[tokio::test]
async fn partitions_and_children_are_covered_also_those_that_come_later() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database
            .as_owner(
                &tenant,
                "CREATE TABLE marks (user_id int, at int) PARTITION BY RANGE (at);
                 CREATE TABLE marks_1 PARTITION OF marks FOR VALUES FROM (0) TO (10);
                 CREATE TABLE people (user_id int); CREATE TABLE pupils () INHERITS (people);
                 INSERT INTO marks VALUES (7, 1), (8, 2); INSERT INTO pupils VALUES (7), (8)",
            )
            .await;
        let policies = Policies::of(&database, &tenant).await;
        let named =
            json!([{ "name": "own", "column": "user_id", "setting": "app.user_id", "tables": ["marks", "people"] }]);
        assert_eq!(policies.covered("Required", named).await["tables"], 4);
        for table in ["marks", "marks_1", "people", "pupils"] {
            assert_eq!(policies.reads(Some("7"), &format!("SELECT count(*) FROM {table}")).await, "1", "{table}");
        }
        let later = "CREATE TABLE marks_2 (user_id int, at int); INSERT INTO marks_2 VALUES (7, 11), (8, 12);
                     ALTER TABLE marks ATTACH PARTITION marks_2 FOR VALUES FROM (10) TO (20)";
        database.as_owner(&tenant, later).await;
        assert_eq!(policies.reads(Some("7"), "SELECT count(*) FROM marks_2").await, "42501");
        policies.repaired().await;
        assert_eq!(policies.reads(Some("7"), "SELECT count(*) FROM marks_2").await, "1");
        assert_eq!(policies.reads(Some("7"), "SELECT count(*) FROM marks").await, "2");
    })
    .await;
}

#[tokio::test]
async fn removing_the_policies_leaves_the_tenants_own() {
    with_database(async |database| {
        let tenant = with_profiles(&database).await;
        database
            .as_owner(
                &tenant,
                "CREATE TABLE notes (user_id int); CREATE POLICY mine ON notes USING (user_id > 0);
                 CREATE TABLE logs (user_id int); INSERT INTO logs VALUES (7); ALTER TABLE logs ENABLE ROW LEVEL SECURITY",
            )
            .await;
        let policies = Policies::of(&database, &tenant).await;
        policies.covered("Required", own_rows()).await;
        assert_eq!(database.one::<i64>("SELECT count(*) FROM pg_policies WHERE schemaname = 'school'").await, 5);
        assert_eq!(policies.reads(Some("7"), "SELECT count(*) FROM logs").await, "0", "the tenant keeps all out");
        database.as_owner(&tenant, "CREATE POLICY later ON profiles AS RESTRICTIVE USING (true)").await;
        expect(&policies.unset().await, "success");
        let left: String = database
            .one("SELECT string_agg(policyname::text, ',' ORDER BY policyname) FROM pg_policies WHERE schemaname = 'school'")
            .await;
        assert_eq!(left, "later,mine");
        let on: String = database
            .one("SELECT string_agg(relname::text, ',' ORDER BY relname) FROM pg_class WHERE relrowsecurity AND relnamespace = 'school'::regnamespace")
            .await;
        // That of notes was off before, and policies of the tenant's stand there; logs was on before.
        assert_eq!(on, "logs,notes,profiles");
    })
    .await;
}
