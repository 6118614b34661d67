//! A password that a session of the tenant gave its own login: the application with the Secret would be shut out.

use crate::{
    credentials::{Applications, ask, with_tenant},
    world::World,
};

fn seen(world: &World) -> bool {
    world.sql("SELECT bool_and(salt_seen) FROM edu_matrix_hub_schema.tenant_credentials") == "t"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_was_changed_from_inside_is_answered_by_a_rotation() {
    let mut world = with_tenant().await;
    world.eventually("the operator has asked about the password", async || seen(&world)).await;
    let (before, keys) = (world.told().await, world.keys().await);
    ask(&keys, "ALTER ROLE CURRENT_USER PASSWORD 'mine'").await.unwrap();
    ask(&keys, "SELECT 1").await.unwrap_err();
    let told = world.next(&before).await;
    assert_ne!(told.login, before.login);
    let command = format!("kubectl -n {} annotate tenantschema school --overwrite", world.namespace);
    let message = world.event("school", "PasswordChanged", &command).await;
    assert!(message.contains(&before.login.unwrap()), "{message}");
    ask(&world.keys().await, "SELECT 1").await.unwrap();
    world.eventually("the operator has asked about the new one", async || seen(&world)).await;
    world.prove_fixpoint().await;
    world.finish().await;
}
