//! A schema that stands already becomes a tenant, with all that is in it, and the applications that used it go on.

use serde_json::json;

use crate::{
    adoption_world::{Before, adopt, adopt_whole, adopted, foreign, help, look},
    support::{call, expect, has_keepers, tenant_options, with_database},
};

const EVERY_KIND: &str = r#"
    CREATE SCHEMA education;
    SET search_path = education;
    CREATE TABLE pupils (id serial PRIMARY KEY, name text);
    CREATE TABLE marks (id int GENERATED ALWAYS AS IDENTITY, pupil int REFERENCES pupils, mark int);
    CREATE TABLE terms (id int) PARTITION BY RANGE (id);
    CREATE TABLE term_1 PARTITION OF terms FOR VALUES FROM (0) TO (10);
    CREATE SEQUENCE numbers;
    CREATE VIEW names AS SELECT name FROM pupils;
    CREATE MATERIALIZED VIEW totals AS SELECT count(*) FROM pupils;
    CREATE TYPE mood AS ENUM ('good'); CREATE TYPE pair AS (a int, b int); CREATE DOMAIN grade AS int;
    CREATE TYPE span AS RANGE (subtype = int);
    CREATE FUNCTION f(a int, VARIADIC b mood[]) RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE PROCEDURE p() LANGUAGE sql AS '';
    CREATE AGGREGATE sums(int) (sfunc = int4pl, stype = int);
    CREATE FUNCTION same(mood, mood) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
    CREATE OPERATOR === (LEFTARG = mood, RIGHTARG = mood, FUNCTION = same);
    CREATE COLLATION "Plain" (locale = 'C');
    CREATE CONVERSION latin FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
    CREATE TEXT SEARCH CONFIGURATION words (COPY = pg_catalog.simple);
    CREATE TEXT SEARCH DICTIONARY plain (TEMPLATE = simple);
    CREATE STATISTICS spread ON id, name FROM pupils;
    CREATE TABLE "odd ""na;me" ("x y" int);
    INSERT INTO pupils (name) VALUES ('Ada')"#;

#[tokio::test]
async fn every_kind_of_object_becomes_the_owners_and_who_used_it_goes_on() {
    with_database(async |database| {
        let before = Before::of(&database).await;
        before.make(&database, EVERY_KIND).await;
        let (app, web) = (&before.app, &before.web);
        database
            .admin
            .batch_execute(&format!(
                "GRANT USAGE ON SCHEMA education TO {web}, PUBLIC; GRANT SELECT, INSERT ON education.pupils TO {web}; \
                 GRANT USAGE ON SEQUENCE education.pupils_id_seq TO {web}; \
                 CREATE TABLE education.supers (id serial); CREATE OPERATOR FAMILY education.family USING btree"
            ))
            .await
            .unwrap();
        let plan = look(&database, "education", "school").await;
        assert_eq!((&plan["state"], &plan["total"], &plan["kept"]), (&json!("pending"), &json!(28), &json!(1)), "{plan}");
        assert_eq!((&plan["taken"], &plan["is_left"]), (&json!(["PUBLIC"]), &json!(true)));
        let refused = adopt(&database.admin, "education", "school", &plan["digest"]).await;
        assert_eq!(expect(&refused, "error"), "insufficient_privilege", "{refused}");
        assert!(refused["message"].as_str().unwrap().contains("a DBA has to run first: "), "{refused}");
        assert_eq!(database.one::<i64>("SELECT count(*) FROM edu_matrix_hub_schema.tenant_adoptions").await, 0);

        let tenant = adopted(&database, "education").await;
        let schema_owner = "SELECT pg_get_userbyid(nspowner)::text FROM pg_namespace WHERE nspname = 'education'";
        assert_eq!(database.one::<String>(schema_owner).await, tenant.owner);

        // Applications and migrations go on by what they had.
        let client = database.connect(app).await;
        client
            .batch_execute(
                "SET search_path = education; INSERT INTO pupils (name) VALUES ('Bob'); ALTER TABLE marks ADD note text; \
                 CREATE TABLE fresh (id int); REFRESH MATERIALIZED VIEW totals; DROP TABLE fresh",
            )
            .await
            .unwrap();
        let client = database.connect(web).await;
        client.batch_execute("INSERT INTO education.pupils (name) SELECT name FROM education.pupils LIMIT 1").await.unwrap();
        assert!(client.batch_execute("SELECT FROM education.marks").await.is_err());
        let reads = |role: &str| format!("SET ROLE \"{role}\"; SELECT FROM education.marks, education.totals, education.names; RESET ROLE");
        database.admin.batch_execute(&reads(&tenant.reader)).await.unwrap();
        let writes = format!(
            "SET ROLE \"{}\"; INSERT INTO education.supers DEFAULT VALUES; SELECT education.f(1, 'good'); RESET ROLE", tenant.writer
        );
        database.admin.batch_execute(&writes).await.unwrap();
        assert_eq!(database.one::<i64>("SELECT count(*) FROM education.pupils").await, 3);

        // Done before, it changes nothing.
        expect(&adopt(&database.admin, "education", "school", &plan["digest"]).await, "unchanged");
        assert_eq!(look(&database, "education", "other").await, json!(null), "it is a tenant's");
    })
    .await;
}

