//! One step of each call, with everything that it may send.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Map;
use tenant_schema_operator::{
    api::{
        backup_policy::Retention,
        row_security::{RowCommand, RowPolicy, RowRole, RowSecurityMode},
        schema_backup::{BackupMethod, Verification},
        transfer::ObjectName,
    },
    contract::{
        AccessWord, Brake, ConfigChange, GrantTo, GrantWish, InstitutionSource, LoginLimits, NewCredential, ObjectKind,
        Owner, Purpose, Quota, RetentionRule, RowSecurity, ScheduledBackup, Step, Verifier, Withdrawal,
    },
};
use uuid::Uuid;

#[allow(clippy::too_many_lines, reason = "it is one list, with a step of each call")]
pub fn one_of_each() -> Vec<Step> {
    let (id, at) = (Uuid::nil(), Timestamp::UNIX_EPOCH);
    let text = |word: &str| word.to_owned();
    let owner = Owner {
        cluster: text("cluster"),
        namespace: text("team-a"),
        name: text("school"),
        uid: text("uid"),
        namespace_uid: Some(text("uid-team-a")),
    };
    let other = ObjectName { namespace: text("team-b"), name: text("former") };
    let limits =
        LoginLimits { connection_limit: 20, statement_timeout_seconds: 0, idle_in_transaction_timeout_seconds: 300 };
    let quota = || Some(Quota { limit: "1Gi".parse().unwrap(), shown: text("1Gi") });
    vec![
        Step::CreateTenantSchema {
            schema_name: text("school"),
            institution_id: Some(id),
            owner: owner.clone(),
            register_institution: true,
            config: Map::new(),
            quota_limit: quota(),
            access: AccessWord::ReadWrite,
            access_cause: None,
            institution_source: Some(InstitutionSource {
                schema: text("public"),
                table: text("schools"),
                id_column: text("id"),
                status_column: Some(text("status")),
            }),
            beside: Some(id),
        },
        Step::SetTenantAccess {
            schema_id: id,
            access: AccessWord::Suspended,
            access_cause: None,
            from: AccessWord::ReadWrite,
        },
        Step::SetTenantConfig {
            schema_id: id,
            config: Some(Map::new()),
            quota_limit: quota(),
            changes: ConfigChange::Both,
        },
        Step::SetTenantGrants {
            owner_uid: text("uid"),
            grants: vec![GrantWish {
                to: GrantTo::Tenant(ObjectName { namespace: text("team-b"), name: text("reporting") }),
                privileges: vec![text("Read")],
                tables: Some(["a", "b", "c", "d", "e", "f"].map(text).to_vec()),
            }],
            request: Some(text("now")),
        },
        Step::RemakeDependents {
            owner_uid: text("uid"),
            request: text("now"),
            cut_off: Some(1),
            what: vec![text("1 view or function")],
        },
        Step::IssueCredential {
            owner_uid: text("uid"),
            purpose: Purpose::Connection,
            new: Some(NewCredential { credential_id: id, verifier: Verifier::new(text("SCRAM-SHA-256$")) }),
            limits,
            grace_seconds: 3600,
            unpublished: true,
        },
        Step::SetCredentialLimits { schema_id: id, purpose: Purpose::Connection, limits },
        Step::SetRowSecurity {
            owner_uid: text("uid"),
            wanted: RowSecurity {
                mode: Some(RowSecurityMode::Required),
                policies: vec![RowPolicy {
                    name: text("own"),
                    column: text("user_id"),
                    setting: text("app.user_id"),
                    tables: Some(vec![text("profiles")]),
                    commands: Some(vec![RowCommand::Select]),
                    roles: Some(vec![RowRole::Reader]),
                }],
                digest: text("digest"),
            },
            again: false,
        },
        Step::EndPreviousLogin { owner_uid: text("uid"), purpose: Purpose::Connection },
        Step::WithdrawCredential { owner_uid: text("uid"), purpose: Purpose::Connection, cause: Withdrawal::Revoked },
        Step::RepairTenantSchema { schema_id: id, drift: vec![text("the owner differs")] },
        Step::RecreateTenantSchema { schema_id: id, recreations: 1 },
        Step::ReclaimTenantSchema { schema_id: id, owner: owner.clone(), transfer: Some(other.clone()) },
        adopts(owner.clone(), id),
        Step::RestoreTenantSchema {
            backup_id: id,
            owner: owner.clone(),
            transfer: Some(other.clone()),
            cut_off: Some(1),
            location: text("aside"),
        },
        Step::BringBack { since: at, skip: vec![text("one")], cut_off: Some(1) },
        Step::RebindTenants { installation_id: text("installation") },
        Step::RememberNamespaces { namespaces: BTreeMap::from([(text("uid"), text("uid-team-a"))]) },
        Step::ReleaseTenants {
            owner_uids: BTreeSet::from([text("uid")]),
            deleted_uids: BTreeSet::from([text("uid")]),
            to: Some(other),
        },
        Step::SetAsideTenantSchema {
            schema_id: id,
            owner_uid: text("uid"),
            expire_after_days: Some(30),
            purge: true,
            deleted_at: Some(at),
            brake: Some(Brake { since: at, limit: 10 }),
        },
        Step::AdoptBackup { backup_id: id, object: owner.clone() },
        Step::RequestBackup {
            schema_id: id,
            object: owner,
            object_kind: ObjectKind::SchemaBackup,
            method: BackupMethod::Archive,
            verification: Some(Verification::Checksum),
            expire_after_days: Some(30),
            scheduled: Some(ScheduledBackup {
                schedule: text("daily"),
                retention: RetentionRule::of(&Retention::default(), "UTC"),
            }),
            schema_name: text("school"),
        },
        Step::RequestPurge { backup_id: Some(id), location: Some(text("aside")), is_archive: false },
        Step::CancelBackup { backup_id: id },
        Step::CancelTenantJobs { schema_id: id },
    ]
}

fn adopts(owner: Owner, id: Uuid) -> Step {
    Step::AdoptTenantSchema {
        schema_name: "school".to_owned(),
        owner,
        digest: Some("5b519b9c".to_owned()),
        institution_id: Some(id),
        register_institution: true,
        institution_source: None,
        config: Map::new(),
        quota_limit: None,
    }
}
