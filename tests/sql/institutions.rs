//! How institutions stand in the application's own table: a survey reads it for the institutions of all tenants at once, tells what is
//! news, and runs nothing of that table's owner.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Database, Lane, Tenant, call, expect, surveyed, tenant_options, with_database};

/// The table that the surveys of a test are given.
fn source(status_column: &str) -> Value {
    json!({ "institutions": {
        "schema": "app", "table": "schools", "id_column": "id", "status_column": status_column,
        "suspended_values": ["suspended", "closed"],
    } })
}

/// A tenant of this institution.
async fn tenant_of(database: &Database, name: &str, institution: Uuid) -> Tenant {
    let mut options = tenant_options(name);
    options["institution_id"] = json!(institution);
    options["register_institution"] = json!(true);
    let answer = call(&database.operator().await, "create_tenant_schema", &options).await;
    expect(&answer, "success");
    database.tenant_of(&answer).await
}

/// What a survey tells of a tenant's institution, if it tells of the tenant.
fn told(survey: &Value, tenant: &Tenant) -> Option<String> {
    surveyed(survey, tenant).map(|row| row["institution_status"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_survey_tells_what_the_applications_table_says_of_each_institution() {
    with_database(async |database| {
        let ids = [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()];
        let (first, second) =
            (tenant_of(&database, "first", ids[0]).await, tenant_of(&database, "second", ids[1]).await);
        // One that was never in the table is not gone from it.
        let third = tenant_of(&database, "third", ids[2]).await;
        let owner = &database.owner_role;
        let rows = format!(
            "CREATE SCHEMA app; CREATE TYPE app.standing AS ENUM ('open', 'suspended', 'closed');
             CREATE TABLE app.schools (id text PRIMARY KEY, standing app.standing);
             INSERT INTO app.schools VALUES ('{}', 'open'), ('{}', 'suspended');
             GRANT USAGE ON SCHEMA app TO {owner}; GRANT SELECT ON app.schools TO {owner}",
            ids[0], ids[1]
        );
        database.admin.batch_execute(&rows).await.unwrap();
        let lane = Lane::claim(database.operator().await).await;
        lane.survey(true).await;
        let look = async || lane.survey_with(source("standing")).await;
        let survey = look().await;
        assert_eq!(survey["institution_problem"], Value::Null);
        assert_eq!((told(&survey, &first), told(&survey, &third)), (None, None), "nothing is news");
        assert_eq!(told(&survey, &second).as_deref(), Some("suspended"));
        assert_eq!(told(&look().await, &second), None, "it is told once");

        for (change, of, expected) in [
            (format!("UPDATE app.schools SET standing = 'closed' WHERE id = '{}'", ids[0]), &first, "suspended"),
            (format!("UPDATE app.schools SET standing = NULL WHERE id = '{}'", ids[0]), &first, "active"),
            (format!("DELETE FROM app.schools WHERE id = '{}'", ids[1]), &second, "gone"),
            (format!("INSERT INTO app.schools VALUES ('{}', 'open')", ids[1]), &second, "active"),
            // The registry's own word counts before.
            (
                format!("UPDATE edu_matrix_hub_schema.institutions SET status = 'closed' WHERE id = '{}'", ids[1]),
                &second,
                "closed",
            ),
        ] {
            database.admin.batch_execute(&change).await.unwrap();
            assert_eq!(told(&look().await, of).as_deref(), Some(expected), "{change}");
        }
        // A spec without a table takes nothing of it for true any longer, and an operator that does not say leaves it.
        database.admin.batch_execute("UPDATE app.schools SET standing = 'suspended'").await.unwrap();
        assert_eq!(told(&look().await, &first).as_deref(), Some("suspended"));
        assert_eq!(told(&lane.survey(false).await, &first), None);
        assert_eq!(told(&lane.survey_with(json!({ "institutions": null })).await, &first).as_deref(), Some("active"));
    })
    .await;
}

#[tokio::test]
async fn a_table_that_cannot_be_read_is_told_and_leaves_tenants_as_they_are() {
    with_database(async |database| {
        let id = Uuid::new_v4();
        let tenant = tenant_of(&database, "school", id).await;
        let owner = &database.owner_role;
        let rows = format!(
            "CREATE SCHEMA app; CREATE TABLE app.schools (id uuid, status text);
             INSERT INTO app.schools VALUES ('{id}', 'suspended');
             GRANT USAGE ON SCHEMA app TO {owner}; GRANT SELECT ON app.schools TO {owner}"
        );
        database.admin.batch_execute(&rows).await.unwrap();
        let lane = Lane::claim(database.operator().await).await;
        let look = async |column: &str| lane.survey_with(source(column)).await;
        assert_eq!(told(&look("status").await, &tenant).as_deref(), Some("suspended"));
        let problem = async |column: &str| {
            let survey = look(column).await;
            assert_eq!(told(&survey, &tenant), None, "it stays suspended");
            survey["institution_problem"].as_str().unwrap().to_owned()
        };
        assert!(problem("standing").await.contains("it has no plain column \"standing\""));
        for (change, back, expected) in [
            (format!("REVOKE SELECT ON app.schools FROM {owner}"), format!("GRANT SELECT ON app.schools TO {owner}"), "GRANT SELECT ON"),
            (
                "ALTER TABLE app.schools ENABLE ROW LEVEL SECURITY".to_owned(),
                "ALTER TABLE app.schools DISABLE ROW LEVEL SECURITY".to_owned(),
                "row-level security",
            ),
            (
                "ALTER TABLE app.schools RENAME TO old; CREATE VIEW app.schools AS SELECT * FROM app.old".to_owned(),
                "DROP VIEW app.schools; ALTER TABLE app.old RENAME TO schools".to_owned(),
                "there is no such table",
            ),
            (
                "CREATE DOMAIN app.word AS text CHECK (length(VALUE) > 0); ALTER TABLE app.schools ALTER status TYPE app.word".to_owned(),
                "ALTER TABLE app.schools ALTER status TYPE text".to_owned(),
                "is of type app.word",
            ),
        ] {
            database.admin.batch_execute(&change).await.unwrap();
            let told = problem("status").await;
            assert!(told.contains(expected), "{change}: {told}");
            database.admin.batch_execute(&back).await.unwrap();
        }
        assert_eq!(look("status").await["institution_problem"], Value::Null);
    })
    .await;
}
