//! A session of a tenant's own login, for what our functions may not do for it. It has that login's rights and no more, and ends with
//! what it was opened for.

use std::time::Duration;

use tokio::{task::JoinHandle, time::timeout};
use tokio_postgres::{
    Client, Config,
    config::{Host, TargetSessionAttrs},
    error::SqlState,
    types::Type,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{error::Error, pool::Pool};
use crate::api::connection::TlsMode;

/// What is sent, with the statements in it.
const OWN_STATEMENTS: &str = include_str!("../../sql/call/own_statements.sql");

/// What asks a new session whether it is the one that was meant.
const IS_MEANT: &str = include_str!("../../sql/call/is_meant.sql");

/// What the attempts are called in messages.
const NAME: &str = "own_statements";
pub(super) const SESSION: &str = "tenant_session";

/// How long it may take, with the connection.
const DEADLINE: Duration = Duration::from_secs(15);

/// What counts before the defaults that a tenant stored for its login: with these it could keep its own session from beginning.
const OPTIONS: &str = "-c local_preload_libraries= -c statement_timeout=10000 -c default_transaction_read_only=off";

/// How long a statement of a session waits for a lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// A session in which the operator works as a tenant.
pub struct TenantSession {
    pub(super) client: Client,
    pub(super) tls: MakeRustlsConnect,
    pub(super) program: ProgramConnection,
    pub(super) config: Config,
    /// The role that it is.
    pub(super) role: String,
    connection: JoinHandle<()>,
}

/// How a program connects as the same login, in the words of libpq. It has no `Debug`, since it has a password.
#[derive(Clone)]
pub struct ProgramConnection {
    /// Names, addresses or folders of sockets, as many as `ports`.
    pub hosts: Vec<String>,
    /// Their ports.
    pub ports: Vec<u16>,
    /// The database.
    pub database: String,
    /// The login.
    pub user: String,
    /// Its password, which ends with the session's.
    pub password: String,
    /// Options of the session, as `PGOPTIONS` has them: it is the tenant's owner role from the beginning.
    pub options: String,
    /// Only a server that can be written is meant, where there are several hosts.
    pub is_read_write: bool,
    /// How much is asked of TLS.
    pub tls: TlsMode,
    /// The certificates to trust, in PEM; those of the system when absent.
    pub ca_pem: Option<Vec<u8>>,
}

/// As whom it begins, and where.
pub struct Identity<'a> {
    /// Who logs in.
    pub login: &'a str,
    /// Its password.
    pub password: &'a str,
    /// The role that it is from the beginning, and again after `RESET ROLE`.
    pub role: &'a str,
    /// The tenant's schema, by which the database is known.
    pub schema_oid: i64,
}

impl Pool {
    /// How the server itself is reached, if that is known to be another way than the pool's.
    pub(super) fn direct(&self) -> (&Config, &MakeRustlsConnect) {
        self.direct.as_deref().map_or((&self.connection.pg, &self.tls), |(config, tls)| (config, tls))
    }

