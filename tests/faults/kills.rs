//! The operator is killed after every write that it makes, and the next run comes to the state that an undisturbed run comes
//! to.
//!
//! The server has heard of the write and is perhaps still at it when the next operator starts. A kill before a write is
//! the kill after the one before it: the servers know nothing of what an operator does in between.

use std::{fmt::Write, iter::once, time::Duration};

use devcluster::shared;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tenant_schema_operator::api::{
    CONFIRM_ADOPT, CONFIRM_DROP, RECLAIM, REVOKE_CREDENTIALS, ROTATE_REQUESTED_AT, SchemaBackup, TenantSchema,
};
use tokio::time::{Instant, sleep};

use super::{
    agreement::{connects, prefix},
    ground::Ground,
    wire::Cut,
};
use crate::world::{DEADLINE, World};

/// More writes than this are a storm.
const STORM: usize = 40;

/// What is done to a tenant while the operator is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    Create,
    Change,
    Suspend,
    Snapshot,
    PurgeSnapshot,
    SetAside,
    Drop,
    Retain,
    ReclaimLiving,
    ReclaimSetAside,
    Adopt,
    Publish,
    Rotate,
    Revoke,
    RetainSecrets,
}

use Scenario::{
    Adopt, Change, Create, Drop, Publish, PurgeSnapshot, ReclaimLiving, ReclaimSetAside, Retain, RetainSecrets, Revoke,
    Rotate, SetAside, Snapshot, Suspend,
};

/// The tenant of one run.
struct Subject {
    name: String,
    schema: String,
}

impl Subject {
    fn owner_secret(&self) -> String {
        format!("{}-owner", self.name)
    }
}

impl Scenario {
    fn spec(self, subject: &Subject) -> Value {
        let policy = match self {
            Drop => "Drop",
            Retain | ReclaimLiving | RetainSecrets => "Retain",
            _ => "BackupThenDrop",
        };
        let existing = if self == Adopt { "Adopt" } else { "Fail" };
        let mut spec = json!({ "schemaName": subject.schema, "deletionPolicy": policy, "existingSchema": existing });
        if self.has_secrets() {
            spec["connectionSecret"] = json!({ "name": subject.name });
            spec["migrationSecret"] = json!({ "name": subject.owner_secret() });
        }
        spec
    }

    fn has_secrets(self) -> bool {
        matches!(self, Publish | Rotate | Revoke | RetainSecrets)
    }

    /// Everything up to what is tried; the operator runs undisturbed.
    async fn prepare(self, ground: &Ground, subject: &Subject) {
        let (world, Subject { name, schema }) = (&ground.world, subject);
        if matches!(self, Create | Publish) {
            return;
        }
        if self == Adopt {
            stands(ground, schema);
            world.apply_tenant(name, self.spec(subject)).await;
            world.stalled_tenant(name, "AdoptionPending").await;
            return;
        }
        world.apply_tenant(name, self.spec(subject)).await;
        world.ready_tenant(name).await;
        world.sql_as(
            schema,
            "owner",
            &format!("CREATE TABLE {schema}.pupils (id int); INSERT INTO {schema}.pupils VALUES (1)"),
        );
        match self {
            Drop => {
                world.api::<TenantSchema>().delete(name, &DeleteParams::default()).await.unwrap();
                world.stalled_tenant(name, "DropNotConfirmed").await;
            }
            ReclaimLiving | ReclaimSetAside => world.delete_tenant(name).await,
            PurgeSnapshot => {
                let spec = json!({ "tenantSchemaRef": { "name": name }, "deletionPolicy": "Delete" });
                world.apply_backup(name, spec).await;
                world.until_ready(&world.api::<SchemaBackup>(), name, "True", "Completed").await;
            }
            _ => {}
        }
    }

