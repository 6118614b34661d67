//! What a survey tells, of which tenants, and that it tells it once.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tenant_schema_operator::contract::Asked;
use uuid::Uuid;

use crate::support::{Lane, call, expect, owner, surveyed, tenant_options, with_database};

#[tokio::test]
async fn every_tenant_is_in_one_of_ten_slices() {
    with_database(async |database| {
        let mut all = BTreeSet::new();
        for number in 0..40 {
            all.insert(database.tenant(&format!("school_{number}")).await.id);
        }
        let lane = Lane::claim(database.operator().await).await;
        // Each of them looks at the isolation of ten tenants for the first time, and tells that.
        for _ in 0..5 {
            lane.survey(true).await;
        }
        let mut told = BTreeSet::new();
        for slice in 0..Asked::SLICES {
            let answer = lane.survey_with(json!({ "slice": slice })).await;
            for row in answer["tenants"].as_array().unwrap() {
                let id: Uuid = row["schema_id"].as_str().unwrap().parse().unwrap();
                assert!(Asked::Slice(slice).covers(id), "both sides take the same tenants for slice {slice}");
                assert!(told.insert(id), "{id} is in two slices");
            }
        }
        assert_eq!(told, all);
        assert_eq!(lane.survey(false).await["tenants"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn a_changed_backup_is_told_once_and_again_to_who_asks_for_everything() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let lane = Lane::claim(database.operator().await).await;
        lane.survey(true).await;
        let object = json!({ "cluster": "cluster-1", "namespace": "team-a", "name": "nightly", "uid": "uid-nightly" });
        let options = json!({ "schema_id": tenant.id, "method": "Snapshot", "object": object });
        expect(&lane.apply(&json!([{ "call": "request_backup", "options": options }])).await[0], "success");
        let told = async |everything| lane.survey(everything).await["backups_changed"].as_array().unwrap().len();
        assert_eq!((told(false).await, told(false).await), (1, 0));
        assert_eq!(told(true).await, 1, "the answer before may have been lost");
        let long_ago = "UPDATE edu_matrix_hub_schema.schema_backups SET updated_at = now() - interval '3 hours'";
        database.admin.batch_execute(long_ago).await.unwrap();
        assert_eq!((told(false).await, told(true).await), (1, 0), "what is old was told before");
    })
    .await;
}

#[tokio::test]
async fn an_institution_that_is_suspended_is_reported_with_its_tenant_once() {
    with_database(async |database| {
        let institution = database.institution().await;
        database.tenant("other").await;
        let mut options = tenant_options("school");
        options["institution_id"] = json!(institution);
        let tenant = database.tenant_of(&call(&database.admin, "create_tenant_schema", &options).await).await;
        let lane = Lane::claim(database.operator().await).await;
        assert_eq!(surveyed(&lane.survey(false).await, &tenant).unwrap()["institution_status"], "active");
        for status in ["suspended", "closed", "active"] {
            let change = format!("UPDATE edu_matrix_hub_schema.institutions SET status = '{status}'");
            database.admin.batch_execute(&change).await.unwrap();
            let told = lane.survey(false).await["tenants"].clone();
            assert_eq!((&told[0]["institution_status"], told.as_array().unwrap().len()), (&json!(status), 1));
            assert_eq!(lane.survey(false).await["tenants"], json!([]));
        }
        let wrong = "UPDATE edu_matrix_hub_schema.institutions SET status = 'gone'";
        assert!(database.admin.batch_execute(wrong).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn changes_of_state_are_reported_once() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let lane = Lane::claim(database.operator().await).await;
        let first = lane.survey(false).await;
        assert_eq!(
            (&first["tenant_count"], &first["jobs_waiting"], &first["set_aside_count"]),
            (&json!(1), &json!(0), &json!(0))
        );
        let mut row = surveyed(&first, &tenant).unwrap().clone();
        let observed = call(&lane.client, "observe_tenant", &{
            let mut request = owner("school");
            request["schema_name"] = json!("school");
            request
        })
        .await;
        row.as_object_mut().unwrap().remove("usage_at");
        let mut own = observed["own"].clone();
        own.as_object_mut().unwrap().remove("usage_at");
        assert_eq!(row, own, "survey and single look say the same");
        assert_eq!(lane.survey(false).await["tenants"], json!([]));
        expect(
            &call(&lane.client, "set_tenant_access", &tenant.options(&json!({ "access": "Suspended" }))).await,
            "success",
        );
        assert_eq!(surveyed(&lane.survey(false).await, &tenant).unwrap()["status"], "suspended");
        assert_eq!(lane.survey(false).await["tenants"], json!([]));
        // One survey at a time: a second one is told so and does not wait.
        lane.client.batch_execute("BEGIN").await.unwrap();
        lane.survey(false).await;
        let rival = Lane::claim_shared(&lane, database.operator().await);
        expect(&rival.survey(false).await, "busy");
        lane.client.batch_execute("COMMIT").await.unwrap();
        // A row that a session is just changing is reported by the next survey.
        let writer = database.operator().await;
        writer.batch_execute("BEGIN").await.unwrap();
        expect(
            &call(&writer, "set_tenant_access", &tenant.options(&json!({ "access": "ReadWrite" }))).await,
            "success",
        );
        assert_eq!(lane.survey(false).await["tenants"], json!([]));
        writer.batch_execute("COMMIT").await.unwrap();
        assert_eq!(surveyed(&lane.survey(false).await, &tenant).unwrap()["status"], "active");
    })
    .await;
}

/// The operator looks at a tenant after each change of its own. What a user undoes by hand before the next survey is news
/// to it, although it is what the survey before reported.
#[tokio::test]
async fn what_is_undone_before_the_next_survey_is_reported_by_it() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let lane = Lane::claim(database.operator().await).await;
        let news = async |what: &str| {
            let survey = lane.survey(false).await;
            let row = surveyed(&survey, &tenant).unwrap_or_else(|| panic!("{what}: not reported")).clone();
            assert_eq!(lane.survey(false).await["tenants"], json!([]), "{what}: reported once");
            row
        };
        let set = async |access: &str| {
            let options = tenant.options(&json!({ "access": access }));
            expect(&call(&lane.client, "set_tenant_access", &options).await, "success");
        };
        news("made").await;
        set("Suspended").await;
        set("ReadWrite").await;
        assert_eq!(news("opened again").await["access"], "ReadWrite");

        database.admin.batch_execute("DROP SCHEMA school").await.unwrap();
        assert_eq!(news("lost").await["schema_exists"], false);
        expect(&call(&lane.client, "recreate_tenant_schema", &tenant.options(&json!({}))).await, "success");
        database.admin.batch_execute("DROP SCHEMA school").await.unwrap();
        assert_eq!(news("lost again").await["schema_exists"], false);

        expect(&call(&lane.client, "recreate_tenant_schema", &tenant.options(&json!({}))).await, "success");
        assert_eq!(news("made again").await["schema_exists"], true);
        let dropped = tenant.options(&json!({ "owner_uid": "uid-school" }));
        let backup = call(&lane.client, "set_aside_tenant_schema", &dropped).await["detail"]["backup_id"].clone();
        let restored = json!({ "backup_id": backup, "owner": owner("school") });
        expect(&call(&lane.client, "restore_tenant_schema", &restored).await, "success");
        assert_eq!(news("restored").await["status"], "active");
    })
    .await;
}

