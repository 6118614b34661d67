//! The alerts of the chart fire when they should and not otherwise, and each has its page in `docs/runbooks`. promtool says so;
//! without it and without Go, the tests that need it say so and pass.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its ground gives way")]

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;
use support::expressions::{ALERTS, alerts, expressions};

const RUNBOOKS: &str = "https://github.com/edumatrixhub/tenant-schema-operator/blob/main/docs/runbooks/";

/// promtool, from `PATH` or else built.
fn promtool() -> Option<PathBuf> {
    let installed =
        std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join("promtool")).find(|p| p.is_file());
    if installed.is_some() {
        return installed;
    }
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/promtool");
    let built = devcluster::go_tool(&module, "promtool", "github.com/prometheus/prometheus/cmd/promtool").unwrap();
    if built.is_none() {
        eprintln!("skipped: neither promtool nor go is installed");
    }
    built
}

fn succeeds(promtool: &Path, arguments: &[&str]) {
    let output = Command::new(promtool).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{arguments:?}\n{}\n{}", text(&output.stdout), text(&output.stderr));
}

/// The files of a folder, without their ending.
fn stems(folder: &str, ending: &str) -> BTreeSet<String> {
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
    let paths = files.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == ending));
    paths.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn every_alert_has_its_words_its_page_and_its_test() {
    let mut names = BTreeSet::new();
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap().to_owned();
        let severity = alert["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning", "info"].contains(&severity), "{name}: {severity}");
        let annotation = |key: &str| alert["annotations"][key].as_str().unwrap_or_else(|| panic!("{name}: {key}"));
        assert!(annotation("description").ends_with('.') && !annotation("summary").is_empty(), "{name}");
        assert_eq!(annotation("runbook_url"), format!("{RUNBOOKS}{name}.md"));
        let page = fs::read_to_string(format!("docs/runbooks/{name}.md")).unwrap();
        for part in [&format!("# {name}\n"), "## What users see", "## Check", "## Mend", "## When to ignore it"] {
            assert!(page.contains(part), "docs/runbooks/{name}.md has no {part:?}");
        }
        let test = fs::read_to_string(format!("tests/alerts/{name}.yaml")).unwrap();
        let expected = |samples: &str| test.matches(samples).count();
        assert!(expected("exp_samples:\n") > 0 && expected("exp_samples: []") > 0, "{name} fires, and does not");
        names.insert(name);
    }
    let mut pages = stems("docs/runbooks", "md");
    pages.remove("README");
    assert_eq!((pages, stems("tests/alerts", "yaml")), (names.clone(), names));
}

#[test]
fn alerts_fire_when_they_should() {
    let Some(promtool) = promtool() else { return };
    succeeds(&promtool, &["check", "rules", ALERTS]);
    let files: Vec<_> =
        stems("tests/alerts", "yaml").into_iter().map(|name| format!("tests/alerts/{name}.yaml")).collect();
    let arguments: Vec<_> = ["test", "rules"].into_iter().chain(files.iter().map(String::as_str)).collect();
    succeeds(&promtool, &arguments);
}

#[test]
fn what_dashboard_and_documents_ask_prometheus_for_is_promql() {
    let Some(promtool) = promtool() else { return };
    let rules: Vec<_> = expressions()
        .into_iter()
        .enumerate()
        .map(|(number, found)| json!({ "record": format!("expression_{number}"), "expr": found.expression }))
        .collect();
    assert!(rules.len() > 30, "{} expressions are found", rules.len());
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(file, "{}", json!({ "groups": [{ "name": "all", "rules": rules }] })).unwrap();
    succeeds(&promtool, &["check", "rules", "--lint=none", file.path().to_str().unwrap()]);
}
