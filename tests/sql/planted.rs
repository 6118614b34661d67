//! What a user planted in `public` and led the search_path to is never looked at, not by the printed script and not by calls.

use serde_json::json;
use tenant_schema_operator::postgres::script::Form;

use crate::support::{Database, Lane, call, expect, surveyed, tenant_options, with_bare_database};

/// Plants it, and leads every session of this database there first; the sessions that are open stay as they are.
async fn plant(database: &Database) {
    database.admin.batch_execute(include_str!("planted.sql")).await.unwrap();
    let name = &database.name;
    let path = format!(
        "ALTER DATABASE {name} SET search_path = public, pg_catalog;
         ALTER ROLE postgres IN DATABASE {name} SET search_path = public, pg_catalog"
    );
    database.admin.batch_execute(&path).await.unwrap();
}

/// How often something of it has run.
async fn ran(database: &Database) -> i64 {
    database.one("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM public.ran").await
}

#[tokio::test]
async fn nothing_that_was_planted_in_public_runs() {
    with_bare_database(async |database| {
        plant(&database).await;
        let session = database.connect("postgres").await;
        session.simple_query("SELECT 'a'::name = 'b'::text, 1 + 1").await.unwrap();
        assert!(ran(&database).await > 0, "an ordinary session runs it");
        database.admin.batch_execute("ALTER SEQUENCE public.ran RESTART").await.unwrap();

        // By a superuser, as `psql` runs what is printed; a second time, as at an upgrade.
        database.install("postgres", Form::Printed).await.unwrap();
        database.install("postgres", Form::Printed).await.unwrap();
        assert_eq!(ran(&database).await, 0, "installing ran it");

        // A caller by hand, whose session keeps the path.
        let lane = Lane::claim(database.operator().await).await;
        expect(&call(&lane.client, "create_tenant_schema", &tenant_options("school")).await, "success");
        let tenant = database.tenant("other").await;
        for access in ["Suspended", "ReadWrite"] {
            expect(
                &call(&lane.client, "set_tenant_access", &tenant.options(&json!({ "access": access }))).await,
                "success",
            );
        }
        assert!(surveyed(&lane.survey(true).await, &tenant).is_some());
        let front = "SELECT status FROM edu_matrix_hub_schema.backup_institution_schema($1)";
        assert_eq!(lane.client.query_one(front, &[&tenant.id]).await.unwrap().get::<_, String>(0), "success");
        let set_aside = tenant.options(&json!({ "owner_uid": "uid-other" }));
        expect(&call(&lane.client, "set_aside_tenant_schema", &set_aside).await, "success");
        assert_eq!(ran(&database).await, 0, "a call ran it");
    })
    .await;
}
