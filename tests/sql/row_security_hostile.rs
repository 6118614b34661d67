//! What a tenant, or a user with its owner role, does to policies: it is refused, or the survey finds it and it is put right.

use serde_json::{Value, json};

use crate::{
    backup_world::{front, succeed},
    policies::{Policies, own_rows, read},
    support::{call, expect, tenant_options, with_database},
};

const PROFILES: &str = "CREATE TABLE profiles (user_id int, name text);
    INSERT INTO profiles VALUES (7, 'ann'), (8, 'bob')";
const NAMES: &str = "SELECT name FROM profiles ORDER BY name";

#[tokio::test]
async fn an_application_cannot_change_policies() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database.as_owner(&tenant, PROFILES).await;
        let policies = Policies::of(&database, &tenant).await;
        policies.covered("Required", own_rows()).await;
        let policy: String = database.one("SELECT policyname::text FROM pg_policies LIMIT 1").await;
        let session = policies.session(Some("7")).await;
        for (statement, code) in [
            ("ALTER TABLE profiles DISABLE ROW LEVEL SECURITY".to_owned(), "42501"),
            (format!("DROP POLICY \"{policy}\" ON profiles"), "42501"),
            ("CREATE POLICY mine ON profiles USING (true)".to_owned(), "42501"),
            ("SET row_security = off; SELECT * FROM profiles".to_owned(), "42501"),
            ("RESET row_security; SET ROLE NONE".to_owned(), ""),
            (format!("SET ROLE \"{}\"", tenant.owner), "42501"),
            ("TRUNCATE profiles".to_owned(), "42501"),
            ("SELECT * FROM edu_matrix_hub_schema.tenant_row_security".to_owned(), "42501"),
            ("CREATE TABLE child () INHERITS (profiles)".to_owned(), "42501"),
        ] {
            assert_eq!(read(&session, &statement).await, code, "{statement}");
        }
        // A function that leaks what it is given is not run before the policy.
        session
            .batch_execute(
                "CREATE FUNCTION pg_temp.leak(text) RETURNS boolean COST 0.0001 LANGUAGE plpgsql AS
                 $$BEGIN RAISE EXCEPTION '%', $1; END$$",
            )
            .await
            .unwrap();
        let error = session.simple_query("SELECT * FROM profiles WHERE pg_temp.leak(name)").await.unwrap_err();
        assert!(error.as_db_error().unwrap().message().contains("ann"), "only its own row is given to it: {error:?}");
        assert_eq!(policies.drift().await, [] as [&str; 0]);
    })
    .await;
}

