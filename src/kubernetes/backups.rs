//! The `SchemaBackup`s that schedules ask for: made under a name that is the same however often it is tried, and removed by identity.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, PostParams, Preconditions},
};

use super::{Error, MANAGER, if_there, read, read_metadata, within};
use crate::api::{
    SchemaBackup, TenantSchema,
    backup_policy::{TENANT_UID, is_asked_for},
};

/// Makes and removes them.
#[derive(Clone)]
pub struct Backups {
    client: Client,
    /// By which labels this operator selects objects.
    selector: String,
}

/// An object as it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    uid: Option<String>,
    resource_version: Option<String>,
}

impl Known {
    /// This one, as it is.
    #[must_use]
    pub fn of(backup: &SchemaBackup) -> Self {
        Self {
            namespace: backup.namespace().unwrap_or_default(),
            name: backup.name_any(),
            uid: backup.uid(),
            resource_version: backup.resource_version(),
        }
    }
}

impl Backups {
    /// Makes them by this client, for an operator that selects objects by these labels.
    #[must_use]
    pub fn new(client: Client, selector: Option<&str>) -> Self {
        Self { client, selector: selector.unwrap_or_default().to_owned() }
    }

    /// Makes this one, which is due since `at`, and answers whether its tenant has it now. One that was made before is as good if it is the
    /// same, and was not made before its time. A tenant that is another one by now gets none.
    pub async fn make(&self, backup: &SchemaBackup, at: Timestamp) -> Result<bool, Error> {
        let (namespace, name) = (backup.namespace().unwrap_or_default(), backup.name_any());
        let tenants: Api<TenantSchema> = Api::namespaced(self.client.clone(), &namespace);
        let tenant = read_metadata(&tenants, &backup.spec.tenant_schema_ref.name).await?;
        let Some(tenant) = tenant.filter(|tenant| backup.labels().get(TENANT_UID) == tenant.metadata.uid.as_ref())
        else {
            return Ok(false);
        };
        let mut backup = backup.clone();
        backup.labels_mut().append(&mut selected(tenant.labels(), &self.selector));
        let api: Api<SchemaBackup> = Api::namespaced(self.client.clone(), &namespace);
        let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let made = within(|| format!("make SchemaBackup {namespace}/{name}"), api.create(&parameters, &backup)).await;
        match made {
            Err(refused @ Error::Refused { code: 409, .. }) => {
                let found = read(&api, &name).await?;
                if found.is_some_and(|found| is_asked_for(&found, &backup, at)) { Ok(true) } else { Err(refused) }
            }
            other => other.map(|_| true),
        }
    }

    /// Removes this object if it is still as it was; one that is not is left for another look.
    pub async fn remove(&self, known: &Known) -> Result<(), Error> {
        let Known { namespace, name, uid, resource_version } = known;
        let api: Api<SchemaBackup> = Api::namespaced(self.client.clone(), namespace);
        let preconditions = Preconditions { uid: uid.clone(), resource_version: resource_version.clone() };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let deleted = async { if_there(name, api.delete(name, &parameters).await) };
        within(|| format!("delete SchemaBackup {namespace}/{name}"), deleted).await.map(|_| ())
    }
}

/// Those of a tenant's labels that a selector says something of: an object that has them is selected as the tenant is. Others, such as
/// those by which a GitOps pipeline knows what it has applied, are the tenant's alone.
fn selected(labels: &BTreeMap<String, String>, selector: &str) -> BTreeMap<String, String> {
    let is_of_key = |letter: char| letter.is_ascii_alphanumeric() || "-_./".contains(letter);
    let words: Vec<_> = selector.split(|letter| !is_of_key(letter)).collect();
    labels
        .iter()
        .filter(|(key, _)| words.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_selected_as_its_tenant_is() {
        let labels = |text: &str| -> BTreeMap<String, String> {
            text.split(' ')
                .filter_map(|pair| pair.split_once('='))
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect()
        };
        let check = |selector: &str, expected: &str| {
            let found =
                selected(&labels("team=a example.org/tier=gold app.kubernetes.io/instance=argo tea=x"), selector);
            assert_eq!(found, labels(expected), "{selector}");
        };
        check("", "");
        check("team=a", "team=a");
        check("team in (a, b),example.org/tier!=iron,!gone", "team=a example.org/tier=gold");
    }
}
