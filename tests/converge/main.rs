//! Wherever a pass is cut off, the next ones come to the same state, and then there is nothing left to do.
//!
//! Each scenario is first played undisturbed, then cut off after each effect of its last plan, once and a second time in the
//! pass that follows; and random walks over specs, drift and kills end where a tenant ends that was made
//! with the last spec at once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where its ground gives way")]

mod stage;

use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::{
    prelude::*,
    test_runner::{FileFailurePersistence, TestCaseError, TestRunner},
};
use serde_json::{Value, json};
use stage::{Stage, Subject};
use tenant_schema_operator::plan::{Effect, End};

/// What happens to a tenant, one after the other.
#[derive(Clone, Debug)]
enum Turn {
    /// A user applies this spec.
    Spec(Value),
    /// A user with too many rights runs this SQL by mistake; `$schema` is the schema, `$owner` its owner role and so
    /// on.
    Sql(&'static str),
    /// A user asks for a backup and it is not made yet.
    Backup,
    /// A user deletes it.
    Delete,
}

async fn take(stage: &Stage, subject: &mut Subject, turn: &Turn) {
    match turn {
        Turn::Spec(spec) => subject.set(spec),
        Turn::Sql(sql) => {
            let roles = stage
                .sql(&format!(
                    "SELECT quote_ident(owner_role), quote_ident(reader_role), quote_ident(writer_role) FROM \
                 edu_matrix_hub_schema.tenant_schemas WHERE schema_name = '{}' AND status <> 'dropped'",
                    subject.schema()
                ))
                .await;
            let mut roles = roles.split('|');
            let mut sql = sql.replace("$schema", &subject.schema());
            for word in ["$owner", "$reader", "$writer"] {
                sql = sql.replace(word, roles.next().unwrap());
            }
            stage.sql(&sql).await;
        }
        Turn::Backup => {
            let (_, end) = stage.backup_pass(subject, &subject.backup(), false).await;
            assert!(matches!(end, End::Waits { .. }), "{end:?}");
        }
        Turn::Delete => subject.delete(),
    }
}

/// Plays all turns but the last to their end, and takes the last.
async fn play(stage: &Stage, turns: &[Turn]) -> Subject {
    let Some((Turn::Spec(first), rest)) = turns.split_first() else { panic!("a tenant begins with a spec") };
    let mut subject = Subject::new(first);
    for turn in rest {
        if !matches!(turn, Turn::Delete) {
            stage.pass(&mut subject).await;
            let open = stage.plan(&subject).await;
            assert!(open.is_empty(), "one pass is not enough: {open:#?}");
        }
        take(stage, &mut subject, turn).await;
    }
    subject
}

/// The scenario comes to the same state wherever its last plan is cut off, once or twice.
async fn check(stage: &mut Stage, turns: Vec<Turn>) {
    // In boxes, since what a pass holds is large.
    let mut undisturbed = Box::pin(play(stage, &turns)).await;
    let effects = Box::pin(stage.plan(&undisturbed)).await.len();
    assert!(effects > 0, "{turns:?} leaves nothing to do");
    stage.settle(&mut undisturbed).await;
    let expected = stage.state(&undisturbed).await;
    let once = (0..=effects).map(|cut| (cut, None));
    let twice = (0..effects).map(|cut| (cut, Some(1)));
    for (cut, again) in once.chain(twice) {
        let mut subject = Box::pin(play(stage, &turns)).await;
        stage.pass_until(&subject, cut).await;
        stage.restart().await;
        if let Some(again) = again {
            stage.pass_until(&subject, again).await;
            stage.restart().await;
        }
        stage.settle(&mut subject).await;
        let found = stage.state(&subject).await;
        assert_eq!(found, expected, "{turns:#?}\ncut off after {cut} of {effects}, then after {again:?}");
        assert_eq!(subject.gone, undisturbed.gone);
        let open = Box::pin(stage.plan(&subject)).await;
        assert!(
            !open.iter().any(|effect| matches!(effect, Effect::Steps(_) | Effect::Try(_))),
            "{turns:#?}: {open:#?}"
        );
    }
}

fn plain() -> Turn {
    Turn::Spec(json!({}))
}

fn with(change: Value) -> Turn {
    Turn::Spec(change)
}

const TABLES: Turn = Turn::Sql(
    "SET ROLE $owner; CREATE TABLE $schema.pupils (id int PRIMARY KEY); INSERT INTO $schema.pupils SELECT generate_series(1, 100); CREATE TABLE $schema.notes (t text)",
);
const GRANTED: Turn = Turn::Sql("GRANT ALL ON SCHEMA $schema TO PUBLIC; REVOKE USAGE ON SCHEMA $schema FROM $reader");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_comes_and_changes_converges_wherever_it_is_cut_off() {
    let mut stage = Stage::new().await;
    let full = json!({ "config": { "grade": 7 }, "quota": { "limit": "1Gi" }, "access": "Suspended" });
    for turns in [
        vec![plain()],
        vec![with(full.clone())],
        vec![plain(), with(json!({ "config": { "grade": 7 } }))],
        vec![with(json!({ "quota": { "limit": "1Gi" } })), plain()],
        vec![plain(), with(json!({ "access": "Suspended" }))],
        vec![with(json!({ "access": "Suspended" })), plain()],
        vec![plain(), TABLES, with(full.clone())],
        vec![plain(), GRANTED],
        vec![plain(), Turn::Sql("ALTER SCHEMA $schema OWNER TO $writer")],
        vec![plain(), Turn::Sql("ALTER ROLE $owner LOGIN; GRANT $owner TO $reader")],
        vec![plain(), Turn::Sql("ALTER DEFAULT PRIVILEGES FOR ROLE $owner REVOKE SELECT ON TABLES FROM $reader")],
    ] {
        check(&mut stage, turns).await;
    }
    // Drift and a change of everything meet in one plan of several steps. A wrong owner keeps access from being changed.
    for drift in [GRANTED, Turn::Sql("ALTER SCHEMA $schema OWNER TO $reader")] {
        let both = vec![plain(), TABLES, drift];
        let mut undisturbed = play(&stage, &both).await;
        undisturbed.set(&full);
        assert!(stage.plan(&undisturbed).await.len() >= 3);
        stage.settle(&mut undisturbed).await;
        let expected = stage.state(&undisturbed).await;
        for cut in 0..=3 {
            let mut subject = play(&stage, &both).await;
            subject.set(&full);
            stage.pass_until(&subject, cut).await;
            stage.restart().await;
            stage.settle(&mut subject).await;
            assert_eq!(stage.state(&subject).await, expected, "cut off after {cut}");
        }
    }
    stage.clean_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_goes_converges_wherever_it_is_cut_off() {
    let mut stage = Stage::new().await;
    for policy in ["BackupThenDrop", "Drop", "Retain"] {
        let spec = json!({ "deletionPolicy": policy, "config": { "grade": 7 } });
        check(&mut stage, vec![with(spec.clone()), TABLES, Turn::Delete]).await;
        if policy != "Retain" {
            check(&mut stage, vec![with(spec.clone()), TABLES, Turn::Backup, Turn::Delete]).await;
            check(&mut stage, vec![with(spec), Turn::Sql("DROP SCHEMA $schema"), Turn::Delete]).await;
        }
    }
    // Deleted before anything was made, and while it is being made.
    check(&mut stage, vec![plain(), Turn::Delete]).await;
    let mut early = Subject::new(&json!({}));
    early.delete();
    stage.settle(&mut early).await;
    assert!(early.gone);
    stage.clean_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_converges_wherever_it_is_cut_off() {
    let mut stage = Stage::new().await;
    let mut expected: Option<[String; 2]> = None;
    // Killed nowhere; after the request; after the claim; after the work and before any process heard of it; and so on
    // for its end.
    for killed in 0..=5 {
        let mut subject = play(&stage, &[plain(), TABLES]).await;
        stage.settle(&mut subject).await;
        let mut backup = subject.backup();
        stage.backup_pass(&subject, &backup, killed == 1).await;
        if killed == 1 || killed == 2 {
            assert!(killed == 1 || stage.claim_job().await.is_some());
            stage.restart().await;
            let (text, end) = stage.backup_pass(&subject, &backup, false).await;
            assert!(matches!(end, End::Waits { .. }), "{text}: {end:?}");
        }
        stage.run_jobs().await;
        if killed == 3 {
            stage.restart().await;
        }
        let (text, end) = stage.backup_pass(&subject, &backup, false).await;
        assert_eq!((text.contains("nothing to do"), end), (true, End::Done), "{text}");
        let made = stage.state(&subject).await;

        backup.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        stage.backup_pass(&subject, &backup, killed == 4).await;
        if killed == 4 || killed == 5 {
            assert!(killed == 4 || stage.claim_job().await.is_some());
            stage.restart().await;
            stage.backup_pass(&subject, &backup, false).await;
        }
        stage.run_jobs().await;
        let (text, end) = stage.backup_pass(&subject, &backup, false).await;
        assert_eq!(end, End::Released, "{text}");
        let states = [made, stage.state(&subject).await];
        assert_eq!(&states, expected.get_or_insert_with(|| states.clone()), "killed at {killed}");
    }
    stage.clean_up().await;
}

/// One move of a random walk.
#[derive(Clone, Debug)]
enum Move {
    /// A user applies another spec.
    Spec(Value),
    /// A user changes what is not theirs.
    Drift(usize),
    /// A pass is cut off after so many effects, and the operator is started again.
    Killed(usize),
    /// A whole pass.
    Pass,
}

const DRIFTS: [&str; 5] = [
    "GRANT ALL ON SCHEMA $schema TO PUBLIC",
    "REVOKE ALL ON SCHEMA $schema FROM $reader, $writer",
    "ALTER SCHEMA $schema OWNER TO $reader",
    "ALTER ROLE $writer LOGIN CREATEROLE",
    "ALTER DEFAULT PRIVILEGES FOR ROLE $owner GRANT ALL ON TABLES TO PUBLIC",
];

fn spec() -> impl Strategy<Value = Value> {
    let config = prop_oneof![Just(None), (0..3).prop_map(|grade| Some(json!({ "grade": grade })))];
    let quota = prop_oneof![Just(None), Just(Some("1Gi")), Just(Some("2Gi"))];
    let access = prop_oneof![Just("ReadWrite"), Just("Suspended")];
    (config, quota, access).prop_map(|(config, quota, access)| {
        let mut spec = json!({ "access": access });
        if let Some(config) = config {
            spec["config"] = config;
        }
        if let Some(quota) = quota {
            spec["quota"] = json!({ "limit": quota });
        }
        spec
    })
}

fn walk() -> impl Strategy<Value = (Value, Vec<Move>)> {
    let one = prop_oneof![
        3 => spec().prop_map(Move::Spec),
        2 => (0..DRIFTS.len()).prop_map(Move::Drift),
        2 => (0..3_usize).prop_map(Move::Killed),
        2 => Just(Move::Pass),
    ];
    (spec(), proptest::collection::vec(one, 1..8))
}

/// Walks, and ends where a tenant ends that was made with the last spec at once.
async fn wander(stage: &mut Stage, first: &Value, moves: &[Move]) -> Result<(), TestCaseError> {
    let mut subject = Subject::new(first);
    let mut last = first.clone();
    for one in moves {
        match one {
            Move::Spec(spec) => {
                subject.set(spec);
                last = spec.clone();
            }
            Move::Drift(which) => {
                let stands = format!("SELECT count(*) FROM pg_namespace WHERE nspname = '{}'", subject.schema());
                if stage.sql(&stands).await == "1" {
                    take(stage, &mut subject, &Turn::Sql(DRIFTS[*which])).await;
                }
            }
            Move::Killed(effects) => {
                stage.pass_until(&subject, *effects).await;
                stage.restart().await;
            }
            Move::Pass => drop(stage.pass(&mut subject).await),
        }
    }
    stage.settle(&mut subject).await;
    let mut direct = Subject::new(&last);
    stage.settle(&mut direct).await;
    prop_assert_eq!(stage.state(&subject).await, stage.state(&direct).await);
    prop_assert!(stage.plan(&subject).await.is_empty());
    Ok(())
}

#[test]
fn random_walks_end_where_the_last_spec_says() {
    const ENOUGH: Duration = Duration::from_secs(15);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stage = tokio::sync::Mutex::new(runtime.block_on(Stage::new()));
    let started = Instant::now();
    let found = FileFailurePersistence::Direct("tests/converge/regressions.txt");
    let config = ProptestConfig {
        cases: 60,
        max_shrink_iters: 60,
        failure_persistence: Some(Box::new(found)),
        ..Default::default()
    };
    let mut runner = TestRunner::new(config);
    let walked = runner.run(&walk(), |(first, moves)| {
        // A machine that is slow proves less, but not for longer.
        if started.elapsed() > ENOUGH {
            return Ok(());
        }
        runtime.block_on(async { wander(&mut *stage.lock().await, &first, &moves).await })
    });
    walked.unwrap_or_else(|error| panic!("{error}"));
    runtime.block_on(stage.into_inner().clean_up());
}
