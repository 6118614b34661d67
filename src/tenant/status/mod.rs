//! Stage 6: what a person reads, from what was applied. Pure.
//!
//! A status is written only when it differs in something that a person would care about: usage when the table count
//! changes, a threshold is crossed, or the bytes moved by 2 % and 64 KiB. So an unchanged fleet writes nothing.

mod credentials;
mod dependents;
mod end;
mod grants;
mod isolation;
mod notices;
mod policies;
mod schedules;
mod usage;

use jiff::{SignedDuration, Timestamp};
use serde_json::from_value;

pub use end::taken_away;
use end::{blocked, end_verdict, status_of_end, what_became};
use notices::{news, what_was_done};
use schedules::{BackedUp, backed_up, scheduled_next};
use usage::usage;

use super::{access, credential, desired::Desired, observe::Observed, schedules::Scheduled};
use crate::{
    api::{
        TenantSchema, TenantSchemaStatus,
        adoption::AdoptionStatus,
        backup_policy::ScheduleStatus,
        command::Kind,
        condition::{ConditionType, Readiness, Reason, Verdict, find, put_beside, summary, whole_seconds},
        in_vain,
        tenant_schema::{Blocked, BlockedCause, LastBackup, LastOperation, Place, State},
    },
    contract::{AccessWord, Adoption, Call, ForeignTables, Hole, Purpose, SizeEstimate, TenantAnswer, TenantRow},
    frame::{Leave, Pass, Told, Wish, chain},
    plan::{Applied, End, Plan},
};

/// How often a tenant that is close to a limit that is enforced is measured.
const MEASURED_EVERY: SignedDuration = SignedDuration::from_secs(10);

/// What a person reads of a pass; `database` is the TenantDatabase that the spec names.
#[must_use]
pub fn told(
    tenant: &TenantSchema,
    database: &str,
    pass: &Pass<'_, TenantSchema>,
    now: Timestamp,
) -> Told<TenantSchemaStatus> {
    let plain = |verdict: &Verdict| status_of_verdict(tenant, database, verdict, now);
    let mut done = Vec::new();
    let status = match pass {
        Pass::Invalid(invalid) => plain(&Verdict::of(invalid.reason, &invalid.message, false)),
        Pass::Waits { reason, message } => {
            let message = format!("TenantDatabase {database} is not ready ({reason}): {message}");
            plain(&Verdict::of(Reason::DatabaseUnavailable, message, Readiness::Kept))
        }
        Pass::Blocked { removal, why } => plain(&blocked(removal, why)),
        Pass::Failed { failed, .. } if failed.is_crowded() => {
            plain(&Verdict::of(Reason::ProgressingWithRetry, chain(*failed), Readiness::Kept))
        }
        Pass::Failed { removal: Some(removal), failed } => plain(&blocked(removal, &chain(*failed))),
        Pass::Failed { removal: None, failed } => plain(&failed.verdict()),
        Pass::Paused { wish, plan, observed } => {
            let stays = matches!(wish, Wish::End(Leave::AsItIs(_) | Leave::Abandoned(_)));
            let is_there = stays || observed.answer.own.as_deref().is_some_and(TenantRow::is_there);
            status_of_pause(tenant, plan, is_there, now)
        }
        Pass::Applied { wish: Wish::Keep(desired), observed, applied, place, .. } => {
            let status = status(tenant, desired, observed, applied, place, now);
            done = what_was_done(tenant, desired, observed, applied, &status);
            status
        }
        Pass::Applied { wish: Wish::End(leave), observed, applied, .. } => {
            let row = observed.answer.own.as_deref();
            done = what_became(tenant, leave, observed, applied);
            end_verdict(tenant, database, leave.removal(), applied).map_or_else(
                || tenant.status.clone().unwrap_or_default(),
                |verdict| status_of_end(tenant, row, &verdict, now),
            )
        }
        Pass::Left { leave: Leave::Nothing(_) } => tenant.status.clone().unwrap_or_default(),
        Pass::Left { leave } => {
            done = what_became(tenant, leave, &Observed::default(), &Applied::nothing());
            tenant.status.clone().unwrap_or_default()
        }
    };
    let news = news(tenant, &status);
    let status = match tenant.status.as_ref().filter(|old| !differs(old, &status)) {
        Some(old) => old.clone(),
        None => status,
    };
    // What is late is not due: a suspension or a pause may keep it from being done.
    let told = [&status.credentials, &status.migration_credentials];
    let due = told.into_iter().flatten().filter_map(credentials::due).filter(|due| *due > now);
    let due = due.chain(measured_next(pass, now)).chain(scheduled_next(pass, &status, now)).min();
    Told { status, done, news, due }
}

