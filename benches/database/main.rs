//! What the database does, without Kubernetes: `make bench-database`, or with `POSTGRES_MAJOR=17` and so on. With `SECRETS=1` each tenant
//! has a login for its applications.
//!
//! Five questions. Does a tenant cost the same when the server has tens of thousands of roles? What does a survey cost over
//! thousands of schemas with tables in them, of which few are written to? What do grants to others cost, and what policies? And what does a
//! session in which the operator works as a tenant? A setting of 0 leaves its question out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a bench ends where its ground gives way")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

#[path = "../shared/direct.rs"]
mod direct;
mod grants;
mod policies;
#[path = "../shared/report.rs"]
mod report;
mod sessions;

use std::time::{Duration, Instant};

use devcluster::PostgresInfo;
use direct::{Direct, new_database, server, superuser};
use futures::future::join_all;
use report::{Report, setting};
use tenant_schema_operator::contract::{Asked, Surveyed};
use tokio_postgres::{Client, Row};

/// Tenants of a block whose cost is told.
const BLOCK: usize = 1000;
/// Tables of a schema.
const TABLES: usize = 10;
/// Turns in which many tenants are compared with few.
const TURNS: usize = 8;
/// Surveys of one sort.
const SURVEYS: usize = 9;

#[tokio::main]
async fn main() {
    let (tenants, schemas) = (setting("TENANTS", 10_000), setting("SCHEMAS", 5000));
    let granting = setting("GRANTING", 5000);
    let server = server(1);
    let major = server.info().major();
    let roles = tenants * if setting("SECRETS", 0) > 0 { 4 } else { 3 };
    let mut report = Report::new(format!("{tenants} tenants with {roles} roles, PostgreSQL {major}"));
    if tenants > 0 {
        grow(server.info(), tenants, &mut report).await;
    }
    if schemas > 0 {
        let server = direct::server(1);
        survey(server.info(), schemas, &mut report).await;
    }
    if granting > 0 {
        let server = direct::server(1);
        grants::grants(server.info(), granting, &mut report).await;
    }
    let covered = setting("POLICIES", 1000);
    if covered > 0 {
        let server = direct::server(1);
        policies::policies(server.info(), covered, &mut report).await;
    }
    let worked = setting("SESSIONS", 1000);
    if worked > 0 {
        let server = direct::server(1);
        sessions::sessions(server.info(), worked, &mut report).await;
    }
    report.write(&format!("database-pg{major}"));
}

/// Tenants until there are so many: what one costs among the first, and among the last, in the same sessions.
async fn grow(server: &PostgresInfo, tenants: usize, report: &mut Report) {
    let direct = Direct::open(new_database(server, "growing")).await;
    for first in (0..tenants).step_by(BLOCK) {
        let took = direct.create(first..first + BLOCK).await;
        report.add(&format!("tenants {first} to {}: created a second", first + BLOCK), BLOCK as f64 / took);
    }
    // In turns with the first thousand of another server, so that both meet the same machine.
    let other = direct::server(1);
    let few = Direct::open(new_database(other.info(), "growing")).await;
    let mut ratios = Vec::new();
    for turn in 0..TURNS {
        let share = BLOCK / TURNS;
        let first = few.create(turn * share..(turn + 1) * share).await;
        ratios.push(direct.create(tenants + turn * share..tenants + (turn + 1) * share).await / first);
    }
    report.add_spread(&format!("a tenant after {tenants}, beside one of the first {BLOCK}"), &ratios);
}

