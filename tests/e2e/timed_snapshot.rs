//! A kind that is made from the frame alone: a snapshot of a tenant that is not taken before a time.

use std::sync::Arc;

use jiff::Timestamp;
use kube::{CustomResource, ResourceExt, runtime::reflector::ObjectRef};
use serde::{Deserialize, Serialize};
use tenant_schema_operator::{
    api::{
        SchemaBackupStatus,
        condition::{Readiness, Reason, Verdict, summary},
        schema_backup::BackupMethod,
    },
    contract::{BackupAnswer, BackupQuestion, BackupState, Caller, ObjectKind, Owner, Step},
    controller::{Standing, Watching},
    frame::{Context, Doors, Ending, Host, Invalid, Kind, Leave, Pass, StageError, Stand, Told, Wish},
    kubernetes,
    plan::{Effect, Plan, Running},
};

#[derive(Clone, Debug, Deserialize, Serialize, CustomResource)]
#[kube(group = "test.edumatrixhub.io", version = "v1", kind = "TimedSnapshot", namespaced)]
#[kube(status = "SchemaBackupStatus", schema = "disabled")]
#[serde(rename_all = "camelCase")]
pub struct TimedSnapshotSpec {
    tenant: String,
    not_before: Timestamp,
}

/// What it points to, and what it is to have.
#[derive(Clone)]
pub struct Wanted {
    object: Owner,
    request: Option<Step>,
    until: Option<Timestamp>,
}

impl Kind for TimedSnapshot {
    const FINALIZER: &'static str = "test.edumatrixhub.io/timed-snapshot";
    type Facts = Wanted;
    type Desired = Wanted;
    type Removal = Owner;
    type Observed = BackupAnswer;

    async fn resolve(&self, ctx: &Context) -> Result<(Wanted, Stand), kubernetes::Error> {
        let namespace = self.namespace().unwrap_or_default();
        let tenant = ctx.stores.tenants.get(&ObjectRef::new(&self.spec.tenant).within(&namespace));
        let database = tenant.as_ref().map(|tenant| tenant.spec.database().to_owned());
        let host = match &database {
            Some(name) => Host::of(name, ctx.stores.databases.get(&ObjectRef::new(name)).is_some(), ctx).await,
            None => Host::Missing,
        };
        let (name, uid) = (self.name_any(), self.uid().unwrap_or_default());
        let object = Owner { cluster: ctx.cluster.clone(), namespace, name, uid, namespace_uid: None };
        let request = tenant.and_then(|tenant| {
            let status = tenant.status.as_ref()?;
            let (schema_id, schema_name) = (status.schema_id.as_ref()?.parse().ok()?, status.schema_name.clone()?);
            let (object, object_kind) = (object.clone(), ObjectKind::from("TimedSnapshot"));
            let (method, expire_after_days) = (BackupMethod::Snapshot, None);
            Some(Step::RequestBackup {
                schema_id,
                object,
                object_kind,
                method,
                verification: None,
                expire_after_days,
                scheduled: None,
                schema_name,
            })
        });
        let until = Some(self.spec.not_before).filter(|time| *time > ctx.now());
        Ok((Wanted { object, request, until }, Stand { database, host }))
    }

    fn desired(&self, facts: &Wanted) -> Result<Wanted, Invalid> {
        let message = format!("TenantSchema {} has no schema yet; it is looked at again by itself", self.spec.tenant);
        facts.request.is_some().then(|| facts.clone()).ok_or(Invalid { reason: Reason::TenantNotFound, message })
    }

    fn removal(&self, facts: &Wanted) -> Leave<Owner> {
        if facts.request.is_some() { Leave::Asked(facts.object.clone()) } else { Leave::AsItIs(facts.object.clone()) }
    }

