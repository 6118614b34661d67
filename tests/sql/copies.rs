//! Copies of a database, made with the real tools: on the same server, where the roles are shared, and dumped and restored,
//! where every schema has another identifier.

use std::process::Command;

use serde_json::{Value, json};
use tenant_schema_operator::postgres::script::Form;

use crate::{
    application::{Application, CLOSED},
    support::{Database, Lane, Tenant, call, expect, owner, server, tenant_options, with_bare_database, with_database},
};

async fn observed(database: &Database, name: &str) -> Value {
    let mut request = owner(name);
    request["schema_name"] = json!(name);
    call(&database.admin, "observe_tenant", &request).await["own"].clone()
}

/// Runs a client program.
fn tool(name: &str, arguments: &[&str]) {
    let path = server().tool(name).unwrap();
    let output = Command::new(path).args(arguments).envs(server().env()).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_on_the_same_server_takes_nothing_from_the_others_users() {
    with_bare_database(async |outer| {
        let database = Database::beside(&outer).await;
        database.install("postgres", Form::Printed).await.unwrap();
        let school = database.tenant("school").await;
        let library = database.tenant("library").await;
        let login = format!("{}_ours", database.name);
        let app = database.role("app", "LOGIN").await;
        let keeper = format!("(SELECT keeper FROM edu_matrix_hub_schema.tenant_schemas WHERE id = '{}')", library.id);
        let statements = format!(
            "SET ROLE {}; SELECT edu_matrix_hub_schema._role_command({keeper}, 'create', ARRAY['{login}']); \
             SELECT edu_matrix_hub_schema._role_command({keeper}, 'join', ARRAY['{login}'], '{}'); RESET ROLE; \
             UPDATE edu_matrix_hub_schema.tenant_schemas SET logins = '{{{login}}}' WHERE id = '{}'; GRANT \"{}\" TO {app}",
            database.owner_role, library.reader, library.id, school.reader
        );
        database.admin.batch_execute(&statements).await.unwrap();
        database.let_in(&login).await;
        database.let_in(&app).await;
        database.as_owner(&library, "CREATE TABLE t (a int)").await;
        database.as_owner(&school, "CREATE TABLE t (a int)").await;
        database.operator().await;
        let (database, copy) = database.copied().await;
        copy.install("postgres", Form::Printed).await.unwrap();
        let session = database.connect(&login).await;
        let guest = database.connect(&app).await;
        let said = "these roles are used in another database of this server too";

        let lane = Lane::claim(copy.connect(&format!("{}_op", database.name)).await).await;
        let suspend = json!([{ "call": "set_tenant_access", "options": { "schema_id": library.id, "access": "Suspended" } }]);
        let suspended = lane.apply(&suspend).await;
        expect(&suspended[0], "success");
        assert!(suspended[0]["message"].as_str().unwrap().contains(said), "{}", suspended[0]);
        for tenant in [&library, &school] {
            let options = tenant.options(&json!({ "owner_uid": format!("uid-{}", tenant.schema), "purge": false }));
            let dropped = lane.apply(&json!([{ "call": "set_aside_tenant_schema", "options": options }])).await;
            expect(&dropped[0], "success");
            assert!(dropped[0]["message"].as_str().unwrap().contains(said), "{}", dropped[0]);
        }
        // What the first one's users had they have.
        session.batch_execute("SELECT FROM library.t").await.unwrap();
        guest.batch_execute("SELECT FROM school.t").await.unwrap();
        database.connect(&login).await.batch_execute("SELECT FROM library.t").await.unwrap();
        assert_eq!(observed(&database, "school").await["drift"], json!([]));

        // And the copy is not taken over by another cluster while it is beside the other.
        let claim = json!({ "cluster": "cluster-2", "tenant_database": "staging", "holder": "a test", "take_over": "cluster-1" });
        let refused = call(&lane.client, "claim_lane", &claim).await;
        assert_eq!(expect(&refused, "error"), "copy");
        assert!(refused["message"].as_str().unwrap().contains(&database.name), "{refused}");
        drop(lane);
        copy.drop_alone().await;
        let claim = json!({ "cluster": "cluster-2", "tenant_database": "new", "holder": "a test", "take_over": "cluster-1" });
        let first = call(&database.admin, "claim_lane", &json!({ "cluster": "cluster-1", "tenant_database": "old", "holder": "x" })).await;
        expect(&first, "success");
        expect(&call(&database.admin, "claim_lane", &claim).await, "success");
        database.remove().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_was_restored_is_bound_again_when_a_person_says_so() {
    with_database(async |database| {
        let school = database.tenant("school").await;
        database.as_owner(&school, "CREATE TABLE t AS SELECT 7 AS a").await;
        database.tenant("lost").await;
        let aside = database.tenant("aside").await;
        let options = aside.options(&json!({ "owner_uid": "uid-aside" }));
        expect(&call(&database.admin, "set_aside_tenant_schema", &options).await, "success");
        call(&database.admin, "create_tenant_schema", &tenant_options("renamed")).await;
        let stranger = database.role("stranger", "NOLOGIN").await;
        let service = database.role("service", "NOLOGIN").await;
        let grants = school.options(&json!({ "grants": [{ "role": service, "privileges": ["Read"] }] }));
        expect(&call(&database.admin, "set_tenant_grants", &grants).await, "success");
        let restored = Database::beside(&database).await;
        let file = std::env::temp_dir().join(format!("{}.dump", database.name));
        let path = file.to_str().unwrap();
        tool("pg_dump", &["-Fc", "-f", path, &database.name]);
        tool("pg_restore", &["--exit-on-error", "-d", &restored.name, path]);
        std::fs::remove_file(&file).unwrap();
        let change = format!("ALTER SCHEMA lost OWNER TO {stranger}; ALTER SCHEMA renamed RENAME TO parked");
        restored.admin.batch_execute(&change).await.unwrap();
        restored.install("postgres", Form::Printed).await.unwrap();
        // On another server the role has another number.
        restored.admin.batch_execute("UPDATE edu_matrix_hub_schema.tenant_grants SET role_oid = 17").await.unwrap();

        let lane = Lane::claim(restored.connect("postgres").await).await;
        let id = lane.installation_id;
        let survey = lane.survey(true).await;
        assert_eq!(survey["unbound_count"], 3);
        for row in survey["tenants"].as_array().unwrap() {
            assert_eq!((&row["schema_exists"], &row["absence"]["kind"]), (&json!(false), &json!("unbound")), "{row}");
            assert_eq!(row["drift"], json!([]));
        }
        // Nothing acts before, and nothing that was set aside is taken for gone.
        let end = json!([{ "call": "set_aside_tenant_schema", "options": { "schema_id": school.id, "owner_uid": "uid-school" } }]);
        assert_eq!(expect(&lane.apply(&end).await[0], "error"), "schema_missing");
        let front = "SELECT status || ' ' || message FROM edu_matrix_hub_schema.purge_schema_backup((SELECT id FROM edu_matrix_hub_schema.schema_backups))";
        assert!(restored.one::<String>(front).await.contains("rebind="));

        let rebind = json!([{ "call": "rebind_tenants", "options": { "installation_id": id } }]);
        let bound = lane.apply(&rebind).await;
        expect(&bound[0], "success");
        let message = bound[0]["message"].as_str().unwrap();
        assert!(message.starts_with("2 schemas and 1 backups bound again; 1 are not: lost"), "{message}");
        expect(&lane.apply(&rebind).await[0], "unchanged");
        let row = observed(&restored, "school").await;
        assert_eq!((&row["schema_exists"], &row["drift"]), (&json!(true), &json!([])));
        assert_eq!(row["grants"][0]["state"], "given");
        assert_eq!(observed(&restored, "renamed").await["absence"]["now"], "parked");
        assert_eq!(observed(&restored, "lost").await["absence"]["kind"], "unknown");
        assert_eq!(lane.survey(true).await["unbound_count"], 0);
        let front = "SELECT status FROM edu_matrix_hub_schema.restore_set_aside((SELECT id FROM edu_matrix_hub_schema.schema_backups))";
        assert_eq!(restored.one::<String>(front).await, "success");
        assert_eq!(restored.one::<i32>("SELECT a FROM school.t").await, 7);
        // A tenant that is made now is as good as any.
        let tenant: Tenant = restored.tenant("fresh").await;
        assert_eq!(observed(&restored, &tenant.schema).await["schema_exists"], true);
        drop(lane);
        restored.drop_alone().await;
    })
    .await;
}

/// Roles belong to the server: what is closed in one database is closed in all.
#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_closes_the_originals_logins_beside_a_copy_and_the_copy_neither_closes_nor_opens_them() {
    with_bare_database(async |outer| {
        let database = Database::beside(&outer).await;
        database.install("postgres", Form::Printed).await.unwrap();
        let tenant = database.tenant("school").await;
        let app = Application::of(&database, &tenant).await.issued("1").await;
        let migration = Application::migrating(&database, &tenant).await.issued("2").await;
        Application::of(&database, &tenant).await.set_access("Suspended").await;
        let (database, copy) = database.copied().await;
        let here = Application::of(&database, &tenant).await;
        let operator = copy.connect(&format!("{}_op", database.name)).await;
        let there = Application { database: &copy, operator, tenant: &tenant, purpose: "connection" };
        let doors = async || (here.door(&app, "1").await, here.door(&migration, "2").await);
        let (open, closed) = (("open".to_owned(), "open".to_owned()), (CLOSED.to_owned(), CLOSED.to_owned()));

        // What the original closed the copy does not open.
        there.set_access("ReadWrite").await;
        assert_eq!(doors().await, closed);
        here.set_access("ReadWrite").await;
        assert_eq!(doors().await, open);
        // What the original has open the copy does not close.
        there.set_access("Suspended").await;
        assert_eq!(doors().await, open);
        // The original closes its own, although they are at work in the copy, and hold themselves from there.
        there.set_access("ReadWrite").await;
        let session = copy.log_in(&migration, "2").await.unwrap();
        session.batch_execute(&format!("BEGIN; ALTER ROLE {migration} SET statement_timeout = 1")).await.unwrap();
        here.set_access("Suspended").await;
        assert_eq!(doors().await, closed);
        assert!(session.batch_execute("SELECT 1").await.is_err());
        copy.drop_alone().await;
        here.set_access("ReadWrite").await;
        assert_eq!(doors().await, open);
        database.remove().await;
    })
    .await;
}
