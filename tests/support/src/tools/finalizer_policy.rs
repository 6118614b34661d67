//! The chart's policy by which the API server gives new tenants the finalizer, as Helm renders it.

use std::{env, io::Write, process::Command, time::Duration};

use devcluster::{ControlPlaneInfo, KUBERNETES_VERSION};
use serde_json::json;
use tenant_schema_operator::api::TENANT_SCHEMA_FINALIZER;

use crate::repository;

/// What Helm has to know of an API server that has such policies.
pub const API_VERSION: &str = "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy";

/// Whether every control plane of these tests has it: `FINALIZER_POLICY=1`.
pub fn is_everywhere() -> bool {
    env::var("FINALIZER_POLICY").is_ok_and(|value| value == "1")
}

/// Installs it for the tenants of one namespace, or of all, and waits until the API server follows it.
pub fn install(plane: &ControlPlaneInfo, namespace: Option<&str>) {
    let helm = devcluster::helm().unwrap().expect("Helm 3, or Go to build it");
    let chart = repository().join("charts/tenant-schema-operator");
    let mut command = Command::new(helm);
    command.args(["template", "tso"]).arg(chart).args(["--show-only", "templates/finalizerpolicy.yaml"]);
    command.args(["--kube-version", KUBERNETES_VERSION, "--api-versions", API_VERSION]);
    command.args(["--set", "finalizerPolicy.enabled=true"]);
    if let Some(namespace) = namespace {
        command.args(["--set", &format!("watchNamespaces={{{namespace}}}")]);
    }
    let rendered = command.output().unwrap();
    assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
    apply(plane, &["apply"], &rendered.stdout).unwrap();
    let tenant = json!({ "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantSchema",
        "metadata": { "name": "probe" }, "spec": { "schemaName": "probe" } });
    let namespace = namespace.unwrap_or("default");
    let try_it = ["create", "--dry-run=server", "-n", namespace, "-o", "jsonpath={.metadata.finalizers}"];
    // The kind itself may be so new that the API server does not take it yet.
    let is_set = || {
        apply(plane, &try_it, tenant.to_string().as_bytes()).is_ok_and(|made| made.contains(TENANT_SCHEMA_FINALIZER))
    };
    devcluster::wait_until(Duration::from_mins(1), "the API server sets the finalizer", is_set).unwrap();
}

fn apply(plane: &ControlPlaneInfo, command: &[&str], manifest: &[u8]) -> Result<String, devcluster::Error> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(manifest).unwrap();
    plane.kubectl(&[command, &["-f", &file.path().display().to_string()]].concat())
}
