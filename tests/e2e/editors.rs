//! Who may edit tenants in one namespace aims at a tenant of another: by names, by grants, by annotations, and by Secrets.

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tenant_schema_operator::api::{
    CONFIRM_ADOPT, CONFIRM_DROP, RECLAIM, RECONCILE_REQUESTED_AT, RECREATE, REVOKE_CREDENTIALS, ROTATE_REQUESTED_AT,
    TenantSchema, credentials::SECRET_TYPE,
};

use crate::{
    credentials::{Applications, ask, keys_of, spec, with_tenant},
    world::{World, condition},
};

/// The editor's namespace.
fn theirs(world: &World) -> String {
    format!("{}-editor", world.namespace)
}

/// Everything that an editor may not change of the tenant that it aims at.
async fn untouched(world: &World) -> Value {
    let tenant = world.api::<TenantSchema>().get("school").await.unwrap();
    let status = tenant.status.unwrap();
    let registry = "SELECT jsonb_build_array(t.id, t.status, t.access, t.owner_namespace, t.owner_name, t.schema_oid, t.login_oids::text, \
                    (SELECT jsonb_agg(c.credential_id ORDER BY c.purpose) FROM edu_matrix_hub_schema.tenant_credentials AS c \
                     WHERE c.schema_id = t.id), \
                    (SELECT count(*) FROM edu_matrix_hub_schema.tenant_grants AS g WHERE g.schema_id = t.id)) \
                    FROM edu_matrix_hub_schema.tenant_schemas AS t WHERE t.schema_name = 'school' AND t.status <> 'dropped'";
    json!({
        "spec": tenant.spec, "credentials": status.credentials, "id": status.schema_id, "state": status.state,
        "registry": world.sql(registry), "rows": world.sql("SELECT count(*) FROM school.pupils"),
        "secret": keys_of(world.secret().await.unwrap()),
    })
}

