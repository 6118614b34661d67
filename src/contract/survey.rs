//! What one look at all tenants of a database answers. Pure.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Beat, CallResult, HeldBackups, InstitutionSource, LoginToTry, Owner, TenantRow};
use crate::api::TenantDatabase;

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

/// The application's own table of institutions, as a survey reads it.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct InstitutionTable {
    /// Where it is.
    #[serde(flatten)]
    pub source: InstitutionSource,
    /// The values of its status column that close a tenant.
    pub suspended_values: Vec<String>,
}

impl InstitutionTable {
    /// The table that a database's spec names.
    #[must_use]
    pub fn of(database: &TenantDatabase) -> Option<Self> {
        let suspended_values = database.spec.institutions.as_ref()?.source.as_ref()?.suspended_values();
        Some(Self { source: InstitutionSource::of(database)?, suspended_values })
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

/// Reads the text as what was found, and if it is not that as a refusal. An untagged enum would keep every part of the
/// text as a value of its own first, which takes several times the memory of ten thousand tenants.
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
    /// Tenants whose roles may do something beyond their schema; former functions do not tell.
    #[serde(default)]
    pub not_isolated_count: i32,
    /// Jobs that wait for a runner.
    pub jobs_waiting: i32,
    /// Tenants whose schema is not known since a restore or an upgrade of the server.
    #[serde(default)]
    pub unbound_count: i32,
    /// Why the application's table of institutions cannot be read.
    #[serde(default)]
    pub institution_problem: Option<String>,
    /// Logins of which the next survey is to be told what the server tells of their passwords; former functions ask for none.
    #[serde(default)]
    pub logins_to_try: Vec<LoginToTry>,
    /// Tables that are to be vacuumed so that it is known what deletes left free in them; former functions name none.
    #[serde(default)]
    pub live_parts_due: Vec<LivePartDue>,
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

/// Tables of a tenant that is blocked for its quota, of which it is to be known what deletes left free in them.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct LivePartDue {
    /// The tenant.
    pub schema_id: Uuid,
    /// Its object.
    pub owner: Owner,
    /// How long all of them may take, by their size.
    pub seconds: u64,
    /// The tables, the largest first.
    pub tables: Vec<TableToVacuum>,
}

/// One of these tables.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct TableToVacuum {
    /// Which it is.
    pub oid: i64,
    /// What the tenant's owner role runs.
    pub statement: String,
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
    /// How many were set aside since then, also those that came back or were purged.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_a_tenth_by_the_first_byte_of_the_id() {
        let check = |first: u8, slice: u8| {
            let id = Uuid::from_bytes([first; 16]);
            assert!(Asked::All.covers(id));
            for other in 0..Asked::SLICES {
                assert_eq!(Asked::Slice(other).covers(id), other == slice, "{first} {other}");
            }
        };
        check(0, 0);
        check(9, 9);
        check(10, 0);
        check(237, 7);
        check(255, 5);
    }
}
