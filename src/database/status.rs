//! Stage 6: what a person reads of a database. Pure.

use jiff::Timestamp;
use uuid::Uuid;

use super::{
    install::Installed,
    open::{Closed, Opened},
    resolve::Unresolved,
};
use crate::{
    api::{
        TenantDatabase, TenantDatabaseStatus,
        command::Kind,
        condition::{ConditionType, Readiness, Reason, Verdict, find, newly, put_beside, summary},
        database_status::BackupStoreStatus,
        event::EventReason,
        in_vain,
    },
    contract::{Quiet, SurveyAnswer},
    frame::{Notice, chain},
    postgres::{self},
    quantity::{human, is_news},
};

/// What is known of an open lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Which database it is.
    pub installation_id: String,
    /// As `15.18`.
    pub server_version: String,
    /// The release of the functions.
    pub functions_version: String,
    /// The epoch of this replica's hold.
    pub epoch: i64,
    /// This replica.
    pub holder: String,
    /// The number of this process's claims.
    pub claim: String,
}

impl Facts {
    /// The major version of the server.
    #[must_use]
    pub fn server_major(&self) -> u32 {
        self.server_version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or_default()
    }

    /// What opening a lane told.
    #[must_use]
    pub fn new(opened: &Opened, holder: &str, claim: Uuid) -> Self {
        Self {
            installation_id: opened.lane.hold.installation_id.to_string(),
            server_version: opened.server_version.clone(),
            functions_version: opened.functions_version.clone(),
            epoch: opened.lane.hold.epoch,
            holder: holder.to_owned(),
            claim: claim.to_string(),
        }
    }
}

/// The status of a database at work; with a remark when something is to be said of it all the same.
#[must_use]
pub fn status(
    database: &TenantDatabase,
    facts: &Facts,
    survey: Option<&SurveyAnswer>,
    quiet: Option<&Quiet>,
    remark: Option<Verdict>,
    now: Timestamp,
) -> TenantDatabaseStatus {
    let mut status = database.status.clone().unwrap_or_default();
    status.installation_id = Some(facts.installation_id.clone());
    status.server_version = Some(facts.server_version.clone());
    status.functions_version = Some(facts.functions_version.clone());
    status.holder = Some(facts.holder.clone());
    status.epoch = Some(facts.epoch);
    status.claim_id = Some(facts.claim.clone());
    if let Some(survey) = survey {
        // Where the counts are news the bytes are written with them: two set aside are never shown as 0 bytes.
        let counts = (Some(survey.tenant_count), Some(survey.set_aside_count));
        let recounted = (status.tenant_count, status.set_aside_count) != counts;
        let shown = |bytes: Option<i64>| bytes.filter(|_| !recounted);
        (status.tenant_count, status.set_aside_count) = counts;
        status.set_aside_bytes = Some(news(shown(status.set_aside_bytes), survey.set_aside_bytes));
        let bytes = news(shown(status.storage_used_bytes), survey.storage_bytes);
        status.storage_used_bytes = Some(bytes);
        status.storage_used = Some(human(bytes.unsigned_abs()));
    }
    let verdict = remark.unwrap_or_else(|| {
        let mut message = format!("PostgreSQL {} with functions {}", facts.server_version, facts.functions_version);
        if let Some(Quiet { until, reason }) = quiet {
            let until = until.strftime("%Y-%m-%dT%H:%M:%SZ");
            message = format!("{message}; nothing expires and nothing is purged until {until}: {reason}");
        }
        Verdict::of(Reason::Succeeded, message, true)
    });
    finish(database, status, &verdict, now)
}

/// Tells how the backup store was found, beside how the database is.
pub fn tell_store(
    status: &mut TenantDatabaseStatus,
    verdict: Option<&Verdict>,
    found: Option<(String, Uuid)>,
    generation: i64,
    now: Timestamp,
) {
    if let Some((url, id)) = found {
        status.backup_store = Some(BackupStoreStatus { url, id: id.to_string() });
    }
    put_beside(verdict, ConditionType::BackupStoreReady, &mut status.conditions, generation, now);
}

/// The status of a database that cannot be worked with; what was known of it stays.
#[must_use]
pub fn status_of_verdict(database: &TenantDatabase, verdict: &Verdict, now: Timestamp) -> TenantDatabaseStatus {
    finish(database, database.status.clone().unwrap_or_default(), verdict, now)
}

/// What a user who watches Events would like to know.
#[must_use]
pub fn notices(database: &TenantDatabase, new: &TenantDatabaseStatus) -> Vec<Notice> {
    let old = database.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let ready =
        |conditions, word: &str| find(conditions, ConditionType::Ready).is_some_and(|found| found.status == word);
    let mut notices = Vec::new();
    if let Some(condition) = newly(old, &new.conditions, ConditionType::Stalled) {
        let message = format!("{}: {}", condition.reason, condition.message);
        notices.push(Notice { reason: EventReason::Stalled, message });
    } else if ready(old, "True")
        && let Some(condition) = find(&new.conditions, ConditionType::Reconciling)
    {
        notices.push(Notice { reason: EventReason::Unavailable, message: condition.message.clone() });
    }
    let store =
        |conditions| find(conditions, ConditionType::BackupStoreReady).filter(|found| found.status != "Unknown");
    if let Some(now) = store(&new.conditions)
        && store(old).is_none_or(|before| before.status != now.status)
    {
        let reason = if now.status == "True" { EventReason::StoreUsable } else { EventReason::StoreUnusable };
        notices.push(Notice { reason, message: format!("{}: {}", now.reason, now.message) });
    }
    if ready(old, "False") && ready(&new.conditions, "True") {
        notices.push(Notice { reason: EventReason::Recovered, message: "ready again".to_owned() });
    }
    notices
}

