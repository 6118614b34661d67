//! The invariants that `src/lib.rs` lists, read from the `use` lines and the text of the files.
//!
//! What is pure, which module may use which and where things are said is written down once here, so that a change of it
//! is a change of this file that a reviewer sees.

#![allow(clippy::unwrap_used, reason = "a test ends where its ground gives way")]

mod source;

use std::{collections::BTreeSet, fs, path::Path, sync::LazyLock};

use regex::Regex;
use source::{Source, files, relative, sources};
use tenant_schema_operator::api::{condition::Reason, event::EventReason};

/// The stages of a kind that decide: they are given everything and touch nothing, whether they are a file or a folder.
const DECIDES: &[&str] = &["desired", "limits", "plan", "status", "balance"];

/// A kind is a folder that looks up what its objects point to.
fn kinds() -> BTreeSet<&'static str> {
    sources().iter().filter(|source| source.stage() == "resolve").map(Source::room).collect()
}

/// A file that says so is pure, and so are whole folders, and the stages that decide.
fn is_pure(source: &Source) -> bool {
    static CLAIM: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(?m)^//! (?:.*\.|.*:.*)? ?Pure\b(?: and total)?[.,:]").unwrap());
    match source.room() {
        "api" | "contract" => true,
        "plan" => source.stage() != "apply",
        room if kinds().contains(room) && DECIDES.contains(&source.stage()) => true,
        _ => source.file() != "lib.rs" && CLAIM.is_match(&source.text),
    }
}

/// No file is longer: one that grows holds a second stage, to be taken out of it.
const MOST_LINES: usize = 500;

/// No line of SQL is wider, since a reader does not see what stands to the right of an editor's edge.
const MOST_COLUMNS: usize = 120;

