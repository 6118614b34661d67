//! Secrets: reading those that lead to databases, and writing those that applications connect with, which cannot be read.
//!
//! RBAC cannot tell Secrets apart, and a right to get them is a right to read every neighbour's. So is a right to patch: the API
//! server answers a patch whose outcome it cannot read with that outcome. So in namespaces of tenants the operator may create and
//! update, and a policy of the API server lets it do so only with its own, and says whether one has the content that it should.

mod refusal;
mod write;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

pub use refusal::{DIFFERS_WORDS, GUARD_WORDS, Refusal};
pub use write::{Content, Found, Secrets, Target, Values};

use super::{Error, nameable, within};

/// The keys and values of a Secret, or nothing when it is not there. One that is missing and one that cannot be read now are
/// different answers: only the first is something that a person must mend.
pub async fn read(client: &Client, namespace: &str, name: &str) -> Result<Option<BTreeMap<String, Vec<u8>>>, Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    nameable(api.resource_url(), name)?;
    let secret = within(|| format!("read Secret {namespace}/{name}"), api.get_opt(name)).await?;
    Ok(secret.map(|secret| secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect()))
}
