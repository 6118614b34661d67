//! Which operators may act: epochs, installations, identities, and steps that stop at the first failure.

use serde_json::json;
use uuid::Uuid;

use crate::support::{Lane, call, expect, tenant_options, with_database};

#[tokio::test]
async fn a_former_holder_is_refused_everywhere() {
    with_database(async |database| {
        let old = Lane::claim(database.operator().await).await;
        let step = json!([{ "call": "create_tenant_schema", "options": tenant_options("school") }]);
        let new = Lane::claim(database.operator().await).await;
        let refused = old.apply(&step).await;
        assert_eq!(refused.len(), 1);
        assert_eq!(expect(&refused[0], "error"), "stale_epoch");
        assert_eq!(expect(&old.survey(true).await, "error"), "stale_epoch");
        assert_eq!(database.one::<i64>("SELECT count(*) FROM edu_matrix_hub_schema.tenant_schemas").await, 0);
        expect(&new.apply(&step).await[0], "success");
        let ahead = new.with(1, None);
        assert_eq!(expect(&ahead.apply(&step).await[0], "error"), "stale_epoch");
        let elsewhere = ahead.with(-1, Some(Uuid::new_v4()));
        assert_eq!(expect(&elsewhere.apply(&step).await[0], "error"), "wrong_installation");
        assert_eq!(expect(&elsewhere.survey(false).await, "error"), "wrong_installation");
    })
    .await;
}

#[tokio::test]
async fn the_first_claim_pins_the_identity() {
    with_database(async |database| {
        let client = database.operator().await;
        let mine = json!({ "cluster": "one", "tenant_database": "default", "holder": "pod-a" });
        let first = call(&client, "claim_lane", &mine).await;
        expect(&first, "success");
        assert_eq!(
            (first["detail"]["epoch"].as_i64(), &first["detail"]["managed_by"]["cluster"]),
            (Some(1), &json!("one"))
        );
        for other in [
            json!({ "cluster": "two", "tenant_database": "default", "holder": "pod-b" }),
            json!({ "cluster": "one", "tenant_database": "second", "holder": "pod-b" }),
        ] {
            let answer = call(&client, "claim_lane", &other).await;
            assert_eq!(expect(&answer, "error"), "managed_elsewhere");
            assert_eq!(
                answer["detail"]["managed_by"],
                json!({ "cluster": "one", "tenant_database": "default", "tenant_count": 0 })
            );
        }
        let mut expecting = mine.clone();
        expecting["expected_installation_id"] = json!(Uuid::new_v4());
        assert_eq!(expect(&call(&client, "claim_lane", &expecting).await, "error"), "wrong_installation");
        expecting["expected_installation_id"] = first["detail"]["installation_id"].clone();
        let second = call(&client, "claim_lane", &expecting).await;
        expect(&second, "success");
        assert_eq!(second["detail"]["epoch"], 2);
        assert_eq!(expect(&call(&client, "claim_lane", &json!({})).await, "error"), "internal");
    })
    .await;
}

#[tokio::test]
async fn a_claim_waits_for_calls_under_way() {
    with_database(async |database| {
        let lane = Lane::claim(database.operator().await).await;
        lane.client.batch_execute("BEGIN").await.unwrap();
        expect(
            &lane.apply(&json!([{ "call": "create_tenant_schema", "options": tenant_options("school") }])).await[0],
            "success",
        );
        let rival = database.operator().await;
        rival.batch_execute("SET lock_timeout = '100ms'").await.unwrap();
        let claim = json!({ "cluster": "cluster-1", "tenant_database": "default", "holder": "b" });
        expect(&call(&rival, "claim_lane", &claim).await, "busy");
        lane.client.batch_execute("COMMIT").await.unwrap();
        expect(&call(&rival, "claim_lane", &claim).await, "success");
    })
    .await;
}

#[tokio::test]
async fn steps_stop_at_the_first_failure_and_keep_what_was_done() {
    with_database(async |database| {
        let lane = Lane::claim(database.operator().await).await;
        let create = |name: &str| json!({ "call": "create_tenant_schema", "options": tenant_options(name) });
        let results = lane.apply(&json!([create("one"), create("one"), create("Bad"), create("never")])).await;
        let statuses: Vec<_> = results.iter().map(|result| result["status"].as_str().unwrap()).collect();
        assert_eq!(statuses, ["success", "unchanged", "error"]);
        assert!(results.iter().all(|result| result["call"] == "create_tenant_schema"));
        assert_eq!(
            database
                .one::<String>("SELECT string_agg(schema_name, ' ') FROM edu_matrix_hub_schema.tenant_schemas")
                .await,
            "one"
        );
        let unknown = lane.apply(&json!([{ "call": "installation; DROP SCHEMA one" }, create("never")])).await;
        assert_eq!(unknown.len(), 1);
        expect(&unknown[0], "error");
        assert!(lane.apply(&json!([])).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_tenant_that_a_session_works_on_is_busy() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        let one = database.operator().await;
        let two = database.operator().await;
        one.batch_execute("BEGIN").await.unwrap();
        expect(&call(&one, "set_tenant_access", &tenant.options(&json!({ "access": "Suspended" }))).await, "success");
        let config = tenant.options(&json!({ "config": { "a": 1 } }));
        expect(&call(&two, "set_tenant_config", &config).await, "busy");
        expect(&call(&two, "repair_tenant_schema", &tenant.options(&json!({}))).await, "busy");
        one.batch_execute("ROLLBACK").await.unwrap();
        expect(&call(&two, "set_tenant_config", &config).await, "success");
    })
    .await;
}
