//! How fast an archive is written and read back, beside the plain tools on the same data: `make bench-archives`.
//!
//! One schema of `MEGABYTES` is dumped into files in turns, so that all meet the same machine: by `pg_dump -Fc`, which compresses with
//! zlib; by `pg_dump -Fc -Z0 | zstd`; and as an archive, as it is and encrypted. What is read back is the last one of each.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a bench ends where its ground gives way")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

#[path = "../shared/report.rs"]
mod report;

use std::{
    fs::File,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use artefact::{
    Artefact, Dump, Expected, Identities, Key, Place, Program, Reach, Recipients, Secret, Store, StoreAccess, StoreUrl,
};
use devcluster::{PostgresInfo, PostgresOptions, PostgresServer};
use report::{Report, setting};
use uuid::Uuid;

/// Turns.
const TURNS: usize = 5;
/// Tables of the schema.
const TABLES: usize = 8;

#[tokio::main]
async fn main() {
    let megabytes = setting("MEGABYTES", 1000);
    let folder = tempfile::tempdir().unwrap();
    let mut options = PostgresOptions::default();
    if let Ok(major) = std::env::var("POSTGRES_MAJOR") {
        options.version = major.parse().unwrap();
    }
    let server = PostgresServer::start(options).expect("a PostgreSQL");
    let ground = Ground::new(server.info(), folder.path(), megabytes).await;
    let major = server.info().major();
    let mut report = Report::new(format!("a schema of {} MiB, PostgreSQL {major}, {TURNS} turns", ground.mebibytes()));
    let (recipients, identities) = keys();
    let mut measured: [Vec<f64>; 4] = Default::default();
    let mut last = None;
    for _ in 0..TURNS {
        measured[0].push(ground.plain("pg_dump -Fc", &["-Z6"], None));
        measured[1].push(ground.plain("pg_dump -Fc -Z0 | zstd", &["-Z0"], Some("zstd -q -3 -T1")));
        let (took, open) = ground.archive(None).await;
        measured[2].push(took);
        let (took, encrypted) = ground.archive(Some(&recipients)).await;
        measured[3].push(took);
        last = Some((open, encrypted));
    }
    let names = ["pg_dump -Fc", "pg_dump -Fc -Z0 | zstd -3", "an archive", "an encrypted archive"];
    for (name, times) in names.iter().zip(&measured) {
        report.add_spread(&format!("{name}, s"), times);
    }
    for (number, name) in names.iter().enumerate().skip(2) {
        for plain in 0..2 {
            let ratios: Vec<_> =
                measured[plain].iter().zip(&measured[number]).map(|(plain, ours)| plain / ours).collect();
            report.add_spread(&format!("{name}: times as fast as {}", names[plain]), &ratios);
        }
    }
    let (open, encrypted) = last.unwrap();
    for (name, artefact, identities) in
        [("an archive", open, None), ("an encrypted archive", encrypted, Some(&identities))]
    {
        report.add(&format!("{name}: MiB in the store"), artefact.bytes as f64 / 1_048_576.0);
        report.add(&format!("{name}: read back and listed, s"), ground.check(&artefact, identities).await);
    }
    report.add("peak of this process, MiB", peak());
    report.write(&format!("archives-pg{major}"));
}

/// A server with the schema, and a folder for what is written.
struct Ground<'a> {
    server: &'a PostgresInfo,
    folder: &'a Path,
    store: Store,
    dump: Program,
    restore: Program,
    bytes: i64,
}

impl<'a> Ground<'a> {
    async fn new(server: &'a PostgresInfo, folder: &'a Path, megabytes: usize) -> Self {
        let client = session(server).await;
        client.batch_execute("CREATE SCHEMA school").await.unwrap();
        // A row of about 200 bytes: numbers, times, names, and a text that compresses as texts do.
        let rows = megabytes * 1_048_576 / TABLES / 220;
        for table in 0..TABLES {
            let statement = format!(
                "CREATE TABLE school.t{table} (id bigint PRIMARY KEY, at timestamptz, name text, mark numeric, note text);
                 INSERT INTO school.t{table}
                 SELECT n, '2026-01-01'::timestamptz + n * interval '1 s', 'pupil ' || md5(n::text), (n % 600) / 100.0,
                        repeat('note ' || n % 1000 || ' ', 4) || md5(n::text || 'x')
                 FROM generate_series(1, {rows}) AS n"
            );
            client.batch_execute(&statement).await.unwrap();
        }
        client.batch_execute("CHECKPOINT").await.unwrap();
        let size = "SELECT sum(pg_table_size(oid))::bigint FROM pg_class \
                    WHERE relnamespace = 'school'::regnamespace AND relkind = 'r'";
        let bytes = client.query_one(size, &[]).await.unwrap().get(0);
        let root = folder.join("store");
        std::fs::create_dir(&root).unwrap();
        let url = StoreUrl::parse(&format!("file://{}", root.display()), Some(&root)).unwrap();
        let store = Store::open(&url, &StoreAccess::default()).unwrap();
        let major = u32::from(server.major());
        let dump = Program::find("pg_dump", major).await.unwrap();
        let restore = Program::find("pg_restore", major).await.unwrap();
        Self { server, folder, store, dump, restore, bytes }
    }

