//! The property by itself: what breaks it, and what does not.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use tenant_schema_operator::api::CONFIRM_DROP;

use super::{
    model::{Model, Place},
    property::{Found, broken},
};

fn place(name: &str) -> Place {
    Place { namespace: "team".to_owned(), namespace_uid: "1".to_owned(), name: name.to_owned() }
}

/// Two objects, `a` and `b`; that of `a` wrote rows 1 and 2 of life 1 into schema `s`, whose id is `i`.
fn model() -> Model {
    let mut model = Model::default();
    model.saw("uid-a", &place("a"));
    model.saw("uid-b", &place("b"));
    model.begins(1, "s", &place("a"));
    model.acknowledged(1, 1);
    model.acknowledged(1, 2);
    assert_eq!(broken(&mut model, &[found("s", "living", "uid-a", &[(1, &[1, 2])])]), Vec::<String>::new());
    model
}

fn found(schema: &str, is: &str, owner: &str, rows: &[(u64, &[u64])]) -> Found {
    let rows: BTreeMap<u64, BTreeSet<u64>> =
        rows.iter().map(|(life, rows)| (*life, rows.iter().copied().collect())).collect();
    serde_json::from_value(json!({ "schema": schema, "is": is, "owner_uid": owner, "ids": ["i"], "rows": rows }))
        .unwrap()
}

fn check(mut model: Model, places: &[Found], expected: &[&str]) {
    assert_eq!(broken(&mut model, places), expected);
}

#[test]
fn rows_are_where_the_catalogue_says() {
    let whole: &[(u64, &[u64])] = &[(1, &[1, 2])];
    check(model(), &[found("s_bak", "aside", "", whole)], &[]);
    check(model(), &[found("s", "released", "uid-a", whole)], &[]);
    check(model(), &[found("s", "living", "uid-a", &[(1, &[1, 2, 3])])], &[]);
    let life = "life 1 of s (team(1)/a)";
    check(model(), &[], &[&format!("{life} is whole in no one place: nowhere")]);
    check(
        model(),
        &[found("s", "living", "uid-a", &[(1, &[1])])],
        &[&format!("{life} is in s (living) without its rows [2]")],
    );
    check(
        model(),
        &[found("s", "living", "uid-b", whole)],
        &[&format!("{life} is in s (living), which was given to team(1)/b")],
    );
    // An object that was given a life has it from then on, and none does that was given another schema.
    let named = |name: &str| ("team".to_owned(), name.to_owned());
    for (schema, expected) in
        [("s", Vec::new()), ("t", vec![format!("{life} is in s (living), which was given to team(1)/b")])]
    {
        let mut model = model();
        model.gives(schema, named("a"), named("b"));
        assert_eq!(broken(&mut model, &[found("s", "living", "uid-b", whole)]), expected);
    }
    for is in ["unknown", "purging"] {
        let text = format!("{life} is in s_bak ({is}): nothing in the catalogue keeps it");
        check(model(), &[found("s_bak", is, "", whole)], &[&text]);
    }
    check(
        model(),
        &[found("s", "living", "uid-a", &[(1, &[1]), (9, &[9])]), found("t", "living", "uid-b", &[(1, &[2])])],
        &[
            "rows of lives [1, 9] are mixed in s (living)",
            &format!("{life} is whole in no one place: s (living) and t (living)"),
        ],
    );
}

#[test]
fn a_life_goes_only_when_its_own_object_was_deleted_and_this_life_confirmed() {
    let lost = ["life 1 of s (team(1)/a) is whole in no one place: nowhere"];
    let after = |uid: &str, value: &str, deleted: bool| {
        let mut model = model();
        if deleted {
            model.deletes(uid);
        }
        let annotations = BTreeMap::from([(CONFIRM_DROP.to_owned(), value.to_owned())]);
        model.annotated(uid, &annotations, deleted.then_some("noon"));
        model
    };
    check(after("uid-a", "s@i.noon", true), &[], &[]);
    check(after("uid-a", "s@i.noon", false), &[], &lost);
    check(after("uid-a", "s@other.noon", true), &[], &lost);
    check(after("uid-a", "s@i.morning", true), &[], &lost);
    check(after("uid-b", "s@i.noon", true), &[], &lost);
    // What was confirmed and asked for in a world that is gone may be under way, and nothing more.
    let mut went_back = after("uid-a", "s@i.noon", true);
    let then = model().of_cluster();
    went_back.cluster_went_back(&then);
    assert!(went_back.may_go(1));
    went_back.is_calm();
    check(went_back, &[], &lost);
    // What was dropped after a copy is there again when the database went back to it, and has to stay.
    let mut restored = after("uid-b", "s@i.noon", true);
    let copy = model().of_database();
    restored.database_went_back(copy);
    check(restored, &[], &lost);
}
