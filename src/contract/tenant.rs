//! What is asked and answered about one tenant. Pure.

use std::{fmt, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Absence, AccessCause, AccessWord, Adoption, Bearer, Claim, ConfigDigest, CredentialRow, GrantRow, Hole,
    InstitutionStatus, JobRow, OperationStatus, OperationType, Owner, Purpose, RowSecurityRow, RowStatus, SetAside,
    TakenRow, Tombstone,
};
use crate::{
    api::{TenantDatabase, tenant_schema::Roles},
    quantity::human,
    text::{DOCS, count},
};

/// One question about one tenant.
#[derive(Clone, Debug, Serialize)]
pub struct TenantQuestion<'a> {
    /// The object that asks.
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
    /// If it has no row, what there is to adopt is told.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub adopts: bool,
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
    /// The column that says how the institution stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_column: Option<String>,
}

impl InstitutionSource {
    /// The table that a database's spec names.
    #[must_use]
    pub fn of(database: &TenantDatabase) -> Option<Self> {
        let source = database.spec.institutions.as_ref()?.source.as_ref()?;
        Some(Self {
            schema: source.schema.clone(),
            table: source.table.clone(),
            id_column: source.id_column.clone(),
            status_column: source.status_column.clone(),
        })
    }
}

/// Everything the database knows that concerns one tenant.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub struct TenantAnswer {
    /// The row that belongs to the object that asks, unless it is dropped.
    pub own: Option<Arc<TenantRow>>,
    /// What is left of a row that was dropped.
    pub tombstone: Option<Tombstone>,
    /// Another object's row of the same schema name.
    pub name_holder: Option<Claim>,
    /// Another object's row of the same institution.
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
    /// How the institution stands in the registry, if it is there; former releases do not tell it.
    #[serde(default)]
    pub institution_status: Option<InstitutionStatus>,
    /// What is set aside under the wanted name or institution, of any owner.
    pub set_aside: Option<SetAside>,
    /// The row of the id that the status remembers; it may be another object's now.
    pub known: Option<Claim>,
    /// What there is to adopt, where that was asked; former releases do not tell it.
    #[serde(default)]
    pub adoption: Option<Adoption>,
}

/// A tenant's row in the registry, with what the catalogue says of it. It is kept for every tenant, so what few of them have is boxed.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct TenantRow {
    /// Its id, for life.
    pub schema_id: Uuid,
    /// Its institution.
    pub institution_id: Option<Uuid>,
    /// How its institution stands; former releases do not tell it.
    #[serde(default)]
    pub institution_status: Option<InstitutionStatus>,
    /// Its schema.
    pub schema_name: String,
    /// How it stands.
    pub status: RowStatus,
    /// Who may come in.
    pub access: AccessWord,
    /// Who closed it so far; former releases do not tell it.
    #[serde(default)]
    pub access_cause: Option<AccessCause>,
    /// The object it belongs to; absent when made by hand.
    pub owner: Option<Owner>,
    /// It was made for a cluster whose place this one took, or was brought back, and waits for its object to be applied again.
    pub taken_over: bool,
    /// How often its schema was lost and made again, empty.
    pub recreations: i32,
    /// Other databases of the server that use its roles, whose logins a suspension leaves open.
    #[serde(default)]
    pub shared_with: Vec<String>,
    /// Its roles; former releases do not tell them.
    #[serde(default)]
    pub roles: Option<Roles>,
    /// Its free JSON.
    pub config: ConfigDigest,
    /// In bytes.
    pub quota_limit: Option<i64>,
    /// The schema stands: the tenant's own, and not another one of its name.
    pub schema_exists: bool,
    /// What became of it, if it does not stand.
    #[serde(default)]
    pub absence: Option<Box<Absence>>,
    /// What differs from what was applied.
    pub drift: Vec<Drift>,
    /// Tables, indexes and TOAST, in bytes.
    pub storage_bytes: i64,
    /// What deletes left free of that, by an estimate, since the tenant was blocked for its quota; former releases do not tell it.
    #[serde(default)]
    pub freed_bytes: Option<i64>,
    /// Large objects of its roles, if it has any; former releases do not tell them.
    #[serde(default)]
    pub large_objects: Option<Box<LargeObjects>>,
    /// By how many bytes a day it grows, of late; former releases do not tell it.
    #[serde(default)]
    pub growth_per_day: Option<i64>,
    /// Tables, partitions among them.
    pub table_count: i32,
    /// Tables in its schema that belong to other roles; former releases do not tell them.
    #[serde(default)]
    pub foreign_tables: Option<Box<ForeignTables>>,
    /// How many objects its schema had when it was adopted; former releases do not tell it.
    #[serde(default)]
    pub adopted_objects: Option<i32>,
    /// The latest figures could not be taken, because a table is locked.
    pub usage_stale: bool,
    /// When a survey measured last that something was written; former releases do not tell it.
    #[serde(default)]
    pub usage_at: Option<Timestamp>,
    /// Why, when that has been so for long; former releases do not tell it.
    #[serde(default)]
    pub size_estimate: Option<Box<SizeEstimate>>,
    /// What it uses just now, where that was asked for; former releases do not tell it.
    #[serde(default)]
    pub measured: Option<Box<Measured>>,
    /// What its roles may do beyond its schema, once that was looked at; former releases do not tell it.
    #[serde(default)]
    pub isolation: Option<Box<[Hole]>>,
    /// What it logs in with, for each purpose for which the operator gave it something; former releases do not tell it.
    #[serde(default)]
    pub credentials: Option<Box<[CredentialRow]>>,
    /// What it gives to others, if it gives anything; former releases do not tell it.
    #[serde(default)]
    pub grants: Option<Box<[GrantRow]>>,
    /// What ended with tenants that gave it grants, if anything did; former releases do not tell it.
    #[serde(default)]
    pub taken: Option<Box<[TakenRow]>>,
    /// Its policies on tables, if it asks for any; former releases do not tell them.
    #[serde(default)]
    pub row_security: Option<Box<RowSecurityRow>>,
    /// The newest finished backup.
    pub last_backup: Option<Box<LastBackup>>,
    /// The newest operation on it.
    pub last_operation: Option<LastOperation>,
    /// Long work that is requested or under way.
    pub jobs: Vec<JobRow>,
}