/// When a tenant that is close to a limit that is enforced is measured next, apart from surveys.
fn measured_next(pass: &Pass<'_, TenantSchema>, now: Timestamp) -> Option<Timestamp> {
    let Pass::Applied { wish: Wish::Keep(desired), observed, .. } = pass else { return None };
    let row = observed.answer.own.as_deref()?;
    access::is_watched(desired, row).then(|| now + MEASURED_EVERY)
}

/// The status after a plan was applied to a living tenant.
#[must_use]
pub fn status(
    tenant: &TenantSchema,
    desired: &Desired,
    observed: &Observed,
    applied: &Applied,
    place: &Place,
    now: Timestamp,
) -> TenantSchemaStatus {
    let (observed, seen) = (&observed.answer, observed);
    let mut status = tenant.status.clone().unwrap_or_default();
    let made = applied.success(&Call::CreateTenantSchema);
    let row = observed.own.as_deref();
    let exists = row.is_some() || made.is_some();
    status.schema_name = Some(desired.schema_name.as_str().to_owned());
    status.effective = Some(desired.effective.clone());
    let back = [Call::ReclaimTenantSchema, Call::RestoreTenantSchema, Call::AdoptTenantSchema];
    let taken_back = || back.iter().find_map(|call| applied.success(call));
    status.adoption = adoption(observed, applied).or(status.adoption);
    let id = row.map(|row| row.schema_id).or_else(|| made.or_else(taken_back)?.schema_id);
    status.schema_id = id.map(|id| id.to_string()).or(status.schema_id);
    if exists {
        status.database_name = Some(place.database.clone());
        if !desired.leads_nowhere || status.connection.is_none() {
            status.connection = Some(desired.place(place));
        }
        let new_roles = || made.and_then(|made| from_value(made.detail.get("roles")?.clone()).ok());
        status.roles = row.and_then(|row| row.roles.clone()).or_else(new_roles).or(status.roles);
        let wanted = access::as_observed(desired, observed);
        status.state = Some(state(&wanted, row, applied));
        status.blocked = blocked_by(wanted.told_cause(), &status, now);
        for logins in &desired.logins {
            let told = match logins.purpose {
                Purpose::Migration => &mut status.migration_credentials,
                Purpose::Connection | Purpose::Other(_) => &mut status.credentials,
            };
            *told = credentials::credentials(logins, row, seen.secret(&logins.purpose), applied, now);
        }
        status.grants = grants::grants(desired, row, applied);
        let complete = row.and_then(|row| row.last_backup.as_ref()?.object_name.as_deref());
        let after = |schedule: &Scheduled| schedule.after(&applied.made, &applied.forgotten, complete);
        status.schedules = desired.schedules.iter().map(after).take(ScheduleStatus::MOST).collect();
        let generation = tenant.metadata.generation.unwrap_or_default();
        let policies = policies::policies(desired, row, applied);
        if policies.is_some() || desired.row_security.is_none() {
            let verdict = policies.as_ref().map(|(_, verdict)| verdict);
            put_beside(verdict, ConditionType::RowSecurity, &mut status.conditions, generation, now);
            status.row_security = policies.map(|(policies, _)| policies);
        }
        let lost = dependents::dependents(desired, row, applied);
        put_beside(lost.as_ref(), ConditionType::GrantedViews, &mut status.conditions, generation, now);
        usage(&mut status, row, desired.quota.as_ref().map(|quota| quota.limit), desired.warning_percent);
        if let Some(row) = row {
            status.last_backup = row.last_backup.as_deref().map(last_backup);
            status.last_operation = row.last_operation.as_ref().map(last_operation).or(status.last_operation);
        }
        let verdict = match backed_up(&desired.owner, &status, desired.now) {
            BackedUp::AsBefore { .. } => None,
            BackedUp::NoSchedule => Some(None),
            BackedUp::Told(verdict) => Some(Some(verdict)),
        };
        if let Some(verdict) = verdict {
            put_beside(verdict.as_ref(), ConditionType::BackedUp, &mut status.conditions, generation, now);
        }
    }
    let verdict = verdict(desired, observed, &status, applied);
    let mut status = finish(tenant, status, &verdict, now);
    // After a repair another look tells what is still open.
    let is_repaired = applied.success(&Call::RepairTenantSchema).is_some();
    if exists && !(is_repaired && find(&status.conditions, ConditionType::Isolated).is_some()) {
        let (schema, is_closed) = (desired.schema_name.as_str(), status.state == Some(State::Suspended));
        let new = || made.and_then(|made| from_value::<Box<[Hole]>>(made.detail.get("isolation")?.clone()).ok());
        let holes = row.map_or_else(new, |row| row.isolation.clone());
        let generation = tenant.metadata.generation.unwrap_or_default();
        let verdict = isolation::isolation(schema, is_closed, holes.as_deref());
        put_beside(Some(&verdict), ConditionType::Isolated, &mut status.conditions, generation, now);
    }
    status
}