/// Fails with every file for which `wrong` has a complaint.
fn check(wrong: impl Fn(&Source) -> Option<String>) {
    let complaints: Vec<_> = sources()
        .iter()
        .filter_map(|source| wrong(source).map(|complaint| format!("{}: {complaint}", source.path)))
        .collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn pure_files_touch_neither_network_nor_clock_nor_chance() {
    let impure = [
        r"\basync\b",
        r"\.await\b",
        r"\btokio::",
        r"\bClient\b",
        r"\bApi\b",
        r"\bstd::(?:fs|net|env|process|thread)\b",
        r"\b(?:Timestamp|SystemTime|Instant|Zoned)::now\b",
        r"\bnew_v4\b|\bRandomState\b|\brand::|\bfastrand\b|\bgetrandom\b",
        r"\btracing::",
    ];
    check(|source| {
        if !is_pure(source) {
            return None;
        }
        let found: Vec<_> = impure.into_iter().filter(|pattern| source.says(pattern)).collect();
        (!found.is_empty()).then(|| format!("is pure and says {}", found.join(", ")))
    });
}

#[test]
fn every_kind_has_the_stages_that_decide() {
    assert!(kinds().len() >= 3, "{:?}", kinds());
    for kind in kinds() {
        let stages: BTreeSet<_> = sources().iter().filter(|source| source.room() == kind).map(Source::stage).collect();
        let missing: Vec<_> =
            ["desired", "plan", "status"].into_iter().filter(|stage| !stages.contains(stage)).collect();
        assert!(missing.is_empty(), "{kind} has no stage {missing:?}");
    }
    let pure = sources().iter().filter(|source| is_pure(source)).count();
    assert!(pure > 40, "only {pure} files are looked at");
}

#[test]
fn only_the_edge_to_postgresql_names_its_driver() {
    check(|source| {
        let driver = source.says(r"\b(?:tokio_postgres|deadpool_postgres|tokio_postgres_rustls)\b");
        (driver && source.room() != "postgres").then(|| "names the PostgreSQL driver".to_owned())
    });
}

#[test]
fn sql_text_lives_in_sql_files_alone() {
    // The pool itself opens and closes transactions; there is nothing in that which a tenant names. The last two are
    // commands that a message tells.
    let allowed = [
        "\"BEGIN ISOLATION LEVEL READ COMMITTED;\\n\"",
        "\"COMMIT\"",
        "\"COMMIT;\\n\"",
        "\"ALTER SCHEMA {} RENAME TO {}\"",
        "\"UPDATE edu_matrix_hub_schema.institutions SET status = 'active' WHERE id = '{institution}'\"",
    ];
    let sql = Regex::new(
        r"^b?r?#*\x22\s*(?:SELECT|INSERT|UPDATE|DELETE|MERGE|CREATE|ALTER|DROP|GRANT|REVOKE|TRUNCATE|WITH|SET|RESET|DO|CALL|COPY|LOCK|BEGIN|COMMIT|ROLLBACK|VACUUM|ANALYZE|NOTIFY|LISTEN|COMMENT)\b|\b(?:SELECT\s.+\sFROM|INSERT\s+INTO|DELETE\s+FROM|UPDATE\s.+\sSET|(?:CREATE|ALTER|DROP)\s+(?:SCHEMA|TABLE|ROLE|USER|FUNCTION|DATABASE))\b",
    )
    .unwrap();
    check(|source| {
        let found: Vec<_> = source
            .literals
            .iter()
            .filter(|literal| sql.is_match(literal) && !allowed.contains(&literal.as_str()))
            .map(String::as_str)
            .collect();
        (!found.is_empty()).then(|| format!("has SQL: {}", found.join(" | ")))
    });
}

#[test]
fn statements_are_never_put_together_from_pieces() {
    // A statement is an included file; the script is the one that is composed, and quotes what it puts in.
    check(|source| {
        let includes = source.says(r"include_str!");
        (includes && source.room() != "postgres").then(|| "includes SQL outside of postgres/".to_owned())
    });
    let pool = sources().iter().find(|source| source.path == "src/postgres/pool.rs").unwrap();
    assert!(pool.says(r"\bsql: &'static str\b"), "a call's statement is a text of the program");
}

#[test]
fn only_edges_drivers_and_wiring_name_the_client_of_kubernetes() {
    let may = |source: &Source| {
        matches!(source.room(), "kubernetes" | "controller" | "frame" | "command")
            || ["mod.rs", "resolve.rs"].contains(&source.file()) && kinds().contains(source.room())
    };
    check(|source| {
        let names = source.uses().iter().any(|path| path == "kube::Client" || path == "kube::client")
            || source.says(r"\bkube::Client\b");
        (names && !may(source)).then(|| "names kube::Client".to_owned())
    });
}

#[test]
fn the_kinds_do_not_import_one_another() {
    let kinds = kinds();
    check(|source| {
        let rooms = source.rooms();
        let others: Vec<_> = kinds.iter().filter(|kind| **kind != source.room() && rooms.contains(**kind)).collect();
        (kinds.contains(source.room()) && !others.is_empty()).then(|| format!("imports {others:?}"))
    });
}

#[test]
fn a_room_depends_only_on_rooms_above_it() {
    let library = sources().iter().find(|source| source.path == "src/lib.rs").unwrap();
    let module = Regex::new(r"(?m)^(?:pub )?mod (\w+);").unwrap();
    let modules = module.captures_iter(&library.code).map(|found| found[1].to_owned());
    let order: Vec<_> = ["ident", "quantity", "text", "api"].map(str::to_owned).into_iter().chain(modules).collect();
    let place = |room: &str| order.iter().position(|other| other == room);
    check(|source| {
        let own = place(source.room())?;
        let below: Vec<_> =
            source.rooms().into_iter().filter(|room| place(room).is_none_or(|place| place > own)).collect();
        (!below.is_empty()).then(|| format!("depends on {}", below.join(", ")))
    });
}

#[test]
fn no_stage_after_desired_reads_a_spec() {
    check(|source| {
        let stage = ["observe", "plan", "apply", "status", "survey"].contains(&source.stage());
        let kind = kinds().contains(source.room()) || source.room() == "plan";
        (stage && kind && source.says(r"\.spec\b")).then(|| "reads a spec".to_owned())
    });
}

#[test]
fn no_code_writes_a_spec() {
    // A Lease is the operator's own, and `release --all` is typed by a person. What cannot be read is searched for names.
    let may = ["src/kubernetes/lease.rs", "src/command/release.rs", "src/kubernetes/reading.rs"];
    check(|source| {
        let writes = source.says(r"\.spec(?:\.\w+)*\s*=[^=>]") || source.literals.iter().any(|text| text == "\"spec\"");
        let allowed = matches!(source.room(), "api" | "contract") || may.contains(&source.path.as_str());
        (writes && !allowed).then(|| "writes a spec".to_owned())
    });
}

#[test]
fn outcomes_are_reported_in_one_place() {
    let reporter = "src/controller/report.rs";
    check(|source| {
        let counts = source.says(r"\.(?:reconciles|reconcile_duration|errors|jobs)\s*\.get_or_create");
        let publishes = source.says(r"\bevents\s*\.publish\b");
        // Where they are defined, some are shown at zero.
        let counts = counts && source.path != "src/telemetry/metrics.rs";
        (source.path != reporter && (counts || publishes)).then(|| "reports an outcome".to_owned())
    });
    // What a person reads in the log beside outcomes: the process begins and ends; the runner tries again; replicas pass a
    // Lease from one to the other; a scratch database stays.
    let may = [
        "src/command/mod.rs",
        "src/controller/mod.rs",
        "src/jobs/mod.rs",
        "src/kubernetes/lease.rs",
        "src/lane/scratch.rs",
        "src/telemetry/http.rs",
        reporter,
    ];
    check(|source| {
        let logs = source.says(r"\btracing::(?:info|warn|error)!");
        (logs && !may.contains(&source.path.as_str())).then(|| "logs beside the reporter".to_owned())
    });
    check(|source| {
        let prints = source.says(r"\be?println!");
        (prints && source.path != "src/main.rs").then(|| "prints".to_owned())
    });
}

#[test]
fn commands_that_messages_tell_are_values() {
    let command = Regex::new(r"\bkubectl[\s\\]+(?:-n \S+[\s\\]+)?(?:annotate|describe|edit|get|patch)\b").unwrap();
    check(|source| {
        let found: Vec<_> = source.literals.iter().filter(|literal| command.is_match(literal)).collect();
        // What the command line tells of many objects at once has flags of its own.
        let allowed = ["api", "command"].contains(&source.room());
        (!allowed && !found.is_empty()).then(|| format!("has a command beside api::command: {found:?}"))
    });
}

#[test]
fn every_test_program_is_a_folder() {
    let inside = fs::read_dir("tests").unwrap().map(|entry| entry.unwrap().path());
    let single: Vec<_> = inside.filter(|path| path.is_file()).collect();
    assert!(single.is_empty(), "{single:?} must be tests/<name>/main.rs");
}

#[test]
fn no_file_is_longer_than_five_hundred_lines() {
    let all = [("crates", "rs"), ("src", "rs"), ("sql", "sql"), ("tests", "rs"), ("benches", "rs")];
    let there = all.into_iter().filter(|(folder, _)| fs::exists(folder).unwrap());
    let long: Vec<_> = there
        .flat_map(|(folder, ending)| files(folder, ending))
        .map(|path| (fs::read_to_string(&path).unwrap().lines().count(), relative(&path)))
        .filter(|(lines, _)| *lines > MOST_LINES)
        .collect();
    assert!(long.is_empty(), "{long:?}");
}

#[test]
fn no_line_of_sql_is_wider_than_a_hundred_and_twenty_columns() {
    let wide = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        let lines = text.lines().enumerate().filter(|(_, line)| line.chars().count() > MOST_COLUMNS);
        lines.map(|(number, _)| format!("{}:{}", relative(path), number + 1)).collect::<Vec<_>>()
    };
    let (product, tests) = (files("sql", "sql"), files("tests", "sql"));
    assert!(product.len() > 100 && !tests.is_empty(), "{} {}", product.len(), tests.len());
    let wide: Vec<_> = product.iter().chain(&tests).flat_map(|path| wide(path)).collect();
    assert!(wide.is_empty(), "\n{}", wide.join("\n"));
}

#[test]
fn the_entry_is_under_forty_lines() {
    let entry = sources().iter().find(|source| source.path == "src/main.rs").unwrap();
    assert!(entry.text.lines().count() < 40);
}

#[test]
fn every_reason_that_is_documented_is_given_and_every_event_sent() {
    let library: Vec<_> = sources().iter().filter(|source| source.room() != "api").collect();
    let given = |word: &str| {
        let pattern = Regex::new(&format!(r"\b{word}\b")).unwrap();
        library.iter().any(|source| pattern.is_match(&source.code))
    };
    let reasons = Reason::ALL.iter().map(|reason| format!("Reason::{reason}"));
    let events = EventReason::ALL.iter().map(|reason| format!("EventReason::{reason}"));
    let missing: Vec<_> = reasons.chain(events).filter(|word| !given(word)).collect();
    assert!(missing.is_empty(), "documented and never given: {missing:?}");
}