impl TenantRow {
    /// Whether it lives, and its schema with it.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.schema_exists && self.status.lives()
    }

    /// What it logs in with for this purpose.
    #[must_use]
    pub fn credential(&self, purpose: &Purpose) -> Option<&CredentialRow> {
        self.credentials.iter().flatten().find(|credential| credential.purpose == *purpose)
    }

    /// What it uses, in bytes, as far as is known now: its files and its large objects.
    #[must_use]
    pub fn used_bytes(&self) -> i64 {
        self.file_bytes() + self.large_objects.as_ref().map_or(0, |large| large.bytes)
    }

    /// What the files of its schema have, as far as is known now: what was just estimated does not make it smaller.
    #[must_use]
    pub fn file_bytes(&self) -> i64 {
        match self.measured.as_deref() {
            Some(Measured { storage_bytes: Some(bytes), exact: true, .. }) => *bytes,
            Some(Measured { storage_bytes: Some(bytes), .. }) => self.storage_bytes.max(*bytes),
            _ => self.storage_bytes,
        }
    }

    /// What counts of that in its quota: not what deletes left free.
    #[must_use]
    pub fn counted_bytes(&self) -> i64 {
        self.used_bytes() - self.uncounted_bytes()
    }

    /// What counts of that for taking its writes: of large objects that are estimated by their number no more than it has for
    /// certain, since the large ones may be a neighbour's.
    #[must_use]
    pub fn certain_bytes(&self) -> i64 {
        self.counted_bytes() - self.uncertain_bytes()
    }

    /// What is estimated of large objects beyond what it has for certain.
    #[must_use]
    pub fn uncertain_bytes(&self) -> i64 {
        self.large_objects.as_ref().map_or(0, |large| large.bytes - large.least)
    }

    /// What deletes left free, as the latest survey knew it: of what its files have now never more than half, as documented.
    #[must_use]
    pub fn uncounted_bytes(&self) -> i64 {
        self.freed_bytes.unwrap_or_default().clamp(0, self.file_bytes() / 2)
    }

    /// In how many days its quota is used up if it grows on as of late; nothing if it does not grow, or has no quota.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a forecast")]
    pub fn days_until_full(&self) -> Option<f64> {
        let (limit, growth) = (self.quota_limit?, self.growth_per_day.filter(|growth| *growth > 0)?);
        Some((limit - self.counted_bytes()).max(0) as f64 / growth as f64)
    }

    /// What would be lost with it, for people.
    #[must_use]
    pub fn content(&self) -> String {
        self.measured.as_deref().map_or_else(|| "its content was not measured".to_owned(), Measured::to_string)
    }
}

/// What a tenant uses, measured when it was asked for.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Measured {
    /// When.
    pub at: Timestamp,
    /// Tables, partitions among them.
    pub table_count: i32,
    /// Tables, indexes and TOAST, in bytes; nothing where it could not be found out.
    pub storage_bytes: Option<i64>,
    /// Every table was opened: none is locked, and there are not thousands.
    pub exact: bool,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, table_count, storage_bytes, exact } = self;
        write!(f, "{}, ", count(i64::from(*table_count), "table"))?;
        match storage_bytes {
            Some(bytes) => write!(f, "{}{bytes} bytes, as of {at}", if *exact { "" } else { "about " }),
            None => write!(f, "as of {at}, and their size could not be measured"),
        }
    }
}