/// How far an adoption is by now, or how large it was; nothing where there was none.
fn adoption(observed: &TenantAnswer, applied: &Applied) -> Option<AdoptionStatus> {
    let of = |moved: i32, total: i32| AdoptionStatus { moved: Some(moved), total: Some(total) };
    let told = applied.results.iter().rfind(|result| result.call == Call::AdoptTenantSchema);
    let number = |key| told?.detail.get(key)?.as_i64()?.try_into().ok();
    let adopted = observed.own.as_deref().and_then(|row| row.adopted_objects);
    match (number("moved"), number("total"), &observed.adoption) {
        (Some(moved), Some(total), _) => Some(of(moved, total)),
        (_, _, Some(Adoption::Begun { moved, total })) => Some(of(*moved, *total)),
        _ => adopted.map(|objects| of(objects, objects)),
    }
}

/// Who keeps the tenant closed, wholly or to writes, and since when a status told it.
fn blocked_by(cause: Option<BlockedCause>, status: &TenantSchemaStatus, now: Timestamp) -> Option<Blocked> {
    let is_closed = status.state.is_some_and(|state| state != State::Active);
    let told = status.blocked.as_ref().filter(|_| is_closed);
    match cause.filter(|_| is_closed) {
        Some(cause) if told.is_none_or(|told| told.cause != Some(cause)) => {
            Some(Blocked { cause: Some(cause), since: Some(whole_seconds(now)) })
        }
        _ => told.cloned(),
    }
}

/// The status when no plan was made or applied: everything else stays as it was.
#[must_use]
pub fn status_of_verdict(
    tenant: &TenantSchema,
    database: &str,
    verdict: &Verdict,
    now: Timestamp,
) -> TenantSchemaStatus {
    let mut status = tenant.status.clone().unwrap_or_default();
    // A tenant that waits for its database is found by the database's name.
    status.effective.get_or_insert_default().database_ref.get_or_insert_with(|| database.to_owned());
    finish(tenant, status, verdict, now)
}

/// True when a person would care about the difference.
fn differs(old: &TenantSchemaStatus, new: &TenantSchemaStatus) -> bool {
    // The latest operation alone is no news, since what it did shows elsewhere; unless it failed.
    let failed = new.last_operation.as_ref().is_some_and(|operation| operation.error.is_some());
    let mut old = old.clone();
    if !failed {
        old.last_operation.clone_from(&new.last_operation);
    }
    old != *new
}

fn quota(status: Option<&TenantSchemaStatus>) -> Option<&str> {
    status?.effective.as_ref()?.quota_limit.as_deref()
}