    async fn observe(wish: Wish<'_, Self>, doors: Doors<'_>) -> Result<BackupAnswer, StageError> {
        let object = match wish {
            Wish::Keep(wanted) => &wanted.object,
            Wish::End(leave) => leave.removal(),
        };
        let question = BackupQuestion { object, backup_id: None, method: None, tenant_uid: None };
        doors.observe_backup(&question).await.map_err(StageError::Observe)
    }

    fn plan(wish: Wish<'_, Self>, observed: &BackupAnswer) -> Plan {
        let state = observed.backup.as_ref().map(|row| (&row.state, row.backup_id));
        let failed = || Effect::refuse(Reason::Failed, "it could not be made; delete this object and make another");
        let running = || Effect::wait(Reason::Running, "the snapshot is being made");
        let (object, effects) = match (wish, state) {
            (Wish::Keep(Wanted { object, .. }), Some((BackupState::Complete, _))) => (object, vec![]),
            (Wish::Keep(Wanted { object, .. }), Some((BackupState::Failed, _))) => (object, vec![failed()]),
            (Wish::Keep(Wanted { object, .. }), Some(_)) => (object, vec![running()]),
            (Wish::Keep(Wanted { object, until: until @ Some(_), .. }), None) => {
                let fact = "its time comes".to_owned();
                (object, vec![Effect::Await { reason: Reason::Progressing, fact, until: *until }])
            }
            (Wish::Keep(Wanted { object, request, .. }), None) => {
                (object, vec![Effect::Steps(request.iter().cloned().collect()), running()])
            }
            (Wish::End(leave), Some((BackupState::Requested | BackupState::Running, backup_id))) => {
                let job = observed.job.iter().map(|job| Effect::EndJobs(Running::Job(job.job_id)));
                let cancel = Effect::Steps(vec![Step::CancelBackup { backup_id }]);
                (leave.removal(), job.chain([cancel, Effect::Release]).collect())
            }
            (Wish::End(leave), Some((BackupState::Complete, id))) => {
                let purge = Step::RequestPurge { backup_id: Some(id), location: None, is_archive: false };
                (leave.removal(), vec![Effect::Steps(vec![purge]), Effect::Release])
            }
            (Wish::End(leave), _) => (leave.removal(), vec![Effect::Release]),
        };
        let subject = format!("timed snapshot {}/{}", object.namespace, object.name);
        let caller = Caller { namespace: object.namespace.clone(), tenant: None, requested_by: subject.clone() };
        Plan { subject, caller, effects, ..Plan::default() }
    }

    fn status_of(&self, pass: &Pass<'_, Self>, now: Timestamp) -> Told<SchemaBackupStatus> {
        let (mut status, kept) = (self.status.clone().unwrap_or_default(), Readiness::Kept);
        let verdict = match pass {
            Pass::Invalid(invalid) => Verdict::of(invalid.reason, &invalid.message, false),
            Pass::Waits { reason, message } => Verdict::of(*reason, *message, kept),
            Pass::Blocked { why, .. } => Verdict::of(Reason::DatabaseUnavailable, *why, kept),
            Pass::Failed { failed, .. } => failed.verdict(),
            Pass::Paused { plan, .. } => Verdict::of(Reason::Paused, plan.to_string(), kept),
            Pass::Applied { applied, .. } => (applied.end.verdict(Readiness::False))
                .unwrap_or_else(|| Verdict::of(Reason::Completed, "the snapshot is made", true)),
            Pass::Left { .. } => return Told { status, done: vec![], news: vec![], due: None },
        };
        let generation = self.metadata.generation.unwrap_or_default();
        status.conditions = verdict.conditions(&status.conditions, generation, now);
        (status.summary, status.observed_generation) = (summary(&status.conditions), Some(generation));
        Told { status, done: vec![], news: vec![], due: None }
    }

    fn gone(self: Arc<Self>, _: Ending<'_, Self>, _: &Context) {}
}

pub fn wired(watching: &Watching<'_>) -> Vec<Box<dyn Standing>> {
    vec![watching.kind::<TimedSnapshot>().standing(|_, _| true)]
}
