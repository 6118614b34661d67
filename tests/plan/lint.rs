//! What is true of every plan, for any wish and any state of the database: plans of random objects and random answers
//! are checked.
//!
//! The golden files show a plan for each case that is known; this looks for one that no golden file shows.
//! `PROPTEST_CASES=100000 cargo test --test plan lint` looks longer.

use std::sync::LazyLock;

use proptest::prelude::*;
use regex::Regex;
use serde_json::json;
use tenant_schema_operator::{
    api::{
        SchemaBackup, TenantSchema,
        condition::{ConditionType, Reason},
    },
    backup::observe::Observed as ObservedBackup,
    contract::{AccessWord, InstitutionStatus, JobKind, LoginLimits, Purpose, Step, TenantAnswer, TenantRow},
    frame::{Kind, Wish},
    kubernetes::secrets::Target,
    plan::{Effect, Plan, Running},
    tenant::observe::Observed,
};
use uuid::Uuid;

use crate::{
    backup_resolved,
    random::{Dice, backup, backup_answer, database, secret_seen, tenant, tenant_answer},
    resolved,
};

/// What a plan is looked over against.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "the facts are independent of one another")]
struct Situation {
    /// Long work of the object runs.
    jobs: bool,
    /// The object is deleted or gone.
    gone: bool,
    /// A user asked that nothing is done.
    paused: bool,
    /// Its institution is suspended or closed.
    shut: bool,
    /// It is an archive, and its database has no store that can be used.
    storeless: bool,
}

/// Everything that is wrong with a plan.
fn lint(plan: &Plan, at: Situation) -> Vec<&'static str> {
    let lints: [(&str, bool); 15] = [
        ("something is destroyed while its jobs run", at.jobs && destroys_before_jobs_end(plan)),
        ("an effect comes after one that ends the plan", ends_early(plan)),
        ("more than one thing is waited for", plan.effects.iter().filter(|effect| waits(effect)).count() > 1),
        ("the object is let go while something is waited for", releases_after_waiting(plan)),
        ("a reason is a person's and waited for, or the other way round", plan.effects.iter().any(gives_wrong_reason)),
        ("a refusal names no way out", plan.effects.iter().any(refuses_without_way_out)),
        ("something is given to an object that is gone", at.gone && plan.steps().any(Step::gives)),
        ("a pause is passed over", at.paused != plan.paused),
        ("steps are announced and there are none", plan.effects.iter().any(is_hollow)),
        ("a tenant is opened whose institution is shut", at.shut && plan.steps().any(opens)),
        ("a login is opened whose institution is shut", at.shut && plan.steps().any(|step| issues(step).is_some())),
        ("a password is issued and not published at once, or the other way round", is_lost(plan)),
        ("a login is closed after one was opened, which would close that", closes_after_opening(plan)),
        ("a store is waited for that is there", !at.storeless && plan.effects.iter().any(waits_for_store)),
        ("a line is empty", plan.to_string().lines().any(|line| line.trim().is_empty())),
    ];
    lints.into_iter().filter(|(_, wrong)| *wrong).map(|(lint, _)| lint).collect()
}

fn opens(step: &Step) -> bool {
    step.opens() || matches!(step, Step::CreateTenantSchema { access: AccessWord::ReadWrite, .. })
}

/// What the login is for that a step gives a password.
fn issues(step: &Step) -> Option<&Purpose> {
    match step {
        Step::IssueCredential { purpose, .. } => Some(purpose),
        _ => None,
    }
}

/// The steps that issue passwords are the last of their call, and directly after it come the effects that publish them.
fn is_lost(plan: &Plan) -> bool {
    let mut issued: Vec<&Purpose> = Vec::new();
    for effect in &plan.effects {
        match effect {
            Effect::Publish { purpose, .. } => match issued.iter().position(|issued| *issued == purpose) {
                Some(at) => drop(issued.remove(at)),
                None => return true,
            },
            _ if !issued.is_empty() => return true,
            Effect::Steps(steps) | Effect::Try(steps) => {
                issued = steps.iter().skip_while(|step| issues(step).is_none()).filter_map(issues).collect();
                if steps.iter().rev().take(issued.len()).any(|step| issues(step).is_none()) {
                    return true;
                }
            }
            _ => {}
        }
    }
    !issued.is_empty()
}

