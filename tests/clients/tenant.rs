//! The tenant of `examples/applications/tenant.yaml`, with an operator that writes its two Secrets.

use std::{collections::BTreeMap, fs};

use devcluster::CertificateAuthority;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
pub use support::tools::secrets::{Keys, ask};
use support::{repository, tools::secrets::keys_of, world::World};
use tenant_schema_operator::api::{ROTATE_REQUESTED_AT, TenantSchema, credentials::CredentialsStatus};
use tokio_postgres::error::SqlState;

/// The Secret of applications.
pub const APPLICATION: &str = "acme-db";
/// The Secret of migrations.
pub const MIGRATION: &str = "acme-db-owner";

/// All Secrets of the tenant, by name.
pub type Secrets = BTreeMap<String, Keys>;

/// A document of a file in `examples/applications`.
pub fn example(file: &str, name: &str) -> Value {
    let text = fs::read_to_string(repository().join("examples/applications").join(file)).unwrap();
    let documents = text.split("\n---\n").map(|document| serde_saphyr::from_str::<Value>(document).unwrap());
    documents.into_iter().find(|document| document["metadata"]["name"] == name).unwrap()
}

/// The tenant, with what its credentials have otherwise.
pub async fn acme(credentials: Value) -> World {
    let mut world = World::without_operator(json!({})).await;
    world.guard_secrets();
    world.start_operator().await;
    let mut spec = example("tenant.yaml", "acme")["spec"].take();
    spec["credentials"].as_object_mut().unwrap().extend(credentials.as_object().unwrap().clone());
    world.apply_tenant("acme", spec).await;
    world.ready_tenant("acme").await;
    let is_told = async || told(&world).await.iter().all(|status| status.credential_id.is_some());
    world.eventually("both Secrets are published", is_told).await;
    world
}

/// What the status tells of both Secrets.
async fn told(world: &World) -> [CredentialsStatus; 2] {
    let status = world.api::<TenantSchema>().get("acme").await.unwrap().status.unwrap();
    [status.credentials, status.migration_credentials].map(Option::unwrap_or_default)
}

/// Both Secrets as they are now.
pub async fn secrets(world: &World) -> Secrets {
    let mut all = Secrets::new();
    for name in [APPLICATION, MIGRATION] {
        all.insert(name.to_owned(), keys_of(world.api::<Secret>().get(name).await.unwrap()));
    }
    all
}

/// The Secrets with the certificate of an authority that did not sign the server's.
pub fn of_another_authority(secrets: &Secrets) -> Secrets {
    let another = CertificateAuthority::new("another").unwrap();
    let mut secrets = secrets.clone();
    for keys in secrets.values_mut() {
        keys.insert("ca.crt".to_owned(), another.certificate().to_owned());
    }
    secrets
}

/// Asks for other passwords and waits for them. Within the grace of the former ones that ends it: their sessions are ended.
pub async fn rotate(world: &World) -> Secrets {
    let before = told(world).await;
    let now = world.time_of_a_request(before.clone()).await;
    world.annotate::<TenantSchema>("acme", ROTATE_REQUESTED_AT, &now).await;
    let is_next = async || {
        let now = told(world).await;
        now.iter()
            .zip(&before)
            .all(|(now, before)| now.credential_id.is_some() && now.credential_id != before.credential_id)
    };
    world.eventually("both have another password", is_next).await;
    secrets(world).await
}

/// With these values a statement is refused for want of a right.
pub async fn is_refused(keys: &Keys, sql: &str) {
    let error = ask(keys, sql).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{sql}: {error}");
}
