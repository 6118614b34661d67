//! What the management functions answer, as types: the wire contract between `sql/` and this crate. Pure.
//!
//! Each function returns one JSON document. Unknown fields are ignored, so that newer functions serve an older operator;
//! a missing field is an [`super::Error::Answer`], never a default that looks like an observation.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Value, value::RawValue};
use uuid::Uuid;

use super::error::may_pass;

mod backup;
mod grave;
mod identity;
mod job;
mod lane;
mod tenant;

pub use backup::{BackupAnswer, BackupQuestion, BackupRow};
pub use grave::{HeldUp, Tombstone};
pub use identity::{Absence, Bearer, Fate};
pub use job::{ClaimedJob, JobRow, JobWaits};
pub use lane::{Beat, Contest, HeldBackups, Installation, LaneClaim, Party, Quiet};
pub use tenant::{Drift, ForeignTables, LastBackup, LastOperation, Measured, SizeEstimate, TenantRow};

/// How a management function ended.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum CallStatus {
    /// Done.
    Success,
    /// It was so already.
    Unchanged,
    /// A bounded part is done and committed; call again.
    Partial,
    /// Another holds the lock; later.
    Busy,
    /// Nothing was done; the log has the reason.
    Error,
}

/// What one management function answered.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct CallResult {
    /// The function's name, when it was called as one of several steps.
    #[serde(default)]
    pub call: String,
    /// How it ended.
    pub status: CallStatus,
    /// For people: attempt, thing and way out.
    pub message: String,
    /// The tenant it was about.
    pub schema_id: Option<Uuid>,
    /// What depends on the function; see [`CallResult::reason`].
    #[serde(default)]
    pub detail: Value,
}

impl CallResult {
    /// The machine-readable reason of an error, from a closed set.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.detail.get("reason").and_then(Value::as_str).unwrap_or_default()
    }

    /// A text of the detail.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.detail.get(key).and_then(Value::as_str)
    }

    /// True when the database met something that may pass by itself, such as a disk that is full.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        self.status == CallStatus::Error && self.text("sqlstate").is_some_and(may_pass)
    }

    /// True when this operator's epoch is older than the lane's, or the database is another installation.
    #[must_use]
    pub fn lane_lost(&self) -> bool {
        matches!(self.reason(), "stale_epoch" | "wrong_installation")
    }

    /// True when the server was started again or the database went back to an older state: the lane is to be claimed again.
    #[must_use]
    pub fn needs_new_claim(&self) -> bool {
        matches!(self.reason(), "went_back" | "server_restarted")
    }
}

/// What the server, the database and the login are, before anything is installed.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "the facts are independent of one another")]
pub struct DatabaseFacts {
    /// As `150018`.
    pub server_version_num: i32,
    /// As `15.18`.
    pub server_version: String,
    /// True on a standby.
    pub in_recovery: bool,
    /// The statement that ends it, when a setting lets the login read only.
    pub read_only: Option<String>,
    /// PostgreSQL's name of the database.
    pub database_name: String,
    /// True when the registry schema is there.
    pub registry_exists: bool,
    /// True when the functions are there and may be called.
    pub installed: bool,
    /// True when the owner role and its admin role stand.
    pub owner_role_exists: bool,
    /// True when the owner role may make schemas in this database; another database of the server may have made the role.
    pub owner_can_create_in_database: bool,
    /// True when the login may act as the owner role.
    pub can_set_owner_role: bool,
    /// What the login lacks to install and upgrade the functions.
    pub missing: Vec<Missing>,
    /// What the login lacks to call them.
    pub missing_for_verified: Vec<Missing>,
}

/// A privilege that is not there, and how to give it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Missing {
    /// For people.
    pub what: String,
    /// The SQL that a DBA runs.
    pub statement: String,
}

/// Which object a tenant belongs to.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Owner {
    /// UID of the cluster's kube-system namespace.
    pub cluster: String,
    /// The object's namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The object's UID.
    pub uid: String,
    /// The UID of the object's namespace; absent while it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_uid: Option<String>,
}

/// One question about one tenant.
#[derive(Clone, Debug, Serialize)]
pub struct TenantQuestion<'a> {
    /// Who asks.
    #[serde(flatten)]
    pub owner: &'a Owner,
    /// The row it had, if its status knows.
    pub schema_id: Option<Uuid>,
    /// The institution it is for.
    pub institution_id: Option<Uuid>,
    /// The schema it wants.
    pub schema_name: &'a str,
    /// The application's own table of institutions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub institution_source: Option<&'a InstitutionSource>,
    /// Its tables are counted and measured now.
    pub measure: bool,
}

/// The application's own table of institutions.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct InstitutionSource {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// The column that holds the institution's UUID.
    pub id_column: String,
}