    /// Logs in at the server itself, as another login, and runs statements in one transaction.
    pub async fn run_as(&self, login: &str, password: &str, statements: &str) -> Result<(), Error> {
        let (config, tls) = self.direct();
        let mut plain = config.clone();
        plain.user(login).password(password);
        let mut config = plain.clone();
        config.options(OPTIONS);
        let sent = OWN_STATEMENTS
            .replace(":milliseconds", &(DEADLINE.as_millis() / 2).to_string())
            .replace(":statements", statements);
        let work = async {
            let connected = match config.connect(tls.clone()).await {
                // A pooler that takes no options.
                Err(error) if error.code() == Some(&SqlState::PROTOCOL_VIOLATION) => plain.connect(tls.clone()).await,
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

    /// Opens a session at the server itself that is `role` from the beginning; no statement takes longer than `limit`.
    ///
    /// The role is an option of the session and not a default of its login, since no function of ours can store one. It counts
    /// before what a tenant stored, and `RESET ROLE` leads back to it.
    pub async fn session_as(&self, identity: &Identity<'_>, limit: Duration) -> Result<TenantSession, Error> {
        let Identity { login, password, role, schema_oid } = identity;
        let (config, tls) = self.direct();
        let mut config = config.clone();
        let options = format!(
            "{OPTIONS} -c statement_timeout={} -c lock_timeout={} -c search_path=pg_catalog,pg_temp -c role={}",
            limit.as_millis(),
            LOCK_TIMEOUT.as_millis(),
            escaped(role)
        );
        config.user(*login).password(password).options(&options);
        let reached = self.connection.direct().unwrap_or(&self.connection);
        let program = ProgramConnection {
            hosts: hosts(&config),
            ports: config.get_ports().to_vec(),
            database: config.get_dbname().unwrap_or_default().to_owned(),
            user: (*login).to_owned(),
            password: (*password).to_owned(),
            options,
            is_read_write: config.get_target_session_attrs() == TargetSessionAttrs::ReadWrite,
            tls: reached.tls,
            ca_pem: reached.ca_pem.clone(),
        };
        let begun = async {
            let session = TenantSession::connect(config, tls.clone(), program, (*role).to_owned()).await?;
            let rows = session.client.query_typed(IS_MEANT, &[(role, Type::TEXT), (schema_oid, Type::INT8)]).await;
            let rows = rows.map_err(|error| Error::from_call(SESSION, &error))?;
            let is_meant = rows.first().and_then(|row| row.try_get(0).ok()).unwrap_or(false);
            if is_meant { Ok(session) } else { Err(misled()) }
        };
        timeout(DEADLINE, begun).await.unwrap_or(Err(Error::Deadline { call: SESSION, deadline: DEADLINE }))
    }
}

/// The connection leads to something else than the server's database.
fn misled() -> Error {
    let message = "its session is not the owner role in this database from the beginning; where spec.connection leads to a pooler, let \
                   spec.directConnection.secretRef name a Secret with the address of the server itself"
        .to_owned();
    Error::Refused { call: SESSION, message, may_pass: false }
}

/// The hosts of a configuration, or its addresses where it has no names.
fn hosts(config: &Config) -> Vec<String> {
    let of = |host: &Host| match host {
        Host::Tcp(name) => name.clone(),
        #[cfg(unix)]
        Host::Unix(folder) => folder.display().to_string(),
    };
    let names = config.get_hosts();
    if names.is_empty() {
        return config.get_hostaddrs().iter().map(ToString::to_string).collect();
    }
    names.iter().map(of).collect()
}

impl TenantSession {
    /// Logs in.
    pub(super) async fn connect(
        config: Config,
        tls: MakeRustlsConnect,
        program: ProgramConnection,
        role: String,
    ) -> Result<Self, Error> {
        // A pooler that takes no options says so.
        let failed = |error: tokio_postgres::Error| match error.code() {
            Some(&SqlState::PROTOCOL_VIOLATION) => misled(),
            _ => Error::from_connect(&error),
        };
        let (client, connection) = config.connect(tls.clone()).await.map_err(failed)?;
        let connection = tokio::spawn(async move {
            // What breaks it shows in the statement that is under way.
            let _ = connection.await;
        });
        Ok(Self { client, tls, program, config, role, connection })
    }

    /// How a program connects as the same login.
    #[must_use]
    pub fn program(&self) -> &ProgramConnection {
        &self.program
    }

    /// Runs one statement, and cancels it at the server when `deadline` has passed.
    pub async fn run(&self, statement: &str, deadline: Duration) -> Result<(), Error> {
        if let Ok(done) = timeout(deadline, self.client.batch_execute(statement)).await {
            return done.map_err(|error| Error::from_call(SESSION, &error));
        }
        // The login is closed next, which ends the session if this does not arrive.
        let _ = timeout(LOCK_TIMEOUT, self.client.cancel_token().cancel_query(self.tls.clone())).await;
        Err(Error::Deadline { call: SESSION, deadline })
    }
}

impl Drop for TenantSession {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// A value in the options of a session, which are split at spaces.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace(' ', "\\ ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_one_option() {
        assert_eq!(escaped("ts_1_owner"), "ts_1_owner");
        assert_eq!(escaped(r"a b\ c"), r"a\ b\\\ c");
    }
}
