//! What the Secret of a store has: which keys, by which other names, and which must come together. A key that is not known is an
//! error, since a misspelt one would otherwise send the operator out with the account of its own pod.

use std::collections::BTreeMap;

use super::url::Scheme;
use crate::{error::StoreError, secret::Secret, text::tame};

/// A key, and the names of environment variables that are taken for it too.
type Known = (&'static str, &'static [&'static str]);

const S3: &[Known] = &[
    ("accessKeyId", &["AWS_ACCESS_KEY_ID"]),
    ("secretAccessKey", &["AWS_SECRET_ACCESS_KEY"]),
    ("sessionToken", &["AWS_SESSION_TOKEN"]),
    ("region", &["AWS_REGION", "AWS_DEFAULT_REGION"]),
];
const GS: &[Known] = &[("serviceAccountKey", &["GOOGLE_SERVICE_ACCOUNT_KEY"])];
const AZ: &[Known] = &[
    ("accountName", &["AZURE_STORAGE_ACCOUNT_NAME"]),
    ("accountKey", &["AZURE_STORAGE_ACCOUNT_KEY"]),
    ("sasToken", &["AZURE_STORAGE_SAS_TOKEN"]),
];

/// The values by their keys; none at all means the identity of the pod.
pub(super) struct Credentials<'a>(BTreeMap<&'static str, &'a str>);

impl<'a> Credentials<'a> {
    pub(super) fn read(scheme: Scheme, given: &'a BTreeMap<String, Secret>) -> Result<Self, StoreError> {
        let known = match scheme {
            Scheme::S3 => S3,
            Scheme::Gs => GS,
            Scheme::Az => AZ,
            Scheme::File => &[],
        };
        let mut values = BTreeMap::new();
        for (name, secret) in given {
            let found = known.iter().find(|(key, others)| key == name || others.contains(&name.as_str()));
            let Some((key, _)) = found else { return Err(unknown(scheme, known, name)) };
            // A line break at the end is what `echo … | base64` leaves.
            let value = secret.expose_text().map(|text| text.trim_end_matches(['\r', '\n']));
            let fits = |value: &&str| !value.is_empty() && (scheme == Scheme::Gs || !value.contains(char::is_control));
            let Some(value) = value.filter(fits) else {
                return Err(StoreError::Invalid(format!(
                    "the value of `{key}` in the Secret is empty or not one line of text"
                )));
            };
            if values.insert(*key, value).is_some() {
                return Err(StoreError::Invalid(format!("the Secret has `{key}` twice, under two names; keep one")));
            }
        }
        let credentials = Self(values);
        credentials.complete(scheme)?;
        Ok(credentials)
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a str> {
        self.0.get(key).copied()
    }

    fn complete(&self, scheme: Scheme) -> Result<(), StoreError> {
        let has = |key| self.0.contains_key(key);
        let lacks = |text: &str| Err(StoreError::Invalid(text.to_owned()));
        match scheme {
            Scheme::S3 if has("accessKeyId") != has("secretAccessKey") => {
                lacks("the Secret of an s3:// store must have both `accessKeyId` and `secretAccessKey`, or neither")
            }
            Scheme::S3 if has("sessionToken") && !has("accessKeyId") => {
                lacks("the Secret of an s3:// store has `sessionToken` and lacks `accessKeyId` and `secretAccessKey`")
            }
            Scheme::Az if (has("accountKey") || has("sasToken")) && !has("accountName") => {
                lacks("the Secret of an az:// store lacks `accountName`")
            }
            Scheme::Az if has("accountKey") && has("sasToken") => {
                lacks("the Secret of an az:// store has both `accountKey` and `sasToken`; keep one")
            }
            _ => Ok(()),
        }
    }
}

fn unknown(scheme: Scheme, known: &[Known], name: &str) -> StoreError {
    let (scheme, name) = (scheme.as_str(), tame(name));
    if known.is_empty() {
        return StoreError::Invalid(format!("a {scheme}:// store needs no credentials; take `{name}` out"));
    }
    let keys: Vec<_> = known.iter().map(|(key, _)| format!("`{key}`")).collect();
    let keys = keys.join(", ");
    StoreError::Invalid(format!("the Secret has `{name}`, which a {scheme}:// store has not; its keys are {keys}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(scheme: Scheme, keys: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
        let given = keys.iter().map(|(key, value)| ((*key).to_owned(), Secret::from(*value))).collect();
        let read = Credentials::read(scheme, &given).map_err(|error| error.to_string())?;
        Ok(read.0.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn keys_are_taken_under_either_name() {
        let check = |scheme, keys: &[(&str, &str)], expected: &[(&str, &str)]| {
            let expected: Vec<_> = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            assert_eq!(read(scheme, keys), Ok(expected), "{keys:?}");
        };
        let plain = [("accessKeyId", "a"), ("secretAccessKey", "b")];
        check(Scheme::S3, &plain, &plain);
        check(Scheme::S3, &[("AWS_ACCESS_KEY_ID", "a\n"), ("AWS_SECRET_ACCESS_KEY", "b")], &plain);
        check(Scheme::S3, &[("region", "eu")], &[("region", "eu")]);
        check(Scheme::S3, &[], &[]);
        check(Scheme::Gs, &[("serviceAccountKey", "{\n}")], &[("serviceAccountKey", "{\n}")]);
        check(Scheme::Az, &[("accountName", "a"), ("sasToken", "b")], &[("accountName", "a"), ("sasToken", "b")]);
    }

    #[test]
    fn wrong_keys_are_named_and_values_are_not() {
        let check = |scheme, keys: &[(&str, &str)], says: &str| {
            let message = read(scheme, keys).unwrap_err();
            assert!(message.contains(says) && !message.contains("hunter2"), "{keys:?}: {message}");
        };
        check(Scheme::S3, &[("accessKey", "hunter2")], "`accessKeyId`, `secretAccessKey`, `sessionToken`, `region`");
        check(Scheme::S3, &[("accessKeyId", "hunter2")], "both");
        check(Scheme::S3, &[("sessionToken", "hunter2")], "lacks `accessKeyId`");
        check(Scheme::S3, &[("accessKeyId", "hunter2\nhunter2"), ("secretAccessKey", "x")], "`accessKeyId`");
        check(Scheme::S3, &[("region", "")], "`region`");
        check(Scheme::S3, &[("region", "hunter2"), ("AWS_REGION", "x")], "twice");
        check(Scheme::Gs, &[("key", "hunter2")], "`serviceAccountKey`");
        check(Scheme::Az, &[("accountKey", "hunter2")], "lacks `accountName`");
        check(Scheme::Az, &[("accountName", "a"), ("accountKey", "hunter2"), ("sasToken", "x")], "keep one");
        check(Scheme::File, &[("region", "hunter2")], "no credentials");
    }
}
