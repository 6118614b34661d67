//! Archives: written into a store outside of the database, read back, and removed as their objects say.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use artefact::{Identities, Manifest, cipher};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tenant_schema_operator::api::{SchemaBackup, TenantDatabase, TenantSchema};

use crate::{
    tools::operator::Process,
    world::{World, condition},
};

/// What tests of archives do in their world.
pub trait Archives {
    fn url(&self) -> String;
    async fn with_store(more: Value) -> Self;
    async fn furnish(&self, more: Value);
    async fn set_store(&self, store: Value);
    async fn archive(&self, name: &str, change: Value) -> SchemaBackup;
    async fn finished(&self, name: &str) -> SchemaBackup;
    async fn store_says(&self, status: &str, reason: &str) -> String;
    fn stored(&self) -> Vec<PathBuf>;
    fn run_login(&self) -> String;
    fn fill(&self, rows: usize);
}

impl Archives for World {
    fn url(&self) -> String {
        format!("file://{}", self.files.path().display())
    }

    /// A world whose database has a store in files, and a tenant `school`.
    async fn with_store(more: Value) -> Self {
        let world = Self::new(json!({})).await;
        world.furnish(more).await;
        world
    }

    async fn furnish(&self, more: Value) {
        let mut store = json!({ "url": self.url() });
        store.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.set_store(store).await;
        self.apply_tenant("school", json!({ "schemaName": "school" })).await;
        self.ready_tenant("school").await;
    }

    async fn set_store(&self, store: Value) {
        let patch = json!({ "spec": { "backupStore": store } });
        self.databases().patch(&self.database_ref(), &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    async fn archive(&self, name: &str, change: Value) -> SchemaBackup {
        let mut spec = json!({ "tenantSchemaRef": { "name": "school" }, "method": "Archive" });
        spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        self.apply_backup(name, spec).await;
        self.finished(name).await
    }

    async fn finished(&self, name: &str) -> SchemaBackup {
        self.until_ready(&self.api::<SchemaBackup>(), name, "True", "Completed").await
    }

    /// Waits until the condition of the store is so; returns its message.
    async fn store_says(&self, status: &str, reason: &str) -> String {
        let mut message = String::new();
        self.eventually(&format!("the store is {status}/{reason}"), async || {
            let database: TenantDatabase = self.databases().get(&self.database_ref()).await.unwrap();
            let found = condition(&database, "BackupStoreReady");
            message = found.as_ref().map(|(_, _, message)| message.clone()).unwrap_or_default();
            found.is_some_and(|(s, r, _)| s == status && r == reason)
        })
        .await;
        message
    }

    /// The files of archives that are in the store.
    fn stored(&self) -> Vec<PathBuf> {
        fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    walk(&entry.path(), into);
                } else if !entry.path().ends_with("owner.json") {
                    into.push(entry.path());
                }
            }
        }
        let mut found = Vec::new();
        walk(self.files.path(), &mut found);
        found.sort();
        found
    }

    /// The login in whose sessions the operator works as the tenant.
    fn run_login(&self) -> String {
        self.tenant_role("school", "owner").trim_matches('"').replace("_owner", "_run")
    }

    fn fill(&self, rows: usize) {
        self.sql_as(
            "school",
            "owner",
            &format!(
                "CREATE TABLE school.pupils (id serial PRIMARY KEY, name text, noise text);
                 INSERT INTO school.pupils (name, noise)
                 SELECT 'p' || n, (SELECT string_agg(md5(random()::text || i), '') FROM generate_series(1, 32) AS i)
                 FROM generate_series(1, {rows}) AS n;
                 CREATE TABLE school.marks (pupil int REFERENCES school.pupils, mark int);
                 INSERT INTO school.marks SELECT id, 1 FROM school.pupils;
                 CREATE VIEW school.names AS SELECT name FROM school.pupils"
            ),
        );
    }
}