/// The large objects of a tenant's roles.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct LargeObjects {
    /// How many there are.
    pub count: i64,
    /// What they take, in bytes.
    pub bytes: i64,
    /// What they take at least, whatever others have.
    pub least: i64,
    /// How it is known.
    pub how: LargeObjectsHow,
    /// What a DBA runs so that it is known better.
    #[serde(default)]
    pub statement: Option<String>,
}

/// How it is known what large objects take.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LargeObjectsHow {
    /// All of them were read.
    Exact,
    /// Some pages of them were read.
    Sampled,
    /// By their number, among all large objects of the database.
    Share,
    /// A word of a later release.
    #[serde(other)]
    Other,
}

impl LargeObjects {
    /// Whether a text about them tells the same way to better figures.
    #[must_use]
    pub fn is_told_by(&self, text: &str) -> bool {
        let certain = format!("counts only {} of it", human(self.least.unsigned_abs()));
        let way = self.statement.as_ref().map_or(!text.contains("superuser"), |statement| text.contains(statement));
        way && (self.least >= self.bytes || text.contains(&certain)) && text.contains("large object")
    }
}

impl fmt::Display for LargeObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, objects) = (human(self.bytes.unsigned_abs()), count(self.count, "large object"));
        let least = human(self.least.unsigned_abs());
        match (&self.how, &self.statement) {
            (LargeObjectsHow::Exact, _) => write!(f, "{size} are {objects}"),
            (LargeObjectsHow::Share, Some(statement)) => {
                write!(f, "{size} are {objects}, estimated by their number among all of the database")?;
                if self.least < self.bytes {
                    write!(f, ", which is not certain, so that a block counts only {least} of it")?;
                }
                write!(f, "; for exact figures, as a superuser, in this database: {statement}")
            }
            _ => write!(f, "{size} are {objects}, estimated by a sample"),
        }
    }
}

/// Tables of a tenant's schema that do not belong to its owner role.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct ForeignTables {
    /// How many.
    pub count: i64,
    /// The first of them by name.
    pub name: String,
    /// The role that this one belongs to.
    pub owner: String,
    /// What makes it the tenant's.
    pub statement: String,
}

impl fmt::Display for ForeignTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, name, owner, statement } = self;
        match count {
            1 => write!(f, "; table {name} belongs to role {owner} and not to the tenant's owner role: {statement}"),
            _ => write!(
                f,
                "; {count} tables belong to other roles than the tenant's owner role, {name} to {owner} for one: {statement}"
            ),
        }
    }
}

/// Why a size has been an estimate for longer than a migration takes.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct SizeEstimate {
    /// Since the first survey that could not measure it.
    pub since: Timestamp,
    /// The session or prepared transaction that holds a table, for people; nothing when none was found.
    #[serde(default)]
    pub holder: Option<String>,
    /// The table.
    #[serde(default)]
    pub table: Option<String>,
    /// What ends it.
    #[serde(default)]
    pub statement: Option<String>,
}

impl fmt::Display for SizeEstimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.since;
        match (&self.holder, &self.table, &self.statement) {
            (Some(holder), Some(table), Some(statement)) => write!(
                f,
                "; its size has been an estimate since {since}, because {holder} keeps table {table} locked against readers; as a superuser, in \
                 this database: {statement}"
            ),
            _ => write!(
                f,
                "; its size has been an estimate since {since}, because no survey could open a table of it; how to find what locks \
                 it is in {DOCS}/runbooks/TenantSizeUnknown.md, and what else may be wrong in the server's log"
            ),
        }
    }
}

/// One difference between what was applied and what is.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Drift {
    /// For people.
    pub what: String,
    /// The functions can put it right.
    pub repairable: bool,
    /// What a DBA runs when they cannot.
    pub statement: Option<String>,
}

/// A tenant's newest backup.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct LastBackup {
    /// Its id.
    pub backup_id: Uuid,
    /// The SchemaBackup that asked for it.
    pub object_name: Option<String>,
    /// `Snapshot` or `SetAside`.
    pub method: String,
    /// The schema that holds it.
    pub location: Option<String>,
    /// When it was finished.
    pub completed_at: Option<Timestamp>,
    /// In bytes.
    pub size_bytes: Option<i64>,
}

/// A tenant's newest operation.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct LastOperation {
    /// What was done.
    #[serde(rename = "type")]
    pub kind: OperationType,
    /// How it ended.
    pub status: OperationStatus,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration_ms: Option<i64>,
    /// Why it failed.
    pub error: Option<Box<str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_other_roles_are_counted_and_the_first_is_named() {
        let told = |count| {
            let table = |text: &str| text.to_owned();
            ForeignTables { count, name: table("log"), owner: table("app"), statement: table("ALTER TABLE") }
                .to_string()
        };
        assert_eq!(told(1), "; table log belongs to role app and not to the tenant's owner role: ALTER TABLE");
        assert!(
            told(3).starts_with("; 3 tables belong to other roles than the tenant's owner role, log to app for one")
        );
    }
}
