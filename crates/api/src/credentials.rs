//! What applications and migrations of a tenant connect with: the Secrets that it is written to, and how long a password lives.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{KubeSchema, core::ObjectMeta};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{REVOKE_CREDENTIALS, ROTATE_REQUESTED_AT, rotation_requested, schema};

/// The type of the Secrets that the operator writes, by the convention of Service Binding.
pub const SECRET_TYPE: &str = "servicebinding.io/postgresql";

/// Annotation of a Secret that the operator wrote: the name of the `TenantSchema` that it is for.
pub const SECRET_OF: &str = "edumatrixhub.io/tenant-schema";

/// Annotation of a Secret that stays when its `TenantSchema` goes: the name of the one that is given the tenant, and has the Secret.
pub const GIVEN_TO: &str = "edumatrixhub.io/given-to";

/// Annotation of a Secret that the operator wrote: the id of the credential in it, a UUID.
pub const CREDENTIAL_ID: &str = "edumatrixhub.io/credential-id";

/// Annotation of a Secret that the operator wrote: which address and authority it leads to, as a digest.
pub const ENDPOINT: &str = "edumatrixhub.io/endpoint";

/// Annotation of a Secret in a request that writes nothing: the policy of the chart answers whether the one that is there has the
/// credential and the endpoint of this one.
pub const COMPARE: &str = "edumatrixhub.io/compare";

/// Which Secret is written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionSecret {
    /// The name of the Secret, in the tenant's namespace. One of that name that is not the tenant's is left alone.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME))]
    pub name: String,
}

/// How the Secrets of tenants are called.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretNaming {
    /// What follows the name of the `TenantSchema`, such as `-db`.
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::NAME_SUFFIX))]
    pub name_suffix: String,
}

/// How long a password lives, and what its login may.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// After how many days the password is replaced by another one.
    ///
    /// Default: `30`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3650))]
    pub rotation_period_days: Option<i32>,

    /// For how many seconds the former password goes on working after that, so that applications have time to read the new
    /// one. Then its login is closed and its sessions end. The next rotation ends it in any case.
    ///
    /// Default: `3600`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_592_000))]
    pub rotation_grace_seconds: Option<i32>,

    /// How many sessions the login may have at once. During the grace the former login has as many.
    ///
    /// Default: `20`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub connection_limit: Option<i32>,

    /// How many seconds a statement may take; `0` for any number. The login's default: a session may set another value. Migrations
    /// have no such limit.
    ///
    /// Default: `0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_000_000))]
    pub statement_timeout_seconds: Option<i32>,

    /// How many seconds a session may be idle in a transaction; `0` for any number. It is the login's default. A session may
    /// set another value, and is then ended by a survey after at most twice this time and two surveys.
    ///
    /// Default: `300`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_000_000))]
    pub idle_in_transaction_timeout_seconds: Option<i32>,
}

/// What is known about a tenant's credential; never the password.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsStatus {
    /// The login in the Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub login: Option<String>,

    /// The id of the credential in the Secret, a UUID, which the registry and the operation log have too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 36))]
    pub credential_id: Option<String>,

    /// The name of the Secret that it was written to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub secret_name: Option<String>,

    /// The UID of that Secret. Another one of its name is replaced only if it is this tenant's too, as one from a backup is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub secret_uid: Option<String>,

    /// What becomes of the Secret when this object goes. `Owned`: it goes too. `Retained`: it stays, as the schema does.
    #[serde(default, deserialize_with = "schema::known_word", skip_serializing_if = "Option::is_none")]
    pub secret_retention: Option<SecretRetention>,

    /// When it was written to the Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published_time: Option<Time>,

    /// When the next one will be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_rotation_time: Option<Time>,

    /// Until when the former login stays open; absent while there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_until: Option<Time>,

    /// The value of the annotation `edumatrixhub.io/rotate-requested-at` that was followed, so that it counts once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub rotated: Option<String>,

    /// The value of the annotation `edumatrixhub.io/revoke-credentials` that was followed, so that it counts once. Another
    /// value, or the same after the annotation was removed, counts again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub revoked: Option<String>,
}

/// What becomes of a Secret when its `TenantSchema` goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::schema::undescribed)]
pub enum SecretRetention {
    /// It goes too.
    Owned,
    /// It stays.
    Retained,
}

impl Credentials {
    /// For how many days a password lives by default.
    pub const DEFAULT_ROTATION_PERIOD_DAYS: i32 = 30;
    /// For how many seconds the former password goes on working by default.
    pub const DEFAULT_ROTATION_GRACE_SECONDS: i32 = 3600;
    /// How many sessions a login has at most by default.
    pub const DEFAULT_CONNECTION_LIMIT: i32 = 20;
    /// How many seconds a session may be idle in a transaction by default.
    pub const DEFAULT_IDLE_IN_TRANSACTION_TIMEOUT_SECONDS: i32 = 300;

