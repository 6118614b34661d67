//! Connects an application with sqlx 0.9 and tokio 1, with the features `time` and `rt` of tokio.
//! sqlx = { version = "0.9", features = ["postgres", "runtime-tokio", "tls-rustls"] }

use std::{error::Error, fs, time::Duration};

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode};

const SECRET: &str = "/etc/acme-db";

/// What is in the Secret now.
fn options() -> Result<PgConnectOptions, Box<dyn Error + Send + Sync>> {
    let options: PgConnectOptions = fs::read_to_string(format!("{SECRET}/uri"))?.parse()?;
    // The server's certificate and the name in it are verified.
    let options = options.ssl_mode(PgSslMode::VerifyFull).ssl_root_cert(format!("{SECRET}/ca.crt"));
    // Behind a pooler in transaction mode that keeps no prepared statements:
    // let options = options.statement_cache_capacity(0);
    Ok(options)
}

/// A pool whose new connections take the login that was in the Secret a minute ago, or a later one.
pub async fn open() -> Result<PgPool, Box<dyn Error + Send + Sync>> {
    let pool = PgPoolOptions::new()
        .max_connections(5)
        // Shorter than rotationGraceSeconds, so that connections of the former login are over before it is closed.
        .max_lifetime(Duration::from_secs(600))
        .connect_with(options()?)
        .await?;
    tokio::spawn({
        let pool = pool.clone();
        async move {
            while !pool.is_closed() {
                tokio::time::sleep(Duration::from_secs(60)).await;
                match options() {
                    Ok(options) => pool.set_connect_options(options),
                    Err(error) => eprintln!("{SECRET} cannot be read, the former login goes on: {error}"),
                }
            }
        }
    });
    Ok(pool)
}
