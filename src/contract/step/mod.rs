//! The calls that plans are made of, typed: what a function is given on the wire, and what that does as the plan prints it. Pure.
//!
//! `apply_steps` takes them as `[{"call": name, "options": {…}}…]`; [`document`] writes that. A field that only people read is
//! not sent.

mod meaning;
mod options;
mod print;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

pub use self::options::{Brake, Caller, ConfigChange, Purpose, Quota, Withdrawal, document};
use super::{
    AccessCause, AccessWord, GrantWish, InstitutionSource, LoginLimits, NewCredential, ObjectKind, Owner, RowSecurity,
    ScheduledBackup, words::words,
};
use crate::api::{
    schema_backup::{BackupMethod, Verification},
    transfer::ObjectName,
};

/// From one list: the names of the functions, and the calls with their options.
macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident = $word:literal { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })+) => {
        words! {
            /// The functions that `apply_steps` knows.
            Call { $($(#[$doc])* $name = $word,)+ }
        }

        /// One call of one management function.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(tag = "call", content = "options", rename_all = "snake_case")]
        pub enum Step {
            $($(#[$doc])* $name { $($(#[$field_doc])* $field: $type,)* },)+
        }

        impl Step {
            /// The function that is called.
            #[must_use]
            pub const fn call(&self) -> Call {
                match self { $(Self::$name { .. } => Call::$name,)+ }
            }
        }
    };
}

steps! {
    /// Makes a schema with its roles.
    CreateTenantSchema = "create_tenant_schema" {
        /// Its name.
        schema_name: String,
        /// The institution that it is for.
        institution_id: Option<Uuid>,
        /// The object that it belongs to.
        owner: Owner,
        /// An unknown institution is registered.
        register_institution: bool,
        /// Free JSON.
        config: Map<String, Value>,
        /// In bytes.
        quota_limit: Option<Quota>,
        /// Who may come in.
        access: AccessWord,
        /// Who closes it, if it is closed.
        access_cause: Option<AccessCause>,
        /// The application's own table of institutions.
        #[serde(skip_serializing_if = "Option::is_none")]
        institution_source: Option<InstitutionSource>,
        /// The backup that a user said to leave set aside.
        #[serde(skip_serializing_if = "Option::is_none")]
        beside: Option<Uuid>,
    }
    /// Lets all who have a grant come in, or only the owner role.
    SetTenantAccess = "set_tenant_access" {
        /// The tenant.
        schema_id: Uuid,
        /// Who may come in.
        access: AccessWord,
        /// Who closes it, if it is closed.
        access_cause: Option<AccessCause>,
        /// Who could come in before.
        #[serde(skip)]
        from: AccessWord,
    }
    /// Keeps free JSON and the quota in the registry.
    SetTenantConfig = "set_tenant_config" {
        /// The tenant.
        schema_id: Uuid,
        /// Free JSON; it stays as it is without.
        #[serde(skip_serializing_if = "Option::is_none")]
        config: Option<Map<String, Value>>,
        /// In bytes.
        quota_limit: Option<Quota>,
        /// Which of the two changes.
        #[serde(skip)]
        changes: ConfigChange,
    }
    /// Gives a login of the tenant that is not in use a new password.
    IssueCredential = "issue_credential" {
        /// The object that the tenant belongs to, which need not have been told the tenant's id yet.
        owner_uid: String,
        /// What the login is for.
        purpose: Purpose,
        /// The password, which is made when the plan is applied.
        #[serde(flatten)]
        new: Option<NewCredential>,
        /// What the login may.
        #[serde(flatten)]
        limits: LoginLimits,
        /// For how long the login before it stays open.
        grace_seconds: i32,
        /// The last one reached no Secret, so that the login in use gets the password, and the one before it stays.
        unpublished: bool,
    }
    /// Gives the login in use other limits.
    SetCredentialLimits = "set_credential_limits" {
        /// The tenant.
        schema_id: Uuid,
        /// What the login is for.
        purpose: Purpose,
        /// What it may.
        #[serde(flatten)]
        limits: LoginLimits,
    }
    /// Gives tables the policies that are asked for, and takes back those that are not asked for any more.
    SetRowSecurity = "set_row_security" {
        /// The object that the tenant belongs to, which need not have been told the tenant's id yet.
        owner_uid: String,
        /// What is asked for.
        #[serde(flatten)]
        wanted: RowSecurity,
        /// It was asked for before, and something differs.
        #[serde(skip)]
        again: bool,
    }
    /// Closes the login that was in use before.
    EndPreviousLogin = "end_previous_login" {
        /// The object that the tenant belongs to: one that it belonged to before ends nothing.
        owner_uid: String,
        /// What the login is for.
        purpose: Purpose,
    }
    /// Closes all logins.
    WithdrawCredential = "withdraw_credential" {
        /// The object that the tenant belongs to.
        owner_uid: String,
        /// What the logins are for.
        purpose: Purpose,
        /// Why.
        #[serde(skip)]
        cause: Withdrawal,
    }
    /// Gives others what the owner of the tenant says, and takes the rest back.
    SetTenantGrants = "set_tenant_grants" {
        /// The object that the tenant belongs to, which need not have been told the tenant's id yet.
        owner_uid: String,
        /// All of them.
        grants: Vec<GrantWish>,
        /// The request to look again that this follows.
        #[serde(skip_serializing_if = "Option::is_none")]
        request: Option<String>,
    }
    /// Makes views and functions again that ended with a tenant which is back.
    RemakeDependents = "remake_dependents" {
        /// The object that the tenant belongs to.
        owner_uid: String,
        /// The request to look again that this follows, or nothing.
        request: String,
        /// How many attempts got no answer.
        #[serde(skip_serializing_if = "Option::is_none")]
        cut_off: Option<u32>,
        /// What is to be made.
        #[serde(skip)]
        what: Vec<String>,
    }
    /// Puts right what differs from what was applied.
    RepairTenantSchema = "repair_tenant_schema" {
        /// The tenant.
        schema_id: Uuid,
        /// What differs.
        #[serde(skip)]
        drift: Vec<String>,
    }
    /// Makes a lost schema again, empty.
    RecreateTenantSchema = "recreate_tenant_schema" {
        /// The tenant.
        schema_id: Uuid,
        /// How often that was done before.
        recreations: i32,
    }
    /// Gives a tenant that has no object to this one.
    ReclaimTenantSchema = "reclaim_tenant_schema" {
        /// The tenant.
        schema_id: Uuid,
        /// The object that gets it.
        owner: Owner,
        /// The object that it is taken from, as the owners of the database say.
        #[serde(skip_serializing_if = "Option::is_none")]
        transfer: Option<ObjectName>,
    }
    /// Makes a tenant of a schema that stands already, a part at a time, or gives one that was made by hand to this object.
    AdoptTenantSchema = "adopt_tenant_schema" {
        /// Its name.
        schema_name: String,
        /// The object that it belongs to.
        owner: Owner,
        /// What a user confirmed; one that is begun needs none.
        digest: Option<String>,
        /// The institution that it is for.
        institution_id: Option<Uuid>,
        /// An unknown institution is registered.
        register_institution: bool,
        /// The application's own table of institutions.
        #[serde(skip_serializing_if = "Option::is_none")]
        institution_source: Option<InstitutionSource>,
        /// Free JSON.
        config: Map<String, Value>,
        /// In bytes.
        quota_limit: Option<Quota>,
    }
    /// Gives a tenant that was set aside to this object, under its name again.
    RestoreTenantSchema = "restore_tenant_schema" {
        /// The backup that it is.
        backup_id: Uuid,
        /// The object that gets it.
        owner: Owner,
        /// The object that it is taken from, as the owners of the database say.
        #[serde(skip_serializing_if = "Option::is_none")]
        transfer: Option<ObjectName>,
        /// How many attempts got no answer.
        #[serde(skip_serializing_if = "Option::is_none")]
        cut_off: Option<u32>,
        /// The schema that holds it.
        #[serde(skip)]
        location: String,
    }
    /// Brings back one of the tenants that were set aside since a time.
    BringBack = "bring_back" {
        /// The time.
        since: Timestamp,
        /// The backups that could not be brought back before.
        skip: Vec<String>,
        /// How many attempts got no answer.
        #[serde(skip_serializing_if = "Option::is_none")]
        cut_off: Option<u32>,
    }
    /// Finds out again which schema is whose.
    RebindTenants = "rebind_tenants" {
        /// Which installation a user said that of.
        installation_id: String,
    }
    /// Notes the UIDs of the namespaces that objects are in.
    RememberNamespaces = "remember_namespaces" {
        /// By the objects' UIDs.
        namespaces: BTreeMap<String, String>,
    }
    /// Leaves tenants without an object as they are.
    ReleaseTenants = "release_tenants" {
        /// The UIDs of their objects.
        owner_uids: BTreeSet<String>,
        /// Those of them whose deletion was seen.
        deleted_uids: BTreeSet<String>,
        /// The object that gets the one tenant that this is about.
        #[serde(skip)]
        to: Option<ObjectName>,
    }
    /// Closes access and sets a schema aside, or begins to drop it.
    SetAsideTenantSchema = "set_aside_tenant_schema" {
        /// The tenant.
        schema_id: Uuid,
        /// The object that it must belong to.
        owner_uid: String,
        /// For how many days it is kept; for ever without.
        expire_after_days: Option<i32>,
        /// It is dropped.
        purge: bool,
        /// When its object was deleted.
        deleted_at: Option<Timestamp>,
        /// How many deletions may come before this one.
        #[serde(skip_serializing_if = "Option::is_none")]
        brake: Option<Brake>,
    }
    /// Gives the backup of an earlier object to this one.
    AdoptBackup = "adopt_backup" {
        /// The backup.
        backup_id: Uuid,
        /// The object that gets it.
        object: Owner,
    }
    /// Queues a backup.
    RequestBackup = "request_backup" {
        /// The tenant.
        schema_id: Uuid,
        /// The object that asks.
        object: Owner,
        /// The kind of that object, which is woken when the backup is made.
        object_kind: ObjectKind,
        /// How it is made.
        method: BackupMethod,
        /// How it is proved, if it is an archive.
        #[serde(skip_serializing_if = "Option::is_none")]
        verification: Option<Verification>,
        /// For how many days it is kept; for ever without.
        expire_after_days: Option<i32>,
        /// The schedule that asks, and which of its backups stay.
        #[serde(flatten)]
        scheduled: Option<ScheduledBackup>,
        /// The tenant's schema.
        #[serde(skip)]
        schema_name: String,
    }
    /// Queues the removal of a backup.
    RequestPurge = "request_purge" {
        /// The backup.
        backup_id: Option<Uuid>,
        /// The schema or the archive that holds it.
        #[serde(skip)]
        location: Option<String>,
        /// It is in a store, and not in the database.
        #[serde(skip)]
        is_archive: bool,
    }
    /// Gives up a backup that is not made yet.
    CancelBackup = "cancel_backup" {
        /// The backup.
        backup_id: Uuid,
    }
    /// Gives up the jobs of a tenant.
    CancelTenantJobs = "cancel_tenant_jobs" {
        /// The tenant.
        schema_id: Uuid,
    }
}
