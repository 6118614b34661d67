//! Anything may happen to objects, to etcd, to PostgreSQL and to operators, in any order: every row that was
//! acknowledged is either in the schema where its tenant's object says, or whole in something that the catalogue names;
//! never in another tenant's schema; and no object says Ready of what is not there.
//!
//! What is looked at is the database to which the TenantDatabase leads. What an operator does to an original that it has left for a copy
//! on the same server, and to logins and memberships, which the two share, is not rows: `tests/sql/copies.rs` and
//! `tests/e2e/clones.rs` look at that.
//!
//! `SAFETY_MINUTES` says for how long and `SAFETY_SEED` with which choices; `make safety` sets them.

mod cases;
mod model;
mod property;
mod stage;
mod steps;
mod worlds;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use devcluster::EtcdSnapshot;
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tenant_schema_operator::api::{PAUSED, TenantSchema, TenantSchemaStatus};
use tokio::{task::block_in_place, time::sleep};

use self::{
    model::{Model, Objects},
    stage::{LABELS, Manner, Stage},
    steps::{Broken, Manifest, Tenant},
    worlds::{Beside, Older},
};
use super::{agreement, chance::Chance, chaos::setting};

/// For how long an object may say what is not true while the operators can work: a survey period, and much for a machine
/// that is busy.
const CALM: Duration = Duration::from_secs(45);
/// What happens in a round before there is calm.
const TURNS: u64 = 40;
/// Within this all agree in the end.
const SETTLED: Duration = Duration::from_mins(3);

/// The test while it runs.
struct Safety {
    seed: u64,
    chance: Chance,
    stage: Stage,
    model: Model,
    /// What the repository has, from which a pipeline applies.
    repository: BTreeMap<Tenant, Manifest>,
    /// The statuses of objects that were deleted, which a restore of objects may bring back.
    statuses: BTreeMap<Tenant, TenantSchemaStatus>,
    /// What the platform team gave last, by application.
    transfers: BTreeMap<u64, Value>,
    /// What is broken for a while, and until when.
    broken: Option<(Broken, Instant)>,
    /// Worlds to go back to.
    copies: Vec<Older>,
    snapshots: Vec<(EtcdSnapshot, Objects)>,
    /// The database that the present one is a copy of, while both are on the server.
    beside: Option<Beside>,
    /// The annotations of the TenantDatabase that people typed and that stay.
    told_database: BTreeMap<String, String>,
    /// Roles that were on the server when a dump was restored that does not know them.
    left_by_dumps: BTreeSet<String>,
    /// What was done.
    steps: Vec<String>,
    next: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_row_is_lost_or_mixed_and_no_object_says_ready_of_what_is_not_there() {
    let minutes = setting("SAFETY_MINUTES").unwrap_or(2);
    let seed = setting("SAFETY_SEED").unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
    println!("to have the same choices again: make safety MINUTES={minutes} SEED={seed}");
    let mut chance = Chance::new(seed);
    let manner = chance.one_of(&[Manner::Selectors, Manner::Replicas, Manner::Rivals]);
    let stage = Stage::new(manner).await;
    stage.label_database(LABELS[0]).await;
    let mut safety = Safety {
        seed,
        chance,
        stage,
        model: Model::default(),
        repository: BTreeMap::new(),
        statuses: BTreeMap::new(),
        transfers: BTreeMap::new(),
        broken: None,
        copies: Vec::new(),
        snapshots: Vec::new(),
        beside: None,
        told_database: BTreeMap::new(),
        left_by_dumps: BTreeSet::new(),
        steps: vec![format!("begin with {manner:?}")],
        next: 0,
    };
    safety.stage.start();
    // Of two that want it at the same moment one has it and both say so, which is not Ready.
    let world = &safety.stage.world;
    let is_opened = async || {
        let database = world.databases().get_opt(&world.database_ref()).await.unwrap();
        database.and_then(|database| database.status?.epoch).is_some()
    };
    world.eventually("the database is opened", is_opened).await;
    let end = Instant::now() + Duration::from_mins(minutes);
    let mut rounds = 0;
    while Instant::now() < end {
        safety.round().await;
        rounds += 1;
    }
    println!("{rounds} rounds, {} steps, {} lives", safety.steps.len(), safety.model.lives.len());
    safety.end().await;
}

impl Safety {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// What is chosen in a turn depends on the seed and its number alone, and not on what was met before.
    fn turn(&mut self) {
        let number = self.number();
        self.chance = Chance::new(self.seed ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93));
    }

