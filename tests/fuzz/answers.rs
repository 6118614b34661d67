//! Answers of the database, whole and broken. The functions of another release may answer more than this one knows, a pooler or a
//! tenant's text may break what comes.

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::Value;

use crate::documents::documents;

/// Any JSON, also with the words that answers have.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(vec![
            "success",
            "active",
            "Infinity",
            "-infinity",
            "2026-11-02T03:04:05Z",
            "-99999-01-01T00:00:00Z"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 5, |inner| {
        let key = prop_oneof![
            "[a-z_]{1,9}",
            prop::sample::select(vec!["reason", "schema_id", "status", "tenants", "detail"]).prop_map(str::to_owned)
        ];
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..5).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// The pointers to all parts of a value, itself included.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| pointers(value, &format!("{at}/{key}"), found)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(n, value)| pointers(value, &format!("{at}/{n}"), found));
        }
        _ => {}
    }
}

fn place(value: &Value, at: Index) -> String {
    let mut found = Vec::new();
    pointers(value, "", &mut found);
    found.swap_remove(at.index(found.len()))
}

/// Free JSON keeps what it is given.
fn is_free(pointer: &str) -> bool {
    pointer.contains("/config") || pointer.starts_with("/detail")
}

#[test]
fn answers_are_read_whole() {
    for document in documents() {
        (document.read)(&document.answer.to_string()).unwrap_or_else(|error| panic!("{error}: {}", document.answer));
    }
}

#[test]
fn an_answer_that_is_nested_without_end_is_an_error() {
    for document in documents() {
        let whole = document.answer.to_string();
        for deep in ["[".repeat(100_000), "{\"config\":".repeat(100_000)] {
            assert!((document.read)(&deep).is_err());
            assert!((document.read)(&format!("{}{deep}", &whole[..1])).is_err());
        }
    }
}

/// What is missing is nothing, as if it were null, or it is an error. Only of these fields a former release, which does not tell them,
/// is taken to have said the least.
#[test]
fn a_field_that_is_missing_is_never_taken_for_an_observation() {
    let mut least = BTreeSet::new();
    for document in documents() {
        let whole = document.answer;
        let mut places = Vec::new();
        pointers(&whole, "", &mut places);
        for place in places.iter().filter(|place| !is_free(place)) {
            let (parent, key) = place.rsplit_once('/').unwrap_or_default();
            let mut without = whole.clone();
            let Some(Value::Object(map)) = without.pointer_mut(parent).filter(|_| !place.is_empty()) else { continue };
            map.remove(key);
            let mut empty = whole.clone();
            *empty.pointer_mut(place).unwrap() = Value::Null;
            match ((document.read)(&without.to_string()), (document.read)(&empty.to_string())) {
                (Err(_), _) => {}
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "without {place}"),
                (Ok(_), Err(_)) => drop(least.insert(key.to_owned())),
            }
        }
    }
    let known = ["attempt", "call", "done", "schema_gone", "shared_with", "unbound_count"];
    assert_eq!(least, known.map(str::to_owned).into());
}

proptest! {
    #[test]
    fn an_answer_with_a_wrong_part_is_read_or_refused(document in any::<Index>(), parts in vec((any::<Index>(), any_json()), 1..4)) {
        let document = document.get(&documents()[..]).answer.clone();
        for known in documents() {
            let mut answer = document.clone();
            for (at, part) in &parts {
                let place = place(&answer, *at);
                *answer.pointer_mut(&place).unwrap() = part.clone();
            }
            let _ = (known.read)(&answer.to_string());
        }
    }

    #[test]
    fn any_text_is_answered(text in any::<String>(), cut in any::<Index>(), bytes in vec(any::<u8>(), 0..40)) {
        for document in documents() {
            let whole = document.answer.to_string();
            let cut = cut.index(whole.len());
            prop_assert!((document.read)(&whole[..cut]).is_err(), "cut off at {}", cut);
            let _ = (document.read)(&text);
            let broken = [&whole.as_bytes()[..cut], &bytes].concat();
            let _ = (document.read)(&String::from_utf8_lossy(&broken));
        }
    }

    #[test]
    fn fields_of_a_newer_release_change_nothing(at in any::<Index>(), part in any_json()) {
        for document in documents() {
            let expected = (document.read)(&document.answer.to_string());
            let mut answer = document.answer;
            let place = place(&answer, at);
            match answer.pointer_mut(&place).unwrap() {
                Value::Object(map) if !is_free(&place) => drop(map.insert("of_a_newer_release".to_owned(), part.clone())),
                _ => {}
            }
            prop_assert_eq!((document.read)(&answer.to_string()), expected, "at {}", place);
        }
    }
}
