//! What is done in a scratch database, or about one, that no function can do.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::types::{FromSql, Type};

use super::{
    error::Error,
    pool::{Parameter, Pool},
    tenant_session::{ProgramConnection, SESSION, TenantSession},
};

/// What the attempts are called in messages.
const NAME: &str = "scratch_database";
const BESIDE: &str = include_str!("../../sql/call/scratch_beside.sql");
const MAKE_SCHEMA: &str = include_str!("../../sql/call/scratch_make_schema.sql");
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
    /// A session of the same login and role in another database of the server.
    pub async fn beside(&self, database: &str) -> Result<Self, Error> {
        let mut config = self.config.clone();
        config.dbname(database);
        let begun = async {
            let program = ProgramConnection { database: database.to_owned(), ..self.program.clone() };
            let session = Self::connect(config, self.tls.clone(), program, self.role.clone()).await?;
            let parameters = [(&self.role as _, Type::TEXT), (&database as _, Type::TEXT)];
            if session.first(BESIDE, &parameters).await? == Some(true) {
                return Ok(session);
            }
            let message =
                format!("the connection leads to another database than {database}, or the session is another role");
            Err(Error::Refused { call: SESSION, message, may_pass: false })
        };
        timeout(DEADLINE, begun).await.unwrap_or(Err(Error::Deadline { call: SESSION, deadline: DEADLINE }))
    }

    /// Makes a schema of this name, which is the role's.
    pub async fn make_schema(&self, name: &str) -> Result<(), Error> {
        let statement: Option<String> = self.first(MAKE_SCHEMA, &[(&name, Type::TEXT)]).await?;
        self.run(&statement.unwrap_or_default(), DEADLINE).await
    }

    /// The number of the schema of this name.
    pub async fn schema(&self, name: &str) -> Result<Option<i64>, Error> {
        self.first(SCHEMA, &[(&name, Type::TEXT)]).await
    }

    async fn first<T>(&self, statement: &str, parameters: &[Parameter<'_>]) -> Result<Option<T>, Error>
    where
        T: for<'a> FromSql<'a>,
    {
        let rows = self.client.query_typed(statement, parameters).await;
        let rows = rows.map_err(|error| Error::from_call(SESSION, &error))?;
        Ok(rows.first().and_then(|row| row.try_get(0).ok()))
    }
}