/// What was opened is not closed by the same plan.
fn closes_after_opening(plan: &Plan) -> bool {
    let closes = |step: &Step| match step {
        Step::EndPreviousLogin { purpose, .. } | Step::WithdrawCredential { purpose, .. } => Some(purpose.clone()),
        _ => None,
    };
    let steps: Vec<_> = plan.steps().collect();
    steps.iter().enumerate().any(|(at, step)| {
        issues(step).is_some_and(|opened| steps[at..].iter().any(|later| closes(later).as_ref() == Some(opened)))
    })
}

fn destroys(step: &Step) -> bool {
    matches!(
        step,
        Step::SetAsideTenantSchema { .. }
            | Step::RequestPurge { .. }
            | Step::CancelBackup { .. }
            | Step::CancelTenantJobs { .. }
    )
}

fn destroys_before_jobs_end(plan: &Plan) -> bool {
    let ended = plan.effects.iter().take_while(|effect| !matches!(effect, Effect::EndJobs(_))).count();
    let before = Plan { effects: plan.effects[..ended].to_vec(), ..Plan::default() };
    before.steps().any(destroys)
}

fn waits(effect: &Effect) -> bool {
    matches!(effect, Effect::Await { .. })
}

fn waits_for_store(effect: &Effect) -> bool {
    matches!(effect, Effect::Await { reason: Reason::StoreUnavailable, .. })
}

fn ends_early(plan: &Plan) -> bool {
    let last = plan.effects.len().saturating_sub(1);
    let ends = |effect: &Effect| matches!(effect, Effect::Await { .. } | Effect::Refuse { .. } | Effect::Release);
    plan.effects.iter().take(last).any(ends)
}

fn releases_after_waiting(plan: &Plan) -> bool {
    plan.effects.iter().skip_while(|effect| !waits(effect)).any(|effect| *effect == Effect::Release)
}

fn gives_wrong_reason(effect: &Effect) -> bool {
    match effect {
        Effect::Await { reason, .. } => reason.condition() != ConditionType::Reconciling,
        Effect::Refuse { reason, .. } => reason.condition() != ConditionType::Stalled,
        _ => false,
    }
}

fn is_hollow(effect: &Effect) -> bool {
    matches!(effect, Effect::Steps(steps) | Effect::Try(steps) if steps.is_empty())
}

/// A command or a statement to type, what to do and to what, who can do it and where that is written, or that it goes on by itself.
fn refuses_without_way_out(effect: &Effect) -> bool {
    static WAY_OUT: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
            r"kubectl |a DBA |let a DBA|SELECT |ALTER SCHEMA |by itself|by themselves|until that has ended|choose another|make another|delete this object|deleting this object|leave it out|platform team|Once it has another name|https://",
        )
        .unwrap()
    });
    matches!(effect, Effect::Refuse { message, .. } if !WAY_OUT.is_match(message))
}

/// Plans twice, prints, and looks it over.
fn check<K: Kind>(wish: Wish<'_, K>, observed: &K::Observed, at: Situation) -> Result<(), TestCaseError> {
    let plan = K::plan(wish, observed);
    prop_assert_eq!(&plan, &K::plan(wish, observed), "planning twice gives the same");
    let wrong = lint(&plan, at);
    prop_assert!(wrong.is_empty(), "{:?}\n{}", wrong, plan);
    Ok(())
}

