//! What a pass over a database does is text that a reviewer can read: each scenario's plan is a golden file in
//! `tests/database_plan/plans/`. `UPDATE_PLANS=1 cargo test --test database_plan` writes the files again; the diff is the review.
//!
//! What no plan may do is looked for in the plans of every observation that there can be.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where its ground gives way")]

mod words;

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use tenant_schema_operator::{
    api::condition::Reason,
    database::{
        desired::Desired,
        observe::{Cache, LaneSeen, Observed, Stands},
        plan::{End, Move, Plan, keep_off, plan},
        resolve::Unresolved,
    },
    kubernetes::{self, lease::Standing},
};
use tokio::time::Instant;

const AT_WORK: LaneSeen = LaneSeen { as_asked: true, news: false, due: false };

const OPEN: Stands = Stands::Open { busy: false };

/// A database with our finalizer, of which nothing else is asked.
fn database() -> Desired {
    Desired { name: "default".to_owned(), protected: true, ..Desired::default() }
}

fn deleted() -> Desired {
    Desired { leaving: true, ..database() }
}

/// This replica's turn, and nothing stands in the way.
fn ours() -> Observed {
    Observed { standing: Some(held_and(None)), ..Observed::default() }
}

fn wanted() -> Standing {
    held_and(Some("operator-b".to_owned()))
}

fn held_and(wanted_by: Option<String>) -> Standing {
    Standing::Held { until: Instant::now(), wanted_by }
}

fn without_secret() -> Unresolved {
    Unresolved::NotFound { namespace: "operators".to_owned(), name: "postgres".to_owned() }
}

fn unanswered() -> Arc<kubernetes::Error> {
    let attempt = "take part in Lease tenant-database-default".to_owned();
    Arc::new(kubernetes::Error::Unreachable { attempt, message: "connection refused".to_owned() })
}

/// The plan is the golden file.
fn check(file: &str, desired: &Desired, observed: &Observed) {
    let plan = plan(desired, observed).to_string();
    let text = format!("database {}:\n  {}\n", desired.name, plan.trim_end().replace('\n', "\n  "));
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/database_plan/plans").join(format!("{file}.txt"));
    if std::env::var_os("UPDATE_PLANS").is_some() {
        fs::write(&path, &text).expect("a golden file that can be written");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "plan {file}; if this is meant: UPDATE_PLANS=1 cargo test --test database_plan");
}

#[test]
fn a_replica_takes_part_and_stands_by_until_it_is_its_turn() {
    check("first-look", &database(), &Observed::default());
    let waiting = |stands| Observed { standing: Some(Standing::Waiting), stands, ..Observed::default() };
    check("lease-lost", &database(), &waiting(OPEN));
    check("stands-by", &database(), &waiting(Stands::By(Duration::from_secs(59))));
    let long = waiting(Stands::By(Duration::from_mins(1)));
    check("stands-by-long", &database(), &Observed { said_to_be_well: true, ..long });
    // A holder that works says itself what is wrong.
    check("stands-by-long-and-holder-says-why", &database(), &waiting(Stands::By(Duration::from_mins(1))));
}

#[test]
fn a_replica_leaves_a_database_that_is_not_its_own_any_more() {
    check("epoch-refused", &database(), &Observed { stands: Stands::Refused, ..ours() });
    check("turn-unknown", &database(), &Observed { standing: Some(Standing::Failed(unanswered())), ..ours() });
    check(
        "handed-over",
        &database(),
        &Observed { standing: Some(wanted()), stands: OPEN, lane: Some(AT_WORK), ..ours() },
    );
    check("handed-over-before-it-was-opened", &database(), &Observed { standing: Some(wanted()), ..ours() });
    let busy =
        Observed { standing: Some(wanted()), stands: Stands::Open { busy: true }, lane: Some(AT_WORK), ..ours() };
    check("not-handed-over-while-a-job-runs", &database(), &busy);
}

#[test]
fn no_replica_works_by_what_is_not_there() {
    let unsettled = |stands| Observed { cache: Cache::Unsettled, stands, ..ours() };
    check("world-went-back", &database(), &unsettled(OPEN));
    check("world-went-back-still", &database(), &unsettled(Stands::By(Duration::from_millis(500))));
    let lacks = "the kinds lack spec.limits; apply the crds of this release";
    let older = |stands| Observed { cache: Cache::CutOff(lacks.to_owned()), stands, ..ours() };
    check("kinds-older", &database(), &older(OPEN));
    check("kinds-older-still", &database(), &older(Stands::Shut(Reason::KindsOlder)));
}

#[test]
fn a_database_is_brought_to_work() {
    check("new", &Desired { protected: false, ..database() }, &ours());
    check("restarted", &database(), &ours());
    check("spec-changed", &database(), &Observed { lane: Some(LaneSeen { as_asked: false, ..AT_WORK }), ..ours() });
    let no_secret = || Observed { unresolved: Some(without_secret()), ..ours() };
    check("new-without-secret", &Desired { protected: false, ..database() }, &no_secret());
    let complaint = Some("spec.limits.maxQuota: 1Q is no size".to_owned());
    check("without-secret-and-invalid", &Desired { complaint, ..database() }, &no_secret());
}

