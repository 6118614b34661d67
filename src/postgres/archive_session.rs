//! What of a tenant's session an archive needs: its tables stand still from before the snapshot that a program then dumps by, and are
//! counted and hashed in the same one.
//!
//! A table that is rewritten or emptied between the begin of a snapshot and the first look at it shows no rows in that snapshot. So the
//! tables are locked first, as readers lock them, and the snapshot begins after that; if it knows others than those that were
//! locked, all is done again.

use serde_json::Value;
use tokio_postgres::{Row, types::Type};

use super::{error::Error, pool::Parameter, tenant_session::TenantSession};

const BEGIN: &str = include_str!("../../sql/call/archive_session.sql");
const TABLES: &str = include_str!("../../sql/call/archive_tables.sql");
const SNAPSHOT: &str = include_str!("../../sql/call/archive_snapshot.sql");
const HELD: &str = include_str!("../../sql/call/archive_held.sql");
const FEW_COMMENTS: &str = include_str!("../../sql/call/archive_comments.sql");
const FACTS: &str = include_str!("../../sql/call/archive_facts.sql");
const ROLLBACK: &str = include_str!("../../sql/call/rollback.sql");

/// What the attempts are called in messages.
const NAME: &str = "archive";

/// The most bytes of comments in a database that a program which dumps a part of it reads into its memory.
const COMMENTS: i64 = 16 << 20;

/// How often the tables may be others than those that were locked.
const ROUNDS: usize = 5;

/// A table that is archived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedTable {
    /// Its `pg_class.oid`.
    pub oid: i64,
    /// Its name, without the schema.
    pub name: String,
    /// Its columns, in the order in which the hash has them.
    pub columns: Vec<String>,
    lock: String,
    content: String,
    schema: String,
}

/// The tables of a schema, standing still in one snapshot.
pub struct Held {
    /// The snapshot, by which a program can look at the same.
    pub snapshot: String,
    /// The tables.
    pub tables: Vec<ArchivedTable>,
}

/// What a table holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its rows.
    pub rows: i64,
    /// A sum over their hashes, which does not depend on their order.
    pub hash: String,
}

impl TenantSession {
    /// Locks the tables of the schema as a reader does, and begins the snapshot that counts for all of them. They are held until the
    /// session ends.
    pub async fn hold_tables(&self, schema_oid: i64, schema: &str) -> Result<Held, Error> {
        for _ in 0..ROUNDS {
            let tables = self.tables(schema_oid).await?;
            // One batch, since each would be a trip to the server; what it takes no snapshot for comes first.
            let locks = tables.iter().map(|table| table.lock.as_str());
            let batch: Vec<_> = std::iter::once(BEGIN.trim_end().trim_end_matches(';')).chain(locks).collect();
            self.client.batch_execute(&batch.join(";\n")).await.map_err(|error| Error::from_call(NAME, &error))?;
            let snapshot = self.one(SNAPSHOT, &[], |row| row.try_get(0).ok()).await?;
            // A schema that is renamed meanwhile is dumped under the name that it had.
            let is_named = tables.iter().all(|table| table.schema == schema);
            if is_named && self.tables(schema_oid).await? == tables {
                return Ok(Held { snapshot, tables });
            }
            self.client.batch_execute(ROLLBACK).await.map_err(|error| Error::from_call(NAME, &error))?;
        }
        let message =
            "tables of the tenant come and go all the time, so that they cannot be archived as they are at one moment"
                .to_owned();
        Err(Error::Refused { call: NAME, message, may_pass: true })
    }

    /// How many tables of rows the schema has.
    pub async fn count_tables(&self, schema_oid: i64) -> Result<usize, Error> {
        Ok(self.tables(schema_oid).await?.len())
    }

    /// Fails unless the session still holds what it locked.
    pub async fn still_holds(&self) -> Result<(), Error> {
        self.one(HELD, &[], |_| Some(())).await
    }

    /// Whether the comments in the database are few enough to be dumped.
    pub async fn comments_are_few(&self) -> Result<bool, Error> {
        self.one(FEW_COMMENTS, &[(&COMMENTS, Type::INT8)], |row| row.try_get(0).ok()).await
    }

    /// Counts and hashes the rows of a table that is held.
    pub async fn content(&self, table: &ArchivedTable) -> Result<Content, Error> {
        let read = |row: &Row| Some(Content { rows: row.try_get(0).ok()?, hash: row.try_get(1).ok()? });
        self.one(&table.content, &[], read).await
    }

    /// What else is to be known of the schema: sequences, rights, row security, extensions, references.
    pub async fn facts(&self, schema_oid: i64) -> Result<Value, Error> {
        self.one(FACTS, &[(&schema_oid, Type::INT8)], |row| row.try_get(0).ok()).await
    }

    async fn tables(&self, schema_oid: i64) -> Result<Vec<ArchivedTable>, Error> {
        let read = |row: &Row| {
            Some(ArchivedTable {
                oid: row.try_get(0).ok()?,
                name: row.try_get(1).ok()?,
                lock: row.try_get(2).ok()?,
                content: row.try_get(3).ok()?,
                schema: row.try_get(4).ok()?,
                columns: row.try_get(5).ok()?,
            })
        };
        self.all(TABLES, &[(&schema_oid, Type::INT8)], read).await
    }

    /// The first row of an answer.
    async fn one<T>(
        &self,
        statement: &str,
        parameters: &[Parameter<'_>],
        read: impl Fn(&Row) -> Option<T>,
    ) -> Result<T, Error> {
        self.all(statement, parameters, read).await?.into_iter().next().ok_or_else(unread)
    }

    /// All rows of an answer.
    async fn all<T>(
        &self,
        statement: &str,
        parameters: &[Parameter<'_>],
        read: impl Fn(&Row) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        let rows = self.client.query_typed(statement, parameters).await;
        let rows = rows.map_err(|error| Error::from_call(NAME, &error))?;
        rows.iter().map(read).collect::<Option<_>>().ok_or_else(unread)
    }
}

/// The server answered in another form than its functions of this release have.
fn unread() -> Error {
    Error::Refused {
        call: NAME,
        message: "the server's answer has another form than expected".to_owned(),
        may_pass: false,
    }
}

#[cfg(test)]
impl ArchivedTable {
    /// One of this name, with these columns.
    #[must_use]
    pub fn of(name: &str, columns: Vec<String>) -> Self {
        Self {
            oid: 0,
            name: name.to_owned(),
            columns,
            lock: String::new(),
            content: String::new(),
            schema: String::new(),
        }
    }
}
