//! Where values end up.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};
use support::tools::finalizer_policy::API_VERSION;

use super::{helm::Helm, rendering::everything};

/// The objects of one kind that everything makes.
fn of_kind<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    objects.iter().find(|object| object["kind"] == kind).expect(kind)
}

/// The descriptions of pods: those of workloads, and the pod itself.
fn pods(objects: &[Value]) -> Vec<&Value> {
    let template = |object: &'static str| &of_kind(objects, object)["spec"]["template"];
    vec![template("Deployment"), template("Job"), of_kind(objects, "Pod")]
}

#[test]
fn every_object_and_every_pod_has_the_common_labels_and_annotations() {
    let Some(helm) = Helm::offline() else { return };
    let mut values = everything("team-a", "databases");
    values["commonLabels"]["app.kubernetes.io/name"] = json!("taken");
    values["commonAnnotations"]["helm.sh/resource-policy"] = json!("taken");
    let objects = helm.objects("own", &values);
    assert!(objects.len() > 15, "everything is rendered");
    for object in objects.iter().chain(pods(&objects)) {
        let (labels, annotations) = (&object["metadata"]["labels"], &object["metadata"]["annotations"]);
        assert_eq!(labels["cost"], "12", "{object}");
        assert_eq!(annotations["owner"], "db", "{object}");
        // What the chart itself needs is not taken away.
        assert_eq!(labels["app.kubernetes.io/name"], "tenant-schema-operator", "{object}");
        if ["CustomResourceDefinition", "TenantDatabase"].map(Value::from).contains(&object["kind"]) {
            assert_eq!(annotations["helm.sh/resource-policy"], "keep", "{object}");
        }
    }
}

