//! A TenantDatabase that no watch tells of: gone, or only out of this operator's view.

use kube::Api;

use super::Context;
use crate::{
    api::{
        TenantDatabase,
        command::{Object, Verb},
    },
    kubernetes,
    text::is_object_name,
};

/// What a TenantDatabase is that the cache does not have.
pub enum MissingDatabase {
    /// There is none.
    Gone,
    /// There is one, or it is not known; the text is for people.
    OutOfView(String),
}

impl Context {
    /// Why the cache does not have this TenantDatabase, as the API server says.
    pub async fn unseen_database(&self, name: &str) -> MissingDatabase {
        if !is_object_name(name) {
            return MissingDatabase::Gone;
        }
        match kubernetes::read_metadata(&Api::<TenantDatabase>::all(self.client.clone()), name).await {
            Ok(None) => MissingDatabase::Gone,
            Ok(Some(_)) => MissingDatabase::OutOfView(out_of_view(name, self.config.watch_selector.as_deref())),
            Err(error) => MissingDatabase::OutOfView(error.to_string()),
        }
    }
}

fn out_of_view(name: &str, selector: Option<&str>) -> String {
    let Some(selector) = selector else {
        return format!("TenantDatabase {name} is there and not read yet; this goes on by itself");
    };
    format!(
        "TenantDatabase {name} is there and out of this operator's view, which is --watch-selector {selector}; a TenantDatabase and what \
         uses it must have labels that one operator selects: {}",
        Object::database(name).to(Verb::GetLabels)
    )
}
