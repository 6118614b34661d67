//! The README's sessions, typed: every block marked `console` from "Try it" on, one after the other, in a quickstart of this
//! test's own. What comes out must be what the README shows, but for what is another every time: ages, ports, ids, sizes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where its ground gives way")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use devcluster::{free_port, target_dir, wait_until};
use regex::Regex;
use serde_json::Value;

/// How long the test waits for the operator; this is for machines that are busy.
const DEADLINE: Duration = Duration::from_mins(1);

/// What is typed, and the lines that come out; none where the README does not show them.
type Step<'a> = (&'a str, Vec<&'a str>);

/// The sessions of the README. What `make quickstart` prints has commands of its own in it.
fn steps(readme: &str) -> Vec<Step<'_>> {
    let (_, rest) = readme.split_once("\n## Try it\n").unwrap();
    let blocks = rest.split("```console\n").skip(1).map(|rest| rest.split("```\n").next().unwrap());
    let mut steps: Vec<Step> = Vec::new();
    for block in blocks {
        let mut own = true;
        for line in block.lines() {
            match line.strip_prefix("$ ").filter(|_| own) {
                Some(command) => steps.push((command, Vec::new())),
                None => steps.last_mut().unwrap().1.push(line),
            }
            own &= steps.last().unwrap().0 != "make quickstart";
        }
    }
    steps
}

/// A text as lines that can be compared: without what is another every time and how wide a column is, in the order of the
/// alphabet, since rows come in no order.
fn masked<'a>(lines: impl Iterator<Item = &'a str>, here: &Path) -> Vec<String> {
    let masks = [
        (r"127\.0\.0\.1:\d+", "ADDRESS"),
        (r"\b(\d+h)?(\d+m)?\d+(\.\d+)? ?s\b", "TIME"),
        (r"_[0-9a-f]{12}_owner", "_ID_owner"),
        (r"_bak_\d{14}(_\d)?", "_bak_TIME"),
        (r"\b\d+(\.\d+)?[KM]i\b", "SIZE"),
        (r"\b1\d\.\d+\b|PostgreSQL \d+", "VERSION"),
        (r"\| +\d+$", "| NUMBER"),
        (r"-{3,}", "---"),
        (r"\s+", " "),
    ]
    .map(|(pattern, word)| (Regex::new(pattern).unwrap(), word));
    let root = format!("{}/", env!("CARGO_MANIFEST_DIR"));
    let relative = here.to_str().unwrap().trim_start_matches(&root);
    let places = [("…/", ""), (root.as_str(), ""), (relative, "target/quickstart")];
    let known = lines.map(|line| places.iter().fold(line.to_owned(), |line, (from, to)| line.replace(from, to)));
    let mut lines: Vec<String> = known
        .map(|line| masks.iter().fold(line, |line, (mask, word)| mask.replace_all(&line, *word).trim().to_owned()))
        // What Cargo tells depends on what was built before.
        .filter(|line| {
            !line.is_empty() && !["Compiling ", "Finished ", "Blocking "].iter().any(|word| line.starts_with(word))
        })
        .collect();
    lines.sort();
    lines
}

/// A quickstart; it ends with its value.
struct Quickstart(PathBuf);

impl Quickstart {
    fn script(&self, command: &str) -> (bool, String) {
        let port = free_port().unwrap();
        let mut script = Command::new("bash");
        script
            .args(["-c", &format!("exec examples/quickstart.sh {command} 2>&1")])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("QUICKSTART_BUILD", "no")
            .env("QUICKSTART_STATE", &self.0)
            .env("QUICKSTART_HTTP_ADDR", format!("127.0.0.1:{port}"));
        let output = script.output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    }

    /// Types a command where a user types it: whether it succeeded, and what it printed.
    fn types(&self, command: &str) -> (bool, String) {
        let text = format!("source {}/env; {{ {command}\n}} 2>&1", self.0.display());
        let output = Command::new("bash").args(["-c", &text]).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    }

    /// Waits until the operator has done what there was to do: a user looks that long, too.
    fn settle(&self) {
        wait_until(DEADLINE, "the operator has done everything", || {
            let (_, objects) = self.types("kubectl get tenantdatabases,tenantschemas,schemabackups -A -o json");
            let objects: Value = serde_json::from_str(&objects).unwrap_or_default();
            let settled = |object: &Value| {
                let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
                object["status"]["observedGeneration"] == object["metadata"]["generation"]
                    && conditions.into_iter().all(|condition| condition["type"] != "Reconciling")
            };
            objects["items"].as_array().is_some_and(|items| !items.is_empty() && items.iter().all(settled))
        })
        .unwrap();
    }
}

impl Drop for Quickstart {
    fn drop(&mut self) {
        self.script("down");
    }
}

#[test]
fn the_readme_shows_what_comes_out() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let steps = steps(&readme);
    assert!(steps.len() > 15 && steps[0].0 == "make quickstart", "{steps:#?}");
    let quickstart = Quickstart(target_dir().join("readme"));
    if !target_dir().join("debug/devcluster").exists() {
        let built =
            Command::new(env!("CARGO")).args(["build", "--locked", "--package", "devcluster"]).status().unwrap();
        assert!(built.success());
    }
    // What a test that was killed left behind.
    quickstart.script("down");
    for (command, shown) in steps {
        let (succeeded, printed) =
            if command == "make quickstart" { quickstart.script("up") } else { quickstart.types(command) };
        let expected = masked(shown.iter().copied(), &quickstart.0);
        let found = masked(printed.lines(), &quickstart.0);
        if expected.is_empty() {
            assert!(succeeded, "{command}\n{printed}");
        }
        // Where the README leaves rows out it says so.
        let all = !expected.is_empty() && !expected.contains(&"…".to_owned());
        let missing: Vec<_> = expected.iter().filter(|line| *line != "…" && !found.contains(line)).collect();
        let new: Vec<_> = found.iter().filter(|line| all && !expected.contains(line)).collect();
        assert!(
            missing.is_empty() && new.is_empty(),
            "{command}\nprints\n{printed}\nof which the README lacks {new:#?}\nand it shows {missing:#?}"
        );
        quickstart.settle();
    }
}
