//! `pg_dump` of a real server: any name, any password, and every way to fail.

use std::{fs, time::Duration};

use artefact::{
    Dump, Expected, Key, Program, Reach, RunningDump, Secret, Source, archive, check,
    error::{ArchiveError, DumpError},
};
use bytes::Bytes;
use devcluster::wait_until;
use uuid::Uuid;

use crate::{
    ground::{Ground, folder, grounds, place},
    postgres::{Session, database, dump, large, processes, sessions, sql},
};

/// How many entries the archive of a dump has, after it was checked.
async fn entries(ground: &Ground, dump: &Dump) -> u64 {
    let place = place();
    let artefact = archive(&ground.store, &place, dump.start().unwrap(), None, None, |_| ()).await.unwrap();
    let restore = Program::find("pg_restore", dump.program.major()).await.unwrap();
    let key = Key::parse(place.installation_id, &artefact.key).unwrap();
    let expected = Expected { bytes: artefact.bytes, sha256: artefact.sha256 };
    check(&ground.store, &key, &expected, None, Some(&restore)).await.unwrap().entries.unwrap()
}

async fn failure(dump: &Dump) -> DumpError {
    let ground = folder();
    match archive(&ground.store, &place(), dump.start().unwrap(), None, None, |_| ()).await {
        Err(ArchiveError::Dump(error)) => {
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert_eq!(ground.files(), Vec::<std::path::PathBuf>::new());
            error
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_schema_of_any_name_is_dumped_and_no_other() {
    let database = database();
    let names = [
        "plain",
        "Upper.b*?",
        "Upper.bcd",
        "upper.b*?",
        "say \"x\"",
        "schön",
        "a b",
        "^x|y(z)[a]{1}$+\\d",
        "it's",
        "--help",
        "\"",
        "*",
    ];
    for name in names {
        let quoted = name.replace('"', "\"\"");
        sql(&database, &format!("CREATE SCHEMA \"{quoted}\" CREATE TABLE t (a int)"));
    }
    let session = Session::open(&database, "");
    let ground = folder();
    for name in names {
        // The schema, its table, and what is in it.
        assert_eq!(entries(&ground, &dump(&database, name, &session.snapshot).await).await, 3, "{name}");
    }
}

#[tokio::test]
async fn a_name_is_found_in_a_database_of_another_encoding() {
    let database = format!("d_{}", Uuid::new_v4().simple());
    sql("postgres", &format!("CREATE DATABASE {database} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"));
    sql(&database, r#"CREATE SCHEMA U&"sch\00F6n" CREATE TABLE t (a int)"#);
    let session = Session::open(&database, "");
    assert_eq!(entries(&folder(), &dump(&database, "schön", &session.snapshot).await).await, 3);
}

#[tokio::test]
async fn a_dump_shows_the_moment_of_its_snapshot() {
    let database = database();
    sql(&database, "CREATE SCHEMA s CREATE TABLE t (a int)");
    let session = Session::open(&database, "");
    sql(&database, "CREATE TABLE s.later (a int)");
    assert_eq!(entries(&folder(), &dump(&database, "s", &session.snapshot).await).await, 3);
}

#[tokio::test]
async fn a_password_of_any_characters_is_given_and_nobody_sees_it() {
    let database = database();
    let role = format!("r_{}", Uuid::new_v4().simple());
    let password = "hunter2:a\\b'\"*#é";
    let quoted = password.replace('\'', "''");
    sql("postgres", &format!("SET standard_conforming_strings = on; CREATE ROLE {role} LOGIN PASSWORD '{quoted}'"));
    sql(
        &database,
        &format!("CREATE SCHEMA s AUTHORIZATION {role}; CREATE TABLE s.t (a int); ALTER TABLE s.t OWNER TO {role}"),
    );
    let session = Session::open(&database, "");
    let mut dump = dump(&database, "s", &session.snapshot).await;
    dump.reach.user = role;
    dump.reach.password = Some(Secret::from(password));
    assert!(!format!("{dump:?}").contains("hunter2"));
    assert_eq!(entries(&folder(), &dump).await, 3);
    // While it waits for a lock, its command line and its environment can be looked at.
    let locked = Session::open(&database, "LOCK TABLE s.t;");
    dump.lock_wait = Duration::from_secs(3);
    dump.reach.connect_timeout = Duration::from_secs(17);
    let looking = tokio::task::spawn_blocking(|| {
        let mut seen = Vec::new();
        wait_until(Duration::from_secs(2), "pg_dump", || {
            seen = processes("PGCONNECT_TIMEOUT=17");
            !seen.is_empty()
        })
        .unwrap();
        seen
    });
    let error = failure(&dump).await;
    assert!(matches!(error, DumpError::LockTimeout(_)) && error.may_pass(), "{error:?}");
    let seen: String = looking.await.unwrap().into_iter().map(|(_, seen)| seen).collect();
    assert!(seen.contains("--no-password") && seen.contains("PGPASSFILE=/proc/"), "{seen}");
    assert!(!seen.contains("hunter2") && !seen.contains("CARGO"), "{seen}");
    drop(locked);
}

#[tokio::test]
async fn reasons_to_fail_are_told_apart() {
    let database = database();
    let role = format!("r_{}", Uuid::new_v4().simple());
    sql("postgres", &format!("CREATE ROLE {role} LOGIN PASSWORD 'hunter2'"));
    sql(&database, &format!("CREATE SCHEMA s CREATE TABLE t (a int); GRANT USAGE ON SCHEMA s TO {role}"));
    sql(
        &database,
        &format!(
            "CREATE SCHEMA p CREATE TABLE t (a int); ALTER TABLE p.t ENABLE ROW LEVEL SECURITY; GRANT USAGE ON SCHEMA p TO {role}; GRANT SELECT ON p.t TO {role}"
        ),
    );
    let session = Session::open(&database, "");
    let good = dump(&database, "s", &session.snapshot).await;
    let reached = |reach: Reach| Dump { reach, ..good.clone() };
    let low = Reach { user: role, password: Some(Secret::from("hunter2")), ..good.reach.clone() };
    let check = async |dump: Dump, expected: fn(&DumpError) -> bool| {
        let error = failure(&dump).await;
        assert!(expected(&error), "{error:?}");
    };
    check(reached(low.clone()), |error| matches!(error, DumpError::Denied(_))).await;
    check(Dump { schema: "p".to_owned(), ..reached(low.clone()) }, |error| matches!(error, DumpError::RowSecurity(_)))
        .await;
    check(reached(Reach { password: Some(Secret::from("hunter2x")), ..low.clone() }), |error| {
        matches!(error, DumpError::Denied(_))
    })
    .await;
    check(reached(Reach { password: None, ..low }), |error| matches!(error, DumpError::Denied(_))).await;
    let gone = Dump { snapshot: "00000003-0000FFFF-1".to_owned(), ..good.clone() };
    check(gone, |error| matches!(error, DumpError::Snapshot(_))).await;
    let closed = Reach { ports: vec![devcluster::free_port().unwrap()], ..good.reach.clone() };
    check(reached(closed), |error| matches!(error, DumpError::Connection(_)) && error.may_pass()).await;
    let authorities = fs::read("/etc/ssl/certs/ca-certificates.crt").unwrap_or_default();
    let untrusted = Reach { ca_pem: Some(authorities), ..good.reach.clone() };
    check(reached(untrusted), |error| error.to_string().contains("certificate verify failed")).await;
    let missing = Dump { schema: "S".to_owned(), ..good.clone() };
    check(
        missing,
        |error| matches!(error, DumpError::Failed { code: Some(1), message } if message.contains("no matching")),
    )
    .await;
    let broken = reached(Reach { password: Some(Secret::from("a\nb")), ..good.reach.clone() });
    assert!(matches!(broken.start(), Err(DumpError::Invalid(_))));
}

/// A dump to which something happens after some chunks.
struct Disturbed<F> {
    dump: RunningDump,
    chunks: usize,
    then: Option<F>,
    stuck: bool,
}

impl<F: FnOnce() + Send> Source for Disturbed<F> {
    async fn chunk(&mut self) -> Result<Option<Bytes>, DumpError> {
        self.chunks += 1;
        if self.chunks > 3 {
            if let Some(then) = self.then.take() {
                then();
            }
            if self.stuck {
                std::future::pending::<()>().await;
            }
        }
        self.dump.chunk().await
    }

    async fn finish(self) -> Result<(), DumpError> {
        self.dump.finish().await
    }

    async fn cancel(self) {
        self.dump.cancel().await;
    }
}

#[tokio::test]
async fn a_dump_that_breaks_half_way_leaves_nothing() {
    let database = large();
    let session = Session::open(&database, "");
    for ground in grounds() {
        let name = database.clone();
        let then = move || {
            let which = format!("datname = '{name}' AND application_name = 'tenant-schema-operator archive'");
            sql("postgres", &format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {which}"));
        };
        let dump = dump(&database, "s", &session.snapshot).await.start().unwrap();
        let source = Disturbed { dump, chunks: 0, then: Some(then), stuck: false };
        let failed = archive(&ground.store, &place(), source, None, None, |_| ()).await;
        assert!(matches!(failed, Err(ArchiveError::Dump(DumpError::Connection(_)))), "{failed:?}");
        ground.is_empty_soon().await;
    }
}

#[tokio::test]
async fn a_dump_that_is_given_up_leaves_nothing_and_ends_its_session() {
    let database = large();
    let session = Session::open(&database, "");
    for ground in grounds() {
        let dump = dump(&database, "s", &session.snapshot).await.start().unwrap();
        let source = Disturbed { dump, chunks: 0, then: Some(|| ()), stuck: true };
        let place = place();
        let stuck = archive(&ground.store, &place, source, None, None, |_| ());
        assert!(tokio::time::timeout(Duration::from_secs(2), stuck).await.is_err());
        ground.is_empty_soon().await;
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if sessions(&database, "archive") == "0" {
                break;
            }
        }
        assert_eq!(sessions(&database, "archive"), "0");
    }
    let mut dump = dump(&database, "s", &session.snapshot).await.start().unwrap();
    assert!(dump.chunk().await.unwrap().is_some());
    assert_eq!(sessions(&database, "archive"), "1");
    dump.cancel().await;
    assert_eq!(sessions(&database, "archive"), "0");
}
