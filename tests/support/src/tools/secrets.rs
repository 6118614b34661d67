//! What applications do with the Secrets that an operator writes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use tenant_schema_operator::api::credentials::CredentialsStatus;
use tokio_postgres::{NoTls, SimpleQueryMessage, config::SslMode};

use crate::world::World;

/// The values of a Secret, by key.
pub type Keys = BTreeMap<String, String>;

/// The values of this one.
pub fn keys_of(secret: Secret) -> Keys {
    let text = |value: k8s_openapi::ByteString| String::from_utf8(value.0).unwrap();
    secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, text(value))).collect()
}

/// Connects with these values; the first column of the first row of the answer.
pub async fn ask(keys: &Keys, sql: &str) -> Result<String, tokio_postgres::Error> {
    let mut config = tokio_postgres::Config::new();
    config.host(&keys["host"]).port(keys["port"].parse().unwrap()).dbname(&keys["database"]);
    config.user(&keys["username"]).password(&keys["password"]).ssl_mode(SslMode::Disable);
    let (client, connection) = config.connect(NoTls).await?;
    let session = tokio::spawn(connection);
    let answer = client.simple_query(sql).await;
    session.abort();
    let row = answer?.into_iter().find_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
        _ => None,
    });
    Ok(row.unwrap_or_default())
}

impl World {
    /// Waits until another password can be asked for: a request counts from the second after each of these was published. What to
    /// ask with.
    pub async fn time_of_a_request(&self, told: impl IntoIterator<Item = CredentialsStatus>) -> String {
        let published = told.into_iter().filter_map(|told| told.published_time).map(|time| time.0).max();
        let published = published.expect("a Secret that is published");
        let is_later = async || Timestamp::now().duration_since(published).as_secs() >= 1;
        self.eventually("the clock has moved on", is_later).await;
        Timestamp::now().to_string()
    }
}
