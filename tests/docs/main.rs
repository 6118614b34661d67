//! Links between the documents lead somewhere, down to the heading, and tests that a document names are there.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail the test")]

use std::{
    fs,
    path::{Path, PathBuf},
};

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [
        "",
        "docs",
        "docs/gitops",
        "docs/reference",
        "docs/runbooks",
        "charts/tenant-schema-operator",
        "examples/applications",
        "examples/cloudnativepg",
    ];
    let folders = folders.map(|folder| root.join(folder));
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    files.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "md")).collect()
}

/// The targets of `[text](target)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

/// How a heading is called in a link: as GitHub makes it.
fn anchor(heading: &str) -> String {
    let letters = heading.trim().to_lowercase();
    letters.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>().replace(' ', "-")
}

fn has_heading(file: &Path, wanted: &str) -> bool {
    let text = fs::read_to_string(file).unwrap();
    text.lines().filter_map(|line| line.strip_prefix('#')).any(|line| anchor(line.trim_start_matches('#')) == wanted)
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for link in links(&text).filter(|link| !link.contains("://")) {
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { document.clone() } else { document.with_file_name("").join(path) };
            if !target.exists() || !(heading.is_empty() || has_heading(&target, heading)) {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn messages_name_documents_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all = sources(&root.join("src")) + &sources(&root.join("crates"));
    let named: Vec<_> = all
        .split("{DOCS}/")
        .skip(1)
        .filter_map(|rest| rest.split([' ', '"', ';', ')', ',']).next())
        .map(|link| link.split_once('#').unwrap_or((link, "")))
        .collect();
    assert!(named.len() > 3, "{named:?}");
    for (page, heading) in named {
        let page = root.join("docs").join(page);
        assert!(page.is_file() && (heading.is_empty() || has_heading(&page, heading)), "{page:?} {heading}");
    }
}

#[test]
fn anchors_are_made_as_github_makes_them() {
    assert_eq!(anchor(" Deleting: set aside, drop, retain"), "deleting-set-aside-drop-retain");
    assert_eq!(anchor("A: a login that prepares its own database"), "a-a-login-that-prepares-its-own-database");
}

/// The text of every Rust file below a folder.
fn sources(folder: &Path) -> String {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let texts = entries.map(|path| match path.extension() {
        _ if path.is_dir() => sources(&path),
        Some(ending) if ending == "rs" => fs::read_to_string(&path).unwrap(),
        _ => String::new(),
    });
    texts.collect()
}

#[test]
fn what_must_never_happen_is_proved_by_tests_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let design = fs::read_to_string(root.join("docs/design.md")).unwrap();
    let (_, rest) = design.split_once("## What must never happen").unwrap();
    let table = rest.split("\n## ").next().unwrap();
    let code: String = ["crates", "src", "tests"].map(|folder| sources(&root.join(folder))).concat();
    let proofs: Vec<_> = table.lines().filter_map(|line| line.strip_suffix(" |")?.rsplit_once("| ")).collect();
    let names = proofs.iter().flat_map(|(_, tests)| tests.split('`').skip(1).step_by(2));
    let missing: Vec<_> = names.clone().filter(|name| !code.contains(&format!("fn {name}("))).collect();
    assert!(names.count() > 30, "the table was not read");
    assert!(missing.is_empty(), "{missing:#?}");
}
