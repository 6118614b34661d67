//! A snapshot on demand: made, shown, kept or removed as its object says.

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tenant_schema_operator::api::{SchemaBackup, TenantSchema};

use crate::world::{World, condition};

/// What these tests do in their world.
trait Backups {
    async fn finished_backup(&self, name: &str, change: Value) -> SchemaBackup;
    async fn shows_as_last(&self, backup: &SchemaBackup);
}

impl Backups for World {
    /// A backup of the tenant `school` that is finished.
    async fn finished_backup(&self, name: &str, change: Value) -> SchemaBackup {
        let mut spec = json!({ "tenantSchemaRef": { "name": "school" } });
        spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        self.apply_backup(name, spec).await;
        self.until_ready(&self.api::<SchemaBackup>(), name, "True", "Completed").await
    }

    /// Waits until the tenant `school` shows this backup as its last one.
    async fn shows_as_last(&self, backup: &SchemaBackup) {
        let made = backup.status.as_ref().unwrap();
        self.eventually("the tenant shows its last backup", async || {
            let last = self.api::<TenantSchema>().get("school").await.unwrap().status.unwrap().last_backup;
            last.is_some_and(|last| {
                let is_it = last.name == backup.metadata.name && last.completion_time == made.completion_time;
                is_it && last.size_bytes == made.size_bytes
            })
        })
        .await;
    }
}