    /// The same, where these leave something out.
    #[must_use]
    pub fn or(&self, by_default: &Self) -> Self {
        Self {
            rotation_period_days: self.rotation_period_days.or(by_default.rotation_period_days),
            rotation_grace_seconds: self.rotation_grace_seconds.or(by_default.rotation_grace_seconds),
            connection_limit: self.connection_limit.or(by_default.connection_limit),
            statement_timeout_seconds: self.statement_timeout_seconds.or(by_default.statement_timeout_seconds),
            idle_in_transaction_timeout_seconds: self
                .idle_in_transaction_timeout_seconds
                .or(by_default.idle_in_transaction_timeout_seconds),
        }
    }

    /// How long a password lives.
    #[must_use]
    pub fn rotation_period(&self) -> SignedDuration {
        let days = self.rotation_period_days.unwrap_or(Self::DEFAULT_ROTATION_PERIOD_DAYS);
        SignedDuration::from_hours(i64::from(days) * 24)
    }
}

impl CredentialsStatus {
    /// Whether the Secret stays when its object goes.
    #[must_use]
    pub fn secret_stays(&self) -> bool {
        self.secret_retention == Some(SecretRetention::Retained)
    }

    /// Whether a user asked for another password since this one was published.
    #[must_use]
    pub fn is_rotation_requested(&self, metadata: &ObjectMeta, now: Timestamp) -> bool {
        let said = metadata.annotations.as_ref().and_then(|annotations| annotations.get(ROTATE_REQUESTED_AT));
        // In whole seconds, as the status has it. A clock that is ahead must not make one request of many.
        let published = self.published_time.as_ref().map(|time| time.0.as_second());
        self.rotated.as_ref() != said
            && rotation_requested(metadata, now)
                .is_some_and(|asked| published.is_none_or(|published| asked.as_second() > published))
    }

    /// The value by which a user asks to revoke what is published, unless it was followed.
    #[must_use]
    pub fn revocation<'a>(&self, metadata: &'a ObjectMeta, schema_name: &str) -> Option<&'a str> {
        let value = metadata.annotations.as_ref()?.get(REVOKE_CREDENTIALS)?;
        (value == schema_name && self.revoked.as_deref() != Some(value)).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotated(key: &str, value: &str) -> ObjectMeta {
        ObjectMeta { annotations: Some([(key.to_owned(), value.to_owned())].into()), ..ObjectMeta::default() }
    }

    #[test]
    fn a_rotation_is_asked_for_by_a_time_after_the_last_one_and_not_to_come() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let status = CredentialsStatus {
            published_time: Some(Time("2026-01-31T11:00:00Z".parse().unwrap())),
            ..CredentialsStatus::default()
        };
        let check = |value: &str, expected: bool| {
            let metadata = annotated(ROTATE_REQUESTED_AT, value);
            assert_eq!(status.is_rotation_requested(&metadata, now), expected, "{value}");
        };
        check("2026-01-31T11:30:00Z", true);
        check("2026-01-31T11:00:00.9Z", false);
        check("2026-01-31T11:00:01Z", true);
        check("2026-01-31T10:00:00Z", false);
        check("2026-02-01T12:00:00Z", false);
        check("now", false);
        assert!(!status.is_rotation_requested(&ObjectMeta::default(), now));
        let ahead = "2026-01-31T12:00:30Z";
        let followed = CredentialsStatus { rotated: Some(ahead.to_owned()), ..status.clone() };
        check(ahead, true);
        assert!(!followed.is_rotation_requested(&annotated(ROTATE_REQUESTED_AT, ahead), now));
    }

    #[test]
    fn a_revocation_names_the_schema_and_counts_once() {
        let metadata = annotated(REVOKE_CREDENTIALS, "school");
        let mut status = CredentialsStatus::default();
        assert_eq!(status.revocation(&metadata, "school"), Some("school"));
        assert_eq!(status.revocation(&metadata, "other"), None);
        status.revoked = Some("school".to_owned());
        assert_eq!(status.revocation(&metadata, "school"), None);
        assert_eq!(CredentialsStatus::default().revocation(&ObjectMeta::default(), "school"), None);
    }

    #[test]
    fn a_password_lives_thirty_days_unless_the_spec_says_otherwise() {
        assert_eq!(Credentials::default().rotation_period(), SignedDuration::from_hours(720));
        let daily = Credentials { rotation_period_days: Some(1), ..Credentials::default() };
        assert_eq!(daily.rotation_period(), SignedDuration::from_hours(24));
    }
}
