//! What a session costs in which the operator works as a tenant: the first one of a tenant, which makes its login, and later ones; each
//! opened, used for one statement and closed.

use std::time::{Duration, Instant};

use devcluster::PostgresInfo;
use uuid::Uuid;

use crate::{
    direct::{Direct, new_database, superuser},
    report::Report,
};

/// Tenants that have sessions.
const TENANTS: usize = 50;
/// Sessions of each after the first.
const ROUNDS: usize = 4;

/// Sessions among so many tenants.
pub async fn sessions(server: &PostgresInfo, tenants: usize, report: &mut Report) {
    let direct = Direct::open(new_database(server, "worked")).await;
    direct.create(0..tenants.max(TENANTS)).await;
    let session = superuser(server, "worked").await;
    let rows = session.query("SELECT id FROM edu_matrix_hub_schema.tenant_schemas LIMIT 50", &[]).await.unwrap();
    let ids: Vec<Uuid> = rows.iter().map(|row| row.get(0)).collect();
    let (mut first, mut later) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        for id in &ids {
            let started = Instant::now();
            let work = async |session: &tenant_schema_operator::postgres::TenantSession, _| {
                session.run("SELECT 1", Duration::from_secs(5)).await.unwrap();
            };
            direct.lane.as_tenant(*id, "a bench", Duration::from_secs(30), work).await.unwrap();
            let took = started.elapsed().as_secs_f64() * 1000.0;
            if round == 0 { first.push(took) } else { later.push(took) }
        }
    }
    report.add_spread(&format!("the first session of a tenant, among {tenants} tenants, ms"), &first);
    report.add_spread(&format!("a later session, among {tenants} tenants, ms"), &later);
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    let seconds = later.iter().sum::<f64>() / 1000.0 / later.len() as f64;
    report.add(&format!("sessions a second, one after the other, among {tenants} tenants"), 1.0 / seconds);
}
