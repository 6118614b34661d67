//! What the chart gives to Prometheus and Grafana.

use std::fs;

use serde_json::{Value, json};

use super::helm::{Helm, chart};

fn file(name: &str) -> String {
    fs::read_to_string(chart().join("files").join(name)).unwrap()
}

#[test]
fn alerts_and_dashboard_are_the_files() {
    let Some(helm) = Helm::offline() else { return };
    let kinds = |values: &Value, kind: &str| {
        let objects = helm.objects("own", values).into_iter();
        objects.filter(|object| object["kind"] == kind).collect::<Vec<_>>()
    };
    let off = json!({});
    assert!(kinds(&off, "PrometheusRule").is_empty() && kinds(&off, "ConfigMap").is_empty());
    let on = json!({ "fullnameOverride": "operator",
        "prometheusRule": { "enabled": true, "labels": { "release": "prometheus" } }, "dashboard": { "enabled": true } });

    // Its service is what the series have as `job`.
    assert_eq!(kinds(&on, "Service")[0]["metadata"]["name"], "operator");
    let rule = &kinds(&on, "PrometheusRule")[0];
    assert_eq!(rule["metadata"]["labels"]["release"], "prometheus");
    let alerts = file("alerts.yaml").replace("{job=\"tenant-schema-operator\"}", "{job=\"operator\"}");
    assert!(alerts.contains("{job=\"operator\"}"));
    assert_eq!(rule["spec"], serde_saphyr::from_str::<Value>(&alerts).unwrap());

    let mut other = on.clone();
    let own = json!({ "alert": "TenantQuotaNearlyUsed", "expr": "vector(1)" });
    other["prometheusRule"]["disabled"] = json!(["TenantQuotaNearlyUsed"]);
    other["prometheusRule"]["additionalRules"] = json!([own]);
    let rules = |values: &Value| {
        let rule = kinds(values, "PrometheusRule").remove(0);
        rule["spec"]["groups"][0]["rules"].as_array().unwrap().clone()
    };
    let (all, changed) = (rules(&on), rules(&other));
    assert_eq!(changed.last(), Some(&own));
    assert_eq!(changed.len(), all.len());
    assert_eq!(changed.iter().filter(|rule| rule["alert"] == own["alert"]).count(), 1);
    other["prometheusRule"]["disabled"] = json!(["TenantQuotaNerlyUsed"]);
    let refusal = helm.render(&["template", "tso"], &other).unwrap_err();
    assert!(refusal.contains("the alerts are: TenantOperatorDown"), "{refusal}");

    let dashboard = &kinds(&on, "ConfigMap")[0];
    assert_eq!(dashboard["metadata"]["labels"]["grafana_dashboard"], "1");
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let shown = dashboard["data"]["tenant-schema-operator.json"].as_str().unwrap();
    assert_eq!(json(shown), json(&file("dashboard.json")));
}
