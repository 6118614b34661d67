//! Archives that are proved by restoring them into a scratch database, and what keeps one from that.

use devcluster::{PostgresOptions, PostgresServer};
use k8s_openapi::api::events::v1::Event;
use kube::{Api, api::ListParams};
use serde_json::{Value, json};
use tenant_schema_operator::api::{SchemaBackup, TenantSchema};

use crate::{
    archives::Archives,
    tools::operator::Process,
    world::{World, condition},
};

/// What these tests do in their world.
trait Restored: Sized {
    async fn with_scratch(more: Value) -> (PostgresServer, Self);
    async fn proved(&self, name: &str, status: &str, reason: &str) -> (SchemaBackup, String);
    fn scratch(&self) -> String;
    fn let_make_databases(&self, may: bool);
}

impl Restored for World {
    /// A world with a store on a server of its own, on which nothing can be prepared; the login may make databases.
    async fn with_scratch(more: Value) -> (PostgresServer, Self) {
        let settings = vec![("max_prepared_transactions".to_owned(), "0".to_owned())];
        let options = PostgresOptions { max_connections: 60, settings, ..PostgresOptions::default() };
        let server = PostgresServer::start(options).unwrap();
        let mut world = Self::bare().await;
        world.postgres = server.info().clone();
        world.make_database(&world.database, &world.login());
        world.write_secret(json!({})).await;
        world.apply_database(json!({})).await;
        world.start_operator().await;
        world.furnish(more).await;
        world.store_says("True", "StoreUsable").await;
        world.let_make_databases(true);
        (server, world)
    }

    /// Makes an archive that is to be restored; returns it with what the condition says, which must be this.
    async fn proved(&self, name: &str, status: &str, reason: &str) -> (SchemaBackup, String) {
        let backup = self.archive(name, json!({ "verification": "Restore" })).await;
        let (found, why, message) = condition(&backup, "Verified").unwrap();
        assert_eq!((found.as_str(), why.as_str()), (status, reason), "{message}");
        assert_eq!(self.scratch(), "0/0", "{message}");
        (backup, message)
    }

    /// How many scratch databases this world has, and how many it knows.
    fn scratch(&self) -> String {
        self.sql(
            "SELECT concat(count(d.oid), '/', (SELECT count(*) FROM edu_matrix_hub_schema.scratch_databases))
             FROM pg_database AS d JOIN pg_database AS own ON own.datname = current_database() AND own.datdba = d.datdba
             WHERE d.datname LIKE 'edu\\_matrix\\_scratch%'",
        )
    }

