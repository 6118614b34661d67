//! What each call means, for the driver that makes it: whether it queues a job, gives or opens something, or goes on. Pure.

use super::{AccessWord, NewCredential, Purpose, Step, Withdrawal};

impl Step {
    /// True when the function queues a job, so that the runner of jobs is to look.
    #[must_use]
    pub const fn queues_job(&self) -> bool {
        match self {
            Self::RequestBackup { .. } | Self::RequestPurge { .. } => true,
            Self::SetAsideTenantSchema { purge, .. } => *purge,
            _ => false,
        }
    }

    /// True when the object comes to have a tenant.
    #[must_use]
    pub const fn gives(&self) -> bool {
        matches!(self, Self::CreateTenantSchema { .. }) || self.takes_back()
    }

    /// True when something becomes the object's that was another one's.
    #[must_use]
    pub const fn takes_back(&self) -> bool {
        matches!(
            self,
            Self::ReclaimTenantSchema { .. } | Self::RestoreTenantSchema { .. } | Self::AdoptTenantSchema { .. }
        )
    }

    /// True when roles are let in that were kept out.
    #[must_use]
    pub const fn opens(&self) -> bool {
        match self {
            Self::SetTenantAccess { access: AccessWord::ReadWrite, .. } => true,
            Self::SetTenantAccess { access, from, .. } => {
                matches!(from, AccessWord::Suspended) && !matches!(access, AccessWord::Suspended)
            }
            Self::SetTenantGrants { grants, .. } => !grants.is_empty(),
            _ => false,
        }
    }

    /// True when it closes something for a field that is not in the spec, which an older definition of the kind may have cut off.
    #[must_use]
    pub const fn follows_an_absence(&self) -> bool {
        match self {
            Self::WithdrawCredential { cause, .. } => matches!(cause, Withdrawal::NotWanted),
            Self::SetTenantGrants { grants, .. } => grants.is_empty(),
            Self::SetRowSecurity { wanted, .. } => wanted.mode.is_none(),
            _ => false,
        }
    }

    /// True when one call does a part, so that no lock is held for long, and the next call goes on where it ended.
    #[must_use]
    pub const fn goes_on(&self) -> bool {
        matches!(self, Self::SetRowSecurity { .. } | Self::AdoptTenantSchema { .. } | Self::RemakeDependents { .. })
    }

    /// True when logins are closed. Their passwords open them until that is committed, so a second call follows.
    #[must_use]
    pub const fn closes_logins(&self) -> bool {
        matches!(self, Self::EndPreviousLogin { .. } | Self::WithdrawCredential { .. })
    }

    /// Where a step that issues a password is given what is made for it, and for which purpose; nothing in others.
    pub fn new_credential(&mut self) -> Option<(Purpose, &mut Option<NewCredential>)> {
        match self {
            Self::IssueCredential { purpose, new, .. } => Some((purpose.clone(), new)),
            _ => None,
        }
    }

    /// Where a step that runs a tenant's code is told how many attempts were cut off; nothing in others.
    pub const fn cut_off(&mut self) -> Option<&mut Option<u32>> {
        match self {
            Self::RestoreTenantSchema { cut_off, .. }
            | Self::BringBack { cut_off, .. }
            | Self::RemakeDependents { cut_off, .. } => Some(cut_off),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::{Map, json};
    use uuid::Uuid;

    use super::*;
    use crate::{
        api::schema_backup::BackupMethod,
        contract::{ObjectKind, Owner},
    };

    fn owner() -> Owner {
        let object = json!({ "cluster": "c", "namespace": "n", "name": "o", "uid": "u" });
        serde_json::from_value(object).unwrap()
    }

    /// One of each call about which a question is answered with yes, and some of the others.
    fn steps() -> Vec<Step> {
        let id = Uuid::nil();
        let access = |access, from| Step::SetTenantAccess { schema_id: id, access, access_cause: None, from };
        let aside = |purge| Step::SetAsideTenantSchema {
            schema_id: id,
            owner_uid: String::new(),
            expire_after_days: None,
            purge,
            deleted_at: None,
            brake: None,
        };
        vec![
            Step::CreateTenantSchema {
                schema_name: String::new(),
                institution_id: None,
                owner: owner(),
                register_institution: false,
                config: Map::new(),
                quota_limit: None,
                access: AccessWord::ReadWrite,
                access_cause: None,
                institution_source: None,
                beside: None,
            },
            Step::ReclaimTenantSchema { schema_id: id, owner: owner(), transfer: None },
            Step::RestoreTenantSchema {
                backup_id: id,
                owner: owner(),
                transfer: None,
                cut_off: None,
                location: String::new(),
            },
            Step::BringBack { since: Timestamp::UNIX_EPOCH, skip: Vec::new(), cut_off: Some(2) },
            access(AccessWord::ReadWrite, AccessWord::Suspended),
            access(AccessWord::ReadWrite, AccessWord::ReadOnly),
            access(AccessWord::ReadOnly, AccessWord::Suspended),
            access(AccessWord::Suspended, AccessWord::ReadOnly),
            access(AccessWord::WriteBlocked, AccessWord::ReadWrite),
            aside(true),
            aside(false),
            Step::RequestBackup {
                schema_id: id,
                object: owner(),
                object_kind: ObjectKind::SchemaBackup,
                method: BackupMethod::Snapshot,
                verification: None,
                expire_after_days: None,
                scheduled: None,
                schema_name: String::new(),
            },
            Step::RequestPurge { backup_id: None, location: None, is_archive: false },
            Step::RecreateTenantSchema { schema_id: id, recreations: 0 },
            Step::CancelBackup { backup_id: id },
        ]
    }

    #[test]
    fn a_step_knows_what_it_means_for_jobs_tenants_and_access() {
        let check = |question: fn(&Step) -> bool, expected: &[&str]| {
            let found: Vec<_> = steps().iter().filter(|step| question(step)).map(ToString::to_string).collect();
            let found: Vec<_> = found.iter().map(|step| step.split([' ', ':']).next().unwrap()).collect();
            assert_eq!(found, expected);
        };
        // The one that is set aside whole begins with the same words, so they are counted too.
        check(Step::queues_job, &["close", "request", "remove"]);
        check(Step::gives, &["create", "take", "bring"]);
        check(Step::takes_back, &["take", "bring"]);
        check(Step::opens, &["resume", "give", "resume,"]);
        let drops = |step: &&Step| step.to_string().ends_with("drop it in parts");
        assert!(steps().iter().find(drops).is_some_and(Step::queues_job));
    }

    #[test]
    fn what_runs_a_tenants_code_is_told_how_many_attempts_were_cut_off() {
        let told: Vec<_> = steps().iter_mut().filter_map(|step| step.cut_off().copied()).collect();
        assert_eq!(told, [None, Some(2)]);
    }
}
