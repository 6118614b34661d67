//! `pg_restore` of a real server: what comes back is what was dumped, and everything that must not pass for a restore.

use std::{fs, time::Duration};

use artefact::{
    Expected, Identities, Key, Program, Reach, Recipients, Restore, Restored, Secret, archive,
    error::{CheckError, DumpError, RestoreError},
    restore,
};
use uuid::Uuid;

use crate::{
    ground::{Ground, folder, grounds, keys, place},
    postgres::{Session, database, dump, large, processes, reach, server, sessions, sql, try_sql},
};

/// An archive of a schema, and what was recorded of it.
struct Archived {
    key: Key,
    expected: Expected,
    plain_bytes: u64,
}

impl Archived {
    async fn of(ground: &Ground, database: &str, schema: &str, recipients: Option<&Recipients>) -> Self {
        let session = Session::open(database, "");
        let (place, dump) = (place(), dump(database, schema, &session.snapshot).await);
        let artefact = archive(&ground.store, &place, dump.start().unwrap(), recipients, None, |_| ()).await.unwrap();
        Self {
            key: Key::parse(place.installation_id, &artefact.key).unwrap(),
            expected: Expected { bytes: artefact.bytes, sha256: artefact.sha256 },
            plain_bytes: artefact.plain_bytes,
        }
    }

    async fn restore(
        &self,
        ground: &Ground,
        identities: Option<&Identities>,
        with: &Restore,
    ) -> Result<Restored, RestoreError> {
        restore(&ground.store, &self.key, &self.expected, identities, with).await
    }
}

async fn into(database: &str) -> Restore {
    let program = Program::find("pg_restore", server().major().into()).await.unwrap();
    Restore { program, reach: reach(database), schema: None }
}

/// A database of a name that libpq would read as the parameters of a connection, or a shell as something else.
fn odd_database(beginning: &str) -> String {
    let name = format!("{beginning}{} host='x\" \\é", Uuid::new_v4().simple());
    let quoted = name.replace('"', "\"\"");
    sql("postgres", &format!("CREATE DATABASE \"{quoted}\" ENCODING 'UTF8' TEMPLATE template0"));
    name
}