/// Makes an object in the editor's namespace and waits for what becomes of it; its message.
async fn attempt(world: &World, name: &str, spec: Value, annotations: Value, (status, reason): (&str, &str)) -> String {
    world.try_annotated_in(&theirs(world), name, spec, annotations).await.unwrap();
    let there = Api::<TenantSchema>::namespaced(world.client.clone(), &theirs(world));
    let found = world.until_ready(&there, name, status, reason).await;
    condition(&found, "Ready").unwrap().2
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_editor_of_one_namespace_reaches_no_tenant_of_another() {
    let world = with_tenant().await;
    world.make_namespace(&theirs(&world), json!({})).await;
    let there = Api::<TenantSchema>::namespaced(world.client.clone(), &theirs(&world));
    // The schema is offered to the other namespace alone.
    world.sql("CREATE SCHEMA offered; CREATE TABLE offered.pupils (id int)");
    world.apply_database(json!({ "adoptable": [{ "pattern": "offered|school", "namespace": world.namespace }] })).await;
    world.database_ready().await;
    let before = untouched(&world).await;

    // The same name, the same schema, and every annotation that acts, with the words that the other's would have.
    let everything = json!({
        RECLAIM: "school", RECREATE: "school", CONFIRM_DROP: "school", REVOKE_CREDENTIALS: "school", CONFIRM_ADOPT: "school",
        ROTATE_REQUESTED_AT: "2026-01-01T00:00:00Z", RECONCILE_REQUESTED_AT: "2026-01-01T00:00:00Z",
    });
    let message = attempt(&world, "school", spec(), everything.clone(), ("False", "Conflict")).await;
    let told = message.replace(&theirs(&world), "");
    assert!(!told.contains(&world.namespace), "whose it is, is not told: {message}");
    let mut adopting = spec();
    adopting["existingSchema"] = json!("Adopt");
    world.try_annotated_in(&theirs(&world), "school", adopting.clone(), everything.clone()).await.unwrap();
    world.until_ready(&there, "school", "False", "Conflict").await;
    adopting["schemaName"] = json!("offered");
    world.try_annotated_in(&theirs(&world), "offered", adopting, everything).await.unwrap();
    let refused = async || {
        let tenant = there.get("offered").await.unwrap();
        condition(&tenant, "Ready")
            .is_some_and(|(status, reason, _)| status == "False" && reason != "AdoptionPending" && reason != "Pending")
    };
    world.eventually("the schema is not offered here", refused).await;
    assert_eq!(world.sql("SELECT count(*) FROM edu_matrix_hub_schema.tenant_adoptions"), "0");

    // A Secret's name is one of the own namespace, and no way out of it.
    for name in [format!("{}/school-db", world.namespace), "../school-db".to_owned(), "school-db.".to_owned() + "x/y"] {
        for field in ["connectionSecret", "migrationSecret"] {
            let spec = json!({ "schemaName": "escape", field: { "name": name } });
            assert!(world.try_tenant_in(&theirs(&world), "escape", spec).await.is_err(), "{field}: {name}");
        }
    }
    // One that is there already, with the type and a label as if it were the operator's, is not taken over.
    let mine: Secret = serde_json::from_value(json!({
        "metadata": { "name": "mine", "labels": { "e2e": world.id } }, "type": SECRET_TYPE, "stringData": { "password": "own" },
    }))
    .unwrap();
    let secrets = Api::<Secret>::namespaced(world.client.clone(), &theirs(&world));
    secrets.create(&PostParams::default(), &mine).await.unwrap();
    let with = |schema: &str, secret: &str, migrations: &str| json!({ "schemaName": schema, "connectionSecret": { "name": secret }, "migrationSecret": { "name": migrations } });
    attempt(&world, "taking", with("taking", "mine", "school-owner"), json!({}), ("True", "SecretConflict")).await;
    assert_eq!(keys_of(secrets.get("mine").await.unwrap())["password"], "own");
    // The other's names, in this namespace: Secrets of its own.
    attempt(&world, "other", with("other", "school-db", "other-owner"), json!({}), ("True", "Succeeded")).await;
    let own = keys_of(secrets.get("school-db").await.unwrap());
    assert!(ask(&own, "SELECT count(*) FROM school.pupils").await.is_err());
    assert_ne!(own["username"], before["secret"]["username"].as_str().unwrap());

    // A grant gives what one has, and nothing to a namespace that the platform did not open; it takes nothing from anybody.
    let grants = json!([
        { "to": { "tenantSchema": { "name": "school", "namespace": world.namespace } }, "privileges": ["Read", "Write"] },
        { "to": { "tenantSchema": { "name": "school" } }, "privileges": ["Read"] },
    ]);
    let mut giving = with("other", "school-db", "other-owner");
    giving["grants"] = grants;
    world.try_tenant_in(&theirs(&world), "other", giving).await.unwrap();
    let told = async || {
        let grants = there.get("other").await.unwrap().status.map(|status| status.grants).unwrap_or_default();
        let said =
            |n: usize, begins: &str| grants.get(n).is_some_and(|grant| format!("{:?}", grant.state.unwrap()) == begins);
        said(0, "Refused") && said(1, "Waiting")
    };
    world.eventually("both are told", told).await;
    assert!(ask(&world.keys().await, "SELECT 1 FROM other.pupils").await.is_err());

    // A status that an editor writes is no word of the operator's.
    let id = before["id"].as_str().unwrap();
    let forged = json!({ "status": { "schemaId": id, "schemaName": "school" } });
    world.try_tenant_in(&theirs(&world), "forged", json!({ "schemaName": "forged" })).await.unwrap();
    world.until_ready(&there, "forged", "True", "Succeeded").await;
    there.patch_status("forged", &PatchParams::default(), &Patch::Merge(&forged)).await.unwrap();
    world
        .try_tenant_in(&theirs(&world), "forged", json!({ "schemaName": "forged", "access": "Suspended" }))
        .await
        .unwrap();
    let owned = "SELECT owner_namespace || ' ' || access FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name = 'forged'";
    let suspended = format!("{} Suspended", theirs(&world));
    world.eventually("it is its own tenant that is suspended", async || world.sql(owned) == suspended).await;
    for name in ["school", "offered", "taking", "other", "forged"] {
        world.kubectl(&[
            "-n",
            &theirs(&world),
            "annotate",
            "--overwrite",
            "tenantschema",
            name,
            &format!("{RECONCILE_REQUESTED_AT}=again"),
        ]);
    }
    world.next_survey().await;
    world.next_survey().await;
    assert_eq!(untouched(&world).await, before);
    assert_eq!(ask(&world.keys().await, "SELECT count(*) > 0 FROM pupils").await.unwrap(), "t");
    world.finish().await;
}
