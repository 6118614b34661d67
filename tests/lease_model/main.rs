//! Which replica may work on a database, as a model that is explored whole: a Lease, the database's epoch, and replicas
//! that claim, renew, lose, ask and pass on, in every order and at any speed. With two replicas 4,656 states are
//! explored, with three 196,030.
//!
//! A replica that is paused, or that the network cuts off, is one that takes its next step much later, so every step
//! may come at any time. The rules are those of `src/kubernetes/lease.rs` and of `claim_lane`, `heartbeat_lane` and
//! `_hold_lane` in `sql/schema_management/`; which replica asks for a Lease is decided by the function that decides it
//! in the operator. Each rule that safety rests on can be left out, and the model finds what happens then: [`Broken`].

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where its ground gives way")]

mod explore;
mod rules;

use explore::{Explored, explore};
use rules::{Broken, Model};

fn explored(replicas: usize, broken: Broken, failures: bool) -> Explored {
    explore(&Model::new(replicas, broken), failures)
}

/// The model has this many states, and nothing is wrong in any of them.
fn check(replicas: usize, states: usize) {
    let explored = explored(replicas, Broken::Nothing, true);
    assert_eq!(explored.wrong, None);
    assert_eq!(explored.stuck(), None, "no replica can ever work from there");
    assert_eq!(explored.states.len(), states, "the first paragraph says how many there are");
    let calm = self::explored(replicas, Broken::Nothing, false);
    assert_eq!(calm.wrong, None);
    assert_eq!(calm.two_believe(), None, "without a failure the Lease alone is enough");
    assert_eq!(calm.passed_on_for_ever(), None, "passing on comes to an end");
    assert!(calm.is_passed_on(), "and it happens");
}

#[test]
fn two_replicas_are_never_at_work_at_once() {
    check(2, 4656);
}

#[test]
fn three_replicas_are_never_at_work_at_once() {
    check(3, 196_030);
}

#[test]
fn the_model_finds_what_each_rule_is_for() {
    let wrong = |broken| explored(2, broken, true).wrong.map(|(what, _)| what);
    assert_eq!(wrong(Broken::Nothing), None);
    assert_eq!(wrong(Broken::EpochNotCompared), Some("a call of a replica that was followed by another is accepted"));
    assert_eq!(wrong(Broken::EpochNotRaised), Some("the calls of two replicas are accepted"));
    assert_eq!(wrong(Broken::ClaimDoesNotWait), Some("two replicas are at work"));
    assert!(explored(2, Broken::WrittenUnseen, false).two_believe().is_some());
    assert!(explored(2, Broken::LeaseForEver, true).stuck().is_some());
    assert!(explored(2, Broken::HeartbeatForEver, true).stuck().is_some());
    assert!(explored(2, Broken::AskedWhenever, false).passed_on_for_ever().is_some());
}