#[tokio::test]
async fn observing_says_who_is_in_the_way() {
    with_database(async |database| {
        let client = database.operator().await;
        let institution = database.institution().await;
        let mut options = tenant_options("school");
        options["institution_id"] = json!(institution);
        expect(&call(&client, "create_tenant_schema", &options).await, "success");
        let ask = async |name: &str, schema: &str, institution: Value| {
            let mut request = owner(name);
            request["schema_name"] = json!(schema);
            request["institution_id"] = institution;
            call(&client, "observe_tenant", &request).await
        };
        let own = ask("school", "school", json!(institution)).await;
        assert_eq!(
            (&own["own"]["schema_name"], &own["name_holder"], &own["institution_holder"]),
            (&json!("school"), &Value::Null, &Value::Null)
        );
        assert_eq!((&own["schema_exists"], &own["institution_known"]), (&json!(true), &json!(true)));
        let rival = ask("rival", "school", json!(institution)).await;
        assert_eq!((&rival["own"], &rival["tombstone"]), (&Value::Null, &Value::Null));
        assert_eq!(
            (&rival["name_holder"]["uid"], &rival["institution_holder"]["name"]),
            (&json!("uid-school"), &json!("school"))
        );
        assert_eq!(rival["schema_exists"], false, "it is a tenant's");
        let foreign = ask("rival", "public", json!(Uuid::new_v4())).await;
        assert_eq!(
            (&foreign["schema_exists"], &foreign["name_holder"], &foreign["institution_known"]),
            (&json!(true), &Value::Null, &json!(false))
        );
        let role = ask("rival", &database.owner_role, Value::Null).await;
        assert_eq!((&role["name_is_role"], &role["schema_exists"]), (&json!(true), &json!(false)));
    })
    .await;
}

#[tokio::test]
async fn the_log_is_pruned_by_age_but_keeps_the_last_of_a_kind() {
    with_database(async |database| {
        database.tenant("school").await;
        database.admin.batch_execute(
            "INSERT INTO edu_matrix_hub_schema.schema_operations (schema_id, type, status, requested_by, started_at) \
             SELECT t.id, kind, 'success', 'x', now() - age FROM edu_matrix_hub_schema.tenant_schemas AS t, \
             (VALUES ('old', interval '200 days'), ('old', interval '100 days'), ('young', interval '1 day'), \
             ('young', interval '2 days')) AS v (kind, age)"
        ).await.unwrap();
        Lane::claim(database.operator().await).await.survey(false).await;
        let left: String = database
            .one(
                "SELECT string_agg(type, ' ' ORDER BY id) FROM edu_matrix_hub_schema.schema_operations WHERE \
                requested_by = 'x'",
            )
            .await;
        assert_eq!(left, "old young young");
    })
    .await;
}
