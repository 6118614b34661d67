//! Where archives go: which object store, with which rights, and whom they are encrypted for.
//!
//! Only what is written in YAML; whether the store can be used is looked at where references are resolved.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{
    connection::{CaSecretRef, SecretRef},
    quantity::{Bytes, QuantityError},
};

/// How large a scratch database may become unless the spec says otherwise.
const SCRATCH_SIZE: &str = "10Gi";

/// The object store in which archives of tenants are kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupStore {
    /// Where: `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX`, or `file:///FOLDER` below the operator's flag
    /// `--file-store-root`. What is written there begins with the id of the installation, so that databases may share a store.
    #[schemars(length(min = 6, max = 1024))]
    #[x_kube(
        validation = Rule::new("self.matches('^(s3|gs|az)://[^/]+|^file:///')")
            .message("url must be s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or file:///FOLDER"),
        validation = Rule::new("!self.contains('@') && !self.contains('?') && !self.contains('#')")
            .message("url must have no credentials, query or fragment; credentials come from credentialsSecretRef"),
        validation = Rule::new("!self.matches('(^|/)[.][.]?(/|$)')").message("url must not have . or .. as a part of its path")
    )]
    pub url: String,

    /// The address of a server that speaks the protocol of the URL's scheme, such as `https://minio.example:9000`.
    ///
    /// Default: that of the cloud.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 8, max = 512))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^/@?#]+/?$')")
        .message("endpoint must be http:// or https:// with a host and perhaps a port, and nothing else"))]
    pub endpoint: Option<String>,

    /// The Secret with the certificate of the authority to trust at the endpoint.
    ///
    /// Default: the authorities of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<CaSecretRef>,

    /// The Secret with the credentials. Its keys: for `s3` `accessKeyId`, `secretAccessKey` and perhaps `sessionToken` and `region`;
    /// for `gs` `serviceAccountKey`; for `az` `accountName` with `accountKey` or `sasToken`.
    ///
    /// Default: the identity of the operator's pod (workload identity).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretRef>,

    /// Whom archives are encrypted for.
    ///
    /// Default: they are not encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,

    /// How fast one archive is written at most, in MiB a second.
    ///
    /// Default: as fast as it goes.
    #[serde(rename = "bandwidthMiBPerSecond", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub bandwidth_mib_per_second: Option<i32>,

    /// How large the scratch database may become in which an archive is restored to prove it (`verification: Restore`), such as
    /// `500Gi`. A tenant that needs more is verified by checksum alone, and the backup says so. The server's disk must have this room.
    ///
    /// Default: `10Gi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(
        validation = Rule::new(super::schema::SIZE_RULE)
            .message("scratchSizeLimit must be a size such as 10Gi, with one of the suffixes Ki Mi Gi Ti Pi Ei k M G T P E"),
        validation = Rule::new(super::schema::SIZE_BOUNDS_RULE).message("scratchSizeLimit must be more than 0 and at most 8Pi")
    )]
    pub scratch_size_limit: Option<String>,
}

/// Whom archives are encrypted for, with [age](https://age-encryption.org).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Encryption {
    /// The public keys, `age1…`, as `age-keygen` prints them. Each of their identities can read the archives.
    #[schemars(length(min = 1, max = 16), inner(length(min = 10, max = 128)))]
    #[x_kube(
        merge_strategy = ListMerge::Set,
        validation = Rule::new("self.all(r, r.startsWith('age1'))")
            .message("recipients must be public keys that begin with age1; a private key, AGE-SECRET-KEY-1, belongs in identitySecretRef")
    )]
    pub recipients: Vec<String>,

    /// The Secret with an identity of one of them, in the key `identity`, so that archives are read to their end when they are
    /// verified. Without it only their length and SHA-256 are compared; it may be kept elsewhere.
    ///
    /// Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_secret_ref: Option<SecretRef>,
}

impl BackupStore {
    /// How large a scratch database may become; an error of one that is no size.
    pub fn scratch_size_limit(&self) -> Result<Bytes, QuantityError> {
        Bytes::parse_quota(self.scratch_size_limit.as_deref().unwrap_or(SCRATCH_SIZE))
    }
}