#[tokio::test]
async fn a_plan_that_changed_is_confirmed_again_and_what_a_dba_gives_changes_none() {
    with_database(async |database| {
        let before = Before::of(&database).await;
        before.make(&database, "CREATE SCHEMA education; CREATE TABLE education.pupils (id int)").await;
        let first = look(&database, "education", "school").await["digest"].clone();
        for change in [
            "CREATE TABLE education.marks (id int)",
            "GRANT USAGE ON SCHEMA education TO PUBLIC",
            "CREATE FUNCTION education.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        ] {
            let digest = look(&database, "education", "school").await["digest"].clone();
            before.make(&database, change).await;
            assert_ne!(look(&database, "education", "school").await["digest"], digest, "{change}");
        }
        help(&database, "education", "school").await;
        for unconfirmed in [first, json!(null), json!("")] {
            let answer = adopt(&database.admin, "education", "school", &unconfirmed).await;
            assert_eq!(expect(&answer, "busy"), "busy", "{answer}");
        }
        assert_eq!(database.one::<i64>("SELECT count(*) FROM edu_matrix_hub_schema.tenant_adoptions").await, 0);
    })
    .await;
}

#[tokio::test]
async fn what_is_never_adopted_says_why() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let aside = database.tenant("gone").await;
        let options = aside.options(&json!({ "owner_uid": "uid-gone", "purge": false }));
        expect(&call(&database.admin, "set_aside_tenant_schema", &options).await, "success");
        let location: String = database.one("SELECT location FROM edu_matrix_hub_schema.schema_backups").await;
        database
            .admin
            .batch_execute(
                "CREATE SCHEMA edu_matrix_work_7; CREATE SCHEMA copied; CREATE SCHEMA lost; CREATE SCHEMA a_bak_20260101120000; \
                 COMMENT ON SCHEMA copied IS 'snapshot of tenant 22222222-2222-4222-8222-222222222222'; \
                 COMMENT ON SCHEMA lost IS 'tenant 22222222-2222-4222-8222-222222222222'; \
                 CREATE SCHEMA of_extension; ALTER EXTENSION plpgsql ADD SCHEMA of_extension",
            )
            .await
            .unwrap();
        for (schema, why) in [
            ("public", "PostgreSQL itself"),
            ("pg_catalog", "PostgreSQL itself"),
            ("information_schema", "PostgreSQL itself"),
            ("edu_matrix_hub_schema", "the registry"),
            ("edu_matrix_work_7", "a job of the operator"),
            (&location, "a backup"),
            ("copied", "a backup"),
            ("a_bak_20260101120000", "a backup"),
            ("lost", "another installation"),
            ("of_extension", "an extension"),
        ] {
            let found = look(&database, schema, "new").await;
            assert_eq!(found["state"], "refused", "{schema}: {found}");
            assert!(found["why"].as_str().unwrap().contains(why), "{schema}: {found}");
            let answer = adopt(&database.admin, schema, "new", &json!("x")).await;
            assert_eq!(expect(&answer, "error"), "name_taken", "{schema}: {answer}");
            let statements = format!("SELECT count(*) FROM edu_matrix_hub_schema.adoption_statements('{schema}')");
            assert_eq!(database.one::<i64>(&statements).await, 0);
        }
        assert_eq!(look(&database, "nowhere", "new").await, json!({ "state": "nothing" }));
        assert_eq!(expect(&adopt(&database.admin, "nowhere", "new", &json!("x")).await, "error"), "not_found");
        // Another's, released or not.
        for _ in 0..2 {
            assert_eq!(look(&database, "school", "new").await, json!(null));
            assert_eq!(expect(&adopt(&database.admin, "school", "new", &json!("x")).await, "error"), "name_taken");
            let release = json!({ "owner_uids": ["uid-school"], "deleted_uids": [] });
            call(&database.admin, "release_tenants", &release).await;
        }
        // Under another name it is still the tenant's.
        database.admin.batch_execute("ALTER SCHEMA school RENAME TO renamed").await.unwrap();
        assert_eq!(look(&database, "renamed", "new").await["why"], "it is the schema of a tenant");
        drop(tenant);
    })
    .await;
}

