//! The pages in `docs/reference/` say what the types say. A stale page is written again, and the test fails once so
//! that the change is seen and committed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use tenant_schema_operator::api::event::EventReason;
use tenant_schema_operator::api::reason::Reason;
use tenant_schema_operator::api::{crds, reference};

#[test]
fn reference_pages_are_fresh() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference");
    fs::create_dir_all(&folder).unwrap();
    let mut rewritten = Vec::new();
    let mut known = BTreeSet::new();
    for page in reference::pages() {
        let path = folder.join(&page.file);
        if fs::read_to_string(&path).ok().as_ref() != Some(&page.text) {
            fs::write(&path, &page.text).unwrap();
            rewritten.push(page.file.clone());
        }
        known.insert(page.file);
    }
    let found = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let strangers: Vec<String> = found.filter(|file| !known.contains(file)).collect();
    assert!(strangers.is_empty(), "no type generates docs/reference/{strangers:?}; remove them");
    assert!(rewritten.is_empty(), "docs/reference/{rewritten:?} were stale and have been written again; commit them");
}

#[test]
fn every_field_is_explained_and_optional_ones_name_their_default() {
    let mut silent = Vec::new();
    for crd in crds() {
        for field in reference::fields(&crd) {
            // Below a label selector the fields are Kubernetes' own, and their absence asks for nothing.
            let borrowed = field.path.contains("match");
            let needs_default = field.path.starts_with("spec.") && !field.required && !borrowed;
            if field.description.is_empty() || field.default.is_some() != needs_default {
                silent.push(format!("{}: {}", crd.spec.names.kind, field.path));
            }
        }
    }
    assert!(silent.is_empty(), "explain these, with `Default:` if and only if they are optional: {silent:#?}");
}

#[test]
fn reasons_are_words_that_conditions_and_events_take() {
    let reasons = Reason::ALL.iter().map(|reason| (reason.as_str(), reason.summary(), reason.action()));
    let events = EventReason::ALL.iter().map(|reason| (reason.as_str(), reason.summary(), "."));
    for (word, summary, action) in reasons.clone().chain(events.clone()) {
        assert!(word.chars().all(|c| c.is_ascii_alphanumeric()), "{word}");
        assert!(word.starts_with(|c: char| c.is_ascii_uppercase()) && word.len() <= 64, "{word}");
        assert!(summary.ends_with('.') && action.ends_with('.'), "{word}");
    }
    let distinct: BTreeSet<&str> = reasons.map(|(word, ..)| word).collect();
    assert_eq!(distinct.len(), Reason::ALL.len());
    let distinct: BTreeSet<&str> = events.map(|(word, ..)| word).collect();
    assert_eq!(distinct.len(), EventReason::ALL.len());
}

#[test]
fn the_program_writes_completion_for_each_shell_and_a_man_page_for_each_command() {
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_tenant-schema-operator")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let commands = ["run", "crds", "sql", "plan", "check-connection", "release", "uninstall-check"];
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = run(&["completion", shell]);
        assert!(commands.iter().all(|command| text.contains(command)), "{shell}: {text}");
    }
    let folder = tempfile::tempdir().unwrap();
    run(&["man", folder.path().to_str().unwrap()]);
    for command in commands {
        let page = fs::read_to_string(folder.path().join(format!("tenant-schema-operator-{command}.1"))).unwrap();
        assert!(page.contains(".SH DESCRIPTION"), "{page}");
    }
}
