//! What is asked and answered about archives, which are made and removed outside of the database. Pure.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// What one attempt at an archive writes into a store. The database knows it before the first byte is written.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct ArchiveUpload {
    /// The attempt.
    pub attempt: Uuid,
    /// The URL of the store, which has no secret in it.
    pub store: String,
    /// The key of the file; it begins with the id of the installation.
    pub location: String,
    /// The key of the manifest beside it; it begins the same way.
    pub manifest_location: String,
}

/// An attempt at an archive that was begun.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct BegunArchive {
    /// The backup that it makes.
    pub backup_id: Uuid,
    /// The tenant.
    pub schema_id: Uuid,
    /// The tenant's schema.
    pub schema_name: String,
    /// Which schema that is.
    pub schema_oid: i64,
    /// Who reads its tables.
    pub owner_role: String,
    /// The version of the server, as `150004`.
    pub server_version_num: i32,
    /// Which verification was asked for: `None`, `Checksum` or `Restore`.
    pub verification: Option<String>,
    /// What earlier attempts began and did not end: to be deleted, and noted by `drop_upload`.
    pub leftovers: Vec<ArchiveUpload>,
}

/// What an attempt has written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MadeArchive {
    /// The attempt.
    pub attempt: Uuid,
    /// As it was begun.
    pub location: String,
    /// As it was begun.
    pub store: String,
    /// Of the file, in bytes.
    pub size_bytes: u64,
    /// The tables in it.
    pub table_count: u64,
    /// Their rows, all tables together.
    pub row_count: u64,
    /// Over the content of all tables.
    pub checksum: String,
    /// Of the file, in hexadecimal digits.
    pub artefact_sha256: String,
    /// Of the manifest in the store, in hexadecimal digits.
    pub manifest_sha256: String,
    /// What the catalogue keeps of that manifest.
    pub manifest: Value,
    /// How far it was proved.
    #[serde(flatten)]
    pub proof: Proof,
}

/// How far an archive was proved; nothing in it where nothing was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Proof {
    /// What proved it: `Checksum` or `Restore`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_by: Option<&'static str>,
    /// How it was read again and compared, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_how: Option<String>,
    /// What was asked for and not proved, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unproved: Option<String>,
}

/// The scratch database of a job, before it is made.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct BegunScratch {
    /// Its name.
    pub name: String,
    /// The statements that make it, each of which can be in no transaction.
    pub make: Vec<String>,
    /// The statements that are then run in it.
    pub prepare: Vec<String>,
    /// The statements that then let the tenant in.
    pub open: Vec<String>,
    /// The statement that takes the right to make schemas from the tenant's owner role.
    pub seal: String,
    /// Why none can be made.
    #[serde(default)]
    pub because: Option<String>,
}

/// A scratch database that is to be removed.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct LeftScratch {
    /// Its name.
    pub name: String,
    /// The statement that removes it, which can be in no transaction.
    pub drop: String,
}

/// The removal of an archive that was begun.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct BegunRemoval {
    /// The backup.
    pub backup_id: Uuid,
    /// The URL of its store; none when no attempt at it was complete.
    pub store: Option<String>,
    /// The key of its file.
    pub location: Option<String>,
    /// The key of its manifest.
    pub manifest_location: Option<String>,
    /// What all attempts at it wrote. Not all of it need be there.
    pub uploads: Vec<ArchiveUpload>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_verified_is_not_said_to_be() {
        let mut made = MadeArchive {
            attempt: Uuid::nil(),
            location: "i/s/b/a.dump.zst".to_owned(),
            store: "s3://bucket".to_owned(),
            size_bytes: 1,
            table_count: 2,
            row_count: 3,
            checksum: "c".to_owned(),
            artefact_sha256: "a".to_owned(),
            manifest_sha256: "m".to_owned(),
            manifest: json!({ "format": 1 }),
            proof: Proof::default(),
        };
        let sent = serde_json::to_value(&made).unwrap();
        assert_eq!((sent.get("verified_how"), sent.get("proof"), &sent["row_count"]), (None, None, &json!(3)));
        made.proof.verified_by = Some("Checksum");
        assert_eq!(serde_json::to_value(&made).unwrap()["verified_by"], "Checksum");
    }
}
