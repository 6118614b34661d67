//! What the chart makes of its values.

use std::fs;

use serde_json::{Value, json};

use super::{
    helm::{Helm, documents, file},
    stage::Namespaces,
};

/// Everything on, in `own`, for tenants of `watched`.
pub fn everything(watched: &str, secrets: &str) -> Value {
    let mut values = json!({
        "commonLabels": { "cost": "12", "app.kubernetes.io/part-of": "schools" }, "commonAnnotations": { "owner": "db" },
        "podSecurityContext": { "runAsUser": 1000 }, "containerSecurityContext": { "runAsGroup": 1000 },
        "extraArgs": ["--concurrency=8"], "volumes": [{ "name": "ca", "configMap": { "name": "ca" } }],
        "volumeMounts": [{ "name": "ca", "mountPath": "/etc/ssl/certs", "readOnly": true }],
        "hostAliases": [{ "ip": "10.0.0.1", "hostnames": ["db.example"] }], "dnsPolicy": "None",
        "dnsConfig": { "nameservers": ["10.0.0.2"] }, "strategy": { "type": "Recreate" }, "revisionHistoryLimit": 2,
        "deploymentAnnotations": { "a": "b" }, "service": { "labels": { "c": "d" }, "annotations": { "e": "f" } },
        "replicas": 2, "watchNamespaces": [watched], "watchSelector": "tier=test",
        "connectionSecrets": { secrets: ["tenants-app"] }, "imagePullSecrets": [{ "name": "registry" }],
        "database": { "create": true, "secretNamespace": secrets, "labels": { "tier": "test" },
            "spec": { "limits": { "maxQuota": "100Gi" } } },
        "log": { "format": "text" }, "extraEnv": [{ "name": "HTTPS_PROXY", "value": "http://proxy" }],
        "serviceAccount": { "labels": { "c": "d" }, "annotations": { "a": "b" } },
        "podAnnotations": { "a": "b" }, "podLabels": { "team": "platform" }, "nodeSelector": { "disk": "ssd" },
        "tolerations": [{ "key": "spot", "operator": "Exists" }], "priorityClassName": "high",
        "affinity": { "nodeAffinity": {} },
        "topologySpreadConstraints":
            [{ "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway" }],
        "serviceMonitor": { "enabled": true, "labels": { "release": "prometheus" }, "scrapeTimeout": "5s",
            "namespace": secrets, "relabelings": [{ "targetLabel": "stage", "replacement": "test" }],
            "metricRelabelings": [{ "action": "labeldrop", "regex": "pod" }] },
        "prometheusRule": { "enabled": true, "labels": { "release": "prometheus" }, "namespace": secrets },
        "dashboard": { "enabled": true, "annotations": { "grafana_folder": "PostgreSQL" }, "namespace": secrets },
        "networkPolicy": { "enabled": true, "metricsFrom": [{ "namespaceSelector": {} }], "storePorts": [443, 9000] },
    });
    // One literal with it would be too long for the macro.
    values["finalizerPolicy"] = json!({ "enabled": true });
    values["credentials"] = json!({ "namespaces": [watched, secrets] });
    values
}

/// Values that people use, each in another way.
pub fn variants(watched: &str, secrets: &str) -> [Value; 4] {
    [
        json!({}),
        everything(watched, secrets),
        json!({ "fullnameOverride": "operator", "image": { "digest": format!("sha256:{}", "0".repeat(64)) },
            "crds": { "keep": false }, "uninstallCheck": { "enabled": false }, "credentials": { "enabled": false } }),
        json!({ "crds": { "install": false }, "rbac": { "create": false, "userRoles": false },
            "serviceAccount": { "create": false, "name": "made-before" }, "replicas": 3 }),
    ]
}

/// What of `ServiceMonitor` the chart uses, so that the API server knows the kind.
const SERVICE_MONITOR: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: servicemonitors.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  names: {kind: ServiceMonitor, plural: servicemonitors}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              namespaceSelector: {type: object, properties: {matchNames: {type: array, items: {type: string}}}}
              selector: {type: object, properties: {matchLabels: {type: object, additionalProperties: {type: string}}}}
              endpoints:
                type: array
                items:
                  type: object
                  properties:
                    port: {type: string}
                    path: {type: string}
                    interval: {type: string}
                    scrapeTimeout: {type: string}
                    relabelings: &relabelings
                      type: array
                      items:
                        type: object
                        properties:
                          action: {type: string}
                          regex: {type: string}
                          targetLabel: {type: string}
                          replacement: {type: string}
                    metricRelabelings: *relabelings
                    honorLabels: {type: boolean}
