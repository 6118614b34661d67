//! What an archive holds, beside it in the store as JSON that a person can read too. It is what a restore is planned from and
//! compared with, perhaps years later and by another version of the operator, so its format has a number: fields may be added
//! to a format, and their meaning changes only with the number.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::error::ManifestError;

/// The format that this version writes, and the newest that it reads.
pub const FORMAT: u32 = 1;
/// The most bytes of a manifest: some 500,000 tables.
pub const MOST_BYTES: usize = 64 * 1024 * 1024;

/// The content of a manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// The object in Kubernetes that the schema belonged to, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Tenant>,
    /// The name of the schema.
    pub schema: String,
    /// Its id in the registry.
    pub schema_id: Uuid,
    /// The backup that the archive belongs to.
    pub backup_id: Uuid,
    /// The attempt that made it.
    pub attempt: Uuid,
    /// The installation of the operator.
    pub installation_id: Uuid,
    /// The institution that the schema belonged to, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub institution_id: Option<Uuid>,
    /// The moment that the archive shows, in RFC 3339.
    pub taken_at: String,
    /// The name of the database.
    pub database: String,
    /// The server's `server_version_num`, say 150018.
    pub server_version_num: u32,
    /// What `pg_dump --version` says of its version, say `15.18`.
    pub pg_dump_version: String,
    /// The version of the operator.
    pub operator_version: String,
    /// The encoding of the database, say `UTF8`.
    pub encoding: String,
    /// The tables, with what is compared after a restore.
    pub tables: Vec<Table>,
    /// The sequences.
    pub sequences: Vec<Sequence>,
    /// What else the database says: roles, grants, row security, extensions, references.
    pub facts: Value,
    /// The archive itself.
    pub artefact: ArtefactFacts,
}

/// The object in Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tenant {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Table {
    /// Its name in the schema.
    pub name: String,
    /// How many rows it had.
    pub rows: u64,
    /// What its content hashes to, whatever the order of the rows.
    pub hash: String,
}

/// A sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sequence {
    /// Its name in the schema.
    pub name: String,
    /// Its `last_value`.
    pub last_value: i64,
    /// Its `is_called`.
    pub is_called: bool,
}

/// What is known of the archive as an object of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArtefactFacts {
    /// Its name below the prefix of the store.
    pub key: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// The SHA-256 of it as it is stored, in hexadecimal.
    pub sha256: String,
    /// The length of the dump in it.
    pub plain_bytes: u64,
    /// How it is compressed.
    pub compression: Compression,
    /// How it is encrypted.
    pub encryption: Encryption,
    /// The age recipients, which are public; none if it is not encrypted.
    pub recipients: Vec<String>,
}

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Compression {
    /// With zstd.
    Zstd,
}

/// How an archive is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Encryption {
    /// With age.
    Age,
    /// Not at all.
    None,
}

impl Manifest {
    /// The manifest as it is stored. What is equal is written equally.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ManifestError> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|error| unreadable(&error))?;
        bytes.push(b'\n');
        if bytes.len() > MOST_BYTES { Err(ManifestError::TooLarge(bytes.len())) } else { Ok(bytes) }
    }

    /// Reads a manifest. The format is looked at first, since a newer one may lack what this one must have.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Format {
            format: u64,
        }
        if bytes.len() > MOST_BYTES {
            return Err(ManifestError::TooLarge(bytes.len()));
        }
        let Format { format } = serde_json::from_slice(bytes).map_err(|error| unreadable(&error))?;
        match format {
            0 => Err(ManifestError::Unreadable("it has format 0, which there is not".to_owned())),
            1.. if format > u64::from(FORMAT) => Err(ManifestError::Newer { found: format, ours: FORMAT }),
            _ => serde_json::from_slice(bytes).map_err(|error| unreadable(&error)),
        }
    }
}

fn unreadable(error: &serde_json::Error) -> ManifestError {
    ManifestError::Unreadable(crate::text::tame(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn example() -> Manifest {
        Manifest {
            format: FORMAT,
            tenant: Some(Tenant { namespace: "ns".to_owned(), name: "school".to_owned(), uid: "u".to_owned() }),
            schema: "School \"A\"".to_owned(),
            schema_id: Uuid::from_u128(1),
            backup_id: Uuid::from_u128(2),
            attempt: Uuid::from_u128(3),
            installation_id: Uuid::from_u128(4),
            institution_id: None,
            taken_at: "2026-01-02T03:04:05Z".to_owned(),
            database: "app".to_owned(),
            server_version_num: 150_018,
            pg_dump_version: "15.18".to_owned(),
            operator_version: "0.1.0".to_owned(),
            encoding: "UTF8".to_owned(),
            tables: vec![Table { name: "t".to_owned(), rows: 3, hash: "ab".to_owned() }],
            sequences: vec![Sequence { name: "s".to_owned(), last_value: -7, is_called: true }],
            facts: json!({"roles": ["r"], "grants": {"b": 1, "a": 2}}),
            artefact: ArtefactFacts {
                key: "k".to_owned(),
                bytes: 10,
                sha256: "cd".to_owned(),
                plain_bytes: 20,
                compression: Compression::Zstd,
                encryption: Encryption::Age,
                recipients: vec!["age1x".to_owned()],
            },
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = example().to_bytes().unwrap();
        assert_eq!(Manifest::from_slice(&bytes).unwrap(), example());
        assert_eq!(bytes, example().to_bytes().unwrap());
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["artefact"]["plainBytes"], 20);
        assert_eq!(value["artefact"]["compression"], "zstd");
        assert_eq!(value["artefact"]["encryption"], "age");
        assert_eq!(value["sequences"][0], json!({"name": "s", "lastValue": -7, "isCalled": true}));
        assert_eq!(value["pgDumpVersion"], "15.18");
        assert!(value.get("institutionId").is_none(), "{value}");
    }

    #[test]
    fn what_is_added_later_is_passed_over() {
        let mut value = serde_json::to_value(example()).unwrap();
        value["more"] = json!(1);
        assert_eq!(Manifest::from_slice(value.to_string().as_bytes()).unwrap(), example());
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let check = |bytes: &[u8], says: &str| {
            let message = Manifest::from_slice(bytes).unwrap_err().to_string();
            assert!(message.contains(says), "{message}");
        };
        check(br#"{"format": 2, "other": true}"#, "has format 2, and this version reads up to 1");
        check(br#"{"format": 0}"#, "format 0");
        check(br#"{"format": 1}"#, "missing field `schema`");
        check(b"{}", "missing field `format`");
        check(b"\0", "cannot be read");
        check(&vec![b' '; MOST_BYTES + 1], "64 MiB");
    }
}
