//! What crosses between tenants besides rows: foreign keys, which two owners make together or an administrator, and the code that
//! each lets into sessions of the other.

use serde_json::{Value, json};

use crate::{
    application::Application,
    grants::{give, grant, repair},
    support::{Database, Lane, Tenant, call, expect, surveyed, with_database},
};

const KEY: &str =
    "ALTER TABLE enrolment.enrolments ADD CONSTRAINT person FOREIGN KEY (person) REFERENCES people.people (id)";

/// Two domains of one application, and the key that its administrator makes.
async fn domains(database: &Database) -> (Tenant, Tenant) {
    let (people, enrolment) = (database.tenant("people").await, database.tenant("enrolment").await);
    database
        .as_owner(
            &people,
            "CREATE TABLE people (id int PRIMARY KEY, name text); INSERT INTO people VALUES (1, 'Ann'), (2, 'Ben')",
        )
        .await;
    database
        .as_owner(
            &enrolment,
            "CREATE TABLE enrolments (person int, course text); INSERT INTO enrolments VALUES (1, 'maths')",
        )
        .await;
    database.admin.batch_execute(KEY).await.unwrap();
    (people, enrolment)
}

/// With what the server refuses this to a tenant's owner.
async fn refusal(database: &Database, tenant: &Tenant, statement: &str) -> String {
    let begin = format!("BEGIN; SET LOCAL ROLE \"{}\"; SET LOCAL search_path = \"{}\"", tenant.owner, tenant.schema);
    database.admin.batch_execute(&begin).await.unwrap();
    let refused = database.admin.batch_execute(statement).await.unwrap_err();
    database.admin.batch_execute("ROLLBACK").await.unwrap();
    refused.code().unwrap().code().to_owned()
}

async fn set_aside(database: &Database, tenant: &Tenant) -> Value {
    let options = tenant.options(&json!({ "owner_uid": format!("uid-{}", tenant.schema) }));
    call(&database.operator().await, "set_aside_tenant_schema", &options).await
}

#[tokio::test]
async fn a_key_that_an_administrator_makes_holds_and_is_nothing_to_repair() {
    with_database(async |database| {
        let (people, enrolment) = domains(&database).await;
        let lane = Lane::claim(database.operator().await).await;
        let application = Application::of(&database, &enrolment).await;
        let login = application.issued("app").await;
        let survey = lane.survey(true).await;
        for tenant in [&people, &enrolment] {
            let row = surveyed(&survey, tenant).unwrap();
            assert_eq!((&row["drift"], &row["not_isolated"]), (&json!([]), &json!(null)), "{row}");
        }
        let client = database.log_in(&login, "app").await.unwrap();
        client.batch_execute("INSERT INTO enrolments VALUES (2, 'maths')").await.unwrap();
        let missing = client.batch_execute("INSERT INTO enrolments VALUES (3, 'maths')").await.unwrap_err();
        assert_eq!(missing.code().unwrap().code(), "23503");
        let unreadable = client.batch_execute("SELECT * FROM people.people").await.unwrap_err();
        assert_eq!(unreadable.code().unwrap().code(), "42501");
    })
    .await;
}

#[tokio::test]
async fn what_a_key_points_to_stays_until_the_key_is_gone_and_a_key_does_not_come_back_by_itself() {
    with_database(async |database| {
        let (people, enrolment) = domains(&database).await;
        let refused = set_aside(&database, &people).await;
        assert_eq!(expect(&refused, "error"), "dependents");
        assert!(refused["message"].as_str().unwrap().contains("enrolment.enrolments.person"), "{refused}");

        // The other way round it goes, and then nothing is in the way of the first.
        let aside = set_aside(&database, &enrolment).await;
        expect(&aside, "success");
        expect(&set_aside(&database, &people).await, "success");
        let restore = json!({ "backup_id": aside["detail"]["backup_id"] });
        let back = call(&database.operator().await, "restore_tenant_schema", &restore).await;
        expect(&back, "success");
        let told = back["message"].as_str().unwrap();
        assert!(told.contains("foreign key enrolment.enrolments.person could not be made again"), "{told}");
        assert!(told.contains("manifest -> 'not_remade'"), "{told}");
    })
    .await;
}

