//! For any length of time people do what people do, and around them everything breaks that can break. In the end the
//! API, the registry and the catalogue agree, and nothing that was ever written is lost.
//!
//! `SOAK_MINUTES` says for how long and `SOAK_SEED` with which choices; `make soak` sets them.

use std::{
    collections::BTreeSet,
    env,
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use devcluster::{PostgresServer, StopMode};
use jiff::Timestamp;
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tenant_schema_operator::api::{
    CONFIRM_DELETIONS, CONFIRM_DROP, PAUSED, RECLAIM, RECONCILE_REQUESTED_AT, RECREATE, REVOKE_CREDENTIALS,
    ROTATE_REQUESTED_AT, SchemaBackup, TenantSchema,
};
use tokio::time::sleep;

use super::{
    agreement::prefix,
    chance::Chance,
    ground::Ground,
    wire::{Cut, Mood},
};
use crate::{
    tools::own_server,
    world::{World, condition},
};

/// Tenants that are made again whenever they are gone.
const TENANTS: u64 = 12;
/// Those from this number on may be dropped with what is in them.
const DROPPABLE: u64 = 8;

struct Soak {
    ground: Ground,
    server: PostgresServer,
    chance: Chance,
    /// What is broken for a while, and until when.
    broken: Option<(Broken, Instant)>,
    /// What was written to tenants that are never dropped.
    marks: BTreeSet<u64>,
    next: u64,
}

#[derive(Clone, Copy)]
enum Broken {
    Operator,
    Database,
    Network,
    Api,
}

pub(super) fn setting(name: &str) -> Option<u64> {
    env::var(name).ok().filter(|value| !value.is_empty()).map(|value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_all_agree_in_the_end() {
    let minutes = setting("SOAK_MINUTES").unwrap_or(2);
    let seed = setting("SOAK_SEED").unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
    println!("soaking for {minutes} minutes; to have the same again: make soak MINUTES={minutes} SEED={seed}");
    let server = own_server();
    let mut ground = Ground::new(server.info(), json!({ "limits": { "maxDeletionsPerHour": 1_000_000 } })).await;
    ground.start();
    ground.world.database_ready().await;
    let (chance, marks) = (Chance::new(seed), BTreeSet::new());
    let mut soak = Soak { ground, server, chance, broken: None, marks, next: 0 };
    let end = Instant::now() + Duration::from_mins(minutes);
    while Instant::now() < end {
        match &soak.broken {
            Some((_, until)) if *until < Instant::now() => soak.repair(),
            None if soak.chance.below(20) == 0 => soak.break_something().await,
            _ => soak.act().await,
        }
        soak.ground.assert_unharmed();
        sleep(soak.chance.time(5, 250)).await;
    }
    soak.repair();
    println!("{} actions, {} marks", soak.next, soak.marks.len());
    soak.mend().await;
    let found = soak.found();
    let lost: Vec<_> = soak.marks.difference(&found).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    soak.ground.finish().await;
}

impl Soak {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn schema(&self, tenant: u64) -> String {
        format!("{}_t{tenant}", prefix(&self.ground.world))
    }

    /// What people do. What the API server or the database refuses is refused.
    async fn act(&mut self) {
        let (tenant, number) = (self.chance.below(TENANTS), self.number());
        let (name, schema) = (format!("t{tenant}"), self.schema(tenant));
        let choice = self.chance.below(22);
        let spec = self.spec(tenant, number);
        let world = &self.ground.world;
        let tenants = world.api::<TenantSchema>();
        match choice {
            0..6 => drop(world.try_tenant(&name, spec).await),
            6..9 => drop(tenants.delete(&name, &DeleteParams::default()).await),
            9..13 => {
                let key = self.chance.one_of(&[RECLAIM, RECREATE, CONFIRM_DROP]);
                let asked = tenants.get_opt(&name).await.ok().flatten();
                let said = asked.as_ref().and_then(|tenant| condition(tenant, "Stalled"));
                let told = said.filter(|(.., message)| message.contains(&format!("{key}=")));
                let value = told.map_or(schema, |(.., message)| World::value_told(&message, key));
                self.annotate(&name, key, json!(value)).await;
            }
            13 => self.annotate(&name, RECONCILE_REQUESTED_AT, json!(number.to_string())).await,
            14 => {
                let value = self.chance.one_of(&[Some("yes"), None, None]);
                self.annotate(&name, PAUSED, json!(value)).await;
            }
            15 => {
                let policy = self.chance.one_of(&["Delete", "Retain"]);
                let spec = json!({ "tenantSchemaRef": { "name": name }, "deletionPolicy": policy });
                world.apply_backup(&format!("b{number}"), spec).await;
            }
            16 => {
                let backups = world.api::<SchemaBackup>().list(&ListParams::default()).await.unwrap().items;
                if !backups.is_empty() {
                    let chosen = usize::try_from(self.chance.below(backups.len() as u64)).unwrap();
                    let parameters = DeleteParams::default();
                    drop(world.api::<SchemaBackup>().delete(&backups[chosen].name_any(), &parameters).await);
                }
            }
            17 => self.annotate(&name, ROTATE_REQUESTED_AT, json!(Timestamp::now().to_string())).await,
            18 => {
                let value = self.chance.one_of(&[Some(&schema), None]);
                self.annotate(&name, REVOKE_CREDENTIALS, json!(value)).await;
            }
            _ => self.mark(tenant, &schema, number),
        }
    }

    fn spec(&mut self, tenant: u64, number: u64) -> Value {
        let policies: &[&str] = if tenant < DROPPABLE {
            &["BackupThenDrop", "BackupThenDrop", "BackupThenDrop", "Retain"]
        } else {
            &["BackupThenDrop", "Drop", "Drop", "Retain"]
        };
        let mut spec = json!({
            "schemaName": self.schema(tenant), "config": { "number": number },
            "quota": { "limit": self.chance.one_of(&["1Gi", "5Gi"]), "enforcement": "Block" },
            "access": self.chance.one_of(&["ReadWrite", "ReadWrite", "ReadOnly", "Suspended"]),
            "deletionPolicy": self.chance.one_of(policies),
        });
        for (name, parts) in [("connectionSecret", 2), ("migrationSecret", 3)] {
            if tenant.is_multiple_of(parts) && self.chance.below(4) > 0 {
                spec[name] = json!({ "name": format!("t{tenant}-{}", name.to_lowercase()) });
            }
        }
        if self.chance.below(2) == 0 {
            let to = format!("t{}", (tenant + 1 + self.chance.below(TENANTS - 1)) % TENANTS);
            let privilege = self.chance.one_of(&["Read", "Write"]);
            spec["grants"] = json!([{ "to": { "tenantSchema": { "name": to } }, "privileges": [privilege] }]);
        }
        if self.chance.below(3) == 0 {
            let policy = json!({ "name": "own-rows", "column": "mark", "setting": "app.mark" });
            let mode = self.chance.one_of(&["Required", "BestEffort"]);
            spec["rowLevelSecurity"] = json!({ "mode": mode, "policies": [policy] });
        }
        spec
    }

    async fn annotate(&self, name: &str, key: &str, value: Value) {
        let patch = json!({ "metadata": { "annotations": { key: value } } });
        let api = self.ground.world.api::<TenantSchema>();
        drop(api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await);
    }

    /// The tenant's owner writes a row that is never forgotten once it is committed.
    fn mark(&mut self, tenant: u64, schema: &str, number: u64) {
        let sql = format!(
            "SELECT set_config('role', (SELECT owner_role FROM edu_matrix_hub_schema.tenant_schemas \
             WHERE schema_name = '{schema}' AND status IN ('active', 'suspended')), true); \
             CREATE TABLE IF NOT EXISTS {schema}.marks (mark bigint); INSERT INTO {schema}.marks VALUES ({number})"
        );
        let written = self.ground.world.postgres.psql(&self.ground.world.database, &sql).is_ok();
        if written && tenant < DROPPABLE {
            self.marks.insert(number);
        }
    }

    /// All marks in living schemas and in those that are set aside.
    fn found(&self) -> BTreeSet<u64> {
        let world = &self.ground.world;
        let tables = world.sql(
            "SELECT n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relname = 'marks' \
             AND n.nspname NOT IN (SELECT location FROM edu_matrix_hub_schema.schema_backups \
                                   WHERE method = 'Snapshot' AND location IS NOT NULL)",
        );
        let marks = tables.lines().map(|schema| world.sql(&format!("SELECT mark FROM {schema}.marks")));
        marks.collect::<Vec<_>>().iter().flat_map(|rows| rows.lines()).map(|row| row.parse().unwrap()).collect()
    }

    /// One thing breaks: at once and once, or for a while that people do not wait for.
    async fn break_something(&mut self) {
        let mood = self.chance.one_of(&[Mood::Refuse, Mood::Swallow, Mood::Delay(Duration::from_millis(150))]);
        let ground = &mut self.ground;
        let broken = match self.chance.below(11) {
            0 | 1 => {
                ground.kill().await;
                ground.start();
                return;
            }
            2 => return ground.database.cut(),
            3 => return ground.network.cut(),
            4 | 5 => {
                let calls = ["apply_steps", "apply_steps", "claim_job", "run_job", "survey_tenants", "claim_lane"];
                let cut = self.chance.one_of(&[Cut::Before, Cut::After]);
                return ground.pen.cut_next(self.chance.one_of(&calls), cut);
            }
            6 => {
                self.server.restart(self.chance.one_of(&[StopMode::Fast, StopMode::Immediate])).unwrap();
                return;
            }
            7 => {
                ground.signal("STOP");
                Broken::Operator
            }
            8 => {
                ground.database.set(mood);
                Broken::Database
            }
            9 => {
                ground.network.set(mood);
                Broken::Network
            }
            _ => {
                let codes = [StatusCode::TOO_MANY_REQUESTS, StatusCode::INTERNAL_SERVER_ERROR];
                ground.api.refuse(Some(self.chance.one_of(&codes)));
                Broken::Api
            }
        };
        self.broken = Some((broken, Instant::now() + self.chance.time(200, 15_000)));
    }

    /// What was broken for a while works again, and connections whose bytes a wire has swallowed are cut.
    fn repair(&mut self) {
        match self.broken.take() {
            Some((Broken::Operator, _)) => self.ground.signal("CONT"),
            Some((Broken::Database, _)) => {
                self.ground.database.set(Mood::Pass);
                self.ground.database.cut();
            }
            Some((Broken::Network, _)) => {
                self.ground.network.set(Mood::Pass);
                self.ground.network.cut();
            }
            Some((Broken::Api, _)) => self.ground.api.refuse(None),
            None => {}
        }
    }

    /// Types what the TenantDatabase asks for, again and again: all objects that are missed are meant to be gone.
    async fn confirm_deletions(&self) {
        let (databases, name) = (self.ground.world.databases(), self.ground.world.database_ref());
        loop {
            let database = databases.get(&name).await.unwrap();
            let said = condition(&database, "Stalled").map(|(.., message)| message).unwrap_or_default();
            if said.contains(&format!("{CONFIRM_DELETIONS}=")) {
                let value = World::value_told(&said, CONFIRM_DELETIONS);
                let patch = json!({ "metadata": { "annotations": { CONFIRM_DELETIONS: value } } });
                databases.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// Nothing is broken any more, and no wire holds anything back.
    async fn mend(&mut self) {
        self.ground.pen.fill(None);
        let world = &self.ground.world;
        for tenant in world.api::<TenantSchema>().list(&ListParams::default()).await.unwrap() {
            self.annotate(&tenant.name_any(), PAUSED, Value::Null).await;
        }
        tokio::select! {
            () = self.ground.agree() => {}
            () = self.confirm_deletions() => {}
        }
        // What the database changed by itself last, such as the end of a purge, is told by the next survey.
        self.ground.world.next_survey().await;
    }
}
