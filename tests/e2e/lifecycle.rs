//! A tenant comes, changes, is suspended and resumed, and goes.

use std::{collections::BTreeMap, time::Duration};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, WatchEvent, WatchParams},
};
use serde_json::json;
use tenant_schema_operator::api::{RECONCILE_REQUESTED_AT, TENANT_SCHEMA_FINALIZER, TenantSchema};

use crate::{
    tools::finalizer_policy,
    world::{World, condition},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_comes_changes_and_goes() {
    let world = World::new(json!({})).await;
    world.apply_tenant("school", json!({ "schemaName": "school", "quota": { "limit": "1Gi" } })).await;
    let tenant = world.ready_tenant("school").await;
    let status = tenant.status.unwrap();
    assert_eq!(status.table_count, Some(0));
    assert_eq!(status.storage_used.as_deref(), Some("0"));
    let summary = status.summary.unwrap();
    assert_eq!((summary.reason.as_str(), summary.message.as_str()), ("Succeeded", "schema school is ready"));
    let (place, roles) = (status.connection.unwrap(), status.roles.unwrap());
    assert_eq!((&place.host, &place.database), (&world.postgres.host, &world.database));
    for (told, role) in [(roles.owner, "owner"), (roles.writer, "writer"), (roles.reader, "reader")] {
        assert_eq!(told, world.tenant_role("school", role).trim_matches('"'));
    }

    world.sql_as("school", "owner", "CREATE TABLE school.pupils (id int PRIMARY KEY, name text)");
    world
        .eventually("the survey sees the table", async || {
            let tenant = world.api::<TenantSchema>().get("school").await.unwrap();
            tenant.status.unwrap().table_count == Some(1)
        })
        .await;

    world.apply_tenant("school", json!({ "schemaName": "school", "access": "Suspended" })).await;
    world.until_ready(&world.api::<TenantSchema>(), "school", "True", "Suspended").await;
    world.apply_tenant("school", json!({ "schemaName": "school", "config": { "grade": 7 } })).await;
    world.ready_tenant("school").await;
    assert_eq!(world.sql("SELECT config FROM edu_matrix_hub_schema.tenant_schemas"), "{\"grade\": 7}");

    world.delete_tenant("school").await;
    let left = world.schemas("school");
    assert!(left.len() == 1 && left[0].starts_with("school_bak_"), "{left:?}");
    assert_eq!(world.sql(&format!("SELECT count(*) FROM {}.pupils", left[0])), "0");
    world.finish().await;
}

/// Applies a tenant that no operator has seen yet, which the operator writes to twice: its finalizer, and what became of it.
async fn brought_up(world: &World, name: &str, spec: serde_json::Value) -> TenantSchema {
    let watched = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut changes = world.api::<TenantSchema>().watch(&watched, "0").await.unwrap().boxed();
    world.apply_tenant(name, spec).await;
    let ready = world.ready_tenant(name).await;
    let mut steps = Vec::new();
    while steps.last().is_none_or(|last: &TenantSchema| last.resource_version() != ready.resource_version()) {
        match changes.next().await.expect("an open watch").unwrap() {
            WatchEvent::Added(tenant) | WatchEvent::Modified(tenant) => steps.push(tenant),
            _ => {}
        }
    }
    let finalized = match (finalizer_policy::is_everywhere(), steps.as_slice()) {
        (false, [applied, finalized, _]) if applied.finalizers().is_empty() => finalized,
        // The API server set it, and the operator writes once.
        (true, [applied, _]) => applied,
        _ => panic!("{} versions of the object", steps.len()),
    };
    // The finalizer stands before anything is made that a deletion would have to take back.
    assert_eq!(finalized.finalizers(), [TENANT_SCHEMA_FINALIZER]);
    assert!(finalized.status.as_ref().is_none_or(|status| status.schema_id.is_none()));
    ready
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bringing_a_tenant_up_takes_two_writes_and_two_calls_and_idling_takes_none() {
    let world = World::new(json!({})).await;
    let calls = |function: &str| {
        world.count(&format!("tenant_schema_operator_sql_calls_total{{function=\"{function}\",outcome=\"ok\"}}"))
    };
    world.until_ready(&world.databases(), &world.database_ref(), "True", "Succeeded").await;
    let observed = calls("observe_tenant");
    let ready = brought_up(&world, "school", json!({ "schemaName": "school", "quota": { "limit": "1Gi" } })).await;
    // A survey that was under way when the tenant was made does not count as a look at it.
    let looks = calls("observe_tenant") - observed;
    assert!((1..=2).contains(&looks), "one look-up: {looks}");
    assert_eq!(calls("apply_steps"), 1, "one call");

    let status = ready.status.clone().unwrap();
    let row = world.sql("SELECT id, version, quota_limit, status FROM edu_matrix_hub_schema.tenant_schemas");
    assert_eq!(row, format!("{}|1|{}|active", status.schema_id.unwrap(), 1 << 30));
    assert_eq!(status.database_name.as_deref(), Some(world.database.as_str()));
    assert_eq!(status.quota_used_percent, Some(0));
    let effective = serde_json::to_value(status.effective.unwrap()).unwrap();
    let expected = json!({
        "databaseRef": world.database_ref(), "deletionPolicy": "BackupThenDrop", "finalBackup": "SetAside",
        "quotaLimit": "1Gi", "enforcement": "Report",
    });
    assert_eq!(effective, expected);
    assert_eq!(condition(&ready, "Ready").unwrap().2, "schema school is ready");
    assert!(condition(&ready, "Reconciling").is_none() && condition(&ready, "Stalled").is_none());

    // A survey looks at the tenant's rights, and the database counts the tenant: these are the last writes.
    let looked_at = world.tenant_looked_at("school").await;
    assert_eq!(condition(&looked_at, "Isolated").unwrap().1, "NoHoleFound");
    world
        .eventually("the database counts its tenant", async || {
            let database = world.databases().get(&world.database_ref()).await.unwrap();
            database.status.unwrap().tenant_count == Some(1)
        })
        .await;
    let database = world.databases().get(&world.database_ref()).await.unwrap();
    world.next_survey().await;
    world.next_survey().await;
    let tenant = world.api::<TenantSchema>().get("school").await.unwrap();
    assert_eq!(tenant.resource_version(), looked_at.resource_version());
    let later = world.databases().get(&world.database_ref()).await.unwrap();
    assert_eq!(later.resource_version(), database.resource_version());
    assert_eq!((calls("observe_tenant") - observed, calls("apply_steps")), (looks, 1), "no call for an idle tenant");
    assert_eq!(world.events_about("school").await, [], "a tenant that comes up is no news");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_secret_takes_one_more_write_and_no_more_calls_and_idling_takes_none() {
    let mut world = World::without_operator(json!({})).await;
    world.guard_secrets();
    world.start_operator().await;
    world.until_ready(&world.databases(), &world.database_ref(), "True", "Succeeded").await;
    let secrets = world.api::<Secret>();
    for (name, purposes) in [("one", &["connection"][..]), ("two", &["connection", "migration"])] {
        let mut spec = json!({ "schemaName": name });
        for purpose in purposes {
            spec[format!("{purpose}Secret")] = json!({ "name": format!("{name}-{purpose}") });
        }
        let before = calls_for_tenants(&world);
        let mut written = secrets.watch(&WatchParams::default(), "0").await.unwrap().boxed();
        brought_up(&world, name, spec).await;
        let looked_at = world.tenant_looked_at(name).await;
        let after = calls_for_tenants(&world);
        let more = |function: &str| after[function] - before.get(function).copied().unwrap_or_default();
        assert_eq!((more("apply_steps"), after.len()), (1, 2), "one call: {after:?}");
        // A survey that was under way when the tenant was made does not count as a look at it.
        assert!((1..=2).contains(&more("observe_tenant")), "one look-up: {after:?}");

        // As they were made they stay, without another call.
        world.next_survey().await;
        world.next_survey().await;
        let later = world.api::<TenantSchema>().get(name).await.unwrap();
        assert_eq!(later.resource_version(), looked_at.resource_version());
        assert_eq!(calls_for_tenants(&world), after, "no call for an idle tenant");
        for purpose in purposes {
            let secret = secrets.get(&format!("{name}-{purpose}")).await.unwrap();
            let made = loop {
                match written.next().await.expect("an open watch").unwrap() {
                    WatchEvent::Added(made) if made.name_any() == secret.name_any() => break made,
                    _ => {}
                }
            };
            assert_eq!(made.resource_version(), secret.resource_version(), "it is written once");
        }
    }
    world.finish().await;
}

/// How often each function was called so far, but for those that come at their own pace, for all tenants together.
fn calls_for_tenants(world: &World) -> BTreeMap<String, usize> {
    let metrics = world.http("/metrics").unwrap();
    let mut calls = BTreeMap::new();
    for line in
        metrics.lines().filter_map(|line| line.strip_prefix("tenant_schema_operator_sql_calls_total{function=\""))
    {
        let (function, rest) = line.split_once('"').unwrap();
        let (_, count) = rest.rsplit_once(' ').unwrap();
        *calls.entry(function.to_owned()).or_default() += count.parse::<usize>().unwrap();
    }
    calls.retain(|function, _| !AT_THEIR_OWN_PACE.contains(&function.as_str()));
    calls
}

/// What opens and keeps the lane, surveys, and looks for jobs.
const AT_THEIR_OWN_PACE: [&str; 8] = [
    "database",
    "install",
    "installation",
    "claim_lane",
    "left_scratch",
    "heartbeat_lane",
    "survey_tenants",
    "claim_job",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_config_or_quota_reaches_the_registry_and_bumps_its_version() {
    let world = World::new(json!({})).await;
    let id = uuid::Uuid::new_v4();
    let spec = json!({ "institutionId": id, "config": { "grade": 7 } });
    world.apply_tenant("institution", spec.clone()).await;
    world.apply_tenant("nameless", json!({})).await;
    let schema = world.ready_tenant("institution").await.status.unwrap().schema_name.unwrap();
    assert_eq!(schema, format!("inst_{}", id.to_string().replace('-', "_")));
    let nameless = world.ready_tenant("nameless").await.status.unwrap().schema_name.unwrap();
    let hash = world
        .sql(&format!("SELECT left(encode(sha256(convert_to('{}/nameless', 'UTF8')), 'hex'), 20)", world.namespace));
    assert_eq!(nameless, format!("ts_{hash}"));
    assert_eq!(world.schemas("ts_"), [nameless]);
    assert_eq!(world.sql("SELECT id FROM edu_matrix_hub_schema.institutions"), id.to_string());

    let registry = || {
        world.sql(&format!(
            "SELECT version, config, quota_limit FROM edu_matrix_hub_schema.tenant_schemas \
             WHERE schema_name = '{schema}'"
        ))
    };
    assert_eq!(registry(), "1|{\"grade\": 7}|");
    let apply = async |change: serde_json::Value| {
        let mut spec = spec.clone();
        spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        world.apply_tenant("institution", spec).await;
        world.ready_tenant("institution").await
    };
    let tenant = apply(json!({ "quota": { "limit": "1Gi" } })).await;
    assert_eq!(registry(), "2|{\"grade\": 7}|1073741824");
    assert_eq!(tenant.status.unwrap().effective.unwrap().quota_limit.as_deref(), Some("1Gi"));
    apply(json!({ "quota": { "limit": "2Gi" }, "config": { "grade": 8, "terms": [1, 2] } })).await;
    assert_eq!(registry(), "3|{\"grade\": 8, \"terms\": [1, 2]}|2147483648");
    // The same in other words changes nothing in the database.
    apply(json!({ "quota": { "limit": "2048Mi" }, "config": { "terms": [1, 2], "grade": 8 } })).await;
    assert_eq!(registry(), "3|{\"grade\": 8, \"terms\": [1, 2]}|2147483648");
    apply(json!({ "config": {} })).await;
    assert_eq!(registry(), "4|{}|");
    let told = ["version 2; its quota is 1Gi", "version 3; its quota is 2Gi", "version 4; it has no quota any more"];
    for told in told {
        world.event("institution", "Updated", told).await;
    }

    // Asked to, the operator looks again, and writes nothing when all is well.
    let written = async || {
        let tenant = world.ready_tenant("nameless").await;
        let status = tenant.managed_fields().iter().find(|entry| entry.subresource.as_deref() == Some("status"));
        status.and_then(|entry| entry.time.clone())
    };
    let before = written().await;
    let unchanged = "tenant_schema_operator_reconciles_total{kind=\"TenantSchema\",outcome=\"unchanged\"";
    let looks = world.count(unchanged);
    world.annotate::<TenantSchema>("nameless", RECONCILE_REQUESTED_AT, "2026-01-01T00:00:00Z").await;
    world.eventually("the operator looks again", async || world.count(unchanged) > looks).await;
    assert_eq!(written().await, before);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_while_it_is_created_a_tenant_leaves_nothing_behind_but_what_it_asked_for() {
    let world = World::new(json!({})).await;
    world.until_ready(&world.databases(), &world.database_ref(), "True", "Succeeded").await;

    // The registry is locked, so every creation is under way when its object is deleted.
    let lock = world.session("BEGIN; LOCK TABLE edu_matrix_hub_schema.tenant_schemas IN SHARE MODE");
    world.apply_tenant("caught", json!({ "schemaName": "caught" })).await;
    world.apply_tenant("kept", json!({ "schemaName": "kept", "deletionPolicy": "Retain" })).await;
    for name in ["caught", "kept"] {
        let api = world.api::<TenantSchema>();
        let finalized = async || !api.get(name).await.unwrap().finalizers().is_empty();
        world.eventually("the creation has begun", finalized).await;
        let waits =
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        world.eventually("the creation waits", async || world.sql(waits) != "0").await;
        api.delete(name, &DeleteParams::default()).await.unwrap();
    }
    drop(lock);
    // And a wave of such that are deleted at any moment, that of their finalizer among them.
    let brief = (0..40).map(async |n| {
        let name = format!("brief-{n}");
        world.apply_tenant(&name, json!({ "schemaName": format!("brief_{n}") })).await;
        tokio::time::sleep(Duration::from_millis(n)).await;
        world.api::<TenantSchema>().delete(&name, &DeleteParams::default()).await.unwrap();
    });
    futures::stream::iter(brief).for_each_concurrent(4, async |brief| brief.await).await;
    let api = world.api::<TenantSchema>();
    world.eventually("all are gone", async || api.list(&ListParams::default()).await.unwrap().items.is_empty()).await;

    let left = "SELECT schema_name FROM edu_matrix_hub_schema.tenant_schemas WHERE status <> 'dropped'";
    world.eventually("nothing is left but what was to be kept", async || world.sql(left) == "kept").await;
    for schema in world.schemas("caught").into_iter().chain(world.schemas("brief_")) {
        assert!(schema.contains("_bak_"), "schema {schema} was left behind");
    }
    assert_eq!(world.schemas("kept"), ["kept"]);
    world.finish().await;
}
