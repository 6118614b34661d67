//! Adoptions that are cut off half-way: the schema is dropped or renamed, or the database is another world.

use serde_json::{Value, json};

use crate::{
    adoption_world::{Before, adopt, adopt_whole, foreign, help, look},
    support::{Database, Lane, call, expect, has_keepers, with_database},
};

/// A schema of 120 tables, fifty of which have moved.
async fn half_moved(database: &Database) -> (Before, Value) {
    let before = Before::of(database).await;
    let tables = "CREATE SCHEMA education; DO $$ BEGIN FOR i IN 1..120 LOOP EXECUTE 'CREATE TABLE education.t' || i || ' ()'; \
                  END LOOP; END $$";
    before.make(database, tables).await;
    help(database, "education", "school").await;
    let digest = look(database, "education", "school").await["digest"].clone();
    for _ in 0..2 {
        expect(&adopt(&database.admin, "education", "school", &digest).await, "partial");
    }
    (before, digest)
}

/// How many roles there are of a schema that is adopted, and how many rows.
async fn left(database: &Database) -> (i64, i64) {
    let roles = format!(
        "SELECT count(*) FROM pg_roles WHERE rolname ~ '^education_[0-9a-f]{{12}}_' \
         AND pg_has_role('{}', oid, 'MEMBER') IS NOT NULL",
        database.owner_role
    );
    let rows = "SELECT count(*) FROM edu_matrix_hub_schema.tenant_adoptions";
    (database.one(&roles).await, database.one(rows).await)
}

/// The names of the roles that were made.
async fn made(database: &Database) -> String {
    database
        .one("SELECT format('%I, %I, %I', owner_role, reader_role, writer_role) FROM edu_matrix_hub_schema.tenant_adoptions")
        .await
}

/// How many of these roles stand.
async fn standing(database: &Database, roles: &str) -> i64 {
    let names = roles.replace('"', "").replace(", ", ",");
    database.one(&format!("SELECT count(*) FROM pg_roles WHERE rolname = ANY ('{{{names}}}')")).await
}

#[tokio::test]
async fn what_was_made_for_a_schema_that_is_dropped_half_way_goes_by_itself() {
    with_database(async |database| {
        let (before, digest) = half_moved(&database).await;
        let roles = made(&database).await;
        let lane = Lane::claim(database.operator().await).await;
        lane.survey(false).await;
        assert_eq!(standing(&database, &roles).await, 3, "while the schema stands nothing goes");
        database.admin.batch_execute("DROP SCHEMA education CASCADE").await.unwrap();
        let seen = look(&database, "education", "school").await;
        assert_eq!(seen, json!({ "state": "nothing", "moved": 50, "total": 120 }));
        let refused = adopt(&database.admin, "education", "school", &digest).await;
        assert_eq!(expect(&refused, "error"), "not_found");
        lane.survey(false).await;
        assert_eq!((standing(&database, &roles).await, left(&database).await.1), (0, 0));
        assert_eq!(look(&database, "education", "school").await, json!({ "state": "nothing" }));
        let logged =
            "SELECT status || ' ' || description FROM edu_matrix_hub_schema.schema_operations ORDER BY id DESC LIMIT 1";
        let logged: String = database.one(logged).await;
        assert!(logged.starts_with("success remove the roles") && logged.contains("\"education\""), "{logged}");
        assert!(!has_keepers() || database.standing_memberships().await == 0);
        // Another schema of the name is asked about like any other, and adopted.
        before.make(&database, "CREATE SCHEMA education; CREATE TABLE education.pupils (id int)").await;
        let again = look(&database, "education", "school").await;
        assert_eq!(again["state"], "pending", "{again}");
        assert_ne!(again["digest"], digest);
        expect(&adopt_whole(&database, "education", "school").await, "success");
        assert_eq!(foreign(&database, "education").await, 0);
    })
    .await;
}

