//! Bad input ends in a clear error, and nothing that runs is lost by it.

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tenant_schema_operator::api::{RECONCILE_REQUESTED_AT, SchemaBackup, TenantSchema};

use crate::world::{World, condition};

const INSTITUTION: &str = "3f0c1d52-0000-4000-8000-00000000000a";

/// What the API server says to this spec; it must refuse it.
async fn refusal(world: &World, name: &str, spec: Value) -> String {
    match world.try_tenant(name, spec.clone()).await {
        Err(kube::Error::Api(status)) => status.message,
        other => panic!("{spec} was taken: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_server_refuses_what_cannot_be() {
    let world = World::without_operator(json!({})).await;
    let long = "a".repeat(64);
    let config: Value =
        (0..300).map(|number| (format!("key{number}"), json!(1))).collect::<serde_json::Map<_, _>>().into();
    for (spec, words) in [
        (json!({ "schemaNmae": "school" }), "schemaNmae"),
        (json!({ "quota": { "limt": "5Gi" } }), "limt"),
        (json!({ "schemaName": "sch\"ool" }), "schemaName may only have"),
        (json!({ "schemaName": "school'; DROP TABLE pupils; --" }), "schemaName may only have"),
        (json!({ "schemaName": "School" }), "schemaName may only have"),
        (json!({ "schemaName": "schüle" }), "schemaName may only have"),
        (json!({ "schemaName": "学校" }), "schemaName may only have"),
        (json!({ "schemaName": "inst_3F0C1D52-0000-4000-8000-00000000000A" }), "schemaName may only have"),
        (json!({ "schemaName": "1school" }), "schemaName may only have"),
        (json!({ "schemaName": "" }), "schemaName"),
        (json!({ "schemaName": long }), "63"),
        (json!({ "schemaName": "pg_school" }), "pg_"),
        (json!({ "schemaName": "edu_matrix_work_school" }), "edu_matrix_work_"),
        (json!({ "schemaName": "edu_matrix_hub_schema" }), "reserved"),
        (json!({ "schemaName": "information_schema" }), "reserved"),
        (json!({ "schemaName": "public" }), "reserved"),
        (json!({ "schemaName": "school_bak_20260101000000" }), "form of a backup's name"),
        (json!({ "schemaName": "school_bak_20260101000000_2" }), "form of a backup's name"),
        (json!({ "institutionId": "school" }), "institutionId"),
        (json!({ "databaseRef": { "name": "?watch=true&n=1" } }), "spec.databaseRef.name"),
        (json!({ "institutionId": INSTITUTION.to_uppercase() }), "institutionId must be a UUID in lower case"),
        (json!({ "quota": { "limit": "0" } }), "more than 0"),
        (json!({ "quota": { "limit": "0Gi" } }), "more than 0"),
        (json!({ "quota": { "limit": "-1Gi" } }), "limit must be a size"),
        (json!({ "quota": { "limit": "5Gib" } }), "limit must be a size such as 5Gi"),
        (json!({ "quota": { "limit": "5 Gi" } }), "limit must be a size"),
        (json!({ "quota": { "limit": "9Pi" } }), "at most 8Pi"),
        (json!({ "quota": { "limit": 5 } }), "limit"),
        (json!({ "quota": { "warningPercent": 101 } }), "warningPercent"),
        (json!({ "quota": { "enforcement": "Throttle" } }), "enforcement"),
        (json!({ "credentials": { "rotationPeriodDays": 0 } }), "rotationPeriodDays"),
        (json!({ "credentials": { "rotationGraceSeconds": -1 } }), "rotationGraceSeconds"),
        (json!({ "credentials": { "connectionLimit": 0 } }), "connectionLimit"),
        (json!({ "connectionSecret": { "name": "School" } }), "connectionSecret.name"),
        (json!({ "access": "Frozen" }), "access"),
        (json!({ "deletionPolicy": "drop" }), "deletionPolicy"),
        (json!({ "config": "text" }), "config"),
        (json!({ "config": config }), "config"),
        (json!({ "databaseRef": { "name": "" } }), "databaseRef"),
    ] {
        let message = refusal(&world, "bad", spec.clone()).await;
        assert!(message.contains(words), "{spec}: {message:?} does not say {words:?}");
    }
    assert!(world.api::<TenantSchema>().get_opt("bad").await.unwrap().is_none());

    // What is decided stays decided, and the message names the field.
    world.apply_tenant("school", json!({ "schemaName": "school", "institutionId": INSTITUTION })).await;
    world.apply_tenant("plain", json!({})).await;
    for (name, spec, field) in [
        ("school", json!({ "schemaName": "other", "institutionId": INSTITUTION }), "schemaName is immutable"),
        ("school", json!({ "institutionId": INSTITUTION }), "schemaName is immutable"),
        ("plain", json!({ "schemaName": "plain" }), "schemaName is immutable"),
        ("school", json!({ "schemaName": "school" }), "institutionId is immutable"),
        ("plain", json!({ "institutionId": INSTITUTION }), "institutionId is immutable"),
        ("plain", json!({ "databaseRef": { "name": "elsewhere" } }), "databaseRef is immutable"),
    ] {
        let message = refusal(&world, name, spec.clone()).await;
        assert!(message.contains(field), "{spec}: {message}");
    }
    world.apply_backup("before", json!({ "tenantSchemaRef": { "name": "school" } })).await;
    for change in [
        json!({ "tenantSchemaRef": { "name": "plain" } }),
        json!({ "expireAfterDays": 7 }),
        json!({ "method": "Archive" }),
        json!({ "deletionPolicy": "delete" }),
    ] {
        let patch = Patch::Merge(json!({ "spec": change }));
        let refused = world.api::<SchemaBackup>().patch("before", &PatchParams::default(), &patch).await;
        assert!(matches!(refused, Err(kube::Error::Api(_))), "{change} was taken: {refused:?}");
    }
    for change in [
        json!({ "connection": { "maxConnections": 2 } }),
        json!({ "connection": { "tls": { "mode": "Off" } } }),
        json!({ "connection": { "passwordd": "pw" } }),
        json!({ "ownerRole": "x".repeat(58) }),
        json!({ "surveyPeriodSeconds": 0 }),
        json!({ "limits": { "maxQuota": "5Gib" } }),
        json!({ "naming": [{ "pattern": "" }] }),
        json!({ "functions": "Unmanaged" }),
    ] {
        let parameters =
            PatchParams { field_validation: Some(kube::api::ValidationDirective::Strict), ..Default::default() };
        let patch = Patch::Merge(json!({ "spec": change }));
        let refused = world.databases().patch(&world.database_ref(), &parameters, &patch).await;
        assert!(matches!(refused, Err(kube::Error::Api(_))), "{change} was taken: {refused:?}");
    }
    world.clean_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_the_operator_can_tell_is_a_condition_and_the_running_tenant_stays() {
    let limits = json!({ "limits": { "maxQuota": "1Gi" }, "naming": [{ "pattern": "^[a-z]+$" }] });
    let world = World::new(limits.clone()).await;
    let institution = json!({ "schemaName": "school", "institutionId": INSTITUTION, "quota": { "limit": "1Gi" } });
    world.apply_tenant("school", institution.clone()).await;
    world.ready_tenant("school").await;
    world.sql_as("school", "owner", "CREATE TABLE school.pupils (id int)");

    // New ones that cannot be.
    let stalled = async |name: &str, spec: Value, reason: &str, words: &str| {
        world.apply_tenant(name, spec).await;
        world.tenant_says(name, "Stalled", reason, words).await;
    };
    let role = world.login().replace('_', "");
    world.sql(&format!("CREATE ROLE {}", role_name(&role)));
    stalled("role", json!({ "schemaName": role_name(&role) }), "Conflict", "a role is called").await;
    stalled(
        "holder",
        json!({ "institutionId": INSTITUTION, "schemaName": "another" }),
        "Conflict",
        "TenantSchema school of this namespace",
    )
    .await;
    stalled("namesake", json!({ "schemaName": "school" }), "Conflict", "TenantSchema school of this namespace").await;
    stalled("large", json!({ "schemaName": "large", "quota": { "limit": "5Gi" } }), "LimitExceeded", "at most 1Gi")
        .await;
    stalled("misnamed", json!({ "schemaName": "school_2" }), "NameNotAllowed", "^[a-z]+$").await;
    let large = json!({ "text": "x".repeat(17 * 1024) });
    stalled("wordy", json!({ "schemaName": "wordy", "config": large }), "InvalidSpec", "spec.config has 17").await;
    world.sql("CREATE SCHEMA foreignone");
    stalled("foreign", json!({ "schemaName": "foreignone" }), "Conflict", "was not made by this operator").await;

    // The same asked of one that runs: it goes on as it is, and what is put back is Ready again.
    let mut wordy = institution.clone();
    wordy["config"] = json!({ "text": "x".repeat(17 * 1024) });
    stalled("school", wordy, "InvalidSpec", "at most 16384").await;
    assert_eq!(world.sql("SELECT count(*) FROM school.pupils"), "0");
    assert_eq!(world.sql("SELECT config FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name = 'school'"), "{}");
    world.apply_tenant("school", institution.clone()).await;
    world.ready_tenant("school").await;
    let mut more = institution.clone();
    more["quota"] = json!({ "limit": "5Gi" });
    world.apply_tenant("school", more).await;
    let clamped = world.until_ready(&world.api::<TenantSchema>(), "school", "True", "OutsideLimits").await;
    assert_eq!(clamped.status.unwrap().effective.unwrap().quota_limit.as_deref(), Some("1Gi"));
    assert_eq!(
        world.sql("SELECT quota_limit FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name = 'school'"),
        (1_i64 << 30).to_string()
    );

    // A rule that cannot be read is its owner's to mend: new tenants wait, and tenants that run go on.
    let mut unreadable = limits.clone();
    unreadable["naming"] = json!([{ "pattern": "^(" }]);
    world.apply_database(unreadable).await;
    world.database_stalled("InvalidSpec", "^(").await;
    world.apply_tenant("school", institution.clone()).await;
    let school = world.until_ready(&world.api::<TenantSchema>(), "school", "True", "OutsideLimits").await;
    assert!(condition(&school, "Ready").unwrap().2.contains("the TenantDatabase is invalid"));
    stalled("waiting", json!({ "schemaName": "waiting" }), "InvalidSpec", "its owners must mend").await;
    // A tenant that waits is found by its database.
    let database = format!("status.effective.databaseRef={}", world.database_ref());
    let found =
        world.kubectl(&["-n", &world.namespace, "get", "tenantschemas", "--field-selector", &database, "-o", "name"]);
    assert!(found.contains("/waiting"), "{found}");
    let mut above = limits.clone();
    above["defaults"] = json!({ "quota": { "limit": "20Gi" } });
    world.apply_database(above).await;
    world.database_stalled("InvalidSpec", "spec.defaults.quota.limit 20Gi is more than spec.limits.maxQuota 1Gi").await;
    world.apply_database(limits).await;
    world.ready_tenant("school").await;
    world.ready_tenant("waiting").await;
    world.delete_tenant("waiting").await;

    let there = world.schemas("");
    let made = |name: &&String| !name.starts_with("pg_") && !name.starts_with("waiting_bak_");
    let made: Vec<_> = there.iter().filter(made).collect();
    assert_eq!(made, ["foreignone", "information_schema", "public", "school"], "nothing was made of what was refused");
    for name in ["role", "holder", "namesake", "large", "misnamed", "wordy", "foreign"] {
        world.delete_tenant(name).await;
    }
    world.sql(&format!("DROP ROLE {}", role_name(&role)));
    assert_eq!(world.schemas("foreignone"), ["foreignone"], "what others made is never touched");
    world.settled_tenant("school").await;
    world.finish().await;
}

/// A name of letters alone, which the naming rule of this test lets through.
fn role_name(text: &str) -> String {
    text.bytes().map(|byte| char::from(b'a' + byte % 26)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_row_that_was_edited_by_hand_does_no_harm() {
    let mut world = World::new(json!({})).await;
    for name in ["school", "bystander"] {
        world.apply_tenant(name, json!({ "schemaName": name, "config": { "grade": 7 } })).await;
        world.ready_tenant(name).await;
        world.sql_as(name, "owner", &format!("CREATE TABLE {name}.pupils (id int)"));
    }
    let id = world.api::<TenantSchema>().get("school").await.unwrap().status.unwrap().schema_id.unwrap();
    let whole = || {
        let tables = "SELECT string_agg(n.nspname, ',' ORDER BY n.nspname) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE relname = 'pupils'";
        assert_eq!(world.sql(tables), "bystander,school");
    };
    for (number, (edit, undo, reason, words)) in [
        ("schema_name = 'bystander_2'", "schema_name = 'school'", "Conflict", "#a-row-of-the-registry-that-was-edited"),
        ("owner_uid = 'earlier'", "owner_uid = old", "Conflict", "left behind by an earlier TenantSchema"),
        ("status = 'dropping'", "status = 'active'", "Conflict", "dropping"),
        ("status = 'dropped'", "status = 'active'", "SchemaMissing", "was dropped"),
    ]
    .into_iter()
    .enumerate()
    {
        let uid = world.sql(&format!("SELECT owner_uid FROM edu_matrix_hub_schema.tenant_schemas WHERE id = '{id}'"));
        let update = |set: &str| {
            let set = set.replace("old", &format!("'{uid}'"));
            world.sql(&format!("UPDATE edu_matrix_hub_schema.tenant_schemas SET {set} WHERE id = '{id}'"));
        };
        let look = async |when: &str| {
            world.annotate::<TenantSchema>("school", RECONCILE_REQUESTED_AT, &format!("{when} {number}")).await;
        };
        update(edit);
        look("edited").await;
        world.tenant_says("school", "Stalled", reason, words).await;
        whole();
        update(undo);
        look("undone").await;
        world.settled_tenant("school").await;
    }
    // What the spec says is simply said again.
    world.sql(&format!(
        "UPDATE edu_matrix_hub_schema.tenant_schemas SET config = '{{}}', quota_limit = 1 WHERE id = '{id}'"
    ));
    world.annotate::<TenantSchema>("school", RECONCILE_REQUESTED_AT, "config").await;
    let said =
        format!("SELECT config, quota_limit IS NULL FROM edu_matrix_hub_schema.tenant_schemas WHERE id = '{id}'");
    world.eventually("the spec is said again", async || world.sql(&said) == "{\"grade\": 7}|t").await;
    whole();

    // A row that points to another tenant's schema is deleted: nothing of the other goes with it.
    world.stop_operator().await;
    world.sql(&format!("UPDATE edu_matrix_hub_schema.tenant_schemas SET owner_uid = 'another' WHERE id = '{id}'"));
    world.api::<TenantSchema>().delete("school", &DeleteParams::default()).await.unwrap();
    world.start_operator().await;
    world.until_gone(&world.api::<TenantSchema>(), "school").await;
    assert_eq!(world.schemas("school"), ["school"], "what is another's by the registry's word is not dropped");
    world.settled_tenant("bystander").await;
    world.finish().await;
}
