//! What each call does, as a plan prints it. Pure.

use std::fmt;

use super::{ConfigChange, Purpose, Quota, Step, Withdrawal};
use crate::{
    api::{schema_backup::BackupMethod, transfer::ObjectName},
    contract::{AccessCause, AccessWord},
};

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateTenantSchema { quota_limit, access, .. } => {
                let closed = match access {
                    AccessWord::Suspended => ", suspended",
                    AccessWord::ReadOnly => ", read-only",
                    _ => "",
                };
                write!(
                    f,
                    "create schema with roles owner, reader, writer; quota {}{closed}",
                    shown(quota_limit.as_ref())
                )
            }
            Self::SetTenantAccess { access, access_cause, from, .. } => {
                set_access(f, access, access_cause.as_ref(), from)
            }
            Self::SetTenantConfig { changes: ConfigChange::Config, .. } => f.write_str("set config"),
            Self::SetTenantConfig { changes: ConfigChange::Quota, quota_limit, .. } => {
                write!(f, "set quota {}", shown(quota_limit.as_ref()))
            }
            Self::SetTenantConfig { changes: ConfigChange::Both, quota_limit, .. } => {
                write!(f, "set config and quota {}", shown(quota_limit.as_ref()))
            }
            Self::IssueCredential { purpose, limits, unpublished, .. } => {
                let of = if *unpublished { "again, as no Secret has the last one" } else { "to the login not in use" };
                write!(f, "issue a password{} {of}; {limits}", whose(purpose))
            }
            Self::SetCredentialLimits { purpose, limits, .. } => {
                write!(f, "set the limits of the login in use{}: {limits}", whose(purpose))
            }
            Self::SetRowSecurity { wanted, again: false, .. } => write!(f, "set row-level security, {wanted}"),
            Self::SetRowSecurity { again: true, .. } => f.write_str("see that every table has its policies"),
            Self::EndPreviousLogin { purpose, .. } => {
                write!(f, "close the login of the former password{}, end its sessions", whose(purpose))
            }
            Self::WithdrawCredential { purpose, cause, .. } => {
                let why = match cause {
                    Withdrawal::NotWanted => ", as the spec asks for no Secret",
                    Withdrawal::Revoked => ", as a user revoked the password",
                    Withdrawal::Begun => ", which was begun before",
                };
                write!(f, "close the logins of {}, end their sessions{why}", purpose.users())
            }
            Self::SetTenantGrants { grants, .. } if grants.is_empty() => f.write_str("take back all grants to others"),
            Self::SetTenantGrants { grants, .. } => {
                let grants: Vec<_> = grants.iter().map(ToString::to_string).collect();
                write!(f, "give {}, and nothing else, to others", grants.join("; "))
            }
            Self::RemakeDependents { what, .. } if what.is_empty() => {
                f.write_str("look again at what ended with other tenants")
            }
            Self::RemakeDependents { what, .. } => write!(f, "make again: {}", what.join("; ")),
            Self::RepairTenantSchema { drift, .. } => write!(f, "repair: {}", drift.join("; ")),
            Self::RecreateTenantSchema { .. } => f.write_str("create the schema again, empty, as its annotation asks"),
            Self::ReclaimTenantSchema { transfer, .. } => {
                write!(f, "take back the schema that {} left behind", former(transfer.as_ref()))
            }
            Self::AdoptTenantSchema { .. } => {
                f.write_str("adopt the schema, as its annotation confirms: roles, members, and its objects in parts")
            }
            Self::RestoreTenantSchema { transfer, location, .. } => {
                write!(f, "bring back what {} left set aside as {location}", former(transfer.as_ref()))
            }
            Self::BringBack { since, .. } => write!(f, "bring back a tenant that was set aside since {since}"),
            Self::RebindTenants { .. } => f.write_str("find out again which schema is whose"),
            Self::RememberNamespaces { namespaces } => {
                write!(f, "note the namespaces of {} objects", namespaces.len())
            }
            Self::ReleaseTenants { to: Some(to), .. } => {
                write!(f, "release the schema, as it is, for TenantSchema {to}")
            }
            Self::ReleaseTenants { owner_uids, .. } => {
                write!(f, "release the schemas of {} objects, as they are", owner_uids.len())
            }
            Self::SetAsideTenantSchema { purge: true, .. } => {
                f.write_str("close access, set the schema aside and drop it in parts")
            }
            Self::SetAsideTenantSchema { .. } => f.write_str("close access and set the schema aside whole"),
            Self::AdoptBackup { .. } => {
                f.write_str("take over the backup that an earlier object of this name asked for")
            }
            Self::RequestBackup { method, schema_name, scheduled, .. } => {
                let article = if *method == BackupMethod::Archive { "an" } else { "a" };
                write!(f, "request {article} {} of schema {schema_name}", method.as_str())?;
                scheduled.as_ref().map_or(Ok(()), |scheduled| write!(f, ", {scheduled}"))
            }
            Self::RequestPurge { location, is_archive: true, .. } => {
                write!(f, "remove archive {} from its store", location.as_deref().unwrap_or("of the backup"))
            }
            Self::RequestPurge { location, .. } => {
                write!(f, "remove schema {} in parts", location.as_deref().unwrap_or("of the backup"))
            }
            Self::CancelBackup { .. } => f.write_str("cancel the backup"),
            Self::CancelTenantJobs { .. } => f.write_str("cancel its jobs"),
        }
    }
}

/// Whose password it is, where that is not the applications'.
const fn whose(purpose: &Purpose) -> &'static str {
    match purpose {
        Purpose::Migration => " of migrations",
        Purpose::Connection | Purpose::Other(_) => "",
    }
}

fn shown(quota: Option<&Quota>) -> &str {
    quota.map_or("none", |quota| quota.shown.as_str())
}

fn former(from: Option<&ObjectName>) -> String {
    from.map_or_else(|| "an earlier object of this name".to_owned(), |from| format!("TenantSchema {from}"))
}

fn set_access(
    f: &mut fmt::Formatter<'_>,
    access: &AccessWord,
    cause: Option<&AccessCause>,
    from: &AccessWord,
) -> fmt::Result {
    let was_suspended = *from == AccessWord::Suspended;
    match (access, cause) {
        (AccessWord::Suspended, cause) => {
            let why = match cause {
                Some(AccessCause::Institution) => ", as its institution is",
                Some(AccessCause::Quota) => ", as it uses far more than its quota",
                _ => "",
            };
            write!(f, "suspend{why}: take USAGE from all but the owner, end sessions")
        }
        (AccessWord::ReadOnly | AccessWord::WriteBlocked, _) => {
            let resume = if was_suspended { "resume, and " } else { "" };
            let (what, rest) = match access {
                AccessWord::WriteBlocked => ("block writes, as its quota is used up", ", let rows be deleted"),
                _ => ("make it read-only", ""),
            };
            write!(f, "{resume}{what}: take memberships in writer and owner, end sessions{rest}")
        }
        (_, _) if was_suspended => f.write_str("resume: give back what suspension took"),
        (_, _) => f.write_str("give writes back: the memberships in writer and owner that were taken"),
    }
}