";

/// The same of `PrometheusRule`.
const PROMETHEUS_RULE: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: prometheusrules.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  names: {kind: PrometheusRule, plural: prometheusrules}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              groups:
                type: array
                items:
                  type: object
                  properties:
                    name: {type: string}
                    rules:
                      type: array
                      items:
                        type: object
                        properties:
                          alert: {type: string}
                          expr: {type: string}
                          for: {type: string}
                          labels: {type: object, additionalProperties: {type: string}}
                          annotations: {type: object, additionalProperties: {type: string}}
";

#[test]
fn lint_finds_nothing() {
    let Some(helm) = Helm::offline() else { return };
    for values in variants("team-a", "databases") {
        // What would need the kinds of a cluster is not rendered here.
        let mut values = values;
        values["database"]["create"] = json!(false);
        helm.render(&["lint", "--strict"], &values).unwrap_or_else(|error| panic!("{values}: {error}"));
    }
}

#[test]
fn the_api_server_takes_every_object() {
    let shared = devcluster::shared().unwrap();
    let plane = shared.control_plane();
    let Some(helm) = Helm::find(shared.kubeconfig_path()) else { return };
    let namespaces = Namespaces::new(plane, "render");
    for kind in [SERVICE_MONITOR, PROMETHEUS_RULE] {
        let kind = file(&documents(kind)[0]);
        plane.kubectl(&["apply", "--server-side", "-f", kind.path().to_str().unwrap()]).unwrap();
    }
    plane.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "crds/"]).unwrap();
    plane.kubectl(&["wait", devcluster::ESTABLISHED, "crd", "--all", "--timeout=60s"]).unwrap();
    for values in variants(&namespaces.tenants, &namespaces.databases) {
        let objects = helm.objects(&namespaces.own, &values);
        // A dry run makes no account, and a pod is refused without.
        let pod = objects.iter().find(|object| object["kind"] == "Pod").unwrap();
        let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": { "name": pod["spec"]["serviceAccountName"], "namespace": namespaces.own } });
        plane.kubectl(&["apply", "--server-side", "-f", file(&account).path().to_str().unwrap()]).unwrap();
        let list = file(&json!({ "apiVersion": "v1", "kind": "List", "items": objects }));
        let arguments = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f"];
        let printed = plane.kubectl(&[&arguments[..], &[list.path().to_str().unwrap()]].concat());
        let printed = printed.unwrap_or_else(|error| panic!("{values}: {error}"));
        assert_eq!(printed.lines().count(), objects.len(), "{printed}");
    }
}

#[test]
fn the_definitions_of_the_kinds_are_those_of_the_repository() {
    let Some(helm) = Helm::offline() else { return };
    let rendered = helm.objects("own", &json!({}));
    let mut found = 0;
    for mut crd in rendered.into_iter().filter(|object| object["kind"] == "CustomResourceDefinition") {
        let plural = crd["spec"]["names"]["plural"].as_str().unwrap().to_owned();
        let shipped: Value =
            serde_saphyr::from_str(&fs::read_to_string(format!("crds/{plural}.yaml")).unwrap()).unwrap();
        let metadata = crd["metadata"].as_object_mut().unwrap();
        let annotations = metadata.remove("annotations").unwrap();
        assert_eq!(annotations, json!({ "helm.sh/resource-policy": "keep" }));
        assert_eq!(metadata.remove("labels").unwrap()["app.kubernetes.io/managed-by"], "Helm");
        assert_eq!(crd, shipped);
        found += 1;
    }
    assert_eq!(found, fs::read_dir("crds").unwrap().count());
}

#[test]
fn definitions_are_left_out_or_go_with_the_release_when_that_is_asked_for() {
    let Some(helm) = Helm::offline() else { return };
    let crds = |values: Value| {
        let objects = helm.objects("own", &values).into_iter();
        objects.filter(|object| object["kind"] == "CustomResourceDefinition").collect::<Vec<_>>()
    };
    assert!(crds(json!({ "crds": { "install": false } })).is_empty());
    let going = crds(json!({ "crds": { "keep": false } }));
    assert!(!going.is_empty() && going.iter().all(|crd| crd["metadata"].get("annotations").is_none()));
}