    /// What is tried.
    async fn act(self, ground: &Ground, subject: &Subject) {
        let (world, name) = (&ground.world, &subject.name);
        let change = |change: Value| {
            let mut spec = self.spec(subject);
            spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            spec
        };
        match self {
            Create | Publish => drop(world.apply_tenant(name, self.spec(subject)).await),
            Change => {
                let spec = change(json!({ "config": { "grade": 7 }, "quota": { "limit": "1Gi" } }));
                world.apply_tenant(name, spec).await;
            }
            Suspend => drop(world.apply_tenant(name, change(json!({ "access": "Suspended" }))).await),
            Snapshot => drop(world.apply_backup(name, json!({ "tenantSchemaRef": { "name": name } })).await),
            PurgeSnapshot => drop(world.api::<SchemaBackup>().delete(name, &DeleteParams::default()).await.unwrap()),
            Drop => world.confirm(name, CONFIRM_DROP).await,
            Adopt => {
                let message = world.stalled_tenant(name, "AdoptionPending").await;
                let digest = World::value_told(&message, CONFIRM_ADOPT);
                world.annotate::<TenantSchema>(name, CONFIRM_ADOPT, &digest).await;
            }
            Rotate => {
                let status = world.api::<TenantSchema>().get(name).await.unwrap().status.unwrap();
                let told = [status.credentials, status.migration_credentials].into_iter().flatten();
                let now = world.time_of_a_request(told).await;
                world.annotate::<TenantSchema>(name, ROTATE_REQUESTED_AT, &now).await;
            }
            Revoke => world.annotate::<TenantSchema>(name, REVOKE_CREDENTIALS, &subject.schema).await,
            SetAside | Retain | RetainSecrets => {
                world.api::<TenantSchema>().delete(name, &DeleteParams::default()).await.unwrap();
            }
            ReclaimLiving | ReclaimSetAside => {
                let database = json!({ "databaseRef": { "name": world.database_ref() } });
                let mut spec = self.spec(subject);
                spec.as_object_mut().unwrap().extend(database.as_object().unwrap().clone());
                let object = json!({
                    "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantSchema",
                    "metadata": {
                        "name": name, "labels": { "e2e": world.id }, "annotations": { RECLAIM: subject.schema },
                    },
                    "spec": spec,
                });
                let parameters = PatchParams::apply("e2e").force();
                world.api::<TenantSchema>().patch(name, &parameters, &Patch::Apply(&object)).await.unwrap();
            }
        }
    }
}

/// A schema with more objects than one call gives on, of a role that knows nothing of the operator.
fn stands(ground: &Ground, schema: &str) {
    let world = &ground.world;
    let app = format!("{}_app", world.database);
    if world.sql(&format!("SELECT count(*) FROM pg_roles WHERE rolname = '{app}'")) == "0" {
        world.sql(&format!("CREATE ROLE {app}"));
        if world.postgres.major() >= 16 {
            let grant = format!("GRANT {app} TO {} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE", world.owner_role());
            world.sql(&grant);
        }
    }
    world.sql(&format!(
        "CREATE SCHEMA {schema} AUTHORIZATION {app}; SET ROLE {app}; SET search_path = {schema}; DO $$ BEGIN \
         FOR i IN 1..120 LOOP EXECUTE 'CREATE TABLE t' || i || ' (id int)'; END LOOP; END $$; INSERT INTO t1 VALUES (1)"
    ));
}

