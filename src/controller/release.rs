//! Letting every tenant go with its schema left as it is: what remains is plain PostgreSQL. The objects are not deleted, they
//! are made ready for it.

use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;

use super::watches::apis;
use crate::{
    api::{TenantDatabase, TenantSchema, policy::DeletionPolicy},
    config::Selection,
    kubernetes,
};

/// Sets `deletionPolicy: Retain` on every selected tenant and says what it did. A database that does not allow `Retain` is
/// named first, and nothing is changed: its tenants would be set aside all the same.
pub async fn release_all(client: &Client, selection: &Selection) -> Result<Result<String, String>, kubernetes::Error> {
    let databases: Api<TenantDatabase> = Api::all(client.clone());
    let list = kubernetes::within(|| "list TenantDatabases".to_owned(), databases.list(&ListParams::default())).await?;
    let limited = |database: &&TenantDatabase| {
        database.spec.limits.as_ref().is_some_and(|limits| !limits.allows(DeletionPolicy::Retain))
    };
    if let Some(database) = list.items.iter().find(limited) {
        let name = database.name_any();
        return Ok(Err(format!(
            "TenantDatabase {name} does not allow the deletion policy Retain and nothing was changed; allow it: kubectl patch \
             tenantdatabase {name} --type json -p '[{{\"op\":\"add\",\"path\":\"/spec/limits/deletionPolicies/-\",\"value\":\"Retain\"}}]'"
        )));
    }
    let selected = ListParams { label_selector: selection.watch_selector.clone(), ..ListParams::default() };
    let (mut changed, mut total) = (0, 0);
    for api in apis::<TenantSchema>(client, &selection.watch_namespaces) {
        let tenants = kubernetes::within(|| "list TenantSchemas".to_owned(), api.list(&selected)).await?;
        for tenant in tenants.items {
            total += 1;
            if tenant.spec.deletion_policy != Some(DeletionPolicy::Retain) {
                retain(client, &tenant).await?;
                changed += 1;
            }
        }
    }
    Ok(Ok(format!(
        "{changed} of {total} TenantSchemas changed to deletionPolicy: Retain, all of them have it now; if they come from a \
         repository, change it there too. When they are deleted, their schemas stay: kubectl delete tenantschemas \
         --all-namespaces --all\n"
    )))
}

async fn retain(client: &Client, tenant: &TenantSchema) -> Result<(), kubernetes::Error> {
    let (namespace, name) = (tenant.namespace().unwrap_or_default(), tenant.name_any());
    let api: Api<TenantSchema> = Api::namespaced(client.clone(), &namespace);
    let patch = json!({
        "metadata": { "uid": tenant.uid() }, "spec": { "deletionPolicy": DeletionPolicy::Retain },
    });
    let attempt = || format!("set the deletion policy of {namespace}/{name}");
    match kubernetes::within(attempt, api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch))).await {
        Err(error) if error.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}
