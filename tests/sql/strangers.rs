//! What any login may do to a role that is not its own: grant it something, in any database that it may enter. That
//! keeps no tenant's login open, no member in, and no object from ending.

use serde_json::{Value, json};

use crate::backup_world::{World, front, id, succeed, with_world};
use crate::support::{Tenant, call, expect, owner, server, tenant_options};

/// What a TenantSchema that is being deleted is told of its end.
async fn grave(world: &World, tenant: &Tenant) -> Value {
    let mut request = owner(&tenant.schema);
    request["schema_name"] = json!(tenant.schema);
    call(&world.database.admin, "observe_tenant", &request).await["tombstone"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_grant_elsewhere_keeps_no_login_and_no_member() {
    with_world(|world: World| async move {
        let client = world.session().await;
        let made = call(&client, "create_tenant_schema", &tenant_options("school")).await;
        let tenant = world.database.tenant_of(&made).await;
        let app = format!("{}_app", world.database.name);
        world.database.declare_login(&tenant, &app, &tenant.writer).await;
        let (stranger, member) =
            (world.database.role("stranger", "LOGIN").await, world.database.role("member", "LOGIN").await);
        world.join(&tenant, &member).await;
        let create = format!("SET ROLE {stranger}; SELECT lo_create(0)");
        let number = server().psql("postgres", &create).unwrap().split_whitespace().last().unwrap().to_owned();
        let grant = format!("SET ROLE {stranger}; GRANT SELECT ON LARGE OBJECT {number} TO \"{}\"", tenant.owner);
        server().psql("postgres", &grant).unwrap();
        let options = tenant.options(&json!({ "access": "Suspended" }));
        let suspended = call(&client, "set_tenant_access", &options).await;
        expect(&suspended, "success");
        assert_eq!((&suspended["detail"]["shared_with"], &suspended["detail"]["closed"]), (&json!([]), &json!([app])));
        let options = tenant.options(&json!({ "owner_uid": "uid-school" }));
        let aside = call(&client, "set_aside_tenant_schema", &options).await;
        expect(&aside, "success");
        assert_eq!(aside["detail"]["members_left"], json!([]));
        let members = format!("SELECT count(*) FROM pg_auth_members WHERE member = '{member}'::regrole");
        assert_eq!(world.text(&members).await, "0");

        // Its role waits for the stranger, and nothing else does.
        let backup = id(&aside["detail"]["backup_id"]);
        assert_eq!(grave(&world, &tenant).await["schema_gone"], json!(false));
        let (status, message) = front(&client, "purge_schema_backup", backup).await;
        assert_eq!(status, "error");
        assert!(message.contains("in database postgres"), "{message}");
        let seen = grave(&world, &tenant).await;
        assert_eq!((&seen["backup_state"], &seen["schema_gone"]), (&json!("purging"), &json!(true)));
        server().psql("postgres", &format!("SELECT lo_unlink({number})")).unwrap();
        succeed(&client, "purge_schema_backup", backup).await;
        assert_eq!(grave(&world, &tenant).await["schema_gone"], json!(false));
        assert_eq!(world.text(&format!("SELECT count(*) FROM pg_roles WHERE rolname = '{}'", tenant.owner)).await, "0");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_they_own_elsewhere_is_told_while_the_tenant_is_suspended() {
    with_world(|world: World| async move {
        let client = world.session().await;
        let tenant =
            world.database.tenant_of(&call(&client, "create_tenant_schema", &tenant_options("school")).await).await;
        let place = format!("{}_elsewhere", world.database.name);
        let make = format!("CREATE SCHEMA {place} AUTHORIZATION \"{}\"", tenant.owner);
        server().psql("postgres", &make).unwrap();
        let shared = async |access: &str| {
            let options = tenant.options(&json!({ "access": access }));
            expect(&call(&client, "set_tenant_access", &options).await, "success");
            let mut request = owner("school");
            request["schema_name"] = json!("school");
            call(&client, "observe_tenant", &request).await["own"]["shared_with"].clone()
        };
        assert_eq!(shared("Suspended").await, json!(["postgres"]));
        assert_eq!(shared("ReadWrite").await, json!([]));
        server().psql("postgres", &format!("DROP SCHEMA {place}")).unwrap();
        assert_eq!(shared("Suspended").await, json!([]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_is_not_committed_is_named_and_keeps_no_object() {
    with_world(|world: World| async move {
        let client = world.session().await;
        let leaving =
            world.database.tenant_of(&call(&client, "create_tenant_schema", &tenant_options("leaving")).await).await;
        let login = world.database.role("stranger", "LOGIN").await;
        world.run(&format!("CREATE SCHEMA own AUTHORIZATION {login}")).await;
        let session = world.database.connect(&login).await;
        let hold = format!("CREATE TABLE own.t (a int); BEGIN; GRANT SELECT ON own.t TO \"{}\"", leaving.owner);
        session.batch_execute(&hold).await.unwrap();
        let pid: i32 = session.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        let options = leaving.options(&json!({ "owner_uid": "uid-leaving" }));
        let aside = call(&client, "set_aside_tenant_schema", &options).await;
        expect(&aside, "success");
        let backup = id(&aside["detail"]["backup_id"]);
        let (status, message) = front(&client, "purge_schema_backup", backup).await;
        assert_eq!(status, "busy", "{message}");
        assert!(
            message.contains(&format!("session {pid} of login \"{login}\" holds a lock on role {}", leaving.owner)),
            "{message}"
        );
        assert_eq!(grave(&world, &leaving).await["schema_gone"], json!(true));
        session.batch_execute("ROLLBACK").await.unwrap();
        succeed(&client, "purge_schema_backup", backup).await;
    })
    .await;
}
