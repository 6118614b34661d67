//! What a survey costs over tenants with policies, which it compares with what they ask for, and how much of it is the look at the
//! isolation of ten tenants, which is in every survey.

use std::time::Instant;

use devcluster::PostgresInfo;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::{
    TABLES, as_owner,
    direct::{Direct, new_database, superuser},
    idle,
    report::Report,
    row_of, until_measured,
};

/// Surveys of one sort.
const SURVEYS: usize = 9;

/// Surveys of so many tenants: none, a tenth, and all of which have policies on each of their tables.
pub async fn policies(server: &PostgresInfo, tenants: usize, report: &mut Report) {
    let direct = Direct::open(new_database(server, "covered")).await;
    let session = superuser(server, "covered").await;
    direct.create(0..tenants).await;
    for number in 0..tenants {
        let table = |table| format!("CREATE TABLE direct_{number}.t{table} (user_id uuid)");
        as_owner(&session, number, &(0..TABLES).map(table).collect::<Vec<_>>().join("; ")).await;
    }
    until_measured(&direct, &session).await;
    let (mut covered, mut took) = (0, Vec::new());
    for wanted in [0, tenants / 10, tenants] {
        for number in covered..wanted {
            took.push(cover(&session, number).await);
        }
        covered = wanted;
        // As autovacuum does in time.
        session.batch_execute("VACUUM ANALYZE").await.unwrap();
        let idle = idle(&direct, SURVEYS).await;
        let named =
            format!("idle survey of {tenants} tenants with {TABLES} tables each, {covered} of which have policies");
        report.add_spread(&format!("{named}, ms"), &idle);
    }
    report.add_spread(&format!("policies brought to {TABLES} tables, ms"), &took);
    let mut looks = Vec::new();
    for _ in 0..SURVEYS {
        let started = Instant::now();
        let look = "SELECT edu_matrix_hub_schema._look_at_isolation(clock_timestamp())";
        session.query(look, &[]).await.unwrap();
        looks.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    report.add_spread(&format!("of which the look at the isolation of ten, among {tenants} tenants, ms"), &looks);
}

/// Gives a tenant policies on all of its tables; returns how long that took, in milliseconds.
async fn cover(session: &Client, number: usize) -> f64 {
    let id: uuid::Uuid = row_of(session, number).await.get("id");
    let policies = json!([{ "name": "own-rows", "column": "user_id", "setting": "app.user_id" }]);
    let options = json!({ "schema_id": id, "mode": "Required", "policies": policies, "digest": "1" });
    let started = Instant::now();
    let answer: Value =
        session.query_one("SELECT edu_matrix_hub_schema.set_row_security($1)", &[&options]).await.unwrap().get(0);
    assert_eq!(answer["status"], "success", "{answer}");
    started.elapsed().as_secs_f64() * 1000.0
}