/// The status of a tenant on which nothing is done, with the plan of what would be. The generation that was looked at stays
/// when the plan has something to do, so that no user takes the spec for applied. `Ready` stays what it was only while the
/// tenant is the object's and its schema is there (`is_there`): a database that went back may have given it to another object.
#[must_use]
pub fn status_of_pause(tenant: &TenantSchema, plan: &Plan, is_there: bool, now: Timestamp) -> TenantSchemaStatus {
    let old = tenant.status.clone().unwrap_or_default();
    let observed_generation = old.observed_generation;
    let was_away = find(&old.conditions, ConditionType::Ready)
        .is_some_and(|ready| ready.status == "False" && ready.reason == Reason::Paused.as_str());
    let readiness = match is_there {
        false => Readiness::False,
        true if was_away && plan.is_empty() => Readiness::True,
        true => Readiness::Kept,
    };
    let mut status = finish(tenant, old, &Verdict::of(Reason::Paused, plan.to_string(), readiness), now);
    if !plan.is_empty() {
        status.observed_generation = observed_generation;
    }
    status
}

fn finish(
    tenant: &TenantSchema,
    mut status: TenantSchemaStatus,
    verdict: &Verdict,
    now: Timestamp,
) -> TenantSchemaStatus {
    let generation = tenant.metadata.generation.unwrap_or_default();
    let verdict = verdict.clone().adding(&in_vain(&tenant.metadata, &Kind::TenantSchema, verdict.message()));
    let verdict = verdict.adding(&credential::in_vain(tenant, status.schema_name.as_deref()));
    status.conditions = verdict.conditions(&status.conditions, generation, now);
    status.summary = summary(&status.conditions);
    status.observed_generation = Some(generation);
    status
}

fn verdict(desired: &Desired, observed: &TenantAnswer, status: &TenantSchemaStatus, applied: &Applied) -> Verdict {
    let ready = || ready(desired, observed, status, applied).adding(&remarks(observed.own.as_deref()));
    match &applied.end {
        // Its users go on as they are.
        End::Refused { reason, message } if is_beside(*reason, applied) => Verdict::of(*reason, message.clone(), true),
        end => end.verdict(Readiness::Kept).unwrap_or_else(ready),
    }
}

/// Whether what ended the pass is about a login of the tenant's applications or their Secret, about grants to others, or about what
/// ended with another tenant, or about a backup of a schedule, and nothing else.
fn is_beside(reason: Reason, applied: &Applied) -> bool {
    let calls = [
        Call::IssueCredential,
        Call::EndPreviousLogin,
        Call::SetCredentialLimits,
        Call::WithdrawCredential,
        Call::SetTenantGrants,
        Call::RemakeDependents,
    ];
    reason == Reason::BackupNotMade
        || Reason::of_secrets().contains(&reason)
        || applied.ended_by.as_ref().is_some_and(|call| calls.contains(call))
}

/// What a person should know of a tenant that is ready all the same.
fn remarks(row: Option<&TenantRow>) -> String {
    let strangers = row.and_then(|row| row.foreign_tables.as_deref()).map(ForeignTables::to_string);
    let estimate = row.and_then(|row| row.size_estimate.as_deref()).map(SizeEstimate::to_string);
    strangers.into_iter().chain(estimate).collect()
}

