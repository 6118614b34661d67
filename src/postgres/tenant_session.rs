//! A session of a tenant's own login, for what our functions may not do for it. It has that login's rights and no more, and ends with
//! what it was opened for.

use std::time::Duration;

use tokio::time::timeout;

use super::{error::Error, pool::Pool};

/// What is sent, with the statements in it.
const OWN_STATEMENTS: &str = include_str!("../../sql/call/own_statements.sql");

/// What the attempt is called in messages.
const NAME: &str = "own_statements";

/// How long it may take, with the connection.
const DEADLINE: Duration = Duration::from_secs(15);

impl Pool {
    /// Logs in where this pool does, as another login, and runs statements in one transaction.
    pub async fn run_as(&self, login: &str, password: &str, statements: &str) -> Result<(), Error> {
        let mut config = self.connection.pg.clone();
        config.user(login).password(password);
        let sent = OWN_STATEMENTS
            .replace(":milliseconds", &(DEADLINE.as_millis() / 2).to_string())
            .replace(":statements", statements);
        let work = async {
            let (client, connection) =
                config.connect(self.tls.clone()).await.map_err(|error| Error::from_connect(&error))?;
            let statements = async {
                let done = client.batch_execute(&sent).await.map_err(|error| Error::from_call(NAME, &error));
                // The connection ends when nothing uses it any more.
                drop(client);
                done
            };
            let (done, _) = futures::join!(statements, connection);
            done
        };
        timeout(DEADLINE, work).await.unwrap_or(Err(Error::Deadline { call: NAME, deadline: DEADLINE }))
    }
}
