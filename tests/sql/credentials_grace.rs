//! A grace that ends while no pass of an object comes: the former password opens nothing all the same.

use serde_json::{Value, json};

use crate::{
    application::{Application, CLOSED, NO_PASSWORD},
    support::{Database, Lane, call, expect, owner, surveyed, with_database},
};

const OVER: &str = "UPDATE edu_matrix_hub_schema.tenant_credentials SET previous_until = now() - interval '1 s'";

async fn previous(database: &Database) -> Option<String> {
    database.one("SELECT previous_login FROM edu_matrix_hub_schema.tenant_credentials").await
}

#[tokio::test]
async fn a_resumption_opens_no_login_whose_grace_is_over() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let lane = Lane::claim(database.operator().await).await;
        let (former, now) = (application.issued("1").await, application.issued("2").await);
        application.set_access("Suspended").await;
        application.set_access("ReadWrite").await;
        assert_eq!(application.door(&former, "1").await, "open", "its grace goes on");

        application.set_access("Suspended").await;
        database.admin.batch_execute(OVER).await.unwrap();
        application.set_access("ReadWrite").await;
        assert_eq!(application.door(&former, "1").await, CLOSED);
        assert_eq!(application.door(&now, "2").await, "open");
        let survey = lane.survey(true).await;
        assert_eq!(surveyed(&survey, &tenant).unwrap()["drift"], json!([]), "nothing is to be repaired");
        call(&application.operator, "repair_tenant_schema", &tenant.options(&json!({}))).await;
        assert_eq!(application.door(&former, "1").await, CLOSED);
        application.closed_previous().await;
        assert_eq!(application.door(&former, "1").await, NO_PASSWORD);
        assert_eq!(application.issued("3").await, former);
        assert_eq!(application.door(&former, "3").await, "open");
    })
    .await;
}

#[tokio::test]
async fn a_tenant_that_comes_back_has_no_login_whose_grace_is_over() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let lane = Lane::claim(database.operator().await).await;
        let (former, now) = (application.issued("1").await, application.issued("2").await);
        let aside_and_back = async |to: Value| {
            let options = tenant.options(&json!({ "owner_uid": "uid-school" }));
            let aside = call(&application.operator, "set_aside_tenant_schema", &options).await;
            expect(&aside, "success");
            database.admin.batch_execute(OVER).await.unwrap();
            let restore = json!({ "backup_id": aside["detail"]["backup_id"], "owner": to });
            expect(&call(&application.operator, "restore_tenant_schema", &restore).await, "success");
        };
        aside_and_back(owner("school")).await;
        assert_eq!(application.door(&former, "1").await, CLOSED);
        assert_eq!(application.door(&now, "2").await, "open");
        // Its object ends it.
        expect(&lane.beat().await, "success");
        assert_eq!(previous(&database).await.as_deref(), Some(&*former));

        // By hand it comes back without one.
        aside_and_back(Value::Null).await;
        assert_eq!(application.door(&former, "1").await, CLOSED);
        assert_eq!(application.door(&now, "2").await, "open");
        for _ in 0..2 {
            expect(&lane.beat().await, "success");
            assert_eq!(application.door(&former, "1").await, NO_PASSWORD);
        }
        assert_eq!(previous(&database).await, None);
    })
    .await;
}

#[tokio::test]
async fn a_heartbeat_ends_the_grace_of_a_tenant_that_was_released() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let lane = Lane::claim(database.operator().await).await;
        let (former, now) = (application.issued("1").await, application.issued("2").await);
        let session = database.log_in(&former, "1").await.unwrap();
        let release = json!({ "owner_uids": ["uid-school"], "requested_by": "a test" });
        expect(&call(&application.operator, "release_tenants", &release).await, "success");
        expect(&lane.beat().await, "success");
        session.batch_execute("SELECT 1").await.unwrap();
        assert_eq!(application.door(&former, "1").await, "open", "its grace goes on");

        database.admin.batch_execute(OVER).await.unwrap();
        // A session at work on the tenant keeps no heartbeat.
        application.operator.batch_execute("BEGIN").await.unwrap();
        expect(&application.limit(5, 5).await, "success");
        expect(&lane.beat().await, "success");
        application.operator.batch_execute("ROLLBACK").await.unwrap();
        session.batch_execute("SELECT 1").await.unwrap();

        expect(&lane.beat().await, "success");
        assert!(session.batch_execute("SELECT 1").await.is_err());
        assert_eq!(application.door(&former, "1").await, NO_PASSWORD);
        expect(&lane.beat().await, "success");
        assert_eq!(previous(&database).await, None);
        assert_eq!(application.door(&now, "2").await, "open");
        let logged = "SELECT count(*) FROM edu_matrix_hub_schema.schema_operations WHERE type = 'end_previous_login'";
        assert_eq!(database.one::<i64>(logged).await, 1);
    })
    .await;
}
