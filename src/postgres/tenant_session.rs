//! A session of a tenant's own login, for what our functions may not do for it. It has that login's rights and no more, and ends with
//! what it was opened for.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::error::SqlState;

use super::{error::Error, pool::Pool};

/// What is sent, with the statements in it.
const OWN_STATEMENTS: &str = include_str!("../../sql/call/own_statements.sql");

/// What the attempt is called in messages.
const NAME: &str = "own_statements";

/// How long it may take, with the connection.
const DEADLINE: Duration = Duration::from_secs(15);

/// What counts before the defaults that a tenant stored for its login: with these it could keep its own session from beginning.
const OPTIONS: &str = "-c local_preload_libraries= -c statement_timeout=10000 -c default_transaction_read_only=off";

impl Pool {
    /// Logs in where this pool does, as another login, and runs statements in one transaction.
    pub async fn run_as(&self, login: &str, password: &str, statements: &str) -> Result<(), Error> {
        let mut plain = self.connection.pg.clone();
        plain.user(login).password(password);
        let mut config = plain.clone();
        config.options(OPTIONS);
        let sent = OWN_STATEMENTS
            .replace(":milliseconds", &(DEADLINE.as_millis() / 2).to_string())
            .replace(":statements", statements);
        let work = async {
            let connected = match config.connect(self.tls.clone()).await {
                // A pooler that takes no options.
                Err(error) if error.code() == Some(&SqlState::PROTOCOL_VIOLATION) => {
                    plain.connect(self.tls.clone()).await
                }
                other => other,
            };
            let (client, connection) = connected.map_err(|error| Error::from_connect(&error))?;
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