#[tokio::test]
async fn two_owners_that_trust_each_other_make_a_key_without_an_administrator() {
    with_database(async |database| {
        let (people, enrolment) = domains(&database).await;
        database.admin.batch_execute("ALTER TABLE enrolment.enrolments DROP CONSTRAINT person").await.unwrap();
        let lane = Lane::claim(database.operator().await).await;
        let key = KEY.replace("enrolment.enrolments", "enrolments");
        let gives = format!("GRANT REFERENCES ON people TO {}", enrolment.owner);
        // Only beside a grant of the spec, which lets the other into the schema.
        database.as_owner(&people, &gives).await;
        assert_eq!(refusal(&database, &enrolment, &key).await, "42501");
        expect(&give(&database, &people, json!([grant("enrolment", &["Read"])])).await, "success");
        database.as_owner(&people, &gives).await;
        database.as_owner(&enrolment, &key).await;
        // The next survey finds the privilege, which the repair takes back; the key stays.
        assert_ne!(surveyed(&lane.survey(false).await, &people).unwrap()["drift"], json!([]));
        expect(&repair(&database, &people).await, "success");
        let left = "SELECT has_table_privilege('{}', 'people.people', 'REFERENCES')".replace("{}", &enrolment.owner);
        assert!(!database.one::<bool>(&left).await);
        assert_eq!(refusal(&database, &enrolment, "INSERT INTO enrolments VALUES (3, 'maths')").await, "23503");
    })
    .await;
}

/// PostgreSQL plans the check of a foreign key as the owner of the other table, in the session that deletes; and planning evaluates
/// what an index of that table calls. So who makes a key lets the other's code into its sessions.
#[tokio::test]
async fn a_key_lets_the_code_of_each_owner_into_sessions_of_the_other() {
    with_database(async |database| {
        let (people, enrolment) = domains(&database).await;
        let spy = "CREATE FUNCTION spy() RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
                       PERFORM set_config('search_path', 'enrolment', false); RETURN 1; END $$;
                   CREATE FUNCTION spy(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1';
                   CREATE INDEX ON enrolments (spy(person)) WHERE spy() = 1;
                   CREATE TABLE people (id int, name text)";
        database.as_owner(&enrolment, spy).await;
        let application = Application::of(&database, &people).await;
        let login = application.issued("app").await;
        let client = database.log_in(&login, "app").await.unwrap();
        client.batch_execute("DELETE FROM people WHERE id = 2").await.unwrap();
        let path: String = client.query_one("SHOW search_path", &[]).await.unwrap().get(0);
        assert_eq!(path, "enrolment");
    })
    .await;
}

/// Planning a query evaluates what the indexes of its tables call, as the role that asks.
#[tokio::test]
async fn who_reads_a_table_of_another_lets_the_code_of_its_owner_into_the_session() {
    with_database(async |database| {
        let (people, reporting) = (database.tenant("people").await, database.tenant("reporting").await);
        let spy = "CREATE TABLE people (id int);
                   CREATE FUNCTION spy() RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
                       PERFORM set_config('search_path', current_user, false); RETURN 1; END $$;
                   CREATE INDEX ON people (id) WHERE spy() = 1; GRANT EXECUTE ON FUNCTION spy() TO PUBLIC";
        database.as_owner(&people, spy).await;
        expect(&give(&database, &people, json!([grant("reporting", &["Read"])])).await, "success");
        let login = Application::of(&database, &reporting).await.issued("app").await;
        let client = database.log_in(&login, "app").await.unwrap();
        client.batch_execute("SELECT FROM people.people").await.unwrap();
        let path: String = client.query_one("SHOW search_path", &[]).await.unwrap().get(0);
        assert_eq!(path, login, "it ran as the reader");
    })
    .await;
}