#[tokio::test]
async fn whatever_an_owner_does_to_a_policy_is_found_and_put_right() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database.as_owner(&tenant, PROFILES).await;
        let policies = Policies::of(&database, &tenant).await;
        policies.covered("Required", own_rows()).await;
        let each = |statement: &str, of: &str| {
            format!(
                "DO $$ DECLARE p name; BEGIN FOR p IN SELECT polname FROM pg_policy WHERE polrelid = 'school.profiles'::regclass
                 AND {of} LOOP EXECUTE format('{statement}', p); END LOOP; END $$"
            )
        };
        let restrictive = "NOT polpermissive";
        for (done, meanwhile) in [
            ("ALTER TABLE profiles DISABLE ROW LEVEL SECURITY".to_owned(), "ann,bob"),
            // Who drops the policies finds no open table.
            (each("DROP POLICY %I ON school.profiles", "true"), ""),
            (each("DROP POLICY %I ON school.profiles", restrictive), "ann"),
            (each("DROP POLICY %I ON school.profiles", "polpermissive"), ""),
            (each("ALTER POLICY %I ON school.profiles USING (true)", "true"), "ann,bob"),
            (each("ALTER POLICY %I ON school.profiles USING (true)", restrictive), "ann"),
            (each("ALTER POLICY %I ON school.profiles WITH CHECK (true)", "true"), "ann"),
            (each(&format!("ALTER POLICY %I ON school.profiles TO {}", tenant.writer), restrictive), "ann"),
            (each(&format!("ALTER POLICY %I ON school.profiles TO {}", tenant.owner), "true"), ""),
            // A policy of its own that lets all rows in is narrowed by ours.
            ("CREATE POLICY all_rows ON profiles USING (true)".to_owned(), "ann"),
            ("DROP POLICY all_rows ON profiles".to_owned(), ""),
        ] {
            database.as_owner(&tenant, &done).await;
            assert_eq!(policies.reads(Some("7"), NAMES).await, meanwhile, "{done}");
            policies.repaired().await;
            assert_eq!(policies.reads(Some("7"), NAMES).await, "ann", "{done}");
            assert_eq!(policies.reads(None, NAMES).await, "", "{done}");
        }
        // Called otherwise, it is still ours.
        let other = each("ALTER POLICY %1$I ON school.profiles RENAME TO \"x%1$s\"", "true");
        database.as_owner(&tenant, &other).await;
        policies.repair().await;
        assert_eq!(policies.drift().await, [] as [&str; 0]);
        expect(&policies.unset().await, "success");
        assert_eq!(database.one::<i64>("SELECT count(*) FROM pg_policies WHERE schemaname = 'school'").await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_policy_whose_column_no_table_has_is_told() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let policies = Policies::of(&database, &tenant).await;
        let misspelt = json!([{ "name": "own", "column": "user_idd", "setting": "app.user_id" }]);
        policies.covered("Required", misspelt).await;
        assert_eq!(policies.told().await["uncovered"], json!([]), "there is no table yet");
        database.as_owner(&tenant, PROFILES).await;
        policies.repair().await;
        let what = "policy \"own\" is on no table: none in schema school has the column \"user_idd\"";
        assert_eq!(policies.told().await["uncovered"][0]["what"], what);
        database.as_owner(&tenant, "ALTER TABLE profiles ADD user_idd int").await;
        policies.repair().await;
        assert_eq!(policies.told().await["uncovered"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn a_rename_opens_nothing() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database.as_owner(&tenant, PROFILES).await;
        let policies = Policies::of(&database, &tenant).await;
        let named = json!([{ "name": "own", "column": "user_id", "setting": "app.user_id", "tables": ["profiles"] }]);
        policies.covered("Required", named).await;
        database
            .as_owner(&tenant, "ALTER TABLE profiles RENAME user_id TO who; ALTER TABLE profiles RENAME TO people")
            .await;
        let people = "SELECT name FROM people";
        assert_eq!(policies.reads(Some("7"), people).await, "ann");
        policies.repaired().await;
        assert_eq!(policies.reads(Some("7"), people).await, "ann");
        let told = policies.told().await;
        assert_eq!(
            (&told["tables"], &told["uncovered"][0]["what"]),
            (&json!(1), &json!("there is no table school.profiles"))
        );
        database.as_owner(&tenant, PROFILES).await;
        policies.repaired().await;
        assert_eq!(policies.reads(Some("7"), NAMES).await, "ann");
        assert_eq!(policies.reads(Some("7"), people).await, "ann");
        assert_eq!(policies.told().await["tables"], 2);
        // Of all tables that have the column, one whose column has another name is still one.
        policies.covered("Required", own_rows()).await;
        assert_eq!(policies.reads(Some("7"), people).await, "ann,bob", "the policy of the spec is another one");
        database.as_owner(&tenant, "ALTER TABLE profiles RENAME user_id TO who").await;
        policies.repair().await;
        assert_eq!(policies.drift().await, [] as [&str; 0]);
        assert_eq!(policies.reads(Some("7"), NAMES).await, "ann");
    })
    .await;
}

#[tokio::test]
async fn a_type_that_changes_afterwards_is_compared_as_it_is_or_told() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database.as_owner(&tenant, PROFILES).await;
        let policies = Policies::of(&database, &tenant).await;
        policies.covered("Required", own_rows()).await;
        let drop = "DO $$ DECLARE p name; BEGIN FOR p IN SELECT polname FROM pg_policy LOOP EXECUTE format('DROP POLICY %I ON \
                    school.profiles', p); END LOOP; END $$; ";
        for (type_, read_then) in [("bigint", "ann"), ("text", "ann"), ("numeric USING user_id::numeric", "42501"), ("int", "ann")] {
            let change = format!("{drop} ALTER TABLE profiles ALTER user_id TYPE {type_}");
            let change = if type_ == "int" { change + " USING user_id::int" } else { change };
            database.as_owner(&tenant, &change).await;
            assert!(["", "42501"].contains(&&*policies.reads(Some("7"), NAMES).await), "{type_}");
            policies.repaired().await;
            assert_eq!(policies.reads(Some("7"), NAMES).await, read_then, "{type_}");
        }
    })
    .await;
}

