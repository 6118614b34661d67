//! A tenant's free JSON, as far as the operator needs what the registry has of it: whether it is what the spec says. Pure.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Free JSON by its digest: that of ten thousand tenants need not be held beside their specs. Equal documents, whatever the order of
/// their fields, have the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigDigest([u8; 32]);

impl From<&Map<String, Value>> for ConfigDigest {
    fn from(config: &Map<String, Value>) -> Self {
        let mut hash = Sha256::new();
        fields(config, &mut hash);
        Self(hash.finalize().into())
    }
}

impl<'de> Deserialize<'de> for ConfigDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from(&Map::deserialize(deserializer)?))
    }
}

/// Every part begins with its kind and its length, so that no two documents are written alike.
fn part(kind: char, length: usize, hash: &mut Sha256) {
    hash.update(format!("{kind}{length}:"));
}

fn text(text: &str, hash: &mut Sha256) {
    part('s', text.len(), hash);
    hash.update(text);
}

fn fields(config: &Map<String, Value>, hash: &mut Sha256) {
    part('o', config.len(), hash);
    let mut sorted: Vec<_> = config.iter().collect();
    sorted.sort_unstable_by_key(|(name, _)| *name);
    for (name, field) in sorted {
        text(name, hash);
        value(field, hash);
    }
}

fn value(json: &Value, hash: &mut Sha256) {
    match json {
        Value::Null => part('n', 0, hash),
        Value::Bool(is_true) => part('b', usize::from(*is_true), hash),
        Value::Number(number) => match (number.is_f64(), number.as_f64()) {
            // A zero is the same below and above, and PostgreSQL keeps one of them.
            (true, Some(float)) => hash.update(format!("f{:x};", (float + 0.0).to_bits())),
            _ => hash.update(format!("i{number};")),
        },
        Value::String(string) => text(string, hash),
        Value::Array(items) => {
            part('a', items.len(), hash);
            for item in items {
                value(item, hash);
            }
        }
        Value::Object(object) => fields(object, hash),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_have_the_same_digest_when_they_are_equal() {
        let documents = [
            json!({}),
            json!({ "a": null }),
            json!({ "a": false }),
            json!({ "a": true }),
            json!({ "a": 0 }),
            json!({ "a": 0.0 }),
            json!({ "a": -0.0 }),
            json!({ "a": 1 }),
            json!({ "a": -1 }),
            json!({ "a": 1.0 }),
            json!({ "a": 1.5 }),
            json!({ "a": u64::MAX }),
            json!({ "a": "" }),
            json!({ "a": "1" }),
            json!({ "a": [] }),
            json!({ "a": {} }),
            json!({ "a": ["b", "c"] }),
            json!({ "a": ["bc"] }),
            json!({ "a": [["b"], "c"] }),
            json!({ "a": [["b", "c"]] }),
            json!({ "a": "b", "c": "d" }),
            json!({ "c": "d", "a": "b" }),
            json!({ "a": { "b": "c" }, "d": 1 }),
            json!({ "a": { "b": "c", "d": 1 } }),
        ];
        for one in &documents {
            for other in &documents {
                let read = |json: &Value| serde_json::from_str::<ConfigDigest>(&json.to_string()).unwrap();
                assert_eq!(read(one) == read(other), one == other, "{one} {other}");
                assert_eq!(ConfigDigest::from(one.as_object().unwrap()) == read(other), one == other, "{one} {other}");
            }
        }
    }

    #[test]
    fn what_is_no_object_is_no_configuration() {
        for wrong in ["null", "[]", "1", "\"a\""] {
            assert!(serde_json::from_str::<ConfigDigest>(wrong).is_err(), "{wrong}");
        }
    }
}
