//! Every direct dependency has its reason in `docs/dependencies.md`, no reason outlives its dependency, and the image is made with what
//! is tested.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail the test")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The sections of the page, with the manifest and the table in it that each is about.
const SECTIONS: [(&str, &str, &str); 8] = [
    ("Operator", "Cargo.toml", "dependencies"),
    ("Tests", "Cargo.toml", "dev-dependencies"),
    ("Kinds", "crates/api/Cargo.toml", "dependencies"),
    ("Tests of the kinds", "crates/api/Cargo.toml", "dev-dependencies"),
    ("Archives", "crates/artefact/Cargo.toml", "dependencies"),
    ("Tests of the archives", "crates/artefact/Cargo.toml", "dev-dependencies"),
    ("Development cluster", "tests/devcluster/Cargo.toml", "dependencies"),
    ("Ground of the tests", "tests/support/Cargo.toml", "dependencies"),
];

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// The names in every dependency table of a manifest, by the table's heading.
fn declared(manifest: &str) -> BTreeMap<String, Vec<String>> {
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut heading = String::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            name.clone_into(&mut heading);
        } else if let (true, Some((name, _))) = (heading.contains("dependencies"), line.split_once('='))
            && !line.starts_with('#')
        {
            tables.entry(heading.clone()).or_default().push(name.trim().to_owned());
        }
    }
    tables
}

/// The names and reasons in every section of the page, by the section's heading.
fn explained(page: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut heading = String::new();
    for line in page.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            name.clone_into(&mut heading);
        } else if let Some((name, reason)) = line.strip_prefix("| `").and_then(|row| row.split_once("` | ")) {
            let reason = reason.trim_end_matches('|').trim().to_owned();
            sections.entry(heading.clone()).or_default().insert(name.to_owned(), reason);
        }
    }
    sections
}

#[test]
fn every_dependency_has_its_reason() {
    let mut page = explained(&read("docs/dependencies.md"));
    let manifests = [
        "Cargo.toml",
        "crates/api/Cargo.toml",
        "crates/artefact/Cargo.toml",
        "tests/devcluster/Cargo.toml",
        "tests/support/Cargo.toml",
    ];
    for manifest in manifests {
        for (table, mut names) in declared(&read(manifest)) {
            let section = SECTIONS.iter().find(|(_, file, name)| (*file, *name) == (manifest, table.as_str()));
            let Some((section, ..)) = section else { panic!("[{table}] of {manifest} has no section of its own yet") };
            let reasons = page.remove(*section).unwrap_or_default();
            names.sort();
            assert_eq!(
                names,
                reasons.keys().cloned().collect::<Vec<_>>(),
                "[{table}] of {manifest} and the section {section:?} of docs/dependencies.md name the same"
            );
            for (name, reason) in reasons {
                assert!(reason.len() > 10 && reason.ends_with('.'), "{name}: say in a sentence what it is for");
            }
        }
    }
    assert!(page.is_empty(), "sections without a manifest: {page:?}");
}

#[test]
fn the_kinds_need_neither_a_runtime_nor_a_client() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "--package",
            "tenant-schema-api",
            "--edges",
            "normal",
            "--prefix",
            "none",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    let names: Vec<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"kube-core"), "{tree}");
    for unwanted in ["tokio", "kube-client", "kube-runtime", "hyper", "rustls"] {
        assert!(!names.contains(&unwanted), "{unwanted}");
    }
}

#[test]
fn archives_need_no_client_of_kubernetes_or_the_database_and_one_cryptography() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--package", "artefact", "--edges", "normal", "--prefix", "none"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    let names: Vec<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"object_store") && names.contains(&"ring"), "{tree}");
    for unwanted in ["kube-core", "k8s-openapi", "tokio-postgres", "aws-lc-rs", "openssl-sys"] {
        assert!(!names.contains(&unwanted), "{unwanted}");
    }
}

#[test]
fn the_image_is_built_with_the_rust_that_the_tests_use() {
    let toolchain = read("rust-toolchain.toml");
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap().trim_matches('"');
    let image = format!(" rust:{channel}-slim-trixie AS build");
    assert!(read("Dockerfile").contains(&image), "rust-toolchain.toml says {channel}; build the image from{image}");
}

#[test]
fn the_image_has_the_programs_that_the_operator_calls() {
    fn calls(folder: &Path, found: &mut Vec<String>) {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                // What only tests call is theirs to find.
                if !path.ends_with("tests") {
                    calls(&path, found);
                }
            } else if ["process::Command", "Command::new"]
                .iter()
                .any(|call| fs::read_to_string(&path).unwrap().contains(call))
            {
                found.push(path.display().to_string());
            }
        }
    }
    let mut found = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["src", "crates"] {
        calls(&root.join(folder), &mut found);
    }
    let known = root.join("crates/artefact/src/dump/program.rs").display().to_string();
    found.retain(|path| *path != known);
    assert!(found.is_empty(), "{found:?} call a program; put it into the image, and here which one");
    let dockerfile = read("Dockerfile");
    for program in ["pg_dump", "pg_restore"] {
        assert!(
            dockerfile.contains(&format!(" usr/lib/postgresql/18/bin/{program}")),
            "{program} writes and lists archives"
        );
    }
    let (_, image) = dockerfile.rsplit_once("\nFROM ").unwrap();
    assert!(
        !image.contains("\nRUN "),
        "the image is made for a processor that the builder may not have, so nothing is run"
    );
}

#[test]
fn the_image_is_made_from_every_crate_of_the_workspace() {
    let manifest = read("Cargo.toml");
    let (_, members) = manifest.split_once("\nmembers = [").unwrap();
    let members = members.split_once(']').unwrap().0.split('"').skip(1).step_by(2);
    let ignored = read(".dockerignore");
    let copied = |member: &Path| {
        member.ancestors().any(|folder| ignored.lines().any(|line| line == format!("!{}", folder.display())))
    };
    let missing: Vec<_> = members.filter(|member| !copied(Path::new(member))).collect();
    assert!(missing.is_empty(), ".dockerignore leaves out {missing:?}, without which cargo reads no manifest");
}

#[test]
fn what_make_check_runs_needs_no_server() {
    let makefile = read("Makefile");
    let (_, names) = makefile.split_once("\nPURE := ").unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for name in names.lines().next().unwrap().split_whitespace() {
        let inner = fs::read_dir(root.join(name)).unwrap().map(|entry| entry.unwrap().path());
        let files: Vec<_> = inner.filter(|path| path.is_file()).collect();
        let starts = |path: &&PathBuf| fs::read_to_string(path).unwrap().contains(concat!("devcluster", "::"));
        let servers: Vec<_> = files.iter().filter(starts).collect();
        assert!(servers.is_empty(), "{servers:?} start a server");
    }
}