#[tokio::test]
async fn nothing_that_a_tenant_made_is_found_in_place_of_the_servers_own() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database
            .as_owner(
                &tenant,
                "CREATE FUNCTION current_setting(text, boolean) RETURNS text LANGUAGE plpgsql AS
                     $$BEGIN RAISE EXCEPTION 'trap'; END$$;
                 CREATE FUNCTION eq(int, int) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'trap'; END$$;
                 CREATE FUNCTION eq(text, text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'trap'; END$$;
                 CREATE OPERATOR = (FUNCTION = eq, LEFTARG = int, RIGHTARG = int);
                 CREATE OPERATOR ~ (FUNCTION = eq, LEFTARG = text, RIGHTARG = text);
                 CREATE OPERATOR >= (FUNCTION = eq, LEFTARG = int, RIGHTARG = int);
                 CREATE DOMAIN uuid AS text CHECK (eq(VALUE, VALUE)); CREATE DOMAIN int4 AS int CHECK (eq(VALUE, VALUE));
                 CREATE TABLE \"pro\"\"files; --\" (\"user_id\"\" = 1\" pg_catalog.int4); CREATE TABLE pg_policy (user_id pg_catalog.int4)",
            )
            .await;
        let policies = Policies::of(&database, &tenant).await;
        let odd = json!([
            { "name": "a", "column": "user_id\" = 1", "setting": "app.user_id" },
            { "name": "b", "column": "user_id", "setting": "app.user_id", "tables": ["pg_policy"] },
        ]);
        assert_eq!(policies.covered("Required", odd).await["tables"], 2);
        let query = "SET search_path = school, pg_catalog; SELECT 1 FROM school.\"pro\"\"files; --\"; SELECT 1 FROM school.pg_policy";
        assert_eq!(policies.reads(Some("7"), query).await, "");
        assert_eq!(policies.drift().await, [] as [&str; 0]);
    })
    .await;
}

#[tokio::test]
async fn a_policy_called_like_ours_and_a_table_of_many_columns_are_no_obstacle() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let columns = (0..1599).map(|n| format!("c{n} int")).collect::<Vec<_>>().join(", ");
        database.as_owner(&tenant, &format!("{PROFILES}; CREATE TABLE wide (user_id int, {columns})")).await;
        let policies = Policies::of(&database, &tenant).await;
        policies.covered("Required", own_rows()).await;
        let word: String = database.one("SELECT word FROM edu_matrix_hub_schema.tenant_row_security").await;
        let called = format!(
            "CREATE POLICY own ON profiles USING (true); CREATE POLICY {word} ON wide USING (true);
             CREATE POLICY \"own-rows\" ON wide AS RESTRICTIVE USING (false)"
        );
        database.as_owner(&tenant, &called).await;
        policies.repaired().await;
        assert_eq!(policies.reads(Some("7"), NAMES).await, "ann");
        assert_eq!(policies.told().await["tables"], 2);
        let own: String = database
            .one("SELECT string_agg(policyname, ',' ORDER BY policyname) FROM pg_policies WHERE policyname NOT LIKE 'edu_matrix_%'")
            .await;
        assert_eq!(own, "own,own-rows");
    })
    .await;
}

#[tokio::test]
async fn a_session_that_holds_a_table_holds_up_no_other() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let many = (0..150).map(|n| format!("CREATE TABLE t{n} (user_id int)")).collect::<Vec<_>>().join(";");
        database.as_owner(&tenant, &format!("{PROFILES};{many}")).await;
        let policies = Policies::of(&database, &tenant).await;
        let session = policies.session(None).await;
        session.batch_execute("BEGIN; SELECT * FROM profiles").await.unwrap();
        let options = json!({ "mode": "Required", "policies": own_rows(), "digest": "1" });
        let set = async || call(&policies.lane.client, "set_row_security", &tenant.options(&options)).await;
        let mut answer = set().await;
        for _ in 0..100 {
            expect(&answer, "partial");
            if answer["detail"]["left"] == 1 {
                break;
            }
            answer = set().await;
        }
        assert_eq!((&answer["detail"]["tables"], &answer["detail"]["left"]), (&json!(150), &json!(1)), "{answer}");
        assert!(answer["message"].as_str().unwrap().contains("a session holds table school.profiles"), "{answer}");
        session.batch_execute("COMMIT").await.unwrap();
        expect(&set().await, "success");
        assert_eq!(policies.told().await["tables"], 151);
    })
    .await;
}