/// Everything the database knows that concerns one tenant.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub struct TenantAnswer {
    /// The row that belongs to the one who asks, not dropped.
    pub own: Option<TenantRow>,
    /// What is left of a row that was dropped.
    pub tombstone: Option<Tombstone>,
    /// Another's row of the same schema name.
    pub name_holder: Option<Claim>,
    /// Another's row of the same institution.
    pub institution_holder: Option<Claim>,
    /// A schema of this name stands.
    pub schema_exists: bool,
    /// The tenant whose schema was renamed by hand to this name.
    #[serde(default)]
    pub bearer: Option<Bearer>,
    /// A role of this name stands.
    pub name_is_role: bool,
    /// The institution is registered, or found in the configured table.
    pub institution_known: bool,
    /// Why the application's table could not be asked for the institution.
    #[serde(default)]
    pub institution_problem: Option<String>,
    /// What is set aside under the wanted name or institution, of any owner.
    pub set_aside: Option<SetAside>,
    /// The row of the id that the status remembers, of any owner now.
    pub known: Option<Claim>,
}

/// A schema that was set aside when its tenant was deleted.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct SetAside {
    /// The backup that it is.
    pub backup_id: Uuid,
    /// The tenant that it was.
    pub holder: Claim,
    /// `complete`, or `purging` once its removal has begun.
    pub state: String,
    /// The schema that holds it.
    pub location: String,
    /// In bytes.
    pub size_bytes: Option<i64>,
    /// Its tables.
    pub table_count: Option<i32>,
    /// When the tenant was dropped.
    pub dropped_at: Timestamp,
}

/// Who has what another wants.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Claim {
    /// The tenant.
    pub schema_id: Uuid,
    /// Its schema.
    pub schema_name: String,
    /// UID of the cluster; absent when made by hand.
    pub cluster: Option<String>,
    /// Namespace of its object.
    pub namespace: Option<String>,
    /// Name of its object.
    pub name: Option<String>,
    /// UID of its object.
    pub uid: Option<String>,
    /// UID of its object's namespace; absent where it was not told yet.
    #[serde(default)]
    pub namespace_uid: Option<String>,
    /// The row's status, as [`TenantRow::status`].
    pub status: String,
    /// It was made for a cluster whose place this one took, and waits for its object to be applied again.
    pub taken_over: bool,
    /// Its object is not there any more, as the API server says; asked only where it matters.
    #[serde(skip)]
    pub gone: bool,
}

/// Which tenants' rows a survey answers with besides those that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// All.
    All,
    /// About a tenth, from 0 to 9: ten surveys have told all, and none of them is as long as all together.
    Slice(u8),
}

impl Asked {
    /// How many slices there are.
    pub const SLICES: u8 = 10;

    /// Whether the tenant with this id is asked for.
    #[must_use]
    pub fn covers(self, schema_id: Uuid) -> bool {
        match self {
            Self::All => true,
            Self::Slice(slice) => schema_id.as_bytes()[0] % Self::SLICES == slice,
        }
    }
}

/// How a survey ended: a refusal has a status, which what was found has not.
#[derive(Clone, Debug, PartialEq)]
pub enum Surveyed {
    /// The lane is another's now, or another survey is under way.
    Refused(CallResult),
    /// What was found.
    Found(Box<SurveyAnswer>),
}

/// Reads the text as the one and then as the other. An untagged enum would keep every part of the text as a value of its own
/// first, which takes several times the memory of ten thousand tenants.
impl<'de> Deserialize<'de> for Surveyed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&RawValue>::deserialize(deserializer)?.get();
        match serde_json::from_str(text) {
            Ok(found) => Ok(Self::Found(found)),
            Err(misfit) => serde_json::from_str(text).map(Self::Refused).map_err(|_| D::Error::custom(misfit)),
        }
    }
}

/// What one survey of a database found.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct SurveyAnswer {
    /// Tenants that are not dropped.
    pub tenant_count: i32,
    /// Those of them that belong to an object; former functions do not tell.
    #[serde(default)]
    pub owned_count: Option<usize>,
    /// All of them together, in bytes.
    pub storage_bytes: i64,
    /// Set-aside schemas that are not purged.
    pub set_aside_count: i32,
    /// In bytes.
    pub set_aside_bytes: i64,
    /// Tenants that changed since the survey before, or all when asked for.
    pub tenants: Vec<TenantRow>,
    /// Tenants whose figures could not be taken, because a table is locked.
    pub stale_count: i32,
    /// Jobs that wait for a runner.
    pub jobs_waiting: i32,
    /// Tenants whose schema is not known since a restore or an upgrade of the server.
    #[serde(default)]
    pub unbound_count: i32,
    /// Backups that changed since the survey before.
    pub backups_changed: Vec<ChangedBackup>,
    /// Backups that expired and wait for a person.
    pub expiry: Option<HeldBackups>,
    /// What was asked to be brought back.
    #[serde(default)]
    pub bring_back: Option<ToBringBack>,
    /// The state of the world.
    #[serde(flatten)]
    pub beat: Beat,
}

/// What was set aside and is to be brought back.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct ToBringBack {
    /// What was set aside since this time.
    pub since: Timestamp,
    /// How many are back.
    #[serde(default)]
    pub done: u64,
    /// How many are not back.
    pub left: u64,
    /// How many were set aside since then, whatever became of them.
    #[serde(default)]
    pub ever: Option<u64>,
    /// When a schema that is still set aside was set aside last.
    #[serde(default)]
    pub latest: Option<Timestamp>,
}

/// A backup that the survey found changed.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct ChangedBackup {
    /// The backup.
    pub backup_id: Uuid,
    /// The SchemaBackup that asked for it.
    pub object: Option<Owner>,
}
