//! How fast tenants come, stay and go: `make bench`, or `make bench TENANTS=10000 DATABASES=50`. With `SECRETS=1` each tenant has a
//! Secret that applications connect with, with `SECRETS=2` another for migrations, and all get other passwords at once.
//!
//! A control plane, a PostgreSQL and the operator's release binary run on this machine's loopback. Beside the operator stands
//! the physical limit: the same API writes without SQL, and the same functions without Kubernetes, first for all tenants and
//! then in turns of small blocks, so that both meet the same machine in the same minutes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a bench ends where its ground gives way")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

#[path = "../shared/direct.rs"]
mod direct;
mod fleet;
mod ground;
mod limit;
mod process;
#[path = "../shared/report.rs"]
mod report;

use std::time::{Duration, Instant};

use direct::{Direct, new_database};
use fleet::Fleet;
use ground::Ground;
use limit::Controlling;
use process::Operator;
use report::{Report, percentile, setting};

/// Tenants in a block of the comparison with the physical limit, and blocks.
const BLOCK: usize = 100;
const BLOCKS: usize = 12;
/// Tenants that are made one after the other.
const SINGLES: usize = 200;
/// Surveys that an hour has by default.
const TICKS: usize = 60;

#[tokio::main]
async fn main() {
    limit::run_controller().await;
    let count = setting("TENANTS", 1000);
    let databases = setting("DATABASES", 1);
    let ground = Ground::new(databases).await;
    let major = ground.postgres.info().major();
    let mut report = Report::new(format!("{count} tenants in {databases} databases, PostgreSQL {major}"));
    let tenants = Fleet::watch(&ground.client, ground::OPERATED, "bench", databases);

    let mut operator = ground.operator().await;
    create(&ground, &operator, &tenants, count, &mut report).await;
    if ground::secrets() > 0 {
        report.add("another password for all, first request to all told, s", tenants.rotate(0..count).await);
    }
    let have = compare(&ground, &tenants, count, &mut report).await;
    let singly = tenants.create_singly(have..have + SINGLES).await;
    report.add("one tenant while all rest, POST to Ready, p50, ms", percentile(&singly, 0.5));
    report.add("one tenant while all rest, POST to Ready, p99, ms", percentile(&singly, 0.99));
    let have = have + SINGLES;
    rest(&ground, &operator, &mut report).await;

    operator.stop();
    operator = restart(&ground, have, &mut report).await;
    let (shares, calls) = (ground.shares(Some(&operator)), operator.calls());
    let (took, writes) = ground.writes_during(tenants.delete(0..have)).await;
    report.add(&format!("all {have} deleted, first DELETE to all gone, s"), took);
    report.add("deletion, tenants a second", have as f64 / took);
    report.add("deletion, API writes a tenant, with the DELETE", writes / have as f64);
    report.add("deletion, SQL round trips a tenant", (operator.calls() - calls) / have as f64);
    for (who, milliseconds) in ground.shares(Some(&operator)).since(&shares, have) {
        report.add(&format!("deletion, CPU a tenant, {who}, ms"), milliseconds);
    }
    report.add("errors", operator.metric("errors_total"));
    operator.stop();
    report.write(&format!("tenants-{count}-in-{databases}-pg{major}"));
}

/// All tenants at once, as after a platform team's first sync.
async fn create(ground: &Ground, operator: &Operator, tenants: &Fleet, count: usize, report: &mut Report) {
    let (shares, calls) = (ground.shares(Some(operator)), operator.calls());
    let ((posted, ready), writes) = ground.writes_during(tenants.create(0..count)).await;
    report.add("first POST to all Ready, s", ready);
    report.add("of which posting, s", posted);
    report.add("API writes a tenant, with the POST", writes / count as f64);
    report.add("SQL round trips a tenant", (operator.calls() - calls) / count as f64);
    for (who, milliseconds) in ground.shares(Some(operator)).since(&shares, count) {
        report.add(&format!("CPU a tenant, {who}, ms"), milliseconds);
    }
    report.add("operator resident, MiB", operator.resident());
}

/// The physical limit, for as many tenants and then in turns. Returns how many tenants the operator has then.
async fn compare(ground: &Ground, tenants: &Fleet, count: usize, report: &mut Report) -> usize {
    let status = tenants.api.get("bench-0").await.unwrap().status.expect("a Ready tenant has a status");
    let others = Fleet::watch(&ground.client, ground::LIMIT, "limit", 1);
    let _controlling = Controlling::start(&ground.plane.info().kubeconfig, ground::LIMIT, &status);
    let direct = Direct::open(new_database(ground.postgres.info(), "direct")).await;
    let (_, writing) = others.create(0..count).await;
    let calling = direct.create(0..count).await;
    report.add("limit: the API writes alone, s", writing);
    report.add("limit: the functions alone, s", calling);
    let mut ratios = Vec::new();
    for block in 0..BLOCKS {
        let numbers = count + block * BLOCK..count + (block + 1) * BLOCK;
        let (_, operated) = tenants.create(numbers.clone()).await;
        let (_, writing) = others.create(numbers.clone()).await;
        let calling = direct.create(numbers).await;
        ratios.push(operated / (writing + calling));
    }
    report.add_spread(&format!("ratio to the limit, {BLOCKS} blocks of {BLOCK} in turns"), &ratios);
    count + BLOCKS * BLOCK
}

/// An hour in which nothing happens, with its surveys one directly after the other.
async fn rest(ground: &Ground, operator: &Operator, report: &mut Report) {
    let registries = ground.registries().await;
    // What came last is news to one survey more.
    ground.survey(&registries).await;
    let (cpu, calls, started) = (operator.cpu(), operator.calls(), Instant::now());
    let hour = async {
        for _ in 0..TICKS {
            ground.survey(&registries).await;
        }
    };
    let ((), writes) = ground.writes_during(hour).await;
    // Asking for a survey is a write of ours.
    report.add("an idle hour, API writes", writes - (TICKS * ground.databases) as f64);
    report
        .add("an idle hour, SQL round trips a survey", (operator.calls() - calls) / (TICKS * ground.databases) as f64);
    report.add("an idle hour, operator CPU a tick, ms", (operator.cpu() - cpu) * 1000.0 / TICKS as f64);
    report.add(
        "an idle hour, a tick as it is asked for and seen, ms",
        started.elapsed().as_secs_f64() * 1000.0 / TICKS as f64,
    );
    report.add("operator resident after the hour, MiB", operator.resident());
}

/// A new process over all tenants.
async fn restart(ground: &Ground, count: usize, report: &mut Report) -> Operator {
    let started = Instant::now();
    let looked_at = async {
        let operator = ground.operator().await;
        let unchanged = "reconciles_total{kind=\"TenantSchema\",outcome=\"unchanged\"";
        ground::until(Duration::from_mins(5), || async { operator.metric(unchanged) >= count as f64 }).await;
        operator
    };
    let (operator, writes) = ground.writes_during(looked_at).await;
    report.add("restart, until all were looked at, s", started.elapsed().as_secs_f64());
    report.add("restart, API writes", writes);
    report.add("restart, single look-ups", operator.metric("sql_calls_total{function=\"observe_tenant\""));
    report.add("restart, connections", operator.metric("pool_connections{"));
    report.add("restart, operator CPU, ms", operator.cpu() * 1000.0);
    report.add("restart, operator resident, MiB", operator.resident());
    operator
}
