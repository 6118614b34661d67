//! What a tenant is to log in with, for its applications and for its migrations, and what is known of the Secrets that have it. Pure.

use std::fmt::Write;

use jiff::{SignedDuration, Timestamp};
use kube::{ResourceExt, core::ObjectMeta};

use super::{limits::credentials, resolve::Resolved};
use crate::{
    api::{
        REVOKE_CREDENTIALS, ROTATE_REQUESTED_AT, TenantDatabase, TenantSchema,
        command::{Kind, Object},
        condition::Reason,
        credentials::{Credentials, CredentialsStatus, SecretRetention},
        endpoint::{ClientEndpoint, ReadEndpoint},
        policy::DeletionPolicy,
        rotation_requested,
    },
    contract::{CredentialRow, LoginLimits, Purpose},
    kubernetes::secrets::Target,
};

/// What a tenant logs in with for one purpose.
#[derive(Clone, Debug, PartialEq)]
pub struct Logins {
    /// What they are for.
    pub purpose: Purpose,
    /// What is wanted, if the spec or the database asks for a Secret.
    pub wanted: Option<Credential>,
    /// What the status tells.
    pub told: Option<CredentialsStatus>,
}

/// What is to be logged in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Who logs in.
    pub purpose: Purpose,
    /// The Secret that they read.
    pub secret: Target,
    /// Where it leads, if not to the address of the operator's own connection.
    pub client: Option<ClientEndpoint>,
    /// Where applications may only read.
    pub read: Option<ReadEndpoint>,
    /// What the login may.
    pub limits: LoginLimits,
    /// For how long the login before it stays open.
    pub grace_seconds: i32,
    /// How long a password lives.
    pub period: SignedDuration,
    /// Another one is to be issued: its time has come, or a user asked for it.
    pub rotates: bool,
    /// The Secret is to have an owner or none, which takes another password too. That waits until no former login is open, which it
    /// would close.
    pub changes_owner: bool,
    /// A user said that it has leaked, which was not followed yet.
    pub is_revoked: bool,
    /// What the annotation by which a user says so has for its value, followed or not.
    pub revocation: Option<String>,
    /// The request for another password that issuing one follows.
    pub request: Option<String>,
    /// Why no password is issued now, and the way out: the Secret is another purpose's as well, or it cannot be said whom its readers
    /// may trust.
    pub held: Option<(Reason, String)>,
}

/// What was seen of the Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SecretSeen {
    /// It was not looked at, or cannot be just now.
    #[default]
    NotLooked,
    /// It has the credential that the registry has, and leads to where the database is now.
    Same {
        /// Its UID.
        uid: Option<String>,
    },
    /// There is none of its name.
    Gone,
    /// It has another one, leads elsewhere, or another one has its name.
    Other,
    /// It could not be written.
    Refused {
        /// From the closed set.
        reason: Reason,
        /// What is wrong, where, and the way out.
        message: String,
    },
}

impl Credential {
    /// What becomes of the Secret, as the status tells it.
    #[must_use]
    pub const fn retention(&self) -> SecretRetention {
        if self.secret.stays { SecretRetention::Retained } else { SecretRetention::Owned }
    }

    /// The request for another password, if one that was issued then has followed it.
    #[must_use]
    pub fn followed_at(&self, issued: Timestamp) -> Option<&String> {
        let asked = |request: &String| request.trim().parse::<Timestamp>().ok();
        self.request
            .as_ref()
            .filter(|request| asked(request).is_some_and(|asked| asked.as_second() <= issued.as_second()))
    }

    /// Whether a status tells of this credential in this Secret.
    #[must_use]
    pub fn is_told(&self, told: &CredentialsStatus, found: &CredentialRow) -> bool {
        is_of(told, found) && told.secret_name.as_ref() == Some(&self.secret.name)
    }
}

/// Whether a status tells of this credential, in whichever Secret.
pub(super) fn is_of(told: &CredentialsStatus, found: &CredentialRow) -> bool {
    told.credential_id.as_ref().is_some_and(|id| *id == found.credential_id.to_string())
}

/// What the spec asks for, or the defaults of the database, for each purpose; `spec` is what holds after defaults and limits.
pub(super) fn logins(
    tenant: &TenantSchema,
    resolved: &Resolved,
    spec: &Credentials,
    schema_name: &str,
    policy: DeletionPolicy,
) -> Vec<Logins> {
    let mut logins: Vec<Logins> = Vec::new();
    for purpose in Purpose::all() {
        let told = told(tenant, &purpose).cloned();
        let mut wanted = wanted(tenant, resolved, &purpose, spec, schema_name, policy);
        let taken: Vec<_> = logins.iter().filter_map(|logins| logins.wanted.as_ref()).collect();
        if let Some(wanted) = &mut wanted
            && let Some(other) = taken.iter().find(|other| other.secret.name == wanted.secret.name)
        {
            let (field, users) = (purpose.field(), other.purpose.users());
            let name = &wanted.secret.name;
            let clash = format!(
                "spec.{field}.name {name:?} is the Secret of the tenant's {users}, by the defaults of its TenantDatabase; choose another"
            );
            wanted.held = Some((Reason::SecretConflict, clash));
        }
        logins.push(Logins { purpose, wanted, told });
    }
    logins
}

/// What the status tells of what is logged in with for a purpose.
pub(super) fn told<'a>(tenant: &'a TenantSchema, purpose: &Purpose) -> Option<&'a CredentialsStatus> {
    let status = tenant.status.as_ref()?;
    match purpose {
        Purpose::Migration => status.migration_credentials.as_ref(),
        Purpose::Connection | Purpose::Other(_) => status.credentials.as_ref(),
    }
}

