//! What policies cost: to bring them to a thousand tables, to look after them, and a query. The figures are for
//! `docs/performance.md`; run it with `--ignored --nocapture`.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio_postgres::Client;

use crate::{
    policies::{Policies, own_rows},
    support::{call, expect, with_database},
};

const TABLES: usize = 1000;
const TIMES: usize = 15;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

async fn surveys(policies: &Policies<'_>) -> Duration {
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let begun = Instant::now();
        policies.lane.survey(false).await;
        times.push(begun.elapsed());
    }
    median(times)
}

async fn queries(client: &Client, query: &str) -> Duration {
    let statement = client.prepare(query).await.unwrap();
    let mut times = Vec::new();
    for _ in 0..2000 {
        let begun = Instant::now();
        client.query(&statement, &[]).await.unwrap();
        times.push(begun.elapsed());
    }
    median(times)
}

#[tokio::test]
#[ignore = "a thousand tables"]
async fn policies_on_a_thousand_tables_and_a_query_with_one() {
    with_database(async |database| {
        let tenant = database.tenant("school").await;
        for first in (0..TABLES).step_by(100) {
            let tables: Vec<_> = (first..first + 100)
                .map(|n| format!("CREATE TABLE t{n} (user_id uuid, x int); CREATE INDEX ON t{n} (user_id)"))
                .collect();
            database.as_owner(&tenant, &tables.join(";")).await;
        }
        let fill = "INSERT INTO t0 SELECT md5((n % 10000)::text)::uuid, n FROM generate_series(1, 200000) AS n";
        database.as_owner(&tenant, fill).await;
        database.admin.batch_execute("VACUUM ANALYZE").await.unwrap();
        let policies = Policies::of(&database, &tenant).await;
        surveys(&policies).await;
        println!("survey without policies: {:?}", surveys(&policies).await);

        let options = tenant.options(&json!({ "mode": "Required", "policies": own_rows(), "digest": "1" }));
        let mut parts = Vec::new();
        loop {
            let begun = Instant::now();
            let answer = call(&policies.lane.client, "set_row_security", &options).await;
            parts.push(begun.elapsed());
            if answer["status"] != "partial" {
                expect(&answer, "success");
                break;
            }
        }
        println!(
            "policies on {TABLES} tables: {:?} in {} calls, the longest {:?}",
            parts.iter().sum::<Duration>(),
            parts.len(),
            parts.iter().max().unwrap()
        );
        assert_eq!(policies.drift().await, [] as [&str; 0]);
        surveys(&policies).await;
        println!("survey with policies: {:?}", surveys(&policies).await);
        database.as_owner(&tenant, "CREATE TABLE another (user_id uuid)").await;
        let begun = Instant::now();
        policies.lane.survey(false).await;
        println!("survey that finds a new table: {:?}", begun.elapsed());
        let begun = Instant::now();
        expect(&policies.repair().await, "success");
        println!("repair of one table: {:?}", begun.elapsed());

        let user: String = database.one("SELECT md5('7')::uuid::text").await;
        let session = policies.session(Some(&user)).await;
        let by_policy = queries(&session, "SELECT x FROM school.t0").await;
        let owner = database.member("owner_login", &tenant.owner).await;
        owner.batch_execute(&format!("SET ROLE \"{}\"", tenant.owner)).await.unwrap();
        let by_column = queries(&owner, &format!("SELECT x FROM school.t0 WHERE user_id = '{user}'")).await;
        let rows: i64 = session.query_one("SELECT count(*) FROM school.t0", &[]).await.unwrap().get(0);
        println!("{rows} of 200000 rows: {by_policy:?} by the policy, {by_column:?} by the column");
    })
    .await;
}
