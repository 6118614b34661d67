//! What the owners of a database allow binds new tenants; those that run go on, clamped or marked.

use serde_json::{Value, json};
use tenant_schema_operator::api::TenantSchema;

use crate::world::{World, condition};

fn effective(tenant: &TenantSchema) -> Value {
    serde_json::to_value(tenant.status.as_ref().unwrap().effective.as_ref().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_and_defaults_of_the_database_hold_for_new_tenants_and_clamp_running_ones() {
    let spec = |max: &str, policies: Value| {
        json!({
            "limits": { "maxQuota": max, "deletionPolicies": policies, "maxTenantsPerNamespace": 4 },
            "defaults": { "quota": { "limit": "512Mi", "warningPercent": 90 }, "deletionPolicy": "Retain" },
        })
    };
    let world = World::new(spec("1Gi", json!(["BackupThenDrop", "Retain"]))).await;
    let tenants = world.api::<TenantSchema>();

    // A tenant that asks for nothing gets the defaults; what is asked for wins.
    world.apply_tenant("plain", json!({ "schemaName": "plain" })).await;
    let plain = world.ready_tenant("plain").await;
    assert_eq!(
        (&effective(&plain)["quotaLimit"], &effective(&plain)["deletionPolicy"]),
        (&json!("512Mi"), &json!("Retain"))
    );
    let asks = json!({ "schemaName": "asks", "quota": { "limit": "1Gi" }, "deletionPolicy": "BackupThenDrop" });
    world.apply_tenant("asks", asks).await;
    let asking = world.ready_tenant("asks").await;
    assert_eq!(
        (&effective(&asking)["quotaLimit"], &effective(&asking)["deletionPolicy"]),
        (&json!("1Gi"), &json!("BackupThenDrop"))
    );

    // A tenant that asks for more is told what there is, and is made once it asks for that.
    world.apply_tenant("greedy", json!({ "schemaName": "greedy", "quota": { "limit": "2Gi" } })).await;
    let message = world.stalled_tenant("greedy", "LimitExceeded").await;
    assert_eq!(message, "spec.quota.limit 2Gi is more than the 1Gi allowed here; set it to at most 1Gi");
    assert!(world.schemas("greedy").is_empty());
    world.apply_tenant("greedy", json!({ "schemaName": "greedy", "deletionPolicy": "Drop" })).await;
    let message = world.stalled_tenant("greedy", "LimitExceeded").await;
    assert!(message.contains("deletionPolicy Drop is not allowed here"), "{message}");
    assert!(message.contains("one of BackupThenDrop, Retain"), "{message}");
    world.apply_tenant("greedy", json!({ "schemaName": "greedy", "quota": { "limit": "1Gi" } })).await;
    world.ready_tenant("greedy").await;

    // A namespace that is full takes the next one when another has gone.
    world.apply_tenant("fourth", json!({ "schemaName": "fourth", "deletionPolicy": "BackupThenDrop" })).await;
    world.ready_tenant("fourth").await;
    world.apply_tenant("fifth", json!({ "schemaName": "fifth" })).await;
    let message = world.stalled_tenant("fifth", "TooManyTenants").await;
    assert!(message.contains("4 tenants of namespace") && message.contains("4 are allowed"), "{message}");
    world.delete_tenant("fourth").await;
    world.ready_tenant("fifth").await;

    // Tightened, the limits leave what runs as it is, clamped and marked.
    world.apply_database(spec("256Mi", json!(["Retain"]))).await;
    let clamped = world.until_ready(&tenants, "asks", "True", "OutsideLimits").await;
    assert_eq!(
        (&effective(&clamped)["quotaLimit"], &effective(&clamped)["deletionPolicy"]),
        (&json!("256Mi"), &json!("Retain"))
    );
    let (_, _, message) = condition(&clamped, "Ready").unwrap();
    assert!(message.contains("outside today's limits: spec.quota.limit 1Gi is more than the 256Mi"), "{message}");
    let quotas = async |expected: &str| {
        let all = "SELECT string_agg(DISTINCT quota_limit >> 20 || ' Mi', ', ' ORDER BY quota_limit >> 20 || ' Mi') \
                   FROM edu_matrix_hub_schema.tenant_schemas WHERE owner_name <> 'fourth'";
        world.eventually(&format!("the quotas are {expected}"), async || world.sql(all) == expected).await;
    };
    quotas("256 Mi").await;
    // And what is deleted now falls under what is allowed now: it is kept.
    world.delete_tenant("asks").await;
    assert_eq!(world.schemas("asks"), ["asks"]);

    // Widened again, all is as it was.
    world.apply_database(spec("1Gi", json!(["BackupThenDrop", "Retain"]))).await;
    // The one that was kept has no object any more that would change it.
    quotas("1024 Mi, 256 Mi, 512 Mi").await;
    let greedy = world.ready_tenant("greedy").await;
    assert_eq!(effective(&greedy)["quotaLimit"], "1Gi");
    for name in ["plain", "fifth"] {
        let tenant = world.ready_tenant(name).await;
        assert_eq!(effective(&tenant)["quotaLimit"], "512Mi");
    }
    world.finish().await;
}
