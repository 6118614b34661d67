//! Connections to one database, and the one way in which a call travels over them.
//!
//! A call is `BEGIN; SET LOCAL …`, one statement, `COMMIT`, written to the socket together: one round trip. Statements
//! are unnamed and settings are local to the transaction, so a transaction pooler may stand between. A call whose
//! deadline passes is cancelled at the server, because dropping a future leaves its statement running there.

use std::{
    future::Future,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use deadpool_postgres::{Manager, ManagerConfig, Object, PoolError, QueueMode, RecyclingMethod, Runtime, TimeoutType};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tokio_postgres::{
    Row,
    types::{FromSql, ToSql, Type, accepts},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{connection::Connection, error::Error, tls::client_config};

/// A connection is closed when it was not used for this long: no work, no connection.
const IDLE: Duration = Duration::from_secs(90);
/// A connection is renewed at this age, because a backend's cache of relations never shrinks.
const LIFETIME: Duration = Duration::from_mins(15);
/// A connection keeps a buffer as long as the longest answer that it read, so one that read a longer one than this many bytes is
/// closed: a survey that tells ten thousand tenants takes 12 MiB.
const LONGEST_ANSWER: usize = 2 << 20;
/// What opens the transaction of a call.
const BEGIN: &str = include_str!("../../sql/call/begin.sql");
/// How long the server gets to answer a cancellation before the connection is dropped.
const CANCEL_GRACE: Duration = Duration::from_secs(5);

/// A parameter with the type the server is to take it for, so that no statement must be prepared to find out.
pub type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// One statement by which the operator calls a management function.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The function's name, for messages and metrics.
    pub name: &'static str,
    /// The statement's text, from `sql/`.
    pub sql: &'static str,
}

/// The pool of one database.
#[derive(Clone)]
pub struct Pool {
    inner: deadpool_postgres::Pool,
    pub(super) tls: MakeRustlsConnect,
    /// How the server itself is reached, where the pool's connection leads to a pooler.
    pub(super) direct: Option<Arc<(tokio_postgres::Config, MakeRustlsConnect)>>,
    /// What the pool was made from: a Secret that changed makes another pool.
    pub connection: Arc<Connection>,
    world: Arc<RwLock<Option<Heard>>>,
    closes: bool,
}

/// What was heard of the database last, sent with every call: if the registry has less, the database is an older state
/// of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// When the server started.
    pub start: i64,
    /// How many signs of life the registry has counted.
    pub beats: i64,
}

/// How busy a pool is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolUse {
    /// Connections that are open.
    pub open: usize,
    /// Open connections that no call uses.
    pub idle: usize,
    /// Calls that wait for a connection.
    pub waiting: usize,
}

fn tls_of(connection: &Connection) -> Result<MakeRustlsConnect, Error> {
    let unusable = |source| Error::Tls { attempt: connection.attempt(), source };
    Ok(MakeRustlsConnect::new(client_config(connection).map_err(unusable)?))
}

impl Pool {
    /// Prepares a pool of at most `max_connections`; connects only when a call needs it.
    pub fn new(connection: Connection, max_connections: usize) -> Result<Self, Error> {
        let tls = tls_of(&connection)?;
        let manager = Manager::from_config(
            connection.pg.clone(),
            tls.clone(),
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        // The driver's own limit ends with the TCP connection; a peer that then says nothing must not hold a call.
        let inner = deadpool_postgres::Pool::builder(manager)
            .max_size(max_connections)
            // What little is to do at rest uses one connection, and the others are closed when they were idle for long.
            .queue_mode(QueueMode::Lifo)
            .create_timeout(connection.pg.get_connect_timeout().copied())
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| Error::Unreachable { message: error.to_string() })?;
        let direct = match connection.direct() {
            Some(direct) => Some(Arc::new((direct.pg.clone(), tls_of(direct)?))),
            None => None,
        };
        Ok(Self { inner, tls, direct, connection: Arc::new(connection), world: Arc::default(), closes: false })
    }

    /// The same pool, of which each call closes the connection that it used: what happened in the session ends with the call. A
    /// connection counts as one of the pool's until then.
    #[must_use]
    pub fn closing(&self) -> Self {
        Self { closes: true, ..self.clone() }
    }