/// What a user would like to know of a lane that was opened; `returned` says why the API server's world is another one.
#[must_use]
pub fn opening_notices(returned: Option<String>, opened: &Opened) -> Vec<Notice> {
    let version = &opened.functions_version;
    let returned = returned.map(|why| Notice {
        reason: EventReason::ClusterRestored,
        message: format!("{why}: everything was read again, and every tenant is looked at"),
    });
    let installed = opened.installed.as_ref().map(|installed| match installed {
        Installed::First => Notice {
            reason: EventReason::FunctionsInstalled,
            message: format!("installed management functions {version}"),
        },
        Installed::Upgraded { from } => Notice {
            reason: EventReason::FunctionsUpgraded,
            message: format!("installed management functions {version} over {from}"),
        },
    });
    let went_back = opened.went_back.as_ref().map(|sign| Notice {
        reason: EventReason::WentBack,
        message: format!(
            "the database is, or may be, an older state of itself: {sign}; every tenant is looked at again, and nothing expires \
             and nothing is purged for four hours"
        ),
    });
    returned.into_iter().chain(installed).chain(went_back).collect()
}

/// Whether the last holder said that the database is at work; one that works says itself what is wrong.
#[must_use]
pub fn is_said_to_be_well(database: &TenantDatabase) -> bool {
    let conditions = database.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    find(conditions, ConditionType::Ready)
        .is_none_or(|ready| ready.status == "True" || ready.reason == Reason::LaneContested.as_str())
}

/// The verdict on Secrets that do not resolve, while the lane is open all the same or not.
#[must_use]
pub fn unresolved(error: &Unresolved, open: bool) -> Verdict {
    let message = chain(error);
    let message = if open { format!("{message}; what runs goes on with what was read before") } else { message };
    // An API server that is away says nothing about the database.
    let readiness = if error.may_pass() { Readiness::Kept } else { open.into() };
    Verdict::of(reason_of(error), message, readiness)
}

/// The verdict on an authority of applications that cannot be read, while all else goes on; `known` says whether it could before.
#[must_use]
pub fn unread_authority(error: &Unresolved, known: bool) -> Verdict {
    let until = if known {
        "what runs goes on with what was read before"
    } else {
        "until then no tenant gets a Secret or another password; all else goes on"
    };
    Verdict::of(reason_of(error), format!("{}; {until}", chain(error)), true)
}

const fn reason_of(error: &Unresolved) -> Reason {
    match error {
        Unresolved::NotFound { .. } | Unresolved::NoCaSecret { .. } => Reason::SecretNotFound,
        Unresolved::NoCaKey { .. } | Unresolved::Invalid { .. } => Reason::SecretInvalid,
        Unresolved::Unreadable(_) if error.may_pass() => Reason::ProgressingWithRetry,
        Unresolved::Unreadable(_) => Reason::SecretUnreadable,
    }
}

/// The verdict on a lane that does not open.
#[must_use]
pub fn closed(error: &Closed) -> Verdict {
    let message = chain(error);
    let reason = match error {
        Closed::Postgres(error) => match error {
            postgres::Error::Connection(_) => Reason::SecretInvalid,
            postgres::Error::Tls { .. } | postgres::Error::Handshake { .. } => Reason::TlsFailed,
            postgres::Error::AuthenticationRefused { .. } => Reason::AuthenticationRefused,
            postgres::Error::ConnectRefused { .. } => Reason::InsufficientPrivilege,
            postgres::Error::NoSuchDatabase { .. } => Reason::NoSuchDatabase,
            postgres::Error::Statement { code, .. } if code == "42501" => Reason::InsufficientPrivilege,
            postgres::Error::Statement { code, .. } if code == "25006" => Reason::ReadOnlyStandby,
            error if error.is_transient() => Reason::ConnectionFailed,
            _ => Reason::OperationFailed,
        },
        Closed::OwnerRole(_) => Reason::InvalidSpec,
        Closed::UnsupportedVersion { .. } => Reason::UnsupportedVersion,
        Closed::ReadOnlyStandby(_) => Reason::ReadOnlyStandby,
        Closed::ReadOnlySetting { .. } => Reason::ReadOnlySetting,
        Closed::InsufficientPrivilege { .. } => Reason::InsufficientPrivilege,
        Closed::FunctionsNewer { .. } => Reason::FunctionsNewer,
        Closed::FunctionsUnverified(_) => Reason::FunctionsUnverified,
        Closed::FunctionsMissing(_) => Reason::FunctionsMissing,
        Closed::DatabaseChanged { .. } => Reason::DatabaseChanged,
        Closed::ManagedElsewhere { .. } => Reason::ManagedElsewhere,
        Closed::Duplicate { .. } => Reason::DuplicateDatabase,
        Closed::Contested(_) => Reason::LaneContested,
    };
    Verdict::of(reason, message, false)
}

fn news(shown: Option<i64>, measured: i64) -> i64 {
    shown.filter(|shown| !is_news(*shown, measured)).unwrap_or(measured)
}

fn finish(
    database: &TenantDatabase,
    mut status: TenantDatabaseStatus,
    verdict: &Verdict,
    now: Timestamp,
) -> TenantDatabaseStatus {
    let generation = database.metadata.generation.unwrap_or_default();
    let verdict = verdict.clone().adding(&in_vain(&database.metadata, &Kind::TenantDatabase, verdict.message()));
    status.conditions = verdict.conditions(&status.conditions, generation, now);
    status.summary = summary(&status.conditions);
    status.observed_generation = Some(generation);
    status
}
