//! What an application connects with: the Secret alone is enough, stays enough through rotations, and is closed when it must be.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, api::DeleteParams};
use serde_json::{Value, json};
use tenant_schema_operator::api::{
    RECLAIM, RECONCILE_REQUESTED_AT, REVOKE_CREDENTIALS, ROTATE_REQUESTED_AT, TenantSchema,
    credentials::{CREDENTIAL_ID, CredentialsStatus, SECRET_OF, SECRET_TYPE},
};

pub use crate::tools::secrets::{Keys, ask, keys_of};
use crate::world::{World, condition};

/// A tenant with a Secret, as most have it.
pub fn spec() -> Value {
    json!({ "schemaName": "school", "connectionSecret": { "name": "school-db" } })
}

/// A world whose operator may write Secrets, and a tenant in it with its table.
pub async fn with_tenant() -> World {
    let mut world = World::without_operator(json!({})).await;
    world.guard_secrets();
    world.start_operator().await;
    world.apply_tenant("school", spec()).await;
    world.ready_tenant("school").await;
    world.sql_as("school", "owner", "CREATE TABLE school.pupils AS SELECT 1 AS id");
    let counted = async || {
        let tenant = world.api::<TenantSchema>().get("school").await.unwrap();
        tenant.status.is_some_and(|status| status.table_count == Some(1))
    };
    world.eventually("the table is counted", counted).await;
    world
}

/// What the applications of a test do.
pub trait Applications {
    /// The Secret.
    async fn secret(&self) -> Option<Secret>;
    /// Its values.
    async fn keys(&self) -> Keys;
    /// What the tenant's status tells.
    async fn told(&self) -> CredentialsStatus;
    /// Waits until the status tells of another credential than this one.
    async fn next(&self, before: &CredentialsStatus) -> CredentialsStatus;
    /// Asks for another password.
    async fn request_rotation(&self);
    /// Asks for another password, and waits for it.
    async fn rotate(&self) -> CredentialsStatus;
}

impl Applications for World {
    async fn secret(&self) -> Option<Secret> {
        self.api::<Secret>().get_opt("school-db").await.unwrap()
    }

    async fn keys(&self) -> Keys {
        keys_of(self.secret().await.expect("the Secret"))
    }

    async fn told(&self) -> CredentialsStatus {
        let tenant = self.api::<TenantSchema>().get("school").await.unwrap();
        tenant.status.and_then(|status| status.credentials).unwrap_or_default()
    }

    async fn next(&self, before: &CredentialsStatus) -> CredentialsStatus {
        let is_next = async || {
            let told = self.told().await;
            told.credential_id.is_some() && told.credential_id != before.credential_id
        };
        self.eventually("another password is published", is_next).await;
        self.told().await
    }

    async fn request_rotation(&self) {
        let status = self.api::<TenantSchema>().get("school").await.unwrap().status.unwrap();
        let now =
            self.time_of_a_request([status.credentials, status.migration_credentials].into_iter().flatten()).await;
        self.annotate::<TenantSchema>("school", ROTATE_REQUESTED_AT, &now).await;
    }

    async fn rotate(&self) -> CredentialsStatus {
        let before = self.told().await;
        self.request_rotation().await;
        self.next(&before).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_connects_by_the_secret_alone_and_can_alter_nothing() {
    let mut world = with_tenant().await;
    let secret = world.secret().await.unwrap();
    let owner = &secret.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("TenantSchema", "school"));
    assert_eq!(secret.type_.as_deref(), Some(SECRET_TYPE));
    let told = world.told().await;
    let annotations = secret.metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations[SECRET_OF], "school");
    assert_eq!(annotations.get(CREDENTIAL_ID), told.credential_id.as_ref());
    assert_eq!((told.secret_uid.clone(), told.secret_stays()), (secret.metadata.uid.clone(), false));

    let keys = keys_of(secret);
    assert_eq!(told.login.as_ref(), Some(&keys["username"]));
    for (key, value) in [
        ("type", "postgresql"),
        ("provider", "tenant-schema-operator"),
        ("host", &world.postgres.host),
        ("port", &world.operator_port().to_string()),
        ("database", &world.database),
        ("schema", "school"),
        ("sslmode", "verify-full"),
    ] {
        assert_eq!(keys[key], value, "{key}");
    }
    assert_eq!(keys["ca.crt"], std::fs::read_to_string(&world.postgres.ca_path).unwrap());