#[test]
fn every_value_reaches_its_field() {
    let Some(helm) = Helm::offline() else { return };
    let objects = helm.objects("own", &everything("team-a", "databases"));
    let cases = [
        ("Deployment", "/spec/strategy", json!({ "type": "Recreate" })),
        ("Deployment", "/spec/revisionHistoryLimit", json!(2)),
        ("Deployment", "/metadata/annotations/a", json!("b")),
        ("Deployment", "/spec/template/metadata/labels/team", json!("platform")),
        ("Deployment", "/spec/template/spec/containers/0/args", json!(["run", "--concurrency=8"])),
        ("Deployment", "/spec/template/spec/priorityClassName", json!("high")),
        (
            "Job",
            "/spec/template/spec/containers/0/args",
            json!(["uninstall-check", "--finalizer-policy=tso-tenant-schema-operator-finalizer"]),
        ),
        (
            "MutatingAdmissionPolicy",
            "/spec/matchConstraints/namespaceSelector/matchExpressions/0/values",
            json!(["team-a"]),
        ),
        ("MutatingAdmissionPolicy", "/spec/matchConstraints/objectSelector/matchExpressions/0/key", json!("tier")),
        (
            "ValidatingAdmissionPolicy",
            "/spec/matchConditions/0/expression",
            json!(r#"request.userInfo.username == "system:serviceaccount:own:tso-tenant-schema-operator""#),
        ),
        ("Pod", "/spec/containers/0/args", json!(["check-connection", "default"])),
        ("Pod", "/metadata/annotations/helm.sh~1hook", json!("test")),
        ("Pod", "/metadata/labels/team", json!("platform")),
        ("Service", "/metadata/labels/c", json!("d")),
        ("Service", "/metadata/annotations/e", json!("f")),
        ("ServiceAccount", "/metadata/labels/c", json!("d")),
        ("ServiceAccount", "/metadata/annotations/a", json!("b")),
        ("ServiceMonitor", "/metadata/namespace", json!("databases")),
        ("ServiceMonitor", "/spec/namespaceSelector/matchNames", json!(["own"])),
        ("ServiceMonitor", "/spec/endpoints/0/scrapeTimeout", json!("5s")),
        ("ServiceMonitor", "/spec/endpoints/0/relabelings/0/targetLabel", json!("stage")),
        ("ServiceMonitor", "/spec/endpoints/0/metricRelabelings/0/action", json!("labeldrop")),
        ("PrometheusRule", "/metadata/namespace", json!("databases")),
        ("ConfigMap", "/metadata/namespace", json!("databases")),
        ("ConfigMap", "/metadata/annotations/grafana_folder", json!("PostgreSQL")),
        ("NetworkPolicy", "/spec/egress/0/ports/2/port", json!(443)),
        ("NetworkPolicy", "/spec/egress/0/ports/5/port", json!(9000)),
        ("TenantDatabase", "/metadata/labels/tier", json!("test")),
        ("TenantDatabase", "/spec/limits/maxQuota", json!("100Gi")),
    ];
    for (kind, path, expected) in cases {
        assert_eq!(of_kind(&objects, kind).pointer(path), Some(&expected), "{kind} {path}");
    }
    // The pods of the check and of the test find the API server, the database and a node as the operator does.
    for pod in pods(&objects) {
        let (spec, container) = (&pod["spec"], &pod["spec"]["containers"][0]);
        assert_eq!(spec["serviceAccountName"], "tso-tenant-schema-operator");
        assert_eq!(spec["hostAliases"][0]["ip"], "10.0.0.1");
        assert_eq!(spec["dnsPolicy"], "None");
        assert_eq!(spec["dnsConfig"]["nameservers"], json!(["10.0.0.2"]));
        assert_eq!(spec["volumes"][0]["name"], container["volumeMounts"][0]["name"]);
        assert_eq!(spec["nodeSelector"]["disk"], "ssd");
        let names: Vec<_> = container["env"].as_array().unwrap().iter().map(|variable| &variable["name"]).collect();
        assert!(names.contains(&&json!("TSO_NAMESPACE")) && names.contains(&&json!("HTTPS_PROXY")), "{names:?}");
    }
}

#[test]
fn a_folder_for_archives_is_mounted_as_the_page_says() {
    let Some(helm) = Helm::offline() else { return };
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/archives.md")).unwrap();
    let mut blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let block = blocks.find(|block| block.contains("--file-store-root")).unwrap();
    let values: Value = serde_saphyr::from_str(block).unwrap();
    let objects = helm.objects("own", &values);
    let spec = &of_kind(&objects, "Deployment")["spec"]["template"]["spec"];
    let container = &spec["containers"][0];
    assert_eq!(container["args"], json!(["run", "--file-store-root=/archives"]));
    assert_eq!((&spec["volumes"], &container["volumeMounts"]), (&values["volumes"], &values["volumeMounts"]));
    // A volume is written by its group, since the user owns no files.
    assert_eq!(spec["securityContext"]["fsGroup"], json!(65532));
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], json!(true));
}

