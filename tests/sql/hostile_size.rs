//! A tenant chooses how much of something there is: calls about such a tenant stay short, and the operator works on
//! others as ever.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use tokio_postgres::Client;

use crate::backup_world::{Worker, World, front, id, set_access, with_world};
use crate::support::{Lane, Tenant, call, expect, has_keepers, surveyed};

/// Makes roles in one statement, as an administrator of many tenants has them; returns their names as a list of SQL.
async fn strangers(world: &World, count: i32) -> String {
    let prefix = format!("{}_s", world.database.name);
    world
        .run(&format!(
            "DO $$ BEGIN FOR n IN 1..{count} LOOP EXECUTE format('CREATE ROLE %I', '{prefix}' || n); END LOOP; END $$"
        ))
        .await;
    world.text(&format!("SELECT string_agg('{prefix}' || n, ', ') FROM generate_series(1, {count}) AS n")).await
}

/// Removes them in one statement.
async fn remove_strangers(world: &World, names: &str) {
    world.run(&format!("DROP OWNED BY {names}; DROP ROLE {names}")).await;
}

/// How long the calls of an operator may take on a machine that is busy; unbounded, they took minutes.
const SHORT: Duration = Duration::from_secs(20);

/// Calls something, and asserts that it was answered soon and shortly.
async fn soon(client: &Client, function: &str, options: &Value) -> Value {
    let started = Instant::now();
    let answer = call(client, function, options).await;
    assert!(started.elapsed() < SHORT, "{function} took {:?}", started.elapsed());
    assert!(answer.to_string().len() < 100_000, "{function} answered with {} bytes", answer.to_string().len());
    answer
}

/// Repairs until nothing is left to repair.
async fn repair(lane: &Lane, tenant: &Tenant) {
    for _ in 0..20 {
        let answer = soon(&lane.client, "repair_tenant_schema", &tenant.options(&json!({}))).await;
        if answer["status"] == "unchanged" {
            return;
        }
        assert_eq!(answer["status"], "success", "{answer}");
    }
    panic!("repairing has no end");
}