#[test]
fn a_database_at_work_is_surveyed_when_that_is_due_and_tenants_follow_what_is_new() {
    let lane = |lane| Observed { lane: Some(lane), ..ours() };
    check("at-rest", &database(), &lane(AT_WORK));
    check("survey-due", &database(), &lane(LaneSeen { due: true, ..AT_WORK }));
    check("survey-asked-for", &database(), &Observed { asked: true, ..lane(AT_WORK) });
    check("tenants-follow", &database(), &lane(LaneSeen { news: true, ..AT_WORK }));
    // A Secret that cannot be read closes nothing.
    check("secret-removed", &database(), &Observed { unresolved: Some(without_secret()), ..lane(AT_WORK) });
}

#[test]
fn a_deleted_database_goes_when_no_object_needs_it() {
    check("deleted", &deleted(), &Observed { lane: Some(AT_WORK), ..ours() });
    check("deleted-and-down", &deleted(), &ours());
    let users = Some("2 TenantSchemas still need this database".to_owned());
    check("deleted-and-used", &deleted(), &Observed { users: users.clone(), lane: Some(AT_WORK), ..ours() });
    check("deleted-and-used-and-closed", &deleted(), &Observed { users, ..ours() });
    check("deleted-elsewhere", &deleted(), &Observed { standing: Some(Standing::Waiting), ..Observed::default() });
}

#[test]
fn every_golden_file_is_of_a_scenario() {
    let text = include_str!("main.rs");
    for file in fs::read_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/database_plan/plans")).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(text.contains(&format!("\"{name}\",")), "{name} is of no scenario");
    }
}

/// One of a few values, chosen by the lowest digit of `choice`, which it takes away.
fn of<T>(choice: &mut usize, values: Vec<T>) -> T {
    let (index, count) = (*choice % values.len(), values.len());
    *choice /= count;
    values.into_iter().nth(index).unwrap()
}

/// The observation with this number; nothing when there are no more.
fn any(mut choice: usize) -> Option<(Desired, Observed)> {
    let flag = |choice: &mut usize| of(choice, vec![false, true]);
    let desired = Desired { leaving: flag(&mut choice), protected: flag(&mut choice), ..database() };
    let standings =
        vec![None, Some(Standing::Waiting), Some(held_and(None)), Some(wanted()), Some(Standing::Failed(unanswered()))];
    let stands = vec![
        Stands::Idle,
        Stands::Refused,
        OPEN,
        Stands::Open { busy: true },
        Stands::By(Duration::ZERO),
        Stands::By(Duration::from_mins(1)),
        Stands::Shut(Reason::KindsOlder),
        Stands::Shut(Reason::ConnectionFailed),
    ];
    let lanes = vec![
        None,
        Some(AT_WORK),
        Some(LaneSeen { as_asked: false, ..AT_WORK }),
        Some(LaneSeen { as_asked: true, news: true, due: true }),
    ];
    let observed = Observed {
        standing: of(&mut choice, standings),
        stands: of(&mut choice, stands),
        cache: of(&mut choice, vec![Cache::Settled, Cache::Unsettled, Cache::CutOff("lacking".to_owned())]),
        said_to_be_well: flag(&mut choice),
        asked: flag(&mut choice),
        users: of(&mut choice, vec![None, Some("used".to_owned())]),
        unresolved: of(&mut choice, vec![None, Some(without_secret())]),
        lane: of(&mut choice, lanes),
        ..Observed::default()
    };
    (choice == 0).then_some((desired, observed))
}

#[test]
fn no_plan_does_what_none_may() {
    let mut count = 0;
    for (desired, observed) in (0..).map_while(any) {
        count += 1;
        let Plan { moves, end } = plan(&desired, &observed);
        let works = matches!(end, End::Report(_) | End::Release);
        let ours = matches!(observed.standing, Some(Standing::Held { .. }));
        let may = ours && observed.cache == Cache::Settled && observed.stands != Stands::Refused;
        let told = || format!("{desired:?}\n{observed:?}\n{moves:?} {end:?}");
        assert!(!works || may, "works where it may not: {}", told());
        let touches = |one: &Move| matches!(one, Move::Protect | Move::Open | Move::Wake | Move::Survey);
        assert!(may || !moves.iter().any(touches), "touches what is not its own: {}", told());
        let stands_by = moves.contains(&Move::StandBy);
        assert!(!stands_by || !moves.iter().any(touches), "works and stands by: {}", told());
        assert!(!matches!(end, End::Release) || desired.leaving && observed.users.is_none(), "{}", told());
        assert!(
            !matches!(end, End::HandOver(_)) || may && observed.stands != Stands::Open { busy: true },
            "cuts a job off: {}",
            told()
        );
        assert!(!moves.contains(&Move::Protect) || !desired.leaving, "cannot be: {}", told());
        let opens = moves.iter().position(|one| *one == Move::Open);
        let surveys = moves.iter().position(|one| *one == Move::Survey);
        assert!(opens.is_none() || opens < surveys, "a lane is used before it is surveyed: {}", told());
        let reports = matches!(end, End::Report(_));
        assert!(!reports || opens.is_some() || observed.lane.is_some(), "reports of no lane: {}", told());
        let finalizer_first = moves.iter().position(|one| *one == Move::Protect).is_none_or(|at| at == 0);
        assert!(finalizer_first, "the finalizer comes first: {}", told());
        // What only the holder looks for is not in the plan of one that keeps off.
        let blind = Observed {
            standing: observed.standing.clone(),
            stands: observed.stands,
            cache: observed.cache.clone(),
            said_to_be_well: observed.said_to_be_well,
            ..Observed::default()
        };
        if let Some(kept_off) = keep_off(&blind) {
            let full = Plan { moves: moves.clone(), end };
            assert_eq!(kept_off.to_string(), full.to_string(), "{observed:?}");
        }
    }
    assert!(count > 10_000, "{count}");
}
