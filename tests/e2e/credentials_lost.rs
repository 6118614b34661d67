//! Secret, status and registry that do not agree: whichever is older, applications end with one password that works.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tenant_schema_operator::api::{RECONCILE_REQUESTED_AT, TenantSchema};

use crate::{
    credentials::{Applications, ask, with_tenant},
    world::World,
};

/// Asks for a look at the tenant now.
async fn look(world: &World, value: &str) {
    world.annotate::<TenantSchema>("school", RECONCILE_REQUESTED_AT, value).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_was_deleted_by_hand_is_made_again() {
    let mut world = with_tenant().await;
    let before = world.told().await;
    let keys = world.keys().await;
    world.api::<Secret>().delete("school-db", &DeleteParams::default()).await.unwrap();
    look(&world, "1").await;
    let told = world.next(&before).await;
    assert_ne!(told.secret_uid, before.secret_uid);
    world.event("school", "CredentialPublished", "Secret school-db was gone, and was made again").await;
    let next = world.keys().await;
    for keys in [&keys, &next] {
        ask(keys, "SELECT 1").await.unwrap();
    }
    world.prove_fixpoint().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_was_restored_from_before_is_written_again() {
    let mut world = with_tenant().await;
    let mut saved = world.secret().await.unwrap();
    let before = world.rotate().await;
    // As a tool that restores objects does: under another UID, with the owner of the living object.
    world.api::<Secret>().delete("school-db", &DeleteParams::default()).await.unwrap();
    saved.metadata.resource_version = None;
    saved.metadata.uid = None;
    saved.metadata.managed_fields = None;
    world.api::<Secret>().create(&PostParams::default(), &saved).await.unwrap();
    look(&world, "1").await;
    world.next(&before).await;
    ask(&world.keys().await, "SELECT 1").await.unwrap();

    // One whose credential was edited has the UID that it had.
    let told = world.told().await;
    let edit = json!({ "metadata": { "annotations": { "edumatrixhub.io/credential-id": "edited" } } });
    world.api::<Secret>().patch("school-db", &PatchParams::default(), &Patch::Merge(&edit)).await.unwrap();
    look(&world, "2").await;
    let next = world.next(&told).await;
    assert_eq!(next.secret_uid, told.secret_uid);
    world.event("school", "CredentialPublished", "Secret school-db had another credential or address").await;
    world.prove_fixpoint().await;
    world.finish().await;
}

/// The registry of an older database has another credential, and logins have the passwords of then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_went_back_gets_another_password_for_what_is_published() {
    let mut world = with_tenant().await;
    let login = world.told().await.login.unwrap();
    let save = format!(
        "CREATE TABLE public.saved AS SELECT c.*, a.rolpassword FROM edu_matrix_hub_schema.tenant_credentials AS c, \
         pg_authid AS a WHERE a.rolname = '{login}'"
    );
    world.sql(&save);
    let told = world.rotate().await;
    world.stop_operator().await;
    let previous = told.login.clone().unwrap();
    world.sql(&format!(
        "UPDATE edu_matrix_hub_schema.tenant_credentials SET (login, credential_id, issued_at, previous_login, previous_until) = \
         (SELECT login, credential_id, issued_at, previous_login, previous_until FROM public.saved); \
         UPDATE edu_matrix_hub_schema.tenant_schemas SET reported = NULL, updated_at = now(); ALTER ROLE \"{previous}\" NOLOGIN"
    ));
    let lost = world.keys().await;
    assert!(ask(&lost, "SELECT 1").await.is_err(), "what is published opens nothing");
    world.start_operator().await;
    world.next(&told).await;
    ask(&world.keys().await, "SELECT 1").await.unwrap();
    world.sql("DROP TABLE public.saved");
    world.prove_fixpoint().await;
    world.finish().await;
}

/// An operator that is killed when the database has a password and perhaps no Secret has it leaves applications with one that
/// works, and the next one ends what was begun.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_is_killed_while_it_rotates_locks_no_application_out() {
    let mut world = with_tenant().await;
    let registered = "SELECT credential_id FROM edu_matrix_hub_schema.tenant_credentials";
    for _ in 0..5 {
        let (before, first) = (world.told().await, world.sql(registered));
        world.request_rotation().await;
        world.eventually("a password is issued", async || world.sql(registered) != first).await;
        world.kill_operator().await;
        // Whatever was done, what is published opens.
        ask(&world.keys().await, "SELECT count(*) FROM pupils").await.unwrap();
        world.start_operator().await;
        let told = world.next(&before).await;
        let is_one = async || world.told().await.credential_id.is_some_and(|id| id == world.sql(registered));
        world.eventually("status and registry agree", is_one).await;
        ask(&world.keys().await, "SELECT count(*) FROM pupils").await.unwrap();
        assert!(told.login.is_some());
    }
    world.prove_fixpoint().await;
    world.finish().await;
}