    /// Some things happen, perhaps a world goes back, and then there is calm.
    async fn round(&mut self) {
        self.apply_all().await;
        self.remember();
        self.write_all().await;
        for _ in 0..TURNS {
            self.turn();
            match &self.broken {
                Some((_, until)) if *until < Instant::now() => self.repair(),
                None if self.chance.below(15) == 0 => {
                    let until = Instant::now() + self.chance.time(200, 8_000);
                    self.broken = self.break_something().await.map(|broken| (broken, until));
                }
                _ => self.act().await,
            }
            self.check();
            self.stage.assert_unharmed();
            sleep(self.chance.time(5, 200)).await;
        }
        self.turn();
        self.leave_one_database().await;
        // Two at once, and one soon after the other, are another world than each of them.
        for _ in 0..=self.chance.below(2) {
            self.exchange_a_world().await;
            sleep(self.chance.time(5, 4_000)).await;
        }
        self.check();
        self.repair();
        self.stage.start();
        self.take_back().await;
        self.calm().await;
    }

    async fn exchange_a_world(&mut self) {
        match self.chance.below(9) {
            0 | 1 => self.restore_cluster().await,
            2..6 => self.restore_database().await,
            6 => self.restore_dump(None).await,
            7 => {
                let manner = self.chance.one_of(&[Manner::Selectors, Manner::Replicas, Manner::Rivals]);
                self.install(manner).await;
            }
            _ => {}
        }
    }

    /// The rows are where they have to be, also while things are broken.
    fn check(&mut self) {
        let Some(found) = block_in_place(|| property::look(&self.stage.world)) else { return };
        let broken = property::broken(&mut self.model, &found);
        assert!(broken.is_empty(), "{}", broken.join("\n"));
    }

    /// Nothing is broken and nothing happens: soon no object says what is not true.
    async fn calm(&mut self) {
        let begin = Instant::now();
        loop {
            self.stage.assert_unharmed();
            self.check();
            let untrue = match self.stage.seen().await {
                Ok(seen) => block_in_place(|| property::untrue(&self.stage.world, &self.model, &seen)),
                Err(error) => vec![format!("the API server cannot be asked: {error}")],
            };
            // What is true at once may be so only until the operators have woken up: they are given a survey period.
            if untrue.is_empty() && begin.elapsed() > Duration::from_secs(6) {
                break;
            }
            assert!(untrue.is_empty() || begin.elapsed() < CALM, "{}", untrue.join("\n"));
            sleep(Duration::from_millis(500)).await;
        }
        self.says(format!("calm after {:?}", begin.elapsed()));
        self.model.is_calm();
    }

    /// One operator is left alone with everything; all agree, and a second run plans nothing.
    async fn end(mut self) {
        self.says("the end");
        self.stage.kill(0).await;
        self.stage.kill(1).await;
        self.stage.manner = Manner::Replicas;
        self.stage.make_namespaces().await;
        self.stage.apply_database(json!({ "limits": { "maxDeletionsPerHour": 1_000_000 } })).await;
        self.stage.label_database(LABELS[0]).await;
        // No annotation holds anything back: what waits to be dropped is set aside.
        let patch = |tenant: &TenantSchema| {
            let labels = json!({ "e2e": self.stage.world.id, "op": LABELS[0] });
            let mut patch = json!({ "metadata": { "labels": labels, "annotations": { PAUSED: null } } });
            if tenant.metadata.deletion_timestamp.is_some() {
                patch["spec"]["deletionPolicy"] = json!("BackupThenDrop");
            }
            Patch::Merge(patch)
        };
        let all = Api::<TenantSchema>::all(self.stage.world.client.clone()).list(&ListParams::default()).await.unwrap();
        for tenant in all {
            let api = self.stage.tenants(&tenant.namespace().unwrap());
            drop(api.patch(&tenant.name_any(), &PatchParams::default(), &patch(&tenant)).await);
        }
        self.stage.start_one(0);
        self.take_back().await;
        let begin = Instant::now();
        loop {
            self.stage.assert_unharmed();
            self.check();
            let mut differences = agreement::differences(&self.stage.world).await;
            // The roles of a tenant that a restored dump does not know stay on the server, and nothing uses them.
            let left = |line: &String| self.left_by_dumps.iter().any(|role| line.starts_with(&format!("role {role} ")));
            differences.retain(|difference| !left(difference));
            if differences.is_empty() {
                break;
            }
            assert!(begin.elapsed() < SETTLED, "no agreement:\n{}", differences.join("\n"));
            // All objects that are missed are meant to be gone, and the platform team confirms whose the schemas are.
            self.confirm_deletions().await;
            self.bind_again().await;
            sleep(Duration::from_secs(3)).await;
        }
        self.calm().await;
        self.stage.world.next_survey().await;
        self.stage.kill(0).await;
        self.stage.world.prove_fixpoint().await;
        self.check();
    }
}

impl Drop for Safety {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        eprintln!("--- seed {}, what was done:\n{}", self.seed, self.steps.join("\n"));
        for (number, life) in &self.model.lives {
            eprintln!("life {number}: {life:?}");
        }
        match property::look(&self.stage.world) {
            Some(found) => found.iter().for_each(|found| eprintln!("{found:?}")),
            None => eprintln!("the database cannot be asked"),
        }
        eprintln!("--- the operators:\n{}", self.stage.logs());
    }
}
