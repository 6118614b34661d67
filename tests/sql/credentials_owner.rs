//! Whose tenant it is when a credential of it ends: a step acts on the tenant of the object that it was planned for.

use serde_json::{Value, json};

use crate::{
    application::{Application, NO_PASSWORD},
    support::{call, expect, owner, with_database},
};

#[tokio::test]
async fn what_ends_a_credential_ends_it_for_the_object_that_has_the_tenant_now_and_no_other() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let (former, now) = (application.issued("1").await, application.issued("2").await);
        let asked = async |step: &str, options: Value| call(&application.operator, step, &options).await;
        let of = |uid: &str| json!({ "owner_uid": uid, "purpose": "connection" });
        let both = tenant.options(&of("uid-school"));
        for step in ["end_previous_login", "withdraw_credential"] {
            assert_eq!(expect(&asked(step, both.clone()).await, "error"), "internal", "one of the two");
            assert_eq!(expect(&asked(step, json!({ "purpose": "connection" })).await, "error"), "internal");
            assert_eq!(expect(&asked(step, of("uid-another")).await, "error"), "not_found");
        }
        assert_eq!(application.door(&former, "1").await, "open", "nothing was done for another object");

        expect(&asked("end_previous_login", of("uid-school")).await, "partial");
        expect(&asked("end_previous_login", of("uid-school")).await, "success");
        assert_eq!(application.door(&former, "1").await, NO_PASSWORD);

        // The tenant went to another object. What was planned for the deleted one does not touch it any more.
        let mut again = owner("school");
        again["uid"] = json!("uid-again");
        let known = "UPDATE edu_matrix_hub_schema.tenant_schemas SET owner_namespace_uid = 'n1'";
        database.admin.batch_execute(known).await.unwrap();
        again["namespace_uid"] = json!("n1");
        let from = owner("school");
        let transfer = json!({ "namespace": from["namespace"], "name": from["name"] });
        let reclaim = tenant.options(&json!({ "owner": again, "transfer": transfer }));
        expect(&asked("reclaim_tenant_schema", reclaim).await, "success");
        for step in ["end_previous_login", "withdraw_credential"] {
            assert_eq!(expect(&asked(step, of("uid-school")).await, "error"), "not_found");
        }
        assert_eq!(application.door(&now, "2").await, "open");
        expect(&asked("withdraw_credential", of("uid-again")).await, "partial");
        expect(&asked("withdraw_credential", of("uid-again")).await, "success");
        assert_eq!(application.door(&now, "2").await, NO_PASSWORD);
    })
    .await;
}

/// Namespaces of one name may be two; only their numbers tell.
#[tokio::test]
async fn a_restore_for_a_namespace_that_is_not_known_to_be_the_same_keeps_no_login_open() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let login = application.issued("1").await;
        let mut object = owner("school");
        let known = "UPDATE edu_matrix_hub_schema.tenant_schemas SET owner_namespace_uid = 'n1'";
        database.admin.batch_execute(known).await.unwrap();
        let restored = async |to: &Value, from: &str| {
            let aside = tenant.options(&json!({ "owner_uid": from }));
            let aside = call(&application.operator, "set_aside_tenant_schema", &aside).await;
            expect(&aside, "success");
            let options = json!({ "backup_id": aside["detail"]["backup_id"], "owner": to });
            expect(&call(&application.operator, "restore_tenant_schema", &options).await, "success");
        };
        object["uid"] = json!("uid-same");
        object["namespace_uid"] = json!("n1");
        restored(&object, "uid-school").await;
        assert_eq!(application.door(&login, "1").await, "open", "of the same namespace");

        object["uid"] = json!("uid-unknown");
        object.as_object_mut().unwrap().remove("namespace_uid");
        restored(&object, "uid-same").await;
        assert_eq!(application.door(&login, "1").await, NO_PASSWORD);
    })
    .await;
}