#[test]
fn pods_stay_restricted_but_for_the_field_that_is_set() {
    let Some(helm) = Helm::offline() else { return };
    let contexts = |values: &Value| {
        let objects = helm.objects("own", values);
        let contexts = ["Deployment", "Job"].map(|kind| {
            let spec = &of_kind(&objects, kind)["spec"]["template"]["spec"];
            [spec["securityContext"].clone(), spec["containers"][0]["securityContext"].clone()]
        });
        assert_eq!(contexts[0], contexts[1]);
        contexts[0].clone()
    };
    let mut pod = json!({ "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } });
    let mut container = json!({ "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
        "capabilities": { "drop": ["ALL"] } });
    assert_eq!(contexts(&json!({})), [pod.clone(), container.clone()]);
    let values = json!({ "podSecurityContext": { "runAsUser": 1000, "runAsNonRoot": false },
        "containerSecurityContext": { "readOnlyRootFilesystem": false } });
    pod["runAsUser"] = json!(1000);
    pod["runAsNonRoot"] = json!(false);
    container["readOnlyRootFilesystem"] = json!(false);
    assert_eq!(contexts(&values), [pod, container]);
}

#[test]
fn a_selector_as_it_is_typed_is_what_the_policy_selects() {
    let Some(helm) = Helm::offline() else { return };
    let check = |typed: &str, expected: Value| {
        let objects = helm.objects("own", &json!({ "watchSelector": typed, "finalizerPolicy": { "enabled": true } }));
        let found = &of_kind(&objects, "MutatingAdmissionPolicy")["spec"]["matchConstraints"]["objectSelector"];
        assert_eq!(found["matchExpressions"], expected, "{typed}");
    };
    let is = |key: &str, operator: &str, values: &[&str]| json!({ "key": key, "operator": operator, "values": values });
    check("team=a", json!([is("team", "In", &["a"])]));
    check("team==a, tier != test", json!([is("team", "In", &["a"]), is("tier", "NotIn", &["test"])]));
    check(
        "example.org/team in (a,b),tier notin (test, trial)",
        json!([is("example.org/team", "In", &["a", "b"]), is("tier", "NotIn", &["test", "trial"])]),
    );
    check(
        "team,!old, inn",
        json!([{ "key": "team", "operator": "Exists" }, { "key": "old", "operator": "DoesNotExist" },
            { "key": "inn", "operator": "Exists" }]),
    );
    check("empty=", json!([is("empty", "In", &[""])]));
    check(" a\tin (x,\ty ) , b ", json!([is("a", "In", &["x", "y"]), { "key": "b", "operator": "Exists" }]));
    for (mut values, words) in [
        (json!({ "watchSelector": "team=a,age>3" }), "watchSelector has \"age>3\", which no policy can say"),
        (json!({ "extraArgs": ["--watch-selector=a"] }), "extraArgs has --watch-selector=a"),
        (
            json!({ "extraEnv": [{ "name": "TSO_WATCH_NAMESPACES", "value": "a" }] }),
            "extraEnv has TSO_WATCH_NAMESPACES",
        ),
    ] {
        values["finalizerPolicy"] = json!({ "enabled": true });
        let error = helm.render(&["template", "tso", "--api-versions", API_VERSION], &values).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn the_policy_on_secrets_is_there_whenever_the_operator_may_write_them() {
    let Some(helm) = Helm::offline() else { return };
    let policies = |own: &str, values: Value| {
        let of_secrets = |object: &Value| object["kind"].as_str().unwrap().starts_with("ValidatingAdmissionPolicy");
        helm.objects(own, &values).into_iter().filter(of_secrets).collect::<Vec<_>>()
    };
    assert!(policies("own", json!({ "credentials": { "enabled": false } })).is_empty());
    // An administrator who makes the rights by hand needs it as much.
    let by_hand = json!({ "rbac": { "create": false }, "serviceAccount": { "create": false, "name": "made-before" } });
    let mut names = BTreeSet::new();
    for (own, values, account) in [
        ("own", json!({}), "own:tso-tenant-schema-operator"),
        ("other", json!({}), "other:tso-tenant-schema-operator"),
        ("own", json!({ "fullnameOverride": "operator", "serviceAccount": { "name": "named" } }), "own:named"),
        ("third", by_hand, "third:made-before"),
    ] {
        let found = policies(own, values);
        let [policy, binding] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(policy["spec"]["failurePolicy"], "Fail");
        let whom = format!("request.userInfo.username == \"system:serviceaccount:{account}\"");
        assert_eq!(policy["spec"]["matchConditions"][0]["expression"], whom);
        assert_eq!(binding["spec"], json!({ "policyName": policy["metadata"]["name"], "validationActions": ["Deny"] }));
        names.insert(policy["metadata"]["name"].as_str().unwrap().to_owned());
    }
    assert_eq!(names.len(), 4, "each release has its own: {names:?}");
}
