//! Whether the API, the registry and the catalogue say the same of everything.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt, api::ListParams};
use tenant_schema_operator::api::{
    SchemaBackup, TenantSchema,
    credentials::{CREDENTIAL_ID, CredentialsStatus},
};

use crate::{
    tools::secrets::{ask, keys_of},
    world::{World, condition},
};

/// Why a tenant may stay as it is until a person acts.
const EXPLAINED: [&str; 4] = ["Conflict", "DropNotConfirmed", "SchemaMissing", "LimitExceeded"];

/// The rows of tenants that belong to an object. A tenant that was taken over waits for its object without end.
const ROWS: &str = "SELECT owner_uid, id, schema_name, status FROM edu_matrix_hub_schema.tenant_schemas \
                    WHERE status IN ('active', 'suspended') AND owner_uid IS NOT NULL AND NOT taken_over";

/// The credentials of tenants that are open.
const CREDENTIALS: &str = "SELECT t.owner_uid, c.purpose, c.credential_id FROM edu_matrix_hub_schema.tenant_credentials AS c \
                           JOIN edu_matrix_hub_schema.tenant_schemas AS t ON t.id = c.schema_id WHERE t.status = 'active'";

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
    let credentials = world.sql(CREDENTIALS);
    let mut rows: BTreeMap<_, _> = world
        .sql(ROWS)
        .lines()
        .map(|line| {
            let mut parts = line.split('|').map(str::to_owned);
            (parts.next().unwrap(), (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap()))
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
        } else if row.as_ref().map(|(id, ..)| id) != status.schema_id.as_ref() {
            differences.push(format!("tenant {name} is Ready as {:?} and the registry has {row:?}", status.schema_id));
        } else if row.is_some_and(|(.., status)| status == "active") {
            for (purpose, wanted, told) in [
                ("connection", &tenant.spec.connection_secret, &status.credentials),
                ("migration", &tenant.spec.migration_secret, &status.migration_credentials),
            ] {
                let Some(wanted) = wanted else { continue };
                let told = told.clone().unwrap_or_default();
                let row =
                    format!("{}|{purpose}|{}", tenant.uid().unwrap(), told.credential_id.as_deref().unwrap_or("none"));
                if !credentials.lines().any(|line| line == row) {
                    differences
                        .push(format!("the status of tenant {name} has {row}, and the registry:\n{credentials}"));
                } else if let Err(problem) = connects(world, &wanted.name, &told).await {
                    differences.push(format!("the Secret {} of tenant {name}: {problem}", wanted.name));
                }
            }
        }
    }
    for (namespace, name, tables) in world.table_counts().unwrap_or_default() {
        let own = |tenant: &&TenantSchema| tenant.namespace().as_ref() == Some(&namespace) && tenant.name_any() == name;
        let shown = tenants.iter().find(own).and_then(|tenant| tenant.status.as_ref()?.table_count);
        if shown != Some(tables) {
            differences.push(format!("tenant {name} has {tables} tables and shows {shown:?}"));
        }
    }
    differences.extend(rows.values().map(|(_, schema, _)| format!("tenant {schema} lives and has no object")));
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

/// Whether a Secret has the credential that the status tells of, and a session is let in by it.
pub async fn connects(world: &World, name: &str, told: &CredentialsStatus) -> Result<(), String> {
    let secret = world.api::<Secret>().get_opt(name).await.unwrap().ok_or("it is not there")?;
    if secret.annotations().get(CREDENTIAL_ID) != told.credential_id.as_ref() {
        return Err(format!("it has {:?}, and the status {:?}", secret.annotations(), told.credential_id));
    }
    // The test's own way to the server: a wire may hold what goes over the Secret's address.
    let mut keys = keys_of(secret);
    keys.extend(
        [("host", world.postgres.host.clone()), ("port", world.postgres.port.to_string())]
            .map(|(key, value)| (key.to_owned(), value)),
    );
    ask(&keys, "SELECT 1").await.map(drop).map_err(|error| format!("{}: {error:?}", keys["username"]))
}
