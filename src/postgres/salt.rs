//! The salt of a login's password, which a server tells each client that wants to log in, before a password is due.
//!
//! It is another one with each password, so that a password that was changed is noticed by one who knows neither. The client that
//! asks is written here, since no library begins to log in without going on: `postgres-protocol` writes and reads the messages.

use std::{io, time::Duration};

use postgres_protocol::message::{backend::Message, frontend};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_postgres::{
    config::{Host, SslMode},
    tls::{MakeTlsConnect, TlsConnect},
};
use uuid::Uuid;

use super::pool::Pool;

/// How long it may take.
const DEADLINE: Duration = Duration::from_secs(1);

/// The one method by which the operator's passwords are checked.
const METHOD: &str = "SCRAM-SHA-256";

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Pool {
    /// Begins to log in where this pool does, as another login, and goes away when the server has told iterations and salt as a
    /// verifier has them, or that its password is no SCRAM password. Nothing where it asks for no password, or refuses.
    pub async fn salt_of(&self, login: &str) -> io::Result<Option<String>> {
        let ask = async {
            let mut stream = self.reach().await?;
            salt(stream.as_mut(), login, self.connection.database()).await
        };
        timeout(DEADLINE, ask).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
    }

    /// A connection to the first host that takes one, encrypted as the pool's are.
    async fn reach(&self) -> io::Result<Box<dyn Stream>> {
        let config = &self.connection.pg;
        let port = |place: usize| match config.get_ports() {
            [] => 5432,
            [one] => *one,
            ports => ports.get(place).copied().unwrap_or(5432),
        };
        let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for (place, host) in config.get_hosts().iter().enumerate() {
            let address = config.get_hostaddrs().get(place);
            let reached = match (host, address) {
                #[cfg(unix)]
                (Host::Unix(path), _) => {
                    let path = path.join(format!(".s.PGSQL.{}", port(place)));
                    return Ok(Box::new(tokio::net::UnixStream::connect(path).await?));
                }
                (Host::Tcp(_), Some(address)) => TcpStream::connect((*address, port(place))).await,
                (Host::Tcp(name), None) => TcpStream::connect((name.as_str(), port(place))).await,
            };
            match (reached, host) {
                (Ok(stream), Host::Tcp(name)) => return self.encrypt(stream, name).await,
                (Ok(_), _) => {}
                (Err(error), _) => failed = error,
            }
        }
        Err(failed)
    }

    async fn encrypt(&self, mut stream: TcpStream, host: &str) -> io::Result<Box<dyn Stream>> {
        let mode = self.connection.pg.get_ssl_mode();
        if mode == SslMode::Disable {
            return Ok(Box::new(stream));
        }
        let mut request = bytes::BytesMut::new();
        frontend::ssl_request(&mut request);
        stream.write_all(&request).await?;
        match stream.read_u8().await? {
            b'S' => {
                let mut tls = self.tls.clone();
                let connect =
                    MakeTlsConnect::<TcpStream>::make_tls_connect(&mut tls, host).map_err(io::Error::other)?;
                Ok(Box::new(connect.connect(stream).await?))
            }
            _ if mode == SslMode::Prefer => Ok(Box::new(stream)),
            _ => Err(io::Error::other("the server offers no TLS")),
        }
    }
}

/// What the server answers to a login, as far as that is told before a password is due.
async fn salt(stream: &mut dyn Stream, login: &str, database: &str) -> io::Result<Option<String>> {
    let mut read = bytes::BytesMut::new();
    let mut request = bytes::BytesMut::new();
    let who = [("user", login), ("database", database), ("application_name", "tenant-schema-operator")];
    frontend::startup_message(who, &mut request)?;
    stream.write_all(&request).await?;
    loop {
        match Message::parse(&mut read)? {
            None => {
                if stream.read_buf(&mut read).await? == 0 {
                    return Ok(None);
                }
            }
            Some(Message::AuthenticationSasl(_)) => {
                let mut request = bytes::BytesMut::new();
                let first = format!("n,,n=,r={}", Uuid::new_v4().simple());
                frontend::sasl_initial_response(METHOD, first.as_bytes(), &mut request)?;
                stream.write_all(&request).await?;
            }
            Some(Message::AuthenticationSaslContinue(body)) => return Ok(told(body.data())),
            Some(Message::AuthenticationMd5Password(_)) => return Ok(Some("md5".to_owned())),
            Some(_) => return Ok(None),
        }
    }
}

/// `iterations:salt` of `r=nonce,s=salt,i=iterations`.
fn told(first: &[u8]) -> Option<String> {
    let mut parts = std::str::from_utf8(first).ok()?.split(',');
    let (_, salt, iterations) = (parts.next()?, parts.next()?.strip_prefix("s=")?, parts.next()?.strip_prefix("i=")?);
    Some(format!("{iterations}:{salt}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `check(the server's first message, expected)`.
    fn check(first: &str, expected: Option<&str>) {
        assert_eq!(told(first.as_bytes()).as_deref(), expected, "{first}");
    }

    #[test]
    fn iterations_and_salt_are_read_as_a_verifier_has_them() {
        check("r=abc,s=QSXCR+Q6sek8bf92,i=4096", Some("4096:QSXCR+Q6sek8bf92"));
        check("r=abc,s=QSXCR+Q6sek8bf92", None);
        check("e=unknown-user", None);
    }
}