fn wanted(
    tenant: &TenantSchema,
    resolved: &Resolved,
    purpose: &Purpose,
    spec: &Credentials,
    schema_name: &str,
    policy: DeletionPolicy,
) -> Option<Credential> {
    let (database, now) = (resolved.database.as_deref(), resolved.now);
    let name = secret_name(tenant, database, purpose)?;
    let migrates = *purpose == Purpose::Migration;
    let published = told(tenant, purpose);
    let uid = published.filter(|published| published.secret_name.as_ref() == Some(&name));
    let uid = uid.and_then(|published| published.secret_uid.clone());
    let period = spec.rotation_period();
    let is_due = |published: &CredentialsStatus| {
        published.published_time.as_ref().is_some_and(|time| time.0.saturating_add(period).is_ok_and(|due| due <= now))
    };
    // A Secret that is to stay when the object goes has no owner from the start: to take it off later needs another password, which
    // in the end there may be no database to issue.
    let stays = policy == DeletionPolicy::Retain;
    let rotates =
        |published: &CredentialsStatus| is_due(published) || published.is_rotation_requested(&tenant.metadata, now);
    Some(Credential {
        purpose: purpose.clone(),
        client: database.and_then(|database| database.spec.client_endpoint.clone()),
        // Nothing is migrated where nothing is written.
        read: database.and_then(|database| database.spec.read_endpoint.clone()).filter(|_| !migrates),
        secret: secret(&tenant.metadata, name, uid, stays),
        limits: LoginLimits {
            connection_limit: spec.connection_limit.unwrap_or(Credentials::DEFAULT_CONNECTION_LIMIT),
            // A migration takes as long as its largest table.
            statement_timeout_seconds: spec.statement_timeout_seconds.filter(|_| !migrates).unwrap_or_default(),
            idle_in_transaction_timeout_seconds: spec
                .idle_in_transaction_timeout_seconds
                .unwrap_or(Credentials::DEFAULT_IDLE_IN_TRANSACTION_TIMEOUT_SECONDS),
        },
        grace_seconds: spec.rotation_grace_seconds.unwrap_or(Credentials::DEFAULT_ROTATION_GRACE_SECONDS),
        period,
        rotates: published.is_some_and(rotates),
        changes_owner: published.is_some_and(|published| published.secret_stays() != stays),
        is_revoked: published.is_some_and(|published| published.revocation(&tenant.metadata, schema_name).is_some()),
        request: rotation_requested(&tenant.metadata, now)
            .and_then(|_| tenant.annotations().get(ROTATE_REQUESTED_AT).cloned()),
        revocation: tenant.annotations().get(REVOKE_CREDENTIALS).filter(|value| *value == schema_name).cloned(),
        held: resolved.held.clone(),
    })
}

/// What is published for a deleted tenant that stays, so that its Secrets do not go with the object that owns them, and what the status
/// tells of those before.
pub(super) fn left_behind(
    tenant: &TenantSchema,
    resolved: &Resolved,
    schema_name: &str,
) -> Vec<(Credential, CredentialsStatus)> {
    let spec = credentials(tenant, resolved.database.as_deref(), &mut Vec::new());
    let left = |purpose| {
        let told = told(tenant, &purpose).filter(|told| told.secret_uid.is_some())?;
        let wanted = wanted(tenant, resolved, &purpose, &spec, schema_name, DeletionPolicy::Retain)?;
        Some((wanted, told.clone()))
    };
    Purpose::all().filter_map(left).collect()
}

/// What to say of annotations about passwords that do nothing.
pub(super) fn in_vain(tenant: &TenantSchema, schema_name: Option<&str>) -> String {
    let annotation = |key: &str| tenant.annotations().get(key);
    // The database may give all tenants a Secret.
    let wants = |purpose| secret_name(tenant, None, &purpose).is_some() || told(tenant, &purpose).is_some();
    let wants = Purpose::all().any(wants);
    let object = Object::of(Kind::TenantSchema, &tenant.metadata);
    let mut words = String::new();
    for key in [ROTATE_REQUESTED_AT, REVOKE_CREDENTIALS] {
        let Some(value) = annotation(key) else { continue };
        let why = match schema_name {
            _ if !wants => "the spec has neither connectionSecret nor migrationSecret".to_owned(),
            _ if key == ROTATE_REQUESTED_AT && value.parse::<Timestamp>().is_err() => {
                "its value is no time such as 2026-01-31T12:00:00Z".to_owned()
            }
            Some(name) if key == REVOKE_CREDENTIALS && value != name => {
                format!("its value is not the name of the schema: {}", object.annotate(key, name.to_owned()))
            }
            _ => continue,
        };
        let _ = write!(words, "; the annotation {key} does nothing: {why}");
    }
    words
}

/// The name of the Secret: as the spec has it; else, for applications, after the object, as the database says.
fn secret_name(tenant: &TenantSchema, database: Option<&TenantDatabase>, purpose: &Purpose) -> Option<String> {
    let (migrates, spec) = (*purpose == Purpose::Migration, &tenant.spec);
    let given = if migrates { &spec.migration_secret } else { &spec.connection_secret };
    let by_default = || {
        let naming = database?.spec.defaults.as_ref()?.connection_secret.as_ref().filter(|_| !migrates)?;
        Some(format!("{}{}", tenant.name_any(), naming.name_suffix))
    };
    given.as_ref().map(|secret| secret.name.clone()).or_else(by_default)
}

fn secret(owner: &ObjectMeta, name: String, uid: Option<String>, stays: bool) -> Target {
    Target {
        namespace: owner.namespace.clone().unwrap_or_default(),
        name,
        uid,
        owner_name: owner.name.clone().unwrap_or_default(),
        owner_uid: owner.uid.clone().unwrap_or_default(),
        stays,
        given_to: None,
    }
}