    /// Calls a function that returns one JSON document and reads it as `T`. Conflicts between transactions are tried
    /// again a few times, since the server asks for exactly that.
    pub async fn call<T: DeserializeOwned>(
        &self,
        call: Call,
        parameters: &[Parameter<'_>],
        deadline: Duration,
    ) -> Result<T, Error> {
        self.call_until(call, parameters, deadline, std::future::pending()).await
    }

    /// As [`Pool::call`], and cancels the statement at the server when `cancelled` completes.
    pub async fn call_until<T: DeserializeOwned>(
        &self,
        call: Call,
        parameters: &[Parameter<'_>],
        deadline: Duration,
        cancelled: impl Future<Output = ()>,
    ) -> Result<T, Error> {
        const TRIES: u32 = 4;
        let mut cancelled = std::pin::pin!(cancelled);
        let mut tried = 1;
        loop {
            match self.run(call, parameters, deadline, &mut cancelled).await {
                Err(error) if error.is_conflict() && tried < TRIES => tried += 1,
                other => return other,
            }
        }
    }

    /// Runs a script of many statements that opens and commits its own transaction.
    pub async fn script(&self, name: &'static str, sql: &str, deadline: Duration) -> Result<(), Error> {
        let call_in_flight = InFlight { client: Some(self.get(deadline).await?), tls: self.tls.clone() };
        match timeout(deadline, call_in_flight.client().batch_execute(sql)).await {
            Ok(Ok(())) => {
                // It keeps a buffer as long as the longest text that it sent, and a script is half a megabyte.
                call_in_flight.close();
                Ok(())
            }
            Ok(Err(error)) => {
                // The script's transaction is open and failed; this connection must not go back to the pool with it.
                call_in_flight.cancel().await;
                Err(Error::from_call(name, &error).at(&self.connection))
            }
            Err(_) => {
                call_in_flight.cancel().await;
                Err(Error::Deadline { call: name, deadline })
            }
        }
    }

    /// What was heard of the database; of two answers that cross the later one counts.
    pub fn hear(&self, heard: Heard) {
        let mut world = self.world.write().unwrap_or_else(PoisonError::into_inner);
        *world = Some(Heard { beats: world.map_or(heard.beats, |known| known.beats.max(heard.beats)), ..heard });
    }

    /// What was heard of the database last.
    #[must_use]
    pub fn heard(&self) -> Option<Heard> {
        *self.world.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// How busy the pool is now.
    #[must_use]
    pub fn usage(&self) -> PoolUse {
        let status = self.inner.status();
        PoolUse { open: status.size, idle: status.available, waiting: status.waiting }
    }

    /// Closes one that is idle if all are open, so that the caller, who keeps one call from being made, can open one beside them.
    pub fn make_room(&self) {
        let status = self.inner.status();
        let mut is_full = status.size >= status.max_size;
        self.inner.retain(|_, _| !std::mem::take(&mut is_full));
    }

    /// Closes connections that are idle or old.
    pub fn tend(&self) {
        self.inner.retain(|_, metrics| metrics.last_used() < IDLE && metrics.age() < LIFETIME);
    }

    async fn run<T: DeserializeOwned>(
        &self,
        call: Call,
        parameters: &[Parameter<'_>],
        deadline: Duration,
        cancelled: &mut (impl Future<Output = ()> + Unpin),
    ) -> Result<T, Error> {
        let call_in_flight = InFlight { client: Some(self.get(deadline).await?), tls: self.tls.clone() };
        let client = call_in_flight.client();
        // The server's own limit is a second shorter than ours, so that its answer names the statement and is logged.
        let limit = deadline.saturating_sub(Duration::from_secs(1)).max(Duration::from_millis(500)).as_millis();
        let world = self.heard().map_or_else(String::new, |heard| format!("{}/{}", heard.start, heard.beats));
        let begin = BEGIN.replace(":milliseconds", &limit.to_string()).replace(":world", &world);
        let work = async {
            let (opened, rows, committed) = futures::join!(
                client.batch_execute(&begin),
                client.query_typed(call.sql, parameters),
                client.batch_execute("COMMIT"),
            );
            opened?;
            let rows = rows?;
            committed?;
            Ok::<_, tokio_postgres::Error>(rows)
        };
        let rows = tokio::select! {
            rows = timeout(deadline, work) => rows,
            () = cancelled => {
                call_in_flight.cancel().await;
                return Err(Error::Statement {
                    call: call.name, code: "57014".to_owned(), message: "cancelled on request".to_owned(),
                });
            }
        };
        let is_long = |rows: &Vec<Row>| rows.iter().map(Row::raw_size_bytes).sum::<usize>() > LONGEST_ANSWER;
        match &rows {
            Ok(read) if self.closes || read.as_ref().is_ok_and(is_long) => call_in_flight.close(),
            Ok(_) => call_in_flight.ended(),
            Err(_) => call_in_flight.cancel().await,
        }
        match rows {
            Ok(Ok(rows)) => {
                let document = match rows.first().map(|row| row.try_get::<_, Option<Document<'_>>>(0)) {
                    Some(Ok(document)) => document.unwrap_or(Document(b"null")),
                    Some(Err(error)) => return Err(Error::from_call(call.name, &error).at(&self.connection)),
                    None => Document(b"null"),
                };
                serde_json::from_slice(document.0).map_err(|source| Error::Answer { call: call.name, source })
            }
            Ok(Err(error)) => Err(Error::from_call(call.name, &error).at(&self.connection)),
            Err(_) => Err(Error::Deadline { call: call.name, deadline }),
        }
    }

    async fn get(&self, deadline: Duration) -> Result<Object, Error> {
        match timeout(deadline, self.inner.get()).await {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(PoolError::Backend(error))) => Err(Error::from_connect(&error)),
            Ok(Err(PoolError::Timeout(TimeoutType::Create))) => {
                Err(Error::Unreachable { message: "no answer in time".to_owned() })
            }
            Ok(Err(other)) => Err(Error::Unreachable { message: other.to_string() }),
            Err(_) => Err(Error::PoolBusy(deadline)),
        }
        .map_err(|error| error.at(&self.connection))
    }
}

/// The text of a `jsonb` value, where it lies in the row: the answer of a survey is read without a copy of it.
struct Document<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Document<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        // Before the text stands the version of the format, of which there is one.
        match raw.split_first() {
            Some((1, text)) => Ok(Self(text)),
            _ => Err("jsonb in a format other than 1".into()),
        }
    }

    accepts!(JSONB);
}

/// A connection that a call is using. Dropping the call's future must not give the connection back to the pool: the
/// statement goes on at the server, and the next call would wait behind it. So it is cancelled there and the connection is
/// thrown away.
struct InFlight {
    client: Option<Object>,
    tls: MakeRustlsConnect,
}

impl InFlight {
    fn client(&self) -> &Object {
        // Only `ended`, `close`, `cancel` and `drop` take it, and each of them ends this value.
        #[allow(clippy::expect_used, reason = "a stated impossibility")]
        self.client.as_ref().expect("a call in flight has its connection")
    }

    /// The answer was read: the connection goes back to the pool.
    fn ended(mut self) {
        drop(self.client.take());
    }

    /// The answer was read, and nothing uses the connection any more.
    fn close(mut self) {
        drop(self.client.take().map(Object::take));
    }

    /// Asks the server to stop and waits until it was asked.
    async fn cancel(mut self) {
        if let Some(cancelling) = self.cancelling() {
            cancelling.await;
        }
    }

    fn cancelling(&mut self) -> Option<impl Future<Output = ()> + Send + 'static + use<>> {
        let client = self.client.take()?;
        let (token, tls) = (client.cancel_token(), self.tls.clone());
        drop(Object::take(client));
        Some(async move {
            // A cancellation that does not arrive changes nothing: the server's own statement_timeout ends the statement.
            let _ = timeout(CANCEL_GRACE, token.cancel_query(tls)).await;
        })
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(cancelling) = self.cancelling() {
            tokio::spawn(cancelling);
        }
    }
}