#[tokio::test]
async fn a_tenant_that_was_made_by_hand_becomes_an_objects() {
    with_database(async |database| {
        let institution = database.institution().await;
        let create = "SELECT schema_id FROM edu_matrix_hub_schema.create_institution_schema($1, 'school')";
        let id: uuid::Uuid = database.admin.query_one(create, &[&institution]).await.unwrap().get(0);
        let found = look(&database, "school", "school").await;
        assert_eq!((&found["state"], &found["institution_id"]), (&json!("hand_made"), &json!(institution)), "{found}");
        let ask = async |digest: &serde_json::Value, institution: Option<uuid::Uuid>| {
            let mut options = tenant_options("school");
            options["digest"] = digest.clone();
            options["institution_id"] = json!(institution);
            call(&database.admin, "adopt_tenant_schema", &options).await
        };
        assert_eq!(expect(&ask(&json!("x"), Some(institution)).await, "busy"), "busy");
        assert_eq!(expect(&ask(&found["digest"], None).await, "error"), "institution_taken");
        let answer = ask(&found["digest"], Some(institution)).await;
        expect(&answer, "success");
        assert_eq!(answer["schema_id"], json!(id));
        expect(&ask(&found["digest"], Some(institution)).await, "unchanged");
        let owner = "SELECT owner_namespace || '/' || owner_name FROM edu_matrix_hub_schema.tenant_schemas";
        assert_eq!(database.one::<String>(owner).await, "team-a/school");
    })
    .await;
}

#[tokio::test]
async fn a_suspension_closes_the_former_owner_too_and_gives_back_what_it_had() {
    with_database(async |database| {
        let before = Before::of(&database).await;
        before.make(&database, "CREATE SCHEMA education; CREATE TABLE education.pupils (id int)").await;
        database.admin.batch_execute(&format!("GRANT USAGE ON SCHEMA education TO {}", before.web)).await.unwrap();
        let tenant = adopted(&database, "education").await;
        let acl = database.acl("education").await;
        let set = async |access: &str| {
            let options = tenant.options(&json!({ "access": access, "access_cause": "Spec" }));
            let answer = call(&database.admin, "set_tenant_access", &options).await;
            expect(&answer, "success");
        };
        let tries = async |statement: &str| database.connect(&before.app).await.batch_execute(statement).await.is_ok();
        for (access, reads, writes) in [
            ("ReadOnly", true, false),
            ("Suspended", false, false),
            ("ReadWrite", true, true),
            ("Suspended", false, false),
            ("ReadOnly", true, false),
            ("ReadWrite", true, true),
        ] {
            set(access).await;
            assert_eq!(tries("SELECT FROM education.pupils").await, reads, "{access}");
            assert_eq!(tries("INSERT INTO education.pupils VALUES (1)").await, writes, "{access}");
            assert_eq!(
                tries("CREATE TABLE education.more (id int); DROP TABLE education.more").await,
                writes,
                "{access}"
            );
            let repaired = call(&database.admin, "repair_tenant_schema", &tenant.options(&json!({}))).await;
            expect(&repaired, "unchanged");
        }
        let sorted = |acl: &str| {
            let mut entries: Vec<_> = acl.trim_matches(['{', '}']).split(',').map(str::to_owned).collect();
            entries.sort();
            entries
        };
        assert_eq!(sorted(&database.acl("education").await), sorted(&acl));
        assert_eq!(foreign(&database, "education").await, 0);
    })
    .await;
}