fn ready(desired: &Desired, observed: &TenantAnswer, status: &TenantSchemaStatus, applied: &Applied) -> Verdict {
    let row = observed.own.as_deref();
    let schema = desired.schema_name.as_str();
    let wanted = access::as_observed(desired, observed);
    let way_out = || access::way_out(desired, observed, status.counted_bytes());
    let (reason, is) = match wanted.access {
        AccessWord::Suspended => (Reason::Suspended, "suspended"),
        AccessWord::ReadOnly => (Reason::ReadOnly, "read-only"),
        AccessWord::WriteBlocked => (Reason::WritesBlocked, "closed to writes, and rows can be read and deleted"),
        AccessWord::ReadWrite | AccessWord::Other(_) => (Reason::Succeeded, ""),
    };
    if let Some(complaint) = &desired.outside {
        let closed = wanted.cause.is_some().then(|| format!("; it is {is}: {}", way_out()));
        let message = format!("schema {schema} goes on as it is, outside today's limits: {}", complaint.message);
        return Verdict::of(Reason::OutsideLimits, message, true).adding(&closed.unwrap_or_default());
    }
    if wanted.is_closed() {
        let told = applied
            .success(&Call::SetTenantAccess)
            .and_then(|result| from_value(result.detail.get("shared_with")?.clone()).ok());
        let databases: Vec<String> = told.or_else(|| row.map(|row| row.shared_with.clone())).unwrap_or_default();
        return Verdict::of(Reason::Suspended, suspended(schema, &databases, &way_out()), true);
    }
    if wanted.cause.is_some() {
        return Verdict::of(reason, format!("schema {schema} is {is}; {}", way_out()), true);
    }
    if let Some(message) = access::gone(desired, access::institution(observed)) {
        return Verdict::of(Reason::InstitutionGone, message, true);
    }
    let warning = status.quota_used_percent.filter(|percent| *percent >= desired.warning_percent);
    let quota = desired.effective.quota_limit.as_deref();
    // What is estimated by the number of objects takes no writes, and so is to be told here.
    let is_uncertain = row.is_some_and(|row| row.uncertain_bytes() > 0);
    let estimate = status.quota_estimate.as_ref().filter(|_| is_uncertain).and_then(|told| told.message.as_ref());
    let large = estimate.map(|message| format!("; of this {message}")).unwrap_or_default();
    match (warning, quota) {
        (Some(percent), Some(quota)) if percent >= 100 => {
            let message = format!("schema {schema} is ready; it uses more than its quota of {quota}{large}");
            Verdict::of(Reason::QuotaExceeded, message, true)
        }
        (Some(_), Some(quota)) => {
            let percent = desired.warning_percent;
            let message =
                format!("schema {schema} is ready; it uses more than {percent} % of its quota of {quota}{large}");
            Verdict::of(Reason::QuotaWarning, message, true)
        }
        _ => Verdict::of(Reason::Succeeded, format!("schema {schema} is ready"), true),
    }
}

fn suspended(schema: &str, shared_with: &[String], way_out: &str) -> String {
    let open = if shared_with.is_empty() {
        String::new()
    } else {
        let databases = shared_with.join(", ");
        format!(
            "; its logins can still connect, since its roles own schemas in other databases of the server: {databases}"
        )
    };
    format!("schema {schema} is suspended{open}; {way_out}")
}

fn state(wanted: &access::Wanted, row: Option<&TenantRow>, applied: &Applied) -> State {
    let changed = applied.success(&Call::SetTenantAccess).is_some();
    match row.map(|row| &row.access).filter(|_| !changed).unwrap_or(&wanted.access) {
        AccessWord::Suspended => State::Suspended,
        AccessWord::ReadOnly => State::ReadOnly,
        AccessWord::WriteBlocked => State::WriteBlocked,
        AccessWord::ReadWrite | AccessWord::Other(_) => State::Active,
    }
}

fn last_backup(backup: &crate::contract::LastBackup) -> LastBackup {
    LastBackup {
        name: backup.object_name.clone().or_else(|| backup.location.clone()),
        method: crate::api::schema_backup::BackupMethod::of(&backup.method),
        completion_time: backup.completed_at.map(whole_seconds),
        size_bytes: backup.size_bytes,
    }
}

