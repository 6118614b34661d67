//! What the operator and the management functions say to each other, read from both sides and compared: no server is needed.
//!
//! A step that no function knows, an option that no function reads, or a word that only one side has would be found by a tenant first.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where its ground gives way")]

mod functions;
mod steps;

use std::collections::BTreeSet;

use functions::{Function, checked, function, logged, refusals, refusals_of};
use regex::Regex;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tenant_schema_operator::{
    api::event::EventReason,
    contract::{
        AccessWord, BackupState, Call, InstitutionStatus, JobKind, JobState, OperationStatus, OperationType, Refusal,
        RowStatus, Step, document,
    },
};

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn the_functions_know_the_same_steps_as_the_operator() {
    let arm = Regex::new(r"WHEN '(\w+)' THEN\s+result := edu_matrix_hub_schema\.(\w+)\(step -> 'options'\)").unwrap();
    let apply_steps = function("apply_steps").unwrap();
    let arms: Vec<_> = arm.captures_iter(&apply_steps.text).collect();
    for arm in &arms {
        assert_eq!(arm[1], arm[2], "a step is called as its function");
    }
    assert_eq!(arms.iter().map(|arm| arm[1].to_owned()).collect::<BTreeSet<_>>(), set(Call::ALL));
}

#[test]
fn every_step_is_sent_under_the_name_of_its_function() {
    let steps = steps::one_of_each();
    let sent: Vec<_> = steps.iter().map(|step| step.call().as_str().to_owned()).collect();
    assert_eq!(sent.iter().cloned().collect::<BTreeSet<_>>(), set(Call::ALL), "one of each is tested");
    let Value::Array(document) = document(&steps, "a test").unwrap() else { panic!("steps travel as an array") };
    for (step, name) in document.iter().zip(sent) {
        let keys: Vec<_> = step.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["call", "options"], "{step}");
        assert_eq!(step["call"], json!(name));
        assert_eq!(step["options"]["requested_by"], json!("a test"));
    }
}

#[test]
fn every_option_that_is_sent_is_read() {
    let Value::Array(document) = document(&steps::one_of_each(), "a test").unwrap() else { panic!("an array") };
    let mut unread = Vec::new();
    for step in &document {
        let name = step["call"].as_str().unwrap();
        let function = function(name).unwrap();
        for key in step["options"].as_object().unwrap().keys().filter(|key| !function.reads("options", key)) {
            unread.push(format!("{name} is sent {key} and does not read it"));
        }
    }
    assert!(unread.is_empty(), "{unread:#?}");
}

#[test]
fn every_part_of_an_option_is_read() {
    // Their keys are what a user wrote, or UIDs.
    let data = ["config", "namespaces"];
    let Value::Array(document) = document(&steps::one_of_each(), "a test").unwrap() else { panic!("an array") };
    let (mut seen, mut unread) = (0, Vec::new());
    for step in &document {
        let name = step["call"].as_str().unwrap();
        let options =
            step["options"].as_object().unwrap().iter().filter(|(option, _)| !data.contains(&option.as_str()));
        let parts = options.filter_map(|(option, value)| Some((option, value.as_object()?)));
        for (option, part) in parts.flat_map(|(option, parts)| parts.keys().map(move |part| (option, part))) {
            seen += 1;
            if !function(name).unwrap().names(part) {
                unread.push(format!("{name} is sent {option}.{part}, and neither it nor what it calls reads that"));
            }
        }
    }
    assert!(seen > 10 && unread.is_empty(), "{unread:#?}");
    assert!(!function("create_tenant_schema").unwrap().names("word_of_tomorrow"));
}

#[test]
fn a_step_whose_function_queues_a_job_says_so() {
    let queue =
        Regex::new(r"INSERT INTO edu_matrix_hub_schema\.schema_jobs|edu_matrix_hub_schema\._queue_purge\(").unwrap();
    for step in steps::one_of_each() {
        let name = step.call().as_str().to_owned();
        assert_eq!(step.queues_job(), queue.is_match(&function(&name).unwrap().text), "{name}");
    }
}

#[test]
fn an_option_that_is_not_read_is_found() {
    let text = "BEGIN x := options ->> 'read'; y := options #>> '{deep,er}'; PERFORM f(options -> 'part', 1); -- options -> 'said'\nEND";
    let function = Function::of(text);
    for (key, is_read) in
        [("read", true), ("deep", true), ("part", true), ("er", false), ("said", false), ("rea", false)]
    {
        assert_eq!(function.reads("options", key), is_read, "{key}");
    }
}

