//! What a tenant makes over another one's tables ends with that one, is told, and comes back with it.

use kube::api::DeleteParams;
use serde_json::{Value, json};
use tenant_schema_operator::api::{CONFIRM_DROP, RECONCILE_REQUESTED_AT, TenantSchema};

use crate::world::{World, condition};

/// A view, one over it, a materialized view and a function.
const MADE: &str = "CREATE VIEW reporting.names AS SELECT id, name FROM school.pupils; \
     COMMENT ON VIEW reporting.names IS 'who is there'; \
     CREATE VIEW reporting.short AS SELECT name FROM reporting.names WHERE length(name) < 9; \
     CREATE MATERIALIZED VIEW reporting.counted AS SELECT count(*) AS n FROM reporting.short; \
     CREATE FUNCTION reporting.pupil(wanted int) RETURNS text LANGUAGE sql \
     BEGIN ATOMIC SELECT name FROM reporting.names WHERE id = wanted; END";

fn giving(policy: &str) -> Value {
    let grant = json!({ "to": { "tenantSchema": { "name": "reporting" } }, "privileges": ["Read"] });
    json!({ "schemaName": "school", "grants": [grant], "deletionPolicy": policy })
}

/// Two tenants, of which the second made something over the first one's table.
async fn school_and_reporting(policy: &str) -> World {
    let world = World::new(json!({})).await;
    world.apply_tenant("reporting", json!({ "schemaName": "reporting" })).await;
    world.ready_tenant("reporting").await;
    world.apply_tenant("school", giving(policy)).await;
    world.ready_tenant("school").await;
    let given = async || {
        let school = world.api::<TenantSchema>().get("school").await.unwrap();
        format!("{:?}", school.status.unwrap().grants).contains("Active")
    };
    world.eventually("the grant is given", given).await;
    world.sql_as("school", "owner", "CREATE TABLE school.pupils AS SELECT 1 AS id, 'Ann' AS name");
    world.sql_as("reporting", "owner", MADE);
    world
}

/// Waits for the condition that tells what is not there, with this reason; returns its message.
async fn told(world: &World, reason: &str) -> String {
    let mut found = String::new();
    world
        .eventually(&format!("reporting tells {reason}"), async || {
            let tenant = world.api::<TenantSchema>().get("reporting").await.unwrap();
            let told =
                condition(&tenant, "GrantedViews").filter(|(status, word, _)| status == "False" && word == reason);
            found = told.map(|(_, _, message)| message).unwrap_or_default();
            !found.is_empty()
        })
        .await;
    found
}

async fn until_nothing_is_missing(world: &World) {
    let is_whole = async || {
        let tenant = world.api::<TenantSchema>().get("reporting").await.unwrap();
        condition(&tenant, "GrantedViews").is_none()
    };
    world.eventually("nothing of reporting is missing", is_whole).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_of_a_grantee_end_with_the_tenant_that_gives_and_are_made_again_when_it_is_taken_back() {
    let mut world = school_and_reporting("BackupThenDrop").await;
    let definitions = "SELECT string_agg(concat_ws(' ', c.relname, c.relacl, pg_get_viewdef(c.oid), \
         obj_description(c.oid)), ';' ORDER BY c.relname) FROM pg_class AS c WHERE c.relkind IN ('v', 'm') AND \
         c.relnamespace = 'reporting'::regnamespace";
    let before = world.sql(definitions);

    // What a third one made over it keeps the tenant, and nothing is removed.
    world.sql("CREATE SCHEMA apart; CREATE VIEW apart.over AS SELECT * FROM reporting.short");
    let tenants = world.api::<TenantSchema>();
    tenants.delete("school", &DeleteParams::default()).await.unwrap();
    let message = world.stalled_tenant("school", "DependentsExist").await;
    assert!(message.contains("apart.over") && !message.contains("reporting.names"), "{message}");
    assert_eq!(world.sql(definitions), before);
    world.sql("DROP SCHEMA apart CASCADE");
    world.until_gone(&tenants, "school").await;
    world.event("school", "SetAside", "reporting.names").await;
    let removed = world.event("reporting", "ViewsRemoved", "over schema school of TenantSchema").await;
    assert!(removed.contains("reporting.counted") && removed.contains("made again when it is back"), "{removed}");
    assert_eq!(world.sql(definitions), "");
    told(&world, "GrantorAway").await;
    world.ready_tenant("reporting").await;

    let object = giving("BackupThenDrop");
    world.apply_annotated("school", object, json!({ "edumatrixhub.io/reclaim": "school" })).await;
    world.ready_tenant("school").await;
    until_nothing_is_missing(&world).await;
    let remade = world.event("reporting", "ViewsRemade", "reporting.counted").await;
    assert!(!remade.contains("not made again") && remade.contains("empty until REFRESH"), "{remade}");
    assert_eq!(world.sql(definitions), before);
    world.sql_as("reporting", "owner", "REFRESH MATERIALIZED VIEW reporting.counted");
    assert_eq!(world.sql_as("reporting", "reader", "SELECT n FROM reporting.counted"), "1");
    assert_eq!(world.sql_as("reporting", "owner", "SELECT reporting.pupil(1)"), "Ann");
    world.prove_fixpoint().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_of_a_grantee_end_for_good_with_a_tenant_that_is_dropped_and_are_forgotten_on_request() {
    let mut world = school_and_reporting("Drop").await;
    let tenants = world.api::<TenantSchema>();
    tenants.delete("school", &DeleteParams::default()).await.unwrap();
    let question = world.stalled_tenant("school", "DropNotConfirmed").await;
    let value = question.split(&format!("{CONFIRM_DROP}=")).nth(1).unwrap().split([';', ' ']).next().unwrap();
    world.annotate::<TenantSchema>("school", CONFIRM_DROP, value).await;
    world.until_gone(&tenants, "school").await;
    let message = told(&world, "NotMadeAgain").await;
    assert!(
        message.contains("for good") && message.contains("operations.md#what-ended-with-another-tenant"),
        "{message}"
    );
    world.event("reporting", "ViewsRemoved", "reporting.names").await;
    world.ready_tenant("reporting").await;
    let kept = "SELECT count(*) FROM edu_matrix_hub_schema.taken_dependents WHERE remake <> '{}'";
    assert_eq!(world.sql(kept), "4");
    // Another tenant of its name has nothing to do with it.
    world.apply_tenant("school", giving("Drop")).await;
    world.ready_tenant("school").await;
    world.next_survey().await;
    assert_eq!(world.sql(kept), "4");

    world.annotate::<TenantSchema>("reporting", RECONCILE_REQUESTED_AT, "now").await;
    until_nothing_is_missing(&world).await;
    world.event("reporting", "ViewsRemade", "4 that were removed for good are forgotten").await;
    assert_eq!(world.sql(kept), "0");
    world.prove_fixpoint().await;
    world.finish().await;
}
