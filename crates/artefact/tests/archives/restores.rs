//! Archives that are restored into a real server: all of it, or an error that says why.

use std::{fs, time::Duration};

use artefact::{
    Artefact, Expected, Identities, Key, Program, Recipients, Restore, archive,
    error::{CheckError, DumpError, RestoreError},
    restore,
};
use devcluster::wait_until;
use uuid::Uuid;

use crate::{
    dumps::{Session, database, dump, processes, reach, server, sql},
    ground::{Ground, folder, grounds, keys, place},
};

const SCHEMA: &str = r#"say "x""#;
const QUOTED: &str = r#""say ""x""""#;

/// A schema of many kinds of things, archived.
struct Archived<'a> {
    ground: &'a Ground,
    key: Key,
    expected: Expected,
}

impl<'a> Archived<'a> {
    async fn new(ground: &'a Ground, recipients: Option<&Recipients>, more: &str) -> Self {
        let database = database();
        sql(
            &database,
            &format!(
                "CREATE SCHEMA {QUOTED}; SET search_path = {QUOTED};
                 CREATE TABLE t (id serial PRIMARY KEY, text text, twice int GENERATED ALWAYS AS (id * 2) STORED);
                 INSERT INTO t (text) SELECT E'\\\\.\\n\\t\\\\N ' || n || ' ü' FROM generate_series(1, 5000) AS n;
                 CREATE TABLE u (id int REFERENCES t); INSERT INTO u SELECT id FROM t; CREATE VIEW v AS SELECT * FROM t; {more}"
            ),
        );
        let session = Session::open(&database, "");
        let (place, dump) = (place(), dump(&database, SCHEMA, &session.snapshot).await);
        let Artefact { key, bytes, sha256, .. } =
            archive(&ground.store, &place, dump.start().unwrap(), recipients, None, |_| ()).await.unwrap();
        let key = Key::parse(place.installation_id, &key).unwrap();
        Self { ground, key, expected: Expected { bytes, sha256 } }
    }

    async fn restored(&self, database: &str, identities: Option<&Identities>) -> Result<(), RestoreError> {
        let program = Program::find("pg_restore", server().major().into()).await.unwrap();
        let with = Restore { program, reach: reach(database) };
        restore(&self.ground.store, &self.key, &self.expected, identities, &with).await
    }
}

#[tokio::test]
async fn all_is_restored_into_a_database_of_any_name() {
    let (recipients, identities) = keys();
    for ground in grounds() {
        for recipients in [None, Some(&recipients)] {
            let archived = Archived::new(&ground, recipients, "").await;
            let name = format!("postgres://it's=a {}", Uuid::new_v4().simple());
            sql("postgres", &format!("CREATE DATABASE \"{name}\" TEMPLATE template0"));
            archived.restored(&name, Some(&identities)).await.unwrap();
            let counts = format!(
                "SELECT count(*) || ' ' || sum(twice) || ' ' || min(text) || (SELECT count(*) FROM {QUOTED}.u) || (SELECT count(*) FROM {QUOTED}.v)
                 FROM {QUOTED}.t"
            );
            // psql takes a name that looks like one for a connection string.
            let named = format!("dbname='{}'", name.replace('\'', "\\'"));
            assert_eq!(sql(&named, &counts).trim_end(), "5000 25005000 \\.\n\t\\N 1 ü50005000");
        }
    }
}

#[tokio::test]
async fn what_is_not_what_was_written_is_no_restore() {
    let (recipients, identities) = keys();
    let ground = folder();
    let archived = Archived::new(&ground, Some(&recipients), "").await;
    let (file, name) = (archived.ground.file(&archived.key), database());
    let good = fs::read(&file).unwrap();
    let found = archived.restored(&name, Some(&keys().1)).await;
    assert!(matches!(found, Err(RestoreError::Archive(CheckError::WrongKey))), "{found:?}");
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    fs::write(&file, &flipped).unwrap();
    let found = archived.restored(&name, Some(&identities)).await;
    assert!(matches!(found, Err(RestoreError::Archive(CheckError::Digest { .. }))), "{found:?}");
    fs::write(&file, &good[..good.len() - 1]).unwrap();
    let found = archived.restored(&name, Some(&identities)).await;
    assert!(matches!(found, Err(RestoreError::Archive(CheckError::Length { .. }))), "{found:?}");
    fs::remove_file(&file).unwrap();
    let found = archived.restored(&name, Some(&identities)).await;
    assert!(matches!(found, Err(RestoreError::Archive(CheckError::Missing(_)))), "{found:?}");
}

#[tokio::test]
async fn what_fails_in_the_server_says_why_and_nothing_is_written_over() {
    let ground = folder();
    let archived = Archived::new(&ground, None, "").await;
    let name = database();
    sql(&name, &format!("CREATE SCHEMA {QUOTED} CREATE TABLE t (kept int)"));
    let found = archived.restored(&name, None).await;
    let told =
        |error: &DumpError| matches!(error, DumpError::Failed { message, .. } if message.contains("already exists"));
    assert!(matches!(&found, Err(RestoreError::Program(error)) if told(error)), "{found:?}");
    assert_eq!(sql(&name, &format!("SELECT count(kept) FROM {QUOTED}.t")).trim_end(), "0");
}

#[tokio::test]
async fn a_restore_that_is_given_up_ends_its_program_and_tells_no_password() {
    let slow = "CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN IF current_database() LIKE 'slow%' THEN
                PERFORM pg_sleep(600); END IF; RETURN 1; END $$; CREATE INDEX ON u (slow(id))";
    let ground = folder();
    let archived = Archived::new(&ground, None, slow).await;
    let name = format!("slow_{}", Uuid::new_v4().simple());
    sql("postgres", &format!("CREATE DATABASE {name}"));
    let sessions =
        format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND query LIKE 'CREATE INDEX%'");
    let looking = async {
        while sql("postgres", &sessions).trim_end() != "1" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        restored = archived.restored(&name, None) => panic!("{restored:?}"),
        looked = tokio::time::timeout(Duration::from_secs(60), looking) => looked.unwrap(),
    }
    let (of, sessions_of) = (name.clone(), sessions.clone());
    let ours = move || {
        processes("PGAPPNAME=tenant-schema-operator restore")
            .into_iter()
            .filter(|one| one.contains(&of))
            .collect::<Vec<_>>()
    };
    assert!(ours().iter().all(|one| !one.contains(&server().password)), "{:?}", ours());
    tokio::task::spawn_blocking(move || {
        wait_until(Duration::from_secs(20), "the program has ended", || ours().is_empty()).unwrap();
        wait_until(Duration::from_secs(20), "its session has ended", || {
            sql("postgres", &sessions_of).trim_end() == "0"
        })
        .unwrap();
    })
    .await
    .unwrap();
}