#[tokio::test]
async fn roles_that_own_something_elsewhere_wait_with_the_statement_and_go_then() {
    with_database(async |database| {
        half_moved(&database).await;
        let roles = made(&database).await;
        let lane = Lane::claim(database.operator().await).await;
        // A user moved a table out of the schema before it was dropped.
        database
            .admin
            .batch_execute("ALTER TABLE education.t1 SET SCHEMA shared; DROP SCHEMA education CASCADE")
            .await
            .unwrap();
        for _ in 0..2 {
            lane.survey(false).await;
        }
        assert_eq!(standing(&database, &roles).await, 3);
        let logged =
            "SELECT status || ' ' || error FROM edu_matrix_hub_schema.schema_operations ORDER BY id DESC LIMIT 1";
        let logged: String = database.one(logged).await;
        assert!(logged.starts_with("error ") && logged.contains("DROP TABLE shared.t1"), "{logged}");
        let rows =
            "SELECT count(*) FROM edu_matrix_hub_schema.schema_operations WHERE description LIKE 'remove the roles%'";
        assert_eq!(database.one::<i64>(rows).await, 1, "one row, however often");
        database.admin.batch_execute("DROP TABLE shared.t1").await.unwrap();
        lane.survey(false).await;
        assert_eq!((standing(&database, &roles).await, left(&database).await.1), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn a_schema_that_is_renamed_half_way_says_so_and_goes_on_under_its_name() {
    with_database(async |database| {
        let (_, digest) = half_moved(&database).await;
        let lane = Lane::claim(database.operator().await).await;
        database.admin.batch_execute("ALTER SCHEMA education RENAME TO parked").await.unwrap();
        let seen = look(&database, "education", "school").await;
        let statement = "ALTER SCHEMA parked RENAME TO education";
        assert!(seen["state"] == "refused" && seen["why"].as_str().unwrap().contains(statement), "{seen}");
        lane.survey(false).await;
        database.admin.batch_execute(statement).await.unwrap();
        assert_eq!(look(&database, "education", "school").await["state"], "begun");
        loop {
            let answer = adopt(&database.admin, "education", "school", &digest).await;
            if answer["status"] != "partial" {
                expect(&answer, "success");
                break;
            }
        }
        assert_eq!(foreign(&database, "education").await, 0);
    })
    .await;
}

#[tokio::test]
async fn an_adoption_goes_on_in_another_world_when_that_is_bound_again() {
    with_database(async |database| {
        let (_, digest) = half_moved(&database).await;
        let lane = Lane::claim(database.operator().await).await;
        let other = "INSERT INTO edu_matrix_hub_schema.tenant_adoptions
                     SELECT gen_random_uuid(), 7, 'nowhere', owner_cluster, owner_namespace, owner_name, 'uid-nowhere', keeper, owner_role, reader_role,
                            writer_role, owner_role_oid, reader_role_oid, writer_role_oid, former, digest, moved, total
                     FROM edu_matrix_hub_schema.tenant_adoptions";
        let moved = "UPDATE edu_matrix_hub_schema.installation SET registry_oid = 1; \
                     UPDATE edu_matrix_hub_schema.tenant_adoptions SET schema_oid = 1, owner_role_oid = 2, reader_role_oid = 3, writer_role_oid = 4";
        database.admin.batch_execute(&format!("{moved}; {other}")).await.unwrap();
        lane.survey(false).await;
        assert_eq!(left(&database).await.1, 2, "before that nothing is taken for dropped");
        assert_eq!(look(&database, "education", "school").await["state"], "refused");
        let options = json!({ "installation_id": lane.installation_id });
        let bound = call(&database.operator().await, "rebind_tenants", &options).await;
        expect(&bound, "success");
        assert_eq!(bound["detail"]["bound"], 1, "{bound}");
        let why = bound["detail"]["left"][0]["why"].as_str().unwrap();
        assert!(bound["detail"]["left"][0]["schema"] == "nowhere" && why.contains("adoption had begun"), "{bound}");
        assert_eq!(look(&database, "education", "school").await, json!({ "state": "begun", "moved": 0, "total": 120 }));
        let answer = adopt(&database.admin, "education", "school", &digest).await;
        expect(&answer, "partial");
        loop {
            let answer = adopt(&database.admin, "education", "school", &digest).await;
            if answer["status"] != "partial" {
                expect(&answer, "success");
                break;
            }
        }
        assert_eq!(foreign(&database, "education").await, 0);
        expect(&call(&database.operator().await, "rebind_tenants", &options).await, "unchanged");
    })
    .await;
}
