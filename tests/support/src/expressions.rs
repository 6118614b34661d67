//! Every expression that the chart and the documents hand to Prometheus.

use crate::repository;
use std::fs;

use serde_json::Value;

/// The alerts as a rules file.
pub const ALERTS: &str = "charts/tenant-schema-operator/files/alerts.yaml";
const DASHBOARD: &str = "charts/tenant-schema-operator/files/dashboard.json";

/// One expression for Prometheus.
pub struct Found {
    /// The expression, with what Grafana would put for its variables.
    pub expression: String,
    /// What a panel's legend is made of.
    #[allow(dead_code, reason = "what the labels are is known to the test with a running operator")]
    pub legend: String,
}

fn read(file: &str) -> String {
    fs::read_to_string(repository().join(file)).unwrap()
}

/// The alerts of the chart.
pub fn alerts() -> Vec<Value> {
    let file: Value = serde_saphyr::from_str(&read(ALERTS)).unwrap();
    let groups = file["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

/// All of them.
pub fn expressions() -> Vec<Found> {
    let plain = |expression: &str| Found { expression: expression.to_owned(), legend: String::new() };
    let mut found: Vec<_> = alerts().iter().map(|alert| plain(alert["expr"].as_str().unwrap())).collect();
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let text = |value: &Value| {
        value.as_str().unwrap().replace("$__rate_interval", "5m").replace("$job", "any").replace("$database", ".*")
    };
    for target in
        dashboard["panels"].as_array().unwrap().iter().filter_map(|panel| panel["targets"].as_array()).flatten()
    {
        found.push(Found { expression: text(&target["expr"]), legend: text(&target["legendFormat"]) });
    }
    for variable in dashboard["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|variable| variable["definition"].as_str())
    {
        let (expression, label) =
            variable.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap().rsplit_once(", ").unwrap();
        found.push(Found { expression: expression.replace("$job", "any"), legend: format!("{{{{{label}}}}}") });
    }
    let operations = read("docs/operations.md");
    found.extend(operations.split("```promql\n").skip(1).map(|rest| plain(rest.split("```").next().unwrap())));
    found
}
