//! Foreign keys to the tables of another tenant: with the word of both, and as long as both hold to it.

use serde_json::{Value, json};

use crate::{
    grants::{give, grant, grant_on, may, repair, rights, states},
    grants_roles::followed,
    interplay::is_settled,
    support::{Database, Lane, Tenant, call, expect, owner, with_database},
};

/// A tenant whose pupils others refer to, and one that may want to.
async fn school_and_courses(database: &Database) -> (Tenant, Tenant) {
    let (school, courses) = (database.tenant("school").await, database.tenant("courses").await);
    let tables = "CREATE TABLE pupils (id int PRIMARY KEY, name text); INSERT INTO pupils VALUES (1, 'Ann'); \
                  CREATE TABLE marks (id int PRIMARY KEY)";
    database.as_owner(&school, tables).await;
    (school, courses)
}

/// What the tenant says of the tenants to whose tables it wants to refer.
async fn want(database: &Database, tenant: &Tenant, names: &[&str]) -> Value {
    let names: Vec<_> = names.iter().map(|name| json!({ "namespace": "team-a", "name": name })).collect();
    let options = tenant.options(&json!({ "grants": [], "references": names }));
    call(&database.operator().await, "set_tenant_grants", &options).await
}

/// The foreign keys of a schema.
async fn keys(database: &Database, schema: &str) -> String {
    database
        .one(&format!(
            "SELECT coalesce(string_agg(conname, ' ' ORDER BY conname), '') FROM pg_constraint WHERE contype = 'f' AND \
             connamespace = '{schema}'::regnamespace"
        ))
        .await
}

const REFER: &str = "CREATE TABLE courses.places (pupil int REFERENCES school.pupils)";

#[tokio::test]
async fn a_foreign_key_needs_the_word_of_both_and_gives_nothing_else() {
    with_database(async |database| {
        let (school, courses) = school_and_courses(&database).await;
        let lane = Lane::claim(database.operator().await).await;
        let before = rights(&database, &school).await;
        let refers = json!([grant("courses", &["References"])]);
        expect(&give(&database, &school, refers.clone()).await, "success");
        assert!(!may(&database, &courses.owner, REFER).await);
        let told = states(&database, &school).await;
        assert_eq!((&told[0]["state"], &told[0]["unaccepted"]), (&json!("given"), &json!(true)));
        is_settled(&database, &lane, &[&school, &courses], "one word").await;

        // The word of the other is found by the survey.
        expect(&want(&database, &courses, &["school", "absent"]).await, "success");
        expect(&want(&database, &courses, &["school", "absent"]).await, "unchanged");
        followed(&database, &lane, &school).await;
        assert_eq!(states(&database, &school).await[0]["unaccepted"], Value::Null);
        assert!(may(&database, &courses.owner, REFER).await);
        database.as_owner(&school, "CREATE TABLE later (id int PRIMARY KEY)").await;
        assert!(may(&database, &courses.owner, "CREATE TABLE courses.late (id int REFERENCES school.later)").await);
        for role in [&courses.owner, &courses.reader, &courses.writer] {
            for never in ["SELECT FROM school.pupils", "DELETE FROM school.pupils", "CREATE TABLE school.own ()"] {
                assert!(!may(&database, role, never).await, "{role}: {never}");
            }
        }
        is_settled(&database, &lane, &[&school, &courses], "both words").await;

        // With Read and on named tables besides.
        let named = json!([grant("courses", &["Read"]), grant_on("courses", &["References"], &["pupils"])]);
        expect(&give(&database, &school, named).await, "success");
        assert!(may(&database, &courses.reader, "SELECT FROM school.marks").await);
        assert!(!may(&database, &courses.owner, "CREATE TABLE courses.m (id int REFERENCES school.marks)").await);
        assert!(may(&database, &courses.owner, REFER).await);
        is_settled(&database, &lane, &[&school, &courses], "named").await;
        database.as_owner(&school, "DROP TABLE later").await;
        expect(&give(&database, &school, json!([])).await, "success");
        assert_eq!(rights(&database, &school).await, before);
    })
    .await;
}

