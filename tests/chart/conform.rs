//! Manifests without a cluster: kubeconform, with the schemas of this API server and of `crds/`. It knows what a field may be
//! and finds fields that there are not; the rules that go beyond that are for the tests that apply.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use super::{helm::Helm, rendering::variants};

/// Fields that there are not are errors, as with `kubectl --validate=strict`; a size may be written as a number.
fn strict(schema: &mut Value) {
    if schema["x-kubernetes-int-or-string"] == true || schema["format"] == "int-or-string" {
        *schema = json!({ "type": ["integer", "string"] });
    }
    match schema {
        Value::Object(map) => {
            if map.get("properties").is_some_and(Value::is_object) && !map.contains_key("additionalProperties") {
                map.insert("additionalProperties".to_owned(), json!(false));
            }
            map.values_mut().for_each(strict);
        }
        Value::Array(items) => items.iter_mut().for_each(strict),
        _ => {}
    }
}

/// A file for each kind.
fn write_schemas(into: &Path, openapi: &str) {
    let mut all: Value = serde_json::from_str(openapi).unwrap();
    let mut definitions = all["definitions"].take();
    strict(&mut definitions);
    definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"] = json!({ "type": ["number", "string"] });
    let write = |kind: &str, schema: &Value| fs::write(into.join(format!("{kind}.json")), schema.to_string()).unwrap();
    for (name, definition) in definitions.as_object().unwrap() {
        for of in definition["x-kubernetes-group-version-kind"].as_array().into_iter().flatten() {
            let (group, version, kind) = (of["group"].as_str().unwrap(), &of["version"], of["kind"].as_str().unwrap());
            let suffix = [group.split('.').next().unwrap(), version.as_str().unwrap()].join("-");
            let file = format!("{}-{}", kind.to_lowercase(), suffix.trim_start_matches('-'));
            write(&file, &json!({ "$ref": format!("definitions.json#/definitions/{name}") }));
        }
    }
    write("definitions", &json!({ "definitions": definitions }));
    for crd in fs::read_dir("crds").unwrap() {
        let crd: Value = serde_saphyr::from_str(&fs::read_to_string(crd.unwrap().path()).unwrap()).unwrap();
        let version = &crd["spec"]["versions"][0];
        let mut schema = version["schema"]["openAPIV3Schema"].clone();
        for key in ["apiVersion", "kind", "metadata"] {
            schema["properties"][key] = json!({});
        }
        strict(&mut schema);
        let kind = crd["spec"]["names"]["singular"].as_str().unwrap();
        write(&format!("{kind}-edumatrixhub-{}", version["name"].as_str().unwrap()), &schema);
    }
}

#[test]
fn chart_and_examples_conform() {
    let plane = devcluster::shared().unwrap().control_plane();
    let Some(helm) = Helm::offline() else { return };
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/kubeconform");
    let Some(kubeconform) =
        devcluster::go_tool(&module, "kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform").unwrap()
    else {
        eprintln!("skipped: go is not installed");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    write_schemas(folder.path(), &plane.kubectl(&["get", "--raw", "/openapi/v2"]).unwrap());
    let location = format!("{}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", folder.path().display());
    let conforms = |files: &[&str]| {
        // Their schemas are of others, and are not here.
        let skip = "CustomResourceDefinition,PrometheusRule,ServiceMonitor,Cluster";
        let arguments = ["-strict", "-summary", "-skip", skip, "-schema-location", &location];
        let output = Command::new(&kubeconform).args(arguments).args(files).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let rendered = folder.path().join("rendered.yaml");
    for values in variants("team-a", "databases") {
        let items = helm.objects("own", &values);
        let text: Vec<_> = items.iter().map(Value::to_string).collect();
        fs::write(&rendered, text.join("\n---\n")).unwrap();
        let (conform, said) = conforms(&[rendered.to_str().unwrap()]);
        assert!(conform, "{values}: {said}");
    }
    let examples = fs::read_dir("examples").unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = examples.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    files.extend(["cluster", "database"].map(|name| format!("examples/cloudnativepg/{name}.yaml").into()));
    let applications =
        ["tenant", "psql", "migrations", "django/deployment", "go-pgx/deployment", "node-prisma/deployment"];
    let applications = applications.iter().chain(&["rust-sqlx/deployment", "spring/deployment"]);
    files.extend(applications.map(|name| format!("examples/applications/{name}.yaml").into()));
    let files: Vec<_> = files.iter().map(|path| path.to_str().unwrap()).collect();
    let (conform, said) = conforms(&files);
    assert!(conform, "{said}");

    // It does find things.
    for wrong in [
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "a" }, "spec": { "port": 1 } }),
        json!({ "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantSchema", "metadata": { "name": "a" },
            "spec": { "quota": { "limits": "1Gi" } } }),
    ] {
        fs::write(&rendered, wrong.to_string()).unwrap();
        let (conform, said) = conforms(&[rendered.to_str().unwrap()]);
        assert!(!conform && said.contains("additional properties"), "{said}");
    }
}
