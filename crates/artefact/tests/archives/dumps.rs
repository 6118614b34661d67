//! `pg_dump` of a real server: any name, any password, and every way to fail.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use artefact::{
    Dump, Expected, Key, Program, Reach, RunningDump, Secret, Source, archive, check,
    error::{ArchiveError, DumpError},
};
use bytes::Bytes;
use devcluster::{PostgresInfo, PostgresOptions, PostgresServer, wait_until};
use uuid::Uuid;

use crate::ground::{Ground, folder, grounds, place};

/// One server for all tests of this process, which ends with it.
pub fn server() -> &'static PostgresInfo {
    static SERVER: OnceLock<PostgresServer> = OnceLock::new();
    SERVER.get_or_init(|| PostgresServer::start(PostgresOptions::default()).unwrap()).info()
}

pub fn sql(database: &str, statements: &str) -> String {
    server().psql(database, statements).unwrap()
}

pub fn database() -> String {
    let name = format!("d_{}", Uuid::new_v4().simple());
    sql("postgres", &format!("CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0"));
    name
}

/// A session that stays open, with a snapshot that it exports.
pub struct Session {
    psql: Child,
    pub snapshot: String,
}

impl Session {
    pub fn open(database: &str, statements: &str) -> Self {
        let mut psql = Command::new(server().tool("psql").unwrap())
            .envs(server().env())
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ;";
        writeln!(psql.stdin.as_mut().unwrap(), "{begin} {statements} SELECT pg_export_snapshot();").unwrap();
        let mut snapshot = String::new();
        BufReader::new(psql.stdout.as_mut().unwrap()).read_line(&mut snapshot).unwrap();
        Self { psql, snapshot: snapshot.trim().to_owned() }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.psql.kill().unwrap();
        self.psql.wait().unwrap();
    }
}

pub async fn dump(database: &str, schema: &str, snapshot: &str) -> Dump {
    Dump {
        program: Program::find("pg_dump", server().major().into()).await.unwrap(),
        reach: reach(database),
        snapshot: snapshot.to_owned(),
        schema: schema.to_owned(),
        lock_wait: Duration::from_secs(20),
        without_comments: false,
    }
}

pub fn reach(database: &str) -> Reach {
    let info = server();
    Reach {
        host: info.host.clone(),
        ports: vec![info.port],
        database: database.to_owned(),
        user: info.user.clone(),
        password: Some(Secret::from(info.password.as_str())),
        options: "-c idle_in_transaction_session_timeout=0".to_owned(),
        ssl_mode: "verify-full".to_owned(),
        ca_pem: Some(fs::read(&info.ca_path).unwrap()),
        connect_timeout: Duration::from_secs(10),
        target_session: None,
    }
}

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
    let seen = looking.await.unwrap().concat();
    assert!(seen.contains("--no-password") && seen.contains("PGPASSFILE=/proc/"), "{seen}");
    assert!(!seen.contains("hunter2") && !seen.contains("CARGO"), "{seen}");
    drop(locked);
}

/// Command line and environment of the processes that have this in their environment.
pub fn processes(environment: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let read = |path: std::path::PathBuf| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let all = entries.map(|entry| (read(entry.path().join("cmdline")), read(entry.path().join("environ"))));
    all.filter(|(_, env)| env.contains(environment)).map(|(line, env)| format!("{line}\n{env}\n")).collect()
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
    let reached = |change: fn(&mut Reach)| {
        let mut dump = good.clone();
        change(&mut dump.reach);
        dump
    };
    let mut low = reached(|reach| reach.password = Some(Secret::from("hunter2")));
    low.reach.user = role;
    let check = async |dump: Dump, expected: fn(&DumpError) -> bool| {
        let error = failure(&dump).await;
        assert!(expected(&error), "{error:?}");
    };
    check(low.clone(), |error| matches!(error, DumpError::Denied(_))).await;
    check(Dump { schema: "p".to_owned(), ..low.clone() }, |error| matches!(error, DumpError::RowSecurity(_))).await;
    for password in [Some(Secret::from("hunter2x")), None] {
        let mut denied = low.clone();
        denied.reach.password = password;
        check(denied, |error| matches!(error, DumpError::Denied(_))).await;
    }
    let gone = Dump { snapshot: "00000003-0000FFFF-1".to_owned(), ..good.clone() };
    check(gone, |error| matches!(error, DumpError::Snapshot(_))).await;
    let closed = reached(|reach| reach.ports = vec![devcluster::free_port().unwrap()]);
    check(closed, |error| matches!(error, DumpError::Connection(_)) && error.may_pass()).await;
    let untrusted =
        reached(|reach| reach.ca_pem = Some(fs::read("/etc/ssl/certs/ca-certificates.crt").unwrap_or_default()));
    check(untrusted, |error| error.to_string().contains("certificate verify failed")).await;
    let missing = Dump { schema: "S".to_owned(), ..good.clone() };
    check(
        missing,
        |error| matches!(error, DumpError::Failed { code: Some(1), message } if message.contains("no matching")),
    )
    .await;
    let broken = reached(|reach| reach.password = Some(Secret::from("a\nb")));
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

/// A database with a schema whose dump is longer than what waits between two processes.
fn large() -> String {
    let database = database();
    sql(&database, "CREATE SCHEMA s CREATE TABLE t (a text)");
    sql(&database, "INSERT INTO s.t SELECT repeat(md5(n::text), 4) FROM generate_series(1, 200000) n");
    database
}

/// How many sessions dump this database.
fn dumping(database: &str) -> String {
    let which = "application_name = 'tenant-schema-operator archive'";
    sql("postgres", &format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND {which}"))
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
            if dumping(&database) == "0" {
                break;
            }
        }
        assert_eq!(dumping(&database), "0");
    }
    let mut dump = dump(&database, "s", &session.snapshot).await.start().unwrap();
    assert!(dump.chunk().await.unwrap().is_some());
    assert_eq!(dumping(&database), "1");
    dump.cancel().await;
    assert_eq!(dumping(&database), "0");
}