#[tokio::test]
async fn policies_stay_with_a_tenant_that_is_suspended_set_aside_and_brought_back() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database.as_owner(&tenant, &format!("{PROFILES}; CREATE VIEW v AS SELECT * FROM profiles")).await;
        let policies = Policies::of(&database, &tenant).await;
        policies.covered("Required", own_rows()).await;
        let operator = &policies.lane.client;
        for access in ["Suspended", "ReadWrite"] {
            let answer = call(operator, "set_tenant_access", &tenant.options(&json!({ "access": access }))).await;
            expect(&answer, "success");
            assert_eq!(policies.drift().await, [] as [&str; 0], "{access}");
        }
        assert_eq!(policies.reads(Some("7"), NAMES).await, "ann");
        let aside = json!({ "owner_uid": "uid-school", "expire_after_days": null, "purge": false });
        let steps = json!([{ "call": "set_aside_tenant_schema", "options": tenant.options(&aside) }]);
        let answer = policies.lane.apply(&steps).await;
        expect(&answer[0], "success");
        assert_eq!(policies.lane.survey(false).await["tenants"].as_array().unwrap().len(), 0);
        let backup: Value = answer[0]["detail"]["backup_id"].clone();
        let owner = tenant_options("school")["owner"].clone();
        let restore = json!([{ "call": "restore_tenant_schema",
                               "options": { "backup_id": backup, "owner": owner, "requested_by": "a test" } }]);
        let answer = policies.lane.apply(&restore).await;
        expect(&answer[0], "success");
        assert_eq!(policies.reads(Some("7"), NAMES).await, "ann");
        assert_eq!(policies.reads(None, NAMES).await, "");
        assert_eq!(policies.reads(Some("7"), "SELECT * FROM v").await, "42501");
        let _ = policies.repair().await;
        assert_eq!(policies.drift().await, [] as [&str; 0]);
        let told = policies.told().await;
        assert_eq!((&told["tables"], &told["uncovered_count"]), (&json!(1), &json!(1)));
    })
    .await;
}

#[tokio::test]
async fn after_a_restored_dump_policies_are_known_by_their_names_and_nothing_is_opened() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database
            .as_owner(
                &tenant,
                &format!(
                    "{PROFILES}; CREATE VIEW v AS SELECT * FROM profiles; CREATE TABLE log (x int); REVOKE ALL ON log FROM \"{}\"",
                    tenant.writer
                ),
            )
            .await;
        let policies = Policies::of(&database, &tenant).await;
        policies.covered("Required", own_rows()).await;
        // What a restored dump does to identifiers: policies get others, and no object is known by its own.
        database
            .admin
            .batch_execute(
                "UPDATE edu_matrix_hub_schema.row_security_objects SET object_oid = object_oid::bigint + 1000000;
                 UPDATE edu_matrix_hub_schema.tenant_schemas SET schema_oid = NULL;
                 UPDATE edu_matrix_hub_schema.installation SET registry_oid = 1",
            )
            .await
            .unwrap();
        let id: String = database.one("SELECT installation_id::text FROM edu_matrix_hub_schema.installation").await;
        let rebind = json!([{ "call": "rebind_tenants", "options": { "installation_id": id, "requested_by": "a test" } }]);
        let answer = policies.lane.apply(&rebind).await;
        expect(&answer[0], "success");
        for _ in 0..2 {
            expect(&policies.repair().await, "success");
            if policies.drift().await.is_empty() {
                break;
            }
        }
        assert_eq!(policies.reads(Some("7"), NAMES).await, "ann");
        assert_eq!(policies.reads(Some("7"), "SELECT * FROM v").await, "42501");
        assert_eq!(policies.reads(Some("7"), "INSERT INTO log VALUES (1)").await, "42501", "nothing is given");
        assert_eq!(database.one::<i64>("SELECT count(*) FROM pg_policies WHERE schemaname = 'school'").await, 2);
        expect(&policies.unset().await, "success");
        assert!(!database.one::<bool>("SELECT relrowsecurity FROM pg_class WHERE relname = 'profiles'").await);
    })
    .await;
}

