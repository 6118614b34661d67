//! What alerts, dashboard and documents ask Prometheus for is what the operator shows.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use crate::expressions::{Found, expressions};

/// Labels that Prometheus itself gives to what it reads.
const OF_THE_TARGET: [&str; 1] = ["job"];

/// The series of a text exposition: by name, the values of each label.
fn shown(text: &str) -> BTreeMap<&str, BTreeMap<&str, BTreeSet<&str>>> {
    let label = Regex::new(r#"(\w+)="([^"]*)""#).unwrap();
    let mut shown: BTreeMap<_, BTreeMap<_, BTreeSet<_>>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let labels = shown.entry(name).or_default();
        for found in label.captures_iter(line) {
            let [key, value] = found.extract().1;
            labels.entry(key).or_default().insert(value);
        }
    }
    shown
}

/// Every metric, label and value that is asked for and not there.
fn unknown(text: &str, Found { expression, legend }: &Found) -> Vec<String> {
    let shown = shown(text);
    let mut unknown = Vec::new();
    let mut labels: BTreeSet<&str> = OF_THE_TARGET.into();
    let selector = Regex::new(r"(tenant_schema_operator_\w+)(?:\{([^}]*)\})?").unwrap();
    let matcher = Regex::new(r#"(\w+)(=~|!~|!=|=)"([^"]*)""#).unwrap();
    for selector in selector.captures_iter(expression) {
        let name = selector.get(1).unwrap().as_str();
        let Some(series) = shown.get(name) else {
            unknown.push(name.to_owned());
            continue;
        };
        labels.extend(series.keys());
        let matchers = selector.get(2).map_or("", |matchers| matchers.as_str());
        for matcher in matcher.captures_iter(matchers) {
            let [label, operator, value] = matcher.extract().1;
            let of_the_target = OF_THE_TARGET.contains(&label);
            let known = series.get(label).is_some_and(|values| operator != "=" || values.contains(value));
            if !known && !of_the_target {
                unknown.push(format!("{name}{{{label}{operator}{value:?}}}"));
            }
        }
    }
    let grouped = Regex::new(r"\b(?:by|on)\s*\(([^)]*)\)").unwrap();
    let by = grouped.captures_iter(expression).flat_map(|found| found.extract::<1>().1[0].split(','));
    let named = Regex::new(r"\{\{(\w+)\}\}").unwrap();
    let legend = named.captures_iter(legend).map(|found| found.extract::<1>().1[0]);
    unknown.extend(by.chain(legend).map(str::trim).filter(|label| !labels.contains(label)).map(str::to_owned));
    unknown.iter().map(|what| format!("{what} in {expression}")).collect()
}

/// Fails with everything that is asked for and not shown.
pub fn everything_asked_for_is_shown(metrics: &str) {
    let expressions = expressions();
    let unknown: Vec<_> = expressions.iter().flat_map(|found| unknown(metrics, found)).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
}

/// Fails unless the table of `docs/operations.md` has the metrics and labels that are shown, and no others.
pub fn the_table_of_metrics_is_right(metrics: &str) {
    let row = Regex::new(r"(?m)^\| `(\w+)` \|([^|]*)\|").unwrap();
    let operations = include_str!("../../docs/operations.md");
    let (_, table) = operations.split_once("| Metric | Labels |").unwrap();
    let labels =
        |cell: &str| cell.split(',').map(|label| label.trim().replace('`', "")).filter(|l| !l.is_empty()).collect();
    let documented: BTreeMap<String, BTreeSet<String>> = row
        .captures_iter(table.split("\n\n").next().unwrap())
        .map(|row| (row[1].to_owned(), labels(&row[2])))
        .collect();
    let mut real: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, labels) in shown(metrics) {
        let name = name.trim_start_matches("tenant_schema_operator_");
        let name = ["_bucket", "_sum", "_count"].into_iter().fold(name, |name, end| name.trim_end_matches(end));
        real.entry(name.to_owned()).or_default().extend(labels.keys().filter(|l| **l != "le").map(|l| (*l).to_owned()));
    }
    assert_eq!(documented, real);
}

#[test]
fn what_is_not_shown_is_noticed() {
    let text = "# TYPE tenant_schema_operator_up gauge\ntenant_schema_operator_up{database=\"a\",state=\"x\"} 1\n";
    let check = |expression: &str, legend: &str, expected: &[&str]| {
        let found = Found { expression: expression.to_owned(), legend: legend.to_owned() };
        let expected: Vec<_> = expected.iter().map(|what| format!("{what} in {expression}")).collect();
        assert_eq!(unknown(text, &found), expected);
    };
    check("max by (job, database) (tenant_schema_operator_up{job=\"any\",state=\"x\"})", "{{database}}", &[]);
    check("tenant_schema_operator_down", "", &["tenant_schema_operator_down"]);
    check("tenant_schema_operator_up{state=\"y\"}", "", &["tenant_schema_operator_up{state=\"y\"}"]);
    check("tenant_schema_operator_up{kind!=\"y\"}", "", &["tenant_schema_operator_up{kind!=\"y\"}"]);
    check("sum by (kind) (tenant_schema_operator_up)", "{{name}}", &["kind", "name"]);
}
