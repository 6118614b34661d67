//! What a TenantDatabase says when its database cannot be reached, and that it goes on at once when it can.

use std::time::{Duration, Instant};

use devcluster::{CertificateAuthority, ServerCertificate};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};
use tenant_schema_operator::api::TenantSchema;

use crate::{
    tools::{
        own_server,
        peers::{Manners, listener},
        until_reloaded,
    },
    world::World,
};

/// Long enough for a watch event and a few attempts, and shorter than the back-off of something that failed often.
const AT_ONCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_leads_nowhere_says_why_and_one_that_is_right_is_taken_at_once() {
    let mut world = World::bare().await;
    world.make_database(&world.database, &world.login());
    world.apply_database(World::connection(&json!({ "connectTimeoutSeconds": 2 }))).await;
    world.start_operator().await;

    world.database_stalled("SecretNotFound", &format!("{}/postgres", world.operator_namespace)).await;

    world.replace_secret(json!({ "hostname": "db.example", "database": "edu" })).await;
    world.database_stalled("SecretInvalid", "no value for key host").await;

    world.replace_secret(json!({ "uri": "mysql://app:hunter2-secret@db.example/edu" })).await;
    world.database_stalled("SecretInvalid", "does not begin with postgresql://").await;

    world.replace_secret(secret(&world, &json!({ "password": "wrong" }))).await;
    let by = |place: &str| {
        let (login, secret) = (world.login(), format!("{}/postgres", world.operator_namespace));
        format!("{place} as {login}, by Secret {secret}: ")
    };
    world.database_stalled("AuthenticationRefused", &by(&format!("/{}", world.database))).await;

    world.replace_secret(secret(&world, &json!({ "password": "pw\n" }))).await;
    world.database_stalled("AuthenticationRefused", "ends in a line break").await;

    // The login may not connect, and the statement in the message gives it the right.
    world.sql_in("postgres", &format!("REVOKE CONNECT ON DATABASE {} FROM PUBLIC, {}", world.database, world.login()));
    world.replace_secret(secret(&world, &json!({}))).await;
    let message = world.database_stalled("InsufficientPrivilege", "a DBA runs: GRANT CONNECT ON DATABASE").await;
    world.write_secret(json!({ "database": "no_such_database" })).await;
    world.database_stalled("NoSuchDatabase", &by("/no_such_database")).await;
    world.sql_in("postgres", message.split_once("a DBA runs: ").unwrap().1);
    assert!(check_connection(&world).unwrap_err().contains(&by("/no_such_database")), "as the condition says");

    let unused = devcluster::free_port().unwrap();
    world.write_secret(json!({ "port": unused.to_string() })).await;
    world
        .database_reconciling("ConnectionFailed", &by(&format!("{}:{unused}/{}", world.postgres.host, world.database)))
        .await;

    // A server that accepts and sends nothing costs the time of a connection attempt, not that of a statement.
    let silent = listener(Manners::Silent);
    let started = Instant::now();
    world.write_secret(json!({ "port": silent.port().to_string() })).await;
    world.database_reconciling("ConnectionFailed", "no answer in time").await;
    assert!(started.elapsed() < AT_ONCE, "{:?}", started.elapsed());

    world.write_secret(json!({ "port": listener(Manners::Web).port().to_string() })).await;
    world.database_stalled("TlsFailed", "does not support TLS").await;
    let plain = World::connection(&json!({ "connectTimeoutSeconds": 2, "tls": { "mode": "Disable" } }));
    for manners in [Manners::Web, Manners::Mail] {
        world.write_secret(json!({ "port": listener(manners).port().to_string() })).await;
        world.apply_database(plain.clone()).await;
        world.database_reconciling("ConnectionFailed", "cannot reach the database").await;
    }

    assert_eq!(world.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'edu_matrix_hub_schema'"), "0");
    let started = Instant::now();
    world.write_secret(json!({})).await;
    world.apply_database(World::connection(&json!({ "connectTimeoutSeconds": 2 }))).await;
    world.database_ready().await;
    assert!(started.elapsed() < AT_ONCE, "ready only after {:?}", started.elapsed());
    world.until_told("FunctionsInstalled", "installed").await;
    let connected = check_connection(&world).unwrap();
    assert!(connected.starts_with("connected to ") && connected.ends_with("functions are installed\n"), "{connected}");
    assert!(!world.everything_readable().await.contains("hunter2"));
    world.finish().await;
}

/// What the command says that asks with the operator's own login.
fn check_connection(world: &World) -> Result<String, String> {
    let (status, out, err) =
        world.command(&["check-connection", &world.database_ref(), "--namespace", &world.operator_namespace]);
    if status.success() { Ok(out) } else { Err(err) }
}

/// All keys of the Secret, changed.
fn secret(world: &World, change: &Value) -> Value {
    let mut data = json!({
        "host": world.postgres.host, "port": world.postgres.port.to_string(), "dbname": world.database,
        "user": world.login(), "password": "pw", "ca.crt": std::fs::read_to_string(&world.postgres.ca_path).unwrap(),
    });
    data.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    data
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_as_strict_as_the_spec_says() {
    let mut server = own_server();
    let mut world = World::on_server(&server).await;
    let authority = server.authority().unwrap();
    let stranger = CertificateAuthority::new("a stranger").unwrap();
    let valid = ServerCertificate::default();
    let elsewhere = ServerCertificate { names: vec!["db.example".to_owned()], expired: false };
    let expired = ServerCertificate { expired: true, ..ServerCertificate::default() };

    let right_ca = json!({ "ca.crt": authority.certificate() });
    let wrong_ca = json!({ "ca.crt": stranger.certificate() });
    world.write_secret(wrong_ca.clone()).await;
    world.apply_database(mode("VerifyFull")).await;
    world.start_operator().await;
    world.database_stalled("TlsFailed", "UnknownIssuer").await;

    for (modes, certificate, ca, expected) in [
        (vec!["VerifyFull"], &valid, &right_ca, None),
        (vec!["VerifyCA", "Require", "Prefer", "Disable"], &elsewhere, &right_ca, None),
        (vec!["VerifyFull"], &elsewhere, &right_ca, Some("not valid for")),
        (vec!["VerifyCA"], &valid, &wrong_ca, Some("UnknownIssuer")),
        (vec!["VerifyCA", "VerifyFull"], &expired, &right_ca, Some("expired")),
        (vec!["Require"], &expired, &wrong_ca, None),
    ] {
        until_reloaded(&mut server, |server| server.use_certificate(&authority.server(certificate).unwrap()).unwrap());
        world.write_secret(ca.clone()).await;
        for tls in modes {
            world.apply_database(mode(tls)).await;
            match expected {
                None => drop(world.database_ready().await),
                Some(words) => drop(world.database_stalled("TlsFailed", words).await),
            }
        }
    }

    // The authority from a Secret of its own, first without the key that is asked for.
    until_reloaded(&mut server, |server| server.use_certificate(&authority.server(&valid).unwrap()).unwrap());
    world.write_secret(wrong_ca).await;
    let authority_secret =
        json!({ "tls": { "mode": "VerifyFull", "caSecretRef": { "name": "postgres", "key": "bundle" } } });
    world.apply_database(World::connection(&authority_secret)).await;
    world.database_stalled("SecretInvalid", "no key bundle").await;
    world.write_secret(json!({ "bundle": authority.certificate(), "ca.crt": "not a certificate" })).await;
    world.database_ready().await;

    // A server without TLS. The authority is readable again: one that is not is refused before the server is asked.
    world.write_secret(json!({ "ca.crt": authority.certificate() })).await;
    until_reloaded(&mut server, |server| server.set("ssl", "off").unwrap());
    for tls in ["Require", "VerifyCA", "VerifyFull"] {
        world.apply_database(mode(tls)).await;
        world.database_stalled("TlsFailed", "does not support TLS").await;
    }
    for tls in ["Prefer", "Disable"] {
        world.apply_database(mode(tls)).await;
        world.database_ready().await;
    }
    world.finish().await;
}

fn mode(mode: &str) -> Value {
    World::connection(&json!({ "connectTimeoutSeconds": 2, "tls": { "mode": mode } }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_waited_for_and_the_primary_is_taken() {
    let primary = own_server();
    let mut world = World::on_server(&primary).await;
    let standby = primary.standby().unwrap();
    let to_standby = json!({
        "port": standby.info().port.to_string(), "ca.crt": std::fs::read_to_string(&standby.info().ca_path).unwrap(),
    });
    world.write_secret(to_standby.clone()).await;
    world.apply_database(json!({})).await;
    world.start_operator().await;
    world.database_reconciling("ReadOnlyStandby", "primary").await;

    world.write_secret(json!({})).await;
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    // A tenant may be told before its database is; what is said of that from here on is new.
    world.database_ready().await;

    // After a failover in the other direction: a tenant with nothing to do is left alone, one with work waits.
    world.write_secret(to_standby).await;
    world.database_reconciling("ReadOnlyStandby", "primary").await;
    assert_eq!(world.tenant_readiness("school").await, "True");
    world.apply_tenant("school", json!({ "schemaName": "school", "config": { "grade": 7 } })).await;
    world.tenant_says("school", "Reconciling", "DatabaseUnavailable", "standby").await;
    world.write_secret(json!({})).await;
    world.settled_tenant("school").await;
    assert_eq!(world.sql("SELECT config ->> 'grade' FROM edu_matrix_hub_schema.tenant_schemas"), "7");
    assert!(world.api::<TenantSchema>().get("school").await.unwrap().status.unwrap().schema_id.is_some());
    world.finish().await;
}

/// What a hosted service does when the disk is full, and a DBA by mistake.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_setting_that_lets_the_login_read_only_is_told_with_the_statement_that_ends_it() {
    let mut world = World::without_operator(json!({})).await;
    let (login, database) = (world.login(), world.database.clone());
    for place in [format!("ROLE {login}"), format!("DATABASE {database}")] {
        world.sql_in("postgres", &format!("ALTER {place} SET default_transaction_read_only = on"));
        world.start_operator().await;
        let message = world.database_stalled("ReadOnlySetting", &format!("ALTER {place} RESET")).await;
        let attempt = format!("/{database} as {login}, by Secret {}/postgres: ", world.operator_namespace);
        assert!(message.contains(&attempt), "{message}");
        // As it is told, in the very database.
        world.sql(message.split_once("a DBA runs: ").unwrap().1);
        world.database_ready().await;
        world.stop_operator().await;
    }
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn applications_are_led_to_another_server_with_its_authority() {
    let mut world = World::bare().await;
    world.guard_secrets();
    world.make_database(&world.database, &world.login());
    let spec = json!({ "clientEndpoint": { "host": "pooler.example", "nameLookup": "Skip", "port": 6432, "sslMode": "VerifyFull",
        "caSecretRef": { "name": "postgres", "key": "pooler" } } });
    world.write_secret(json!({})).await;
    world.apply_database(spec).await;
    world.start_operator().await;
    database_remarks(&world, "SecretInvalid", "no key pooler with certificates in PEM, which spec.clientEndpoint")
        .await;
    let (first, second) = (authority("first"), authority("second"));
    world.write_secret(json!({ "pooler": first })).await;
    world.database_ready().await;
    world.apply_tenant("school", json!({ "schemaName": "school", "connectionSecret": { "name": "school-db" } })).await;
    world.ready_tenant("school").await;
    let secrets = world.api::<Secret>();
    let value = async |key: &str| {
        let data = secrets.get("school-db").await.unwrap().data.unwrap();
        String::from_utf8(data[key].0.clone()).unwrap()
    };
    assert_eq!((value("host").await, value("port").await), ("pooler.example".to_owned(), "6432".to_owned()));
    assert_eq!((value("sslmode").await, value("ca.crt").await), ("verify-full".to_owned(), first));
    // Another authority comes into the Secrets without a restart.
    world.write_secret(json!({ "pooler": second })).await;
    let has_it = async || {
        let now = jiff::Timestamp::now().to_string();
        world.annotate::<TenantSchema>("school", "edumatrixhub.io/reconcile-requested-at", &now).await;
        value("ca.crt").await == second
    };
    world.eventually("the Secret has the other authority", has_it).await;
    world.finish().await;
}

/// The Secret with the authority of a pooler is away when the operator starts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_authority_of_applications_only_their_secrets_wait() {
    let mut world = World::bare().await;
    world.guard_secrets();
    world.make_database(&world.database, &world.login());
    world.write_secret(json!({})).await;
    let reference = json!({ "name": "pooler-ca" });
    world
        .apply_database(
            json!({ "clientEndpoint": { "host": "pooler.example", "nameLookup": "Skip", "caSecretRef": reference } }),
        )
        .await;
    world.start_operator().await;
    let name = format!("{}/pooler-ca", world.operator_namespace);
    let message = database_remarks(&world, "SecretNotFound", &name).await;
    assert!(message.contains("create secret generic pooler-ca --from-file=ca.crt=ca.pem"), "{message}");
    world.apply_tenant("school", spec("school")).await;
    let message = world.tenant_says("school", "Stalled", "ClientAuthorityMissing", &name).await;
    assert!(message.contains("kubectl") && world.stands("school"), "{message}");
    assert_eq!(world.tenant_readiness("school").await, "True");
    assert!(world.api::<Secret>().get_opt("school-db").await.unwrap().is_none());

    // It heals when the Secret appears.
    let authorities = Api::<Secret>::namespaced(world.client.clone(), &world.operator_namespace);
    let first = authority("first");
    let of = |pem: &str| {
        let object = json!({ "metadata": { "name": "pooler-ca" }, "stringData": { "ca.crt": pem } });
        serde_json::from_value::<Secret>(object).unwrap()
    };
    authorities.create(&PostParams::default(), &of(&first)).await.unwrap();
    has_authority(&world, "school", &first).await;
    world.database_ready().await;

    // One that is deleted at work goes on as it was read: new tenants get it.
    authorities.delete("pooler-ca", &DeleteParams::default()).await.unwrap();
    database_remarks(&world, "SecretNotFound", "goes on with what was read before").await;
    world.apply_tenant("second", spec("second")).await;
    has_authority(&world, "second", &first).await;

    // After a restart tenants go on; what has a Secret says nothing, and follows its spec.
    world.stop_operator().await;
    world.start_operator().await;
    database_remarks(&world, "SecretNotFound", "until then no tenant gets a Secret").await;
    world.apply_tenant("third", spec("third")).await;
    let message = world.tenant_says("third", "Stalled", "ClientAuthorityMissing", &name).await;
    assert!(message.contains("third-db"), "{message}");
    world
        .apply_tenant(
            "second",
            json!({ "schemaName": "second", "connectionSecret": { "name": "second-db" },
        "config": { "grade": 7 } }),
        )
        .await;
    world.settled_tenant("second").await;
    world.ready_tenant("second").await;
    let stored = "SELECT config ->> 'grade' FROM edu_matrix_hub_schema.tenant_schemas WHERE schema_name = 'second'";
    assert_eq!(world.sql(stored), "7");
    authorities.create(&PostParams::default(), &of(&first)).await.unwrap();
    has_authority(&world, "third", &first).await;
    world.prove_fixpoint().await;
    world.finish().await;
}

fn spec(name: &str) -> Value {
    json!({ "schemaName": name, "connectionSecret": { "name": format!("{name}-db") } })
}

/// The tenant is ready, and its Secret has this authority.
async fn has_authority(world: &World, tenant: &str, authority: &str) {
    world.ready_tenant(tenant).await;
    let data = world.api::<Secret>().get(&format!("{tenant}-db")).await.unwrap().data.unwrap();
    assert_eq!(data["ca.crt"].0, authority.as_bytes());
}

fn authority(name: &str) -> String {
    CertificateAuthority::new(name).unwrap().certificate().to_owned()
}

/// The database works, and says this besides.
async fn database_remarks(world: &World, reason: &str, words: &str) -> String {
    let message = world.database_stalled(reason, words).await;
    world.until_ready(&world.databases(), &world.database_ref(), "True", reason).await;
    message
}