#[test]
fn wrong_values_are_refused_with_their_place() {
    let Some(helm) = Helm::offline() else { return };
    let cases = [
        (json!({ "replica": 2 }), "additional properties 'replica' not allowed"),
        (json!({ "replicas": "2" }), "/replicas"),
        (json!({ "replicas": -1 }), "/replicas"),
        (json!({ "image": { "tags": "1" } }), "additional properties 'tags' not allowed"),
        (json!({ "image": { "digest": "latest" } }), "/image/digest"),
        (json!({ "image": { "pullPolicy": "Sometimes" } }), "/image/pullPolicy"),
        (json!({ "crds": { "keep": "yes" } }), "/crds/keep"),
        (json!({ "watchNamespaces": "team-a" }), "/watchNamespaces"),
        (json!({ "watchNamespaces": ["Team A"] }), "/watchNamespaces/0"),
        (json!({ "watchNamespaces": ["a", "a"] }), "/watchNamespaces"),
        (json!({ "connectionSecrets": { "databases": [] } }), "/connectionSecrets/databases"),
        (json!({ "connectionSecrets": { "databases": ["*"] } }), "/connectionSecrets/databases/0"),
        (json!({ "credentials": { "namespaces": ["a", "a"] } }), "/credentials/namespaces"),
        (json!({ "credentials": { "namespaces": ["Team A"] } }), "/credentials/namespaces/0"),
        (json!({ "credentials": { "enable": false } }), "additional properties 'enable' not allowed"),
        (json!({ "concurrency": 0 }), "/concurrency"),
        (json!({ "concurrency": 257 }), "/concurrency"),
        (json!({ "log": { "format": "xml" } }), "/log/format"),
        (json!({ "serviceMonitor": { "interval": "soon" } }), "/serviceMonitor/interval"),
        (json!({ "commonLabels": { "cost": 12 } }), "/commonLabels/cost"),
        (json!({ "extraArgs": ["concurrency"] }), "/extraArgs/0"),
        (json!({ "dnsPolicy": "Never" }), "/dnsPolicy"),
        (json!({ "volumeMounts": [{ "name": "ca" }] }), "missing property 'mountPath'"),
        (json!({ "database": { "spec": { "limts": {} } } }), "additional properties 'limts' not allowed"),
        (json!({ "database": { "spec": { "limits": { "maxQuota": 5 } } } }), "/database/spec/limits/maxQuota"),
        (
            json!({ "database": { "spec": { "connection": { "secretRef": { "name": "a" } } } } }),
            "'secretRef' not allowed",
        ),
        (json!({ "networkPolicy": { "postgresPorts": [0] } }), "/networkPolicy/postgresPorts/0"),
        (json!({ "serviceAccount": { "create": false } }), "serviceAccount.name is needed"),
        (json!({ "finalizerPolicy": { "enabled": true } }), "(Kubernetes 1.36 or newer)"),
        (json!({ "crds": { "keep": false }, "watchNamespaces": ["a"] }), "crds.keep must be true"),
        (json!({ "crds": { "keep": false }, "watchSelector": "a=b" }), "crds.keep must be true"),
        (
            json!({ "database": { "create": true } }),
            "helm upgrade tso <chart> --namespace own --reset-then-reuse-values",
        ),
    ];
    for (values, words) in cases {
        let error = helm.render(&["template", "tso", "--namespace", "own"], &values).expect_err(&values.to_string());
        assert!(error.contains(words), "{values}: {error}");
    }
}

#[test]
fn check_and_test_are_no_replicas_of_the_operator() {
    let Some(helm) = Helm::offline() else { return };
    let objects = helm.objects("own", &everything("team-a", "databases"));
    let of_kind = |kind: &str| objects.iter().find(|object| object["kind"] == kind).expect(kind);
    let labels = |object: &Value| object["spec"]["template"]["metadata"]["labels"].clone();
    let selects = |selector: &Value, labels: &Value| {
        selector.as_object().unwrap().iter().all(|(key, value)| labels.get(key) == Some(value))
    };
    let (operator, check) = (labels(of_kind("Deployment")), labels(of_kind("Job")));
    let test = &of_kind("Pod")["metadata"]["labels"];
    let selectors = [
        &of_kind("Deployment")["spec"]["selector"]["matchLabels"],
        &of_kind("Service")["spec"]["selector"],
        &of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ];
    for selector in selectors {
        assert!(selects(selector, &operator), "{selector}");
        assert!(!selects(selector, &check) && !selects(selector, test), "{selector}");
    }
    let all = &of_kind("NetworkPolicy")["spec"]["podSelector"]["matchLabels"];
    assert!([&operator, &check, test].into_iter().all(|pod| selects(all, pod)), "all reach the API server");
    assert!(selects(
        &of_kind("ServiceMonitor")["spec"]["selector"]["matchLabels"],
        &of_kind("Service")["metadata"]["labels"]
    ));
}
