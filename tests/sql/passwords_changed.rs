//! A password that was changed from inside: the salt that the server tells of it is another one than ours.

use std::{collections::BTreeMap, slice};

use serde_json::{Value, json};

use crate::{
    application::Application,
    support::{Database, Lane, Tenant, surveyed, with_database},
};

/// What the server tells of the password that a login has now.
async fn told(database: &Database, of: &Value) -> Value {
    let login = of["login"].as_str().unwrap();
    let salt: String =
        database.one(&format!("SELECT split_part(rolpassword, '$', 2) FROM pg_authid WHERE rolname = '{login}'")).await;
    json!({ "schema_id": of["schema_id"], "purpose": of["purpose"], "credential_id": of["credential_id"], "salt": salt })
}

/// The logins that a survey names, which is told these salts; and whether it tells that the tenant's password has changed.
async fn survey(lane: &Lane, tenant: &Tenant, salts: &[Value]) -> (Vec<Value>, Option<bool>) {
    let answer = lane.survey_with(json!({ "everything": false, "salts": salts })).await;
    let row = surveyed(&answer, tenant).map(|row| row["credentials"][0]["password_changed"].as_bool().unwrap());
    (answer["logins_to_try"].as_array().unwrap().clone(), row)
}

#[tokio::test]
async fn a_password_that_a_session_changed_is_told_until_another_is_issued() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let application = Application::of(&database, &tenant).await;
        let login = application.issued("first").await;
        let lane = Lane::claim(database.operator().await).await;
        let (named, _) = survey(&lane, &tenant, &[]).await;
        assert_eq!(named.len(), 1);
        assert_eq!(named[0]["login"], login.as_str());
        let (named, changed) = survey(&lane, &tenant, &[told(&database, &named[0]).await]).await;
        assert_ne!(changed, Some(true), "it is ours");

        let session = database.log_in(&login, "first").await.unwrap();
        session.batch_execute("ALTER ROLE CURRENT_USER PASSWORD 'mine'").await.unwrap();
        let found = told(&database, &named[0]).await;
        assert_eq!(survey(&lane, &tenant, slice::from_ref(&found)).await.1, Some(true));
        assert_ne!(
            survey(&lane, &tenant, slice::from_ref(&found)).await.1,
            Some(false),
            "told once, and not taken back"
        );

        assert_ne!(application.issued("second").await, login);
        let row = lane.survey_with(json!({ "everything": true, "salts": [found] })).await;
        assert_eq!(surveyed(&row, &tenant).unwrap()["credentials"][0]["password_changed"], false, "of the one before");
    })
    .await;
}

/// A pooler may tell a salt of its own for ever: one password after the other would be issued.
#[tokio::test]
async fn a_salt_that_never_was_ours_is_no_change() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        Application::of(&database, &tenant).await.issued("first").await;
        let lane = Lane::claim(database.operator().await).await;
        let (named, _) = survey(&lane, &tenant, &[]).await;
        let mut found = told(&database, &named[0]).await;
        found["salt"] = json!("4096:c29tZXRoaW5nIGVsc2U=");
        for _ in 0..2 {
            assert_ne!(survey(&lane, &tenant, slice::from_ref(&found)).await.1, Some(true));
        }
    })
    .await;
}

#[tokio::test]
async fn ten_logins_are_tried_a_survey_new_ones_first_and_none_of_a_closed_tenant() {
    with_database(async |database| {
        let mut tenants = Vec::new();
        for number in 0..12 {
            let tenant = database.tenant(&format!("school{number}")).await;
            Application::of(&database, &tenant).await.issued("first").await;
            tenants.push(tenant);
        }
        Application::of(&database, &tenants[0]).await.set_access("Suspended").await;
        let lane = Lane::claim(database.operator().await).await;
        assert_eq!(lane.survey(false).await["logins_to_try"], json!([]), "a former operator tries none");
        let mut tried = BTreeMap::new();
        for _ in 0..6 {
            let (named, _) = survey(&lane, &tenants[1], &[]).await;
            assert!(named.len() <= 10);
            for login in named {
                *tried.entry(login["schema_id"].as_str().unwrap().to_owned()).or_insert(0) += 1;
            }
        }
        assert_eq!(tried.len(), 11, "not that of the closed one");
        assert!(tried.values().all(|times| *times == 5), "each in its turn: {tried:?}");
    })
    .await;
}