    fn let_make_databases(&self, may: bool) {
        let word = if may { "CREATEDB" } else { "NOCREATEDB" };
        self.sql(&format!(
            "DO $$ BEGIN EXECUTE format('ALTER ROLE %I {word}', (SELECT datdba::regrole::text FROM pg_database
             WHERE datname = current_database())); END $$"
        ));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_is_restored_and_compared_and_nothing_of_that_is_left() {
    let (_server, mut world) = World::with_scratch(json!({})).await;
    world.fill(300);
    world.let_make_databases(false);
    let (backup, message) = world.proved("by-hash", "False", "NotRestored").await;
    assert!(message.contains("CREATEDB") && message.contains("length and SHA-256 are right"), "{message}");
    assert!(backup.status.unwrap().verified_time.is_some());

    world.let_make_databases(true);
    world.sql("CREATE SCHEMA things; CREATE EXTENSION citext SCHEMA things; GRANT USAGE ON SCHEMA things TO PUBLIC");
    world.sql_as(
        "school",
        "owner",
        "CREATE TABLE school.\"Odd ' names\" (id int GENERATED ALWAYS AS IDENTITY, mail things.citext, CHECK (mail <> ''), \
                                              twice int GENERATED ALWAYS AS (id * 2) STORED);
         INSERT INTO school.\"Odd ' names\" (mail) SELECT 'P' || n FROM generate_series(1, 20) AS n;
         CREATE INDEX ON school.\"Odd ' names\" (mail);
         ALTER TABLE school.pupils ENABLE ROW LEVEL SECURITY;
         CREATE TABLE school.parent (a int); CREATE TABLE school.child (x int) INHERITS (school.parent);
         ALTER TABLE school.parent ADD z int; INSERT INTO school.child VALUES (1, 2, 3)",
    );
    let (backup, message) = world.proved("whole", "True", "Restored").await;
    assert!(message.contains("5 tables with 621 rows hold what was archived"), "{message}");
    assert!(message.ends_with("; of 1 table the rows were counted alone"), "{message}");
    let status = backup.status.unwrap();
    assert_eq!(status.verified_how.as_deref(), Some(message.as_str()));
    let run = world.run_login();
    assert_eq!(world.sql(&format!("SELECT rolcanlogin FROM pg_roles WHERE rolname = '{run}'")), "f");
    world
        .eventually("the tenant shows its tables", async || {
            let tenant: TenantSchema = world.api().get("school").await.unwrap();
            tenant.status.unwrap().table_count == Some(5)
        })
        .await;
    world.prove_fixpoint().await;
    world.start_operator().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_that_cannot_be_restored_is_kept_and_says_why() {
    let (_server, world) = World::with_scratch(json!({ "scratchSizeLimit": "64Mi" })).await;
    world.fill(10);
    // What needs others' objects is not tried.
    world.sql("CREATE SCHEMA hub; CREATE TYPE hub.colour AS ENUM ('red'); GRANT USAGE ON SCHEMA hub TO PUBLIC");
    world.sql_as("school", "owner", "CREATE TABLE school.painted (colour hub.colour)");
    let (_, message) = world.proved("leaning", "False", "NotRestored").await;
    assert!(message.contains("type hub.colour"), "{message}");

    // A function that finds its table by the search_path of its caller works in the tenant, and in no restore.
    world.sql_as(
        "school",
        "owner",
        "DROP TABLE school.painted; SET search_path = school;
         CREATE FUNCTION school.is_known(pupil int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT EXISTS (SELECT FROM pupils WHERE id = $1)';
         ALTER TABLE school.marks ADD CHECK (school.is_known(pupil))",
    );
    let (backup, message) = world.proved("broken", "False", "RestoreFailed").await;
    assert!(message.contains("pg_restore failed") && message.contains("\"pupils\" does not exist"), "{message}");
    let status = backup.status.clone().unwrap();
    assert_eq!((status.verified_time, status.verified_how), (None, None));
    assert!(world.files.path().join(status.location.unwrap()).exists(), "the archive is kept");
    let told = async || {
        let events: Api<Event> = world.api();
        let events = events.list(&ListParams::default()).await.unwrap();
        let of = |event: &&Event| {
            event.reason.as_deref() == Some("BackupNotProved")
                && event.note.as_deref().is_some_and(|note| note.contains("is_known"))
        };
        events.iter().filter(of).count()
    };
    world.eventually("an Event says so", async || told().await == 1).await;

    // The tenant's own code runs in it, and cannot fill the disk.
    world.sql_as(
        "school",
        "owner",
        "ALTER TABLE school.marks DROP CONSTRAINT marks_pupil_check; DROP FUNCTION school.is_known;
         CREATE TABLE school.flood (noise text);
         CREATE FUNCTION school.pour() RETURNS void LANGUAGE plpgsql AS $$
         BEGIN
             LOOP INSERT INTO school.flood SELECT repeat(md5(random()::text), 50) FROM generate_series(1, 1000); END LOOP;
         END $$;
         CREATE FUNCTION school.flooded(mark int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
         BEGIN
             IF current_database() LIKE 'edu_matrix_scratch%' THEN PERFORM school.pour(); END IF;
             RETURN mark;
         END $$;
         CREATE INDEX ON school.marks (school.flooded(mark))",
    );
    let (_, message) = world.proved("flooding", "False", "NotRestored").await;
    assert!(message.contains("scratchSizeLimit"), "{message}");

    // A suspended tenant is archived, and no session is opened in which its code would run.
    world.apply_tenant("school", json!({ "schemaName": "school", "access": "Suspended" })).await;
    world
        .eventually("it is suspended", async || {
            let tenant: TenantSchema = world.api().get("school").await.unwrap();
            tenant.status.unwrap().state.is_some_and(|state| format!("{state:?}") == "Suspended")
        })
        .await;
    let (_, message) = world.proved("suspended", "False", "NotRestored").await;
    assert!(message.contains("the tenant is suspended"), "{message}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_left_that_was_killed_while_it_restored_is_removed() {
    let (_server, mut world) = World::with_scratch(json!({})).await;
    world.fill(10);
    // It takes its time in the scratch database.
    world.sql_as(
        "school",
        "owner",
        "CREATE FUNCTION school.slow(mark int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
         BEGIN
             IF current_database() LIKE 'edu_matrix_scratch%' THEN PERFORM pg_sleep(2); END IF;
             RETURN mark;
         END $$;
         CREATE INDEX ON school.marks (school.slow(mark))",
    );
    world.stop_operator().await;
    let process = Process::start(&world, "info");
    let spec: Value =
        json!({ "tenantSchemaRef": { "name": "school" }, "method": "Archive", "verification": "Restore" });
    world.apply_backup("slow", spec).await;
    world.eventually("it is being restored", async || world.scratch() == "1/1").await;
    process.kill();
    world.expire_lease().await;
    world.start_operator().await;
    let backup = world.finished("slow").await;
    let (status, reason, message) = condition(&backup, "Verified").unwrap();
    assert_eq!((status.as_str(), reason.as_str()), ("True", "Restored"), "{message}");
    assert_eq!(world.scratch(), "0/0");
    world.eventually("one archive and its manifest are in the store", async || world.stored().len() == 2).await;
    world.finish().await;
}
