//! Whether an object is alive, as the API server says now.
//!
//! A watch that does not tell of an object any more proves nothing: its label was changed, the selector was, a right was
//! taken away, or etcd went back. A driver that will take something away asks here before. An error is no answer.

use std::fmt::Debug;

use kube::{Api, Resource, core::PartialObjectMeta};
use serde::de::DeserializeOwned;

use super::{Context, Next};
use crate::kubernetes;

/// What the API server says of the object with one name and UID.
#[derive(Debug)]
pub enum Living<T> {
    /// It is there and not deleted, in or out of this operator's view.
    Here(T),
    /// It is there and has a deletion timestamp.
    Deleting(T),
    /// There is no object of that name, or one with another UID.
    Gone,
}

impl<T: Resource> Living<T> {
    /// Nothing more can become of it.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Gone)
    }

    /// The object if it is being deleted; else its end is not begun, and this is when to look again.
    ///
    /// # Errors
    ///
    /// If it is not deleted, or is gone.
    pub fn deleting(self) -> Result<T, Next> {
        match self {
            Self::Deleting(object) => Ok(object),
            Self::Here(_) => Err(Next::waiting()),
            Self::Gone => Err(Next::gone()),
        }
    }

    /// What it means that this was found under the name of the object with this UID.
    fn of(found: Option<T>, uid: &str) -> Self {
        match found.filter(|found| found.meta().uid.as_deref() == Some(uid)) {
            None => Self::Gone,
            Some(found) if found.meta().deletion_timestamp.is_some() => Self::Deleting(found),
            Some(found) => Self::Here(found),
        }
    }
}

impl Context {
    /// Whether the object with this name and UID is alive. Its spec is not asked for, so that one which cannot be read does
    /// not matter.
    pub async fn living<K>(
        &self,
        api: &Api<K>,
        name: &str,
        uid: &str,
    ) -> Result<Living<PartialObjectMeta<K>>, kubernetes::Error>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        Ok(Living::of(kubernetes::read_metadata(api, name).await?, uid))
    }

    /// The same with the whole object as it is now, for what is decided by its spec and its annotations.
    pub async fn living_whole<K>(&self, api: &Api<K>, name: &str, uid: &str) -> Result<Living<K>, kubernetes::Error>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        Ok(Living::of(kubernetes::read(api, name).await?, uid))
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::Time};

    use super::*;

    #[test]
    fn only_another_uid_or_nothing_is_gone() {
        let check = |found: Option<(Option<&str>, bool)>, expected: &str| {
            let found = found.map(|(uid, deleted)| {
                let mut object = ConfigMap::default();
                object.metadata.uid = uid.map(str::to_owned);
                object.metadata.deletion_timestamp = deleted.then_some(Time(jiff::Timestamp::UNIX_EPOCH));
                object
            });
            let word = match Living::of(found, "a") {
                Living::Here(_) => "here",
                Living::Deleting(_) => "deleting",
                Living::Gone => "gone",
            };
            assert_eq!(word, expected);
        };
        check(None, "gone");
        check(Some((Some("b"), false)), "gone");
        check(Some((Some("b"), true)), "gone");
        check(Some((None, true)), "gone");
        check(Some((Some("a"), false)), "here");
        check(Some((Some("a"), true)), "deleting");
    }
}
