//! Writes that are taken, by a spec or by a quota that is used up, and given back when that ends.

use serde_json::{Value, json};
use tenant_schema_operator::api::{
    TenantSchema,
    tenant_schema::{BlockedCause, State},
};

use crate::{
    credentials::{Applications, ask, spec, with_tenant},
    world::{World, condition},
};

const WRITE: &str = "INSERT INTO pupils VALUES (2) RETURNING 1";
const READ: &str = "SELECT count(*) > 0 FROM pupils";

/// Rows of about 1 kB each.
fn rows(count: u32) -> String {
    format!("INSERT INTO filler SELECT repeat(md5(n::text), 31) FROM generate_series(1, {count}) AS n RETURNING 1")
}

trait Quotas {
    async fn is(&self, reason: &str) -> TenantSchema;
    async fn set(&self, change: Value);
}

impl Quotas for World {
    /// Waits until the tenant is ready for this reason.
    async fn is(&self, reason: &str) -> TenantSchema {
        self.until_ready(&self.api::<TenantSchema>(), "school", "True", reason).await
    }

    async fn set(&self, change: Value) {
        let mut spec = spec();
        spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        self.apply_tenant("school", spec).await;
    }
}

fn blocked(tenant: &TenantSchema) -> (Option<State>, Option<BlockedCause>) {
    let status = tenant.status.as_ref().unwrap();
    (status.state, status.blocked.as_ref().and_then(|blocked| blocked.cause))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_tenant_is_read_through_a_rotation_and_written_afterwards() {
    let world = with_tenant().await;
    let mut keys = world.keys().await;
    assert_eq!(ask(&keys, WRITE).await.unwrap(), "1");
    world.set(json!({ "access": "ReadOnly" })).await;
    let tenant = world.is("ReadOnly").await;
    assert_eq!(blocked(&tenant), (Some(State::ReadOnly), Some(BlockedCause::Spec)));
    world.event("school", "WritesTaken", "is read-only").await;
    assert!(ask(&keys, WRITE).await.is_err());
    world.rotate().await;
    keys = world.keys().await;
    assert_eq!(ask(&keys, READ).await.unwrap(), "t");
    assert!(ask(&keys, WRITE).await.is_err() && ask(&keys, "DELETE FROM pupils").await.is_err());

    world.set(json!({ "access": "Suspended" })).await;
    world.is("Suspended").await;
    world.set(json!({ "access": "ReadOnly" })).await;
    world.is("ReadOnly").await;
    assert!(ask(&keys, READ).await.is_ok() && ask(&keys, WRITE).await.is_err());
    // Drift gives nothing back.
    world.sql(&format!("REVOKE USAGE ON SCHEMA school FROM {}", world.tenant_role("school", "reader")));
    world.event("school", "DriftRepaired", "USAGE").await;
    assert!(ask(&keys, READ).await.is_ok() && ask(&keys, WRITE).await.is_err());

    world.set(json!({})).await;
    world.ready_tenant("school").await;
    world.event("school", "WritesGivenBack", "open").await;
    assert_eq!(ask(&keys, WRITE).await.unwrap(), "1");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_at_its_quota_is_read_and_deleted_from_until_there_is_room() {
    let world = with_tenant().await;
    world.sql_as(
        "school",
        "owner",
        "CREATE TABLE school.filler (body text); ALTER TABLE school.filler ALTER body SET STORAGE PLAIN",
    );
    let quota = json!({ "limit": "1Mi", "enforcement": "Block" });
    world.set(json!({ "quota": quota })).await;
    world.ready_tenant("school").await;
    let keys = world.keys().await;
    assert_eq!(ask(&keys, &rows(2000)).await.unwrap(), "1");
    let tenant = world.is("WritesBlocked").await;
    assert_eq!(blocked(&tenant), (Some(State::WriteBlocked), Some(BlockedCause::Quota)));
    let (.., message) = condition(&tenant, "Ready").unwrap();
    assert!(message.contains("kubectl -n ") && message.contains("below 95 %"), "{message}");
    world.event("school", "WritesTaken", "are blocked, and rows can be deleted").await;
    assert!(ask(&keys, WRITE).await.is_err());
    assert_eq!(ask(&keys, READ).await.unwrap(), "t");
    let closed =
        format!("tenant_schema_operator_tenants_blocked{{database=\"{}\",cause=\"Quota\"}}", world.database_ref());
    assert_eq!(world.count(&closed), 1);

    assert_eq!(
        ask(&keys, "WITH gone AS (DELETE FROM filler RETURNING 1) SELECT count(*) FROM gone").await.unwrap(),
        "2000"
    );
    world.sql("VACUUM FULL school.filler");
    world.ready_tenant("school").await;
    world.event("school", "WritesGivenBack", "is open").await;
    assert_eq!(ask(&keys, WRITE).await.unwrap(), "1");

    // A quota that is lower than what is used blocks at once, and a higher one ends that.
    world.set(json!({ "quota": { "limit": "8Ki", "enforcement": "Block" } })).await;
    world.is("WritesBlocked").await;
    assert!(ask(&keys, WRITE).await.is_err());
    world.set(json!({ "quota": quota })).await;
    world.ready_tenant("school").await;
    assert_eq!(ask(&keys, WRITE).await.unwrap(), "1");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_far_over_its_quota_is_suspended_until_the_limit_is_raised() {
    let world = with_tenant().await;
    world.sql_as(
        "school",
        "owner",
        "CREATE TABLE school.filler (body text); ALTER TABLE school.filler ALTER body SET STORAGE PLAIN",
    );
    world.set(json!({ "quota": { "limit": "1Mi", "enforcement": "Suspend" } })).await;
    world.ready_tenant("school").await;
    let keys = world.keys().await;
    ask(&keys, &rows(2000)).await.unwrap();
    let tenant = world.is("Suspended").await;
    assert_eq!(blocked(&tenant), (Some(State::Suspended), Some(BlockedCause::Quota)));
    assert!(ask(&keys, READ).await.is_err());
    // Enough that it is not suspended, and not that it is open: the message of a block says how much is.
    let limit = world.sql("SELECT (storage_used * 100 / 98)::text FROM edu_matrix_hub_schema.tenant_schemas");
    world.set(json!({ "quota": { "limit": limit, "enforcement": "Suspend" } })).await;
    let tenant = world.is("WritesBlocked").await;
    assert!(ask(&keys, READ).await.is_ok() && ask(&keys, WRITE).await.is_err());
    let (.., message) = condition(&tenant, "Ready").unwrap();
    let told = message.split("\"limit\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    world.set(json!({ "quota": { "limit": told, "enforcement": "Suspend" } })).await;
    world.ready_tenant("school").await;
    assert_eq!(ask(&keys, WRITE).await.unwrap(), "1");
    world.finish().await;
}

/// What an operator that ends in the middle leaves, the next one finishes, and what is right it leaves alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_is_killed_while_a_tenant_is_at_its_quota_changes_nothing_later() {
    let mut world = with_tenant().await;
    world.set(json!({ "quota": { "limit": "8Ki", "enforcement": "Block" } })).await;
    world.kill_operator().await;
    world.expire_lease().await;
    world.start_operator().await;
    world.is("WritesBlocked").await;
    let keys = world.keys().await;
    assert!(ask(&keys, WRITE).await.is_err());
    world.prove_fixpoint().await;
    assert!(ask(&keys, WRITE).await.is_err() && ask(&keys, READ).await.is_ok());
    world.finish().await;
}
