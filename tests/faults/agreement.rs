//! Whether the API, the registry and the catalogue say the same of everything.

use std::collections::BTreeMap;

use kube::{Api, ResourceExt, api::ListParams};
use tenant_schema_operator::api::{SchemaBackup, TenantSchema};

use crate::world::{World, condition};

/// Why a tenant may stay as it is until a person acts.
const EXPLAINED: [&str; 4] = ["Conflict", "DropNotConfirmed", "SchemaMissing", "LimitExceeded"];

/// The rows of tenants that belong to an object. A tenant that was taken over waits for its object without end.
const ROWS: &str = "SELECT owner_uid, id, schema_name FROM edu_matrix_hub_schema.tenant_schemas \
                    WHERE status IN ('active', 'suspended') AND owner_uid IS NOT NULL AND NOT taken_over";

/// With what the name of every schema of this world begins, so that its roles can be told from those of others.
pub fn prefix(world: &World) -> String {
    format!("f{}", world.id)
}

/// What does not fit together, one line each.
pub async fn differences(world: &World) -> Vec<String> {
    let own = ListParams::default().labels(&format!("e2e={}", world.id));
    let tenants = Api::<TenantSchema>::all(world.client.clone()).list(&own).await.unwrap();
    let backups = Api::<SchemaBackup>::all(world.client.clone()).list(&own).await.unwrap();
    let sql = include_str!("agreement.sql").replace("$prefix", &prefix(world));
    let mut differences: Vec<_> = world.sql(&sql).lines().map(str::to_owned).collect();
    let mut rows: BTreeMap<_, _> = world
        .sql(ROWS)
        .lines()
        .map(|line| {
            let mut parts = line.split('|').map(str::to_owned);
            (parts.next().unwrap(), (parts.next().unwrap(), parts.next().unwrap()))
        })
        .collect();
    for tenant in &tenants {
        let (name, status) = (tenant.name_any(), tenant.status.clone().unwrap_or_default());
        let row = rows.remove(&tenant.uid().unwrap());
        let says = |type_: &str| condition(tenant, type_).filter(|(status, ..)| status == "True");
        if status.observed_generation != tenant.metadata.generation {
            differences.push(format!("tenant {name} was not looked at since its spec changed"));
        }
        if let Some((_, reason, message)) = says("Stalled") {
            if !EXPLAINED.contains(&reason.as_str()) {
                differences.push(format!("tenant {name} is Stalled/{reason}: {message}"));
            }
        } else if says("Ready").is_none()
            || says("Reconciling").is_some()
            || tenant.metadata.deletion_timestamp.is_some()
        {
            differences.push(format!("tenant {name} is not settled: {:?}", condition(tenant, "Reconciling")));
        } else if row.as_ref().map(|(id, _)| id) != status.schema_id.as_ref() {
            differences.push(format!("tenant {name} is Ready as {:?} and the registry has {row:?}", status.schema_id));
        }
    }
    for (namespace, name, tables) in world.table_counts().unwrap_or_default() {
        let own = |tenant: &&TenantSchema| tenant.namespace().as_ref() == Some(&namespace) && tenant.name_any() == name;
        let shown = tenants.iter().find(own).and_then(|tenant| tenant.status.as_ref()?.table_count);
        if shown != Some(tables) {
            differences.push(format!("tenant {name} has {tables} tables and shows {shown:?}"));
        }
    }
    differences.extend(rows.values().map(|(_, schema)| format!("tenant {schema} lives and has no object")));
    let lives = |name: &str| {
        let tenant = tenants.iter().find(|tenant| tenant.name_any() == name);
        tenant.is_some_and(|tenant| condition(tenant, "Ready").is_some_and(|(status, ..)| status == "True"))
    };
    // A backup waits for as long as its tenant does.
    for backup in backups.iter().filter(|backup| lives(&backup.spec.tenant_schema_ref.name)) {
        let says = |type_: &str| condition(backup, type_).is_some_and(|(status, ..)| status == "True");
        if says("Reconciling") || !says("Ready") && !says("Stalled") || backup.metadata.deletion_timestamp.is_some() {
            differences.push(format!("backup {} is not settled: {:?}", backup.name_any(), condition(backup, "Ready")));
        }
    }
    differences
}