/// The dump that is in a file of the store.
async fn decoded(file: &Path, identities: Option<Identities>) -> Vec<u8> {
    let (feed, mut decoder) = cipher::decode(identities);
    let bytes = std::fs::read(file).unwrap();
    let pushed = async move {
        for chunk in bytes.chunks(65_536) {
            feed.push(chunk.to_vec().into()).await;
        }
        feed.finish().await;
    };
    let read = async {
        let mut dump = Vec::new();
        while let Some(chunk) = decoder.next().await {
            dump.extend_from_slice(&chunk);
        }
        decoder.finish().await.unwrap();
        dump
    };
    futures::join!(pushed, read).1
}

/// What `pg_restore` writes of a dump as SQL.
fn as_sql(dump: &[u8]) -> String {
    use std::io::Write as _;
    let mut program =
        Command::new("pg_restore").args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = program.stdin.take().unwrap();
    let dump = dump.to_vec();
    let fed = std::thread::spawn(move || stdin.write_all(&dump).unwrap());
    let output = program.wait_with_output().unwrap();
    fed.join().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn dumps(files: &[PathBuf]) -> Vec<&PathBuf> {
    files.iter().filter(|file| file.to_string_lossy().contains(".dump.")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_is_written_read_back_shown_and_goes_as_its_object_says() {
    let mut world = World::with_store(json!({})).await;
    let message = world.store_says("True", "StoreUsable").await;
    assert!(message.contains(&world.url()) && message.contains("not encrypted"), "{message}");
    world.fill(300);
    let backup = world.archive("whole", json!({ "expireAfterDays": 30 })).await;
    let status = backup.status.clone().unwrap();
    assert_eq!((status.table_count, status.row_count), (Some(2), Some(600)));
    assert!(status.store.unwrap().starts_with(&format!("{}#", world.url())));
    assert!(status.verified_time.is_some() && status.expire_time.is_some());
    let message = condition(&backup, "Ready").unwrap().2;
    assert!(message.contains("holds 2 tables and 600 rows of schema school; read back"), "{message}");

    // What is in the store is what the object and the manifest say, and what the tenant has.
    let files = world.stored();
    let [dump] = dumps(&files)[..] else { panic!("{files:?}") };
    assert!(dump.ends_with(status.location.unwrap()) && files.len() == 2, "{files:?}");
    let manifest = files.iter().find(|file| file.to_string_lossy().ends_with("manifest.json")).unwrap();
    let manifest = Manifest::from_slice(&std::fs::read(manifest).unwrap()).unwrap();
    let rows: BTreeMap<_, _> = manifest.tables.iter().map(|table| (table.name.as_str(), table.rows)).collect();
    assert_eq!(rows, BTreeMap::from([("marks", 300), ("pupils", 300)]));
    assert_eq!((manifest.tenant.unwrap().name.as_str(), manifest.encoding.as_str()), ("school", "UTF8"));
    let [sequence] = &manifest.sequences[..] else { panic!("{:?}", manifest.sequences) };
    assert_eq!((sequence.name.as_str(), sequence.last_value), ("pupils_id_seq", 300));
    assert_eq!(manifest.artefact.bytes, std::fs::metadata(dump).unwrap().len());
    assert_eq!(status.size_bytes, i64::try_from(manifest.artefact.bytes).ok());
    let sql = as_sql(&decoded(dump, None).await);
    assert!(sql.contains("CREATE VIEW school.names") && sql.contains("FOREIGN KEY"), "{sql}");
    assert!(sql.contains("p300"), "all rows are there");

    // It is the tenant's last backup, and nothing is left of the session in which it was made.
    world
        .eventually("the tenant shows its tables and its last backup", async || {
            let status = world.api::<TenantSchema>().get("school").await.unwrap().status.unwrap();
            status.table_count == Some(2)
                && status.last_backup.is_some_and(|last| last.name.as_deref() == Some("whole"))
        })
        .await;
    let run = world.run_login();
    assert_eq!(world.sql(&format!("SELECT rolcanlogin FROM pg_roles WHERE rolname = '{run}'")), "f");
    world.prove_fixpoint().await;
    world.start_operator().await;

    // Deleted, it stays or goes as was said; expired, it goes.
    world.archive("goes", json!({ "deletionPolicy": "Delete", "verification": "None" })).await;
    assert_eq!(dumps(&world.stored()).len(), 2);
    let backups = world.api::<SchemaBackup>();
    backups.delete("goes", &DeleteParams::default()).await.unwrap();
    world.until_gone(&backups, "goes").await;
    assert_eq!(dumps(&world.stored()).len(), 1);
    world.sql(
        "UPDATE edu_matrix_hub_schema.schema_backups SET expires_at = now() - interval '1 s' \
         WHERE object_name = 'whole'",
    );
    world.until_ready(&backups, "whole", "True", "Expired").await;
    world.eventually("nothing is left in the store", async || world.stored().is_empty()).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_waits_for_its_store_and_is_encrypted_for_whom_it_says() {
    let world = World::new(json!({})).await;
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    world.fill(10);
    world.apply_backup("early", json!({ "tenantSchemaRef": { "name": "school" }, "method": "Archive" })).await;
    let backups = world.api::<SchemaBackup>();
    world
        .eventually("it is told that there is no store", async || {
            let waits = world.until_ready(&backups, "early", "False", "StoreUnavailable").await;
            condition(&waits, "Reconciling").unwrap().2.contains("has no spec.backupStore")
        })
        .await;

    // Each thing that is wrong is told with what it is, and all else goes on.
    let secret = format!("keys-{}", world.id);
    let key = age_key();
    let recipient = key.1.clone();
    let encryption = json!({ "recipients": [recipient], "identitySecretRef": { "name": secret } });
    world.set_store(json!({ "url": "file:///elsewhere" })).await;
    let message = world.store_says("False", "StoreInvalid").await;
    assert!(message.contains("below"), "{message}");
    world.set_store(json!({ "url": world.url(), "encryption": encryption })).await;
    world
        .eventually("the missing Secret is told", async || {
            world.store_says("False", "StoreInvalid").await.contains(&secret)
        })
        .await;
    world.write_secret_of(&secret, &json!({ "identity": "nonsense" })).await;
    world
        .eventually("the wrong identity is told", async || {
            world.store_says("False", "StoreInvalid").await.contains("AGE-SECRET-KEY-1")
        })
        .await;
    assert_eq!(world.tenant_readiness("school").await, "True");

    world.write_secret_of(&secret, &json!({ "identity": key.0 })).await;
    world.store_says("True", "StoreUsable").await;
    let early = world.finished("early").await;
    let message = condition(&early, "Ready").unwrap().2;
    assert!(message.contains("entries"), "it was decrypted and listed: {message}");
    let files = world.stored();
    let [dump] = dumps(&files)[..] else { panic!("{files:?}") };
    let bytes = std::fs::read(dump).unwrap();
    assert!(bytes.starts_with(b"age-encryption.org/"));
    let identities = Identities::parse(key.0.as_bytes()).unwrap();
    assert!(as_sql(&decoded(dump, Some(identities)).await).contains("p10"));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_that_an_operator_died_over_is_made_again_and_leaves_nothing() {
    let mut world = World::with_store(json!({ "bandwidthMiBPerSecond": 1 })).await;
    world.fill(20_000);
    world.stop_operator().await;
    let process = Process::start(&world, "info");
    world.apply_backup("slow", json!({ "tenantSchemaRef": { "name": "school" }, "method": "Archive" })).await;
    let uploads = "SELECT count(*) FROM edu_matrix_hub_schema.archive_uploads";
    world.eventually("it is being written", async || world.sql(uploads) == "1").await;
    process.kill();
    world.expire_lease().await;
    world.set_store(json!({ "bandwidthMiBPerSecond": null })).await;
    world.start_operator().await;
    world.finished("slow").await;
    assert_eq!(world.sql(uploads), "2");
    assert_eq!(world.sql(&format!("{uploads} WHERE ended_at IS NULL")), "0");
    world.eventually("one archive and its manifest are in the store", async || world.stored().len() == 2).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_tenant_does_fails_its_own_archive_and_says_why() {
    let world = World::with_store(json!({})).await;
    world.fill(10);
    world.sql_as("school", "owner", "ALTER TABLE school.marks ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY");
    world.apply_backup("filtered", json!({ "tenantSchemaRef": { "name": "school" }, "method": "Archive" })).await;
    let backups = world.api::<SchemaBackup>();
    let failed = world.until_ready(&backups, "filtered", "False", "Failed").await;
    let (.., message) = condition(&failed, "Stalled").unwrap();
    assert!(message.contains("marks") && message.contains("NO FORCE ROW LEVEL SECURITY"), "{message}");
    world.sql_as("school", "owner", "ALTER TABLE school.marks NO FORCE ROW LEVEL SECURITY");

    // A table that is locked for long is waited for; the archive comes when it is free.
    let lock = world.session("BEGIN; LOCK TABLE school.marks IN ACCESS EXCLUSIVE MODE");
    world.apply_backup("locked", json!({ "tenantSchemaRef": { "name": "school" }, "method": "Archive" })).await;
    world.until_ready(&backups, "locked", "False", "ProgressingWithRetry").await;
    drop(lock);
    world.finished("locked").await;

    // A tenant that is deleted does not wait for its archive, and what was half written goes.
    world.set_store(json!({ "bandwidthMiBPerSecond": 1 })).await;
    world.sql_as(
        "school",
        "owner",
        "INSERT INTO school.pupils (noise) SELECT (SELECT string_agg(md5(random()::text || i), '') FROM generate_series(1, 32) AS i) \
         FROM generate_series(1, 20000) AS n",
    );
    world
        .eventually("the slow store is in use", async || {
            let database: TenantDatabase = world.databases().get(&world.database_ref()).await.unwrap();
            condition(&database, "BackupStoreReady").is_some()
                && database.status.unwrap().observed_generation == database.metadata.generation
        })
        .await;
    world.apply_backup("endless", json!({ "tenantSchemaRef": { "name": "school" }, "method": "Archive" })).await;
    let begun = "SELECT count(*) FROM edu_matrix_hub_schema.archive_uploads WHERE ended_at IS NULL";
    world.eventually("it is being written", async || world.sql(begun) == "1").await;
    world.delete_tenant("school").await;
    world.until_ready(&backups, "endless", "False", "Cancelled").await;
    world.eventually("what was half written is known to be gone", async || world.sql(begun) == "0").await;
    assert_eq!(world.stored().len(), 2, "{:?}", world.stored());
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_whose_session_ended_before_the_dump_is_none_and_a_copy_of_a_database_has_no_store() {
    let mut world = World::with_store(json!({ "bandwidthMiBPerSecond": 1 })).await;
    world.fill(8000);
    world.apply_backup("torn", json!({ "tenantSchemaRef": { "name": "school" }, "method": "Archive" })).await;
    // The session that holds the tables, while the program dumps them.
    let run = world.run_login();
    let end = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity AS a WHERE usename = '{run}' AND state LIKE 'idle%' \
         AND EXISTS (SELECT FROM pg_stat_activity AS d WHERE d.usename = '{run}' AND d.application_name LIKE '%archive')"
    );
    world.eventually("it is ended", async || world.sql(&end) == "1").await;
    let backups = world.api::<SchemaBackup>();
    world
        .eventually("what was dumped does not count", async || {
            world.sql("SELECT count(*) FROM edu_matrix_hub_schema.schema_jobs WHERE failures > 0") == "1"
        })
        .await;
    world.set_store(json!({ "bandwidthMiBPerSecond": null })).await;
    world.until_ready(&backups, "torn", "True", "Completed").await;
    assert_eq!(world.stored().len(), 2, "{:?}", world.stored());

    // The store is of another TenantDatabase of the same installation, as where this database is a copy.
    let installation = world.sql("SELECT installation_id FROM edu_matrix_hub_schema.installation");
    let marker = world.files.path().join(installation).join("owner.json");
    let text = std::fs::read_to_string(&marker).unwrap().replace(&world.database_ref(), "the-original");
    std::fs::write(&marker, text).unwrap();
    world.stop_operator().await;
    world.start_operator().await;
    let message = world.store_says("False", "StoreInvalid").await;
    assert!(message.contains("TenantDatabase the-original") && message.contains("owner.json"), "{message}");
    world.finish().await;
}

/// An identity and its recipient.
fn age_key() -> (String, String) {
    (
        "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX".to_owned(),
        "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj".to_owned(),
    )
}
