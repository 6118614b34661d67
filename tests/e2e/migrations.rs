//! What a tenant's migrations connect with: a Secret beside that of the applications, whose sessions act as the owner role.

use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use tenant_schema_operator::api::{REVOKE_CREDENTIALS, TenantSchema, credentials::CredentialsStatus};

use crate::{
    credentials::{Applications, Keys, ask, keys_of, with_tenant},
    tools::Refusing,
    world::{World, condition},
};

/// The tenant with a Secret for its migrations as well.
fn spec() -> Value {
    json!({
        "schemaName": "school", "connectionSecret": { "name": "school-db" }, "migrationSecret": { "name": "school-owner" },
        "credentials": { "statementTimeoutSeconds": 9, "rotationGraceSeconds": 2 },
    })
}

/// What migrations read.
async fn keys(world: &World) -> Keys {
    keys_of(world.api::<Secret>().get("school-owner").await.unwrap())
}

/// What the status tells of them.
async fn told(world: &World) -> CredentialsStatus {
    let tenant = world.api::<TenantSchema>().get("school").await.unwrap();
    tenant.status.and_then(|status| status.migration_credentials).unwrap_or_default()
}

/// A tenant whose migrations have their Secret.
async fn with_migrations() -> World {
    let world = with_tenant().await;
    world.apply_tenant("school", spec()).await;
    world.eventually("migrations have a password", async || told(&world).await.credential_id.is_some()).await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_migrations_make_by_their_secret_is_the_owners_and_applications_write_it() {
    let mut world = with_migrations().await;
    let (first, application) = (keys(&world).await, world.keys().await);
    assert_eq!(told(&world).await.login.as_ref(), Some(&first["username"]));
    let role = |which: &str| world.sql(&format!("SELECT {which}_role FROM edu_matrix_hub_schema.tenant_schemas"));
    let owner = role("owner");
    assert_eq!(ask(&first, "SELECT current_user").await.unwrap(), owner);
    assert_eq!(ask(&first, "SHOW statement_timeout").await.unwrap(), "0", "a migration takes as long as it takes");
    ask(&first, "CREATE TABLE marks (id int)").await.unwrap();
    let owner_of = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'school.marks'::regclass";
    assert_eq!(world.sql(owner_of), owner);
    ask(&application, "INSERT INTO marks VALUES (1)").await.unwrap();

    // Another password, and the same tables.
    let before = told(&world).await;
    world.rotate().await;
    let is_next = async || told(&world).await.credential_id != before.credential_id;
    world.eventually("migrations have another password", is_next).await;
    let second = keys(&world).await;
    assert_ne!(second["username"], first["username"]);
    ask(&second, "ALTER TABLE marks ADD COLUMN name text").await.unwrap();
    let is_closed = async || ask(&first, "SELECT 1").await.is_err();
    world.eventually("the former password opens nothing", is_closed).await;

    // What it makes without being the owner is given to the owner.
    ask(&second, "SET ROLE NONE; SELECT lo_create(4711)").await.unwrap();
    let owner_of = "SELECT pg_get_userbyid(lomowner) FROM pg_largeobject_metadata WHERE oid = 4711";
    world.eventually("it is the owner's", async || world.sql(owner_of) == owner).await;
    world.event("school", "DriftRepaired", "large object 4711 belongs to login").await;
    let seen = world.kubectl(&["get", "tenantschemas,events", "-n", &world.namespace, "-o", "yaml"]);
    assert!(!seen.contains(&second["password"]) && !seen.contains("SCRAM"));
    let counted = async || {
        let tenant = world.api::<TenantSchema>().get("school").await.unwrap();
        tenant.status.is_some_and(|status| status.quota_estimate.is_some())
    };
    world.eventually("the large object is counted", counted).await;
    world.prove_fixpoint().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leak_closes_both_secrets_and_a_spec_without_one_closes_that() {
    let mut world = with_migrations().await;
    let (migration, application) = (keys(&world).await, world.keys().await);
    let (before, rows) = (told(&world).await, world.told().await);
    world.annotate::<TenantSchema>("school", REVOKE_CREDENTIALS, "school").await;
    world.next(&rows).await;
    let is_next = async || told(&world).await.credential_id.is_some_and(|id| Some(id) != before.credential_id);
    world.eventually("migrations have another password", is_next).await;
    for leaked in [&migration, &application] {
        assert!(ask(leaked, "SELECT 1").await.is_err(), "{}", leaked["username"]);
    }
    let (migration, application) = (keys(&world).await, world.keys().await);
    world.event("school", "CredentialRevoked", "the logins of the tenant's migrations were closed").await;
    world.prove_fixpoint().await;
    world.start_operator().await;
    ask(&migration, "CREATE TABLE marks (id int)").await.unwrap();

    let mut without = spec();
    without.as_object_mut().unwrap().remove("migrationSecret");
    world.apply_tenant("school", without).await;
    world.eventually("nothing is told", async || told(&world).await == CredentialsStatus::default()).await;
    assert!(ask(&migration, "SELECT 1").await.is_err());
    ask(&application, "INSERT INTO marks VALUES (1)").await.unwrap();
    world.event("school", "CredentialRevoked", "delete secret school-owner").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_tenant_gets_both_secrets_and_a_conflict_over_one_holds_up_no_other() {
    let world = with_tenant().await;
    let both = |name: &str, owner: &str| json!({ "schemaName": name, "connectionSecret": { "name": format!("{name}-db") }, "migrationSecret": { "name": owner } });
    world.apply_tenant("other", both("other", "other-owner")).await;
    world.ready_tenant("other").await;
    let of = async |name: &str| world.api::<Secret>().get_opt(name).await.unwrap().map(keys_of);
    ask(&of("other-owner").await.unwrap(), "CREATE TABLE marks (id int)").await.unwrap();
    ask(&of("other-db").await.unwrap(), "INSERT INTO marks VALUES (1)").await.unwrap();

    // The name is another tenant's.
    world.apply_tenant("third", both("third", "other-owner")).await;
    let third = world.until_ready(&world.api::<TenantSchema>(), "third", "True", "SecretConflict").await;
    let message = condition(&third, "Stalled").unwrap().2;
    assert!(message.contains("spec.migrationSecret.name"), "{message}");
    ask(&of("third-db").await.unwrap(), "SELECT 1").await.unwrap();
    let same = json!({ "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantSchema", "metadata": { "name": "same" },
        "spec": both("same", "same-db") });
    let same: TenantSchema = serde_json::from_value(same).unwrap();
    let refused = world.api::<TenantSchema>().create(&kube::api::PostParams::default(), &same).await.unwrap_err();
    assert!(refused.to_string().contains("another name than connectionSecret"), "{refused}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lets_no_login_in_from_the_operator_is_told_with_the_line_that_is_missing() {
    let mut refusing = Refusing::start();
    let mut world = World::on_server(&refusing.server).await;
    world.guard_secrets();
    world.apply_database(json!({})).await;
    world.start_operator().await;
    world.database_ready().await;
    let group = "SELECT edu_matrix_hub_schema._connect_role_name()";
    let group = world.sql(group);
    refusing.refuse(&format!("+{group}"));

    world.apply_tenant("school", spec()).await;
    let tenants = world.api::<TenantSchema>();
    let school = world.until_ready(&tenants, "school", "True", "LoginRefused").await;
    let message = condition(&school, "Stalled").unwrap().2;
    let line = format!("host \"{}\" +{group} OPERATOR_ADDRESS scram-sha-256", world.database);
    assert!(message.contains(&line) && message.contains("pg_hba.conf"), "{message}");
    assert!(world.api::<Secret>().get_opt("school-owner").await.unwrap().is_none(), "nobody gets what is not ready");
    assert!(world.api::<Secret>().get_opt("school-db").await.unwrap().is_some(), "the other one waits for nothing");

    refusing.refuse("nobody");
    world.ready_tenant("school").await;
    ask(&keys(&world).await, "CREATE TABLE marks (id int)").await.unwrap();
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_application_stored_for_its_login_is_taken_back_with_the_next_password() {
    let mut world = with_tenant().await;
    let login = world.keys().await["username"].clone();
    let stored = format!("ALTER ROLE {login} SET role = 'none'; ALTER ROLE {login} SET search_path = public");
    ask(&world.keys().await, &stored).await.unwrap();
    let message = world.stalled_tenant("school", "DriftNotRepairable").await;
    assert!(message.contains("take a new password: role") && message.contains("rotate-requested-at"), "{message}");
    for _ in 0..2 {
        world.rotate().await;
    }
    world.ready_tenant("school").await;
    assert_eq!(world.keys().await["username"], login);
    assert_eq!(ask(&world.keys().await, "SHOW search_path").await.unwrap(), "school");
    world.prove_fixpoint().await;
    world.finish().await;
}
