//! What is done in a scratch database, or about one, that no function can do.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::types::Type;

use super::{
    error::Error,
    pool::Pool,
    tenant_session::{SESSION, TenantSession},
};

/// What the attempts are called in messages.
const NAME: &str = "scratch_database";
const SCHEMA: &str = include_str!("../../sql/call/scratch_schema.sql");
/// Making or removing a database copies or deletes some thousand files.
const DEADLINE: Duration = Duration::from_mins(2);

impl Pool {
    /// Runs a statement that can be in no transaction.
    pub async fn outside_transaction(&self, statement: &str) -> Result<(), Error> {
        self.script(NAME, statement, DEADLINE).await
    }

    /// Runs statements in another database of the server, over a connection of its own.
    pub async fn run_in(&self, database: &str, statements: &[String]) -> Result<(), Error> {
        self.make_room();
        let (config, tls) = self.direct();
        let mut config = config.clone();
        config.dbname(database);
        let work = async {
            let (client, connection) =
                config.connect(tls.clone()).await.map_err(|error| Error::from_connect(&error))?;
            let run = async {
                let done = client.batch_execute(&statements.join(";\n")).await;
                // The connection ends when nothing uses it any more.
                drop(client);
                done.map_err(|error| Error::from_call(NAME, &error))
            };
            futures::join!(run, connection).0
        };
        timeout(DEADLINE, work).await.unwrap_or(Err(Error::Deadline { call: NAME, deadline: DEADLINE }))
    }
}

impl TenantSession {
    /// A session of the same login and role in another database of the server, and the number that the schema has there.
    pub async fn beside(&self, database: &str, schema: &str) -> Result<(Self, i64), Error> {
        let mut config = self.config.clone();
        config.dbname(database);
        let begun = async {
            let session = Self::connect(config, self.tls.clone(), self.program.clone(), self.role.clone()).await?;
            let parameters = [(&self.role as _, Type::TEXT), (&schema as _, Type::TEXT), (&database as _, Type::TEXT)];
            let rows = session.client.query_typed(SCHEMA, &parameters).await;
            let rows = rows.map_err(|error| Error::from_call(SESSION, &error))?;
            match rows.first().and_then(|row| row.try_get(0).ok()) {
                Some(oid) => Ok((session, oid)),
                None => Err(Error::Refused {
                    call: SESSION,
                    message: format!("database {database} has no schema {schema:?}, or leads to another one"),
                    may_pass: false,
                }),
            }
        };
        timeout(DEADLINE, begun).await.unwrap_or(Err(Error::Deadline { call: SESSION, deadline: DEADLINE }))
    }
}
