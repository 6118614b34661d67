//! What people do to tenants while something is broken, and what has to come of it.

use kube::api::DeleteParams;
use serde_json::{Value, json};
use tenant_schema_operator::api::{SchemaBackup, TenantSchema};

use super::{agreement::prefix, ground::Ground};
use crate::world::condition;

/// Tenants that are there before.
const BEFORE: [&str; 4] = ["idle", "busy", "closed", "leaving"];

fn spec(ground: &Ground, name: &str, change: &Value) -> Value {
    let mut spec = json!({ "schemaName": format!("{}_{name}", prefix(&ground.world)) });
    spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    spec
}

/// The tenants before anything is broken, ready.
pub async fn before(ground: &Ground) {
    for name in BEFORE {
        ground.world.apply_tenant(name, spec(ground, name, &json!({}))).await;
    }
    for name in BEFORE {
        ground.world.ready_tenant(name).await;
    }
}

/// Makes, changes, closes, saves and deletes.
pub async fn run(ground: &Ground) {
    let world = &ground.world;
    for (name, change) in [
        ("busy", json!({ "config": { "grade": 7 } })),
        ("closed", json!({ "access": "Suspended" })),
        ("late", json!({})),
        ("brief", json!({})),
    ] {
        world.apply_tenant(name, spec(ground, name, &change)).await;
    }
    world.apply_backup("copy", json!({ "tenantSchemaRef": { "name": "idle" } })).await;
    for name in ["leaving", "brief"] {
        world.api::<TenantSchema>().delete(name, &DeleteParams::default()).await.unwrap();
    }
}

/// While nothing can be done, no object says that it is.
pub async fn assert_not_pretended(ground: &Ground) {
    let world = &ground.world;
    let ready = |tenant: &TenantSchema| condition(tenant, "Ready").is_some_and(|(status, ..)| status == "True");
    let late = world.api::<TenantSchema>().get("late").await.unwrap();
    assert!(!ready(&late), "{late:#?}");
    let copy = world.api::<SchemaBackup>().get("copy").await.unwrap();
    assert!(condition(&copy, "Ready").is_none_or(|(status, ..)| status != "True"), "{copy:#?}");
    for name in ["busy", "closed"] {
        let tenant = world.api::<TenantSchema>().get(name).await.unwrap();
        let seen = tenant.status.as_ref().unwrap().observed_generation == tenant.metadata.generation;
        assert!(!seen || condition(&tenant, "Reconciling").is_some(), "{name}: {tenant:#?}");
    }
    assert!(world.api::<TenantSchema>().get("leaving").await.unwrap().metadata.finalizers.is_some());
    assert!(ready(&world.api::<TenantSchema>().get("idle").await.unwrap()), "who has nothing to do stays what it is");
}

/// Where some things can be done and others cannot, an object that says that something is done tells the truth.
pub async fn assert_honest(ground: &Ground) {
    let world = &ground.world;
    let rows = world.sql("SELECT owner_name, status, config FROM edu_matrix_hub_schema.tenant_schemas");
    let has = |row: &str| rows.lines().any(|found| found == row);
    for (name, row) in [
        ("idle", "idle|active|{}"),
        ("late", "late|active|{}"),
        ("busy", "busy|active|{\"grade\": 7}"),
        ("closed", "closed|suspended|{}"),
    ] {
        let tenant = world.api::<TenantSchema>().get(name).await.unwrap();
        let seen = tenant.status.as_ref().and_then(|status| status.observed_generation) == tenant.metadata.generation;
        let ready = condition(&tenant, "Ready").is_some_and(|(status, ..)| status == "True");
        let open = condition(&tenant, "Reconciling").is_some();
        assert!(!seen || !ready || open || has(row), "{name}: {rows}\n{tenant:#?}");
    }
    for name in ["leaving", "brief"] {
        let there = world.api::<TenantSchema>().get_opt(name).await.unwrap().is_some();
        assert!(there || !has(&format!("{name}|active|{{}}")), "{name}: {rows}");
    }
    let copy = world.api::<SchemaBackup>().get("copy").await.unwrap();
    let copied =
        "SELECT count(*) FROM edu_matrix_hub_schema.schema_backups WHERE method = 'Snapshot' AND state = 'complete'";
    let ready = condition(&copy, "Ready").is_some_and(|(status, ..)| status == "True");
    assert!(!ready || world.sql(copied) != "0", "{copy:#?}");
}

/// Everything came about, once. Tenants whose names begin with `bulky` are for the test itself to check.
pub async fn assert_done(ground: &Ground) {
    let world = &ground.world;
    for name in ["leaving", "brief"] {
        world.until_gone(&world.api::<TenantSchema>(), name).await;
    }
    for name in ["idle", "busy", "closed", "late"] {
        world.settled_tenant(name).await;
    }
    world.until_ready(&world.api::<SchemaBackup>(), "copy", "True", "Completed").await;
    let rows = world.sql(
        "SELECT owner_name, status, config FROM edu_matrix_hub_schema.tenant_schemas WHERE owner_name !~ '^(brief|bulky)' ORDER BY 1",
    );
    let expected =
        ["busy|active|{\"grade\": 7}", "closed|suspended|{}", "idle|active|{}", "late|active|{}", "leaving|dropped|{}"];
    assert_eq!(rows.lines().collect::<Vec<_>>(), expected);
    let backups = "SELECT string_agg(schema_name || ' ' || method || ' ' || state, ', ' ORDER BY schema_name) \
                   FROM edu_matrix_hub_schema.schema_backups WHERE schema_name !~ '_(brief|bulky)'";
    let prefix = prefix(world);
    assert_eq!(world.sql(backups), format!("{prefix}_idle Snapshot complete, {prefix}_leaving SetAside complete"));
}
