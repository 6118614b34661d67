//! Whether the operator can be uninstalled: an object with its finalizer could never go without it.

use std::{fmt::Debug, time::Duration};

use k8s_openapi::api::admissionregistration::v1::{MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ListParams, ObjectMeta},
};
use serde::de::DeserializeOwned;

use crate::controller::watches::apis;
use crate::{
    api::{
        SCHEMA_BACKUP_FINALIZER, SchemaBackup, TENANT_DATABASE_FINALIZER, TENANT_SCHEMA_FINALIZER, TenantDatabase,
        TenantSchema,
    },
    config::Selection,
    kubernetes::{self, full_name},
};

/// How many objects are named.
const NAMED: usize = 3;

/// How long every API server may take until it no longer follows a policy that was deleted. Each takes up changes once a second.
const POLICY_ENDS: Duration = Duration::from_secs(5);

/// What stands in the way of uninstalling, with the next command to type; nothing when nothing does. A policy that gives new
/// tenants the finalizer ends only when nothing else stands in the way, so that a check that refuses changes nothing, and
/// what was made until then counts.
pub async fn check(
    client: &Client,
    selection: &Selection,
    finalizer_policy: Option<&str>,
) -> Result<Option<String>, kubernetes::Error> {
    let found = obstacle(client, selection).await?;
    let (None, Some(policy)) = (&found, finalizer_policy) else { return Ok(found) };
    kubernetes::delete(&Api::<MutatingAdmissionPolicyBinding>::all(client.clone()), policy).await?;
    kubernetes::delete(&Api::<MutatingAdmissionPolicy>::all(client.clone()), policy).await?;
    tokio::time::sleep(POLICY_ENDS).await;
    let found = obstacle(client, selection).await?;
    Ok(found.map(|found| {
        format!("{found}; policy {policy} is deleted already: to keep the release, roll it back, which makes the policy again")
    }))
}

/// What stands in the way now. Tenants come before backups and backups before databases, since each needs the next for its own
/// end.
async fn obstacle(client: &Client, selection: &Selection) -> Result<Option<String>, kubernetes::Error> {
    let selected = ListParams { label_selector: selection.watch_selector.clone(), ..ListParams::default() };
    let namespaces = &selection.watch_namespaces;
    let tenants = held(apis::<TenantSchema>(client, namespaces), &selected, TENANT_SCHEMA_FINALIZER).await?;
    if !tenants.is_empty() {
        let advice = format!(
            "to leave every schema as it is, first: tenant-schema-operator release --all{}; to see what becomes of each: \
             kubectl get tenantschemas --all-namespaces -o wide, in DELETION-POLICY",
            selection.for_commands()
        );
        return Ok(Some(told("TenantSchema", &tenants, &advice)));
    }
    let backups = held(apis::<SchemaBackup>(client, namespaces), &selected, SCHEMA_BACKUP_FINALIZER).await?;
    if !backups.is_empty() {
        let advice = "spec.deletionPolicy: Retain, the default, leaves the backup in the database";
        return Ok(Some(told("SchemaBackup", &backups, advice)));
    }
    let databases = vec![Api::<TenantDatabase>::all(client.clone())];
    let databases = held(databases, &selected, TENANT_DATABASE_FINALIZER).await?;
    let advice = "everything in PostgreSQL stays as it is";
    Ok((!databases.is_empty()).then(|| told("TenantDatabase", &databases, advice)))
}

/// The objects that have our finalizer.
async fn held<K>(
    apis: Vec<Api<K>>,
    selected: &ListParams,
    finalizer: &str,
) -> Result<Vec<ObjectMeta>, kubernetes::Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let mut held = Vec::new();
    for api in apis {
        let objects = kubernetes::list_metadata(&api, selected).await?;
        let ours = objects.into_iter().filter(|object| object.finalizers().iter().any(|present| present == finalizer));
        held.extend(ours.map(|object| object.metadata));
    }
    Ok(held)
}

fn told(kind: &str, objects: &[ObjectMeta], advice: &str) -> String {
    let namespace = objects.first().and_then(|first| first.namespace.as_deref());
    let names: Vec<_> = objects.iter().take(NAMED).map(full_name).collect();
    let more = if objects.len() > NAMED { format!(" and {} more", objects.len() - NAMED) } else { String::new() };
    let together = objects.iter().take(NAMED).filter(|object| object.namespace.as_deref() == namespace);
    let together: Vec<_> = together.filter_map(|object| object.name.as_deref()).collect();
    let place = namespace.map(|namespace| format!("-n {namespace} ")).unwrap_or_default();
    format!(
        "the operator cannot be uninstalled: {} of kind {kind} need it in order to go: {}{more}; {advice}; delete them \
         first: kubectl {place}delete {} {}",
        objects.len(),
        names.join(", "),
        kind.to_lowercase(),
        together.join(" "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(namespace: Option<&str>, name: &str) -> ObjectMeta {
        let [namespace, name] = [namespace, Some(name)].map(|text| text.map(str::to_owned));
        ObjectMeta { namespace, name, ..ObjectMeta::default() }
    }

    #[test]
    fn a_few_are_named_and_the_command_deletes_those_of_one_namespace() {
        let objects: Vec<_> = [("a", "one"), ("b", "two"), ("a", "three"), ("a", "four"), ("c", "five")]
            .map(|(namespace, name)| object(Some(namespace), name))
            .to_vec();
        assert_eq!(
            told("TenantSchema", &objects, "mind them"),
            "the operator cannot be uninstalled: 5 of kind TenantSchema need it in order to go: a/one, b/two, a/three \
             and 2 more; mind them; delete them first: kubectl -n a delete tenantschema one three"
        );
    }

    #[test]
    fn what_has_no_namespace_is_deleted_without_one() {
        let text = told("TenantDatabase", &[object(None, "default")], "all stays");
        assert!(
            text.ends_with(
                "in order to go: default; all stays; delete them first: kubectl delete tenantdatabase default"
            )
        );
    }
}
