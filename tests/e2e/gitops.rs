//! What Flux and Argo CD make of the objects, by kstatus itself and by the script of `docs/gitops` in the interpreter that Argo
//! CD uses. Needs Go; without it, the test says so and passes.

use std::{
    collections::BTreeSet,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use kube::{Resource, api::DeleteParams};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tenant_schema_operator::api::{GROUP, SchemaBackup, TenantSchema, crds};

use crate::world::World;

/// Objects in their states, each with the words that are expected of kstatus and of Argo CD.
#[derive(Default)]
struct Album(Vec<(String, &'static str, &'static str, Value)>);

impl Album {
    async fn take<K>(&mut self, api: &kube::Api<K>, name: &str, kstatus: &'static str, argo: &'static str)
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
    {
        let object = serde_json::to_value(api.get(name).await.unwrap()).unwrap();
        self.0.push((format!("{} {name}", K::kind(&())), kstatus, argo, object));
    }
}

fn health() -> Option<PathBuf> {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/health");
    let built = devcluster::go_tool(&module, "health", ".").unwrap();
    if built.is_none() {
        eprintln!("skipped: go is not installed");
    }
    built
}

/// The script that Argo CD has for every kind after the page's patch, in a file of its own.
fn script(world: &World) -> tempfile::NamedTempFile {
    let cm = ["configmap", "argocd-cm", "-n", &world.namespace];
    world.kubectl(&[&["create"], &cm[..], &["--from-literal=timeout.reconciliation=180s"]].concat());
    world.kubectl(&[&["patch"], &cm[..], &["--patch-file", "docs/gitops/argocd-cm.yaml"]].concat());
    let patched: Value = serde_json::from_str(&world.kubectl(&[&["get"], &cm[..], &["-o", "json"]].concat())).unwrap();
    let mut keys = patched["data"].as_object().unwrap().clone();
    assert_eq!(keys.remove("timeout.reconciliation"), Some(json!("180s")), "what was there stays");
    let key = |kind: String| format!("resource.customizations.health.{GROUP}_{kind}");
    let kinds: BTreeSet<String> = crds().into_iter().map(|crd| key(crd.spec.names.kind)).collect();
    assert_eq!(keys.keys().cloned().collect::<BTreeSet<_>>(), kinds, "one key for each kind");
    let scripts: BTreeSet<&str> = keys.values().map(|script| script.as_str().unwrap()).collect();
    assert_eq!(scripts.len(), 1, "{scripts:?}");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(scripts.first().unwrap().as_bytes()).unwrap();
    file
}

/// The names in the test's namespace that the page's first field selector finds.
fn found(world: &World) -> Vec<String> {
    let page = include_str!("../../docs/gitops/README.md");
    let selector =
        page.lines().find_map(|line| line.strip_prefix("kubectl get tenantschemas -A --field-selector ")).unwrap();
    let columns = "custom-columns=NAMESPACE:.metadata.namespace,NAME:.metadata.name";
    let arguments = ["get", "tenantschemas", "-A", "--no-headers", "-o", columns, "--field-selector", selector];
    let printed = world.kubectl(&arguments);
    let rows = printed.lines().filter_map(|row| row.strip_prefix(&world.namespace)?.strip_prefix(' '));
    rows.map(|name| name.trim().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flux_and_argo_cd_see_what_is_the_case() {
    let Some(health) = health() else { return };
    let mut world = World::without_operator(json!({})).await;
    let (databases, tenants, backups) = (world.databases(), world.api::<TenantSchema>(), world.api::<SchemaBackup>());
    let database = world.database_ref();
    let mut album = Album::default();
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.apply_backup("copy", json!({ "tenantSchemaRef": { "name": "school" } })).await;
    album.take(&databases, &database, "InProgress", "Progressing").await;
    album.take(&tenants, "school", "InProgress", "Progressing").await;
    album.take(&backups, "copy", "InProgress", "Progressing").await;

    world.start_operator().await;
    world.ready_tenant("school").await;
    world.until_ready(&backups, "copy", "True", "Completed").await;
    album.take(&databases, &database, "Current", "Healthy").await;
    album.take(&tenants, "school", "Current", "Healthy").await;
    album.take(&backups, "copy", "Current", "Healthy").await;

    world.apply_tenant("paused", json!({ "schemaName": "paused", "access": "Suspended" })).await;
    world.until_ready(&tenants, "paused", "True", "Suspended").await;
    album.take(&tenants, "paused", "Current", "Healthy").await;
    world.apply_tenant("waiting", json!({ "databaseRef": { "name": "nowhere" } })).await;
    world.until_ready(&tenants, "waiting", "False", "DatabaseNotFound").await;
    album.take(&tenants, "waiting", "InProgress", "Progressing").await;
    world.apply_tenant("loser", json!({ "schemaName": "school" })).await;
    world.stalled_tenant("loser", "Conflict").await;
    album.take(&tenants, "loser", "Failed", "Degraded").await;
    assert_eq!(found(&world), ["loser"], "the page's selector finds what waits for a person");
    world.sql("CREATE TABLE school.strange ()");
    world.apply_backup("failed", json!({ "tenantSchemaRef": { "name": "school" } })).await;
    world.until_ready(&backups, "failed", "False", "Failed").await;
    album.take(&backups, "failed", "Failed", "Degraded").await;
    world.apply_tenant("going", json!({ "schemaName": "going", "deletionPolicy": "Drop" })).await;
    world.ready_tenant("going").await;
    tenants.delete("going", &DeleteParams::default()).await.unwrap();
    world.stalled_tenant("going", "DropNotConfirmed").await;
    // Argo CD never asks the script about an object that is being deleted: it says Progressing by itself.
    album.take(&tenants, "going", "Terminating", "Degraded").await;

    let other = format!("{database}-other");
    world.apply_other_database(&other, json!({ "connection": { "secretRef": { "name": "nowhere" } } })).await;
    world.until_ready(&databases, &other, "False", "SecretNotFound").await;
    album.take(&databases, &other, "Failed", "Degraded").await;
    world.kubectl(&["delete", "tenantdatabase", &other]);

    // Ready of the generation before, in words of before.
    world.stop_operator().await;
    world.apply_tenant("school", json!({ "schemaName": "school", "config": { "a": 1 } })).await;
    album.take(&tenants, "school", "InProgress", "Progressing").await;
    world.start_operator().await;
    world.settled_tenant("school").await;

    let script = script(&world);
    let mut child =
        Command::new(health).arg(script.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let objects: Vec<_> = album.0.iter().map(|(.., object)| object).collect();
    serde_json::to_writer(child.stdin.take().unwrap(), &objects).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let verdicts: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(verdicts.len(), album.0.len());
    for (verdict, (name, kstatus, argo, object)) in verdicts.iter().zip(&album.0) {
        let said = [&verdict["kstatus"], &verdict["argo"]];
        assert_eq!(said, [*kstatus, *argo], "{name}: {verdict} of {}", object["status"]);
    }
    let stuck = verdicts.iter().find(|verdict| verdict["argo"] == "Degraded").unwrap();
    assert!(stuck["message"].as_str().unwrap().starts_with("Conflict: schema school belongs to"), "{stuck}");
    world.finish().await;
}
