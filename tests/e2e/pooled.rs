//! Applications connect to `PgBouncer`, which is set up as `docs/pgbouncer.md` says, and the operator to PostgreSQL.

use devcluster::shared;
use kube::Api;
use serde_json::json;
use tenant_schema_operator::api::TenantSchema;

use crate::{
    credentials::{Applications, Keys, ask, spec},
    tools::pooler::Pooler,
    world::World,
};

/// The block of the page in this language.
fn block(language: &str) -> &'static str {
    let page = include_str!("../../docs/pgbouncer.md");
    page.split(&format!("```{language}\n")).nth(1).unwrap().split("```").next().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_connects_to_the_pooler_through_rotations_and_reads_from_a_replica() {
    if !Pooler::is_to_be_had() {
        println!("PgBouncer is not to be had here: left out");
        return;
    }
    let server = shared().unwrap().postgres();
    let mut world = World::bare().await;
    world.guard_secrets();
    world.make_database(&world.database, &world.login());
    let (login, schema) = (format!("{}_auth", world.database), "pgbouncer");
    let here = |text: &str| {
        let texts = [
            ("pgbouncer_auth", login.as_str()),
            ("CHOOSE_ONE", "chosen"),
            ("DATABASE app", &format!("DATABASE {}", world.database)),
            ("app = ", &format!("{} = ", world.database)),
            ("dbname=app", &format!("dbname={}", world.database)),
            ("SERVER_HOST", &server.host),
            ("SERVER_PORT", &server.port.to_string()),
        ];
        texts.iter().fold(text.to_owned(), |text, (there, here)| text.replace(there, here))
    };
    world.sql(&here(block("sql")));
    // These applications speak without TLS.
    let configuration = here(block("ini")).replace("client_tls_sslmode = require", "client_tls_sslmode = allow");
    let pooler = Pooler::with(server, &configuration, &here(block("text")));
    world.write_secret(json!({})).await;
    world
        .apply_database(json!({
            "clientEndpoint": { "host": "127.0.0.1", "port": pooler.port, "sslMode": "Prefer" },
            "readEndpoint": { "host": server.host, "port": server.port },
        }))
        .await;
    world.start_operator().await;
    world.database_ready().await;
    world.apply_tenant("school", spec()).await;
    let school = world.ready_tenant("school").await;
    let place = school.status.unwrap().connection.unwrap();
    assert_eq!((place.host.as_str(), place.port), ("127.0.0.1", i32::from(pooler.port)));
    assert_eq!(place.read_endpoint.unwrap().port, i32::from(server.port));
    world.sql_as("school", "owner", "CREATE TABLE school.pupils AS SELECT 1 AS id");

    let read = "SELECT count(*) FROM pupils";
    let mut before: Option<Keys> = None;
    for _ in 0..3 {
        let keys = world.keys().await;
        assert_eq!(keys["port"], pooler.port.to_string());
        assert_eq!(ask(&keys, read).await.unwrap(), "1");
        let (client, connection) = tokio_postgres::connect(&keys["read-uri"], tokio_postgres::NoTls).await.unwrap();
        let session = tokio::spawn(connection);
        let port: i32 = client.query_one("SELECT inet_server_port()", &[]).await.unwrap().get(0);
        assert_eq!(port, i32::from(server.port), "past the pooler");
        session.abort();
        if let Some(before) = &before {
            assert_eq!(ask(before, read).await.unwrap(), "1", "within the grace");
        }
        world.rotate().await;
        before = Some(keys);
    }
    // The login of before the last rotation has another password, and this one's grace goes on.
    assert_eq!(ask(&before.unwrap(), read).await.unwrap(), "1");
    assert!(
        ask(
            &Keys::from([
                ("host".to_owned(), "127.0.0.1".to_owned()),
                ("port".to_owned(), pooler.port.to_string()),
                ("database".to_owned(), world.database.clone()),
                ("username".to_owned(), server.user.clone()),
                ("password".to_owned(), server.password.clone())
            ]),
            "SELECT 1"
        )
        .await
        .is_err(),
        "a superuser comes not in this way"
    );

    let tenants: Api<TenantSchema> = world.api();
    world
        .apply_tenant(
            "school",
            json!({ "schemaName": "school", "connectionSecret": { "name": "school-db" }, "access": "Suspended" }),
        )
        .await;
    world.until_ready(&tenants, "school", "True", "Suspended").await;
    assert!(ask(&world.keys().await, read).await.is_err(), "a closed login");
    world.apply_tenant("school", spec()).await;
    world.ready_tenant("school").await;
    assert_eq!(ask(&world.keys().await, read).await.unwrap(), "1");

    world.sql(&format!(
        "DROP SCHEMA {schema} CASCADE; REVOKE ALL ON DATABASE {} FROM {login}; DROP ROLE {login}",
        world.database
    ));
    drop(pooler);
    world.finish().await;
}
