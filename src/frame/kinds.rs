//! Whether the kinds in the cluster have every field that this release knows. Where they do not, a spec is not what its owner
//! wrote, and nothing is done by it.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client, ResourceExt, core::PartialObjectMeta};
use tokio::sync::watch;

use crate::{
    api::{crds, kinds::missing_fields},
    kubernetes::{self, Error},
};

/// For this long an answer is as good as a new one.
const FRESH: Duration = Duration::from_secs(1);
/// How many fields a message names.
const NAMED: usize = 3;

/// What is known of the definitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fit {
    /// They have everything.
    Whole,
    /// They lack fields.
    Older {
        /// Which, and the way out.
        message: String,
        /// Whether they cut off what a TenantDatabase says: the API server stores an object without them again when any
        /// client writes no more than its status.
        databases: bool,
    },
    /// This operator may not look.
    Hidden(String),
}

/// The definitions of the kinds, as they were last seen.
pub struct Kinds {
    client: Client,
    known: Vec<CustomResourceDefinition>,
    fit: watch::Sender<Option<Fit>>,
    seen: tokio::sync::Mutex<Seen>,
    checked: Mutex<Option<Instant>>,
}

/// By the name of a definition: its version and what it lacks.
#[derive(Default)]
struct Seen(HashMap<String, (Option<String>, Vec<String>)>);

impl Kinds {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(client: Client) -> Self {
        let (fit, seen) = (watch::Sender::new(None), tokio::sync::Mutex::default());
        Self { client, known: crds(), fit, seen, checked: Mutex::default() }
    }

    /// Looks, if no call has looked just now. Only a definition that changed is read whole.
    pub async fn check(&self) -> Result<Fit, Error> {
        let mut seen = self.seen.lock().await;
        if let (Some(fit), true) = (self.fit.borrow().clone(), self.is_fresh()) {
            return Ok(fit);
        }
        let begun = Instant::now();
        let fit = match self.look(&mut seen).await {
            Err(Error::Refused { code: 403, message, .. }) => Fit::Hidden(message),
            other => other?,
        };
        *self.checked.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(begun);
        self.fit.send_if_modified(|known| known.replace(fit.clone()).as_ref() != Some(&fit));
        Ok(fit)
    }

    /// What is missing, as far as is known.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        match &*self.fit.borrow() {
            Some(Fit::Older { message, .. }) => Some(message.clone()),
            _ => None,
        }
    }

    /// Whether writing to an object of this kind would lose what its owner wrote.
    pub async fn would_lose(&self, kind: &str) -> Result<bool, Error> {
        Ok(match self.check().await? {
            Fit::Older { databases, .. } => databases || kind != "TenantDatabase",
            Fit::Whole | Fit::Hidden(_) => false,
        })
    }

    /// The next question is asked of the API server, even if one was asked just now. A watch that lists again may do so
    /// because the definition of its kind changed, and its objects are then what that left of them.
    pub fn doubt(&self) {
        *self.checked.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
    }

    /// Hears of every change; nothing at first.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Option<Fit>> {
        self.fit.subscribe()
    }

    async fn look(&self, seen: &mut Seen) -> Result<Fit, Error> {
        let mut missing = Vec::new();
        for known in &self.known {
            let name = known.name_any();
            let outline: Api<PartialObjectMeta<CustomResourceDefinition>> = Api::all(self.client.clone());
            let version = kubernetes::read(&outline, &name).await?.and_then(|found| found.resource_version());
            let before = seen.0.get(&name).filter(|(before, _)| version.is_some() && *before == version);
            let lacking = if let Some((_, lacking)) = before {
                lacking.clone()
            } else {
                let definitions: Api<CustomResourceDefinition> = Api::all(self.client.clone());
                let found = kubernetes::read(&definitions, &name).await?;
                let kind = &known.spec.names.kind;
                let lacking = found.as_ref().map_or_else(|| vec![kind.clone()], |found| missing_fields(known, found));
                seen.0.insert(name, (found.and_then(|found| found.resource_version()), lacking.clone()));
                lacking
            };
            missing.extend(lacking);
        }
        let databases = missing.iter().any(|field| field.starts_with("TenantDatabase"));
        Ok(if missing.is_empty() { Fit::Whole } else { Fit::Older { message: older(&missing), databases } })
    }

    fn is_fresh(&self) -> bool {
        let checked = self.checked.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        checked.is_some_and(|checked| checked.elapsed() < FRESH)
    }
}

fn older(missing: &[String]) -> String {
    let named: Vec<_> = missing.iter().take(NAMED).map(String::as_str).collect();
    let more = missing.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!(
        "the definitions of the kinds in this cluster are older than this operator and lack {}{more}; what they lack is cut off \
         from every object, so nothing is done until they have it. Bring them up to date: helm upgrade with this release's chart, \
         or tenant-schema-operator crds | kubectl apply --server-side -f -",
        named.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_fields_are_named_and_the_others_counted() {
        let fields = |count: usize| (0..count).map(|number| format!("TenantSchema spec.f{number}")).collect::<Vec<_>>();
        assert!(older(&fields(1)).contains("lack TenantSchema spec.f0; "));
        assert!(older(&fields(5)).contains("spec.f1, TenantSchema spec.f2 and 2 more; "));
    }
}