fn location(backup: &SchemaBackup) -> String {
    backup.status.as_ref().unwrap().location.clone().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_made_shown_and_kept_as_its_object_says() {
    let world = World::new(json!({})).await;
    let backups = world.api::<SchemaBackup>();

    // Asked for before its tenant exists, it is made when it can be.
    world.apply_backup("early", json!({ "tenantSchemaRef": { "name": "school" } })).await;
    let early = world.until_ready(&backups, "early", "False", "TenantNotFound").await;
    assert!(condition(&early, "Reconciling").is_some());
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    let early = world.until_ready(&backups, "early", "True", "Completed").await;
    assert_eq!(early.status.as_ref().unwrap().table_count, Some(0));

    // Everything is in it, and everything that is known of it is shown.
    world.sql_as(
        "school",
        "owner",
        "CREATE TABLE school.pupils (id serial PRIMARY KEY, name text);
         INSERT INTO school.pupils (name) SELECT 'p' || n FROM generate_series(1, 90) AS n;
         CREATE TABLE school.empty (); CREATE TABLE school.notes (note jsonb);
         INSERT INTO school.notes SELECT '{\"a\": 1}' FROM generate_series(1, 10)",
    );
    let whole = world.finished_backup("whole", json!({ "expireAfterDays": 30 })).await;
    let status = whole.status.clone().unwrap();
    assert_eq!((status.table_count, status.row_count), (Some(3), Some(100)));
    assert!(status.size_bytes > Some(0) && status.checksum.is_some_and(|checksum| checksum.len() == 64));
    assert_eq!(
        condition(&whole, "Ready").unwrap().2,
        format!("schema {} holds 3 tables and 100 rows of schema school", location(&whole))
    );
    let kept_for = status.expire_time.unwrap().0.as_second() - status.completion_time.unwrap().0.as_second();
    assert_eq!((kept_for + 3600) / 86400, 30, "{kept_for} s");
    assert_eq!(
        world.sql(&format!("SELECT count(*), min(name), max(id) FROM {}.pupils", location(&whole))),
        world.sql("SELECT count(*), min(name), max(id) FROM school.pupils")
    );
    let owner = world.tenant_role("school", "owner");
    assert!(!world.may_use(&owner, &location(&whole)), "not even the tenant's owner reads or changes a backup");
    world.shows_as_last(&whole).await;
    world.event("whole", "BackupCompleted", "100 rows").await;

    // What a backup is cannot be changed; another one is another object.
    let patch = json!({ "spec": { "expireAfterDays": 1 } });
    let refused = backups.patch("whole", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap_err();
    assert!(refused.to_string().contains("spec is immutable"), "{refused}");

    // Expired, it is removed, and its object says so and stays.
    world.sql(
        "UPDATE edu_matrix_hub_schema.schema_backups SET expires_at = now() - interval '1 s' \
         WHERE object_name = 'whole'",
    );
    let expired = world.until_ready(&backups, "whole", "True", "Expired").await;
    assert!(condition(&expired, "Stalled").is_none());
    world.eventually("it is gone", async || !world.stands(&location(&whole))).await;

    // Deleted, it stays or goes as was said.
    let goes = world.finished_backup("goes", json!({ "deletionPolicy": "Delete" })).await;
    let stays = world.finished_backup("stays", json!({ "deletionPolicy": "Retain" })).await;
    assert_ne!(location(&goes), location(&stays));
    let lock = world.session(&format!("BEGIN; LOCK TABLE {}.pupils IN ACCESS SHARE MODE", location(&goes)));
    for name in ["goes", "stays", "whole"] {
        backups.delete(name, &DeleteParams::default()).await.unwrap();
    }
    world.event("goes", "DeletionWaits", "").await;
    drop(lock);
    for name in ["goes", "stays", "whole"] {
        world.until_gone(&backups, name).await;
    }
    assert!(!world.stands(&location(&goes)));
    assert!(world.stands(&location(&stays)));
    let catalogue = "SELECT object_name, state FROM edu_matrix_hub_schema.schema_backups ORDER BY 1";
    assert_eq!(world.sql(catalogue), "early|complete\ngoes|purged\nstays|complete\nwhole|purged");

    // It outlives its tenant, and its object is removed without it.
    let last = world.finished_backup("last", json!({ "deletionPolicy": "Delete" })).await;
    world.delete_tenant("school").await;
    assert!(world.stands(&location(&last)));
    backups.delete("last", &DeleteParams::default()).await.unwrap();
    world.until_gone(&backups, "last").await;
    assert!(!world.stands(&location(&last)));
    world.finish().await;
}

/// Code of a tenant in places where reading a table could run it. It writes down as whom it ran.
const TRAPS: &str = "
    CREATE TABLE school.ran (who text);
    CREATE FUNCTION school.act() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO school.ran VALUES (current_user); EXECUTE 'CREATE ROLE stolen_by_a_tenant'; RETURN true;
    EXCEPTION WHEN OTHERS THEN RETURN true; END $$;
    CREATE FUNCTION school.check_it(i int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
        BEGIN RETURN school.act(); END $$;
    CREATE TYPE school.mood AS ENUM ('sad', 'happy');
    CREATE FUNCTION school.cast_it(school.mood) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
        BEGIN PERFORM school.act(); RETURN 'x'; END $$;
    CREATE CAST (school.mood AS text) WITH FUNCTION school.cast_it(school.mood) AS IMPLICIT;
    CREATE DOMAIN school.even AS int CHECK (school.check_it(VALUE));
    CREATE TABLE school.trap (id int CHECK (school.check_it(id)), mood school.mood DEFAULT 'sad',
                              even school.even DEFAULT 2,
                              doubled int GENERATED ALWAYS AS (CASE WHEN school.check_it(id) THEN id * 2 END) STORED);
    INSERT INTO school.trap (id) SELECT generate_series(1, 10);
    CREATE INDEX ON school.trap ((school.check_it(id)));
    CREATE STATISTICS school.statistics ON (school.check_it(id)), id FROM school.trap;
    CREATE POLICY rows ON school.trap USING (school.act()); ALTER TABLE school.trap ENABLE ROW LEVEL SECURITY;
    CREATE FUNCTION school.fire() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM school.act(); RETURN NULL; END $$;
    CREATE TRIGGER fire AFTER INSERT ON school.trap FOR EACH ROW EXECUTE FUNCTION school.fire();
    CREATE RULE rule AS ON INSERT TO school.trap DO ALSO SELECT school.act();
    TRUNCATE school.ran";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_tenant_prepares_its_code_runs_as_its_owner_or_not_at_all() {
    let world = World::new(json!({})).await;
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    world.sql_as("school", "owner", TRAPS);
    let owner = world.tenant_role("school", "owner").trim_matches('"').to_owned();

    let backup = world.finished_backup("hostile", json!({})).await;
    let copied =
        world.sql(&format!("SELECT count(*), sum(doubled), min(mood), max(even) FROM {}.trap", location(&backup)));
    assert_eq!(copied, "10|110|sad|2");
    // Not restored, but looked at: the survey has measured it and looked for drift meanwhile.
    world.next_survey().await;
    world.delete_tenant("school").await;
    let [aside, _snapshot] = <[String; 2]>::try_from(world.schemas("school_bak_")).unwrap();
    let aside = if aside == location(&backup) { world.schemas("school_bak_")[1].clone() } else { aside };
    let others = world.sql(&format!("SELECT DISTINCT who FROM {aside}.ran WHERE who <> '{owner}'"));
    assert_eq!(others, "", "code of the tenant ran as another role");
    assert_eq!(world.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'stolen_by_a_tenant'"), "0");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_applied_again_is_not_made_again() {
    let world = World::new(json!({})).await;
    let backups = world.api::<SchemaBackup>();
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    let made = world.finished_backup("before-exams", json!({})).await;
    backups.delete("before-exams", &DeleteParams::default()).await.unwrap();
    world.until_gone(&backups, "before-exams").await;

    let again = world.finished_backup("before-exams", json!({})).await;
    assert_ne!(again.metadata.uid, made.metadata.uid);
    assert_eq!(location(&again), location(&made));
    assert_eq!(again.status.unwrap().backup_id, made.status.unwrap().backup_id);
    let rows = || world.sql("SELECT count(*), min(object_uid) FROM edu_matrix_hub_schema.schema_backups");
    assert_eq!(rows(), format!("1|{}", again.metadata.uid.unwrap()));
    // What was removed because a user asked for it is made again.
    let removed = world.finished_backup("weekly", json!({ "deletionPolicy": "Delete" })).await;
    backups.delete("weekly", &DeleteParams::default()).await.unwrap();
    world.until_gone(&backups, "weekly").await;
    let another = world.finished_backup("weekly", json!({})).await;
    assert_ne!(location(&another), location(&removed));
    world.shows_as_last(&another).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_needs_its_database_holds_it_and_a_word_lets_the_object_go_without() {
    let mut world = World::new(json!({})).await;
    let backups = world.api::<SchemaBackup>();
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    world.sql_as("school", "owner", "CREATE TABLE school.pupils AS SELECT 7 AS id");
    let goes = world.finished_backup("goes", json!({ "deletionPolicy": "Delete" })).await;
    world.finished_backup("stays", json!({ "deletionPolicy": "Retain" })).await;
    world.delete_tenant("school").await;
    let name = world.database_ref();
    let lock = world.session(&format!("BEGIN; LOCK TABLE {}.pupils IN ACCESS SHARE MODE", location(&goes)));
    backups.delete("goes", &DeleteParams::default()).await.unwrap();
    world.until_ready(&backups, "goes", "False", "Deleting").await;
    world.databases().delete(&name, &DeleteParams::default()).await.unwrap();
    world.database_stalled("InUse", "1 SchemaBackups still need this database").await;

    // Taken away by force, it leaves a backup whose end waits for it, and says so.
    world.stop_operator().await;
    // What it asked for has ended on the server too, also behind a pooler.
    let asked =
        format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{}' AND state <> 'idle'", world.login());
    world.eventually("what was asked for has ended", async || world.sql(&asked) == "0").await;
    drop(lock);
    let none = json!({ "metadata": { "finalizers": null } });
    world.databases().patch(&name, &PatchParams::default(), &Patch::Merge(&none)).await.unwrap();
    world.until_gone(&world.databases(), &name).await;
    world.start_operator().await;
    backups.delete("stays", &DeleteParams::default()).await.unwrap();
    world.until_gone(&backups, "stays").await;
    let mut message = String::new();
    world
        .eventually("the deletion says for what it waits", async || {
            let found = backups.get("goes").await.unwrap();
            message = condition(&found, "Reconciling").map_or_else(String::new, |(_, _, message)| message);
            message.contains(&format!("TenantDatabase {name} is gone"))
        })
        .await;
    let command = message.split("kubectl ").nth(1).unwrap();
    world.kubectl(&command.split_whitespace().collect::<Vec<_>>());
    world.until_gone(&backups, "goes").await;
    assert!(world.stands(&location(&goes)), "it takes nothing with it");
    world.apply_database(json!({})).await;
    world.until_ready(&world.databases(), &name, "True", "Succeeded").await;
    world.finish().await;
}