/// Surveys of many schemas with tables: when nothing happened, when one in a hundred was written to, and of everything.
async fn survey(server: &PostgresInfo, schemas: usize, report: &mut Report) {
    let direct = Direct::open(new_database(server, "surveyed")).await;
    direct.create(0..schemas).await;
    let sessions = join_all((0..2).map(|_| superuser(server, "surveyed"))).await;
    let half = schemas / 2;
    futures::join!(make_tables(&sessions[0], 0..half), make_tables(&sessions[1], half..schemas));
    sessions[0]
        .batch_execute("VACUUM ANALYZE pg_catalog.pg_class, pg_catalog.pg_attribute, pg_catalog.pg_depend")
        .await
        .unwrap();
    let named = format!("survey of {schemas} schemas with {TABLES} tables each");
    let first = until_measured(&direct, &sessions[0]).await;
    report.add(&format!("{named}, until all are measured, surveys"), first.len() as f64);
    report.add_spread(&format!("{named}, until all are measured, ms"), &first);
    let (mut idle, mut written, mut everything) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..SURVEYS {
        let slice = slice(round);
        idle.push(timed(&direct, slice).await);
        write(&sessions[0], schemas, round).await;
        written.push(timed(&direct, slice).await);
        everything.push(timed(&direct, Asked::All).await);
    }
    report.add_spread(&format!("{named}, nothing happened, ms"), &idle);
    report.add_spread(&format!("{named}, 1 in 100 was written to, ms"), &written);
    report.add_spread(&format!("{named}, everything is told, ms"), &everything);
}

/// The tables of some schemas, made by their owners.
async fn make_tables(session: &Client, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let table = |table| format!("CREATE TABLE direct_{number}.t{table} (id int PRIMARY KEY, body text)");
        as_owner(session, number, &(0..TABLES).map(table).collect::<Vec<_>>().join("; ")).await;
    }
}

/// What the registry has of a tenant.
async fn row_of(session: &Client, number: usize) -> Row {
    let row = "SELECT id, owner_role, owner_namespace, owner_name FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name = $1";
    session.query_one(row, &[&format!("direct_{number}")]).await.unwrap()
}

/// Runs statements with the owner role of a tenant.
async fn as_owner(session: &Client, number: usize, statements: &str) {
    let owner: String = row_of(session, number).await.get("owner_role");
    session.batch_execute(&format!("SET ROLE \"{owner}\"; {statements}; RESET ROLE")).await.unwrap();
}

/// One in a hundred schemas gets a row, and PostgreSQL's counters show it.
async fn write(session: &Client, schemas: usize, round: usize) {
    for number in (round..schemas).step_by(100) {
        let insert = format!("INSERT INTO direct_{number}.t0 VALUES ({round}, repeat('x', 2000))");
        session.batch_execute(&insert).await.unwrap();
    }
    session.batch_execute("SELECT pg_stat_force_next_flush(); SELECT 1").await.unwrap();
}

/// Surveys until every tenant is measured, since one measures a bounded number of relations; how long each took.
async fn until_measured(direct: &Direct, session: &Client) -> Vec<f64> {
    let mut took = Vec::new();
    let unknown = "SELECT count(*) FROM edu_matrix_hub_schema.tenant_schemas WHERE usage_at IS NULL";
    while session.query_one(unknown, &[]).await.unwrap().get::<_, i64>(0) > 0 {
        took.push(timed(direct, Asked::All).await);
    }
    took
}

/// So many surveys of the next slices while nothing happens, after one that tells everything; how long each took.
async fn idle(direct: &Direct, surveys: usize) -> Vec<f64> {
    timed(direct, Asked::All).await;
    let mut took = Vec::new();
    for round in 0..surveys {
        took.push(timed(direct, slice(round)).await);
    }
    took
}

/// What a survey is asked in this round.
fn slice(round: usize) -> Asked {
    Asked::Slice(u8::try_from(round).unwrap() % Asked::SLICES)
}

/// How long a survey takes, in milliseconds, answer and all.
async fn timed(direct: &Direct, asked: Asked) -> f64 {
    let (functions, started) = (direct.lane.functions(), Instant::now());
    let never = std::future::pending();
    let found = functions
        .survey_tenants(direct.lane.hold, asked, &serde_json::json!({}), Duration::from_mins(10), never)
        .await
        .unwrap();
    assert!(matches!(found, Surveyed::Found(_)), "the survey was refused");
    started.elapsed().as_secs_f64() * 1000.0
}