/// Everything that is left of a run, without what differs between any two.
async fn state(ground: &Ground, subject: &Subject) -> String {
    let (world, Subject { name, schema }) = (&ground.world, subject);
    let tenant = world.api::<TenantSchema>().get_opt(name).await.unwrap();
    let backup = world.api::<SchemaBackup>().get_opt(name).await.unwrap();
    let mut text = String::new();
    for object in [tenant.clone().map(|tenant| json!(tenant)), backup.map(|backup| json!(backup))].iter_mut().flatten()
    {
        let kept = json!({
            "annotations": object["metadata"]["annotations"], "finalizers": object["metadata"]["finalizers"],
            "spec": object["spec"], "status": steady(object["status"].take()),
        });
        writeln!(text, "{kept:#}").unwrap();
    }
    // By name, since the UID of an object that is gone is not known.
    let ids = world.sql(&format!(
        "SELECT owner_uid, id, right(id::text, 12) FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name = '{schema}' \
         ORDER BY created_at DESC LIMIT 1"
    ));
    let mut ids = ids.split('|');
    let sql = include_str!("../converge/state.sql").replace("$uid", ids.next().unwrap()).replace("$name", schema);
    let mut left: Value = serde_json::from_str(&world.sql(&sql)).unwrap();
    if let Some(tenant) = &tenant {
        let status = tenant.status.clone().unwrap_or_default();
        for (name, told) in [(name, status.credentials), (&subject.owner_secret(), status.migration_credentials)] {
            let Some(told) = told else { continue };
            writeln!(text, "{name}: {:?}", connects(world, name, &told).await).unwrap();
        }
    }
    // A password that reached no Secret is issued again, by the other login.
    if let Some(logins) = left["row"]["logins"].as_array_mut() {
        for login in logins.iter_mut() {
            *login = json!(login.as_str().unwrap().trim_end_matches(['a', 'b']));
        }
        logins.sort_by_key(ToString::to_string);
        logins.dedup();
    }
    if let Some(jobs) = left["jobs"].as_array_mut() {
        // A job that was done may be asked for again by an operator that does not know it, and finds nothing to do.
        jobs.dedup();
    }
    write!(text, "{left:#}").unwrap();
    for id in ids {
        text = text.replace(id, "ID");
    }
    for known in [schema, name] {
        text = text.replace(known, "NAME");
    }
    // What was confirmed is another one for each schema.
    let digest = regex::Regex::new("confirm-adopt\": \"[0-9a-f]{32}").unwrap();
    let time = regex::Regex::new(r"\d{4}-\d\d-\d\dT[\d:.]+Z").unwrap();
    without_digits(&time.replace_all(&digest.replace_all(&text, "confirm-adopt"), "TIME"))
}

/// A status without times, sizes and identities.
fn steady(mut status: Value) -> Value {
    const UNSTEADY: &[&str] = &[
        // Whether the Secret has what the status tells is looked at apart.
        "credentialId",
        "login",
        "secretUid",
        "publishedTime",
        "nextRotationTime",
        "previousUntil",
        "lastTransitionTime",
        "since",
        "roles",
        "observedGeneration",
        "startTime",
        "completionTime",
        "durationMilliseconds",
        "backupId",
        "tableCount",
        "storageUsed",
        "storageUsedBytes",
        "quotaUsedPercent",
        "lastOperation",
        "sizeBytes",
        // Of a Secret whose writing was not told it is not known who owns it: that is told as other than it should be, until another
        // password comes.
        "secretRetention",
    ];
    match &mut status {
        Value::Object(fields) => {
            fields.retain(|key, _| !UNSTEADY.contains(&key.as_str()));
            fields.values_mut().for_each(|value| *value = steady(value.take()));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| *value = steady(value.take())),
        _ => {}
    }
    status
}

/// Times are in names of backups and in messages: everything that has fourteen digits.
fn without_digits(text: &str) -> String {
    regex::Regex::new(r"\d{14}(_\d+)?").unwrap().replace_all(text, "TIME").into_owned()
}

/// Waits until a run has come to this state, or to its end; says whether the pen went dry before.
async fn comes_to(ground: &Ground, subject: &Subject, expected: &str) -> bool {
    let deadline = Instant::now() + DEADLINE;
    let mut written = None;
    loop {
        sleep(Duration::from_millis(40)).await;
        if ground.pen.is_dry() {
            return true;
        }
        // To look costs the servers more than a write does, so it is done in pauses.
        let before = written.replace(ground.pen.written().len());
        if before != written {
            continue;
        }
        let found = state(ground, subject).await;
        if found == expected {
            return false;
        }
        if Instant::now() > deadline {
            assert_eq!(found, expected, "{} after {:#?}", subject.name, ground.pen.written());
        }
        sleep(Duration::from_millis(60)).await;
    }
}

