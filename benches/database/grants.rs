//! What grants to others cost: one among few and among many tenants, those of a schema of a thousand tables, and the surveys of
//! tenants that give some.

use std::time::Instant;

use devcluster::PostgresInfo;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::{
    as_owner,
    direct::{Direct, new_database, superuser},
    idle,
    report::Report,
    row_of,
};

/// Tenants among which a grant is one among few.
const FEW: usize = 50;
/// Grants that are given and taken in turn.
const ROUNDS: usize = 40;
/// Tables of the schema whose grants are given again.
const TABLES: usize = 1000;
/// Surveys of one sort.
const SURVEYS: usize = 5;

/// Grants among so many tenants.
pub async fn grants(server: &PostgresInfo, tenants: usize, report: &mut Report) {
    let direct = Direct::open(new_database(server, "granted")).await;
    let session = superuser(server, "granted").await;
    direct.create(0..FEW).await;
    report
        .add_spread(&format!("a grant given and one taken, among {FEW} tenants, ms"), &given_and_taken(&session).await);
    direct.create(FEW..tenants).await;
    report.add_spread(
        &format!("a grant given and one taken, among {tenants} tenants, ms"),
        &given_and_taken(&session).await,
    );

    session.batch_execute("CREATE ROLE granted_service").await.unwrap();
    let role = json!({ "role": "granted_service", "privileges": ["Read"] });
    let mut took = Vec::new();
    for number in 2..2 + ROUNDS {
        took.push(set(&session, number, json!([role])).await + set(&session, number, json!([])).await);
    }
    report.add_spread(&format!("a grant to a role given and one taken, among {tenants} tenants, ms"), &took);

    let tables: Vec<_> = (0..TABLES).map(|table| format!("CREATE TABLE direct_1.t{table} (id int)")).collect();
    as_owner(&session, 1, &tables.join("; ")).await;
    let (mut give, mut take) = (Vec::new(), Vec::new());
    for _ in 0..SURVEYS {
        give.push(set(&session, 1, json!([to(&session, 2).await])).await);
        take.push(set(&session, 1, json!([])).await);
    }
    report.add_spread(&format!("all {TABLES} tables of a schema given to another tenant, ms"), &give);
    report.add_spread(&format!("all {TABLES} tables of a schema taken from it, ms"), &take);

    for (grantors, tables, to_role) in
        [(0, 0, false), (tenants / 10, 0, false), (tenants / 10, 0, true), (tenants / 10, TABLES, true)]
    {
        for number in 2..2 + if tables > 0 { 0 } else { grantors } {
            let mut grants = vec![to(&session, number + 1).await];
            grants.extend(to_role.then(|| role.clone()));
            set(&session, number, json!(grants)).await;
        }
        if tables > 0 {
            set(&session, 1, json!([to(&session, 2).await])).await;
        }
        let idle = idle(&direct, SURVEYS).await;
        let named = format!("idle survey of {tenants} tenants, {grantors} of which give grants");
        let named = if to_role { format!("{named}, also to a role") } else { named };
        let named = if tables > 0 { format!("{named}, and one with {tables} tables") } else { named };
        report.add_spread(&format!("{named}, ms"), &idle);
    }
}

/// A grant is given by a tenant that gave none, and taken again; by one after the other.
async fn given_and_taken(session: &Client) -> Vec<f64> {
    let mut took = Vec::new();
    for number in 2..2 + ROUNDS {
        let grant = to(session, number + 1).await;
        took.push(set(session, number, json!([grant])).await + set(session, number, json!([])).await);
    }
    took
}

async fn set(session: &Client, number: usize, grants: Value) -> f64 {
    let id: uuid::Uuid = row_of(session, number).await.get("id");
    let options = json!({ "schema_id": id, "grants": grants });
    let started = Instant::now();
    let answer: Value =
        session.query_one("SELECT edu_matrix_hub_schema.set_tenant_grants($1)", &[&options]).await.unwrap().get(0);
    assert_eq!(answer["status"], "success", "{answer}");
    started.elapsed().as_secs_f64() * 1000.0
}

async fn to(session: &Client, number: usize) -> Value {
    let row = row_of(session, number).await;
    json!({ "namespace": row.get::<_, String>("owner_namespace"), "name": row.get::<_, String>("owner_name"), "privileges": ["Read"] })
}
