//! A namespace that may not have another Secret, one of a million bytes under the name, and an address that leads nowhere: the
//! tenant works, and says what is in the way.

use k8s_openapi::api::core::v1::{ResourceQuota, Secret};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tenant_schema_operator::api::{RECONCILE_REQUESTED_AT, TenantSchema};

use crate::{
    credentials::{Applications, ask, spec},
    world::World,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_a_namespace_may_not_have_is_told_and_comes_when_it_may() {
    let mut world = World::without_operator(json!({})).await;
    world.guard_secrets();
    world.start_operator().await;
    let quotas = world.api::<ResourceQuota>();
    let none = json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "none" },
        "spec": { "hard": { "count/secrets": "0" } } });
    quotas.create(&PostParams::default(), &serde_json::from_value(none).unwrap()).await.unwrap();
    // No controller of quotas runs here, which would count.
    let counted = json!({ "status": { "hard": { "count/secrets": "0" }, "used": { "count/secrets": "0" } } });
    quotas.patch_status("none", &PatchParams::default(), &Patch::Merge(&counted)).await.unwrap();
    world.apply_tenant("school", spec()).await;
    let message = world.tenant_says("school", "Stalled", "CredentialsForbidden", "exceeded quota: none").await;
    assert!(message.contains("schema school is there") && message.contains("operations.md"), "{message}");
    assert_eq!(world.tenant_readiness("school").await, "True");

    quotas.delete("none", &DeleteParams::default()).await.unwrap();
    world.annotate::<TenantSchema>("school", RECONCILE_REQUESTED_AT, "1").await;
    world.ready_tenant("school").await;
    ask(&world.keys().await, "SELECT 1").await.unwrap();
    world.prove_fixpoint().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_secret_of_another_is_left_alone_and_an_address_that_leads_nowhere_is_written_as_it_is() {
    let mut world =
        World::without_operator(json!({ "clientEndpoint": { "host": "nowhere.invalid", "port": 1 } })).await;
    world.guard_secrets();
    let large = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "school-db" },
        "stringData": { "text": "x".repeat(1_000_000) } });
    let secrets = world.api::<Secret>();
    let large = secrets.create(&PostParams::default(), &serde_json::from_value(large).unwrap()).await.unwrap();
    world.start_operator().await;
    world.apply_tenant("school", spec()).await;
    world.tenant_says("school", "Stalled", "SecretConflict", "delete secret school-db").await;
    assert_eq!(world.secret().await.unwrap(), large);

    let other = json!({ "schemaName": "school", "connectionSecret": { "name": "other-db" } });
    world.apply_tenant("school", other).await;
    world.ready_tenant("school").await;
    let keys = crate::credentials::keys_of(secrets.get("other-db").await.unwrap());
    assert_eq!((keys["host"].as_str(), keys["port"].as_str()), ("nowhere.invalid", "1"));
    world.prove_fixpoint().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_lets_no_secret_in_is_told_in_its_own_words() {
    let mut world = World::without_operator(json!({})).await;
    world.guard_secrets();
    world.start_operator().await;
    let selector = json!({ "matchLabels": { "kubernetes.io/metadata.name": world.namespace } });
    let rules =
        json!([{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["secrets"] }]);
    // One that is down, and one that says no.
    let webhook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": { "name": world.id },
        "webhooks": [{ "name": "secrets.example.com", "clientConfig": { "url": "https://127.0.0.1:1/" }, "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "timeoutSeconds": 2, "namespaceSelector": selector, "rules": rules }],
    });
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": { "name": format!("{}-no", world.id) },
        "spec": { "matchConstraints": { "namespaceSelector": selector, "resourceRules": rules },
            "validations": [{ "expression": "false", "message": "the security team wants no Secrets here" }] },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": { "name": format!("{}-no", world.id) },
        "spec": { "policyName": format!("{}-no", world.id), "validationActions": ["Deny"] },
    });
    let place = tempfile::tempdir().unwrap();
    let apply = |name: &str, objects: &[&serde_json::Value]| {
        let file = place.path().join(name);
        std::fs::write(&file, json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string()).unwrap();
        file.display().to_string()
    };
    let (down, no) = (apply("down.json", &[&webhook]), apply("no.json", &[&policy, &binding]));
    world.kubectl(&["apply", "-f", &down]);
    world.apply_tenant("school", spec()).await;
    world.tenant_says("school", "Reconciling", "ProgressingWithRetry", "secrets.example.com").await;
    world.kubectl(&["apply", "-f", &no]);
    let probe = Secret {
        metadata: kube::core::ObjectMeta { name: Some("probe".to_owned()), ..Default::default() },
        ..Secret::default()
    };
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let refuses = async || {
        let refused = world.api::<Secret>().create(&dry, &probe).await.unwrap_err();
        refused.to_string().contains("the security team wants no Secrets here")
    };
    world.eventually("the policy is in force", refuses).await;
    world.kubectl(&["delete", "-f", &down]);
    let message =
        world.tenant_says("school", "Stalled", "CredentialsForbidden", "the security team wants no Secrets here").await;
    assert!(message.contains("schema school is there") && message.contains("operations.md"), "{message}");
    assert_eq!((world.tenant_readiness("school").await.as_str(), world.secret().await), ("True", None));

    world.kubectl(&["delete", "-f", &no]);
    world.eventually("the policy is gone", async || world.api::<Secret>().create(&dry, &probe).await.is_ok()).await;
    world.annotate::<TenantSchema>("school", RECONCILE_REQUESTED_AT, "1").await;
    world.ready_tenant("school").await;
    ask(&world.keys().await, "SELECT 1").await.unwrap();
    world.finish().await;
}