#[tokio::test]
async fn layouts_of_known_tools_are_adopted_and_their_tools_go_on() {
    for (layout, schema, statements) in [
        (
            include_str!("layouts/django_tenants.sql"),
            "north-school",
            "ALTER TABLE \"north-school\".courses_course ADD COLUMN room text; \
             INSERT INTO \"north-school\".courses_course (title, owner_id, client_id) VALUES ('Words', 1, 1); \
             INSERT INTO \"north-school\".django_migrations (app, name, applied) VALUES ('courses', '0002', now())",
        ),
        (
            include_str!("layouts/apartment.sql"),
            "South.School",
            "SET search_path = \"South.School\"; INSERT INTO users (email) VALUES ('bob@example.org'); SELECT FROM teachers; \
             ALTER TYPE role_kind RENAME VALUE 'pupil' TO 'learner'; ALTER TABLE users ADD COLUMN name text; DELETE FROM users",
        ),
        (
            include_str!("layouts/prisma.sql"),
            "Courses",
            "INSERT INTO \"Courses\".\"Course\" (title, \"accountId\") VALUES ('Words', 'a1'); \
             UPDATE auth.\"Account\" SET email = 'b'; ALTER TABLE \"Courses\".\"Course\" ADD COLUMN room text",
        ),
    ] {
        with_database(move |database| async move {
            let before = Before::of(&database).await;
            before.make(&database, layout).await;
            let tenant = adopted(&database, schema).await;
            assert!(tenant.owner.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{}", tenant.owner);
            database.connect(&before.app).await.batch_execute(statements).await.unwrap();
            // What is the tenant's alone reaches nothing of the shared schema.
            let alone = format!("SET ROLE \"{}\"; SELECT FROM shared.x", tenant.owner);
            assert!(database.admin.batch_execute(&alone).await.is_err());
            database.admin.batch_execute("RESET ROLE").await.unwrap();
            // It is set aside and comes back as any other.
            let options = tenant.options(&json!({ "owner_uid": "uid-school", "purge": false }));
            expect(&call(&database.admin, "set_aside_tenant_schema", &options).await, "success");
            assert!(database.connect(&before.app).await.batch_execute(statements).await.is_err());
            let backup: uuid::Uuid = database.one("SELECT id FROM edu_matrix_hub_schema.schema_backups").await;
            let restore = json!({ "backup_id": backup, "owner": crate::support::owner("school") });
            expect(&call(&database.admin, "restore_tenant_schema", &restore).await, "success");
            assert_eq!(foreign(&database, schema).await, 0);
            let client = database.connect(&before.app).await;
            client.batch_execute(&format!("CREATE TABLE \"{schema}\".afterwards (id int)")).await.unwrap();
        })
        .await;
    }
}

#[tokio::test]
async fn an_adoption_of_another_object_goes_on_from_where_it_was() {
    with_database(async |database| {
        let before = Before::of(&database).await;
        let tables = "CREATE SCHEMA education; DO $$ BEGIN FOR i IN 1..120 LOOP EXECUTE 'CREATE TABLE education.t' || i || ' ()'; \
                      END LOOP; END $$";
        before.make(&database, tables).await;
        help(&database, "education", "school").await;
        let digest = look(&database, "education", "school").await["digest"].clone();
        for moved in [0, 50] {
            let answer = adopt(&database.admin, "education", "school", &digest).await;
            expect(&answer, "partial");
            assert_eq!((&answer["detail"]["moved"], &answer["detail"]["total"]), (&json!(moved), &json!(120)), "{answer}");
        }
        assert_eq!(look(&database, "education", "school").await, json!({ "state": "begun", "moved": 50, "total": 120 }));
        let create = call(&database.admin, "create_tenant_schema", &tenant_options("education")).await;
        assert_eq!(expect(&create, "error"), "name_taken", "nothing else acts on it");

        // Another object confirms what is left, and gets the roles that were made.
        let left = look(&database, "education", "heir").await;
        assert_eq!((&left["state"], &left["owners"][0]["count"]), (&json!("pending"), &json!(70)), "{left}");
        let refused = adopt(&database.admin, "education", "heir", &digest).await;
        assert_eq!(expect(&refused, "busy"), "busy");
        expect(&adopt_whole(&database, "education", "heir").await, "success");
        assert_eq!(foreign(&database, "education").await, 0);
        let roles = format!("SELECT count(*) FROM pg_roles WHERE rolname ~ '^education_.*_owner$' AND pg_has_role('{}', oid, 'MEMBER')", before.app);
        assert_eq!(database.one::<i64>(&roles).await, 1);
        assert!(!has_keepers() || database.standing_memberships().await == 0);
    })
    .await;
}

#[tokio::test]
async fn what_a_role_kept_ends_when_a_person_says_so_and_comes_back_by_nothing() {
    with_database(async |database| {
        let before = Before::of(&database).await;
        before.make(&database, "CREATE SCHEMA education; CREATE TABLE education.pupils (id int)").await;
        let rights =
            format!("GRANT USAGE ON SCHEMA education TO {0}; GRANT SELECT ON education.pupils TO {0}", before.web);
        database.admin.batch_execute(&rights).await.unwrap();
        let tenant = adopted(&database, "education").await;
        let person = database.member("person", &database.admin_role()).await;
        let end = async |role: &str| -> (String, String) {
            let sql = "SELECT * FROM edu_matrix_hub_schema.end_kept_role($1, $2)";
            let row = person.query_one(sql, &[&tenant.id, &role]).await.unwrap();
            (row.get("status"), row.get("message"))
        };
        let reads =
            async |role: &str| database.connect(role).await.batch_execute("SELECT FROM education.pupils").await.is_ok();
        for stranger in [tenant.reader.as_str(), "nobody"] {
            let (status, message) = end(stranger).await;
            assert!(status == "error" && message.contains("nothing there from before"), "{message}");
        }
        assert!(reads(&before.app).await && reads(&before.web).await);
        // Also while it is taken by a suspension.
        let access = async |access: &str| {
            let options = tenant.options(&json!({ "access": access, "access_cause": "Spec" }));
            expect(&call(&database.admin, "set_tenant_access", &options).await, "success");
        };
        assert_eq!(end(&before.web).await.0, "success");
        access("Suspended").await;
        assert_eq!(end(&before.app).await.0, "success");
        access("ReadWrite").await;
        assert!(!reads(&before.app).await && !reads(&before.web).await);
        assert_eq!(end(&before.app).await.0, "error");
        expect(&call(&database.admin, "repair_tenant_schema", &tenant.options(&json!({}))).await, "unchanged");
        assert_eq!(database.standing_memberships().await, 0);
    })
    .await;
}

/// Who owned the schema before is a member of its owner, whom no policy of ours binds.
#[tokio::test]
async fn a_former_owner_that_policies_do_not_bind_is_told_with_what_ends_it() {
    with_database(async |database| {
        let before = Before::of(&database).await;
        before.make(&database, "CREATE SCHEMA education; CREATE TABLE education.pupils (id int, user_id int)").await;
        before.make(&database, "INSERT INTO education.pupils VALUES (1, 1), (2, 2)").await;
        let tenant = adopted(&database, "education").await;
        let policies = json!([{ "name": "own-rows", "column": "user_id", "setting": "app.user" }]);
        let wanted = json!({ "mode": "Required", "policies": policies, "digest": "one" });
        let answer = call(&database.admin, "set_row_security", &tenant.options(&wanted)).await;
        expect(&answer, "success");
        let reads = async || {
            let client = database.connect(&before.app).await;
            client.query_one("SELECT count(*) FROM education.pupils", &[]).await.map(|row| row.get::<_, i64>(0)).ok()
        };
        assert_eq!(reads().await, Some(2), "it goes on as the owner");
        let open = &answer["detail"]["uncovered"][0];
        let what = format!("role {} owned the schema before, and no policy binds it", before.app);
        assert_eq!((&open["what"], &answer["detail"]["uncovered_count"]), (&json!(what), &json!(1)), "{answer}");
        // What is told ends it.
        let person = database.member("person", &database.admin_role()).await;
        let ended = person.query_one(open["statement"].as_str().unwrap(), &[]).await.unwrap();
        assert_eq!(ended.get::<_, String>(0), "success");
        assert_eq!(reads().await, None);
        let repaired = call(&database.admin, "repair_tenant_schema", &tenant.options(&json!({}))).await;
        expect(&repaired, "success");
        let left = "SELECT uncovered_count FROM edu_matrix_hub_schema.tenant_row_security";
        assert_eq!(database.one::<i32>(left).await, 0);
    })
    .await;
}