#[tokio::test]
async fn foreign_keys_end_with_the_grant_and_with_the_word_and_no_others_do() {
    with_database(async |database| {
        let (school, courses) = school_and_courses(&database).await;
        let other = database.tenant("other").await;
        let lane = Lane::claim(database.operator().await).await;
        // Keys that no grant is about: within the schema, and by a right that a superuser gave.
        let by_hand = format!("GRANT USAGE ON SCHEMA school TO {0}; GRANT REFERENCES ON school.marks TO {0}", other.owner);
        database.admin.batch_execute(&by_hand).await.unwrap();
        database.as_owner(&other, "CREATE TABLE theirs (id int CONSTRAINT theirs REFERENCES school.marks)").await;
        repair(&database, &school).await;
        expect(&want(&database, &courses, &["school"]).await, "success");
        let make = "CREATE TABLE places (pupil int CONSTRAINT pupil REFERENCES school.pupils ON DELETE CASCADE); \
                    CREATE TABLE own (id int PRIMARY KEY, up int CONSTRAINT up REFERENCES own); \
                    INSERT INTO places VALUES (1)";
        let remake = "SELECT metadata ->> 'remake' FROM edu_matrix_hub_schema.schema_operations WHERE type = 'end_reference' \
                      ORDER BY id DESC LIMIT 1";
        for by_word in [false, true] {
            expect(&give(&database, &school, json!([grant("courses", &["References"])])).await, "success");
            if by_word {
                database.as_owner(&courses, &database.one::<String>(remake).await).await;
                expect(&want(&database, &courses, &[]).await, "success");
                followed(&database, &lane, &school).await;
            } else {
                database.as_owner(&courses, make).await;
                assert!(!may(&database, &school.owner, "TRUNCATE school.pupils").await);
                expect(&give(&database, &school, json!([])).await, "success");
            }
            assert_eq!(keys(&database, "courses").await, "up");
            assert_eq!(keys(&database, "other").await, "theirs");
            assert_eq!(database.one::<i64>("SELECT count(*) FROM courses.places").await, 1);
            let text: String = database.one(remake).await;
            assert_eq!(
                text,
                "ALTER TABLE courses.places ADD CONSTRAINT pupil FOREIGN KEY (pupil) REFERENCES school.pupils(id) ON DELETE CASCADE"
            );
            assert_eq!(database.one::<i64>("SELECT count(*) FROM edu_matrix_hub_schema.referring_tenants").await, 0);
            assert_eq!(database.standing_memberships().await, 0);
            is_settled(&database, &lane, &[&school, &courses, &other], "ended").await;
        }
        // What a superuser took over is named and left.
        expect(&want(&database, &courses, &["school"]).await, "success");
        expect(&give(&database, &school, json!([grant("courses", &["References"])])).await, "success");
        database.as_owner(&courses, &database.one::<String>(remake).await).await;
        database.admin.batch_execute("ALTER TABLE courses.places OWNER TO postgres").await.unwrap();
        let answer = give(&database, &school, json!([])).await;
        let statement = "ALTER TABLE courses.places DROP CONSTRAINT pupil";
        assert_eq!(answer["detail"]["not_given"][0]["statement"], statement, "{answer}");
        assert_eq!(database.one::<i64>("SELECT count(*) FROM edu_matrix_hub_schema.referring_tenants").await, 1);
        database.admin.batch_execute(statement).await.unwrap();
        repair(&database, &school).await;
        assert_eq!(database.one::<i64>("SELECT count(*) FROM edu_matrix_hub_schema.referring_tenants").await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_foreign_key_of_a_grantee_is_a_dependent_and_a_session_that_holds_one_keeps_it_waiting() {
    with_database(async |database| {
        let (school, courses) = school_and_courses(&database).await;
        expect(&want(&database, &courses, &["school"]).await, "success");
        expect(&give(&database, &school, json!([grant("courses", &["References"])])).await, "success");
        database.as_owner(&courses, "CREATE TABLE places (pupil int CONSTRAINT pupil REFERENCES school.pupils)").await;
        let aside = school.options(&json!({ "owner_uid": "uid-school" }));
        let answer = call(&database.operator().await, "set_aside_tenant_schema", &aside).await;
        assert_eq!(expect(&answer, "error"), "dependents");
        assert_eq!(answer["detail"]["dependents"], json!(["courses.places.pupil"]));

        // A session holds the table of the key: the rights go, and the key with the next repair.
        database.let_in(&courses.owner).await;
        let session = database.connect(&courses.owner).await;
        session.batch_execute("BEGIN; LOCK TABLE courses.places IN ACCESS SHARE MODE").await.unwrap();
        expect(&give(&database, &school, json!([])).await, "success");
        assert!(!may(&database, &courses.owner, "CREATE TABLE courses.m (id int REFERENCES school.pupils)").await);
        assert_eq!(keys(&database, "courses").await, "pupil");
        session.batch_execute("ROLLBACK").await.unwrap();
        expect(&repair(&database, &school).await, "success");
        assert_eq!(keys(&database, "courses").await, "");
        expect(&call(&database.operator().await, "set_aside_tenant_schema", &aside).await, "success");

        // The grantee goes, and its keys with it; nothing is left of either.
        let answer = call(
            &database.operator().await,
            "set_aside_tenant_schema",
            &courses.options(&json!({ "owner_uid": "uid-courses" })),
        )
        .await;
        expect(&answer, "success");
        let purge = format!(
            "SELECT status FROM edu_matrix_hub_schema.purge_schema_backup({})",
            answer["detail"]["backup_id"].to_string().replace('"', "'")
        );
        for _ in 0..50 {
            if database.one::<String>(&purge).await == "success" {
                break;
            }
        }
        assert_eq!(database.one::<i64>("SELECT count(*) FROM edu_matrix_hub_schema.tenant_references").await, 0);
    })
    .await;
}

#[tokio::test]
async fn hundreds_of_foreign_keys_end_in_short_calls_and_names_become_no_statement() {
    with_database(async |database| {
        let (school, courses) = school_and_courses(&database).await;
        expect(&want(&database, &courses, &["school"]).await, "success");
        expect(&give(&database, &school, json!([grant("courses", &["References"])])).await, "success");
        let name = "a\"; DROP TABLE kept; --".replace('"', "\"\"");
        let many: Vec<_> = (0..150).map(|n| format!("CONSTRAINT k{n} REFERENCES school.pupils")).collect();
        let tables = format!(
            "CREATE TABLE kept (id int); CREATE TABLE \"{name}\" (id int CONSTRAINT \"{name}\" REFERENCES school.pupils); \
             CREATE TABLE many (id int {})",
            many.join(" ")
        );
        database.as_owner(&courses, &tables).await;
        expect(&give(&database, &school, json!([])).await, "success");
        assert_eq!(keys(&database, "courses").await.split(' ').count(), 51);
        expect(&repair(&database, &school).await, "success");
        assert_eq!(keys(&database, "courses").await, "");
        assert_eq!(database.one::<i64>("SELECT count(*) FROM courses.kept").await, 0);
        // A role that is no tenant's has the word of who offers it; its keys stand like those of a stranger.
        let service = database.role("service", "NOLOGIN").await;
        database.admin.batch_execute(&format!("CREATE SCHEMA own AUTHORIZATION {service}")).await.unwrap();
        let to_role = json!([{ "role": service, "privileges": ["References"] }]);
        expect(&give(&database, &school, to_role).await, "success");
        let make = format!("SET ROLE {service}; CREATE TABLE own.t (id int CONSTRAINT t REFERENCES school.pupils); RESET ROLE");
        database.admin.batch_execute(&make).await.unwrap();
        expect(&give(&database, &school, json!([])).await, "success");
        assert_eq!(keys(&database, "own").await, "t");
        let aside = school.options(&json!({ "owner_uid": "uid-school" }));
        let answer = call(&database.operator().await, "set_aside_tenant_schema", &aside).await;
        assert_eq!(answer["detail"]["dependents"], json!(["own.t.t"]));
    })
    .await;
}

#[tokio::test]
async fn a_grantee_that_comes_back_has_its_views_and_foreign_keys_again() {
    with_database(async |database| {
        let (school, courses) = school_and_courses(&database).await;
        let lane = Lane::claim(database.operator().await).await;
        expect(&want(&database, &courses, &["school"]).await, "success");
        expect(&give(&database, &school, json!([grant("courses", &["Read", "References"])])).await, "success");
        let objects = "CREATE TABLE places (pupil int CONSTRAINT pupil REFERENCES school.pupils); \
                       CREATE VIEW names AS SELECT name FROM school.pupils";
        database.as_owner(&courses, objects).await;
        let given = rights(&database, &school).await;
        let aside = courses.options(&json!({ "owner_uid": "uid-courses" }));
        let answer = call(&database.operator().await, "set_aside_tenant_schema", &aside).await;
        expect(&answer, "success");
        // The survey takes what it had.
        followed(&database, &lane, &school).await;
        assert!(!rights(&database, &school).await.contains("courses"));
        let restore = json!({ "backup_id": answer["detail"]["backup_id"], "owner": owner("courses") });
        let answer = call(&database.operator().await, "restore_tenant_schema", &restore).await;
        expect(&answer, "success");
        assert_eq!(answer["detail"]["references"], json!([]), "{answer}");
        assert_eq!(keys(&database, "courses").await, "pupil");
        assert_eq!(database.one::<String>("SELECT name FROM courses.names").await, "Ann");
        assert_eq!(rights(&database, &school).await, given);
        assert_eq!(database.standing_memberships().await, 0);
        repair(&database, &school).await;
        is_settled(&database, &lane, &[&school, &courses], "back").await;
    })
    .await;
}
