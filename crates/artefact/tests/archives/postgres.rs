//! A real server of `PostgreSQL`, and what the tests of dumps and of restores do with it.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use artefact::{Dump, Program, Reach, Secret};
use devcluster::{PostgresInfo, PostgresOptions, PostgresServer};
use uuid::Uuid;

/// One server for all tests of this process, which ends with it.
pub fn server() -> &'static PostgresInfo {
    static SERVER: OnceLock<PostgresServer> = OnceLock::new();
    SERVER.get_or_init(|| PostgresServer::start(PostgresOptions::default()).unwrap()).info()
}

pub fn sql(database: &str, statements: &str) -> String {
    try_sql(database, statements).unwrap()
}

pub fn try_sql(database: &str, statements: &str) -> Result<String, devcluster::Error> {
    server().psql(&dbname(database), statements)
}

/// For `psql -d`, which reads some names as parameters.
fn dbname(database: &str) -> String {
    format!("dbname='{}'", database.replace('\\', "\\\\").replace('\'', "\\'"))
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
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &dbname(database)])
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

/// The processes that have this in their environment: where each is in /proc, its command line and its environment.
pub fn processes(environment: &str) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let read = |path: PathBuf| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let all = entries.map(|path| (read(path.join("cmdline")), read(path.join("environ")), path));
    all.filter(|(_, env, _)| env.contains(environment))
        .map(|(line, env, path)| (path, format!("{line}\n{env}\n")))
        .collect()
}

/// A database with a schema whose dump is longer than what waits between two processes.
pub fn large() -> String {
    let database = database();
    sql(&database, "CREATE SCHEMA s CREATE TABLE t (a text)");
    sql(&database, "INSERT INTO s.t SELECT repeat(md5(n::text), 4) FROM generate_series(1, 200000) n");
    database
}

/// How many sessions of an archive or of a restore this database has.
pub fn sessions(database: &str, what: &str) -> String {
    let name = database.replace('\'', "''");
    let which = format!("datname = '{name}' AND application_name = 'tenant-schema-operator {what}'");
    sql("postgres", &format!("SELECT count(*) FROM pg_stat_activity WHERE {which}"))
}