/// Waits until the server has no session of a restore in this database: the program has ended by then, and its session soon.
async fn ends_soon(database: &str) {
    for _ in 0..200 {
        if sessions(database, "restore") == "0" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("a restore is at work in {database}");
}

const SCHEMA: &str = r#"
    SET standard_conforming_strings = on;
    CREATE SCHEMA "Say ""x"" = y";
    SET search_path = "Say ""x"" = y";
    CREATE TABLE kind (id serial PRIMARY KEY, name text UNIQUE NOT NULL);
    CREATE TABLE "One Row" (id serial PRIMARY KEY, kind int NOT NULL REFERENCES kind, "te xt" text,
        twice int GENERATED ALWAYS AS (id * 2) STORED);
    CREATE VIEW shown AS SELECT o.*, k.name FROM "One Row" o JOIN kind k ON k.id = o.kind;
    INSERT INTO kind (name) VALUES ('a'), ('b''"\ü');
    INSERT INTO "One Row" (kind, "te xt") VALUES (1, NULL), (2, ''), (2, E'\t\n\r\\.\\N\x01'), (1, '\.'), (2, '🦀 ''$$"'),
        (1, repeat('long ', 100000));
"#;
/// Everything in it, also where the sequence stands.
const CONTENT: &str = r#"
    SET search_path = "Say ""x"" = y";
    SELECT (SELECT json_agg(s ORDER BY id) FROM shown s), (SELECT last_value FROM "One Row_id_seq")
"#;

#[tokio::test]
async fn what_was_dumped_is_restored() {
    let (recipients, identities) = keys();
    let from = odd_database("d_");
    sql(&from, SCHEMA);
    let content = sql(&from, CONTENT);
    assert!(content.contains("🦀"));
    for ground in grounds() {
        for (recipients, beginning) in [(Some(&recipients), "d_"), (None, "postgres://")] {
            let archived = Archived::of(&ground, &from, "Say \"x\" = y", recipients).await;
            let to = odd_database(beginning);
            let restored = archived.restore(&ground, Some(&identities), &into(&to).await).await.unwrap();
            assert_eq!(restored.plain_bytes, archived.plain_bytes);
            assert_eq!(sql(&to, CONTENT), content);
            // What is behind the data as well: the sequence goes on, the column is computed, the reference holds.
            let insert = |kind| {
                let row =
                    format!("INSERT INTO \"Say \"\"x\"\" = y\".\"One Row\" (kind) VALUES ({kind}) RETURNING id, twice");
                try_sql(&to, &row)
            };
            assert_eq!(insert(1).unwrap(), "7|14");
            assert!(insert(3).unwrap_err().to_string().contains("foreign key"));
        }
    }
}

#[tokio::test]
async fn what_is_not_what_was_written_is_no_restore() {
    let (recipients, identities) = keys();
    let from = large();
    let ground = folder();
    let failure = async |archived: &Archived, identities: Option<&Identities>| {
        let to = database();
        let error = archived.restore(&ground, identities, &into(&to).await).await.unwrap_err();
        assert!(!error.may_pass(), "{error:?}");
        ends_soon(&to).await;
        error
    };
    for recipients in [Some(&recipients), None] {
        let mut archived = Archived::of(&ground, &from, "s", recipients).await;
        let file = ground.file(&archived.key);
        let good = fs::read(&file).unwrap();
        if recipients.is_some() {
            let error = failure(&archived, Some(&keys().1)).await;
            assert!(matches!(error, RestoreError::WrongKey), "{error:?}");
            let error = failure(&archived, None).await;
            assert!(matches!(error, RestoreError::IdentityNeeded), "{error:?}");
        }
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 1;
        fs::write(&file, &flipped).unwrap();
        let error = failure(&archived, Some(&identities)).await;
        assert!(matches!(error, RestoreError::Archive(CheckError::Digest { .. })), "{error:?}");
        // Only the end is missing, so that pg_restore has all that it asks for.
        let cut = &good[..good.len() - 1];
        fs::write(&file, cut).unwrap();
        let error = failure(&archived, Some(&identities)).await;
        assert!(matches!(error, RestoreError::Archive(CheckError::Length { .. })), "{error:?}");
        archived.expected.bytes = cut.len() as u64;
        let error = failure(&archived, Some(&identities)).await;
        let RestoreError::Archive(CheckError::Digest { found, .. }) = error else { panic!("{error:?}") };
        // With what is recorded of the shorter one it was written so.
        archived.expected.sha256 = found;
        let error = failure(&archived, Some(&identities)).await;
        assert!(matches!(error, RestoreError::Damaged(_)), "{error:?}");
        // All of it is right but what was recorded: pg_restore would end well.
        fs::write(&file, &good).unwrap();
        archived.expected.bytes = good.len() as u64;
        let error = failure(&archived, Some(&identities)).await;
        assert!(matches!(error, RestoreError::Archive(CheckError::Digest { .. })), "{error:?}");
        fs::remove_file(&file).unwrap();
        let error = failure(&archived, Some(&identities)).await;
        assert!(matches!(error, RestoreError::Archive(CheckError::Missing(_))), "{error:?}");
    }
}

#[tokio::test]
async fn a_program_that_fails_gives_its_own_reason() {
    let from = large();
    let ground = folder();
    let archived = Archived::of(&ground, &from, "s", None).await;
    // It ends while most of the archive is still to come.
    let taken = database();
    sql(&taken, "CREATE SCHEMA s");
    let error = archived.restore(&ground, None, &into(&taken).await).await.unwrap_err();
    let RestoreError::Program(DumpError::Failed { code: Some(1), message }) = &error else { panic!("{error:?}") };
    assert!(message.contains("schema \"s\" already exists") && !error.may_pass(), "{error}");
    // The statement, which comes after the reason, is longer than a message.
    let statement = format!("CREATE VIEW v.v AS SELECT f(), '{}' AS long", "long\n".repeat(4_000));
    sql(&from, "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE SCHEMA v");
    sql(&from, &statement);
    let needs = Archived::of(&ground, &from, "v", None).await;
    let error = needs.restore(&ground, None, &into(&database()).await).await.unwrap_err();
    assert!(error.to_string().contains("function public.f() does not exist"), "{error}");
    let good = into(&database()).await;
    let reached = |reach: Reach| Restore { reach, ..good.clone() };
    let unknown = reached(Reach { password: Some(Secret::from("hunter2")), ..good.reach.clone() });
    assert!(!format!("{unknown:?}").contains("hunter2"));
    let error = archived.restore(&ground, None, &unknown).await.unwrap_err();
    assert!(matches!(error, RestoreError::Program(DumpError::Denied(_))) && !error.may_pass(), "{error:?}");
    let closed = reached(Reach { ports: vec![devcluster::free_port().unwrap()], ..good.reach.clone() });
    let error = archived.restore(&ground, None, &closed).await.unwrap_err();
    assert!(matches!(error, RestoreError::Program(DumpError::Connection(_))) && error.may_pass(), "{error:?}");
}

#[tokio::test]
async fn a_restore_that_is_dropped_ends_and_shows_no_secret_meanwhile() {
    let (ground, to) = (folder(), database());
    let archived = Archived::of(&ground, &large(), "s", None).await;
    // A schema of the same name that may come or not is waited for: a session that waits does not see that its client has gone.
    let blocking = Session::open(&to, "CREATE SCHEMA s;");
    let mut with = into(&to).await;
    with.reach.connect_timeout = Duration::from_secs(19);
    let waits = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{to}' AND wait_event_type = 'Lock'");
    let mut restoring = Box::pin(archived.restore(&ground, None, &with));
    for _ in 0..100 {
        assert!(tokio::time::timeout(Duration::from_millis(100), &mut restoring).await.is_err());
        if sql("postgres", &waits) == "1" {
            break;
        }
    }
    assert_eq!(sessions(&to, "restore"), "1");
    let [(process, seen)] = &processes("PGCONNECT_TIMEOUT=19")[..] else { panic!("one pg_restore") };
    assert!(seen.contains("--no-password") && seen.contains("PGPASSFILE=/proc/"), "{seen}");
    assert!(!seen.contains(&server().password) && !seen.contains("CARGO"), "{seen}");
    drop(restoring);
    ends_soon(&to).await;
    // It was waited for too: one that ended and was not has a folder still.
    for _ in 0..100 {
        if !process.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!process.exists());
    drop(blocking);
}