fn last_operation(operation: &crate::contract::LastOperation) -> LastOperation {
    LastOperation {
        type_: operation.kind.to_string(),
        status: operation.status.to_string(),
        start_time: Some(whole_seconds(operation.started_at)),
        duration_milliseconds: operation.duration_ms,
        error: operation.error.as_deref().map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;
    use crate::{api::TenantSchemaSpec, plan::Effect};

    /// `check(before, plan has something to do, the schema is there, expected)` of the condition `Ready`.
    fn check(before: &Verdict, has_work: bool, is_there: bool, expected: &str) {
        let mut tenant: TenantSchema = from_value(json!({
            "apiVersion": "edumatrixhub.io/v1alpha1", "kind": "TenantSchema", "metadata": { "name": "school" },
            "spec": { "databaseRef": { "name": "main" }, "schemaName": "school" },
        }))
        .unwrap();
        let conditions = before.conditions(&[], 1, Timestamp::UNIX_EPOCH);
        tenant.status = Some(TenantSchemaStatus { conditions, ..TenantSchemaStatus::default() });
        let effects = if has_work { vec![Effect::Release] } else { vec![] };
        let plan = Plan { effects, ..Plan::default() };
        let status = status_of_pause(&tenant, &plan, is_there, Timestamp::UNIX_EPOCH);
        let ready = find(&status.conditions, ConditionType::Ready).unwrap();
        assert_eq!(format!("{} {}", ready.status, ready.reason), expected);
    }

    #[test]
    fn a_suspension_that_leaves_logins_open_says_so() {
        assert_eq!(suspended("school", &[], "wait"), "schema school is suspended; wait");
        let said = suspended("school", &["copy".to_owned(), "test".to_owned()], "wait");
        assert!(said.contains("can still connect") && said.contains("databases of the server: copy, test;"), "{said}");
    }

    #[test]
    fn a_size_that_stays_an_estimate_is_told_with_who_keeps_it_so() {
        let check = |estimate: serde_json::Value, expected: &str| {
            let row: TenantRow = from_value(json!({
                "schema_id": uuid::Uuid::nil(), "institution_id": null, "schema_name": "school", "status": "active", "access": "ReadWrite",
                "taken_over": false, "owner": null, "config": {}, "quota_limit": null, "schema_exists": true, "drift": [],
                "storage_bytes": 8192, "table_count": 1, "usage_stale": true, "last_backup": null, "last_operation": null, "jobs": [],
                "recreations": 0, "size_estimate": estimate,
            }))
            .unwrap();
            assert_eq!(remarks(Some(&row)), expected);
        };
        check(json!(null), "");
        check(
            json!({ "since": "2026-11-28T20:00:00Z", "told": true, "pid": 77, "login": "mig", "table": "wide",
                    "holder": "session 77 of login \"mig\"", "statement": "SELECT pg_terminate_backend(77)" }),
            "; its size has been an estimate since 2026-11-28T20:00:00Z, because session 77 of login \"mig\" keeps table wide locked \
             against readers; as a superuser, in this database: SELECT pg_terminate_backend(77)",
        );
        let unnamed =
            SizeEstimate { since: Timestamp::UNIX_EPOCH, holder: None, table: None, statement: None }.to_string();
        check(json!({ "since": "1970-01-01T00:00:00Z", "told": true }), &unnamed);
        assert!(unnamed.contains("no survey could open a table of it"), "{unnamed}");
    }

    #[test]
    fn a_paused_tenant_is_ready_while_its_schema_is_there() {
        let ready = Verdict::of(Reason::Succeeded, "", true);
        check(&ready, false, true, "True Succeeded");
        check(&ready, true, true, "True Succeeded");
        check(&ready, true, false, "False Paused");
        let away = Verdict::of(Reason::Paused, "", false);
        check(&away, true, true, "False Paused");
        check(&away, false, true, "True Paused");
        check(&Verdict::of(Reason::Conflict, "", false), false, true, "False Conflict");
    }

    #[test]
    fn a_pause_with_something_to_do_takes_no_generation_for_applied() {
        for (effects, expected) in [(vec![], 4), (vec![Effect::Release], 3)] {
            let mut tenant = TenantSchema::new("school", TenantSchemaSpec::default());
            tenant.metadata.generation = Some(4);
            tenant.status = Some(TenantSchemaStatus { observed_generation: Some(3), ..TenantSchemaStatus::default() });
            let plan = Plan { effects, ..Plan::default() };
            let status = status_of_pause(&tenant, &plan, true, Timestamp::UNIX_EPOCH);
            assert_eq!(status.observed_generation, Some(expected), "{plan}");
        }
    }
}