#[test]
fn the_functions_refuse_with_the_same_words_as_the_operator() {
    assert_eq!(refusals(), set(Refusal::ALL));
}

#[test]
fn a_word_that_is_refused_with_is_found_wherever_it_stands() {
    let text = "_refuse('one', format('two')); _refuse(CASE WHEN a = 'three' THEN 'four' ELSE 'five' END, 'six');
                RETURN _result('error', 'seven', NULL, jsonb_build_object('reason', 'eight', 'nine', part -> 'reason', 'ten', 1));
                '{\"reason\": \"eleven\"}'; _refuse(refused #>> '{detail,reason}', 'twelve')";
    assert_eq!(refusals_of(text), ["one", "four", "five", "eight", "eleven"]);
}

#[test]
fn the_words_are_those_of_the_tables() {
    assert_eq!(checked("40_tenant_schemas", "status"), set(RowStatus::ALL));
    assert_eq!(checked("40_tenant_schemas", "access"), set(AccessWord::ALL));
    let of_institutions = |column| checked("30_institutions", column);
    assert_eq!(&of_institutions("status") | &of_institutions("source_status"), set(InstitutionStatus::ALL));
    assert_eq!(checked("60_schema_backups", "state"), set(BackupState::ALL));
    assert_eq!(checked("70_schema_jobs", "state"), set(JobState::ALL));
}

#[test]
fn the_log_has_the_same_words_as_the_operator() {
    let [types, statuses] = logged();
    assert_eq!(types, set(OperationType::ALL));
    // `finish_job` logs a failed job under the name of its kind, but for what makes and removes backups.
    for kind in JobKind::all() {
        let word = match kind {
            JobKind::Snapshot | JobKind::Archive => "backup",
            JobKind::RemoveArchive => "purge",
            _ => kind.as_str(),
        };
        assert!(types.contains(word), "a failed {kind} is logged");
    }
    // What a failure is logged as is the status of its answer.
    assert_eq!(statuses.union(&set(&["busy", "error"])).cloned().collect::<BTreeSet<_>>(), set(OperationStatus::ALL));
}

#[test]
fn words_of_newer_functions_are_read_and_shown() {
    fn check<T: DeserializeOwned + Serialize>(known: &[&str]) {
        for word in known.iter().chain(&["word_of_tomorrow"]) {
            let read: T = serde_json::from_value(json!(word)).unwrap();
            assert_eq!(serde_json::to_value(read).unwrap(), json!(word));
        }
    }
    check::<Call>(Call::ALL);
    check::<Refusal>(Refusal::ALL);
    check::<RowStatus>(RowStatus::ALL);
    check::<AccessWord>(AccessWord::ALL);
    check::<InstitutionStatus>(InstitutionStatus::ALL);
    check::<BackupState>(BackupState::ALL);
    check::<JobKind>(JobKind::ALL);
    check::<JobState>(JobState::ALL);
    check::<OperationType>(OperationType::ALL);
    check::<OperationStatus>(OperationStatus::ALL);
    assert_eq!(RowStatus::from("word_of_tomorrow"), RowStatus::Other("word_of_tomorrow".into()));
    for word in RowStatus::ALL {
        assert!(!matches!(RowStatus::from(*word), RowStatus::Other(_)), "{word} is known");
    }
}

/// A newer function may refuse with a word, and stand in a state, that this release does not know: nothing is made of it.
#[test]
fn a_row_in_an_unknown_state_does_not_count_as_living() {
    assert!(!RowStatus::from("word_of_tomorrow").lives());
    assert!(["active", "suspended"].iter().all(|word| RowStatus::from(*word).lives()));
}

#[test]
fn every_event_is_documented_with_its_meaning() {
    let page = std::fs::read_to_string("docs/reference/conditions.md").unwrap();
    for reason in EventReason::ALL {
        let (word, meaning) = (format!("`{reason}`"), reason.summary());
        let is_row = |line: &str| line.contains(&word) && line.contains(meaning);
        assert!(page.lines().any(is_row), "docs/reference/conditions.md does not say what the Event {reason} means");
    }
}

#[test]
fn the_plan_says_of_every_step_what_it_does() {
    for step in steps::one_of_each() {
        let (line, call): (String, Call) = (Step::to_string(&step), step.call());
        assert!(line.len() > 8 && !line.contains('\n') && !line.contains('_'), "{call}: {line:?}");
    }
}