fn thrown() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..90)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(2000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn plans_of_living_tenants(thrown in thrown(), gone: bool) {
        let mut dice = Dice(&thrown);
        let tenant = tenant(&mut dice, false);
        if let Ok(desired) = tenant.desired(&resolved(database(&mut dice), 0)) {
            let secrets = Purpose::all().map(|purpose| (purpose, secret_seen(&mut dice))).collect();
            let observed = Observed { gone, secrets, ..tenant_answer(&mut dice).into() };
            let TenantAnswer { own, institution_status, .. } = &observed.answer;
            let status = own.as_deref().map_or(institution_status, |row| &row.institution_status);
            let shut = matches!(status, Some(InstitutionStatus::Suspended | InstitutionStatus::Closed));
            let at = Situation { gone, paused: desired.paused, shut, ..Situation::default() };
            check::<TenantSchema>(Wish::Keep(&desired), &observed, at)?;
        }
    }

    #[test]
    fn plans_of_deleted_tenants(thrown in thrown()) {
        let mut dice = Dice(&thrown);
        let tenant = tenant(&mut dice, true);
        let leave = tenant.removal(&resolved(database(&mut dice), 0));
        let observed: Observed = tenant_answer(&mut dice).into();
        let jobs = observed.answer.own.as_deref().is_some_and(|row: &TenantRow| !row.jobs.is_empty());
        let at = Situation { jobs, gone: true, paused: leave.removal().paused, ..Situation::default() };
        check::<TenantSchema>(Wish::End(&leave), &observed, at)?;
    }

    #[test]
    fn plans_of_backups(thrown in thrown(), is_deleted: bool) {
        let mut dice = Dice(&thrown);
        let backup = backup(&mut dice, is_deleted);
        let school = tenant(&mut dice, false);
        let storeless = dice.one_in(3);
        let no_store = storeless.then(|| "TenantDatabase default has no spec.backupStore".into());
        let observed = ObservedBackup { no_store, ..backup_answer(&mut dice).into() };
        if is_deleted {
            let leave = backup.removal(&backup_resolved(Some(school), false));
            let jobs = observed.answer.backup.is_some()
                && observed.answer.job.as_ref().is_some_and(|job| matches!(job.kind, JobKind::Snapshot | JobKind::Archive));
            let at = Situation { jobs, gone: true, storeless, ..Situation::default() };
            check::<SchemaBackup>(Wish::End(&leave), &observed, at)?;
        } else if let Ok(desired) = backup.desired(&backup_resolved(Some(school), false)) {
            check::<SchemaBackup>(Wish::Keep(&desired), &observed, Situation { storeless, ..Situation::default() })?;
        }
    }
}