    // With the URI and nothing else, over TLS.
    let psql = |uri: &str, sql: &str| {
        let mut command = Command::new(world.postgres.tool("psql").unwrap());
        for (variable, _) in std::env::vars().filter(|(variable, _)| variable.starts_with("PG")) {
            command.env_remove(variable);
        }
        let output = command.args([uri, "-XAtc", sql]).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap().trim().to_owned()
    };
    assert_eq!(psql(&keys["uri"], "SELECT count(*) FROM pupils"), "1");
    let encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert_eq!(psql(&keys["uri"], encrypted), "t");
    // With the file of passwords and the authority's certificate.
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, key: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, &keys[key]).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let words = format!(
        "host={} port={} dbname={} user={} sslmode={} sslrootcert={} passfile={}",
        keys["host"],
        keys["port"],
        keys["database"],
        keys["username"],
        keys["sslmode"],
        file("ca", "ca.crt"),
        file("pgpass", "pgpass"),
    );
    assert_eq!(psql(&words, "SELECT current_user"), keys["username"]);

    // It reads and writes what migrations made, and makes and alters nothing.
    assert_eq!(ask(&keys, "INSERT INTO pupils VALUES (2) RETURNING id").await.unwrap(), "2");
    assert_eq!(ask(&keys, "SHOW idle_in_transaction_session_timeout").await.unwrap(), "5min");
    for refused in ["CREATE TABLE school.mine ()", "ALTER TABLE pupils ADD name text", "DROP TABLE pupils"] {
        let error = ask(&keys, refused).await.unwrap_err();
        assert_eq!(error.code(), Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE), "{refused}: {error}");
    }
    // Nothing that can be seen of the tenant has the password.
    let seen = world.kubectl(&["get", "tenantschemas,events", "-n", &world.namespace, "-o", "yaml"]);
    let registry =
        world.sql("SELECT coalesce(string_agg(o::text, ' '), '') FROM edu_matrix_hub_schema.schema_operations AS o");
    assert!(!seen.contains(&keys["password"]) && !registry.contains(&keys["password"]));
    assert!(!registry.contains("SCRAM"), "{registry}");

    // Other limits hold without another password, in new sessions: a pooler keeps those that it has.
    let mut direct = keys.clone();
    direct.insert("port".to_owned(), world.postgres.port.to_string());
    let mut changed = spec();
    changed["credentials"] = json!({ "connectionLimit": 3, "statementTimeoutSeconds": 7 });
    world.apply_tenant("school", changed).await;
    let holds = async || ask(&direct, "SHOW statement_timeout").await.is_ok_and(|found| found == "7s");
    world.eventually("the limits hold", holds).await;
    let limit = format!("SELECT rolconnlimit FROM pg_roles WHERE rolname = '{}'", keys["username"]);
    assert_eq!(world.sql(&limit), "3");
    assert_eq!(world.keys().await, keys);
    world.prove_fixpoint().await;
    assert_eq!(world.keys().await, keys);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_reads_the_secret_again_never_fails_through_ten_rotations() {
    let world = with_tenant().await;
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let application = tokio::spawn({
        let (stop, asked, secrets) = (stop.clone(), asked.clone(), world.api::<Secret>());
        async move {
            while !stop.load(Ordering::Relaxed) {
                let keys = keys_of(secrets.get("school-db").await.unwrap());
                ask(&keys, "INSERT INTO pupils VALUES (3)")
                    .await
                    .map_err(|error| format!("{error:?} {}", keys["username"]))?;
                asked.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok::<_, String>(())
        }
    });
    let first = world.told().await;
    let mut logins = vec![first.login.clone().unwrap()];
    for _ in 0..10 {
        let told = world.rotate().await;
        assert_ne!(told.login.as_ref(), logins.last(), "two logins are used in turn");
        assert!(told.previous_until.is_some());
        logins.push(told.login.unwrap());
    }
    stop.store(true, Ordering::Relaxed);
    application.await.unwrap().expect("no query fails");
    let asked = asked.load(Ordering::Relaxed);
    assert!(asked > 20, "{asked} queries");
    assert_eq!(logins.iter().collect::<std::collections::BTreeSet<_>>().len(), 2);
    world.event("school", "LoginClosed", "of the former password was closed").await;
    world.event("school", "CredentialPublished", "Secret school-db has login").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_password_works_for_its_grace_and_its_sessions_end_then() {
    let mut world = with_tenant().await;
    let mut short = spec();
    short["credentials"] = json!({ "rotationGraceSeconds": 4 });
    world.apply_tenant("school", short).await;
    let former = world.keys().await;
    let mut session = world.session_as(&former["username"], &former["password"], "SELECT 1");
    let told = world.rotate().await;
    let now = world.keys().await;
    assert_ne!((&now["username"], &now["password"]), (&former["username"], &former["password"]));
    for keys in [&former, &now] {
        assert_eq!(ask(keys, "SELECT count(*) > 0 FROM pupils").await.unwrap(), "t");
    }
    assert!(!session.is_ended());
    world.eventually("the session ends with the grace", async || session.is_ended()).await;
    let until = told.previous_until.unwrap().0;
    assert!(Timestamp::now() >= until, "not before {until}");
    // Its sessions end in the transaction that closes it, and so a moment before that counts.
    world.eventually("the former password opens nothing", async || ask(&former, "SELECT 1").await.is_err()).await;
    ask(&now, "SELECT 1").await.unwrap();
    world.event("school", "LoginClosed", "1 session ended").await;
    world.eventually("the status tells it", async || world.told().await.previous_until.is_none()).await;
    world.prove_fixpoint().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaked_password_is_closed_at_once_and_the_annotation_may_stay() {
    let mut world = with_tenant().await;
    let leaked = world.keys().await;
    let rotated = world.rotate().await;
    let second = world.keys().await;
    let mut sessions =
        [&leaked, &second].map(|keys| world.session_as(&keys["username"], &keys["password"], "SELECT 1"));
    world.annotate::<TenantSchema>("school", REVOKE_CREDENTIALS, "school").await;
    let told = world.next(&rotated).await;
    for (keys, session) in [&leaked, &second].into_iter().zip(&mut sessions) {
        world.eventually("the session is ended", async || session.is_ended()).await;
        assert!(ask(keys, "SELECT 1").await.is_err(), "neither password opens anything");
    }
    ask(&world.keys().await, "SELECT 1").await.unwrap();
    assert_eq!((told.revoked.as_deref(), &told.previous_until), (Some("school"), &None));
    world.event("school", "CredentialRevoked", "2 sessions ended").await;
    world.prove_fixpoint().await;
    assert_eq!(world.told().await.credential_id, told.credential_id);

    world.start_operator().await;
    // Removed and set again it counts again.
    world.remove_annotation("school", REVOKE_CREDENTIALS).await;
    world.eventually("it is forgotten", async || world.told().await.revoked.is_none()).await;
    world.annotate::<TenantSchema>("school", REVOKE_CREDENTIALS, "school").await;
    world.next(&told).await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_tenant_lets_no_application_in_and_a_resumed_one_by_the_same_password() {
    let world = with_tenant().await;
    let keys = world.keys().await;
    let mut session = world.session_as(&keys["username"], &keys["password"], "SELECT 1");
    let mut closed = spec();
    closed["access"] = json!("Suspended");
    world.apply_tenant("school", closed).await;
    world.until_ready(&world.api::<TenantSchema>(), "school", "True", "Suspended").await;
    world.eventually("the session is ended", async || session.is_ended()).await;
    assert!(ask(&keys, "SELECT 1").await.is_err());
    world.apply_tenant("school", spec()).await;
    world.ready_tenant("school").await;
    assert_eq!(ask(&keys, "SELECT count(*) > 0 FROM pupils").await.unwrap(), "t");
    assert_eq!(world.keys().await, keys);

    // Without a Secret in the spec its logins are closed.
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.eventually("nothing is published", async || world.told().await == CredentialsStatus::default()).await;
    assert!(ask(&keys, "SELECT 1").await.is_err());
    let told = world.event("school", "CredentialRevoked", "is not renewed any more").await;
    assert!(told.contains(&format!("kubectl -n {} delete secret school-db", world.namespace)), "{told}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retained_tenant_keeps_its_applications_and_the_next_object_gives_them_another_password() {
    let world = with_tenant().await;
    let owned = world.told().await;
    let mut retained = spec();
    retained["deletionPolicy"] = json!("Retain");
    world.apply_tenant("school", retained.clone()).await;
    let told = world.next(&owned).await;
    assert!(told.secret_stays());
    let secret = world.secret().await.unwrap();
    assert_eq!(secret.metadata.owner_references, None, "nothing takes it along");
    assert_eq!(secret.metadata.uid, owned.secret_uid, "it is the same Secret");
    world.delete_tenant("school").await;
    let keys = world.keys().await;
    ask(&keys, "SELECT count(*) FROM pupils").await.unwrap();

    world.apply_annotated("school", spec(), json!({ RECLAIM: "school" })).await;
    world.ready_tenant("school").await;
    // The password of before is still in its grace, which another one would end, so that one waits unless a user asks for it.
    world.eventually("the Secret is told", async || world.told().await.credential_id == told.credential_id).await;
    assert!(world.told().await.secret_stays());
    let again = world.rotate().await;
    let next = world.keys().await;
    assert_ne!(next["username"], keys["username"]);
    for keys in [&keys, &next] {
        ask(keys, "SELECT count(*) FROM pupils").await.unwrap();
    }
    assert!(world.secret().await.unwrap().metadata.owner_references.is_some());
    assert_eq!(again.secret_uid, owned.secret_uid);
    // The same policy at the last moment: the Secret is left behind as well.
    world.stop_and_retain(&retained).await;
    world.until_gone(&world.api::<TenantSchema>(), "school").await;
    let left = world.secret().await.unwrap();
    assert_eq!(left.metadata.owner_references, None);
    ask(&keys_of(left), "SELECT count(*) FROM pupils").await.unwrap();
    world.finish().await;
}

/// What the last test does with its world.
trait Retaining {
    /// The policy is changed and the object deleted before the operator looks.
    async fn stop_and_retain(&self, spec: &Value);
}

impl Retaining for World {
    async fn stop_and_retain(&self, spec: &Value) {
        let tenants: Api<TenantSchema> = self.api();
        self.apply_annotated("school", spec.clone(), json!({ "edumatrixhub.io/paused": "" })).await;
        tenants.delete("school", &DeleteParams::default()).await.unwrap();
        self.remove_annotation("school", "edumatrixhub.io/paused").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_not_the_tenants_is_left_alone_and_nothing_is_written_without_the_policy() {
    let mut world = World::without_operator(json!({})).await;
    world.start_operator().await;
    let tenants = world.api::<TenantSchema>();
    let mine = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "school-db" },
        "stringData": { "password": "mine" } });
    let secrets = world.api::<Secret>();
    let mine: Secret = serde_json::from_value(mine).unwrap();
    let mine = secrets.create(&kube::api::PostParams::default(), &mine).await.unwrap();

    world.apply_tenant("school", spec()).await;
    let tenant = world.until_ready(&tenants, "school", "True", "SecretsUnguarded").await;
    let message = condition(&tenant, "Stalled").unwrap().2;
    assert!(message.contains("schema school is there") && message.contains("ValidatingAdmissionPolicy"), "{message}");
    let issued = "SELECT count(*) FROM edu_matrix_hub_schema.schema_operations WHERE type = 'issue_credential'";
    let before = world.sql(issued);
    world.guard_secrets();
    let tenant = world.until_ready(&tenants, "school", "True", "SecretConflict").await;
    let message = condition(&tenant, "Stalled").unwrap().2;
    let delete = format!("kubectl -n {} delete secret school-db", world.namespace);
    assert!(message.contains(&delete), "{message}");
    world.annotate::<TenantSchema>("school", RECONCILE_REQUESTED_AT, "1").await;
    world.next_survey().await;
    assert_eq!(world.secret().await.unwrap(), mine, "it was not touched");
    assert_eq!(world.sql(issued), before, "no password is issued for a Secret that is refused");
    world.prove_fixpoint().await;
    world.start_operator().await;

    // Two tenants of one namespace cannot have one Secret.
    let (_, arguments) = delete.split_once("kubectl ").unwrap();
    world.kubectl(&arguments.split(' ').collect::<Vec<_>>());
    world.annotate::<TenantSchema>("school", RECONCILE_REQUESTED_AT, "2").await;
    world.ready_tenant("school").await;
    let keys = world.keys().await;
    ask(&keys, "SELECT 1").await.unwrap();
    world.apply_tenant("other", json!({ "schemaName": "other", "connectionSecret": { "name": "school-db" } })).await;
    world.until_ready(&tenants, "other", "True", "SecretConflict").await;
    assert_eq!(world.keys().await, keys);
    world.apply_tenant("other", json!({ "schemaName": "other", "connectionSecret": { "name": "other-db" } })).await;
    world.ready_tenant("other").await;
    world.finish().await;
}