#[tokio::test]
async fn a_snapshot_is_whole_and_has_the_policies() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database.as_owner(&tenant, PROFILES).await;
        let policies = Policies::of(&database, &tenant).await;
        policies.covered("Required", own_rows()).await;
        succeed(&policies.lane.client, "backup_institution_schema", tenant.id).await;
        let location: String = database.one("SELECT location FROM edu_matrix_hub_schema.schema_backups").await;
        assert_eq!(database.one::<i64>(&format!("SELECT count(*) FROM \"{location}\".profiles")).await, 2);
        let kept: i32 = database
            .one("SELECT jsonb_array_length(jsonb_path_query_first(manifest, '$.**.policies')) FROM edu_matrix_hub_schema.schema_backups")
            .await;
        assert_eq!(kept, 2);
    })
    .await;
}

#[tokio::test]
async fn of_a_tenant_that_was_purged_nothing_is_kept() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        database.as_owner(&tenant, PROFILES).await;
        let policies = Policies::of(&database, &tenant).await;
        policies.covered("Required", own_rows()).await;
        let aside = json!({ "owner_uid": "uid-school", "expire_after_days": null, "purge": false });
        let steps = json!([{ "call": "set_aside_tenant_schema", "options": tenant.options(&aside) }]);
        expect(&policies.lane.apply(&steps).await[0], "success");
        let backup = database.one("SELECT id FROM edu_matrix_hub_schema.schema_backups").await;
        while front(&policies.lane.client, "purge_schema_backup", backup).await.0 == "partial" {}
        assert_eq!(database.one::<i64>("SELECT count(*) FROM edu_matrix_hub_schema.tenant_row_security").await, 0);
    })
    .await;
}

/// Lists of rights that have nobody in them, and all the rest that a catalogue can have and a look must not stumble over.
#[tokio::test]
async fn no_tenant_stops_the_survey_of_others() {
    with_database(async |database| {
        let (tenant, other) = (database.tenant("school").await, database.tenant("other").await);
        database.as_owner(&other, PROFILES).await;
        let owner = &tenant.owner;
        database
            .as_owner(
                &tenant,
                &format!(
                    "{PROFILES}; CREATE VIEW v WITH (security_invoker = off) AS SELECT * FROM profiles;
                     CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
                     CREATE PROCEDURE f(INOUT a int, VARIADIC b text[]) LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
                     CREATE TYPE pair AS (user_id int); CREATE TABLE typed OF pair; CREATE TABLE none ();
                     CREATE TABLE lost (user_id int); ALTER TABLE lost DROP COLUMN user_id;
                     CREATE SEQUENCE user_id; CREATE INDEX marks ON profiles (user_id);
                     GRANT SELECT (name) ON v TO \"{0}\"; REVOKE ALL ON v FROM \"{0}\", \"{owner}\";
                     REVOKE ALL ON profiles FROM PUBLIC, \"{0}\", \"{1}\", \"{owner}\";
                     REVOKE ALL ON FUNCTION f() FROM PUBLIC, \"{0}\", \"{1}\", \"{owner}\"",
                    tenant.reader, tenant.writer
                ),
            )
            .await;
        let policies = Policies::of(&database, &tenant).await;
        let odd = json!([
            { "name": "all", "column": "user_id", "setting": "app.user_id" },
            { "name": "named", "column": "user_id", "setting": "app.user_id",
              "tables": ["marks", "user_id", "v", "lost", "none", "pair", "nowhere", "f"] },
        ]);
        let detail = policies.covered("Required", odd).await;
        assert_eq!(detail["tables"], 2, "profiles and typed: {detail}");
        assert_eq!(policies.drift().await, [] as [&str; 0]);
        let others = Policies { database: &database, tenant: &other, lane: policies.lane, login: String::new() };
        others.covered("Required", own_rows()).await;
        assert_eq!(others.told().await["tables"], 1);
    })
    .await;
}
