//! What free JSON that a user wrote has in it. Pure.

use serde_json::Value;

/// How many objects and lists are within one another. What was read has no more than the reader's own limit.
pub(crate) fn levels(value: &Value) -> usize {
    match value {
        Value::Object(fields) => 1 + fields.values().map(levels).max().unwrap_or_default(),
        Value::Array(items) => 1 + items.iter().map(levels).max().unwrap_or_default(),
        _ => 0,
    }
}

/// Where the character is that no text of PostgreSQL may have, if it is somewhere: keys and positions with dots between.
pub(crate) fn zero(value: &Value) -> Option<String> {
    let below = |name: String, value: &Value| {
        zero(value).map(|path| if path.is_empty() { name.clone() } else { format!("{name}.{path}") })
    };
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Object(fields) => fields.iter().find_map(|(name, value)| match name.as_str() {
            "" => below("\"\"".to_owned(), value),
            name if name.contains('\0') => Some(name.replace('\0', "\\u0000")),
            name => below(name.to_owned(), value),
        }),
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| below(index.to_string(), item)),
        _ => None,
    }
}
