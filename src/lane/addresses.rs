//! Whether the names that tenants' Secrets lead to have an address.
//!
//! A name that has none would lead every application of the database to nothing, with its next password. So none is written into a
//! Secret before the operator has found an address for it once; what it found counts for as long as the lane is open, since a
//! resolver that is down for a moment says nothing about the name.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use tokio::{net::lookup_host, time::timeout};

use crate::api::{TenantDatabaseSpec, endpoint::NameLookup};

/// How long a resolver may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A name that tenants' Secrets lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The field of the spec that has it.
    pub field: &'static str,
    /// The name.
    pub host: String,
}

/// What was found of each name so far: an address, or why there is none.
#[derive(Debug, Default)]
pub struct Addresses(Mutex<BTreeMap<String, Result<(), String>>>);

impl Addresses {
    /// Looks up those names that have no address so far. Says whether one has one now that had none.
    pub async fn look_up(&self, names: &[Name]) -> bool {
        let unknown: Vec<_> =
            self.read(|found| names.iter().filter(|name| !matches!(found.get(&name.host), Some(Ok(())))).collect());
        let answers =
            join_all(unknown.into_iter().map(async |name| (name.host.clone(), look_up(&name.host).await))).await;
        let news = answers.iter().any(|(_, answer)| answer.is_ok());
        self.read(|found| found.extend(answers));
        news
    }

    /// The first of these names that has no address as far as is known, with the way out.
    #[must_use]
    pub fn missing(&self, names: &[Name]) -> Option<String> {
        self.read(|found| {
            names.iter().find_map(|Name { field, host }| {
                let why = match found.get(host) {
                    Some(Ok(())) => return None,
                    Some(Err(why)) => why,
                    None => "it was not looked up yet",
                };
                Some(format!(
                    "no address is known of {host}, which spec.{field}.host of the TenantDatabase names ({why}); correct it, or set \
                     spec.{field}.nameLookup to Skip if only applications can look it up"
                ))
            })
        })
    }

    fn read<T>(&self, with: impl FnOnce(&mut BTreeMap<String, Result<(), String>>) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The names of a spec that have to have an address. One without a dot is another one in each namespace.
#[must_use]
pub fn names(spec: &TenantDatabaseSpec) -> Vec<Name> {
    let client = spec.client_endpoint.as_ref().map(|client| ("clientEndpoint", &client.host, client.name_lookup));
    let read = spec.read_endpoint.as_ref().map(|read| ("readEndpoint", &read.host, read.name_lookup));
    let is_asked =
        |host: &str, lookup| lookup != Some(NameLookup::Skip) && host.contains('.') && host.parse::<IpAddr>().is_err();
    client
        .into_iter()
        .chain(read)
        .filter(|(_, host, lookup)| is_asked(host, *lookup))
        .map(|(field, host, _)| Name { field, host: host.clone() })
        .collect()
}

async fn look_up(name: &str) -> Result<(), String> {
    match timeout(PATIENCE, lookup_host((name, 0))).await {
        Ok(Ok(mut addresses)) => addresses.next().map(drop).ok_or_else(|| "it has none".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(fields: &Value) -> TenantDatabaseSpec {
        let mut whole = json!({ "connection": { "secretRef": { "name": "postgres" } } });
        whole.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn what_is_no_name_of_the_whole_network_is_not_looked_up() {
        let check = |fields: &Value, expected: &[(&str, &str)]| {
            let found = names(&spec(fields));
            assert_eq!(found.iter().map(|name| (name.field, &*name.host)).collect::<Vec<_>>(), expected);
        };
        check(&json!({}), &[]);
        check(&json!({ "clientEndpoint": { "host": "pooler" } }), &[]);
        check(&json!({ "clientEndpoint": { "host": "10.0.0.1" }, "readEndpoint": { "host": "fd00::1" } }), &[]);
        check(&json!({ "clientEndpoint": { "host": "a.example", "nameLookup": "Skip" } }), &[]);
        check(
            &json!({ "clientEndpoint": { "host": "a.example", "nameLookup": "Required" }, "readEndpoint": { "host": "b.example" } }),
            &[("clientEndpoint", "a.example"), ("readEndpoint", "b.example")],
        );
    }

    #[test]
    fn an_address_that_was_found_counts_and_another_name_is_missing_until_it_has_one() {
        let addresses = Addresses::default();
        let asked = names(&spec(
            &json!({ "clientEndpoint": { "host": "a.example" }, "readEndpoint": { "host": "b.example" } }),
        ));
        let missing = || addresses.missing(&asked).unwrap_or_default();
        assert!(missing().starts_with("no address is known of a.example, which spec.clientEndpoint.host"));
        addresses.read(|found| found.insert("a.example".to_owned(), Ok(())));
        addresses.read(|found| found.insert("b.example".to_owned(), Err("no such name".to_owned())));
        assert!(
            missing().contains("b.example, which spec.readEndpoint.host of the TenantDatabase names (no such name)")
        );
        addresses.read(|found| found.insert("b.example".to_owned(), Ok(())));
        assert_eq!(addresses.missing(&asked), None);
    }
}