/// The end state of an undisturbed run: what stays the same for as long as a survey takes to come round.
async fn undisturbed(ground: &Ground, scenario: Scenario, subject: &Subject) -> String {
    scenario.prepare(ground, subject).await;
    ground.pen.fill(None);
    scenario.act(ground, subject).await;
    if scenario == Drop {
        // Until the operator has heard the confirmation, its question is still an end that a person explains.
        ground.world.until_gone(&ground.world.api::<TenantSchema>(), &subject.name).await;
    }
    if matches!(scenario, Rotate | Revoke) {
        let followed = async || {
            let status =
                ground.world.api::<TenantSchema>().get(&subject.name).await.unwrap().status.unwrap_or_default();
            let told = [status.credentials, status.migration_credentials].into_iter().flatten();
            told.filter(|told| told.rotated.is_some() || told.revoked.is_some()).count() == 2
        };
        ground.world.eventually("it is followed", followed).await;
    }
    ground.agree().await;
    state(ground, subject).await
}

async fn kill_at_every_write(scenario: Scenario) {
    let postgres = shared().unwrap().postgres();
    let mut ground = Ground::new(postgres, json!({})).await;
    ground.start();
    ground.world.until_ready(&ground.world.databases(), &ground.world.database_ref(), "True", "Succeeded").await;
    if scenario == Adopt {
        let offered = json!([{ "pattern": ".*", "namespace": ground.world.namespace }]);
        let offer = Patch::Merge(json!({ "spec": { "adoptable": offered } }));
        let (databases, name) = (ground.world.databases(), ground.world.database_ref());
        databases.patch(&name, &PatchParams::default(), &offer).await.unwrap();
    }
    let begin = prefix(&ground.world);
    let subject = |name: String| Subject { schema: format!("{begin}_{name}"), name };
    let expected = undisturbed(&ground, scenario, &subject("undisturbed".to_owned())).await;
    let mut kills = Vec::new();
    // Before the first write, and after each.
    let cuts = once((1, Cut::Before)).chain((1..).map(|number| (number, Cut::After)));
    for (run, (number, cut)) in cuts.enumerate() {
        assert!(run < STORM, "{scenario:?} does not end: {kills:#?}");
        let run = subject(format!("run{run}"));
        scenario.prepare(&ground, &run).await;
        ground.pen.fill(Some((number, cut)));
        scenario.act(&ground, &run).await;
        if !comes_to(&ground, &run, &expected).await {
            break;
        }
        kills.extend(ground.pen.written().pop());
        ground.kill().await;
        ground.pen.fill(None);
        ground.start();
        assert!(!comes_to(&ground, &run, &expected).await);
    }
    assert!(kills.len() >= 2, "{scenario:?} wrote nothing");
    println!("{scenario:?}: killed at {kills:#?}");
    ground.pen.fill(None);
    ground.finish().await;
}

macro_rules! killed {
    ($($name:ident: $scenario:expr,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                kill_at_every_write($scenario).await;
            }
        )+
    };
}

killed! {
    a_kill_while_a_tenant_is_made: Create,
    a_kill_while_a_tenant_is_changed: Change,
    a_kill_while_a_tenant_is_suspended: Suspend,
    a_kill_while_a_snapshot_is_made: Snapshot,
    a_kill_while_a_snapshot_is_removed: PurgeSnapshot,
    a_kill_while_a_tenant_is_set_aside: SetAside,
    a_kill_while_a_tenant_is_dropped: Drop,
    a_kill_while_a_tenant_is_let_go: Retain,
    a_kill_while_a_living_schema_is_reclaimed: ReclaimLiving,
    a_kill_while_a_schema_that_was_set_aside_is_reclaimed: ReclaimSetAside,
    a_kill_while_a_schema_is_adopted: Adopt,
    a_kill_while_secrets_are_published: Publish,
    a_kill_while_passwords_are_renewed: Rotate,
    a_kill_while_leaked_passwords_are_closed: Revoke,
    a_kill_while_a_tenant_with_secrets_is_let_go: RetainSecrets,
}
