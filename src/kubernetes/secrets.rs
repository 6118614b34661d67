//! Reading Secrets. A Secret that is missing and one that cannot be read now are different answers: only the first is
//! something that a person must mend.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use super::{Error, nameable, within};

/// The keys and values of a Secret, or nothing when it is not there.
pub async fn read(client: &Client, namespace: &str, name: &str) -> Result<Option<BTreeMap<String, Vec<u8>>>, Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    nameable(api.resource_url(), name)?;
    let secret = within(|| format!("read Secret {namespace}/{name}"), api.get_opt(name)).await?;
    Ok(secret.map(|secret| secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect()))
}