/// Every lint finds what it is for, and nothing else.
#[test]
fn each_lint_can_fail() {
    let id = Uuid::nil();
    let destroy = || Effect::Steps(vec![Step::CancelTenantJobs { schema_id: id }]);
    let end = || Effect::EndJobs(Running::OfTenant(id));
    let give = || Effect::Steps(vec![reclaim(id)]);
    let wait = || Effect::wait(Reason::Progressing, "it is looked at");
    let refuse = |message: &str| Effect::refuse(Reason::Conflict, message);
    let running = Situation { jobs: true, ..Situation::default() };
    let gone = Situation { gone: true, ..Situation::default() };
    let paused = Situation { paused: true, ..Situation::default() };
    let shut = Situation { shut: true, ..Situation::default() };
    let storeless = Situation { storeless: true, ..Situation::default() };
    let store = || Effect::wait(Reason::StoreUnavailable, "the archive waits for its store");
    let open = || {
        Effect::Steps(vec![Step::SetTenantAccess {
            schema_id: id,
            access: AccessWord::ReadWrite,
            access_cause: None,
            from: AccessWord::Suspended,
        }])
    };
    let quiet = Situation::default();
    let close =
        || Effect::Try(vec![Step::EndPreviousLogin { owner_uid: "u".to_owned(), purpose: Purpose::Connection }]);
    let lost = "a password is issued and not published at once, or the other way round";
    let destroyed = "something is destroyed while its jobs run";
    let after = "an effect comes after one that ends the plan";
    let (twice, let_go) = ("more than one thing is waited for", "the object is let go while something is waited for");
    let (no_way, given) = ("a refusal names no way out", "something is given to an object that is gone");
    let (pause, hollow) = ("a pause is passed over", "steps are announced and there are none");
    for (effects, at, expected) in [
        (vec![destroy()], running, vec![destroyed]),
        (vec![open()], shut, vec!["a tenant is opened whose institution is shut"]),
        (vec![open()], quiet, vec![]),
        (vec![destroy(), end()], running, vec![destroyed]),
        (vec![end(), destroy()], running, vec![]),
        (vec![destroy()], quiet, vec![]),
        (vec![wait(), destroy()], quiet, vec![after]),
        (vec![refuse("make another"), destroy()], quiet, vec![after]),
        (vec![Effect::Release, destroy()], quiet, vec![after]),
        (vec![destroy(), wait()], quiet, vec![]),
        (vec![wait(), wait()], quiet, vec![after, twice]),
        (vec![wait(), Effect::Release], quiet, vec![after, let_go]),
        (vec![refuse("cannot")], quiet, vec![no_way]),
        (vec![refuse("permission denied for schema school")], quiet, vec![no_way]),
        (vec![refuse("schema school is missing: kubectl -n a get tenantschema b")], quiet, vec![]),
        (vec![give()], gone, vec![given]),
        (vec![give()], quiet, vec![]),
        (vec![destroy()], paused, vec![pause]),
        (vec![Effect::Steps(Vec::new())], quiet, vec![hollow]),
        (vec![issue()], quiet, vec![lost]),
        (vec![publish()], quiet, vec![lost]),
        (vec![issue(), destroy(), publish()], quiet, vec![lost]),
        (vec![issue(), publish()], quiet, vec![]),
        (vec![issue(), publish()], shut, vec!["a login is opened whose institution is shut"]),
        (vec![close(), issue(), publish()], quiet, vec![]),
        (
            vec![issue(), publish(), close()],
            quiet,
            vec!["a login is closed after one was opened, which would close that"],
        ),
        (vec![store()], quiet, vec!["a store is waited for that is there"]),
        (vec![store()], storeless, vec![]),
        (vec![refuse("make another\n\nnow")], quiet, vec!["a line is empty"]),
    ] {
        let plan = Plan { subject: "tenant a/b".to_owned(), effects, ..Plan::default() };
        assert_eq!(lint(&plan, at), expected, "{plan}");
    }
}

fn issue() -> Effect {
    let limits =
        LoginLimits { connection_limit: 20, statement_timeout_seconds: 0, idle_in_transaction_timeout_seconds: 0 };
    let owner_uid = "u".to_owned();
    let (purpose, new, grace_seconds, unpublished) = (Purpose::Connection, None, 0, false);
    Effect::Try(vec![Step::IssueCredential { owner_uid, purpose, new, limits, grace_seconds, unpublished }])
}

fn publish() -> Effect {
    let text = |text: &str| text.to_owned();
    let secret = Target {
        namespace: text("a"),
        name: text("b-db"),
        uid: None,
        owner_name: text("b"),
        owner_uid: text("u"),
        stays: false,
        given_to: None,
    };
    Effect::Publish {
        purpose: Purpose::Connection,
        secret: Box::new(secret),
        schema: text("school"),
        client: None,
        read: None,
    }
}

fn reclaim(schema_id: Uuid) -> Step {
    let owner = json!({ "cluster": "c", "namespace": "a", "name": "b", "uid": "u" });
    Step::ReclaimTenantSchema { schema_id, owner: serde_json::from_value(owner).unwrap(), transfer: None }
}

/// The rule for a way out is the one that the messages of today keep.
#[test]
fn every_refusal_of_a_golden_file_names_a_way_out() {
    let mut refusals = 0;
    for file in std::fs::read_dir("tests/plan/golden").unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for line in text.lines().filter_map(|line| line.strip_prefix("  refuse (")) {
            let message = line.split_once("): ").unwrap().1;
            refusals += 1;
            assert!(!refuses_without_way_out(&Effect::refuse(Reason::Conflict, message)), "{path:?}: {message}");
        }
    }
    assert!(refusals > 40, "{refusals}");
}