/// A tenant whose owner gives everything to `count` roles is repaired, suspended, opened, dropped.
async fn rights_for_everybody(count: i32) {
    with_world(move |world: World| async move {
        let (tenant, other) = (world.tenant("sly").await, world.tenant("other").await);
        let lane = Lane::claim(world.session().await).await;
        lane.survey(true).await;
        let names = strangers(&world, count).await;
        let give = format!(
            "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {names} WITH GRANT OPTION; ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO {names};
             ALTER DEFAULT PRIVILEGES GRANT ALL ON ROUTINES TO PUBLIC, {names}; ALTER DEFAULT PRIVILEGES GRANT ALL ON TYPES TO {names};
             ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM {0}; ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {0} WITH GRANT OPTION;
             GRANT ALL ON SCHEMA sly TO {names} WITH GRANT OPTION",
            tenant.owner
        );
        let defaults = format!(
            "SELECT string_agg(defaclobjtype::text || defaclacl::text, ' ' ORDER BY defaclobjtype) FROM pg_default_acl WHERE defaclrole = '{}'::regrole",
            tenant.owner
        );
        let (acl, before) = (world.database.acl("sly").await, world.text(&defaults).await);

        world.as_owner(&tenant, &give).await;
        world.as_owner(&other, "CREATE TABLE other.t AS SELECT 1 AS id").await;
        let started = Instant::now();
        let survey = lane.survey(false).await;
        assert!(started.elapsed() < SHORT, "a survey took {:?}", started.elapsed());
        assert!(survey.to_string().len() < 100_000);
        assert_eq!(surveyed(&survey, &other).unwrap()["table_count"], 1, "the others are looked after");
        assert!(surveyed(&survey, &tenant).unwrap()["drift"].as_array().unwrap().len() >= 5);
        repair(&lane, &tenant).await;
        assert_eq!((world.database.acl("sly").await, world.text(&defaults).await), (acl, before), "all is as it was made");
        assert_eq!(surveyed(&lane.survey(true).await, &tenant).unwrap()["drift"], json!([]));

        // Suspended, its own roles and PUBLIC are out at once, and the strangers in turns.
        world.as_owner(&tenant, &give).await;
        soon(&lane.client, "set_tenant_access", &tenant.options(&json!({ "access": "Suspended" }))).await;
        let may = format!("SELECT has_schema_privilege('{}', 'sly', 'USAGE')", tenant.writer);
        assert_eq!(world.text(&may).await, "false");
        repair(&lane, &tenant).await;
        let left = "SELECT count(*) FROM pg_namespace AS n, aclexplode(n.nspacl) AS a WHERE nspname = 'sly' AND a.grantee <> n.nspowner";
        assert_eq!(world.text(left).await, "0");
        let started = Instant::now();
        expect(&set_access(&lane.client, &tenant, "ReadWrite").await, "success");
        assert!(started.elapsed() < SHORT, "opening took {:?}", started.elapsed());
        assert_eq!(world.text(&may).await, "true");

        // Dropped, in as many calls as it takes.
        world.as_owner(&tenant, &give).await;
        let mut answer = json!({ "status": "busy" });
        for _ in 0..20 {
            answer = soon(&lane.client, "set_aside_tenant_schema", &tenant.options(&json!({}))).await;
            if answer["status"] != "busy" {
                break;
            }
        }
        expect(&answer, "success");
        let longest = "SELECT max(octet_length(o::text)) < 100000 FROM edu_matrix_hub_schema.schema_operations AS o";
        assert_eq!(world.text(longest).await, "true", "no row of the log is long");
        remove_strangers(&world, &names).await;
        world.assert_clean().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_for_every_role_are_taken_back_in_short_calls() {
    rights_for_everybody(1200).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make test-long"]
async fn rights_for_five_thousand_roles_are_taken_back_in_short_calls() {
    rights_for_everybody(5000).await;
}

/// Runs a block of PL/pgSQL for `count` numbers `n`, two thousand of them in a transaction, as the tenant's owner.
async fn many(world: &World, tenant: &Tenant, count: u32, block: &str) {
    let session = world.superuser().await;
    session.batch_execute(&format!("SET ROLE \"{}\"", tenant.owner)).await.unwrap();
    for first in (1..=count).step_by(2000) {
        let last = count.min(first + 1999);
        let block = format!("DO $$ BEGIN FOR n IN {first}..{last} LOOP {block} END LOOP; END $$");
        session.batch_execute(&block).await.unwrap();
    }
}

/// Sets the tenant aside in one short call; returns the backup.
async fn set_aside(world: &World, client: &Client, tenant: &Tenant) -> Value {
    let answer = soon(client, "set_aside_tenant_schema", &tenant.options(&json!({}))).await;
    expect(&answer, "success");
    let longest = "SELECT max(octet_length(manifest::text)) < 100000 FROM edu_matrix_hub_schema.schema_backups WHERE method = 'SetAside'";
    assert_eq!(world.text(longest).await, "true", "what is kept has a bound");
    answer["detail"]["backup_id"].clone()
}

/// Removes what was set aside, in short parts of which the log has few rows; returns the last answer.
async fn purge(world: &World, client: &Client, backup: &Value) -> (String, String) {
    let mut answer = ("partial".to_owned(), String::new());
    let mut parts = 0;
    while answer.0 == "partial" {
        let started = Instant::now();
        answer = front(client, "purge_schema_backup", id(backup)).await;
        assert!(started.elapsed() < SHORT, "{answer:?} took {:?}", started.elapsed());
        assert!(answer.1.len() < 10_000);
        parts += 1;
        assert!(parts < 5_000, "{answer:?}");
    }
    let rows =
        "SELECT count(*) < 3 FROM edu_matrix_hub_schema.schema_operations WHERE type = 'purge' AND status = 'partial'";
    assert_eq!(world.text(rows).await, "true", "all parts are one row of the log");
    answer
}

/// A tenant that makes `count` types is surveyed, suspended, opened, set aside, brought back and removed in short calls.
async fn many_types(count: u32) {
    with_world(move |world: World| async move {
        let (tenant, other) = (world.tenant("sly").await, world.tenant("other").await);
        let lane = Lane::claim(world.session().await).await;
        many(&world, &tenant, count, "EXECUTE 'CREATE DOMAIN sly.d' || n || ' AS int';").await;
        world.as_owner(&tenant, "CREATE TABLE sly.t AS SELECT 1::sly.d1 AS a").await;
        let started = Instant::now();
        let survey = lane.survey(true).await;
        assert!(started.elapsed() < SHORT, "a survey took {:?}", started.elapsed());
        assert_eq!(surveyed(&survey, &tenant).unwrap()["drift"], json!([]));
        soon(&lane.client, "set_tenant_access", &tenant.options(&json!({ "access": "Suspended" }))).await;
        soon(&lane.client, "set_tenant_access", &tenant.options(&json!({ "access": "ReadWrite" }))).await;

        // A snapshot has the rows in any case.
        let (status, message) = front(&lane.client, "backup_institution_schema", tenant.id).await;
        assert_eq!(status, "success", "{message}");
        let snapshot = world.newest_backup().await;
        let manifest = &snapshot["manifest"];
        assert_eq!(snapshot["row_count"], 1);
        assert_eq!(manifest["definitions"]["relations"][0]["name"], "t");
        assert_eq!(manifest["definitions"]["types"].is_null(), count > 200_000);
        assert_eq!(
            message.contains("too long to be kept in its manifest") && message.contains("types ("),
            count > 200_000,
            "{message}"
        );
        assert!(manifest.to_string().len() < 40_000_000);

        // What another user has of it keeps it, as ever.
        let client = world.session().await;
        world.run("CREATE TABLE public.mine (a sly.d2[])").await;
        let refused = soon(&client, "set_aside_tenant_schema", &tenant.options(&json!({}))).await;
        assert_eq!(expect(&refused, "error"), "dependents");
        assert_eq!(refused["detail"]["dependents"], json!(["public.mine.a"]));
        world.run("DROP TABLE public.mine").await;
        let backup = set_aside(&world, &client, &tenant).await;
        expect(&soon(&client, "restore_tenant_schema", &json!({ "backup_id": backup })).await, "success");
        assert_eq!(world.text("SELECT a FROM sly.t").await, "1");
        let backup = set_aside(&world, &client, &tenant).await;
        let (status, message) = purge(&world, &client, &backup).await;
        assert_eq!(status, "success", "{message}");
        assert!(surveyed(&lane.survey(true).await, &other).is_some());
        world.assert_clean().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_types_go_in_short_calls() {
    many_types(20_000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make test-long"]
async fn half_a_million_types_go_in_short_calls() {
    many_types(500_000).await;
}

/// A tenant that gives `count` times rights on its tables, and as often on its functions to its neighbour, is repaired when a role
/// of its own was lost; and the neighbour, who owns as many large objects, goes.
async fn many_grants(count: u32) {
    with_world(move |world: World| async move {
        let (tenant, other) = (world.tenant("sly").await, world.tenant("other").await);
        let client = world.session().await;
        let names = strangers(&world, 100).await;
        let give = format!("EXECUTE 'CREATE TABLE sly.t' || n || ' (id int); GRANT SELECT ON sly.t' || n || ' TO {names}';");
        many(&world, &tenant, count / 100, &give).await;
        let make = "EXECUTE 'CREATE FUNCTION sly.f' || n || '() RETURNS int LANGUAGE sql AS ''SELECT 1''';";
        many(&world, &tenant, count, make).await;
        world.as_owner(&tenant, &format!("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA sly TO \"{}\"", other.reader)).await;
        many(&world, &other, count, "PERFORM lo_create(0);").await;

        let held = format!(
            "SELECT concat_ws(' ', has_function_privilege('{1}', 'sly.f{count}()', 'EXECUTE'), has_table_privilege('{0}', 'sly.t1', 'SELECT'),
                              has_table_privilege('{1}', 'sly.t1', 'DELETE'))",
            tenant.reader, tenant.writer
        );
        assert_eq!(world.text(&held).await, "t t t");
        world.run(&format!("DROP OWNED BY \"{0}\"; DROP ROLE \"{0}\"", tenant.writer)).await;
        let repaired = soon(&client, "repair_tenant_schema", &tenant.options(&json!({}))).await;
        expect(&repaired, "success");
        assert_eq!(world.text(&held).await, "t t t");

        // The large objects are in the way of the roles, and go before them.
        let backup = set_aside(&world, &client, &other).await;
        let (status, message) = purge(&world, &client, &backup).await;
        assert_eq!(status, "success", "{message}");

        let backup = set_aside(&world, &client, &tenant).await;
        let (status, message) = purge(&world, &client, &backup).await;
        assert_eq!(status, "success", "{message}");
        remove_strangers(&world, &names).await;
        world.assert_clean().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn four_thousand_grants_are_made_again_and_taken_in_short_calls() {
    many_grants(4_000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: make test-long"]
async fn a_hundred_thousand_grants_are_made_again_and_taken_in_short_calls() {
    many_grants(100_000).await;
}

/// Members of a tenant's groups leave with it and come back with it, also where one of them is not ours to end and keeps the
/// statement for all from being run.
#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_members_leave_and_come_back() {
    with_world(move |world: World| async move {
        let tenant = world.tenant("school").await;
        let client = world.session().await;
        let names = strangers(&world, 5000).await;
        let (first, others) = names.split_once(", ").unwrap();
        let giver = world.database.role("giver", "NOLOGIN").await;
        let taker = world.database.role("taker", "NOLOGIN").await;
        let join = |action: &str, roles: &str| {
            format!(
                "SELECT edu_matrix_hub_schema._role_command(t.keeper, '{action}', string_to_array('{roles}', ', '), t.reader_role)
                 FROM edu_matrix_hub_schema.tenant_schemas AS t"
            )
        };
        world
            .run(&format!(
                "SET ROLE {owner}; {}; {}; RESET ROLE; SET ROLE {giver}; GRANT \"{}\" TO {taker}; RESET ROLE",
                join("join inherit set", &names),
                join("join admin inherit set", &giver),
                tenant.reader,
                owner = world.database.owner_role,
            ))
            .await;
        let members = format!(
            "SELECT concat_ws(' ', count(*), bool_or(m.admin_option)) FROM pg_auth_members AS m JOIN pg_roles AS r ON r.oid = m.member
             WHERE m.roleid = '{}'::regrole AND r.rolname LIKE '%\\_s%'",
            tenant.reader
        );
        assert_eq!(world.text(&members).await, "5000 f");

        let started = Instant::now();
        let aside = call(&client, "set_aside_tenant_schema", &tenant.options(&json!({}))).await;
        expect(&aside, "success");
        // From 16 on, a member that gave a role on has to take it back before its own membership can end.
        let left = if has_keepers() { 2 } else { 0 };
        assert_eq!(aside["detail"]["members_left"].as_array().unwrap().len(), left, "{aside}");
        assert_eq!(world.text(&members).await, "0");
        world.run(&format!("DROP ROLE {first}")).await;
        let backup = json!({ "backup_id": aside["detail"]["backup_id"] });
        let restored = call(&client, "restore_tenant_schema", &backup).await;
        expect(&restored, "success");
        assert_eq!(restored["detail"]["lost"], json!([first]));
        assert_eq!(world.text(&members).await, "4999 f");
        assert!(started.elapsed() < SHORT, "both took {:?}", started.elapsed());
        remove_strangers(&world, others).await;
    })
    .await;
}

/// A tenant that waits for twenty thousand snapshots keeps no other from having the next turn, and its row stays short.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_waiting_jobs_keep_no_tenant_waiting() {
    with_world(move |world: World| async move {
        let (tenant, other) = (world.tenant("sly").await, world.tenant("other").await);
        let worker = Worker::claim(world.session().await).await;
        world
            .run(&format!(
                "WITH backups AS (
                     INSERT INTO edu_matrix_hub_schema.schema_backups (schema_id, schema_name, method, requested_by, object_uid)
                     SELECT '{}', 'sly', 'Snapshot', 'a test', 'many-' || n FROM generate_series(1, 20000) AS n RETURNING id, schema_id)
                 INSERT INTO edu_matrix_hub_schema.schema_jobs (kind, backup_id, schema_id, requested_by)
                 SELECT 'snapshot', b.id, b.schema_id, 'a test' FROM backups AS b;
                 ANALYZE edu_matrix_hub_schema.schema_jobs, edu_matrix_hub_schema.schema_backups",
                tenant.id
            ))
            .await;
        let document =
            format!("SELECT document FROM edu_matrix_hub_schema.tenant_rows WHERE schema_id = '{}'", tenant.id);
        let row: Value = world.database.one(&document).await;
        assert_eq!(row["jobs"].as_array().unwrap().len(), 20);
        expect(&worker.request(&other, "b1").await, "success");
        let started = Instant::now();
        let mut claimed = Vec::new();
        for _ in 0..2 {
            claimed.push(worker.claim_job(&json!({})).await["detail"]["schema_name"].as_str().unwrap().to_owned());
        }
        claimed.sort();
        assert_eq!(claimed, ["other", "sly"]);
        expect(&worker.claim_job(&json!({})).await, "unchanged");
        assert!(started.elapsed() < SHORT, "claiming took {:?}", started.elapsed());
        let cancelled = soon(&worker.client, "cancel_tenant_jobs", &tenant.options(&json!({}))).await;
        assert_eq!(cancelled["detail"]["cancelled"], 20000);
        let waiting = "SELECT count(*) FROM edu_matrix_hub_schema.schema_jobs WHERE state IN ('requested', 'running')";
        assert_eq!(world.text(waiting).await, "1");
    })
    .await;
}