    fn mebibytes(&self) -> i64 {
        self.bytes >> 20
    }

    /// How long the plain tools take, in seconds.
    fn plain(&self, name: &str, options: &[&str], through: Option<&str>) -> f64 {
        let path = self.folder.join("plain");
        let begun = Instant::now();
        let file = File::create(&path).unwrap();
        let mut dump = Command::new(self.dump.path());
        let port = self.server.port.to_string();
        dump.args(["-Fc", "-n", "school", "-h", &self.server.host, "-p", &port, "-U", &self.server.user, "postgres"])
            .args(options)
            .env("PGPASSWORD", &self.server.password)
            .env("PGSSLMODE", "disable");
        let ended = match through {
            None => dump.stdout(file.try_clone().unwrap()).status().unwrap(),
            Some(through) => {
                let mut dump = dump.stdout(Stdio::piped()).spawn().unwrap();
                let words: Vec<_> = through.split(' ').collect();
                let ended = Command::new(words[0])
                    .args(&words[1..])
                    .stdin(dump.stdout.take().unwrap())
                    .stdout(file.try_clone().unwrap())
                    .status()
                    .unwrap();
                assert!(dump.wait().unwrap().success());
                ended
            }
        };
        assert!(ended.success(), "{name}");
        file.sync_all().unwrap();
        begun.elapsed().as_secs_f64()
    }

    /// How long an archive takes, in seconds, and what it is.
    async fn archive(&self, recipients: Option<&Recipients>) -> (f64, Artefact) {
        let client = session(self.server).await;
        let begun = Instant::now();
        client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.unwrap();
        let snapshot = client.query_one("SELECT pg_export_snapshot()", &[]).await.unwrap().get(0);
        let [installation_id, schema_id, backup_id, attempt] = [(); 4].map(|()| Uuid::new_v4());
        let place = Place { installation_id, schema_id, backup_id, attempt };
        let dump = Dump {
            program: self.dump.clone(),
            reach: Reach {
                host: self.server.host.clone(),
                ports: vec![self.server.port],
                database: "postgres".to_owned(),
                user: self.server.user.clone(),
                password: Some(Secret::from(self.server.password.as_str())),
                options: String::new(),
                ssl_mode: "disable".to_owned(),
                ca_pem: None,
                connect_timeout: Duration::from_secs(10),
                target_session: None,
            },
            snapshot,
            schema: "school".to_owned(),
            lock_wait: Duration::from_secs(30),
            without_comments: false,
        };
        let written =
            artefact::archive(&self.store, &place, dump.start().unwrap(), recipients, None, |_| {}).await.unwrap();
        (begun.elapsed().as_secs_f64(), written)
    }

    /// How long reading back takes, in seconds.
    async fn check(&self, artefact: &Artefact, identities: Option<&Identities>) -> f64 {
        let installation = artefact.key.split('/').next().unwrap().parse().unwrap();
        let key = Key::parse(installation, &artefact.key).unwrap();
        let expected = Expected { bytes: artefact.bytes, sha256: artefact.sha256.clone() };
        let begun = Instant::now();
        let checked = artefact::check(&self.store, &key, &expected, identities, Some(&self.restore)).await.unwrap();
        assert!(checked.entries > Some(TABLES as u64));
        begun.elapsed().as_secs_f64()
    }
}

async fn session(server: &PostgresInfo) -> tokio_postgres::Client {
    let mut config = tokio_postgres::Config::new();
    config.host(&server.host).port(server.port).dbname("postgres").user(&server.user).password(&server.password);
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// The most memory that this process had, in MiB; its programs not among it.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// A pair of keys that fit, which is public: they protect nothing.
fn keys() -> (Recipients, Identities) {
    let recipient = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj".to_owned();
    let identity = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
    (Recipients::parse(&[recipient]).unwrap(), Identities::parse(identity.as_bytes()).unwrap())
}
