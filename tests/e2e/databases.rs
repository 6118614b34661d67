//! What a TenantDatabase promises of the database behind it: that it is the one it was, that its functions are ours, that its
//! Secret may change and is never told, and that it stays for as long as a tenant needs it.

use k8s_openapi::api::core::v1::Secret;
use kube::api::DeleteParams;
use serde_json::json;
use tenant_schema_operator::api::{TENANT_DATABASE_FINALIZER, TenantSchema};

use crate::{
    credentials::{Applications, keys_of},
    quotas_live::fill,
    tools::operator::Process,
    world::{World, condition},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_rotated_in_either_order() {
    let world = World::new(json!({})).await;
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    let version = world.version("school").await;
    let login = world.login();

    // First the Secret's: the server still wants the old one.
    world.write_secret(json!({ "password": "second" })).await;
    world.database_stalled("AuthenticationRefused", &login).await;
    world.sql(&format!("ALTER ROLE {login} PASSWORD 'second'"));
    world.database_ready().await;

    // First the server's: connections that stand go on, new ones are refused until the Secret follows.
    world.sql(&format!("ALTER ROLE {login} PASSWORD 'third'"));
    // One that was just being made may have come in with the old password and show up only afterwards.
    let end = format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = '{login}'");
    let refused = async || {
        world.sql(&end);
        let database = world.databases().get(&world.database_ref()).await.unwrap();
        condition(&database, "Stalled").is_some_and(|(_, reason, _)| reason == "AuthenticationRefused")
    };
    world.eventually("no connection is left, and none is let in", refused).await;
    world.database_stalled("AuthenticationRefused", &login).await;
    assert_eq!(world.version("school").await, version, "a tenant with nothing to do is not written to");
    world.write_secret(json!({ "password": "third" })).await;
    world.database_ready().await;

    world.apply_tenant("school", json!({ "schemaName": "school", "config": { "grade": 7 } })).await;
    world.settled_tenant("school").await;
    assert_eq!(world.sql("SELECT config ->> 'grade' FROM edu_matrix_hub_schema.tenant_schemas"), "7");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn managed_functions_are_put_right_whenever_the_lane_is_opened() {
    let mut world = World::new(json!({})).await;
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    let id = world.database_ready().await.status.unwrap().installation_id;
    let matches = "SELECT edu_matrix_hub_schema.installation() ->> 'fingerprint_matches'";
    for damage in [
        "ALTER FUNCTION edu_matrix_hub_schema.set_tenant_access(jsonb) SET work_mem = '4MB'",
        "CREATE OR REPLACE FUNCTION edu_matrix_hub_schema.set_tenant_config(options jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb'",
        "DROP FUNCTION edu_matrix_hub_schema.repair_tenant_schema(jsonb)",
        "UPDATE edu_matrix_hub_schema.installation SET functions_version = '0.0.1', functions_checksum = 'older'",
    ] {
        world.stop_operator().await;
        world.sql(damage);
        world.start_operator().await;
        let mended = async || {
            world.sql(matches) == "true"
                && world.sql("SELECT functions_checksum FROM edu_matrix_hub_schema.installation") != "older"
        };
        world.eventually(&format!("mended: {damage}"), mended).await;
        // Until its status knows the claim, a process that follows at once waits for its turn.
        let epoch = async || {
            let status = world.database_ready().await.status.unwrap();
            status.epoch.unwrap().to_string() == world.sql("SELECT epoch FROM edu_matrix_hub_schema.installation")
        };
        world.eventually("the lane is open", epoch).await;
    }
    world.until_told("FunctionsUpgraded", "over 0.0.1").await;
    assert_eq!(world.sql("SELECT count(*) FROM pg_proc WHERE proname = 'repair_tenant_schema'"), "1");
    let now = world.database_ready().await.status.unwrap();
    assert_eq!(now.installation_id, id, "an upgrade keeps the identity of the database");
    assert_eq!(now.functions_version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    world.apply_tenant("school", json!({ "schemaName": "school", "config": { "grade": 7 } })).await;
    world.settled_tenant("school").await;
    assert_eq!(world.sql("SELECT config ->> 'grade' FROM edu_matrix_hub_schema.tenant_schemas"), "7");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_leads_to_another_database_changes_nothing_there() {
    let world = World::new(json!({})).await;
    world.apply_tenant("school", json!({ "schemaName": "school" })).await;
    world.ready_tenant("school").await;
    let version = world.version("school").await;
    let (login, other) = (world.login(), format!("e2e_{}_other", world.id));
    world.sql_in("postgres", &format!("CREATE DATABASE {other} OWNER {login}"));
    let schemas = "SELECT string_agg(nspname, ',' ORDER BY nspname) FROM pg_namespace WHERE nspname !~ '^pg_'";

    world.write_secret(json!({ "database": other })).await;
    let message = world.database_stalled("DatabaseChanged", "found none").await;
    assert!(message.contains("nothing was changed"), "{message}");
    assert_eq!(world.sql_in(&other, schemas), "information_schema,public");
    assert_eq!(world.version("school").await, version);
    world.write_secret(json!({})).await;
    world.database_ready().await;

    // The registry of another installation, as after a restore of something else over this database.
    let id = world.sql("SELECT installation_id FROM edu_matrix_hub_schema.installation");
    world.sql("UPDATE edu_matrix_hub_schema.installation SET installation_id = gen_random_uuid()");
    world.database_stalled("DatabaseChanged", &id).await;
    assert_eq!(world.tenant_readiness("school").await, "True");
    world.apply_tenant("school", json!({ "schemaName": "school", "config": { "grade": 7 } })).await;
    world.apply_tenant("late", json!({ "schemaName": "late" })).await;
    world.tenant_says("school", "Reconciling", "DatabaseUnavailable", "DatabaseChanged").await;
    world.tenant_says("late", "Reconciling", "DatabaseUnavailable", "DatabaseChanged").await;
    assert_eq!(world.sql("SELECT config FROM edu_matrix_hub_schema.tenant_schemas"), "{}");
    assert_eq!(world.schemas("late"), Vec::<String>::new());
    world.sql(&format!("UPDATE edu_matrix_hub_schema.installation SET installation_id = '{id}'"));
    world.database_ready().await;
    world.settled_tenant("school").await;
    world.settled_tenant("late").await;
    world.sql_in("postgres", &format!("DROP DATABASE {other}"));
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_stays_until_its_last_tenant_has_gone() {
    // A long period, so that it is the last tenant that lets the database go and not a tick.
    let world = World::new(json!({ "surveyPeriodSeconds": 300 })).await;
    for name in ["first", "second"] {
        world.apply_tenant(name, json!({ "schemaName": name })).await;
        world.ready_tenant(name).await;
    }
    world.databases().delete(&world.database_ref(), &DeleteParams::default()).await.unwrap();
    let name = world.database_ref();
    let said = async |count: &str| {
        world
            .eventually(&format!("in use by {count}"), async || {
                let database = world.databases().get(&name).await.unwrap();
                let stalled = condition(&database, "Stalled");
                stalled.is_some_and(|(_, reason, message)| {
                    reason == "InUse"
                        && message.starts_with(&format!("{count} TenantSchemas"))
                        && message.contains(&world.namespace)
                })
            })
            .await;
    };
    said("2").await;
    let stalled = format!("tenant_schema_operator_database_stalled{{database=\"{name}\"}}");
    world.eventually("it is counted", async || world.metric(&stalled) >= 1.0).await;
    let database = world.databases().get(&name).await.unwrap();
    assert_eq!(database.metadata.finalizers.as_deref(), Some(&[TENANT_DATABASE_FINALIZER.to_owned()][..]));

    // A new tenant is not made there, and says so; a shorter period holds at once, also on the way out.
    world.apply_tenant("late", json!({ "schemaName": "late" })).await;
    world.tenant_says("late", "Reconciling", "DatabaseNotReady", "is being deleted and takes no new tenants").await;
    assert_eq!(world.schemas("late"), [""; 0]);
    world.delete_tenant("late").await;
    world.sql_as("second", "owner", "CREATE TABLE second.pupils (id int)");
    world.apply_database(json!({ "surveyPeriodSeconds": 5 })).await;
    world
        .eventually("the survey comes", async || {
            let second = world.api::<TenantSchema>().get("second").await.unwrap();
            second.status.unwrap().table_count == Some(1)
        })
        .await;
    world.apply_database(json!({ "surveyPeriodSeconds": 300 })).await;

    // A tenant that is there can still be worked with, and can go.
    world.apply_tenant("first", json!({ "schemaName": "first", "config": { "grade": 7 } })).await;
    world.settled_tenant("first").await;
    world.delete_tenant("second").await;
    said("1").await;
    world.api::<TenantSchema>().delete("first", &DeleteParams::default()).await.unwrap();
    world.until_gone(&world.api::<TenantSchema>(), "first").await;
    world.until_gone(&world.databases(), &name).await;
    assert_eq!(world.schemas("first").len(), 1, "what was set aside stays in the database");
    world.clean_up().await;
}

/// A tenant with a Secret for its applications and one for its migrations gets other passwords, and the operator works as the
/// tenant; every value that is in either Secret before or after.
async fn passwords_of_a_tenant(world: &World) -> Vec<String> {
    let spec = json!({ "schemaName": "school", "config": { "grade": 7 }, "connectionSecret": { "name": "school-db" },
        "migrationSecret": { "name": "school-owner" } });
    world.apply_tenant("school", spec.clone()).await;
    world.ready_tenant("school").await;
    let secrets = world.api::<Secret>();
    let passwords = async || {
        let mut passwords = Vec::new();
        for name in ["school-db", "school-owner"] {
            passwords.push(keys_of(secrets.get(name).await.unwrap()).remove("password").unwrap());
        }
        passwords
    };
    let former = passwords().await;
    world.request_rotation().await;
    let rotated = async || passwords().await.iter().all(|password| !former.contains(password));
    world.eventually("both have another password", rotated).await;
    let given = passwords().await;

    // A block for its quota has its tables vacuumed in a session of the tenant.
    fill(world, spec).await;
    let sessions = "SELECT count(*) FROM edu_matrix_hub_schema.tenant_sessions WHERE closed_at IS NOT NULL";
    world.eventually("a session of the tenant was opened and closed", async || world.sql(sessions) != "0").await;
    let all = [former, given].concat();
    assert!(all.iter().all(|password| password.len() == 64), "they are what the operator makes");
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_never_told_to_anybody() {
    let mut world = World::without_operator(json!({})).await;
    world.guard_secrets();
    let kubeconfig = world.operators_kubeconfig();
    kubeconfig.path().clone_into(&mut world.kubeconfig);
    let (login, right, wrong) = (world.login(), "Tr0ub4dor-right", "Tr0ub4dor-wrong");
    world.sql(&format!("ALTER ROLE {login} PASSWORD '{right}'"));
    let operator = Process::start(&world, "debug,tenant_schema_operator=trace");
    world.database_stalled("AuthenticationRefused", &login).await;
    let target = format!("{}:{}/{}", world.postgres.host, world.postgres.port, world.database);
    for (uri, reason, words) in [
        (format!("postgresql://{login}:{wrong}@{target}"), "AuthenticationRefused", ""),
        (format!("postgresql://{login}:{wrong}@{target}?sslmode=maybe"), "SecretInvalid", "sslmode"),
        (format!("postgres//{login}:{wrong}@{target}"), "SecretInvalid", "does not begin with"),
        (format!("postgresql://{login}:p@{wrong}/w#rd@{target}"), "SecretInvalid", "cannot be taken apart"),
    ] {
        world.write_secret(json!({ "uri": uri })).await;
        world.database_stalled(reason, words).await;
    }
    world.write_secret(json!({ "uri": format!("postgresql://{login}:{right}@{target}") })).await;
    world.database_ready().await;
    let passwords = passwords_of_a_tenant(&world).await;
    world.apply_tenant("late", json!({ "schemaName": "school" })).await;
    world.tenant_says("late", "Stalled", "Conflict", "").await;

    let metrics = operator.http("/metrics").unwrap();
    let (status, log) = operator.terminate();
    assert!(status.success() && log.contains("school"), "{log}");
    // Those of sessions of the tenant are known to no test, and have as many digits as all that the operator makes.
    let password = log.split(|letter: char| !letter.is_ascii_hexdigit()).find(|word| word.len() == 64);
    assert_eq!(password, None);
    let others = world.kubectl(&["get", "leases,configmaps,events", "-n", &world.operator_namespace, "-o", "yaml"]);
    let registry = world.sql("SELECT string_agg(o::text, ' ') FROM edu_matrix_hub_schema.schema_operations AS o");
    for (place, text) in [
        ("the log", &log),
        ("/metrics", &metrics),
        ("objects and Events", &world.everything_readable().await),
        ("the operator's namespace", &others),
        ("the operation log", &registry),
    ] {
        assert!(!text.is_empty());
        let verifier = "SCRAM-SHA-256$";
        for secret in ["Tr0ub4dor", "pw@", "password=pw", verifier].into_iter().chain(passwords.iter().map(|s| &**s)) {
            let told = text.lines().find(|line| line.contains(secret));
            assert!(told.is_none(), "{place} tells {secret}: {told:?}");
        }
    }
    // The one that lost is Stalled, which a second run would not change; what it waits for goes with it.
    world.delete_tenant_without_operator("late").await;
    world.finish().await;
}
